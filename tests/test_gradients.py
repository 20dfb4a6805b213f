"""The full training gradient and its recording during training, against closed forms and finite differences, in float64."""

from itertools import pairwise

import numpy as np
import torch

from common.derivatives import loss_and_gradient
from common.models import cnn, mlp
from common.parameters import flatten, unflatten
from common.phases import describe_phases
from common.statistics import ratio_ci95_columns
from common.training import cross_entropy, evaluate, mean_squared_error, run_generators, train
from hw1_2_gradnorm import record_steps


def linear_regression(runs=3, examples=20, features=4):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, features, dtype=torch.float64, generator=generator)
    targets = torch.randn(runs, examples, 1, dtype=torch.float64, generator=generator)
    return mlp([features, 1], run_generators(0, runs, "initialization")).double(), inputs, targets


def closed_form(vectors, inputs, targets):
    """2 Xᵀ(Xw − y) / N of every run, X having a last column of ones for the bias: (R, features + 1)."""
    design = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], 1)
    residuals = vectors @ design.T - targets.squeeze(2)
    return 2 / len(inputs) * residuals @ design, residuals.square().mean(1)


def test_linear_regression_has_its_closed_form_for_every_chunk():
    model, inputs, targets = linear_regression()
    parameters = dict(model.named_parameters())
    vectors = torch.cat([parameters["1.weight"].flatten(1), parameters["1.bias"].flatten(1)], 1).detach()
    expected_gradient, expected_loss = closed_form(vectors, inputs, targets)
    for chunk in (1, 7, 20, 1_000):  # 7 does not divide 20: the last chunk is smaller
        loss, gradient = loss_and_gradient(model, inputs, targets, mean_squared_error, chunk)
        torch.testing.assert_close(loss, expected_loss)
        torch.testing.assert_close(gradient, expected_gradient)


def test_a_network_agrees_with_finite_differences():
    runs = 2
    model = cnn([[2]], 3, [4], run_generators(0, runs, "initialization"), image_size=6, classes=3).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(9, 1, 6, 6, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 3, (runs, 9), generator=generator)
    loss, gradient = loss_and_gradient(model, images, labels, cross_entropy, chunk=4)
    torch.testing.assert_close(loss, evaluate(model, images, labels)[0])
    vectors = flatten(dict(model.named_parameters()))
    step = 1e-6  # central differences err by step² and by 1e-16/step: both below 1e-9
    for index in range(0, vectors.shape[1], 5):
        shift = torch.zeros_like(vectors)
        shift[:, index] = step
        above, below = (evaluate(model, images, labels, unflatten(vectors + sign * shift, model))[0] for sign in (1, -1))
        torch.testing.assert_close(gradient[:, index], (above - below) / (2 * step), rtol=0, atol=1e-8)


def test_measuring_leaves_parameters_and_their_grad_alone():
    model, inputs, targets = linear_regression()
    before = flatten(dict(model.named_parameters()))
    loss_and_gradient(model, inputs, targets, mean_squared_error)
    assert all(parameter.grad is None for parameter in model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7)
    loss_and_gradient(model, inputs, targets, mean_squared_error)
    assert all((parameter.grad == 7).all() for parameter in model.parameters())
    torch.testing.assert_close(flatten(dict(model.named_parameters())), before, rtol=0, atol=0)


def test_gradients_of_float32_networks_are_summed_in_float64():
    model, inputs, targets = linear_regression()
    exact = loss_and_gradient(model, inputs, targets, mean_squared_error)[1]
    single = loss_and_gradient(model.float(), inputs.float(), targets.float(), mean_squared_error, chunk=3)[1]
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, exact, rtol=1e-5, atol=1e-6)  # the chunks' own gradients carry 24 bits


def test_a_probe_sees_the_batch_gradient_before_the_step_and_changes_nothing():
    def trained(probe_steps, seen):
        model, inputs, targets = linear_regression()

        def probe(step):
            vectors = torch.cat([parameter.detach().flatten(1) for parameter in model.parameters()], 1)  # weights, bias
            batch = torch.cat([parameter.grad.flatten(1) for parameter in model.parameters()], 1)
            full = loss_and_gradient(model, inputs, targets, mean_squared_error)[1]
            seen.append((step, vectors, batch, full))

        train(model, inputs, targets, mean_squared_error, epochs=3, learning_rate=0.01, batch_size=8, probe=probe,
              optimizer=torch.optim.SGD, cosine=False, orders=run_generators(0, 3, "order"), probe_steps=probe_steps)
        return flatten(dict(model.named_parameters())), inputs, targets

    seen = []
    ends, inputs, targets = trained(range(9), seen)  # 20 examples in batches of 8, 8 and 4
    torch.testing.assert_close(ends, trained((), [])[0], rtol=0, atol=0)
    assert [step for step, *_ in seen] == list(range(9))
    for (_, vectors, batch, full), (_, following, _, _) in pairwise(seen):
        torch.testing.assert_close(full, closed_form(vectors, inputs, targets)[0])
        torch.testing.assert_close(following, vectors - 0.01 * batch)


def test_the_batches_of_one_epoch_average_to_the_full_gradient():
    model, inputs, targets = linear_regression()
    batches, full = [], loss_and_gradient(model, inputs, targets, mean_squared_error)[1]

    def probe(step):
        batches.append(torch.cat([parameter.grad.flatten(1) for parameter in model.parameters()], 1))

    # With a learning rate this small the parameters stay where they are to 15 digits.
    train(model, inputs, targets, mean_squared_error, epochs=1, learning_rate=1e-18, batch_size=5, probe=probe,
          probe_steps=range(4), optimizer=torch.optim.SGD, cosine=False, orders=run_generators(0, 3, "order"))
    torch.testing.assert_close(torch.stack(batches).mean(0), full)


def test_ratios_have_a_geometric_mean():
    columns = ratio_ci95_columns("ratio", [1.0, 10.0, 100.0])
    half = 4.302652729911275 / np.sqrt(3)  # Student's 97.5 % quantile for two degrees of freedom; a deviation of 1 decade
    np.testing.assert_allclose([columns["ratio"], columns["ratio_low"], columns["ratio_high"]],
                               10 ** np.array([1, 1 - half, 1 + half]))
    assert ratio_ci95_columns("ratio", [2.0])["ratio_low"] is None
    assert ratio_ci95_columns("ratio", [1.0, 1.0]) == {"ratio": 1.0, "ratio_low": 1.0, "ratio_high": 1.0}


def test_recorded_steps_begin_with_the_first_and_end_with_the_last():
    for total in (4, 64, 20_000):
        steps = record_steps(total, 50)
        assert steps[0] == 0 and steps[-1] == total - 1 and len(steps) <= 51 and (np.diff(steps) > 0).all()


def test_phases_of_curves_that_are_power_laws():
    # The loss falls as t^-1 and the norm as loss², up to a factor per run; the mini-batch's norm is three times as large.
    steps, factor = record_steps(20_000, 400), np.array([[1.0], [2.0], [5.0]])
    loss = factor / (steps + 1)
    for row in describe_phases(steps, loss, loss**2, 3 * loss**2):
        assert abs(row["rank_correlation"] - 1) < 1e-9 and row["rank_correlation_high"] <= 1
        assert row["loss_fell_norm_rose"] == 0
        np.testing.assert_allclose(row["batch_over_full_norm"], 3)
    rising = describe_phases(steps, loss, 1 / loss, 1 / loss)[2]  # the norm rises whenever the loss falls
    assert abs(rising["rank_correlation"] + 1) < 1e-9 and rising["loss_fell_norm_rose"] == 1


def test_drops_and_plateaus_are_told_apart():
    # A loss of 1 that drops to 0.01 between steps 100 and 200 and stays there; the relative norm is 10 in the drop, else 1.
    steps = np.arange(400)
    drop = (steps >= 100) & (steps < 200)
    loss = 10.0 ** np.interp(steps, [100, 200], [0, -2])[None]
    row = describe_phases(steps, loss, loss * np.where(drop, 10.0, 1.0), np.ones((1, 400)))[2]
    np.testing.assert_allclose(row["drops_over_plateaus_relative_norm"], 10, rtol=0.1)  # the median blurs the corners
