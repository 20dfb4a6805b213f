"""How does the time grow with the number of runs, of parameters and of training images?

    python benchmark_growth.py              # the report's figure
    python benchmark_growth.py --quick      # a tour in seconds
"""

from functools import partial

import numpy as np
from matplotlib.ticker import LogLocator

import hw1_1_mnist
import hw1_1_simulate
from benchmark_workloads import stack_training
from common.experiment import Flag, main
from common.functions import grid, sinc
from common.models import cnn, cnn_hidden_width, count_parameters, mlp, mlp_widths
from common.plotting import COLORS, MARKERS, draw_runs, legend_below, new_figure
from common.statistics import quartile_columns
from common.timing import measure_operations, time_interleaved
from common.training import cross_entropy, mean_squared_error, run_generators

FLAGS = {"largest_set": Flag(60_000, 1_000, "the largest training set; the others are a half to a sixteenth of it")}
RUNS = Flag(5, 2, "timings of each piece of work")
RUN_COUNTS = (1, 4, 16, 64)
HIDDEN_WIDTHS = (8, 32, 128, 512, 2_048)  # of 784-w-10
BATCH_SIZE = 128
STEPS = {"function network": 50, "784-32-32-32-10": 20, "CNN, 2 conv 3×3": 2}  # in one timing
PARAMETER_RUNS, IMAGE_RUNS = 4, 8  # in the stacks that grow by parameters and by images
PAPER_RUNS = 1_000
GPU_RATE = 10e12  # operations per second: a cautious sixth of what one large GPU's float32 units are sold for


def image_training(build, runs, images, labels):
    model = build(run_generators(0, runs, "initialization")).to(images.device)
    return stack_training(model, images, labels, cross_entropy, 1, min(BATCH_SIZE, len(images)))


def function_training(runs, steps, device):
    x = grid(BATCH_SIZE, device)
    model = mlp(mlp_widths(4, hw1_1_simulate.PARAMETERS), run_generators(0, runs, "initialization")).to(device)
    return stack_training(model, x, sinc(x), mean_squared_error, steps)


def build_cnn(generators):
    blocks, kernel = hw1_1_mnist.MODELS["2 conv 3×3"]
    return cnn(blocks, kernel, [cnn_hidden_width(blocks, kernel, hw1_1_mnist.PARAMETERS)], generators)


def build_mlp(generators):
    return mlp([784, 32, 32, 32, 10], generators)


def works_by_runs(data, device):
    """{(network, runs): (function, steps)}"""
    works = {}
    for runs in RUN_COUNTS:
        for name, steps in STEPS.items():
            count = min(steps * BATCH_SIZE, len(data.train_images))
            part = data.train_images[:count], data.train_labels[:count]
            if name == "function network":
                work = function_training(runs, steps, device)
            else:
                work = image_training(build_cnn if "CNN" in name else build_mlp, runs, *part)
            works[name, runs] = work, steps if name == "function network" else -(-count // BATCH_SIZE)
    return works


def run(settings, data):
    device, repeats, table = settings.device, settings.runs, []
    works = works_by_runs(data, device)
    seconds = time_interleaved({key: work for key, (work, _) in works.items()}, device, repeats, "runs")
    by_runs = {name: [1e6 * np.array(seconds[name, runs]) / works[name, runs][1] / runs for runs in RUN_COUNTS]
               for name in STEPS}  # microseconds per step and run

    count = min(20 * BATCH_SIZE, len(data.train_images))
    networks = {width: partial(mlp, [784, width, 10]) for width in HIDDEN_WIDTHS}
    works = {width: image_training(build, PARAMETER_RUNS, data.train_images[:count], data.train_labels[:count])
             for width, build in networks.items()}
    seconds = time_interleaved(works, device, repeats, "parameters")
    parameters = [count_parameters(build) for build in networks.values()]
    by_parameters = [1e6 * np.array(seconds[width]) / count / PARAMETER_RUNS for width in HIDDEN_WIDTHS]  # per image and run

    sizes = [max(min(settings.largest_set, len(data.train_images)) // share, 1) for share in (16, 8, 4, 2, 1)]
    works = {size: image_training(build_mlp, IMAGE_RUNS, data.train_images[:size], data.train_labels[:size])
             for size in sizes}
    seconds = time_interleaved(works, device, repeats, "training images")
    by_images = [np.array(seconds[size]) for size in sizes]  # seconds per epoch

    for name, values in by_runs.items():
        table += [{"grows": "runs", "network": name, "value": runs, "unit": "µs per step and run",
                   **quartile_columns("time", value)}
                  for runs, value in zip(RUN_COUNTS, values)]
    table += [{"grows": "parameters", "network": f"784-{width}-10", "value": size, "unit": "µs per image and run",
               **quartile_columns("time", value)} for width, size, value in zip(HIDDEN_WIDTHS, parameters, by_parameters)]
    table += [{"grows": "images", "network": "784-32-32-32-10", "value": size, "unit": f"s per epoch of {IMAGE_RUNS} runs",
               **quartile_columns("time", value)} for size, value in zip(sizes, by_images)]
    curves = {"run_counts": RUN_COUNTS, "runs": by_runs, "parameter_counts": parameters, "parameters": by_parameters,
              "image_counts": sizes, "images": by_images}
    return {"table": table, "estimates": estimate(by_runs, data, device), "curves": curves}


def estimate(by_runs, data, device):
    """What PAPER_RUNS runs of ten epochs would cost, from the largest stack's time, and from operations on a GPU."""
    rows = []
    images, labels = data.train_images[:BATCH_SIZE], data.train_labels[:BATCH_SIZE]
    for task, network, build, examples, factor in (
            ("MNIST, 10 epochs", "784-32-32-32-10", build_mlp, 60_000, 1),
            ("MNIST, 10 epochs", "CNN, 2 conv 3×3", build_cnn, 60_000, 1),
            # Colour images of 32 × 32 have 3 · (32/28)² times the pixels of ours, and a network that does well on them
            # has at the least eight times the channels: 64 times the operations in all but the first convolution.
            ("CIFAR-size, 10 epochs", "CNN, 8 times the channels", build_cnn, 50_000, 64 * (32 / 28) ** 2)):
        operations = measure_operations(image_training(build, 1, images, labels), device)[0] / len(images) * factor
        measured = "CNN, 2 conv 3×3" if build is build_cnn else network
        per_example = np.median(by_runs[measured][-1]) / 1e6 / BATCH_SIZE * factor  # at the same rate of operations
        total = 10 * examples * PAPER_RUNS
        rows.append({"task": task, "network": network, "runs": PAPER_RUNS, "operations_per_image": operations,
                     "hours_here": total * per_example / 3600, "gpu_hours_on_paper": total * operations / GPU_RATE / 3600})
    return rows


def plot(results):
    curves = results["curves"]
    figure, ((runs_axes, parameters_axes, images_axes),) = new_figure(
        "A run in a stack costs less than one alone, until arithmetic is all that is left", results, 1, 3, height=3.2)
    for (name, values), color, marker in zip(curves["runs"].items(), COLORS, MARKERS):
        values = np.array(values).T
        draw_runs(runs_axes, curves["run_counts"], values / np.median(values[:, 0]), color, label=name, marker=marker)
    first, last = (np.median(curves["runs"]["function network"][place]) for place in (0, -1))
    runs_axes.set(xscale="log", yscale="log", xlabel="runs in the stack", ylabel="time per run, one run alone = 1",
                  title=f"{curves['run_counts'][-1]} runs: {first / last:.0f}× less each", xticks=curves["run_counts"],
                  xticklabels=curves["run_counts"])
    for axes, kind, label, unit in ((parameters_axes, "parameter", "parameters", "µs per image and run"),
                                    (images_axes, "image", "training images", "seconds per epoch")):
        x, values = curves[f"{kind}_counts"], np.array(curves[f"{kind}s"]).T
        draw_runs(axes, x, values, COLORS[0], marker=MARKERS[0])
        slope = np.polyfit(np.log(x[-2:]), np.log(np.median(values, 0)[-2:]), 1)[0]
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel=unit, title=f"{kind}s: exponent {slope:.2f} at the end")
        axes.set_xticks(x[::2], [f"{value:,}" for value in x[::2]])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # less than two decades: powers of ten are too few
        axes.yaxis.set_major_formatter("{x:g}")
    legend_below(figure, runs_axes)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
