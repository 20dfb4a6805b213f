"""What happens when the gradient is almost zero? Minimal ratio against loss at the critical points of a small network.

Networks of 33 parameters are trained on sin(5πx)/(5πx) and stopped at random moments. From there a search solves
∇L = 0, once for the plain mean squared error and once with an L2 term. Only points with ‖∇L‖ ≤ 1e-10 count. Minimal
ratio: the share of positive Hessian eigenvalues, or of random neighbours with a higher loss.

    python hw1_2_minratio.py              # the report's figure
    python hw1_2_minratio.py --quick      # a tour in seconds
"""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from common import critical_points, minimal_ratio
from common.experiment import Flag, main
from common.functions import grid, sinc
from common.models import mlp, parameter_count
from common.parameters import parameter_vectors, unflatten
from common.plotting import COLORS, GREY, MARKERS, legend_below, new_figure, number, stored_row
from common.training import mean_squared_error, run_generators, train

FLAGS = {
    "epochs": Flag(2_000, 500, "the longest training, in full-batch steps"),
    "iterations": Flag(500, 200, "steps of the search for a vanishing gradient"),
    "neighbours": Flag(1_000, 1_000, "random neighbours of every critical point, at every radius"),
}
RUNS = Flag(200, 12, "attempts for each objective")
WIDTHS = [1, 4, 4, 1]
POINTS = 40  # more than the 33 parameters, so that the network cannot just interpolate them
LEARNING_RATE = 1e-2
WEIGHT_DECAY = {"plain": 0.0, "regularized": 1e-3}  # the L2 term is half of it times ‖θ‖², as in Adam's weight_decay
ACCEPTED = 1e-10  # largest norm of an accepted gradient
FLAT = 0.1  # largest ‖H∇‖/(‖H‖‖∇‖) called flat; random directions have a root mean square of 1/√33 = 0.17
CONSTANT = 1e-3  # the outputs of a constant predictor vary by less than this share of what the targets do
RADII = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the neighbours, 0 being the limit; parameter vectors have norms around 4
RADIUS = 1e-2  # the one in the figure and of "sampled_ratio"
POINT_COLUMNS = ("point", "loss", "gradient_norm", "minimal_ratio", "sampled_ratio", "constant")  # of the list "points"


def train_and_stop(x, y, weight_decay, settings):
    """Stops each training at a random step, early ones more often: model and parameters (R, P)."""
    model = mlp(WIDTHS, run_generators(settings.seed, settings.runs, "initialization"), nn.Tanh).double().to(x.device)
    uniform = torch.cat([torch.rand(1, generator=g) for g in run_generators(settings.seed, settings.runs, "order")])
    # The square, because the loss falls fastest at first: a tenth of the trainings stop within a hundredth of the steps.
    stops = ((settings.epochs + 1) * uniform**2).long().to(x.device)
    starts = torch.zeros(settings.runs, parameter_count(model)).to(x)

    def record(epoch):
        starts.copy_(torch.where((stops == epoch).unsqueeze(1), parameter_vectors(model), starts))

    train(model, x, y.expand(settings.runs, -1, -1), mean_squared_error, epochs=settings.epochs, record=record,
          learning_rate=LEARNING_RATE, cosine=False, optimizer=partial(torch.optim.Adam, weight_decay=weight_decay),
          title=f"training, weight decay {weight_decay}")
    return model, starts


def search(objective, settings):
    """Trains and searches: what is known of all attempts, and of the accepted points, as dicts of arrays, one row each."""
    x = grid(POINTS, settings.device, torch.float64)
    y = sinc(x)
    model, starts = train_and_stop(x, y, WEIGHT_DECAY[objective], settings)
    loss = critical_points.loss_of(model, x, y, WEIGHT_DECAY[objective])
    points = critical_points.find_critical_points(loss, starts, settings.iterations, f"search, {objective}")
    attempts = critical_points.measure(loss, points)
    accepted = attempts["gradient_norm"] <= ACCEPTED
    found = {name: values[accepted] for name, values in attempts.items()}
    attempts["accepted"] = accepted
    generators = run_generators(settings.seed, accepted.nonzero().flatten().tolist(), "probe")
    unit_vectors = [minimal_ratio.directions(settings.neighbours, points.shape[1], g) for g in generators]
    found |= minimal_ratio.classify(loss, points[accepted], unit_vectors, RADII)
    outputs = functional_call(model, unflatten(points[accepted], model), (x.expand(len(generators), -1, -1),))
    found["constant"] = (outputs.amax(1) - outputs.amin(1)).flatten() < CONSTANT * (y.max() - y.min())
    found["point"] = minimal_ratio.number_distinct(found["loss"])
    return ({name: values.cpu().numpy() for name, values in part.items()} for part in (attempts, found))


def run(settings):
    # On a busy machine two threads spend their time waiting for each other: ten times as slow as one on matrices this small.
    torch.set_num_threads(1)
    results = {"table": [], "search": [], "correlations": [], "radius_sweep": [], "points": [], "curves": {}}
    for objective in WEIGHT_DECAY:
        attempts, found = search(objective, settings)
        found["sampled_ratio"] = found["sampled_ratios"][:, RADII.index(RADIUS)]
        distinct = np.unique(found["point"], return_index=True)[1]  # one of each, by rising loss
        varying = distinct[~found["constant"][distinct]]
        parts = {"table": [count(attempts, found)], "search": [minimal_ratio.describe(attempts, found, distinct)],
                 "correlations": minimal_ratio.correlations(found, distinct, varying),
                 "radius_sweep": minimal_ratio.radius_sweep(found, distinct, RADII),
                 "points": [{name: found[name][k] for name in POINT_COLUMNS} for k in range(len(found["loss"]))]}
        for name, rows in parts.items():
            results[name] += [{"objective": objective, **row} for row in rows]
        examples = varying[sorted({0, len(varying) // 2, len(varying) - 1})] if len(varying) else []
        results["curves"][objective] = {
            "gradient_norm": attempts["gradient_norm"], "flatness": attempts["flatness"],
            "spectra": [{"loss": found["loss"][k], "eigenvalues": found["eigenvalues"][k]} for k in examples]}
    return results


def count(attempts, found):
    rejected = ~attempts["accepted"]
    return {"attempts": len(rejected), "accepted": (~rejected).sum(),
            "gradient_flat": (rejected & (attempts["flatness"] <= FLAT)).sum(),
            "max_gradient_norm": found["gradient_norm"].max(initial=0), "parameters": found["eigenvalues"].shape[1]}


def plot(results):
    distinct, trend, sampled = (stored_row(results["correlations"], objective="regularized", points=points, ratio=ratio)
                                for points, ratio in (("distinct", "eigenvalues"), ("varying", "eigenvalues"),
                                                      ("varying", "neighbours")))
    rho, low, high = (number(distinct[name], ".2f") for name in ("spearman", "spearman_low", "spearman_high"))
    title = (f"Minimal ratio and loss at {distinct['count']} distinct critical points: "
             f"rank correlation {rho} ({low} to {high})")
    figure, axes = new_figure(title, results, 2, 2, height=3.2)
    (varying_axes, all_axes), (spectrum_axes, search_axes) = axes
    varying = [row for row in results["points"] if row["objective"] == "regularized" and not row["constant"]]
    for ratio, marker, fill, label in (("minimal_ratio", "o", COLORS[1], "positive eigenvalues"),
                                       ("sampled_ratio", "D", "none", f"higher neighbours at radius {RADIUS}")):
        varying_axes.plot([row["loss"] for row in varying], [row[ratio] for row in varying], marker, color=COLORS[1],
                          markerfacecolor=fill, alpha=0.6, label=f"share of {label}")
    varying_axes.set(title=f"Not constant: by eigenvalues {number(trend['spearman'], '.2f')}, "
                           f"by neighbours {number(sampled['spearman'], '.2f')}",
                     xlabel="loss (L2 term included)", ylabel="minimal ratio")
    for (objective, curves), color, marker in zip(results["curves"].items(), COLORS, ("x", "o")):
        points = [row for row in results["points"] if row["objective"] == objective]
        all_axes.plot([row["loss"] for row in points], [row["minimal_ratio"] for row in points], marker, color=color,
                      alpha=0.6, label=f"{objective} loss")
        search_axes.loglog(curves["gradient_norm"], curves["flatness"], marker, color=color, alpha=0.5, markersize=4)
    all_axes.set(title=f"Constant predictors included: by eigenvalues {rho}", xlabel="loss (circles: L2 term included)",
                 ylabel="share of positive eigenvalues")
    for spectrum, marker in zip(results["curves"]["regularized"]["spectra"], MARKERS[2:]):
        spectrum_axes.plot(range(1, len(spectrum["eigenvalues"]) + 1), spectrum["eigenvalues"], marker=marker, linewidth=0.8,
                           markersize=4, color=COLORS[1], label=f"point of loss {spectrum['loss']:.4f}")
    share = stored_row(results["search"], objective="regularized")["negative_to_positive"]
    spectrum_axes.set_yscale("symlog", linthresh=1e-4)
    spectrum_axes.set(title=f"Negative eigenvalues sum to {number(share, '.2%')} of the positive",
                      xlabel="rank of the eigenvalue", ylabel="Hessian eigenvalue")
    search_axes.axvline(ACCEPTED, color=GREY, linewidth=1)
    counts = ", ".join(f"{row['accepted']} {row['objective']}" for row in results["table"])
    search_axes.set(title=f"Accepted, left of the line: {counts}", xlabel="norm of the gradient where the search ended",
                    ylabel="flatness ‖H∇‖/(‖H‖‖∇‖)")
    legend_below(figure, varying_axes, all_axes, spectrum_axes, columns=3)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS)
