"""Outputs, loss and accuracy of a stack over a whole set, without gradients."""

from common.training import cross_entropy

import torch
from torch.func import functional_call

# Images at a time: on a CPU few enough for all activations to stay in the cache, elsewhere enough
# to keep a GPU busy.
CPU_CHUNK, GPU_CHUNK = 100, 5_000


@torch.no_grad()
def output_chunks(model, images, parameters=None, chunk=None):
    """Yields the logits (R, chunk, classes) of every run for images (N, ...), chunk by chunk.

    chunk is the number of images at a time, by default CPU_CHUNK or GPU_CHUNK; the last chunk may
    be smaller. With parameters, a dict of stacked tensors (R, ...) as unflatten gives, these are
    used in place of the model's own, which stay as they are.
    """
    if parameters is None:
        parameters = dict(model.named_parameters())
    if chunk is None:
        chunk = CPU_CHUNK if images.device.type == "cpu" else GPU_CHUNK
    for batch in images.split(chunk):
        yield functional_call(model, parameters, (batch.unsqueeze(0),))


def predict(model, images, parameters=None, chunk=None):
    """The logits (R, N, classes) of every run for images (N, ...).

    For parameters and chunk see output_chunks.
    """
    return torch.cat(list(output_chunks(model, images, parameters, chunk)), dim=1)


@torch.no_grad()
def evaluate(model, images, labels, parameters=None, chunk=None):
    """Mean cross-entropy (nats) and accuracy of every run over a whole set: float64, (R,) and (R,).

    images (N, ...) are shared; labels are (N,), or (R, N) where each run has its own. For
    parameters and chunk see output_chunks.
    """
    model.eval()
    loss, correct, start = 0, 0, 0
    for logits in output_chunks(model, images, parameters, chunk):
        runs, size, _ = logits.shape
        chunk_labels = labels.expand(runs, -1)[:, start : start + size]
        loss = loss + size * cross_entropy(logits, chunk_labels).double()
        correct = correct + (logits.argmax(2) == chunk_labels).sum(1)
        start += size
    return loss / len(images), correct.double() / len(images)


def evaluate_sets(model, sets, parameters=None):
    """evaluate on each of sets {name: (images, labels)}.

    Returns {"name_loss": (R,), "name_accuracy": (R,)} for every name.
    """
    values = {}
    for name, (images, labels) in sets.items():
        loss, accuracy = evaluate(model, images, labels, parameters)
        values[f"{name}_loss"] = loss
        values[f"{name}_accuracy"] = accuracy
    return values
