"""Points where a small network's gradient vanishes: finding them, and telling minima from saddles.

A point is a flat parameter vector (P,), a set of points is (R, P), a loss is a function (R, P) ->
(R,) as common.derivatives.loss_at makes it. Everything is float64 and exact: gradients and Hessians
come from torch.func over the whole data set, for all points side by side.
"""

from common.progress import advance

import torch
from torch.func import grad, jacrev, vmap

TARGET = 1e-12  # the norm of a gradient at which a search is at its end
KERNEL = 1e-4  # eigenvalues up to this fraction of the largest belong to the Hessian's near-kernel
# Smallest flatness at which a search goes on: about √ε of float64, closer than which the place
# where ‖∇‖ is stationary cannot be located.
STATIONARY = 1e-7
ZERO = 1e-7  # eigenvalues count as zero up to this fraction of the largest
ITERATION_STEPS = 15  # steps of a training that take as long as an iteration of the search, about
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
    return vmap(jacrev(jacrev(loss_of_one(loss))))(points)


# --- the search ---


def find_critical_points(loss, starts, iterations):
    """Solves ∇L(θ) = 0 from all starts (R, P) at once; returns the points reached, solved or not.

    The method of Levenberg (1944) and Marquardt (1963) with the Hessian H as the Jacobian of ∇.
    Each step s minimizes ‖∇ + Hs‖² + damping · ‖Ds‖², with MINPACK's scaling D and the damping of
    Madsen, Nielsen & Tingleff (2004), simplified. A point rests once ‖∇‖ ≤ TARGET, or where the
    search cannot go on because ‖∇‖ itself is stationary: flatness ≤ STATIONARY.

    All starts advance together because derivatives at a hundred points cost little more than at
    one: scipy.optimize.least_squares (method "lm"), called for one start after another, takes about
    ten times as long. In the progress of a piece of work an iteration counts as ITERATION_STEPS
    steps.
    """
    points = starts.clone()
    gradients, hessians = gradients_at(loss, points), hessians_at(loss, points)
    scales = hessians.norm(dim=1)  # (R, P): D, the largest column norms so far
    damping = torch.full_like(points[:, 0], 1e-3)
    for _ in range(iterations):
        advance(ITERATION_STEPS)
        unsolved = gradients.norm(dim=1) > TARGET
        not_stationary = flatness(gradients, hessians) > STATIONARY
        active = (unsolved & not_stationary).nonzero().flatten()
        if len(active) == 0:
            break
        active_gradients, active_hessians = gradients[active], hessians[active]
        scales[active] = torch.maximum(scales[active], active_hessians.norm(dim=1))
        steps = damped_newton_steps(active_gradients, active_hessians, damping[active],
                                    scales[active])
        trial_points = points[active] + steps.squeeze(2)
        trial_gradients = gradients_at(loss, trial_points)

        # ‖∇‖² before the step, after it, and after it if the gradient were linear
        before = active_gradients.square().sum(1)
        after = trial_gradients.square().sum(1)
        linear_gradients = active_gradients + (active_hessians @ steps).squeeze(2)
        predicted = linear_gradients.square().sum(1)

        # Less damping where ‖∇‖² falls as the linear model predicts (a gain near 1), else more.
        gain = (before - after) / (before - predicted)
        damping[active] *= (1 - (2 * gain - 1) ** 3).clamp(1 / 3, 2).nan_to_num(2)
        damping.clamp_(max=1e10)  # far beyond any use, far below an overflow
        improved = after < before
        moved = active[improved]
        if len(moved):
            points[moved] = trial_points[improved]
            gradients[moved] = trial_gradients[improved]
            hessians[moved] = hessians_at(loss, points[moved])
    return points


def damped_newton_steps(gradients, hessians, damping, scales):
    """The steps s (R, P, 1) that minimize ‖∇ + Hs‖² + damping · ‖scales · s‖² of every point."""
    # Least squares on a stacked matrix (R, 2P, P) instead of the normal equations, which would
    # square the condition number of H.
    damped = torch.diag_embed(damping.sqrt().unsqueeze(1) * scales)
    stacked_matrices = torch.cat([hessians, damped], dim=1)
    stacked_targets = torch.cat([-gradients, torch.zeros_like(gradients)], dim=1)
    return torch.linalg.lstsq(stacked_matrices, stacked_targets.unsqueeze(2)).solution


# --- critical or only flat ---


def flatness(gradients, hessians):
    """‖H∇‖ / (‖H‖ ‖∇‖) with the Frobenius norm, (R,): 0 where ∇ lies in the kernel of H.

    Over random directions its mean square is 1/P. Small values mark the gradient-flat points of
    Frye et al. 2021 (arXiv:2003.10397): H∇ is the gradient of ½‖∇‖², so a search for ∇ = 0 ends
    there although ∇ is not zero.
    """
    products = (hessians @ gradients.unsqueeze(2)).squeeze(2).norm(dim=1)
    sizes = hessians.norm(dim=(1, 2)) * gradients.norm(dim=1)
    # A gradient of exactly zero lies in every kernel: 0 / 1e-300 is 0, where 0 / 0 would be
    # undefined.
    return products / sizes.clamp_min(1e-300)


def kernel_fractions(gradients, eigenvalues, eigenvectors):
    """How much of ∇ lies in the near-kernel of H, and how large that is: (R,) and (R,).

    eigenvalues (R, P) and eigenvectors (R, P, P) of H are those of torch.linalg.eigh.

    The near-kernel is spanned by the eigenvectors with |λ| ≤ KERNEL · max |λ|. The first number is
    the fraction of ‖∇‖² in it, the second the fraction of all dimensions that it has. They are
    alike for a gradient of random direction; the first is 1 for a gradient that no Newton step can
    reduce.
    """
    components = (eigenvectors.mT @ gradients.unsqueeze(2)).squeeze(2).square()
    largest = eigenvalues.abs().amax(1, keepdim=True)
    kernel = (eigenvalues.abs() <= KERNEL * largest).to(components)
    fraction_of_gradient = (components * kernel).sum(1) / components.sum(1).clamp_min(1e-300)
    return fraction_of_gradient, kernel.mean(1)


def measure_ends(loss, points):
    """What the loss is like at the points (R, P): a dict of tensors.

    "eigenvalues" (R, P) of the Hessian, "signature" (R, 3), "minimal_ratio" (R,), the fraction of
    positive eigenvalues, and what tells critical from gradient-flat points, (R,) each.
    """
    gradients, hessians = gradients_at(loss, points), hessians_at(loss, points)
    eigenvalues, eigenvectors = torch.linalg.eigh(hessians)
    kernel_fraction, kernel_dimensions = kernel_fractions(gradients, eigenvalues, eigenvectors)
    counts = signature(eigenvalues)
    return {
        "loss": losses_at(loss, points),
        "gradient_norm": gradients.norm(dim=1),
        "flatness": flatness(gradients, hessians),
        "kernel_fraction": kernel_fraction,
        "kernel_dimensions": kernel_dimensions,
        "eigenvalues": eigenvalues,
        "signature": counts,
        "minimal_ratio": counts[:, 0].double() / points.shape[1],
    }


# --- minimum or saddle ---


def signature(eigenvalues):
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


def higher_neighbours(loss, point, hessian, directions, radii):
    """For each radius the fraction of neighbours with a higher loss than the point (P,): (radii,).

    Neighbours are point + radius · directions (M, P). Radius 0 stands for the limit of small radii
    at a critical point: the fraction of directions u with uᵀHu > 0.
    """
    loss_here = loss_of_one(loss)(point)
    fractions = []
    for radius in radii:
        if radius == 0:
            rises = ((directions @ hessian) * directions).sum(1)
        else:
            rises = losses_at(loss, point + radius * directions) - loss_here
        fractions.append((rises > 0).double().mean())
    return torch.stack(fractions)


def higher_neighbours_of_all(loss, points, directions, radii):
    """higher_neighbours of each of the points (R, P): (R, radii).

    directions holds R tensors (M, P).
    """
    fractions = torch.zeros(len(points), len(radii)).to(points)
    hessians = hessians_at(loss, points)
    for row, (point, hessian, unit_vectors) in enumerate(zip(points, hessians, directions)):
        fractions[row] = higher_neighbours(loss, point, hessian, unit_vectors.to(points), radii)
    return fractions


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

    Points of equal loss and equal spectrum share a number: they are one point, found again or
    mirrored by a symmetry of the network, which changes neither.
    """
    loss_numbers = number_losses(losses)
    spectra = eigenvalues.sort(dim=1).values
    numbers = torch.zeros_like(loss_numbers)
    for point in losses.argsort().tolist():
        if numbers[point] > 0:
            continue
        differences = (spectra - spectra[point]).abs().amax(1)
        same_spectrum = differences <= SAME_SPECTRUM * spectra[point].abs().max()
        same_loss = loss_numbers == loss_numbers[point]
        numbers[same_loss & same_spectrum & (numbers == 0)] = numbers.max() + 1
    return numbers
