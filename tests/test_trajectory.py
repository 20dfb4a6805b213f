"""Planes, walks, lines and twins in parameter space against independent answers, in float64."""

import numpy as np
import torch

from common.models import cnn, mlp
from common.parameters import barrier, flatten, interpolate, unflatten
from common.statistics import mean_ci95
from common.training import run_generators
from common.trajectory import (
    fit_plane,
    mean_over_pairs,
    on_plane,
    one_layer,
    permuted_twins,
    project,
    random_walks,
)


def random_paths(runs=3, records=7, dimensions=50):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(runs, records, dimensions, dtype=torch.float64, generator=generator).cumsum(1)


def test_projection_equals_an_independent_singular_value_decomposition():
    paths = random_paths()
    pca = fit_plane(paths)
    vectors = paths.flatten(0, 1).numpy()
    u, s, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    coordinates = project(pca, paths).reshape(-1, 2)
    signs = np.sign((coordinates * u[:, :2]).sum(0))  # a component's direction is arbitrary
    np.testing.assert_allclose(coordinates, signs * u[:, :2] * s[:2], atol=1e-10)  # entries of order 10, 15 digits
    np.testing.assert_allclose(pca.explained_variance_ratio_, s[:2] ** 2 / (s**2).sum(), rtol=1e-12)


def test_paths_in_a_plane_are_reconstructed_and_all_their_variance_is_explained():
    generator = torch.Generator().manual_seed(1)
    basis, origin = torch.randn(2, 40, dtype=torch.float64, generator=generator), torch.arange(40.0).double()
    paths = origin + torch.randn(2, 6, 2, dtype=torch.float64, generator=generator) @ basis
    pca = fit_plane(paths)
    torch.testing.assert_close(on_plane(pca, project(pca, paths), through=paths[0, 3]), paths)
    np.testing.assert_allclose(pca.explained_variance_ratio_.sum(), 1, rtol=1e-12)


def test_a_moved_plane_passes_through_its_point_and_keeps_its_directions():
    paths = random_paths()
    pca, through = fit_plane(paths), paths[1, 2]
    at_point = project(pca, through[None])[0]
    torch.testing.assert_close(on_plane(pca, at_point, through), through)
    moved = on_plane(pca, at_point + np.array([[0, 0], [3, 0], [0, 4]]), through)
    torch.testing.assert_close((moved[1:] - through).norm(dim=1), torch.tensor([3.0, 4.0]).double())
    np.testing.assert_allclose(project(pca, moved) - at_point, [[0, 0], [3, 0], [0, 4]], atol=1e-12)


def test_walks_have_the_paths_starts_and_step_lengths_and_isotropic_directions():
    paths = random_paths(runs=2, records=200, dimensions=100)
    walks = random_walks(paths, run_generators(0, 2, "probe"))
    torch.testing.assert_close(walks[:, 0], paths[:, 0])
    torch.testing.assert_close(walks.diff(dim=1).norm(dim=2), paths.diff(dim=1).norm(dim=2))
    cosines = torch.cosine_similarity(walks.diff(dim=1), paths.diff(dim=1), dim=2)
    # The cosine of a fixed and an isotropic direction has mean 0 and variance 1/P: 398 of them, within 5 standard errors.
    assert abs(cosines.mean()) < 5 / (100 * 398) ** 0.5
    assert abs(cosines.var() - 1 / 100) < 5 * (2 / 398) ** 0.5 / 100


def test_the_walks_of_a_run_depend_on_that_run_alone():
    paths = random_paths(runs=3)
    torch.testing.assert_close(random_walks(paths[:2], run_generators(0, 2, "probe")),
                               random_walks(paths, run_generators(0, 3, "probe"))[:2])


def test_lines_and_barrier_on_quadratics():
    starts, ends = random_paths(runs=1, records=4)[0], random_paths(runs=2, records=4)[1]
    alphas = np.linspace(0, 1, 5)
    lines = interpolate(starts, ends, torch.as_tensor(alphas))
    torch.testing.assert_close(lines[:, 1], 0.75 * starts + 0.25 * ends)
    # f(θ) = −‖θ − m‖² with m half-way is 0 at its top and −d²/4 at both ends; the convex −f has no barrier at all.
    middle, squared = (starts + ends) / 2, (starts - ends).square().sum(1)
    losses = -(lines - middle[:, None]).square().sum(2)
    torch.testing.assert_close(barrier(alphas, losses), squared / 4)
    torch.testing.assert_close(barrier(alphas, -losses), torch.zeros(4).double())
    # A slope has none either, and a bump on it counts from the line between the ends.
    losses = torch.tensor([[2.0, 1.0, 0.0], [0.0, 5.0, 2.0]])
    torch.testing.assert_close(barrier(np.array([0, 0.5, 1]), losses), torch.tensor([0.0, 4.0]), check_dtype=False)


def test_a_twin_is_another_point_and_the_same_function():
    generators = run_generators(0, 2, "initialization")
    convolutional = cnn([[2]], 3, [6, 5], generators, image_size=8)
    for model, shape in ((convolutional, (1, 8, 8)), (mlp([9, 6, 5, 3], generators), (9,))):
        model.double()
        vectors = flatten(dict(model.named_parameters()))
        twins = permuted_twins(vectors, model, torch.Generator().manual_seed(3))
        inputs = torch.randn(2, 11, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
        outputs = torch.func.functional_call(model, unflatten(twins, model), (inputs,))
        torch.testing.assert_close(outputs, model(inputs))
        assert (twins - vectors).norm(dim=1).min() > 0.5
        torch.testing.assert_close(twins.sort().values, vectors.sort().values)


def test_the_jackknife_of_values_that_belong_to_one_run_is_the_t_interval():
    values = np.array([1.0, 4.0, 2.0, 8.0])
    own = np.arange(4)[:, None].repeat(2, axis=1)
    np.testing.assert_allclose(mean_over_pairs(values, own), mean_ci95(values))


def test_the_jackknife_of_pairs_is_wider_than_if_they_were_independent():
    # The value of a pair is the sum of its runs' effects: its mean is twice the runs' mean, and so is its interval.
    effects = np.random.default_rng(0).normal(size=8)
    pairs = np.array([(i, j) for i in range(8) for j in range(i)])
    mean, half = mean_over_pairs(effects[pairs].sum(1), pairs)
    expected_mean, expected_half = mean_ci95(2 * effects)
    np.testing.assert_allclose(mean, expected_mean)
    np.testing.assert_allclose(half, expected_half)
    assert half > mean_ci95(effects[pairs].sum(1))[1]


def test_one_layer_is_that_layer_of_every_run_and_record():
    model = cnn([[2]], 3, [6, 5], run_generators(0, 2, "initialization"), image_size=8)
    vectors = flatten(dict(model.named_parameters()))
    paths = torch.stack([vectors, vectors + 1], 1)  # (R, 2, P)
    linear = [module for module in model if hasattr(module, "weight")][2]  # the convolution is 0, the first linear one 1
    expected = torch.cat([linear.weight.detach().flatten(1), linear.bias.detach().flatten(1)], 1)
    torch.testing.assert_close(one_layer(paths, model, 2), torch.stack([expected, expected + 1], 1))
