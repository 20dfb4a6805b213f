"""The lines between solutions, and the rescaling that changes sharpness but not the function."""

import itertools
from types import SimpleNamespace

import hw1_3_flatness as experiment
from common.data import Dataset
from common.derivatives import curvature, largest_eigenvalue, loss_at
from common.evaluation import evaluate, predict
from common.models import mlp
from common.parameters import flatten, interpolate, parameter_vectors, rescale, unflatten
from common.pieces import join_groups, total_cost
from common.results import as_stored
from common.temperature import calibrate
from common.training import cross_entropy, run_generators, train

import numpy as np
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


def task(images, labels, monkeypatch):
    """Data whose first 40 training images are used, and settings, for networks as in pair."""
    monkeypatch.setattr(experiment, "WIDTHS", [16, 8, 6, 10])
    data = Dataset("made up", images[:60], labels[:60], images[60:], labels[60:])
    return data, SimpleNamespace(seed=0, runs=2, train_size=40, sharpness_images=30,
                                 device=torch.device("cpu"), jobs=1, cluster=None,
                                 experiment="test")


def test_on_a_line_are_the_metrics_of_the_networks_there(pair, monkeypatch):
    model, first, second, images, labels = pair
    data, settings = task(images, labels, monkeypatch)
    middle = ENDS[0] + 5
    assert ALPHAS[middle] == 0.5
    sets = {"train": (images[:40], labels[:40]), "test": (images[60:], labels[60:])}
    for start, end in zip(first, second):
        line = experiment.measure_line(data, start, end, settings)
        for name, place in itertools.product(sets, (ENDS[0], middle, ENDS[1])):
            network = {ENDS[0]: start, middle: (start + end) / 2, ENDS[1]: end}[place]
            loss, accuracy = evaluate(model, *sets[name], unflatten(network[None], model))
            losses, accuracies = line[f"{name}_loss"], line[f"{name}_accuracy"]
            assert losses.shape == accuracies.shape == (1, len(ALPHAS))
            assert losses[:, place] == pytest.approx(loss.numpy(), rel=1e-6)
            assert accuracies[:, place] == pytest.approx(accuracy.numpy(), abs=2 / 100)


def test_lines_lead_from_the_base_to_the_changed_training_of_the_same_or_the_next_run(
        pair, monkeypatch):
    """Three solutions of every training: two lines, and the last one to end a line alone."""
    _, first, second, images, labels = pair
    data, settings = task(images, labels, monkeypatch)
    monkeypatch.setattr(experiment, "RUNS_TOGETHER", 2)
    solutions = {"base": first, "batch_size": second, "learning_rate": 2 * second}
    pieces = experiment.measuring_pieces(solutions, data, settings)
    for training, changed in (("batch_size", second), ("learning_rate", 2 * second)):
        for run in range(2):
            for initialization, end in (("same", changed[run]), ("different", changed[run + 1])):
                piece = pieces["line", training, initialization, run]
                assert piece.function is experiment.measure_line
                assert torch.equal(piece.arguments[0], first[run])
                assert torch.equal(piece.arguments[1], end)
    for training, expected in solutions.items():
        measured = [piece.arguments[0] for key, piece in pieces.items()
                    if key[:2] == ("solutions", training)]
        assert torch.equal(torch.cat(measured), expected)
    for scale in experiment.SCALES:
        scaled = [piece.arguments[:2] for key, piece in pieces.items()
                  if key[:2] == ("scale", scale)]
        assert torch.equal(torch.cat([vectors for vectors, _ in scaled]), first[:2])
        assert {piece_scale for _, piece_scale in scaled} == {scale}
    kinds = [key[0] for key in pieces]
    assert (kinds.count("line"), kinds.count("solutions")) == (2 * 2 * 2, 3 * 2)
    assert experiment.cost_of_measuring(settings) == total_cost(pieces)


def test_solutions_are_those_of_each_run_trained_by_itself(monkeypatch):
    random = torch.Generator().manual_seed(2)
    images = torch.randn(100, 1, 4, 4, generator=random)
    data, settings = task(images, torch.randint(10, (100,), generator=random), monkeypatch)
    settings.epochs = 2
    monkeypatch.setattr(experiment, "RUNS_TOGETHER", 2)
    options = {"base": {"batch_size": 8, "learning_rate": 1e-3},
               "learning_rate": {"batch_size": 8, "learning_rate": 1e-2}}
    solutions = experiment.train_all(options, data, 0, settings)
    assert list(solutions) == ["base", "learning_rate"]
    for training, vectors in solutions.items():
        for run in range(3):  # one more than there are pairs
            model = mlp([16, 8, 6, 10], run_generators(0, [run], "initialization"))
            train(model, images[:40], data.train_labels[None, :40], cross_entropy, epochs=2,
                  learning_rate=options[training]["learning_rate"], batch_size=8,
                  order_generators=run_generators(0, [run], "order"))
            torch.testing.assert_close(vectors[run], parameter_vectors(model)[0], rtol=1e-4,
                                       atol=1e-5)


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
    data, settings = task(images, labels, monkeypatch)
    loss = loss_at(model, images[:30].double(), labels[:30], cross_entropy)
    monkeypatch.setattr(experiment, "SCALES", (1.0, 4.0))
    measured = {("scale", scale, run):
                experiment.measure_rescaled(data, first[[run]], scale, settings)
                for scale in (1.0, 4.0) for run in range(2)}
    rows, curves = experiment.summarize_rescaled(join_groups(measured))
    assert [(row["scale"], row["runs"]) for row in rows] == [(1, 2), (4, 2)]
    # powers of two change no digit of the function, yet the norm and the sharpness of its weights
    assert [row["largest_output_change"].item() for row in rows] == [0, 0]
    for name in ("test_loss", "uncertainty", "adaptive_sharpness", "calibrated_test_loss"):
        assert rows[0][f"{name}_median"] == rows[1][f"{name}_median"] > 0
    test_losses, _ = evaluate(model, images[60:], labels[60:], unflatten(first, model))
    assert rows[0]["test_loss_median"] == pytest.approx(test_losses.mean().item())  # of two runs
    for row, eigenvalues, scale in zip(rows, curves["largest_eigenvalue"], (1, 4)):
        scaled = rescale(first, model, scale)
        expected = largest_eigenvalue(loss, scaled.double())
        assert eigenvalues.tolist() == pytest.approx(expected.tolist())
        assert row["largest_eigenvalue_highest"] == pytest.approx(expected.max().item())
        assert row["weight_norm_median"] == pytest.approx(scaled.norm(dim=1).mean().item())


def test_the_largest_change_of_an_output_is_that_of_all_runs(monkeypatch):
    """A change that a function that is not rescaled right would show."""
    monkeypatch.setattr(experiment, "SCALES", (1.0,))
    first = {"train_loss": np.array([1.0, 2.0]), "output_change": np.array([1e-9, 0.2]),
             "largest_eigenvalue": np.array([4.0, 5.0]), "sharpness": np.array([7.0, 8.0]),
             "adaptive_sharpness": np.array([1.0, 2.0])}
    second = {"train_loss": np.array([3.0]), "output_change": np.array([0.0]),
              "largest_eigenvalue": np.array([9.0]), "sharpness": np.array([9.0]),
              "adaptive_sharpness": np.array([3.0])}
    (row,), curves = experiment.summarize_rescaled(join_groups({
        ("scale", 1.0, 0): first, ("scale", 1.0, 2): second, ("scale", 4.0, 0): second}))
    assert (row["runs"], row["largest_output_change"]) == (3, 0.2)
    assert (row["train_loss_median"], row["largest_eigenvalue_median"], row["sharpness_median"],
            row["sharpness_lowest"], row["sharpness_highest"]) == (2, 5, 8, 7, 9)
    assert [by_run.tolist() for by_run in curves["sharpness"]] == [[7, 8, 9]]


def test_an_output_that_a_scale_changes_is_seen(pair, monkeypatch):
    model, first, _, images, labels = pair
    data, settings = task(images, labels, monkeypatch)
    monkeypatch.setattr(experiment, "rescale", lambda vectors, model, scale: scale * vectors)
    changes = experiment.measure_rescaled(data, first, 2.0, settings)["output_change"]
    before, after = (predict(model, images[60:], unflatten(vectors, model)).numpy()
                     for vectors in (first, 2 * first))
    assert changes == pytest.approx(abs(after - before).max((1, 2)))
    assert changes.min() > 0.1


def test_every_row_with_a_flatness_says_how_confident_its_networks_are(pair, monkeypatch):
    model, first, second, images, labels = pair
    data, settings = task(images, labels, monkeypatch)
    solutions = {"base": first, "batch_size": second, "learning_rate": 2 * second}
    monkeypatch.setattr(experiment, "train_all", lambda *_: solutions)
    monkeypatch.setattr(experiment, "load_dataset", lambda *_: data)
    settings.epochs, settings.dataset, settings.data_dir = 1, "made up", "data"
    results = experiment.run(settings)
    sharpness = {f"{name}_median" for name in experiment.SHARPNESS_MEASURES}
    for table, columns in (("table", {"curvature_median"}),
                           ("solutions", sharpness), ("rescaling", sharpness)):
        beside = {"train_loss_median", "weight_norm_median", "uncertainty_median"}
        for row in results[table]:
            assert columns | beside <= set(row)
    for name, vectors in solutions.items():
        row = results["solutions"][list(solutions).index(name)]
        calibrated = calibrate(mlp([16, 8, 6, 10], run_generators(0, 3, "initialization")), data,
                               settings.train_size, unflatten(vectors, model))
        by_run = results["curves"]["solutions"][name]["calibrated_test_loss"]
        assert by_run.tolist() == calibrated["calibrated_test_loss"].tolist()
        assert row["temperature_median"] == pytest.approx(calibrated["temperature"].median().item())
    norms = [row["weight_norm_median"] for row in results["solutions"]]
    assert norms == pytest.approx([vectors.norm(dim=1).median().item()
                                   for vectors in solutions.values()])
    at_1 = results["table"][3]  # batch_size, different initialization: the second and third runs
    assert at_1["weight_norm_median"] == pytest.approx(second[1:].norm(dim=1).mean().item())


def test_the_other_end_of_a_comparison_differs_in_one_value_and_fits_a_small_set(monkeypatch):
    assert set(experiment.CHANGES) == set(experiment.BASE)
    random = torch.Generator().manual_seed(3)
    images = torch.randn(40, 1, 28, 28, generator=random)
    labels = torch.randint(10, (40,), generator=random)
    data = Dataset("digits", images, labels, images, labels)
    monkeypatch.setattr(experiment, "load_dataset", lambda *arguments: data)
    settings = SimpleNamespace(runs=1, seed=0, epochs=1, train_size=40, sharpness_images=20,
                               device=torch.device("cpu"), dataset="digits", data_dir="data",
                               jobs=1, cluster=None, experiment="test")
    results = experiment.run(settings)
    updates = {(row["comparison"], row["end"]): row["updates"] for row in results["table"]}
    assert updates == {("batch_size", 64): 1, ("batch_size", 40): 1, ("learning_rate", 1e-3): 1,
                       ("learning_rate", 1e-2): 1}
    # All training images are used: none is left to fit a temperature on, which no fact needs.
    assert {row["calibrated_test_loss_median"] for row in results["solutions"]} == {None}
    results["settings"] = {"runs": 1, "seed": 0, "quick": False}
    results["environment"] = {"dataset": "digits"}
    results = as_stored(results)
    results["facts"] = experiment.collect_facts(results)
    excess = results["facts"]["excess_of_learning_rate"]
    assert excess["calibrated_test_loss"] == {
        "value": None, "ci95": None, "p_value": None}
    solutions_panel = experiment.plot(results).axes[3]
    assert solutions_panel.get_title() == "Test loss and sharpness of three solutions"
    assert "after one temperature" not in solutions_panel.get_legend_handles_labels()[1]
    losses_panel, temperature_panel = experiment.plot_details(results).axes[2::3]
    assert losses_panel.lines and len(temperature_panel.lines) == 1  # that of temperature 1
