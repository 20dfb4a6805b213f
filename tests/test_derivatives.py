"""Sensitivity and sharpness against closed forms, full Hessians and SciPy's optimizer, all in float64."""

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch import nn

from common.models import mlp
from common.parameters import flatten, unflatten
from common.sharpness import (
    curvature,
    epsilon_sharpness,
    gradient,
    hessian_vector_product,
    input_sensitivity,
    largest_eigenvalue,
    loss_of,
)
from common.statistics import spearman_clusters_ci95
from common.training import run_generators

EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64 with sums of a few hundred terms


@pytest.fixture
def problem():
    """Three smooth networks with 20 examples: (model, vectors (3, P), images, labels)."""
    model = mlp([6, 5, 4], run_generators(0, 3, "initialization"), activation=nn.Tanh)
    random = torch.Generator().manual_seed(1)
    images = torch.randn(20, 1, 2, 3, generator=random, dtype=torch.float64)
    labels = torch.randint(4, (20,), generator=random)
    return model, flatten(dict(model.named_parameters())).double(), images, labels


def quadratic(matrix, slope=0.0):
    """½ xᵀAx + bᵀx for vectors x (R, P), the matrix A (P, P) and the slope b (P,)."""
    return lambda vectors: ((vectors @ matrix) * vectors).sum(1) / 2 + (slope * vectors).sum(1)


@pytest.fixture
def saddle():
    """A symmetric matrix with eigenvalues of both signs, and points: (matrix (12, 12), points (2, 12))."""
    random = torch.Generator().manual_seed(2)
    draw = torch.randn(12, 12, generator=random, dtype=torch.float64)
    return draw + draw.mT, torch.randn(2, 12, generator=random, dtype=torch.float64)


def softmax_regression(runs=2, inputs=7, classes=4, examples=30):
    model = mlp([inputs, classes], run_generators(3, runs, "initialization")).double()
    random = torch.Generator().manual_seed(4)
    images = torch.randn(examples, inputs, generator=random, dtype=torch.float64)
    labels = torch.randint(classes, (examples,), generator=random)
    weights, biases = (parameter.detach() for parameter in model.parameters())
    probabilities = (images @ weights.mT + biases.mT).softmax(2)  # (R, N, classes)
    return model, images, labels, weights, probabilities


@pytest.mark.parametrize("chunk", [30, 7])
def test_sensitivity_of_softmax_regression_is_the_norm_of_the_weighted_residuals(chunk):
    model, images, labels, weights, probabilities = softmax_regression()
    residuals = probabilities - nn.functional.one_hot(labels, 4)
    expected = (residuals @ weights).norm(dim=2).mean(1)  # ∂ℓ/∂x = Wᵀ(p − y)
    measured = input_sensitivity(model, dict(model.named_parameters()), images, labels, chunk)
    torch.testing.assert_close(measured, expected, **EXACT)


def test_jacobian_of_softmax_regression_is_the_softmax_derivative_times_the_weights():
    model, images, _, weights, p = softmax_regression()
    derivative = torch.diag_embed(p) - p.unsqueeze(3) * p.unsqueeze(2)  # diag(p) − ppᵀ, (R, N, classes, classes)
    expected = (derivative @ weights.unsqueeze(1)).norm(dim=(2, 3)).mean(1)
    measured = input_sensitivity(model, dict(model.named_parameters()), images, chunk=11)
    torch.testing.assert_close(measured, expected, **EXACT)


def test_sensitivity_leaves_the_model_and_its_gradients_alone(problem):
    model, vectors, images, labels = problem
    before = flatten(dict(model.named_parameters())).clone()
    input_sensitivity(model, unflatten(vectors, model), images, labels)
    assert torch.equal(before, flatten(dict(model.named_parameters())))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_gradient_belongs_to_each_run_alone(problem):
    model, vectors, images, labels = problem
    loss = loss_of(model, images, labels)
    together = gradient(loss, vectors)
    alone = torch.cat([gradient(loss, vector) for vector in vectors.split(1)])
    torch.testing.assert_close(together, alone, **EXACT)


def test_hessian_vector_products_and_eigenvalues_match_the_full_hessian(problem):
    model, vectors, images, labels = problem
    loss = loss_of(model, images, labels)
    hessians = torch.stack([torch.func.hessian(lambda x: loss(x.unsqueeze(0)).sum())(vector) for vector in vectors])
    directions = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    products = (hessians @ directions.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(hessian_vector_product(loss, vectors, directions), products, **EXACT)
    torch.testing.assert_close(curvature(loss, vectors, directions), (directions * products).sum(1), **EXACT)
    # twice the relative tolerance that the iteration was asked for
    torch.testing.assert_close(largest_eigenvalue(loss, vectors, tolerance=1e-6),
                               torch.linalg.eigvalsh(hessians)[:, -1], rtol=2e-6, atol=0)


def test_the_largest_eigenvalue_is_the_most_positive_one_not_the_largest_in_magnitude(saddle):
    matrix, points = saddle
    matrix = matrix - 4 * torch.eye(12, dtype=torch.float64)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert -eigenvalues[0] > 2 * eigenvalues[-1] > 0
    measured = largest_eigenvalue(quadratic(matrix), points, tolerance=1e-8)
    torch.testing.assert_close(measured, eigenvalues[-1].expand(2), rtol=1e-7, atol=0)


def test_curvature_of_a_quadratic_is_the_same_everywhere(saddle):
    matrix, points = saddle
    directions = points.flip(1)
    expected = ((directions @ matrix) * directions).sum(1)
    for place in (points, 5 * points):
        torch.testing.assert_close(curvature(quadratic(matrix, slope=points[0]), place, directions), expected, **EXACT)


def test_curvature_matches_the_second_difference_of_the_loss(problem):
    model, vectors, images, labels = problem
    loss = loss_of(model, images, labels)
    directions = vectors.flip(0)
    step = 1e-4  # balances the step's error (∝ step²) with the rounding of the losses (1e-16 / step²)
    ahead, here, behind = (loss(vectors + sign * step * directions) for sign in (1, 0, -1))
    torch.testing.assert_close(curvature(loss, vectors, directions), (ahead - 2 * here + behind) / step**2,
                               rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 4])
def test_sharpness_of_a_linear_loss_is_its_slope_over_the_box(steps):
    slopes = torch.tensor([[1.0, -2.0, 0.0], [0.5, 4.0, -1.0]], dtype=torch.float64)
    points = torch.tensor([[0.0, 1.0, 3.0], [2.0, -1.0, 0.5]], dtype=torch.float64)
    start = 3 + (slopes * points).sum(1)
    rise = 0.01 * (slopes.abs() * (points.abs() + 1)).sum(1)  # every coordinate at the edge of its interval
    sharpness = epsilon_sharpness(lambda vectors: 3 + (slopes * vectors).sum(1), points, epsilon=0.01, steps=steps)
    torch.testing.assert_close(sharpness, 100 * rise / (1 + start), **EXACT)


def test_sharpness_of_separable_bowls_is_reached_at_the_far_corner():
    centers = torch.tensor([[0.3, -0.2, 1.0]], dtype=torch.float64)
    points = torch.tensor([[0.31, -0.2001, 0.9]], dtype=torch.float64)
    box = 0.05 * (points.abs() + 1)
    start = (points - centers).square().sum(1)
    farthest = ((points - centers).abs() + box).square().sum(1)  # away from the centre in every coordinate
    sharpness = epsilon_sharpness(lambda vectors: (vectors - centers).square().sum(1), points, epsilon=0.05)
    torch.testing.assert_close(sharpness, 100 * (farthest - start) / (1 + start), **EXACT)


def test_sharpness_is_zero_at_the_top_of_a_hill(saddle):
    matrix, points = saddle
    hill = quadratic(-matrix @ matrix)
    assert epsilon_sharpness(hill, torch.zeros_like(points)).tolist() == [0, 0]


def test_sharpness_finds_what_lbfgsb_finds(problem):
    """Keskar's own optimizer, run to convergence from the same point."""
    model, vectors, images, labels = problem
    loss, epsilon = loss_of(model, images, labels), 0.01
    measured = epsilon_sharpness(loss, vectors, epsilon)
    for vector, sharpness in zip(vectors, measured):

        def negative(point):
            point = torch.from_numpy(point).unsqueeze(0)
            return -float(loss(point)), -gradient(loss, point)[0].numpy()

        box = epsilon * (vector.abs() + 1)
        result = optimize.minimize(negative, vector.numpy(), jac=True, method="L-BFGS-B",
                                   bounds=optimize.Bounds((vector - box).numpy(), (vector + box).numpy()))
        start = float(loss(vector.unsqueeze(0)))
        # Two local maxima of a nearly linear problem; a coordinate whose maximum lies inside the box may cost ours a little.
        assert sharpness >= 0.99 * 100 * (-result.fun - start) / (1 + start)


def test_clustered_correlation_agrees_with_scipys_bootstrap_of_whole_clusters():
    random = np.random.default_rng(6)
    x = np.arange(12)[:, np.newaxis] + 0.1 * random.standard_normal((12, 5))
    y = x + 6 * random.standard_normal((12, 1))  # the noise is common to a cluster
    rho, low, high = spearman_clusters_ci95(x, y, resamples=4_000)
    assert rho == pytest.approx(stats.spearmanr(x.ravel(), y.ravel()).statistic)

    def z_of(clusters):
        clusters = clusters.astype(int)
        return np.arctanh(stats.spearmanr(x[clusters].ravel(), y[clusters].ravel()).statistic)

    error = stats.bootstrap((np.arange(12),), z_of, vectorized=False, n_resamples=2_000, method="percentile",
                            random_state=7).standard_error
    half_width = stats.t.ppf(0.975, 11) * error
    # a standard error from 2,000 draws is known to about 2 %
    assert np.arctanh([low, high]) == pytest.approx(np.arctanh(rho) + half_width * np.array([-1, 1]), abs=0.1 * half_width)


@pytest.mark.parametrize("x", [np.ones((8, 5)), np.arange(5).reshape(1, 5)])
def test_correlation_with_something_constant_or_within_one_cluster_is_none(x):
    assert spearman_clusters_ci95(x, np.arange(x.size).reshape(x.shape)) == (None, None, None)


def test_the_interval_holds_a_perfect_order():
    x = np.arange(15).reshape(5, 3)
    rho, low, high = spearman_clusters_ci95(x, x)
    assert 0.999 < low <= rho <= high <= 1
