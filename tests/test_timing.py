"""The benchmarks' own arithmetic; their timings are no test."""

import time
from functools import partial

import pytest
import torch
from torch import nn

from common import timing
from common.baselines import Pictures, plain_cnn, plain_loop, plain_mlp, tutorial_loop
from common.models import cnn, mlp, parameter_count
from common.timing import matrix_product, measure_operations, time_interleaved
from common.training import run_generators

CPU = torch.device("cpu")


def test_works_take_turns_and_the_first_round_does_not_count():
    calls = []
    seconds = time_interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, CPU, 3)
    assert calls == ["a", "b"] * 4
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_operations_are_those_of_the_products_and_convolutions():
    work, operations = matrix_product(CPU)
    assert measure_operations(work, CPU)[0] == operations
    images, weight = torch.rand(2, 3, 8, 8), torch.rand(5, 3, 3, 3)
    # every output is a sum of 3 · 3 · 3 products: as many multiplications and additions
    convolution = partial(nn.functional.conv2d, images, weight, padding=1)
    assert measure_operations(convolution, CPU)[0] == 2 * 2 * 5 * 8 * 8 * 27


def test_operations_of_a_gradient_by_the_input_are_counted():
    images, weight = torch.rand(4, 3, requires_grad=True), torch.rand(3, 5)
    # forth a product of 4 × 3 and 3 × 5, back one of 4 × 5 and 5 × 3
    assert measure_operations(lambda: torch.autograd.grad((images @ weight).sum(), images), CPU)[0] == 2 * (2 * 4 * 3 * 5)


def test_only_the_operations_own_seconds_count():
    left, right = torch.rand(2, 512, 512)

    def work():
        time.sleep(0.2)
        return (left @ right).relu()

    start = time.perf_counter()
    _, product_seconds, library_seconds = measure_operations(work, CPU)
    assert 0 < product_seconds < library_seconds <= time.perf_counter() - start - 0.2  # the ReLU is the library's too


def test_the_call_of_every_operation_is_taken_off(monkeypatch):
    monkeypatch.setattr(timing, "_seconds_of_a_call", lambda device: 1_000.0)  # beside which the operations take nothing
    matrix = torch.rand(8, 8)
    _, product_seconds, library_seconds = measure_operations(lambda: (matrix @ matrix).relu(), CPU)
    assert product_seconds == pytest.approx(-1_000, abs=100)
    assert library_seconds == pytest.approx(-2_000, abs=100)


@pytest.mark.parametrize(("stack", "plain"), [
    (mlp([784, 6, 10], run_generators(0, 1, "initialization")), plain_mlp([784, 6, 10])),
    (cnn([[2], [3, 4]], 3, [6], run_generators(0, 1, "initialization")), plain_cnn([[2], [3, 4]], 3, 6))])
def test_the_plain_network_is_the_one_of_the_stack(stack, plain):
    assert parameter_count(stack) == sum(parameter.numel() for parameter in plain.parameters())
    images = torch.randn(1, 5, 1, 28, 28)
    for ours, theirs in zip(stack.parameters(), plain.parameters()):
        theirs.data = ours[0].detach().reshape(theirs.shape).clone()
    torch.testing.assert_close(stack(images)[0], plain(images[0]), rtol=1e-4, atol=1e-5)


def test_pictures_are_bytes_made_tensors_one_at_a_time():
    images = torch.linspace(-1, 1, 2 * 28 * 28).view(2, 1, 28, 28)
    pictures = Pictures(images, torch.tensor([3, 7]))
    image, label = pictures[1]
    assert (len(pictures), label) == (2, 7)
    torch.testing.assert_close(image, (images[1] + 1) / 2, rtol=0, atol=1 / 255)  # bytes: to a 255th of the range


@pytest.mark.parametrize("loop", ["plain", "tutorial"])
def test_the_loops_that_stacks_are_compared_with_do_learn(loop):
    torch.manual_seed(0)
    images = torch.randn(64, 1, 28, 28)
    labels = (images.mean((1, 2, 3)) > 0).long()
    model, loss = plain_mlp([784, 16, 2]), nn.functional.cross_entropy
    before = loss(model(images), labels).item()
    if loop == "plain":
        plain_loop(model, images, labels, loss, epochs=5, batch_size=16)
        after = loss(model(images), labels).item()
    else:
        pictures = Pictures(images, labels)
        before = loss(model(torch.stack([image for image, _ in pictures])), labels).item()
        tutorial_loop(model, pictures, loss, epochs=20, batch_size=16)
        after = loss(model(torch.stack([image for image, _ in pictures])), labels).item()
    assert after < 0.9 * before
