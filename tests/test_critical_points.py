"""Gradients, Hessians, the search for critical points and both minimal ratios, against closed forms."""

import math
from itertools import product

import pytest
import torch
from torch import nn

from common.critical_points import find_critical_points, flatness, gradient_and_hessian, kernel_share, loss_of, measure
from common.minimal_ratio import classify, directions, number_distinct, sampled_ratios, signature
from common.models import mlp
from common.parameters import flatten

SIGNATURE = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.0, -0.5, -4.0], dtype=torch.float64)  # 4 positive, 1 zero, 2 negative


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def quadratic(eigenvalues):
    """A symmetric matrix of these eigenvalues, and the function ½ θᵀHθ."""
    rotation = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues))).Q
    matrix = rotation @ torch.diag(eigenvalues) @ rotation.T
    return matrix, lambda vector: vector @ matrix @ vector / 2


def product_of_weights(vector):
    """A deep linear network of three weights, one example: its only saddle with all weights equal is at zero."""
    return (1 - vector.prod()) ** 2


def test_linear_regression_has_its_closed_form_derivatives():
    inputs, targets, decay = normal(20, 3, seed=1), normal(20, 1, seed=2), 0.3
    model = mlp([3, 1], [generator()]).double()  # parameters: three weights, then the bias
    gradient, hessian = gradient_and_hessian(loss_of(model, inputs, targets, decay))
    design = torch.cat([inputs, torch.ones(20, 1, dtype=torch.float64)], dim=1)
    points = normal(5, 4, seed=3)
    residuals = points @ design.T - targets.T
    torch.testing.assert_close(gradient(points), 2 / 20 * residuals @ design + decay * points)
    expected = 2 / 20 * design.T @ design + decay * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(hessian(points), expected.expand(5, 4, 4))


def test_tanh_network_agrees_with_finite_differences():
    inputs = torch.linspace(0, 1, 16, dtype=torch.float64).unsqueeze(1)
    model = mlp([1, 4, 4, 1], [generator(0), generator(1)], nn.Tanh).double()
    loss = loss_of(model, inputs, torch.sinc(5 * inputs), 1e-2)
    gradient, hessian = gradient_and_hessian(loss)
    points, step = flatten(dict(model.named_parameters())), 1e-5
    for point, exact_gradient, exact_hessian in zip(points, gradient(points), hessian(points)):
        shifts = step * torch.eye(len(point), dtype=torch.float64)
        slopes = torch.stack([(loss(point + shift) - loss(point - shift)) / (2 * step) for shift in shifts])
        torch.testing.assert_close(exact_gradient, slopes, atol=1e-9, rtol=1e-6)
        columns = (gradient(point + shifts) - gradient(point - shifts)) / (2 * step)
        torch.testing.assert_close(exact_hessian, columns, atol=1e-8, rtol=1e-6)


def test_search_solves_a_quadratic_saddle_whose_solution_is_known():
    matrix, _ = quadratic(torch.tensor([5.0, 1.0, -0.1, -2.0], dtype=torch.float64))
    vector = normal(4, seed=4)
    points = find_critical_points(lambda theta: theta @ matrix @ theta / 2 - vector @ theta, normal(6, 4, seed=5), 200)
    torch.testing.assert_close(points, torch.linalg.solve(matrix, vector).expand(6, 4))


def test_search_finds_the_saddle_and_the_minima_of_a_deep_linear_network():
    # (1 − ab)² has a saddle of eigenvalues ±2 at zero and minima wherever ab = 1.
    starts = torch.tensor([[0.3, -0.2], [0.1, 0.1], [1.2, 1.1], [-2.0, -0.7]], dtype=torch.float64)
    points = find_critical_points(lambda theta: (1 - theta.prod()) ** 2, starts, 100)
    gradient, hessian = gradient_and_hessian(lambda theta: (1 - theta.prod()) ** 2)
    assert gradient(points).norm(dim=1).max() <= 1e-10
    torch.testing.assert_close(points[:2], torch.zeros(2, 2, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(points[2:].prod(1), torch.ones(2, dtype=torch.float64))
    counts = signature(torch.linalg.eigvalsh(hessian(points)))
    assert counts.tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 0], [1, 1, 0]]


def test_zero_is_degenerate_in_a_linear_network_of_three_layers_and_weight_decay_makes_it_a_minimum():
    _, hessian = gradient_and_hessian(product_of_weights)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    assert hessian(zero).abs().max() == 0
    _, hessian = gradient_and_hessian(lambda theta: product_of_weights(theta) + 1e-3 / 2 * theta @ theta)
    assert signature(torch.linalg.eigvalsh(hessian(zero))).tolist() == [[3, 0, 0]]


def test_search_rests_where_the_gradient_norm_is_stationary_but_not_zero():
    # L = x + x³ + y²: the derivative 1 + 3x² is never zero, and smallest at x = 0, where ∇ = (1, 0) and H = diag(0, 2).
    def loss(theta):
        return theta[0] + theta[0] ** 3 + theta[1] ** 2

    points = find_critical_points(loss, torch.tensor([[0.5, 0.5], [-0.8, 3.0]], dtype=torch.float64), 200)
    torch.testing.assert_close(points, torch.zeros(2, 2, dtype=torch.float64), atol=1e-6, rtol=0)
    gradients, hessians = (derivative(points) for derivative in gradient_and_hessian(loss))
    torch.testing.assert_close(gradients.norm(dim=1), torch.ones(2, dtype=torch.float64))
    assert flatness(gradients, hessians).max() <= 1e-7
    share, dimensions = kernel_share(gradients, hessians)
    torch.testing.assert_close(share, torch.ones(2, dtype=torch.float64))
    assert dimensions.tolist() == [0.5, 0.5]


def test_flatness_and_kernel_share_of_a_known_gradient():
    hessians = torch.diag(torch.tensor([-4.0, 1.0, 0.0], dtype=torch.float64)).expand(4, 3, 3)
    gradients = torch.tensor([[7.0, 0, 0], [0, 1e-3, 0], [0, 0, 5.0], [3.0, 0, 4.0]], dtype=torch.float64)
    expected = torch.tensor([4, 1, 0, 4 * 3 / 5], dtype=torch.float64) / math.sqrt(17)
    torch.testing.assert_close(flatness(gradients, hessians), expected)
    share, dimensions = kernel_share(gradients, hessians)
    torch.testing.assert_close(share, torch.tensor([0, 0, 1, 16 / 25], dtype=torch.float64))
    torch.testing.assert_close(dimensions, torch.full((4,), 1 / 3, dtype=torch.float64))


def test_a_gradient_of_random_direction_is_not_flat():
    hessian, _ = quadratic(normal(33, seed=6).exp())
    gradients = directions(2_000, 33, generator())
    squares = flatness(gradients, hessian.expand(2_000, 33, 33)).square()
    assert squares.mean().sqrt() == pytest.approx(33**-0.5, rel=0.02)


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_signature_of_a_quadratic_does_not_depend_on_its_scale(scale):
    matrix, _ = quadratic(scale * SIGNATURE)
    assert signature(torch.linalg.eigvalsh(matrix).unsqueeze(0)).tolist() == [[4, 1, 2]]


@pytest.mark.parametrize("signs, share", [((1, 1), 1), ((-1, -1), 0), ((1, -1), 0.5), ((3, -1), 2 / 3)])
def test_neighbours_of_a_quadratic_in_the_plane_have_the_share_of_a_known_angle(signs, share):
    # ½(ax² − by²) rises where |tan φ| < √(a/b): a share (2/π) atan √(a/b) of all directions, 2/3 for a/b = 3.
    matrix, loss = quadratic(torch.tensor(signs, dtype=torch.float64))
    unit = directions(20_000, 2, generator())
    tolerance = 4 * math.sqrt(0.25 / len(unit))  # four standard errors
    zero = torch.zeros(2, dtype=torch.float64)
    sampled = sampled_ratios(loss, zero, matrix, unit, (0, 1e-3, 10.0))
    assert sampled.tolist() == pytest.approx([share] * 3, abs=tolerance)


def test_neighbours_follow_the_trace_where_eigenvalues_are_counted_one_by_one():
    # One steep eigenvalue outweighs nine slightly negative ones: the ratio of counts is 0.1, yet most neighbours are higher.
    matrix, loss = quadratic(torch.tensor([1.0] + [-1e-3] * 9, dtype=torch.float64))
    unit = directions(2_000, 10, generator())
    assert signature(torch.linalg.eigvalsh(matrix).unsqueeze(0)).tolist() == [[1, 0, 9]]
    assert sampled_ratios(loss, torch.zeros(10, dtype=torch.float64), matrix, unit, (0, 1e-2)).min() > 0.85


def test_neighbours_beyond_a_barrier_are_seen_by_a_large_radius_only():
    def double_well(theta):  # minima at ±1 on the first axis, a saddle between them
        return (theta[0] ** 2 - 1) ** 2 - 0.5 * theta[0] + theta[1:].square().sum()

    _, hessian = gradient_and_hessian(double_well)
    start = torch.tensor([[-1.0, 0.0]], dtype=torch.float64)
    minimum = find_critical_points(double_well, start, 50)
    ratios = sampled_ratios(double_well, minimum[0], hessian(minimum)[0], directions(4_000, 2, generator()), (0, 1e-2, 2.0))
    assert ratios[:2].tolist() == [1, 1] and 0.5 < ratios[2] < 1


def test_losses_within_the_tolerance_share_a_number():
    losses = torch.tensor([0.3, 0.1, 0.1 + 1e-12, 0.2, 0.3 - 1e-12], dtype=torch.float64)
    assert number_distinct(losses).tolist() == [3, 1, 1, 2, 3]
    assert number_distinct(losses[:0]).tolist() == []


def test_directions_are_uniform_on_the_sphere():
    unit = directions(50_000, 3, generator())
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(50_000, dtype=torch.float64))
    octants = torch.stack([((unit > 0) == torch.tensor(corner)).all(1).sum()
                           for corner in product((True, False), repeat=3)])
    assert (octants - 50_000 / 8).abs().max() < 5 * math.sqrt(50_000 / 8)  # five deviations of a count
    torch.testing.assert_close(unit.square().mean(0), torch.full((3,), 1 / 3, dtype=torch.float64), atol=0.01, rtol=0)


def test_measure_and_classify_agree_with_a_quadratic_that_is_known():
    matrix, loss = quadratic(SIGNATURE)
    points = torch.zeros(2, 7, dtype=torch.float64)
    found = classify(loss, points, [directions(500, 7, generator(seed)) for seed in range(2)], (0, 1.0))
    assert found["signature"].tolist() == [[4, 1, 2]] * 2
    assert found["minimal_ratio"].tolist() == pytest.approx([4 / 7] * 2)
    torch.testing.assert_close(found["eigenvalues"], SIGNATURE.sort().values.expand(2, 7), atol=1e-12, rtol=0)
    torch.testing.assert_close(found["sampled_ratios"][:, 0], found["sampled_ratios"][:, 1])
    point = normal(1, 7, seed=7)
    measured = measure(loss, point)
    assert measured["gradient_norm"].item() == pytest.approx((matrix @ point[0]).norm().item())
    assert measured["loss"].item() == pytest.approx((point[0] @ matrix @ point[0] / 2).item())
