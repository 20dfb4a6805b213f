"""The pieces of work that benchmark.py times, done as in the laboratory and as most people do."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import hw1_1_mnist
import hw1_1_simulate
import hw1_2_minratio
import hw1_3_flatness
import hw1_3_sensitivity
from benchmarks.baselines import (
    LEARNING_RATE,
    Pictures,
    evaluate_batches,
    hessians_row_by_row,
    plain_cnn,
    plain_loop,
    plain_mlp,
    sensitivity_one_by_one,
    tutorial_loop,
)
from common.critical_points import hessians_at, loss_of_one
from common.data import grid, sinc
from common.derivatives import input_sensitivity, loss_at
from common.evaluation import evaluate
from common.models import cnn, cnn_hidden_width, mlp, mlp_widths, run_count
from common.parameters import interpolate, parameter_vectors, unflatten
from common.training import (
    cross_entropy,
    expand_to_runs,
    mean_squared_error,
    run_generators,
    train,
)

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

FUNCTION_DEPTH, FUNCTION_RUNS, FUNCTION_POINTS = 4, 10, 128
# Names and widths of networks of which one alone is too small for the processor.
NARROW_NETWORKS = {
    "784-32-32-32-10": [784, 32, 32, 32, 10],
    "784-128-10": [784, 128, 10],
}
NARROW_RUNS = 8
NARROW_BATCH_SIZES = (64, 128)
WIDE_NETWORK, WIDE_WIDTHS = "784-512-512-10", [784, 512, 512, 10]
BATCH_SIZE = 128  # of the wide network and the CNNs
CNN_RUNS = 3
HESSIANS, PLAIN_HESSIANS = 100, 5
PLAIN_NETWORKS = 3  # of those on a line
PLAIN_BATCH = 1_000  # images at a time in their evaluation
TUTORIAL_IMAGES, TUTORIAL_BATCH = 2_000, 64
SENSITIVITY_RUNS, PLAIN_GRADIENTS = 5, 300
# The loss of a stack, and the same for one network.
PLAIN_LOSSES = {
    cross_entropy: functional.cross_entropy,
    mean_squared_error: functional.mse_loss,
}


class Way(NamedTuple):
    """One way to do a piece of work: a function without arguments, and what one call gets done."""

    work: Callable
    units: int


class Workload(NamedTuple):
    """A piece of work: its name, the runs in its stack, the unit that is counted, and its ways.

    ways is {"stack": Way, "plain": Way, "tutorial": Way}; what nobody does in a tutorial lacks the
    last one.
    """

    name: str
    runs: int
    unit: str
    ways: dict


def all_workloads(data, settings):
    """Yields every Workload, each made only when its turn comes, to save memory."""
    yield function_training(settings)
    for network, widths in NARROW_NETWORKS.items():
        for batch_size in NARROW_BATCH_SIZES:
            yield mlp_training(network, widths, NARROW_RUNS, batch_size, data, settings)
    yield mlp_training(WIDE_NETWORK, WIDE_WIDTHS, 1, BATCH_SIZE, data, settings)
    for network in hw1_1_mnist.MODELS:
        yield cnn_training(network, data, settings)
    yield hessians(settings.device)
    yield evaluation_along_a_line(data, settings)
    yield input_gradients(data, settings)


# --- training ---


def stack_training(stack, inputs, targets, loss_function, epochs, batch_size=None):
    """The training of a stack, whose runs share targets (N, ...): a function without arguments."""
    order_generators = run_generators(0, run_count(stack), "order")
    return partial(train, stack, inputs, expand_to_runs(targets, stack), loss_function,
                   epochs=epochs, learning_rate=LEARNING_RATE, batch_size=batch_size,
                   order_generators=order_generators, record_every=epochs)


def training_ways(stack, plain, dataset, loss_function, epochs, batch_size):
    """The three ways to train a network; their units are examples.

    plain is one run of the stack from torch.nn's layers; dataset is a TensorDataset or Pictures.
    """
    inputs, targets = dataset.tensors
    stack, plain = stack.to(inputs.device), plain.to(inputs.device)
    plain_loss = PLAIN_LOSSES[loss_function]
    examples = epochs * len(inputs)
    return {
        "stack": Way(stack_training(stack, inputs, targets, loss_function, epochs, batch_size),
                     run_count(stack) * examples),
        "plain": Way(partial(plain_loop, plain, inputs, targets, plain_loss, epochs, batch_size),
                     examples),
        "tutorial": Way(partial(tutorial_loop, plain, dataset, plain_loss, epochs, batch_size),
                        examples),
    }


def function_training(settings):
    """Networks of part 1-1 on the sinc function, every step on all points."""
    widths = mlp_widths(FUNCTION_DEPTH, hw1_1_simulate.PARAMETERS)
    x = grid(FUNCTION_POINTS, settings.device)
    stack = mlp(widths, run_generators(0, FUNCTION_RUNS, "initialization"))
    ways = training_ways(stack, plain_mlp(widths), TensorDataset(x, sinc(x)), mean_squared_error,
                         settings.functions_steps, FUNCTION_POINTS)
    name = f"function, {FUNCTION_DEPTH} hidden layers"
    return Workload(name, FUNCTION_RUNS, "points", ways)


def image_training_ways(stack, plain, batch_size, data, settings):
    """The three ways to train a network on images: one epoch of settings.steps batches."""
    examples = min(settings.steps * batch_size, len(data.train_images))
    pictures = Pictures(data.train_images[:examples], data.train_labels[:examples])
    return training_ways(stack, plain, pictures, cross_entropy, 1, batch_size)


def mlp_training(network, widths, runs, batch_size, data, settings):
    """MLPs on the images."""
    stack = mlp(widths, run_generators(0, runs, "initialization"))
    ways = image_training_ways(stack, plain_mlp(widths), batch_size, data, settings)
    return Workload(f"{network}, batch {batch_size}", runs, "images", ways)


def cnn_training(network, data, settings):
    """One of the CNNs of part 1-1 on the images."""
    model = hw1_1_mnist.MODELS[network]
    blocks, kernel = model["blocks"], model["kernel"]
    hidden_width = cnn_hidden_width(blocks, kernel, hw1_1_mnist.PARAMETERS)
    generators = run_generators(0, CNN_RUNS, "initialization")
    stack = cnn(blocks, kernel, [hidden_width], generators)
    plain = plain_cnn(blocks, kernel, hidden_width)
    ways = image_training_ways(stack, plain, BATCH_SIZE, data, settings)
    return Workload(f"CNN, {network}, batch {BATCH_SIZE}", CNN_RUNS, "images", ways)


# --- measuring ---


def hessians(device):
    """Exact Hessians of 100 networks of part 1-2 at once; the plain way does five, row by row."""
    generators = run_generators(0, HESSIANS, "initialization")
    model = mlp(hw1_2_minratio.WIDTHS, generators, nn.Tanh).double().to(device)
    x = grid(hw1_2_minratio.DATA_POINTS, device, torch.float64)
    loss = loss_at(model, x, sinc(x), mean_squared_error)
    points = parameter_vectors(model)
    some_points = points[:PLAIN_HESSIANS]
    ways = {
        "stack": Way(partial(hessians_at, loss, points), HESSIANS),
        "plain": Way(partial(hessians_row_by_row, loss_of_one(loss), some_points), PLAIN_HESSIANS),
    }
    return Workload(f"Hessians, {points.shape[1]} parameters", HESSIANS, "Hessians", ways)


def evaluation_along_a_line(data, settings):
    """Loss and accuracy of the 61 networks on a line of part 1-3.

    The plain way does three networks one by one, the tutorials' way one on fewer images.
    """
    images = torch.cat([data.train_images, data.test_images])[: settings.images]
    labels = torch.cat([data.train_labels, data.test_labels])[: settings.images]
    widths = hw1_3_flatness.WIDTHS
    model = mlp(widths, run_generators(0, 2, "initialization")).to(settings.device)
    first, second = parameter_vectors(model)
    points = interpolate(first, second, hw1_3_flatness.ALPHAS)
    parameters = unflatten(points, model)

    plain = plain_mlp(widths).to(settings.device)
    batches = list(zip(images.split(PLAIN_BATCH), labels.split(PLAIN_BATCH)))
    pictures = Pictures(images[:TUTORIAL_IMAGES], labels[:TUTORIAL_IMAGES])
    loader = DataLoader(pictures, batch_size=TUTORIAL_BATCH)

    def evaluate_one_by_one():
        for _ in range(PLAIN_NETWORKS):
            evaluate_batches(plain, batches)

    ways = {
        "stack": Way(partial(evaluate, model, images, labels, parameters),
                     len(points) * len(images)),
        "plain": Way(evaluate_one_by_one, PLAIN_NETWORKS * len(images)),
        "tutorial": Way(partial(evaluate_batches, plain, loader), len(pictures)),
    }
    return Workload("evaluation along a line", len(points), "images", ways)


def input_gradients(data, settings):
    """The gradient of the loss by every test image, for five networks of part 1-3.

    The plain way does 300 images one by one, for one network.
    """
    widths = hw1_3_sensitivity.WIDTHS
    generators = run_generators(0, SENSITIVITY_RUNS, "initialization")
    model = mlp(widths, generators).to(settings.device)
    parameters = dict(model.named_parameters())
    images, labels = data.test_images, data.test_labels
    plain = plain_mlp(widths).to(settings.device)
    some_images, some_labels = images[:PLAIN_GRADIENTS], labels[:PLAIN_GRADIENTS]
    ways = {
        "stack": Way(partial(input_sensitivity, model, parameters, images, labels),
                     SENSITIVITY_RUNS * len(images)),
        "plain": Way(partial(sensitivity_one_by_one, plain, some_images, some_labels),
                     len(some_images)),
    }
    return Workload("input gradients", SENSITIVITY_RUNS, "images", ways)
