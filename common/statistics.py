"""Intervals for repeated runs."""

import numpy as np
from scipy import stats


def mean_ci95(values):
    """Mean of the runs (axis 0) and the half width of its 95 % t-interval: None where there is a single run."""
    values = np.asarray(values, dtype=float)
    runs = len(values)
    if runs < 2:
        return values.mean(0), None
    return values.mean(0), stats.t.ppf(0.975, runs - 1) * values.std(0, ddof=1) / np.sqrt(runs)


def spearman_ci95(x, y):
    """Spearman's rank correlation of x and y with its 95 % percentile bootstrap interval: (rho, low, high)."""

    def correlation(x, y):
        return stats.spearmanr(x, y).statistic

    interval = stats.bootstrap((x, y), correlation, paired=True, vectorized=False, n_resamples=1000,
                               method="percentile", random_state=0).confidence_interval
    return float(correlation(x, y)), float(interval.low), float(interval.high)


def spearman_clusters_ci95(x, y, resamples=1000):
    """Spearman's rank correlation over all members of x and y (clusters, members), with a 95 % interval: (rho, low, high).

    The percentile bootstrap draws whole clusters, because members of one cluster are not independent (Field & Welsh 2007,
    J. R. Stat. Soc. B 69). None where x or y never varies.
    """

    def correlations(index):  # (draws, clusters) -> (draws,)
        ranks = [stats.rankdata(values[index].reshape(len(index), -1), axis=1) for values in (x, y)]
        x_ranks, y_ranks = (rank - rank.mean(1, keepdims=True) for rank in ranks)
        scale = np.sqrt((x_ranks**2).sum(1) * (y_ranks**2).sum(1))
        return np.divide((x_ranks * y_ranks).sum(1), scale, out=np.full(len(index), np.nan), where=scale > 0)

    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    clusters = np.arange(len(x))
    rho = correlations(clusters[np.newaxis])[0]
    if np.isnan(rho):
        return None, None, None
    draws = np.random.default_rng(0).choice(clusters, (resamples, len(clusters)))
    low, high = np.nanquantile(correlations(draws), [0.025, 0.975])  # a draw of one cluster only may not vary
    return float(rho), float(low), float(high)


def holm(p_values):
    """Holm's adjustment of p-values for testing several hypotheses at once (Holm 1979), in the order given."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)).clip(max=1)
    return adjusted.tolist()
