"""Intervals for repeated runs."""

import numpy as np
import scipy  # its parts are loaded when they are first used: a second that no script's start waits for

FEWEST_POINTS = 10  # of which a bootstrap is worth drawing


def mean_ci95(values):
    """Mean of the runs (axis 0) and the half width of its 95 % t-interval: None where there is a single run."""
    values = np.asarray(values, dtype=float)
    runs = len(values)
    if runs < 2:
        return values.mean(0), None
    return values.mean(0), scipy.stats.t.ppf(0.975, runs - 1) * values.std(0, ddof=1) / np.sqrt(runs)


def mean_columns(values):
    """Means of the runs of {name: (R,)} with the half widths of their 95 % t-intervals, as columns name and name_ci95."""
    means = {name: mean_ci95(runs) for name, runs in values.items()}
    return {name + suffix: mean[i] for name, mean in means.items() for i, suffix in enumerate(("", "_ci95"))}


def ci95_columns(name, values, limit=np.inf):
    """Mean of the runs (R,) and its 95 % t-interval, cut at ± limit, as columns of a row: name, name_low, name_high."""
    mean, half = mean_ci95(values)
    low, high = (None, None) if half is None else (max(mean - half, -limit), min(mean + half, limit))
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def ratio_ci95_columns(name, ratios):
    """The same for ratios (R,): their geometric mean, with the interval of their logarithms."""
    return {key: None if log is None else np.exp(log) for key, log in ci95_columns(name, np.log(ratios)).items()}


def quartile_columns(name, values):
    """Median and quartiles of the runs (R,), as columns of a row: name_median, name_q25 and name_q75."""
    return dict(zip((f"{name}_median", f"{name}_q25", f"{name}_q75"), np.quantile(values, (0.5, 0.25, 0.75))))


def median_ci95(values):
    """Median of the runs (R,) and its exact 95 % interval between order statistics: (median, low, high).

    The ends are None where so few runs have none (fewer than six). See scipy.stats.quantile_test.
    """
    interval = scipy.stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    return np.median(values), *(None if np.isnan(end) else end for end in interval)


def spearman(x, y):
    """Spearman's rank correlation of x and y (n,), and 0 where one never varies and thus shows none."""
    return scipy.stats.spearmanr(x, y).statistic if np.ptp(x) and np.ptp(y) else 0.0


def spearman_ci95(x, y):
    """Spearman's rank correlation of x and y (n,) with its 95 % percentile bootstrap interval: (rho, low, high).

    None where one never varies, or where there are fewer than FEWEST_POINTS.
    """
    if len(x) < FEWEST_POINTS or not np.ptp(x) or not np.ptp(y):
        return None, None, None
    interval = scipy.stats.bootstrap((x, y), spearman, paired=True, vectorized=False, n_resamples=1000,
                               method="percentile", random_state=0).confidence_interval
    return float(spearman(x, y)), float(interval.low), float(interval.high)


def spearman_clusters_ci95(x, y, resamples=1000):
    """Spearman's rank correlation over all members of x and y (clusters, members), with a 95 % interval: (rho, low, high).

    Members of a cluster are not independent, so the bootstrap draws whole clusters (Field & Welsh 2007, J. R. Stat. Soc.
    B 69). Its standard error is taken of Fisher's z = artanh(rho), where the t-interval cannot leave ±1. None where x or
    y never varies, or where there is one cluster only.
    """

    def z_of(index):  # (draws, clusters) -> (draws,)
        ranks = [scipy.stats.rankdata(values[index].reshape(len(index), -1), axis=1) for values in (x, y)]
        x_ranks, y_ranks = (rank - rank.mean(1, keepdims=True) for rank in ranks)
        scale = np.sqrt((x_ranks**2).sum(1) * (y_ranks**2).sum(1))
        rho = np.divide((x_ranks * y_ranks).sum(1), scale, out=np.full(len(index), np.nan), where=scale > 0)
        return np.arctanh(rho.clip(-0.9999, 0.9999))  # finite for perfect order too

    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    clusters = np.arange(len(x))
    z = z_of(clusters[np.newaxis])[0]
    if np.isnan(z) or len(clusters) < 2:
        return None, None, None
    draws = np.random.default_rng(0).choice(clusters, (resamples, len(clusters)))
    error = np.nanstd(z_of(draws))  # a draw of a single cluster may not vary
    half_width = scipy.stats.t.ppf(0.975, len(clusters) - 1) * error
    return tuple(float(np.tanh(value)) for value in (z, z - half_width, z + half_width))


def holm(p_values):
    """Holm's adjustment of p-values for testing several hypotheses at once (Holm 1979), in the order given."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)).clip(max=1)
    return adjusted.tolist()


def compare_to_best(values, center, test):
    """The best of several models against each other one, over paired runs.

    values maps each model to its runs, larger being better; center (such as np.mean) picks the best, test (such as
    scipy.stats.ttest_rel) compares two. Returns the best and, for each other model, (model, differences of the runs,
    p-value adjusted by Holm for the number of comparisons, None where it does not exist).
    """
    best = max(values, key=lambda model: center(values[model]))
    others = [model for model in values if model != best]
    differences = [np.asarray(values[best]) - np.asarray(values[other]) for other in others]
    # With one run, or without any difference, there is nothing to test.
    tested = [len(d) > 1 and np.ptp(d) > 0 for d in differences]
    adjusted = iter(holm([test(values[best], values[other]).pvalue for other, testable in zip(others, tested) if testable]))
    return best, [(other, d, next(adjusted) if testable else None)
                  for other, d, testable in zip(others, differences, tested)]


def compare_errors(errors):
    """The model of the lowest median error against each other one, over paired runs: a row for each comparison.

    errors maps each model to the errors of its runs. They span decades, so that Wilcoxon's signed-rank test, whose p-value
    is Holm's, and the median ratio with its interval are taken of their logarithms; "wins" counts runs that the best leads.
    """
    best, others = compare_to_best({model: -np.log10(values) for model, values in errors.items()}, np.median,
                                   scipy.stats.wilcoxon)
    rows = []
    for other, difference, p_value in others:
        ratio, low, high = (None if log is None else 10**log for log in median_ci95(difference))
        rows.append({"best": best, "against": other, "runs": len(difference), "wins": int((difference > 0).sum()),
                     "median_error_ratio": ratio, "ratio_low": low, "ratio_high": high, "p_value": p_value})
    return rows
