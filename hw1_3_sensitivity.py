"""Flatness and generalization, part 2: do sensitivity or sharpness tell the best batch size?

Networks are trained with batch sizes from 16 to the whole training set, all from the same
initializations, and measured at two moments of the same training: after an equal number of epochs,
and at an equal training loss. Large batches take far fewer steps in an epoch, so the first
comparison mixes under-training with whatever the batch size does by itself; the second does not.

    python hw1_3_sensitivity.py              # the report's figure
    python hw1_3_sensitivity.py --quick      # a tour in seconds
"""

from math import ceil

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import load_dataset
from common.derivatives import epsilon_sharpness, input_sensitivity, largest_eigenvalue, loss_at
from common.evaluation import evaluate, evaluate_sets
from common.models import mlp
from common.parameters import parameter_vectors, unflatten
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    draw_ranges,
    draw_runs,
    draw_train_test,
    format_number,
    legend_below,
    new_figure,
)
from common.statistics import mean_columns, spearman_clusters_ci95
from common.training import cross_entropy, expand_to_runs, run_generators, train

import numpy as np
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 5, quick=3, help="runs of each batch size"),
    "epochs": Flag(positive_integer, 20, quick=5,
                   help="epochs at which the first comparison is made"),
    "target_loss": Flag(positive_number, 0.05, quick=0.3,
                        help="training loss (nats) at which the second comparison is made"),
    "max_epochs": Flag(positive_integer, 400, quick=200,
                       help="epochs after which a run that has not reached the target loss is "
                       "given up"),
    "lr": Flag(positive_number, 2e-3, quick=2e-3,
               help="learning rate of Adam, constant and the same for every batch size"),
    # 8,192 = 2^13: every batch size divides it, so that no epoch ends in a smaller batch, which
    # would have a noise of its own.
    "train_size": Flag(positive_integer, 8_192, quick=1_024, at_most="dataset",
                       help="training images"),
    "sharpness_images": Flag(positive_integer, 1_024, quick=256, at_most="train_size",
                             help="training images, the first, on which sharpness is measured"),
}
# 16 … 8,192; those beyond the training set are the whole of it.
BATCH_SIZES = tuple(2**power for power in range(4, 14))
WIDTHS = [784, 64, 10]
EPSILON = 1e-3  # of the sharpness, as in its paper
REGIMES = ("equal_epochs", "equal_loss")  # the two comparisons
# What might predict generalization, and what it might predict.
MEASURES = ("batch_size", "sensitivity", "jacobian", "sharpness", "largest_eigenvalue")
TARGETS = ("gap", "accuracy_gap", "test_loss")


# --- networks ---


def build_model(settings):
    """A stack of runs of the network."""
    generators = run_generators(settings.seed, settings.runs, "initialization")
    return mlp(WIDTHS, generators).to(settings.device)


# --- training ---


class Snapshot:
    """Parameters of every run (R, P) at one moment of training, and the epoch (R,), 0 if never."""

    def __init__(self, model):
        self.vectors = parameter_vectors(model)
        self.epochs = torch.zeros(len(self.vectors), dtype=torch.int64, device=self.vectors.device)

    def take(self, model, epoch, arrived):
        """Keeps the runs that arrived (R,) now and have not arrived before."""
        new = arrived & (self.epochs == 0)
        self.vectors[new] = parameter_vectors(model)[new]
        self.epochs[new] = epoch

    def all_taken(self):
        return bool((self.epochs > 0).all())


def train_model(batch_size, images, labels, settings):
    """Trains every run of one batch size; returns the model and {regime: Snapshot}."""
    model = build_model(settings)
    snapshots = {regime: Snapshot(model) for regime in REGIMES}

    def record(epoch):
        train_loss, _ = evaluate(model, images, labels)  # (R,)
        enough_epochs = torch.full_like(train_loss, epoch) >= settings.epochs
        snapshots["equal_epochs"].take(model, epoch, enough_epochs)
        snapshots["equal_loss"].take(model, epoch, train_loss <= settings.target_loss)
        return all(snapshot.all_taken() for snapshot in snapshots.values())

    train(model, images, expand_to_runs(labels, model), cross_entropy,
          epochs=max(settings.max_epochs, settings.epochs), learning_rate=settings.lr,
          batch_size=batch_size,
          order_generators=run_generators(settings.seed, settings.runs, "order"),
          cosine=False,  # a schedule would tie the second moment to max_epochs
          record=record, title=f"batch size {batch_size}")
    return model, snapshots


# --- measuring ---


def measure_networks(model, vectors, images, labels, data, settings):
    """Every quantity of networks (R, P), trained on images and labels: {name: (R,)}."""
    parameters = unflatten(vectors, model)
    sets = {"train": (images, labels), "test": (data.test_images, data.test_labels)}
    values = evaluate_sets(model, sets, parameters)
    values["gap"] = values["test_loss"] - values["train_loss"]
    values["accuracy_gap"] = values["train_accuracy"] - values["test_accuracy"]
    values["sensitivity"] = input_sensitivity(model, parameters, data.test_images, data.test_labels)
    values["jacobian"] = input_sensitivity(model, parameters, data.test_images)
    some = settings.sharpness_images
    loss = loss_at(model, images[:some].double(), labels[:some], cross_entropy)
    values["sharpness"] = epsilon_sharpness(loss, vectors.double(), EPSILON)
    values["largest_eigenvalue"] = largest_eigenvalue(loss, vectors.double())
    return {name: by_run.cpu().numpy() for name, by_run in values.items()}


def measure_snapshot(snapshot, model, batch_size, images, labels, data, settings):
    """measure_networks with batch size and updates of every run, or None where one never arrived.

    Otherwise a batch size would be judged by its easiest runs.
    """
    if not snapshot.all_taken():
        return None
    values = measure_networks(model, snapshot.vectors, images, labels, data, settings)
    values["batch_size"] = np.full(settings.runs, batch_size)
    values["updates"] = snapshot.epochs.cpu().numpy() * ceil(len(images) / batch_size)
    return values


# --- summing up ---


def summarize_snapshot(regime, batch_size, snapshot, values):
    """A row of the table: means over runs of values {name: (R,)}; dashes where they are None."""
    row = {
        "regime": regime,
        "batch_size": batch_size,
        "runs": len(snapshot.epochs),
        "reached": int((snapshot.epochs > 0).sum()),
    }
    means = {} if values is None else mean_columns(values)
    for column in ("updates", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "gap",
                   "sensitivity", "sensitivity_ci95", "sharpness", "largest_eigenvalue", "jacobian",
                   "accuracy_gap"):
        row[column] = means.get(column)
    return row


def summarize_correlations(curves):
    """Rows: the rank correlation of every measure with every target in both regimes.

    curves are {regime: {quantity: (batch sizes, runs)}}. The runs of one batch size resemble each
    other: batch sizes are the clusters.
    """
    rows = []
    for regime in REGIMES:
        values = curves[regime]
        for target in TARGETS:
            for measure in MEASURES:
                rho, low, high = None, None, None
                if values:  # at least one batch size is there
                    rho, low, high = spearman_clusters_ci95(values[measure], values[target])
                rows.append({
                    "regime": regime,
                    "target": target,
                    "measure": measure,
                    "batch_sizes": len(values.get(target, [])),
                    "rho": rho,
                    "rho_low": low,
                    "rho_high": high,
                })
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    images = data.train_images[: settings.train_size]
    labels = data.train_labels[: settings.train_size]
    table, curves = [], {regime: {} for regime in REGIMES}
    for batch_size in sorted({min(size, len(images)) for size in BATCH_SIZES}):
        model, snapshots = train_model(batch_size, images, labels, settings)
        for regime, snapshot in snapshots.items():
            values = measure_snapshot(snapshot, model, batch_size, images, labels, data, settings)
            table.append(summarize_snapshot(regime, batch_size, snapshot, values))
            for name, by_run in (values or {}).items():
                curves[regime].setdefault(name, []).append(by_run)
    table.sort(key=lambda row: REGIMES.index(row["regime"]))
    return {
        "constants": {"BATCH_SIZES": BATCH_SIZES, "EPSILON": EPSILON},
        "table": table,
        "correlations": summarize_correlations(curves),
        "curves": curves,
    }


# --- drawing ---

REGIME_LABELS = {"equal_epochs": "equal epochs", "equal_loss": "equal loss"}
MEASURE_LABELS = {"batch_size": "batch size", "sensitivity": "sensitivity", "jacobian": "Jacobian",
                  "sharpness": "ε-sharpness", "largest_eigenvalue": "eigenvalue"}


def plot(results):
    """Test loss, accuracy, sensitivity and sharpness against batch size; then correlations."""
    found = []
    for row in results["correlations"]:
        in_title = (row["regime"], row["target"]) == ("equal_loss", "test_loss")
        if in_title and row["measure"] in ("sensitivity", "sharpness"):
            label = MEASURE_LABELS[row["measure"]]
            found.append(f"{label} {format_number(row['rho'], '.2f')}")
    title = ("Rank correlation with the test loss at equal training loss: " + ", ".join(found))
    figure, panels = new_figure(title, results, 3, 2, height=2.7)
    draw_test_loss(panels[0, 0], results)
    draw_test_accuracy(panels[0, 1], results)
    draw_sensitivity(panels[1, 0], results)
    draw_sharpness(panels[1, 1], results)
    draw_correlations(panels[2, 0], results, "test_loss")
    draw_correlations(panels[2, 1], results, "accuracy_gap")
    legend_below(figure, panels[0, 0], train_test=True)
    return figure


def regime_curves(results):
    """(regime, its {quantity: (runs, batch sizes)}, colour, marker) for each regime with values."""
    looks = zip(results["curves"].items(), COLORS, MARKERS)
    curves = []
    for (regime, values), color, marker in looks:
        if values:
            by_run = {name: np.transpose(value) for name, value in values.items()}
            curves.append((regime, by_run, color, marker))
    return curves


def finish_panel(panel, results, quantity, name, form, unit=1):
    """The axis of batch sizes, and a title with the range of the medians in both regimes."""
    spans = []
    for regime, values, _, _ in regime_curves(results):
        medians = unit * np.median(values[quantity], axis=0)
        span = f"{medians.min():{form}} to {medians.max():{form}}"
        spans.append(span if regime == "equal_epochs" else f"at equal loss {span}")
        batch_sizes = values["batch_size"][0]
    panel.set_xscale("log", base=2)
    panel.set(title=f"{name}: {', '.join(spans)}", xlabel="batch size", xticks=batch_sizes[::2],
              xticklabels=batch_sizes[::2])


def draw_test_loss(panel, results):
    """Training and test loss against batch size."""
    for regime, values, color, marker in regime_curves(results):
        draw_train_test(panel, values["batch_size"][0], values["train_loss"], values["test_loss"],
                        color, REGIME_LABELS[regime], marker)
    panel.set(ylabel="cross-entropy (nats)")
    finish_panel(panel, results, "test_loss", "test loss", ".2f")


def draw_test_accuracy(panel, results):
    """Training and test accuracy against batch size."""
    for _, values, color, marker in regime_curves(results):
        draw_train_test(panel, values["batch_size"][0], 100 * values["train_accuracy"],
                        100 * values["test_accuracy"], color, None, marker)
    panel.set(ylabel="accuracy (%)")
    finish_panel(panel, results, "test_accuracy", "test accuracy", ".1f", unit=100)


def draw_sensitivity(panel, results):
    """The norm of the loss's gradient by the input against batch size."""
    for _, values, color, marker in regime_curves(results):
        draw_runs(panel, values["batch_size"][0], values["sensitivity"], color, marker=marker)
    panel.set(ylabel="mean ‖∂ℓ/∂x‖ (nats per unit of x)")
    finish_panel(panel, results, "sensitivity", "sensitivity", ".2f")


def draw_sharpness(panel, results):
    """The ε-sharpness against batch size."""
    for _, values, color, marker in regime_curves(results):
        draw_runs(panel, values["batch_size"][0], values["sharpness"], color, marker=marker)
    panel.set(ylabel="ε-sharpness (%)", yscale="log")
    finish_panel(panel, results, "sharpness", "ε-sharpness", ".1f")


def draw_correlations(panel, results, target):
    """The rank correlations of all measures with the target and their 95 % intervals."""
    for offset, regime, color, marker in zip((-0.15, 0.15), REGIMES, COLORS, MARKERS):
        rows = [row for row in results["correlations"]
                if (row["regime"], row["target"]) == (regime, target)]
        draw_ranges(panel, rows, np.arange(len(rows)) + offset, ("rho", "rho_low", "rho_high"),
                    color, marker)
    panel.axvline(0, color=GREY, linewidth=1)
    panel.invert_yaxis()  # the first measure on top
    at_equal_loss = [row for row in results["correlations"]
                     if (row["regime"], row["target"]) == ("equal_loss", target)]
    closest = max(at_equal_loss, key=lambda row: abs(row["rho"] or 0))
    panel.set(title=f"At equal loss closest: {MEASURE_LABELS[closest['measure']]}, "
                    f"{format_number(closest['rho'], '.2f')}",
              xlim=(-1.05, 1.05), xticks=(-1, -0.5, 0, 0.5, 1), yticks=range(len(at_equal_loss)),
              yticklabels=[MEASURE_LABELS[row["measure"]] for row in at_equal_loss],
              xlabel=f"rank correlation with the {target.replace('_', ' ')}")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
