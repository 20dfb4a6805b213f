"""Intervals and corrections against textbook values."""

import numpy as np
import pytest
from scipy import stats

from common.statistics import (
    compare_errors,
    compare_to_best,
    holm,
    mean_ci95,
    median_ci95,
    quartile_columns,
    spearman,
    spearman_ci95,
)


def test_mean_ci95_is_the_t_interval_of_scipy():
    values = [1.0, 2.0, 4.0, 7.0]
    mean, half_width = mean_ci95(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high))
    assert mean_ci95([3.0]) == (3.0, None)


def test_median_ci95_lies_between_the_order_statistics_of_the_binomial():
    # Of 15 values the 4th and the 12th: P(4 ≤ Bin(15, ½) ≤ 11) = 0.965, and one place further in it is 0.882.
    assert median_ci95(np.random.default_rng(0).permutation(15)) == (7, 3, 11)
    assert stats.binom.cdf(11, 15, 0.5) - stats.binom.cdf(3, 15, 0.5) >= 0.95
    assert stats.binom.cdf(10, 15, 0.5) - stats.binom.cdf(4, 15, 0.5) < 0.95
    assert median_ci95([1.0, 5.0, 3.0]) == (3.0, None, None)


def test_holm_on_a_worked_example():
    # ordered 0.01, 0.03, 0.04 are multiplied by 3, 2, 1 and never fall: 0.03, 0.06, 0.06
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_spearman_interval_covers_a_known_correlation():
    generator = np.random.default_rng(1)
    x, noise = generator.normal(size=(2, 300))
    rho, low, high = spearman_ci95(x, x + noise)
    # for a normal pair of correlation r, Spearman's rho is 6/π asin(r/2); here r = 1/√2
    truth = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)
    assert low < truth < high and low < rho < high and high - low < 0.2
    assert spearman_ci95(x, np.exp(x))[0] == pytest.approx(1)
    assert spearman_ci95(x[:9], noise[:9]) == spearman_ci95(x, np.ones(300)) == (None, None, None)


def test_what_never_varies_has_a_rank_correlation_of_zero():
    assert spearman(np.ones(4), np.arange(4.0)) == spearman(np.arange(4.0), np.ones(4)) == 0
    assert spearman(np.arange(4.0), -np.arange(4.0)) == pytest.approx(-1)


def test_compare_to_best_pairs_the_runs_and_corrects_for_their_number():
    values = {"a": [1.0, 2.0, 3.0, 4.1], "b": [1.5, 2.4, 3.6, 4.5], "c": [0.0, 9.0, 0.0, 1.0]}
    best, others = compare_to_best(values, np.mean, stats.ttest_rel)
    assert best == "b" and [model for model, _, _ in others] == ["a", "c"]
    np.testing.assert_allclose(others[0][1], [0.5, 0.4, 0.6, 0.4])
    single = [stats.ttest_1samp(np.subtract(values["b"], values[model]), 0).pvalue for model in "ac"]
    assert others[0][2] == pytest.approx(2 * single[0]) and others[1][2] == pytest.approx(single[1])
    assert compare_to_best({"a": [1.0], "b": [2.0]}, np.mean, stats.ttest_rel)[1][0][2] is None


def test_compare_errors_counts_in_decades():
    good = 10.0 ** -np.arange(10, 18)
    decades = [2, 1.1, 1.2, 3, -1, 2.2, 2.4, 1.3]
    to_worse, to_equal = compare_errors({"worse": good * 10 ** np.array(decades), "good": good, "equal": good})
    assert (to_worse["best"], to_worse["against"], to_worse["runs"], to_worse["wins"]) == ("good", "worse", 8, 7)
    assert [to_worse[key] for key in ("median_error_ratio", "ratio_low", "ratio_high")] == pytest.approx(
        [10**1.65, 10**-1, 10**3])  # of eight values the interval of the median reaches from the first to the last
    assert to_worse["p_value"] == pytest.approx(stats.wilcoxon(decades).pvalue)
    assert to_equal["p_value"] is None and to_equal["wins"] == 0 and to_equal["median_error_ratio"] == 1


def test_quartiles_by_hand():
    assert quartile_columns("loss", [5.0, 1.0, 2.0, 4.0, 3.0]) == {"loss_median": 3, "loss_q25": 2, "loss_q75": 4}
