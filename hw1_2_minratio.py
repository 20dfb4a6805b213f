"""What happens when the gradient is almost zero? Minimal ratio and loss at critical points.

Networks of 33 parameters are trained on sin(5πx)/(5πx) and stopped at random moments. From there a
search solves ∇L = 0, once for the plain mean squared error and once with an L2 term. Only points
with ‖∇L‖ ≤ 1e-10 are accepted. Their minimal ratio is the fraction of positive Hessian eigenvalues,
or of random neighbours with a higher loss.

    python hw1_2_minratio.py              # the report's figure
    python hw1_2_minratio.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer
from common.critical_points import (
    ITERATION_STEPS,
    STATIONARY,
    ZERO,
    classify,
    find_critical_points,
    measure_ends,
    number_distinct,
    random_directions,
)
from common.data import grid, sinc
from common.derivatives import loss_at
from common.evaluation import predict
from common.models import mlp, parameter_count
from common.parameters import parameter_vectors, unflatten
from common.pieces import Piece, groups_of_runs, join_runs, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    find_row,
    format_number,
    legend_below,
    new_figure,
)
from common.statistics import spearman_ci95
from common.training import expand_to_runs, mean_squared_error, run_generators, train

import numpy as np
import torch
from torch import nn

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 200, quick=12, help="attempts for each objective"),
    "epochs": Flag(positive_integer, 2_000, quick=500,
                   help="the longest training, in full-batch steps"),
    "iterations": Flag(positive_integer, 500, quick=200,
                       help="steps of the search for a vanishing gradient"),
    "neighbours": Flag(positive_integer, 1_000, quick=1_000,
                       help="random neighbours of every critical point, at every radius"),
}
WIDTHS = [1, 4, 4, 1]
DATA_POINTS = 40  # more than the 33 parameters, so that the network cannot just interpolate them
LEARNING_RATE = 1e-2  # of Adam
# The two objectives: without and with the L2 term ½ · weight_decay · ‖θ‖².
WEIGHT_DECAY = {"plain": 0.0, "regularized": 1e-3}
ACCEPTED = 1e-10  # largest norm of an accepted gradient
# Where a search fails, the gradient ∇ is not zero, but often lies in directions in which the
# Hessian H is almost zero, so that no Newton step can make it smaller. Then ‖H∇‖ / (‖H‖ ‖∇‖), with
# the Frobenius norm of H, is small. We call this number "flatness" and the point flat up to the
# value below. For a gradient of random direction it is 1/√33 = 0.17 (root mean square, 33
# parameters).
FLAT = 0.1
RUNS_TOGETHER = 50  # attempts in one stack; two of them take as long as one of a hundred
# A predictor is constant if its outputs vary by less than this fraction of what the targets do.
CONSTANT = 1e-3
# Distances of the random neighbours from their point; parameter vectors have norms around 4. Radius
# 0 means infinitely near: there the neighbour in direction d is higher if dᵀHd > 0.
RADII = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
RADIUS = 1e-2  # the one in the figure and of "sampled_ratio"


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
def build_model(run_numbers, settings):
    """A stack of networks, one for each attempt, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(WIDTHS, generators, nn.Tanh).double().to(settings.device)


# --- training ---


def draw_stops(run_numbers, settings):
    """The random step at which each training stops: (R,)."""
    # Every step uses all data, so that the random numbers of the data order are free for this.
    generators = run_generators(settings.seed, run_numbers, "order")
    uniform = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    # The square, because the loss falls fastest at first: a tenth of the trainings stop within a
    # hundredth of the steps. A stop at 0 leaves the initial weights.
    return ((settings.epochs + 1) * uniform**2).long().to(settings.device)


def train_and_stop(model, x, y, weight_decay, stops, settings):
    """Trains every run of the model; returns the parameters (R, P) at its stop, of stops (R,)."""
    y_of_runs = expand_to_runs(y, model)  # (R, N, 1); x is shared by all runs
    stopped = torch.zeros(len(stops), parameter_count(model)).to(x)

    def record(epoch):  # train calls it before training and after every step
        stops_now = stops == epoch
        stopped[stops_now] = parameter_vectors(model)[stops_now]

    train(model, x, y_of_runs, mean_squared_error, epochs=settings.epochs,
          learning_rate=LEARNING_RATE, cosine=False, record=record,
          optimizer=partial(torch.optim.Adam, weight_decay=weight_decay))
    return stopped


# --- measuring ---


def find_and_measure(objective, run_numbers, settings):
    """Trains, searches from where each training stopped, and measures where the searches ended.

    Returns two dicts of arrays. `attempts` describes where all R searches ended:

    - "loss", "gradient_norm" and "flatness" (R,);
    - "kernel_fraction" (R,): the fraction of ‖∇‖² in the near-kernel of H, which is spanned by its
      eigenvectors with eigenvalues of almost zero;
    - "kernel_dimensions" (R,): the fraction of all eigenvectors that these are;
    - "accepted" (R,): whether the gradient vanishes.

    `found` describes the K accepted points by all of these but the last, and by

    - "eigenvalues" (K, P) of the Hessian;
    - "signature" (K, 3): how many of them are positive, zero and negative;
    - "minimal_ratio" (K,): the fraction of positive ones;
    - "sampled_ratios" (K, radii): the fraction of random neighbours with a higher loss;
    - "sampled_ratio" (K,): the one at RADIUS;
    - "constant" (K,): whether the network predicts the same everywhere.
    """
    x = grid(DATA_POINTS, settings.device, torch.float64)
    y = sinc(x)
    model = build_model(run_numbers, settings)
    stops = draw_stops(run_numbers, settings)
    starts = train_and_stop(model, x, y, WEIGHT_DECAY[objective], stops, settings)
    loss_function = loss_at(model, x, y, mean_squared_error, WEIGHT_DECAY[objective])
    # Levenberg and Marquardt's method: Newton steps, damped where they do not make ‖∇‖ smaller.
    ends = find_critical_points(loss_function, starts, settings.iterations)

    attempts = measure_ends(loss_function, ends)
    accepted = attempts["gradient_norm"] <= ACCEPTED
    found = {name: values[accepted] for name, values in attempts.items()}
    attempts["accepted"] = accepted

    points = ends[accepted]
    accepted_runs = [run_numbers[place] for place in accepted.nonzero().flatten().tolist()]
    directions = [random_directions(settings.neighbours, points.shape[1], generator)
                  for generator in run_generators(settings.seed, accepted_runs, "probe")]
    found.update(classify(loss_function, points, directions, RADII))
    found["sampled_ratio"] = found["sampled_ratios"][:, RADII.index(RADIUS)]
    found["constant"] = is_constant(model, points, x, y)
    return to_arrays(attempts), to_arrays(found)


def find_all(settings):
    """find_and_measure all attempts, cut into pieces of work: {objective: (attempts, found)}.

    found gets one more entry, "point" (K,): the rank of the loss among all points of the objective.
    Points that were found twice have the same rank.
    """
    pieces = {}
    steps = settings.epochs + ITERATION_STEPS * settings.iterations
    for objective in WEIGHT_DECAY:
        for runs in groups_of_runs(range(settings.runs), RUNS_TOGETHER):
            pieces[objective, runs[0]] = Piece(
                f"{objective} loss, attempts {runs[0]} to {runs[-1]}", find_and_measure,
                (objective, runs, settings), steps)
    measured = run_pieces(pieces, settings)
    joined = {}
    for objective in WEIGHT_DECAY:
        groups = [result for (key, _), result in measured.items() if key == objective]
        attempts = join_runs([attempts for attempts, _ in groups])
        found = join_runs([found for _, found in groups])
        found["point"] = number_distinct(torch.as_tensor(found["loss"])).numpy()
        joined[objective] = attempts, found
    return joined


def is_constant(model, points, x, y):
    """Whether the network at each of the points (K, P) predicts the same for all x: (K,).

    The points replace the parameters of the model, however many networks it holds itself.
    """
    outputs = predict(model, x, unflatten(points, model))  # (K, N, 1)
    variation = (outputs.amax(1) - outputs.amin(1)).flatten()
    return variation < CONSTANT * (y.max() - y.min())


# --- summing up: attempts and found are dicts of arrays, see find_all ---


def distinct_points(found):
    """Indices of one accepted point for each number, by rising loss."""
    _, indices = np.unique(found["point"], return_index=True)
    return indices


def varying_points(found):
    """Those of distinct_points that are not constant predictors."""
    distinct = distinct_points(found)
    return distinct[~found["constant"][distinct]]


def summarize_attempts(attempts, found):
    """A row: how many searches were accepted, and how many of the rejected ones are flat."""
    rejected = ~attempts["accepted"]
    flat = attempts["flatness"] <= FLAT
    return {
        "attempts": len(rejected),
        "accepted": attempts["accepted"].sum(),
        "gradient_flat": (rejected & flat).sum(),
        "max_gradient_norm": found["gradient_norm"].max(initial=0),
        "parameters": found["eigenvalues"].shape[1],
    }


def summarize_search(attempts, found):
    """A row: what the accepted points are, and where the rejected searches ended.

    "stationary" counts rejected searches that are stuck where ‖∇‖ is stationary, most often at a
    minimum, although it is not zero: H∇, the gradient of ½‖∇‖², is zero up to rounding. The columns
    "rejected_..." are medians of what find_and_measure lists.
    """
    rejected = ~attempts["accepted"]
    _, _, negative = found["signature"].T
    is_saddle = negative > 0
    # The ways down of some saddles are so narrow that no random neighbour finds one.
    no_lower_neighbour = found["sampled_ratio"] == 1
    row = {
        "distinct": len(distinct_points(found)),
        "constant": found["constant"].sum(),
        "saddles": is_saddle.sum(),
        "saddles_without_lower_neighbour": (is_saddle & no_lower_neighbour).sum(),
        "stationary": (rejected & (attempts["flatness"] <= STATIONARY)).sum(),
    }
    for name in ("gradient_norm", "flatness", "kernel_fraction", "kernel_dimensions"):
        values = attempts[name][rejected]
        row[f"rejected_{name}"] = np.median(values) if len(values) else None
    return row | summarize_eigenvalues(found["eigenvalues"])


def summarize_eigenvalues(eigenvalues):
    """Columns about the eigenvalues (K, P) of the accepted points.

    An eigenvalue counts as zero up to a fraction ZERO of the largest of its point. "largest_zero"
    is the largest fraction among those that count as zero, and "smallest_nonzero" the smallest
    among the others: they show how clear the cut is. "negative_to_positive" is the mean over the
    points of the sum of negative eigenvalues divided by the sum of positive ones.
    """
    sizes = abs(eigenvalues)
    relative_sizes = sizes / sizes.max(1, keepdims=True)
    negative_sums = (-eigenvalues).clip(min=0).sum(1)
    positive_sums = eigenvalues.clip(min=0).sum(1)
    can_be_divided = positive_sums > 0  # a maximum has no positive eigenvalue
    ratios = negative_sums[can_be_divided] / positive_sums[can_be_divided]
    return {
        # `initial` stands where there is no such eigenvalue.
        "largest_zero": relative_sizes[relative_sizes <= ZERO].max(initial=0),
        "smallest_nonzero": relative_sizes[relative_sizes > ZERO].min(initial=1),
        "negative_to_positive": mean_or_none(ratios),
    }


def summarize_correlations(found):
    """Rows: the rank correlation of both minimal ratios with the loss, in three sets of points."""
    sets_of_points = {
        "all": np.arange(len(found["point"])),
        "distinct": distinct_points(found),
        "varying": varying_points(found),
    }
    ratios = {"eigenvalues": found["minimal_ratio"], "neighbours": found["sampled_ratio"]}
    rows = []
    for set_name, chosen in sets_of_points.items():
        for ratio_name, ratio in ratios.items():
            # The ranks of the losses rather than the losses: they have the same order, but are
            # equal where rounding alone tells two losses apart.
            correlation = correlation_columns(found["point"][chosen], ratio[chosen])
            rows.append({"points": set_name, "ratio": ratio_name, "count": len(chosen),
                         **correlation})
    return rows


def summarize_radii(found):
    """Rows: at distinct points, the ratio of neighbours at every radius and that of eigenvalues."""
    distinct = distinct_points(found)
    exact = found["minimal_ratio"][distinct]
    rows = []
    for position, radius in enumerate(RADII):
        sampled = found["sampled_ratios"][distinct, position]
        rows.append({
            "radius": radius,
            "points": len(distinct),
            "minimal_ratio_mean": mean_or_none(exact),
            "sampled_ratio_mean": mean_or_none(sampled),
            "sampled_ratio_lowest": sampled.min(initial=1),
            "difference_mean": mean_or_none(abs(sampled - exact)),
            **correlation_columns(found["point"][distinct], sampled),
        })
    return rows


def list_points(found):
    """Rows: every accepted point."""
    columns = ("point", "loss", "gradient_norm", "minimal_ratio", "sampled_ratio", "constant")
    rows = []
    for k in range(len(found["loss"])):
        rows.append({column: found[column][k] for column in columns})
    return rows


def choose_spectra(found):
    """Loss and eigenvalues of the lowest, the middle and the highest point that is not constant."""
    varying = varying_points(found)
    if len(varying) == 0:
        return []
    positions = sorted({0, len(varying) // 2, len(varying) - 1})  # fewer where they coincide
    return [{"loss": found["loss"][k], "eigenvalues": found["eigenvalues"][k]}
            for k in varying[positions]]


def correlation_columns(x, y):
    """Spearman's rank correlation of x and y (n,) with its interval, as columns of a row."""
    rho, low, high = spearman_ci95(x, y)
    return {"spearman": rho, "spearman_low": low, "spearman_high": high}


def mean_or_none(values):
    """The mean of values (n,), None where there are none."""
    return values.mean() if len(values) else None


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    results = {
        "constants": {"WIDTHS": WIDTHS, "POINTS": DATA_POINTS, "WEIGHT_DECAY": WEIGHT_DECAY,
                      "ACCEPTED": ACCEPTED, "FLAT": FLAT, "RADIUS": RADIUS},
        "table": [], "search": [], "correlations": [], "radius_sweep": [], "points": [],
        "curves": {},
    }
    for objective, (attempts, found) in find_all(settings).items():
        rows_by_part = {
            "table": [summarize_attempts(attempts, found)],
            "search": [summarize_search(attempts, found)],
            "correlations": summarize_correlations(found),
            "radius_sweep": summarize_radii(found),
            "points": list_points(found),
        }
        for part, rows in rows_by_part.items():
            results[part] += [{"objective": objective, **row} for row in rows]
        results["curves"][objective] = {
            "gradient_norm": attempts["gradient_norm"],
            "flatness": attempts["flatness"],
            "spectra": choose_spectra(found),
        }
    return results


# --- drawing ---

# The correlations in the titles are those of the regularized objective, over points that are
# counted once; the panels show every point as often as it was found.


def plot(results):
    """The ratio against the loss, twice; then spectra of eigenvalues, and where searches ended."""
    row = find_correlation(results, "distinct", "eigenvalues")
    rho, low, high = (format_number(row[name], ".2f")
                      for name in ("spearman", "spearman_low", "spearman_high"))
    title = (f"Minimal ratio and loss at {row['count']} distinct critical points: rank correlation "
             f"{rho} ({low} to {high})")
    figure, panels = new_figure(title, results, 2, 2, height=3.2)
    draw_varying_points(panels[0, 0], results)
    draw_all_points(panels[0, 1], results)
    draw_spectra(panels[1, 0], results)
    draw_search(panels[1, 1], results)
    legend_below(figure, panels[0, 0], panels[0, 1], panels[1, 0], columns=3)
    return figure


def find_correlation(results, set_name, ratio_name):
    """The stored correlation of the regularized objective over a set of points, see
    summarize_correlations."""
    return find_row(results["correlations"], objective="regularized", points=set_name,
                    ratio=ratio_name)


def draw_varying_points(panel, results):
    """Both ratios of the points that are not constant, against their loss."""
    points = [row for row in results["points"]
              if row["objective"] == "regularized" and not row["constant"]]
    losses = [row["loss"] for row in points]
    radius = results["constants"]["RADIUS"]
    panel.plot(losses, [row["minimal_ratio"] for row in points], "o", color=COLORS[1], alpha=0.6,
               label="fraction of positive eigenvalues")
    panel.plot(losses, [row["sampled_ratio"] for row in points], "D", color=COLORS[1], alpha=0.6,
               markerfacecolor="none", label=f"fraction of higher neighbours at radius {radius}")
    by_eigenvalues = find_correlation(results, "varying", "eigenvalues")["spearman"]
    by_neighbours = find_correlation(results, "varying", "neighbours")["spearman"]
    panel.set(title=f"Not constant: by eigenvalues {format_number(by_eigenvalues, '.2f')}, "
                    f"by neighbours {format_number(by_neighbours, '.2f')}",
              xlabel="loss (L2 term included)", ylabel="minimal ratio")


def draw_all_points(panel, results):
    """The fraction of positive eigenvalues of all accepted points of both objectives."""
    for objective, color, marker in zip(results["curves"], COLORS, ("x", "o")):
        points = [row for row in results["points"] if row["objective"] == objective]
        panel.plot([row["loss"] for row in points], [row["minimal_ratio"] for row in points],
                   marker, color=color, alpha=0.6, label=f"{objective} loss")
    rho = format_number(find_correlation(results, "distinct", "eigenvalues")["spearman"], ".2f")
    panel.set(title=f"Constant predictors included: by eigenvalues {rho}",
              xlabel="loss (circles: L2 term included)",
              ylabel="fraction of positive eigenvalues")


def draw_spectra(panel, results):
    """All Hessian eigenvalues of three points."""
    spectra = results["curves"]["regularized"]["spectra"]
    for spectrum, marker in zip(spectra, MARKERS[2:]):
        eigenvalues = spectrum["eigenvalues"]
        panel.plot(range(1, len(eigenvalues) + 1), eigenvalues, marker=marker, linewidth=0.8,
                   markersize=4, color=COLORS[1], label=f"point of loss {spectrum['loss']:.4f}")
    row = find_row(results["search"], objective="regularized")
    ratio = format_number(row["negative_to_positive"], ".2%")
    panel.set_yscale("symlog", linthresh=1e-4)
    panel.set(title=f"Negative eigenvalues sum to {ratio} of the positive",
              xlabel="rank of the eigenvalue", ylabel="Hessian eigenvalue")


def draw_search(panel, results):
    """Gradient norm and flatness where every search ended."""
    for curves, color, marker in zip(results["curves"].values(), COLORS, ("x", "o")):
        panel.loglog(curves["gradient_norm"], curves["flatness"], marker, color=color, alpha=0.5,
                     markersize=4)
    panel.axvline(results["constants"]["ACCEPTED"], color=GREY, linewidth=1)
    counts = ", ".join(f"{row['accepted']} {row['objective']}" for row in results["table"])
    panel.set(title=f"Accepted, left of the line: {counts}",
              xlabel="norm of the gradient where the search ended",
              ylabel="flatness ‖H∇‖/(‖H‖‖∇‖)")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot)
