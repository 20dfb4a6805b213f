"""Does the gradient vanish with the loss, as in a quadratic valley?

In such a valley the loss is proportional to the square of its gradient's norm. Both are followed
through the training of ReLU networks, over the whole training set: on a function, where every step
uses all points, and on images, where a step uses a mini-batch. On the function the curvature is
followed too, in trainings by Adam and by plain gradient descent: rate × curvature says how near a
training is to the edge of stability, beyond which steps overshoot ever further.

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
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    draw_ranges,
    draw_runs,
    find_row,
    legend_below,
    new_figure,
)
from common.progress import advance
from common.statistics import (
    adjust_p_values,
    as_interval,
    p_value_of_mean,
    range_columns,
    ratio_columns,
)
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
# Runs in one stack. On the function six networks take little longer than three; on images, where
# two take three quarters of the time of three, small stacks keep each piece of work short.
FUNCTION_RUNS_TOGETHER, IMAGE_RUNS_TOGETHER = 6, 2
# A training is recorded at steps at equal distances. On images each record costs as much as half an
# epoch, on the function as much as sixty steps.
IMAGE_RECORDS = 60
STEPS_PER_RECORD, FEWEST_RECORDS = 100, 16  # of a training on the function
FEWEST_STEPS = 2  # of a training, which has a start and an end
# One record late in training is noisy. What stands for the end of training is the geometric mean
# over this fraction of its steps.
END = 0.1
AT_EDGE = 0.9  # of its limit: rate × curvature above it is called at the edge of stability
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
    """So many steps at equal distances, from the first to the last, or all if they are fewer.

    Returns them as whole numbers (records,).
    """
    if total < FEWEST_STEPS:
        raise UsageError(f"a training of {total} step is too short to follow; raise --steps or "
                         "--epochs")
    return np.unique(np.linspace(0, total - 1, count).round().astype(int))


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
    """The records of some runs of one of FUNCTION_TRAININGS, as arrays."""
    model = build_model(FUNCTION_WIDTHS, run_numbers, settings)
    x = grid(settings.points, settings.device)
    training = FUNCTION_TRAININGS[name]
    return to_arrays(train_on_function(model, x, sinc(x), training, record_at, settings))


def observe_on_images(data, name, run_numbers, record_at, settings):
    """The records of some runs of one of IMAGE_TRAININGS, as arrays."""
    model = build_model(IMAGE_WIDTHS, run_numbers, settings)
    images, labels = first_images(data, settings.train_size)
    order_generators = run_generators(settings.seed, run_numbers, "order")
    return to_arrays(train_on_images(model, images, labels, IMAGE_TRAININGS[name], record_at,
                                     order_generators, settings))


def observe_all(function_steps, image_steps, data, settings):
    """All trainings, cut into pieces of work: {(task, training): records}."""
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
    """rate × curvature of every run at vectors (R, P), as a fraction of its limit: (R,).

    updater, the optimizer of model, has just made a step. The curvature is the largest eigenvalue
    of the Hessian H. Adam divides the gradient by its preconditioner P, so that for Adam it is that
    of P⁻¹H, which P^(−½) H P^(−½) shares. At 1 lies the edge of stability (Cohen et al. 2021,
    arXiv:2103.00065).
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


# --- summing up: steps are (records,), loss and norm of one training (R, records) ---


def last_records(steps):
    """Which records lie at the end of training, (records,): the last one at least."""
    return steps >= (1 - END) * steps[-1]


def end_values(steps, values):
    """The geometric mean of each run's values (R, records) over the end of training: (R,)."""
    return scipy.stats.gmean(values[:, last_records(steps)], axis=1)


def summarize_training(steps, records):
    """Columns of the table: medians and ranges over the runs; final values are end_values."""
    loss, norm = records["loss"], records["norm"]
    return {
        "runs": len(loss),
        "steps": int(steps[-1]) + 1,
        "initial_loss": np.median(loss[:, 0]),
        **range_columns("final_loss", end_values(steps, loss)),
        "initial_gradient_norm": np.median(norm[:, 0]),
        **range_columns("final_gradient_norm", end_values(steps, norm)),
    }


def summarize_ends(curves):
    """Rows, one for each run on the function: where its training ends.

    The fraction of the limit is the median over the end of training.
    """
    losses = end_values(curves["steps"], curves["loss"])
    norms = end_values(curves["steps"], curves["norm"])
    last = last_records(curves["steps"])
    fractions = np.median(curves["fraction_of_limit"][:, last], axis=1)
    rows = []
    for run, fraction in enumerate(fractions):
        rows.append({
            "run": run,
            "final_loss": losses[run],
            "final_gradient_norm": norms[run],
            "fraction_of_limit": fraction,
            "at_edge": bool(fraction >= AT_EDGE),
        })
    return rows


def end_over_start(curves):
    """How far loss and norm fall in each run, and norm² ÷ loss: {quantity: its end ÷ its start}.

    The ratios are (R,). In a quadratic valley that bends alike in all directions, norm² ÷ loss
    stays as it is: 1.
    """
    loss, norm = curves["loss"], curves["norm"]
    quantities = {"loss": loss, "norm": norm, "norm_squared_over_loss": norm**2 / loss}
    return {name: end_values(curves["steps"], values) / values[:, 0]
            for name, values in quantities.items()}


def compare_trainings(curves):
    """Rows: the ratios of end_over_start with intervals over the runs.

    curves are {task: {training: {"steps", "loss", "norm", …}}}. Each training's end is divided by
    its start. The end of the falling rate is divided by that of the constant one, too, run by run:
    run k starts from the same weights, so that the starts cancel.
    """
    rows = []
    for training in FUNCTION_TRAININGS:
        falls = {task: end_over_start(trainings[training])
                 for task, trainings in curves.items() if training in trainings}
        rows += ratio_rows(training, "start", falls)
    falling_over_constant = {}
    for task, trainings in curves.items():
        falling, constant = end_over_start(trainings[FALLING]), end_over_start(trainings[CONSTANT])
        falling_over_constant[task] = {name: falling[name] / constant[name] for name in falling}
    return rows + ratio_rows(FALLING, CONSTANT, falling_over_constant)


def ratio_rows(training, divided_by, ratios_of_tasks):
    """A row for each of {task: {quantity: ratios (R,)}}: geometric means with intervals.

    The p-value is that of a t-test, over the runs, that the logarithm of norm² ÷ loss is 0 on
    average; it is Holm's over the tasks.
    """
    rows = []
    for task, ratios in ratios_of_tasks.items():
        row = {"task": task, "training": training, "divided_by": divided_by}
        for quantity, values in ratios.items():
            row |= ratio_columns(quantity, values)
        row["p_value"] = p_value_of_mean(np.log(ratios["norm_squared_over_loss"]))
        rows.append(row)
    return adjust_p_values(rows)


def descent_names():
    """The trainings by plain gradient descent, in the order of their rates."""
    return [name for name, training in FUNCTION_TRAININGS.items()
            if training.optimizer is torch.optim.SGD]


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
        if task == FUNCTION_TASK:
            records = {"steps": function_steps, **records}
            ends += [columns | row for row in summarize_ends(records)]
        else:
            records = {"steps": image_steps, **records}
        table.append(columns | summarize_training(records["steps"], records))
        curves.setdefault(task, {})[name] = records
    return {
        "constants": {"FUNCTION_WIDTHS": FUNCTION_WIDTHS, "IMAGE_WIDTHS": IMAGE_WIDTHS, "END": END,
                      "AT_EDGE": AT_EDGE, "LIMIT_OF_DESCENT": stability_limit(0),
                      "LIMIT_OF_ADAM": stability_limit(0.9),
                      "DESCENT_RATES": [FUNCTION_TRAININGS[name].rate for name in descent_names()]},
        "table": table,
        "ends": ends,
        "ratios": compare_trainings(curves),
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say of the results.

    "constant", "falling" and "falling_over_constant" are ratios of compare_trainings. The report's
    answer is that the last one differs from 1 on both tasks: "answer_p_value" is the larger of
    their p-values. For "adam" and "descent" see collect_edge_facts.
    """
    facts = {}
    for name, (task, trainings) in zip(("sinc", "images"), results["curves"].items()):
        facts[name] = {
            "constant": find_ratios(results, task, CONSTANT, "start"),
            "falling": find_ratios(results, task, FALLING, "start"),
            "falling_over_constant": find_ratios(results, task, FALLING, CONSTANT),
            "typical_run": find_typical_run(trainings[CONSTANT]),
        }
    p_values = [facts[name]["falling_over_constant"]["p_value"] for name in ("sinc", "images")]
    facts["answer_p_value"] = None if None in p_values else max(p_values)
    _, on_images = results["curves"].values()
    facts["images"]["batch_over_full_norm"] = batch_over_full_norm(on_images[CONSTANT])
    facts["adam"] = collect_edge_facts(results, [CONSTANT])
    facts["descent"] = collect_edge_facts(results, descent_names())
    return facts


def find_ratios(results, task, training, divided_by):
    """A row of compare_trainings: each ratio with its interval, and the p-value."""
    row = find_row(results["ratios"], task=task, training=training, divided_by=divided_by)
    quantities = ("loss", "norm", "norm_squared_over_loss")
    return {**{name: as_interval(row, name) for name in quantities}, "p_value": row["p_value"]}


def find_typical_run(curves):
    """The run whose norm² ÷ loss changes as much as in the median run, or next to it."""
    arrays = {name: np.array(values) for name, values in curves.items()}
    changes = np.log(end_over_start(arrays)["norm_squared_over_loss"])
    return int(np.argmin(abs(changes - np.median(changes))))


def batch_over_full_norm(curves):
    """The norm of a mini-batch's gradient over that of all images', at the end, with interval."""
    ratios = np.array(curves["batch_norm"]) / np.array(curves["norm"])
    ratios_of_runs = end_values(np.array(curves["steps"]), ratios)
    return as_interval(ratio_columns("ratio", ratios_of_runs), "ratio")


def collect_edge_facts(results, names):
    """How many trainings of these names end at the edge, and how the others' norms compare.

    The median norms are None where no training is on that side. For exceptions see is_exception.
    """
    rows = [row for row in results["ends"] if row["training"] in names]
    norms_at_edge = [row["final_gradient_norm"] for row in rows if row["at_edge"]]
    norms_below = [row["final_gradient_norm"] for row in rows if not row["at_edge"]]
    facts = {
        "trainings": len(rows),
        "at_edge": len(norms_at_edge),
        "below": len(norms_below),
        "median_norm_at_edge": np.median(norms_at_edge) if norms_at_edge else None,
        "median_norm_below": np.median(norms_below) if norms_below else None,
    }
    facts["exceptions"] = sum(is_exception(row, facts) for row in rows)
    return facts


def is_exception(row, facts):
    """Whether a run's norm is nearer the median of the other side of the edge, in logarithm."""
    at_edge, below = facts["median_norm_at_edge"], facts["median_norm_below"]
    if at_edge is None or below is None:
        return False
    own, other = (at_edge, below) if row["at_edge"] else (below, at_edge)
    norm = row["final_gradient_norm"]
    return abs(np.log(norm / other)) < abs(np.log(norm / own))


# --- drawing ---

LOSS_LOOK = (COLORS[0], MARKERS[0])
NORM_LOOK = (COLORS[1], MARKERS[1])
BATCH_LOOK = ("#b0b0b0", "X")  # of a mini-batch; lighter than the norm in greyscale
LOOKS = {  # colour and marker of each training on the function
    "Adam": ("black", "o"),
    "Adam, rate falls": (COLORS[2], "^"),
    "gradient descent, rate 0.01": (COLORS[5], "v"),
    "gradient descent, rate 0.02": (COLORS[4], "D"),
    "gradient descent, rate 0.05": (COLORS[3], "P"),
}
ADAM_LABELS = {"Adam": "Adam, constant rate", "Adam, rate falls": "Adam, rate falls to zero"}


def plot(results):
    """A run on each task at the constant rate; on the function, what a falling rate changes."""
    facts, (function, images) = results["facts"], results["curves"]
    figure, panels = two_task_figure(figure_title(facts), results, 2, 2, height=3.2)
    draw_run(panels[0, 0], results, function, facts["sinc"])
    draw_run(panels[0, 1], results, images, facts["images"])
    draw_adam_fractions(panels[1, 0], results, function)
    draw_norms(panels[1, 1], results, function)
    legend_below(figure, panels[0, 0], panels[1, 1], columns=2)
    return figure


def plot_details(results):
    """Gradient descent and the edge of stability; a mini-batch's norm; the ratios of norm² ÷ loss.
    """
    figure, panels = two_task_figure(details_title(results["facts"]), results, 2, 3, height=3.0)
    function, images = results["curves"]
    descent = [name for name in LOOKS if name.startswith("gradient descent")]
    for panel, name in zip(panels[0], descent):
        panel.sharey(panels[0, 0])
        draw_descent_fractions(panel, results, function, name)
    draw_ends(panels[1, 0], results, descent)
    draw_batch_norms(panels[1, 1], results, images)
    draw_quotients(panels[1, 2], results)
    legend_below(figure, *panels[1], columns=3)
    return figure


def two_task_figure(title, results, rows, columns, height):
    """A figure whose note names both tasks."""
    both_tasks = {**results["environment"], "dataset": " and ".join(results["curves"])}
    return new_figure(title, {**results, "environment": both_tasks}, rows, columns, height=height)


def figure_title(facts):
    """Whether on the function the norm ends smaller with the falling rate, beside the loss too."""
    if rate_matters(facts["sinc"]):
        return "On sinc, the gradient norm follows the learning rate, not only the loss"
    return "Loss and gradient norm at a constant and at a falling learning rate"


def rate_matters(facts_of_task):
    """Whether norm² ÷ loss ends lower with the falling rate than with the constant one."""
    high = facts_of_task["falling_over_constant"]["norm_squared_over_loss"]["high"]
    return high is not None and high < 1


def describe_end(interval):
    """Where the norm ends beside √loss, from the ratio of norm² ÷ loss with its interval."""
    if interval["low"] is None:
        return "norm\nand √loss"
    if interval["low"] > 1:
        return "the norm\nends above √loss"
    if interval["high"] < 1:
        return "the norm\nends below √loss"
    return "the norm\nends with no clear gap to √loss"


def draw_run(panel, results, task, facts):
    """Loss, norm and √loss of one run of Adam, each divided by its value at the start."""
    curves, run = results["curves"][task]["Adam"], facts["typical_run"]
    loss, norm = (np.array(curves[key][run]) for key in ("loss", "norm"))
    relative_loss, relative_norm = loss / loss[0], norm / norm[0]
    for values, (color, marker), label in (
            (relative_loss, LOSS_LOOK, "training loss"),
            (relative_norm, NORM_LOOK, "norm of its gradient")):
        panel.plot(curves["steps"], values, color=color, marker=marker, markersize=4,
                   markevery=max(len(values) // 8, 1), linewidth=1, label=label)
    panel.plot(curves["steps"], np.sqrt(relative_loss), ":", color=LOSS_LOOK[0],
               label="√loss: the norm in a quadratic valley")
    label_steps(panel)
    end = describe_end(facts["constant"]["norm_squared_over_loss"])
    panel.set(yscale="log", ylabel="value ÷ value at the start",
              title=f"{task}, constant rate: {end}")


def label_steps(panel, ticks=6):
    """Training steps as the x axis, with commas."""
    panel.set_xlabel("training step")
    panel.locator_params(axis="x", nbins=ticks)
    panel.xaxis.set_major_formatter("{x:,.0f}")


def draw_adam_fractions(panel, results, task):
    """rate × curvature of Adam as a fraction of its limit, against the step, all runs."""
    for name in ADAM_LABELS:
        color, marker = LOOKS[name]
        curves = results["curves"][task][name]
        draw_runs(panel, curves["steps"], curves["fraction_of_limit"], color, marker=marker)
    finding = "At the constant rate, rate ×\ncurvature need not rise to its limit"
    if results["facts"]["adam"]["below"] == 0:
        finding = "Why: at the constant rate,\nrate × curvature rises to its limit"
    panel.axhline(1, color=GREY, linewidth=1)
    panel.text(1, 1.15, "above 1, steps overshoot ever further", color=GREY, fontsize=8.5,
               ha="right", transform=panel.get_yaxis_transform())
    label_steps(panel)
    panel.set(ylabel="rate × curvature ÷ its limit", ylim=(0, 1.3), title=f"{task}. {finding}")


def draw_norms(panel, results, task):
    """The gradient norm of Adam at a constant and at a falling rate, all runs."""
    for name, label in ADAM_LABELS.items():
        color, marker = LOOKS[name]
        curves = results["curves"][task][name]
        draw_runs(panel, curves["steps"], curves["norm"], color, label=label, marker=marker)
    norm = results["facts"]["sinc"]["falling_over_constant"]["norm"]
    finding = "the norm need not end smaller"
    if norm["high"] is not None and norm["high"] < 1:
        finding = f"the norm ends {1 / norm['value']:.0f} times smaller"
    label_steps(panel)
    panel.set(yscale="log", ylabel="gradient norm",
              title=f"{task}. The test: with the falling rate,\n{finding}")


def details_title(facts):
    """Whether the runs of gradient descent that end at the limit have the larger norms."""
    if limit_matters(facts["descent"]):
        return "Gradient descent: norms mostly end large at the limit and small below it"
    return "Gradient descent: norms need not end larger at the limit than below it"


def limit_matters(facts):
    """Whether the median norm of the runs at the edge is larger than that of the others."""
    at_edge, below = facts["median_norm_at_edge"], facts["median_norm_below"]
    return None not in (at_edge, below) and at_edge > below


def draw_descent_fractions(panel, results, task, name):
    """rate × curvature of every run of gradient descent as a fraction of its limit."""
    color, marker = LOOKS[name]
    curves = results["curves"][task][name]
    steps, fractions = curves["steps"], np.array(curves["fraction_of_limit"])
    panel.plot(steps, fractions.T, color=color, linewidth=1, marker=marker, markersize=4,
               markevery=max(len(steps) // 3, 1))
    rows = [row for row in results["ends"] if row["training"] == name]
    at_edge = sum(row["at_edge"] for row in rows)
    panel.axhline(1, color=GREY, linewidth=1)
    label_steps(panel, ticks=3)
    panel.set(yscale="log", ylabel="rate × curvature ÷ its limit",
              yticks=[0.1, 1, 10], yticklabels=["0.1", "1", "10"],
              title=f"{name.capitalize()}:\n{at_edge} of {len(rows)} runs end at the limit")


def draw_ends(panel, results, names):
    """The norm at the end of every run of gradient descent against the fraction of the limit."""
    facts = results["facts"]["descent"]
    rows = [row for row in results["ends"] if row["training"] in names]
    for name in names:
        color, marker = LOOKS[name]
        mark_ends(panel, [row for row in rows if row["training"] == name], marker, color=color,
                  markersize=6, label=name)
    mark_ends(panel, [row for row in rows if is_exception(row, facts)], "o", color="black",
              markersize=12, markerfacecolor="none", label="norm nearer the other side's median")
    right = panel.get_xlim()[1]
    panel.axvspan(results["constants"]["AT_EDGE"], right, color=GREY, alpha=0.15, linewidth=0)
    title = "Norms at the end need not be\nlarger at the limit"
    if limit_matters(facts):
        ratio = facts["median_norm_at_edge"] / facts["median_norm_below"]
        title = (f"At the limit the median norm is {ratio:.0f} times\nas large; "
                 f"{facts['exceptions']} of {facts['trainings']} runs are exceptions")
    panel.set(yscale="log", ylabel="gradient norm at the end", title=title,
              xlabel="rate × curvature ÷ its limit, at the end\n(shaded: at the limit)",
              xlim=(None, right))


def mark_ends(panel, rows, marker, **style):
    """Marks of some runs in draw_ends."""
    panel.plot([row["fraction_of_limit"] for row in rows],
               [row["final_gradient_norm"] for row in rows], marker, clip_on=False, **style)


def draw_batch_norms(panel, results, task):
    """The norm of a mini-batch's gradient beside that of all images', all runs."""
    curves = results["curves"][task]["Adam"]
    for key, (color, marker), label in (
            ("batch_norm", BATCH_LOOK, "gradient of one mini-batch"),
            ("norm", NORM_LOOK, "gradient of all images")):
        draw_runs(panel, curves["steps"], curves[key], color, label=label, marker=marker)
    ratio = results["facts"]["images"]["batch_over_full_norm"]
    finding = "a mini-batch's norm need\nnot end above that of all images"
    if ratio["low"] is not None and ratio["low"] > 1:
        finding = f"a mini-batch's norm ends\n{ratio['value']:.1f} times that of all images"
    label_steps(panel, ticks=4)
    panel.set(yscale="log", ylabel="gradient norm", title=f"{task}: {finding}")


def draw_quotients(panel, results):
    """norm² ÷ loss at the end over that at the start, on both tasks and with both rates."""
    columns = [f"norm_squared_over_loss{end}" for end in ("", "_low", "_high")]
    tasks = list(results["curves"])
    for offset, (name, label) in zip((-0.1, 0.1), ADAM_LABELS.items()):
        color, marker = LOOKS[name]
        rows = [find_row(results["ratios"], task=task, training=name, divided_by="start")
                for task in tasks]
        places = np.arange(len(tasks)) + offset
        draw_ranges(panel, rows, places, columns, color, marker, label)
    panel.axvline(1, color=GREY, linewidth=1)
    facts = results["facts"]
    finding = "What the falling rate changes"
    if rate_matters(facts["sinc"]) and rate_matters(facts["images"]):
        finding = "A falling rate lowers norm² ÷ loss"
    panel.set(xscale="log", ylim=(len(tasks) - 0.5, -0.5),  # the first task on top
              xlabel="norm² ÷ loss: end ÷ start\n(95 % interval; a quadratic valley: 1)",
              title=f"{finding}\non {' and '.join(tasks)}")
    panel.set_yticks(range(len(tasks)), tasks)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts, uses_images=True)
