"""Timing pieces of work fairly: interleaved, repeated, and beside the machine's own matrix product."""

import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from tqdm import trange

MATRIX_SIZE = 2_048  # large enough for the processor's full rate, a tenth of a second on two cores


def time_interleaved(works, device, repeats, title="timing"):
    """Seconds of each of works {name: function without arguments}, {name: [seconds, ...]}, `repeats` times each.

    All take turns within every repetition, so that whatever else the machine does meets them alike; a first round, which
    warms caches and allocators up, does not count.
    """
    seconds = {name: [] for name in works}
    for repetition in trange(repeats + 1, desc=title, unit="round", leave=False, disable=None):
        for name, work in works.items():
            _wait_for(device)
            start = time.perf_counter()
            work()
            _wait_for(device)
            if repetition:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def matrix_product(device):
    """The yardstick: a function that multiplies two float32 matrices, and the floating-point operations that it does."""
    left, right = torch.rand(2, MATRIX_SIZE, MATRIX_SIZE, device=device)
    return lambda: left @ right, 2 * MATRIX_SIZE**3


class _MeasureProducts(TorchDispatchMode):
    """Adds up PyTorch's own counts. Its FlopCounterMode also follows modules, and fails on a gradient by the input."""

    def __init__(self, device):
        super().__init__()
        self.device, self.operations, self.seconds = device, 0, 0.0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        keywords = keywords or {}
        count = flop_registry.get(operation.overloadpacket)
        if not count:
            return operation(*arguments, **keywords)
        _wait_for(self.device)
        start = time.perf_counter()
        result = operation(*arguments, **keywords)
        _wait_for(self.device)
        self.seconds += time.perf_counter() - start
        self.operations += count(*arguments, **keywords, out_val=result)
        return result


def measure_products(work, device):
    """The matrix products and convolutions, forth and back, in one call of work().

    Returns their floating-point operations, and the seconds that the library's kernels take for them: what would be left
    of the time if all else were free. PyTorch counts too many operations for the backward pass of a grouped convolution, as
    several runs of a CNN are on a GPU.
    """
    with _MeasureProducts(device) as measured:
        work()
    return measured.operations, measured.seconds


def _wait_for(device):
    if device.type == "cuda":  # kernels run on after the call that started them
        torch.cuda.synchronize(device)
