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
from common.pieces import Piece, groups_of_runs, join_groups, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    TEST,
    TRAIN,
    draw_each_run,
    draw_ranges,
    find_row,
    legend_below,
    new_mosaic,
)
from common.statistics import (
    correlation_columns,
    correlation_within_groups,
    mean_ci95,
    mean_columns,
    partial_spearman,
    spearman,
    z_within_groups,
)
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
# The loss of the whole training set is measured after so many steps. Where it has fallen below the
# target, the step is sought among those in between, and then the place between two steps, until the
# loss differs from the target by less than a fraction LOSS_TOLERANCE.
CHECK_EVERY = 64
LOSS_TOLERANCE = 0.005
REGIMES = ("equal_epochs", "equal_loss")  # the two comparisons
# What might predict generalization, and what it might predict.
MEASURES = ("batch_size", "sensitivity", "jacobian", "sharpness", "largest_eigenvalue")
TARGETS = ("test_loss", "test_accuracy", "gap", "accuracy_gap")


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
def build_model(run_numbers, settings):
    """A stack of networks, one for each run, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(WIDTHS, generators).to(settings.device)


# --- training ---


def find_target_loss(path, loss_function, target_loss):
    """Where the training loss reaches the target on the path of one run: parameters (P,), steps.

    path (steps + 1, P) holds the parameters before and after each step. loss_function, (1, P) ->
    (1,), is above the target at its beginning, unless the path is a single point, and not above it
    at its end. The result may lie between two steps, on the straight line between their parameters.
    """
    above, below = 0, len(path) - 1  # steps at which the loss is above and below the target
    while below - above > 1:
        middle = (above + below) // 2
        if loss_function(path[middle : middle + 1]) > target_loss:
            above = middle
        else:
            below = middle

    start, step = path[above], path[below] - path[above]
    low, high = 0.0, 1.0  # the same for fractions of the last step
    while True:
        reached = start + high * step
        loss = loss_function(reached.unsqueeze(0))
        if loss >= (1 - LOSS_TOLERANCE) * target_loss or high - low < 1e-6:
            return reached, above + high * (below - above)
        middle = (low + high) / 2
        # The loss is continuous: it is the target somewhere between low and high.
        while loss_function((start + middle * step).unsqueeze(0)) > target_loss:
            low, middle = middle, (middle + high) / 2
        high = middle


def train_model(data, batch_size, run_numbers, settings):
    """Trains some runs of one batch size until both comparisons can be made.

    Returns the model and {regime: (vectors, steps)}: the parameters (R, P) of every run where it
    met the condition of the regime, and the training steps until then (R,), NaN for a run that has
    not met it.
    """
    model = build_model(run_numbers, settings)
    images, labels = first_images(data, settings.train_size)
    labels_of_runs = expand_to_runs(labels, model)  # (R, N); images are shared by all runs
    steps_of_epoch = count_steps(settings.train_size, 1, batch_size)
    last_epoch = max(settings.max_epochs, settings.epochs)  # long enough for both comparisons
    runs = len(run_numbers)
    vectors = {regime: parameter_vectors(model) for regime in REGIMES}
    steps = {regime: np.full(runs, np.nan) for regime in REGIMES}
    recent = []  # the parameters (R, P) after each step since the last check, and at that check

    def training_loss(points):  # (n, P) -> (n,), over the whole training set
        losses, _ = evaluate(model, images, labels, unflatten(points, model))
        return losses

    def seek_target_loss(step):
        losses = training_loss(recent[-1])
        for run in range(runs):
            if losses[run] <= settings.target_loss and np.isnan(steps["equal_loss"][run]):
                path = torch.stack([points[run] for points in recent])
                reached, steps_on_path = find_target_loss(path, training_loss,
                                                          settings.target_loss)
                vectors["equal_loss"][run] = reached
                steps["equal_loss"][run] = step - (len(path) - 1) + steps_on_path

    def watch(step):  # train calls it before every step
        if np.isnan(steps["equal_loss"]).any():
            recent.append(parameter_vectors(model))
            if step % CHECK_EVERY == 0:
                seek_target_loss(step)
                del recent[:-1]

    def record(epoch):  # train calls it before training and after every epoch
        if epoch == settings.epochs:
            vectors["equal_epochs"] = parameter_vectors(model)
            steps["equal_epochs"][:] = epoch * steps_of_epoch
        if epoch == last_epoch and np.isnan(steps["equal_loss"]).any():
            recent.append(parameter_vectors(model))
            seek_target_loss(epoch * steps_of_epoch)
        return not any(np.isnan(values).any() for values in steps.values())  # True ends it

    train(model, images, labels_of_runs, cross_entropy, epochs=last_epoch,
          learning_rate=settings.lr, batch_size=batch_size,
          order_generators=run_generators(settings.seed, run_numbers, "order"),
          cosine=False,  # a schedule would make the equal loss depend on max_epochs
          record=record, probe=watch, probe_steps=range(last_epoch * steps_of_epoch))
    return model, {regime: (vectors[regime], steps[regime]) for regime in REGIMES}


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
    """Trains some runs of one batch size and measures them in both regimes.

    Returns {"regime quantity": (R,)}. All are NaN for a run that has not met the condition of the
    regime.
    """
    model, networks = train_model(data, batch_size, run_numbers, settings)
    measured = {}
    for regime, (vectors, steps) in networks.items():
        values = measure_networks(data, model, vectors, settings)
        values |= {"updates": steps, "batch_size": np.full(len(steps), float(batch_size))}
        for name, by_run in values.items():
            measured[f"{regime} {name}"] = np.where(np.isnan(steps), np.nan, by_run)
    return measured


def measure_all(batch_sizes, data, settings):
    """train_and_measure all runs, cut into pieces of work.

    Returns {regime: {quantity: (batch sizes, runs)}}.
    """
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
    measured = join_groups(run_pieces(pieces, settings))  # {batch size: {"regime quantity": (R,)}}
    curves = {regime: {} for regime in REGIMES}
    for values in measured.values():
        for name, by_run in values.items():
            regime, quantity = name.split()
            curves[regime].setdefault(quantity, []).append(by_run)
    for regime in REGIMES:
        curves[regime] = {name: np.stack(by_size) for name, by_size in curves[regime].items()}
    return curves


def drop_unfinished(curves):
    """Only the batch sizes of which every run has met the condition of the regime.

    Averaging over the others would favour the easy runs. curves are {regime: {quantity: (batch
    sizes, runs)}}.
    """
    complete_curves = {}
    for regime, values in curves.items():
        complete = ~np.isnan(values["updates"]).any(1)  # (batch sizes,)
        complete_curves[regime] = {name: by_size[complete] for name, by_size in values.items()}
    return complete_curves


# --- summing up: curves are {regime: {quantity: (batch sizes, runs)}} ---

# The columns of mean_columns that the table keeps; *_ci95 is the half width of an interval.
MEAN_COLUMNS = ("updates", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "gap",
                "accuracy_gap", "sensitivity", "sensitivity_ci95", "jacobian", "sharpness",
                "largest_eigenvalue")


def summarize_batch_sizes(batch_sizes, curves):
    """Rows: means over the runs of every batch size in both regimes.

    They are None where a run has not met the condition. "reached" counts the runs that have.
    """
    rows = []
    for regime in REGIMES:
        for place, batch_size in enumerate(batch_sizes):
            values = {name: by_size[place] for name, by_size in curves[regime].items()}
            reached = ~np.isnan(values["updates"])
            row = {
                "regime": regime,
                "batch_size": batch_size,
                "runs": len(reached),
                "reached": reached.sum(),
            }
            means = mean_columns(values) if reached.all() else {}
            for column in MEAN_COLUMNS:
                row[column] = means.get(column)
            rows.append(row)
    return rows


def summarize_correlations(curves):
    """Rows: how every measure goes with every target over the batch sizes, in both regimes.

    curves have the complete batch sizes only. The batch sizes are fixed; what could have come out
    otherwise are the runs, which are the unit of all intervals.

    - "correlation": the rank correlation over the batch sizes, in each run by itself.
    - "partial": the same at equal batch size, by the formula for partial correlations.
    - "within": the correlation among the runs of one batch size, all batch sizes together.
    """
    rows = []
    for regime in REGIMES:
        values = {name: by_size.T for name, by_size in curves[regime].items()}  # (runs, sizes)
        sizes = values["batch_size"].shape[1]
        for target in TARGETS:
            for measure in MEASURES:
                row = {"regime": regime, "target": target, "measure": measure, "batch_sizes": sizes}
                rows.append(row | correlate(values, measure, target))
    return rows


def correlate(values, measure, target):
    """The columns of summarize_correlations; values are {quantity: (runs, batch sizes)}."""
    x, y, batch_size = values[measure], values[target], values["batch_size"]
    sizes = x.shape[1]
    if sizes < 2:
        x = y = batch_size = np.ones_like(x[:, :1], shape=(len(x), 2))  # nothing to correlate
    correlations, partial_correlations = [], []
    for run in range(len(x)):
        correlations.append(spearman(x[run], y[run]))
        partial_correlations.append(partial_spearman(x[run], y[run], batch_size[run]))
    within, within_low, within_high = correlation_within_groups(x, y)
    return {
        **correlation_columns("correlation", correlations, sizes),
        **correlation_columns("partial", partial_correlations, sizes),
        "within": within,
        "within_low": within_low,
        "within_high": within_high,
    }


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size)
    # Batch sizes beyond the training set become the whole set, once.
    batch_sizes = sorted({min(size, settings.train_size) for size in BATCH_SIZES})
    all_curves = measure_all(batch_sizes, data, settings)
    curves = drop_unfinished(all_curves)
    return {
        "constants": {"BATCH_SIZES": BATCH_SIZES, "EPSILON": EPSILON,
                      "LOSS_TOLERANCE": LOSS_TOLERANCE, "CHECK_EVERY": CHECK_EVERY},
        "table": summarize_batch_sizes(batch_sizes, all_curves),
        "correlations": summarize_correlations(curves),
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say of the networks at equal training loss, and of their batch sizes.

    "at_equal_loss" has the correlations of each measure with test loss and test error, as in
    summarize_correlations: "across" batch sizes, the "partial" one, and "within" one batch size.
    "lead_of_sensitivity" says how far its correlation with the test loss within one batch size lies
    above that of the sharpness, as a difference of Fisher's z. Losses are in nats, means over runs.
    """
    values = results["curves"]["equal_loss"]
    train_losses = np.array(values["train_loss"]) / results["settings"]["target_loss"]
    after_equal_epochs = [row["train_loss"] for row in results["table"]
                          if row["regime"] == "equal_epochs"]
    facts = {
        "batch_sizes": len(train_losses),
        "largest_loss_deviation": abs(train_losses - 1).max() if len(train_losses) > 0 else None,
        "equal_epochs_train_loss": {"lowest": min(after_equal_epochs),
                                    "of_largest_batch": after_equal_epochs[-1]},
        "lead_of_sensitivity": lead_within(values, "sensitivity", "sharpness", "test_loss"),
        "at_equal_loss": {},
    }
    for measure in MEASURES:
        with_accuracy = correlations_as_facts(results, measure, "test_accuracy")
        facts["at_equal_loss"][measure] = {
            "test_loss": correlations_as_facts(results, measure, "test_loss"),
            "test_error": {name: opposite(interval) for name, interval in with_accuracy.items()},
        }
    return facts


def opposite(interval):
    """The interval of a correlation with the error, from that with the accuracy."""
    ends = {"value": interval["value"], "low": interval["high"], "high": interval["low"]}
    return {name: None if end is None else -end for name, end in ends.items()}


def correlations_as_facts(results, measure, target):
    """The correlations of a measure with a target at equal loss, each with its interval."""
    row = find_row(results["correlations"], regime="equal_loss", target=target, measure=measure)
    facts = {}
    for name, column in {"across": "correlation", "partial": "partial", "within": "within"}.items():
        facts[name] = {"value": row[column], "low": row[f"{column}_low"],
                       "high": row[f"{column}_high"]}
    return facts


def lead_within(values, first, second, target):
    """How far the correlation within one batch size of one measure lies above that of another.

    values are {quantity: (batch sizes, runs)}. The unit is the run: the interval is the jackknife's
    of the difference of Fisher's z, as in correlation_within_groups. None where there is none.
    """
    x, y, of_target = (np.array(values[name]).T for name in (first, second, target))
    runs = len(of_target)
    if runs < 4:
        return {"value": None, "ci95": None}
    lead = z_within_groups(x, of_target) - z_within_groups(y, of_target)
    if np.isnan(lead):
        return {"value": None, "ci95": None}
    pseudo_values = []
    for run in range(runs):
        x_others, y_others, target_others = (np.delete(of_runs, run, 0)
                                             for of_runs in (x, y, of_target))
        without_run = (z_within_groups(x_others, target_others)
                       - z_within_groups(y_others, target_others))
        pseudo_values.append(runs * lead - (runs - 1) * without_run)
    _, interval_half = mean_ci95(pseudo_values)
    return {"value": lead, "ci95": interval_half}


# --- drawing ---

REGIME_LABELS = {"equal_epochs": "equal epochs", "equal_loss": "equal training loss"}
REGIME_LOOKS = {"equal_epochs": (COLORS[0], MARKERS[0]), "equal_loss": (COLORS[1], MARKERS[1])}
# Batch size is missing: it does not vary among runs of one batch size.
MEASURE_LABELS = {"sensitivity": "sensitivity", "jacobian": "Jacobian",
                  "sharpness": "ε-sharpness", "largest_eigenvalue": "eigenvalue"}
# Accuracy is drawn as error, so that a link with it has the sign of one with the loss.
TARGET_LOOKS = {"test_loss": ("with test loss", COLORS[2], MARKERS[2], -0.12),
                "test_error": ("with test error", COLORS[3], MARKERS[3], 0.12)}


def plot(results):
    """Correlations and all runs at equal loss; below, both comparisons by batch size."""
    layout = [["correlations", "correlations", "scatter"], ["loss", "accuracy", "sensitivity"]]
    figure, panels = new_mosaic(figure_title(results["facts"]), results, layout, height=5.9,
                                height_ratios=(1.2, 1))
    draw_correlations(panels["correlations"], results)
    draw_scatter(panels["scatter"], results)
    draw_by_batch_size(panels["loss"], results, "loss", "train_loss", "test_loss")
    draw_by_batch_size(panels["accuracy"], results, "accuracy", "train_accuracy", "test_accuracy",
                       factor=100)
    draw_by_batch_size(panels["sensitivity"], results, "sensitivity", None, "sensitivity")
    panels["loss"].set(ylabel="cross-entropy (nats)")
    panels["accuracy"].set(ylabel="accuracy (%)")
    panels["sensitivity"].set(ylabel="mean ‖∂ℓ/∂x‖ (nats per unit)")
    legend_below(figure, panels["correlations"], panels["loss"], columns=6, train_test=True)
    return figure


def figure_title(facts):
    """Which measures go with the test loss among runs of one batch size, in words."""
    linked = clear_measures(facts)
    if "sensitivity" in linked:
        return "Sensitivity follows test loss and error even among runs of one batch size"
    return "Sensitivity is not shown to follow test loss and error among runs of one batch size"


def clear_measures(facts):
    """The measures whose correlation within one batch size is clear for both targets."""
    linked = []
    for measure in MEASURE_LABELS:
        targets = facts["at_equal_loss"][measure]
        if all(excludes_zero(targets[target]["within"]) for target in TARGET_LOOKS):
            linked.append(measure)
    return linked


def excludes_zero(correlation):
    """Whether the interval of a correlation leaves out zero; not where there is none."""
    if correlation["low"] is None:
        return False
    return correlation["low"] > 0 or correlation["high"] < 0


def draw_correlations(panel, results):
    """The correlation of every measure with loss and error among runs of one batch size."""
    for target, (label, color, marker, shift) in TARGET_LOOKS.items():
        rows = []
        for measure in MEASURE_LABELS:
            rows.append(results["facts"]["at_equal_loss"][measure][target]["within"])
        draw_ranges(panel, rows, np.arange(len(rows)) + shift, ("value", "low", "high"), color,
                    marker, label)
    panel.axvline(0, color=GREY, linewidth=1)
    panel.invert_yaxis()  # the first measure on top
    linked = [MEASURE_LABELS[measure] for measure in clear_measures(results["facts"])]
    panel.set(title=f"Among runs of one batch size, clear with both: {', '.join(linked) or 'none'}",
              yticks=range(len(MEASURE_LABELS)), yticklabels=MEASURE_LABELS.values(),
              xlabel="correlation at equal training loss, 95 % interval")


def draw_scatter(panel, results):
    """Sensitivity against test loss of every run at equal training loss; the colour is the batch.
    """
    values = results["curves"]["equal_loss"]
    dots = panel.scatter(values["sensitivity"], values["test_loss"], s=16,
                         c=np.log2(np.array(values["batch_size"], dtype=float)), cmap="viridis_r")
    colour_bar = panel.figure.colorbar(dots, ax=panel, label="batch size")
    batch_sizes = sorted({sizes[0] for sizes in values["batch_size"]})[::3]
    colour_bar.set_ticks(np.log2(batch_sizes), labels=[f"{size:,.0f}" for size in batch_sizes])
    panel.set(title=f"A dot is a run at training loss {results['settings']['target_loss']:g}",
              xlabel="sensitivity", ylabel="test loss (nats)")


def draw_by_batch_size(panel, results, name, train_measure, test_measure, factor=1):
    """A quantity of every run, times a factor, against batch size in both comparisons.

    Training is dashed, test solid.
    """
    for regime, values in results["curves"].items():
        batch_sizes = [sizes[0] for sizes in values["batch_size"]]
        if not batch_sizes:
            continue  # no batch size met the condition
        color, marker = REGIME_LOOKS[regime]
        if train_measure is not None:
            draw_each_run(panel, batch_sizes, factor * np.transpose(values[train_measure]), color,
                          TRAIN, None, marker)
        draw_each_run(panel, batch_sizes, factor * np.transpose(values[test_measure]), color, TEST,
                      REGIME_LABELS[regime], marker)
    every_third = [row["batch_size"] for row in results["table"]
                   if row["regime"] == "equal_epochs"][::3]
    panel.set_xscale("log", base=2)
    panel.set(title=f"{name.capitalize()} by batch size", xlabel="batch size")
    panel.set_xticks(every_third, [f"{size:,}" for size in every_third])


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts, uses_images=True)
