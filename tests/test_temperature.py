"""Temperatures: against a grid, closed forms and what a temperature must not change."""

from common.data import Dataset, images_after_training
from common.evaluation import evaluate, predict
from common.models import mlp
from common.temperature import HELD_OUT, calibrate, fit_temperature, loss_at_temperature
from common.training import run_generators

import numpy as np
import pytest
import torch


def noisy_logits(runs, count, classes, scale):
    """Logits that are right more often than not, and labels: (runs, count, classes), (count,)."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(classes, (count,), generator=generator)
    logits = torch.randn(runs, count, classes, generator=generator, dtype=torch.float64)
    logits += 1.5 * torch.nn.functional.one_hot(labels, classes)
    return scale * logits, labels


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_no_temperature_of_a_fine_grid_gives_a_lower_loss(scale):
    logits, labels = noisy_logits(3, 200, 5, scale)
    fitted = loss_at_temperature(logits, labels, fit_temperature(logits, labels))
    for temperature in np.geomspace(0.02, 900, 2_000):
        on_grid = loss_at_temperature(logits, labels, torch.full((3,), float(temperature)))
        assert (fitted <= on_grid + 1e-8).all()


def test_the_temperature_of_two_classes_has_a_closed_form():
    # Of 100 images 75 are right, all by the same margin of 6: the loss is lowest where the
    # probability of the answer is 0.75, which is where margin / T = log 3.
    logits = torch.zeros(1, 100, 2)
    logits[:, :, 0] = 6
    labels = (torch.arange(100) >= 75).long()
    assert fit_temperature(logits, labels).item() == pytest.approx(6 / np.log(3), rel=1e-4)


def test_logits_times_a_number_have_that_temperature_more_and_the_same_loss():
    logits, labels = noisy_logits(2, 300, 10, 1.0)
    temperatures, hotter = fit_temperature(logits, labels), fit_temperature(7 * logits, labels)
    torch.testing.assert_close(hotter, 7 * temperatures, rtol=3e-4, atol=0)
    torch.testing.assert_close(loss_at_temperature(logits, labels, temperatures),
                               loss_at_temperature(7 * logits, labels, hotter),
                               rtol=0, atol=1e-7)


def random_data(train, test):
    generator = torch.Generator().manual_seed(0)

    def draw(count):
        return (torch.randn(count, 1, 4, 4, generator=generator),
                torch.randint(10, (count,), generator=generator))

    return Dataset("random", *draw(train), *draw(test))


def test_test_images_and_training_images_have_no_part_in_the_temperature():
    model = mlp([16, 8, 10], run_generators(0, 2, "initialization"))
    data = random_data(500, 60)
    calibrated = calibrate(model, data, train_size=300)
    held_out_logits = predict(model, data.train_images[300:])
    expected = fit_temperature(held_out_logits, data.train_labels[300:])
    torch.testing.assert_close(calibrated["temperature"], expected)
    logits = predict(model, data.test_images).double()
    for run in range(2):
        log_probabilities = (logits[run] / expected[run]).log_softmax(1)
        loss = -log_probabilities[torch.arange(60), data.test_labels].mean()
        assert calibrated["calibrated_test_loss"][run].item() == pytest.approx(loss.item())


def test_a_temperature_of_one_gives_the_test_loss():
    model = mlp([16, 8, 10], run_generators(0, 2, "initialization"))
    data = random_data(20, 60)
    loss, _ = evaluate(model, data.test_images, data.test_labels)
    at_one = loss_at_temperature(predict(model, data.test_images), data.test_labels, torch.ones(2))
    torch.testing.assert_close(at_one, loss, rtol=1e-6, atol=0)


def test_where_no_image_is_left_the_temperature_is_unknown():
    model = mlp([16, 8, 10], run_generators(0, 2, "initialization"))
    calibrated = calibrate(model, random_data(20, 5), train_size=20)
    assert all(values.isnan().all() and values.shape == (2,) for values in calibrated.values())


def test_images_after_training_are_the_next_ones():
    data = random_data(10, 1)
    images, labels = images_after_training(data, 4, 3)
    assert images.equal(data.train_images[4:7]) and labels.equal(data.train_labels[4:7])
    assert len(images_after_training(data, 8, HELD_OUT)[0]) == 2
