"""Does the gradient's norm fall with the loss, or does it rise while the loss falls?

Loss and gradient of the whole training set are followed through the training of ReLU networks: on a
function, where every step uses all points, and on images, where a step uses a mini-batch. The
learning rate is constant. One network of each task is trained again with a rate that falls to zero
along a half cosine, to see how much of the effect comes from the step size.

    python hw1_2_gradnorm.py              # the report's figure
    python hw1_2_gradnorm.py --quick      # a tour in seconds
"""

from math import ceil
from typing import NamedTuple

from common.command_line import Flag, UsageError, main, positive_integer, positive_number
from common.data import dataset_title, first_images, grid, load_dataset, sinc
from common.derivatives import loss_and_gradient_of_model
from common.models import mlp, mlp_widths
from common.parameters import flatten
from common.pieces import Piece, groups_of_runs, join_groups, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    draw_ranges,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import (
    correlation_columns,
    fisher_z,
    holm,
    interval_columns,
    range_columns,
    ratio_columns,
    spearman,
)
from common.training import (
    count_steps,
    cross_entropy,
    expand_to_runs,
    mean_squared_error,
    run_generators,
    train,
)

import numpy as np
import scipy
import torch
from matplotlib.ticker import LogLocator, NullLocator
from torch import nn

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 6, quick=3, help="runs of each network"),
    "steps": Flag(positive_integer, 20_000, quick=500,
                  help="training steps on the function, each on all points"),
    "points": Flag(positive_integer, 128, quick=128,
                   help="training points of the function, evenly spaced on [0, 1]"),
    "epochs": Flag(positive_integer, 30, quick=4, help="training epochs on the images"),
    "train_size": Flag(positive_integer, 10_000, quick=1_000, at_most="dataset",
                       help="training images"),
    "batch_size": Flag(positive_integer, 64, quick=64, at_most="train_size",
                       help="images per mini-batch"),
    "lr": Flag(positive_number, 1e-3, quick=1e-3, help="learning rate of Adam"),
}


class Network(NamedTuple):
    """A network to follow: the features of its layers, and whether its learning rate falls."""

    widths: list
    cosine: bool


PARAMETERS = 571  # of the networks on the function, as in the first experiment
FUNCTION_NETWORKS = {
    "1-hidden": Network(mlp_widths(1, PARAMETERS), cosine=False),
    "4-hidden": Network(mlp_widths(4, PARAMETERS), cosine=False),
    "7-hidden": Network(mlp_widths(7, PARAMETERS), cosine=False),
    "4-hidden-cosine": Network(mlp_widths(4, PARAMETERS), cosine=True),
}
IMAGE_NETWORKS = {
    "3-hidden": Network([784, 32, 32, 32, 10], cosine=False),
    "3-hidden-cosine": Network([784, 32, 32, 32, 10], cosine=True),
}
# Each network with a falling rate, and its control: the same network at the constant rate. Run k of
# both starts from the same weights and sees the same data order.
CONSTANT_RATE_CONTROL = {"4-hidden-cosine": "4-hidden", "3-hidden-cosine": "3-hidden"}
FUNCTION_TASK = "sinc"
# The networks that the report speaks of, one of each task. Most runs of "4-hidden" stall.
TYPICAL = ("7-hidden", "3-hidden")
# Runs in one stack. A stack of networks on the function takes little longer than one of them; on
# images, two small stacks take as long as a large one.
FUNCTION_RUNS_TOGETHER, IMAGE_RUNS_TOGETHER = 6, 3
# What a training step costs, one of "1-hidden" being 1; on images with what is recorded.
STEP_COSTS = {"1-hidden": 1.0, "4-hidden": 0.8, "7-hidden": 1.0, "4-hidden-cosine": 0.8,
              "3-hidden": 2.3, "3-hidden-cosine": 2.3}
# Steps at which loss and gradient are recorded; rounding to whole steps merges the first few. On
# images each record costs as much as an epoch.
FUNCTION_RECORDS, IMAGE_RECORDS = 400, 60
CHECKS = 100  # times that a training on the function is checked for divergence
FEWEST_STEPS = 4  # of a training: two in the early phase (see early_records), two in the late one
EARLY = 0.05  # the fraction of the steps that is called early; the rest is late
# One record late in training is noisy. What stands for the end of the early phase is the mean over
# this fraction of its steps, and what stands for the end of training, over that of all steps.
EARLY_END, END = 0.5, 0.1
STALLED = 10  # a run has stalled if its final loss is more than so many times that of the best run
SMOOTHED = 9  # records in the running median that smooths a loss before its slope is taken
SMALLEST = 1e-30  # replaces zeros, which a stuck network can reach, so that logarithms exist


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension, which inputs that all
# runs share lack. See common/models.py.
def build_model(network, run_numbers, settings):
    """A stack of networks, one for each run, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(network.widths, generators).to(settings.device)


# --- training and measuring ---


def record_steps(total, count):
    """Step 0 and up to count others until the last: (records,).

    Half of them are evenly spaced in logarithm, as the figure's axis is. The others are evenly
    spaced, so that means over the second half of training and over its end are of many records.
    """
    if total < FEWEST_STEPS:
        raise UsageError(f"a training of {total} steps is too short to follow; raise --steps or "
                         "--epochs")
    in_logarithm = np.geomspace(1, total - 1, count // 2)
    evenly = np.linspace(0, total - 1, count // 2 + 1)
    return np.unique(np.concatenate([in_logarithm, evenly]).round().astype(int))


def observe(model, inputs, targets, loss_function, steps, **training):
    """Trains a model and records it at each of the steps, before the parameters move.

    inputs (N, ...) and targets (N, ...) are the whole training set; training are further arguments
    of train. Returns {"loss", "norm" of its gradient, "batch_norm" of the mini-batch's gradient},
    (R, records) each, and {"initial_dead_units", "dead_units"}, before and after training, (R,).
    """
    targets_of_runs = expand_to_runs(targets, model)  # (R, N, ...): train asks for each run's own
    records = {"loss": [], "norm": [], "batch_norm": []}
    initial_dead_units = dead_units(model, inputs)

    def probe(step):  # train calls it when the gradient of the batch is known
        batch_gradient = flatten({name: parameter.grad
                                  for name, parameter in model.named_parameters()})
        records["batch_norm"].append(batch_gradient.double().norm(dim=1))
        # This leaves the gradient of the batch in place for the step to come.
        loss, gradient = loss_and_gradient_of_model(model, inputs, targets, loss_function)
        records["loss"].append(loss)
        records["norm"].append(gradient.norm(dim=1))

    train(model, inputs, targets_of_runs, loss_function, probe=probe, probe_steps=steps.tolist(),
          **training)
    curves = {name: torch.stack(values, dim=1).clamp(min=SMALLEST)
              for name, values in records.items()}
    return to_arrays({**curves, "initial_dead_units": initial_dead_units,
                      "dead_units": dead_units(model, inputs)})


@torch.no_grad()
def dead_units(model, inputs):
    """The fraction of hidden units whose ReLU is 0 on all inputs (N, ...), in each run: (R,)."""
    values = inputs.unsqueeze(0)  # all runs share them
    dead = []
    for layer in model:
        values = layer(values)
        if isinstance(layer, nn.ReLU):
            dead.append((values == 0).all(dim=1))  # (R, units)
    return torch.cat(dead, dim=1).double().mean(dim=1)


def observe_on_function(name, run_numbers, steps, settings):
    """observe some runs of one of FUNCTION_NETWORKS on the function."""
    network = FUNCTION_NETWORKS[name]
    x = grid(settings.points, settings.device)
    return observe(build_model(network, run_numbers, settings), x, sinc(x), mean_squared_error,
                   steps, epochs=settings.steps,  # an epoch is one step on all points
                   learning_rate=settings.lr, cosine=network.cosine,
                   # train checks the losses for divergence every so many epochs
                   record_every=max(settings.steps // CHECKS, 1))


def observe_on_images(data, name, run_numbers, steps, settings):
    """observe some runs of one of IMAGE_NETWORKS on mini-batches of images."""
    network = IMAGE_NETWORKS[name]
    images, labels = first_images(data, settings.train_size)
    return observe(build_model(network, run_numbers, settings), images, labels, cross_entropy,
                   steps, epochs=settings.epochs, learning_rate=settings.lr,
                   cosine=network.cosine, batch_size=settings.batch_size,
                   order_generators=run_generators(settings.seed, run_numbers, "order"))


def observe_all(function_steps, image_steps, data, settings):
    """Observes all networks, cut into pieces of work: {network: what observe returns}."""
    pieces = {}
    for name in FUNCTION_NETWORKS:
        for runs in groups_of_runs(range(settings.runs), FUNCTION_RUNS_TOGETHER):
            pieces[name, runs[0]] = Piece(
                f"{FUNCTION_TASK}, {name}, runs {runs}", observe_on_function,
                (name, runs, function_steps, settings), settings.steps, STEP_COSTS[name])
    steps = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    for name in IMAGE_NETWORKS:
        for runs in groups_of_runs(range(settings.runs), IMAGE_RUNS_TOGETHER):
            pieces[name, runs[0]] = Piece(
                f"{dataset_title(data.name)}, {name}, runs {runs}", observe_on_images,
                (name, runs, image_steps, settings), steps, STEP_COSTS[name], data)
    return join_groups(run_pieces(pieces, settings))


# --- summing up: steps are (records,), loss and norm of one network (R, records) ---


def summarize_network(steps, records):
    """Columns of the table: medians and ranges over the runs; records is what observe returns.

    Final values are geometric means over the last records of each run.
    """
    loss, norm = records["loss"], records["norm"]
    last = last_records(steps)
    final_loss = scipy.stats.gmean(loss[:, last], axis=1)
    final_norm = scipy.stats.gmean(norm[:, last], axis=1)
    return {
        "runs": len(loss),
        "steps": int(steps[-1]) + 1,
        "initial_loss": np.median(loss[:, 0]),
        **range_columns("final_loss", final_loss),
        "stalled_runs": (final_loss > STALLED * final_loss.min()).sum(),
        "initial_dead_units": np.median(records["initial_dead_units"]),
        **range_columns("dead_units", records["dead_units"]),
        "initial_gradient_norm": np.median(norm[:, 0]),
        "peak_gradient_norm": np.median(norm.max(1)),
        "final_gradient_norm": np.median(final_norm),
    }


def early_records(steps):
    """Which records lie in the early phase, (records,): those of the steps 0 and 1 at least."""
    total_steps = steps[-1] + 1
    return steps < max(EARLY * total_steps, 2)


def last_early_records(steps):
    """Which records lie at the end of the early phase, (records,): its last one at least."""
    early = early_records(steps)
    return early & (steps >= (1 - EARLY_END) * steps[early][-1])


def last_records(steps):
    """Which records lie at the end of training, (records,): the last one at least."""
    return steps >= (1 - END) * steps[-1]


def loss_speed(steps, loss):
    """How fast the smoothed loss falls, −d log(loss) / d log(step): (R, records).

    This is the slope of the curve in the figure, whose axes are logarithmic. One is added to the
    steps, of which the first is 0.
    """
    window = (1, SMOOTHED)  # each run by itself
    smoothed_loss = scipy.ndimage.median_filter(loss, window, mode="nearest")
    return -np.gradient(np.log(smoothed_loss), np.log(steps + 1), axis=1)


def rank_correlations(loss, norm):
    """The rank correlation of loss and norm in each run: a list of R numbers.

    NaN where one of them never varies.
    """
    return [spearman(run_loss, run_norm) for run_loss, run_norm in zip(loss, norm)]


def change_correlations(loss, norm):
    """The rank correlation of their relative changes from record to record: a list of R numbers.

    Two curves with a trend are correlated, whatever else they do, because both follow the time.
    Their changes need not be.
    """
    return rank_correlations(np.diff(np.log(loss)), np.diff(np.log(norm)))


def loss_fell_norm_rose(loss, norm):
    """How often, from record to record, the loss falls and the norm rises: fractions (R,)."""
    loss_fell = np.diff(loss) < 0
    norm_rose = np.diff(norm) > 0
    return (loss_fell & norm_rose).mean(1)


def drops_over_plateaus(values, speed):
    """Are values larger where the loss falls fast? Their mean in drops over that in plateaus: (R,).

    values and speed, see loss_speed, are (R, records). Each run's records are sorted from the
    slowest to the fastest fall of the loss; plateaus are the first quarter, rises of the loss
    included, drops the last. The means are geometric.
    """
    slowest_first = np.take_along_axis(values, speed.argsort(axis=1), axis=1)
    quarter = ceil(values.shape[1] / 4)
    plateaus, drops = slowest_first[:, :quarter], slowest_first[:, -quarter:]
    return mean_ratio(drops, plateaus)


def summarize_phase(loss, norm, batch_norm, speed):
    """Columns for one phase of training: how loss and norm go together in its records.

    The unit of all intervals is the run. Drops and plateaus are compared by the relative norm
    ‖∇L‖ / L, which is ‖∇ log L‖. The norm itself tends to shrink with the loss in time, so that it
    would mostly compare early records with late ones.
    """
    relative_norm = drops_over_plateaus(norm / loss, speed)
    batch_over_full = mean_ratio(batch_norm, norm)
    records = loss.shape[1]
    return {
        "records": records,
        **correlation_columns("level_correlation", rank_correlations(loss, norm), records),
        **correlation_columns("change_correlation", change_correlations(loss, norm), records - 1),
        **interval_columns("loss_fell_norm_rose", loss_fell_norm_rose(loss, norm)),
        **ratio_columns("drops_over_plateaus_relative_norm", relative_norm),
        **ratio_columns("batch_over_full_norm", batch_over_full),
    }


def summarize_phases(steps, loss, norm, batch_norm):
    """Rows: summarize_phase of the early phase, of the late one, and of all of training."""
    speed = loss_speed(steps, loss)
    early = early_records(steps)
    all_records = np.full(len(steps), True)
    rows = []
    for phase, chosen in {"early": early, "late": ~early, "all": all_records}.items():
        columns = summarize_phase(loss[:, chosen], norm[:, chosen], batch_norm[:, chosen],
                                  speed[:, chosen])
        rows.append({"phase": phase, **columns})
    return rows


def second_half_ratios(steps, values, control_values=None):
    """How loss or norm, values (R, records), change in the second half: {quantity: ratios (R,)}.

    All means are geometric.

    - second_half_q95_over_q05: how much they vary there, the 95 % quantile over the 5 % quantile.
    - second_half_over_last_early: their mean there over that at the end of the early phase.
    - cosine_over_constant_end: their mean at the end of training over that of control_values; only
      where these are given. They belong to a constant learning rate. The ratio is paired: run k of
      both has the same initial weights and the same data order.
    """
    second_half = values[:, steps >= steps[-1] / 2]
    low, high = np.quantile(second_half, (0.05, 0.95), axis=1)
    last_early = values[:, last_early_records(steps)]
    ratios = {
        "second_half_q95_over_q05": high / low,
        "second_half_over_last_early": mean_ratio(second_half, last_early),
    }
    if control_values is not None:
        last = last_records(steps)
        ratios["cosine_over_constant_end"] = mean_ratio(values[:, last], control_values[:, last])
    return ratios


def mean_ratio(values, others):
    """The geometric mean of each run's values (R, n) over that of its others (R, m): (R,)."""
    return scipy.stats.gmean(values, axis=1) / scipy.stats.gmean(others, axis=1)


def summarize_second_half(curves_of_task, name):
    """Rows: second_half_ratios of loss and norm of one network.

    curves_of_task are {network: {"steps", "loss", "norm"}}.
    """
    curves = curves_of_task[name]
    control_name = CONSTANT_RATE_CONTROL.get(name)
    rows = []
    for key in ("loss", "norm"):
        control_values = curves_of_task[control_name][key] if control_name else None
        ratios_of_runs = second_half_ratios(curves["steps"], curves[key], control_values)
        for quantity, ratios in ratios_of_runs.items():
            rows.append({"quantity": f"{quantity}_{key}", **ratio_columns("ratio", ratios)})
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size)
    function_steps = record_steps(settings.steps, FUNCTION_RECORDS)
    steps_on_images = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    image_steps = record_steps(steps_on_images, IMAGE_RECORDS)
    image_task = dataset_title(data.name)
    observed = observe_all(function_steps, image_steps, data, settings)

    table, phases, ratio_rows = [], [], []
    curves = {FUNCTION_TASK: {}, image_task: {}}
    for name, records in observed.items():
        on_function = name in FUNCTION_NETWORKS
        task = FUNCTION_TASK if on_function else image_task
        steps = function_steps if on_function else image_steps
        loss, norm, batch_norm = records["loss"], records["norm"], records["batch_norm"]
        curves[task][name] = {"steps": steps, "loss": loss, "norm": norm,
                              "dead_units": records["dead_units"]}
        columns = {"task": task, "model": name}
        table.append(columns | summarize_network(steps, records))
        phases += [columns | row for row in summarize_phases(steps, loss, norm, batch_norm)]
    for task, curves_of_task in curves.items():
        for name in curves_of_task:
            columns = {"task": task, "model": name}
            ratio_rows += [columns | row for row in summarize_second_half(curves_of_task, name)]
    return {
        "constants": {"EARLY": EARLY, "EARLY_END": EARLY_END, "END": END, "STALLED": STALLED,
                      "PARAMETERS": PARAMETERS},
        "table": table,
        "phases": phases,
        "ratios": ratio_rows,
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say of the results, of the TYPICAL network of each task.

    Correlations are rank correlations over the late records of a run, with intervals over the runs.
    Ratios are geometric means with intervals over the runs; those of "second_half" are over the end
    of the early phase, those of "falling_rate" over the constant rate.
    """
    p_values = p_values_of_late_changes(results["curves"])
    facts = {}
    for name, (task, model) in zip(("sinc", "images"), zip(results["curves"], TYPICAL)):
        phases = {row["phase"]: row for row in results["phases"] if row["model"] == model}
        facts[name] = {
            "network": model,
            "early_levels": as_interval(phases["early"], "level_correlation"),
            "late_levels": as_interval(phases["late"], "level_correlation"),
            "late_changes": as_interval(phases["late"], "change_correlation"),
            "late_changes_p_value": p_values[model],
            "falls_less_p_value": p_value_of_falling_less(results["curves"][task][model]),
            "second_half_loss": find_ratio(results, model, "second_half_over_last_early_loss"),
            "second_half_norm": find_ratio(results, model, "second_half_over_last_early_norm"),
            "typical_run": find_typical_run(results["curves"][task][model]),
        }
    rows = {row["model"]: row for row in results["table"]}
    late_batch = find_row(results["phases"], model=TYPICAL[1], phase="late")
    facts["images"]["late_batch_over_full_norm"] = as_interval(late_batch, "batch_over_full_norm")
    facts["sinc"]["falling_rate_end_norm"] = find_ratio(
        results, "4-hidden-cosine", "cosine_over_constant_end_norm")
    facts["images"]["falling_rate_end_norm"] = find_ratio(
        results, "3-hidden-cosine", "cosine_over_constant_end_norm")
    facts["answer_p_value"] = largest_p_value([facts["sinc"], facts["images"]])
    facts["late_changes_lowest"] = lowest_late_changes(results["phases"])
    facts["stalled_runs"] = rows["4-hidden"]["stalled_runs"]
    facts["runs"] = rows["4-hidden"]["runs"]
    facts["dead_units_before"] = rows["4-hidden"]["initial_dead_units"]
    facts["dead_units_after"] = rows["4-hidden"]["dead_units_median"]
    return facts


def as_interval(row, name):
    """A number of a row with the ends of its interval."""
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def find_ratio(results, model, quantity):
    """A stored ratio of one network, with its interval."""
    return as_interval(find_row(results["ratios"], model=model, quantity=quantity), "ratio")


def late_changes(curves):
    """change_correlations of the late records of one network's curves, and how many changes."""
    loss, norm = np.array(curves["loss"]), np.array(curves["norm"])
    late = ~early_records(np.array(curves["steps"]))
    return change_correlations(loss[:, late], norm[:, late]), late.sum() - 1


def find_typical_run(curves):
    """The run whose loss falls late as far as in the median run, or next to it."""
    ratios = second_half_ratios(np.array(curves["steps"]), np.array(curves["loss"]))
    falls = np.log(ratios["second_half_over_last_early"])
    return int(np.argmin(abs(falls - np.median(falls))))


def p_values_of_late_changes(curves):
    """{network: p-value of the hypothesis that late changes of loss and norm do not correlate}.

    The unit is the run: t-tests of Fisher's z, with Holm's correction over all networks. None where
    there are fewer than two runs, or where a correlation is undefined.
    """
    p_values = {}
    for curves_of_task in curves.values():
        for name, curves_of_network in curves_of_task.items():
            correlations, changes = late_changes(curves_of_network)
            if len(correlations) < 2 or np.isnan(correlations).any():
                p_values[name] = None
                continue
            z = fisher_z(correlations, changes)
            p_values[name] = scipy.stats.ttest_1samp(z, 0).pvalue if np.ptp(z) > 0 else None
    return dict(zip(p_values, holm(list(p_values.values()))))


def p_value_of_falling_less(curves):
    """The p-value of the hypothesis that norm and loss fall alike from the early phase on.

    The unit is the run: a paired t-test of the logarithms of second_half_over_last_early of norm
    and loss. None for a single run.
    """
    falls = {}
    for key in ("loss", "norm"):
        ratios = second_half_ratios(np.array(curves["steps"]), np.array(curves[key]))
        falls[key] = np.log(ratios["second_half_over_last_early"])
    differences = falls["norm"] - falls["loss"]
    if np.ptp(differences) == 0:
        return None
    return scipy.stats.ttest_1samp(differences, 0).pvalue


def largest_p_value(facts_of_tasks):
    """The largest p-value behind the report's answer; None where one is unknown.

    Those of the falls are corrected for the two tasks, by the factor 2 (Bonferroni).
    """
    p_values = []
    for facts in facts_of_tasks:
        if None in (facts["late_changes_p_value"], facts["falls_less_p_value"]):
            return None
        p_values += [facts["late_changes_p_value"],
                     min(1, len(facts_of_tasks) * facts["falls_less_p_value"])]
    return max(p_values)


def lowest_late_changes(phases):
    """The lowest end of all networks' intervals of the late changes' correlation, None if unknown.
    """
    lows = [row["change_correlation_low"] for row in phases if row["phase"] == "late"]
    return None if None in lows else min(lows)


# --- drawing ---

LOSS_LOOK = (COLORS[0], MARKERS[0])
NORM_LOOK = (COLORS[1], MARKERS[1])
MODEL_LABELS = {
    "1-hidden": "sinc, 1 layer",
    "4-hidden": "sinc, 4 layers",
    "7-hidden": "sinc, 7 layers",
    "4-hidden-cosine": "sinc, 4 layers,\nrate falls",
    "3-hidden": "MNIST, 3 layers",
    "3-hidden-cosine": "MNIST, 3 layers,\nrate falls",
}


def plot(results):
    """A typical run on the function and one on images; how both change; all correlations."""
    facts, tasks = results["facts"], list(results["curves"])
    both_tasks = {**results["environment"], "dataset": " and ".join(tasks)}
    figure, panels = new_figure(figure_title(facts), {**results, "environment": both_tasks}, 2, 2,
                                height=3.2, width_ratios=[1.15, 1], height_ratios=[1.15, 1])
    draw_run(panels[0, 0], results, tasks[0], facts["sinc"])
    draw_run(panels[0, 1], results, tasks[1], facts["images"])
    draw_changes(panels[1, 0], results, tasks[0], facts["sinc"])
    draw_correlations(panels[1, 1], results)
    legend_below(figure, panels[0, 0], panels[1, 1])
    return figure


def figure_title(facts):
    """Whether late in training the norm follows the loss down, and whether both change together."""
    apart = all(falls_less(facts[name]) for name in ("sinc", "images"))
    together = all(is_above(facts[name]["late_changes"], 0) for name in ("sinc", "images"))
    finding = "late, in both networks, the loss falls further than the norm" if apart else (
        "late, the gradient norm need not stay behind the loss")
    changes = "both still jump together" if together else "they need not jump together"
    return f"{finding[0].upper()}{finding[1:]}; {changes}"


def falls_less(facts):
    """Whether the norm falls less than the loss does, from the early phase to the second half."""
    loss, norm = facts["second_half_loss"], facts["second_half_norm"]
    return None not in (loss["high"], norm["low"]) and loss["high"] < norm["low"]


def is_above(interval, value):
    """Whether a whole interval lies above a value; not where it is unknown."""
    return interval["low"] is not None and interval["low"] > value


def describe_change(interval):
    """What a ratio says, in words: how many times a quantity falls or rises."""
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if low is None or low <= 1 <= high:
        return "has no clear trend"
    return f"falls {1 / value:.0f}-fold" if high < 1 else f"rises {value:.1f}-fold"


def typical_curves(results, task, facts):
    """Steps counted from 1, loss and norm of the typical run of a task."""
    curves, run = results["curves"][task][facts["network"]], facts["typical_run"]
    return np.array(curves["steps"]) + 1, np.array(curves["loss"][run]), np.array(
        curves["norm"][run])


def draw_run(panel, results, task, facts):
    """Loss and norm of one run; the title says how both go on after the early phase."""
    steps, loss, norm = typical_curves(results, task, facts)
    for values, (color, marker), label in ((norm, NORM_LOOK, "norm of the full gradient"),
                                           (loss, LOSS_LOOK, "training loss")):
        panel.plot(steps, values, color=color, marker=marker, markevery=max(len(steps) // 8, 1),
                   markersize=4, linewidth=1, label=label)
    panel.axvline(results["constants"]["EARLY"] * steps[-1], color=GREY, linewidth=1)
    panel.set(xscale="log", yscale="log", xlabel="training step (grey line: early | late)",
              ylabel="one run's loss and norm",
              title=f"{MODEL_LABELS[facts['network']]}, one run. Mean of all runs, late:\nthe loss "
                    f"{describe_change(facts['second_half_loss'])}, the norm "
                    f"{describe_change(facts['second_half_norm'])}")


def draw_changes(panel, results, task, facts):
    """By how much loss and norm of the same run change from one late record to the next."""
    steps, loss, norm = typical_curves(results, task, facts)
    late = steps > results["constants"]["EARLY"] * steps[-1]
    loss_factors, norm_factors = (np.exp(np.diff(np.log(values[late]))) for values in (loss, norm))
    panel.plot(loss_factors, norm_factors, MARKERS[2], color=COLORS[2], markersize=3, alpha=0.6)
    panel.axvline(1, color=GREY, linewidth=1)
    panel.axhline(1, color=GREY, linewidth=1)
    finding = "Where the loss rises, the norm\nmostly rises too"
    if not is_above(facts["late_changes"], 0):
        finding = "Where the loss rises, the norm\nneed not rise"
    panel.set(xscale="log", yscale="log", xlabel="loss: times the record before",
              ylabel="norm: times the record before", title=f"The same {task} run, late. {finding}")
    # The losses change by less than a decade, in which each tick would be named, one on another.
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_locator(NullLocator())


def draw_correlations(panel, results):
    """The late correlations of changes and of levels, of every network."""
    rows = [row for row in results["phases"] if row["phase"] == "late"]
    places = np.arange(len(rows))[::-1]
    for name, (color, marker), shift, label in (
            ("change_correlation", (COLORS[2], MARKERS[2]), 0.12, "changes"),
            ("level_correlation", (COLORS[3], MARKERS[3]), -0.12, "values")):
        draw_ranges(panel, rows, places + shift, (name, f"{name}_low", f"{name}_high"), color,
                    marker, f"correlation of {label}")
    panel.axvline(0, color=GREY, linewidth=1)
    lowest = results["facts"]["late_changes_lowest"]
    described = "every" if lowest is not None and lowest > 0 else "not every"
    panel.set(xlim=(-0.2, 1.05), yticks=places, yticklabels=[MODEL_LABELS[row["model"]]
                                                             for row in rows],
              xlabel="rank correlation of loss and norm, late",
              title=f"All runs, late. Changes correlate\nin {described} network")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts, uses_images=True)
