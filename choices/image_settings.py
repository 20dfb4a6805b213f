"""Which learning rates and weight decays suit the image networks, on held-out training images?

The last 5,000 training images are kept out of every training here and take the place of the test
images, which nothing here sees. The networks of 1-1 (images) are trained with every pair of a
learning rate and a weight decay on the grid; the pair of the lowest held-out loss is the one that
hw1_1_mnist.py uses. Three experiments of part 1-3 are tried with learning rates around the one that
they use, to show what another choice would change. The runs are of other numbers than any that the
report shows.

From the project's folder:

    python -m choices.image_settings              # the report's table
    python -m choices.image_settings --quick      # a tour in seconds
"""

from copy import copy

import hw1_1_mnist
import hw1_3_params
import hw1_3_random_labels
import hw1_3_sensitivity
from common.command_line import Flag, main, positive_integer
from common.data import hold_out, load_dataset
from common.pieces import Piece, run_pieces
from common.plotting import COLORS, MARKERS, draw_runs, legend_below, new_figure
from common.statistics import mean_columns
from common.training import count_steps

import numpy as np

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 3, quick=2, help="runs with each choice of settings"),
    "held_out": Flag(positive_integer, 5_000, quick=500,
                     help="training images, the last, that choices are made on"),
}
FIRST_RUN = 1_000_000  # the report's runs are numbered from 0
CNN_LEARNING_RATES = (3e-3, 1e-2, 3e-2, 1e-1)  # of AdamW
CNN_WEIGHT_DECAYS = (0.0, 0.2)
# The learning rates that are tried in part 1-3, the one that the experiment uses in the middle.
TRIED_RATES = {
    "random labels": (0.01, 0.03, 0.1),
    "parameters": (0.015, 0.05, 0.15),
    "sensitivity": (1e-3, 2e-3, 4e-3),
}
PARAMS_WIDTH = 64  # hidden units of the network of hw1_3_params.py
SENSITIVITY_BATCH_SIZE = 128


def settings_of(script, settings):
    """A script's own settings, those of the report or of its quick tour."""
    own = copy(settings)
    for name, flag in script.FLAGS.items():
        setattr(own, name, flag.quick if settings.quick else flag.default)
    own.runs = settings.runs
    return own


# --- trainings: each returns {measure: one number} with held-out images in place of test images ---


def train_cnn(data, name, learning_rate, weight_decay, run_number, settings):
    """One run of one network of hw1_1_mnist.py."""
    history = hw1_1_mnist.train_model(data, name, run_number, learning_rate, weight_decay,
                                      settings.epochs, settings)
    return {
        "held_out_loss": history["test_loss"][0, -1],
        "held_out_accuracy": history["test_accuracy"][0, -1],
        "train_accuracy": history["train_accuracy"][0, -1],
    }


def train_on_random_labels(data, learning_rate, run_number, settings):
    """One run of hw1_3_random_labels.py with all labels random: are they fitted?"""
    settings.lr = learning_rate
    history = hw1_3_random_labels.train_model(data, 1, run_number, settings.train_size, settings)
    return {
        "held_out_loss": history["test_loss"][-1],
        "held_out_accuracy": history["test_accuracy"][-1],
        "train_accuracy": history["train_accuracy"][-1],
        "epochs": history["epoch"][-1],
    }


def train_of_parameters(data, learning_rate, run_number, settings):
    """One run of one network of hw1_3_params.py with true labels."""
    settings.lr = learning_rate
    history = hw1_3_params.train_model(data, PARAMS_WIDTH, [(0, run_number)], settings)
    return {
        "held_out_loss": history["test_loss"][0],
        "held_out_accuracy": history["test_accuracy"][0],
        "train_accuracy": history["train_accuracy"][0],
    }


def train_of_sensitivity(data, learning_rate, run_number, settings):
    """One run of one batch size of hw1_3_sensitivity.py, at an equal number of epochs."""
    settings.lr = learning_rate
    measured = hw1_3_sensitivity.train_and_measure(data, SENSITIVITY_BATCH_SIZE, [run_number],
                                                   settings)
    return {
        "held_out_loss": measured["equal_epochs", "test_loss"][0],
        "held_out_accuracy": measured["equal_epochs", "test_accuracy"][0],
        "train_accuracy": measured["equal_epochs", "train_accuracy"][0],
    }


TRAINED_BY = {  # what is tried in part 1-3, and by which script's code
    "random labels": (train_on_random_labels, hw1_3_random_labels),
    "parameters": (train_of_parameters, hw1_3_params),
    "sensitivity": (train_of_sensitivity, hw1_3_sensitivity),
}


# --- all of them ---


def list_pieces(data, settings):
    """All trainings: {(experiment, network, learning rate, weight decay, run): Piece}."""
    pieces = {}
    run_numbers = range(FIRST_RUN, FIRST_RUN + settings.runs)
    own = settings_of(hw1_1_mnist, settings)
    steps = count_steps(own.train_size, own.epochs, own.batch_size)
    for name in hw1_1_mnist.MODELS:
        for learning_rate in CNN_LEARNING_RATES:
            for weight_decay in CNN_WEIGHT_DECAYS:
                for run_number in run_numbers:
                    arguments = (name, learning_rate, weight_decay, run_number, own)
                    pieces["images", name, learning_rate, weight_decay, run_number] = Piece(
                        f"images, {name}, learning rate {learning_rate}, weight decay "
                        f"{weight_decay}, run {run_number}", train_cnn, arguments, steps,
                        hw1_1_mnist.STEP_COSTS[name], data)
    for experiment, (function, script) in TRAINED_BY.items():
        own = settings_of(script, settings)
        steps = count_steps(own.train_size, own.epochs, 128)
        for learning_rate in TRIED_RATES[experiment]:
            for run_number in run_numbers:
                pieces[experiment, "", learning_rate, None, run_number] = Piece(
                    f"{experiment}, learning rate {learning_rate}, run {run_number}", function,
                    (learning_rate, run_number, copy(own)), steps, data=data)
    return pieces


def run(settings):
    """All trainings, and what they choose."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    trained = run_pieces(list_pieces(hold_out(data, settings.held_out), settings), settings)
    measures_of_choice = {}  # {(experiment, network, learning rate, weight decay): {measure: list}}
    for (*choice, _), measures in trained.items():
        lists = measures_of_choice.setdefault(tuple(choice), {})
        for name, value in measures.items():
            lists.setdefault(name, []).append(value)

    table = []
    for (experiment, network, rate, decay), measures in measures_of_choice.items():
        columns = {"experiment": experiment, "network": network, "learning_rate": rate,
                   "weight_decay": decay, "runs": settings.runs}
        means = mean_columns(measures)
        table.append(columns | {"epochs": None, "epochs_ci95": None} | means)
    return {
        "constants": {"CNN_LEARNING_RATES": CNN_LEARNING_RATES,
                      "CNN_WEIGHT_DECAYS": CNN_WEIGHT_DECAYS},
        "table": table,
        "chosen": [best_row(table, name) for name in hw1_1_mnist.MODELS],
        "curves": {"held_out_loss": [measures["held_out_loss"]
                                     for measures in measures_of_choice.values()]},
    }


def best_row(table, network):
    """The network, learning rate and weight decay of the lowest held-out loss of a CNN."""
    rows = [row for row in table if row["network"] == network]
    best = min(rows, key=lambda row: row["held_out_loss"])
    return {name: best[name] for name in ("network", "learning_rate", "weight_decay",
                                          "held_out_loss", "held_out_accuracy")}


# --- drawing ---


def figure_title(chosen):
    """Which learning rate and weight decay were chosen, from the rows of best_row."""
    settings = {f"learning rate {row['learning_rate']:g}, weight decay {row['weight_decay']:g}"
                for row in chosen}
    if len(settings) == 1:
        return f"All networks have the lowest held-out loss at {settings.pop()}"
    return "The best learning rate or weight decay depends on the network"


def plot(results):
    """The held-out loss of every network against the learning rate, for every weight decay."""
    constants = results["constants"]
    networks = [row["network"] for row in results["chosen"]]
    figure, panels = new_figure(figure_title(results["chosen"]), results, 1, len(networks),
                                sharey=True)
    for panel, network in zip(panels[0], networks):
        for decay, color, marker in zip(constants["CNN_WEIGHT_DECAYS"], COLORS, MARKERS):
            losses = []  # (rates, runs)
            for row, row_losses in zip(results["table"], results["curves"]["held_out_loss"]):
                if row["network"] == network and row["weight_decay"] == decay:
                    losses.append(row_losses)
            draw_runs(panel, constants["CNN_LEARNING_RATES"], np.transpose(losses), color,
                      label=f"weight decay {decay:g}", marker=marker)
        panel.set(xscale="log", yscale="log", title=network, xlabel="learning rate")
    panels[0, 0].set(ylabel="held-out cross-entropy (nats)")
    legend_below(figure, panels[0, 0])
    return figure


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
