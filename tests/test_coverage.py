"""What intervals and tests promise, by simulation: how often they are right where truth is known.

Every interval of the report is meant to cover the truth in 95 % of repetitions, at the number of
runs that the report uses; here it must in at least 92 %. Every test may see a difference where
there is none in at most 6 %. The seeds are fixed; what is counted scatters by 0.5 to 1.5 points.
"""

from common.statistics import (
    compare_accuracies,
    compare_errors,
    correlation_columns,
    correlation_within_groups,
    held_out_peak,
    interval_columns,
    is_significant,
    mean_ci95,
    ratio_columns,
    spearman,
    spearman_ci95,
)

import numpy as np
import pytest
from scipy import stats

COVERED, FALSE_POSITIVES = 0.92, 0.06


def coverage(intervals, truth):
    """How often the truth lies in intervals, pairs of low and high."""
    low, high = np.array(intervals).T
    return np.mean((low <= truth) & (truth <= high))


def decades(random, size):
    """Errors as trainings leave them: most around 1e-6, some stuck around 0.1."""
    stuck = random.random(size) < 0.2
    return 10 ** np.where(stuck, random.normal(-1, 0.2, size), random.normal(-6, 0.7, size))


# --- means ---


@pytest.mark.parametrize("runs", [3, 5, 6, 8])
def test_t_intervals_of_means_and_of_ratios(runs):
    random = np.random.default_rng(runs)
    intervals, ratios = [], []
    for _ in range(2_000):
        values = random.normal(3, 2, runs)
        columns = interval_columns("value", values)
        intervals.append((columns["value_low"], columns["value_high"]))
        columns = ratio_columns("ratio", np.exp(values))
        ratios.append((columns["ratio_low"], columns["ratio_high"]))
    assert coverage(intervals, 3) >= COVERED
    assert coverage(ratios, np.exp(3)) >= COVERED


def test_the_rise_to_a_peak_whose_place_other_runs_choose():
    random = np.random.default_rng(14)
    curve = np.array([1.3, 1.1, 1.15, 1.2, 1.3, 1.25, 1.1, 0.9, 0.8, 0.7])
    intervals = []
    for _ in range(1_000):
        values = curve + 0.02 * random.normal(size=(4, len(curve)))
        rises, _ = held_out_peak(values)
        mean, half_width = mean_ci95(rises)
        intervals.append((mean - half_width, mean + half_width))
    assert coverage(intervals, 0.2) >= COVERED


# --- correlations ---


@pytest.mark.parametrize("levels", [None, 2])  # the second: values in few classes, as ratios are
@pytest.mark.parametrize("correlation", [0.0, -0.7])
def test_bootstrap_of_a_rank_correlation_over_independent_points(correlation, levels):
    random = np.random.default_rng(7)

    def draw(points):
        x, noise = random.normal(size=(2, points))
        y = correlation * x + np.sqrt(1 - correlation**2) * noise
        return x, y if levels is None else np.round(levels * y) / levels

    truth = spearman(*draw(200_000))
    intervals = [spearman_ci95(*draw(40))[1:] for _ in range(400)]
    assert coverage(intervals, truth) >= COVERED


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_typical_correlation_of_five_runs_over_ten_points(correlation):
    random = np.random.default_rng(8)

    def draw(runs):
        x, noise = random.normal(size=(2, runs, 10))
        y = correlation * x + np.sqrt(1 - correlation**2) * noise
        x_ranks, y_ranks = (stats.rankdata(values, axis=1) - 5.5 for values in (x, y))
        return (x_ranks * y_ranks).sum(1) / 82.5  # 10 (10² − 1) / 12

    truth = correlation_columns("rho", draw(50_000), points=10)["rho"]
    intervals = []
    for _ in range(1_000):
        columns = correlation_columns("rho", draw(5), points=10)
        intervals.append((columns["rho_low"], columns["rho_high"]))
    assert coverage(intervals, truth) >= COVERED


@pytest.mark.parametrize("shared", [0.0, 0.5])  # of the variance, by one run in all groups
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_jackknife_of_the_correlation_within_groups(correlation, shared):
    random = np.random.default_rng(9)

    def draw(runs):
        own, common = random.normal(size=(2, runs, 10)), random.normal(size=(2, runs, 1))
        x, noise = np.sqrt(1 - shared) * own + np.sqrt(shared) * common
        return x, correlation * x + np.sqrt(1 - correlation**2) * noise

    # Scores of five runs, each divided by its own group's scatter: the truth of many such groups.
    truths = [correlation_within_groups(*draw(5))[0] for _ in range(1_000)]
    truth = np.tanh(np.arctanh(truths).mean())
    intervals = [correlation_within_groups(*draw(5))[1:] for _ in range(400)]
    assert coverage(intervals, truth) >= COVERED


# --- comparisons ---


@pytest.mark.parametrize("runs", [10, 15])
def test_bootstrap_of_the_ratio_of_medians(runs):
    random = np.random.default_rng(10)
    intervals = []
    for _ in range(500):
        low, high = 1e-9 * decades(random, runs), decades(random, runs)
        (row,) = compare_errors({"low": low, "high": high})
        intervals.append((row["ratio_low"], row["ratio_high"]))
    assert coverage(intervals, 1e9) >= COVERED


def test_unpaired_comparisons_of_four_equal_models():
    random = np.random.default_rng(11)
    false = 0
    for _ in range(500):
        rows = compare_errors({depth: decades(random, 10) for depth in (1, 2, 4, 7)})
        false += any(is_significant(row["p_value"]) for row in rows)
    assert false / 500 <= FALSE_POSITIVES


def test_paired_comparisons_of_four_equal_models():
    random = np.random.default_rng(12)
    false, intervals = 0, []
    for _ in range(1_000):
        shared = random.normal(size=8)  # the order of the data, which is the same for all models
        rows = compare_accuracies({model: shared + random.normal(size=8) for model in "abcd"})
        false += any(is_significant(row["p_value"]) for row in rows)
        # The better model comes first: for a known truth the order must not depend on the runs.
        row = compare_accuracies({"a": 9 + shared + random.normal(size=8),
                                  "b": shared + random.normal(size=8)})[0]
        half_width = row["difference_ci95"]
        intervals.append((row["accuracy_difference"] - half_width,
                          row["accuracy_difference"] + half_width))
    assert false / 1_000 <= FALSE_POSITIVES
    assert coverage(intervals, 9) >= COVERED
