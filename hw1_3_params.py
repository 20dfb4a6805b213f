"""Do more parameters generalize worse?

Networks of one hidden layer and 1 to 1,024 units, three decades of parameter counts, are trained on the same few images,
with their true labels and with a fifth of them drawn at random. Classical statistics expects the test error to rise once
the network can fit every training label; double descent expects it to peak there and to fall again.

    python hw1_3_params.py              # the report's figure
    python hw1_3_params.py --quick      # a tour in seconds
"""

from functools import partial

import numpy as np
import scipy
import torch

from common.data import CLASSES, randomized_task
from common.experiment import Flag, main
from common.models import mlp, parameter_count
from common.peaks import find_peak, held_out_argmax, held_out_peak
from common.plotting import COLORS, GREY, MARKERS, draw_train_test, legend_below, new_figure
from common.statistics import mean_ci95
from common.training import cross_entropy, evaluate_sets, run_generators, train

FLAGS = {
    "epochs": Flag(50, 10, "passes through the training images"),
    "lr": Flag(0.05, 0.05, "learning rate of SGD with momentum at the start; it falls to zero along a half cosine"),
    "batch_size": Flag(100, 50, "images per step"),
    "train_size": Flag(2_000, 300, "training images, the first of the set"),
}
RUNS = Flag(4, 2, "repeated runs of each network")
SHARES = (0, 0.2)  # of the training labels that are randomized
# Closest together where 2,000 images are just fitted; few at the wide end, where most of the time goes.
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 48, 56, 64, 96, 128, 192, 256, 512, 1024)
MOMENTUM = 0.9  # of SGD
SMOOTHED = 3  # neighbouring widths whose mean stands for each when a peak is sought: one noisy width is no peak
FITTED = 0.999  # mean training accuracy from which the labels count as fitted
MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


def train_width(width, data, settings):
    """Trains all shares × runs of one width as one stack; returns its parameter count and the MEASURES (shares, runs)."""
    # Run k of every width and share draws from equal generators, which makes the runs pairs.
    run_numbers = [*range(settings.runs)] * len(SHARES)
    initializations, orders, label_generators = (run_generators(settings.seed, run_numbers, stream)
                                                 for stream in ("initialization", "order", "labels"))
    images, test_images, labels, _ = randomized_task(data, settings.train_size, SHARES, label_generators)
    model = mlp([images[0].numel(), width, CLASSES], initializations).to(settings.device)
    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size, orders=orders, optimizer=partial(torch.optim.SGD, momentum=MOMENTUM),
          title=f"{width} hidden units")
    values = evaluate_sets(model, {"train": (images, labels), "test": (test_images, data.test_labels)})
    stacked = torch.stack([values[name] for name in MEASURES]).unflatten(1, (len(SHARES), settings.runs))
    return parameter_count(model), stacked.cpu().numpy()


def interpolation_threshold(accuracies):
    """The first width at which the mean training accuracy reaches FITTED: accuracies (runs, widths) -> index or None."""
    reached = np.flatnonzero(accuracies.mean(0) >= FITTED)
    return int(reached[0]) if len(reached) else None


def run(settings, data):
    counts, values = zip(*[train_width(width, data, settings) for width in WIDTHS])
    # (widths, measures, shares, runs) -> one array (shares, runs, widths) per measure
    measures = dict(zip(MEASURES, np.array(values).transpose(1, 2, 3, 0)))
    table = [{
        "randomized": share, "width": width, "parameters": count, "runs": settings.runs,
        **{name: measures[name][i, :, j].mean() for name in MEASURES},
        "gap": (measures["test_loss"] - measures["train_loss"])[i, :, j].mean(),
        "test_loss_ci95": mean_ci95(measures["test_loss"][i, :, j])[1],
    } for i, share in enumerate(SHARES) for j, (width, count) in enumerate(zip(WIDTHS, counts))]
    tested = {"test_loss": measures["test_loss"], "test_error": 1 - measures["test_accuracy"]}
    return {
        "table": table,
        "thresholds": [describe_threshold(share, counts, measures["train_accuracy"][i], name, values[i])
                       for i, share in enumerate(SHARES) for name, values in tested.items()],
        "upturns": [describe_upturn(share, name, values[i])
                    for i, share in enumerate(SHARES) for name, values in tested.items()],
        "peaks": [describe_peak(share, counts, name, values[i], averaged)
                  for averaged in (SMOOTHED, 1) for i, share in enumerate(SHARES) for name, values in tested.items()],
        "curves": {"parameters": counts, **{name: dict(zip(SHARES, values)) for name, values in measures.items()}},
    }


def describe_threshold(share, counts, train_accuracies, measure, values):
    """Where the training labels are first fitted, and a measure there against that of the largest network."""
    row = {"randomized": share, "measure": measure, "width": None, "parameters": None, "at_threshold": None,
           "at_threshold_ci95": None, "change": None, "change_ci95": None, "largest_parameters": counts[-1]}
    row["at_largest"], row["at_largest_ci95"] = mean_ci95(values[:, -1])
    threshold = interpolation_threshold(train_accuracies)
    if threshold is not None:
        row |= {"width": WIDTHS[threshold], "parameters": counts[threshold]}
        row["at_threshold"], row["at_threshold_ci95"] = mean_ci95(values[:, threshold])
        row["change"], row["change_ci95"] = mean_ci95(values[:, -1] - values[:, threshold])  # paired
    return row


def describe_upturn(share, measure, values):
    """From the lowest mean to the largest network, in each run from the width that the mean of the other runs chooses."""
    lowest = values[range(len(values)), held_out_argmax(-values)]
    rise, rise_ci95 = mean_ci95(values[:, -1] - lowest)
    return {"randomized": share, "measure": measure, "width": WIDTHS[values.mean(0).argmin()], "lowest": lowest.mean(),
            "at_largest": values[:, -1].mean(), "rise": rise, "rise_ci95": rise_ci95}


def describe_peak(share, counts, measure, values, averaged):
    """The peak in means of so many neighbouring widths, and its rise and fall in runs that did not choose it."""
    values = scipy.ndimage.uniform_filter1d(values, averaged, axis=1, mode="nearest")
    before, peak, after = find_peak(values.mean(0))
    row = {"widths_averaged": averaged, "randomized": share, "measure": measure, "width": WIDTHS[peak],
           "parameters": counts[peak], "valley_before_parameters": counts[before],
           "valley_after_parameters": counts[after]}
    row["height"], row["height_ci95"] = mean_ci95(values[:, peak])
    for name, per_run in zip(("rise", "fall"), held_out_peak(values)):
        row[name], row[f"{name}_ci95"] = mean_ci95(per_run)
    row["beyond_intervals"] = all(row[f"{name}_ci95"] is not None and row[name] > row[f"{name}_ci95"]
                                  for name in ("rise", "fall"))
    return row


def plot(results):
    curves, counts = results["curves"], results["curves"]["parameters"]
    peaks = {(row["randomized"], row["measure"]): row for row in results["peaks"] if row["widths_averaged"] == SMOOTHED}
    thresholds = {(row["randomized"], row["measure"]): row for row in results["thresholds"]}
    verdicts = [f"test {kind} {'peaks' if peaks[SHARES[-1], f'test_{kind}']['beyond_intervals'] else 'has no clear peak'}"
                for kind in ("loss", "error")]
    title = f"With {SHARES[-1]:.0%} random labels " + ", ".join(verdicts) + " as networks grow"
    figure, axes = new_figure(title, results, 2, 2, sharex=True, sharey="row")
    for share, color, marker, panels in zip(SHARES, COLORS, MARKERS, axes.T):
        values = {f"{part}_loss": curves[f"{part}_loss"][str(share)] for part in ("train", "test")}
        values |= {f"{part}_error": 1 - np.array(curves[f"{part}_accuracy"][str(share)]) for part in ("train", "test")}
        for panel, kind, unit in zip(panels, ("loss", "error"), (1, 100)):
            draw_train_test(panel, counts, values, kind, color, f"{share:.0%} random labels", marker, unit)
            peak, threshold = peaks[share, f"test_{kind}"], thresholds[share, f"test_{kind}"]
            found = f"peaks at {peak['parameters']:,}" if peak["beyond_intervals"] else "no clear peak"
            end = f"{threshold['at_largest']:{'.2f' if kind == 'loss' else '.1%'}}"
            panel.set(xscale="log", title=f"{share:.0%} random: test {kind} {found}, ends at {end}")
            if threshold["parameters"]:
                panel.axvline(threshold["parameters"], color=GREY, linewidth=1, label=f"first {FITTED:.1%} fitted")
            if peak["beyond_intervals"]:
                panel.plot(peak["parameters"], unit * peak["height"], "*k", markersize=10, label="peak", linestyle="none")
        panels[1].set(xlabel="parameters")
    axes[0, 0].set(ylabel="cross-entropy (nats)")
    axes[1, 0].set(ylabel="1 − accuracy (%)")
    legend_below(figure, *axes.flat, columns=6, train_test=True)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
