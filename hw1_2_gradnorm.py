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
    TRAIN,
    draw_runs,
    find_row,
    format_number,
    legend_below,
    new_figure,
)
from common.statistics import (
    correlation_columns,
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
DRAWN_SMOOTHED = 25  # the same for the norms in the figure, which on the function swing by decades
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
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
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
                      "DRAWN_SMOOTHED": DRAWN_SMOOTHED, "PARAMETERS": PARAMETERS},
        "table": table,
        "phases": phases,
        "ratios": ratio_rows,
        "curves": curves,
    }


# --- drawing ---

DOTTED = ":"  # a falling rate, so that the constant one shows through
# Networks of 1, 4 and 7 hidden layers look as in the first experiment.
LOOKS = {
    "1-hidden": (COLORS[0], MARKERS[0], TRAIN),
    "4-hidden": (COLORS[2], MARKERS[2], TRAIN),
    "7-hidden": (COLORS[3], MARKERS[3], TRAIN),
    "4-hidden-cosine": (COLORS[4], MARKERS[4], DOTTED),
    "3-hidden": (COLORS[1], MARKERS[1], TRAIN),
    "3-hidden-cosine": (COLORS[5], MARKERS[5], DOTTED),
}
# The networks that the titles speak of, one of each task.
TITLE_NETWORKS = ("7-hidden", "3-hidden")


def plot(results):
    """Loss above norm, for the function on the left and for the images on the right."""
    figure, panels = new_figure(figure_title(results), results, 2, 2, height=3.2)
    for column, task in enumerate(results["curves"]):
        network = TITLE_NETWORKS[column]
        window = results["constants"]["DRAWN_SMOOTHED"] if column == 0 else 1
        draw_loss(panels[0, column], results, task, network)
        draw_norm(panels[1, column], results, task, network, window)
    legend_below(figure, *panels[0], columns=3)
    return figure


def figure_title(results):
    """Whether loss and norm change together late in training, in one network of each task."""
    rows = [find_row(results["phases"], model=network, phase="late") for network in TITLE_NETWORKS]
    together = all(describe_relation(row, "change_correlation") == "together" for row in rows)
    finding = "change together" if together else "need not change together"
    correlations = ", ".join(f"{row['task']} {format_number(row['change_correlation'], '.2f')}"
                             for row in rows)
    return f"Late, loss and gradient norm {finding} ({correlations})"


def describe_relation(row, name):
    """In one word, what the correlation of this name in a row of the phases says."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low is None:
        return "unknown"  # it is undefined, or of a single run
    if low > 0:
        return "together"
    return "opposed" if high < 0 else "unrelated"


def describe_ratio(results, name, quantity):
    """A stored ratio of one network for a title, where its interval leaves 1 out."""
    row = find_row(results["ratios"], model=name, quantity=quantity)
    low, high = row["ratio_low"], row["ratio_high"]
    if low is None or low <= 1 <= high:
        return "without a clear trend"
    return f"× {format_number(row['ratio'], '.2g')}"


def draw_curves(panel, results, task, key, label, window=1):
    """Loss or norm (key) of every network of a task against the training step.

    Each run is smoothed by the running median of so many records as window says.
    """
    for name, curves in results["curves"][task].items():
        color, marker, style = LOOKS[name]
        steps = np.array(curves["steps"]) + 1
        smoothed = scipy.ndimage.median_filter(curves[key], (1, window), mode="nearest")
        draw_runs(panel, steps, smoothed, color, style, f"{task}: {name.replace('-', ' ')}",
                  marker)
    if window > 1:
        label += f"\n(running median of {window} records)"
    early_end = results["constants"]["EARLY"] * steps[-1]  # steps count from 1 here
    panel.axvline(early_end, color=GREY, linewidth=1)
    panel.set(xscale="log", yscale="log", xlabel="training step (line: early | late)", ylabel=label)


def draw_loss(panel, results, task, network):
    """The training loss; the title says how loss and norm change from the early phase on."""
    draw_curves(panel, results, task, "loss", "training loss")
    loss_change = describe_ratio(results, network, "second_half_over_last_early_loss")
    norm_change = describe_ratio(results, network, "second_half_over_last_early_norm")
    panel.set_title(f"{task}, {network.replace('-', ' ')}, from early to the second half:\n"
                    f"loss {loss_change}, norm {norm_change}")


def draw_norm(panel, results, task, network, window):
    """The gradient's norm; the title says how it goes with the loss of one network."""
    draw_curves(panel, results, task, "norm", "norm of the full gradient", window)
    row = find_row(results["phases"], model=network, phase="late")
    change = format_number(row["change_correlation"], ".2f")
    level = format_number(row["level_correlation"], ".2f")
    change_relation = describe_relation(row, "change_correlation")
    level_relation = describe_relation(row, "level_correlation")
    both_together = change_relation == level_relation == "together"
    if both_together and row["level_correlation_high"] < row["change_correlation_low"]:
        level_relation = "less so"
    panel.set_title(f"{task}, {network.replace('-', ' ')}, late:\n"
                    f"changes {change_relation} ({change}), levels {level_relation} ({level})")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
