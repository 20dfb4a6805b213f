"""Planes and random walks in parameter space against independent answers, in float64."""

from common.training import run_generators
from common.trajectory import explained_variance, fit_plane, on_plane, project, random_walks

import numpy as np
import torch
from sklearn.decomposition import PCA


def random_paths(runs=3, records=7, dimensions=50):
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(runs, records, dimensions, dtype=torch.float64, generator=generator)
    return steps.cumsum(1)


def test_projection_equals_an_independent_singular_value_decomposition():
    paths = random_paths()
    pca = fit_plane(paths)
    vectors = paths.flatten(0, 1).numpy()
    u, s, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    coordinates = project(pca, paths).reshape(-1, 2)
    signs = np.sign((coordinates * u[:, :2]).sum(0))  # a component's direction is arbitrary
    # entries of order 10, 15 digits
    np.testing.assert_allclose(coordinates, signs * u[:, :2] * s[:2], atol=1e-10)
    np.testing.assert_allclose(pca.explained_variance_ratio_, s[:2] ** 2 / (s**2).sum(), rtol=1e-12)


def test_explained_variance_is_that_of_scikit_learns_pca():
    for dimensions in (50, 5):  # more than points, and fewer
        vectors = 100 + random_paths(dimensions=dimensions).flatten(0, 1)
        expected = PCA().fit(vectors).explained_variance_ratio_
        np.testing.assert_allclose(explained_variance(vectors), expected[:2], rtol=1e-10)
    line = torch.arange(4.0).double()[:, None] * torch.ones(1, 9)
    np.testing.assert_allclose(explained_variance(line), [1, 0], atol=1e-12)


def test_projections_keep_the_shape_of_runs_and_records():
    paths = random_paths(runs=2, records=3)
    pca = fit_plane(paths)
    coordinates = project(pca, paths)
    assert coordinates.shape == (2, 3, 2)
    np.testing.assert_allclose(coordinates[1, 2], project(pca, paths[1, 2][None])[0])


def test_paths_in_a_plane_are_reconstructed_and_all_their_variance_is_explained():
    generator = torch.Generator().manual_seed(1)
    basis = torch.randn(2, 40, dtype=torch.float64, generator=generator)
    coordinates = torch.randn(2, 6, 2, dtype=torch.float64, generator=generator)
    paths = torch.arange(40.0).double() + coordinates @ basis
    pca = fit_plane(paths)
    torch.testing.assert_close(on_plane(pca, project(pca, paths), through=paths[0, 3]), paths)
    np.testing.assert_allclose(pca.explained_variance_ratio_.sum(), 1, rtol=1e-12)


def test_a_moved_plane_passes_through_its_point_and_keeps_its_directions():
    paths = random_paths()
    pca, through = fit_plane(paths), paths[1, 2]
    at_point = project(pca, through[None])[0]
    torch.testing.assert_close(on_plane(pca, at_point, through), through)
    moved = on_plane(pca, at_point + np.array([[0, 0], [3, 0], [0, 4]]), through)
    distances = (moved[1:] - through).norm(dim=1)
    torch.testing.assert_close(distances, torch.tensor([3.0, 4.0]).double())
    np.testing.assert_allclose(project(pca, moved) - at_point, [[0, 0], [3, 0], [0, 4]], atol=1e-12)


def test_walks_have_the_paths_starts_and_step_lengths_and_isotropic_directions():
    paths = random_paths(runs=2, records=200, dimensions=100)
    walks = random_walks(paths, run_generators(0, 2, "probe"))
    walked, steps = walks.diff(dim=1), paths.diff(dim=1)
    torch.testing.assert_close(walks[:, 0], paths[:, 0])
    torch.testing.assert_close(walked.norm(dim=2), steps.norm(dim=2))
    cosines = torch.cosine_similarity(walked, steps, dim=2)
    # The cosine of a fixed and an isotropic direction has mean 0 and variance 1/P: 398 of them,
    # within 5 standard errors.
    assert abs(cosines.mean()) < 5 / (100 * 398) ** 0.5
    assert abs(cosines.var() - 1 / 100) < 5 * (2 / 398) ** 0.5 / 100


def test_the_walks_of_a_run_depend_on_that_run_alone():
    paths = random_paths(runs=3)
    two = random_walks(paths[:2], run_generators(0, 2, "probe"))
    three = random_walks(paths, run_generators(0, 3, "probe"))
    torch.testing.assert_close(two, three[:2])
