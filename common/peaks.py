"""Peaks of noisy curves, one curve for each run: the place is chosen by some runs, the height measured in the others."""

import numpy as np


def find_peak(curve):
    """The most prominent peak within a curve (points,): indices (valley before, peak, valley after).

    Prominence is the smaller of the rise from the lowest point before and the fall to the lowest point after; it is
    negative where the curve is monotone.
    """
    before = np.minimum.accumulate(curve)[:-2]
    after = np.minimum.accumulate(curve[::-1])[::-1][2:]
    peak = 1 + int(np.argmax(curve[1:-1] - np.maximum(before, after)))
    return int(np.argmin(curve[:peak])), peak, peak + 1 + int(np.argmin(curve[peak + 1:]))


def held_out_peak(values):
    """Rise to and fall from the peak, in each run at the places that the mean of the other runs chooses: (runs,) twice.

    values is (runs, points). In the very runs that choose it, the highest of many noisy points is a peak even where
    there is none.
    """
    rises, falls = [], []
    for run in range(len(values)):
        others = np.delete(values, run, 0) if len(values) > 1 else values
        before, peak, after = find_peak(others.mean(0))
        rises.append(values[run, peak] - values[run, before])
        falls.append(values[run, peak] - values[run, after])
    return np.array(rises), np.array(falls)


def held_out_argmax(values):
    """For each run of values (runs, points) the place at which the mean of the other runs is highest: (runs,).

    The highest of a run's own noisy values would lie above the others even where there is nothing but noise.
    """
    if len(values) == 1:
        return values.argmax(1)
    return np.array([np.delete(values, run, 0).mean(0).argmax() for run in range(len(values))])
