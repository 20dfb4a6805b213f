"""Flatness and generalization, part 2: do sensitivity or sharpness tell the best batch size?

Networks are trained with batch sizes from 16 to the whole training set, all from the same
initializations, and measured at two moments of the same training: after an equal number of epochs,
and at an equal training loss. Large batches take far fewer steps in an epoch, so the first
comparison mixes under-training with whatever the batch size does by itself; the second does not.

    python hw1_3_sensitivity.py              # the report's figure
    python hw1_3_sensitivity.py --quick      # a tour in seconds
"""

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import first_images, load_dataset
from common.derivatives import epsilon_sharpness, input_sensitivity, largest_eigenvalue, loss_at
from common.evaluation import evaluate, evaluate_sets
from common.models import mlp
from common.parameters import parameter_vectors, unflatten
from common.pieces import Piece, groups_of_runs, join_runs, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    draw_ranges,
    draw_runs,
    draw_train_test,
    find_row,
    format_number,
    legend_below,
    new_figure,
)
from common.statistics import mean_columns, spearman_clusters_ci95
from common.training import (
    count_steps,
    cross_entropy,
    expand_to_runs,
    run_generators,
    train,
)

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
# So many runs share a stack; with batches above this size they would gain nothing from it.
RUNS_TOGETHER, LARGEST_SHARED_BATCH = 5, 64
# A step costs a network about as much as its images and this many more.
SMALLEST_STEP_COST = 64
EPSILON = 1e-3  # size of the box of the ε-sharpness, as in Keskar et al. 2017
REGIMES = ("equal_epochs", "equal_loss")  # the two comparisons
# What might predict generalization, and what it might predict.
MEASURES = ("batch_size", "sensitivity", "jacobian", "sharpness", "largest_eigenvalue")
TARGETS = ("gap", "accuracy_gap", "test_loss")


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
def build_model(run_numbers, settings):
    """A stack of networks, one for each run, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(WIDTHS, generators).to(settings.device)


# --- training ---


class Snapshots:
    """The parameters of every run when it first met a condition.

    vectors (R, P) holds them; of a run that has not met the condition it holds the initial
    parameters. epochs (R,) holds the epochs at which the runs met it, −1 where one has not.
    """

    def __init__(self, model):
        self.vectors = parameter_vectors(model)
        runs, device = len(self.vectors), self.vectors.device
        self.epochs = torch.full((runs,), -1, device=device)

    def take(self, model, epoch, condition):
        """Keeps the parameters of runs that meet the condition (R,) for the first time."""
        first_time = condition & (self.epochs < 0)
        self.vectors[first_time] = parameter_vectors(model)[first_time]
        self.epochs[first_time] = epoch

    def count(self):
        """The number of runs that have met the condition."""
        return int((self.epochs >= 0).sum())

    def complete(self):
        """Whether all runs have met the condition."""
        return self.count() == len(self.epochs)


def train_model(data, batch_size, run_numbers, settings):
    """Trains some runs of one batch size; returns the model and {regime: Snapshots}."""
    model = build_model(run_numbers, settings)
    images, labels = first_images(data, settings.train_size)
    labels_of_runs = expand_to_runs(labels, model)  # (R, N); images are shared by all runs
    snapshots = {regime: Snapshots(model) for regime in REGIMES}

    def record(epoch):  # train calls it before training and after every epoch
        train_loss, _ = evaluate(model, images, labels)  # (R,)
        all_runs = torch.ones_like(train_loss, dtype=torch.bool)
        if epoch >= settings.epochs:
            snapshots["equal_epochs"].take(model, epoch, all_runs)
        snapshots["equal_loss"].take(model, epoch, train_loss <= settings.target_loss)
        return all(taken.complete() for taken in snapshots.values())  # True ends the training

    train(model, images, labels_of_runs, cross_entropy,
          epochs=max(settings.max_epochs, settings.epochs),  # long enough for both comparisons
          learning_rate=settings.lr, batch_size=batch_size,
          order_generators=run_generators(settings.seed, run_numbers, "order"),
          cosine=False,  # a schedule would make the equal loss depend on max_epochs
          record=record)
    return model, snapshots


# --- measuring ---


def measure_networks(data, model, vectors, settings):
    """Every quantity of networks (R, P): {name: (R,)}."""
    images, labels = first_images(data, settings.train_size)
    parameters = unflatten(vectors, model)
    sets = {"train": (images, labels), "test": (data.test_images, data.test_labels)}
    values = evaluate_sets(model, sets, parameters)
    values["gap"] = values["test_loss"] - values["train_loss"]
    values["accuracy_gap"] = values["train_accuracy"] - values["test_accuracy"]
    # With labels, input_sensitivity takes the norm of the gradient of the loss by the input;
    # without, that of the Jacobian of the class probabilities.
    values["sensitivity"] = input_sensitivity(model, parameters, data.test_images, data.test_labels)
    values["jacobian"] = input_sensitivity(model, parameters, data.test_images)
    sharpness_images = images[: settings.sharpness_images].double()
    sharpness_labels = labels[: settings.sharpness_images]
    # A function of the parameters, in float64 because curvature is a small difference of large
    # sums.
    loss_function = loss_at(model, sharpness_images, sharpness_labels, cross_entropy)
    values["sharpness"] = epsilon_sharpness(loss_function, vectors.double(), EPSILON)
    values["largest_eigenvalue"] = largest_eigenvalue(loss_function, vectors.double())
    return to_arrays(values)


def train_and_measure(data, batch_size, run_numbers, settings):
    """Trains some runs of one batch size and measures their Snapshots.

    Returns {regime: {"epochs": (R,), quantity: (R,)}}. The quantities of a regime are missing where
    one of the runs has not met its condition.
    """
    model, snapshots = train_model(data, batch_size, run_numbers, settings)
    measured = {}
    for regime, taken in snapshots.items():
        values = {"epochs": taken.epochs.cpu().numpy()}
        if taken.complete():
            values |= measure_networks(data, model, taken.vectors, settings)
        measured[regime] = values
    return measured


def measure_all(batch_sizes, data, settings):
    """train_and_measure all runs, cut into pieces of work: {batch size: what it returns}."""
    pieces = {}
    longest = max(settings.max_epochs, settings.epochs)
    for batch_size in batch_sizes:
        runs_together = RUNS_TOGETHER if batch_size <= LARGEST_SHARED_BATCH else 1
        for runs in groups_of_runs(range(settings.runs), runs_together):
            # An estimate: the larger the batches, the more epochs until the target loss is reached.
            epochs = min(settings.epochs + batch_size // 32, longest)
            steps = count_steps(settings.train_size, epochs, batch_size)
            step_cost = len(runs) * (SMALLEST_STEP_COST + batch_size)
            pieces[batch_size, runs[0]] = Piece(f"batch size {batch_size}, runs {runs}",
                                                train_and_measure, (batch_size, runs, settings),
                                                steps, step_cost, data)
    measured = run_pieces(pieces, settings)
    groups = {}  # of each batch size
    for (batch_size, _), result in measured.items():
        groups.setdefault(batch_size, []).append(result)
    return {batch_size: join_regimes(groups_of_size)
            for batch_size, groups_of_size in groups.items()}


def join_regimes(groups):
    """The results of train_and_measure of all groups of runs of one batch size as one.

    The quantities of a regime are missing where a run has not met its condition: averaging the
    others would favour the easy runs.
    """
    joined = {}
    for regime in REGIMES:
        epochs = np.concatenate([group[regime]["epochs"] for group in groups])
        joined[regime] = {"epochs": epochs}
        if (epochs >= 0).all():
            joined[regime] = join_runs([group[regime] for group in groups])
    return joined


# --- summing up ---

# The columns of mean_columns that the table keeps; *_ci95 is the half width of an interval.
MEAN_COLUMNS = ("updates", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "gap",
                "accuracy_gap", "sensitivity", "sensitivity_ci95", "jacobian", "sharpness",
                "largest_eigenvalue")


def complete_values(values, batch_size, settings):
    """The quantities of all runs of one batch size in one regime, with batch size and updates.

    None where a run has not met the condition.
    """
    if "test_loss" not in values:
        return None
    updates = [count_steps(settings.train_size, epochs, batch_size) for epochs in values["epochs"]]
    quantities = {name: by_run for name, by_run in values.items() if name != "epochs"}
    return quantities | {"batch_size": np.full(settings.runs, batch_size),
                         "updates": np.array(updates)}


def summarize_values(regime, batch_size, values, quantities):
    """A row of the table: means over the runs of quantities {name: (R,)}, or None."""
    row = {
        "regime": regime,
        "batch_size": batch_size,
        "runs": len(values["epochs"]),
        "reached": (values["epochs"] >= 0).sum(),
    }
    means = {} if quantities is None else mean_columns(quantities)
    for column in MEAN_COLUMNS:
        row[column] = means.get(column)
    return row


def summarize_correlations(curves):
    """Rows: the rank correlation of every measure with every target in both regimes.

    curves are {regime: {quantity: (batch sizes, runs)}}, a regime being empty where no batch size
    reached it. The runs of one batch size resemble each other: the interval takes each batch size
    as one unit.
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
    # Batch sizes beyond the training set become the whole set, once.
    batch_sizes = sorted({min(size, settings.train_size) for size in BATCH_SIZES})
    measured = measure_all(batch_sizes, data, settings)
    rows = {regime: [] for regime in REGIMES}
    curves = {regime: {} for regime in REGIMES}
    for batch_size, values_by_regime in measured.items():
        for regime, values in values_by_regime.items():
            quantities = complete_values(values, batch_size, settings)
            rows[regime].append(summarize_values(regime, batch_size, values, quantities))
            if quantities is not None:
                for name, by_run in quantities.items():
                    curves[regime].setdefault(name, []).append(by_run)  # (batch sizes, runs)
    return {
        "constants": {"BATCH_SIZES": BATCH_SIZES, "EPSILON": EPSILON},
        "table": rows["equal_epochs"] + rows["equal_loss"],
        "correlations": summarize_correlations(curves),
        "curves": curves,
    }


# --- drawing ---

REGIME_LABELS = {"equal_epochs": "equal epochs", "equal_loss": "equal loss"}
REGIME_LOOKS = {"equal_epochs": (COLORS[0], MARKERS[0]), "equal_loss": (COLORS[1], MARKERS[1])}
MEASURE_LABELS = {"batch_size": "batch size", "sensitivity": "sensitivity", "jacobian": "Jacobian",
                  "sharpness": "ε-sharpness", "largest_eigenvalue": "eigenvalue"}


def plot(results):
    """Test loss, accuracy, sensitivity and sharpness against batch size; then correlations."""
    figure, panels = new_figure(figure_title(results), results, 3, 2, height=2.7)
    draw_test_loss(panels[0, 0], results)
    draw_test_accuracy(panels[0, 1], results)
    draw_sensitivity(panels[1, 0], results)
    draw_sharpness(panels[1, 1], results)
    draw_correlations(panels[2, 0], results, "test_loss")
    draw_correlations(panels[2, 1], results, "accuracy_gap")
    legend_below(figure, panels[0, 0], train_test=True)
    return figure


def figure_title(results):
    """How sensitivity and sharpness go with the test loss at equal training loss, in words."""
    correlations = []
    for measure in ("sensitivity", "sharpness"):
        row = find_row(results["correlations"], regime="equal_loss", target="test_loss",
                       measure=measure)
        correlations.append(f"{MEASURE_LABELS[measure]} {format_number(row['rho'], '.2f')}")
    return f"Rank correlation with the test loss at equal training loss: {', '.join(correlations)}"


def curves_by_regime(results):
    """{regime: {quantity: (runs, batch sizes)}} of the regimes that any batch size reached."""
    curves = {}
    for regime, values in results["curves"].items():
        if values:
            curves[regime] = {name: np.transpose(value) for name, value in values.items()}
    return curves


def label_panel(panel, results, name, medians, form):
    """The axis of batch sizes, and a title with the range of the medians in each regime.

    medians are {regime: (batch sizes,)}; form is the Python format of the numbers.
    """
    ranges = []
    for regime, values in medians.items():
        prefix = "" if regime == "equal_epochs" else "at equal loss "
        ranges.append(f"{prefix}{values.min():{form}} to {values.max():{form}}")
    batch_sizes = [row["batch_size"] for row in results["table"] if row["regime"] == "equal_epochs"]
    every_second = batch_sizes[::2]
    panel.set_xscale("log", base=2)
    panel.set(title=f"{name}: {', '.join(ranges)}", xlabel="batch size", xticks=every_second,
              xticklabels=every_second)


def draw_test_loss(panel, results):
    """Training and test loss against batch size."""
    medians = {}
    for regime, values in curves_by_regime(results).items():
        color, marker = REGIME_LOOKS[regime]
        draw_train_test(panel, values["batch_size"][0], values["train_loss"], values["test_loss"],
                        color, REGIME_LABELS[regime], marker)
        medians[regime] = np.median(values["test_loss"], axis=0)
    panel.set(ylabel="cross-entropy (nats)")
    label_panel(panel, results, "test loss", medians, ".2f")


def draw_test_accuracy(panel, results):
    """Training and test accuracy against batch size."""
    medians = {}
    for regime, values in curves_by_regime(results).items():
        color, marker = REGIME_LOOKS[regime]
        train_accuracies = 100 * values["train_accuracy"]
        test_accuracies = 100 * values["test_accuracy"]
        draw_train_test(panel, values["batch_size"][0], train_accuracies, test_accuracies, color,
                        None, marker)
        medians[regime] = np.median(test_accuracies, axis=0)
    panel.set(ylabel="accuracy (%)")
    label_panel(panel, results, "test accuracy", medians, ".1f")


def draw_sensitivity(panel, results):
    """The norm of the loss's gradient by the input against batch size."""
    medians = draw_measure(panel, results, "sensitivity")
    panel.set(ylabel="mean ‖∂ℓ/∂x‖ (nats per unit of x)")
    label_panel(panel, results, "sensitivity", medians, ".2f")


def draw_sharpness(panel, results):
    """The ε-sharpness against batch size."""
    medians = draw_measure(panel, results, "sharpness")
    panel.set(ylabel="ε-sharpness (%)", yscale="log")
    label_panel(panel, results, "ε-sharpness", medians, ".1f")


def draw_measure(panel, results, measure):
    """A measure against batch size in each regime; returns its medians over the runs."""
    medians = {}
    for regime, values in curves_by_regime(results).items():
        color, marker = REGIME_LOOKS[regime]
        draw_runs(panel, values["batch_size"][0], values[measure], color, marker=marker)
        medians[regime] = np.median(values[measure], axis=0)
    return medians


def draw_correlations(panel, results, target):
    """The rank correlations of all measures with the target and their 95 % intervals."""
    rows_of_regime = {}
    for regime in REGIME_LABELS:
        rows_of_regime[regime] = [row for row in results["correlations"]
                                  if row["regime"] == regime and row["target"] == target]
    for regime, shift in {"equal_epochs": -0.15, "equal_loss": 0.15}.items():  # side by side
        rows = rows_of_regime[regime]
        color, marker = REGIME_LOOKS[regime]
        draw_ranges(panel, rows, np.arange(len(rows)) + shift, ("rho", "rho_low", "rho_high"),
                    color, marker)
    rows = rows_of_regime["equal_loss"]
    strongest = max(rows, key=lambda row: abs(row["rho"] or 0))  # None where nothing was reached
    panel.axvline(0, color=GREY, linewidth=1)
    panel.invert_yaxis()  # the first measure on top
    panel.set(title=f"Strongest at equal loss: {MEASURE_LABELS[strongest['measure']]}, "
                    f"{format_number(strongest['rho'], '.2f')}",
              xlim=(-1.05, 1.05), xticks=(-1, -0.5, 0, 0.5, 1), yticks=range(len(rows)),
              yticklabels=[MEASURE_LABELS[row["measure"]] for row in rows],
              xlabel=f"rank correlation with the {target.replace('_', ' ')}")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
