"""What a GPU would stumble over, found without one: tensors left on the host, and steps that wait for a number."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from common import training
from common.models import StackedConv2d, cnn, mlp
from common.training import cross_entropy, evaluate, run_generators, train

BUILDS = {"mlp": lambda g: mlp([784, 6, 10], g), "cnn": lambda g: cnn([[2], [3, 3]], 3, [4], g)}


class CountWaits(TorchDispatchMode):
    """Counts the operations whose result Python itself needs: there a GPU's queue runs empty."""

    waits = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        names = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "unique", "masked_select")
        self.waits += operation._schema.name.removeprefix("aten::").strip("_") in [name.strip("_") for name in names]
        return operation(*arguments, **(keywords or {}))


def task(device="cpu"):
    generator = torch.Generator().manual_seed(3)
    images, labels = torch.randn(48, 1, 28, 28, generator=generator), torch.randint(10, (2, 48), generator=generator)
    return images.to(device), labels.to(device)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_training_leaves_nothing_on_the_host_and_asks_for_no_number(build, monkeypatch):
    # The meta device computes shapes only: it refuses every host tensor beside its own, and has no number to give. Only
    # the check for divergence, once per record, may ask for one.
    checks = []
    monkeypatch.setattr(training, "check_finite", lambda losses, title, epoch: checks.append(losses.device.type))
    model = build(run_generators(0, 2, "initialization")).to("meta")
    images, labels = task("meta")
    train(model, images, labels, cross_entropy, epochs=2, learning_rate=1e-3, batch_size=20,
          orders=run_generators(0, 2, "order"))
    loss, accuracy = evaluate(model, images, labels, chunk=20)
    assert checks == ["meta", "meta"]
    assert loss.device.type == accuracy.device.type == "meta"


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_more_steps_do_not_wait_more_often(build):
    def waits(batch_size):
        model = build(run_generators(0, 2, "initialization"))
        images, labels = task()
        with CountWaits() as count:
            train(model, images, labels, cross_entropy, epochs=1, learning_rate=1e-3, batch_size=batch_size,
                  orders=run_generators(0, 2, "order"))
            evaluate(model, images, labels, chunk=batch_size)
        return count.waits

    assert waits(batch_size=4) == waits(batch_size=24)


def test_the_counter_of_waits_sees_one():
    with CountWaits() as count:
        torch.ones(1).item()
    assert count.waits == 1


@pytest.mark.parametrize("pool", [1, 2])
def test_runs_convolved_as_groups_equal_runs_convolved_one_by_one(pool):
    layer = StackedConv2d(3, 4, 5, pool, run_generators(0, 2, "initialization")).double()
    images = torch.randn(2, 6, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one_by_one, groups = layer.one_by_one(images), layer.as_groups(images)
    assert groups.shape == (2, 6, 4, 8 // pool, 8 // pool)
    torch.testing.assert_close(groups, one_by_one)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_all_runs_share_are_convolved_once_with_the_filters_of_all_runs(channels, monkeypatch):
    layer = StackedConv2d(channels, 4, 5, 2, run_generators(0, 3, "initialization")).double()
    images = torch.randn(6, channels, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one_by_one = layer.one_by_one(images.expand(3, *images.shape))
    gradients = torch.autograd.grad(one_by_one.square().sum(), layer.parameters())
    monkeypatch.setattr(layer, "one_by_one", None)
    monkeypatch.setattr(layer, "as_groups", None)
    shared = layer(images.expand(3, *images.shape))
    torch.testing.assert_close(shared, one_by_one)
    torch.testing.assert_close(torch.autograd.grad(shared.square().sum(), layer.parameters()), gradients)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_a_gpu_trains_the_networks_that_the_cpu_trains(build):
    losses = []
    for device in ("cpu", "cuda"):
        model = build(run_generators(0, 2, "initialization")).to(device)
        images, labels = task(device)
        train(model, images, labels, cross_entropy, epochs=2, learning_rate=1e-3, batch_size=16,
              orders=run_generators(0, 2, "order"))
        losses.append(evaluate(model, images, labels)[0].cpu())
    # Six float32 steps of 1e-3 in another order of sums: far above rounding, far below what other data would give.
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-3)
