"""What networks can represent without training: the bounds beside the trained networks."""

from itertools import combinations
from types import SimpleNamespace

import hw1_1_simulate
from common.data import grid, tent_map
from common.evaluation import predict
from common.models import mlp, mlp_widths
from common.plotting import find_row

import numpy as np
import pytest
import torch

SETTINGS = SimpleNamespace(points=128)


@pytest.mark.parametrize("depth", [2, 4, 7])
def test_deep_networks_set_by_hand_are_the_tent_map(depth):
    model = hw1_1_simulate.set_tent_map_by_hand(depth)
    trained = mlp(mlp_widths(depth, hw1_1_simulate.PARAMETERS), [torch.Generator()])
    shapes = [parameter.shape for parameter in trained.parameters()]
    assert [parameter.shape for parameter in model.parameters()] == shapes
    x = torch.arange(2**14 + 1, dtype=torch.float64).unsqueeze(1) / 2**14
    # All weights and x are dyadic and small, so that nothing is rounded: the two are equal.
    assert torch.equal(predict(model, x)[0], tent_map(x))
    x = torch.rand(1_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # Sums of up to 16 terms of size 16 are rounded by 1e-15 each, and later layers multiply by 256.
    torch.testing.assert_close(predict(model, x)[0], tent_map(x), rtol=0, atol=1e-11)
    # The composition needs every layer: without one of them it is another function.
    with torch.no_grad():
        list(model.parameters())[-2][0, 0, 1] = 0
    assert not torch.allclose(predict(model, x)[0], tent_map(x), atol=0.1)


def test_the_stored_rows_of_networks_set_by_hand_are_zero():
    rows = hw1_1_simulate.measure_networks_set_by_hand(SETTINGS)
    assert [row["depth"] for row in rows] == [2, 4, 7]
    for row in rows:
        assert row["train_mse"] == 0
        assert row["test_mse"] < 1e-24  # the test points are not dyadic: squares of the above


def lowest_error(targets, hinges):
    """The lowest mean squared error of so many hinges, over a fine grid of places for them."""
    points = len(targets)
    x = np.arange(points, dtype=float)
    lowest = np.inf
    for places in combinations(np.arange(0, points - 1, 0.125), hinges):
        features = np.column_stack([np.ones(points), x, *[np.maximum(x - t, 0) for t in places]])
        weights = np.linalg.lstsq(features, targets, rcond=None)[0]
        lowest = min(lowest, ((features @ weights - targets) ** 2).mean())
    return lowest


@pytest.mark.parametrize("points, hinges", [(5, 0), (5, 1), (5, 2), (7, 1), (7, 2), (9, 2)])
def test_no_network_of_one_layer_gets_below_the_floor(points, hinges):
    # lowest_error adds a straight line for nothing, which would cost a layer another hinge.
    floor = hw1_1_simulate.one_layer_floor(hinges, points)
    assert 0 < floor < lowest_error(np.arange(points) % 2, hinges)


def test_the_floor_ends_where_there_are_hinges_enough():
    assert hw1_1_simulate.one_layer_floor(190, 257) == pytest.approx(33 / 4 / 257)
    # A hinge at every inner point, and one for the first slope, reach all points.
    assert hw1_1_simulate.one_layer_floor(256, 257) == 0
    assert lowest_error(np.arange(5) % 2, 3) < 1e-25
    assert hw1_1_simulate.one_layer_floor(3, 5) == 0


def test_the_bounds_of_the_tent_map_belong_to_its_training_points():
    row = hw1_1_simulate.bound_tent_map(SETTINGS)[0]
    assert (row["hinges"], row["points"]) == (190, 257)
    assert row["one_layer_floor"] == hw1_1_simulate.one_layer_floor(190, 257)
    assert row["best_constant"] == pytest.approx(128 * 129 / 257**2)  # ones, zeros


def test_training_points_are_a_grid_or_the_corners_of_the_tent_map():
    x, y = hw1_1_simulate.training_points("sinc", SETTINGS)
    assert torch.equal(x, grid(128)) and y.shape == (128, 1)
    x, y = hw1_1_simulate.training_points("tent map", SETTINGS)
    assert x.flatten().tolist() == [corner / 256 for corner in range(257)]
    assert y.flatten().tolist() == [0, 1] * 128 + [0]


def test_fixed_hinges_get_the_best_output_weights():
    rows = hw1_1_simulate.fit_fixed_hinges(SETTINGS)
    # The same functions in another basis: straight lines between values at 0, 1/190, ..., 1.
    corners = np.arange(191) / 190
    x, y = hw1_1_simulate.training_points("tent map", SETTINGS, torch.float64)
    x, y = x.flatten().numpy(), y.flatten().numpy()
    basis = np.column_stack([np.interp(x, corners, unit) for unit in np.eye(191)])
    errors = (basis @ np.linalg.lstsq(basis, y, rcond=None)[0] - y) ** 2
    row = find_row(rows, function="tent map")
    assert row["hinges"] == 190
    assert row["train_mse"] == pytest.approx(errors.mean(), rel=1e-6)  # bases of other condition
    for name in ("sinc", "square wave"):  # more hinges than points: all are met
        row = find_row(rows, function=name)
        assert row["train_mse"] == hw1_1_simulate.SMALLEST_MSE
    # Between the points sinc is smooth. Its jumps keep the square wave's error above 1e-3.
    assert find_row(rows, function="sinc")["test_mse"] < 1e-7
    assert find_row(rows, function="square wave")["test_mse"] > 1e-3


def test_fixed_hinges_find_a_function_that_bends_at_them(monkeypatch):
    def bends(x):
        return 2 * x - 3 * (x - 19 / 190).relu() + 5 * (x - 152 / 190).relu() - 1

    monkeypatch.setattr(hw1_1_simulate, "FUNCTIONS", {"bends": bends})
    settings = SimpleNamespace(points=1_000)
    row, = hw1_1_simulate.fit_fixed_hinges(settings)
    assert row["test_mse"] < 1e-20  # rounding of float64, times the features' condition
