"""What kind of points critical points are: minima and saddles, by the Hessian's eigenvalues and by random neighbours.

As in `common.critical_points` a point is a flat parameter vector (P,), a set of points is (R, P), all in float64.
"""

import numpy as np
import torch
from torch.func import vmap

from common.critical_points import STATIONARY, gradient_and_hessian
from common.statistics import spearman_ci95

ZERO = 1e-7  # eigenvalues count as zero up to this share of the largest; `describe` shows the gap around it
DISTINCT = 1e-9  # losses closer than this are one point, found again or mirrored by a symmetry of the network


def signature(eigenvalues):
    """Numbers of positive, zero and negative eigenvalues (R, P) of each point: (R, 3).

    An eigenvalue counts as zero up to ZERO times the largest magnitude of its point.
    """
    threshold = ZERO * eigenvalues.abs().amax(1, keepdim=True)
    positive, negative = eigenvalues > threshold, eigenvalues < -threshold
    return torch.stack([positive.sum(1), (~positive & ~negative).sum(1), negative.sum(1)], dim=1)


def directions(count, size, generator):
    """`count` random directions, uniform on the unit sphere in `size` dimensions: (count, size), float64, on the CPU."""
    normal = torch.randn(count, size, dtype=torch.float64, generator=generator)
    return normal / normal.norm(dim=1, keepdim=True)


def sampled_ratios(loss, point, hessian, unit_vectors, radii):
    """For each radius the share of neighbours point + radius · unit_vectors (M, P) with a higher loss than point (P,).

    Radius 0 stands for the limit of small radii at a critical point: the share of directions u with uᵀHu > 0.
    """
    curvatures = ((unit_vectors @ hessian) * unit_vectors).sum(1)
    rises = [vmap(loss)(point + radius * unit_vectors) - loss(point) if radius else curvatures for radius in radii]
    return (torch.stack(rises) > 0).double().mean(1)


def number_distinct(losses):
    """Numbers 1, 2, ... for losses (R,) in rising order, where neighbours no further apart than DISTINCT share one."""
    values, order = losses.sort()
    gaps = torch.diff(values, prepend=values[:1]) > DISTINCT
    return torch.empty_like(order).scatter_(0, order, gaps.cumsum(0) + 1)


def classify(loss, points, unit_vectors, radii):
    """The kind of each critical point (R, P): eigenvalues (R, P), `signature` (R, 3) and both minimal ratios, in a dict.

    unit_vectors holds R tensors (M, P); "sampled_ratios" is (R, len(radii)).
    """
    hessians = gradient_and_hessian(loss)[1](points)
    eigenvalues = torch.linalg.eigvalsh(hessians)
    counts = signature(eigenvalues)
    sampled = torch.zeros(len(points), len(radii)).to(points)
    for row, (point, hessian, unit) in enumerate(zip(points, hessians, unit_vectors)):
        sampled[row] = sampled_ratios(loss, point, hessian, unit.to(points), radii)
    return {"eigenvalues": eigenvalues, "signature": counts, "minimal_ratio": counts[:, 0].double() / points.shape[1],
            "sampled_ratios": sampled}


def describe(attempts, found, distinct):
    """A row: where the searches that failed ended, in medians, and what the accepted points' eigenvalues look like.

    attempts has what `common.critical_points.measure` gives and "accepted"; found, of those accepted, what `classify` gives
    and "constant", "point" (see `number_distinct`) and "sampled_ratio", one of its radii; distinct indexes one of each.
    """
    rejected = ~attempts["accepted"]
    medians = {f"rejected_{name}": np.median(attempts[name][rejected]) if rejected.any() else None
               for name in ("gradient_norm", "flatness", "kernel_share", "kernel_dimensions")}
    relative = abs(found["eigenvalues"]) / abs(found["eigenvalues"]).max(1, keepdims=True)
    negative, positive = ((sign * found["eigenvalues"]).clip(min=0).sum(1) for sign in (-1, 1))
    saddle = found["signature"][:, 2] > 0
    return {"distinct": len(distinct), "constant": found["constant"].sum(), "saddles": saddle.sum(),
            "saddles_without_lower_neighbour": (saddle & (found["sampled_ratio"] == 1)).sum(),
            "stationary": (rejected & (attempts["flatness"] <= STATIONARY)).sum(), **medians,
            "largest_zero": relative[relative <= ZERO].max(initial=0),
            "smallest_nonzero": relative[relative > ZERO].min(initial=1),
            "negative_to_positive": _mean(negative / positive)}


def correlations(found, distinct, varying):
    """Both minimal ratios against the loss, over all accepted points, one of each, and one of each that is not constant."""
    subsets = {"all": np.arange(len(found["point"])), "distinct": distinct, "varying": varying}
    ratios = {"eigenvalues": found["minimal_ratio"], "neighbours": found["sampled_ratio"]}
    return [{"points": name, "ratio": definition, "count": len(chosen),
             **_correlate(found["point"][chosen], ratio[chosen])}  # numbered by rising loss, and alike where it is alike
            for name, chosen in subsets.items() for definition, ratio in ratios.items()]


def radius_sweep(found, distinct, radii):
    """The sampled ratio at every radius beside the share of positive eigenvalues, over the distinct points."""
    exact = found["minimal_ratio"][distinct]
    return [{"radius": radius, "points": len(distinct), "minimal_ratio_mean": _mean(exact),
             "sampled_ratio_mean": _mean(sampled), "sampled_ratio_lowest": sampled.min(initial=1),
             "difference_mean": _mean(abs(sampled - exact)), **_correlate(found["point"][distinct], sampled)}
            for radius, sampled in zip(radii, found["sampled_ratios"][distinct].T)]


def _correlate(x, y):
    return dict(zip(("spearman", "spearman_low", "spearman_high"), spearman_ci95(x, y)))


def _mean(values):
    return values.mean() if len(values) else None
