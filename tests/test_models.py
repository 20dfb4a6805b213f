"""The stack against PyTorch's own layers, loops and parameter counts."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from common.models import (
    check_parameters,
    cnn,
    cnn_hidden_width,
    mlp,
    mlp_widths,
    parameter_count,
    run_count,
)
from common.parameters import flatten, unflatten
from common.training import cross_entropy, evaluate, run_generators, train


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def plain_mlp(stack, run):
    """Run `run` of a stacked ReLU MLP rebuilt from torch.nn.Linear."""
    layers = [nn.Flatten()]
    for layer in stack:
        if hasattr(layer, "weight"):
            linear = nn.Linear(layer.weight.shape[2], layer.weight.shape[1])
            linear.weight.data = layer.weight[run].detach().clone()
            linear.bias.data = layer.bias[run, :, 0].detach().clone()
            layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("widths", [[4, 7, 5, 3], [1, 6, 1, 5, 1]])
def test_mlp_stack_equals_torch_linear_layers(widths):
    model = mlp(widths, run_generators(0, 3, "initialization"))
    inputs = torch.randn(3, 11, widths[0])
    outputs = model(inputs)
    for run in range(3):
        torch.testing.assert_close(outputs[run], plain_mlp(model, run)(inputs[run]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("blocks", "kernel"), [([[2]], 5), ([[2, 3], [4]], 3)])
def test_cnn_stack_equals_torch_convolutions(blocks, kernel):
    model = cnn(blocks, kernel, [6], run_generators(0, 2, "initialization"))
    images = torch.randn(2, 5, 1, 28, 28)
    outputs = model(images)
    weighted = [layer for layer in model if hasattr(layer, "weight")]
    for run in range(2):
        hidden, layers = images[run], iter(weighted)
        for block in blocks:
            for _ in block:
                layer = next(layers)
                hidden = nn.functional.conv2d(hidden, layer.weight[run], layer.bias[run], padding="same").relu()
            hidden = nn.functional.max_pool2d(hidden, 2)
        hidden, first, last = hidden.flatten(1), next(layers), next(layers)
        hidden = (first.weight[run] @ hidden.T + first.bias[run]).relu()
        torch.testing.assert_close(outputs[run], (last.weight[run] @ hidden + last.bias[run]).T, rtol=1e-10, atol=1e-10)


def make_task():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(37, 1, 28, 28, generator=generator), torch.randint(10, (37,), generator=generator)


def trained(run_numbers, build, images, labels):
    model = build(run_generators(5, run_numbers, "initialization"))
    train(model, images, labels.expand(len(run_numbers), -1), cross_entropy, epochs=3, learning_rate=1e-2, batch_size=8,
          orders=run_generators(5, run_numbers, "order"))
    return model


@pytest.mark.parametrize("build", [lambda g: mlp([784, 6, 10], g), lambda g: cnn([[2], [3]], 3, [4], g)])
def test_a_run_in_a_stack_equals_the_run_alone(build):
    images, labels = make_task()
    stack = flatten(dict(trained([0, 1, 2], build, images, labels).named_parameters()))
    for run in range(3):
        alone = flatten(dict(trained([run], build, images, labels).named_parameters()))
        # float64 sums may be taken in another order: 1e-9 is far above that and far below one step (1e-2)
        torch.testing.assert_close(stack[run], alone[0], rtol=0, atol=1e-9)
    assert (stack[0] - stack[1]).abs().max() > 1e-2  # different runs do differ


def test_a_run_in_a_stack_equals_a_plain_pytorch_loop():
    images, labels = make_task()
    start = mlp([784, 6, 10], run_generators(5, 2, "initialization"))
    model = plain_mlp(start, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 15)
    generator = run_generators(5, [1], "order")[0]
    for _ in range(3):
        for index in torch.randperm(37, generator=generator).split(8):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
            optimizer.step()
            schedule.step()
    stack = trained([0, 1], lambda g: mlp([784, 6, 10], g), images, labels)
    for plain, stacked in zip(plain_mlp(stack, 1).parameters(), model.parameters()):
        torch.testing.assert_close(plain, stacked, rtol=0, atol=1e-9)


def test_run_generators_depend_on_seed_run_and_stream_alone():
    def draws(*arguments):
        return [torch.rand(4, generator=generator).tolist() for generator in run_generators(*arguments)]

    assert draws(0, 5, "order")[:2] == draws(0, 2, "order")
    assert draws(0, [3], "order")[0] == draws(0, 5, "order")[3]
    several = draws(0, 3, "order") + draws(1, 3, "order") + draws(0, 3, "labels")
    assert len({tuple(draw) for draw in several}) == 9


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("parameters", [571, 3_000])
def test_mlp_widths_meet_the_count_of_real_layers(depth, parameters):
    widths = mlp_widths(depth, parameters)
    count = sum(p.numel() for a, b in pairwise(widths) for p in nn.Linear(a, b).parameters())
    assert len(widths) == depth + 2
    assert abs(count - parameters) <= 0.01 * parameters
    assert max(widths[1:-1]) - min(widths[1:-1]) <= 1
    assert parameter_count(mlp(widths, run_generators(0, 2, "initialization"))) == count


def test_mlp_widths_refuse_what_cannot_be_met():
    with pytest.raises(ValueError, match="not within"):
        mlp_widths(2, 2_000)  # 42 and 43 units give 2,022, both 42 give 1,933


def test_check_parameters_is_strict():
    check_parameters(101, 100)
    with pytest.raises(ValueError, match="102 parameters"):
        check_parameters(102, 100)


def test_cnn_hidden_width_meets_the_count_of_real_layers():
    width = cnn_hidden_width([[8], [16, 16]], 3, 32_000)
    layers = [nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(7 * 7 * 16, width),
              nn.Linear(width, 10)]
    count = sum(p.numel() for layer in layers for p in layer.parameters())
    assert abs(count - 32_000) <= 320
    assert parameter_count(cnn([[8], [16, 16]], 3, [width], run_generators(0, 1, "initialization"))) == count


def test_parameter_vectors_hold_every_run_and_return():
    images, labels = make_task()
    model = mlp([784, 6, 10], run_generators(0, 2, "initialization"))
    vectors = flatten(dict(model.named_parameters()))
    assert vectors.shape == (2, parameter_count(model))
    loss, accuracy = evaluate(model, images, labels)
    # a stack of another height: each run twice, in reverse
    again, accuracy_again = evaluate(model, images, labels, unflatten(vectors[[1, 1, 0, 0]], model))
    torch.testing.assert_close(again, loss[[1, 1, 0, 0]])
    assert torch.equal(accuracy_again, accuracy[[1, 1, 0, 0]])
    assert run_count(model) == 2
