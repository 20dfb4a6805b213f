"""Do more parameters generalize worse?

Networks of one hidden layer and 1 to 1,024 units, three decades of parameter counts, are trained on
the same few images, with their true labels and with a fifth of them drawn at random. Classical
statistics expects the test error to rise when networks become large enough to fit every training
label. Double descent expects it to rise up to that size, and to fall again beyond. Belkin et al.
2019 (arXiv:1812.11118) expect that size where the network has as many parameters as there are
training labels times classes. They derive it for the squared loss; here it is cross-entropy.

Random features show that double descent without any training. They are networks whose hidden layer
stays as it was drawn, and whose output weights are solved for: those of least squared error, and of
all that fit equally well the smallest.

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
    draw_each_run,
    find_row,
    new_mosaic,
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
    stacked_runs,
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
# So many networks share a stack; from this width on they would gain nothing from it.
NETWORKS_TOGETHER, WIDE = 8, 128
# A step costs a network about as much as its hidden units and this many more.
SMALLEST_STEP_COST = 32
# Random features of one number cost about this for each of the most of them, in the same unit.
FEATURE_COST = 18
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
    mean_image = data.train_images[:settings.train_size].mean(0)
    calibrated = calibrate(model, data, settings.train_size, mean_image=mean_image)
    return to_arrays(evaluate_sets(model, sets) | calibrated)


def network_pieces(data, settings):
    """The training of the networks of all WIDTHS, cut into pieces of work."""
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
    return pieces


def measures_by_width(measured, runs):
    """{measure: values (fractions, runs, widths)} of {width: {measure: values (networks,)}}."""
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

    N features are the first N hidden units of the widest hidden layer, which stays as it was drawn.
    Their output weights are solved for, in float64 and without biases. Targets are one-hot, not
    centered. Images, random labels and the law of the hidden layer are those of the networks.

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
    features = hidden_units(layer, images)
    # All fractions side by side, (images, fractions · classes): they share one factorization.
    targets = functional.one_hot(labels.T, CLASSES).double().flatten(1)
    fits, norms = [], []
    for feature_count in feature_counts:
        weights = minimum_norm_weights(features[:, :feature_count], targets)
        fits.append(weights)
        norms.append(weights.unflatten(1, (-1, CLASSES)).norm(dim=(0, 2)))  # (fractions,)
        advance()
    _, train_mistakes = sum_errors(features, fits, labels)
    del features  # the largest array of all
    test_loss_sums, test_mistakes = 0, 0
    for some_images, some_labels in zip(test_images.split(TEST_IMAGES_TOGETHER),
                                        data.test_labels.split(TEST_IMAGES_TOGETHER)):
        loss_sums, mistakes = sum_errors(hidden_units(layer, some_images), fits,
                                         some_labels.expand(len(FRACTIONS), -1))
        test_loss_sums = test_loss_sums + loss_sums
        test_mistakes = test_mistakes + mistakes
    values = {"train_error": train_mistakes / len(images),
              "test_error": test_mistakes / len(test_images),
              "test_loss": test_loss_sums / len(test_images),
              "weight_norm": torch.stack(norms, dim=1)}
    return to_arrays({name: of_run.unsqueeze(0) for name, of_run in values.items()})


@torch.no_grad()
def hidden_units(layer, images):
    """The hidden units (N, features) of a StackedLinear of one run for images (N, 1, 28, 28)."""
    pixels = images.flatten(1).unsqueeze(0).to(layer.weight.dtype)
    return functional.relu(layer(pixels), inplace=True)[0]  # a copy would be as large again


def minimum_norm_weights(features, targets):
    """The weights (features, K) that fit targets (N, K) by least squares, the smallest of all such.

    features (N, features) must have full rank, as random ones of different images have. LAPACK's
    gels turns them into an orthogonal times a triangular matrix. The condition number, which is
    highest for a square matrix, is never squared, as it would be in the normal equations.
    """
    return torch.linalg.lstsq(features, targets, driver="gels").solution


def sum_errors(features, fits, labels):
    """Squared errors and wrong answers of fits to features (N, most) with labels (fractions, N).

    fits has the weights (features, fractions · classes) of every number of features. Both are sums
    over the images, the squared errors means over the classes: float64, (fractions, numbers of
    features).
    """
    targets = functional.one_hot(labels.T, CLASSES)  # (N, fractions, classes)
    squared, wrong = [], []
    for weights in fits:
        outputs = (features[:, :len(weights)] @ weights).reshape(targets.shape)
        squared.append((outputs - targets).square().mean(2).sum(0))
        wrong.append((outputs.argmax(2) != labels.T).sum(0).double())
    return torch.stack(squared, dim=1), torch.stack(wrong, dim=1)


def feature_pieces(data, settings):
    """The fits of random features, one piece of work for each run."""
    _, feature_counts = count_features(settings)
    pieces = {}
    for run_number in range(settings.runs):
        pieces["features", run_number] = Piece(
            f"random features, run {run_number}", fit_features, (run_number, settings),
            len(feature_counts), FEATURE_COST * feature_counts[-1], data)
    return pieces


# --- summing up ---


def summarize_width(fraction, width, parameters, measures):
    """One row of the table: means over the runs of {measure: (runs,)}; the unit is the run.

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
            if np.isnan(values).any():  # no image was left to fit a temperature on
                continue
            key = {"randomized": fraction, "measure": name}
            thresholds.append(key | {"labels_times_classes": train_size * CLASSES}
                              | summarize_threshold(train_accuracies, values, parameter_counts))
            upturns.append(key | summarize_upturn(values))
            peak = summarize_peak(values, parameter_counts, SMOOTHED)
            smoothed_peaks.append({"widths_averaged": SMOOTHED} | key | peak)
            peak = summarize_peak(values, parameter_counts, NOT_SMOOTHED)
            unsmoothed_peaks.append({"widths_averaged": NOT_SMOOTHED} | key | peak)
    return thresholds, upturns, smoothed_peaks + unsmoothed_peaks


def summarize_features(feature_counts, images, measures):
    """Rows about random features, of every number of them at every fraction; the unit is the run.

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
    """Rows about the most prominent peak over the numbers of random features; the unit is the run.

    Rise and fall are held out, as in summarize_peak. Those of the test loss, which spans decades,
    are factors: geometric means over the runs.
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
            else:
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
    measured = join_groups(run_pieces(network_pieces(data, settings)
                                      | feature_pieces(data, settings), settings))
    of_features = measured.pop("features")
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
    thresholds, upturns, peaks = summarize_curves(parameter_counts, measures,
                                                  settings.train_size)
    return {
        "constants": {"FRACTIONS": FRACTIONS, "WIDTHS": WIDTHS, "MOMENTUM": MOMENTUM,
                      "SMOOTHED": SMOOTHED, "FITTED": FITTED, "HELD_OUT": HELD_OUT,
                      "MOST_FEATURE_IMAGES": MOST_FEATURE_IMAGES},
        "table": summarize_widths(parameter_counts, measures),
        "thresholds": thresholds,
        "upturns": upturns,
        "peaks": peaks,
        "features": summarize_features(feature_counts, images, of_features),
        "feature_peaks": summarize_feature_peaks(feature_counts, images, of_features),
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say: counts, errors as fractions, losses in nats.

    "true_labels" and "random_labels" have the same facts of the networks that were given the true
    labels, and of those with the most random ones; so do "true_labels_features" and
    "random_labels_features" of the random features. The p-values are Holm's for the two.
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
        "fewest_features": results["features"][0]["features"],
        "most_features": results["features"][-1]["features"],
    }
    for (name, fraction), p_value in zip(fractions.items(), p_values):
        facts[name] = (facts_of_labels(results, fraction) | facts_of_calibrated(results, fraction)
                       | {"error_change_p_value": p_value})
        facts[f"{name}_features"] = facts_of_features(results, fraction)
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
    return p_value_of_mean(changes)


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
        "error_change": as_mean(error, "change_mean"),
        "error_peak_is_clear": error_peak["beyond_intervals"],
        "loss_peak_is_clear": loss_peak["beyond_intervals"],
        "loss_peak_width": loss_peak["width"],
        "loss_peak_parameters": loss_peak["parameters"],
        "loss_peak_height": loss_peak["height_mean"],
        "loss_rise": as_mean(loss_peak, "rise_mean"),
        "loss_fall": as_mean(loss_peak, "fall_mean"),
        "late_loss_rise": as_mean(upturn, "rise_mean"),
        "late_loss_rise_is_clear": upturn["beyond_interval"],
        "lowest_loss_width": upturn["width"],
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
    upturn = find_row(results["upturns"], randomized=fraction, measure="calibrated_test_loss")
    change, change_ci95 = mean_ci95(changes_to_peak(
        np.array(results["curves"]["test_loss"][fraction]),
        np.array(results["curves"]["calibrated_test_loss"][fraction]),
        results["constants"]["SMOOTHED"]))
    return {
        "calibrated_peak_is_clear": peak["beyond_intervals"],
        "calibrated_rise": as_mean(peak, "rise_mean"),
        "calibrated_change_where_loss_rises": {"value": change, "ci95": change_ci95},
        "calibrated_late_rise": as_mean(upturn, "rise_mean"),
        "calibrated_late_rise_is_clear": upturn["beyond_interval"],
    }


def changes_to_peak(losses, calibrated, widths_averaged):
    """How calibrated losses change from the valley before the peak of the plain losses to the peak.

    Both are (runs, widths). As in summarize_peak, neighbouring widths are averaged, and the plain
    losses of the other runs choose the places at which a run is measured. The unit is the run.
    """
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
        "error_at_peak": as_mean(at_peak, "test_error_mean"),
        "error_of_most": as_mean(most, "test_error_mean"),
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
NETWORK_COLOR, FEATURE_COLOR, CALIBRATED_COLOR = COLORS[:3]
CALIBRATED = "-."  # line style
PARAMETERS_LABEL = "trained parameters / (training labels × classes)"


def plot(results):
    """Error on the left; on the right the losses of the networks above that of the features."""
    facts = results["facts"]
    layout = [["error", "random_labels"], ["error", "true_labels"], ["error", "features"]]
    figure, panels = new_mosaic(figure_title(facts), results, layout, height=6.4,
                                width_ratios=(1.3, 1), sharex=True)
    error_panel, feature_panel = panels["error"], panels["features"]
    curves, features = results["curves"], results["curves"]["features"]
    for kind, fraction, marker in zip(("true_labels", "random_labels"), curves["test_loss"],
                                      MARKERS):
        train_errors = 1 - np.array(curves["train_accuracy"][fraction])
        test_errors = 1 - np.array(curves["test_accuracy"][fraction])
        draw_networks(error_panel, results, 100 * train_errors, marker, TRAIN)
        draw_networks(error_panel, results, 100 * test_errors, marker)
        draw_features(error_panel, features, 100 * np.array(features["train_error"][fraction]),
                      marker, TRAIN)
        draw_features(error_panel, features, 100 * np.array(features["test_error"][fraction]),
                      marker)
        loss_panel = panels[kind]
        draw_networks(loss_panel, results, curves["train_loss"][fraction], marker, TRAIN)
        draw_networks(loss_panel, results, curves["test_loss"][fraction], marker)
        if curves["calibrated_test_loss"]:
            draw_networks(loss_panel, results, curves["calibrated_test_loss"][fraction], marker,
                          CALIBRATED, CALIBRATED_COLOR)
        loss_panel.set(title=network_loss_title(facts[kind], fraction), ylim=(0, None),
                       ylabel="cross-entropy (nats)")
        draw_features(feature_panel, features, features["test_loss"][fraction], marker)
    for panel in panels.values():
        panel.axvline(1, color="black", linewidth=1, linestyle=":")
        panel.set(xscale="log")
    for panel in (error_panel, feature_panel):
        panel.set_xlabel(PARAMETERS_LABEL)
    mark_fitted(error_panel, results)
    error_panel.set(title=error_title(facts), ylabel="error (% of images)", ylim=(0, None))
    feature_panel.set(title=feature_loss_title(facts), ylabel="squared test error", yscale="log")
    write_legend(figure, curves)
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
    """Which errors have a peak: those of the random features, and those of the networks."""
    peaks = facts["random_labels_features"]
    features = "Random features: no clear peak of the error"
    if peaks["error_peak_is_clear"]:
        features = ("Random features: error peaks at parameters / (labels × classes) = "
                    f"{peaks['error_peak_per_label']:.2g}")
    peaked = labels_with(facts, "error_peak_is_clear")
    return f"{features}\nTrained networks: {'a peak with ' + peaked if peaked else 'no clear peak'}"


def network_loss_title(facts, fraction):
    """Whether the networks' test loss has a peak, and whether a temperature removes it.

    facts are those of the networks with this fraction of random labels.
    """
    networks = f"Networks, {name_labels(fraction)}"
    if not facts["loss_peak_is_clear"]:
        return f"{networks}: test loss, no clear peak"
    after = "also" if facts["calibrated_peak_is_clear"] else "not"
    return f"{networks}: test loss peaks,\n{after} after one temperature"


def feature_loss_title(facts):
    """Where the test loss of the random features has its peak."""
    peaks = facts["random_labels_features"]
    if not peaks["loss_peak_is_clear"]:
        return "Random features: squared error has no clear peak"
    return f"Random features: squared error peaks at {peaks['loss_peak_per_label']:.2g}"


def labels_with(facts, name):
    """The labels of which this fact about the networks is true, in words; "" where of none."""
    labels = (("true_labels", 0), ("random_labels", facts["most_random"]))
    return " and ".join(name_labels(fraction) for kind, fraction in labels if facts[kind][name])


def draw_networks(panel, results, values, marker, style=TEST, color=NETWORK_COLOR):
    """Values (runs, widths) of every run of the networks against their parameters per label."""
    places = np.array(results["curves"]["parameters"]) / results["facts"]["labels_times_classes"]
    shown = places >= SHOWN_FROM
    draw_each_run(panel, places[shown], np.array(values)[:, shown], color, style, marker=marker)


def draw_features(panel, features, values, marker, style=TEST):
    """Values (runs, numbers of features) of every run of the random features."""
    draw_each_run(panel, features["features_per_label"], values, FEATURE_COLOR, style,
                  marker=marker)


def mark_fitted(panel, results):
    """The test errors of the smallest networks that fit their labels, with notes at the sides."""
    facts, fitted = results["facts"], results["constants"]["FITTED"]
    for kind, fraction, note_place, side in (("true_labels", 0, 0.02, "left"),
                                             ("random_labels", facts["most_random"], 0.98,
                                              "right")):
        if facts[kind]["fitted_parameters"] is not None:
            place = facts[kind]["fitted_parameters"] / facts["labels_times_classes"]
            error = facts[kind]["error_when_fitted"]
            panel.plot(place, 100 * error, "*", color=NETWORK_COLOR, markeredgecolor="black",
                       markersize=12, zorder=3)
            note = (f"{name_labels(fraction)}: smallest\nnetwork that fits {fitted:.1%},\n"
                    f"test error {error:.0%}")
            panel.annotate(note, (place, 100 * error), (note_place, 0.55), color=NETWORK_COLOR,
                           textcoords="axes fraction", ha=side, fontsize=8.5,
                           arrowprops={"arrowstyle": "-", "color": NETWORK_COLOR})


def write_legend(figure, curves):
    """One legend for the figure: colours are models, marks are labels."""
    entries = {"trained networks": {"color": NETWORK_COLOR},
               "random features": {"color": FEATURE_COLOR}}
    if curves["calibrated_test_loss"]:
        entries["networks after one temperature"] = {"color": CALIBRATED_COLOR,
                                                     "linestyle": CALIBRATED}
    for fraction, marker in zip(curves["test_loss"], MARKERS):
        entries[name_labels(fraction)] = {"color": GREY, "marker": marker, "linestyle": ""}
    entries["training"] = {"color": GREY, "linestyle": TRAIN}
    entries["test"] = {"color": GREY, "linestyle": TEST}
    figure.legend([Line2D([], [], **look) for look in entries.values()], entries.keys(),
                  loc="outside lower center", ncols=4)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts, uses_images=True)
