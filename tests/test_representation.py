"""What networks can represent without training: the bounds beside the trained networks."""

from itertools import combinations, product
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


@pytest.mark.parametrize("depth, compositions", [
    (2, 8), (4, 8), (7, 8), (1, 2), (1, 4), (2, 3), (7, 4)])
def test_networks_set_by_hand_are_the_tent_map(depth, compositions):
    model = hw1_1_simulate.set_tent_map_by_hand(depth, compositions)
    trained = mlp(mlp_widths(depth, hw1_1_simulate.PARAMETERS), [torch.Generator()])
    shapes = [parameter.shape for parameter in trained.parameters()]
    assert [parameter.shape for parameter in model.parameters()] == shapes
    x = torch.arange(2**14 + 1, dtype=torch.float64).unsqueeze(1) / 2**14
    # All weights and x are dyadic and small, so that nothing is rounded: the two are equal.
    assert torch.equal(predict(model, x)[0], tent_map(x, compositions))
    x = torch.rand(1_000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # Sums of up to 16 terms of size 16 are rounded by 1e-15 each, and later layers multiply by 256.
    torch.testing.assert_close(predict(model, x)[0], tent_map(x, compositions), rtol=0, atol=1e-11)
    # The composition needs every layer: without one of them it is another function.
    with torch.no_grad():
        list(model.parameters())[-2][0, 0, 1] = 0
    assert not torch.allclose(predict(model, x)[0], tent_map(x, compositions), atol=0.1)


def test_the_stored_rows_of_networks_set_by_hand_are_zero():
    rows = hw1_1_simulate.measure_networks_set_by_hand(SETTINGS)
    # One layer cannot represent 256 pieces; the others can represent all.
    assert [(row["pieces"], row["depth"]) for row in rows] == [
        *product((4, 8, 16), (1, 2, 4, 7)), (256, 2), (256, 4), (256, 7)]
    for row in rows:
        assert row["function"] == f"tent map, {row['pieces']} pieces"
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
    floor = hw1_1_simulate.one_layer_floor(hinges, points - 1, points)
    assert 0 < floor < lowest_error(np.arange(points) % 2, hinges)


@pytest.mark.parametrize("hinges", [0, 1, 2])
def test_the_floor_holds_with_points_between_the_ends_of_the_pieces_too(hinges):
    floor = hw1_1_simulate.one_layer_floor(hinges, 4, 9)
    assert 0 < floor < lowest_error(np.array([0, 0.5, 1, 0.5, 0, 0.5, 1, 0.5, 0]), hinges)


def test_the_floor_ends_where_there_are_hinges_enough():
    assert hw1_1_simulate.one_layer_floor(190, 256, 257) == pytest.approx(33 / 4 / 257)
    # A hinge at every inner point, and one for the first slope, reach all points.
    assert hw1_1_simulate.one_layer_floor(256, 256, 257) == 0
    assert lowest_error(np.arange(5) % 2, 3) < 1e-25
    assert hw1_1_simulate.one_layer_floor(3, 4, 5) == 0


def test_the_bounds_of_the_tent_maps_belong_to_their_training_points():
    rows = hw1_1_simulate.bound_tent_maps(SETTINGS)
    assert [row["pieces"] for row in rows] == [4, 8, 16, 256]
    for row in rows:
        assert (row["hinges"], row["points"]) == (190, 257)
        assert (row["one_layer_floor"] > 0) == (row["pieces"] == 256)
        # The points of a piece, without its upper end: j · pieces / 256 for j = 0, 1, ...
        steps = 256 // row["pieces"]
        piece = np.arange(steps) / steps
        targets = np.concatenate([*[piece, 1 - piece] * (row["pieces"] // 2), [0]])
        assert row["best_constant"] == pytest.approx(((targets - targets.mean()) ** 2).mean())
    assert rows[-1]["one_layer_floor"] == hw1_1_simulate.one_layer_floor(190, 256, 257)
    assert rows[-1]["best_constant"] == pytest.approx(128 * 129 / 257**2)  # ones, zeros


def test_flattening_one_tooth_leaves_a_run_above_the_fitted_share():
    for row in hw1_1_simulate.bound_tent_maps(SETTINGS):
        _, y = hw1_1_simulate.training_points(row["function"], SETTINGS, torch.float64)
        tooth = y[: 2 * 256 // row["pieces"] + 1]
        share = (tooth - tooth.mean()).square().sum() / 257 / row["best_constant"]
        assert share > hw1_1_simulate.FITTED_SHARE


def test_training_points_are_a_grid_or_the_corners_of_the_tent_map_of_most_pieces():
    x, y = hw1_1_simulate.training_points("sinc", SETTINGS)
    assert torch.equal(x, grid(128)) and y.shape == (128, 1)
    x, y = hw1_1_simulate.training_points("tent map, 256 pieces", SETTINGS)
    assert x.flatten().tolist() == [corner / 256 for corner in range(257)]
    assert y.flatten().tolist() == [0, 1] * 128 + [0]
    same_x, y = hw1_1_simulate.training_points("tent map, 4 pieces", SETTINGS)
    assert torch.equal(same_x, x)
    assert y.flatten()[::64].tolist() == [0, 1, 0, 1, 0] and y[32] == 0.5


def test_fits_are_counted_by_the_errors_at_the_end_over_the_best_constants():
    bounds = [{"function": "a", "pieces": 4, "best_constant": 0.2},
              {"function": "b", "pieces": 8, "best_constant": 0.5}]
    errors = {"a": {1: np.array([[9, 0.0019], [0, 0.1], [9, 0.002]])},
              "b": {1: np.array([[0, 0.02]]), 2: np.array([[0, 0.01], [1, 0.0001]])}}
    first, second, third = hw1_1_simulate.count_fits(errors, bounds)
    assert first == {"function": "a", "pieces": 4, "depth": 1, "runs": 3, "runs_that_fit": 1,
                     "share_median": pytest.approx(0.01), "share_lowest": pytest.approx(0.0095),
                     "share_highest": pytest.approx(0.5)}
    assert (second["pieces"], second["depth"], second["runs_that_fit"]) == (8, 1, 0)
    assert (third["depth"], third["runs"], third["runs_that_fit"]) == (2, 2, 1)


def test_fixed_hinges_get_the_best_output_weights():
    rows = hw1_1_simulate.fit_fixed_hinges(SETTINGS)
    # The same functions in another basis: straight lines between values at 0, 1/190, ..., 1.
    corners = np.arange(191) / 190
    x, y = hw1_1_simulate.training_points("tent map, 256 pieces", SETTINGS, torch.float64)
    x, y = x.flatten().numpy(), y.flatten().numpy()
    basis = np.column_stack([np.interp(x, corners, unit) for unit in np.eye(191)])
    errors = (basis @ np.linalg.lstsq(basis, y, rcond=None)[0] - y) ** 2
    row = find_row(rows, function="tent map, 256 pieces")
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
