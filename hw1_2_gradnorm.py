"""Does the gradient's norm fall with the loss?

ReLU networks are trained by Adam, at a constant learning rate or one that falls to zero. The
training loss and the norm of its gradient are followed over the whole training set: on a function,
where every step uses all points, and on images, where a step uses a mini-batch.

On the function the curvature h of the loss is followed too, in trainings by Adam and by plain
gradient descent. In a valley with the loss ½hx² the gradient is hx, and a step of gradient descent
takes x to x − rate · hx = (1 − rate · h) x. Where rate × curvature is above 2, the edge of
stability, x diverges, as steps overshoot ever further. Adam has a limit of its own, see
stability_limit.

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


def descent_name(rate):
    """What results call the training by plain gradient descent with this rate."""
    return f"gradient descent, rate {rate}"


# Run k of all trainings of a task starts from the same weights and sees the same data order.
ADAM_CONSTANT, ADAM_FALLING = "Adam", "Adam, rate falls"  # what results call the trainings by Adam
DESCENT_RATES = [0.01, 0.02, 0.05]
ADAM_TRAININGS = {
    ADAM_CONSTANT: Training(torch.optim.Adam),
    ADAM_FALLING: Training(torch.optim.Adam, cosine=True),
}
DESCENT_TRAININGS = {descent_name(rate): Training(torch.optim.SGD, rate) for rate in DESCENT_RATES}
FUNCTION_TRAININGS = ADAM_TRAININGS | DESCENT_TRAININGS
IMAGE_TRAININGS = ADAM_TRAININGS
ADAM_BETA1 = 0.9  # β₁ of all trainings by Adam: PyTorch's default
FUNCTION_TASK = "sinc"
FUNCTION_WIDTHS = mlp_widths(7, 571)  # seven hidden layers, 571 parameters: as in hw1_1_simulate.py
IMAGE_WIDTHS = [784, 32, 32, 32, 10]
# How many runs one stack holds, chosen by timing. On the function six networks take little longer
# than three; on images, where two take three quarters of the time of three, small stacks keep each
# piece of work short.
FUNCTION_RUNS_TOGETHER, IMAGE_RUNS_TOGETHER = 6, 2
# A training is recorded at steps at equal distances. On images each record costs as much as half an
# epoch, on the function as much as sixty steps.
IMAGE_RECORDS = 60
STEPS_PER_RECORD, FEWEST_RECORDS = 125, 16  # of a training on the function
FEWEST_STEPS = 2  # of a training, which has a start and an end
# One record late in training is noisy. A value at the end of training is therefore the geometric
# mean over this last part of its steps. For rate × curvature ÷ its limit it is the median, which
# single overshoots do not move.
END = 0.1
# Any network's loss and norm fall in the first steps. Whether they go on falling is judged by their
# values at the end, divided by their earlier values: those between these fractions of the steps.
EARLIER = (0.1, 0.2)
# A run is at the edge of stability, in figures "at the limit", where rate × curvature ends at this
# fraction of its limit or above.
AT_EDGE = 0.9
EIGENVALUE_TOLERANCE = 0.01  # relative; small beside 1 − AT_EDGE
# Replaces losses and norms of zero, which a stuck network can reach, so that logarithms exist.
SMALLEST = 1e-30


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; inputs that all runs
# share lack that dimension. See common/models.py.
def build_model(widths, run_numbers, settings):
    """A stack of networks, one for each run, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(widths, generators).to(settings.device)


# --- training ---


def choose_recorded_steps(step_count, record_count):
    """The steps of a training that are recorded, as whole numbers (records,) counted from 0.

    They lie at equal distances, from the first step to the last. Where a training has fewer steps
    than records, every step is recorded.
    """
    if step_count < FEWEST_STEPS:
        raise UsageError(f"a training of {step_count} step is too short to follow; raise --steps "
                         "or --epochs")
    return np.unique(np.linspace(0, step_count - 1, record_count).round().astype(int))


def train_on_function(model, inputs, targets, training, recorded_steps, settings):
    """Trains a stack on all points (N, 1) in every step, in place, and records it at some steps.

    Adam has the preconditioner of a step only when the step is made; the record pairs it with the
    parameters before the step. train of common.training lets one look before a step alone, so that
    this training has a loop of its own.

    Returns {"loss", "norm" of its gradient, "fraction_of_limit"}, (R, records) each, of the
    parameters before each of the recorded steps. All three are measured in float64.
    """
    updater = make_optimizer(training.optimizer, model, training.rate or settings.lr)
    schedule = cosine_schedule(updater, settings.steps, warmup=0) if training.cosine else None
    shared_inputs = inputs.unsqueeze(0)  # (1, N, 1): the same points for all runs
    targets_of_runs = expand_to_runs(targets, model)
    # a function of parameters (R, P), in float64
    loss_at_parameters = loss_at(model, inputs.double(), targets.double(), mean_squared_error)
    records = {"loss": [], "norm": [], "fraction_of_limit": []}
    recorded_steps = set(recorded_steps.tolist())
    for step in range(settings.steps):
        losses = mean_squared_error(model(shared_inputs), targets_of_runs)
        updater.zero_grad()
        losses.sum().backward()  # runs share no parameter: each gets its own gradient
        recorded = step in recorded_steps
        if recorded:
            check_finite(losses, step)
            parameters_before = parameter_vectors(model).double()
        updater.step()
        if recorded:
            loss, gradient = loss_and_gradient(loss_at_parameters, parameters_before)
            records["loss"].append(loss)
            records["norm"].append(gradient.norm(dim=1))
            # updater still has the rate and the preconditioner of the step that was just made.
            records["fraction_of_limit"].append(
                fraction_of_limit(loss_at_parameters, parameters_before, updater, model))
        if schedule:
            schedule.step()
        advance()
    return stack_records(records)


def train_on_images(model, images, labels, training, recorded_steps, order_generators, settings):
    """Trains a stack on mini-batches of images, in place, and records it at some steps.

    Returns {"loss", "norm" of its gradient, "batch_norm" of the mini-batch's gradient},
    (R, records) each, of the parameters before each of the recorded steps. Loss and norm are those
    of all images.
    """
    records = {"loss": [], "norm": [], "batch_norm": []}

    def probe(step):  # train calls it when the gradient of the batch is known
        batch_gradient = flatten({name: parameter.grad
                                  for name, parameter in model.named_parameters()})
        records["batch_norm"].append(batch_gradient.double().norm(dim=1))
        # What follows leaves the gradient of the batch in .grad, where the step to come needs it.
        loss, gradient = loss_and_gradient_of_model(model, images, labels, cross_entropy)
        records["loss"].append(loss)
        records["norm"].append(gradient.norm(dim=1))

    train(model, images, expand_to_runs(labels, model), cross_entropy, epochs=settings.epochs,
          learning_rate=training.rate or settings.lr, batch_size=settings.batch_size,
          order_generators=order_generators, optimizer=training.optimizer,
          cosine=training.cosine, probe=probe, probe_steps=recorded_steps.tolist())
    return stack_records(records)


def stack_records(records):
    """Lists of values (R,), one for each record, as {name: values (R, records)}."""
    stacked = {}
    for name, values in records.items():
        stacked[name] = torch.stack(values, dim=1)
        if name != "fraction_of_limit":  # it may be negative, as a curvature may
            stacked[name] = stacked[name].clamp(min=SMALLEST)
    return stacked


def observe_on_function(name, run_numbers, recorded_steps, settings):
    """The records of some runs of one of FUNCTION_TRAININGS, as arrays."""
    model = build_model(FUNCTION_WIDTHS, run_numbers, settings)
    x = grid(settings.points, settings.device)
    training = FUNCTION_TRAININGS[name]
    return to_arrays(train_on_function(model, x, sinc(x), training, recorded_steps, settings))


def observe_on_images(data, name, run_numbers, recorded_steps, settings):
    """The records of some runs of one of IMAGE_TRAININGS, as arrays."""
    model = build_model(IMAGE_WIDTHS, run_numbers, settings)
    images, labels = first_images(data, settings.train_size)
    order_generators = run_generators(settings.seed, run_numbers, "order")
    return to_arrays(train_on_images(model, images, labels, IMAGE_TRAININGS[name], recorded_steps,
                                     order_generators, settings))


def observe_all(recorded_on_function, recorded_on_images, data, settings):
    """All trainings, cut into pieces of work: {(task, training): records}.

    The first two arguments are the recorded steps of a training on each task.
    """
    pieces = {}  # by (task, training, first run); join_groups drops the first run
    for name in FUNCTION_TRAININGS:
        for runs in groups_of_runs(range(settings.runs), FUNCTION_RUNS_TOGETHER):
            pieces[FUNCTION_TASK, name, runs[0]] = Piece(
                f"{FUNCTION_TASK}, {name}, runs {runs}", observe_on_function,
                (name, runs, recorded_on_function, settings), settings.steps)
    image_task = dataset_title(data.name)
    step_count = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    for name in IMAGE_TRAININGS:
        for runs in groups_of_runs(range(settings.runs), IMAGE_RUNS_TOGETHER):
            # run_pieces gives data to observe_on_images as its first argument.
            pieces[image_task, name, runs[0]] = Piece(
                f"{image_task}, {name}, runs {runs}", observe_on_images,
                (name, runs, recorded_on_images, settings), step_count, data=data)
    return join_groups(run_pieces(pieces, settings))


# --- measuring ---


def stability_limit(momentum):
    """The largest rate × curvature at which steps do not overshoot ever further.

    2 for gradient descent, which has no momentum. With a gradient averaged as Adam does, with
    weight momentum = β₁ on the past, 2 (1 + β₁) / (1 − β₁): 38 for 0.9 (Cohen et al. 2022,
    arXiv:2207.14484).
    """
    return 2 * (1 + momentum) / (1 - momentum)


def fraction_of_limit(loss_at_parameters, parameters, updater, model):
    """rate × curvature of every run at parameters (R, P), as a fraction of its limit: (R,).

    At 1 lies the edge of stability (Cohen et al. 2021, arXiv:2103.00065). updater, the optimizer of
    model, has just made a step. For gradient descent the curvature is the largest eigenvalue of the
    Hessian H. A step of Adam is rate · D⁻¹ · average gradient, with its preconditioner on the
    diagonal of a matrix D, so that D⁻¹H takes the place of H. largest_eigenvalue needs a symmetric
    matrix: D^(−½) H D^(−½) has the same eigenvalues.
    """
    options = updater.param_groups[0]
    scales, momentum = None, 0
    if isinstance(updater, torch.optim.Adam):
        scales = preconditioner(updater, model) ** -0.5  # the diagonal of D^(−½), (R, P)
        momentum, _ = options["betas"]
    curvature = largest_eigenvalue(loss_at_parameters, parameters, EIGENVALUE_TOLERANCE, scales)
    return options["lr"] * curvature / stability_limit(momentum)


def preconditioner(updater, model):
    """D, by which Adam divided the average gradient in its last step, for each parameter: (R, P).

    Adam averages gradients with weight β₁ on the past and their squares with weight β₂. Both
    averages begin at 0, and dividing them by 1 − βᵗ at step t corrects that. The step is
    −rate · average / D with D = (1 − β₁ᵗ) (√(average square / (1 − β₂ᵗ)) + ε).
    """
    options = updater.param_groups[0]
    beta1, beta2 = options["betas"]
    states = {name: updater.state[parameter] for name, parameter in model.named_parameters()}
    squares = flatten({name: state["exp_avg_sq"] for name, state in states.items()}).double()
    step = next(iter(states.values()))["step"].item()  # t, the same for all parameters
    corrected_squares = squares / (1 - beta2**step)
    return (1 - beta1**step) * (corrected_squares.sqrt() + options["eps"])


# --- summing up ---


# Below, the records of one training are {"steps": the recorded steps (records,), "loss", "norm" and
# others: (R, records)}, and curves are the records of all: {task: {training: records}}.
def last_records(recorded_steps):
    """Which of the recorded steps lie at the end of training, the last one at least: (records,)."""
    return recorded_steps >= (1 - END) * recorded_steps[-1]


def end_values(recorded_steps, values):
    """The geometric mean of each run's values (R, records) over the end of training: (R,)."""
    return scipy.stats.gmean(values[:, last_records(recorded_steps)], axis=1)


def earlier_values(recorded_steps, values):
    """The geometric mean of each run's values (R, records) between the fractions EARLIER: (R,).

    Where no record lies there, the last one before stands in.
    """
    first, last = np.multiply(EARLIER, recorded_steps[-1])
    before = recorded_steps <= last
    chosen = before & (recorded_steps >= first)
    if not chosen.any():
        chosen = recorded_steps == recorded_steps[before].max()
    return scipy.stats.gmean(values[:, chosen], axis=1)


def summarize_training(records):
    """Columns of the table: medians and ranges over the runs; final values are end_values."""
    recorded_steps, loss, norm = records["steps"], records["loss"], records["norm"]
    return {
        "runs": len(loss),
        "steps": int(recorded_steps[-1]) + 1,
        "initial_loss": np.median(loss[:, 0]),
        **range_columns("final_loss", end_values(recorded_steps, loss)),
        "initial_gradient_norm": np.median(norm[:, 0]),
        **range_columns("final_gradient_norm", end_values(recorded_steps, norm)),
    }


def summarize_ends(records):
    """Rows, one for each run on the function: where its training ends.

    The fraction of the limit is the median over the end of training.
    """
    losses = end_values(records["steps"], records["loss"])
    norms = end_values(records["steps"], records["norm"])
    last = last_records(records["steps"])
    fractions = np.median(records["fraction_of_limit"][:, last], axis=1)
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


def later_changes(records):
    """How loss and norm change later in training: {"loss", "norm"}, ratios (R,) each.

    A run's value at the end is divided by its earlier value, see EARLIER.
    """
    ratios = {}
    for name in ("loss", "norm"):
        end = end_values(records["steps"], records[name])
        ratios[name] = end / earlier_values(records["steps"], records[name])
    return ratios


def falling_over_constant(falling, constant):
    """What the falling rate changes at the end: {"loss", "norm"}, ratios (R,) each.

    The arguments are the records of both trainings. A run's value at the end with the falling rate
    is divided by that with the constant one, which started from the same weights.
    """
    ratios = {}
    for name in ("loss", "norm"):
        end = end_values(falling["steps"], falling[name])
        ratios[name] = end / end_values(constant["steps"], constant[name])
    return ratios


def compare_trainings(curves):
    """Rows: the ratios of later_changes and of falling_over_constant with intervals over the runs.

    "divided_by" is "earlier" in the rows of later_changes, the training with the constant rate in
    the others.
    """
    rows = []
    for training in ADAM_TRAININGS:
        changes = {task: later_changes(trainings[training]) for task, trainings in curves.items()}
        rows += ratio_rows(training, "earlier", changes)
    ratios = {task: falling_over_constant(trainings[ADAM_FALLING], trainings[ADAM_CONSTANT])
              for task, trainings in curves.items()}
    return rows + ratio_rows(ADAM_FALLING, ADAM_CONSTANT, ratios)


def ratio_rows(training, divided_by, ratios_of_tasks):
    """A row for each of {task: {quantity: ratios (R,)}}: geometric means with intervals.

    The p-value is that of a t-test over the runs whether the norm's ratio is 1, taken of its
    logarithm and corrected for both tasks by Holm's method.
    """
    rows = []
    for task, ratios in ratios_of_tasks.items():
        row = {"task": task, "training": training, "divided_by": divided_by}
        for quantity, values in ratios.items():
            row |= ratio_columns(quantity, values)
        row["p_value"] = p_value_of_mean(np.log(ratios["norm"]))
        rows.append(row)
    return adjust_p_values(rows)


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size)
    function_records = max(settings.steps // STEPS_PER_RECORD, FEWEST_RECORDS)
    recorded_on_function = choose_recorded_steps(settings.steps, function_records)
    image_step_count = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    recorded_on_images = choose_recorded_steps(image_step_count, IMAGE_RECORDS)
    observed = observe_all(recorded_on_function, recorded_on_images, data, settings)

    table, ends, curves = [], [], {}
    for (task, name), records in observed.items():
        columns = {"task": task, "training": name}
        if task == FUNCTION_TASK:
            records = {"steps": recorded_on_function, **records}
            ends += [columns | row for row in summarize_ends(records)]
        else:
            records = {"steps": recorded_on_images, **records}
        table.append(columns | summarize_training(records))
        curves.setdefault(task, {})[name] = records
    return {
        "constants": {"FUNCTION_WIDTHS": FUNCTION_WIDTHS, "IMAGE_WIDTHS": IMAGE_WIDTHS, "END": END,
                      "EARLIER": EARLIER, "AT_EDGE": AT_EDGE,
                      "LIMIT_OF_DESCENT": stability_limit(0),
                      "LIMIT_OF_ADAM": stability_limit(ADAM_BETA1),
                      "DESCENT_RATES": DESCENT_RATES},
        "table": table,
        "ends": ends,
        "ratios": compare_trainings(curves),
        "curves": curves,
    }


def image_task_of(results):
    """What stored results call the task on images: by the title of the set, such as "MNIST"."""
    return results["environment"]["dataset"]


def descent_names(results):
    """The trainings by plain gradient descent in stored results, in the order of their rates."""
    return [descent_name(rate) for rate in results["constants"]["DESCENT_RATES"]]


def collect_facts(results):
    """What figure and report say of the results.

    For either task, "constant" and "falling" say how loss and norm change later in a training by
    Adam, at either rate; "falling_over_constant" compares their ends. See compare_trainings. For
    "adam" and "descent" see collect_edge_facts.
    """
    tasks, facts = {"sinc": FUNCTION_TASK, "images": image_task_of(results)}, {}
    for name, task in tasks.items():
        facts[name] = {
            "constant": find_ratios(results, task, ADAM_CONSTANT, "earlier"),
            "falling": find_ratios(results, task, ADAM_FALLING, "earlier"),
            "falling_over_constant": find_ratios(results, task, ADAM_FALLING, ADAM_CONSTANT),
        }
    on_images = results["curves"][tasks["images"]][ADAM_CONSTANT]
    facts["images"]["batch_over_full_norm"] = batch_over_full_norm(on_images)
    facts["adam"] = collect_edge_facts(results, [ADAM_CONSTANT])
    facts["descent"] = collect_edge_facts(results, descent_names(results))
    return facts


def find_ratios(results, task, training, divided_by):
    """A row of compare_trainings: each ratio with its interval, and the norm's p-value."""
    row = find_row(results["ratios"], task=task, training=training, divided_by=divided_by)
    return {"loss": as_interval(row, "loss"), "norm": as_interval(row, "norm"),
            "p_value": row["p_value"]}


def batch_over_full_norm(records):
    """The norm of a mini-batch's gradient over that of all images', at the end, with interval."""
    ratios = np.array(records["batch_norm"]) / np.array(records["norm"])
    ratios_of_runs = end_values(np.array(records["steps"]), ratios)
    return as_interval(ratio_columns("ratio", ratios_of_runs), "ratio")


def collect_edge_facts(results, names):
    """How many runs of the trainings of these names end at the edge, and the norms on each side.

    "trainings" counts the runs of all of them. A median norm is None where no run is on that side.
    Exceptions are runs at the edge with a small norm, or below it with a large one, see
    has_norm_of_other_side.
    """
    rows = find_ends(results, names)
    norms_at_edge = [row["final_gradient_norm"] for row in rows if row["at_edge"]]
    norms_below = [row["final_gradient_norm"] for row in rows if not row["at_edge"]]
    facts = {
        "trainings": len(rows),
        "at_edge": len(norms_at_edge),
        "below": len(norms_below),
        "median_norm_at_edge": np.median(norms_at_edge) if norms_at_edge else None,
        "median_norm_below": np.median(norms_below) if norms_below else None,
    }
    facts["exceptions"] = sum(has_norm_of_other_side(row, facts) for row in rows)
    return facts


def find_ends(results, names):
    """The rows of summarize_ends that belong to the trainings of these names."""
    return [row for row in results["ends"] if row["training"] in names]


def has_norm_of_other_side(row, facts):
    """Whether a run at the edge has a norm like those below it, or the other way round.

    On a logarithmic scale its norm is then nearer the median norm of the runs on the other side of
    the edge than that of its own side.
    """
    at_edge, below = facts["median_norm_at_edge"], facts["median_norm_below"]
    if at_edge is None or below is None:
        return False
    own, other = (at_edge, below) if row["at_edge"] else (below, at_edge)
    norm = row["final_gradient_norm"]
    return abs(np.log(norm / other)) < abs(np.log(norm / own))


# --- drawing ---

NORM_LOOK = (COLORS[1], MARKERS[1])
BATCH_LOOK = ("#b0b0b0", "X")  # of a mini-batch; lighter than the norm in greyscale
COMPARED_LOOK = {"color": COLORS[4], "alpha": 0.25, "linewidth": 0}
LOOKS = {  # colour and marker of each training on the function
    ADAM_CONSTANT: ("black", "o"),
    ADAM_FALLING: (COLORS[2], "^"),
    descent_name(0.01): (COLORS[5], "v"),
    descent_name(0.02): (COLORS[4], "D"),
    descent_name(0.05): (COLORS[3], "P"),
}
ADAM_LABELS = {ADAM_CONSTANT: "Adam, constant rate", ADAM_FALLING: "Adam, rate falls to zero"}


def plot(results):
    """The gradient norm and the training loss of Adam on each task, at either rate."""
    facts = results["facts"]
    image_task = image_task_of(results)
    title = figure_title(facts, image_task)
    figure, panels = two_task_figure(title, results, 2, 2, height=3.2)
    draw_both_rates(panels[0, 0], results, FUNCTION_TASK, "norm", describe_norm(facts["sinc"]))
    draw_both_rates(panels[0, 1], results, image_task, "norm", describe_norm(facts["images"]))
    draw_both_rates(panels[1, 0], results, FUNCTION_TASK, "loss", describe_loss(facts["sinc"]))
    draw_both_rates(panels[1, 1], results, image_task, "loss", describe_loss(facts["images"]))
    legend_below(figure, panels[0, 0], columns=3)
    return figure


def plot_details(results):
    """The edge of stability, with Adam and gradient descent; the norm of a mini-batch."""
    figure, panels = two_task_figure(details_title(results["facts"]), results, 2, 3, height=3.0)
    draw_adam_fractions(panels[0, 0], results, FUNCTION_TASK)
    draw_ends(panels[0, 1], results, descent_names(results))
    draw_batch_norms(panels[0, 2], results, image_task_of(results))
    for panel, name in zip(panels[1], descent_names(results)):
        panel.sharey(panels[1, 0])
        draw_descent_fractions(panel, results, FUNCTION_TASK, name)
    legend_below(figure, *panels[0], columns=3)
    return figure


def two_task_figure(title, results, rows, columns, height):
    """A figure whose note names both tasks."""
    both_tasks = f"{FUNCTION_TASK} and {image_task_of(results)}"
    environment = {**results["environment"], "dataset": both_tasks}
    return new_figure(title, {**results, "environment": environment}, rows, columns, height=height)


def falls(interval):
    """Whether a ratio of later to earlier values is clearly below 1."""
    return interval["high"] is not None and interval["high"] < 1


def figure_title(facts, image_task):
    """Whether on the function the norm goes on falling with the falling rate alone."""
    if falls(facts["sinc"]["falling"]["norm"]) and not falls(facts["sinc"]["constant"]["norm"]):
        beginning = "On sinc the gradient norm goes on falling only if the learning rate falls"
        if all(falls(facts["images"][rate]["norm"]) for rate in ("constant", "falling")):
            return f"{beginning}, on {image_task} always"
        return beginning
    return "Gradient norm and loss at a constant and at a falling learning rate"


def describe_norm(facts_of_task):
    """At which rate the norm goes on falling."""
    at_constant = falls(facts_of_task["constant"]["norm"])
    at_falling = falls(facts_of_task["falling"]["norm"])
    if at_constant and at_falling:
        return "the norm goes on falling\nat either rate"
    if at_falling:
        return "the norm goes on falling\nonly with the falling rate"
    if at_constant:
        return "the norm goes on falling\nonly at the constant rate"
    return "the norm falls\nat the beginning alone"


def describe_loss(facts_of_task):
    """Whether the loss ends higher or lower with the falling rate."""
    ratio = facts_of_task["falling_over_constant"]["loss"]
    if ratio["low"] is not None and ratio["low"] > 1:
        return f"with the falling rate\nthe loss ends {ratio['value']:.1f} times higher"
    if falls(ratio):
        return f"with the falling rate\nthe loss ends {1 / ratio['value']:.1f} times lower"
    return "the loss ends\nnot clearly different"


def draw_both_rates(panel, results, task, quantity, finding):
    """The "norm" or the "loss" of Adam at a constant and at a falling rate, all runs.

    What later_changes compares is shaded. The finding is for the title.
    """
    trainings, constants = results["curves"][task], results["constants"]
    for name, label in ADAM_LABELS.items():
        color, marker = LOOKS[name]
        draw_runs(panel, trainings[name]["steps"], trainings[name][quantity], color, label=label,
                  marker=marker)
    last_step = trainings[ADAM_CONSTANT]["steps"][-1]
    first, last = np.multiply(constants["EARLIER"], last_step)
    panel.axvspan(first, last, **COMPARED_LOOK,
                  label="compared: the second and the last tenth of the steps")
    panel.axvspan((1 - constants["END"]) * last_step, last_step, **COMPARED_LOOK)
    label_steps(panel, ticks=5)
    panel.set(yscale="log", ylabel="gradient norm" if quantity == "norm" else "training loss",
              title=f"{task}: {finding}")


def label_steps(panel, ticks=6):
    """Training steps as the x axis, with commas."""
    panel.set_xlabel("training step")
    panel.locator_params(axis="x", nbins=ticks)
    panel.xaxis.set_major_formatter("{x:,.0f}")


def draw_adam_fractions(panel, results, task):
    """rate × curvature of Adam as a fraction of its limit, against the step, all runs."""
    for name, label in ADAM_LABELS.items():
        color, marker = LOOKS[name]
        records = results["curves"][task][name]
        draw_runs(panel, records["steps"], records["fraction_of_limit"], color, label=label,
                  marker=marker)
    finding = "Adam: rate × curvature\nneed not rise to its limit"
    if results["facts"]["adam"]["below"] == 0:
        finding = "Adam, constant rate: rate ×\ncurvature rises to its limit"
    panel.axhline(1, color=GREY, linewidth=1)
    panel.text(1, 1.12, "above 1 in a quadratic valley,\nsteps overshoot ever further",
               color=GREY, fontsize=8.5, ha="right", transform=panel.get_yaxis_transform())
    label_steps(panel, ticks=4)
    panel.set(ylabel="rate × curvature ÷ its limit", ylim=(0, 1.3), title=finding)


def details_title(facts):
    """Whether, but for a few exceptions, runs of gradient descent at the edge have larger norms."""
    descent = facts["descent"]
    few_exceptions = descent["exceptions"] < descent["trainings"] / 4
    if edge_raises_norm(descent) and few_exceptions:
        return "Where rate × curvature ends at its limit, gradient norms mostly stay large"
    return "Where rate × curvature ends at its limit, gradient norms need not stay large"


def edge_raises_norm(facts):
    """Whether the median norm of the runs at the edge is larger than that of the others."""
    at_edge, below = facts["median_norm_at_edge"], facts["median_norm_below"]
    return None not in (at_edge, below) and at_edge > below


def draw_descent_fractions(panel, results, task, name):
    """rate × curvature of every run of gradient descent as a fraction of its limit."""
    color, marker = LOOKS[name]
    records = results["curves"][task][name]
    fractions = np.array(records["fraction_of_limit"])
    panel.plot(records["steps"], fractions.T, color=color, linewidth=1, marker=marker, markersize=4,
               markevery=max(len(records["steps"]) // 3, 1))
    rows = find_ends(results, [name])
    at_edge = sum(row["at_edge"] for row in rows)
    panel.axhline(1, color=GREY, linewidth=1)
    label_steps(panel, ticks=3)
    panel.set(yscale="log", ylabel="rate × curvature ÷ its limit",
              yticks=[0.1, 1, 10], yticklabels=["0.1", "1", "10"],
              title=f"{name.capitalize()}:\n{at_edge} of {len(rows)} runs end at the limit")


def draw_ends(panel, results, names):
    """The norm at the end of every run of gradient descent against the fraction of the limit."""
    facts = results["facts"]["descent"]
    for name in names:
        color, marker = LOOKS[name]
        mark_ends(panel, find_ends(results, [name]), marker, color=color, markersize=6, label=name)
    exceptions = [row for row in find_ends(results, names) if has_norm_of_other_side(row, facts)]
    mark_ends(panel, exceptions, "o", color="black", markersize=12, markerfacecolor="none",
              label="norm nearer the other side's median")
    right = panel.get_xlim()[1]
    panel.axvspan(results["constants"]["AT_EDGE"], right, color=GREY, alpha=0.15, linewidth=0)
    title = "Norms at the end need not be\nlarger at the limit"
    if edge_raises_norm(facts):
        ratio = facts["median_norm_at_edge"] / facts["median_norm_below"]
        title = (f"At the limit the median norm is {ratio:.0f} times\nas large; "
                 f"{facts['exceptions']} of {facts['trainings']} runs are exceptions")
    panel.set(yscale="log", ylabel="gradient norm at the end", title=title,
              xlabel="rate × curvature ÷ its limit, at the end\n(shaded: at the limit)",
              xlim=(None, right))


def mark_ends(panel, rows, marker, **style):
    """Marks of some runs in draw_ends, where there are any."""
    if not rows:
        return  # no line at all: one without points has a place, the figure's corner
    panel.plot([row["fraction_of_limit"] for row in rows],
               [row["final_gradient_norm"] for row in rows], marker, clip_on=False, **style)


def draw_batch_norms(panel, results, task):
    """The norm of a mini-batch's gradient beside that of all images', all runs."""
    records = results["curves"][task][ADAM_CONSTANT]
    for key, (color, marker), label in (
            ("batch_norm", BATCH_LOOK, "gradient of one mini-batch"),
            ("norm", NORM_LOOK, "gradient of all images")):
        draw_runs(panel, records["steps"], records[key], color, label=label, marker=marker)
    ratio = results["facts"]["images"]["batch_over_full_norm"]
    finding = "a mini-batch's norm need\nnot end above that of all images"
    if ratio["low"] is not None and ratio["low"] > 1:
        finding = f"a mini-batch's norm ends\n{ratio['value']:.1f} times that of all images"
    label_steps(panel, ticks=4)
    panel.set(yscale="log", ylabel="gradient norm", title=f"{task}: {finding}")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts, uses_images=True)
