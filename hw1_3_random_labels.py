"""Can a network fit random labels?

One architecture is trained on the same images with none, a part or all of the labels drawn at
random, once and for good, until it predicts 99.9 % of its training labels or time is up.
The test set keeps its real labels. On training images with a randomized label we also count how
often the network gives the true label: are patterns learned first?

    python hw1_3_random_labels.py              # the report's figure
    python hw1_3_random_labels.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import CLASSES, load_dataset, randomized_task
from common.evaluation import evaluate, predict
from common.models import mlp, parameter_count
from common.pieces import Piece, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    MARKERS,
    TRAIN,
    draw_runs,
    draw_train_test,
    find_row,
    format_number,
    legend_below,
    new_figure,
)
from common.statistics import first_reaching, held_out_argmax, mean_ci95, mean_columns
from common.training import count_steps, cross_entropy, run_generators, train

import numpy as np
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 3, quick=2,
                 help="repeated runs of each fraction of random labels"),
    "epochs": Flag(positive_integer, 100, quick=60,
                   help="passes through the training images at most; a training ends when the "
                   "network fits its labels"),
    "lr": Flag(positive_number, 0.03, quick=0.03, help="learning rate of SGD with momentum"),
    "train_size": Flag(positive_integer, 10_000, quick=500, at_most="dataset",
                       help="training images, the first of the set"),
    "batch_size": Flag(positive_integer, 200, quick=100, at_most="train_size",
                       help="images per step"),
}
FRACTIONS = (0, 0.25, 0.5, 0.75, 1)  # of the training labels that are randomized
HIDDEN_WIDTHS = (128, 512)
# SGD with momentum, because Adam at 1e-3 fitted only 96 to 98 % of random labels in 60 epochs when
# it was tried. Its learning rate is constant, so that no schedule decides when the labels are
# fitted.
MOMENTUM = 0.9
FITTED = 0.999  # training accuracy that counts as fitted
USUAL_EPOCHS = {0: 6, 0.25: 38, 0.5: 40, 0.75: 41, 1: 42}  # to fit each of FRACTIONS


# --- networks ---


# A stack is one model that holds many networks and trains them side by side. Its parameters,
# outputs and losses have the networks (R) as their first dimension. Inputs that all networks share
# lack that dimension. See common/models.py. Networks as wide as these gain nothing from it: here
# every stack holds a single one.
def build_model(pixels, run_number, settings):
    """A stack of one network, initialized from (seed, run_number), the same for every fraction."""
    generators = run_generators(settings.seed, [run_number], "initialization")
    return mlp([pixels, *HIDDEN_WIDTHS, CLASSES], generators).to(settings.device)


# --- training and measuring ---


def train_model(data, fraction, run_number, settings):
    """Trains one run with a fraction of random labels, and measures it after every epoch.

    What one fraction randomizes, a larger one randomizes too, so that runs of equal number can be
    compared in pairs. A label that was drawn at random can be the true one by chance, as about one
    in ten is.

    Returns {measure: values (epochs + 1,)}, with the epochs that the training took.
    """
    label_generators = run_generators(settings.seed, [run_number], "labels")
    images, test_images, labels, is_random = randomized_task(
        data, settings.train_size, [fraction], label_generators)  # labels, is_random: (1, N)
    true_labels = data.train_labels[: settings.train_size]
    model = build_model(images[0].numel(), run_number, settings)
    records = {}

    def record(epoch):  # train calls it before training and after every epoch
        logits = predict(model, images)  # (1, N, classes)
        measures = measure_training(logits, labels, true_labels, is_random)
        test_loss, test_accuracy = evaluate(model, test_images, data.test_labels)
        measures["test_loss"], measures["test_accuracy"] = test_loss, test_accuracy
        for name, values in measures.items():
            records.setdefault(name, []).append(values)  # (1,)
        return bool(measures["train_accuracy"] >= FITTED)  # True ends the training

    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, [run_number], "order"),
          optimizer=partial(torch.optim.SGD, momentum=MOMENTUM), cosine=False, record=record)
    return to_arrays({name: torch.cat(values) for name, values in records.items()})


def train_all(data, settings):
    """train_model of all runs at all fractions, each a piece of work.

    Returns {fraction: {measure: values (runs, epochs + 1)}}, with the epochs of the longest run of
    each fraction.
    """
    pieces = {}
    for fraction in FRACTIONS:
        epochs = min(USUAL_EPOCHS[fraction], settings.epochs)
        steps = count_steps(settings.train_size, epochs, settings.batch_size)
        for run_number in range(settings.runs):
            pieces[fraction, run_number] = Piece(
                f"{fraction:.0%} random labels, run {run_number}", train_model,
                (fraction, run_number, settings), steps, data=data)
    trained = run_pieces(pieces, settings)
    return {fraction: align_runs([trained[fraction, run] for run in range(settings.runs)])
            for fraction in FRACTIONS}


def align_runs(runs):
    """Runs {measure: values (epochs + 1,)} of various lengths as {measure: (runs, epochs + 1)}.

    A run that has fitted its labels has ended; its last values stand for the epochs that it lacks.
    """
    longest = max(len(run["train_loss"]) for run in runs)
    aligned = {}
    for name in runs[0]:
        rows = [np.pad(run[name], (0, longest - len(run[name])), mode="edge") for run in runs]
        aligned[name] = np.stack(rows)
    return aligned


def measure_training(logits, labels, true_labels, is_random):
    """Loss and accuracy on the training labels, and accuracy on the true labels: {measure: (R,)}.

    logits are (R, N, classes), labels and is_random (R, N), true_labels (N,). The accuracy on true
    labels counts only the examples whose label was drawn at random; it is 0 where there are none.
    """
    predictions = logits.argmax(2)
    random_count = is_random.sum(1).clamp(min=1)  # at least 1, to avoid a division by zero
    predicts_true_label = (predictions == true_labels) & is_random
    return {
        "train_loss": cross_entropy(logits, labels),
        "train_accuracy": (predictions == labels).double().mean(1),
        "true_accuracy": predicts_true_label.sum(1) / random_count,
    }


# --- summing up ---


def first_fitted(accuracies):
    """The number of epochs until training accuracies (epochs + 1,) reach FITTED, or None."""
    return first_reaching(accuracies, FITTED)


def find_epochs_to_fit(history):
    """first_fitted of {fraction: {"train_accuracy": (runs, epochs + 1)}}: {fraction: list}."""
    epochs_to_fit = {}
    for fraction, measures in history.items():
        epochs_to_fit[fraction] = [first_fitted(accuracies)
                                   for accuracies in measures["train_accuracy"]]
    return epochs_to_fit


def compare_fits(epochs_to_fit):
    """Rows: how many runs of each fraction fit, and how long they take.

    epochs_to_fit is {fraction: list of runs}, None for a run that does not fit. "slowdown" divides
    the epochs of a run by those of the same run with true labels.
    """
    epochs_with_true_labels = epochs_to_fit[0]
    # A run that fits before training, at epoch 0, would mean a division by zero.
    can_be_compared = None not in epochs_with_true_labels and 0 not in epochs_with_true_labels
    rows = []
    for fraction, epochs in epochs_to_fit.items():
        row = {
            "randomized": fraction,
            "runs": len(epochs),
            "runs_fitted": sum(epoch is not None for epoch in epochs),
            "epochs_to_fit": None,
            "epochs_ci95": None,
            "slowdown": None,
            "slowdown_ci95": None,
        }
        if None not in epochs:
            row["epochs_to_fit"], row["epochs_ci95"] = mean_ci95(epochs)
            if can_be_compared:
                ratios = np.divide(epochs, epochs_with_true_labels)
                row["slowdown"], row["slowdown_ci95"] = mean_ci95(ratios)
        rows.append(row)
    return rows


def summarize_fraction(fraction, measures, mean_epochs_to_fit, parameters, settings):
    """One row of the table: means over the runs at the end.

    measures are {name: (runs, epochs + 1)}.
    """
    row = {
        "randomized": fraction,
        "runs": settings.runs,
        "train_size": settings.train_size,
        "parameters": parameters,
        "epochs_to_fit": mean_epochs_to_fit,
    }
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        row[name] = measures[name][:, -1].mean()
    _, row["test_accuracy_ci95"] = mean_ci95(measures["test_accuracy"][:, -1])
    return row


def summarize_peaks(fraction, measures):
    """Rows: the peak and the end of two accuracies (Arpit et al. 2017, arXiv:1706.05394).

    The accuracies are those on the test set and on the true labels of randomized examples; measures
    are {name: (runs, epochs + 1)}. For each run the epoch of the peak is where the mean of the
    other runs is highest: the highest of a run's own noisy values would overstate its peak.
    """
    names = ["test_accuracy"]
    if fraction > 0:
        names.append("true_accuracy")
    rows = []
    for name in names:
        values = measures[name]
        peak_epochs = held_out_argmax(values)  # (runs,)
        every_run = np.arange(len(values))
        peaks = values[every_run, peak_epochs]  # of run k the value at peak_epochs[k]
        train_accuracy_at_peak = measures["train_accuracy"][every_run, peak_epochs]
        rows.append({
            "randomized": fraction,
            "measure": name,
            "peak_epoch": peak_epochs.mean(),
            **mean_columns({"peak": peaks, "final": values[:, -1]}),
            "train_accuracy_at_peak": train_accuracy_at_peak.mean(),
        })
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    history = train_all(data, settings)
    parameters = parameter_count(build_model(data.train_images[0].numel(), 0, settings))
    epochs_to_fit = find_epochs_to_fit(history)
    fits = compare_fits(epochs_to_fit)
    table, peaks = [], []
    curves = {"epochs_to_fit": epochs_to_fit}
    for row, (fraction, measures) in zip(fits, history.items()):
        table.append(summarize_fraction(fraction, measures, row["epochs_to_fit"], parameters,
                                        settings))
        peaks += summarize_peaks(fraction, measures)
        for name, values in measures.items():
            curves.setdefault(name, {})[fraction] = values
    return {
        "constants": {"FRACTIONS": FRACTIONS, "MOMENTUM": MOMENTUM, "FITTED": FITTED},
        "table": table,
        "fits": fits,
        "memorization": peaks,
        "curves": curves,
    }


# --- drawing ---


def plot(results):
    """Loss and accuracy against epochs; true labels of randomized images; epochs to fit."""
    table = results["table"]
    fitted = sum(row["runs_fitted"] for row in results["fits"])
    trained = sum(row["runs"] for row in results["fits"])
    title = (f"{fitted} of {trained} networks fit their labels; test accuracy "
             f"{table[0]['test_accuracy']:.0%} with true, {table[-1]['test_accuracy']:.0%} with "
             "random ones")
    figure, panels = new_figure(title, results, 2, 2, height=3.2)
    draw_loss(panels[0, 0], results)
    draw_accuracy(panels[0, 1], results)
    draw_true_accuracy(panels[1, 0], results)
    draw_epochs_to_fit(panels[1, 1], results)
    legend_below(figure, panels[0, 0], columns=7, train_test=True)
    return figure


def draw_loss(panel, results):
    """Training and test loss against epochs."""
    table, curves = results["table"], results["curves"]
    for row, color, marker in zip(table, COLORS, MARKERS):
        train_losses = np.array(curves["train_loss"][row["randomized"]])
        epochs = range(train_losses.shape[1])
        draw_train_test(panel, epochs, train_losses, curves["test_loss"][row["randomized"]], color,
                        f"{row['randomized']:.0%} random", marker)
    true, random = table[0]["test_loss"], table[-1]["test_loss"]
    panel.set(yscale="log", xlabel="epochs", ylabel="cross-entropy (nats)",
              title=f"Test loss ends at {true:.2g} with true, {random:.2g} nats with random labels")


def draw_accuracy(panel, results):
    """Training and test accuracy against epochs."""
    table, curves = results["table"], results["curves"]
    lowest_at_end = []
    for row, color, marker in zip(table, COLORS, MARKERS):
        train_accuracies = 100 * np.array(curves["train_accuracy"][row["randomized"]])
        test_accuracies = 100 * np.array(curves["test_accuracy"][row["randomized"]])
        epochs = range(train_accuracies.shape[1])
        draw_train_test(panel, epochs, train_accuracies, test_accuracies, color, None, marker)
        lowest_at_end.append(train_accuracies[:, -1].min())
    panel.set(title=f"Training accuracy ends at {min(lowest_at_end):.2f}% or more", xlabel="epochs",
              ylabel="accuracy (%)")


def draw_true_accuracy(panel, results):
    """How often randomized training images get their true label, against epochs."""
    for row, color, marker in zip(results["table"], COLORS, MARKERS):
        if row["randomized"] > 0:
            accuracies = 100 * np.array(results["curves"]["true_accuracy"][row["randomized"]])
            draw_runs(panel, range(accuracies.shape[1]), accuracies, color, TRAIN, marker=marker)
    fewest_random = results["table"][1]["randomized"]  # row 0 is that of true labels
    row = find_row(results["memorization"], randomized=fewest_random, measure="true_accuracy")
    panel.set(title=f"{row['randomized']:.0%} random: {row['peak']:.0%} given their true label, "
                    f"{row['final']:.0%} at the end",
              xlabel="epochs", ylabel="predicted as their true class (%)")


def draw_epochs_to_fit(panel, results):
    """The epoch at which each run fits its labels; open marks at the top where it never does."""
    curves, fitted = results["curves"], results["constants"]["FITTED"]
    last_epoch = results["settings"]["epochs"]
    for (fraction, epochs), color, marker in zip(curves["epochs_to_fit"].items(), COLORS, MARKERS):
        # Side by side, within two percentage points of the fraction.
        places = 100 * fraction + np.linspace(-2, 2, len(epochs))
        for place, epoch in zip(places, epochs):
            if epoch is None:
                panel.plot(place, last_epoch, marker, color=color, markerfacecolor="none",
                           markersize=5)
            else:
                panel.plot(place, epoch, marker, color=color, markersize=5)
    panel.set(title=describe_slowdown(results["fits"], last_epoch),
              xlabel="randomized labels (%)", ylabel=f"epochs to fit {fitted:.1%}",
              xticks=[100 * fraction for fraction in curves["epochs_to_fit"]], ylim=(0, None))


def describe_slowdown(fits, last_epoch):
    """What the last row of compare_fits, the highest fraction of random labels, says in words."""
    row = fits[-1]
    labels = f"{row['randomized']:.0%} random labels"
    if row["slowdown"] is not None:
        slowdown = format_number(row["slowdown"], ".1f")
        return f"{labels}: {slowdown} times the epochs of true ones"
    return f"{labels}: {row['runs_fitted']} of {row['runs']} runs fit within {last_epoch} epochs"


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
