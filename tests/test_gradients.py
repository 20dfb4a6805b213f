"""The full training gradient and the edge of stability, in closed form, in float64."""

from itertools import pairwise
from types import SimpleNamespace

import hw1_2_gradnorm
from common.data import Dataset
from common.derivatives import loss_and_gradient_of_model, loss_at
from common.evaluation import evaluate
from common.models import cnn, mlp
from common.parameters import parameter_vectors, unflatten
from common.training import (
    cross_entropy,
    expand_to_runs,
    mean_squared_error,
    run_generators,
    train,
)
from hw1_2_gradnorm import (
    Training,
    preconditioner,
    stability_limit,
    train_on_function,
    train_on_images,
)

import numpy as np
import pytest
import torch


def linear_regression(runs=3, examples=20, features=4):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(examples, features, dtype=torch.float64, generator=generator)
    targets = torch.randn(examples, 1, dtype=torch.float64, generator=generator)
    model = mlp([features, 1], run_generators(0, runs, "initialization")).double()
    return model, inputs, targets


def closed_form(vectors, inputs, targets):
    """mean (Xw − y)², (R,), and its gradient 2 Xᵀ(Xw − y) / N, (R, features + 1).

    X has a last column of ones for the bias.
    """
    design = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], 1)
    residuals = vectors @ design.T - targets.squeeze(1)
    return residuals.square().mean(1), 2 / len(inputs) * residuals @ design


def batch_gradient(model):
    """What .grad holds, as vectors (R, P)."""
    return torch.cat([parameter.grad.flatten(1) for parameter in model.parameters()], 1)


@pytest.mark.parametrize("chunk", [1, 7, 20, 1_000])  # 7 does not divide 20
def test_linear_regression_has_its_closed_form_for_every_chunk(chunk):
    model, inputs, targets = linear_regression()
    expected = closed_form(parameter_vectors(model), inputs, targets)
    measured = loss_and_gradient_of_model(model, inputs, targets, mean_squared_error, chunk)
    torch.testing.assert_close(measured, expected)


def test_a_network_agrees_with_finite_differences():
    generators = run_generators(0, 2, "initialization")
    model = cnn([[2]], 3, [4], generators, image_size=6, classes=3).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(9, 1, 6, 6, dtype=torch.float64, generator=generator)
    labels = torch.randint(0, 3, (9,), generator=generator)
    loss, gradient = loss_and_gradient_of_model(model, images, labels, cross_entropy, chunk=4)
    torch.testing.assert_close(loss, evaluate(model, images, labels)[0])
    vectors = parameter_vectors(model)
    step = 1e-6  # central differences err by step² and by 1e-16/step: both below 1e-9
    for index in range(0, vectors.shape[1], 5):
        shift = torch.zeros_like(vectors)
        shift[:, index] = step
        above, below = (evaluate(model, images, labels, unflatten(moved, model))[0]
                        for moved in (vectors + shift, vectors - shift))
        torch.testing.assert_close(gradient[:, index], (above - below) / (2 * step), rtol=0,
                                   atol=1e-8)


def test_measuring_leaves_parameters_and_their_grad_alone():
    model, inputs, targets = linear_regression()
    before = parameter_vectors(model).clone()
    loss_and_gradient_of_model(model, inputs, targets, mean_squared_error)
    assert all(parameter.grad is None for parameter in model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7)
    loss_and_gradient_of_model(model, inputs, targets, mean_squared_error)
    assert all((parameter.grad == 7).all() for parameter in model.parameters())
    assert torch.equal(parameter_vectors(model), before)


def test_gradients_of_float32_networks_are_summed_in_float64():
    model, inputs, targets = linear_regression()
    _, exact = loss_and_gradient_of_model(model, inputs, targets, mean_squared_error)
    _, single = loss_and_gradient_of_model(model.float(), inputs.float(), targets.float(),
                                           mean_squared_error, chunk=3)
    assert single.dtype == torch.float64
    # the chunks' own gradients carry 24 bits
    torch.testing.assert_close(single, exact, rtol=1e-5, atol=1e-6)


def test_a_probe_sees_the_batch_gradient_before_the_step_and_changes_nothing():
    seen = []

    def train_and_probe(probe_steps):
        model, inputs, targets = linear_regression()

        def probe(step):
            _, full = loss_and_gradient_of_model(model, inputs, targets, mean_squared_error)
            seen.append((step, parameter_vectors(model).clone(), batch_gradient(model), full))

        train(model, inputs, expand_to_runs(targets, model), mean_squared_error, epochs=3,
              learning_rate=0.01, batch_size=8, probe=probe, optimizer=torch.optim.SGD,
              cosine=False, order_generators=run_generators(0, 3, "order"),
              probe_steps=probe_steps)
        return parameter_vectors(model), inputs, targets

    unprobed, _, _ = train_and_probe(())
    ends, inputs, targets = train_and_probe(range(9))  # batches of 8, 8 and 4, three times
    assert torch.equal(ends, unprobed)
    assert [step for step, *_ in seen] == list(range(9))
    for (_, vectors, batch, full), (_, next_vectors, _, _) in pairwise(seen):
        torch.testing.assert_close(full, closed_form(vectors, inputs, targets)[1])
        torch.testing.assert_close(next_vectors, vectors - 0.01 * batch)


def test_the_batches_of_one_epoch_average_to_the_full_gradient():
    model, inputs, targets = linear_regression()
    batches = []
    _, full = loss_and_gradient_of_model(model, inputs, targets, mean_squared_error)
    # With a learning rate this small the parameters stay where they are to 15 digits.
    train(model, inputs, expand_to_runs(targets, model), mean_squared_error, epochs=1,
          learning_rate=1e-18, batch_size=5, probe=lambda _: batches.append(batch_gradient(model)),
          probe_steps=range(4), optimizer=torch.optim.SGD, cosine=False,
          order_generators=run_generators(0, 3, "order"))
    torch.testing.assert_close(torch.stack(batches).mean(0), full)


def on_function(model, inputs, targets, training, record_at, steps, lr=None):
    """train_on_function, its records as arrays (R, records)."""
    records = train_on_function(model, inputs, targets, training, np.array(record_at),
                                SimpleNamespace(steps=steps, lr=lr))
    return {name: values.numpy() for name, values in records.items()}


def test_a_training_on_the_function_is_recorded_before_each_of_the_steps_moves_it():
    model, inputs, targets = linear_regression()
    vectors, expected_losses, expected_norms = parameter_vectors(model).clone(), [], []
    for step in range(5):  # gradient descent by hand
        loss, gradient = closed_form(vectors, inputs, targets)
        if step in (0, 1, 4):
            expected_losses.append(loss)
            expected_norms.append(gradient.norm(dim=1))
        vectors = vectors - 0.1 * gradient
    records = on_function(model, inputs, targets, Training(torch.optim.SGD, rate=0.1), [0, 1, 4], 5)
    np.testing.assert_allclose(records["loss"], torch.stack(expected_losses, 1))  # (R, records)
    np.testing.assert_allclose(records["norm"], torch.stack(expected_norms, 1))
    torch.testing.assert_close(parameter_vectors(model), vectors)


def test_a_training_on_images_records_the_whole_set_and_the_batch():
    _, inputs, targets = linear_regression()
    labels = targets.squeeze(1).gt(0).long()
    classifier = mlp([4, 2], run_generators(0, 3, "initialization")).double()
    start = parameter_vectors(classifier).clone()
    settings = SimpleNamespace(epochs=2, batch_size=8, lr=0.1)  # batches of 8, 8 and 4
    records = train_on_images(classifier, inputs, labels, Training(torch.optim.SGD),
                              np.array([0, 5]), run_generators(0, 3, "order"), settings)
    whole = loss_at(classifier, inputs, labels, cross_entropy)
    torch.testing.assert_close(records["loss"][:, 0], whole(start))
    assert records["norm"].shape == records["batch_norm"].shape == (3, 2)
    assert (records["batch_norm"] != records["norm"]).all()


# --- the edge of stability ---


def design_curvature(inputs):
    """The largest eigenvalue of 2 XᵀX / N, the Hessian of a linear regression."""
    design = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=inputs.dtype)], 1)
    return torch.linalg.eigvalsh(2 / len(inputs) * design.T @ design)[-1].item()


@pytest.mark.parametrize("fraction", [0.98, 1.02])
def test_gradient_descent_on_a_quadratic_diverges_exactly_beyond_the_limit(fraction):
    model, inputs, targets = linear_regression()
    rate = fraction * stability_limit(0) / design_curvature(inputs)
    # The steepest direction changes by 1 − 2 · fraction in every step: in 800 steps by 1e-14 or
    # 4e13, from where the other directions have long been at rest.
    records = on_function(model, inputs, targets, Training(torch.optim.SGD, rate),
                          [0, 1, 400, 800], 801)
    # the eigenvalue's relative tolerance
    np.testing.assert_allclose(records["fraction_of_limit"], fraction, rtol=0.01)
    growth = records["norm"][:, 3] / records["norm"][:, 2]
    assert (growth > 1e3).all() if fraction > 1 else (growth < 1e-3).all()


@pytest.mark.parametrize("momentum", [0, 0.5, 0.9])
def test_an_averaged_gradient_overshoots_exactly_beyond_the_limit(momentum):
    """On ½ λ x² a step is linear in x and the average: it grows if an eigenvalue exceeds 1."""
    def growth(rate_times_curvature):
        # average' = β average + (1 − β) λ x and x' = x − η average', in units where λ = 1
        average = np.array([momentum, 1 - momentum])
        step = np.array([average, [0, 1] - rate_times_curvature * average])
        return abs(np.linalg.eigvals(step)).max()

    limit = stability_limit(momentum)
    assert growth(0.999 * limit) < 1 < growth(1.001 * limit)


def test_the_limits_are_those_of_the_papers():
    assert stability_limit(0) == 2
    assert stability_limit(0.9) == pytest.approx(38)


def test_the_limit_that_is_stored_for_adam_is_that_of_its_average():
    adam = torch.optim.Adam([torch.zeros(1)])
    assert adam.defaults["betas"][0] == hw1_2_gradnorm.ADAM_BETA1


def test_losses_and_norms_of_zero_are_raised_for_their_logarithms_and_curvatures_are_not():
    measured = torch.tensor([-2.0, 0.0])
    records = hw1_2_gradnorm.stack_records({
        name: [measured, measured + 3] for name in ("loss", "norm", "fraction_of_limit")})
    for name in ("loss", "norm"):
        assert records[name].tolist() == [[pytest.approx(1e-30), 1], [pytest.approx(1e-30), 3]]
    assert records["fraction_of_limit"].tolist() == [[-2, 1], [0, 3]]


def test_adams_preconditioner_turns_the_average_gradient_into_the_step():
    model, inputs, targets = linear_regression()
    updater = torch.optim.Adam(model.parameters(), lr=0.01)
    average = 0
    for _ in range(3):
        before = parameter_vectors(model).clone()
        mean_squared_error(model(inputs.unsqueeze(0)), targets).sum().backward()
        average = 0.9 * average + 0.1 * batch_gradient(model)
        updater.step()
        updater.zero_grad()
        step = -0.01 * average / preconditioner(updater, model)
        torch.testing.assert_close(parameter_vectors(model) - before, step)


def test_adam_on_a_quadratic_ends_at_its_limit():
    """Its preconditioner shrinks with the gradient until steps overshoot (Cohen et al. 2022)."""
    model, inputs, targets = linear_regression()
    records = on_function(model, inputs, targets, Training(torch.optim.Adam, rate=0.3),
                          [500, 2_000, 2_499], 2_500)
    assert (records["fraction_of_limit"][:, 0] < 0.8).all()  # on the way, as the gradient shrinks
    # Adam hovers about its limit: each overshoot raises the preconditioner for a while.
    late = records["fraction_of_limit"][:, 1:]
    assert (late > 0.8).all() and (late < 1.1).all()


def test_the_fraction_of_the_limit_is_proportional_to_the_rate():
    model, inputs, targets = linear_regression()
    gentle = on_function(model, inputs, targets, Training(torch.optim.SGD, rate=0.01), [0], 1)
    expected = 0.01 * design_curvature(inputs) / 2
    np.testing.assert_allclose(gentle["fraction_of_limit"], expected, rtol=0.01)


def test_networks_observed_in_groups_are_those_observed_one_by_one(monkeypatch):
    monkeypatch.setattr(hw1_2_gradnorm, "FUNCTION_RUNS_TOGETHER", 2)
    monkeypatch.setattr(hw1_2_gradnorm, "IMAGE_RUNS_TOGETHER", 2)
    random = torch.Generator().manual_seed(0)
    images = torch.randn(20, 1, 28, 28, generator=random)
    labels = torch.randint(10, (20,), generator=random)
    data = Dataset("digits", images, labels, images, labels)
    settings = SimpleNamespace(seed=0, runs=3, steps=6, points=16, epochs=2, train_size=20,
                               batch_size=8, lr=1e-3, jobs=1, cluster=None, experiment="test",
                               device=torch.device("cpu"))
    steps = np.array([0, 1, 5])
    observed = hw1_2_gradnorm.observe_all(steps, steps, data, settings)
    assert list(observed) == [
        *[("sinc", name) for name in hw1_2_gradnorm.FUNCTION_TRAININGS],
        *[("digits (8×8)", name) for name in hw1_2_gradnorm.IMAGE_TRAININGS]]
    for (task, name), records in observed.items():
        for run in range(3):
            if task == "sinc":
                alone = hw1_2_gradnorm.observe_on_function(name, [run], steps, settings)
            else:
                alone = hw1_2_gradnorm.observe_on_images(data, name, [run], steps, settings)
            for measure, values in records.items():
                assert values.shape == (3, 3)
                np.testing.assert_allclose(values[run], alone[measure][0], rtol=1e-3)
