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
from common.parameters import parameter_vectors, unflatten
from common.plotting import COLORS, GREY, MARKERS, draw_ranges, draw_runs, draw_train_test, legend_below, new_figure, number
from common.sharpness import epsilon_sharpness, input_sensitivity, largest_eigenvalue, loss_of
from common.statistics import mean_columns, spearman_clusters_ci95
from common.training import cross_entropy, evaluate, evaluate_sets, run_generators, train

FLAGS = {
    "epochs": Flag(20, 5, "epochs at which the first comparison is made"),
    "target_loss": Flag(0.05, 0.3, "training loss (nats) at which the second comparison is made"),
    "max_epochs": Flag(400, 200, "epochs after which a run that has not reached the target loss is given up"),
    "lr": Flag(2e-3, 2e-3, "learning rate of Adam, constant and the same for every batch size"),
    # 8,192 = 2^13: every batch size divides it, so no epoch ends in a smaller batch with a noise of its own.
    "train_size": Flag(8_192, 1_024, "training images"),
    "sharpness_images": Flag(1_024, 256, "training images, the first, on which the two sharpness measures are taken"),
}
RUNS = Flag(5, 3, "runs of each batch size")
BATCH_SIZES = tuple(2**power for power in range(4, 14))  # 16 … 8,192; those beyond the training set are the whole of it
WIDTHS = [784, 64, 10]
EPSILON = 1e-3  # of the sharpness, as in its paper
REGIMES = {"equal_epochs": "equal epochs", "equal_loss": "equal loss"}
# What might predict generalization, as it is called in the figure, and what it might predict.
MEASURES = {"batch_size": "batch size", "sensitivity": "sensitivity", "jacobian": "Jacobian", "sharpness": "ε-sharpness",
            "largest_eigenvalue": "eigenvalue"}
TARGETS = ("gap", "accuracy_gap", "test_loss")
COLUMNS = ("updates", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "gap", "sensitivity", "sensitivity_ci95",
           "sharpness", "largest_eigenvalue", "jacobian", "accuracy_gap")


def train_stack(batch_size, images, labels, settings):
    """Trains every run of one batch size; returns the model, and per regime vectors (R, P) and epochs (R,), 0 if never."""
    model = mlp(WIDTHS, run_generators(settings.seed, settings.runs, "initialization")).to(settings.device)
    moments = {regime: (parameter_vectors(model), torch.zeros(settings.runs, dtype=torch.int64, device=settings.device))
               for regime in REGIMES}

    def keep(epoch):
        there = {"equal_epochs": epoch >= settings.epochs,
                 "equal_loss": evaluate(model, images, labels)[0] <= settings.target_loss}
        for regime, (vectors, epochs) in moments.items():
            arrived = (epochs == 0) & there[regime]
            vectors[arrived], epochs[arrived] = parameter_vectors(model)[arrived], epoch
        return all(bool((epochs > 0).all()) for _, epochs in moments.values())

    train(model, images, labels.expand(settings.runs, -1), cross_entropy, epochs=max(settings.max_epochs, settings.epochs),
          learning_rate=settings.lr, batch_size=batch_size, orders=run_generators(settings.seed, settings.runs, "order"),
          cosine=False,  # a schedule would tie the second moment to the cap
          record=keep, title=f"batch size {batch_size}")
    return model, moments


def measure(model, vectors, images, labels, data, sharpness_images):
    """Every quantity of every run at vectors (R, P), as {name: (R,) array}."""
    parameters = unflatten(vectors, model)
    values = evaluate_sets(model, {"train": (images, labels), "test": (data.test_images, data.test_labels)}, parameters)
    loss = loss_of(model, images[:sharpness_images], labels[:sharpness_images])
    values |= {
        "gap": values["test_loss"] - values["train_loss"],
        "accuracy_gap": values["train_accuracy"] - values["test_accuracy"],
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
            row = {"regime": regime, "batch_size": batch_size, "runs": settings.runs, "reached": int((epochs > 0).sum())}
            row |= dict.fromkeys(COLUMNS)
            if row["reached"] == settings.runs:  # otherwise a batch size would be judged by its easiest runs: it is left out
                values = measure(model, vectors, images, labels, data, settings.sharpness_images)
                values["updates"] = epochs.cpu().numpy() * -(-len(images) // batch_size)
                row |= {name: mean for name, mean in mean_columns(values).items() if name in COLUMNS}
                values["batch_size"] = np.full(settings.runs, batch_size)
                for name, value in values.items():
                    curves[regime].setdefault(name, []).append(value)  # (batch sizes, R)
            table.append(row)
    table.sort(key=lambda row: list(REGIMES).index(row["regime"]))
    return {"table": table, "correlations": correlate(curves), "curves": curves}


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


def plot(results):
    title = "Rank correlation with the test loss at equal training loss: " + ", ".join(
        f"{MEASURES[row['measure']]} {number(row['rho'], '.2f')}" for row in results["correlations"]
        if (row["regime"], row["target"]) == ("equal_loss", "test_loss") and row["measure"] in ("sensitivity", "sharpness"))
    figure, axes = new_figure(title, results, 3, 2, height=2.7)
    curves = {regime: {name: np.transpose(value) for name, value in values.items()}  # (R, batch sizes)
              for regime, values in results["curves"].items() if values}
    panels = (("test_loss", "cross-entropy (nats)", ".2f", 1), ("test_accuracy", "accuracy (%)", ".1f", 100),
              ("sensitivity", "mean ‖∂ℓ/∂x‖ (nats per unit of x)", ".2f", 1), ("sharpness", "ε-sharpness (%)", ".1f", 1))
    for panel, (quantity, label, form, unit) in zip(axes.flat, panels):
        for (regime, values), color, marker in zip(curves.items(), COLORS, MARKERS):
            sizes = values["batch_size"][0]
            if quantity.startswith("test"):
                draw_train_test(panel, sizes, values, quantity.removeprefix("test_"), color, REGIMES[regime], marker, unit)
            else:
                draw_runs(panel, sizes, values[quantity], color, marker=marker)
        medians = [unit * np.median(values[quantity], axis=0) for values in curves.values()]
        spans = ", at equal loss ".join(f"{values.min():{form}} to {values.max():{form}}" for values in medians)
        panel.set_xscale("log", base=2)
        panel.set(title=f"{MEASURES.get(quantity, quantity.replace('_', ' '))}: {spans}", xlabel="batch size", ylabel=label,
                  xticks=sizes[::2], xticklabels=sizes[::2])
    axes[1, 1].set_yscale("log")
    for panel, target in zip(axes[2], ("test_loss", "accuracy_gap")):
        draw_correlations(panel, results["correlations"], target)
    legend_below(figure, axes[0, 0], train_test=True)
    return figure


def draw_correlations(axes, rows, target):
    """What goes with the target: rank correlations of all measures with their 95 % intervals, in both regimes."""
    for offset, regime, color, marker in zip((-0.15, 0.15), REGIMES, COLORS, MARKERS):
        found = [row for row in rows if (row["regime"], row["target"]) == (regime, target)]
        draw_ranges(axes, found, np.arange(len(found)) + offset, ("rho", "rho_low", "rho_high"), color, marker)
    axes.axvline(0, color=GREY, linewidth=1)
    axes.invert_yaxis()  # the first measure on top
    closest = max(found, key=lambda row: abs(row["rho"] or 0))
    axes.set(title=f"At equal loss closest: {MEASURES[closest['measure']]}, {number(closest['rho'], '.2f')}",
             xlim=(-1.05, 1.05), xticks=(-1, -0.5, 0, 0.5, 1), yticks=range(len(found)), yticklabels=MEASURES.values(),
             xlabel=f"rank correlation with the {target.replace('_', ' ')}")


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
