"""What happens when the gradient is almost zero? Minimal ratio and loss at critical points.

Networks of 33 parameters are trained on sin(5πx)/(5πx) and stopped at random moments. From there a
search solves ∇L = 0, once for the plain mean squared error and once with an L2 term. Only points
with ‖∇L‖ ≤ 1e-10 are accepted. Their minimal ratio is the fraction of positive Hessian eigenvalues,
or of random neighbours with a higher loss. The plain loss has few such points, so that its ratio is
also followed over all places where a search ended near one.

    python hw1_2_minratio.py              # the report's figure
    python hw1_2_minratio.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer
from common.critical_points import (
    ITERATION_STEPS,
    STATIONARY,
    ZERO,
    find_critical_points,
    higher_neighbours_of_all,
    measure_ends,
    number_distinct,
    number_losses,
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
    draw_ranges,
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
# parameters): a flat point is far below that.
FLAT = 0.01
# Where a search ended is nearly critical up to this norm of the gradient, and how much the answer
# depends on this choice, the others show.
NEARLY_CRITICAL, STRICTER = 1e-4, 1e-5
TOLERANCES = (1e-3, NEARLY_CRITICAL, STRICTER, 1e-6, 1e-8, ACCEPTED)
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
    - "eigenvalues" (R, P) of the Hessian;
    - "signature" (R, 3): how many of them are positive, zero and negative;
    - "minimal_ratio" (R,): the fraction of positive ones;
    - "constant" (R,): whether the network predicts the same everywhere;
    - "accepted" (R,): whether the gradient vanishes.

    `found` describes the K accepted points by all of these but the last, and by

    - "sampled_ratios" (K, radii): the fraction of random neighbours with a higher loss;
    - "sampled_ratio" (K,): the one at RADIUS.
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
    attempts["constant"] = is_constant(model, ends, x, y)
    accepted = attempts["gradient_norm"] <= ACCEPTED
    found = {name: values[accepted] for name, values in attempts.items()}
    attempts["accepted"] = accepted

    points = ends[accepted]
    accepted_runs = [run_numbers[place] for place in accepted.nonzero().flatten().tolist()]
    directions = [random_directions(settings.neighbours, points.shape[1], generator)
                  for generator in run_generators(settings.seed, accepted_runs, "probe")]
    found["sampled_ratios"] = higher_neighbours_of_all(loss_function, points, directions, RADII)
    found["sampled_ratio"] = found["sampled_ratios"][:, RADII.index(RADIUS)]
    return to_arrays(attempts), to_arrays(found)


def find_all(settings):
    """find_and_measure all attempts, cut into pieces of work: {objective: (attempts, found)}.

    Both get two more entries, (R,) and (K,): see number_points.
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
        joined[objective] = attempts | number_points(attempts), found | number_points(found)
    return joined


def number_points(points):
    """Which points, attempts or found, are the same: two arrays, each with a number for each point.

    "point" is the number of the point: those that were found twice have the same. "loss_rank" is
    that of the loss, the same for losses that rounding alone tells apart. Both rise with the loss.
    """
    losses, eigenvalues = torch.as_tensor(points["loss"]), torch.as_tensor(points["eigenvalues"])
    return to_arrays({"point": number_distinct(losses, eigenvalues),
                      "loss_rank": number_losses(losses)})


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
    """Rows: the rank correlation of both minimal ratios with the loss, in two sets of points."""
    sets_of_points = {"distinct": distinct_points(found), "varying": varying_points(found)}
    ratios = {"eigenvalues": found["minimal_ratio"], "neighbours": found["sampled_ratio"]}
    rows = []
    for set_name, chosen in sets_of_points.items():
        for ratio_name, ratio in ratios.items():
            rows.append({"points": set_name, "ratio": ratio_name, "count": len(chosen),
                         **ratio_and_loss_columns(ratio[chosen], found["loss_rank"][chosen])})
    return rows


def summarize_tolerances(attempts):
    """Rows: the correlation over the ends of all searches whose gradient is small enough.

    The unit is the search: each starts from a training of its own. Ends that coincide count once.
    Constant predictors share one high loss and could carry a correlation by themselves, so that it
    is given without them too.
    """
    rows = []
    for tolerance in TOLERANCES:
        small_enough = attempts["gradient_norm"] <= tolerance
        ends = {name: values[small_enough] for name, values in attempts.items()}
        sets_of_ends = {"distinct": distinct_points(ends), "varying": varying_points(ends)}
        for set_name, chosen in sets_of_ends.items():
            rows.append({
                "tolerance": tolerance,
                "points": set_name,
                "ends": small_enough.sum(),
                "count": len(chosen),
                **ratio_and_loss_columns(ends["minimal_ratio"][chosen], ends["loss_rank"][chosen]),
            })
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
            **ratio_and_loss_columns(sampled, found["loss_rank"][distinct]),
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


def ratio_and_loss_columns(ratio, loss_rank):
    """Columns: how a ratio goes with the rank of the loss, both (n,), over distinct points.

    The unit is the point, see spearman_ci95. "differing" counts the points whose ratio is not the
    most common one: where they are few, there is nothing to correlate.
    """
    _, counts = np.unique(ratio, return_counts=True)
    rho, low, high = spearman_ci95(loss_rank, ratio)
    return {"differing": len(ratio) - counts.max(initial=0), "spearman": rho, "spearman_low": low,
            "spearman_high": high}


def mean_or_none(values):
    """The mean of values (n,), None where there are none."""
    return values.mean() if len(values) else None


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    results = {
        "constants": {"WIDTHS": WIDTHS, "POINTS": DATA_POINTS, "WEIGHT_DECAY": WEIGHT_DECAY,
                      "ACCEPTED": ACCEPTED, "NEARLY_CRITICAL": NEARLY_CRITICAL, "FLAT": FLAT,
                      "RADIUS": RADIUS},
        "table": [], "search": [], "correlations": [], "tolerances": [], "radius_sweep": [],
        "points": [], "curves": {},
    }
    for objective, (attempts, found) in find_all(settings).items():
        rows_by_part = {
            "table": [summarize_attempts(attempts, found)],
            "search": [summarize_search(attempts, found)],
            "correlations": summarize_correlations(found),
            "tolerances": summarize_tolerances(attempts),
            "radius_sweep": summarize_radii(found),
            "points": list_points(found),
        }
        for part, rows in rows_by_part.items():
            results[part] += [{"objective": objective, **row} for row in rows]
        results["curves"][objective] = {
            "loss": attempts["loss"],
            "minimal_ratio": attempts["minimal_ratio"],
            "gradient_norm": attempts["gradient_norm"],
            "flatness": attempts["flatness"],
            "spectra": choose_spectra(found),
        }
    return results


def collect_facts(results):
    """What figure and report say of the results.

    Correlations are rank correlations of loss and minimal ratio, with bootstrap intervals over
    points. "ends" are where searches on the plain loss ended with a gradient of norm at most
    NEARLY_CRITICAL, "critical" the distinct points with a regularized gradient of at most ACCEPTED.
    "varying" leaves constant predictors out. The rest are counts and fractions.
    """
    constants, settings = results["constants"], results["settings"]
    tables = {row["objective"]: row for row in results["table"]}
    searches = {row["objective"]: row for row in results["search"]}
    all_ends = find_ends(results, constants["NEARLY_CRITICAL"], "distinct")
    varying_ends = find_ends(results, constants["NEARLY_CRITICAL"], "varying")
    stricter_ends = find_ends(results, STRICTER, "varying")
    critical = find_correlation(results, "distinct", "eigenvalues")
    varying_critical = find_correlation(results, "varying", "eigenvalues")
    neighbours = find_correlation(results, "distinct", "neighbours")
    return {
        "searches": settings["runs"],
        "parameters": tables["plain"]["parameters"],
        "plain_accepted": tables["plain"]["accepted"],
        "plain_accepted_constant": searches["plain"]["constant"],
        "plain_near_zero_directions": searches["plain"]["rejected_kernel_dimensions"],
        "ends": all_ends["count"],
        "ends_correlation": as_interval(all_ends),
        "varying_ends": varying_ends["count"],
        "varying_ends_correlation": as_interval(varying_ends),
        "stricter_varying_ends": stricter_ends["count"],
        "stricter_varying_ends_correlation": as_interval(stricter_ends),
        "critical_found": tables["regularized"]["accepted"],
        "critical": critical["count"],
        "critical_correlation": as_interval(critical),
        "varying_critical": varying_critical["count"],
        "varying_critical_correlation": as_interval(varying_critical),
        "neighbours_differing": neighbours["differing"],
        "saddles": searches["regularized"]["saddles"],
        "saddles_without_lower_neighbour":
            searches["regularized"]["saddles_without_lower_neighbour"],
        "negative_to_positive": searches["regularized"]["negative_to_positive"],
    }


def as_interval(row):
    """The rank correlation of a row with the ends of its interval."""
    return {"value": row["spearman"], "low": row["spearman_low"], "high": row["spearman_high"]}


def find_ends(results, tolerance, points):
    """The stored row of the plain searches' ends up to a tolerance."""
    return find_row(results["tolerances"], objective="plain", points=points, tolerance=tolerance)


def find_correlation(results, points, ratio_name):
    """The stored row of the regularized objective's points."""
    return find_row(results["correlations"], objective="regularized", points=points,
                    ratio=ratio_name)


# --- drawing ---


def plot(results):
    """The ratio against the plain and the regularized loss; where searches ended; tolerances."""
    figure, panels = new_figure(figure_title(results["facts"]), results, 2, 2, height=3.2,
                                unit="attempt", width_ratios=[1.15, 1], height_ratios=[1.2, 1])
    draw_plain_ends(panels[0, 0], results)
    draw_critical_points(panels[0, 1], results)
    draw_search(panels[1, 0], results)
    draw_tolerances(panels[1, 1], results)
    legend_below(figure, panels[0, 1], panels[1, 0], columns=2)
    return figure


def figure_title(facts):
    """Whether a lower loss goes with more positive eigenvalues, for both objectives."""
    correlations = [facts["varying_ends_correlation"], facts["critical_correlation"]]
    if all(is_below_zero(correlation) for correlation in correlations):
        return "Near zero gradient: the lower the loss, the more positive Hessian eigenvalues"
    return "Near zero gradient: a lower loss need not mean more positive Hessian eigenvalues"


def is_below_zero(interval):
    """Whether a whole interval lies below zero; not where it is unknown."""
    return interval["high"] is not None and interval["high"] < 0


def describe_correlation(interval):
    """A rank correlation for a title, in words where there is none."""
    if interval["value"] is None:
        return "too few differ to correlate"
    return f"rank correlation {format_number(interval['value'], '.2f')}"


def draw_plain_ends(panel, results):
    """The ratio against the plain loss, wherever a search ended with a small gradient."""
    curves, facts = results["curves"]["plain"], results["facts"]
    tolerance = results["constants"]["NEARLY_CRITICAL"]
    near = np.array(curves["gradient_norm"]) <= tolerance
    panel.plot(np.array(curves["loss"])[near], np.array(curves["minimal_ratio"])[near], MARKERS[0],
               color=COLORS[0], alpha=0.5, markersize=4)
    label_constant(panel, results, "plain", (0.62, 0.06))
    panel.set(xscale="log", xlabel="plain loss (mean squared error)",
              ylabel="minimal ratio: fraction of\npositive Hessian eigenvalues",
              title=f"Almost zero: {facts['varying_ends']} ends with ‖∇L‖ ≤ {tolerance:g}\n"
                    f"{describe_correlation(facts['varying_ends_correlation'])}, without constants")


def label_constant(panel, results, objective, place):
    """Names the constant predictors among the accepted points, where there are any."""
    points = [row for row in results["points"] if row["objective"] == objective and row["constant"]]
    if points:
        panel.annotate("constant\npredictors", (points[0]["loss"], points[0]["minimal_ratio"]),
                       xytext=place, textcoords="axes fraction",
                       arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkB": 5})


def draw_critical_points(panel, results):
    """Both ratios of the regularized objective's points that are not constant predictors."""
    facts = results["facts"]
    points = [row for row in results["points"]
              if row["objective"] == "regularized" and not row["constant"]]
    numbers = [row["point"] for row in points]
    times_found = {row["point"]: numbers.count(row["point"]) for row in points}
    distinct = list({row["point"]: row for row in points}.values())
    losses = [row["loss"] for row in distinct]
    panel.scatter(losses, [row["minimal_ratio"] for row in distinct],
                  s=[14 + 8 * times_found[row["point"]] for row in distinct], marker=MARKERS[1],
                  color=COLORS[1], alpha=0.6, linewidths=0,
                  label="ratio by eigenvalues (larger: found more often)")
    panel.plot(losses, [row["sampled_ratio"] for row in distinct], MARKERS[3], color=COLORS[2],
               markerfacecolor="none", markersize=5, label="ratio by random neighbours")
    panel.set(title=f"Zero, with an L2 term: {facts['varying_critical']} critical points\n"
                    f"{describe_correlation(facts['varying_critical_correlation'])}, "
                    "without constants",
              xlabel="loss (L2 term included)", ylabel="minimal ratio")


def draw_search(panel, results):
    """How many searches ended at which norm of the gradient."""
    # A norm of exactly zero has no place on a logarithmic axis.
    norms = [np.array(curves["gradient_norm"]).clip(min=1e-18)
             for curves in results["curves"].values()]
    edges = np.geomspace(min(values.min() for values in norms) / 2,
                         max(values.max() for values in norms) * 2, 40)
    for objective, values, color in zip(results["curves"], norms, COLORS):
        panel.hist(values, edges, histtype="stepfilled", color=color, alpha=0.5,
                   label={"plain": "searches on the plain loss"}.get(
                       objective, "searches with the L2 term"))
    accepted = results["constants"]["ACCEPTED"]
    panel.axvline(accepted, color=GREY, linewidth=1)
    counts = {row["objective"]: row["accepted"] for row in results["table"]}
    panel.set(xscale="log", xlabel="norm of the gradient where the search ended",
              ylabel="searches",
              title=f"Accepted as zero, left of the line: {counts['plain']} on the\nplain loss, "
                    f"{counts['regularized']} with the L2 term")


def draw_tolerances(panel, results):
    """The correlation against how small a gradient has to be, without constant predictors."""
    labels = []
    rows = [row for row in results["tolerances"]
            if row["objective"] == "plain" and row["points"] == "varying"]
    places = np.arange(len(rows))[::-1]
    draw_ranges(panel, rows, places, ("spearman", "spearman_low", "spearman_high"), COLORS[0],
                MARKERS[0])
    for row in rows:
        labels.append(f"≤ {row['tolerance']:.0e} ({row['count']})")
    for place, row in zip(places, rows):
        if row["spearman"] is None:
            panel.text(-0.5, place, "nothing to correlate", ha="center", va="center", color=GREY)
    panel.axvline(0, color=GREY, linewidth=1)
    panel.set(xlim=(-1.05, 0.1), ylim=(-0.5, len(rows) - 0.5), yticks=places, yticklabels=labels,
              ylabel="‖∇L‖ (ends that are left)", xlabel="rank correlation with the plain loss",
              title="Plain loss: a stricter limit leaves\ntoo few points to correlate"
              if rows[-1]["spearman"] is None else "Plain loss: the correlation at every limit")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts)
