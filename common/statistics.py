"""Intervals and tests for repeated runs.

Every function that makes columns returns part of a table's row.
"""

import numpy as np
import scipy  # its parts are loaded when they are first used: a second that no start waits for

FEWEST_POINTS = 10  # of which a bootstrap is worth drawing
SIGNIFICANCE = 0.05  # a p-value below it counts as a difference


def is_significant(p_value):
    """Whether a p-value shows a difference; None, which stands for no test, does not."""
    return p_value is not None and p_value < SIGNIFICANCE


# --- means and medians over runs ---


def mean_ci95(values):
    """Mean over the runs (axis 0) and half width of its 95 % t-interval, None for a single run."""
    values = np.asarray(values, dtype=float)
    runs = len(values)
    if runs < 2:
        return values.mean(0), None
    standard_error = values.std(0, ddof=1) / np.sqrt(runs)
    return values.mean(0), scipy.stats.t.ppf(0.975, runs - 1) * standard_error


def mean_columns(values):
    """Means over runs of {name: (R,)} and their 95 % half widths: columns name and name_ci95."""
    columns = {}
    for name, runs in values.items():
        columns[name], columns[f"{name}_ci95"] = mean_ci95(runs)
    return columns


def interval_columns(name, values, limit=np.inf):
    """Mean over runs (R,) with its 95 % t-interval, cut at ± limit: name, name_low, name_high."""
    mean, half_width = mean_ci95(values)
    if half_width is None:
        return {name: mean, f"{name}_low": None, f"{name}_high": None}
    return {name: mean, f"{name}_low": max(mean - half_width, -limit),
            f"{name}_high": min(mean + half_width, limit)}


def ratio_columns(name, ratios):
    """Geometric mean of ratios (R,) with the 95 % t-interval of their logarithms.

    The columns are those of interval_columns.
    """
    columns = {}
    for column, logarithm in interval_columns(name, np.log(ratios)).items():
        columns[column] = None if logarithm is None else np.exp(logarithm)
    return columns


def quartile_columns(name, values):
    """Median and quartiles of the runs (R,): name_median, name_q25 and name_q75."""
    median, first_quartile, third_quartile = np.quantile(values, (0.5, 0.25, 0.75))
    return {f"{name}_median": median, f"{name}_q25": first_quartile, f"{name}_q75": third_quartile}


def median_ci95(values):
    """Median of runs (R,) and its exact 95 % interval between order statistics: median, low, high.

    An end is None where so few runs have none (fewer than six). See scipy.stats.quantile_test.
    """
    interval = scipy.stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    low, high = (None if np.isnan(end) else end for end in interval)
    return np.median(values), low, high


def mean_over_pairs(values, pairs):
    """Mean of values (n,) that belong to pairs of runs (n, 2), and its 95 % jackknife half width.

    Pairs that share a run are not independent. The jackknife leaves out one run with all its pairs
    at a time and treats the pseudo-values as the runs' own (Tukey 1958). Every run 0 … R − 1 must
    belong to equally many pairs. The half width is None for fewer than three runs.
    """
    values, pairs = np.asarray(values, dtype=float), np.asarray(pairs)
    runs = pairs.max() + 1
    if runs < 3:
        return values.mean(), None
    means_without_run = np.array([values[(pairs != run).all(1)].mean() for run in range(runs)])
    pseudo_values = runs * values.mean() - (runs - 1) * means_without_run
    return mean_ci95(pseudo_values)


# --- rank correlations ---


def spearman(x, y):
    """Spearman's rank correlation of x and y (n,), 0 where one never varies and thus shows none."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return scipy.stats.spearmanr(x, y).statistic


def spearman_ci95(x, y):
    """Spearman's rank correlation of x and y (n,) with its 95 % bootstrap interval: rho, low, high.

    The interval is that of percentiles. None where x or y never varies, or for fewer than
    FEWEST_POINTS.
    """
    if len(x) < FEWEST_POINTS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, None, None
    bootstrap = scipy.stats.bootstrap((x, y), spearman, paired=True, vectorized=False,
                                      n_resamples=1000, method="percentile", random_state=0)
    interval = bootstrap.confidence_interval
    return float(spearman(x, y)), float(interval.low), float(interval.high)


def spearman_clusters_ci95(x, y, resamples=1000):
    """Spearman's rank correlation over all members of x and y (clusters, members): rho, low, high.

    Members of a cluster are not independent, so the bootstrap draws whole clusters (Field & Welsh
    2007, J. R. Stat. Soc. B 69). Its standard error is taken of Fisher's z = artanh(rho), where the
    t-interval cannot leave ±1. None where x or y never varies, or where there is one cluster only.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    clusters = np.arange(len(x))
    z = _fisher_z(x, y, clusters[np.newaxis])[0]
    if np.isnan(z) or len(clusters) < 2:
        return None, None, None
    draws = np.random.default_rng(0).choice(clusters, (resamples, len(clusters)))
    standard_error = np.nanstd(_fisher_z(x, y, draws))  # a draw of a single cluster may not vary
    half_width = scipy.stats.t.ppf(0.975, len(clusters) - 1) * standard_error
    return tuple(float(np.tanh(end)) for end in (z, z - half_width, z + half_width))


def _fisher_z(x, y, draws):
    """artanh of the rank correlation over the clusters of each of the draws (draws, clusters)."""
    x_ranks = scipy.stats.rankdata(x[draws].reshape(len(draws), -1), axis=1)
    y_ranks = scipy.stats.rankdata(y[draws].reshape(len(draws), -1), axis=1)
    x_ranks = x_ranks - x_ranks.mean(1, keepdims=True)
    y_ranks = y_ranks - y_ranks.mean(1, keepdims=True)
    scale = np.sqrt((x_ranks**2).sum(1) * (y_ranks**2).sum(1))
    undefined = np.full(len(draws), np.nan)
    rho = np.divide((x_ranks * y_ranks).sum(1), scale, out=undefined, where=scale > 0)
    return np.arctanh(rho.clip(-0.9999, 0.9999))  # finite for perfect order too


# --- comparing models ---


def holm(p_values):
    """Holm's adjustment (1979) of p-values for several hypotheses at once, in the order given."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)  # the smallest p-value counts for all hypotheses
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(p_values[order] * factors).clip(max=1)
    return adjusted.tolist()


def compare_to_best(values, center, test):
    """The best of several models against each other one, over paired runs.

    values maps each model to its runs, larger being better. center (such as np.mean) picks the
    best, test (such as scipy.stats.ttest_rel) compares two. Returns the best model and a list of
    (other model, differences of the runs, p-value), the p-values adjusted by Holm for the number of
    comparisons, None where there is nothing to test: one run only, or one difference in all runs.
    """
    best = max(values, key=lambda model: center(values[model]))
    others = [model for model in values if model != best]
    differences = {other: np.asarray(values[best]) - np.asarray(values[other]) for other in others}
    testable = [other for other in others
                if len(differences[other]) > 1 and np.ptp(differences[other]) > 0]
    p_values = holm([test(values[best], values[other]).pvalue for other in testable])
    p_value_of = dict(zip(testable, p_values))
    return best, [(other, differences[other], p_value_of.get(other)) for other in others]


def compare_errors(errors):
    """The model of lowest median error against each other one, over paired runs: a row for each.

    errors maps each model to the errors of its runs. They span decades, so Wilcoxon's signed-rank
    test, whose p-value is Holm's, and the median ratio with its interval are taken of their
    logarithms. "wins" counts the runs in which the best model has the lower error.
    """
    accuracies = {model: -np.log10(values) for model, values in errors.items()}
    best, comparisons = compare_to_best(accuracies, np.median, scipy.stats.wilcoxon)
    rows = []
    for other, differences, p_value in comparisons:
        ratio, low, high = (None if logarithm is None else 10**logarithm
                            for logarithm in median_ci95(differences))
        rows.append({
            "best": best,
            "against": other,
            "runs": len(differences),
            "wins": int((differences > 0).sum()),
            "median_error_ratio": ratio,
            "ratio_low": low,
            "ratio_high": high,
            "p_value": p_value,
        })
    return rows


# --- where a curve reaches a value ---


def first_reaching(curve, threshold):
    """The index of the first point of a curve (points,) that is at least threshold, or None."""
    reached = np.flatnonzero(np.asarray(curve) >= threshold)
    return int(reached[0]) if len(reached) else None


# --- peaks of noisy curves: the place is chosen by some runs, the height measured in the others ---


def find_peak(curve):
    """Most prominent peak within a curve (points,): indices (valley before, peak, valley after).

    Prominence is the smaller of the rise from the lowest point before and the fall to the lowest
    point after; it is negative where the curve is monotone.
    """
    lowest_before = np.minimum.accumulate(curve)[:-2]
    lowest_after = np.minimum.accumulate(curve[::-1])[::-1][2:]
    prominence = curve[1:-1] - np.maximum(lowest_before, lowest_after)
    peak = 1 + int(np.argmax(prominence))
    valley_before = int(np.argmin(curve[:peak]))
    valley_after = peak + 1 + int(np.argmin(curve[peak + 1:]))
    return valley_before, peak, valley_after


def held_out_peak(values):
    """Rise to and fall from the peak of values (runs, points), held out: (runs,) and (runs,).

    In each run they are measured at the places that the mean of the other runs chooses. In the very
    runs that choose it, the highest of many noisy points is a peak even where there is none.
    """
    rises, falls = [], []
    for run in range(len(values)):
        others = np.delete(values, run, 0) if len(values) > 1 else values
        valley_before, peak, valley_after = find_peak(others.mean(0))
        rises.append(values[run, peak] - values[run, valley_before])
        falls.append(values[run, peak] - values[run, valley_after])
    return np.array(rises), np.array(falls)


def held_out_argmax(values):
    """For each run of values (runs, points) the place where the mean of the other runs is highest.

    The highest of a run's own noisy values would lie above the others even where all is noise.
    """
    if len(values) == 1:
        return values.argmax(1)
    places = []
    for run in range(len(values)):
        mean_of_others = np.delete(values, run, 0).mean(0)
        places.append(mean_of_others.argmax())
    return np.array(places)
