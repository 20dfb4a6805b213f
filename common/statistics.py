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


def holm(p_values):
    """Holm's adjustment of p-values for testing several hypotheses at once (Holm 1979), in the order given."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1)).clip(max=1)
    return adjusted.tolist()
