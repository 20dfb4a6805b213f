"""The functions to be fitted, against their definitions."""

from common.data import grid, sinc, square_wave, triangle_wave

import numpy as np
import pytest
import torch


def test_the_grid_is_even_and_avoids_the_jumps():
    x = grid(128)
    assert x.shape == (128, 1)
    assert x.dtype == torch.float32
    assert x[0] == 1 / 256  # the middle of the first interval
    torch.testing.assert_close(x.diff(dim=0), torch.full((127, 1), 1 / 128))
    assert (square_wave(x).abs() == 1).all()  # zero at a jump


def test_sinc_is_its_formula_and_one_at_zero():
    x = np.linspace(0.01, 1, 50)
    expected = np.sin(5 * np.pi * x) / (5 * np.pi * x)
    np.testing.assert_allclose(sinc(torch.from_numpy(x)), expected, atol=1e-15)
    assert sinc(torch.zeros(1)) == 1


def test_the_square_wave_has_five_pieces():
    values = square_wave(grid(1_000)).flatten()
    assert values.unique().tolist() == [-1, 1]
    assert (values.diff() != 0).sum() == 4
    assert values[0] == 1


def test_the_triangle_wave_has_eight_teeth():
    x = torch.linspace(0, 1, 17, dtype=torch.float64)
    assert triangle_wave(x).tolist() == pytest.approx([0, 1] * 8 + [0])
    middles = (x[1:] + x[:-1]) / 2
    torch.testing.assert_close(triangle_wave(middles), torch.full((16,), 0.5, dtype=torch.float64))
