"""How critical points are followed while the weight decay falls, where their paths are known."""

import math

from common import following
from common.critical_points import hessians_at
from common.following import (
    LONGEST_DECAY_STEP,
    Path,
    extrapolate,
    follow_critical_points,
    solve_nearby,
)

import numpy as np
import pytest
import torch


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def hill(points):
    """A loss with a slope of −θ (0.1 + (θ − 1)²).

    With ½ μ θ² it has critical points at 1 ± √(μ − 0.1), which meet at μ = 0.1, and at 0.
    """
    x = points[:, 0]
    return -(0.05 * x**2 + x**4 / 4 - 2 * x**3 / 3 + x**2 / 2)


def test_points_are_followed_along_their_curves():
    decays = (1.0, 0.5, 0.2)
    starts = tensor([[1 + math.sqrt(0.9)], [1 - math.sqrt(0.9)], [0.0]])
    points, reached, last_points, last_decays = follow_critical_points(hill, starts, decays, 1e-10)
    assert reached.tolist() == [3] * 3 and last_decays.tolist() == [0.2] * 3
    distances = (tensor(decays) - 0.1).sqrt()
    expected = torch.stack([1 + distances, 1 - distances, torch.zeros(3).double()])
    torch.testing.assert_close(points.squeeze(2), expected, atol=1e-8, rtol=0)
    assert torch.equal(last_points, points[:, -1])
    assert starts[0] == 1 + math.sqrt(0.9)  # as it was


def test_two_points_that_meet_are_lost_where_the_curvature_vanishes():
    starts = tensor([[1 + math.sqrt(0.9)], [1 - math.sqrt(0.9)], [0.0]])
    _, reached, points, decays = follow_critical_points(hill, starts, (1.0, 0.2, 0.01), 1e-10)
    assert reached.tolist() == [2, 2, 3]
    assert decays[:2].tolist() == pytest.approx([0.1, 0.1], rel=1e-3)
    assert (decays[:2] > 0.1).all()  # they do not exist below, and no other point is taken for them
    assert points[:2].flatten().tolist() == pytest.approx([1, 1], abs=0.02)
    curvatures = hessians_at(hill, points).flatten() + decays
    first = 2 * math.sqrt(0.9) * (1 + math.sqrt(0.9))  # of 1 + √0.9 at μ = 1
    assert curvatures[:2].abs().max() < 0.02 * first
    assert decays[2] == 0.01 and points[2] == 0  # which exists for all decays


def test_a_point_that_moves_to_infinity_is_not_lost():
    # A slope of −θ exp(−θ²) is balanced by μ θ where θ² = ln(1 / μ).
    def loss(points):
        return (-points[:, 0].square()).exp() / 2

    start = tensor([[math.sqrt(math.log(1e3))]])
    points, reached, _, _ = follow_critical_points(loss, start, (1e-3, 1e-9), 1e-14)
    assert reached.tolist() == [2]
    assert points[0, 1].item() == pytest.approx(math.sqrt(math.log(1e9)), rel=1e-4)


def test_a_point_is_followed_through_the_place_where_another_crosses_its_path():
    # With ½ μ θ², critical points are at 0 and at 0.1 − μ. Where they cross, the curvature is zero.
    def crossing(points):
        x = points[:, 0]
        return x**3 / 3 - 0.05 * x**2

    decays = (1.0, 0.5, 0.2, 0.05, 0.01)
    points, reached, _, _ = follow_critical_points(crossing, tensor([[-0.9]]), decays, 1e-10)
    assert reached.tolist() == [5]
    torch.testing.assert_close(points.flatten(), 0.1 - tensor(decays), atol=1e-8, rtol=0)


def test_where_a_path_leads_is_told_by_the_polynomial_through_its_last_points():
    def cubics(x):
        return torch.stack([x**3 - x, 2 - x**2])

    x = tensor([0.0, -0.2, -0.5, -1.0])
    for known in range(1, len(x) + 1):  # fewer points are met by a polynomial of lower degree
        points = [cubics(value) for value in x[:known]]
        decays = [10 ** value.item() for value in x[:known]]
        fitted = np.polyfit(x[:known], torch.stack(points), known - 1)
        expected = [np.polyval(column, -1.5) for column in fitted.T]
        assert extrapolate(points, decays, 10**-1.5).tolist() == pytest.approx(expected)
    torch.testing.assert_close(extrapolate(points, decays, 10**-1.5), cubics(tensor(-1.5)))


def test_a_path_remembers_all_its_points_and_goes_on_from_the_last_ones():
    decays = (1e-2, 1e-3)
    path = Path(tensor([0.0]), decays)
    assert path.guess(path.next_decay()).tolist() == [0]  # of one point nothing else is known
    for x in (1.0, 16.0, 81.0, 256.0):  # 4th powers, so that a polynomial of degree 3 misses them
        path.add(tensor([x]), path.next_decay())
    # third differences of the last four, 1, 16, 81, 256: 256 + 175 + 110 + 60
    assert path.guess(path.decays[-1] * 10**-LONGEST_DECAY_STEP).tolist() == pytest.approx([601])
    assert path.is_moving() and path.next_decay() == 1e-3
    path.add(tensor([625.0]), path.next_decay())
    assert [point.item() for point in path.points_at_targets] == [0, 625]
    assert not path.is_moving()


def test_every_point_counts_the_same_steps_in_the_progress_whether_it_is_lost_or_not(monkeypatch):
    steps = []
    monkeypatch.setattr(following, "advance", steps.append)
    starts = tensor([[1 + math.sqrt(0.9)], [1 - math.sqrt(0.9)], [0.0]])
    for decays in ((1.0, 0.2, 0.01), (1.0, 0.05, 0.03, 0.01)):
        steps.clear()
        follow_critical_points(hill, starts, decays, 1e-10)
        assert sum(steps) == len(starts) * (len(decays) - 1)


def test_newtons_method_gives_up_where_a_step_is_too_long_or_undefined():
    def loss(points):  # its slope is (x − 5)³, so that with no weight decay it vanishes at 5
        return (points[:, 0] - 5) ** 4 / 4

    def parabola(points):
        return (points[:, 0] - 5) ** 2 / 2

    guesses, no_decay = tensor([[4.9], [3.0]]), torch.zeros(2).double()
    points, solved = solve_nearby(parabola, guesses, no_decay, 1e-10)
    assert solved.tolist() == [True, False]  # 0.1 is a short step, 2 is not
    assert points.flatten().tolist() == pytest.approx([5, 3])

    def line(points):  # no curvature: a step is infinite
        return points[:, 0]

    points, solved = solve_nearby(line, guesses, no_decay, 1e-10)
    assert not solved.any() and torch.equal(points, guesses)
    # Close to 5 each step goes a third of what is left: longer than half of the one before.
    _, solved = solve_nearby(loss, tensor([[4.9]]), no_decay[:1], 1e-10)
    assert not solved.any()
