"""What happens when the gradient is almost zero? Minimal ratio and loss at critical points.

Networks of 33 parameters are trained on sin(5πx)/(5πx) and stopped at random moments. From there
Newton's method solves ∇L = 0. The minimal ratio of a point is the fraction of positive eigenvalues
of its Hessian. On the plain mean squared error the gradient hardly ever becomes zero, so that the
ratio is shown where it is almost zero. With an L2 term it truly vanishes at many points. These are
followed while the L2 term falls, to see why the plain loss has so few.

    python hw1_2_minratio.py              # the report's figure
    python hw1_2_minratio.py --quick      # a tour in seconds
"""

from common.command_line import Flag, main, positive_integer
from common.critical_points import (
    ITERATION_STEPS,
    find_critical_points,
    follow_critical_points,
    higher_neighbours,
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
from common.statistics import as_interval, spearman_ci95
from common.training import expand_to_runs, mean_squared_error, run_generators, train

import numpy as np
import scipy
import torch
from matplotlib.colors import LogNorm
from torch import nn

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 400, quick=12, help="trainings, and starts of every search"),
    "epochs": Flag(positive_integer, 2_000, quick=500,
                   help="the longest training, in full-batch steps"),
    "iterations": Flag(positive_integer, 150, quick=60,
                       help="steps of the searches for a vanishing gradient"),
    "neighbours": Flag(positive_integer, 1_000, quick=1_000,
                       help="random neighbours of every critical point"),
}
WIDTHS = [1, 4, 4, 1]
DATA_POINTS = 40  # more than the 33 parameters, so that the network cannot just interpolate them
LEARNING_RATE = 1e-2  # of Adam
# The two objectives: without and with the L2 term ½ · weight_decay · ‖θ‖².
WEIGHT_DECAY = {"plain": 0.0, "regularized": 1e-3}
# Largest norm of an accepted gradient. Rounding leaves about 1e-14, and the L2 term's part of the
# gradient has a norm of 1e-5 even where its weight decay is smallest.
ACCEPTED = 1e-10
# Where a search ended is nearly critical up to this norm of the gradient. How much the answer
# depends on this choice, the others show.
NEARLY_CRITICAL = 1e-4
TOLERANCES = (1e-3, 3e-4, NEARLY_CRITICAL, 3e-5, 1e-5, 1e-6, ACCEPTED)
# With ever less of the L2 term the critical points are followed.
FOLLOWED_DECAYS = (WEIGHT_DECAY["regularized"], 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
RUNS_TOGETHER = 50  # trainings in one stack; two of them take as long as one of a hundred
# A predictor is constant if its outputs vary by less than this fraction of what the targets do.
CONSTANT = 1e-3
POINTS_TOGETHER = 60  # critical points that are followed side by side
RADIUS = 1e-2  # distance of random neighbours; parameter vectors have norms around 4
COLOR_MAP = "viridis"  # of the gradient's norm; it also rises in brightness


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
def build_model(run_numbers, settings):
    """A stack of networks, one for each training, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(WIDTHS, generators, nn.Tanh).double().to(settings.device)


def make_data(settings):
    """The inputs and targets (N, 1) that all trainings share."""
    x = grid(DATA_POINTS, settings.device, torch.float64)
    return x, sinc(x)


# --- training ---


def draw_stops(run_numbers, settings):
    """The random step at which each training stops: (R,)."""
    # Every step uses all data, so that the random numbers of the data order are free for this.
    generators = run_generators(settings.seed, run_numbers, "order")
    uniform = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    # The square, because the loss falls fastest at first: a tenth of the trainings stop within a
    # hundredth of the steps. A stop at 0 leaves the initial weights.
    return ((settings.epochs + 1) * uniform**2).long().to(settings.device)


def train_and_stop(model, x, y, stops, settings):
    """Trains every run on the plain loss; returns the parameters (R, P) at its stop, of stops (R,).
    """
    y_of_runs = expand_to_runs(y, model)  # (R, N, 1); x is shared by all runs
    stopped = torch.zeros(len(stops), parameter_count(model)).to(x)

    def record(epoch):  # train calls it before training and after every step
        stops_now = stops == epoch
        stopped[stops_now] = parameter_vectors(model)[stops_now]

    train(model, x, y_of_runs, mean_squared_error, epochs=settings.epochs,
          learning_rate=LEARNING_RATE, cosine=False, record=record)
    return stopped


# --- measuring ---


def search_and_measure(run_numbers, settings):
    """Trains, searches from where each training stopped, and measures where the searches ended.

    Returns for each objective a dict of arrays on the R places where the searches ended:
    "parameters" (R, P), what measure_ends lists, and "constant" (R,): whether the network predicts
    the same everywhere.
    """
    x, y = make_data(settings)
    model = build_model(run_numbers, settings)
    starts = train_and_stop(model, x, y, draw_stops(run_numbers, settings), settings)
    ends_of_objectives = {}
    for objective, weight_decay in WEIGHT_DECAY.items():
        loss = loss_at(model, x, y, mean_squared_error, weight_decay)
        points = find_critical_points(loss, starts, settings.iterations)
        ends = {"parameters": points, "constant": is_constant(model, points, x, y),
                **measure_ends(loss, points)}
        ends_of_objectives[objective] = to_arrays(ends)
    return ends_of_objectives


def is_constant(model, points, x, y):
    """Whether the network at each of the points (K, P) predicts the same for all x: (K,).

    The points replace the parameters of the model, however many networks it holds itself.
    """
    outputs = predict(model, x, unflatten(points, model))  # (K, N, 1)
    variation = (outputs.amax(1) - outputs.amin(1)).flatten()
    return variation < CONSTANT * (y.max() - y.min())


def search_all(settings):
    """search_and_measure all trainings, cut into pieces of work: {objective: dict of arrays}.

    Each dict gets two more entries, (R,): see number_points.
    """
    pieces = {}
    steps = settings.epochs + len(WEIGHT_DECAY) * ITERATION_STEPS * settings.iterations
    for runs in groups_of_runs(range(settings.runs), RUNS_TOGETHER):
        pieces[runs[0]] = Piece(f"trainings {runs[0]} to {runs[-1]}", search_and_measure,
                                (runs, settings), steps)
    groups = run_pieces(pieces, settings).values()
    ends_of_objectives = {}
    for objective in WEIGHT_DECAY:
        ends = join_runs([group[objective] for group in groups])
        ends_of_objectives[objective] = ends | number_points(ends)
    return ends_of_objectives


def number_points(points):
    """Which points are the same: two arrays, each with a number for each point.

    "point" is the number of the point: those that were found twice have the same. "loss_rank" is
    that of the loss, the same for losses that rounding alone tells apart. Both rise with the loss.
    """
    losses, eigenvalues = torch.as_tensor(points["loss"]), torch.as_tensor(points["eigenvalues"])
    return to_arrays({"point": number_distinct(losses, eigenvalues),
                      "loss_rank": number_losses(losses)})


def follow_and_probe(parameters, run_numbers, settings):
    """Follows critical points while the L2 term falls, and looks at their neighbours.

    parameters (K, P) are points of the regularized loss, found by run_numbers (K,). D counts
    FOLLOWED_DECAYS. Returns arrays:

    - "left" (K, D): whether the point still exists at that weight decay;
    - what measure_ends lists, "constant" and "norm", that of the parameters, (K, D) each: what
      the point is like there; it means nothing where the point no longer exists;
    - "first_curvature" and "last_curvature" (K,): the smallest |eigenvalue| of the Hessian at the
      first weight decay, and at the last one where the point was found;
    - "higher_neighbours" (K,): the fraction of random neighbours with a higher loss.
    """
    x, y = make_data(settings)
    model = build_model(run_numbers, settings)  # lends its architecture only
    plain_loss = loss_at(model, x, y, mean_squared_error)
    points = torch.from_numpy(parameters).to(settings.device)
    first_loss = loss_at(model, x, y, mean_squared_error, FOLLOWED_DECAYS[0])
    shares = probe_neighbours(first_loss, points, run_numbers, settings)

    points_at_decays, reached, last_points, last_decays = follow_critical_points(
        plain_loss, points, FOLLOWED_DECAYS, ACCEPTED)
    stages = []
    for place, decay in enumerate(FOLLOWED_DECAYS):
        points_here = points_at_decays[:, place]
        loss = loss_at(model, x, y, mean_squared_error, decay)
        stages.append({"left": place < reached, "norm": points_here.norm(dim=1),
                       "constant": is_constant(model, points_here, x, y),
                       **measure_ends(loss, points_here)})
    followed = {}
    for name in stages[0]:
        followed[name] = torch.stack([stage[name] for stage in stages], dim=1)

    # The L2 term adds its weight decay to every eigenvalue.
    last_eigenvalues = (measure_ends(plain_loss, last_points)["eigenvalues"]
                        + last_decays.unsqueeze(1))
    followed["first_curvature"] = followed["eigenvalues"][:, 0].abs().amin(1)
    followed["last_curvature"] = last_eigenvalues.abs().amin(1)
    followed["higher_neighbours"] = shares
    return to_arrays(followed)


def probe_neighbours(loss, points, run_numbers, settings):
    """The fraction of random neighbours of each of the points (K, P) with a higher loss: (K,)."""
    shares = []
    generators = run_generators(settings.seed, run_numbers, "probe")
    for point, generator in zip(points, generators):
        directions = random_directions(settings.neighbours, len(point), generator).to(points)
        shares.append(higher_neighbours(loss, point, directions, RADIUS))
    return torch.stack(shares)


def follow_all(points, settings):
    """follow_and_probe distinct points, a dict with "parameters" (K, P) and "run" (K,), in pieces.

    None where there is no point.
    """
    pieces = {}
    for places in groups_of_runs(range(len(points["run"])), POINTS_TOGETHER):
        arguments = (points["parameters"][places], points["run"][places].tolist(), settings)
        pieces[places[0]] = Piece(f"critical points {places[0]} to {places[-1]}", follow_and_probe,
                                  arguments, 1)
    return join_runs(list(run_pieces(pieces, settings).values())) if pieces else None


# --- summing up: points, ends and found are dicts of arrays, see search_and_measure ---


def select(points, chosen):
    """The chosen ones of the points, by a mask or by their places."""
    return {name: values[chosen] for name, values in points.items()}


def find_accepted(ends):
    """The distinct ends (K,) whose gradient vanishes, by rising loss.

    They get two more entries, (K,): "run", the first that found the point, and "times_found".
    """
    accepted = ends["gradient_norm"] <= ACCEPTED
    runs = np.flatnonzero(accepted)
    # Numbered among themselves: an end nearby with some gradient left is another point.
    found = select(ends, accepted)
    found |= number_points(found)
    _, first_places, times_found = np.unique(found["point"], return_index=True, return_counts=True)
    distinct = select(found, first_places)
    return distinct | {"run": runs[first_places], "times_found": times_found}


def distinct_points(points):
    """Indices of one of the points for each number, by rising loss."""
    _, indices = np.unique(points["point"], return_index=True)
    return indices


def varying_points(points):
    """Those of distinct_points that are not constant predictors."""
    distinct = distinct_points(points)
    return distinct[~points["constant"][distinct]]


def summarize_search(ends, found):
    """A row: how many searches reached zero, and how many distinct points they found."""
    accepted = ends["gradient_norm"] <= ACCEPTED
    return {
        "searches": len(accepted),
        "accepted": accepted.sum(),
        "accepted_constant": (accepted & ends["constant"]).sum(),
        "distinct": len(found["loss"]),
        "distinct_constant": found["constant"].sum(),
        "max_gradient_norm": found["gradient_norm"].max(initial=0),
        "parameters": found["eigenvalues"].shape[1],
    }


def summarize_correlations(critical):
    """Rows: the rank correlation of minimal ratio and loss at distinct critical points."""
    rows = []
    chosen_points = {"distinct": distinct_points(critical), "varying": varying_points(critical)}
    for name, chosen in chosen_points.items():
        rows.append({"points": name, "count": len(chosen),
                     **ratio_and_loss_columns(select(critical, chosen))})
    return rows


def summarize_tolerances(ends):
    """Rows: the correlation over the ends of all searches whose gradient is small enough.

    The unit is the search: each starts from a training of its own. Ends that coincide count once.
    Constant predictors share one high loss and could carry a correlation by themselves, so that it
    is given without them too.
    """
    rows = []
    for tolerance in TOLERANCES:
        near = select(ends, ends["gradient_norm"] <= tolerance)
        chosen_ends = {"distinct": distinct_points(near), "varying": varying_points(near)}
        for name, chosen in chosen_ends.items():
            rows.append({"tolerance": tolerance, "points": name, "count": len(chosen),
                         **ratio_and_loss_columns(select(near, chosen))})
    return rows


def ratio_and_loss_columns(points):
    """Columns: how the minimal ratio goes with the rank of the loss, over distinct points (n,).

    The unit is the point, see spearman_ci95.
    """
    rho, low, high = spearman_ci95(points["loss_rank"], points["minimal_ratio"])
    return {"spearman": rho, "spearman_low": low, "spearman_high": high}


def summarize_followed(followed):
    """Rows: how many of the followed points still exist at every weight decay, and what they are.

    "left" counts distinct ones: where two have become one, it counts once. "norm_median" is that of
    the parameters.
    """
    rows = []
    for place, decay in enumerate(FOLLOWED_DECAYS):
        if followed is None:
            rows.append({"weight_decay": decay, "left": 0, "left_constant": 0, "norm_median": None})
            continue
        left = followed["left"][:, place]
        points = {name: followed[name][left, place]
                  for name in ("loss", "eigenvalues", "constant", "norm")}
        points |= number_points(points)
        distinct = select(points, distinct_points(points))
        rows.append({
            "weight_decay": decay,
            "left": len(distinct["norm"]),
            "left_constant": distinct["constant"].sum(),
            "norm_median": np.median(distinct["norm"]) if len(distinct["norm"]) else None,
        })
    return rows


def summarize_ended(followed):
    """A row: how far the smallest |eigenvalue| had fallen where followed points ceased to exist.

    "curvature_ratio" is the median of the last one divided by the first, None where none ceased.
    """
    if followed is None:
        return {"ended": 0, "curvature_ratio": None}
    ended = ~followed["left"][:, -1]
    ratios = followed["last_curvature"][ended] / followed["first_curvature"][ended]
    return {"ended": ended.sum(), "curvature_ratio": np.median(ratios) if len(ratios) else None}


def list_critical(critical, followed):
    """Rows: every distinct critical point."""
    columns = ("point", "times_found", "loss", "gradient_norm", "minimal_ratio", "saddle",
               "constant")
    rows = []
    for k in range(len(critical["loss"])):
        row = {column: critical[column][k] for column in columns}
        row["higher_neighbours"] = followed["higher_neighbours"][k]
        row["exists_down_to"] = FOLLOWED_DECAYS[followed["left"][k].sum() - 1]
        rows.append(row)
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    results = {
        "constants": {"WIDTHS": WIDTHS, "POINTS": DATA_POINTS, "WEIGHT_DECAY": WEIGHT_DECAY,
                      "ACCEPTED": ACCEPTED, "NEARLY_CRITICAL": NEARLY_CRITICAL, "RADIUS": RADIUS},
        "table": [],
    }
    ends_of_objectives = search_all(settings)
    for objective, ends in ends_of_objectives.items():
        row = summarize_search(ends, find_accepted(ends))
        results["table"].append({"objective": objective, **row})
    plain_ends = ends_of_objectives["plain"]
    results["tolerances"] = summarize_tolerances(plain_ends)
    results["curves"] = {column: plain_ends[column] for column in
                         ("loss", "minimal_ratio", "gradient_norm", "constant")}
    critical = find_accepted(ends_of_objectives["regularized"])
    followed = follow_all(critical, settings)
    results["correlations"] = summarize_correlations(critical)
    results["followed"] = summarize_followed(followed)
    results["ended"] = [summarize_ended(followed)]
    results["points"] = list_critical(critical, followed)
    return results


def collect_facts(results):
    """What figure and report say of the results.

    Correlations are rank correlations of loss and minimal ratio, with bootstrap intervals over
    points. "ends" are where searches on the plain loss ended with a gradient of norm at most
    NEARLY_CRITICAL, "critical" the distinct points with a regularized gradient of at most ACCEPTED.
    "varying" leaves constant predictors out. "left" of the critical points still exist where the L2
    term is smallest; "share_left" has Clopper and Pearson's 95 % interval, whose unit is the point.
    The rest are counts, fractions and medians.
    """
    constants, settings = results["constants"], results["settings"]
    tolerance = constants["NEARLY_CRITICAL"]
    tables = {row["objective"]: row for row in results["table"]}
    ends = find_row(results["tolerances"], points="distinct", tolerance=tolerance)
    varying_ends = find_row(results["tolerances"], points="varying", tolerance=tolerance)
    critical = find_row(results["correlations"], points="distinct")
    varying_critical = find_row(results["correlations"], points="varying")
    first, last = results["followed"][0], results["followed"][-1]
    return {
        "searches": settings["runs"],
        "parameters": tables["plain"]["parameters"],
        "plain_accepted": tables["plain"]["accepted"],
        "plain_accepted_constant": tables["plain"]["accepted_constant"],
        "ends": ends["count"],
        "ends_correlation": as_interval(ends, "spearman"),
        "varying_ends": varying_ends["count"],
        "varying_ends_correlation": as_interval(varying_ends, "spearman"),
        "critical_found": tables["regularized"]["accepted"],
        "critical": critical["count"],
        "critical_correlation": as_interval(critical, "spearman"),
        "varying_critical": varying_critical["count"],
        "varying_critical_correlation": as_interval(varying_critical, "spearman"),
        "saddles": sum(row["saddle"] for row in results["points"]),
        "neighbours_differing": sum(row["higher_neighbours"] < 1 for row in results["points"]),
        "smallest_weight_decay": last["weight_decay"],
        "left": last["left"],
        "left_constant": last["left_constant"],
        "share_left": share_with_interval(last["left"], first["left"]),
        "first_norm": first["norm_median"],
        "last_norm": last["norm_median"],
        "curvature_ratio": results["ended"][0]["curvature_ratio"],
    }


def share_with_interval(count, total):
    """A share with Clopper and Pearson's 95 % interval; the unit is what is counted."""
    if total == 0:
        return {"value": None, "low": None, "high": None}
    low, high = scipy.stats.binomtest(int(count), int(total)).proportion_ci()
    return {"value": count / total, "low": low, "high": high}


# --- drawing ---


def plot(results):
    """Ratio against the plain and the regularized loss; points that are left; tolerances."""
    figure, panels = new_figure(figure_title(results["facts"]), results, 2, 2, height=3.2,
                                unit="training", width_ratios=[1.2, 1], height_ratios=[1.2, 1])
    draw_critical_points(panels[0, 0], results)
    draw_plain_ends(figure, panels[0, 1], results)
    draw_followed(panels[1, 0], results)
    draw_tolerances(panels[1, 1], results)
    legend_below(figure, *panels.flat, columns=4)
    return figure


def figure_title(facts):
    """Whether a lower loss goes with more positive eigenvalues, for both objectives."""
    correlations = [facts["varying_ends_correlation"], facts["critical_correlation"]]
    if all(is_below_zero(correlation) for correlation in correlations):
        return "Where the gradient is zero: the lower the loss, the more eigenvalues are positive"
    return "Where the gradient is zero: a lower loss need not mean more positive eigenvalues"


def is_below_zero(interval):
    """Whether a whole interval lies below zero; not where it is unknown."""
    return interval["high"] is not None and interval["high"] < 0


def describe_correlation(interval):
    """A rank correlation for a title, in words where there is none."""
    if interval["value"] is None:
        return "too few to correlate"
    return f"rank correlation {format_number(interval['value'], '.2f')}"


def draw_critical_points(panel, results):
    """The ratio against the regularized loss at distinct points that are not constant predictors.
    """
    facts = results["facts"]
    rows = [row for row in results["points"] if not row["constant"]]
    panel.plot([row["loss"] for row in rows], [row["minimal_ratio"] for row in rows], MARKERS[1],
               color=COLORS[1], alpha=0.5, markersize=4.5)
    panel.set(title="Zero gradient, with an L2 term:\n"
                    f"{facts['varying_critical']} points, "
                    f"{describe_correlation(facts['varying_critical_correlation'])}",
              xlabel="loss (L2 term included)",
              ylabel="minimal ratio: fraction of\npositive Hessian eigenvalues")
    panel.locator_params(axis="x", nbins=5)


def draw_plain_ends(figure, panel, results):
    """The ratio against the plain loss, wherever a search ended with a small gradient."""
    curves, facts = results["curves"], results["facts"]
    tolerance = results["constants"]["NEARLY_CRITICAL"]
    norms = np.array(curves["gradient_norm"])
    drawn = (norms <= tolerance) & ~np.array(curves["constant"], dtype=bool)
    marks = panel.scatter(np.array(curves["loss"])[drawn], np.array(curves["minimal_ratio"])[drawn],
                          c=norms[drawn].clip(min=tolerance / 100), s=16, marker=MARKERS[0],
                          cmap=COLOR_MAP, norm=LogNorm(tolerance / 100, tolerance))
    figure.colorbar(marks, ax=panel, label="norm of the gradient", extend="min", pad=0.02)
    panel.set(xscale="log", xlabel="plain loss (mean squared error)", ylabel="minimal ratio",
              title="Almost zero gradient, no L2 term:\n"
                    f"{facts['varying_ends']} ends, "
                    f"{describe_correlation(facts['varying_ends_correlation'])}")


def draw_followed(panel, results):
    """How many of the critical points are left while the L2 term falls."""
    facts, rows = results["facts"], results["followed"]
    decays = [row["weight_decay"] for row in rows]
    panel.plot(decays, [row["left"] for row in rows], "-", color=COLORS[1], marker=MARKERS[1],
               markersize=4.5, label="points that are left")
    panel.plot(decays, [row["left_constant"] for row in rows], "--", color=GREY, marker=MARKERS[3],
               markersize=4, label="of these, constant output")
    panel.set(xscale="log", ylim=(0, None), xlabel="strength of the L2 term (weight decay)",
              ylabel="critical points", title=followed_title(facts))
    panel.invert_xaxis()


def followed_title(facts):
    """What became of the critical points."""
    share = facts["share_left"]
    counts = f"{facts['left']} of {facts['critical']} points are left"
    if share["high"] is not None and share["high"] < 0.5:
        return f"Most cease to exist with less L2:\n{counts}"
    return f"With less L2,\n{counts}"


def draw_tolerances(panel, results):
    """The correlation against how small a gradient has to be, without constant predictors."""
    rows = [row for row in results["tolerances"] if row["points"] == "varying"]
    places = np.arange(len(rows))[::-1]
    draw_ranges(panel, rows, places, ("spearman", "spearman_low", "spearman_high"), COLORS[0],
                MARKERS[0])
    labels = []
    for place, row in zip(places, rows):
        labels.append(f"≤ {row['tolerance']:.0e} ({row['count']})")
        if row["spearman"] is None:
            panel.text(-0.5, place, "too few", ha="center", va="center", color=GREY)
    panel.axvline(0, color=GREY, linewidth=1)
    panel.set(xlim=(-1.05, 0.3), ylim=(-0.6, len(rows) - 0.4), yticks=places, yticklabels=labels,
              ylabel="‖∇L‖ (ends that are left)", xlabel="rank correlation of ratio and loss",
              title=tolerances_title(rows))


def tolerances_title(rows):
    """Whether the correlation is negative at all tolerances that leave enough ends."""
    measured = [as_interval(row, "spearman") for row in rows if row["spearman"] is not None]
    if measured and all(is_below_zero(correlation) for correlation in measured):
        return "No L2 term: negative at every limit\nthat leaves enough ends"
    return "No L2 term: not clearly negative\nat every limit"


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts)
