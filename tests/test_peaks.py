"""The peak finders, on curves whose answers are known."""

import numpy as np
import pytest
from scipy.signal import find_peaks

from common.peaks import find_peak, held_out_argmax, held_out_peak


def test_peak_by_hand():
    assert find_peak(np.array([5.0, 1.0, 2.0, 4.0, 3.0, 0.5])) == (1, 3, 5)
    assert find_peak(np.array([9.0, 2.0, 3.0, 2.5, 8.0, 1.0, 4.0])) == (1, 4, 5)  # the larger of two


@pytest.mark.parametrize("seed", range(20))
def test_peak_is_the_most_prominent_of_scipy(seed):
    curve = np.random.default_rng(seed).normal(size=15).cumsum()
    peaks, properties = find_peaks(curve, prominence=0)
    before, peak, after = find_peak(curve)
    prominence = curve[peak] - max(curve[before], curve[after])
    if len(peaks):
        # SciPy's bases stop at higher peaks; the highest drop on both sides cannot be smaller than its prominence
        assert prominence >= properties["prominences"].max() - 1e-12
    best = max(min(curve[j] - curve[:j].min(), curve[j] - curve[j + 1:].min()) for j in range(1, 14))
    assert prominence == pytest.approx(best)


def test_monotone_curve_has_no_rise_and_fall():
    before, peak, after = find_peak(np.arange(10.0)[::-1])
    assert before < peak < after
    assert np.arange(10.0)[::-1][peak] - np.arange(10.0)[::-1][before] < 0


def test_held_out_peak_finds_a_real_one_and_invents_none():
    generator = np.random.default_rng(0)
    falling = np.linspace(1, 0, 29)
    bump = falling + 2 * np.exp(-0.5 * ((np.arange(29) - 14) / 2) ** 2)
    rises, falls = held_out_peak(bump + generator.normal(scale=0.05, size=(4, 29)))
    # the extremes of 2 exp(-(x - 14)² / 8) + 1 - x / 28 on the grid
    assert rises.mean() == pytest.approx((bump.max() - bump[:14].min()), abs=0.1)
    assert falls.mean() == pytest.approx(bump.max(), abs=0.1)

    # On pure noise the peak of the runs themselves is always positive; held out it has mean zero.
    noise = generator.normal(size=(300, 4, 29))
    means = noise.mean(1)
    chosen = [curve[peak] - curve[before] for curve, (before, peak, _) in zip(means, map(find_peak, means))]
    held_out = [held_out_peak(values)[0].mean() for values in noise]
    assert np.mean(chosen) > 1
    assert abs(np.mean(held_out)) < 4 * np.std(held_out) / np.sqrt(300)


def test_peak_is_chosen_by_the_other_runs():
    values = np.array([[0.1, 0.9, 0.8, 0.1], [0.1, 0.6, 0.7, 0.1], [0.1, 0.5, 0.9, 0.2]])
    assert held_out_argmax(values).tolist() == [2, 2, 1]
    assert held_out_argmax(values[:1]).tolist() == [1]
    noise = np.random.default_rng(0).normal(size=(1000, 3, 40))
    held_out = [values[range(3), held_out_argmax(values)].mean() for values in noise]
    assert abs(np.mean(held_out)) < 4 * np.std(held_out) / np.sqrt(1000)  # the runs' own maxima would average 2.2
