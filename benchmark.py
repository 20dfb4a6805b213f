"""How fast are stacks of runs beside the loops that most people write?

Each kind of work in this laboratory is timed three times in turn: as the laboratory does it, by a plain PyTorch loop over
tensors in memory with the fused optimizer, and by the tutorials' loop with a DataLoader and ToTensor. What the processor
could do at best is its own matrix product, timed between them.

    python benchmark.py              # the report's figure
    python benchmark.py --quick      # a tour in seconds
"""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import hw1_1_mnist
import hw1_1_simulate
import hw1_2_minratio
import hw1_3_flatness
import hw1_3_sensitivity
from common.baselines import LEARNING_RATE, Pictures, plain_cnn, plain_loop, plain_mlp, tutorial_loop
from common.critical_points import derivatives, loss_function
from common.experiment import Flag, main
from common.functions import grid, sinc
from common.models import cnn, cnn_hidden_width, mlp, mlp_widths, run_count
from common.parameters import interpolate, parameter_vectors, unflatten
from common.plotting import COLORS, GREY, legend_below, new_figure
from common.sharpness import input_sensitivity
from common.statistics import quartile_columns
from common.timing import matrix_product, measure_products, time_interleaved
from common.training import cross_entropy, evaluate, mean_squared_error, run_generators, train

FLAGS = {
    "steps": Flag(40, 4, "training steps in one timing"),
    "functions_steps": Flag(200, 20, "the same for the function networks, whose steps are short"),
    "images": Flag(70_000, 1_000, "images on which the interpolated models are evaluated"),
}
RUNS = Flag(7, 2, "timings of each piece of work")


def training(stack, plain, dataset, losses, epochs, batch_size):
    """The three ways to train a network; dataset is a TensorDataset or Pictures, losses those of a stack and of one run.

    Like all workloads: {way: (function without arguments, examples or other units of work that it gets done)}.
    """
    inputs, targets = dataset.tensors
    runs, examples = run_count(stack), epochs * len(inputs)
    stack, plain = stack.to(inputs.device), plain.to(inputs.device)
    ours = partial(train, stack, inputs, targets.expand(runs, *targets.shape), losses[0], epochs=epochs,
                   learning_rate=LEARNING_RATE, batch_size=batch_size, orders=run_generators(0, runs, "order"))
    return {"stack": (ours, runs * examples),
            "plain": (partial(plain_loop, plain, inputs, targets, losses[1], epochs, batch_size), examples),
            "tutorial": (partial(tutorial_loop, plain, dataset, losses[1], epochs, batch_size), examples)}


def function_training(depth, runs, settings):
    widths = mlp_widths(depth, hw1_1_simulate.PARAMETERS)
    x = grid(128, settings.device)
    return training(mlp(widths, run_generators(0, runs, "initialization")), plain_mlp(widths),
                    TensorDataset(x, sinc(x)), (mean_squared_error, functional.mse_loss),
                    settings.functions_steps, len(x))


def image_training(stack, plain, batch_size, data, settings):
    examples = min(settings.steps * batch_size, len(data.train_images))
    pictures = Pictures(data.train_images[:examples], data.train_labels[:examples])
    return training(stack, plain, pictures, (cross_entropy, functional.cross_entropy), 1, batch_size)


def mlp_training(widths, runs, batch_size, data, settings):
    stack = mlp(widths, run_generators(0, runs, "initialization"))
    return image_training(stack, plain_mlp(widths), batch_size, data, settings)


def cnn_training(name, runs, batch_size, data, settings):
    blocks, kernel = hw1_1_mnist.MODELS[name]
    hidden_width = cnn_hidden_width(blocks, kernel, hw1_1_mnist.PARAMETERS)
    stack = cnn(blocks, kernel, [hidden_width], run_generators(0, runs, "initialization"))
    return image_training(stack, plain_cnn(blocks, kernel, hidden_width), batch_size, data, settings)


def hessians(device):
    """Exact Hessians of 100 networks of part 1-2 at once; plain: of five, row after row."""
    model = mlp(hw1_2_minratio.WIDTHS, run_generators(0, 100, "initialization"), nn.Tanh).double().to(device)
    x = grid(hw1_2_minratio.POINTS, device, torch.float64)
    loss, points = loss_function(model, x, sinc(x)), parameter_vectors(model)

    def row_by_row():
        for point in points[:5].clone().requires_grad_():
            gradient, = torch.autograd.grad(loss(point), point, create_graph=True)
            torch.stack([torch.autograd.grad(entry, point, retain_graph=True)[0] for entry in gradient])

    return {"stack": (lambda: derivatives(loss)[1](points), len(points)), "plain": (row_by_row, 5)}


def interpolation(data, settings):
    """Loss and accuracy of the 61 networks on a line of part 1-3; plain: of three, in batches of 1,000."""
    widths = hw1_3_flatness.WIDTHS
    model = mlp(widths, run_generators(0, 2, "initialization")).to(settings.device)
    images, labels = (torch.cat([getattr(data, f"{part}_{kind}") for part in ("train", "test")])[: settings.images]
                      for kind in ("images", "labels"))
    points = interpolate(*parameter_vectors(model), hw1_3_flatness.ALPHAS)
    plain = plain_mlp(widths).to(settings.device)
    pictures = Pictures(images[:2_000], labels[:2_000])

    @torch.no_grad()
    def evaluate_plain(batches, repeats=1):
        for _ in range(repeats):
            for batch, batch_labels in batches:
                logits = plain(batch.to(settings.device))
                functional.cross_entropy(logits, batch_labels.to(settings.device), reduction="sum").item()
                (logits.argmax(1) == batch_labels.to(settings.device)).sum().item()

    batches = [*zip(images.split(1_000), labels.split(1_000))]
    return {"stack": (partial(evaluate, model, images, labels, unflatten(points, model)), len(points) * len(images)),
            "plain": (partial(evaluate_plain, batches, 3), 3 * len(images)),
            "tutorial": (lambda: evaluate_plain(DataLoader(pictures, batch_size=64)), len(pictures))}


def sensitivity(data, settings):
    """The input gradient of each of 10,000 images by itself, five runs; plain: one backward pass for each of 300."""
    widths, runs = hw1_3_sensitivity.WIDTHS, 5
    model = mlp(widths, run_generators(0, runs, "initialization")).to(settings.device)
    images, labels = data.test_images, data.test_labels
    plain = plain_mlp(widths).to(settings.device)

    def one_by_one():
        for image, label in zip(images[:300].clone().split(1), labels[:300].split(1)):
            image.requires_grad_()
            functional.cross_entropy(plain(image), label).backward()
            image.grad.norm().item()

    return {"stack": (partial(input_sensitivity, model, dict(model.named_parameters()), images, labels), runs * len(images)),
            "plain": (one_by_one, min(300, len(images)))}


def workloads(data, settings):
    """All pieces of work: (name, runs, unit, {way: (function, units)})."""
    yield "function, 4 hidden layers", 10, "points", function_training(4, 10, settings)
    for widths in ([784, 32, 32, 32, 10], [784, 128, 10]):
        for batch_size in (64, 128):
            yield (f"{'-'.join(map(str, widths))}, batch {batch_size}", 8, "images",
                   mlp_training(widths, 8, batch_size, data, settings))
    yield "784-512-512-10, batch 128", 1, "images", mlp_training([784, 512, 512, 10], 1, 128, data, settings)
    for name in hw1_1_mnist.MODELS:
        yield f"CNN, {name}, batch 128", 3, "images", cnn_training(name, 3, 128, data, settings)
    yield "Hessians, 33 parameters", 100, "Hessians", hessians(settings.device)
    yield "evaluation along a line", 61, "images", interpolation(data, settings)
    yield "input gradients", 5, "images", sensitivity(data, settings)


def _append_products(kernels, work, device):
    kernels.append(measure_products(work, device))


def run(settings, data):
    table, curves = [], {}
    product, product_operations = matrix_product(settings.device)
    for name, runs, unit, ways in workloads(data, settings):
        kernels = []  # (operations, seconds) of the stack's products alone
        works = {way: work for way, (work, _) in ways.items()} | {"matrix product": product}
        works["kernels"] = partial(_append_products, kernels, ways["stack"][0], settings.device)
        seconds = time_interleaved(works, settings.device, settings.runs, title=name)
        operations, kernel_seconds = np.array(kernels[1:]).T  # without the first round
        rates = {way: units / np.array(seconds[way]) for way, (_, units) in ways.items()}
        curves[name] = rates
        product_rate = product_operations / np.array(seconds["matrix product"])
        arithmetic_rate = operations / np.array(seconds["stack"])
        row = {"workload": name, "runs": runs, "unit": unit, "rate": np.median(rates["stack"])}
        for way in ("tutorial", "plain"):
            # What nobody does in a tutorial has no ratio.
            ratios = quartile_columns(f"{way}_ratio", rates["stack"] / rates.get(way, np.nan))
            row |= {name: None if np.isnan(ratio) else ratio for name, ratio in ratios.items()}
        table.append(row | {"gflops": np.median(arithmetic_rate) / 1e9, "product_gflops": np.median(product_rate) / 1e9,
                            "share": np.median(arithmetic_rate / product_rate),
                            "kernels_share": np.median(operations / kernel_seconds / product_rate)})
    return {"table": table, "curves": curves}


def plot(results):
    rows = results["table"][::-1]
    places = np.arange(len(rows))
    most = max(row["tutorial_ratio_median"] or 0 for row in rows)
    title = f"Stacks of runs do up to {most:.0f} times the work of the tutorials' loop"
    figure, ((ratio_axes, share_axes),) = new_figure(title, results, 1, 2, height=4.5, sharey=True, width_ratios=(3, 2))
    for way, marker, color in (("tutorial", "o", COLORS[0]), ("plain", "s", COLORS[1])):
        found = [(place, row) for place, row in zip(places, rows) if row[f"{way}_ratio_median"] is not None]
        ratios = np.array([[row[f"{way}_ratio_{suffix}"] for suffix in ("median", "q25", "q75")] for _, row in found]).T
        ratio_axes.errorbar(ratios[0], [place for place, _ in found], xerr=[ratios[0] - ratios[1], ratios[2] - ratios[0]],
                            fmt=marker, color=color, label=f"against the {way} loop")
    ratio_axes.axvline(1, color=GREY, linewidth=1)
    ratio_axes.set(xscale="log", xlabel="times as many per second (median and quartiles)", yticks=places,
                   yticklabels=[f"{row['workload']} ×{row['runs']}" for row in rows], title="how much faster")
    share_axes.barh(places, [100 * row["share"] for row in rows], color=COLORS[2])
    share_axes.plot([100 * row["kernels_share"] for row in rows], places, "|", color="black", markersize=12)
    share_axes.set(xlabel="% of a float32 matrix product's rate", title="achieved (mark: its kernels alone)")
    legend_below(figure, ratio_axes)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
