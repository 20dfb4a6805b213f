"""The parameters of a stack as flat vectors, one per run, so that lines, planes and distances are plain algebra."""

import torch


def flatten(parameters):
    """A dict of stacked tensors (R, ...), as dict(model.named_parameters()) gives -> detached vectors (R, P)."""
    return torch.cat([tensor.detach().flatten(1) for tensor in parameters.values()], dim=1)


def unflatten(vectors, model):
    """Vectors (R, P) -> a dict of stacked tensors in the shapes of model, for `functional_call` and `evaluate`.

    R may differ from the model's own number of runs. Raises RuntimeError where P is not the model's.
    """
    shapes = {name: parameter.shape[1:] for name, parameter in model.named_parameters()}
    pieces = vectors.split([shape.numel() for shape in shapes.values()], dim=1)
    return {name: piece.unflatten(1, shape) for (name, shape), piece in zip(shapes.items(), pieces)}
