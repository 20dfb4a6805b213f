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
    MARKERS,
    TEST,
    TRAIN,
    draw_each_run,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import (
    find_peak,
    first_reaching,
    held_out_argmax,
    held_out_peak,
    holm,
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
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size)
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


def collect_facts(results):
    """What figure and report say: counts, errors as fractions, losses in nats.

    "true_labels" and "random_labels" have the same facts of the networks that were given the true
    labels, and of those with the most random ones. The p-values are Holm's for the two.
    """
    constants, parameter_counts = results["constants"], results["curves"]["parameters"]
    fractions = {"true_labels": constants["FRACTIONS"][0],
                 "random_labels": constants["FRACTIONS"][-1]}
    p_values = holm([error_change_p_value(results, fraction) for fraction in fractions.values()])
    facts = {
        "networks": len(parameter_counts),
        "fewest_parameters": parameter_counts[0],
        "most_parameters": parameter_counts[-1],
        "most_random": fractions["random_labels"],
        "labels_times_classes": results["thresholds"][0]["labels_times_classes"],
    }
    for (name, fraction), p_value in zip(fractions.items(), p_values):
        facts[name] = facts_of_labels(results, fraction) | {"error_change_p_value": p_value}
    return facts


def error_change_p_value(results, fraction):
    """That of a t-test of the change in test error from the threshold to the largest network.

    The unit is the run: run k at the threshold is paired with run k of the largest network. None
    where no network fits the labels, for a single run, and where all runs change by the same.
    """
    threshold = find_row(results["thresholds"], randomized=fraction, measure="test_error")
    if threshold["width"] is None:
        return None
    place = results["constants"]["WIDTHS"].index(threshold["width"])
    accuracies = np.array(results["curves"]["test_accuracy"][fraction])  # (runs, widths)
    changes = accuracies[:, place] - accuracies[:, -1]
    if len(changes) < 2 or np.ptp(changes) == 0:
        return None
    return scipy.stats.ttest_1samp(changes, 0).pvalue


def facts_of_labels(results, fraction):
    """The facts of the networks that were trained with this fraction of random labels.

    "fitted" is the first network that fits its labels, None where none does.
    """
    error = find_row(results["thresholds"], randomized=fraction, measure="test_error")
    loss_peak = find_peak_row(results, fraction, "test_loss")
    error_peak = find_peak_row(results, fraction, "test_error")
    upturn = find_row(results["upturns"], randomized=fraction, measure="test_loss")
    return {
        "fitted_width": error["width"],
        "fitted_parameters": error["parameters"],
        "error_when_fitted": error["at_threshold_mean"],
        "error_of_largest": error["at_largest_mean"],
        "error_change": {"value": error["change_mean"], "ci95": error["change_mean_ci95"]},
        "error_peak_is_clear": error_peak["beyond_intervals"],
        "loss_peak_is_clear": loss_peak["beyond_intervals"],
        "loss_peak_width": loss_peak["width"],
        "loss_peak_parameters": loss_peak["parameters"],
        "loss_peak_height": loss_peak["height_mean"],
        "loss_rise": {"value": loss_peak["rise_mean"], "ci95": loss_peak["rise_mean_ci95"]},
        "loss_fall": {"value": loss_peak["fall_mean"], "ci95": loss_peak["fall_mean_ci95"]},
        "late_loss_rise": {"value": upturn["rise_mean"], "ci95": upturn["rise_mean_ci95"]},
        "late_loss_rise_is_clear": upturn["beyond_interval"],
        "lowest_loss_width": upturn["width"],
    }


def find_peak_row(results, fraction, measure):
    """The stored peak of a measure in means of neighbouring widths."""
    return find_row(results["peaks"], widths_averaged=results["constants"]["SMOOTHED"],
                    randomized=fraction, measure=measure)


# --- drawing ---

# Networks with fewer parameters fit next to nothing: their errors would stretch the axes.
SHOWN_FROM = 3_000


def plot(results):
    """Error on the left, loss on the right; true labels and some random ones in both."""
    facts = results["facts"]
    figure, panels = new_figure(figure_title(facts), results, 1, 2, height=4.1,
                                width_ratios=(1.3, 1))
    error_panel, loss_panel = panels[0]
    curves = results["curves"]
    for fraction, color, marker in zip(curves["test_loss"], COLORS, MARKERS):
        train_errors = 100 * (1 - np.array(curves["train_accuracy"][fraction]))
        test_errors = 100 * (1 - np.array(curves["test_accuracy"][fraction]))
        label = name_labels(fraction)
        draw_networks(error_panel, results, train_errors, test_errors, color, marker, label)
        draw_networks(loss_panel, results, curves["train_loss"][fraction],
                      curves["test_loss"][fraction], color, marker, label)
    for panel in (error_panel, loss_panel):
        highest = panel.dataLim.ymax
        panel.set_ylim(0, 1.35 * highest)  # room for the names of the lines
    mark_thresholds(error_panel, results, ("true_labels", "random_labels"))
    # The peak is that of random labels, and the threshold of true ones would run through it.
    mark_thresholds(loss_panel, results, ("random_labels",))
    mark_peak(loss_panel, facts)
    error_panel.set(title=error_title(facts), ylabel="error (% of images)")
    loss_panel.set(title=loss_title(facts), ylabel="cross-entropy (nats)")
    legend_below(figure, error_panel, train_test=True)
    return figure


def name_labels(fraction):
    """The training labels of which a fraction is random, in words."""
    return f"{fraction:.0%} random labels" if fraction > 0 else "true labels"


def figure_title(facts):
    """What happens to the test error beyond the first network that fits the random labels too."""
    random_labels = facts["random_labels"]
    if random_labels["fitted_width"] is None:
        return f"No network fits its labels where {facts['most_random']:.0%} of them are random"
    if not is_clear(random_labels["error_change"]):
        return "Beyond the network that fits every label, test error does not clearly change"
    finding = "keeps falling" if random_labels["error_change"]["value"] < 0 else "rises"
    return (f"{facts['most_random']:.0%} random labels: test error {finding} beyond the network "
            f"that fits them, {random_labels['error_when_fitted']:.0%} to "
            f"{random_labels['error_of_largest']:.0%}")


def is_clear(change):
    """Whether the interval of a stored change leaves out zero."""
    return change["ci95"] is not None and abs(change["value"]) > change["ci95"]


def error_title(facts):
    """Whether the test error has a peak."""
    peaked = [name_labels(fraction) for name, fraction in fractions_of(facts)
              if facts[name]["error_peak_is_clear"]]
    if peaked:
        return f"Test error peaks with {' and '.join(peaked)}"
    return "Test error has no clear peak"


def loss_title(facts):
    """Whether the test loss has a peak."""
    peaked = [name_labels(fraction) for name, fraction in fractions_of(facts)
              if facts[name]["loss_peak_is_clear"]]
    if peaked:
        return f"Test loss rises, then falls:\na peak with {' and '.join(peaked)}"
    return "Test loss has no clear peak"


def fractions_of(facts):
    """The two sets of facts, with the fraction of labels that are random."""
    return ("true_labels", 0), ("random_labels", facts["most_random"])


def draw_networks(panel, results, train_values, test_values, color, marker, label):
    """Every run in training, dashed, and in test, solid, against the parameter count."""
    parameter_counts = np.array(results["curves"]["parameters"])
    shown = parameter_counts >= SHOWN_FROM
    for values, style, name in ((train_values, TRAIN, None), (test_values, TEST, label)):
        draw_each_run(panel, parameter_counts[shown], np.array(values)[:, shown], color, style,
                      name, marker)
    panel.set(xscale="log", xlabel="parameters")


def mark_thresholds(panel, results, kinds):
    """Lines where labels of these kinds are first fitted, and where that is expected."""
    facts = results["facts"]
    note_on_line(panel, facts["labels_times_classes"], "labels × classes", "black", ":")
    for (name, _), color, left in zip(fractions_of(facts), COLORS, (True, False)):
        if name in kinds and facts[name]["fitted_parameters"] is not None:
            text = f"{results['constants']['FITTED']:.1%} fitted"
            note_on_line(panel, facts[name]["fitted_parameters"], text, color, "-", left)


def note_on_line(panel, place, text, color, style, left=True):
    """A vertical line with its name beside its upper end, on the left or on the right."""
    panel.axvline(place, color=color, linewidth=1, linestyle=style)
    panel.annotate(text, (place, 1), (-2 if left else 3, -2), rotation=90, color=color, fontsize=8,
                   xycoords=("data", "axes fraction"), textcoords="offset points", va="top",
                   ha="right" if left else "left")


def mark_peak(panel, facts):
    """An arrow at the peak of the test loss, where it is clear."""
    for (name, _), color in zip(fractions_of(facts), COLORS):
        if facts[name]["loss_peak_is_clear"]:
            panel.plot(facts[name]["loss_peak_parameters"], facts[name]["loss_peak_height"], "*",
                       color=color, markeredgecolor="black", markersize=11)
            panel.annotate("peak", (facts[name]["loss_peak_parameters"],
                                    facts[name]["loss_peak_height"]),
                           (-8, 10), textcoords="offset points", ha="right")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts, uses_images=True)
