"""The facts about the number of parameters, from rows made by hand."""

import hw1_3_params

import pytest


def results(accuracies, threshold):
    """Made-up results of three networks: accuracies {fraction: (runs, widths)}."""
    thresholds, upturns, peaks = [], [], []
    for fraction in accuracies:
        for measure in ("test_loss", "test_error"):
            key = {"randomized": fraction, "measure": measure}
            thresholds.append(key | {"labels_times_classes": 300, "width": threshold,
                                     "parameters": threshold and 10 * threshold,
                                     "at_threshold_mean": 0.4, "at_largest_mean": 0.1,
                                     "change_mean": -0.3, "change_mean_ci95": 0.05})
            upturns.append(key | {"width": 2, "rise_mean": 0.2, "rise_mean_ci95": 0.1,
                                  "beyond_interval": True})
            clear = measure == "test_loss" and fraction > 0
            peaks.append(key | {"widths_averaged": 3, "width": 2, "parameters": 20,
                                "height_mean": 5.0, "rise_mean": 1.0, "rise_mean_ci95": 0.5,
                                "fall_mean": 4.0, "fall_mean_ci95": None,
                                "beyond_intervals": clear})
    return {
        "constants": {"FRACTIONS": list(accuracies), "WIDTHS": [1, 2, 4], "SMOOTHED": 3},
        "thresholds": thresholds, "upturns": upturns, "peaks": peaks,
        "curves": {"parameters": [10, 20, 40], "test_accuracy": accuracies},
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
        assert of_labels["error_peak_is_clear"] is False
        assert of_labels["error_change_p_value"] == pytest.approx(2 * 0.07418, rel=1e-3)  # Holm


@pytest.mark.parametrize("accuracies, threshold", [
    ([[0, 0.5, 0.6], [0, 0.5, 0.7]], None), ([[0, 0.5, 0.6]], 2),
    ([[0, 0.5, 0.6], [0, 0.5, 0.6]], 4)])
def test_there_is_no_p_value_where_there_is_nothing_to_test(accuracies, threshold):
    facts = hw1_3_params.collect_facts(results({0: accuracies, 0.2: accuracies}, threshold))
    assert facts["true_labels"]["error_change_p_value"] is None
    assert facts["random_labels"]["fitted_width"] == threshold
