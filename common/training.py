"""Training stacks of networks (see common/models.py for what a stack is)."""

import inspect
from math import ceil, cos, pi

from common.models import run_count
from common.progress import advance

import numpy as np
import torch
from torch.nn import functional

# Each use of random numbers has a stream of its own, so that more draws of one kind change no
# other. "probe" is that of random directions, walks and permutations.
STREAMS = ("initialization", "order", "labels", "probe")


class Diverged(RuntimeError):
    """A loss became infinite or not a number."""


def run_generators(seed, runs, stream):
    """One CPU generator for each run, derived from (seed, run) and one of STREAMS alone.

    runs is a count, for the runs 0 … runs − 1, or an iterable of run numbers. Raises ValueError for
    another stream.
    """
    run_numbers = range(runs) if isinstance(runs, int) else runs
    generators = []
    for run in run_numbers:
        sequence = np.random.SeedSequence((seed, run, STREAMS.index(stream)))
        state = sequence.generate_state(1, np.uint64)[0]
        run_seed = int(state >> np.uint64(1))  # within the seeds that every version of torch takes
        generators.append(torch.Generator().manual_seed(run_seed))
    return generators


def stacked_runs(conditions, run_numbers):
    """The order of networks in a stack: all runs under the first condition, then under the second.

    Returns the condition and the run number of every network in the stack, two lists (R,): for
    conditions (0, 0.5) and runs (0, 1) they are [0, 0, 0.5, 0.5] and [0, 1, 0, 1]. Networks of
    equal run number draw from equal generators, so that they can be compared in pairs.
    """
    stacked_conditions, stacked_numbers = [], []
    for condition in conditions:
        for run in run_numbers:
            stacked_conditions.append(condition)
            stacked_numbers.append(run)
    return stacked_conditions, stacked_numbers


def cross_entropy(logits, labels):
    """Mean cross-entropy of each run: logits (R, B, classes), labels (R, B) -> (R,), in nats."""
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(1)


def mean_squared_error(outputs, targets):
    """Mean squared error of each run: outputs and targets (R, B, features) -> (R,)."""
    return (outputs - targets).square().mean((1, 2))


def train(model, inputs, targets, loss_function, *, epochs, learning_rate, batch_size=None,
          order_generators=None, optimizer=torch.optim.Adam, cosine=True, warmup=0.0, record=None,
          record_every=1, probe=None, probe_steps=()):
    """Trains all runs of a stack side by side, in place.

    inputs (N, ...) are shared by the runs; targets (R, N, ...) belong to each run. Without
    batch_size, or where it is N or more, every epoch is one step on the whole set. With it, run k
    visits the examples in an order that order_generators[k] draws anew each epoch; the last batch
    is smaller where batch_size does not divide N. The learning rate falls to zero along a half
    cosine (Loshchilov & Hutter 2017, arXiv:1608.03983) unless cosine is False. Before it falls it
    rises from zero through a fraction warmup of the steps.

    record(epoch) is called before training, after every record_every epochs and after the last one;
    training ends when it returns True. probe(step) is called at the steps of probe_steps, of which
    0 is the first, when the gradient of the batch is in .grad and no parameter has moved yet.

    The runs stay independent: they share no parameter, and optimizers that work element by element,
    such as Adam and SGD, cannot mix them. After every record_every epochs and at the end the losses
    of the last batch are checked: raises Diverged where one is not finite. Every step counts as one
    in the progress of the piece of work that trains.
    """
    examples = len(inputs)
    full_batch = batch_size is None or batch_size >= examples
    steps = count_steps(examples, epochs, batch_size)
    probe_steps = set(probe_steps)
    step = 0

    updater = make_optimizer(optimizer, model, learning_rate)
    schedule = cosine_schedule(updater, steps, warmup) if cosine else None
    if record and record(0):
        return
    model.train()
    for epoch in range(1, epochs + 1):
        if full_batch:
            batches = [(inputs.unsqueeze(0), targets)]
        else:
            batches = shuffled_batches(inputs, targets, batch_size, order_generators)
        for batch_inputs, batch_targets in batches:
            losses = loss_function(model(batch_inputs), batch_targets)  # (R,)
            updater.zero_grad()
            losses.sum().backward()  # runs share no parameter: each gets its own gradient
            if step in probe_steps:
                probe(step)
            updater.step()
            if cosine:
                schedule.step()
            step += 1
            advance()
        if epoch % record_every == 0 or epoch == epochs:
            check_finite(losses, epoch)
            if record:
                finished = record(epoch)
                model.train()
                if finished:
                    return


def count_steps(examples, epochs, batch_size=None):
    """The number of steps that train takes; without batch_size every epoch is one step."""
    if batch_size is None:
        return epochs
    return epochs * ceil(examples / batch_size)


def cosine_schedule(updater, steps, warmup):
    """The schedule of an optimizer's learning rate over so many steps, see train."""
    if warmup == 0:
        return torch.optim.lr_scheduler.CosineAnnealingLR(updater, steps)
    rising_steps = ceil(warmup * steps)
    falling_steps = max(steps - rising_steps, 1)

    def factor(step):  # of the learning rate, at steps counted from 0
        if step < rising_steps:
            return (step + 1) / rising_steps
        return (1 + cos(pi * (step - rising_steps) / falling_steps)) / 2

    return torch.optim.lr_scheduler.LambdaLR(updater, factor)


def geometric_steps(last, ratio):
    """The steps 0, 1, ... below last, each at least ratio > 1 times the one before: a list."""
    steps, step = [0], 1
    while step < last:
        steps.append(step)
        step = max(step + 1, round(ratio * step))
    return steps


def make_optimizer(optimizer, model, learning_rate):
    """optimizer(parameters, lr=...) for a stack, in one kernel for all parameters if it has one."""
    options = {}
    device = next(model.parameters()).device
    if device.type in ("cpu", "cuda") and "fused" in inspect.signature(optimizer).parameters:
        options["fused"] = True
    return optimizer(model.parameters(), lr=learning_rate, **options)


def shuffled_batches(inputs, targets, batch_size, order_generators):
    """Yields one epoch of batches (R, B, ...) of inputs (N, ...) and targets (R, N, ...)."""
    examples = len(inputs)
    orders = [torch.randperm(examples, generator=generator) for generator in order_generators]
    order = torch.stack(orders).to(inputs.device)  # (R, N)
    run_index = torch.arange(len(order), device=inputs.device).unsqueeze(1)  # (R, 1)
    for start in range(0, examples, batch_size):
        index = order[:, start : start + batch_size]  # (R, B)
        yield inputs[index], targets[run_index, index]


def check_finite(losses, epoch):
    """Raises Diverged, naming their places in the stack, unless all losses (R,) are finite."""
    diverged = (~torch.isfinite(losses)).nonzero().flatten().tolist()
    if diverged:
        networks = ", ".join(map(str, diverged))
        raise Diverged(f"the loss of network {networks} of the stack is not finite at epoch "
                       f"{epoch}; try a smaller learning rate")


def expand_to_runs(targets, model):
    """Targets (N, ...) that all runs of a stack share -> (R, N, ...), without a copy."""
    return targets.expand(run_count(model), *targets.shape)
