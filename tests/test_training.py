"""Training and its losses, against closed forms."""

import math
from functools import partial

from common.models import mlp
from common.parameters import parameter_vectors
from common.training import (
    Diverged,
    cross_entropy,
    expand_to_runs,
    make_optimizer,
    mean_squared_error,
    run_generators,
    shuffled_batches,
    stacked_runs,
    train,
)

import pytest
import torch

# --- losses ---


def test_cross_entropy_in_closed_form():
    # (2 runs, 2 examples, 2 classes)
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0]], [[0.0, math.log(9)], [0.0, 0.0]]])
    labels = torch.tensor([[0, 0], [1, 0]])
    expected = torch.tensor([(math.log(2) + math.log(4 / 3)) / 2,
                             (math.log(10 / 9) + math.log(2)) / 2])
    torch.testing.assert_close(cross_entropy(logits, labels), expected)


def test_mean_squared_error_is_a_mean_per_example():
    outputs = torch.tensor([[[1.0], [3.0]], [[0.0], [0.0]]])
    targets = torch.tensor([[[0.0], [1.0]], [[2.0], [0.0]]])
    assert mean_squared_error(outputs, targets).tolist() == [2.5, 2.0]


# --- optimizers ---


def first_step(optimizer, learning_rate):
    """The optimizer, the parameters (R, P) before its first step, their gradient, and the step."""
    model = mlp([3, 4, 2], run_generators(0, 2, "initialization"))
    before = parameter_vectors(model)
    model(torch.ones(1, 5, 3)).square().sum().backward()
    gradient = torch.cat([parameter.grad.flatten(1) for parameter in model.parameters()], dim=1)
    updater = make_optimizer(optimizer, model, learning_rate)
    updater.step()
    return updater, before, gradient, parameter_vectors(model) - before


def test_an_optimizer_without_a_fused_kernel_steps_as_it_is_defined():
    # RMSprop divides the first gradient by the root of (1 − α) times its square, plus 1e-8.
    updater, _, gradient, step = first_step(torch.optim.RMSprop, 0.01)
    assert isinstance(updater, torch.optim.RMSprop)
    assert not updater.param_groups[0].get("fused")
    torch.testing.assert_close(step, -0.01 * gradient / (0.1 * gradient.abs() + 1e-8))


def test_a_partial_of_an_optimizer_keeps_its_options_and_is_fused():
    # AdamW's first step is the sign of the gradient, beside the weight decay.
    updater, before, gradient, step = first_step(partial(torch.optim.AdamW, weight_decay=0.5), 0.01)
    assert isinstance(updater, torch.optim.AdamW)
    assert updater.param_groups[0]["fused"] is True
    expected = -0.01 * gradient / (gradient.abs() + 1e-8) - 0.01 * 0.5 * before
    torch.testing.assert_close(step, expected)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_an_optimizer_is_fused_only_on_devices_that_have_the_kernel(optimizer):
    model = mlp([3, 2], run_generators(0, 2, "initialization"))
    assert make_optimizer(optimizer, model, 0.1).param_groups[0]["fused"] is True
    # The meta device stands for those that are neither a CPU nor a CUDA GPU.
    assert not make_optimizer(optimizer, model.to("meta"), 0.1).param_groups[0]["fused"]


# --- batches ---


def test_batches_cover_every_example_once_and_pair_it_with_the_target_of_its_run():
    inputs = torch.arange(10).unsqueeze(1)  # example n is n
    targets = inputs + 100 * torch.arange(3).view(3, 1, 1)  # its target in run k is 100 k + n
    batches = list(shuffled_batches(inputs, targets, 4, run_generators(0, 3, "order")))
    assert [batch_inputs.shape for batch_inputs, _ in batches] == [(3, 4, 1), (3, 4, 1), (3, 2, 1)]
    for batch_inputs, batch_targets in batches:
        for run in range(3):
            assert torch.equal(batch_targets[run], batch_inputs[run] + 100 * run)
    visited = torch.cat([batch_inputs for batch_inputs, _ in batches], dim=1).squeeze(2)
    for order in visited:
        assert sorted(order.tolist()) == list(range(10))
    assert len({tuple(order.tolist()) for order in visited}) == 3


def test_every_epoch_of_training_visits_the_examples_in_a_new_order():
    seen = []

    def loss(outputs, targets):
        seen.append(targets.clone())
        return mean_squared_error(outputs, targets)

    model = mlp([1, 1], run_generators(0, 2, "initialization"))
    targets = expand_to_runs(torch.arange(10.0).unsqueeze(1), model)
    train(model, torch.zeros(10, 1), targets, loss, epochs=2, learning_rate=1e-3, batch_size=4,
          order_generators=run_generators(0, 2, "order"))
    assert [batch.shape[1] for batch in seen] == [4, 4, 2, 4, 4, 2]
    orders = [*torch.cat(seen[:3], dim=1).squeeze(2), *torch.cat(seen[3:], dim=1).squeeze(2)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(10))
    assert len({tuple(order.tolist()) for order in orders}) == 4  # of two runs in two epochs


def test_a_batch_as_large_as_the_set_is_the_whole_set():
    inputs = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    results = []
    for batch_size in (None, 10, 11):
        model = mlp([2, 3, 1], run_generators(0, 2, "initialization"))
        targets = expand_to_runs(inputs.sum(1, keepdim=True), model)
        train(model, inputs, targets, mean_squared_error, epochs=3, learning_rate=0.1,
              batch_size=batch_size)  # no generators: nothing is shuffled
        results.append(parameter_vectors(model))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_targets_are_expanded_to_the_runs_without_a_copy():
    model = mlp([1, 1], run_generators(0, 3, "initialization"))
    for targets in (torch.arange(5), torch.rand(5, 2)):
        expanded = expand_to_runs(targets, model)
        assert expanded.shape == (3, *targets.shape)
        for run in range(3):
            assert torch.equal(expanded[run], targets)
            assert expanded[run].data_ptr() == targets.data_ptr()


# --- training ---


def test_full_batch_gradient_descent_on_a_line_follows_its_closed_form():
    # f(w, b) = mean (w x + b − y)²: each plain gradient step is w ← w − 2η mean((w x + b − y) x),
    # and likewise b.
    x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [3.0], [2.0]])
    model = mlp([1, 1], run_generators(0, 1, "initialization"))
    w, b = model[1].weight.item(), model[1].bias.item()
    train(model, x, expand_to_runs(y, model), mean_squared_error, epochs=4, learning_rate=0.1,
          optimizer=torch.optim.SGD, cosine=False)
    for _ in range(4):
        residual = w * x + b - y
        w, b = w - 0.2 * (residual * x).mean().item(), b - 0.2 * residual.mean().item()
    trained = (model[1].weight.item(), model[1].bias.item())
    assert trained == pytest.approx((w, b), rel=1e-5)


def train_shortly(**changes):
    model = mlp([2, 2], run_generators(0, 2, "initialization"))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 2, generator=generator)
    labels = torch.randint(2, (2, 10), generator=generator)
    arguments = {"epochs": 7, "learning_rate": 0.1, "batch_size": 4,
                 "order_generators": run_generators(0, 2, "order")}
    train(model, images, labels, cross_entropy, **arguments | changes)


def test_record_is_called_before_every_few_epochs_and_at_the_end():
    epochs = []
    train_shortly(record=epochs.append, record_every=3)
    assert epochs == [0, 3, 6, 7]


@pytest.mark.parametrize("last", [0, 2])
def test_training_ends_when_record_says_so(last):
    epochs, steps = [], []

    def record(epoch):
        epochs.append(epoch)
        return epoch == last

    train_shortly(record=record, probe=steps.append, probe_steps=range(100))
    assert epochs == list(range(last + 1))
    assert steps == list(range(3 * last))  # three batches in each epoch


def test_divergence_names_network_and_epoch():
    x, y = torch.ones(3, 1), torch.ones(2, 3, 1)
    model = mlp([1, 1], run_generators(0, 2, "initialization"))
    with torch.no_grad():
        model[1].weight[1] = math.inf
    message = "^the loss of network 1 of the stack is not finite at epoch 1;"
    with pytest.raises(Diverged, match=message):
        train(model, x, y, mean_squared_error, epochs=2, learning_rate=0.1)


def test_a_stack_holds_all_runs_of_one_condition_after_the_other():
    assert stacked_runs((0, 0.5), range(2)) == ([0, 0, 0.5, 0.5], [0, 1, 0, 1])
    assert stacked_runs(["sinc"], [7, 9]) == (["sinc", "sinc"], [7, 9])


@pytest.mark.parametrize("steps, warmup, expected", [
    (8, 0.25, [0.5, 1, 1, 0.933, 0.75, 0.5, 0.25, 0.067]),  # two rise; (1 + cos 30°) / 2 = 0.933
    (4, 0.5, [0.5, 1, 1, 0.5]),
    (1, 0.25, [1]),
])
def test_the_learning_rate_rises_then_falls_along_half_a_cosine(steps, warmup, expected):
    model = mlp([1, 1], [torch.Generator()])
    before = [parameter_vectors(model)]
    # The gradient of this loss is 1 in the bias, whatever the parameters: with SGD the bias falls
    # by the learning rate.
    train(model, torch.zeros(1, 1), torch.zeros(1, 1, 1), lambda outputs, _: outputs.sum((1, 2)),
          epochs=steps, learning_rate=1.0, warmup=warmup, optimizer=torch.optim.SGD,
          record=lambda epoch: before.append(parameter_vectors(model)) if epoch else None)
    biases = torch.stack(before)[:, 0, 1]
    assert (biases[:-1] - biases[1:]).tolist() == pytest.approx(expected, abs=1e-3)
