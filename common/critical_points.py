"""Points where a small network's gradient vanishes: finding them, telling minima from saddles.

A point is a flat parameter vector (P,), a set of points is (R, P), a loss is a function (R, P) ->
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
# A point is followed in steps of at most a fifth of a power of ten in the weight decay. It is lost
# where no step of a hundred-thousandth succeeds.
LONGEST_FOLLOWED, SHORTEST_FOLLOWED = 0.2, 1e-5
# Where a followed point was last found, so many times, tells where to look for it next.
LAST_FOUND = 4
# From there Newton's first step may be this fraction of the point's norm long.
NEARBY = 0.05
CORRECTIONS = 6  # Newton's steps; each about doubles the number of correct digits


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
    LONGEST_STEP to zero. ‖∇‖ may rise on the way; of all places that a search came by, the one with
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
    # An eigenvalue of exactly zero makes the quotient infinite, or undefined where the slope is
    # zero too.
    lengths = (-slopes / eigenvalues).nan_to_num(0).clamp(-limit, limit)
    return (eigenvectors @ lengths.unsqueeze(2)).squeeze(2)


# --- following critical points while the weight decay falls ---


def follow_critical_points(loss, points, decays, accepted):
    """Follows critical points (R, P) of loss + ½ · weight decay · ‖θ‖² while the decay falls.

    decays lists D falling ones; at the first one the points were found. From there each point goes
    its own way, step by step: numerical continuation (Allgower & Georg 1990). Its last places tell
    where it should be after the next step, and from there Newton's method finds it, up to ‖∇‖ ≤
    accepted; where that fails, a shorter step is tried. Where even short steps fail, the point is
    lost. As a rule it meets another point there and both vanish, a fold, at which an eigenvalue of
    the Hessian becomes zero; but no search proves that nothing is there. Returns

    - the points at all decays (R, D, P), and how many of the decays each point reached (R,);
      beyond these its parameters mean nothing;
    - where each point was last found (R, P), and the decays there (R,).

    In the progress of a piece of work, each point counts as D − 1 steps.
    """
    decays = points.new_tensor(decays)
    points_at_decays = points.unsqueeze(1).repeat(1, len(decays), 1)
    reached = torch.ones(len(points), dtype=torch.long, device=points.device)
    last_decays = decays[:1].repeat(len(points))
    lengths = torch.full_like(last_decays, LONGEST_FOLLOWED)  # of the next step, in powers of ten
    differences, places = begin_paths(points, last_decays.log10())
    while True:
        moving = ((reached < len(decays)) & (lengths >= SHORTEST_FOLLOWED)).nonzero().flatten()
        if len(moving) == 0:
            last_points = differences[:, 0]
            return points_at_decays, reached, last_points, last_decays
        targets = decays[reached[moving]]
        next_decays = torch.maximum(last_decays[moving] * 10 ** -lengths[moving], targets)
        guesses = extrapolate(differences[moving], places[moving], next_decays.log10())
        next_points, found_again = solve_nearby(loss, guesses, next_decays, accepted)

        arrived, failed = moving[found_again], moving[~found_again]
        last_decays[arrived] = next_decays[found_again]
        differences[arrived], places[arrived] = continue_paths(
            differences[arrived], places[arrived], next_points[found_again],
            last_decays[arrived].log10())
        lengths[arrived] = (1.2 * lengths[arrived]).clamp(max=LONGEST_FOLLOWED)
        lengths[failed] /= 2
        at_target = moving[found_again & (next_decays == targets)]
        points_at_decays[at_target, reached[at_target]] = differences[at_target, 0]
        reached[at_target] += 1
        lost = failed[lengths[failed] < SHORTEST_FOLLOWED]
        advance(len(at_target) + (len(decays) - reached[lost]).sum().item())


def begin_paths(points, places):
    """Paths of which one point each is known, points (R, P) at places (R,): differences and places.

    A path is a curve through points at places, here the logarithms of weight decays. Of the last
    LAST_FOUND points, K, it has the places (R, K), the newest first, and what Newton's polynomial
    through them needs, their divided differences (R, K, P): the first is the newest point, the
    second the slope between the newest two, and so on. What is not known yet is NaN.
    """
    differences = points.new_full((len(points), LAST_FOUND, points.shape[1]), torch.nan)
    known_places = places.new_full((len(points), LAST_FOUND), torch.nan)
    differences[:, 0], known_places[:, 0] = points, places
    return differences, known_places


def continue_paths(differences, places, points, new_places):
    """Differences and places, see begin_paths, with new points (R, P) at new places (R,)."""
    new_differences = [points]
    for k in range(LAST_FOUND - 1):
        distances = (new_places - places[:, k]).unsqueeze(1)
        new_differences.append((new_differences[k] - differences[:, k]) / distances)
    places = torch.cat([new_places.unsqueeze(1), places[:, :-1]], dim=1)
    return torch.stack(new_differences, dim=1), places


def extrapolate(differences, places, new_places):
    """Where paths, see begin_paths, should be at new places (R,): (R, P)."""
    guesses = torch.zeros_like(differences[:, 0])
    for k in reversed(range(LAST_FOUND)):
        distances = (new_places - places[:, k]).unsqueeze(1)
        guesses = (differences[:, k] + distances * guesses).nan_to_num(0)  # 0 for what is not known
    return guesses


def solve_nearby(loss, guesses, decays, accepted):
    """Newton's method from guesses (R, P) for the weight decays (R,), only where it goes straight.

    The first of its steps may be NEARBY of the guess's norm long, and each further one half of the
    one before: otherwise it could lead to another critical point. Returns the points (R, P), and
    whether they were reached (R,): whether ‖∇‖ ≤ accepted.
    """
    points = guesses.clone()
    identity = torch.eye(points.shape[1]).to(points)
    longest = NEARBY * points.norm(dim=1)  # of the next step
    straight = torch.ones_like(longest, dtype=torch.bool)
    for _ in range(CORRECTIONS):
        gradients = gradients_at(loss, points) + decays.unsqueeze(1) * points
        active = ((gradients.norm(dim=1) > accepted) & straight).nonzero().flatten()
        if len(active) == 0:
            break
        hessians = hessians_at(loss, points[active]) + decays[active].view(-1, 1, 1) * identity
        # Where a Hessian is singular, solve_ex returns infinite or undefined steps.
        steps = torch.linalg.solve_ex(hessians, -gradients[active]).result
        lengths = steps.norm(dim=1)
        short = lengths <= longest[active]
        straight[active] = short
        points[active[short]] += steps[short]
        longest[active] = lengths / 2
    gradients = gradients_at(loss, points) + decays.unsqueeze(1) * points
    return points, straight & (gradients.norm(dim=1) <= accepted)


# --- minimum or saddle ---


def measure_ends(loss, points):
    """What the loss is like at the points (R, P): a dict of tensors.

    "loss" (R,), "gradient_norm" (R,), "eigenvalues" (R, P) of the Hessian, rising, "minimal_ratio",
    "zero_ratio" and "negative_ratio" (R,), the fractions of positive, zero and negative ones, and
    "saddle" (R,): whether one is negative.
    """
    eigenvalues = torch.linalg.eigvalsh(hessians_at(loss, points))
    positive, zero, negative = signature(eigenvalues).T
    return {
        "loss": losses_at(loss, points),
        "gradient_norm": gradients_at(loss, points).norm(dim=1),
        "eigenvalues": eigenvalues,
        "minimal_ratio": positive.double() / points.shape[1],
        "zero_ratio": zero.double() / points.shape[1],
        "negative_ratio": negative.double() / points.shape[1],
        "saddle": negative > 0,
    }


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


def higher_neighbours(loss, point, directions, radius):
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
