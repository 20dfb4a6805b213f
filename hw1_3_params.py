"""Do more parameters generalize worse?

Networks of one hidden layer and 1 to 1,024 units, three decades of parameter counts, are trained on
the same few images, with their true labels and with a fifth of them drawn at random. Classical
statistics expects the test error to rise when networks become large enough to fit every training
label. Double descent expects it to rise up to that size, and to fall again beyond. Belkin et al.
2019 (arXiv:1812.11118) expect that size where the network has as many parameters as there are
training labels times classes. They derive it for the squared loss; here it is cross-entropy.

    python hw1_3_params.py              # the report's figure
    python hw1_3_params.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import CLASSES, load_dataset, randomized_task
from common.evaluation import evaluate_sets
from common.models import mlp, parameter_count
from common.pieces import Piece, groups_of_runs, join_groups, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    draw_train_test,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import (
    find_peak,
    first_reaching,
    held_out_argmax,
    held_out_peak,
    mean_ci95,
    mean_columns,
)
from common.training import (
    count_steps,
    cross_entropy,
    run_generators,
    stacked_runs,
    train,
)

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
# So many networks share a stack; from this width on they would gain nothing from it.
NETWORKS_TOGETHER, WIDE = 8, 128
# A step costs a network about as much as its hidden units and this many more.
SMALLEST_STEP_COST = 32
MOMENTUM = 0.9  # of SGD
FITTED = 0.999  # mean training accuracy from which the labels count as fitted
# A peak is sought twice: in the mean of each width and its two neighbours, because one noisy width
# is no peak, and in every width by itself.
SMOOTHED = 3  # widths that are averaged
NOT_SMOOTHED = 1
MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
PEAK_MEASURES = ("test_loss", "test_error")  # the measures in which peaks and rises are sought


# --- networks ---


# A stack is one model that holds many networks and trains them side by side. Its parameters,
# outputs and losses have the networks (R) as their first dimension. Inputs that all networks share
# lack that dimension. See common/models.py.
def build_model(pixels, width, run_numbers, settings):
    """A stack of networks of one width, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp([pixels, width, CLASSES], generators).to(settings.device)


# --- training and measuring ---


def train_model(data, width, networks, settings):
    """Trains networks of one width as one stack, and measures them at the end.

    networks (R,) are pairs of the fraction of labels that are random and the run number. Run k
    draws weights, data order and random labels from the same seeds at every width and fraction, so
    that runs of equal number can be compared in pairs. Training loss and accuracy are those on the
    labels that the network was given, random ones too.

    Returns {measure: values (R,)}.
    """
    fractions, run_numbers = zip(*networks)
    label_generators = run_generators(settings.seed, run_numbers, "labels")
    images, test_images, labels, _ = randomized_task(data, settings.train_size, fractions,
                                                     label_generators)
    model = build_model(images[0].numel(), width, run_numbers, settings)
    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, run_numbers, "order"),
          optimizer=partial(torch.optim.SGD, momentum=MOMENTUM))
    sets = {"train": (images, labels), "test": (test_images, data.test_labels)}
    return to_arrays(evaluate_sets(model, sets))


def train_all_widths(data, settings):
    """Trains the networks of all WIDTHS, cut into pieces of work.

    Returns {measure: values (fractions, runs, widths)}.
    """
    networks = list(zip(*stacked_runs(FRACTIONS, range(settings.runs))))
    steps = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    pieces = {}
    for width in WIDTHS:
        networks_together = 1 if width >= WIDE else NETWORKS_TOGETHER
        for group in groups_of_runs(networks, networks_together):
            step_cost = len(group) * (SMALLEST_STEP_COST + width)
            pieces[width, group[0]] = Piece(f"{width} hidden units, {name_networks(group)}",
                                            train_model, (width, group, settings), steps,
                                            step_cost, data)
    trained = join_groups(run_pieces(pieces, settings))
    measures = {name: [] for name in MEASURES}
    for width in WIDTHS:
        for name, values in trained[width].items():
            # In the list of networks, the runs of the first fraction come first.
            measures[name].append(values.reshape(len(FRACTIONS), settings.runs))
    return {name: np.stack(by_width, axis=2) for name, by_width in measures.items()}


def name_networks(networks):
    """Networks, pairs of fraction and run number, in words."""
    names = [f"run {run_number} at {fraction:.0%} random" for fraction, run_number in networks]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


# --- summing up ---


def summarize_width(fraction, width, parameters, measures):
    """One row of the table: means over the runs of {measure: (runs,)}; the unit is the run."""
    row = {"randomized": fraction, "width": width, "parameters": parameters,
           "runs": len(measures["test_loss"])}
    for name in MEASURES:
        row[f"{name}_mean"] = measures[name].mean()
    row["gap_mean"] = (measures["test_loss"] - measures["train_loss"]).mean()
    _, row["test_loss_mean_ci95"] = mean_ci95(measures["test_loss"])
    return row


def interpolation_threshold(train_accuracies):
    """The index of the first width whose mean training accuracy reaches FITTED, or None.

    train_accuracies are (runs, widths).
    """
    return first_reaching(train_accuracies.mean(0), FITTED)


def summarize_threshold(train_accuracies, values, parameter_counts):
    """Columns: where the training labels are first fitted, with values there and at the end.

    values (runs, widths) are those of a test measure, and the end is the largest network. "change"
    is the value at the end minus the value at the threshold, run by run: equal numbers have equal
    seeds. The unit is the run. All columns about the threshold are None where no network fits the
    labels.
    """
    columns = {"largest_parameters": parameter_counts[-1]}
    columns |= mean_columns({"at_largest_mean": values[:, -1]})
    threshold = interpolation_threshold(train_accuracies)
    if threshold is None:
        names = ("width", "parameters", "at_threshold_mean", "at_threshold_mean_ci95",
                 "change_mean", "change_mean_ci95")
        return columns | dict.fromkeys(names)
    columns["width"] = WIDTHS[threshold]
    columns["parameters"] = parameter_counts[threshold]
    at_threshold = values[:, threshold]
    return columns | mean_columns({"at_threshold_mean": at_threshold,
                                   "change_mean": values[:, -1] - at_threshold})


def summarize_upturn(values):
    """Columns: how far values (runs, widths) rise from the lowest to those of the largest network.

    For each run the lowest value is taken at the width where the mean of the other runs is lowest,
    because a run's own lowest value, picked from noise, would overstate the rise. "width" is where
    the mean of all runs is lowest, which may be another one. The unit is the run.
    "beyond_interval" says whether the rise is above zero beyond its interval.
    """
    lowest_places = held_out_argmax(-values)  # (runs,); where −values are highest, these are lowest
    lowest = np.array([run_values[place] for run_values, place in zip(values, lowest_places)])
    rises = values[:, -1] - lowest
    return {
        "width": WIDTHS[values.mean(0).argmin()],
        "lowest_mean": lowest.mean(),
        "at_largest_mean": values[:, -1].mean(),
        **mean_columns({"rise_mean": rises}),
        "beyond_interval": is_above_zero(rises),
    }


def summarize_peak(values, parameter_counts, widths_averaged):
    """Columns: the most prominent peak of values (runs, widths), neighbouring widths averaged.

    Place and height of the peak are those of the mean of all runs. Rise and fall are measured in
    each run at the places that the mean of the other runs chooses, because a run's own highest
    value, picked from noise, has a rise before it and a fall behind it even where there is no peak.
    The rise is the peak minus the lowest value before it, the fall the peak minus the lowest value
    after it. "beyond_intervals" says whether rise and fall are above zero beyond their intervals:
    then the peak is clear. The unit is the run.
    """
    # A moving average along the widths; at both ends the last width counts more than once.
    smooth = scipy.ndimage.uniform_filter1d(values, widths_averaged, axis=1, mode="nearest")
    valley_before, peak, valley_after = find_peak(smooth.mean(0))  # indices of widths
    rises, falls = held_out_peak(smooth)  # (runs,) each
    columns = {
        "width": WIDTHS[peak],
        "parameters": parameter_counts[peak],
        "valley_before_parameters": parameter_counts[valley_before],
        "valley_after_parameters": parameter_counts[valley_after],
    }
    columns |= mean_columns({"height_mean": smooth[:, peak], "rise_mean": rises,
                             "fall_mean": falls})
    columns["beyond_intervals"] = is_above_zero(rises) and is_above_zero(falls)
    return columns


def is_above_zero(values):
    """Whether the mean of values (runs,) is above zero beyond its interval; False for one run."""
    mean, interval_half = mean_ci95(values)
    return interval_half is not None and bool(mean > interval_half)


def summarize_widths(parameter_counts, measures):
    """All rows of the table, fraction by fraction; measures are (fractions, runs, widths)."""
    rows = []
    for fraction_place, fraction in enumerate(FRACTIONS):
        for width_place, width in enumerate(WIDTHS):
            of_width = {name: measures[name][fraction_place, :, width_place] for name in MEASURES}
            rows.append(summarize_width(fraction, width, parameter_counts[width_place], of_width))
    return rows


def summarize_curves(parameter_counts, measures, train_size):
    """Rows about the thresholds, upturns and peaks of PEAK_MEASURES at every fraction.

    The rows of the thresholds also have the number of training labels times that of classes, where
    Belkin et al. 2019 expect the threshold of networks trained on the squared loss: to fit n labels
    is then to fit n times K numbers, one for each class.
    """
    thresholds, upturns, smoothed_peaks, unsmoothed_peaks = [], [], [], []
    for place, fraction in enumerate(FRACTIONS):
        train_accuracies = measures["train_accuracy"][place]
        for name in PEAK_MEASURES:
            values = measures[name][place]
            key = {"randomized": fraction, "measure": name}
            thresholds.append(key | {"labels_times_classes": train_size * CLASSES}
                              | summarize_threshold(train_accuracies, values, parameter_counts))
            upturns.append(key | summarize_upturn(values))
            peak = summarize_peak(values, parameter_counts, SMOOTHED)
            smoothed_peaks.append({"widths_averaged": SMOOTHED} | key | peak)
            peak = summarize_peak(values, parameter_counts, NOT_SMOOTHED)
            unsmoothed_peaks.append({"widths_averaged": NOT_SMOOTHED} | key | peak)
    return thresholds, upturns, smoothed_peaks + unsmoothed_peaks


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    measures = train_all_widths(data, settings)
    pixels = data.train_images[0].numel()
    parameter_counts = [parameter_count(build_model(pixels, width, [0], settings))
                        for width in WIDTHS]
    curves = {"parameters": parameter_counts}
    for name in MEASURES:
        curves[name] = dict(zip(FRACTIONS, measures[name]))
    measures["test_error"] = 1 - measures["test_accuracy"]
    thresholds, upturns, peaks = summarize_curves(parameter_counts, measures,
                                                   settings.train_size)
    return {
        "constants": {"FRACTIONS": FRACTIONS, "WIDTHS": WIDTHS, "MOMENTUM": MOMENTUM,
                      "SMOOTHED": SMOOTHED, "FITTED": FITTED},
        "table": summarize_widths(parameter_counts, measures),
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
        peak_row = find_peak_row(results, most_random, f"test_{kind}")
        finding = "peaks" if peak_row["beyond_intervals"] else "has no clear peak"
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
    legend_below(figure, *panels.flat, train_test=True)
    return figure


def name_labels(fraction):
    """The training labels of which a fraction is random, in words."""
    return f"{fraction:.0%} random labels" if fraction > 0 else "true labels"


def find_peak_row(results, fraction, measure):
    """The stored peak of a measure in means of neighbouring widths."""
    return find_row(results["peaks"], widths_averaged=results["constants"]["SMOOTHED"],
                    randomized=fraction, measure=measure)


def draw_loss(panel, results, fraction, color, marker):
    """Training and test loss against the parameter count."""
    curves = results["curves"]
    draw_train_test(panel, curves["parameters"], curves["train_loss"][fraction],
                    curves["test_loss"][fraction], color, name_labels(fraction), marker)
    mark_threshold_and_peak(panel, results, fraction, "loss", factor=1)


def draw_error(panel, results, fraction, color, marker):
    """Training and test error in percent against the parameter count."""
    curves = results["curves"]
    train_errors = 100 * (1 - np.array(curves["train_accuracy"][fraction]))
    test_errors = 100 * (1 - np.array(curves["test_accuracy"][fraction]))
    draw_train_test(panel, curves["parameters"], train_errors, test_errors, color,
                    name_labels(fraction), marker)
    mark_threshold_and_peak(panel, results, fraction, "error", factor=100)


def mark_threshold_and_peak(panel, results, fraction, kind, factor):
    """Lines where the labels are first fitted and where that is expected, a star at a clear peak.

    kind is loss or error; factor turns the stored numbers into those of the panel. The title says
    whether the mean of the runs peaks, and whether it rises again at the end.
    """
    threshold_row = find_row(results["thresholds"], randomized=fraction, measure=f"test_{kind}")
    panel.axvline(threshold_row["labels_times_classes"], color="black", linewidth=0.7,
                  linestyle=":", label="labels × classes")
    if threshold_row["parameters"] is not None:
        panel.axvline(threshold_row["parameters"], color=GREY, linewidth=1,
                      label=f"first {results['constants']['FITTED']:.1%} fitted")
    peak_row = find_peak_row(results, fraction, f"test_{kind}")
    finding = "has no clear peak"
    if peak_row["beyond_intervals"]:
        finding = f"peaks at {peak_row['parameters']:,} parameters"
        panel.plot(peak_row["parameters"], factor * peak_row["height_mean"], marker="*",
                   color="black", markersize=10, label="peak of the mean", linestyle="none")
    if find_row(results["upturns"], randomized=fraction, measure=f"test_{kind}")["beyond_interval"]:
        finding += ",\nand rises at the end"
    labels = name_labels(fraction)
    panel.set(xscale="log", title=f"{labels[0].upper()}{labels[1:]}: test {kind} {finding}")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
