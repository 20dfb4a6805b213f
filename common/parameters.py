"""The parameters of a stack as flat vectors, one per run, so that lines, planes and distances are plain algebra."""

import torch


def flatten(parameters):
    """A dict of stacked tensors (R, ...), as dict(model.named_parameters()) gives -> detached vectors (R, P)."""
    return torch.cat([tensor.detach().flatten(1) for tensor in parameters.values()], dim=1)


def parameter_vectors(model):
    """The parameters of every run of a stack as they are now, detached: (R, P)."""
    return flatten(dict(model.named_parameters()))


def unflatten(vectors, model):
    """Vectors (R, P) -> a dict of stacked tensors in the shapes of model, for `functional_call` and `evaluate`.

    R may differ from the model's own number of runs. Raises RuntimeError where P is not the model's.
    """
    shapes = {name: parameter.shape[1:] for name, parameter in model.named_parameters()}
    pieces = vectors.split([shape.numel() for shape in shapes.values()], dim=1)
    return {name: piece.unflatten(1, shape) for (name, shape), piece in zip(shapes.items(), pieces)}


def interpolate(first, second, alphas):
    """The points (1 − α) first + α second of vectors (..., P) for alphas (A,): (..., A, P); at 0 and 1 exactly the ends."""
    alphas = alphas.to(first).unsqueeze(1)
    return (1 - alphas) * first.unsqueeze(-2) + alphas * second.unsqueeze(-2)


def barrier(alphas, losses):
    """The most by which losses (R, A) along lines exceed the straight line between their ends on 0 ≤ α ≤ 1: (R,) tensor.

    alphas (A,) rise and include 0 and 1. The definition of Entezari et al. 2022 (arXiv:2110.06296); zero for a loss that
    is convex along the line.
    """
    alphas, losses = torch.as_tensor(alphas), torch.as_tensor(losses)
    first, last = (losses[:, alphas == end] for end in (0, 1))
    return (losses - (1 - alphas) * first - alphas * last)[:, (alphas >= 0) & (alphas <= 1)].amax(1)
