"""The benchmarks' own arithmetic, and the loops that they compare with; timings are no test."""

import time
from functools import partial

from benchmarks import timing
from benchmarks.baselines import (
    Pictures,
    evaluate_batches,
    hessians_row_by_row,
    plain_cnn,
    plain_loop,
    plain_mlp,
    sensitivity_one_by_one,
    tutorial_loop,
)
from benchmarks.timing import matrix_product, measure_operations, time_in_turns
from common.critical_points import hessians_at, loss_of_one
from common.data import grid, sinc
from common.derivatives import input_sensitivity, loss_at
from common.evaluation import evaluate
from common.models import cnn, mlp, parameter_count
from common.parameters import parameter_vectors
from common.training import mean_squared_error, run_generators

import pytest
import torch
from torch import nn

CPU = torch.device("cpu")


# --- timing ---


def test_pieces_of_work_take_turns_and_the_first_round_does_not_count():
    calls = []
    pieces = {"a": partial(calls.append, "a"), "b": partial(calls.append, "b")}
    seconds = time_in_turns(pieces, CPU, 3)
    assert calls == ["a", "b"] * 4
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_seconds_are_those_of_the_work():
    assert 0.1 <= time_in_turns({"sleep": partial(time.sleep, 0.1)}, CPU, 1)["sleep"][0] < 1


def test_arithmetic_is_that_of_the_products_and_convolutions():
    multiply, operations = matrix_product(CPU)
    assert measure_operations(multiply, CPU).arithmetic == operations
    images, weight = torch.rand(2, 3, 8, 8), torch.rand(5, 3, 3, 3)
    convolve = partial(nn.functional.conv2d, images, weight, padding=1)
    # Every output is a sum of 3 · 3 · 3 products: as many multiplications and additions.
    outputs = 2 * 5 * 8 * 8
    assert measure_operations(convolve, CPU).arithmetic == 2 * outputs * 27


def test_arithmetic_of_a_gradient_by_the_input_is_counted():
    images, weight = torch.rand(4, 3, requires_grad=True), torch.rand(3, 5)

    def differentiate():
        torch.autograd.grad((images @ weight).sum(), images)

    # Forth a product of 4 × 3 and 3 × 5, back one of 4 × 5 and 5 × 3.
    assert measure_operations(differentiate, CPU).arithmetic == 2 * (2 * 4 * 3 * 5)


def test_only_the_operations_own_seconds_count():
    left, right = torch.rand(2, 512, 512)

    def multiply_and_sleep():
        time.sleep(0.2)
        return (left @ right).relu()  # the ReLU is one of the library's operations, but no product

    start = time.perf_counter()
    measured = measure_operations(multiply_and_sleep, CPU)
    seconds = time.perf_counter() - start
    assert 0 < measured.product_seconds < measured.library_seconds <= seconds - 0.2


def test_the_call_of_every_operation_is_taken_off(monkeypatch):
    # So many seconds that the operations take nothing beside them.
    monkeypatch.setattr(timing, "seconds_of_a_call", lambda device: 1_000.0)
    matrix = torch.rand(8, 8)
    measured = measure_operations(lambda: (matrix @ matrix).relu(), CPU)
    assert measured.product_seconds == pytest.approx(-1_000, abs=100)
    assert measured.library_seconds == pytest.approx(-2_000, abs=100)


def test_the_timer_changes_no_result():
    images, weight = torch.rand(1, 1, 8, 8, requires_grad=True), torch.rand(2, 1, 3, 3)
    gradients = []

    def differentiate():
        outputs = nn.functional.conv2d(images, weight).square().sum()
        gradients.append(torch.autograd.grad(outputs, images)[0])

    differentiate()
    measure_operations(differentiate, CPU)
    assert torch.equal(*gradients)


# --- the loops that most people write: they do what the stacks do ---


def plain_copy(stack, plain):
    """Gives one plain network the parameters of the first run of a stack; returns it."""
    assert parameter_count(stack) == sum(parameter.numel() for parameter in plain.parameters())
    for ours, theirs in zip(stack.parameters(), plain.parameters()):
        theirs.data = ours[0].detach().reshape(theirs.shape).clone()
    return plain


def generators():
    """The generator of one run."""
    return run_generators(0, 1, "initialization")


def random_images(count):
    """Random images (N, 1, 28, 28) and labels (N,) that tell bright ones from dark ones."""
    images = torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return images, (images.mean((1, 2, 3)) > 0).long()


@pytest.mark.parametrize(("stack", "plain"), [
    (mlp([784, 6, 10], generators()), plain_mlp([784, 6, 10])),
    (cnn([[2], [3, 4]], 3, [6], generators()), plain_cnn([[2], [3, 4]], 3, 6)),
])
def test_the_plain_network_is_the_one_of_the_stack(stack, plain):
    images, _ = random_images(5)
    outputs = plain_copy(stack, plain)(images)
    torch.testing.assert_close(stack(images.unsqueeze(0))[0], outputs, rtol=1e-4, atol=1e-5)


def test_pictures_are_bytes_made_tensors_one_at_a_time():
    images = torch.linspace(-1, 1, 2 * 28 * 28).view(2, 1, 28, 28)
    pictures = Pictures(images, torch.tensor([3, 7]))
    image, label = pictures[1]
    assert (len(pictures), label) == (2, 7)
    # A byte tells a 255th of the range.
    torch.testing.assert_close(image, (images[1] + 1) / 2, rtol=0, atol=1 / 255)


def test_the_plain_loop_learns():
    torch.manual_seed(0)
    images, labels = random_images(64)
    model, loss = plain_mlp([784, 16, 2]), nn.functional.cross_entropy
    before = loss(model(images), labels).item()
    plain_loop(model, images, labels, loss, epochs=5, batch_size=16)
    assert loss(model(images), labels).item() < 0.9 * before


def test_the_tutorial_loop_learns():
    torch.manual_seed(0)
    pictures = Pictures(*random_images(64))
    images = torch.stack([image for image, _ in pictures])
    labels = torch.tensor(pictures.labels)
    model, loss = plain_mlp([784, 16, 2]), nn.functional.cross_entropy
    before = loss(model(images), labels).item()
    tutorial_loop(model, pictures, loss, epochs=20, batch_size=16)
    assert loss(model(images), labels).item() < 0.9 * before


def test_the_plain_evaluation_finds_what_the_stack_finds():
    images, labels = random_images(50)
    stack = mlp([784, 6, 10], generators())
    plain = plain_copy(stack, plain_mlp([784, 6, 10]))
    batches = zip(images.split(20), labels.split(20))
    expected = [values.item() for values in evaluate(stack, images, labels)]
    assert evaluate_batches(plain, batches) == pytest.approx(expected, rel=1e-5)


def test_the_plain_hessians_are_those_of_the_stack():
    model = mlp([1, 3, 1], run_generators(0, 4, "initialization"), nn.Tanh).double()
    x = grid(10, dtype=torch.float64)
    loss, points = loss_at(model, x, sinc(x), mean_squared_error), parameter_vectors(model)
    plain = hessians_row_by_row(loss_of_one(loss), points)
    torch.testing.assert_close(plain, hessians_at(loss, points))


def test_the_plain_input_gradients_are_those_of_the_stack():
    images, labels = random_images(7)
    stack = mlp([784, 6, 10], generators())
    plain = plain_copy(stack, plain_mlp([784, 6, 10]))
    expected = input_sensitivity(stack, dict(stack.named_parameters()), images, labels).item()
    assert sensitivity_one_by_one(plain, images, labels) == pytest.approx(expected, rel=1e-5)
