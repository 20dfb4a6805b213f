"""Can a network fit random labels?

One architecture is trained on the same images with none, a part or all of the labels drawn at
random, once and for good, until every network predicts 99.9 % of its training labels or time is up.
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
from common.training import cross_entropy, run_generators, stacked_runs, train

import numpy as np
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 3, quick=2,
                 help="repeated runs of each fraction of random labels"),
    "epochs": Flag(positive_integer, 100, quick=60,
                   help="passes through the training images at most; training ends when all "
                   "networks fit their labels"),
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


# --- networks ---


# A stack is one model that holds many networks and trains them side by side. Its parameters,
# outputs and losses have the networks (R) as their first dimension; R is the number of fractions
# times the number of runs. Inputs that all networks share lack that dimension. See
# common/models.py.
def build_model(pixels, settings):
    """A stack of all runs at the first of FRACTIONS, then all runs at the second, and so on.

    Run k of every fraction starts from the same weights.
    """
    _, run_numbers = stacked_runs(FRACTIONS, range(settings.runs))
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp([pixels, *HIDDEN_WIDTHS, CLASSES], generators).to(settings.device)


# --- training and measuring ---


def make_task(data, settings):
    """Images, and the labels (R, N) of each network with a mask of the random ones.

    Returns training images, test images, labels and mask. What one fraction randomizes, a larger
    one randomizes too, so that runs of equal number can be compared in pairs. A label that was
    drawn at random can be the true one by chance, as about one in ten is.
    """
    fractions, run_numbers = stacked_runs(FRACTIONS, range(settings.runs))
    generators = run_generators(settings.seed, run_numbers, "labels")
    return randomized_task(data, settings.train_size, fractions, generators)


def train_model(data, settings):
    """Trains all runs at all fractions as one stack, and measures them after every epoch.

    Returns the number of parameters of a network and {measure: values (fractions, runs, epochs +
    1)}.
    """
    images, test_images, labels, is_random = make_task(data, settings)
    true_labels = data.train_labels[: settings.train_size]
    model = build_model(images[0].numel(), settings)
    _, run_numbers = stacked_runs(FRACTIONS, range(settings.runs))
    records = {}

    def record(epoch):  # train calls it before training and after every epoch
        logits = predict(model, images)  # (R, N, classes)
        measures = measure_training(logits, labels, true_labels, is_random)
        test_loss, test_accuracy = evaluate(model, test_images, data.test_labels)
        measures["test_loss"], measures["test_accuracy"] = test_loss, test_accuracy
        for name, values in measures.items():
            records.setdefault(name, []).append(values.cpu())  # (R,)
        return bool((measures["train_accuracy"] >= FITTED).all())  # True ends the training

    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, run_numbers, "order"),
          optimizer=partial(torch.optim.SGD, momentum=MOMENTUM), cosine=False, record=record,
          title=f"{len(FRACTIONS)} fractions of random labels")
    history = {}
    for name, values in records.items():
        by_network = torch.stack(values, dim=1).numpy()  # (R, epochs + 1), fraction by fraction
        history[name] = by_network.reshape(len(FRACTIONS), settings.runs, -1)
    return parameter_count(model), history


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


def find_epochs_to_fit(train_accuracy):
    """first_fitted of accuracies (fractions, runs, epochs + 1): {fraction: list of runs}."""
    epochs_to_fit = {}
    for fraction, accuracies_of_runs in zip(FRACTIONS, train_accuracy):
        epochs_to_fit[fraction] = [first_fitted(accuracies) for accuracies in accuracies_of_runs]
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
    parameters, history = train_model(data, settings)
    epochs_to_fit = find_epochs_to_fit(history["train_accuracy"])
    fits = compare_fits(epochs_to_fit)
    table, peaks = [], []
    for position, fraction in enumerate(FRACTIONS):
        measures = {name: values[position] for name, values in history.items()}
        mean_epochs_to_fit = fits[position]["epochs_to_fit"]
        table.append(summarize_fraction(fraction, measures, mean_epochs_to_fit, parameters,
                                        settings))
        peaks += summarize_peaks(fraction, measures)
    curves = {"epochs_to_fit": epochs_to_fit}
    for name, values in history.items():
        curves[name] = dict(zip(FRACTIONS, values))
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
    last_epoch = len(curves["train_loss"][0][0]) - 1  # of fraction 0, run 0: (epochs + 1,)
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
