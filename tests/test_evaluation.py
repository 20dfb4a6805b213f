"""Outputs, loss and accuracy over a whole set, against the model itself and loops by hand."""

from common.evaluation import evaluate, evaluate_sets, predict
from common.models import mlp
from common.parameters import parameter_vectors, unflatten
from common.training import run_generators

import pytest
import torch


def random_images(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def random_labels(*shape):
    return torch.randint(3, shape, generator=torch.Generator().manual_seed(2))


def small_model(runs):
    return mlp([5, 4, 3], run_generators(0, runs, "initialization")).double()


@pytest.mark.parametrize("chunk", [7, 20, 100, None])
def test_predictions_are_the_models_own_for_every_chunk(chunk):
    model = mlp([6, 5, 4], run_generators(0, 3, "initialization")).double()
    images = random_images(20, 1, 2, 3)
    expected = model(images.expand(3, -1, -1, -1, -1))
    predicted = predict(model, images, chunk=chunk)
    torch.testing.assert_close(predicted, expected.detach())
    assert not predicted.requires_grad


def test_other_parameters_answer_in_place_of_the_models_own():
    model, images = small_model(3), random_images(20, 5)
    vectors = parameter_vectors(model)
    own = predict(model, images)
    # Stacks of other heights: two runs of three, and one run three times and another once.
    for runs in ([1, 2], [2, 0, 0, 0]):
        predicted = predict(model, images, unflatten(vectors[runs], model))
        torch.testing.assert_close(predicted, own[runs])
    torch.testing.assert_close(predict(model, images), own)  # the model is as it was


@pytest.mark.parametrize("chunk", [1, 7, 23, 100])
def test_evaluate_is_the_mean_over_the_whole_set_for_any_chunk(chunk):
    model, images, labels = small_model(2), random_images(23, 5), random_labels(23)
    loss, accuracy = evaluate(model, images, labels, chunk=chunk)
    logits = model(images.expand(2, -1, -1)).detach()
    for run in range(2):
        probabilities = logits[run].softmax(1)[torch.arange(23), labels]
        assert loss[run].item() == pytest.approx(-probabilities.log().mean().item(), rel=1e-12)
        hits = [int(logits[run, example].argmax() == labels[example]) for example in range(23)]
        assert accuracy[run].item() == pytest.approx(sum(hits) / 23, rel=1e-12)


def test_evaluate_sums_float32_networks_in_float64():
    model = small_model(2).float()
    loss, accuracy = evaluate(model, random_images(23, 5).float(), random_labels(23), chunk=7)
    assert loss.dtype == accuracy.dtype == torch.float64


def test_evaluate_takes_labels_of_each_run():
    model, images = small_model(2), random_images(10, 5)
    answers = predict(model, images, chunk=10)
    best, worst = answers.argmax(2), answers.argmin(2)
    _, accuracy = evaluate(model, images, torch.stack([best[0], worst[1]]), chunk=4)
    assert accuracy.tolist() == [1.0, 0.0]


def test_evaluate_takes_parameters_of_another_number_of_runs():
    model, images, labels = small_model(2), random_images(23, 5), random_labels(23)
    loss, accuracy = evaluate(model, images, labels)
    assert loss[0] != loss[1]
    runs = [1, 1, 0, 0]  # each run twice, in reverse
    other = unflatten(parameter_vectors(model)[runs], model)
    other_loss, other_accuracy = evaluate(model, images, labels, other)
    torch.testing.assert_close(other_loss, loss[runs])
    assert torch.equal(other_accuracy, accuracy[runs])


def test_evaluate_sets_names_the_values_of_every_set():
    model = small_model(2)
    sets = {"train": (random_images(23, 5), random_labels(23)),
            "test": (random_images(9, 5), random_labels(2, 9))}
    other = unflatten(parameter_vectors(model)[[1, 0]], model)
    values = evaluate_sets(model, sets, other)
    assert list(values) == ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    for name, (images, labels) in sets.items():
        logits = predict(model, images, other)
        for run in range(2):
            run_labels = labels.expand(2, -1)[run]
            loss = torch.nn.functional.cross_entropy(logits[run], run_labels)
            hits = logits[run].argmax(1) == run_labels
            torch.testing.assert_close(values[f"{name}_loss"][run], loss)
            torch.testing.assert_close(values[f"{name}_accuracy"][run], hits.double().mean())
