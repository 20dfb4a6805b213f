"""The parameters of a stack as flat vectors, one for each run, and what can be done with vectors.

Lines, planes and distances between networks are then plain algebra.
"""

import torch


def flatten(parameters):
    """A dict of stacked tensors (R, ...), as dict(model.named_parameters()) -> vectors (R, P)."""
    return torch.cat([tensor.detach().flatten(1) for tensor in parameters.values()], dim=1)


def parameter_vectors(model):
    """The parameters of every run of a stack as they are now: (R, P)."""
    return flatten(dict(model.named_parameters()))


def unflatten(vectors, model):
    """Vectors (R, P) -> a dict of stacked tensors in the shapes of model, for functional_call.

    R may differ from the model's own number of runs. Raises RuntimeError where P is not the
    model's.
    """
    shapes = {name: parameter.shape[1:] for name, parameter in model.named_parameters()}
    pieces = vectors.split([shape.numel() for shape in shapes.values()], dim=1)
    return {name: piece.unflatten(1, shapes[name]) for name, piece in zip(shapes, pieces)}


def one_layer(paths, model, index):
    """The parameters of one layer, counted from 0: (R, checkpoints, P) -> (R, checkpoints, p)."""
    parameters = unflatten(paths.flatten(0, 1), model)
    layers = []
    for name in parameters:
        layer = name.partition(".")[0]
        if layer not in layers:
            layers.append(layer)
    chosen = {name: tensor for name, tensor in parameters.items()
              if name.partition(".")[0] == layers[index]}
    return flatten(chosen).unflatten(0, paths.shape[:2])


def interpolate(first, second, alphas):
    """The points (1 − α) first + α second of vectors (..., P) for alphas (A,): (..., A, P).

    At 0 and 1 they are exactly the ends.
    """
    alphas = alphas.to(first).unsqueeze(1)
    return (1 - alphas) * first.unsqueeze(-2) + alphas * second.unsqueeze(-2)


def barrier(alphas, losses):
    """The most by which losses (R, A) exceed the straight line between their ends: tensor (R,).

    alphas (A,) rise and include 0 and 1; only 0 ≤ α ≤ 1 counts. The definition of Entezari et al.
    2022 (arXiv:2110.06296). Zero for a loss that is convex along the line.
    """
    alphas, losses = torch.as_tensor(alphas), torch.as_tensor(losses)
    first, last = losses[:, alphas == 0], losses[:, alphas == 1]
    excess = losses - (1 - alphas) * first - alphas * last
    between = (alphas >= 0) & (alphas <= 1)
    return excess[:, between].amax(1)


def rescale(vectors, model, scale):
    """Multiplies the first layer of MLPs (R, P) by scale > 0 and divides the second's weight by it.

    Since ReLU(cx) = c ReLU(x) the network computes what it did before (Dinh et al. 2017,
    arXiv:1703.04933).
    """
    parameters = unflatten(vectors, model)
    names = list(parameters)  # weight and bias, layer by layer
    first_weight, first_bias, second_weight = names[:3]
    factors = {first_weight: scale, first_bias: scale, second_weight: 1 / scale}
    return flatten({name: tensor * factors.get(name, 1) for name, tensor in parameters.items()})
