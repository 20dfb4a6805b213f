"""Derivatives, sensitivity and sharpness against closed forms, full Hessians and SciPy, in float64.
"""

from common.derivatives import (
    adaptive_sharpness,
    curvature,
    epsilon_sharpness,
    gradient,
    hessian_vector_product,
    input_sensitivity,
    largest_eigenvalue,
    loss_and_gradient,
    loss_at,
)
from common.models import mlp
from common.parameters import parameter_vectors, rescale, unflatten
from common.training import cross_entropy, run_generators

import pytest
import torch
from scipy import optimize
from torch import nn

EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64 with sums of a few hundred terms


def normal(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def problem():
    """Three smooth networks with 20 examples: (model, vectors (3, P), images, labels)."""
    model = mlp([6, 5, 4], run_generators(0, 3, "initialization"), activation=nn.Tanh)
    labels = torch.randint(4, (20,), generator=torch.Generator().manual_seed(1))
    return model, parameter_vectors(model).double(), normal(20, 1, 2, 3, seed=1), labels


def quadratic(matrix, slope=0.0):
    """½ xᵀAx + bᵀx for vectors x (R, P), the matrix A (P, P) and the slope b (P,)."""
    return lambda vectors: ((vectors @ matrix) * vectors).sum(1) / 2 + (slope * vectors).sum(1)


@pytest.fixture
def saddle():
    """A symmetric matrix (12, 12) with eigenvalues of both signs, and points (2, 12)."""
    draw = normal(12, 12, seed=2)
    return draw + draw.mT, normal(2, 12, seed=3)


def softmax_regression(runs=2, inputs=7, classes=4, examples=30):
    """A linear classifier: model, images, labels, weights (R, classes, inputs), probabilities."""
    model = mlp([inputs, classes], run_generators(3, runs, "initialization")).double()
    images = normal(examples, inputs, seed=4)
    labels = torch.randint(classes, (examples,), generator=torch.Generator().manual_seed(4))
    weights, biases = (parameter.detach() for parameter in model.parameters())
    probabilities = (images @ weights.mT + biases.mT).softmax(2)  # (R, N, classes)
    return model, images, labels, weights, probabilities


# --- loss and gradient ---


def test_the_loss_is_the_models_own_plus_half_the_decay_times_the_squared_norm(problem):
    model, vectors, images, labels = problem
    with torch.no_grad():
        logits = model.double()(images.unsqueeze(0))
    expected = torch.stack([nn.functional.cross_entropy(run_logits, labels)
                            for run_logits in logits])
    torch.testing.assert_close(loss_at(model, images, labels, cross_entropy)(vectors), expected,
                               **EXACT)
    decayed = loss_at(model, images, labels, cross_entropy, weight_decay=0.3)(vectors)
    torch.testing.assert_close(decayed, expected + 0.15 * vectors.square().sum(1), **EXACT)


def test_the_gradient_of_softmax_regression_is_the_mean_of_the_residuals_times_the_inputs():
    model, images, labels, _, probabilities = softmax_regression()
    loss = loss_at(model, images, labels, cross_entropy, weight_decay=0.3)
    vectors = parameter_vectors(model)
    residuals = probabilities - nn.functional.one_hot(labels, 4)  # (R, N, classes)
    by_weights = residuals.mT @ images / len(images)  # (R, classes, inputs)
    by_biases = residuals.mean(1)
    expected = torch.cat([by_weights.flatten(1), by_biases], dim=1) + 0.3 * vectors
    losses, gradients = loss_and_gradient(loss, vectors)
    torch.testing.assert_close(gradients, expected, **EXACT)
    torch.testing.assert_close(gradient(loss, vectors), expected, **EXACT)
    torch.testing.assert_close(losses, loss(vectors), **EXACT)


def test_the_gradient_belongs_to_each_run_alone(problem):
    model, vectors, images, labels = problem
    loss = loss_at(model, images, labels, cross_entropy)
    together = gradient(loss, vectors)
    alone = torch.cat([gradient(loss, vector) for vector in vectors.split(1)])
    torch.testing.assert_close(together, alone, **EXACT)


# --- curvature ---


def full_hessians(loss, vectors):
    """The Hessian of every run at vectors (R, P), by PyTorch: (R, P, P)."""

    def loss_of_one(vector):
        return loss(vector.unsqueeze(0)).sum()

    return torch.stack([torch.autograd.functional.hessian(loss_of_one, vector)
                        for vector in vectors])


def test_hessian_vector_products_and_eigenvalues_match_the_full_hessian(problem):
    model, vectors, images, labels = problem
    loss = loss_at(model, images, labels, cross_entropy)
    hessians = full_hessians(loss, vectors)
    directions = normal(*vectors.shape, seed=5)
    products = (hessians @ directions.unsqueeze(2)).squeeze(2)
    torch.testing.assert_close(hessian_vector_product(loss, vectors, directions), products, **EXACT)
    torch.testing.assert_close(curvature(loss, vectors, directions), (directions * products).sum(1),
                               **EXACT)
    # twice the relative tolerance that the iteration was asked for
    torch.testing.assert_close(largest_eigenvalue(loss, vectors, tolerance=1e-6),
                               torch.linalg.eigvalsh(hessians)[:, -1], rtol=2e-6, atol=0)


def test_the_largest_eigenvalue_is_the_most_positive_one_not_the_largest_in_magnitude():
    rotation = torch.linalg.qr(normal(12, 12, seed=2)).Q
    matrix = rotation @ torch.diag(torch.linspace(-30, 3, 12, dtype=torch.float64)) @ rotation.mT
    measured = largest_eigenvalue(quadratic(matrix), normal(2, 12, seed=3), tolerance=1e-8)
    torch.testing.assert_close(measured, torch.full((2,), 3.0).double(), rtol=1e-7, atol=0)


def test_scales_give_the_largest_eigenvalue_of_the_scaled_hessian(problem):
    model, vectors, images, labels = problem
    loss = loss_at(model, images, labels, cross_entropy)
    hessians = full_hessians(loss, vectors)
    scales = normal(*vectors.shape, seed=6).exp()
    # S H S is symmetric; its eigenvalues are those of S² H, the Hessian divided by P = S⁻².
    expected = torch.linalg.eigvals(scales.square().unsqueeze(2) * hessians).real.amax(1)
    measured = largest_eigenvalue(loss, vectors, tolerance=1e-6, scales=scales)
    torch.testing.assert_close(measured, expected, rtol=2e-6, atol=0)


def test_curvature_of_a_quadratic_is_the_same_everywhere(saddle):
    matrix, points = saddle
    directions = points.flip(1)
    expected = ((directions @ matrix) * directions).sum(1)
    loss = quadratic(matrix, slope=points[0])
    for place in (points, 5 * points):
        torch.testing.assert_close(curvature(loss, place, directions), expected, **EXACT)


def test_curvature_matches_the_second_difference_of_the_loss(problem):
    model, vectors, images, labels = problem
    loss = loss_at(model, images, labels, cross_entropy)
    directions = vectors.flip(0)
    step = 1e-4  # balances the step's error (∝ step²) with the rounding of losses (1e-16 / step²)
    ahead, here, behind = (loss(vectors + sign * step * directions) for sign in (1, 0, -1))
    torch.testing.assert_close(curvature(loss, vectors, directions),
                               (ahead - 2 * here + behind) / step**2, rtol=1e-5, atol=1e-7)


# --- sharpness ---


def keskars_box(points, epsilon):
    return epsilon * (points.abs() + 1)


def adaptive_box(points, epsilon):
    return epsilon * points.abs()


# Each measure with the sides of its box.
BOTH_MEASURES = pytest.mark.parametrize("measure, box", [(epsilon_sharpness, keskars_box),
                                                         (adaptive_sharpness, adaptive_box)])


@BOTH_MEASURES
@pytest.mark.parametrize("steps", [1, 4])
def test_sharpness_of_a_linear_loss_is_its_slope_over_the_box(measure, box, steps):
    slopes = torch.tensor([[1.0, -2.0, 0.0], [0.5, 4.0, -1.0]], dtype=torch.float64)
    points = torch.tensor([[0.0, 1.0, 3.0], [2.0, -1.0, 0.5]], dtype=torch.float64)
    start = 3 + (slopes * points).sum(1)
    rise = (slopes.abs() * box(points, 0.01)).sum(1)  # every coordinate at its edge
    sharpness = measure(lambda vectors: 3 + (slopes * vectors).sum(1), points, epsilon=0.01,
                        steps=steps)
    torch.testing.assert_close(sharpness, 100 * rise / (1 + start), **EXACT)


@BOTH_MEASURES
def test_sharpness_of_separable_bowls_is_reached_at_the_far_corner(measure, box):
    centers = torch.tensor([[0.3, -0.2, 1.0]], dtype=torch.float64)
    points = torch.tensor([[0.31, -0.2001, 0.9]], dtype=torch.float64)
    start = (points - centers).square().sum(1)
    # away from every centre
    farthest = ((points - centers).abs() + box(points, 0.05)).square().sum(1)
    sharpness = measure(lambda vectors: (vectors - centers).square().sum(1), points, epsilon=0.05)
    torch.testing.assert_close(sharpness, 100 * (farthest - start) / (1 + start), **EXACT)


def test_sharpness_is_zero_at_the_top_of_a_hill(saddle):
    matrix, points = saddle
    hill = quadratic(-matrix @ matrix)
    assert epsilon_sharpness(hill, torch.zeros_like(points)).tolist() == [0, 0]


@BOTH_MEASURES
def test_sharpness_finds_what_lbfgsb_finds(problem, measure, box):
    """Keskar's own optimizer, run to convergence from the same point."""
    model, vectors, images, labels = problem
    loss, epsilon = loss_at(model, images, labels, cross_entropy), 0.01
    measured = measure(loss, vectors, epsilon)
    for vector, sharpness in zip(vectors, measured):

        def negative(point):
            point = torch.from_numpy(point).unsqueeze(0)
            return -float(loss(point)), -gradient(loss, point)[0].numpy()

        sides = box(vector, epsilon)
        bounds = optimize.Bounds((vector - sides).numpy(), (vector + sides).numpy())
        result = optimize.minimize(negative, vector.numpy(), jac=True, method="L-BFGS-B",
                                   bounds=bounds)
        start = float(loss(vector.unsqueeze(0)))
        # Two local maxima of a nearly linear problem; a coordinate whose maximum lies inside the
        # box may cost ours a little.
        assert sharpness >= 0.99 * 100 * (-result.fun - start) / (1 + start)


@pytest.mark.parametrize("scale", [1 / 7, 3.0, 1e3])  # none is a power of two: digits are rounded
def test_adaptive_sharpness_knows_nothing_of_a_rescaling(scale):
    model = mlp([6, 5, 5, 4], run_generators(0, 3, "initialization"))
    vectors = parameter_vectors(model).double()
    labels = torch.randint(4, (20,), generator=torch.Generator().manual_seed(1))
    loss = loss_at(model, normal(20, 1, 2, 3, seed=1), labels, cross_entropy)
    scaled = rescale(vectors, model, scale)
    before, after = (adaptive_sharpness(loss, points) for points in (vectors, scaled))
    # The rise is a small difference of losses that are rounded in the sixteenth digit.
    torch.testing.assert_close(after, before, rtol=1e-10, atol=0)
    keskars = [epsilon_sharpness(loss, points) for points in (vectors, scaled)]
    assert (abs(keskars[1] / keskars[0] - 1) > 0.1).all()


# --- sensitivity to the input ---


@pytest.mark.parametrize("chunk", [30, 7])
def test_sensitivity_of_softmax_regression_is_the_norm_of_the_weighted_residuals(chunk):
    model, images, labels, weights, probabilities = softmax_regression()
    residuals = probabilities - nn.functional.one_hot(labels, 4)
    expected = (residuals @ weights).norm(dim=2).mean(1)  # ∂ℓ/∂x = Wᵀ(p − y)
    measured = input_sensitivity(model, dict(model.named_parameters()), images, labels, chunk)
    torch.testing.assert_close(measured, expected, **EXACT)


def test_jacobian_of_softmax_regression_is_the_softmax_derivative_times_the_weights():
    model, images, _, weights, p = softmax_regression()
    # diag(p) − ppᵀ, (R, N, classes, classes)
    derivative = torch.diag_embed(p) - p.unsqueeze(3) * p.unsqueeze(2)
    expected = (derivative @ weights.unsqueeze(1)).norm(dim=(2, 3)).mean(1)
    measured = input_sensitivity(model, dict(model.named_parameters()), images, chunk=11)
    torch.testing.assert_close(measured, expected, **EXACT)


def test_sensitivity_is_that_of_the_given_parameters_and_leaves_the_models_own_alone(problem):
    model, vectors, images, labels = problem
    before = parameter_vectors(model).clone()
    changed = 2 * vectors
    measured = input_sensitivity(model, unflatten(changed, model), images, labels)
    assert torch.equal(before, parameter_vectors(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    nn.utils.vector_to_parameters(2 * nn.utils.parameters_to_vector(model.parameters()),
                                  model.parameters())
    own = input_sensitivity(model.double(), dict(model.named_parameters()), images, labels)
    torch.testing.assert_close(measured, own, **EXACT)
