"""How does the time grow with the number of runs, of parameters and of training images?

From the project's folder:

    python -m benchmarks.benchmark_growth              # the report's figure
    python -m benchmarks.benchmark_growth --quick      # a tour in seconds
"""

from functools import partial
from typing import NamedTuple

import hw1_1_mnist
import hw1_1_simulate
from benchmarks.timing import time_in_turns
from benchmarks.workloads import stack_training
from common.command_line import Flag, main, positive_integer
from common.data import first_images, grid, load_dataset, sinc
from common.models import cnn, cnn_hidden_width, mlp, mlp_widths, parameter_count
from common.plotting import COLORS, MARKERS, draw_runs, legend_below, new_figure
from common.statistics import quartile_columns
from common.training import cross_entropy, mean_squared_error, run_generators

import numpy as np
import torch
from matplotlib.ticker import LogLocator

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 5, quick=2, help="timings of each piece of work"),
    "largest_set": Flag(positive_integer, 60_000, quick=1_000, at_most="dataset",
                        help="images of the largest training set; the others have a half to a "
                        "sixteenth of it"),
}
FUNCTION_NETWORK, MLP, CNN = "function network", "784-32-32-32-10", "CNN, 2 conv 3×3"
STEPS = {FUNCTION_NETWORK: 50, MLP: 20, CNN: 2}  # training steps in one timing
RUN_COUNTS = (1, 4, 16, 64)
HIDDEN_WIDTHS = (8, 32, 128, 512, 2_048)  # of 784-w-10
PARAMETER_STEPS = 20  # training steps in one timing of these
SET_DIVISORS = (16, 8, 4, 2, 1)  # of the largest training set
PARAMETER_RUNS, IMAGE_RUNS = 4, 8  # in the stacks that grow by parameters and by images
BATCH_SIZE = 128  # images, and points of the function

PAPER_RUNS = 1_000
EPOCHS = 10
# Colour images of 32 × 32 have 3 · (32/28)² times the pixels of ours, and a network that does well
# on them has at the least eight times the channels: 64 times the operations in all but the first
# convolution.
CIFAR_FACTOR = 64 * (32 / 28) ** 2


class Task(NamedTuple):
    """A training whose cost is estimated from that of a network that was timed."""

    name: str
    network: str
    timed_network: str
    images: int
    factor: float  # operations per image, over those of timed_network


TASKS = (
    Task("MNIST, 10 epochs", MLP, MLP, images=60_000, factor=1),
    Task("MNIST, 10 epochs", CNN, CNN, images=60_000, factor=1),
    Task("CIFAR-size, 10 epochs", "CNN, 8 times the channels", CNN, images=50_000,
         factor=CIFAR_FACTOR),
)


# --- pieces of work: training as functions without arguments ---


def build_mlp(generators):
    """A stack of 784-32-32-32-10, one for each generator."""
    return mlp([784, 32, 32, 32, 10], generators)


def build_cnn(generators):
    """A stack of part 1-1's CNN of two 3×3 convolutions, one for each generator."""
    model = hw1_1_mnist.MODELS["2 conv 3×3"]
    blocks, kernel = model["blocks"], model["kernel"]
    hidden_width = cnn_hidden_width(blocks, kernel, hw1_1_mnist.PARAMETERS)
    return cnn(blocks, kernel, [hidden_width], generators)


BUILDERS = {MLP: build_mlp, CNN: build_cnn}


def image_training(build, runs, images, labels):
    """One epoch of a stack of so many runs that build(generators) makes."""
    model = build(run_generators(0, runs, "initialization")).to(images.device)
    batch_size = min(BATCH_SIZE, len(images))
    return stack_training(model, images, labels, cross_entropy, 1, batch_size)


def function_training(runs, steps, device):
    """Steps of a stack of part 1-1's network of four hidden layers, each on all points."""
    widths = mlp_widths(4, hw1_1_simulate.PARAMETERS)
    model = mlp(widths, run_generators(0, runs, "initialization")).to(device)
    x = grid(BATCH_SIZE, device)
    return stack_training(model, x, sinc(x), mean_squared_error, steps)


# --- measuring ---


def run(settings):
    """Times training by runs, parameters and images; estimates what larger tasks would cost."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    by_runs = measure_by_runs(data, settings)
    parameter_counts, by_parameters = measure_by_parameters(data, settings)
    image_counts, by_images = measure_by_images(data, settings)
    table = [
        *rows_by_runs(by_runs),
        *rows_by_parameters(parameter_counts, by_parameters),
        *rows_by_images(image_counts, by_images),
    ]
    curves = {
        "run_counts": RUN_COUNTS,
        "runs": by_runs,
        "parameter_counts": parameter_counts,
        "parameters": by_parameters,
        "image_counts": image_counts,
        "images": by_images,
    }
    return {
        "table": table,
        "estimates": [estimate(task, by_runs) for task in TASKS],
        "curves": curves,
    }


def measure_by_runs(data, settings):
    """Microseconds per step and run of every network, for each of RUN_COUNTS.

    {network: [(timings,) for each count]}. All take turns.
    """
    pieces, steps = {}, {}
    for runs in RUN_COUNTS:
        for network in STEPS:
            work, steps[network] = training_in_steps(network, runs, data, settings.device)
            pieces[network, runs] = work
    seconds = time_in_turns(pieces, settings.device, settings.runs, "runs")
    times = {network: [] for network in STEPS}
    for (network, runs), values in seconds.items():
        times[network].append(1e6 * np.array(values) / steps[network] / runs)
    return times


def training_in_steps(network, runs, data, device):
    """The training of a stack of so many runs, and its steps: fewer than STEPS for few images."""
    if network == FUNCTION_NETWORK:
        return function_training(runs, STEPS[network], device), STEPS[network]
    images, labels = first_images(data, STEPS[network] * BATCH_SIZE)
    steps = len(range(0, len(images), BATCH_SIZE))
    return image_training(BUILDERS[network], runs, images, labels), steps


def measure_by_parameters(data, settings):
    """Times training of 784-w-10 for each of HIDDEN_WIDTHS.

    Returns the parameter counts, and microseconds per image and run: [(timings,) for each count].
    """
    images, labels = first_images(data, PARAMETER_STEPS * BATCH_SIZE)
    pieces, counts = {}, []
    for width in HIDDEN_WIDTHS:
        build = partial(mlp, [784, width, 10])
        counts.append(parameter_count(build([torch.Generator()])))
        pieces[width] = image_training(build, PARAMETER_RUNS, images, labels)
    seconds = time_in_turns(pieces, settings.device, settings.runs, "parameters")
    times = [1e6 * np.array(values) / len(images) / PARAMETER_RUNS for values in seconds.values()]
    return counts, times


def measure_by_images(data, settings):
    """Times an epoch of the MLPs on parts of the largest training set.

    Returns the numbers of images, and seconds per epoch: [(timings,) for each number].
    """
    sizes = [max(settings.largest_set // divisor, 1) for divisor in SET_DIVISORS]
    pieces = {}
    for size in sizes:
        images, labels = first_images(data, size)
        pieces[size] = image_training(build_mlp, IMAGE_RUNS, images, labels)
    seconds = time_in_turns(pieces, settings.device, settings.runs, "training images")
    return sizes, [np.array(seconds[size]) for size in sizes]


# --- summing up ---


def time_row(grows, network, value, unit, timings):
    """One row of the table: median and quartiles of the timings at one value of what grows."""
    return {
        "grows": grows,
        "network": network,
        "value": value,
        "unit": unit,
        **quartile_columns("time", timings),
    }


def rows_by_runs(times):
    """The rows of every network and number of runs."""
    rows = []
    for network, values in times.items():
        for runs, timings in zip(RUN_COUNTS, values):
            rows.append(time_row("runs", network, runs, "µs per step and run", timings))
    return rows


def rows_by_parameters(counts, times):
    """The rows of every width."""
    rows = []
    for width, count, timings in zip(HIDDEN_WIDTHS, counts, times):
        network = f"784-{width}-10"
        rows.append(time_row("parameters", network, count, "µs per image and run", timings))
    return rows


def rows_by_images(counts, times):
    """The rows of every training set."""
    unit = f"s per epoch of {IMAGE_RUNS} runs"
    return [time_row("images", MLP, count, unit, timings) for count, timings in zip(counts, times)]


def estimate(task, by_runs):
    """What PAPER_RUNS runs of a task would cost on one core, at the largest stack's rate: one row.
    """
    microseconds_per_step = np.median(by_runs[task.timed_network][-1])
    seconds_per_image = task.factor * microseconds_per_step / 1e6 / BATCH_SIZE
    images_seen = EPOCHS * task.images * PAPER_RUNS
    return {
        "task": task.name,
        "network": task.network,
        "runs": PAPER_RUNS,
        "core_hours": images_seen * seconds_per_image / 3600,
    }


# --- drawing ---


def plot(results):
    """Time against runs, parameters and training images: a panel for each."""
    curves = results["curves"]
    figure, panels = new_figure(figure_title(curves), results, 1, 3, height=3.2)
    runs_panel, parameters_panel, images_panel = panels[0]
    draw_by_runs(runs_panel, curves["run_counts"], curves["runs"])
    draw_growth(parameters_panel, "parameters", curves["parameter_counts"], curves["parameters"])
    parameters_panel.set(xlabel="parameters", ylabel="µs per image and run")
    draw_growth(images_panel, "images", curves["image_counts"], curves["images"])
    images_panel.set(xlabel="training images", ylabel="seconds per epoch")
    legend_below(figure, runs_panel)
    return figure


def figure_title(curves):
    """How much a run of the smallest network gains by a stack."""
    network, saving = saving_of_smallest(curves["runs"])
    if saving <= 1:
        return "What a run costs, by runs in a stack, parameters and images"
    runs = curves["run_counts"][-1]
    return f"In a stack of {runs}, a run of the {network} takes 1/{saving:.0f} of the time alone"


def saving_of_smallest(times):
    """The smallest network, the first one, and by what the largest stack divides its time per run.
    """
    network = next(iter(times))
    medians = np.median(times[network], axis=1)
    return network, medians[0] / medians[-1]


def draw_by_runs(panel, counts, times):
    """The time per run of every network against the runs in its stack, beside that of one alone."""
    for (network, values), color, marker in zip(times.items(), COLORS, MARKERS):
        values = np.array(values).T  # (timings, counts)
        one_alone = np.median(values[:, 0])
        draw_runs(panel, counts, values / one_alone, color, label=network, marker=marker)
    network, saving = saving_of_smallest(times)
    panel.set(xscale="log", yscale="log", title=f"{network}: {saving:.0f}× less",
              xlabel="runs in the stack", ylabel="time per run, one run alone = 1", xticks=counts,
              xticklabels=counts)


def draw_growth(panel, name, counts, times):
    """Times against counts, and in the title the exponent of the power law through the last two."""
    values = np.array(times).T  # (timings, counts)
    draw_runs(panel, counts, values, COLORS[0], marker=MARKERS[0])
    last_counts, last_times = np.log(counts[-2:]), np.log(np.median(values, axis=0)[-2:])
    exponent = np.diff(last_times)[0] / np.diff(last_counts)[0]
    panel.set(xscale="log", yscale="log", title=f"{name}: exponent {exponent:.2f} at the end")
    panel.set_xticks(counts[::2], [f"{count:,}" for count in counts[::2]])
    panel.minorticks_off()
    # Powers of ten alone are too few where times span less than two decades.
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:g}")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True, in_pieces=False)
