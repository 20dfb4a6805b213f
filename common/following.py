"""Following the critical points of a loss while the weight decay of its L2 term falls.

With another weight decay the critical points of loss + ½ · weight decay · ‖θ‖² lie elsewhere. Each
point is followed along its path in small steps: numerical continuation (Allgower & Georg 1990). The
last points of a path tell where the next one should be, and Newton's method finds it from there.
Points (R, P) and losses are those of common/critical_points.py. R points are followed side by side,
which saves time.
"""

import math

from common.critical_points import gradients_at, hessians_at
from common.progress import advance

import torch

# The longest and the shortest step on a path, in powers of ten of the weight decay. A point is lost
# where even the shortest one fails.
LONGEST_DECAY_STEP, SHORTEST_DECAY_STEP = 0.2, 1e-5
EARLIER_POINTS = 4  # number of earlier points used for extrapolation
# Newton's first step from an extrapolated point may be this fraction of its norm long.
LONGEST_CORRECTION = 0.05
CORRECTIONS = 6  # Newton's steps, at most; each about doubles the number of correct digits


class Path:
    """The way of one critical point: where it was found so far, and the decays it is to reach."""

    def __init__(self, start, decays):
        self.points = [start]  # where it was found, (P,) each
        self.decays = [decays[0]]  # the weight decay at each of these points
        self.points_at_targets = [start]  # those of its points that are at one of the given decays
        self.targets = list(decays[1:])  # the given decays that it has not reached
        self.step = LONGEST_DECAY_STEP  # how far to go next, in powers of ten of the weight decay

    def is_moving(self):
        """Whether a decay is left to be reached, and the point is not lost."""
        return len(self.targets) > 0 and self.step >= SHORTEST_DECAY_STEP

    def next_decay(self):
        """The weight decay after the next step, which ends at the next target at the latest."""
        return max(self.decays[-1] * 10**-self.step, self.targets[0])

    def guess(self, next_decay):
        """Where the point should be at the next decay: (P,)."""
        return extrapolate(self.points[-EARLIER_POINTS:], self.decays[-EARLIER_POINTS:], next_decay)

    def add(self, point, decay):
        """Adds a point that was found at the next decay; the step after it may be a bit longer."""
        self.points.append(point)
        self.decays.append(decay)
        if decay == self.targets[0]:
            self.points_at_targets.append(point)
            self.targets.pop(0)
        self.step = min(1.2 * self.step, LONGEST_DECAY_STEP)


def follow_critical_points(loss, points, decays, accepted):
    """Follows critical points (R, P) of loss + ½ · weight decay · ‖θ‖² while the decay falls.

    decays lists D falling ones; at the first one the points were found. A point counts as found
    again where ‖∇‖ ≤ accepted. Where a step fails, one half as long is tried; where even short
    steps fail, the point is lost. As a rule it meets another point there and both vanish, a fold,
    at which an eigenvalue of the Hessian becomes zero; but no search proves that nothing is there.
    Returns

    - the points at all decays (R, D, P), and the number of decays that each point reached (R,);
      at the others the point at the first decay stands in, and means nothing;
    - where each point was last found (R, P), and the weight decays there (R,).

    In the progress of a piece of work, each point counts as D − 1 steps.
    """
    paths = [Path(point, decays) for point in points]
    targets_left = count_targets_left(paths)
    while targets_left > 0:
        moving = [path for path in paths if path.is_moving()]
        next_decays = [path.next_decay() for path in moving]
        guesses = [path.guess(decay) for path, decay in zip(moving, next_decays)]
        next_points, solved = solve_nearby(loss, torch.stack(guesses),
                                           points.new_tensor(next_decays), accepted)
        for path, decay, point, found in zip(moving, next_decays, next_points, solved.tolist()):
            if found:
                path.add(point, decay)
            else:
                path.step /= 2

        targets_left_before, targets_left = targets_left, count_targets_left(paths)
        advance(targets_left_before - targets_left)

    points_at_decays = points.unsqueeze(1).repeat(1, len(decays), 1)
    decays_reached = torch.ones(len(points), dtype=torch.long, device=points.device)
    for index, path in enumerate(paths):
        decays_reached[index] = len(path.points_at_targets)
        points_at_decays[index, : decays_reached[index]] = torch.stack(path.points_at_targets)
    last_points = torch.stack([path.points[-1] for path in paths])
    last_decays = points.new_tensor([path.decays[-1] for path in paths])
    return points_at_decays, decays_reached, last_points, last_decays


def count_targets_left(paths):
    """How many decays are left to be reached, over all paths; none where a point is lost."""
    return sum(len(path.targets) for path in paths if path.is_moving())


def extrapolate(points, decays, next_decay):
    """Where a path, at points of (P,) each for these decays, should be at the next decay: (P,).

    Every parameter is taken for a polynomial in x, the logarithm of the decay, through its values
    at the given points. In Lagrange's form this is a sum of the points, each times a weight. The
    weight of a point is a polynomial too: 1 at the point's own x and 0 at the x of every other.
    """
    # Through two points goes a straight line. If they were found at x = −3 and at x = −4, their
    # weights are (x + 4) / (−3 + 4) and (x + 3) / (−4 + 3). At x = −4.5 these are −0.5 and 1.5: the
    # guess lies beyond the second point by half of the way from the first to the second. A single
    # point has the weight 1.
    next_x = math.log10(next_decay)
    known_x = [math.log10(decay) for decay in decays]
    guess = torch.zeros_like(points[0])
    for i, point in enumerate(points):
        weight = 1.0
        for j, other_x in enumerate(known_x):
            if j != i:
                weight *= (next_x - other_x) / (known_x[i] - other_x)
        guess += weight * point
    return guess


def solve_nearby(loss, guesses, decays, accepted):
    """Newton's method from guesses (R, P) for the weight decays (R,), while its steps stay short.

    The first step may be LONGEST_CORRECTION times the guess's norm long, and each further one half
    as long as the one before. A search that needs a longer step is given up, because it could lead
    to another critical point. Returns where the searches ended (R, P), and whether they found a
    point (R,), one where ‖∇‖ ≤ accepted.
    """
    points = guesses.clone()
    identity = torch.eye(points.shape[1]).to(points)
    longest = LONGEST_CORRECTION * points.norm(dim=1)  # of the next step
    given_up = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for _ in range(CORRECTIONS):
        gradients = regularized_gradients(loss, points, decays)
        unsolved = gradients.norm(dim=1) > accepted
        active = (unsolved & ~given_up).nonzero().flatten()
        if len(active) == 0:
            break
        hessians = hessians_at(loss, points[active]) + decays[active].view(-1, 1, 1) * identity
        # Where a Hessian is singular, solve_ex returns steps that are infinite or undefined (NaN).
        steps = torch.linalg.solve_ex(hessians, -gradients[active]).result
        lengths = steps.norm(dim=1)
        short = lengths <= longest[active]  # false for NaN too
        given_up[active] = ~short
        points[active[short]] += steps[short]
        longest[active] = lengths / 2
    solved = regularized_gradients(loss, points, decays).norm(dim=1) <= accepted
    return points, solved & ~given_up


def regularized_gradients(loss, points, decays):
    """The gradient of loss + ½ · weight decay · ‖θ‖², each point (R, P) with its own decay (R,)."""
    return gradients_at(loss, points) + decays.unsqueeze(1) * points
