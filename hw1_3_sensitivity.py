"""Flatness and generalization, part 2: do sensitivity or sharpness tell which batch size generalizes?

One network per batch size from 16 to the whole training set, all from the same initializations, measured at two moments
of the same training: after an equal number of epochs, and at an equal training loss. Large batches take far fewer steps
in an epoch, so the first comparison mixes under-training with whatever the batch size does by itself; the second does not.

    python hw1_3_sensitivity.py                              # the report's figure
    python hw1_3_sensitivity.py --quick --dataset digits     # a tour in seconds, without a download
"""

from itertools import product

import numpy as np
import torch

from common.experiment import Flag, main
from common.models import mlp
from common.parameters import flatten, unflatten
from common.plotting import COLORS, TEST, TRAIN, draw_runs, legend_below, new_figure
from common.sharpness import epsilon_sharpness, input_sensitivity, largest_eigenvalue, loss_of
from common.statistics import mean_ci95, spearman_clusters_ci95
from common.training import cross_entropy, evaluate, run_generators, train

FLAGS = {
    "epochs": Flag(20, 5, "epochs at which the first comparison is made"),
    "target_loss": Flag(0.05, 0.2, "training loss (nats) at which the second comparison is made"),
    "max_epochs": Flag(400, 200, "epochs after which a run that has not reached the target loss is given up"),
    "lr": Flag(2e-3, 2e-3, "learning rate of Adam, constant and the same for every batch size"),
    # 8,192 = 2^13: every batch size divides it, so no epoch ends in a smaller batch with a noise of its own.
    "train_size": Flag(8_192, 1_024, "training images"),
    "sharpness_images": Flag(1_024, 256, "training images, the first, on which the two sharpness measures are taken"),
}
RUNS = Flag(5, 3, "runs of each batch size")
BATCH_SIZES = tuple(2**power for power in range(4, 14))  # 16 … 8,192; those beyond the training set are the whole of it
WIDTHS = [784, 64, 10]
EPSILON = 1e-3  # Keskar's box
REGIMES = {"equal_epochs": "equal epochs", "equal_loss": "equal loss"}
MEASURES = {  # what might predict generalization, and how it is called
    "batch_size": "batch size", "sensitivity": "sensitivity", "jacobian": "Jacobian", "sharpness": "ε-sharpness",
    "largest_eigenvalue": "eigenvalue",
}
LABELS = {"sensitivity": "mean ‖∂ℓ/∂x‖ (nats per unit of x)", "jacobian": "mean ‖∂p/∂x‖ (1 per unit of x)",
          "sharpness": "ε-sharpness (%)", "largest_eigenvalue": "largest eigenvalue"}
TARGETS = {"gap": "the loss gap", "accuracy_gap": "the accuracy gap", "test_loss": "the test loss"}
COLUMNS = ("updates", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "gap", "sensitivity", "sensitivity_ci95",
           "sharpness", "largest_eigenvalue", "jacobian", "accuracy_gap", "test_loss_ci95", "gap_ci95", "accuracy_gap_ci95",
           "sharpness_ci95", "largest_eigenvalue_ci95", "jacobian_ci95")


def train_stack(batch_size, images, labels, settings):
    """Trains every run of one batch size; returns the model, and for each regime (vectors (R, P), epochs (R,)).

    Epochs are 0 for a run that has not reached the target loss.
    """
    model = mlp(WIDTHS, run_generators(settings.seed, settings.runs, "initialization")).to(settings.device)
    vectors = {regime: flatten(dict(model.named_parameters())) for regime in REGIMES}
    epochs = {regime: torch.zeros(settings.runs, dtype=torch.int64, device=settings.device) for regime in REGIMES}

    def keep(epoch):
        current = flatten(dict(model.named_parameters()))
        if epoch == settings.epochs:
            vectors["equal_epochs"], epochs["equal_epochs"][:] = current, epoch
        arrived = (evaluate(model, images, labels)[0] <= settings.target_loss) & (epochs["equal_loss"] == 0)
        vectors["equal_loss"][arrived], epochs["equal_loss"][arrived] = current[arrived], epoch
        return epoch >= settings.epochs and bool((epochs["equal_loss"] > 0).all())

    train(model, images, labels.expand(settings.runs, -1), cross_entropy, epochs=max(settings.max_epochs, settings.epochs),
          learning_rate=settings.lr, batch_size=batch_size, orders=run_generators(settings.seed, settings.runs, "order"),
          cosine=False,  # a schedule would tie the second moment to the cap
          record=keep, title=f"batch size {batch_size}")
    return model, {regime: (vectors[regime], epochs[regime]) for regime in REGIMES}


def measure(model, vectors, images, labels, data, sharpness_images):
    """Every quantity of every run at vectors (R, P), as {name: (R,) array}."""
    parameters = unflatten(vectors, model)
    train_loss, train_accuracy = evaluate(model, images, labels, parameters)
    test_loss, test_accuracy = evaluate(model, data.test_images, data.test_labels, parameters)
    loss = loss_of(model, images[:sharpness_images], labels[:sharpness_images])
    values = {
        "train_loss": train_loss, "test_loss": test_loss, "train_accuracy": train_accuracy, "test_accuracy": test_accuracy,
        "gap": test_loss - train_loss, "accuracy_gap": train_accuracy - test_accuracy,
        "sensitivity": input_sensitivity(model, parameters, data.test_images, data.test_labels),
        "jacobian": input_sensitivity(model, parameters, data.test_images),
        "sharpness": epsilon_sharpness(loss, vectors.double(), EPSILON),
        "largest_eigenvalue": largest_eigenvalue(loss, vectors.double()),
    }
    return {name: value.cpu().numpy() for name, value in values.items()}


def run(settings, data):
    images, labels = data.train_images[: settings.train_size], data.train_labels[: settings.train_size]
    table, curves = [], {regime: {} for regime in REGIMES}
    for batch_size in sorted({min(size, len(images)) for size in BATCH_SIZES}):
        model, moments = train_stack(batch_size, images, labels, settings)
        for regime, (vectors, epochs) in moments.items():
            reached = int((epochs > 0).sum())
            values = {}
            if reached == settings.runs:  # otherwise a batch size would be judged by its easiest runs: it is left out
                values = measure(model, vectors, images, labels, data, settings.sharpness_images)
                values["updates"] = epochs.cpu().numpy() * -(-len(images) // batch_size)
                values["batch_size"] = np.full(settings.runs, batch_size)
            for name, value in values.items():
                curves[regime].setdefault(name, []).append(value)  # (batch sizes, R)
            table.append({"regime": regime, "batch_size": batch_size, "runs": settings.runs, **summarize(values),
                          "reached": reached})
    table.sort(key=lambda row: list(REGIMES).index(row["regime"]))
    return {"table": table, "correlations": correlate(curves), "comparisons": compare(curves), "curves": curves}


def summarize(values):
    """COLUMNS from the runs' values {name: (R,)}: means and the half widths of their 95 % intervals; None without values."""
    if not values:
        return dict.fromkeys(COLUMNS)
    return {name: mean_ci95(values[name.removesuffix("_ci95")])[name.endswith("_ci95")] for name in COLUMNS}


def correlate(curves):
    """Rank correlations of every measure with every target over batch sizes and runs, one row each, in both regimes.

    The runs of one batch size resemble each other, and those that start alike do too: batch sizes are the clusters.
    """
    rows = []
    for regime, target, name in product(REGIMES, TARGETS, MEASURES):
        values = curves[regime]
        rho, low, high = spearman_clusters_ci95(values[name], values[target]) if values else (None, None, None)
        rows.append({"regime": regime, "target": target, "measure": name, "batch_sizes": len(values.get(target, [])),
                     "rho": rho, "rho_low": low, "rho_high": high})
    return rows


def compare(curves):
    """The largest batch size against the smallest, run by run: the mean difference and its 95 % interval's half width."""
    rows = []
    for (regime, values), name in product(curves.items(), ("test_accuracy", *TARGETS, *LABELS)):
        if values:
            small, large = values[name][0], values[name][-1]
            difference, half_width = mean_ci95(large - small)
            rows.append({"regime": regime, "quantity": name, "smallest": values["batch_size"][0][0],
                         "largest": values["batch_size"][-1][0], "smallest_mean": small.mean(), "largest_mean": large.mean(),
                         "difference": difference, "difference_ci95": half_width})
    return rows


def plot(results):
    rows = results["correlations"]
    rhos = {row["regime"]: row["rho"] for row in rows if row["measure"] == "largest_eigenvalue" and row["target"] == "gap"}
    title = "Sharpness against loss gap: rank correlation " + ", ".join(
        f"{rho:+.2f} at {REGIMES[regime]}" for regime, rho in rhos.items() if rho is not None)
    figure, axes = new_figure(title, results, 3, 3, height=2.4)
    panels = dict(zip(LABELS, axes.flat[2:6]))
    ticks = [row["batch_size"] for row in results["table"] if row["regime"] == "equal_epochs"][::2]
    for regime, color in zip(REGIMES, COLORS):
        values = {name: np.transpose(value) for name, value in results["curves"][regime].items()}
        if not values:
            continue
        sizes = values["batch_size"][0]
        for name, panel in panels.items():
            draw_runs(panel, sizes, values[name], color, TEST, marker="o")
        for panel, quantity, factor in zip(axes[0], ("loss", "accuracy"), (1, 100)):
            for name, style in (("train", TRAIN), ("test", TEST)):
                draw_runs(panel, sizes, factor * values[f"{name}_{quantity}"], color, style, f"{name}, {REGIMES[regime]}")
    axes[0, 0].set(title="loss: the gap is solid minus dashed", ylabel="cross-entropy (nats)")
    axes[0, 1].set(title="accuracy", ylabel="accuracy (%)")
    for name, panel in panels.items():
        panel.set(title=MEASURES[name], ylabel=LABELS[name], yscale="linear" if "∂" in LABELS[name] else "log")
    for panel in axes.flat[:6]:
        panel.set_xscale("log", base=2)
        panel.set(xlabel="batch size", xticks=ticks, xticklabels=ticks)
    for panel, target in zip(axes[2], TARGETS):
        for offset, regime, color in zip((0.15, -0.15), REGIMES, COLORS):
            found = [row for row in rows if (row["regime"], row["target"]) == (regime, target) and row["rho"] is not None]
            places = [list(MEASURES)[::-1].index(row["measure"]) + offset for row in found]
            panel.hlines(places, [row["rho_low"] for row in found], [row["rho_high"] for row in found], color=color)
            panel.plot([row["rho"] for row in found], places, "o", color=color, markersize=4)
        panel.axvline(0, color="#999999", linewidth=0.8)
        panel.set(xlim=(-1.05, 1.05), title=f"what goes with {TARGETS[target]}", xlabel="rank correlation",
                  yticks=range(len(MEASURES)), yticklabels=[])
    axes[2, 0].set_yticklabels(list(MEASURES.values())[::-1])
    legend_below(figure, axes[0, 0])
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
