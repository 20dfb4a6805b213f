"""Intervals, corrections, correlations and peaks against textbooks, SciPy and hand counts."""

from common.statistics import (
    as_interval,
    as_mean,
    compare_accuracies,
    compare_errors,
    correlation_columns,
    correlation_within_groups,
    find_peak,
    first_reaching,
    held_out_argmax,
    held_out_peak,
    holm,
    interval_columns,
    is_significant,
    mean_ci95,
    mean_columns,
    p_value_of_mean,
    place_of_reaching,
    quartile_columns,
    range_columns,
    ratio_columns,
    spearman,
    spearman_ci95,
    spearman_p_value,
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


def test_an_interval_has_two_ends():
    half_width = T_TWO_DEGREES / np.sqrt(3)  # 2.48 around a mean of 2
    assert interval_columns("rho", [1.0, 2.0, 3.0]) == {
        "rho": 2, "rho_low": pytest.approx(2 - half_width),
        "rho_high": pytest.approx(2 + half_width)}
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


def test_a_range_by_hand():
    columns = range_columns("barrier", [0.5, 0.0, 0.1, 0.3])
    assert columns == {"barrier_median": pytest.approx(0.2), "barrier_lowest": 0,
                       "barrier_highest": 0.5}


def test_facts_take_the_columns_that_interval_and_mean_columns_give():
    row = {**interval_columns("speed", [1.0, 2.0, 6.0]), **mean_columns({"loss": [1.0, 3.0]})}
    assert as_interval(row, "speed") == {"value": row["speed"], "low": row["speed_low"],
                                         "high": row["speed_high"]}
    assert as_mean(row, "loss") == {"value": 2, "ci95": row["loss_ci95"]}


def test_the_p_value_of_a_mean_is_students_and_none_where_nothing_varies():
    # 1, 2 and 3 differ from 0 by t = 2 √3 with two degrees of freedom
    assert p_value_of_mean([1.0, 2.0, 3.0]) == pytest.approx(0.07418, rel=1e-3)
    assert p_value_of_mean([1.0, 2.0, 3.0], 2) == 1
    assert p_value_of_mean([1.0]) is None and p_value_of_mean([1.0, 1.0]) is None
    assert p_value_of_mean([0.1 + 0.2, 0.3]) is None  # they differ by rounding alone
    assert p_value_of_mean([0.0, 0.0]) is None and p_value_of_mean([1e-9, 2e-9]) is not None


def test_other_values_are_measured_where_the_held_out_peak_is():
    values = np.array([[0.0, 1.0, 5.0, 2.0]] * 2)
    others = np.array([[10.0, 0.0, 30.0, 25.0], [7.0, 0.0, 3.0, 1.0]])
    rises, falls = held_out_peak(values, others)  # peak at place 2, valleys at 0 and 3
    assert rises.tolist() == [20, -4] and falls.tolist() == [5, 2]


# --- rank correlations ---


def test_what_never_varies_has_no_rank_correlation():
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    assert np.isnan(spearman(np.arange(4.0), np.ones(4)))
    assert spearman(np.arange(4.0), -np.arange(4.0)) == pytest.approx(-1)


def test_spearman_interval_covers_a_known_correlation():
    generator = np.random.default_rng(1)
    x, noise = generator.normal(size=(2, 300))
    rho, low, high = spearman_ci95(x, x + noise)
    # for a normal pair of correlation r, Spearman's rho is 6/π asin(r/2); here r = 1/√2
    truth = 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2)
    assert low < truth < high and low < rho < high and high - low < 0.2
    # A t-test with n − 2 degrees of freedom, by SciPy's default.
    t = rho * np.sqrt(298 / (1 - rho**2))
    assert spearman_p_value(x, x + noise) == pytest.approx(2 * stats.t.sf(abs(t), 298))
    assert spearman_ci95(x, np.exp(x))[0] == pytest.approx(1)
    assert spearman_ci95(x[:9], noise[:9]) == (None, None, None)
    assert spearman_ci95(x, np.ones(300)) == (None, None, None)


def test_one_point_of_many_carries_no_correlation():
    x, y = np.arange(34.0), np.ones(34)
    y[3] = 0.5  # absent from (33/34)^34 = 36 % of the resamples
    assert spearman_ci95(x, y) == (None, None, None)
    y[20:] = 0.2
    assert None not in spearman_ci95(x, y)


def test_correlations_of_runs_are_averaged_in_fishers_z():
    z = np.array([0.5, 1.0, 1.5])
    columns = correlation_columns("rho", np.tanh(z), points=100)
    half_width = 0.5 * T_TWO_DEGREES / np.sqrt(3)
    assert columns == pytest.approx({"rho": np.tanh(1), "rho_low": np.tanh(1 - half_width),
                                     "rho_high": np.tanh(1 + half_width)})
    one_of_five = stats.ttest_1samp(z, 0).confidence_interval(1 - 0.05 / 5)
    wider = correlation_columns("rho", np.tanh(z), points=100, tests=5)
    assert (wider["rho_low"], wider["rho_high"]) == pytest.approx(tuple(np.tanh(one_of_five)))
    assert correlation_columns("rho", [1.0], points=10) == {
        "rho": pytest.approx(1 - 3 / 990), "rho_low": None, "rho_high": None}
    assert set(correlation_columns("rho", [0.5, np.nan], points=10).values()) == {None}


def test_groups_that_differ_do_not_correlate_what_varies_within_them():
    random = np.random.default_rng(3)
    noise = random.normal(size=(2, 6, 10))
    groups = 100 * np.arange(10)  # between the groups the correlation is 1
    x, y = noise[0] + groups, noise[1] + groups
    assert np.corrcoef(x.ravel(), y.ravel())[0, 1] > 0.99
    r, low, high = correlation_within_groups(x, y)
    scores = [stats.zscore(values, axis=0).ravel() for values in noise]
    assert r == pytest.approx(np.corrcoef(*scores)[0, 1])
    assert low < 0 < high
    assert correlation_within_groups(x, 5 - 3 * x)[0] == pytest.approx(-1, abs=1e-3)


def test_within_groups_of_equal_values_there_is_no_correlation():
    equal = np.repeat(np.arange(4.0)[np.newaxis], 5, axis=0)
    random = np.random.default_rng(4).normal(size=(5, 4))
    assert correlation_within_groups(equal, random) == (None, None, None)
    assert correlation_within_groups(random[:3], random[:3] ** 3)[1:] == (None, None)


# --- comparing models ---


def test_significance_begins_below_a_twentieth():
    assert [is_significant(p_value) for p_value in (0.049, 0.05, None)] == [True, False, False]


def test_holm_on_a_worked_example():
    # ordered 0.01, 0.03, 0.04 are multiplied by 3, 2, 1 and never fall: 0.03, 0.06, 0.06
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_leaves_out_what_was_not_tested():
    assert holm([0.03, None, 0.01, 0.04]) == [pytest.approx(0.06), None, pytest.approx(0.03),
                                              pytest.approx(0.06)]


def test_accuracies_are_compared_run_by_run_over_all_pairs():
    values = {"a": [1.0, 2.0, 3.0, 4.1], "b": [1.5, 2.4, 3.6, 4.5], "c": [0.0, 9.0, 0.0, 1.0]}
    rows = compare_accuracies(values)
    assert [(row["better"], row["worse"]) for row in rows] == [("b", "a"), ("a", "c"), ("b", "c")]
    assert rows[0]["accuracy_difference"] == pytest.approx(0.475)
    half_width = stats.t.ppf(0.975, 3) * np.std([0.5, 0.4, 0.6, 0.4], ddof=1) / 2
    assert rows[0]["difference_ci95"] == pytest.approx(half_width)
    single = [stats.ttest_rel(values[row["better"]], values[row["worse"]]).pvalue for row in rows]
    assert [row["p_value"] for row in rows] == pytest.approx(holm(single))
    assert compare_accuracies({"a": [1.0], "b": [2.0]})[0]["p_value"] is None
    assert compare_accuracies({"a": [1.0, 2.0], "b": [2.0, 3.0]})[0]["p_value"] is None


def test_errors_are_compared_whatever_the_order_of_the_runs():
    random = np.random.default_rng(5)
    errors = {"low": 10 ** random.normal(-6, 1, 15), "high": 10 ** random.normal(-4, 1, 15),
              "middle": 10 ** random.normal(-5.5, 1, 15)}
    rows = compare_errors(errors)
    shuffled = compare_errors({name: random.permutation(values) for name, values in errors.items()})
    for row, other in zip(rows, shuffled):
        for name in ("better", "worse", "p_value", "chance_of_lower_error", "median_ratio"):
            assert row[name] == other[name]
    row = rows[0]
    assert (row["better"], row["worse"]) == ("low", "high")
    lower = errors["low"][:, None] < errors["high"]
    assert row["chance_of_lower_error"] == pytest.approx(lower.mean())
    assert row["median_ratio"] == np.median(errors["high"]) / np.median(errors["low"])
    assert row["ratio_low"] < row["median_ratio"] < row["ratio_high"]
    single = [stats.mannwhitneyu(errors[row["better"]], errors[row["worse"]]).pvalue
              for row in rows]
    assert [row["p_value"] for row in rows] == pytest.approx(holm(single))


def test_the_interval_of_a_ratio_of_medians_agrees_with_scipys_bootstrap():
    random = np.random.default_rng(6)
    low, high = 10 ** random.normal(-6, 0.5, 15), 10 ** random.normal(-5, 0.5, 15)
    (row,) = compare_errors({"low": low, "high": high})

    def log_ratio(errors, others, axis):
        return np.log(np.median(others, axis) / np.median(errors, axis))

    expected = stats.bootstrap((low, high), log_ratio, method="percentile", random_state=0,
                               n_resamples=20_000).confidence_interval
    # Two bootstraps of 1,000 and of 20,000 resamples of medians, which take few values.
    np.testing.assert_allclose(np.log([row["ratio_low"], row["ratio_high"]]), expected, atol=0.25)


def test_one_run_is_no_test():
    (row,) = compare_errors({"a": [1e-3], "b": [1e-6]})
    assert (row["better"], row["median_ratio"]) == ("b", pytest.approx(1000))
    assert row["p_value"] is row["ratio_low"] is row["ratio_high"] is None


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


def test_the_place_between_two_points_where_a_value_is_reached():
    places, curve = np.array([0.0, 1.0, 4.0, 5.0]), np.array([0.2, 0.4, 1.0, 0.9])
    assert place_of_reaching(places, curve, 0.7) == pytest.approx(2.5)
    assert place_of_reaching(places, curve, 0.1) == 0
    assert place_of_reaching(places, curve, 1.1) is None
