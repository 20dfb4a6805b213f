"""Flatness and generalization, part 2: do sensitivity or sharpness tell the best batch size?

Networks are trained with batch sizes from 16 to the whole training set, all from the same
initializations, and measured at two moments of the same training: after an equal number of epochs,
and at an equal training loss. Large batches take far fewer steps in an epoch, so the first
comparison mixes under-training with whatever the batch size does by itself; the second does not.
There every measure is compared with the test error and with the test loss, as it is and after all
outputs were divided by one number, the temperature, which takes over-confidence away. One of the
measures, sensitivity, uses the test labels; the Jacobian and three measures of sharpness do not.

    python hw1_3_sensitivity.py              # the report's figure
    python hw1_3_sensitivity.py --quick      # a tour in seconds
"""

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import first_images, load_dataset
from common.derivatives import (
    adaptive_sharpness,
    epsilon_sharpness,
    input_sensitivity,
    largest_eigenvalue,
    loss_at,
)
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
    as_interval,
    correlation_columns,
    correlation_within_groups,
    fisher_z,
    holm,
    is_significant,
    mean_ci95,
    mean_columns,
    p_value_of_mean,
    spearman,
    tested_means,
)
from common.temperature import HELD_OUT, calibrate
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
    "runs": Flag(positive_integer, 8, quick=3, help="runs of each batch size"),
    "epochs": Flag(positive_integer, 20, quick=5,
                   help="epochs at which the first comparison is made"),
    "target_loss": Flag(positive_number, 0.05, quick=0.3,
                        help="training loss (nats) at which the second comparison is made"),
    "max_epochs": Flag(positive_integer, 400, quick=200,
                       help="epochs after which a run that has not reached the target loss is "
                       "given up"),
    "lr": Flag(positive_number, 2e-3, quick=2e-3,
               help="learning rate of Adam, constant and the same for every batch size"),
    # 4,096 = 2^12: every batch size divides it, so that no epoch ends in a smaller batch, which
    # would have a noise of its own.
    "train_size": Flag(positive_integer, 4_096, quick=1_024, at_most="dataset",
                       help="training images"),
    "sharpness_images": Flag(positive_integer, 1_024, quick=256, at_most="train_size",
                             help="training images, the first, on which sharpness is measured"),
}
# 16 … 4,096; those beyond the training set are the whole of it.
BATCH_SIZES = tuple(2**power for power in range(4, 13))
WIDTHS = [784, 64, 10]
# So many runs share a stack; with batches above this size they would gain nothing from it.
RUNS_TOGETHER, LARGEST_SHARED_BATCH = 5, 64
# A training step of R networks costs about R × (FIXED_COST + batch size), in the unit of an image.
# Only the progress line and the order of the work depend on it.
FIXED_COST = 64
# The loss of the whole training set is measured after so many steps. Where it has fallen below the
# target, the step is sought among those in between, and then the place between two steps, until the
# loss differs from the target by less than a fraction LOSS_TOLERANCE.
CHECK_EVERY = 64
LOSS_TOLERANCE = 0.005
# In a step Adam moves a weight by about the learning rate. Places that are nearer to each other
# than this fraction of a step are nearly the same in float32.
SMALLEST_FRACTION = 1e-6
REGIMES = ("equal_epochs", "equal_loss")  # the two comparisons
# What might predict generalization, and what it might predict, both at equal training loss.
MEASURES = ("batch_size", "sensitivity", "jacobian", "sharpness", "adaptive_sharpness",
            "largest_eigenvalue")
OUTCOMES = ("test_loss", "calibrated_test_loss", "test_error")
# Sensitivity is the norm of ∂loss/∂pixels. By the chain rule that contains the probabilities minus
# the label, so that it is large where a network is wrong: on test images it uses the answers that
# the test error is about. The other measures use no test labels.
MEASURE_GROUPS = {"with_test_labels": ("sensitivity",),
                  "without_test_labels": ("jacobian", "sharpness", "adaptive_sharpness",
                                          "largest_eigenvalue")}


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
    (1,), is above the target at its beginning and not above it at its end. A path of a single point
    is that of a run that starts below the target. The result may lie between two steps, on the
    straight line between their parameters.
    """
    if len(path) == 1:
        return path[0], 0

    # Two bisections, first among the steps and then within one of them. The loss at low is always
    # above the target, that at high never. For a target of 1:
    #
    #     step     0    1    2    3    4        low, high = 0, 4
    #     loss    2.3  1.8  1.4  0.8  0.6       2 is above the target: 2, 4; 3 is not: 2, 3
    #
    #     fraction of step 2 to 3    0    0.25   0.5   0.75    1        low, high = 0, 1
    #     loss                      1.4   1.25   1.1   0.95   0.8       0.5 is above: 0.5, 1; ...
    low_step, high_step = 0, len(path) - 1
    while high_step - low_step > 1:
        middle_step = (low_step + high_step) // 2
        if loss_function(path[middle_step].unsqueeze(0)) > target_loss:
            low_step = middle_step
        else:
            high_step = middle_step

    before, movement = path[low_step], path[high_step] - path[low_step]

    def loss_within_step(fraction):
        return loss_function((before + fraction * movement).unsqueeze(0))

    low, high = 0.0, 1.0
    loss_at_high = loss_within_step(high)
    lowest_accepted = (1 - LOSS_TOLERANCE) * target_loss
    while loss_at_high < lowest_accepted and high - low >= SMALLEST_FRACTION:
        middle = (low + high) / 2
        loss_at_middle = loss_within_step(middle)
        if loss_at_middle > target_loss:
            low = middle
        else:
            high, loss_at_high = middle, loss_at_middle
    return before + high * movement, low_step + high


def train_model(data, batch_size, run_numbers, settings):
    """Trains some runs of one batch size until both comparisons can be made.

    Returns the model and {regime: (vectors, steps)}: the parameters (R, P) of every run where it
    met the condition of the regime, and the training steps until then (R,). For a run that has not
    met it the steps are NaN, and the parameters mean nothing.
    """
    model = build_model(run_numbers, settings)
    images, labels = first_images(data, settings.train_size)
    labels_of_runs = expand_to_runs(labels, model)  # (R, N); images are shared by all runs
    steps_of_epoch = count_steps(settings.train_size, 1, batch_size)
    last_epoch = max(settings.max_epochs, settings.epochs)  # long enough for both comparisons
    runs = len(run_numbers)
    # Until a run meets the condition of a regime, these hold its initial parameters and NaN.
    vectors = {regime: parameter_vectors(model) for regime in REGIMES}
    steps = {regime: np.full(runs, np.nan) for regime in REGIMES}
    # The parameters (R, P) at the last check of the training loss and after each step since then.
    # Before each step they are appended. After CHECK_EVERY steps the loss is checked, the place of
    # the target loss is sought among them, and all but the last are dropped.
    recent = []

    def training_loss(points):  # (n, P) -> (n,), over the whole training set
        losses, _ = evaluate(model, images, labels, unflatten(points, model))
        return losses

    def seek_target_loss(step):
        losses = training_loss(recent[-1])
        first_step = step - (len(recent) - 1)  # the step of recent[0]
        for run in range(runs):
            if losses[run] <= settings.target_loss and np.isnan(steps["equal_loss"][run]):
                path = torch.stack([parameters[run] for parameters in recent])
                reached, steps_on_path = find_target_loss(path, training_loss,
                                                          settings.target_loss)
                vectors["equal_loss"][run] = reached
                steps["equal_loss"][run] = first_step + steps_on_path

    def before_step(step):
        if np.isnan(steps["equal_loss"]).any():
            recent.append(parameter_vectors(model))
            if step % CHECK_EVERY == 0:
                seek_target_loss(step)
                del recent[:-1]

    def after_epoch(epoch):  # train calls it before training as well, with epoch 0
        if epoch == settings.epochs:
            vectors["equal_epochs"] = parameter_vectors(model)
            steps["equal_epochs"][:] = epoch * steps_of_epoch
        if epoch == last_epoch and np.isnan(steps["equal_loss"]).any():
            recent.append(parameter_vectors(model))  # no call of before_step follows
            seek_target_loss(epoch * steps_of_epoch)
        is_finished = not any(np.isnan(values).any() for values in steps.values())
        return is_finished  # True ends the training

    train(model, images, labels_of_runs, cross_entropy, epochs=last_epoch,
          learning_rate=settings.lr, batch_size=batch_size,
          order_generators=run_generators(settings.seed, run_numbers, "order"),
          cosine=False,  # a schedule would make the equal loss depend on max_epochs
          record=after_epoch, probe=before_step, probe_steps=range(last_epoch * steps_of_epoch))
    return model, {regime: (vectors[regime], steps[regime]) for regime in REGIMES}


# --- measuring ---


def measure_networks(data, model, vectors, settings):
    """What is compared in both regimes, of networks (R, P): {name: (R,)}."""
    parameters = unflatten(vectors, model)
    sets = {
        "train": first_images(data, settings.train_size),
        "test": (data.test_images, data.test_labels),
    }
    values = evaluate_sets(model, sets, parameters)
    values["test_error"] = 1 - values["test_accuracy"]
    # With labels, input_sensitivity takes the norm of the gradient of the loss by the input.
    values["sensitivity"] = input_sensitivity(model, parameters, data.test_images, data.test_labels)
    return to_arrays(values)


def measure_at_equal_loss(data, model, vectors, settings):
    """The other measures and outcomes of networks (R, P): {name: (R,)}.

    The calibrated test loss is NaN where no training image is left to fit a temperature on.
    """
    parameters = unflatten(vectors, model)
    images, labels = first_images(data, settings.sharpness_images)
    # A function of the parameters, in float64 because curvature is a small difference of large
    # sums.
    loss_function = loss_at(model, images.double(), labels, cross_entropy)
    measured = {
        # Without labels the norm is that of the Jacobian of the class probabilities.
        "jacobian": input_sensitivity(model, parameters, data.test_images),
        "sharpness": epsilon_sharpness(loss_function, vectors.double()),
        "adaptive_sharpness": adaptive_sharpness(loss_function, vectors.double()),
        "largest_eigenvalue": largest_eigenvalue(loss_function, vectors.double()),
    }
    return to_arrays(measured | calibrate(model, data, settings.train_size, parameters))


def train_and_measure(data, batch_size, run_numbers, settings):
    """Trains some runs of one batch size and measures them in both regimes.

    Returns {(regime, quantity): (R,)}. All are NaN for a run that has not met the condition of the
    regime.
    """
    model, networks = train_model(data, batch_size, run_numbers, settings)
    measured = {}
    for regime, (vectors, steps) in networks.items():
        values = measure_networks(data, model, vectors, settings)
        if regime == "equal_loss":
            values |= measure_at_equal_loss(data, model, vectors, settings)
        values |= {"updates": steps, "batch_size": np.full(len(steps), float(batch_size))}
        for name, by_run in values.items():
            # A run without steps was measured at parameters that mean nothing, see train_model.
            measured[regime, name] = np.where(np.isnan(steps), np.nan, by_run)
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
            step_cost = len(runs) * (FIXED_COST + batch_size)
            pieces[batch_size, runs[0]] = Piece(
                f"batch size {batch_size}, runs {runs}", train_and_measure,
                (batch_size, runs, settings), steps=steps, step_cost=step_cost, data=data)
    # join_groups puts the groups of runs together and takes the run out of the keys:
    # {batch size: {(regime, quantity): (runs,)}}.
    measured = join_groups(run_pieces(pieces, settings))
    curves = {regime: {} for regime in REGIMES}
    for values in measured.values():
        for (regime, quantity), by_run in values.items():
            curves[regime].setdefault(quantity, []).append(by_run)
    for regime in REGIMES:
        curves[regime] = {name: np.stack(by_size) for name, by_size in curves[regime].items()}
    return curves


def drop_unfinished(curves):
    """Only the batch sizes of which every run has met the condition of the regime.

    Averaging over the others would favour the easy runs. curves are {regime: {quantity: (batch
    sizes, runs)}}. A quantity that could not be measured even there is left out.
    """
    complete_curves = {}
    for regime, values in curves.items():
        complete = ~np.isnan(values["updates"]).any(1)  # (batch sizes,)
        complete_curves[regime] = {}
        for name, by_size in values.items():
            if not np.isnan(by_size[complete]).any():
                complete_curves[regime][name] = by_size[complete]
    return complete_curves


# --- summing up: curves are {regime: {quantity: (batch sizes, runs)}} ---

# The columns of mean_columns that the table keeps; *_ci95 is the half width of an interval.
MEAN_COLUMNS = ("updates", "train_loss", "test_loss", "calibrated_test_loss", "temperature",
                "train_accuracy", "test_accuracy", "sensitivity", "sensitivity_ci95", "jacobian",
                "sharpness", "adaptive_sharpness", "largest_eigenvalue")


def summarize_batch_sizes(batch_sizes, curves):
    """Rows: means over the runs of every batch size in both regimes.

    They are None where a run has not met the condition, and for what the regime does not measure.
    "reached" counts the runs that have.
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
            known = {name: by_run for name, by_run in values.items() if not np.isnan(by_run).any()}
            means = mean_columns(known)
            for column in MEAN_COLUMNS:
                row[column] = means.get(column)
            rows.append(row)
    return rows


def summarize_correlations(curves):
    """Rows: how every measure goes with every outcome at equal training loss.

    curves have the complete batch sizes only. The batch sizes are fixed; what could have come out
    otherwise are the runs, which are the unit of all intervals.

    - "across": the rank correlation over the batch sizes, in each run by itself: does the measure
      bring the batch sizes into the right order? Its interval is widened for the number of
      correlations that are tested together, see tests_in_group.
    - "within": the correlation among the runs of one batch size, all batch sizes together: does it
      tell apart networks that differ in the seed alone?
    """
    values = {name: by_size.T for name, by_size in curves["equal_loss"].items()}
    rows = []
    for outcome in OUTCOMES:
        for measure in MEASURES:
            row = {"outcome": outcome, "measure": measure,
                   "batch_sizes": values["batch_size"].shape[1]}
            rows.append(row | correlate(values, measure, outcome))
    return rows


def tests_in_group(measure):
    """How many correlations the group of a measure has: that of each measure with each outcome.

    The batch size itself, which stands beside the measures for comparison, counts like those
    without test labels.
    """
    group = "with_test_labels" if measure == "sensitivity" else "without_test_labels"
    return len(MEASURE_GROUPS[group]) * len(OUTCOMES)


def correlate(values, measure, outcome):
    """The columns of summarize_correlations; values are {quantity: (runs, batch sizes)}.

    All are None where the outcome is not among the values, and for fewer than two batch sizes.
    """
    x, y = values[measure], values.get(outcome)
    sizes = x.shape[1]
    if y is None or sizes < 2:
        return dict.fromkeys(["across", "across_low", "across_high",
                              "within", "within_low", "within_high"])
    correlations = [spearman(x_of_run, y_of_run) for x_of_run, y_of_run in zip(x, y)]
    within, within_low, within_high = correlation_within_groups(x, y)
    return {
        **correlation_columns("across", correlations, sizes, tests_in_group(measure)),
        "within": within,
        "within_low": within_low,
        "within_high": within_high,
    }


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    # HELD_OUT images more than the training takes: on those the temperatures are fitted.
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size + HELD_OUT)
    # Batch sizes beyond the training set become the whole set, once.
    batch_sizes = sorted({min(size, settings.train_size) for size in BATCH_SIZES})
    all_curves = measure_all(batch_sizes, data, settings)
    curves = drop_unfinished(all_curves)
    return {
        "constants": {"WIDTHS": WIDTHS, "BATCH_SIZES": BATCH_SIZES,
                      "LOSS_TOLERANCE": LOSS_TOLERANCE, "CHECK_EVERY": CHECK_EVERY},
        "table": summarize_batch_sizes(batch_sizes, all_curves),
        "correlations": summarize_correlations(curves),
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say of the networks at equal training loss, and of their batch sizes.

    - "at_equal_loss" has the correlations of each measure with each outcome, as in
      summarize_correlations: "across" the batch sizes and "within" one batch size.
    - "with_test_labels" and "without_test_labels" sum up MEASURE_GROUPS, see group_facts.
    - "cost_of_largest_batch" is an outcome at the largest batch size minus that at the smallest.

    Losses are in nats, means over runs; errors are fractions.
    """
    after_equal_epochs = [row["train_loss"] for row in results["table"]
                          if row["regime"] == "equal_epochs"]
    at_equal_loss = {}
    for measure in MEASURES:
        at_equal_loss[measure] = {}
        for outcome in OUTCOMES:
            row = find_row(results["correlations"], measure=measure, outcome=outcome)
            at_equal_loss[measure][outcome] = {"across": as_interval(row, "across"),
                                               "within": as_interval(row, "within")}
    values = results["curves"]["equal_loss"]
    groups = {}
    for group, measures in MEASURE_GROUPS.items():
        groups[group] = group_facts(measures, values)
    return {
        "batch_sizes": results["correlations"][0]["batch_sizes"],
        "equal_epochs_train_loss": {"lowest": min(after_equal_epochs),
                                    "of_largest_batch": after_equal_epochs[-1]},
        "at_equal_loss": at_equal_loss,
        **groups,
        "cost_of_largest_batch": costs_of_largest_batch(values, OUTCOMES),
    }


def group_facts(measures, values):
    """How surely the measures of a group go with the outcomes across the batch sizes.

    "p_values" {measure: {outcome: p}} are from t-tests over the runs of whether Fisher's z, a
    correlation stretched so that t-tests suit it, is zero on average. They are raised because so
    many links are tested, by Holm's method (1979), and None where nothing can be correlated.
    "significant" counts the links whose corrected p-value is below 0.05.
    """
    links, p_values = [], []
    for measure in measures:
        for outcome in OUTCOMES:
            z = z_of_runs(values, measure, outcome)
            links.append((measure, outcome))
            p_values.append(None if z is None else p_value_of_mean(z))
    corrected = holm(p_values)
    by_measure = {measure: {} for measure in measures}
    for (measure, outcome), p_value in zip(links, corrected):
        by_measure[measure][outcome] = p_value
    return {
        "measures": measures,
        "significant": sum(is_significant(p_value) for p_value in corrected),
        "p_values": by_measure,
    }


def z_of_runs(values, measure, outcome):
    """Fisher's z of the rank correlation over the batch sizes in every run: (runs,).

    values are {quantity: (batch sizes, runs)}. None where that of a run is undefined.
    """
    sizes = len(values.get(outcome, []))
    if sizes < 2:
        return None
    by_run = zip(np.transpose(values[measure]), np.transpose(values[outcome]))
    correlations = [spearman(x, y) for x, y in by_run]
    if np.isnan(correlations).any():
        return None
    # For a correlation of exactly 1, z would be infinite. fisher_z takes a value a little below 1
    # instead, the nearer to 1 the more batch sizes there are.
    return fisher_z(correlations, sizes)


def costs_of_largest_batch(values, outcomes):
    """Every outcome at the largest batch size minus that at the smallest: facts, see tested_means.

    values are {quantity: (batch sizes, runs)}. The unit is the run: run k starts from the same
    weights at every batch size, so that the difference is taken in each run. For fewer than two
    batch sizes all are None.
    """
    differences = {}
    for outcome in outcomes:
        by_size = values.get(outcome, [])
        differences[outcome] = np.subtract(by_size[-1], by_size[0]) if len(by_size) >= 2 else None
    return tested_means(differences)


# --- drawing ---

REGIME_LABELS = {"equal_epochs": "equal epochs", "equal_loss": "equal training loss"}
REGIME_LOOKS = {"equal_epochs": (COLORS[0], MARKERS[0]), "equal_loss": (COLORS[1], MARKERS[1])}
GROUP_LABELS = {"with_test_labels": "uses the test labels",
                "without_test_labels": "uses no test labels"}
MEASURE_LABELS = {"sensitivity": "sensitivity", "jacobian": "Jacobian", "sharpness": "ε-sharpness",
                  "adaptive_sharpness": "adaptive sharpness",
                  "largest_eigenvalue": "largest eigenvalue"}
OUTCOME_LABELS = {"test_error": "test error", "test_loss": "test loss",
                  "calibrated_test_loss": "test loss after one temperature"}
# Images are standardized: the unit of a pixel is the standard deviation of all pixels.
AXIS_LABELS = {"sensitivity": "sensitivity (nats per standard deviation of pixels)",
               "jacobian": "Jacobian norm (per standard deviation of pixels)",
               "sharpness": "ε-sharpness (%)",
               "adaptive_sharpness": "adaptive sharpness (%)",
               "largest_eigenvalue": "largest eigenvalue of the Hessian"}
# Large batches count as under-trained where their training loss is this multiple of the lowest.
UNDER_TRAINED = 10


def plot(results):
    """Test error by batch size in both comparisons, and which measures go with it."""
    layout = [["equal_loss", "correlations"], ["equal_epochs", "networks"]]
    figure, panels = new_mosaic(figure_title(results), results, layout, height=6.4)
    draw_test_error(panels["equal_loss"], results, "equal_loss", equal_loss_title(results))
    draw_test_error(panels["equal_epochs"], results, "equal_epochs", equal_epochs_title(results))
    draw_correlations(panels["correlations"], results, ["test_error"])
    draw_networks(panels["networks"], results, "sensitivity", "test_error")
    legend_below(figure, panels["equal_epochs"], panels["correlations"], columns=4)
    return figure


def figure_title(results):
    """Which batch size errs less at equal training loss, and which measures say so, in words."""
    facts = results["facts"]
    winner = "At equal loss no clear winner"
    if is_above_zero(facts["cost_of_largest_batch"]["test_error"]):
        batch_sizes = batch_sizes_of(results["curves"]["equal_loss"])
        winner = f"At equal loss batch {batch_sizes[0]:,} beats {batch_sizes[-1]:,}"
    clear = measures_that_rise_with(facts, ["test_error"])
    without_labels = [measure for measure in clear
                      if measure in facts["without_test_labels"]["measures"]]
    if len(without_labels) == 1:
        name = MEASURE_LABELS[without_labels[0]]
        return f"{winner}; without test labels, {name} clearly tracks error"
    if without_labels:
        return f"{winner}; {len(without_labels)} measures without test labels clearly track error"
    if clear:
        return f"{winner}; only sensitivity, with test labels, clearly tracks error"
    return f"{winner}; no measure clearly tracks error"


def measures_that_rise_with(facts, outcomes):
    """The measures that clearly rise with each of these outcomes, by clear_direction."""
    return [measure for measure in MEASURE_LABELS
            if all(clear_direction(facts, measure, outcome) == "rises" for outcome in outcomes)]


def clear_direction(facts, measure, outcome):
    """Whether a measure "rises" or "falls" with an outcome across the batch sizes; None if unclear.

    It is clear where the p-value is low that group_facts has corrected for all links of the group.
    """
    if not is_significant(facts[group_of(facts, measure)]["p_values"][measure][outcome]):
        return None
    correlation = facts["at_equal_loss"][measure][outcome]["across"]["value"]
    return "rises" if correlation > 0 else "falls"


def group_of(facts, measure):
    """The name of the group of measures that a measure belongs to, one of GROUP_LABELS."""
    for group in GROUP_LABELS:
        if measure in facts[group]["measures"]:
            return group
    raise LookupError(f"no group has {measure}")


def is_above_zero(difference):
    """Whether the interval of a stored difference lies above zero; not where there is none."""
    return difference["ci95"] is not None and difference["value"] > difference["ci95"]


def batch_sizes_of(values):
    """The batch sizes of {quantity: (batch sizes, runs)}, as integers."""
    return [int(of_runs[0]) for of_runs in values["batch_size"]]


def equal_loss_title(results):
    """How much more the largest batch size errs than the smallest one, in words."""
    cost = results["facts"]["cost_of_largest_batch"]["test_error"]
    place = f"At training loss {results['settings']['target_loss']:g}"
    if is_above_zero(cost):
        return f"{place}\nthe largest batch errs {100 * cost['value']:.1f} points more"
    return f"{place}: no clear difference"


def equal_epochs_title(results):
    """Whether the largest batch is under-trained after equal epochs, in words."""
    place = f"After {results['settings']['epochs']} epochs"
    losses = results["facts"]["equal_epochs_train_loss"]
    if losses["of_largest_batch"] > UNDER_TRAINED * losses["lowest"]:
        return f"{place} large batches are under-trained"
    return place


def draw_test_error(panel, results, regime, title):
    """Test error (%) against batch size in one comparison: all runs, and their mean."""
    color, marker = outcome_looks()["test_error"]
    panel.set(title=title, ylabel="test error (%)")
    mark_batch_sizes(panel, results, every=2)
    values = results["curves"][regime]
    if not values["batch_size"]:
        return  # no batch size met the condition
    batch_sizes = batch_sizes_of(values)
    errors = 100 * np.array(values["test_error"])  # (batch sizes, runs)
    mean, half_width = mean_ci95(errors.T)
    single_runs = panel.plot(batch_sizes, errors, color="#b8b8b8", linewidth=0.7)
    single_runs[0].set_label("single run")
    panel.errorbar(batch_sizes, mean, half_width, color=color, marker=marker, markersize=4,
                   capsize=2, label="mean and 95 % interval")


def mark_batch_sizes(panel, results, every):
    """Batch sizes as ticks of a logarithmic x axis: every second one, for instance."""
    sizes = [row["batch_size"] for row in results["table"] if row["regime"] == "equal_epochs"]
    ticks = sizes[::every]
    panel.set_xscale("log", base=2)
    panel.set(xlabel="batch size")
    panel.set_xticks(ticks, [f"{size:,}" for size in ticks])


def outcome_looks():
    """Colour and marker of everything the measures are compared with."""
    return dict(zip(OUTCOME_LABELS, zip(COLORS, MARKERS)))


def draw_correlations(panel, results, outcomes):
    """The correlation of every measure with each of the outcomes across the batch sizes, by groups.

    Marks are full where the link is clear, see clear_direction.
    """
    facts, columns = results["facts"], ("across", "across_low", "across_high")
    looks = {outcome: outcome_looks()[outcome] for outcome in outcomes}
    shifts = 0.2 * (np.arange(len(outcomes)) - (len(outcomes) - 1) / 2)
    place, places, names = 0, [], []
    for group, group_label in GROUP_LABELS.items():
        panel.text(-0.97, place, group_label, va="center", color="#555555")
        for measure in facts[group]["measures"]:
            place += 1
            places.append(place)
            names.append(MEASURE_LABELS[measure])
            for shift, (outcome, (color, marker)) in zip(shifts, looks.items()):
                row = find_row(results["correlations"], measure=measure, outcome=outcome)
                draw_ranges(panel, [row], [place + shift], columns, color, marker)
                if clear_direction(facts, measure, outcome) is None:
                    panel.lines[-1].set_markerfacecolor("white")  # that of the mark just drawn
        place += 1  # that of the next group's label
    for outcome, (color, marker) in looks.items():  # for the legend
        panel.plot([], [], marker, color=color, markersize=5,
                   label=f"correlation with the {OUTCOME_LABELS[outcome]}: clear")
    panel.plot([], [], "o", color=GREY, markersize=5, markerfacecolor="white",
               label="not clear")
    panel.axvline(0, color="black", linewidth=1)
    panel.set_yticks(places, names)
    panel.set(title=correlations_title(facts, outcomes), xlim=(-1, 1), ylim=(place - 0.4, -0.4),
              xticks=[-1, -0.5, 0, 0.5, 1],
              xlabel="rank correlation across batch sizes\n(95 % interval for all tests together)")


def correlations_title(facts, outcomes):
    """Which measures clearly rise with all these outcomes, in words."""
    names_of_outcomes = "both losses"  # the only two that share a panel
    if len(outcomes) == 1:
        names_of_outcomes = f"the {OUTCOME_LABELS[outcomes[0]]}"
    clear = measures_that_rise_with(facts, outcomes)
    if not clear:
        return f"No measure clearly\ngoes with {names_of_outcomes}"
    if clear == ["sensitivity"]:
        return f"Only sensitivity, with test labels,\nclearly goes with {names_of_outcomes}"
    names = ", ".join(MEASURE_LABELS[measure] for measure in clear)
    return f"Clearly goes with {names_of_outcomes}:\n{names}"


def best_without_test_labels(facts, outcome):
    """The measure without test labels whose link with an outcome has the lowest p-value.

    None where no link was tested.
    """
    group = facts["without_test_labels"]
    tested = {measure: by_outcome[outcome] for measure, by_outcome in group["p_values"].items()
              if by_outcome[outcome] is not None}
    return min(tested, key=tested.get) if tested else None


def networks_title(facts, measure, outcome):
    """Whether a measure orders the batch sizes as an outcome does, in words."""
    labels = group_of(facts, measure).replace("_", " ")  # "with test labels", or "without ..."
    subject = f"{capitalize(MEASURE_LABELS[measure])}, {labels}:"
    direction, name = clear_direction(facts, measure, outcome), OUTCOME_LABELS[outcome]
    if direction == "rises":
        return f"{subject}\nrises with the {name}"
    if direction == "falls":
        return f"{subject}\nfalls as the {name} rises"
    return f"{subject}\nno clear link with the {name}"


def capitalize(name):
    """A name with a capital first letter, unless that is the ε of a formula."""
    return name if name.startswith("ε") else name[0].upper() + name[1:]


def draw_networks(panel, results, measure, outcome):
    """An outcome of every network at equal training loss against a measure of it.

    The colour is the batch size.
    """
    values = results["curves"]["equal_loss"]
    in_percent = outcome == "test_error"
    panel.set(title=networks_title(results["facts"], measure, outcome),
              xlabel=AXIS_LABELS[measure],
              ylabel=f"{OUTCOME_LABELS[outcome]} ({'%' if in_percent else 'nats'})")
    if not values[measure]:
        return  # no batch size reached the loss
    dots = panel.scatter(values[measure], (100 if in_percent else 1) * np.array(values[outcome]),
                         s=24, zorder=3, cmap="viridis", edgecolors=GREY, linewidths=0.4,
                         c=np.log2(values["batch_size"]))
    colour_bar = panel.figure.colorbar(dots, ax=panel, label="batch size")
    ticks = batch_sizes_of(values)[::2]
    colour_bar.set_ticks(np.log2(ticks), labels=[f"{size:,}" for size in ticks])


def plot_details(results):
    """Losses, accuracies and measures by batch size, and how the measures go with the test losses.

    Sharpness and the largest eigenvalue are measured at equal loss alone.
    """
    layout = [["loss", "accuracy", "sensitivity"],
              ["sharpness", "adaptive_sharpness", "largest_eigenvalue"],
              ["correlations", "correlations", "networks"]]
    figure, panels = new_mosaic("Losses, accuracies and measures by batch size", results, layout,
                                height=9.6)
    draw_by_batch_size(panels["loss"], results, {"train_loss": TRAIN, "test_loss": TEST})
    draw_by_batch_size(panels["accuracy"], results,
                       {"train_accuracy": TRAIN, "test_accuracy": TEST}, factor=100)
    draw_by_batch_size(panels["sensitivity"], results, {"sensitivity": TEST})
    panels["loss"].set(title="Loss", ylabel="cross-entropy (nats)")
    panels["accuracy"].set(title="Accuracy", ylabel="accuracy (%)")
    panels["sensitivity"].set(title="Sensitivity to the pixels",
                              ylabel="‖∂ loss / ∂ pixels‖\n(nats per standard deviation)")
    for measure in ("sharpness", "adaptive_sharpness", "largest_eigenvalue"):
        # dashed: it is that of the training loss
        draw_by_batch_size(panels[measure], results, {measure: TRAIN})
        panels[measure].set(title=f"{capitalize(MEASURE_LABELS[measure])} at equal loss",
                            ylabel=AXIS_LABELS[measure])
    draw_correlations_with_losses(panels["correlations"], panels["networks"], results)
    legend_below(figure, panels["loss"], panels["correlations"], columns=4, train_test=True)
    return figure


def draw_correlations_with_losses(correlations_panel, networks_panel, results):
    """The measures and the test loss, as it is and after a temperature; the best without labels.

    Where no temperature could be fitted, the test loss as it is alone.
    """
    fitted = "calibrated_test_loss" in results["curves"]["equal_loss"]
    outcomes = ["test_loss", "calibrated_test_loss"] if fitted else ["test_loss"]
    draw_correlations(correlations_panel, results, outcomes)
    measure = best_without_test_labels(results["facts"], outcomes[-1])
    if measure is None:
        networks_panel.set_axis_off()
    else:
        draw_networks(networks_panel, results, measure, outcomes[-1])


def draw_by_batch_size(panel, results, styles, factor=1):
    """Quantities of all runs, times a factor, in the comparisons that measured them.

    styles are {quantity: line style}.
    """
    mark_batch_sizes(panel, results, every=4)
    for regime, values in results["curves"].items():
        color, marker = REGIME_LOOKS[regime]
        for name, style in styles.items():
            if values.get(name):  # not where no batch size met the condition
                draw_each_run(panel, batch_sizes_of(values), factor * np.transpose(values[name]),
                              color, style, REGIME_LABELS[regime] if style == TEST else None,
                              marker)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts, uses_images=True)
