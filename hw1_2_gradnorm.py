"""Does the gradient's norm fall with the loss, and if not, what keeps it up?

Loss and gradient of the whole training set are followed through the training of ReLU networks: on
a function, where every step uses all points, and on images, where a step uses a mini-batch. On the
function the largest curvature is followed too, in trainings by Adam and by plain gradient descent:
it says how near each training is to the edge of stability, beyond which steps overshoot.

    python hw1_2_gradnorm.py              # the report's figure
    python hw1_2_gradnorm.py --quick      # a tour in seconds
"""

from typing import NamedTuple

from common.command_line import Flag, UsageError, main, positive_integer, positive_number
from common.data import dataset_title, first_images, grid, load_dataset, sinc
from common.derivatives import (
    largest_eigenvalue,
    loss_and_gradient,
    loss_and_gradient_of_model,
    loss_at,
)
from common.models import mlp, mlp_widths
from common.parameters import flatten, parameter_vectors
from common.pieces import Piece, groups_of_runs, join_groups, run_pieces, to_arrays
from common.plotting import COLORS, GREY, MARKERS, find_row, legend_below, new_figure
from common.progress import advance
from common.statistics import as_interval, p_value_of_mean, range_columns, ratio_columns
from common.training import (
    check_finite,
    cosine_schedule,
    count_steps,
    cross_entropy,
    expand_to_runs,
    make_optimizer,
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
    "runs": Flag(positive_integer, 6, quick=3, help="runs of each training"),
    "steps": Flag(positive_integer, 10_000, quick=500,
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


class Training(NamedTuple):
    """How networks are trained.

    Without a rate the optimizer, one of torch.optim, has the rate of the settings. With cosine the
    rate falls to zero along a half cosine.
    """

    optimizer: type
    rate: float | None = None
    cosine: bool = False


# Run k of all trainings of a task starts from the same weights and sees the same data order.
CONSTANT, FALLING = "Adam", "Adam, rate falls"
FUNCTION_TRAININGS = {
    CONSTANT: Training(torch.optim.Adam),
    FALLING: Training(torch.optim.Adam, cosine=True),
    "gradient descent, rate 0.01": Training(torch.optim.SGD, rate=0.01),
    "gradient descent, rate 0.02": Training(torch.optim.SGD, rate=0.02),
    "gradient descent, rate 0.05": Training(torch.optim.SGD, rate=0.05),
}
IMAGE_TRAININGS = {
    CONSTANT: Training(torch.optim.Adam),
    FALLING: Training(torch.optim.Adam, cosine=True),
}
FUNCTION_TASK = "sinc"
FUNCTION_WIDTHS = mlp_widths(7, 571)  # seven hidden layers; 571 parameters as in the first script
IMAGE_WIDTHS = [784, 32, 32, 32, 10]
# Runs in one stack. A stack of networks on the function takes little longer than one of them; on
# images, two small stacks take as long as a large one.
FUNCTION_RUNS_TOGETHER, IMAGE_RUNS_TOGETHER = 6, 3
# Steps at which a training is recorded; rounding to whole steps merges the first few. On images
# each record costs as much as an epoch, on the function as much as a hundred steps.
IMAGE_RECORDS = 60
STEPS_PER_RECORD, FEWEST_RECORDS = 125, 16  # of a training on the function
FEWEST_STEPS = 4  # of a training: two in the early phase (see early_records), two in the late one
EARLY = 0.05  # the fraction of the steps that is called early; the rest is late
# One record late in training is noisy. What stands for the end of the early phase is the mean over
# this fraction of its steps, and what stands for the end of training, over that of all steps.
EARLY_END, END = 0.5, 0.1
AT_EDGE = 0.9  # of its limit: a curvature above it is called at the edge of stability
EIGENVALUE_TOLERANCE = 0.01  # relative; small beside 1 − AT_EDGE
SMALLEST = 1e-30  # replaces zeros, which a stuck network can reach, so that logarithms exist


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; inputs that all runs
# share lack that dimension. See common/models.py.
def build_model(widths, run_numbers, settings):
    """A stack of networks, one for each run, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(widths, generators).to(settings.device)


# --- training ---


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


def train_on_function(model, inputs, targets, training, record_at, settings):
    """Trains a stack on all points (N, 1) in every step, in place, and records it at some steps.

    The loop is its own, because what Adam divides a gradient by is known only after the step.

    Returns {"loss", "norm" of its gradient, "fraction_of_limit"}, (R, records) each, of the
    parameters before each of the steps record_at. All three are measured in float64.
    """
    updater = make_optimizer(training.optimizer, model, training.rate or settings.lr)
    schedule = cosine_schedule(updater, settings.steps, warmup=0) if training.cosine else None
    targets_of_runs = expand_to_runs(targets, model)
    exact_loss = loss_at(model, inputs.double(), targets.double(), mean_squared_error)
    records = {"loss": [], "norm": [], "fraction_of_limit": []}
    record_at = set(record_at.tolist())
    for step in range(settings.steps):
        losses = mean_squared_error(model(inputs.unsqueeze(0)), targets_of_runs)
        updater.zero_grad()
        losses.sum().backward()  # runs share no parameter: each gets its own gradient
        recorded = step in record_at
        if recorded:
            check_finite(losses, step)
            vectors = parameter_vectors(model).double()
        updater.step()
        if recorded:
            loss, gradient = loss_and_gradient(exact_loss, vectors)
            records["loss"].append(loss)
            records["norm"].append(gradient.norm(dim=1))
            # by the rate and the preconditioner of the step that was just made
            records["fraction_of_limit"].append(
                fraction_of_limit(exact_loss, vectors, updater, model))
        if schedule:
            schedule.step()
        advance()
    return stack_records(records)


def train_on_images(model, images, labels, training, record_at, order_generators, settings):
    """Trains a stack on mini-batches of images, in place, and records it at some steps.

    Returns {"loss", "norm" of its gradient, "batch_norm" of the mini-batch's gradient},
    (R, records) each, of the parameters before each of the steps record_at. Loss and norm are those
    of all images.
    """
    records = {"loss": [], "norm": [], "batch_norm": []}

    def probe(step):  # train calls it when the gradient of the batch is known
        batch_gradient = flatten({name: parameter.grad
                                  for name, parameter in model.named_parameters()})
        records["batch_norm"].append(batch_gradient.double().norm(dim=1))
        # This leaves the gradient of the batch in place for the step to come.
        loss, gradient = loss_and_gradient_of_model(model, images, labels, cross_entropy)
        records["loss"].append(loss)
        records["norm"].append(gradient.norm(dim=1))

    train(model, images, expand_to_runs(labels, model), cross_entropy, epochs=settings.epochs,
          learning_rate=training.rate or settings.lr, batch_size=settings.batch_size,
          order_generators=order_generators, optimizer=training.optimizer,
          cosine=training.cosine, probe=probe, probe_steps=record_at.tolist())
    return stack_records(records)


def stack_records(records):
    """Lists of values (R,), one for each record, as {name: values (R, records)}."""
    return {name: torch.stack(values, dim=1).clamp(min=SMALLEST)
            for name, values in records.items()}


def observe_on_function(name, run_numbers, record_at, settings):
    """Some runs of one of FUNCTION_TRAININGS: its records and dead units, as arrays."""
    model = build_model(FUNCTION_WIDTHS, run_numbers, settings)
    x = grid(settings.points, settings.device)
    initial_dead_units = dead_units(model, x)
    records = train_on_function(model, x, sinc(x), FUNCTION_TRAININGS[name], record_at, settings)
    return to_arrays({**records, "initial_dead_units": initial_dead_units,
                      "dead_units": dead_units(model, x)})


def observe_on_images(data, name, run_numbers, record_at, settings):
    """Some runs of one of IMAGE_TRAININGS: its records and dead units, as arrays."""
    model = build_model(IMAGE_WIDTHS, run_numbers, settings)
    images, labels = first_images(data, settings.train_size)
    initial_dead_units = dead_units(model, images)
    records = train_on_images(model, images, labels, IMAGE_TRAININGS[name], record_at,
                              run_generators(settings.seed, run_numbers, "order"), settings)
    return to_arrays({**records, "initial_dead_units": initial_dead_units,
                      "dead_units": dead_units(model, images)})


def observe_all(function_steps, image_steps, data, settings):
    """All trainings, cut into pieces of work: {(task, training): records and dead units}."""
    pieces = {}
    for name in FUNCTION_TRAININGS:
        for runs in groups_of_runs(range(settings.runs), FUNCTION_RUNS_TOGETHER):
            pieces[FUNCTION_TASK, name, runs[0]] = Piece(
                f"{FUNCTION_TASK}, {name}, runs {runs}", observe_on_function,
                (name, runs, function_steps, settings), settings.steps)
    image_task = dataset_title(data.name)
    steps = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    for name in IMAGE_TRAININGS:
        for runs in groups_of_runs(range(settings.runs), IMAGE_RUNS_TOGETHER):
            pieces[image_task, name, runs[0]] = Piece(
                f"{image_task}, {name}, runs {runs}", observe_on_images,
                (name, runs, image_steps, settings), steps, data=data)
    return join_groups(run_pieces(pieces, settings))


# --- measuring ---


def stability_limit(momentum):
    """The largest rate × curvature at which steps do not overshoot ever further.

    2 for gradient descent, which has no momentum. With a gradient averaged as Adam does, with
    weight momentum = β₁ on the past, 2 (1 + β₁) / (1 − β₁): 38 for 0.9 (Cohen et al. 2022,
    arXiv:2207.14484).
    """
    return 2 * (1 + momentum) / (1 - momentum)


def fraction_of_limit(loss, vectors, updater, model):
    """rate × largest curvature of every run at vectors (R, P), as a fraction of its limit: (R,).

    updater, the optimizer of model, has just made a step. At 1 lies the edge of stability (Cohen et
    al. 2021, arXiv:2103.00065). Adam divides the gradient by its preconditioner P, so that the
    curvature that counts is the largest eigenvalue of P⁻¹H, which is that of P^(−½) H P^(−½).
    """
    options = updater.param_groups[0]
    if isinstance(updater, torch.optim.Adam):
        scales, momentum = preconditioner(updater, model).rsqrt(), options["betas"][0]
    else:
        scales, momentum = None, 0
    curvature = largest_eigenvalue(loss, vectors, EIGENVALUE_TOLERANCE, scales)
    return options["lr"] * curvature / stability_limit(momentum)


def preconditioner(updater, model):
    """What Adam's last step divided the averaged gradient by, for each parameter: (R, P)."""
    options = updater.param_groups[0]
    gradient_decay, square_decay = options["betas"]
    states = {name: updater.state[parameter] for name, parameter in model.named_parameters()}
    squares = flatten({name: state["exp_avg_sq"] for name, state in states.items()}).double()
    step = next(iter(states.values()))["step"].item()
    root = (squares / (1 - square_decay**step)).sqrt() + options["eps"]
    return (1 - gradient_decay**step) * root


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


# --- summing up: steps are (records,), loss and norm of one training (R, records) ---


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


def end_values(steps, values):
    """The geometric mean of each run's values (R, records) over the end of training: (R,)."""
    return scipy.stats.gmean(values[:, last_records(steps)], axis=1)


def fall_since_early(steps, values):
    """Each run's values (R, records) in the second half over those at the early phase's end: (R,).

    Both are geometric means.
    """
    second_half = values[:, steps >= steps[-1] / 2]
    last_early = values[:, last_early_records(steps)]
    return scipy.stats.gmean(second_half, axis=1) / scipy.stats.gmean(last_early, axis=1)


def summarize_training(steps, records):
    """Columns of the table: medians and ranges over the runs; final values are end_values."""
    loss, norm = records["loss"], records["norm"]
    return {
        "runs": len(loss),
        "steps": int(steps[-1]) + 1,
        "initial_loss": np.median(loss[:, 0]),
        **range_columns("final_loss", end_values(steps, loss)),
        "initial_dead_units": np.median(records["initial_dead_units"]),
        **range_columns("dead_units", records["dead_units"]),
        "initial_gradient_norm": np.median(norm[:, 0]),
        **range_columns("final_gradient_norm", end_values(steps, norm)),
    }


def summarize_ends(steps, records):
    """Rows, one for each run on the function: where its training ends.

    The fraction of the limit is the median over the end of training.
    """
    last = last_records(steps)
    fractions = records["fraction_of_limit"]
    rows = []
    for run, (loss, norm) in enumerate(zip(end_values(steps, records["loss"]),
                                           end_values(steps, records["norm"]))):
        fraction = np.median(fractions[run, last])
        rows.append({
            "run": run,
            "final_loss": loss,
            "final_gradient_norm": norm,
            "fraction_of_limit": fraction,
            "at_edge": bool(fraction >= AT_EDGE),
            "dead_units": records["dead_units"][run],
        })
    return rows


def find_edge_step(steps, fractions):
    """The first recorded step of two in a row at the edge of stability; None where there is none.

    fractions of the limit are (records,) of one run. A unit that all but dies can raise a single
    record far beyond the edge.
    """
    at_edge = np.array(fractions) >= AT_EDGE
    in_a_row = np.flatnonzero(at_edge[:-1] & at_edge[1:])
    return int(steps[in_a_row[0]]) if len(in_a_row) else None


def compare_trainings(curves):
    """Rows: ratios of loss and norm with intervals over the runs.

    curves are {task: {training: {"steps", "loss", "norm", …}}}. fall_since_early is of every
    training; end_over_constant_rate compares its end with that of the constant rate, and
    end_over_lowest_rate the ends of gradient descent with the two most different rates. Both are
    paired: run k starts from the same weights.
    """
    rows = []

    def add(task, training, quantity, ratios):
        rows.append({"task": task, "training": training, "quantity": quantity,
                     **ratio_columns("ratio", ratios)})

    for task, trainings in curves.items():
        for name, of_training in trainings.items():
            for key in ("loss", "norm"):
                add(task, name, f"fall_since_early_{key}",
                    fall_since_early(of_training["steps"], of_training[key]))
            if "batch_norm" in of_training:
                add(task, name, "late_batch_over_full_norm", late_batch_over_full(of_training))
        for key in ("loss", "norm"):
            add(task, FALLING, f"end_over_constant_rate_{key}",
                end_ratios(trainings, FALLING, CONSTANT, key))
    rates = descent_names()
    add(FUNCTION_TASK, rates[-1], "end_over_lowest_rate_norm",
        end_ratios(curves[FUNCTION_TASK], rates[-1], rates[0], "norm"))
    return rows


def late_batch_over_full(curves):
    """The norm of a mini-batch's gradient over that of all images', late in each run: (R,)."""
    late = ~early_records(curves["steps"])
    return scipy.stats.gmean(curves["batch_norm"][:, late] / curves["norm"][:, late], axis=1)


def descent_names():
    """The trainings by plain gradient descent, in the order of their rates."""
    return [name for name, training in FUNCTION_TRAININGS.items()
            if training.optimizer is torch.optim.SGD]


def end_ratios(trainings, name, control_name, key):
    """end_values of one training over those of its control, run by run: (R,)."""
    training, control = trainings[name], trainings[control_name]
    return end_values(training["steps"], training[key]) / end_values(control["steps"], control[key])


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size)
    function_records = max(settings.steps // STEPS_PER_RECORD, FEWEST_RECORDS)
    function_steps = record_steps(settings.steps, function_records)
    steps_on_images = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    image_steps = record_steps(steps_on_images, IMAGE_RECORDS)
    observed = observe_all(function_steps, image_steps, data, settings)

    table, ends, curves = [], [], {}
    for (task, name), records in observed.items():
        columns = {"task": task, "training": name}
        steps = function_steps if task == FUNCTION_TASK else image_steps
        table.append(columns | summarize_training(steps, records))
        if task == FUNCTION_TASK:
            ends += [columns | row for row in summarize_ends(steps, records)]
        curves.setdefault(task, {})[name] = {"steps": steps, **records}
    return {
        "constants": {"EARLY": EARLY, "EARLY_END": EARLY_END, "END": END,
                      "AT_EDGE": AT_EDGE, "HIDDEN_LAYERS": len(FUNCTION_WIDTHS) - 2,
                      "LIMIT_OF_DESCENT": stability_limit(0), "LIMIT_OF_ADAM": stability_limit(0.9),
                      "DESCENT_RATES": [FUNCTION_TRAININGS[name].rate for name in descent_names()]},
        "table": table,
        "ends": ends,
        "ratios": compare_trainings(curves),
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say of the results.

    Intervals are over the runs. "loss_fall" and "norm_fall" are the ratios fall_since_early at the
    constant rate, "falling_rate_norm" is the norm at the end of the falling rate over that of the
    constant one. For "adam" and "descent" see collect_edge_facts.
    """
    facts = {}
    for name, (task, trainings) in zip(("sinc", "images"), results["curves"].items()):
        facts[name] = {
            "loss_fall": find_ratio(results, task, CONSTANT, "fall_since_early_loss"),
            "norm_fall": find_ratio(results, task, CONSTANT, "fall_since_early_norm"),
            "falls_less_p_value": p_value_of_falling_less(trainings[CONSTANT]),
            "falling_rate_norm": find_ratio(results, task, FALLING, "end_over_constant_rate_norm"),
            "typical_run": find_typical_run(trainings[CONSTANT]),
        }
        if name == "images":
            facts[name]["late_batch_over_full_norm"] = find_ratio(
                results, task, CONSTANT, "late_batch_over_full_norm")
    facts["answer_p_value"] = largest_p_value([facts["sinc"], facts["images"]])
    curves = results["curves"][FUNCTION_TASK][CONSTANT]
    facts["sinc"]["edge_step"] = find_edge_step(
        curves["steps"], curves["fraction_of_limit"][facts["sinc"]["typical_run"]])
    facts["adam"] = collect_edge_facts(results, [CONSTANT])
    facts["descent"] = collect_edge_facts(results, descent_names())
    facts["descent"]["highest_over_lowest_rate_norm"] = find_ratio(
        results, FUNCTION_TASK, descent_names()[-1], "end_over_lowest_rate_norm")
    return facts


def collect_edge_facts(results, names):
    """How many trainings of these names end at the edge, and how the others' norms compare.

    The extremes of norm and fraction of the limit are None where no training is on that side.
    """
    rows = [row for row in results["ends"] if row["training"] in names]
    at_edge = [row for row in rows if row["at_edge"]]
    below = [row for row in rows if not row["at_edge"]]
    norms_at_edge = [row["final_gradient_norm"] for row in at_edge]
    norms_below = [row["final_gradient_norm"] for row in below]
    fractions = [row["fraction_of_limit"] for row in at_edge]
    return {
        "trainings": len(rows),
        "at_edge": len(at_edge),
        "below": len(below),
        "median_norm_at_edge": np.median(norms_at_edge) if at_edge else None,
        "lowest_norm_at_edge": min(norms_at_edge, default=None),
        "median_norm_below": np.median(norms_below) if below else None,
        "highest_norm_below": max(norms_below, default=None),
        "lowest_fraction_at_edge": min(fractions, default=None),
        "highest_fraction_at_edge": max(fractions, default=None),
    }


def find_ratio(results, task, training, quantity):
    """A stored ratio with its interval."""
    row = find_row(results["ratios"], task=task, training=training, quantity=quantity)
    return as_interval(row, "ratio")


def find_typical_run(curves):
    """The run whose loss falls late as far as in the median run, or next to it."""
    falls = np.log(fall_since_early(np.array(curves["steps"]), np.array(curves["loss"])))
    return int(np.argmin(abs(falls - np.median(falls))))


def p_value_of_falling_less(curves):
    """The p-value of the hypothesis that norm and loss fall alike from the early phase on.

    The unit is the run: a paired t-test of the logarithms of fall_since_early of norm and loss.
    None for a single run.
    """
    steps = np.array(curves["steps"])
    loss_falls, norm_falls = (np.log(fall_since_early(steps, np.array(curves[key])))
                              for key in ("loss", "norm"))
    return p_value_of_mean(norm_falls - loss_falls)


def largest_p_value(facts_of_tasks):
    """The largest p-value behind the report's answer, corrected for the number of tasks.

    The correction is Bonferroni's. None where a p-value is unknown.
    """
    p_values = [facts["falls_less_p_value"] for facts in facts_of_tasks]
    return None if None in p_values else min(1, len(p_values) * max(p_values))


# --- drawing ---

LOSS_LOOK = (COLORS[0], MARKERS[0])
NORM_LOOK = (COLORS[1], MARKERS[1])
LOOKS = {  # colour and marker of each training on the function
    "Adam": ("black", "o"),
    "Adam, rate falls": (GREY, "X"),
    "gradient descent, rate 0.01": (COLORS[5], "v"),
    "gradient descent, rate 0.02": (COLORS[2], "^"),
    "gradient descent, rate 0.05": (COLORS[3], "D"),
}


def plot(results):
    """A typical run on the function and one on images; why the norm stays large, in all runs."""
    facts, (function, images) = results["facts"], results["curves"]
    both_tasks = {**results["environment"], "dataset": f"{function} and {images}"}
    figure, panels = new_figure(figure_title(facts), {**results, "environment": both_tasks}, 2, 2,
                                height=3.2)
    draw_run(panels[0, 0], results, function, facts["sinc"])
    draw_run(panels[0, 1], results, images, facts["images"])
    draw_fractions(panels[1, 0], results, function)
    draw_ends(panels[1, 1], results)
    legend_below(figure, panels[0, 0], panels[1, 1])
    return figure


def figure_title(facts):
    """Whether the norm falls less than the loss, and whether the learning rate keeps it up."""
    apart = all(falls_less(facts[name]) for name in ("sinc", "images"))
    if not apart:
        return "From early to late, the gradient norm need not stay behind the loss"
    finding = "The loss falls further than the gradient norm"
    return f"{finding}; on sinc Adam's rate keeps the norm up" if rate_matters(facts) else finding


def falls_less(facts):
    """Whether the norm falls less than the loss does, from the early phase to the second half."""
    loss, norm = facts["loss_fall"], facts["norm_fall"]
    return None not in (loss["high"], norm["low"]) and loss["high"] < norm["low"]


def rate_matters(facts):
    """Whether all runs of Adam on the function end at the edge, with a norm that the rate lowers.
    """
    high = facts["sinc"]["falling_rate_norm"]["high"]
    return facts["adam"]["below"] == 0 and high is not None and high < 1


def describe_change(interval):
    """What a ratio says, in words: how many times a quantity falls or rises."""
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if low is None or low <= 1 <= high:
        return "has no clear trend"
    return f"falls {1 / value:.0f}-fold" if high < 1 else f"rises {value:.1f}-fold"


def draw_run(panel, results, task, facts):
    """Loss and norm of one run of Adam; the title says how both go on late, in all runs.

    A line marks where its curvature reaches the limit, where this is known.
    """
    curves, run = results["curves"][task]["Adam"], facts["typical_run"]
    steps = np.array(curves["steps"]) + 1  # counted from 1 for the logarithmic axis
    for values, (color, marker), label in (
            (curves["norm"][run], NORM_LOOK, "gradient norm"),
            (curves["loss"][run], LOSS_LOOK, "training loss")):
        panel.plot(steps, values, color=color, marker=marker, markevery=max(len(steps) // 8, 1),
                   markersize=4, linewidth=1.2, label=label)
    if facts.get("edge_step") is not None:
        panel.axvline(facts["edge_step"] + 1, color="black", linestyle=":")
        panel.annotate("here rate × curvature\nreaches its limit ", (facts["edge_step"], 0.97),
                       xycoords=("data", "axes fraction"), ha="right", va="top", fontsize=8.5)
    panel.set(xscale="log", yscale="log", xlabel="training step", ylabel="loss and norm of one run",
              title=f"{task}, early to late: the loss {describe_change(facts['loss_fall'])},\n"
                    f"the norm {describe_change(facts['norm_fall'])}")


def draw_fractions(panel, results, task):
    """rate × curvature of every run of Adam as a fraction of its limit, against the step.

    How far the runs of gradient descent come is in draw_ends; thirty lines would hide each other.
    """
    for name, (color, marker) in LOOKS.items():
        if name.startswith("gradient descent"):
            continue
        curves = results["curves"][task][name]
        for run, fractions in enumerate(curves["fraction_of_limit"]):
            mark_every = (3 * run, max(len(fractions) // 3, 1))  # the runs' marks lie side by side
            panel.plot(curves["steps"], fractions, color=color, linewidth=1, marker=marker,
                       markersize=4, markevery=mark_every)
    panel.axhline(1, color=GREY, linewidth=1)
    finding = "At Adam's constant rate, rate ×\ncurvature need not rise to its limit"
    if results["facts"]["adam"]["below"] == 0:
        finding = "Why, on sinc: at Adam's constant rate,\nrate × curvature rises to its limit"
    panel.set(xlabel="training step", ylabel="rate × curvature ÷ limit", ylim=(0, 1.3),
              title=finding)


def draw_ends(panel, results):
    """The norm at the end of every run on the function against the fraction of the limit."""
    for name, (color, marker) in LOOKS.items():
        rows = [row for row in results["ends"] if row["training"] == name]
        panel.plot([row["fraction_of_limit"] for row in rows],
                   [row["final_gradient_norm"] for row in rows], marker, color=color,
                   markersize=6, label=name)
    panel.axvline(1, color=GREY, linewidth=1)
    panel.set(yscale="log", xlabel="rate × curvature ÷ limit at the end",
              ylabel="gradient norm at the end", title=ends_title(results["facts"]))


def ends_title(facts):
    """How the norms of gradient descent differ between the runs at the edge and the others."""
    at_edge = facts["descent"]["median_norm_at_edge"]
    below = facts["descent"]["median_norm_below"]
    if at_edge is None or below is None or at_edge < below:
        return "The norm need not be larger\nat the limit"
    return f"Gradient descent: median norm\n{at_edge / below:.0f} times as large at the limit"


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts, uses_images=True)
