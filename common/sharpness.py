"""How sharply a loss reacts to its input and to the parameters: measures of sensitivity and flatness, rescaling.

What concerns the parameters takes a loss as one function of flat vectors, (R, P) -> (R,), the same for every run: see
`loss_of`. The sum over the runs then has all their gradients, so one backward pass gives them side by side.
"""

import numpy as np
import scipy
import torch
from torch.func import functional_call
from torch.nn import functional

from common.parameters import flatten, unflatten
from common.training import cross_entropy


def loss_of(model, images, labels):
    """Mean cross-entropy (nats) over images (N, ...) and labels (N,), as a function of float64 vectors (R, P) -> (R,)."""
    images = images.double()  # small differences of large sums: float32 would leave noise

    def loss(vectors):
        inputs = images.expand(len(vectors), *images.shape)
        return cross_entropy(functional_call(model, unflatten(vectors, model), (inputs,)), labels.expand(len(vectors), -1))

    return loss


def gradient(loss, vectors):
    """∇loss of every run at vectors (R, P) -> (R, P)."""
    return torch.func.grad(lambda points: loss(points).sum())(vectors)


def hessian_vector_product(loss, vectors, directions):
    """Hd of every run, exact, without the Hessian H: the gradient's own backward pass along directions (R, P) -> (R, P).

    Differentiating the gradient along d gives Hd (Pearlmutter 1994, Neural Computation 6), and H is symmetric, so either
    mode of differentiation will do; backward is the faster here. The kinks of a ReLU network do not enter.
    """
    return torch.func.vjp(lambda points: gradient(loss, points), vectors)[1](directions)[0]


def curvature(loss, vectors, directions):
    """dᵀHd of every run: the second derivative of loss(vectors + α directions) by α at α = 0, (R,)."""
    return (directions * hessian_vector_product(loss, vectors, directions)).sum(1)


def largest_eigenvalue(loss, vectors, tolerance=1e-3):
    """The largest eigenvalue of every run's Hessian at vectors (R, P), to a relative tolerance: (R,).

    ARPACK's restarted Lanczos iteration (Lehoucq, Sorensen & Yang 1998), run by run, on Hessian-vector products. Ten basis
    vectors are enough because a classifier's leading eigenvalues stand far out of the rest (Sagun et al. 2017,
    arXiv:1706.04454); where they are not, ARPACK restarts until the tolerance is met.
    """
    start = np.random.default_rng(0).standard_normal(vectors.shape[1])  # where it starts does not show in the result
    values = []
    for vector in vectors.split(1):

        def product(direction, vector=vector):
            direction = torch.from_numpy(direction).to(vector).view(1, -1)
            return hessian_vector_product(loss, vector, direction)[0].cpu().numpy()

        hessian = scipy.sparse.linalg.LinearOperator((len(start), len(start)), matvec=product, dtype=np.float64)
        values.append(scipy.sparse.linalg.eigsh(hessian, k=1, which="LA", v0=start, ncv=min(10, len(start)), tol=tolerance,
                            return_eigenvectors=False)[0])
    return vectors.new_tensor(values)


def epsilon_sharpness(loss, vectors, epsilon=1e-3, steps=10):
    """Keskar's ε-sharpness of every run, in percent: 100 (max f(x + y) − f(x)) / (1 + f(x)), |y_i| ≤ ε (|x_i| + 1): (R,).

    Keskar et al. 2017 (arXiv:1609.04836), with ten iterations as they allow. Each goes to the corner of the box that the
    gradient points to: of all points of the box it maximizes the linear approximation, and for a convex f no iteration
    can lower f (Journée et al. 2010). The highest value met counts, a lower bound of the maximum as any such search gives;
    on our networks it lies above what ten or fifty iterations of L-BFGS-B, Keskar's choice, find.
    """
    with torch.no_grad():
        start = highest = loss(vectors)
    box = epsilon * (vectors.abs() + 1)
    points = vectors
    for _ in range(steps):
        points = vectors + box * gradient(loss, points).sign()
        with torch.no_grad():
            highest = torch.maximum(highest, loss(points))
    return 100 * (highest - start) / (1 + start)


def input_sensitivity(model, parameters, images, labels=None, chunk=500):
    """Mean over images (N, ...) of the Frobenius norm of a derivative with respect to the image x, per unit of x: (R,).

    With labels (N,) the derivative is ∂ℓ/∂x, the gradient of the example's own cross-entropy in nats. Without, it is the
    Jacobian ∂p/∂x of all class probabilities, the measure of Novak et al. 2018 (arXiv:1802.08760), which knows no label.
    parameters is a dict of stacked tensors (R, ...).
    """
    runs = len(next(iter(parameters.values())))
    total = torch.zeros(runs, dtype=torch.float64, device=images.device)
    for start in range(0, len(images), chunk):
        batch = images[start : start + chunk]
        batch = batch.expand(runs, *batch.shape).clone().requires_grad_()  # (R, B, ...)
        logits = functional_call(model, parameters, (batch,))
        if labels is None:
            outputs = logits.softmax(2).sum((0, 1))  # one sum for each class: no example depends on another's image
        else:
            batch_labels = labels[start : start + chunk].expand(runs, -1)
            outputs = [functional.cross_entropy(logits.flatten(0, 1), batch_labels.flatten(), reduction="sum")]
        gradients = [torch.autograd.grad(output, batch, retain_graph=True)[0].flatten(2) for output in outputs]
        total += sum(gradient.square().sum(2) for gradient in gradients).sqrt().sum(1)
    return total / len(images)


def rescale(vectors, model, scale):
    """Multiplies the first layer of MLPs (R, P) by scale > 0 and divides the second layer's weight by it.

    Since ReLU(cx) = c ReLU(x) the network computes what it did before (Dinh et al. 2017, arXiv:1703.04933).
    """
    parameters = unflatten(vectors, model)
    first_weight, first_bias, second_weight, *_ = parameters
    factors = {first_weight: scale, first_bias: scale, second_weight: 1 / scale}
    return flatten({name: parameter * factors.get(name, 1) for name, parameter in parameters.items()})
