"""The line between two solutions, its barrier, and the rescaling that changes sharpness but not the function."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.func import functional_call

import hw1_3_flatness
from common.data import Dataset
from common.models import mlp
from common.parameters import barrier, flatten, interpolate, unflatten
from common.sharpness import curvature, largest_eigenvalue, loss_of, rescale
from common.training import evaluate, run_generators

ALPHAS = hw1_3_flatness.ALPHAS


@pytest.fixture
def pair():
    """Two stacks of three networks, and a set: (model, first (3, P), second (3, P), images, labels)."""
    model = mlp([16, 8, 6, 10], run_generators(0, 3, "initialization"))
    other = mlp([16, 8, 6, 10], run_generators(1, 3, "initialization"))
    random = torch.Generator().manual_seed(2)
    images, labels = torch.randn(700, 1, 4, 4, generator=random), torch.randint(10, (700,), generator=random)
    return model, *(flatten(dict(each.named_parameters())) for each in (model, other)), images, labels


def test_the_line_covers_what_was_asked_and_holds_its_ends_exactly(pair):
    _, first, second, *_ = pair
    assert len(ALPHAS) >= 61 and ALPHAS.min() == -1 and ALPHAS.max() == 2
    assert ALPHAS[hw1_3_flatness.ENDS].tolist() == [0, 1]
    points = interpolate(first[0], second[0], ALPHAS)
    assert torch.equal(points[hw1_3_flatness.ENDS[0]], first[0])
    assert torch.equal(points[hw1_3_flatness.ENDS[1]], second[0])
    torch.testing.assert_close(points[0], 2 * first[0] - second[0])
    torch.testing.assert_close(points[30], (first[0] + second[0]) / 2)


def test_at_the_ends_of_the_line_are_the_models_own_metrics_exactly(pair):
    model, first, second, images, labels = pair
    values = hw1_3_flatness.measure_lines(model, first, second, {"test": (images, labels)})
    for vectors, index in zip((first, second), hw1_3_flatness.ENDS):
        loss, accuracy = evaluate(model, images, labels, unflatten(vectors, model))
        assert values["test_loss"][:, index].tolist() == loss.tolist()
        assert values["test_accuracy"][:, index].tolist() == accuracy.tolist()


def test_the_barrier_is_the_rise_above_the_straight_line_between_the_ends():
    alphas = ALPHAS.double().numpy()
    bump = 1 + 2 * alphas + np.where((alphas > 0) & (alphas < 1), 3 * np.sin(np.pi * alphas), 0) + 100 * (alphas > 1)
    convex = (alphas - 0.3) ** 2
    assert barrier(alphas, np.stack([bump, convex])) == pytest.approx([3, 0], abs=1e-12)


@pytest.mark.parametrize("scale", hw1_3_flatness.SCALES)
def test_rescaling_by_powers_of_two_leaves_every_digit_of_the_outputs(pair, scale):
    model, first, _, images, _ = pair
    scaled = rescale(first, model, scale)
    outputs = [functional_call(model, unflatten(vectors, model), (images.expand(3, *images.shape),))
               for vectors in (first, scaled)]
    assert torch.equal(*outputs)
    assert torch.equal(first, scaled) == (scale == 1)


def test_rescaling_changes_the_sharpness_that_it_should_not(pair):
    model, first, _, images, labels = pair
    loss = loss_of(model, images, labels)
    eigenvalues = [largest_eigenvalue(loss, rescale(first, model, scale).double()) for scale in (1, 8)]
    assert (eigenvalues[1] > 4 * eigenvalues[0]).all()


def test_rescaling_divides_a_layers_curvature_by_the_scale_squared(pair):
    """f(θ') = f(θ) with θ' = Dθ for a diagonal D, so H' = D⁻¹HD⁻¹: exact for directions within one layer."""
    model, first, _, images, labels = pair
    first = first.double()
    loss, scale = loss_of(model, images, labels), 4.0
    inside = {name: torch.full_like(parameter, float(name.startswith("1.")))
              for name, parameter in unflatten(first, model).items()}
    direction = flatten(inside) * first
    before, after = (curvature(loss, vectors, direction) for vectors in (first, rescale(first, model, scale)))
    torch.testing.assert_close(after, before / scale**2, rtol=1e-9, atol=1e-12)


def test_the_other_end_of_a_comparison_differs_in_one_value_and_fits_a_small_set():
    assert set(hw1_3_flatness.CHANGES) == set(hw1_3_flatness.BASE)
    random = torch.Generator().manual_seed(3)
    images, labels = torch.randn(40, 1, 28, 28, generator=random), torch.randint(10, (40,), generator=random)

    settings = SimpleNamespace(runs=1, seed=0, epochs=1, train_size=40, sharpness_images=20, device="cpu")
    results = hw1_3_flatness.run(settings, Dataset("digits", images, labels, images, labels))
    ends = {(row["comparison"], row["end"]): row["updates"] for row in results["table"]}
    assert ends == {("batch_size", 64): 1, ("batch_size", 40): 1, ("learning_rate", 1e-3): 1, ("learning_rate", 1e-2): 1}
