"""Answers over a whole set: those of the model itself, chunk by chunk and for other parameters."""

import torch

from common.models import mlp
from common.parameters import parameter_vectors, unflatten
from common.prediction import predict
from common.training import run_generators


def test_predictions_are_the_models_own_for_every_chunk_and_for_other_parameters():
    model = mlp([6, 5, 4], run_generators(0, 3, "initialization")).double()
    images = torch.randn(20, 1, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        expected = model(images.expand(3, *images.shape))
    for chunk in (7, 20, 100):
        torch.testing.assert_close(predict(model, images, chunk=chunk), expected)
    last_two = unflatten(parameter_vectors(model)[1:], model)
    torch.testing.assert_close(predict(model, images, last_two), expected[1:])
