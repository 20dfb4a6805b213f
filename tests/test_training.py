"""Training and the metrics, against closed forms."""

import math

import pytest
import torch

from common.models import mlp
from common.training import Diverged, cross_entropy, evaluate, mean_squared_error, run_generators, train


def test_cross_entropy_in_closed_form():
    logits = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0]], [[0.0, math.log(9)], [0.0, 0.0]]])  # (2 runs, 2 examples, 2)
    labels = torch.tensor([[0, 0], [1, 0]])
    expected = torch.tensor([(math.log(2) + math.log(4 / 3)) / 2, (math.log(10 / 9) + math.log(2)) / 2])
    torch.testing.assert_close(cross_entropy(logits, labels), expected)


def test_mean_squared_error_is_a_mean_per_example():
    outputs = torch.tensor([[[1.0], [3.0]], [[0.0], [0.0]]])
    targets = torch.tensor([[[0.0], [1.0]], [[2.0], [0.0]]])
    assert mean_squared_error(outputs, targets).tolist() == [2.5, 2.0]


@pytest.mark.parametrize("chunk", [1, 7, 23, 100])
def test_evaluate_is_the_mean_over_the_whole_set_for_any_chunk(chunk):
    model = mlp([5, 4, 3], run_generators(0, 2, "initialization"))
    images, labels = torch.randn(23, 5), torch.randint(3, (23,))
    loss, accuracy = evaluate(model, images, labels, chunk=chunk)
    logits = model(images.expand(2, -1, -1))
    for run in range(2):
        probabilities = logits[run].double().softmax(1)[torch.arange(23), labels]
        assert loss[run].item() == pytest.approx(-probabilities.log().mean().item(), rel=1e-5)
        assert accuracy[run].item() == (logits[run].argmax(1) == labels).double().mean().item()


def test_evaluate_takes_labels_of_each_run():
    model = mlp([5, 3], run_generators(0, 1, "initialization"))
    images = torch.randn(10, 5)
    best, worst = model(images[None])[0].argmax(1), model(images[None])[0].argmin(1)
    twice = {name: torch.cat([value, value]) for name, value in model.named_parameters()}
    _, accuracy = evaluate(model, images, torch.stack([best, worst]), twice)
    assert accuracy.tolist() == [1.0, 0.0]


def test_full_batch_gradient_descent_on_a_line_follows_its_closed_form():
    # f(w, b) = mean (w x + b − y)²: each plain gradient step is w ← w − 2η mean((w x + b − y) x), likewise b
    x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [3.0], [2.0]])
    model = mlp([1, 1], run_generators(0, 1, "initialization"))
    w, b = model[1].weight.item(), model[1].bias.item()
    train(model, x, y.expand(1, -1, -1), mean_squared_error, epochs=4, learning_rate=0.1, optimizer=torch.optim.SGD,
          cosine=False)
    for _ in range(4):
        residual = w * x + b - y
        w, b = w - 0.2 * (residual * x).mean().item(), b - 0.2 * residual.mean().item()
    assert (model[1].weight.item(), model[1].bias.item()) == pytest.approx((w, b), rel=1e-5)


def small_training(**changes):
    model = mlp([2, 2], run_generators(0, 2, "initialization"))
    images, labels = torch.randn(10, 2), torch.randint(2, (2, 10))
    arguments = {"epochs": 7, "learning_rate": 0.1, "batch_size": 4, "orders": run_generators(0, 2, "order")}
    train(model, images, labels, cross_entropy, **arguments | changes)


def test_record_is_called_before_every_few_epochs_and_at_the_end():
    epochs = []
    small_training(record=epochs.append, record_every=3)
    assert epochs == [0, 3, 6, 7]


def test_training_ends_when_record_says_so():
    epochs = []
    small_training(record=lambda epoch: epochs.append(epoch) or epoch == 2)
    assert epochs == [0, 1, 2]


def test_divergence_names_run_and_epoch():
    x, y = torch.ones(3, 1), torch.ones(2, 3, 1)
    model = mlp([1, 1], run_generators(0, 2, "initialization"))
    with torch.no_grad():
        model[1].weight[1] = math.inf
    with pytest.raises(Diverged, match=r"sums: the loss of run 1 is not finite at epoch 1;"):
        train(model, x, y, mean_squared_error, epochs=2, learning_rate=0.1, title="sums")


def test_the_order_is_drawn_for_each_run_and_covers_every_example():
    seen = []

    def loss(outputs, targets):
        seen.append(targets.clone())
        return mean_squared_error(outputs, targets)

    model = mlp([1, 1], run_generators(0, 2, "initialization"))
    targets = torch.arange(10.0).view(1, 10, 1).expand(2, -1, -1)
    train(model, torch.zeros(10, 1), targets, loss, epochs=2, learning_rate=1e-3, batch_size=4,
          orders=run_generators(0, 2, "order"))
    first, second = torch.cat(seen[:3], 1)[..., 0], torch.cat(seen[3:], 1)[..., 0]
    assert [batch.shape[1] for batch in seen[:3]] == [4, 4, 2]
    for order in (*first, *second):
        assert sorted(order.tolist()) == list(range(10))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], second[0])
