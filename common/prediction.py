"""What the networks of a stack answer over a whole set."""

import torch
from torch.func import functional_call

# Images at a time: on a CPU few enough for all activations to stay in the cache, elsewhere enough to keep a GPU busy.
CPU_CHUNK, GPU_CHUNK = 100, 5_000


@torch.no_grad()
def predictions(model, images, parameters=None, chunk=None):
    """Yields the logits (R, chunk, classes) of every run for images (N, ...), chunk by chunk, without touching the model.

    With parameters, a dict of stacked tensors (R, ...), these answer in place of the model's own.
    """
    parameters = parameters or dict(model.named_parameters())
    runs = len(next(iter(parameters.values())))
    for batch in images.split(chunk or (CPU_CHUNK if images.device.type == "cpu" else GPU_CHUNK)):
        yield functional_call(model, parameters, (batch.expand(runs, *batch.shape),))


def predict(model, images, parameters=None, chunk=None):
    """All of `predictions` at once: (R, N, classes)."""
    return torch.cat([*predictions(model, images, parameters, chunk)], 1)
