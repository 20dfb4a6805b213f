"""Gradients, Hessians, critical points and how they are found, in closed form."""

import math
from itertools import product

from common.critical_points import (
    count_signs,
    find_critical_points,
    gradients_at,
    hessians_at,
    limited_newton_steps,
    losses_at,
    measure_ends,
    number_distinct,
    number_losses,
    random_directions,
    share_of_higher_neighbours,
)
from common.derivatives import loss_at
from common.models import mlp
from common.parameters import parameter_vectors
from common.training import mean_squared_error

import pytest
import torch
from torch import nn

# 4 positive, 1 zero, 2 negative
SEVEN_EIGENVALUES = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.0, -0.5, -4.0], dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def quadratic(eigenvalues):
    """A symmetric matrix H of these eigenvalues, and the loss ½ θᵀHθ."""
    rotation = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues))).Q
    matrix = rotation @ torch.diag(eigenvalues) @ rotation.T
    return matrix, lambda points: ((points @ matrix) * points).sum(1) / 2


def deep_linear(points):
    """(1 − θ₁ θ₂ …)², a deep linear network of one weight in each layer and one example."""
    return (1 - points.prod(1)) ** 2


# --- derivatives ---


def test_linear_regression_has_its_closed_form_derivatives():
    inputs, targets, decay = normal(20, 3, seed=1), normal(20, 1, seed=2), 0.3
    model = mlp([3, 1], [generator()]).double()  # parameters: three weights, then the bias
    loss = loss_at(model, inputs, targets, mean_squared_error, decay)
    design = torch.cat([inputs, torch.ones(20, 1, dtype=torch.float64)], dim=1)
    points = normal(5, 4, seed=3)
    residuals = points @ design.T - targets.T
    squares = residuals.square().mean(1) + decay / 2 * points.square().sum(1)
    torch.testing.assert_close(losses_at(loss, points), squares)
    torch.testing.assert_close(gradients_at(loss, points),
                               2 / 20 * residuals @ design + decay * points)
    expected = 2 / 20 * design.T @ design + decay * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(hessians_at(loss, points), expected.expand(5, 4, 4))


def test_tanh_network_agrees_with_finite_differences():
    inputs = torch.linspace(0, 1, 16, dtype=torch.float64).unsqueeze(1)
    model = mlp([1, 4, 4, 1], [generator(0), generator(1)], nn.Tanh).double()
    loss = loss_at(model, inputs, torch.sinc(5 * inputs), mean_squared_error, 1e-2)
    points, step = parameter_vectors(model), 1e-5
    shifts = step * torch.eye(points.shape[1], dtype=torch.float64)
    for point, gradient, hessian in zip(points, gradients_at(loss, points),
                                        hessians_at(loss, points)):
        slopes = (loss(point + shifts) - loss(point - shifts)) / (2 * step)
        torch.testing.assert_close(gradient, slopes, atol=1e-9, rtol=1e-6)
        above, below = gradients_at(loss, point + shifts), gradients_at(loss, point - shifts)
        torch.testing.assert_close(hessian, (above - below) / (2 * step), atol=1e-8, rtol=1e-6)


# --- the search ---


def test_search_solves_a_quadratic_saddle_whose_solution_is_known():
    matrix, bowl = quadratic(tensor([5.0, 1.0, -0.5, -2.0]))
    slope = normal(4, seed=4)
    points = find_critical_points(lambda points: bowl(points) - points @ slope,
                                  normal(6, 4, seed=5), 200)
    torch.testing.assert_close(points, torch.linalg.solve(matrix, slope).expand(6, 4))


def test_search_finds_the_saddle_and_the_minima_of_a_deep_linear_network():
    # (1 − ab)² has a saddle of eigenvalues ±2 at zero and minima wherever ab = 1.
    starts = tensor([[0.3, -0.2], [0.1, 0.1], [1.2, 1.1], [-2.0, -0.7]])
    points = find_critical_points(deep_linear, starts, 100)
    assert gradients_at(deep_linear, points).norm(dim=1).max() <= 1e-10
    torch.testing.assert_close(points[:2], torch.zeros(2, 2).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(points[2:].prod(1), torch.ones(2).double())
    counts = count_signs(torch.linalg.eigvalsh(hessians_at(deep_linear, points)))
    assert counts.tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 0], [1, 1, 0]]


def test_without_a_limit_a_step_is_newtons_and_with_it_each_eigenvector_has_its_own():
    matrix, _ = quadratic(tensor([5.0, 1.0, -0.1, -2.0]))
    gradients, hessians = normal(3, 4, seed=4), matrix.expand(3, 4, 4)
    newton = -torch.linalg.solve(matrix, gradients.T).T
    torch.testing.assert_close(limited_newton_steps(gradients, hessians, 1e9), newton)
    eigenvectors = torch.linalg.eigh(matrix).eigenvectors
    limited = limited_newton_steps(gradients, hessians, 0.3) @ eigenvectors
    torch.testing.assert_close(limited, (newton @ eigenvectors).clamp(-0.3, 0.3))


def test_a_step_where_the_curvature_is_zero_is_as_long_as_the_limit_or_nothing():
    hessians = torch.diag(tensor([2.0, 0.0, 0.0])).unsqueeze(0)
    step = limited_newton_steps(tensor([[0.2, 3.0, 0.0]]), hessians, 0.5)
    assert step.abs().tolist() == [pytest.approx([0.1, 0.5, 0.0])]


def test_of_all_points_on_its_way_a_search_returns_the_one_of_smallest_gradient():
    # x + x³/3 has the derivative 1 + x², nowhere zero and smallest at x = 0.
    def loss(points):
        x = points[:, 0]
        return x + x**3 / 3

    starts = tensor([[2.0], [-0.5]])
    for iterations in (1, 5, 100):
        points = find_critical_points(loss, starts, iterations)
        norms = gradients_at(loss, points).norm(dim=1)
        assert (norms <= gradients_at(loss, starts).norm(dim=1)).all()
    assert points.abs().max() < 0.1 and norms.min() >= 1


# --- what the loss is like at points ---


def test_points_are_measured_as_a_known_quadratic_has_it():
    matrix, loss = quadratic(SEVEN_EIGENVALUES)
    points = normal(2, 7, seed=7)
    measured = measure_ends(loss, points)
    gradients = points @ matrix
    torch.testing.assert_close(measured["loss"], (gradients * points).sum(1) / 2)
    torch.testing.assert_close(measured["gradient_norm"], gradients.norm(dim=1))
    torch.testing.assert_close(measured["eigenvalues"],
                               SEVEN_EIGENVALUES.sort().values.expand(2, 7), atol=1e-12, rtol=0)
    assert measured["minimal_ratio"].tolist() == pytest.approx([4 / 7] * 2)
    assert measured["zero_ratio"].tolist() == pytest.approx([1 / 7] * 2)
    assert measured["negative_ratio"].tolist() == pytest.approx([2 / 7] * 2)
    assert measured["saddle"].tolist() == [True, True]
    _, valley = quadratic(tensor([2.0, 1.0, 0.0]))
    assert measure_ends(valley, normal(1, 3, seed=7))["saddle"].tolist() == [False]


# --- minimum or saddle ---


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_signs_of_a_quadratic_do_not_depend_on_its_scale(scale):
    matrix, _ = quadratic(scale * SEVEN_EIGENVALUES)
    assert count_signs(torch.linalg.eigvalsh(matrix).unsqueeze(0)).tolist() == [[4, 1, 2]]


def test_zero_is_degenerate_in_a_linear_network_of_three_layers_and_weight_decay_makes_it_a_minimum(
):
    zero = torch.zeros(1, 3, dtype=torch.float64)
    assert hessians_at(deep_linear, zero).abs().max() == 0

    def decayed(points):
        return deep_linear(points) + 1e-3 / 2 * points.square().sum(1)

    eigenvalues = torch.linalg.eigvalsh(hessians_at(decayed, zero))
    assert count_signs(eigenvalues).tolist() == [[3, 0, 0]]


@pytest.mark.parametrize("signs, fraction",
                         [((1, 1), 1), ((-1, -1), 0), ((1, -1), 0.5), ((3, -1), 2 / 3)])
def test_higher_neighbours_of_a_quadratic_in_the_plane_fill_a_known_angle(signs, fraction):
    # ½(ax² − by²) rises where |tan φ| < √(a/b): a fraction (2/π) atan √(a/b) of all directions,
    # 2/3 for a/b = 3.
    _, loss = quadratic(tensor(signs))
    directions = random_directions(20_000, 2, generator())
    tolerance = 4 * math.sqrt(0.25 / len(directions))  # four standard errors
    for radius in (1e-3, 10.0):
        sampled = share_of_higher_neighbours(loss, tensor([0.0, 0.0]), directions, radius)
        assert sampled.item() == pytest.approx(fraction, abs=tolerance)


def test_neighbours_follow_the_trace_where_eigenvalues_are_counted_one_by_one():
    # One steep eigenvalue outweighs nine slightly negative ones: the ratio of counts is 0.1, yet
    # most neighbours are higher.
    matrix, loss = quadratic(tensor([1.0] + [-1e-3] * 9))
    directions = random_directions(2_000, 10, generator())
    assert count_signs(torch.linalg.eigvalsh(matrix).unsqueeze(0)).tolist() == [[1, 0, 9]]
    assert share_of_higher_neighbours(loss, torch.zeros(10).double(), directions, 1e-2) > 0.85


def test_neighbours_beyond_a_barrier_are_seen_by_a_large_radius_only():
    def double_well(points):  # minima near ±1 on the first axis, the one at +1 the lower
        x, y = points.T
        return (x**2 - 1) ** 2 - 0.5 * x + y**2

    minimum = find_critical_points(double_well, tensor([[-1.0, 0.0]]), 50)
    directions = random_directions(4_000, 2, generator())
    assert share_of_higher_neighbours(double_well, minimum[0], directions, 1e-2) == 1
    assert 0.5 < share_of_higher_neighbours(double_well, minimum[0], directions, 2.0) < 1


def test_losses_within_the_tolerance_share_a_number():
    losses = tensor([0.3, 0.1, 0.1 + 1e-12, 0.2, 0.3 - 1e-12])
    assert number_losses(losses).tolist() == [3, 1, 1, 2, 3]
    assert number_losses(losses[:0]).tolist() == []


def test_points_share_a_number_where_both_loss_and_spectrum_are_equal():
    losses = tensor([0.3, 0.1, 0.1 + 1e-12, 0.1, 0.3, 0.2])
    eigenvalues = tensor([[1, 5], [-1, 100], [-1 + 1e-6, 100], [-1.1, 100], [1, 5], [-1, 100]])
    numbers = number_distinct(losses, eigenvalues).tolist()
    # the second and third are equal; the fourth is of equal loss only, the sixth of equal spectrum
    # only
    assert numbers == [4, 1, 1, 2, 4, 3]
    assert number_distinct(losses[:0], eigenvalues[:0]).tolist() == []


def test_points_that_a_symmetry_of_the_network_maps_to_each_other_are_one():
    inputs = torch.linspace(0, 1, 16, dtype=torch.float64).unsqueeze(1)
    model = mlp([1, 2, 1], [generator()], nn.Tanh).double()  # w₁, w₂, b₁, b₂, v₁, v₂, c
    loss = loss_at(model, inputs, torch.sinc(5 * inputs), mean_squared_error, 1e-2)
    point = normal(7, seed=8)
    swapped_units = point[[1, 0, 3, 2, 5, 4, 6]]
    mirrored_unit = point * tensor([-1, 1, -1, 1, -1, 1, 1])
    mirrored_weight = point * tensor([-1, 1, 1, 1, 1, 1, 1])  # which is no symmetry
    ends = measure_ends(loss, torch.stack([point, swapped_units, mirrored_unit, mirrored_weight]))
    numbers = number_distinct(ends["loss"], ends["eigenvalues"])
    assert numbers[0] == numbers[1] == numbers[2] != numbers[3]


def test_directions_are_uniform_on_the_sphere():
    directions = random_directions(50_000, 3, generator())
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(50_000, dtype=torch.float64))
    octants = torch.stack([((directions > 0) == torch.tensor(corner)).all(1).sum()
                           for corner in product((True, False), repeat=3)])
    # five deviations of a count
    assert (octants - 50_000 / 8).abs().max() < 5 * math.sqrt(50_000 / 8)
    torch.testing.assert_close(directions.square().mean(0), torch.full((3,), 1 / 3).double(),
                               atol=0.01, rtol=0)
