"""Do more parameters generalize worse?

Networks of one hidden layer and 1 to 1,024 units, three decades of parameter counts, are trained on
the same few images, with their true labels and with a fifth of them drawn at random. Classical
statistics expects the test error to rise when networks become large enough to fit every training
label. Double descent expects it to rise up to that size, and to fall again beyond. Belkin et al.
2019 (arXiv:1812.11118) expect that size where the network has as many parameters as there are
training labels times classes. They derive it for the squared loss; here it is cross-entropy.

Random features show that double descent without any training. They are networks whose hidden layer
stays as it was drawn, and whose output weights are solved for: those of the least squared error.
Where several solutions have the same error, it is the one whose weights have the least sum of
squares.

The test loss of the networks is also measured after dividing their outputs by one temperature, so
that over-confidence does not count (see common/temperature.py).

    python hw1_3_params.py              # the report's figure
    python hw1_3_params.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import CLASSES, load_dataset, randomized_task
from common.evaluation import evaluate_sets
from common.models import StackedLinear, mlp, parameter_count
from common.pieces import Piece, groups_of_runs, join_groups, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    TEST,
    TRAIN,
    draw_marked_runs,
    find_row,
    new_figure,
    percent,
)
from common.progress import advance
from common.statistics import (
    as_interval,
    as_mean,
    find_peak,
    first_reaching,
    held_out_argmax,
    held_out_peak,
    holm,
    interval_columns,
    mean_ci95,
    mean_columns,
    p_value_of_mean,
    range_columns,
    ratio_columns,
)
from common.temperature import HELD_OUT, calibrate
from common.training import (
    count_steps,
    cross_entropy,
    run_generators,
    train,
)

import numpy as np
import scipy
import torch
from matplotlib.lines import Line2D
from torch.nn import functional

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
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 56, 64, 128, 256, 512,
          1024)
NETWORKS_TOGETHER = 8  # networks that are trained in one stack
WIDE = 128  # from this width on each network has a stack to itself: sharing one would save no time
MOMENTUM = 0.9  # of SGD
FITTED = 0.999  # mean training accuracy from which the labels count as fitted
# A peak is sought twice: in the mean of each width and its two neighbours, because one noisy width
# is no peak, and in every width by itself.
SMOOTHED = 3  # widths that are averaged
NOT_SMOOTHED = 1
MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "temperature",
            "calibrated_test_loss")
# The measures in which peaks and rises are sought.
PEAK_MEASURES = ("test_loss", "calibrated_test_loss", "test_error")
# Random features for each training image. Closest together around one, where the labels are just
# fitted.
FEATURES_PER_IMAGE = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 2, 5)
MOST_FEATURE_IMAGES = 2_000  # the time of the features grows with the cube of their images
TEST_IMAGES_TOGETHER = 250  # as many as have their features in memory at a time
FEATURE_MEASURES = ("train_error", "test_error", "test_loss", "weight_norm")
# What work costs, about. Only the progress line and the order of the work depend on it.
SMALLEST_STEP_COST = 32  # a training step of a network costs this + its hidden units
FEATURE_COST = 18  # a fit of random features costs this × the most features that are tried


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
    fractions = [fraction for fraction, _ in networks]
    run_numbers = [run_number for _, run_number in networks]
    label_generators = run_generators(settings.seed, run_numbers, "labels")
    images, test_images, labels, _ = randomized_task(data, settings.train_size, fractions,
                                                     label_generators)
    model = build_model(images[0].numel(), width, run_numbers, settings)
    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, run_numbers, "order"),
          optimizer=partial(torch.optim.SGD, momentum=MOMENTUM))
    sets = {"train": (images, labels), "test": (test_images, data.test_labels)}
    mean_image = data.train_images[:settings.train_size].mean(0)
    calibrated = calibrate(model, data, settings.train_size, mean_image=mean_image)
    return to_arrays(evaluate_sets(model, sets) | calibrated)


def network_pieces(data, settings):
    """The training of the networks of all WIDTHS, cut into pieces of work."""
    networks = []  # measures_by_width counts on this order
    for fraction in FRACTIONS:
        for run_number in range(settings.runs):
            networks.append((fraction, run_number))
    steps = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    pieces = {}
    for width in WIDTHS:
        networks_together = 1 if width >= WIDE else NETWORKS_TOGETHER
        for group in groups_of_runs(networks, networks_together):
            # The key's last part, the group, is gone when join_groups has joined the groups.
            pieces[width, group[0]] = Piece(
                name=f"{width} hidden units, {name_networks(group)}", function=train_model,
                arguments=(width, group, settings), steps=steps,
                step_cost=len(group) * (SMALLEST_STEP_COST + width), data=data)
    return pieces


def measures_by_width(measured, runs):
    """{measure: values (fractions, runs, widths)} of {width: {measure: values (networks,)}}.

    measured may have other keys than widths; they are left out.
    """
    measures = {name: [] for name in MEASURES}
    for width in WIDTHS:
        for name, values in measured[width].items():
            # In the list of networks, the runs of the first fraction come first.
            measures[name].append(values.reshape(len(FRACTIONS), runs))
    return {name: np.stack(by_width, axis=2) for name, by_width in measures.items()}


def name_networks(networks):
    """Networks, pairs of fraction and run number, in words."""
    names = [f"run {run_number} at {fraction:.0%} random" for fraction, run_number in networks]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


# --- random features ---


def count_features(settings):
    """How many images random features are fitted to, and the numbers of features that are tried."""
    images = min(settings.train_size, MOST_FEATURE_IMAGES)
    return images, [max(1, round(images * per_image)) for per_image in FEATURES_PER_IMAGE]


def fit_features(data, run_number, settings):
    """Fits labels with several numbers of random features, without training, and measures the fits.

    The hidden layer stays as it was drawn. It has as many units as the most features that are
    tried; fewer features are the first of its units. Their output weights are solved for, in
    float64 and without biases. Targets are one-hot, not centered. Images, random labels and the
    distribution of the hidden layer's weights are those of the networks.

    Returns {measure: values (1 run, fractions, numbers of features)}. "test_loss" is the squared
    error, a mean over images and classes, "weight_norm" the Euclidean norm of the output weights.
    """
    image_count, feature_counts = count_features(settings)
    label_generators = run_generators(settings.seed, [run_number] * len(FRACTIONS), "labels")
    images, test_images, labels, _ = randomized_task(data, image_count, FRACTIONS,
                                                     label_generators)
    layer = StackedLinear(images[0].numel(), feature_counts[-1],
                          run_generators(settings.seed, [run_number], "initialization"))
    layer = layer.to(settings.device, torch.float64)
    features = hidden_units(layer, images)  # (images, most features)
    targets = functional.one_hot(labels.T, CLASSES).double()  # (images, fractions, classes)
    # One solution serves all fractions of random labels: their columns stand side by side.
    targets = targets.flatten(1)  # (images, fractions · classes)
    weights_by_count, norms = [], []
    for feature_count in feature_counts:
        weights = minimum_norm_weights(features[:, :feature_count], targets)
        weights_by_count.append(weights)  # (feature_count, fractions · classes)
        weights_of_fractions = weights.unflatten(1, (-1, CLASSES))
        norms.append(weights_of_fractions.norm(dim=(0, 2)))  # (fractions,)
        advance()  # the line of progress
    _, train_mistakes = sum_losses_and_mistakes(features, weights_by_count, labels)
    del features  # the largest array of all
    test_loss_sums, test_mistakes = 0, 0  # after the loop (fractions, numbers of features)
    for some_images, some_labels in zip(test_images.split(TEST_IMAGES_TOGETHER),
                                        data.test_labels.split(TEST_IMAGES_TOGETHER)):
        some_features = hidden_units(layer, some_images)
        labels_of_fractions = some_labels.expand(len(FRACTIONS), -1)  # the true ones for each
        loss_sums, mistakes = sum_losses_and_mistakes(some_features, weights_by_count,
                                                      labels_of_fractions)
        test_loss_sums = test_loss_sums + loss_sums
        test_mistakes = test_mistakes + mistakes
    measures = {"train_error": train_mistakes / len(images),
                "test_error": test_mistakes / len(test_images),
                "test_loss": test_loss_sums / len(test_images),
                "weight_norm": torch.stack(norms, dim=1)}
    # The run becomes dimension 0, along which the runs are joined.
    return to_arrays({name: values.unsqueeze(0) for name, values in measures.items()})


@torch.no_grad()
def hidden_units(layer, images):
    """The hidden units (images, units) of a StackedLinear of one run for images (images, ...)."""
    pixels = images.flatten(1).unsqueeze(0).to(layer.weight.dtype)  # (1, images, pixels)
    return functional.relu(layer(pixels), inplace=True)[0]  # a copy would be as large again


def minimum_norm_weights(features, targets):
    """The weights (features, targets) that fit targets (images, targets) by least squares.

    Where several weights have the same error, the result is that with the least sum of squares.
    features (images, features) must have full rank, as random ones of different images have.
    The driver gels uses a QR decomposition, which is more exact than the normal equations.
    """
    return torch.linalg.lstsq(features, targets, driver="gels").solution


def sum_losses_and_mistakes(features, weights_by_count, labels):
    """Squared errors and mistakes of the fits with every number of features, summed over images.

    features are (images, most features), labels (fractions, images). weights_by_count lists the
    weights (features, fractions · classes) for every number of features. The squared error of an
    image is a mean over the classes. Returns two tensors (fractions, numbers of features), float64.
    """
    targets = functional.one_hot(labels.T, CLASSES)  # (images, fractions, classes)
    loss_sums, mistakes = [], []
    for weights in weights_by_count:
        outputs = features[:, :len(weights)] @ weights  # (images, fractions · classes)
        outputs = outputs.reshape(targets.shape)
        squared_errors = (outputs - targets).square().mean(2)  # (images, fractions)
        is_mistake = outputs.argmax(2) != labels.T  # (images, fractions)
        loss_sums.append(squared_errors.sum(0))
        mistakes.append(is_mistake.sum(0).double())
    return torch.stack(loss_sums, dim=1), torch.stack(mistakes, dim=1)


def feature_pieces(data, settings):
    """The fits of random features, one piece of work for each run."""
    _, feature_counts = count_features(settings)
    pieces = {}
    for run_number in range(settings.runs):
        pieces["features", run_number] = Piece(
            name=f"random features, run {run_number}", function=fit_features,
            arguments=(run_number, settings), steps=len(feature_counts),
            step_cost=FEATURE_COST * feature_counts[-1], data=data)
    return pieces


# --- summing up ---


# The words for the parts of a curve, drawn against the width of the networks:
#
#     *                     peak
#      *                   *    *                                 largest
#       *                *        *                               network
#         *            *            *                         *
#           *        *               *                   *
#             *    *                   *             *
#             valley                      *     *
#             before                       valley after
#
# The threshold is the first width that fits the training labels. The rise goes from the valley
# before up to the peak, and the fall from the peak down to the valley after. The late rise goes
# from the lowest value of all, here that of the valley after, up to the value of the largest
# network.
#
# Places are held out: the other runs choose the place, and run k is measured there. If run k chose
# the place of its own highest value, noise alone would look like a peak. held_out_argmax in
# common/statistics.py has an example.
#
# All intervals and tests treat each run as one independent sample.


def summarize_width(fraction, width, parameters, measures):
    """One row of the table: means over the runs of {measure: (runs,)}.

    What needs a temperature is None where no image was left to fit it on.
    """
    row = {"randomized": fraction, "width": width, "parameters": parameters,
           "runs": len(measures["test_loss"])}
    for name in MEASURES:
        mean = measures[name].mean()
        row[f"{name}_mean"] = None if np.isnan(mean) else mean
    row["test_error_mean"] = 1 - row["test_accuracy_mean"]
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
    seeds. All columns about the threshold are None where no network fits the labels.
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


def summarize_late_rise(values):
    """Columns: how far values (runs, widths) rise from the lowest to those of the largest network.

    The place of the lowest value is held out. "width" is where the mean of all runs is lowest,
    which may be another one. "beyond_interval" says whether the rise is above zero beyond its
    interval.
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

    Place and height of the peak are those of the mean of all runs. Rise and fall are held out.
    "beyond_intervals" says whether both are above zero beyond their intervals: then the peak is
    clear.
    """
    smooth = average_widths(values, widths_averaged)
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


def average_widths(values, widths_averaged):
    """A moving average of values (runs, widths); at both ends the last width counts repeatedly."""
    return scipy.ndimage.uniform_filter1d(values, widths_averaged, axis=1, mode="nearest")


def is_above_zero(values):
    """Whether the mean of values (runs,) is above zero beyond its interval; False for one run."""
    mean, half_width = mean_ci95(values)
    return bool(mean > 0 and is_clear({"value": mean, "ci95": half_width}))


def is_clear(mean):
    """Whether the interval of a mean {"value", "ci95"} leaves out zero; False without an interval.
    """
    return mean["ci95"] is not None and abs(mean["value"]) > mean["ci95"]


def summarize_widths(parameter_counts, measures):
    """All rows of the table, fraction by fraction; measures are (fractions, runs, widths)."""
    rows = []
    for fraction_place, fraction in enumerate(FRACTIONS):
        for width_place, width in enumerate(WIDTHS):
            of_width = {name: measures[name][fraction_place, :, width_place] for name in MEASURES}
            rows.append(summarize_width(fraction, width, parameter_counts[width_place], of_width))
    return rows


def summarize_curves(parameter_counts, measures, train_size):
    """Rows about the thresholds, late rises and peaks of PEAK_MEASURES at every fraction.

    The rows of the thresholds also have the number of training labels times that of classes, where
    Belkin et al. 2019 expect the threshold of networks trained on the squared loss: to fit n labels
    is then to fit n times K numbers, one for each class.
    """
    thresholds, late_rises, smoothed_peaks, unsmoothed_peaks = [], [], [], []
    for place, fraction in enumerate(FRACTIONS):
        train_accuracies = measures["train_accuracy"][place]
        for name in PEAK_MEASURES:
            values = measures[name][place]
            if np.isnan(values).any():  # no image was left to fit a temperature on
                continue
            key = {"randomized": fraction, "measure": name}
            thresholds.append(key | {"labels_times_classes": train_size * CLASSES}
                              | summarize_threshold(train_accuracies, values, parameter_counts))
            late_rises.append(key | summarize_late_rise(values))
            peak = summarize_peak(values, parameter_counts, SMOOTHED)
            smoothed_peaks.append({"widths_averaged": SMOOTHED} | key | peak)
            peak = summarize_peak(values, parameter_counts, NOT_SMOOTHED)
            unsmoothed_peaks.append({"widths_averaged": NOT_SMOOTHED} | key | peak)
    return thresholds, late_rises, smoothed_peaks + unsmoothed_peaks


def summarize_features(feature_counts, images, measures):
    """Rows about random features, of every number of them at every fraction.

    measures are (runs, fractions, numbers of features).
    """
    rows = []
    for fraction_place, fraction in enumerate(FRACTIONS):
        for place, feature_count in enumerate(feature_counts):
            of_fit = {name: measures[name][:, fraction_place, place] for name in FEATURE_MEASURES}
            rows.append({
                "randomized": fraction,
                "features": feature_count,
                "features_per_label": feature_count / images,
                "train_error_mean": of_fit["train_error"].mean(),
                **mean_columns({"test_error_mean": of_fit["test_error"]}),
                **range_columns("test_loss", of_fit["test_loss"]),
                **range_columns("weight_norm", of_fit["weight_norm"]),
            })
    return rows


def summarize_feature_peaks(feature_counts, images, measures):
    """Rows about the most prominent peak over the numbers of random features.

    Rise and fall are held out. Those of the test loss, which spans decades, are factors: the
    difference of two logarithms is the logarithm of a factor.
    """
    rows = []
    for fraction_place, fraction in enumerate(FRACTIONS):
        test_errors = measures["test_error"][:, fraction_place]  # (runs, numbers of features)
        log_losses = np.log(measures["test_loss"][:, fraction_place])
        for name, values in (("test_error", test_errors), ("test_loss", log_losses)):
            _, peak, _ = find_peak(values.mean(0))
            rises, falls = held_out_peak(values)
            if name == "test_error":
                columns = interval_columns("rise", rises) | interval_columns("fall", falls)
            else:  # factors, of which ratio_columns takes geometric means
                columns = (ratio_columns("rise", np.exp(rises))
                           | ratio_columns("fall", np.exp(falls)))
            rows.append({
                "randomized": fraction,
                "measure": name,
                "features": feature_counts[peak],
                "features_per_label": feature_counts[peak] / images,
                "runs": len(values),
                "runs_highest_there": int((values.argmax(1) == peak).sum()),
                **columns,
                "beyond_intervals": is_above_zero(rises) and is_above_zero(falls),
            })
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size + HELD_OUT)
    pieces = network_pieces(data, settings) | feature_pieces(data, settings)
    measured = join_groups(run_pieces(pieces, settings))
    of_features = measured["features"]
    measures = measures_by_width(measured, settings.runs)
    pixels = data.train_images[0].numel()
    parameter_counts = [parameter_count(build_model(pixels, width, [0], settings))
                        for width in WIDTHS]
    curves = {"parameters": parameter_counts}
    for name in MEASURES:
        known = not np.isnan(measures[name]).any()
        curves[name] = dict(zip(FRACTIONS, measures[name])) if known else None
    images, feature_counts = count_features(settings)
    curves["features"] = {"features_per_label": [count / images for count in feature_counts]}
    for name in FEATURE_MEASURES:
        curves["features"][name] = dict(zip(FRACTIONS, of_features[name].swapaxes(0, 1)))
    measures["test_error"] = 1 - measures["test_accuracy"]
    thresholds, late_rises, peaks = summarize_curves(parameter_counts, measures,
                                                  settings.train_size)
    return {
        "constants": {"FRACTIONS": FRACTIONS, "WIDTHS": WIDTHS, "MOMENTUM": MOMENTUM,
                      "SMOOTHED": SMOOTHED, "FITTED": FITTED, "HELD_OUT": HELD_OUT,
                      "MOST_FEATURE_IMAGES": MOST_FEATURE_IMAGES},
        "table": summarize_widths(parameter_counts, measures),
        "thresholds": thresholds,
        "late_rises": late_rises,
        "peaks": peaks,
        "features": summarize_features(feature_counts, images, of_features),
        "feature_peaks": summarize_feature_peaks(feature_counts, images, of_features),
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say: counts, errors as fractions, losses in nats.

    "true_labels" and "random_labels" have the same facts of the networks that were given the true
    labels, and of those with the most random ones; so do "true_labels_features" and
    "random_labels_features" of the random features. The p-values are corrected for all tests of
    corrected_p_values by Holm's method.
    """
    parameter_counts = results["curves"]["parameters"]
    fractions = fractions_of_labels(results)
    p_values = corrected_p_values(results, fractions.values())
    facts = {
        "networks": len(parameter_counts),
        "fewest_parameters": parameter_counts[0],
        "most_parameters": parameter_counts[-1],
        "most_random": fractions["random_labels"],
        "labels_times_classes": results["thresholds"][0]["labels_times_classes"],
        "fewest_features": results["features"][0]["features"],
        "most_features": results["features"][-1]["features"],
    }
    for name, fraction in fractions.items():
        facts[name] = (facts_of_labels(results, fraction) | facts_of_calibrated(results, fraction)
                       | {"error_change_p_value": p_values["error_change", fraction],
                          "calibrated_change_p_value": p_values["calibrated_change", fraction]})
        facts[f"{name}_features"] = (facts_of_features(results, fraction)
                                     | {"error_peak_p_value": p_values["error_peak", fraction]})
    return facts


def fractions_of_labels(results):
    """The fractions of random labels that facts and figures are about, under their names."""
    fractions = results["constants"]["FRACTIONS"]
    return {"true_labels": fractions[0], "random_labels": fractions[-1]}


def corrected_p_values(results, fractions):
    """Three p-values for each fraction of random labels: {(question, fraction): p-value}.

    - "error_change": does the test error change beyond the smallest network that fits the labels?
    - "calibrated_change": the plain test loss rises from a valley to its peak. Is the test loss
      after a temperature another one at the peak than in that valley?
    - "error_peak": does the test error of random features have a peak?

    They are corrected for all by Holm's method, and None where there is nothing to test.
    """
    p_values = {}
    for fraction in fractions:
        p_values["error_change", fraction] = error_change_p_value(results, fraction)
        changes = calibrated_changes(results, fraction)
        p_values["calibrated_change", fraction] = (None if changes is None
                                                   else p_value_of_mean(changes))
        p_values["error_peak", fraction] = error_peak_p_value(results, fraction)
    return dict(zip(p_values, holm(list(p_values.values()))))


def error_peak_p_value(results, fraction):
    """The larger one of two t-tests, of the rise to the peak of random features and the fall.

    The unit is the run; rise and fall are held out, see summarize_feature_peaks. None where a test
    is impossible.
    """
    errors = np.array(results["curves"]["features"]["test_error"][fraction])
    p_values = [p_value_of_mean(changes) for changes in held_out_peak(errors)]
    return None if None in p_values else max(p_values)


def error_change_p_value(results, fraction):
    """That of a t-test of the change in test error from the threshold to the largest network.

    Run k at the threshold is paired with run k of the largest network; each pair counts as one
    independent sample. None where no network fits the labels, for a single run, and where all runs
    change by the same.
    """
    threshold = find_row(results["thresholds"], randomized=fraction, measure="test_error")
    if threshold["width"] is None:
        return None
    place = results["constants"]["WIDTHS"].index(threshold["width"])
    accuracies = np.array(results["curves"]["test_accuracy"][fraction])  # (runs, widths)
    changes = accuracies[:, place] - accuracies[:, -1]
    return p_value_of_mean(changes)


def facts_of_labels(results, fraction):
    """The facts of the networks that were trained with this fraction of random labels.

    "fitted" is the network at the threshold, None where none fits its labels. summarize_curves
    explains valley, peak, rise, fall and late rise.
    """
    error = find_row(results["thresholds"], randomized=fraction, measure="test_error")
    loss_peak = find_peak_row(results, fraction, "test_loss")
    error_peak = find_peak_row(results, fraction, "test_error")
    late_rise_of_loss = find_row(results["late_rises"], randomized=fraction, measure="test_loss")
    late_rise_of_error = find_row(results["late_rises"], randomized=fraction, measure="test_error")
    lowest_error_place = results["constants"]["WIDTHS"].index(late_rise_of_error["width"])
    return {
        "fitted_width": error["width"],
        "fitted_parameters": error["parameters"],
        "error_when_fitted": error["at_threshold_mean"],
        "error_of_largest": error["at_largest_mean"],
        "error_change": as_mean(error, "change_mean"),
        "error_peak_is_clear": error_peak["beyond_intervals"],
        "lowest_error": late_rise_of_error["lowest_mean"],
        "lowest_error_parameters": results["curves"]["parameters"][lowest_error_place],
        "late_error_rise": as_mean(late_rise_of_error, "rise_mean"),
        "late_error_rise_is_clear": late_rise_of_error["beyond_interval"],
        "loss_peak_is_clear": loss_peak["beyond_intervals"],
        "loss_valley_parameters": loss_peak["valley_before_parameters"],
        "loss_peak_width": loss_peak["width"],
        "loss_peak_parameters": loss_peak["parameters"],
        "loss_rise": as_mean(loss_peak, "rise_mean"),
        "loss_fall": as_mean(loss_peak, "fall_mean"),
        "late_loss_rise": as_mean(late_rise_of_loss, "rise_mean"),
        "late_loss_rise_is_clear": late_rise_of_loss["beyond_interval"],
        "lowest_loss_width": late_rise_of_loss["width"],
    }


def facts_of_calibrated(results, fraction):
    """The facts of the same networks' test loss after one temperature.

    All are None where no image was left to fit a temperature on.
    """
    if results["curves"]["calibrated_test_loss"] is None:
        return dict.fromkeys(("calibrated_peak_is_clear", "calibrated_rise",
                              "calibrated_change_where_loss_rises", "calibrated_late_rise",
                              "calibrated_late_rise_is_clear"))
    peak = find_peak_row(results, fraction, "calibrated_test_loss")
    late_rise = find_row(results["late_rises"], randomized=fraction, measure="calibrated_test_loss")
    change, change_ci95 = mean_ci95(calibrated_changes(results, fraction))
    return {
        "calibrated_peak_is_clear": peak["beyond_intervals"],
        "calibrated_rise": as_mean(peak, "rise_mean"),
        "calibrated_change_where_loss_rises": {"value": change, "ci95": change_ci95},
        "calibrated_late_rise": as_mean(late_rise, "rise_mean"),
        "calibrated_late_rise_is_clear": late_rise["beyond_interval"],
    }


def calibrated_changes(results, fraction):
    """changes_to_peak of the stored test losses, (runs,), None where no temperature was fitted."""
    curves = results["curves"]
    if curves["calibrated_test_loss"] is None:
        return None
    return changes_to_peak(np.array(curves["test_loss"][fraction]),
                           np.array(curves["calibrated_test_loss"][fraction]),
                           results["constants"]["SMOOTHED"])


def changes_to_peak(losses, calibrated, widths_averaged):
    """How calibrated losses change from the valley before the peak of the plain losses to the peak.

    Both are (runs, widths), the changes (runs,). As in summarize_peak, neighbouring widths are
    averaged, and the plain losses of the other runs choose the places at which a run is measured.
    """
    # The first argument chooses the places, the second is measured there.
    changes, _ = held_out_peak(average_widths(losses, widths_averaged),
                               average_widths(calibrated, widths_averaged))
    return changes


def facts_of_features(results, fraction):
    """The facts of the random features that were fitted with this fraction of random labels.

    "per_label" is their number divided by that of the training labels.
    """
    error_peak = find_row(results["feature_peaks"], randomized=fraction, measure="test_error")
    loss_peak = find_row(results["feature_peaks"], randomized=fraction, measure="test_loss")
    of_fraction = [row for row in results["features"] if row["randomized"] == fraction]
    at_peak, most = find_row(of_fraction, features=error_peak["features"]), of_fraction[-1]
    return {
        "error_peak_is_clear": error_peak["beyond_intervals"],
        "error_peak_per_label": error_peak["features_per_label"],
        "error_peaks_there_in_all_runs": error_peak["runs_highest_there"] == error_peak["runs"],
        "error_rise": as_interval(error_peak, "rise"),
        "error_fall": as_interval(error_peak, "fall"),
        "loss_peak_is_clear": loss_peak["beyond_intervals"],
        "loss_peak_per_label": loss_peak["features_per_label"],
        "loss_peaks_there_in_all_runs": loss_peak["runs_highest_there"] == loss_peak["runs"],
        "loss_rise_factor": as_interval(loss_peak, "rise"),
        "loss_fall_factor": as_interval(loss_peak, "fall"),
        "weight_norm_at_peak": at_peak["weight_norm_median"],
        "weight_norm_of_most": most["weight_norm_median"],
    }


def find_peak_row(results, fraction, measure):
    """The stored peak of a measure in means of neighbouring widths."""
    return find_row(results["peaks"], widths_averaged=results["constants"]["SMOOTHED"],
                    randomized=fraction, measure=measure)


# --- drawing ---

# Networks with fewer parameters for each number to fit do next to nothing: they would stretch axes.
SHOWN_FROM = 0.15
LABEL_LOOKS = {"true_labels": {"color": COLORS[0], "marker": MARKERS[0]},
               "random_labels": {"color": COLORS[1], "marker": MARKERS[1]}}
CALIBRATED_LOOK = {"color": COLORS[2], "marker": MARKERS[2]}  # losses after one temperature
EXPECTED_LOOK = {"color": "black", "linewidth": 1, "linestyle": ":"}  # where a peak is expected
EXPECTED_LABEL = "as many trained parameters as labels × classes"
STAR_LOOK = {"marker": "*", "markersize": 12, "markeredgecolor": "black", "linestyle": ""}
EVERY_THIRD = slice(0, None, 3)  # the networks with a mark: the small ones are close together


def plot(results):
    """Test errors of networks and of random features; below them the networks' losses."""
    figure, panels = new_figure(figure_title(results["facts"]), results, 2, 2, height=3.2,
                                sharex=True)
    draw_network_errors(panels[0, 0], results)
    draw_feature_errors(panels[0, 1], results)
    draw_network_losses(panels[1, 0], results, "random_labels")
    draw_network_losses(panels[1, 1], results, "true_labels")
    for panel in panels.flat:
        panel.axvline(1, **EXPECTED_LOOK)
        panel.set(xscale="log", ylim=(0, None))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.tick_params(labelbottom=True)
        panel.set_xlabel("trained parameters ÷ (training labels × classes)")
    entries = {"smallest network that fits its labels": STAR_LOOK | {"color": GREY}}
    if results["curves"]["calibrated_test_loss"]:
        entries["test loss after one temperature"] = CALIBRATED_LOOK
    entries[EXPECTED_LABEL] = EXPECTED_LOOK
    write_legend(figure, results, entries, columns=3)
    return figure


def plot_details(results):
    """Accuracy and loss against the number of parameters; loss and weights of random features."""
    figure, panels = new_figure("Training and test accuracy and loss by number of parameters",
                                results, 2, 2, height=3.2)
    draw_all_networks(panels[0, 0], results, "accuracy", scale=100)
    draw_all_networks(panels[0, 1], results, "loss")
    panels[0, 0].set(title="Accuracy of trained networks", ylabel="accuracy (%)")
    panels[0, 1].set(title="Loss of trained networks", yscale="log",
                     ylabel="cross-entropy (nats)")
    draw_all_features(panels[1, 0], results, "test_loss")
    draw_all_features(panels[1, 1], results, "weight_norm")
    panels[1, 0].set(title=feature_loss_title(results["facts"]), ylabel="squared test error")
    panels[1, 1].set(title=weights_title(results), ylabel="norm of the output weights")
    write_legend(figure, results, {EXPECTED_LABEL: EXPECTED_LOOK}, columns=5)
    return figure


def name_labels(fraction):
    """The training labels of which a fraction is random, in words."""
    return f"{percent(fraction)} random labels" if fraction > 0 else "true labels"


def figure_title(facts):
    """What happens to the test error beyond the first network that fits the random labels too."""
    random_labels, labels = facts["random_labels"], name_labels(facts["most_random"])
    if random_labels["fitted_width"] is None:
        return f"No network fits {labels}"
    if not is_clear(random_labels["error_change"]):
        return f"{labels}: test error does not clearly change beyond the network that fits them"
    less_or_more = "less" if random_labels["error_change"]["value"] < 0 else "more"
    return f"{labels}: larger networks fit them all and still err {less_or_more} on test images"


def draw_networks(panel, results, values, look, style=TEST):
    """Values (runs, widths) of the networks against their parameters for each number to fit."""
    places = np.array(results["curves"]["parameters"]) / results["facts"]["labels_times_classes"]
    shown = places >= SHOWN_FROM
    draw_marked_runs(panel, places[shown], np.array(values)[:, shown], look, style, EVERY_THIRD)


def draw_network_errors(panel, results):
    """Training and test error of the networks, and a star at the smallest ones that fit."""
    curves, facts = results["curves"], results["facts"]
    for name, fraction in fractions_of_labels(results).items():
        look = LABEL_LOOKS[name]
        for measure, style in (("train_accuracy", TRAIN), ("test_accuracy", TEST)):
            errors = 100 * (1 - np.array(curves[measure][fraction]))
            draw_networks(panel, results, errors, look, style)
    mark_fitted(panel, results)
    panel.set(title=error_title(facts), ylabel="error (%)")


def error_title(facts):
    """With which labels the networks' test error has a peak, or falls all the way."""
    labels = {"true_labels": name_labels(0), "random_labels": name_labels(facts["most_random"])}
    peaking = [words for name, words in labels.items() if facts[name]["error_peak_is_clear"]]
    if peaking:
        return f"Trained networks: test error\npeaks with {' and '.join(peaking)}"
    falling = [words for name, words in labels.items() if error_keeps_falling(facts, name)]
    if falling:
        return f"Trained networks: test error\nkeeps falling with {' and '.join(falling)}"
    return "Trained networks: training and test error"


def error_keeps_falling(facts, name):
    """Whether the test error with these labels falls clearly beyond the threshold, to the last.

    The last means that no network has a lower mean than the largest one.
    """
    of_labels = facts[name]
    if of_labels["fitted_width"] is None:
        return False
    change = of_labels["error_change"]
    falls = is_clear(change) and change["value"] < 0
    return falls and of_labels["lowest_error_parameters"] == facts["most_parameters"]


def mark_fitted(panel, results):
    """The test errors of the smallest networks that fit their labels, each with a note."""
    facts, fitted = results["facts"], results["constants"]["FITTED"]
    # The notes stand beside the stars, in points: on the side where no line is.
    notes = {"true_labels": {"xytext": (0, 14), "ha": "center"},
             "random_labels": {"xytext": (10, 8), "ha": "left"}}
    for name, note in notes.items():
        if facts[name]["fitted_parameters"] is not None:
            place = facts[name]["fitted_parameters"] / facts["labels_times_classes"]
            error, color = 100 * facts[name]["error_when_fitted"], LABEL_LOOKS[name]["color"]
            panel.plot(place, error, **STAR_LOOK, color=color, zorder=4)
            panel.annotate(f"fits\n{percent(fitted)}", (place, error), textcoords="offset points",
                           color=color, fontsize=8.5, **note)


def draw_feature_errors(panel, results):
    """Training and test error of the random features."""
    features = results["curves"]["features"]
    for name, fraction in fractions_of_labels(results).items():
        for measure, style in (("train_error", TRAIN), ("test_error", TEST)):
            errors = 100 * np.array(features[measure][fraction])
            draw_marked_runs(panel, features["features_per_label"], errors, LABEL_LOOKS[name],
                             style)
    panel.set(title=feature_error_title(results["facts"]), ylabel="error (%)")


def feature_error_title(facts):
    """Where the test error of the random features has its peak."""
    peaks = facts["random_labels_features"]
    if not peaks["error_peak_is_clear"]:
        return "Random features, output weights solved:\nno clear peak of test error"
    return ("Random features, output weights solved:\n"
            f"test error peaks at {peaks['error_peak_per_label']:.2g}")


def draw_network_losses(panel, results, name):
    """Training and test loss of the networks with these labels, and test loss after a temperature.
    """
    curves, fraction = results["curves"], fractions_of_labels(results)[name]
    draw_networks(panel, results, curves["train_loss"][fraction], LABEL_LOOKS[name], TRAIN)
    draw_networks(panel, results, curves["test_loss"][fraction], LABEL_LOOKS[name])
    if curves["calibrated_test_loss"]:
        draw_networks(panel, results, curves["calibrated_test_loss"][fraction], CALIBRATED_LOOK)
    panel.set(title=network_loss_title(results["facts"][name], fraction),
              ylabel="cross-entropy (nats)")


def network_loss_title(facts, fraction):
    """Whether the networks' test loss peaks or rises late, and whether after a temperature too.

    facts are those of the networks with this fraction of random labels.
    """
    labels = name_labels(fraction).capitalize()
    if facts["loss_peak_is_clear"]:
        after = describe_calibrated(facts["calibrated_peak_is_clear"], facts["loss_rise"],
                                    facts["calibrated_rise"])
        return f"{labels}: test loss peaks{after}"
    if facts["late_loss_rise_is_clear"]:
        after = describe_calibrated(facts["calibrated_late_rise_is_clear"],
                                    facts["late_loss_rise"], facts["calibrated_late_rise"])
        return f"{labels}: test loss rises with the largest networks{after}"
    return f"{labels}: test loss\nhas no clear peak"


def describe_calibrated(is_still_clear, rise, calibrated_rise):
    """What one temperature does to a rise of the test loss; "" where none was fitted."""
    if is_still_clear is None:
        return ""
    if not is_still_clear:
        return ";\nafter one temperature it does not"
    if calibrated_rise["value"] < rise["value"] / 2:
        return ";\nafter one temperature it does so less"
    return ";\nafter one temperature it still does"


def draw_all_networks(panel, results, measure, scale=1):
    """A measure of all networks in training and in test, times scale, against their parameters."""
    curves = results["curves"]
    for name, fraction in fractions_of_labels(results).items():
        for kind, style in (("train", TRAIN), ("test", TEST)):
            values = scale * np.array(curves[f"{kind}_{measure}"][fraction])
            draw_marked_runs(panel, curves["parameters"], values, LABEL_LOOKS[name], style,
                             EVERY_THIRD)
    panel.axvline(results["facts"]["labels_times_classes"], **EXPECTED_LOOK)
    panel.set(xscale="log", xlabel="parameters")
    panel.xaxis.set_major_formatter("{x:,.0f}")


def draw_all_features(panel, results, measure):
    """A measure of the random features against their number, on logarithmic axes."""
    for name, fraction in fractions_of_labels(results).items():
        rows = [row for row in results["features"] if row["randomized"] == fraction]
        counts = [row["features"] for row in rows]
        values = np.array(results["curves"]["features"][measure][fraction])
        draw_marked_runs(panel, counts, values, LABEL_LOOKS[name])
    most = results["features"][-1]
    training_images = most["features"] / most["features_per_label"]
    panel.axvline(training_images, **EXPECTED_LOOK)
    panel.set(xscale="log", yscale="log", xlabel="random features")
    panel.xaxis.set_major_formatter("{x:,.0f}")


def feature_loss_title(facts):
    """Where the squared error of the random features has its peak."""
    peaks = facts["random_labels_features"]
    if not peaks["loss_peak_is_clear"]:
        return "Random features: squared error has no clear peak"
    return ("Random features: squared error peaks at\n"
            f"{peaks['loss_peak_per_label']:.2g} feature for each training image")


def weights_title(results):
    """How large the weights are where the squared error peaks."""
    facts = results["facts"]
    peaks = facts["random_labels_features"]
    rows = [row for row in results["features"] if row["randomized"] == facts["most_random"]]
    at_loss_peak = find_row(rows, features_per_label=peaks["loss_peak_per_label"])
    ratio = at_loss_peak["weight_norm_median"] / peaks["weight_norm_of_most"]
    if not peaks["loss_peak_is_clear"] or ratio < 2:
        return "Random features: their output weights"
    return f"There the weights are {ratio:.0f} times as large\nas with the most features"


def write_legend(figure, results, more_entries, columns):
    """One legend for the figure: the labels, further entries, training and test; name: look."""
    entries = {name_labels(fraction): LABEL_LOOKS[name]
               for name, fraction in fractions_of_labels(results).items()}
    entries |= more_entries
    entries["training"] = {"color": GREY, "linestyle": TRAIN}
    entries["test"] = {"color": GREY, "linestyle": TEST}
    figure.legend([Line2D([], [], **look) for look in entries.values()], entries.keys(),
                  loc="outside lower center", ncols=columns)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts, uses_images=True)
