"""What a GPU would stumble over, found without one.

That is tensors left on the host, and steps that wait for a number.
"""

from common import training
from common.evaluation import evaluate
from common.models import StackedConv2d, cnn, mlp
from common.training import cross_entropy, run_generators, train

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

BUILDERS = {
    "mlp": lambda generators: mlp([784, 6, 10], generators),
    "cnn": lambda generators: cnn([[2], [3, 3]], 3, [4], generators),
}
# Operations whose result, or the size of it, Python itself needs.
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "_unique2", "masked_select")


class CountWaits(TorchDispatchMode):
    """Counts the operations of WAITS and masks as indices: at each, a GPU's queue runs empty."""

    waits = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        name = operation._schema.name.removeprefix("aten::")
        self.waits += name in WAITS or (name.startswith("index") and has_mask(arguments[1]))
        return operation(*arguments, **(keywords or {}))


def has_mask(indices):
    return isinstance(indices, (list, tuple)) and any(
        index is not None and index.dtype == torch.bool for index in indices)


def make_model(build, device="cpu"):
    return build(run_generators(0, 2, "initialization")).to(device)


def make_task(device="cpu"):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(48, 1, 28, 28, generator=generator)
    labels = torch.randint(10, (2, 48), generator=generator)
    return images.to(device), labels.to(device)


def train_shortly(model, images, labels, epochs, batch_size):
    train(model, images, labels, cross_entropy, epochs=epochs, learning_rate=1e-3,
          batch_size=batch_size, order_generators=run_generators(0, 2, "order"))


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_training_leaves_nothing_on_the_host_and_asks_for_no_number(build, monkeypatch):
    # The meta device computes shapes only: it refuses every host tensor beside its own, and has no
    # number to give. Only the check for divergence, once for each record, may ask for one.
    checked_devices = []
    monkeypatch.setattr(training, "check_finite",
                        lambda losses, epoch: checked_devices.append(losses.device.type))
    model = make_model(build, "meta")
    images, labels = make_task("meta")
    train_shortly(model, images, labels, epochs=2, batch_size=20)
    loss, accuracy = evaluate(model, images, labels, chunk=20)
    assert checked_devices == ["meta", "meta"]
    assert loss.device.type == accuracy.device.type == "meta"


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_more_steps_do_not_wait_more_often(build):
    def count_waits(batch_size):
        model = make_model(build)
        images, labels = make_task()
        with CountWaits() as count:
            train_shortly(model, images, labels, epochs=1, batch_size=batch_size)
            evaluate(model, images, labels, chunk=batch_size)
        return count.waits

    assert count_waits(batch_size=4) == count_waits(batch_size=24)


@pytest.mark.parametrize("wait", [
    torch.Tensor.item, torch.Tensor.nonzero, torch.Tensor.unique, bool,
    lambda tensor: torch.equal(tensor, tensor.clone()), lambda tensor: tensor[tensor > 0],
], ids=["item", "nonzero", "unique", "bool", "equal", "mask"])
def test_the_counter_of_waits_sees_one(wait):
    with CountWaits() as count:
        wait(torch.ones(1))
    assert count.waits > 0


@pytest.mark.parametrize("pool", [1, 2])
def test_runs_convolved_as_groups_equal_runs_convolved_one_by_one(pool):
    layer = StackedConv2d(3, 4, 5, pool, run_generators(0, 2, "initialization")).double()
    images = random_images(2, 6, 3, 8, 8)
    groups = layer.convolve_as_groups(images)
    assert groups.shape == (2, 6, 4, 8 // pool, 8 // pool)
    torch.testing.assert_close(groups, layer.convolve_one_by_one(images))


@pytest.mark.parametrize("channels", [1, 3])
def test_shared_images_are_convolved_once_with_the_filters_of_all_runs(channels, monkeypatch):
    layer = StackedConv2d(channels, 4, 5, 2, run_generators(0, 3, "initialization")).double()
    images = random_images(1, 6, channels, 8, 8)
    one_by_one = layer.convolve_one_by_one(images.expand(3, -1, -1, -1, -1))
    gradients = torch.autograd.grad(one_by_one.square().sum(), layer.parameters())
    monkeypatch.setattr(layer, "convolve_one_by_one", None)
    monkeypatch.setattr(layer, "convolve_as_groups", None)
    shared = layer(images)
    torch.testing.assert_close(shared, one_by_one)
    shared_gradients = torch.autograd.grad(shared.square().sum(), layer.parameters())
    torch.testing.assert_close(shared_gradients, gradients)


def random_images(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_gpu_trains_the_networks_that_the_cpu_trains(build):
    losses = []
    for device in ("cpu", "cuda"):
        model = make_model(build, device)
        images, labels = make_task(device)
        train_shortly(model, images, labels, epochs=2, batch_size=16)
        loss, _ = evaluate(model, images, labels)
        losses.append(loss.cpu())
    # Six float32 steps of 1e-3 in another order of sums: far above rounding, far below what other
    # data would give.
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-3)
