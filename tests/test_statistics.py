"""Intervals, corrections, correlations and peaks against textbooks, SciPy and hand counts."""

import itertools

from common.statistics import (
    compare_errors,
    compare_to_best,
    find_peak,
    first_reaching,
    held_out_argmax,
    held_out_peak,
    holm,
    interval_columns,
    is_significant,
    mean_ci95,
    mean_columns,
    mean_over_pairs,
    median_ci95,
    quartile_columns,
    ratio_columns,
    spearman,
    spearman_ci95,
    spearman_clusters_ci95,
)

import numpy as np
import pytest
from scipy import stats
from scipy.signal import find_peaks

T_TWO_DEGREES = 4.302652729911275  # Student's 97.5 % quantile, from a table

# --- means and medians over runs ---


def test_mean_ci95_is_the_t_interval_of_scipy():
    values = [1.0, 2.0, 4.0, 7.0]
    mean, half_width = mean_ci95(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high))
    assert mean_ci95([3.0]) == (3.0, None)


def test_mean_ci95_averages_over_the_runs_and_not_over_the_points():
    runs_by_points = np.array([[1.0, 10.0], [2.0, 10.0], [3.0, 10.0]])
    mean, half_width = mean_ci95(runs_by_points)
    np.testing.assert_allclose(mean, [2, 10])
    np.testing.assert_allclose(half_width, [T_TWO_DEGREES / np.sqrt(3), 0])


def test_mean_columns_are_named_after_their_quantity():
    columns = mean_columns({"loss": [1.0, 2.0, 3.0], "norm": [5.0, 5.0, 5.0]})
    half_width = T_TWO_DEGREES / np.sqrt(3)
    assert columns == {"loss": 2, "loss_ci95": pytest.approx(half_width), "norm": 5, "norm_ci95": 0}


def test_an_interval_is_cut_at_the_limit_on_both_sides():
    half_width = T_TWO_DEGREES / np.sqrt(3)  # 2.48 around a mean of 2 and of -2
    uncut = interval_columns("rho", [1.0, 2.0, 3.0])
    assert uncut == {"rho": 2, "rho_low": pytest.approx(2 - half_width),
                     "rho_high": pytest.approx(2 + half_width)}
    assert interval_columns("rho", [1.0, 2.0, 3.0], limit=3)["rho_high"] == 3
    assert interval_columns("rho", [-1.0, -2.0, -3.0], limit=3)["rho_low"] == -3
    assert interval_columns("rho", [0.5]) == {"rho": 0.5, "rho_low": None, "rho_high": None}


def test_ratios_have_a_geometric_mean():
    columns = ratio_columns("ratio", [1.0, 10.0, 100.0])
    half_width = T_TWO_DEGREES / np.sqrt(3)  # of a standard deviation of one decade
    assert columns == pytest.approx({"ratio": 10, "ratio_low": 10 ** (1 - half_width),
                                     "ratio_high": 10 ** (1 + half_width)})
    assert ratio_columns("ratio", [2.0]) == pytest.approx(
        {"ratio": 2.0, "ratio_low": None, "ratio_high": None})


def test_quartiles_by_hand():
    columns = quartile_columns("loss", [5.0, 1.0, 2.0, 4.0, 3.0])
    assert columns == {"loss_median": 3, "loss_q25": 2, "loss_q75": 4}


def test_median_ci95_lies_between_the_order_statistics_of_the_binomial():
    # Of 15 values the 4th and the 12th: P(4 ≤ Bin(15, ½) ≤ 11) = 0.965, one place in it is 0.882.
    assert median_ci95(np.random.default_rng(0).permutation(15)) == (7, 3, 11)
    assert stats.binom.cdf(11, 15, 0.5) - stats.binom.cdf(3, 15, 0.5) >= 0.95
    assert stats.binom.cdf(10, 15, 0.5) - stats.binom.cdf(4, 15, 0.5) < 0.95
    assert median_ci95([1.0, 5.0, 3.0]) == (3.0, None, None)


def test_the_jackknife_of_values_that_belong_to_one_run_is_the_t_interval():
    values = np.array([1.0, 4.0, 2.0, 8.0])
    own = np.arange(4)[:, None].repeat(2, axis=1)
    np.testing.assert_allclose(mean_over_pairs(values, own), mean_ci95(values))


def test_the_jackknife_of_pairs_is_wider_than_if_they_were_independent():
    # The value of a pair is the sum of its runs' effects: its mean is twice the runs' mean, and so
    # is its interval.
    effects = np.random.default_rng(0).normal(size=8)
    pairs = np.array(list(itertools.combinations(range(8), 2)))
    mean, half_width = mean_over_pairs(effects[pairs].sum(1), pairs)
    np.testing.assert_allclose((mean, half_width), mean_ci95(2 * effects))
    assert half_width > mean_ci95(effects[pairs].sum(1))[1]


def test_one_pair_has_no_interval():
    assert mean_over_pairs([0.5], [[0, 1]]) == (0.5, None)


# --- rank correlations ---


def test_what_never_varies_has_a_rank_correlation_of_zero():
    assert spearman(np.ones(4), np.arange(4.0)) == spearman(np.arange(4.0), np.ones(4)) == 0
    assert spearman(np.arange(4.0), -np.arange(4.0)) == pytest.approx(-1)


def test_spearman_interval_covers_a_known_correlation():
    generator = np.random.default_rng(1)
    x, noise = generator.normal(size=(2, 300))
    rho, low, high = spearman_ci95(x, x + noise)
    # for a normal pair of correlation r, Spearman's rho is 6/π asin(r/2); here r = 1/√2
    truth = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)
    assert low < truth < high and low < rho < high and high - low < 0.2
    assert spearman_ci95(x, np.exp(x))[0] == pytest.approx(1)
    assert spearman_ci95(x[:9], noise[:9]) == (None, None, None)
    assert spearman_ci95(x, np.ones(300)) == (None, None, None)


def test_clustered_correlation_agrees_with_scipys_bootstrap_of_whole_clusters():
    random = np.random.default_rng(6)
    x = np.arange(12)[:, np.newaxis] + 0.1 * random.standard_normal((12, 5))
    y = x + 6 * random.standard_normal((12, 1))  # the noise is common to a cluster
    rho, low, high = spearman_clusters_ci95(x, y, resamples=4_000)
    assert rho == pytest.approx(stats.spearmanr(x.ravel(), y.ravel()).statistic)

    def z_of(clusters):
        clusters = clusters.astype(int)
        return np.arctanh(stats.spearmanr(x[clusters].ravel(), y[clusters].ravel()).statistic)

    error = stats.bootstrap((np.arange(12),), z_of, vectorized=False, n_resamples=1_000,
                            method="percentile", random_state=7).standard_error
    half_width = stats.t.ppf(0.975, 11) * error
    # a standard error from 1,000 draws is known to about 2 %
    expected = np.arctanh(rho) + half_width * np.array([-1, 1])
    assert np.arctanh([low, high]) == pytest.approx(expected, abs=0.1 * half_width)


@pytest.mark.parametrize("x", [np.ones((8, 5)), np.arange(5).reshape(1, 5)])
def test_correlation_with_something_constant_or_within_one_cluster_is_none(x):
    assert spearman_clusters_ci95(x, np.arange(x.size).reshape(x.shape)) == (None, None, None)


def test_the_interval_holds_a_perfect_order():
    x = np.arange(15).reshape(5, 3)
    rho, low, high = spearman_clusters_ci95(x, x)
    assert 0.999 < low <= rho <= high <= 1
    rho, low, high = spearman_clusters_ci95(x, -x)
    assert -1 <= low <= rho <= high < -0.999


# --- comparing models ---


def test_significance_begins_below_a_twentieth():
    assert [is_significant(p_value) for p_value in (0.049, 0.05, None)] == [True, False, False]


def test_holm_on_a_worked_example():
    # ordered 0.01, 0.03, 0.04 are multiplied by 3, 2, 1 and never fall: 0.03, 0.06, 0.06
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_compare_to_best_pairs_the_runs_and_corrects_for_their_number():
    values = {"a": [1.0, 2.0, 3.0, 4.1], "b": [1.5, 2.4, 3.6, 4.5], "c": [0.0, 9.0, 0.0, 1.0]}
    best, others = compare_to_best(values, np.mean, stats.ttest_rel)
    assert best == "b" and [model for model, _, _ in others] == ["a", "c"]
    np.testing.assert_allclose(others[0][1], [0.5, 0.4, 0.6, 0.4])
    single = [stats.ttest_1samp(np.subtract(values["b"], values[model]), 0).pvalue
              for model in "ac"]
    assert others[0][2] == pytest.approx(2 * single[0])
    assert others[1][2] == pytest.approx(single[1])
    assert compare_to_best({"a": [1.0], "b": [2.0]}, np.mean, stats.ttest_rel)[1][0][2] is None


def test_compare_errors_counts_in_decades():
    good = 10.0 ** -np.arange(10, 18)
    decades = np.array([2, 1.1, 1.2, 3, -1, 2.2, 2.4, 1.3])
    to_worse, to_equal = compare_errors({"worse": good * 10**decades, "good": good, "equal": good})
    assert (to_worse["best"], to_worse["against"]) == ("good", "worse")
    assert (to_worse["runs"], to_worse["wins"]) == (8, 7)
    # of eight values the interval of the median reaches from the first to the last
    assert (to_worse["median_error_ratio"], to_worse["ratio_low"],
            to_worse["ratio_high"]) == pytest.approx((10**1.65, 10**-1, 10**3))
    assert to_worse["p_value"] == pytest.approx(stats.wilcoxon(decades).pvalue)
    assert to_equal["p_value"] is None
    assert to_equal["wins"] == 0 and to_equal["median_error_ratio"] == 1


# --- peaks of noisy curves ---


def test_peak_by_hand():
    assert find_peak(np.array([5.0, 1.0, 2.0, 4.0, 3.0, 0.5])) == (1, 3, 5)
    two_peaks = np.array([9.0, 2.0, 3.0, 2.5, 8.0, 1.0, 4.0])
    assert find_peak(two_peaks) == (1, 4, 5)  # the larger of the two


@pytest.mark.parametrize("seed", range(20))
def test_peak_is_the_most_prominent_of_scipy(seed):
    curve = np.random.default_rng(seed).normal(size=15).cumsum()
    peaks, properties = find_peaks(curve, prominence=0)
    before, peak, after = find_peak(curve)
    prominence = curve[peak] - max(curve[before], curve[after])
    if len(peaks):
        # SciPy's bases stop at higher peaks; the drop to the lowest points is never smaller.
        assert prominence >= properties["prominences"].max() - 1e-12
    best = max(min(curve[j] - curve[:j].min(), curve[j] - curve[j + 1 :].min())
               for j in range(1, 14))
    assert prominence == pytest.approx(best)


def test_monotone_curve_has_no_rise_and_fall():
    falling = np.arange(10.0)[::-1]
    before, peak, after = find_peak(falling)
    assert before < peak < after
    assert falling[peak] - falling[before] < 0


def test_rise_and_fall_of_a_run_are_measured_where_the_other_run_has_its_peak():
    first, second = [0.0, 1.0, 5.0, 2.0, 1.0], [3.0, 9.0, 4.0, 2.0, 6.0]
    # The peak of the second run lies at 1 between 0 and 3, that of the first at 2 between 0 and 4.
    rises, falls = held_out_peak(np.array([first, second]))
    assert rises.tolist() == [1 - 0, 4 - 3]
    assert falls.tolist() == [1 - 2, 4 - 6]
    rises, falls = held_out_peak(np.array([second]))  # a single run has no other
    assert (rises.tolist(), falls.tolist()) == ([9 - 3], [9 - 2])


def test_held_out_peak_finds_a_real_one_and_invents_none():
    generator = np.random.default_rng(0)
    falling = np.linspace(1, 0, 29)
    bump = falling + 2 * np.exp(-0.5 * ((np.arange(29) - 14) / 2) ** 2)
    rises, falls = held_out_peak(bump + generator.normal(scale=0.05, size=(4, 29)))
    assert rises.mean() == pytest.approx(bump.max() - bump[:14].min(), abs=0.1)
    assert falls.mean() == pytest.approx(bump.max(), abs=0.1)

    # On pure noise the peak of the runs themselves is always positive; held out it has mean zero.
    noise = generator.normal(size=(300, 4, 29))
    chosen = []
    for curve in noise.mean(1):
        before, peak, _ = find_peak(curve)
        chosen.append(curve[peak] - curve[before])
    held_out = [held_out_peak(values)[0].mean() for values in noise]
    assert np.mean(chosen) > 1
    assert abs(np.mean(held_out)) < 4 * np.std(held_out) / np.sqrt(300)


def test_the_place_of_the_highest_value_is_chosen_by_the_other_runs():
    values = np.array([[0.1, 0.9, 0.8, 0.1], [0.1, 0.6, 0.7, 0.1], [0.1, 0.5, 0.9, 0.2]])
    assert held_out_argmax(values).tolist() == [2, 2, 1]
    assert held_out_argmax(values[:1]).tolist() == [1]
    noise = np.random.default_rng(0).normal(size=(1000, 3, 40))
    held_out = [values[range(3), held_out_argmax(values)].mean() for values in noise]
    # the runs' own maxima would average 2.2
    assert abs(np.mean(held_out)) < 4 * np.std(held_out) / np.sqrt(1000)


def test_the_first_point_that_reaches_a_value():
    assert first_reaching([0.1, 0.5, 0.4, 0.9], 0.5) == 1
    assert first_reaching([0.1, 0.4], 0.5) is None
