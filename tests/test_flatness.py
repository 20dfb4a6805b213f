"""The lines between solutions, and the rescaling that changes sharpness but not the function."""

from types import SimpleNamespace

import hw1_3_flatness as experiment
from common.data import Dataset
from common.derivatives import curvature, largest_eigenvalue, loss_at
from common.evaluation import evaluate
from common.models import mlp
from common.parameters import flatten, interpolate, parameter_vectors, rescale, unflatten
from common.training import cross_entropy, run_generators

import pytest
import torch

ALPHAS = experiment.ALPHAS
ENDS = (experiment.AT_0, experiment.AT_1)


@pytest.fixture
def pair():
    """Two stacks of three networks, and a set: (model, first (3, P), second, images, labels)."""
    model = mlp([16, 8, 6, 10], run_generators(0, 3, "initialization"))
    other = mlp([16, 8, 6, 10], run_generators(1, 3, "initialization"))
    random = torch.Generator().manual_seed(2)
    images = torch.randn(100, 1, 4, 4, generator=random)
    labels = torch.randint(10, (100,), generator=random)
    return model, parameter_vectors(model), parameter_vectors(other), images, labels


def test_the_line_covers_what_was_asked_and_holds_its_ends_exactly(pair):
    _, first, second, *_ = pair
    assert ALPHAS.min() == -1 and ALPHAS.max() == 2
    points = interpolate(first[0], second[0], ALPHAS)
    assert torch.equal(points[experiment.AT_0], first[0])
    assert torch.equal(points[experiment.AT_1], second[0])
    torch.testing.assert_close(points[0], 2 * first[0] - second[0])
    torch.testing.assert_close(points[-1], 2 * second[0] - first[0])


def test_on_a_line_are_the_metrics_of_the_networks_there(pair):
    model, first, second, images, labels = pair
    lines = experiment.measure_lines(model, first, second, {"test": (images, labels)})
    assert lines["test_loss"].shape == (3, len(ALPHAS))
    middle = ENDS[0] + 10
    assert ALPHAS[middle] == 0.5
    for vectors, place in zip((first, (first + second) / 2, second), (ENDS[0], middle, ENDS[1])):
        loss, accuracy = evaluate(model, images, labels, unflatten(vectors, model))
        assert lines["test_loss"][:, place] == pytest.approx(loss.numpy(), rel=1e-6)
        assert lines["test_accuracy"][:, place] == pytest.approx(accuracy.numpy(), abs=2 / 100)


def test_rescaling_changes_the_sharpness_that_it_should_not(pair):
    model, first, _, images, labels = pair
    loss = loss_at(model, images.double(), labels, cross_entropy)
    eigenvalues = [largest_eigenvalue(loss, rescale(first, model, scale).double(), tolerance=0.1)
                   for scale in (1, 8)]
    assert (eigenvalues[1] > 4 * eigenvalues[0]).all()


def test_rescaling_divides_a_layers_curvature_by_the_scale_squared(pair):
    """f(θ') = f(θ) with θ' = Dθ for a diagonal D, so H' = D⁻¹HD⁻¹, exactly within one layer."""
    model, first, _, images, labels = pair
    first = first.double()
    loss, scale = loss_at(model, images.double(), labels, cross_entropy), 4.0
    inside = {name: torch.full_like(parameter, float(name.startswith("1.")))
              for name, parameter in unflatten(first, model).items()}
    direction = flatten(inside) * first
    before, after = (curvature(loss, vectors, direction)
                     for vectors in (first, rescale(first, model, scale)))
    torch.testing.assert_close(after, before / scale**2, rtol=1e-9, atol=1e-12)


def test_the_rescaled_solutions_are_measured_scale_by_scale(pair, monkeypatch):
    model, first, _, images, labels = pair
    first = first[:2]
    loss = loss_at(model, images.double(), labels, cross_entropy)
    monkeypatch.setattr(experiment, "SCALES", (1.0, 4.0))
    rows, curves = experiment.measure_rescaled(model, first, loss, {"test": (images, labels)})
    assert [row["scale"] for row in rows] == [1, 4]
    # powers of two change no digit of the function, yet the norm and the sharpness of its weights
    assert [row["largest_output_change"].item() for row in rows] == [0, 0]
    assert rows[0]["test_loss"] == rows[1]["test_loss"]
    for row, eigenvalues, scale in zip(rows, curves["largest_eigenvalue"], (1, 4)):
        scaled = rescale(first, model, scale)
        expected = largest_eigenvalue(loss, scaled.double())
        assert eigenvalues.tolist() == pytest.approx(expected.tolist())
        assert row["largest_eigenvalue"] == pytest.approx(expected.mean().item())
        assert row["weight_norm"] == pytest.approx(scaled.norm(dim=1).mean().item())


def test_the_other_end_of_a_comparison_differs_in_one_value_and_fits_a_small_set(monkeypatch):
    assert set(experiment.CHANGES) == set(experiment.BASE)
    random = torch.Generator().manual_seed(3)
    images = torch.randn(40, 1, 28, 28, generator=random)
    labels = torch.randint(10, (40,), generator=random)
    data = Dataset("digits", images, labels, images, labels)
    monkeypatch.setattr(experiment, "load_dataset", lambda *arguments: data)
    settings = SimpleNamespace(runs=1, seed=0, epochs=1, train_size=40, sharpness_images=20,
                               device=torch.device("cpu"), dataset="digits", data_dir="data")
    results = experiment.run(settings)
    updates = {(row["comparison"], row["end"]): row["updates"] for row in results["table"]}
    assert updates == {("batch_size", 64): 1, ("batch_size", 40): 1, ("learning_rate", 1e-3): 1,
                       ("learning_rate", 1e-2): 1}
