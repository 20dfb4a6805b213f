"""What the networks of a stack answer over a whole set."""

import torch
from torch.func import functional_call


@torch.no_grad()
def predict(model, images, parameters=None, chunk=250):
    """The logits of every run for images (N, ...): (R, N, classes), without touching the model.

    With parameters, a dict of stacked tensors (R, ...), these answer in place of the model's own. A chunk is few enough
    images for all activations to stay in the cache.
    """
    parameters = parameters or dict(model.named_parameters())
    runs = len(next(iter(parameters.values())))
    batches = (batch.expand(runs, *batch.shape) for batch in images.split(chunk))
    return torch.cat([functional_call(model, parameters, (batch,)) for batch in batches], 1)
