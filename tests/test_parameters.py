"""Flat parameter vectors: their order, layers, lines, barriers, and symmetries of the function."""

from common.models import cnn, mlp
from common.parameters import (
    barrier,
    flatten,
    interpolate,
    one_layer,
    parameter_vectors,
    rescale,
    unflatten,
)
from common.training import run_generators

import numpy as np
import pytest
import torch
from torch.func import functional_call


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def small_cnn():
    generators = run_generators(0, 2, "initialization")
    return cnn([[2]], 3, [6, 5], generators, image_size=8).double()


# --- vectors and layers ---


def test_a_vector_is_the_parameters_in_torchs_own_order():
    model = small_cnn()
    expected = torch.stack([
        torch.nn.utils.parameters_to_vector([parameter[run] for parameter in model.parameters()])
        for run in range(2)])
    torch.testing.assert_close(parameter_vectors(model), expected.detach())


def test_unflatten_gives_other_numbers_of_runs_and_refuses_vectors_of_another_model():
    model = small_cnn()
    vectors = normal(5, parameter_vectors(model).shape[1])
    torch.testing.assert_close(flatten(unflatten(vectors, model)), vectors)
    for name, parameter in model.named_parameters():
        assert unflatten(vectors, model)[name].shape == (5, *parameter.shape[1:])
    with pytest.raises(RuntimeError):
        unflatten(vectors[:, 1:], model)


def test_one_layer_is_that_layer_of_every_run_and_checkpoint():
    model = small_cnn()
    vectors = parameter_vectors(model)
    paths = torch.stack([vectors, vectors + 1], 1)  # (R, 2, P)
    # the convolution is layer 0, the first linear one 1
    layer = [module for module in model if hasattr(module, "weight")][2]
    expected = torch.cat([layer.weight.detach().flatten(1), layer.bias.detach().flatten(1)], 1)
    torch.testing.assert_close(one_layer(paths, model, 2), torch.stack([expected, expected + 1], 1))


# --- lines ---


def test_lines_run_from_the_first_to_the_second_and_hold_both_exactly():
    first, second = normal(4, 50, seed=1), normal(4, 50, seed=2)
    lines = interpolate(first, second, torch.tensor([-1, 0, 0.25, 1]))
    assert lines.shape == (4, 4, 50)
    torch.testing.assert_close(lines[:, 0], 2 * first - second)
    assert torch.equal(lines[:, 1], first) and torch.equal(lines[:, 3], second)
    torch.testing.assert_close(lines[:, 2], 0.75 * first + 0.25 * second)


def test_the_barrier_of_quadratics_is_a_quarter_of_the_squared_distance_or_nothing():
    first, second = normal(4, 50, seed=1), normal(4, 50, seed=2)
    alphas = torch.linspace(0, 1, 5)
    lines = interpolate(first, second, alphas)
    # f(θ) = −‖θ − m‖² with m half-way is 0 at its top and −d²/4 at both ends; the convex −f has no
    # barrier at all.
    middle, squared = (first + second) / 2, (first - second).square().sum(1)
    losses = -(lines - middle[:, None]).square().sum(2)
    torch.testing.assert_close(barrier(alphas, losses), squared / 4)
    torch.testing.assert_close(barrier(alphas, -losses), torch.zeros(4).double())


def test_the_barrier_is_the_rise_above_the_straight_line_and_only_between_the_ends():
    alphas = np.arange(-20, 41) / 20
    between = (alphas > 0) & (alphas < 1)
    bump = 1 + 2 * alphas + np.where(between, 3 * np.sin(np.pi * alphas), 0)
    bump += 100 * ((alphas > 1) | (alphas < 0))
    convex = (alphas - 0.3) ** 2
    measured = barrier(alphas, np.stack([bump, convex]))
    assert measured.tolist() == pytest.approx([3, 0], abs=1e-12)


# --- other parameters, the same function ---


@pytest.mark.parametrize("scale", [1 / 16, 1 / 4, 1.0, 4.0, 16.0])
def test_rescaling_by_powers_of_two_leaves_every_digit_of_the_outputs(scale):
    model = mlp([16, 8, 6, 10], run_generators(0, 3, "initialization"))
    vectors = parameter_vectors(model)
    images = normal(1, 50, 16).float()
    scaled = rescale(vectors, model, scale)
    before, after = (functional_call(model, unflatten(each, model), (images,))
                     for each in (vectors, scaled))
    assert torch.equal(before, after)
    parameters, new_parameters = unflatten(vectors, model), unflatten(scaled, model)
    first_weight, second_weight = (name for name in list(parameters)[:4] if "weight" in name)
    assert torch.equal(new_parameters[first_weight], scale * parameters[first_weight])
    assert torch.equal(new_parameters[second_weight], parameters[second_weight] / scale)
