"""The stack against PyTorch's own layers, loops and parameter counts."""

from itertools import pairwise

from common.models import (
    check_parameters,
    cnn,
    cnn_hidden_width,
    mlp,
    mlp_widths,
    parameter_count,
    run_count,
)
from common.parameters import parameter_vectors, unflatten
from common.training import cross_entropy, expand_to_runs, run_generators, train

import pytest
import torch
from torch import nn


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
    inputs = random_inputs(3, 11, widths[0])
    outputs = model(inputs)
    for run in range(3):
        expected = plain_mlp(model, run)(inputs[run])
        torch.testing.assert_close(outputs[run], expected, rtol=1e-12, atol=1e-12)


def random_inputs(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(("blocks", "kernel"), [([[2]], 5), ([[2, 3], [4]], 3)])
def test_cnn_stack_equals_torch_convolutions(blocks, kernel):
    model = cnn(blocks, kernel, [6], run_generators(0, 2, "initialization"))
    images = random_inputs(2, 5, 1, 28, 28)
    outputs = model(images)
    for run in range(2):
        layers = iter([layer for layer in model if hasattr(layer, "weight")])
        hidden = images[run]
        for block in blocks:
            for _ in block:
                layer = next(layers)
                hidden = nn.functional.conv2d(hidden, layer.weight[run], layer.bias[run],
                                              padding="same").relu()
            hidden = nn.functional.max_pool2d(hidden, 2)
        first, last = layers
        hidden = (first.weight[run] @ hidden.flatten(1).T + first.bias[run]).relu()
        expected = (last.weight[run] @ hidden + last.bias[run]).T
        torch.testing.assert_close(outputs[run], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("build", "shape"), [
    (lambda generators: mlp([4, 7, 5, 3], generators), (4,)),
    (lambda generators: mlp([4, 3], generators), (1, 2, 2)),
    (lambda generators: mlp([1, 6, 1, 5, 1], generators), (1,)),
    (lambda generators: cnn([[2]], 5, [6], generators), (1, 28, 28)),
    (lambda generators: cnn([[2, 3], [4]], 3, [6], generators), (1, 28, 28)),
], ids=["mlp", "one layer", "one feature", "cnn", "deeper cnn"])
@pytest.mark.parametrize("runs", [1, 3])
def test_shared_inputs_give_what_the_inputs_expanded_to_all_runs_give(build, shape, runs):
    inputs = random_inputs(1, 5, *shape)
    answers = []
    for batch in (inputs, inputs.expand(runs, *inputs.shape[1:]).clone()):
        model = build(run_generators(0, runs, "initialization"))
        outputs = model(batch)
        outputs.square().sum().backward()
        answers.append([outputs, *[parameter.grad for parameter in model.parameters()]])
    assert len(answers[0][0]) == runs
    torch.testing.assert_close(*answers, rtol=1e-12, atol=1e-12)


def make_task():
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(37, 1, 28, 28, generator=generator)
    return images, torch.randint(10, (37,), generator=generator)


def train_runs(run_numbers, build, images, labels):
    model = build(run_generators(5, run_numbers, "initialization"))
    train(model, images, expand_to_runs(labels, model), cross_entropy, epochs=3,
          learning_rate=1e-2, batch_size=8,
          order_generators=run_generators(5, run_numbers, "order"))
    return model


@pytest.mark.parametrize("build", [
    lambda generators: mlp([784, 6, 10], generators),
    lambda generators: cnn([[2], [3]], 3, [4], generators),
], ids=["mlp", "cnn"])
def test_a_run_in_a_stack_equals_the_run_alone(build):
    images, labels = make_task()
    stack = parameter_vectors(train_runs([0, 1, 2], build, images, labels))
    for run in range(3):
        alone = parameter_vectors(train_runs([run], build, images, labels))
        # float64 sums may be taken in another order: 1e-9 is far above that and far below one step
        # (1e-2).
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
    stack = train_runs([0, 1], lambda generators: mlp([784, 6, 10], generators), images, labels)
    for plain, stacked in zip(model.parameters(), plain_mlp(stack, 1).parameters()):
        torch.testing.assert_close(plain, stacked, rtol=0, atol=1e-9)


def test_run_generators_depend_on_seed_run_and_stream_alone():
    def draws(*arguments):
        return [torch.rand(4, generator=generator).tolist()
                for generator in run_generators(*arguments)]

    assert draws(0, 5, "order")[:2] == draws(0, 2, "order")
    assert draws(0, [3], "order")[0] == draws(0, 5, "order")[3]
    several = draws(0, 3, "order") + draws(1, 3, "order") + draws(0, 3, "labels")
    assert len({tuple(draw) for draw in several}) == 9


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 8])
@pytest.mark.parametrize("parameters", [571, 3_000])
def test_mlp_widths_meet_the_count_of_real_layers(depth, parameters):
    widths = mlp_widths(depth, parameters)
    layers = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)]
    count = sum(tensor.numel() for layer in layers for tensor in layer.parameters())
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
    layers = [nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3), nn.Conv2d(16, 16, 3),
              nn.Linear(7 * 7 * 16, width), nn.Linear(width, 10)]
    count = sum(tensor.numel() for layer in layers for tensor in layer.parameters())
    assert abs(count - 32_000) <= 320
    model = cnn([[8], [16, 16]], 3, [width], run_generators(0, 1, "initialization"))
    assert parameter_count(model) == count


def test_parameter_vectors_hold_every_run_and_return():
    model = mlp([4, 6, 3], run_generators(0, 2, "initialization"))
    vectors = parameter_vectors(model)
    assert vectors.shape == (2, (4 + 1) * 6 + (6 + 1) * 3) == (2, parameter_count(model))
    returned = unflatten(vectors, model)
    assert list(returned) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        assert torch.equal(returned[name], parameter)
        for run in range(2):  # all of a run's parameters are in its own vector
            assert torch.isin(parameter[run], vectors[run]).all()
    assert run_count(model) == 2
