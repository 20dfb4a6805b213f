"""Timing pieces of work fairly: interleaved, repeated, and beside the machine's own matrix product."""

import time
from statistics import median

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


class _MeasureOperations(TorchDispatchMode):
    """Adds up PyTorch's own counts. Its FlopCounterMode also follows modules, and fails on a gradient by the input."""

    def __init__(self, device, call_seconds=0.0):
        super().__init__()
        self.device, self.call_seconds = device, call_seconds
        self.arithmetic, self.product_seconds, self.library_seconds = 0, 0.0, 0.0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        keywords = keywords or {}
        _wait_for(self.device)
        start = time.perf_counter()
        result = operation(*arguments, **keywords)
        _wait_for(self.device)
        seconds = time.perf_counter() - start - self.call_seconds
        self.library_seconds += seconds
        count = flop_registry.get(operation.overloadpacket)
        if count:
            self.product_seconds += seconds
            self.arithmetic += count(*arguments, **keywords, out_val=result)
        return result


def measure_operations(work, device):
    """What PyTorch's operations do in one call of work(), forth and back: (arithmetic, product_seconds, library_seconds).

    arithmetic is the number of floating-point operations of the matrix products and convolutions, product_seconds what they
    take: what would be left of the time if all else were free. library_seconds is what all operations take, less what each
    would take on a single number: what would be left if Python, autograd and the calls themselves were free. PyTorch counts
    too much arithmetic for the backward pass of a grouped convolution, as several runs of a CNN are on a GPU.
    """
    with _MeasureOperations(device, _seconds_of_a_call(device)) as measured:
        work()
    return measured.arithmetic, measured.product_seconds, measured.library_seconds


def _seconds_of_a_call(device):
    """What the timer sees of an operation that has one number to work on: median over 50 times the mean of 100 calls."""
    number, seconds = torch.zeros(1, device=device), []
    for _ in range(50):
        with _MeasureOperations(device) as measured:
            for _ in range(100):
                number.relu()
        seconds.append(measured.library_seconds / 100)
    return median(seconds)


def _wait_for(device):
    if device.type == "cuda":  # kernels run on after the call that started them
        torch.cuda.synchronize(device)
