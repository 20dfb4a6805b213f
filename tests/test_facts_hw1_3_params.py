"""The facts about the number of parameters, from rows made by hand."""

import hw1_3_params

import pytest
from scipy import stats


def results(accuracies, threshold):
    """Made-up results of three networks: accuracies {fraction: (runs, widths)}."""
    thresholds, late_rises, peaks = [], [], []
    for fraction in accuracies:
        for measure in ("test_loss", "calibrated_test_loss", "test_error"):
            key = {"randomized": fraction, "measure": measure}
            thresholds.append(key | {"labels_times_classes": 300, "width": threshold,
                                     "parameters": threshold and 10 * threshold,
                                     "at_threshold_mean": 0.4, "at_largest_mean": 0.1,
                                     "change_mean": -0.3, "change_mean_ci95": 0.05})
            calibrated = measure == "calibrated_test_loss"
            late_rises.append(key | {"width": 2, "rise_mean": 0.01 if calibrated else 0.2,
                                  "rise_mean_ci95": 0.1, "beyond_interval": not calibrated,
                                  "lowest_mean": 0.05})
            clear = measure == "test_loss" and fraction > 0
            peaks.append(key | {"widths_averaged": 3, "width": 2, "parameters": 20,
                                "valley_before_parameters": 10,
                                "height_mean": 5.0, "rise_mean": 1.0, "rise_mean_ci95": 0.5,
                                "fall_mean": 4.0, "fall_mean_ci95": None,
                                "beyond_intervals": clear})
    features, feature_peaks = [], []
    for fraction in accuracies:
        for count in (15, 30, 60):
            features.append({"randomized": fraction, "features": count,
                             "test_error_mean": count / 100, "test_error_mean_ci95": 0.01,
                             "weight_norm_median": 2 * count})
        for measure in ("test_error", "test_loss"):
            feature_peaks.append({"randomized": fraction, "measure": measure, "features": 30,
                                  "features_per_label": 1.0, "runs": 2,
                                  "runs_highest_there": 2 if measure == "test_loss" else 1,
                                  "rise": 3.0, "rise_low": 2.0, "rise_high": 4.0,
                                  "fall": 5.0, "fall_low": 4.0, "fall_high": 6.0,
                                  "beyond_intervals": measure == "test_loss"})
    return {
        "constants": {"FRACTIONS": list(accuracies), "WIDTHS": [1, 2, 4], "SMOOTHED": 3},
        "thresholds": thresholds, "late_rises": late_rises, "peaks": peaks,
        "features": features, "feature_peaks": feature_peaks,
        "curves": {"parameters": [10, 20, 40], "test_accuracy": accuracies,
                   "test_loss": accuracies, "calibrated_test_loss": accuracies,
                   "features": {"test_error": {
                       fraction: [[0.1, 0.9 - 0.01 * run, 0.1 * run]
                                  for run in range(1, len(of_runs) + 1)]
                       for fraction, of_runs in accuracies.items()}}},
    }


def test_facts_say_where_labels_are_fitted_and_what_changes_beyond():
    # Changes of −0.1, −0.2 and −0.3 have t = −2 √3, whose p is 0.0742 with two degrees.
    accuracies = [[0, 0.5, 0.6], [0, 0.5, 0.7], [0, 0.5, 0.8]]
    facts = hw1_3_params.collect_facts(results({0: accuracies, 0.2: accuracies}, threshold=2))
    assert (facts["networks"], facts["fewest_parameters"], facts["most_parameters"]) == (3, 10, 40)
    assert (facts["most_random"], facts["labels_times_classes"]) == (0.2, 300)
    for name in ("true_labels", "random_labels"):
        of_labels = facts[name]
        assert (of_labels["fitted_width"], of_labels["fitted_parameters"]) == (2, 20)
        assert of_labels["error_change"] == {"value": -0.3, "ci95": 0.05}
        assert of_labels["loss_peak_is_clear"] is (name == "random_labels")
        assert (of_labels["loss_valley_parameters"], of_labels["loss_peak_parameters"]) == (10, 20)
        assert (of_labels["lowest_error"], of_labels["lowest_error_parameters"]) == (0.05, 20)
        assert of_labels["late_error_rise"] == {"value": 0.2, "ci95": 0.1}
        assert of_labels["late_error_rise_is_clear"] is True
        assert of_labels["error_peak_is_clear"] is False
        assert of_labels["late_loss_rise"] == {"value": 0.2, "ci95": 0.1}
        assert of_labels["calibrated_late_rise"] == {"value": 0.01, "ci95": 0.1}
        assert of_labels["late_loss_rise_is_clear"] is True
        assert of_labels["calibrated_late_rise_is_clear"] is False
        assert of_labels["calibrated_peak_is_clear"] is False


def test_all_p_values_are_corrected_together():
    accuracies = [[0, 0.5, 0.6], [0, 0.5, 0.7], [0, 0.5, 0.8]]
    facts = hw1_3_params.collect_facts(results({0: accuracies, 0.2: accuracies}, threshold=2))
    # The peak of the random features rises by 0.79, 0.78 and 0.77 and falls by 0.79, 0.68 and 0.57;
    # the test error changes by −0.1, −0.2 and −0.3. The widths are averaged in threes: from the
    # first to the last, test losses rise by 1.2 / 3 and so on less 0.5 / 3.
    changes = {"error_peak": [0.79, 0.68, 0.57], "error_change": [-0.1, -0.2, -0.3],
               "calibrated_change": [(0.5 + 2 * last - 0.5) / 3 for last in (0.6, 0.7, 0.8)]}
    p_values = {name: stats.ttest_1samp(of_runs, 0).pvalue for name, of_runs in changes.items()}
    expected, highest = {}, 0
    for rank, name in enumerate(sorted(p_values, key=p_values.get)):
        # Both fractions have the same numbers: two p-values of each kind.
        highest = expected[name] = max(highest, min(1, (6 - 2 * rank) * p_values[name]))
    for name in ("true_labels", "random_labels"):
        found = {"error_peak": facts[f"{name}_features"]["error_peak_p_value"],
                 "error_change": facts[name]["error_change_p_value"],
                 "calibrated_change": facts[name]["calibrated_change_p_value"]}
        assert found == pytest.approx(expected)


def test_facts_say_where_random_features_peak():
    accuracies = [[0, 0.5, 0.6], [0, 0.5, 0.7]]
    facts = hw1_3_params.collect_facts(results({0: accuracies, 0.2: accuracies}, threshold=2))
    assert (facts["fewest_features"], facts["most_features"]) == (15, 60)
    for name in ("true_labels_features", "random_labels_features"):
        of_features = facts[name]
        assert of_features["error_peak_per_label"] == of_features["loss_peak_per_label"] == 1
        assert of_features["loss_rise_factor"] == {"value": 3, "low": 2, "high": 4}
        assert of_features["error_fall"] == {"value": 5, "low": 4, "high": 6}
        assert (of_features["weight_norm_at_peak"], of_features["weight_norm_of_most"]) == (60, 120)
        assert of_features["error_peak_is_clear"] is False
        assert of_features["loss_peak_is_clear"] is True
        assert of_features["error_peaks_there_in_all_runs"] is False
        assert of_features["loss_peaks_there_in_all_runs"] is True


def test_without_a_temperature_its_facts_are_unknown():
    accuracies = [[0, 0.5, 0.6], [0, 0.5, 0.7]]
    made_up = results({0: accuracies, 0.2: accuracies}, threshold=2)
    names = [name for name in hw1_3_params.collect_facts(made_up)["true_labels"]
             if name.startswith("calibrated")]
    made_up["curves"]["calibrated_test_loss"] = None
    facts = hw1_3_params.collect_facts(made_up)["true_labels"]
    assert len(names) == 6 and all(facts[name] is None for name in names)
    assert facts["late_loss_rise"]["value"] == 0.2


@pytest.mark.parametrize("accuracies, threshold", [
    ([[0, 0.5, 0.6], [0, 0.5, 0.7]], None), ([[0, 0.5, 0.6]], 2),
    ([[0, 0.5, 0.6], [0, 0.5, 0.6]], 4)])
def test_there_is_no_p_value_where_there_is_nothing_to_test(accuracies, threshold):
    facts = hw1_3_params.collect_facts(results({0: accuracies, 0.2: accuracies}, threshold))
    assert facts["true_labels"]["error_change_p_value"] is None
    assert facts["random_labels"]["fitted_width"] == threshold
