"""The functions to be fitted, against their definitions."""

from common.data import grid, sinc, square_wave, tent_map

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


@pytest.mark.parametrize("compositions, pieces", [(1, 2), (2, 4), (4, 16), (8, 256)])
def test_every_composition_of_the_tent_map_doubles_its_straight_pieces(compositions, pieces):
    corners = torch.arange(pieces + 1, dtype=torch.float64) / pieces
    # Exact: all sums are dyadic.
    assert tent_map(corners, compositions).tolist() == [0, 1] * (pieces // 2) + [0]
    x = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    distance_from_odd = (pieces * x % 2 - 1).abs()  # of pieces · x from the nearest odd number
    torch.testing.assert_close(tent_map(x, compositions), 1 - distance_from_odd, rtol=0,
                               atol=1e-12)
