"""Intervals and corrections against textbook values."""

import numpy as np
import pytest
from scipy import stats

from common.statistics import holm, mean_ci95, spearman_ci95


def test_mean_ci95_is_the_t_interval_of_scipy():
    values = [1.0, 2.0, 4.0, 7.0]
    mean, half_width = mean_ci95(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high))
    assert mean_ci95([3.0]) == (3.0, None)


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
