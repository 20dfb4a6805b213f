"""Paths of weights through parameter space and the planes that show them, in float64.

paths are (R, checkpoints, P): the weights of R trainings at every checkpoint.
"""

import numpy as np
import torch


def random_walks(paths, generators):
    """Walks (R, checkpoints, P) with the starts and step lengths of paths, in random directions.

    The directions are isotropic, and those of run k are drawn from generators[k].
    """
    steps = paths.diff(dim=1)
    lengths = steps.norm(dim=2, keepdim=True)
    noise = []
    for generator in generators:
        noise.append(torch.randn(steps.shape[1:], generator=generator, dtype=steps.dtype))
    noise = torch.stack(noise)
    random_steps = noise * (lengths / noise.norm(dim=2, keepdim=True))
    starts = paths[:, :1]
    return torch.cat([starts, starts + random_steps.cumsum(1)], dim=1)


def fit_plane(paths):
    """A PCA with two components of all checkpoints of all paths (..., P) together."""
    # Imported here because the import takes more than a second, which no training need wait for.
    from sklearn.decomposition import PCA

    return PCA(2, svd_solver="full").fit(paths.flatten(0, -2))  # exact and not random


def explained_variance(vectors):
    """The fractions of variance of vectors (n, P) in their first two principal components: (2,).

    They are those of fit_plane, from the eigenvalues of the n × n matrix of the centred vectors'
    scalar products: far quicker where P is much larger than n.
    """
    centered = vectors - vectors.mean(0)
    eigenvalues = torch.linalg.eigvalsh(centered @ centered.T)  # they rise
    return eigenvalues[-2:].flip(0) / eigenvalues.sum()


def project(pca, paths):
    """Coordinates of paths (..., P) on the plane of a PCA: (..., 2)."""
    return pca.transform(paths.flatten(0, -2)).reshape(*paths.shape[:-1], 2)


def on_plane(pca, coordinates, through):
    """Vectors (..., P) at coordinates (..., 2) on the PCA's plane.

    The plane is moved without turning it, so that it contains the vector through (P,).
    """
    offset = np.asarray(coordinates) - project(pca, through[None])[0]
    return through + torch.from_numpy(offset @ pca.components_)
