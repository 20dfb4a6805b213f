"""Paths, planes and permutations in parameter space, for paths (R, records, P) and vectors (n, P) in float64."""

from itertools import pairwise

import numpy as np
import torch

from common.parameters import barrier, flatten, interpolate, unflatten
from common.statistics import mean_ci95


def one_layer(paths, model, index):
    """The parameters of one layer alone, counted from 0: paths (R, records, P) -> (R, records, p)."""
    parameters = unflatten(paths.flatten(0, 1), model)
    layers = list(dict.fromkeys(name.partition(".")[0] for name in parameters))  # in order, each once
    chosen = {name: tensor for name, tensor in parameters.items() if name.partition(".")[0] == layers[index]}
    return flatten(chosen).unflatten(0, paths.shape[:2])


def random_walks(paths, generators):
    """Paths with the same starts and the same length of every step, but directions that are isotropic and random."""
    steps = paths.diff(dim=1)
    noise = torch.stack([torch.randn(steps.shape[1:], generator=generator, dtype=steps.dtype) for generator in generators])
    walked = (noise * (steps.norm(dim=2, keepdim=True) / noise.norm(dim=2, keepdim=True))).cumsum(1)
    return torch.cat([paths[:, :1], paths[:, :1] + walked], dim=1)


def fit_plane(paths):
    """One PCA of all records of all paths (..., P), to two components. The "full" solver is exact and not random."""
    from sklearn.decomposition import PCA  # here, because it takes more than a second that no training need wait for

    return PCA(2, svd_solver="full").fit(paths.flatten(0, -2))


def project(pca, paths):
    """Coordinates of paths (..., P) on the plane of a PCA: (..., 2)."""
    return pca.transform(paths.flatten(0, -2)).reshape(*paths.shape[:-1], 2)


def on_plane(pca, coordinates, through):
    """Vectors (..., P) at coordinates (..., 2) on the PCA's plane after it is moved to pass through the vector (P,)."""
    offset = np.asarray(coordinates) - project(pca, through[None])[0]
    return through + torch.from_numpy(offset @ pca.components_)


def compare_with_walks(view, paths, generators):
    """A table row for one PCA of all paths beside one of as many random walks, and both as points (R, records, 2)."""
    row, points = {"view": view, "runs": paths.shape[0], "records": paths.shape[1], "dimensions": paths.shape[2]}, []
    for prefix, vectors in (("", paths), ("control_", random_walks(paths, generators))):
        pca = fit_plane(vectors)
        row |= {f"{prefix}explained_variance_{i + 1}": pca.explained_variance_ratio_[i] for i in (0, 1)}
        points.append(project(pca, vectors))
    return row, *points


def permuted_twins(vectors, model, generator):
    """The same functions at other parameters (R, P): the units of every hidden linear layer in another, random order."""
    twins = unflatten(vectors, model)
    linear = [name.removesuffix(".weight") for name, tensor in twins.items() if name.endswith("weight") and tensor.ndim == 3]
    for layer, following in pairwise(linear):
        order = torch.randperm(twins[f"{layer}.weight"].shape[1], generator=generator).to(vectors.device)
        for name, dimension in ((f"{layer}.weight", 1), (f"{layer}.bias", 1), (f"{following}.weight", 2)):
            twins[name] = twins[name].index_select(dimension, order)
    return flatten(twins)


def mean_over_pairs(values, pairs):
    """Mean of the values (n,) of pairs of runs (n, 2), and the half width of its 95 % jackknife interval over the runs.

    Pairs that share a run are not independent: the jackknife leaves out one run with all its pairs at a time and treats
    the pseudo-values as the runs' own (Tukey 1958). None for fewer than three runs.
    """
    values, pairs = np.asarray(values, dtype=float), np.asarray(pairs)
    runs = pairs.max() + 1
    if runs < 3:
        return values.mean(), None
    left_out = np.array([values[(pairs != run).all(1)].mean() for run in range(runs)])
    return mean_ci95(runs * values.mean() - (runs - 1) * left_out)


def summarize_pairs(quantity, values, pairs):
    """A row: the mean of the values (n,) of pairs of runs (n, 2) with its 95 % interval, the smallest and the largest."""
    mean, half = mean_over_pairs(values, pairs)
    return {"quantity": quantity, "values": len(values), "mean": mean, "low": None if half is None else mean - half,
            "high": None if half is None else mean + half, "smallest": min(values), "largest": max(values)}


def compare_ends(paths, twins, predictions, losses_at, alphas):
    """How far the ends are apart in parameters, in loss on the lines between them, and in what they predict.

    Each end is also compared with its twin, the same function at other parameters: distances and barriers that twins have
    as well cannot tell whether two ends differ. Returns rows, and the losses along the lines (n, alphas).
    """
    starts, ends, every = paths[:, 0], paths[:, -1], torch.arange(len(paths))
    own, pairs = torch.stack([every, every], 1), torch.combinations(every)
    lines = {"start-to-end": (starts, ends, own), "end-to-twin": (ends, twins, own)}
    rows, curves = [], {}
    if len(pairs):
        lines["end-to-end"] = *ends[pairs.T], pairs
        first, second = pairs.T
        rows = [summarize_pairs("start-to-start-distance", (starts[first] - starts[second]).norm(dim=1), pairs),
                summarize_pairs("disagreement", (predictions[first] != predictions[second]).double().mean(1), pairs)]
    for kind, (first, second, members) in lines.items():
        curves[kind] = losses_at(interpolate(first, second, torch.as_tensor(alphas)))
        rows += [summarize_pairs(f"{kind}-distance", (first - second).norm(dim=1), members),
                 summarize_pairs(f"{kind}-barrier", barrier(alphas, curves[kind]), members)]
    return rows, curves
