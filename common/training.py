"""Training and measuring stacks of networks (see common/models.py for what a stack is)."""

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from common.models import run_count
from common.prediction import predictions

# Each use of random numbers has a stream of its own, so that drawing more of one kind changes none of the others.
STREAMS = ("initialization", "order", "labels", "probe")


class Diverged(RuntimeError):
    """A loss became infinite or not a number."""


def run_generators(seed, runs, stream):
    """One CPU generator per run, derived from (seed, run) alone, for one of STREAMS.

    runs is a count, for the runs 0 … runs − 1, or an iterable of run numbers.
    """
    numbers = range(runs) if isinstance(runs, int) else runs
    states = [np.random.SeedSequence((seed, run, STREAMS.index(stream))).generate_state(1, np.uint64) for run in numbers]
    # within the seeds that every version of torch takes
    return [torch.Generator().manual_seed(int(state[0] >> np.uint64(1))) for state in states]


def cross_entropy(logits, labels):
    """Mean cross-entropy of each run: logits (R, B, classes), labels (R, B) -> (R,), in nats per example."""
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(1)


def mean_squared_error(outputs, targets):
    """Mean squared error of each run: (R, B, outputs) twice -> (R,)."""
    return (outputs - targets).square().mean((1, 2))


def train(model, inputs, targets, loss_function, *, epochs, learning_rate, orders=None, batch_size=None,
          optimizer=torch.optim.Adam, cosine=True, record=None, record_every=1, probe=None, probe_steps=(),
          title="training"):
    """Trains all runs of a stack side by side, in place.

    inputs (N, ...) are shared by the runs; targets (R, N, ...) belong to each. Without batch_size every epoch is one
    step on the whole set; with it, run k visits the examples in the order that orders[k] draws anew each epoch, the last
    batch being the smaller one where batch_size does not divide N. The learning rate falls to zero along a half cosine
    (Loshchilov & Hutter 2017, arXiv:1608.03983) unless cosine is False. record(epoch) is called before training, after
    every record_every epochs and after the last one, and training ends when it returns True; the losses are checked as
    often. probe(step) is called at the steps of probe_steps, of which 0 is the first, when the batch's gradient is in
    .grad and no parameter has moved yet.

    The runs stay independent: they share no parameter, and optimizers that work element by element, such as Adam and
    SGD, cannot mix them. Raises Diverged where a run's loss is not finite at a record.
    """
    runs, examples = run_count(model), len(inputs)
    batch_size = batch_size or examples
    starts = range(0, examples, batch_size)
    steps, step, probe_steps = epochs * len(starts), 0, set(probe_steps)
    run_index = torch.arange(runs, device=inputs.device).unsqueeze(1)  # (R, 1)
    full_batch = inputs.expand(runs, *inputs.shape)

    # The bar is there before what takes its time: the first optimizer imports half of PyTorch, the first record measures.
    with tqdm(total=steps, desc=title, unit="step", leave=False, disable=None) as progress:
        fused = {"fused": True} if inputs.device.type in ("cpu", "cuda") else {}
        updater = optimizer(model.parameters(), lr=learning_rate, **fused)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(updater, steps) if cosine else None
        if record and record(0):
            return
        model.train()
        for epoch in range(1, epochs + 1):
            if batch_size < examples:
                order = torch.stack([torch.randperm(examples, generator=generator) for generator in orders])
                order = order.to(inputs.device)  # (R, N)
            for start in starts:
                if batch_size < examples:
                    index = order[:, start : start + batch_size]  # (R, B)
                    batch, batch_targets = inputs[index], targets[run_index, index]
                else:
                    batch, batch_targets = full_batch, targets
                losses = loss_function(model(batch), batch_targets)  # (R,)
                updater.zero_grad()
                losses.sum().backward()
                if step in probe_steps:
                    probe(step)
                updater.step()
                step += 1
                if cosine:
                    schedule.step()
                progress.update()
            if epoch % record_every == 0 or epoch == epochs:
                check_finite(losses, title, epoch)
                if record:
                    stop = record(epoch)
                    model.train()
                    if stop:
                        return


def check_finite(losses, title, epoch):
    """Raises Diverged, naming the runs, unless every loss of losses (R,) is finite."""
    diverged = (~torch.isfinite(losses)).nonzero().flatten().tolist()
    if diverged:
        raise Diverged(f"{title}: the loss of run {', '.join(map(str, diverged))} is not finite at epoch {epoch}; "
                       "try a smaller --lr")


@torch.no_grad()
def evaluate(model, images, labels, parameters=None, chunk=None):
    """Mean cross-entropy and accuracy of every run over a whole set, in evaluation mode: two float64 tensors (R,).

    images (N, ...) are shared; labels are (N,), or (R, N) where each run has its own. With parameters, a dict of stacked
    tensors as `model.state_dict()` gives, these are measured in place of the model's own. For chunk see `predictions`.
    """
    model.eval()
    loss, correct, start = 0, 0, 0
    for logits in predictions(model, images, parameters, chunk):
        runs, size = logits.shape[:2]
        batch_labels = labels.expand(runs, -1)[:, start : start + size]
        loss = loss + size * cross_entropy(logits, batch_labels).double()
        correct = correct + (logits.argmax(2) == batch_labels).sum(1)
        start += size
    return loss / len(images), correct.double() / len(images)


def evaluate_sets(model, sets, parameters=None):
    """`evaluate` on each of sets {name: (images, labels)}: {name_loss: (R,), name_accuracy: (R,), ...}."""
    values = {}
    for name, (images, labels) in sets.items():
        values[f"{name}_loss"], values[f"{name}_accuracy"] = evaluate(model, images, labels, parameters)
    return values
