"""Settings are chosen on held-out training images, and the experiments use what was chosen."""

from pathlib import Path
from types import SimpleNamespace

import hw1_1_mnist
import hw1_3_params
import hw1_3_random_labels
import hw1_3_sensitivity
from choices import image_settings
from common.data import Dataset, hold_out
from common.results import read_results

import pytest
import torch

FIGURES = Path(__file__).parent.parent / "figures"


def made_up_data():
    random = torch.Generator().manual_seed(0)
    return Dataset("made up", torch.randn(40, 1, 28, 28, generator=random), torch.arange(40) % 10,
                   torch.zeros(8, 1, 28, 28), torch.zeros(8, dtype=torch.int64))


def test_held_out_images_are_the_last_of_training_and_in_nothing_else():
    data = made_up_data()
    held_out = hold_out(data, 12)
    assert torch.equal(held_out.train_images, data.train_images[:28])
    assert torch.equal(held_out.train_labels, data.train_labels[:28])
    assert torch.equal(held_out.test_images, data.train_images[28:])
    assert torch.equal(held_out.test_labels, data.train_labels[28:])


def test_the_networks_of_the_report_use_what_was_chosen():
    chosen = read_results(FIGURES / "image_settings.json")["chosen"]
    assert [row["network"] for row in chosen] == list(hw1_1_mnist.MODELS)
    for row in chosen:
        model = hw1_1_mnist.MODELS[row["network"]]
        assert model["learning_rate"] == row["learning_rate"]
        assert model["weight_decay"] == row["weight_decay"]


@pytest.mark.parametrize("experiment, script", [
    ("random labels", hw1_3_random_labels), ("parameters", hw1_3_params),
    ("sensitivity", hw1_3_sensitivity)])
def test_what_is_tried_has_the_used_learning_rate_in_its_middle(experiment, script):
    low, used, high = image_settings.TRIED_RATES[experiment]
    assert low < used < high and used == script.FLAGS["lr"].default


def test_the_choice_has_the_lowest_mean_held_out_loss():
    table = [{"network": "A", "learning_rate": rate, "weight_decay": 0.0, "held_out_loss": loss,
              "held_out_accuracy": 0.9} for rate, loss in ((1e-3, 0.5), (1e-2, 0.4), (1e-1, 0.6))]
    other = {**table[0], "network": "B", "held_out_loss": 0.1}
    assert image_settings.best_row([other, *table], "A")["learning_rate"] == 1e-2


def test_runs_of_the_choice_are_none_of_the_reports_and_belong_to_their_settings():
    settings = SimpleNamespace(quick=True, runs=2, seed=0, device=torch.device("cpu"))
    pieces = image_settings.list_pieces(made_up_data(), settings)
    networks = len(hw1_1_mnist.MODELS)
    rates, decays = image_settings.CNN_LEARNING_RATES, image_settings.CNN_WEIGHT_DECAYS
    assert len(pieces) == 2 * (networks * len(rates) * len(decays) + 3 * 3)
    for (experiment, network, rate, decay, run), piece in pieces.items():
        assert run >= 1_000_000
        if experiment == "images":
            assert piece.arguments[:4] == (network, rate, decay, run)
        else:
            assert piece.arguments[:2] == (rate, run)


@pytest.mark.parametrize("experiment", image_settings.TRAINED_BY)
def test_a_trial_is_measured_on_the_held_out_images_alone(experiment):
    function, script = image_settings.TRAINED_BY[experiment]
    settings = SimpleNamespace(quick=True, runs=1, seed=0, device=torch.device("cpu"))
    own = image_settings.settings_of(script, settings)
    vars(own).update(epochs=1, max_epochs=1, train_size=28, batch_size=28, sharpness_images=4)
    data = made_up_data()
    held_out = hold_out(data, 12)
    measured = function(held_out, 1e-3, 5, own)
    altered = held_out._replace(test_images=held_out.test_images + 1)
    other = function(altered, 1e-3, 5, own)
    assert measured["train_accuracy"] == other["train_accuracy"]
    assert measured["held_out_loss"] != other["held_out_loss"]
