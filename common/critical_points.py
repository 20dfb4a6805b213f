"""Points where a small network's gradient vanishes: finding them, telling minima from saddles.

A point is a flat parameter vector (P,), R of them are (R, P), and a loss is a function (R, P) ->
(R,) as common.derivatives.loss_at makes it. Everything is float64 and exact: gradients and Hessians
come from torch.func over the whole data set, for all points side by side.
"""

from common.progress import advance

import torch
from torch.func import grad, jacrev, vmap

SOLVED = 1e-12  # the norm of a gradient at which a search is at its end
# How far a search may go along each eigenvector of the Hessian in its first step. Parameter vectors
# have norms around 4.
LONGEST_STEP = 0.2
ITERATION_STEPS = 15  # steps of a training that take as long as an iteration of the search, about
ZERO = 1e-7  # eigenvalues count as zero up to this fraction of the largest
DISTINCT = 1e-9  # losses closer than this are equal
# Spectra are equal whose eigenvalues differ by less than this fraction of the largest. Found again,
# a point has the same to about 1e-8, as near as searches come to it; other points of the same loss,
# such as those of a flat valley, differ by about 1e-2. This lies between.
SAME_SPECTRUM = 1e-5


# --- derivatives ---


def loss_of_one(loss):
    """The same loss as a function of one point: (P,) -> a number."""
    return lambda point: loss(point.unsqueeze(0)).squeeze(0)


def losses_at(loss, points):
    """The loss at each of the points (R, P): (R,)."""
    return vmap(loss_of_one(loss))(points)


def gradients_at(loss, points):
    """The gradient at each of the points (R, P): (R, P)."""
    return vmap(grad(loss_of_one(loss)))(points)


def hessians_at(loss, points):
    """The Hessian at each of the points (R, P): (R, P, P)."""
    # Reverse over reverse: torch.func.hessian, forward over reverse, takes 1.6 times as long here.
    return vmap(jacrev(grad(loss_of_one(loss))))(points)


# --- the search ---


def find_critical_points(loss, starts, iterations):
    """Solves ∇L = 0 from all starts (R, P) at once; returns the points reached, solved or not.

    Newton's method: each step goes, along every eigenvector of the Hessian, to where the slope
    would vanish if the curvature stayed the same. Where the curvature is almost zero, that is far
    too far. So no step goes further along an eigenvector than a limit, which falls from
    LONGEST_STEP to zero. ‖∇‖ may rise on the way; of all points that a search came by, the one with
    the smallest ‖∇‖ is returned.

    Searches that make ‖∇‖ smaller at every step, such as Levenberg and Marquardt's, need more steps
    and find fewer different points. In the progress of a piece of work an iteration counts as
    ITERATION_STEPS steps.
    """
    points = starts.clone()
    gradients = gradients_at(loss, points)
    best_points, best_norms = points.clone(), gradients.norm(dim=1)
    for iteration in range(iterations):
        advance(ITERATION_STEPS)
        active = (gradients.norm(dim=1) > SOLVED).nonzero().flatten()
        if len(active) == 0:
            break
        limit = LONGEST_STEP * (1 - iteration / iterations)
        hessians = hessians_at(loss, points[active])
        points[active] += limited_newton_steps(gradients[active], hessians, limit)
        gradients[active] = gradients_at(loss, points[active])

        norms = gradients.norm(dim=1)
        improved = norms < best_norms
        best_points[improved], best_norms[improved] = points[improved], norms[improved]
    return best_points


def limited_newton_steps(gradients, hessians, limit):
    """Newton's steps −H⁻¹∇ of all points (R, P), at most `limit` along each eigenvector: (R, P)."""
    eigenvalues, eigenvectors = torch.linalg.eigh(hessians)
    slopes = (eigenvectors.mT @ gradients.unsqueeze(2)).squeeze(2)  # along the eigenvectors
    # An eigenvalue of exactly zero makes the quotient infinite, or undefined (NaN) where the slope
    # is zero too. nan_to_num makes a huge number of infinity, which clamp shortens to the limit,
    # and zero of NaN.
    lengths = (-slopes / eigenvalues).nan_to_num(0).clamp(-limit, limit)
    return (eigenvectors @ lengths.unsqueeze(2)).squeeze(2)


# --- minimum or saddle ---


def measure_ends(loss, points):
    """What the loss is like at the points (R, P): a dict of tensors.

    "loss" (R,), "gradient_norm" (R,), "eigenvalues" (R, P) of the Hessian, rising, "minimal_ratio",
    "zero_ratio" and "negative_ratio" (R,), the fractions of positive, zero and negative ones, and
    "saddle" (R,): whether one is negative.
    """
    eigenvalues = eigenvalues_at(loss, points)
    positive, zero, negative = count_signs(eigenvalues).T
    return {
        "loss": losses_at(loss, points),
        "gradient_norm": gradients_at(loss, points).norm(dim=1),
        "eigenvalues": eigenvalues,
        "minimal_ratio": positive.double() / points.shape[1],
        "zero_ratio": zero.double() / points.shape[1],
        "negative_ratio": negative.double() / points.shape[1],
        "saddle": negative > 0,
    }


def eigenvalues_at(loss, points):
    """The eigenvalues of the Hessian at each of the points (R, P), rising: (R, P)."""
    return torch.linalg.eigvalsh(hessians_at(loss, points))


def count_signs(eigenvalues):
    """Numbers of positive, zero and negative eigenvalues (R, P) of each point: (R, 3).

    An eigenvalue counts as zero up to ZERO times the largest magnitude of its point.
    """
    threshold = ZERO * eigenvalues.abs().amax(1, keepdim=True)
    positive = eigenvalues > threshold
    negative = eigenvalues < -threshold
    zero = ~positive & ~negative
    return torch.stack([positive.sum(1), zero.sum(1), negative.sum(1)], dim=1)


def random_directions(count, size, generator):
    """Directions uniform on the unit sphere: (count, size), float64, on the CPU."""
    normal = torch.randn(count, size, dtype=torch.float64, generator=generator)
    return normal / normal.norm(dim=1, keepdim=True)


def share_of_higher_neighbours(loss, point, directions, radius):
    """The fraction of neighbours with a higher loss than the point (P,), a number.

    Neighbours are point + radius · directions (M, P).
    """
    rises = losses_at(loss, point + radius * directions) - loss_of_one(loss)(point)
    return (rises > 0).double().mean()


# --- which points are the same ---


def number_losses(losses):
    """Numbers 1, 2, ... for losses (R,) in rising order; neighbours within DISTINCT share one."""
    values, order = losses.sort()
    starts_anew = torch.diff(values, prepend=values[:1]) > DISTINCT
    numbers = torch.empty_like(order)
    numbers[order] = starts_anew.cumsum(0) + 1
    return numbers


def number_distinct(losses, eigenvalues):
    """Numbers 1, 2, ... for points by their losses (R,) and eigenvalues (R, P), by rising loss.

    The eigenvalues of each point rise. Points of equal loss and equal spectrum share a number: they
    are one point, found again or mirrored by a symmetry of the network, which changes neither.
    """
    loss_numbers = number_losses(losses)
    numbers = torch.zeros_like(loss_numbers)
    for point in losses.argsort().tolist():
        if numbers[point] > 0:
            continue
        differences = (eigenvalues - eigenvalues[point]).abs().amax(1)
        same_spectrum = differences <= SAME_SPECTRUM * eigenvalues[point].abs().max()
        same_loss = loss_numbers == loss_numbers[point]
        numbers[same_loss & same_spectrum & (numbers == 0)] = numbers.max() + 1
    return numbers
