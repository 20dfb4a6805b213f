"""Timing pieces of work fairly: in turns, repeatedly, and beside the machine's own matrix product.

A piece of work is a function without arguments.
"""

import time
from statistics import median
from typing import NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from tqdm import trange

MATRIX_SIZE = 2_048  # large enough for the processor's full rate: a tenth of a second on two cores


# --- seconds ---


def time_in_turns(pieces, device, rounds, title="timing"):
    """Times pieces of work {name: function}: {name: [seconds of every round]}.

    All take turns within every round, so that whatever else the machine does meets them alike. A
    first round, which warms caches and allocators up, does not count.
    """
    seconds = {name: [] for name in pieces}
    for round_number in trange(rounds + 1, desc=title, unit="round", leave=False, disable=None):
        for name, work in pieces.items():
            duration = seconds_of(work, device)
            if round_number > 0:
                seconds[name].append(duration)
    return seconds


def seconds_of(work, device):
    """The seconds that one call of work() takes."""
    wait_for(device)
    start = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - start


def wait_for(device):
    """Returns when the device has done all that it was asked for."""
    if device.type == "cuda":  # kernels run on after the call that started them
        torch.cuda.synchronize(device)


# --- the yardstick ---


def matrix_product(device):
    """A product of two float32 matrices as a function without arguments, and its arithmetic.

    The arithmetic is the number of floating-point operations in one call.
    """
    left, right = torch.rand(2, MATRIX_SIZE, MATRIX_SIZE, device=device)

    def multiply():
        return left @ right

    return multiply, 2 * MATRIX_SIZE**3


# --- what PyTorch's operations do ---


class Operations(NamedTuple):
    """What PyTorch's operations do in a piece of work.

    arithmetic is the number of floating-point operations of the matrix products and convolutions,
    product_seconds what they take: what would be left of the time if all else were free.
    library_seconds is what all operations take, less what each would take on a single number: what
    would be left if Python, autograd and the calls themselves were free.
    """

    arithmetic: int
    product_seconds: float
    library_seconds: float


class OperationTimer(TorchDispatchMode):
    """Times every operation of PyTorch in its context, and adds up the arithmetic of the products.

    PyTorch's own FlopCounterMode, whose counts these are, also follows modules, and fails on a
    gradient by the input. call_seconds are taken off the time of every operation.
    """

    def __init__(self, device, call_seconds=0.0):
        super().__init__()
        self.device = device
        self.call_seconds = call_seconds
        self.arithmetic = 0
        self.product_seconds = 0.0
        self.library_seconds = 0.0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        keywords = keywords or {}
        wait_for(self.device)
        start = time.perf_counter()
        result = operation(*arguments, **keywords)
        wait_for(self.device)
        seconds = time.perf_counter() - start - self.call_seconds
        self.library_seconds += seconds
        count = flop_registry.get(operation.overloadpacket)
        if count:
            self.product_seconds += seconds
            self.arithmetic += count(*arguments, **keywords, out_val=result)
        return result


def measure_operations(work, device):
    """The Operations of one call of work(), forth and back.

    PyTorch counts too much arithmetic for the backward pass of a grouped convolution, as several
    runs of a CNN are on a GPU.
    """
    with OperationTimer(device, seconds_of_a_call(device)) as timer:
        work()
    return Operations(timer.arithmetic, timer.product_seconds, timer.library_seconds)


def seconds_of_a_call(device):
    """What the timer sees of an operation on one number: the median of 50 means over 100 calls."""
    number = torch.zeros(1, device=device)
    means = []
    for _ in range(50):
        with OperationTimer(device) as timer:
            for _ in range(100):
                number.relu()
        means.append(timer.library_seconds / 100)
    return median(means)
