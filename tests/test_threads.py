"""The number of threads decides in which order sums are taken, and nothing else."""

from common.evaluation import evaluate
from common.models import cnn, mlp
from common.training import cross_entropy, run_generators, train

import pytest
import torch


@pytest.fixture
def set_threads():
    """torch.set_num_threads, undone at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def train_shortly(build):
    """The test loss, accuracy and all parameters after four steps of two runs in float64."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(96, 1, 28, 28, dtype=torch.float64, generator=generator)
    labels = torch.arange(96).expand(2, -1) % 10
    model = build(run_generators(0, 2, "initialization")).double()
    train(model, images, labels, cross_entropy, epochs=2, learning_rate=1e-3, batch_size=48,
          order_generators=run_generators(0, 2, "order"))
    loss, accuracy = evaluate(model, images, labels)
    return [loss, accuracy, *[parameter.detach().clone() for parameter in model.parameters()]]


@pytest.mark.parametrize("build", [
    lambda generators: mlp([784, 128, 10], generators),
    lambda generators: cnn([[8], [16]], 3, [32], generators),
], ids=["mlp", "cnn"])
def test_the_number_of_threads_changes_rounding_only(set_threads, build):
    results = []
    for threads in (1, 2):
        set_threads(threads)
        results.append(train_shortly(build))
    # Sums of a few thousand terms round to 1e-13 in float64. Adam divides by the gradient's size,
    # which enlarges that where a gradient is small; 1e-9 leaves room for it and is far below any
    # difference in what is computed.
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)
