"""The sweep over parameters: its sizes, its order of runs, what is measured, random features."""

from types import SimpleNamespace

import hw1_3_params as experiment
from common.data import Dataset, randomize_labels
from common.models import mlp
from common.parameters import parameter_vectors
from common.plotting import find_row
from common.results import as_stored, png_of
from common.temperature import fit_temperature, loss_at_temperature
from common.training import cross_entropy, run_generators

import numpy as np
import pytest
import scipy
import torch


def made_up_data(train, test, seed=0):
    """Images of noise, whose labels depend on them a little."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(train + test, 1, 4, 4, generator=random)
    images[:, 0, 0, 0] += 5  # a mean image that matters
    labels = (images.flatten(1)[:, :10] - images.mean(0).flatten()[:10]).argmax(1)
    return Dataset("made up", images[:train], labels[:train], images[train:], labels[train:])


def made_up_settings(**changes):
    settings = SimpleNamespace(seed=0, device=torch.device("cpu"), lr=0.05, batch_size=8, epochs=1,
                               runs=3, train_size=30, jobs=1, cluster=None, experiment="test",
                               dataset="made up", data_dir="data", quick=False)
    vars(settings).update(changes)
    return settings


def test_the_sweep_spans_what_the_question_asks():
    counts = [(784 + 1) * width + (width + 1) * 10 for width in experiment.WIDTHS]
    assert counts == sorted(set(counts))
    assert counts[-1] / counts[0] >= 1000
    assert 0 in experiment.FRACTIONS and 0.2 in experiment.FRACTIONS


def test_a_width_is_measured_for_every_fraction_and_run_on_its_own_labels(monkeypatch):
    """Without training, equal runs are equal networks: they differ in their labels alone."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(40, 1, 4, 4, generator=random)
    labels = torch.randint(10, (40,), generator=random)
    data = Dataset("made up", images, labels, images[:15], labels[:15])
    settings = made_up_settings()
    stacks = []

    def note_stack(model, images, labels, *_, order_generators, **__):
        orders = [torch.randperm(30, generator=generator) for generator in order_generators]
        stacks.append((parameter_vectors(model), orders))

    monkeypatch.setattr(experiment, "train", note_stack)
    monkeypatch.setattr(experiment, "load_dataset", lambda *_: data)
    monkeypatch.setattr(experiment, "WIDTHS", (2, 3, 5))
    monkeypatch.setattr(experiment, "NETWORKS_TOGETHER", 4)
    monkeypatch.setattr(experiment, "WIDE", 5)  # networks as wide as this are alone in their stack
    curves = experiment.run(settings)["curves"]

    assert curves["parameters"] == [(16 + 1) * width + (width + 1) * 10 for width in (2, 3, 5)]
    assert sorted(len(vectors) for vectors, _ in stacks) == [1] * 6 + [2, 2, 4, 4]
    centered = images[:30] - images[:30].mean(0)
    for place, width in enumerate((2, 3, 5)):
        for run in range(3):
            model = mlp([16, width, 10], run_generators(0, [run], "initialization"))
            order = torch.randperm(30, generator=run_generators(0, [run], "order")[0])
            orders = [order_of_network for vectors, orders in stacks
                      for vector, order_of_network in zip(vectors, orders)
                      if torch.equal(vector, parameter_vectors(model)[0])]
            assert [torch.equal(order, other) for other in orders] == [True, True]  # fractions
            with torch.no_grad():
                logits = model(centered.unsqueeze(0))
                test_logits = model((images[:15] - images[:30].mean(0)).unsqueeze(0))
                unseen_logits = model((images[30:] - images[:30].mean(0)).unsqueeze(0))
            temperature = fit_temperature(unseen_logits, labels[30:])
            calibrated = loss_at_temperature(test_logits, labels[:15], temperature)
            for fraction in (0, 0.2):
                given, _ = randomize_labels(labels[:30], fraction,
                                            run_generators(0, [run], "labels")[0])
                expected = {
                    "train_loss": cross_entropy(logits, given[None]),
                    "train_accuracy": (logits.argmax(2) == given).double().mean(),
                    "test_loss": cross_entropy(test_logits, labels[None, :15]),
                    "test_accuracy": (test_logits.argmax(2) == labels[:15]).double().mean(),
                    "temperature": temperature,  # flat loss near the best: found to 1e-4 of log T
                    "calibrated_test_loss": calibrated,
                }
                for name, value in expected.items():
                    tolerance = 1e-3 if name == "temperature" else 1e-6
                    assert curves[name][fraction][run, place] == pytest.approx(
                        value.item(), rel=tolerance), name


def test_without_images_left_there_is_no_temperature_and_all_the_rest(monkeypatch):
    data = made_up_data(30, 15)
    monkeypatch.setattr(experiment, "load_dataset", lambda *_: data)
    monkeypatch.setattr(experiment, "WIDTHS", (2, 3, 5))
    settings = made_up_settings()
    results = as_stored(experiment.run(settings))  # refuses what is not a number
    assert all(row["temperature_mean"] is row["calibrated_test_loss_mean"] is None
               for row in results["table"])
    assert all(row["test_loss_mean"] > 0 for row in results["table"])
    assert results["curves"]["temperature"] is results["curves"]["calibrated_test_loss"] is None
    results["facts"] = experiment.collect_facts(results)
    for name in ("true_labels", "random_labels"):
        assert results["facts"][name]["calibrated_late_rise"] is None
        assert results["facts"][name]["late_loss_rise"]["value"] is not None
    results["settings"] = {"runs": 3, "seed": 0, "quick": False}
    results["environment"] = {"dataset": "made up"}
    figure = experiment.plot(results)
    assert png_of(figure, results)
    words = figure.legends[0].get_texts() + [panel.title for panel in figure.axes]
    assert not any("temperature" in text.get_text() for text in words)
    assert png_of(experiment.plot_details(results), results)


# --- random features ---


@pytest.mark.parametrize("images, features", [(60, 25), (60, 60), (60, 61), (40, 200)])
def test_weights_are_the_smallest_of_least_squared_error(images, features):
    random = np.random.default_rng(0)
    hidden = np.maximum(random.standard_normal((images, features)), 0)
    targets = random.standard_normal((images, 6))
    weights = experiment.minimum_norm_weights(torch.tensor(hidden), torch.tensor(targets)).numpy()
    # Rounding grows with the condition number: both solvers' errors are some hundred of its ε.
    tolerance = 1_000 * np.finfo(float).eps * np.linalg.cond(hidden)
    for expected in (scipy.linalg.lstsq(hidden, targets, lapack_driver="gelsd")[0],
                     np.linalg.pinv(hidden) @ targets):
        assert np.abs(weights - expected).max() <= tolerance * np.abs(expected).max()
    if features <= images:  # the error is orthogonal to every feature
        assert np.abs(hidden.T @ (targets - hidden @ weights)).max() < tolerance * images
        return
    assert np.abs(hidden @ weights - targets).max() < tolerance * np.abs(weights).max()
    unseen_directions = scipy.linalg.null_space(hidden)
    other = weights + unseen_directions @ random.standard_normal((features - images, 6))
    assert np.abs(hidden @ other - targets).max() < tolerance * np.abs(other).max()
    assert (np.linalg.norm(other, axis=0) > np.linalg.norm(weights, axis=0)).all()


def test_features_that_are_ill_conditioned_lose_their_condition_number_and_not_its_square():
    # Singular values of 1 to 1e-10, weights of about 1 that fit exactly. The normal equations would
    # square 1e10 and leave no digit; an orthogonal factorization leaves errors of 1e10 · ε ≈ 2e-6.
    random = np.random.default_rng(0)
    left, _ = np.linalg.qr(random.standard_normal((30, 30)))
    right, _ = np.linalg.qr(random.standard_normal((30, 30)))
    features = left @ np.diag(np.geomspace(1, 1e-10, 30)) @ right
    true = random.standard_normal((30, 2))
    weights = experiment.minimum_norm_weights(torch.tensor(features), torch.tensor(features @ true))
    assert np.abs(weights.numpy() - true).max() < 1e-4


def test_fits_are_those_of_each_fraction_solved_alone(monkeypatch):
    monkeypatch.setattr(experiment, "FEATURES_PER_IMAGE", (0.2, 0.8, 1.3, 3))
    monkeypatch.setattr(experiment, "TEST_IMAGES_TOGETHER", 7)  # several chunks, the last smaller
    data, settings = made_up_data(35, 17), made_up_settings()
    measured = experiment.fit_features(data, 2, settings)
    assert set(measured) == set(experiment.FEATURE_MEASURES)
    layer = mlp([16, 90, 10], run_generators(0, [2], "initialization"))[1]  # as in the networks
    weight = layer.weight[0].detach().double().numpy()
    bias = layer.bias[0].detach().double().numpy()
    mean_image = data.train_images[:30].mean(0)

    def hidden_units(images, count):
        pixels = (images - mean_image).flatten(1).double().numpy()
        return np.maximum(pixels @ weight[:count].T + bias[:count].T, 0)

    for place, count in enumerate((6, 24, 39, 90)):
        for fraction_place, fraction in enumerate((0, 0.2)):
            given, _ = randomize_labels(data.train_labels[:30], fraction,
                                        run_generators(0, [2], "labels")[0])
            features = hidden_units(data.train_images[:30], count)
            weights = np.linalg.pinv(features) @ np.eye(10)[given]
            train_outputs = features @ weights
            outputs = hidden_units(data.test_images, count) @ weights
            expected = {
                "train_error": (train_outputs.argmax(1) != given.numpy()).mean(),
                "test_error": (outputs.argmax(1) != data.test_labels.numpy()).mean(),
                "test_loss": ((outputs - np.eye(10)[data.test_labels]) ** 2).mean(),
                "weight_norm": np.linalg.norm(weights),
            }
            for name, value in expected.items():
                found = measured[name][0, fraction_place, place]
                # Condition numbers of some hundred: rounding is far below a millionth.
                assert found == pytest.approx(value, rel=1e-6), (name, count, fraction)


def test_error_loss_and_weights_peak_where_there_are_as_many_features_as_images():
    data, settings = made_up_data(60, 400), made_up_settings(train_size=60, runs=4)
    images, counts = experiment.count_features(settings)
    by_run = [experiment.fit_features(data, run, settings) for run in range(4)]
    measures = {name: np.concatenate([of_run[name] for of_run in by_run])
                for name in experiment.FEATURE_MEASURES}
    rows = experiment.summarize_feature_peaks(counts, images, measures)
    for fraction in (0, 0.2):
        error = find_row(rows, randomized=fraction, measure="test_error")
        loss = find_row(rows, randomized=fraction, measure="test_loss")
        assert error["features"] == loss["features"] == 60
        assert error["features_per_label"] == 1
        assert loss["runs_highest_there"] == 4 and loss["beyond_intervals"]
        assert loss["rise"] > 10 and loss["fall"] > 10  # factors
    table = experiment.summarize_features(counts, images, measures)
    for row in table:
        assert (row["train_error_mean"] == 0) or row["features"] < 60
    norms = [row["weight_norm_median"] for row in table if row["randomized"] == 0.2]
    assert np.argmax(norms) == counts.index(60)


def test_no_more_images_are_fitted_than_there_is_time_for(monkeypatch):
    monkeypatch.setattr(experiment, "MOST_FEATURE_IMAGES", 20)
    data = made_up_data(35, 17)
    images, counts = experiment.count_features(made_up_settings(train_size=30))
    assert (images, counts[0], counts[-1]) == (20, 1, 100)
    of_many = experiment.fit_features(data, 0, made_up_settings(train_size=30))
    of_few = experiment.fit_features(data, 0, made_up_settings(train_size=20))
    for name in experiment.FEATURE_MEASURES:
        assert np.array_equal(of_many[name], of_few[name])


def test_one_image_has_features_too():
    measured = experiment.fit_features(made_up_data(5, 17), 0, made_up_settings(train_size=1))
    assert all(np.isfinite(values).all() for values in measured.values())
