"""Intervals and tests for repeated runs.

The docstrings name the unit that was sampled: what would differ if the experiment were repeated
with another seed. Nearly always that is the run. An interval is honest only where the units are
independent of each other. A function whose name ends in "columns" returns a part of a table's row.
"""

from itertools import combinations

import numpy as np
import scipy  # its parts are loaded when they are first used: a second that no start waits for

FEWEST_POINTS = 10  # with fewer no bootstrap interval is given
RESAMPLES = 1_000  # of every bootstrap
# A bootstrap shows no interval where more than this fraction of its resamples are undefined.
MOST_UNDEFINED = 0.05
SIGNIFICANCE = 0.05  # a p-value below it counts as a difference
# Runs that differ by less than this fraction of the largest are equal but for rounding, which adds
# some 1e-16 in each operation.
ROUNDING = 1e-12


def is_significant(p_value):
    """Whether a p-value shows a difference; None, which stands for no test, does not."""
    return p_value is not None and p_value < SIGNIFICANCE


# --- means, medians and ranges over runs: the unit is the run ---


def mean_ci95(values, tests=1):
    """Mean over the runs (axis 0) and half width of its 95 % t-interval, None for a single run.

    The unit is the run. The interval holds what it promises for values that scatter about
    symmetrically. It may reach below zero for values that cannot: range_columns is for those. One
    of several tests has a wider interval, so that with 95 % none of all their intervals misses
    (Bonferroni).
    """
    values = np.asarray(values, dtype=float)
    run_count = len(values)
    if run_count < 2:
        return values.mean(0), None
    standard_error = values.std(0, ddof=1) / np.sqrt(run_count)
    quantile = scipy.stats.t.ppf(1 - 0.025 / tests, run_count - 1)  # 2.5 % in each tail for one
    return values.mean(0), quantile * standard_error


def mean_columns(values):
    """Means over runs of {name: (R,)} and their 95 % half widths: columns name and name_ci95.

    The unit is the run, see mean_ci95.
    """
    columns = {}
    for name, values_of_runs in values.items():
        columns[name], columns[f"{name}_ci95"] = mean_ci95(values_of_runs)
    return columns


def interval_columns(name, values):
    """Mean over runs (R,) with its 95 % t-interval: columns name, name_low and name_high.

    The unit is the run, see mean_ci95.
    """
    mean, half_width = mean_ci95(values)
    if half_width is None:
        return {name: mean, f"{name}_low": None, f"{name}_high": None}
    return {name: mean, f"{name}_low": mean - half_width, f"{name}_high": mean + half_width}


def ratio_columns(name, ratios):
    """Geometric mean of ratios (R,) with the 95 % t-interval of their logarithms.

    The unit is the run. The columns are those of interval_columns.
    """
    columns = {}
    for column, logarithm in interval_columns(name, np.log(ratios)).items():
        columns[column] = None if logarithm is None else np.exp(logarithm)
    return columns


def as_interval(row, name):
    """A number of a row and the ends of its interval as a fact: {"value", "low", "high"}.

    They are the columns name, name_low and name_high, such as those of interval_columns.
    """
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def as_mean(row, name):
    """A mean of a row and its interval's half width as a fact: {"value", "ci95"}, see mean_columns.
    """
    return {"value": row[name], "ci95": row[f"{name}_ci95"]}


def p_value_of_mean(values, expected=0):
    """That of a t-test that the mean over runs (R,) is the expected one. The unit is the run.

    None where there is nothing to test: for fewer than two runs, and where all are equal but for
    rounding.
    """
    if len(values) < 2 or np.ptp(values) <= ROUNDING * np.max(np.abs(values)):
        return None
    return scipy.stats.ttest_1samp(values, expected).pvalue


def quartile_columns(name, values):
    """Median and quartiles of the runs (R,): name_median, name_q25 and name_q75.

    The unit is the run; they describe the runs at hand.
    """
    median, first_quartile, third_quartile = np.quantile(values, (0.5, 0.25, 0.75))
    return {f"{name}_median": median, f"{name}_q25": first_quartile, f"{name}_q75": third_quartile}


def range_columns(name, values):
    """Median of the runs (R,), the lowest and the highest: name_median, name_lowest, name_highest.

    They suit quantities that cannot be negative, such as barriers, and few runs: they describe the
    runs at hand, and promise nothing about others.
    """
    return {f"{name}_median": np.median(values), f"{name}_lowest": np.min(values),
            f"{name}_highest": np.max(values)}


# --- rank correlations ---


def spearman(x, y):
    """Spearman's rank correlation of x and y (n,), NaN where one of them never varies.

    The unit is the point. Of runs that were recorded at n points it describes one run.
    """
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return scipy.stats.spearmanr(x, y).statistic


def spearman_p_value(x, y):
    """That of a test whether Spearman's rank correlation of x and y (n,) is zero.

    The unit is the point: points must be independent of each other.
    """
    return scipy.stats.spearmanr(x, y).pvalue


def correlation_columns(name, correlations, points, tests=1):
    """Typical correlation of runs (R,), each over so many points: name, name_low, name_high.

    The unit is the run. Mean and 95 % t-interval are taken of Fisher's z = artanh(correlation),
    whose variance hardly depends on the correlation, and turned back. The interval is that of one
    of several tests, see mean_ci95. All are None where the correlation of a run is undefined, the
    ends also for a single run.
    """
    names = (name, f"{name}_low", f"{name}_high")
    if np.isnan(correlations).any():
        return dict.fromkeys(names)
    mean, half_width = mean_ci95(fisher_z(correlations, points), tests)
    if half_width is None:
        return dict(zip(names, (np.tanh(mean), None, None)))
    return dict(zip(names, np.tanh([mean, mean - half_width, mean + half_width])))


def fisher_z(correlations, points):
    """artanh of rank correlations over so many points, finite for those of ±1 too.

    A correlation of 1 is replaced by the middle between 1 and the highest rank correlation below
    it, which is 1 − 6 / (n³ − n); −1 likewise.
    """
    highest = 1 - 3 / (points**3 - points)
    return np.arctanh(np.clip(correlations, -highest, highest))


def spearman_ci95(x, y):
    """Spearman's rank correlation of x and y (n,) with its 95 % bootstrap interval: rho, low, high.

    The unit is the point: points must be independent of each other, and none may be counted twice.
    The interval is that of percentiles. All are None for fewer than FEWEST_POINTS, where x or y
    never varies, and where that holds for more than a fraction MOST_UNDEFINED of the resamples: so
    few points then carry the correlation that there is nothing to correlate.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < FEWEST_POINTS:
        return None, None, None
    draws = np.random.default_rng(0).integers(0, len(x), (RESAMPLES, len(x)))
    correlations = spearman_of_rows(x[draws], y[draws])
    undefined = np.isnan(correlations)
    if undefined.mean() > MOST_UNDEFINED:
        return None, None, None
    low, high = np.quantile(correlations[~undefined], (0.025, 0.975))
    return float(spearman(x, y)), float(low), float(high)


def spearman_of_rows(x, y):
    """spearman of every row of x and y (rows, n): (rows,)."""
    x_ranks, y_ranks = scipy.stats.rankdata(x, axis=1), scipy.stats.rankdata(y, axis=1)
    x_ranks = x_ranks - x_ranks.mean(1, keepdims=True)
    y_ranks = y_ranks - y_ranks.mean(1, keepdims=True)
    scale = np.sqrt((x_ranks**2).sum(1) * (y_ranks**2).sum(1))
    nan_where_undefined = np.full(len(x), np.nan)
    return np.divide((x_ranks * y_ranks).sum(1), scale, out=nan_where_undefined, where=scale > 0)


def correlation_within_groups(x, y):
    """The correlation of x and y (runs, groups) within the groups: r, low, high.

    What tells a run from the others of its group is its value minus the mean of the group, divided
    by their standard deviation. Pearson's correlation of these numbers, over all groups, is one
    that no difference between groups can explain. The unit is the run, because run k may share
    something in all groups. The 95 % interval is the jackknife's over runs, of Fisher's z (Tukey
    1958): each run is left out in turn, and from what that changes comes a value that the run
    stands for by itself, its pseudo-value; they have a t-interval. None where x or y never varies
    within a group; the ends also for fewer than four runs.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    run_count = len(x)
    z = z_within_groups(x, y)
    if np.isnan(z):
        return None, None, None
    if run_count < 4:
        return float(np.tanh(z)), None, None
    pseudo_values = []
    for run in range(run_count):
        z_without_run = z_within_groups(np.delete(x, run, 0), np.delete(y, run, 0))
        pseudo_values.append(run_count * z - (run_count - 1) * z_without_run)
    _, half_width = mean_ci95(pseudo_values)
    return tuple(float(np.tanh(end)) for end in (z, z - half_width, z + half_width))


def z_within_groups(x, y):
    """Fisher's z of correlation_within_groups; NaN where there is none."""
    varies = (np.ptp(x, axis=0) > 0) & (np.ptp(y, axis=0) > 0)  # groups in which both vary
    if not varies.any():
        return np.nan
    x, y = x[:, varies], y[:, varies]
    x_scores = (x - x.mean(0)) / x.std(0)
    y_scores = (y - y.mean(0)) / y.std(0)
    correlation = np.mean(x_scores * y_scores)  # Pearson's: the mean square of the scores is 1
    return np.arctanh(np.clip(correlation, -0.9999, 0.9999))  # finite for a perfect line too


# --- comparing models: all pairs, so that no choice of a best one precedes the test ---


def holm(p_values):
    """Holm's adjustment (1979) of p-values for several hypotheses at once, in the order given.

    None, which stands for no test, stays None and does not count.
    """
    tested = [place for place, p_value in enumerate(p_values) if p_value is not None]
    order = sorted(tested, key=lambda place: p_values[place])
    adjusted, highest = [None] * len(p_values), 0.0
    for position, place in enumerate(order):
        factor = len(order) - position  # the smallest p-value counts for all hypotheses
        # No p-value may end below that of a hypothesis with a smaller one.
        highest = max(highest, min(1.0, factor * p_values[place]))
        adjusted[place] = float(highest)
    return adjusted


def compare_accuracies(accuracies):
    """Rows: one for each pair of models {model: accuracies (R,)}, the better one first.

    The unit is the run. Runs are paired: run k of every model must share something with run k of
    the others, such as the order of the data. The difference of the means comes with the half width
    of its 95 % t-interval; the p-values of the paired t-tests are Holm's over all pairs of models,
    None where all runs differ by the same, or for a single run.
    """
    rows = []
    for first, second in combinations(accuracies, 2):
        better, worse = sorted((first, second), key=lambda model: -np.mean(accuracies[model]))
        differences = np.asarray(accuracies[better]) - np.asarray(accuracies[worse])
        difference, half_width = mean_ci95(differences)
        rows.append({
            "better": better,
            "worse": worse,
            "runs": len(differences),
            "accuracy_difference": difference,
            "difference_ci95": half_width,
            "p_value": p_value_of_mean(differences),
        })
    return adjust_p_values(rows)


def compare_errors(errors):
    """Rows: one for each pair of models {model: errors (R,)}, that of the lower median first.

    The unit is the run. Runs are not paired: those of two models share nothing but the number of
    their seed. The test is Mann and Whitney's on the ranks, because errors span decades; its
    p-values are Holm's over all pairs of models, None for a single run. "chance_of_lower_error" is
    the fraction of all pairs of runs in which the better model has the lower error, ties counting
    half. "median_ratio" divides the median of the worse model by that of the better one; its 95 %
    interval is the bootstrap's of percentiles, which resamples the two models independently, None
    for fewer than FEWEST_POINTS runs.
    """
    rows = []
    for first, second in combinations(errors, 2):
        better, worse = sorted((first, second), key=lambda model: np.median(errors[model]))
        better_errors, worse_errors = np.asarray(errors[better]), np.asarray(errors[worse])
        enough = min(len(better_errors), len(worse_errors)) > 1
        test = scipy.stats.mannwhitneyu(better_errors, worse_errors)
        pairs = len(better_errors) * len(worse_errors)
        ratio_low, ratio_high = median_ratio_interval(better_errors, worse_errors)
        rows.append({
            "better": better,
            "worse": worse,
            "runs": len(better_errors),
            # The statistic counts the pairs in which the better model has the larger error.
            "chance_of_lower_error": 1 - test.statistic / pairs,
            "median_ratio": np.median(worse_errors) / np.median(better_errors),
            "ratio_low": ratio_low,
            "ratio_high": ratio_high,
            "p_value": test.pvalue if enough else None,
        })
    return adjust_p_values(rows)


def median_ratio_interval(better_errors, worse_errors):
    """The 95 % bootstrap interval of the ratio of two medians, see compare_errors: low, high."""
    if min(len(better_errors), len(worse_errors)) < FEWEST_POINTS:
        return None, None
    random = np.random.default_rng(0)
    medians = []
    for errors in (better_errors, worse_errors):
        draws = random.integers(0, len(errors), (RESAMPLES, len(errors)))
        medians.append(np.median(errors[draws], axis=1))
    better_medians, worse_medians = medians
    low, high = np.quantile(worse_medians / better_medians, (0.025, 0.975))
    return float(low), float(high)


def adjust_p_values(rows):
    """Replaces the p-values of rows by Holm's, in place; returns the rows."""
    for row, p_value in zip(rows, holm([row["p_value"] for row in rows])):
        row["p_value"] = p_value
    return rows


def tested_means(values):
    """Means over runs of {name: (R,) or None}, tested, as facts.

    Returns {name: {"value", "ci95", "p_value"}}. The unit is the run, see mean_ci95. The p-values
    are those of t-tests of whether a mean is 0, corrected for all names by Holm's method. All are
    None where the values are.
    """
    p_values = holm([None if of_runs is None else p_value_of_mean(of_runs)
                     for of_runs in values.values()])
    facts = {}
    for (name, of_runs), p_value in zip(values.items(), p_values):
        mean, half_width = (None, None) if of_runs is None else mean_ci95(of_runs)
        facts[name] = {"value": mean, "ci95": half_width, "p_value": p_value}
    return facts


# --- where a curve reaches a value ---


def first_reaching(curve, threshold):
    """The index of the first point of a curve (points,) that is at least threshold, or None."""
    reached = np.flatnonzero(np.asarray(curve) >= threshold)
    return int(reached[0]) if len(reached) else None


def place_of_reaching(places, curve, threshold):
    """Where a curve (points,) at places (points,) first reaches the threshold, or None.

    Between two points the curve is interpolated linearly.
    """
    index = first_reaching(curve, threshold)
    if index is None:
        return None
    if index == 0:
        return float(places[0])
    two_points = slice(index - 1, index + 1)
    return float(np.interp(threshold, curve[two_points], places[two_points]))


# --- peaks of noisy curves: the place is chosen by some runs, the height measured in the others ---


def find_peak(curve):
    """Most prominent peak within a curve (points,): indices (valley before, peak, valley after).

    Prominence is the smaller of the rise from the lowest point before and the fall to the lowest
    point after; it is negative where the curve is monotone.
    """
    highest_prominence = -np.inf
    for place in range(1, len(curve) - 1):
        rise = curve[place] - min(curve[:place])
        fall = curve[place] - min(curve[place + 1:])
        if min(rise, fall) > highest_prominence:
            highest_prominence, peak = min(rise, fall), place
    valley_before = int(np.argmin(curve[:peak]))
    valley_after = peak + 1 + int(np.argmin(curve[peak + 1:]))
    return valley_before, peak, valley_after


def held_out_peak(values, measured=None):
    """Rise to and fall from the peak of values (runs, points), held out: (runs,) and (runs,).

    The unit is the run. In each run they are measured at the places that the mean of the other runs
    chooses. In the very runs that choose it, the highest of many noisy points is a peak even where
    there is none. With measured (runs, points) rise and fall are those of other values at the same
    places.
    """
    measured = values if measured is None else measured
    rises, falls = [], []
    for run in range(len(values)):
        others = np.delete(values, run, 0) if len(values) > 1 else values
        valley_before, peak, valley_after = find_peak(others.mean(0))
        rises.append(measured[run, peak] - measured[run, valley_before])
        falls.append(measured[run, peak] - measured[run, valley_after])
    return np.array(rises), np.array(falls)


def held_out_argmax(values):
    """For each run of values (runs, points) the place where the mean of the other runs is highest.

    The unit is the run. The highest of a run's own noisy values would lie above the others even
    where all is noise. For three runs [[1, 9, 2], [1, 3, 8], [1, 4, 7]] the places are [2, 1, 1]:
    the other two have means [1, 3.5, 7.5], then [1, 6.5, 4.5], then [1, 6, 5]. There the runs
    themselves have 2, 3 and 4, while their own highest values are 9, 8 and 7. A single run has no
    others and is its own judge.
    """
    if len(values) == 1:
        return values.argmax(1)
    places = []
    for run in range(len(values)):
        mean_of_others = np.delete(values, run, 0).mean(0)
        places.append(mean_of_others.argmax())
    return np.array(places)
