"""The parameter sweep: its sizes, and where the training labels are first fitted."""

import numpy as np

from hw1_3_params import SHARES, WIDTHS, interpolation_threshold


def test_sweep_spans_what_the_question_asks():
    counts = [(784 + 1) * width + (width + 1) * 10 for width in WIDTHS]
    assert len(WIDTHS) >= 29 and counts == sorted(set(counts))
    assert counts[-1] / counts[0] >= 1000
    assert 0 in SHARES and 0.2 in SHARES


def test_threshold_is_the_first_width_whose_mean_fits():
    # one run of the second width fits, the mean of both does not; the last width falls below again
    accuracies = np.array([[0.5, 1.0, 1.0, 1.0, 0.9], [0.5, 0.9, 0.998, 1.0, 0.9]])
    assert interpolation_threshold(accuracies) == 2
    assert interpolation_threshold(accuracies[:, :2]) is None
