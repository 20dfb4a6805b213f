"""The facts of the random labels, from rows made by hand."""

import hw1_3_random_labels

import numpy as np
import pytest
from scipy import stats


def results_by_hand(sizes=(100, 10)):
    """Two runs; both thresholds take 4 and 2 times as long with random labels, 1 on 10 images."""
    table, times, memorization = [], [], []
    for fraction in (0, 0.5, 1):
        table.append({"randomized": fraction, "test_accuracy": 0.9 - 0.8 * fraction,
                      "test_accuracy_ci95": 0.02})
    for fraction in (0, 0.5, 1):
        for threshold, slowdown in ((0.9, 4), (0.99, 2)):
            times.append({"train_size": 100, "randomized": fraction, "threshold": threshold,
                          "runs": 2, "runs_that_reach_it": 2 if fraction < 1 else 1,
                          "slowdown": slowdown, "slowdown_low": slowdown / 2,
                          "slowdown_high": slowdown * 2})
    if 10 in sizes:
        times.append({"train_size": 10, "randomized": 1, "threshold": 0.99, "runs": 2,
                      "runs_that_reach_it": 2, "slowdown": 1, "slowdown_low": None,
                      "slowdown_high": None})
    slowdowns = [{"train_size": size, "randomized": 1, "run": run, "slowdown": slowdown}
                 for size, of_runs in ((100, (1, 4, 8)), (10, (1, 2, 3))) if size in sizes
                 for run, slowdown in enumerate(of_runs)]
    for measure, peak in (("true_accuracy", 0.8), ("test_accuracy", 0.7)):
        memorization.append({"randomized": 0.5, "measure": measure, "peak": peak,
                             "peak_ci95": 0.03, "final": 0.1, "final_ci95": 0.01})
    return {"settings": {"train_size": 100},
            "constants": {"FRACTIONS": [0, 0.5, 1], "THRESHOLDS": [0.9, 0.99], "FITTED": 0.99},
            "table": table, "times": times, "slowdowns": slowdowns, "memorization": memorization,
            "curves": {
                "epoch": {0.5: [0, 1, 2], 1: [0, 2, 4, 6]},
                # Reach 0.99 after 1 and 2 epochs, and with all labels random after 2 and 4.
                "train_accuracy": {0.5: [[0.1, 0.99, 1.0], [0.1, 0.5, 0.99]],
                                   1: [[0.1, 0.99, 0.98, 0.98], [0.1, 0.2, 0.99, 1.0]]},
                # With all labels random the first run is lowest at the end, the second before.
                "test_loss": {0: [[2, 1, 1], [2, 1, 1]], 0.5: [[2, 1, 3], [2, 1, 5]],
                              1: [[5, 4, 3], [5, 2, 7]]}}}


def test_facts():
    facts = hw1_3_random_labels.collect_facts(results_by_hand())
    assert (facts["networks"], facts["networks_that_fit"]) == (6, 5)
    assert facts["test_accuracy_of_random_labels"] == {"value": pytest.approx(0.1), "ci95": 0.02}
    assert facts["true_label_peak"] == {"value": 0.8, "ci95": 0.03}
    assert facts["test_accuracy_end"] == {"value": 0.1, "ci95": 0.01}
    assert facts["test_loss_rises"][0] == {"value": 0, "ci95": 0}
    half_width = stats.t.ppf(0.975, 1) * 1  # the standard error of 2 and 4 is 1
    assert facts["test_loss_rises"][0.5] == {"value": 3, "ci95": pytest.approx(half_width)}
    # Each run is lowest where the other one is: 3 − 4 and 7 − 7.
    assert facts["test_loss_rises"][1]["value"] == pytest.approx(((3 - 4) + (7 - 7)) / 2)
    assert facts["slowdown_to_lowest_threshold"] == {"value": 4, "low": 2, "high": 8}
    assert facts["smallest_size"] == 10
    growth = [1 / 1, 4 / 2, 8 / 3]
    assert facts["larger_size_ratio"]["value"] == pytest.approx(stats.gmean(growth))
    tests = [stats.ttest_1samp(np.log(ratios), 0) for ratios in ([1, 4, 8], growth)]
    interval = tests[1].confidence_interval()
    assert np.log(facts["larger_size_ratio"]["low"]) == pytest.approx(interval.low)
    # Holm's: the smaller p-value counts twice, and the other one is no smaller than that.
    smaller, larger = sorted(test.pvalue for test in tests)
    assert larger < 2 * smaller
    assert facts["slowdown_to_fit_p_value"] == facts["larger_size_p_value"] == pytest.approx(
        2 * smaller)
    assert facts["fewest_random"] == 0.5
    assert facts["slowdown_to_fit_fewest_random"] == {"value": 2, "low": 1, "high": 4}
    assert facts["epochs_to_fit_all_to_fewest"] == pytest.approx({"value": 2, "low": 2, "high": 2})
    assert facts["fitting_takes_as_long"] is False


@pytest.mark.parametrize("first_epochs, second_epochs, as_long", [
    (1.2, 2.4, True), (0.85, 1.7, True), (1.3, 2.6, False), (0.75, 1.5, False),
    (1.2, 1.7, False)])  # ratios of 1.2 and 0.85: their interval is wide
def test_few_random_labels_take_as_long_where_the_ratio_is_near_one(first_epochs, second_epochs,
                                                                    as_long):
    results = results_by_hand()
    results["curves"]["epoch"][1] = [0, first_epochs, second_epochs, 9]
    facts = hw1_3_random_labels.collect_facts(results)
    ratios = [first_epochs / 1, second_epochs / 2]
    mean = stats.gmean(ratios)
    assert facts["epochs_to_fit_all_to_fewest"]["value"] == pytest.approx(mean)
    assert facts["fitting_takes_as_long"] is as_long


def test_runs_that_do_not_fit_take_no_known_time():
    results = results_by_hand()
    results["curves"]["train_accuracy"][1][1] = [0.1, 0.2, 0.3, 0.4]
    facts = hw1_3_random_labels.collect_facts(results)
    assert facts["epochs_to_fit_all_to_fewest"] == {"value": None, "low": None, "high": None}
    assert facts["fitting_takes_as_long"] is False


def test_with_one_size_and_runs_that_agree_there_is_nothing_to_compare():
    results = results_by_hand(sizes=(100,))
    facts = hw1_3_random_labels.collect_facts(results)
    assert facts["smallest_size"] == 100 and facts["larger_size_ratio"] is None
    assert facts["larger_size_p_value"] is None
    assert facts["slowdown_to_fit_p_value"] == pytest.approx(
        stats.ttest_1samp(np.log([1, 4, 8]), 0).pvalue)


def test_a_slowdown_that_was_not_measured_has_no_ratio():
    results = results_by_hand() | {"slowdowns": []}
    for row in results["times"]:
        row.update(slowdown=None, slowdown_low=None, slowdown_high=None)
    facts = hw1_3_random_labels.collect_facts(results)
    assert facts["larger_size_ratio"] is None
    assert facts["slowdown_to_fit_p_value"] is None and facts["larger_size_p_value"] is None
    assert facts["slowdown_to_fit"] == {"value": None, "low": None, "high": None}
