"""Derivatives of losses by parameters and by inputs, and the measures of flatness built on them.

A loss here is a function of flat parameter vectors, (R, P) -> (R,), as loss_at makes it. The sum
over the runs then has the gradients of all runs, so that one backward pass gives them side by side.
"""

from common.parameters import parameter_vectors, unflatten

import numpy as np
import scipy
import torch
from torch.func import functional_call, vjp
from torch.nn import functional


def loss_at(model, inputs, targets, loss_function, weight_decay=0.0):
    """The loss over a whole set as a function of parameter vectors: (R, P) -> (R,).

    inputs (N, ...) and targets (N, ...) are shared by the runs; model lends its architecture only.
    With weight_decay, ½ · weight_decay · ‖θ‖² is added, the term whose gradient Adam's weight_decay
    adds.
    """

    def loss(vectors):
        outputs = functional_call(model, unflatten(vectors, model), (inputs.unsqueeze(0),))
        losses = loss_function(outputs, targets.expand(len(vectors), *targets.shape))
        if weight_decay:
            losses = losses + weight_decay / 2 * (vectors * vectors).sum(1)
        return losses

    return loss


def loss_and_gradient(loss, vectors):
    """The loss of every run at vectors (R, P) and its gradient: (R,) and (R, P)."""

    def sum_and_losses(points):
        losses = loss(points)
        return losses.sum(), losses

    gradients, losses = torch.func.grad(sum_and_losses, has_aux=True)(vectors)
    return losses, gradients


def gradient(loss, vectors):
    """∇loss of every run at vectors (R, P): (R, P)."""
    return loss_and_gradient(loss, vectors)[1]


def loss_and_gradient_of_model(model, inputs, targets, loss_function, chunk=2_000):
    """The mean loss of every run of a model over a whole set, (R,), and its gradient, (R, P).

    inputs (N, ...) and targets (N, ...) are shared by the runs. Each chunk's gradient is taken in
    the model's own precision, and the chunks are added in float64. Parameters and their .grad stay
    as they are.
    """
    vectors = parameter_vectors(model)
    mean_loss, mean_gradient = 0, 0
    for start in range(0, len(inputs), chunk):
        chunk_inputs = inputs[start : start + chunk]
        chunk_targets = targets[start : start + chunk]
        chunk_loss = loss_at(model, chunk_inputs, chunk_targets, loss_function)
        losses, gradients = loss_and_gradient(chunk_loss, vectors)
        weight = len(chunk_inputs) / len(inputs)  # the last chunk may be smaller
        mean_loss = mean_loss + weight * losses.double()
        mean_gradient = mean_gradient + weight * gradients.double()
    return mean_loss, mean_gradient


def hessian_vector_product(loss, vectors, directions):
    """Hd of every run for directions d (R, P), exact and without the Hessian H: (R, P).

    The derivative of the gradient along d is Hd (Pearlmutter 1994, Neural Computation 6). H is
    symmetric, so that backward differentiation, the faster mode here, gives the same. The kinks of
    a ReLU network do not enter.
    """
    _, multiply = vjp(lambda points: gradient(loss, points), vectors)
    (products,) = multiply(directions)
    return products


def curvature(loss, vectors, directions):
    """dᵀHd of every run: the second derivative of loss(vectors + α directions) by α at 0, (R,)."""
    return (directions * hessian_vector_product(loss, vectors, directions)).sum(1)


def largest_eigenvalue(loss, vectors, tolerance=1e-3, scales=None):
    """Largest eigenvalue of every run's Hessian at vectors (R, P), to a relative tolerance: (R,).

    With scales (R, P) it is that of the Hessian by u, where θ = scales · u: of S H S with the
    diagonal matrix S of the run's scales.

    ARPACK's restarted Lanczos iteration (Lehoucq, Sorensen & Yang 1998), run by run, on
    Hessian-vector products. Ten basis vectors are enough because a classifier's leading eigenvalues
    stand far out of the rest (Sagun et al. 2017, arXiv:1706.04454); where they do not, ARPACK
    restarts until the tolerance is met.
    """
    size = vectors.shape[1]
    start = np.random.default_rng(0).standard_normal(size)  # it does not show in the result
    scales = torch.ones_like(vectors) if scales is None else scales
    eigenvalues = []
    for vector, scale in zip(vectors.split(1), scales.split(1)):
        # as in hessian_vector_product, but the gradient is computed once for all products
        _, multiply_by_hessian = vjp(lambda points: gradient(loss, points), vector)

        def multiply(direction, multiply_by_hessian=multiply_by_hessian, scale=scale):
            direction = torch.from_numpy(direction).to(scale).view(1, -1)
            (product,) = multiply_by_hessian(scale * direction)
            return (scale * product)[0].cpu().numpy()

        hessian = scipy.sparse.linalg.LinearOperator((size, size), matvec=multiply,
                                                     dtype=np.float64)
        (eigenvalue,) = scipy.sparse.linalg.eigsh(hessian, k=1, which="LA", v0=start,
                                                  ncv=min(10, size), tol=tolerance,
                                                  return_eigenvectors=False)
        eigenvalues.append(eigenvalue)
    return vectors.new_tensor(eigenvalues)


def epsilon_sharpness(loss, vectors, epsilon=1e-3, steps=10):
    """Keskar's ε-sharpness of every run at vectors x (R, P), in percent: (R,).

    100 (max f(x + y) − f(x)) / (1 + f(x)) over the box |y_i| ≤ ε (|x_i| + 1) (Keskar et al. 2017,
    arXiv:1609.04836), see rise_in_box.
    """
    return rise_in_box(loss, vectors, epsilon * (vectors.abs() + 1), steps)


def adaptive_sharpness(loss, vectors, epsilon=1e-2, steps=10):
    """The same rise over the box |y_i| ≤ ε |x_i|, in percent: (R,) of vectors x (R, P).

    The adaptive sharpness of Kwon et al. 2021 (arXiv:2102.11600) in the maximum norm. Where a
    parameter is multiplied by a factor and another divided by it, so are the sides of this box: a
    rescaling that leaves the function as it is leaves the sharpness as it is. Keskar's 1 in the
    place of a parameter's size knows nothing of the factor. The box is ten times as wide as
    Keskar's, because it is narrow along the many parameters near zero.
    """
    return rise_in_box(loss, vectors, epsilon * vectors.abs(), steps)


def rise_in_box(loss, vectors, box, steps):
    """100 (max f(x + y) − f(x)) / (1 + f(x)) over |y_i| ≤ box_i, (R,) of vectors x and box (R, P).

    Ten steps are as many iterations as Keskar et al. allow. Each goes to the corner of the box that
    the gradient points to: there the linear approximation is largest, and for a convex f no step
    can lower f (Journée et al. 2010). The highest value met counts, a lower bound of the maximum as
    any search gives.
    """
    with torch.no_grad():
        start = highest = loss(vectors)
    points = vectors
    for _ in range(steps):
        points = vectors + box * gradient(loss, points).sign()
        with torch.no_grad():
            highest = torch.maximum(highest, loss(points))
    return 100 * (highest - start) / (1 + start)


def input_sensitivity(model, parameters, images, labels=None, chunk=500):
    """Mean over images (N, ...) of the norm of a derivative by the image x, per unit of x: (R,).

    The norm is Frobenius'. With labels (N,) the derivative is ∂ℓ/∂x, the gradient of the example's
    own cross-entropy in nats. Without labels it is the Jacobian ∂p/∂x of all class probabilities
    (Novak et al. 2018, arXiv:1802.08760). parameters is a dict of stacked tensors (R, ...).
    """
    runs = len(next(iter(parameters.values())))
    total = torch.zeros(runs, dtype=torch.float64, device=images.device)
    for start in range(0, len(images), chunk):
        batch = images[start : start + chunk]
        batch = batch.expand(runs, *batch.shape).clone().requires_grad_()  # (R, B, ...)
        logits = functional_call(model, parameters, (batch,))
        # No example depends on another's image: the gradient of a sum holds that of every example.
        if labels is None:
            sums = logits.softmax(2).sum((0, 1))  # one for each class
        else:
            batch_labels = labels[start : start + chunk].expand(runs, -1)
            sums = [functional.cross_entropy(logits.flatten(0, 1), batch_labels.flatten(),
                                             reduction="sum")]
        squares = 0
        for summed in sums:
            (gradients,) = torch.autograd.grad(summed, batch, retain_graph=True)
            squares = squares + gradients.flatten(2).square().sum(2)  # (R, B)
        total += squares.sqrt().sum(1)
    return total / len(images)
