"""Finding the points where a small network's gradient vanishes.

Everything is float64 and exact: gradients and Hessians come from torch.func over the whole data set, for all points
side by side. A point is a flat parameter vector (P,), a set of points is (R, P).
"""

import torch
from torch.func import functional_call, grad, jacrev, vmap
from tqdm import trange

from common.parameters import unflatten
from common.training import mean_squared_error

TARGET = 1e-12  # the norm of a gradient at which a search is at its end
KERNEL = 1e-4  # eigenvalues up to this share of the largest belong to the Hessian's near-kernel
STATIONARY = 1e-7  # `flatness` where ‖∇‖ is at a minimum: some √ε of float64, closer than which none can be located


def loss_of(model, inputs, targets, weight_decay=0.0):
    """The function θ (P,) -> mean squared error + ½ · weight_decay · ‖θ‖², whose gradient is the one that Adam gets.

    inputs (N, features), targets (N, outputs); model is a stack and lends its architecture only.
    """

    def loss(vector):
        outputs = functional_call(model, unflatten(vector.unsqueeze(0), model), (inputs.unsqueeze(0),))
        return mean_squared_error(outputs, targets.unsqueeze(0)).squeeze() + weight_decay / 2 * vector @ vector

    return loss


def gradient_and_hessian(loss):
    """Two functions of points (R, P): the gradients (R, P) and the Hessians (R, P, P)."""
    # Reverse over reverse: torch.func.hessian, forward over reverse, takes 1.6 times as long for such networks.
    return vmap(grad(loss)), vmap(jacrev(jacrev(loss)))


def flatness(gradients, hessians):
    """‖H∇‖ / (‖H‖ ‖∇‖) with the Frobenius norm, (R,): 0 where ∇ lies in H's kernel.

    Over random directions its mean square is 1/P. Small values mark the gradient-flat points of Frye et al. 2021
    (arXiv:2003.10397): H∇ is the gradient of ½‖∇‖², so a search for ∇ = 0 ends there although ∇ is not zero.
    """
    products = (hessians @ gradients.unsqueeze(2)).squeeze(2).norm(dim=1)
    # The smallest of numbers keeps 0 / 0 at bay: a gradient of exactly zero lies in every kernel.
    return products / (hessians.norm(dim=(1, 2)) * gradients.norm(dim=1)).clamp_min(1e-300)


def kernel_share(gradients, hessians):
    """The share of ‖∇‖² along eigenvectors with |λ| ≤ KERNEL · max |λ|, and the share of these eigenvectors: (R,) each.

    The first is near the second for a gradient of random direction, and 1 for one that no Newton step can reduce.
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(hessians)
    components = (eigenvectors.mT @ gradients.unsqueeze(2)).squeeze(2).square()
    kernel = (eigenvalues.abs() <= KERNEL * eigenvalues.abs().amax(1, keepdim=True)).to(components)
    return (components * kernel).sum(1) / components.sum(1).clamp_min(1e-300), kernel.mean(1)


def find_critical_points(loss, starts, iterations, title="search"):
    """Solves ∇L(θ) = 0 from all starts (R, P) at once; returns the points reached, whether solved or not.

    The method of Levenberg (1944) and Marquardt (1963) with H as the Jacobian of ∇: each step s minimizes ‖∇ + Hs‖² +
    damping · ‖Ds‖², with MINPACK's scaling D and the damping of Madsen, Nielsen & Tingleff (2004), simplified. A point rests
    once ‖∇‖ ≤ TARGET, or where the search cannot go on because ‖∇‖ itself is stationary: `flatness` ≤ STATIONARY.

    All starts advance together because a derivative at one point costs nearly what it costs at a hundred: calling
    scipy.optimize.least_squares (method "lm") for one start after the other takes about ten times as long.
    """
    gradient, hessian = gradient_and_hessian(loss)
    points = starts.clone()
    gradients, hessians = gradient(points), hessian(points)
    scales = hessians.norm(dim=1)  # (R, P): D, the largest column norms so far
    damping = torch.full_like(points[:, 0], 1e-3)
    for _ in trange(iterations, desc=title, unit="step", leave=False, disable=None):
        moving = (gradients.norm(dim=1) > TARGET) & (flatness(gradients, hessians) > STATIONARY)
        active = moving.nonzero().flatten()
        if not len(active):
            break
        g, h = gradients[active], hessians[active]
        scales[active] = torch.maximum(scales[active], h.norm(dim=1))
        # Least squares on a stacked matrix (A, 2P, P) instead of the normal equations, which square H's condition.
        stacked = torch.cat([h, torch.diag_embed(damping[active].sqrt().unsqueeze(1) * scales[active])], dim=1)
        steps = torch.linalg.lstsq(stacked, torch.cat([-g, torch.zeros_like(g)], dim=1).unsqueeze(2)).solution
        trials = points[active] + steps.squeeze(2)
        trial_gradients = gradient(trials)
        now, then, predicted = (v.square().sum(1) for v in (g, trial_gradients, g + (h @ steps).squeeze(2)))
        # Less damping where ‖∇‖² falls as the linear model predicts (a gain near 1), more where it does not.
        gain = (now - then) / (now - predicted)
        damping[active] *= (1 - (2 * gain - 1) ** 3).clamp(1 / 3, 2).nan_to_num(2)
        damping.clamp_(max=1e10)  # far beyond any use, far below an overflow
        moved = active[then < now]
        if len(moved):
            points[moved], gradients[moved] = trials[then < now], trial_gradients[then < now]
            hessians[moved] = hessian(points[moved])
    return points


def measure(loss, points):
    """What tells critical from gradient-flat points: a dict of tensors (R,) by name."""
    gradients, hessians = (derivative(points) for derivative in gradient_and_hessian(loss))
    share, dimensions = kernel_share(gradients, hessians)
    return {"loss": vmap(loss)(points), "gradient_norm": gradients.norm(dim=1), "flatness": flatness(gradients, hessians),
            "kernel_share": share, "kernel_dimensions": dimensions}
