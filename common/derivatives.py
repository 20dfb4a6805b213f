"""Derivatives of the training loss with respect to the parameters, over whole sets and without touching the model."""

import torch

from common.models import run_count
from common.parameters import flatten


def loss_and_gradient(model, inputs, targets, loss_function, chunk=2_000):
    """The mean loss of every run over a whole set, (R,), and its gradient, (R, P), in float64.

    inputs (N, ...) are shared by the runs; targets are (R, N, ...), as in `train`. Each chunk's gradient is taken in the
    model's own precision and the chunks are added in float64. The parameters' .grad stays as it is.
    """
    runs, parameters = run_count(model), dict(model.named_parameters())
    loss, gradient = 0, 0
    for start in range(0, len(inputs), chunk):
        batch = inputs[start : start + chunk]
        share = len(batch) / len(inputs)  # the last chunk may be smaller
        losses = loss_function(model(batch.expand(runs, *batch.shape)), targets[:, start : start + chunk])
        # No parameter belongs to two runs, so the gradient of the sum holds every run's own.
        pieces = torch.autograd.grad(losses.sum(), parameters.values())
        loss = loss + share * losses.detach().double()
        gradient = gradient + share * flatten(dict(zip(parameters, pieces))).double()
    return loss, gradient
