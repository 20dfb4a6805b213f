"""The pieces of work that benchmark.py times, each as the laboratory does it and as most people write it."""

from functools import partial

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
from common.critical_points import gradient_and_hessian, loss_of
from common.functions import grid, sinc
from common.models import cnn, cnn_hidden_width, mlp, mlp_widths, run_count
from common.parameters import interpolate, parameter_vectors, unflatten
from common.sharpness import input_sensitivity
from common.training import cross_entropy, evaluate, mean_squared_error, run_generators, train


def stack_training(stack, inputs, targets, loss_function, epochs, batch_size=None):
    """The training of a stack as a function without arguments, whose runs share their targets (N, ...)."""
    runs = run_count(stack)
    return partial(train, stack, inputs, targets.expand(runs, *targets.shape), loss_function, epochs=epochs,
                   learning_rate=LEARNING_RATE, batch_size=batch_size, orders=run_generators(0, runs, "order"),
                   record_every=epochs)


def training(stack, plain, dataset, losses, epochs, batch_size):
    """The three ways to train a network; dataset is a TensorDataset or Pictures, losses those of a stack and of one run.

    Like all workloads: {way: (function without arguments, examples or other units of work that it gets done)}.
    """
    inputs, targets = dataset.tensors
    examples = epochs * len(inputs)
    stack, plain = stack.to(inputs.device), plain.to(inputs.device)
    return {"stack": (stack_training(stack, inputs, targets, losses[0], epochs, batch_size), run_count(stack) * examples),
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
    loss, points = loss_of(model, x, sinc(x)), parameter_vectors(model)

    def row_by_row():
        for point in points[:5].clone().requires_grad_():
            gradient, = torch.autograd.grad(loss(point), point, create_graph=True)
            torch.stack([torch.autograd.grad(entry, point, retain_graph=True)[0] for entry in gradient])

    return {"stack": (lambda: gradient_and_hessian(loss)[1](points), len(points)), "plain": (row_by_row, 5)}


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
