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
from torch.func import functional_call, vmap

from common import critical_points
from common.experiment import Flag, UsageError, main
from common.models import mlp, parameter_count
from common.parameters import flatten, unflatten
from common.plotting import COLORS, legend_below, new_figure
from common.statistics import spearman_ci95
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
STATIONARY = 1e-7  # where ‖H∇‖/(‖H‖‖∇‖) falls to some √ε of float64, ‖∇‖ is at a minimum and the search at its end
FLAT = 0.1  # largest ‖H∇‖/(‖H‖‖∇‖) called flat; a gradient of random direction has 1/√33 = 0.17
ZERO = 1e-7  # eigenvalues count as zero up to this share of the largest; the list "search" shows the gap around it
DISTINCT = 1e-9  # losses closer than this are one point, found again or mirrored by a symmetry of the network
CONSTANT = 1e-3  # the outputs of a constant predictor vary by less than this share of what the targets do
RADII = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the neighbours, 0 being the limit; parameter vectors have norms around 4
RADIUS = 1e-2  # the one in the figure and in the list "points"
FEWEST = 10  # points that a correlation needs
LOSS_TICKS = (0.015, 0.02, 0.03, 0.05, 0.08)


def train_and_stop(x, y, weight_decay, settings):
    """Stops each training at a random step, early ones more often: model, parameters (R, P), steps (R,)."""
    model = mlp(WIDTHS, run_generators(settings.seed, settings.runs, "initialization"), nn.Tanh).double().to(x.device)
    uniform = torch.cat([torch.rand(1, generator=g) for g in run_generators(settings.seed, settings.runs, "order")])
    # The square, because the loss falls fastest at first: a tenth of the trainings stop within a hundredth of the steps.
    stops = ((settings.epochs + 1) * uniform**2).long()
    starts = torch.zeros(settings.runs, parameter_count(model)).to(x)

    def record(epoch):
        stopping = (stops == epoch).to(x.device)
        starts[stopping] = flatten(dict(model.named_parameters()))[stopping]

    train(model, x, y.expand(settings.runs, -1, -1), mean_squared_error, epochs=settings.epochs, record=record,
          learning_rate=LEARNING_RATE, cosine=False, optimizer=partial(torch.optim.Adam, weight_decay=weight_decay),
          title=f"training, weight decay {weight_decay}")
    return model, starts, stops


def search(objective, settings):
    """Trains and searches: what is known of all attempts, and of the accepted points, as dicts of arrays, one row each."""
    x = ((torch.arange(POINTS, dtype=torch.float64, device=settings.device) + 0.5) / POINTS).unsqueeze(1)
    y = torch.sinc(5 * x)
    model, starts, stops = train_and_stop(x, y, WEIGHT_DECAY[objective], settings)
    loss = critical_points.loss_function(model, x, y, WEIGHT_DECAY[objective])
    points = critical_points.find_critical_points(loss, starts, settings.iterations, stationary=STATIONARY,
                                                  title=f"search, {objective}")
    attempts = {"stop": stops.to(x.device), "start_loss": vmap(loss)(starts), "start_norm": starts.norm(dim=1),
                "mse": vmap(critical_points.loss_function(model, x, y))(points), **critical_points.measure(loss, points)}
    accepted = attempts["gradient_norm"] <= ACCEPTED
    found = {name: values[accepted] for name, values in attempts.items()}
    generators = run_generators(settings.seed, accepted.nonzero().flatten().tolist(), "probe")
    unit_vectors = [critical_points.directions(settings.neighbours, points.shape[1], g) for g in generators]
    found |= critical_points.classify(loss, points[accepted], unit_vectors, RADII, ZERO)
    outputs = functional_call(model, unflatten(points[accepted], model), (x.expand(len(generators), -1, -1),))
    found["constant"] = (outputs.amax(1) - outputs.amin(1)).flatten() < CONSTANT * (y.max() - y.min())
    found["point"] = critical_points.number_distinct(found["loss"], DISTINCT)
    return ({name: values.cpu().numpy() for name, values in part.items()} for part in (attempts, found))


def run(settings):
    if settings.device.type == "mps":
        raise UsageError("curvature needs float64, which mps does not have; use --device cpu")
    # On a busy machine two threads spend their time waiting for each other: ten times as slow as one on matrices this small.
    torch.set_num_threads(1)
    results = {"table": [], "search": [], "correlations": [], "radius_sweep": [], "points": [], "curves": {}}
    for objective in WEIGHT_DECAY:
        attempts, found = search(objective, settings)
        distinct = np.unique(found["point"], return_index=True)[1]  # one of each, by rising loss
        varying = distinct[~found["constant"][distinct]]
        parts = {"table": count(attempts, found), "search": describe(attempts, found, distinct),
                 "correlations": correlations(found, distinct, varying), "radius_sweep": radius_sweep(found, distinct),
                 "points": list_points(found)}
        for name, rows in parts.items():
            results[name] += [{"objective": objective, **row} for row in rows]
        examples = varying[sorted({0, len(varying) // 2, len(varying) - 1})] if len(varying) else []
        results["curves"][objective] = {
            "gradient_norm": attempts["gradient_norm"], "flatness": attempts["flatness"],
            "spectra": [{"loss": found["loss"][k], "eigenvalues": found["eigenvalues"][k]} for k in examples]}
    return results


def count(attempts, found):
    rejected = attempts["gradient_norm"] > ACCEPTED
    return [{"attempts": len(rejected), "accepted": (~rejected).sum(),
             "gradient_flat": (rejected & (attempts["flatness"] <= FLAT)).sum(),
             "max_gradient_norm": found["gradient_norm"].max(initial=0), "parameters": found["eigenvalues"].shape[1],
             **correlate(found["point"], found["minimal_ratio"])}]


def describe(attempts, found, distinct):
    """Where the searches started, medians over those that failed, and what the accepted points' eigenvalues look like."""
    rejected = attempts["gradient_norm"] > ACCEPTED
    medians = {f"rejected_{name}": np.median(attempts[name][rejected]) if rejected.any() else None for name in
               ("gradient_norm", "flatness", "kernel_share", "kernel_dimensions", "start_norm", "norm")}
    relative = abs(found["eigenvalues"]) / abs(found["eigenvalues"]).max(1, keepdims=True)
    negative, positive = ((sign * found["eigenvalues"]).clip(min=0).sum(1) for sign in (-1, 1))
    saddle, none_lower = found["signature"][:, 2] > 0, found["sampled_ratios"][:, RADII.index(RADIUS)] == 1
    return [{"distinct": len(distinct), "constant": found["constant"].sum(), "saddles": saddle.sum(),
             "saddles_without_lower_neighbour": (saddle & none_lower).sum(),
             "stationary": (rejected & (attempts["flatness"] <= STATIONARY)).sum(), **medians,
             "start_loss_lowest": attempts["start_loss"].min(), "start_loss_highest": attempts["start_loss"].max(),
             "largest_zero": relative[relative <= ZERO].max(initial=0),
             "smallest_nonzero": relative[relative > ZERO].min(initial=1),
             "negative_to_positive": mean(negative / positive)}]


def correlations(found, distinct, varying):
    """Both minimal ratios against the loss, over all accepted points, one of each, and one of each that is not constant."""
    subsets = {"all": np.arange(len(found["point"])), "distinct": distinct, "varying": varying}
    ratios = {"eigenvalues": found["minimal_ratio"], "neighbours": found["sampled_ratios"][:, RADII.index(RADIUS)]}
    return [{"points": name, "ratio": definition, "count": len(chosen),
             **correlate(found["point"][chosen], ratio[chosen])}  # numbered by rising loss, and alike where it is alike
            for name, chosen in subsets.items() for definition, ratio in ratios.items()]


def radius_sweep(found, distinct):
    """The sampled ratio at every radius beside the share of positive eigenvalues, over the distinct points."""
    exact = found["minimal_ratio"][distinct]
    return [{"radius": radius, "points": len(distinct), "minimal_ratio_mean": mean(exact),
             "sampled_ratio_mean": mean(sampled), "sampled_ratio_lowest": sampled.min(initial=1),
             "difference_mean": mean(abs(sampled - exact)), "agreement": correlate(exact, sampled)["spearman"],
             **correlate(found["point"][distinct], sampled)}
            for radius, sampled in zip(RADII, found["sampled_ratios"][distinct].T)]


def list_points(found):
    columns = ("point", "loss", "mse", "gradient_norm", "minimal_ratio", "constant", "stop", "start_loss")
    return [{**{name: found[name][k] for name in columns}, "sampled_ratio": found["sampled_ratios"][k, RADII.index(RADIUS)],
             **dict(zip(("positive", "zero", "negative"), found["signature"][k]))} for k in range(len(found["loss"]))]


def correlate(x, y):
    """Spearman's correlation with its interval, or None for each where the points are too few or do not vary."""
    enough = len(x) >= FEWEST and np.ptp(x) > 0 and np.ptp(y) > 0
    return dict(zip(("spearman", "spearman_low", "spearman_high"), spearman_ci95(x, y) if enough else (None,) * 3))


def mean(values):
    return values.mean() if len(values) else None


def plot(results):
    table, search_rows = ({row["objective"]: row for row in results[key]} for key in ("table", "search"))
    trend = next(row for row in results["correlations"]
                 if (row["objective"], row["points"], row["ratio"]) == ("regularized", "varying", "eigenvalues"))
    figure, axes = new_figure(headline(trend), results, 2, 2, height=3.1)
    axes[0, 1].sharey(axes[0, 0])
    zoom = axes[0, 0].inset_axes([0.33, 0.12, 0.52, 0.55])  # the points left of the constant predictor, enlarged
    for (objective, curves), color in zip(results["curves"].items(), COLORS):
        for constant, marker in ((False, "o"), (True, "^")):
            chosen = [row for row in results["points"] if (row["objective"], row["constant"]) == (objective, constant)]
            panels = [(axes[0, 0], "minimal_ratio"), (axes[0, 1], "sampled_ratio"), (zoom, "minimal_ratio")]
            for panel, ratio in panels[:2] if constant else panels:
                panel.plot([row["loss"] for row in chosen], [row[ratio] for row in chosen], marker, color=color, alpha=0.4,
                           markersize=5, label=f"{objective}: {'constant predictor' if constant else 'critical point'}")
        axes[1, 1].loglog(curves["gradient_norm"], curves["flatness"], ".", color=color, alpha=0.5)
    for panel, name in zip(axes[0], ("positive eigenvalues", f"higher neighbours at radius {RADIUS}")):
        panel.set(title=f"Share of {name}", xscale="log", xlabel="loss (L2 term included)", ylabel="minimal ratio")
        panel.set_xticks(LOSS_TICKS, LOSS_TICKS)
        panel.minorticks_off()
    zoom.tick_params(labelsize=7)
    axes[0, 0].indicate_inset_zoom(zoom)
    for style, spectrum in zip((":", "--", "-"), results["curves"]["regularized"]["spectra"]):
        axes[1, 0].plot(range(1, len(spectrum["eigenvalues"]) + 1), spectrum["eigenvalues"], style, marker=".",
                        color=COLORS[1], label=f"loss {spectrum['loss']:.4f}")
    axes[1, 0].set_yscale("symlog", linthresh=1e-4)
    axes[1, 0].legend(loc="lower right")
    share = search_rows["regularized"]["negative_to_positive"] or 0
    axes[1, 0].set(title=f"Negative eigenvalues sum to {share:.2%} of the positive", xlabel="rank of the eigenvalue",
                   ylabel="Hessian eigenvalue")
    axes[1, 1].axvline(ACCEPTED, color="#666666", linewidth=0.8)
    axes[1, 1].axhline(table["plain"]["parameters"] ** -0.5, color="#666666", linewidth=0.8, linestyle=":")
    counts = ", ".join(f"{row['accepted']} {objective}" for objective, row in table.items())
    axes[1, 1].set(title=f"Accepted, left of the line: {counts}",
                   xlabel="norm of the gradient where the search ended", ylabel="‖H∇‖/(‖H‖‖∇‖), dotted: random")
    legend_below(figure, axes[0, 0])
    return figure


def headline(trend):
    if trend["spearman"] is None:
        return "Minimal ratio against loss: too few critical points for a trend"
    verb = "falls" if trend["spearman_high"] < 0 else "rises" if trend["spearman_low"] > 0 else "shows no clear trend"
    return (f"Minimal ratio {verb} with the loss at {trend['count']} distinct critical points "
            f"(ρ = {trend['spearman']:.2f}, constant predictor apart)".replace("-", "−"))


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS)
