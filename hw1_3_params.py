"""Do more parameters generalize worse?

Networks of one hidden layer and 1 to 1,024 units, three decades of parameter counts, are trained on
the same few images, with their true labels and with a fifth of them drawn at random. Classical
statistics expects the test error to rise once the network can fit every training label; double
descent expects it to peak there and to fall again.

    python hw1_3_params.py              # the report's figure
    python hw1_3_params.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import CLASSES, load_dataset, randomized_task
from common.evaluation import evaluate_sets
from common.models import mlp, parameter_count
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    draw_train_test,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import find_peak, held_out_argmax, held_out_peak, mean_ci95
from common.training import cross_entropy, run_generators, train

import numpy as np
import scipy
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 4, quick=2, help="repeated runs of each network"),
    "epochs": Flag(positive_integer, 50, quick=10, help="passes through the training images"),
    "lr": Flag(positive_number, 0.05, quick=0.05,
               help="learning rate of SGD with momentum at the start; it falls to zero along a "
               "half cosine"),
    "train_size": Flag(positive_integer, 2_000, quick=300, at_most="dataset",
                       help="training images, the first of the set"),
    "batch_size": Flag(positive_integer, 100, quick=50, at_most="train_size",
                       help="images per step"),
}
FRACTIONS = (0, 0.2)  # of the training labels that are randomized
# Hidden units. Closest together where 2,000 images are just fitted; few at the wide end, where most
# of the time goes.
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 48, 56, 64, 96,
          128, 192, 256, 512, 1024)
MOMENTUM = 0.9  # of SGD
FITTED = 0.999  # mean training accuracy from which the labels count as fitted
# Neighbouring widths whose mean stands for each when a peak is sought: one noisy width is no peak.
SMOOTHED = 3
MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
TESTED = ("test_loss", "test_error")  # the measures in which peaks and rises are sought


# --- networks ---


def build_model(pixels, width, settings):
    """A stack of all runs at the first of FRACTIONS, then of all runs at the second."""
    generators = run_generators(settings.seed, stacked_run_numbers(settings), "initialization")
    return mlp([pixels, width, CLASSES], generators).to(settings.device)


def stacked_run_numbers(settings):
    """The number of every run in the stack.

    Run k of every width and fraction draws from equal generators, which makes the runs pairs.
    """
    return [*range(settings.runs)] * len(FRACTIONS)


# --- training and measuring ---


def make_task(data, settings):
    """Training images, test images, and the labels (R, N) of every run in the stack."""
    fractions = [fraction for fraction in FRACTIONS for _ in range(settings.runs)]
    generators = run_generators(settings.seed, stacked_run_numbers(settings), "labels")
    images, test_images, labels, _ = randomized_task(data, settings.train_size, fractions,
                                                     generators)
    return images, test_images, labels


def train_model(width, task, test_labels, settings):
    """Trains all runs of one width at all fractions as one stack, and measures them at the end.

    Returns the number of parameters of a network and {measure: values (fractions, runs)}.
    """
    images, test_images, labels = task
    model = build_model(images[0].numel(), width, settings)
    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, stacked_run_numbers(settings), "order"),
          optimizer=partial(torch.optim.SGD, momentum=MOMENTUM), title=f"{width} hidden units")
    sets = {"train": (images, labels), "test": (test_images, test_labels)}
    values = {name: by_run.cpu().numpy().reshape(len(FRACTIONS), settings.runs)
              for name, by_run in evaluate_sets(model, sets).items()}
    return parameter_count(model), values


def train_all_widths(data, settings):
    """Trains the networks of all WIDTHS.

    Returns their parameter counts (widths,) and {measure: values (fractions, runs, widths)}.
    """
    task = make_task(data, settings)
    parameter_counts, values_by_width = [], []
    for width in WIDTHS:
        count, values = train_model(width, task, data.test_labels, settings)
        parameter_counts.append(count)
        values_by_width.append(values)
    measures = {}
    for name in MEASURES:
        measures[name] = np.stack([values[name] for values in values_by_width], axis=2)
    return parameter_counts, measures


# --- summing up: values are (runs, widths), of one measure at one fraction ---


def summarize_width(fraction, width, parameters, values):
    """One row of the table: means over the runs of {measure: (runs,)}."""
    row = {"randomized": fraction, "width": width, "parameters": parameters,
           "runs": len(values["test_loss"])}
    for name in MEASURES:
        row[name] = values[name].mean()
    row["gap"] = (values["test_loss"] - values["train_loss"]).mean()
    _, row["test_loss_ci95"] = mean_ci95(values["test_loss"])
    return row


def interpolation_threshold(train_accuracies):
    """The place of the first width whose mean training accuracy reaches FITTED, or None."""
    reached = np.flatnonzero(train_accuracies.mean(0) >= FITTED)
    return int(reached[0]) if len(reached) else None


def summarize_threshold(train_accuracies, values, parameter_counts):
    """Where training labels are first fitted, and values there against the largest network's."""
    row = {"width": None, "parameters": None, "at_threshold": None, "at_threshold_ci95": None,
           "change": None, "change_ci95": None, "largest_parameters": parameter_counts[-1]}
    row["at_largest"], row["at_largest_ci95"] = mean_ci95(values[:, -1])
    threshold = interpolation_threshold(train_accuracies)
    if threshold is not None:
        row["width"] = WIDTHS[threshold]
        row["parameters"] = parameter_counts[threshold]
        row["at_threshold"], row["at_threshold_ci95"] = mean_ci95(values[:, threshold])
        changes = values[:, -1] - values[:, threshold]  # paired: the runs of one number are alike
        row["change"], row["change_ci95"] = mean_ci95(changes)
    return row


def summarize_upturn(values):
    """From the lowest values to those of the largest network.

    In each run the lowest width is the one that the mean of the other runs chooses.
    """
    lowest_widths = held_out_argmax(-values)
    lowest = values[np.arange(len(values)), lowest_widths]
    rise, rise_ci95 = mean_ci95(values[:, -1] - lowest)
    return {
        "width": WIDTHS[values.mean(0).argmin()],
        "lowest": lowest.mean(),
        "at_largest": values[:, -1].mean(),
        "rise": rise,
        "rise_ci95": rise_ci95,
    }


def summarize_peak(values, parameter_counts, widths_averaged):
    """The peak in means of so many neighbouring widths, its rise and its fall.

    In each run rise and fall are measured at the places that the other runs choose.
    """
    smooth = scipy.ndimage.uniform_filter1d(values, widths_averaged, axis=1, mode="nearest")
    valley_before, peak, valley_after = find_peak(smooth.mean(0))
    rises, falls = held_out_peak(smooth)
    row = {
        "width": WIDTHS[peak],
        "parameters": parameter_counts[peak],
        "valley_before_parameters": parameter_counts[valley_before],
        "valley_after_parameters": parameter_counts[valley_after],
    }
    row["height"], row["height_ci95"] = mean_ci95(smooth[:, peak])
    row["rise"], row["rise_ci95"] = mean_ci95(rises)
    row["fall"], row["fall_ci95"] = mean_ci95(falls)
    row["beyond_intervals"] = is_positive(rises) and is_positive(falls)
    return row


def is_positive(values):
    """Whether the 95 % interval of the mean of values (runs,) lies above zero."""
    mean, half_width = mean_ci95(values)
    return half_width is not None and bool(mean > half_width)


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    parameter_counts, measures = train_all_widths(data, settings)
    measures["test_error"] = 1 - measures["test_accuracy"]
    table, thresholds, upturns, peaks = [], [], [], []
    for place, fraction in enumerate(FRACTIONS):
        for width_place, (width, count) in enumerate(zip(WIDTHS, parameter_counts)):
            values = {name: measures[name][place, :, width_place] for name in MEASURES}
            table.append(summarize_width(fraction, width, count, values))
        for name in TESTED:
            label = {"randomized": fraction, "measure": name}
            train_accuracies, values = measures["train_accuracy"][place], measures[name][place]
            row = summarize_threshold(train_accuracies, values, parameter_counts)
            thresholds.append(label | row)
            upturns.append(label | summarize_upturn(values))
    for widths_averaged in (SMOOTHED, 1):
        for place, fraction in enumerate(FRACTIONS):
            for name in TESTED:
                label = {"widths_averaged": widths_averaged, "randomized": fraction,
                         "measure": name}
                row = summarize_peak(measures[name][place], parameter_counts, widths_averaged)
                peaks.append(label | row)
    curves = {"parameters": parameter_counts}
    for name in MEASURES:
        curves[name] = dict(zip(FRACTIONS, measures[name]))
    return {
        "constants": {"FRACTIONS": FRACTIONS, "WIDTHS": WIDTHS, "MOMENTUM": MOMENTUM,
                      "SMOOTHED": SMOOTHED, "FITTED": FITTED},
        "table": table,
        "thresholds": thresholds,
        "upturns": upturns,
        "peaks": peaks,
        "curves": curves,
    }


# --- drawing ---


def plot(results):
    """Loss above error, with true labels on the left and some random ones on the right."""
    fractions = list(results["curves"]["test_loss"])
    most_random = fractions[-1]
    verdicts = []
    for kind in ("loss", "error"):
        peak = find_peak_row(results, most_random, f"test_{kind}")
        finding = "peaks" if peak["beyond_intervals"] else "has no clear peak"
        verdicts.append(f"test {kind} {finding}")
    title = f"With {most_random:.0%} random labels {', '.join(verdicts)} as networks grow"
    figure, panels = new_figure(title, results, 2, 2, sharex=True, sharey="row")
    for column, fraction in enumerate(fractions):
        draw_loss(panels[0, column], results, fraction, COLORS[column], MARKERS[column])
        draw_error(panels[1, column], results, fraction, COLORS[column], MARKERS[column])
    panels[0, 0].set(ylabel="cross-entropy (nats)")
    panels[1, 0].set(ylabel="1 − accuracy (%)")
    for panel in panels[1]:
        panel.set(xlabel="parameters")
    legend_below(figure, *panels.flat, columns=6, train_test=True)
    return figure


def find_peak_row(results, fraction, measure):
    """The stored peak of a measure in means of neighbouring widths."""
    return find_row(results["peaks"], widths_averaged=results["constants"]["SMOOTHED"],
                    randomized=fraction, measure=measure)


def draw_loss(panel, results, fraction, color, marker):
    """Training and test loss against the parameter count."""
    curves = results["curves"]
    draw_train_test(panel, curves["parameters"], curves["train_loss"][fraction],
                    curves["test_loss"][fraction], color, f"{fraction:.0%} random labels", marker)
    mark_threshold_and_peak(panel, results, fraction, "loss", unit=1)


def draw_error(panel, results, fraction, color, marker):
    """Training and test error in percent against the parameter count."""
    curves = results["curves"]
    train_errors = 100 * (1 - np.array(curves["train_accuracy"][fraction]))
    test_errors = 100 * (1 - np.array(curves["test_accuracy"][fraction]))
    draw_train_test(panel, curves["parameters"], train_errors, test_errors, color,
                    f"{fraction:.0%} random labels", marker)
    mark_threshold_and_peak(panel, results, fraction, "error", unit=100)


def mark_threshold_and_peak(panel, results, fraction, kind, unit):
    """A line where the labels are first fitted, a star at a clear peak, and a title about both."""
    threshold = find_row(results["thresholds"], randomized=fraction, measure=f"test_{kind}")
    if threshold["parameters"] is not None:
        panel.axvline(threshold["parameters"], color=GREY, linewidth=1,
                      label=f"first {results['constants']['FITTED']:.1%} fitted")
    peak = find_peak_row(results, fraction, f"test_{kind}")
    if peak["beyond_intervals"]:
        panel.plot(peak["parameters"], unit * peak["height"], "*k", markersize=10, label="peak",
                   linestyle="none")
        found = f"peaks at {peak['parameters']:,}"
    else:
        found = "no clear peak"
    end = threshold["at_largest"]
    end_text = f"{end:.2f}" if kind == "loss" else f"{end:.1%}"
    panel.set(xscale="log",
              title=f"{fraction:.0%} random: test {kind} {found}, ends at {end_text}")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
