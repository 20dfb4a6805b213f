"""What happens when the gradient is almost zero? Minimal ratio and loss at critical points.

Networks of 33 parameters are trained on sin(5πx)/(5πx) and stopped at random moments. The weights
at which a training is stopped are the start of a search: from there Newton's method solves ∇L = 0.
The minimal ratio of a point is the fraction of positive eigenvalues of its Hessian. On the plain
mean squared error the gradient hardly ever becomes zero, so that the ratio is shown where it is
almost zero. With an L2 term it truly vanishes at many points. These are followed while the L2 term
falls, to see how many the plain loss has nearby.

    python hw1_2_minratio.py              # the report's figure
    python hw1_2_minratio.py --quick      # a tour in seconds
"""

from common.command_line import Flag, main, positive_integer
from common.critical_points import (
    ITERATION_STEPS,
    count_signs,
    eigenvalues_at,
    find_critical_points,
    losses_at,
    measure_ends,
    number_distinct,
    number_losses,
    random_directions,
    share_of_higher_neighbours,
)
from common.data import grid, sinc
from common.derivatives import loss_at
from common.evaluation import predict
from common.following import follow_critical_points
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
    new_mosaic,
)
from common.statistics import as_interval, holm, spearman_ci95, spearman_p_value
from common.training import expand_to_runs, mean_squared_error, run_generators, train

import numpy as np
import scipy
import torch
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from torch import nn

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 400, quick=12,
                 help="trainings, each with a search on either objective"),
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
# The gradient of the plain loss counts as almost zero if its norm is at most this. The correlation
# is measured with other tolerances too, to show how much it depends on this choice.
NEARLY_CRITICAL = 1e-4
TOLERANCES = (1e-3, 3e-4, NEARLY_CRITICAL, 3e-5, 1e-5, 1e-6, ACCEPTED)
# At critical points of the regularized loss, the minimal ratio by either loss's Hessian.
RATIO_OF_HESSIAN = {"regularized": "minimal_ratio", "plain": "plain_minimal_ratio"}
# The critical points of the regularized loss are followed through these weight decays.
FOLLOWED_DECAYS = (WEIGHT_DECAY["regularized"], 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
# Trainings in one stack. Smaller stacks take longer, all together. Rounding differs between sizes,
# and sends some searches to other points.
RUNS_TOGETHER = 50
# A predictor is constant if its outputs vary by less than this fraction of what the targets do.
CONSTANT = 1e-3
POINTS_TOGETHER = 30  # critical points that are followed side by side
# How many steps of a training take as long as following a point from one weight decay to the next.
FOLLOWING_STEPS = 20
RADIUS = 1e-2  # distance of random neighbours; parameter vectors have norms around 4
COLOR_MAP = "viridis"  # of the gradient's norm; it also rises in brightness
# How critical points are drawn: half transparent, so that marks behind others can be seen.
POINT_LOOK = {"marker": MARKERS[1], "facecolor": to_rgba(COLORS[1], 0.4), "edgecolor": COLORS[1]}
MARK_AREA = 12  # in square points, of a point that was found once
LOSS_GROUPS = 5  # groups of points by their loss, of which means are drawn
SIGN_COLORS = {"positive": COLORS[2], "zero": "#dddddd", "negative": COLORS[3]}
# How networks of constant output are drawn: as marks that no line joins.
CONSTANT_LOOK = {"color": GREY, "marker": MARKERS[3], "linestyle": "none", "markersize": 5}
CONSTANT_LABEL = "networks of constant output (not in the rank correlation)"


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
# Points side by side, such as all ends of searches or the critical points among them, are (R, P)
# too, whatever their number R.
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
    # The stream "order" is meant for the order in which batches come. These trainings need none,
    # because each of their steps uses all data, so that the stream is free for the stops.
    generators = run_generators(settings.seed, run_numbers, "order")
    uniform = torch.cat([torch.rand(1, generator=generator) for generator in generators])
    # The square, because the loss falls fastest at first: a tenth of the trainings stop within a
    # hundredth of the steps. A stop at 0 leaves the initial weights.
    return ((settings.epochs + 1) * uniform**2).long().to(settings.device)


def train_and_copy(model, x, y, stops, settings):
    """Trains on the plain loss; returns the parameters (R, P) of the runs at their stops (R,).

    The runs of a stack train together: all of them go on to the last epoch, and what is returned of
    each is a copy that was made at its stop.
    """
    y_of_runs = expand_to_runs(y, model)  # (R, N, 1); x is shared by all runs
    copies = torch.zeros(len(stops), parameter_count(model)).to(x)

    def record(epoch):  # train calls it before training and after every step
        stops_now = stops == epoch
        copies[stops_now] = parameter_vectors(model)[stops_now]

    train(model, x, y_of_runs, mean_squared_error, epochs=settings.epochs,
          learning_rate=LEARNING_RATE, cosine=False, record=record)
    return copies


# --- measuring ---


# Where searches ended, the ends, is a dict of arrays with one value for each end, (R,) where no
# other shape is given:
#
# - from search_and_measure: "parameters" (R, P) and "constant", whether the network predicts the
#   same everywhere;
# - from measure_ends: "loss", "gradient_norm", "eigenvalues" (R, P), "minimal_ratio", "zero_ratio",
#   "negative_ratio" and "saddle";
# - from number_ends: "point" and "loss_rank".
#
# The distinct critical points among the ends are such a dict too. They also have
#
# - from find_accepted: "run" and "times_found";
# - from run, on the regularized loss alone: "plain_minimal_ratio".


def search_and_measure(run_numbers, settings):
    """Trains, searches from where each training stopped, and measures where the searches ended.

    Returns the ends of each objective, {objective: ends}, not numbered yet.
    """
    x, y = make_data(settings)
    model = build_model(run_numbers, settings)
    starts = train_and_copy(model, x, y, draw_stops(run_numbers, settings), settings)
    ends_of_objectives = {}
    for objective, weight_decay in WEIGHT_DECAY.items():
        loss = loss_at(model, x, y, mean_squared_error, weight_decay)
        points = find_critical_points(loss, starts, settings.iterations)
        ends = {"parameters": points, "constant": is_constant(model, points, x, y),
                **measure_ends(loss, points)}
        ends_of_objectives[objective] = to_arrays(ends)
    return ends_of_objectives


def is_constant(model, points, x, y):
    """Whether the network at each of the points (R, P) predicts the same for all x: (R,).

    The points replace the parameters of the model, however many networks it holds itself.
    """
    outputs = predict(model, x, unflatten(points, model))  # (R, N, 1)
    variation = (outputs.amax(1) - outputs.amin(1)).flatten()
    return variation < CONSTANT * (y.max() - y.min())


def search_all(settings):
    """search_and_measure for all trainings, cut into pieces of work: {objective: ends}, numbered.
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
        ends_of_objectives[objective] = ends | number_ends(ends)
    return ends_of_objectives


def number_ends(ends):
    """Which ends are the same point: two more entries for them, each a number for every end.

    "point" is the number of the point: ends at the same point share it. "loss_rank" is that of the
    loss, the same for losses that rounding alone tells apart. Both rise with the loss.
    """
    losses, eigenvalues = torch.as_tensor(ends["loss"]), torch.as_tensor(ends["eigenvalues"])
    return to_arrays({"point": number_distinct(losses, eigenvalues),
                      "loss_rank": number_losses(losses)})


def follow_and_probe(parameters, run_numbers, settings):
    """Follows critical points while the L2 term falls, and looks at their neighbours.

    parameters (R, P) are points of the regularized loss, found by run_numbers (R,). With D for the
    number of FOLLOWED_DECAYS, returns arrays:

    - "left" (R, D): whether the point could be followed to that weight decay;
    - "loss" (R, D) and "eigenvalues" (R, D, P) there, regularized; they mean nothing where the
      point is lost;
    - "first_curvature" and "last_curvature" (R,): the smallest |eigenvalue| of the Hessian at the
      first weight decay, and at the last one where the point was found;
    - "higher_neighbours" (R,): the fraction of random neighbours with a higher loss.
    """
    x, y = make_data(settings)
    model = build_model(run_numbers, settings)  # lends its architecture only
    plain_loss = loss_at(model, x, y, mean_squared_error)
    points = torch.from_numpy(parameters).to(settings.device)

    points_at_decays, decays_reached, last_points, last_decays = follow_critical_points(
        plain_loss, points, FOLLOWED_DECAYS, ACCEPTED)
    left, losses, eigenvalues = [], [], []
    for index, decay in enumerate(FOLLOWED_DECAYS):
        loss = loss_at(model, x, y, mean_squared_error, decay)
        left.append(index < decays_reached)  # an index counts from 0
        losses.append(losses_at(loss, points_at_decays[:, index]))
        eigenvalues.append(eigenvalues_at(loss, points_at_decays[:, index]))
    # The L2 term adds its weight decay to every eigenvalue.
    last_eigenvalues = eigenvalues_at(plain_loss, last_points) + last_decays.unsqueeze(1)

    first_loss = loss_at(model, x, y, mean_squared_error, FOLLOWED_DECAYS[0])
    return to_arrays({
        "left": torch.stack(left, dim=1),
        "loss": torch.stack(losses, dim=1),
        "eigenvalues": torch.stack(eigenvalues, dim=1),
        "first_curvature": eigenvalues[0].abs().amin(1),
        "last_curvature": last_eigenvalues.abs().amin(1),
        "higher_neighbours": probe_neighbours(first_loss, points, run_numbers, settings),
    })


def probe_neighbours(loss, points, run_numbers, settings):
    """The fraction of random neighbours of each of the points (R, P) with a higher loss: (R,)."""
    shares = []
    generators = run_generators(settings.seed, run_numbers, "probe")
    for point, generator in zip(points, generators):
        directions = random_directions(settings.neighbours, len(point), generator).to(points)
        shares.append(share_of_higher_neighbours(loss, point, directions, RADIUS))
    return torch.stack(shares)


def follow_all(critical, settings):
    """follow_and_probe for all distinct critical points, in pieces; None where there is none."""
    pieces = {}
    for indices in groups_of_runs(range(len(critical["run"])), POINTS_TOGETHER):
        arguments = (critical["parameters"][indices], critical["run"][indices].tolist(), settings)
        steps = len(indices) * (len(FOLLOWED_DECAYS) - 1)
        name = f"critical points {indices[0]} to {indices[-1]}"
        pieces[indices[0]] = Piece(name, follow_and_probe, arguments, steps, FOLLOWING_STEPS)
    return join_runs(list(run_pieces(pieces, settings).values())) if pieces else None


# --- summing up ---


# What the arguments `ends` and `critical` are is listed at the start of "measuring"; `followed` is
# what follow_and_probe returns, for all points.
#
# In the stored rows and facts, "distinct" points include constant predictors and "varying" ones do
# not: constant predictors share one high loss and could carry a correlation by themselves.


def select(ends, chosen):
    """The chosen ones of the ends, by a mask or by indices."""
    return {name: values[chosen] for name, values in ends.items()}


def select_distinct(ends):
    """One end for each point, by rising loss."""
    _, first_indices = np.unique(ends["point"], return_index=True)
    return select(ends, first_indices)


def select_not_constant(ends):
    """Those ends that are not constant predictors."""
    return select(ends, ~ends["constant"])


def find_accepted(ends):
    """The distinct critical points: the ends whose gradient vanishes, one for each point.

    They come by rising loss and get two more entries: "run", the first that found the point, and
    "times_found".
    """
    accepted = ends["gradient_norm"] <= ACCEPTED
    found = select(ends, accepted) | {"run": np.flatnonzero(accepted)}
    # New numbers replace those among all ends, which also count ends with some gradient left.
    found = found | number_ends(found)
    _, times_found = np.unique(found["point"], return_counts=True)
    return select_distinct(found) | {"times_found": times_found}


def ratio_above_decay(eigenvalues, weight_decay):
    """The minimal ratio by the plain loss's Hessian at points of the regularized loss: (R,).

    eigenvalues (R, P) are those of the regularized loss. The plain loss has the eigenvalues
    eigenvalue − weight decay, because the L2 term adds its weight decay to each.
    """
    positive = count_signs(torch.from_numpy(eigenvalues) - weight_decay)[:, 0]
    return positive.numpy() / eigenvalues.shape[1]


def summarize_search(ends, critical):
    """A row: how many searches reached zero, and how many distinct points they found."""
    accepted = ends["gradient_norm"] <= ACCEPTED
    return {
        "searches": len(accepted),
        "accepted": accepted.sum(),
        "accepted_constant": (accepted & ends["constant"]).sum(),
        "distinct": len(critical["loss"]),
        "distinct_constant": critical["constant"].sum(),
        "max_gradient_norm": critical["gradient_norm"].max(initial=0),
        "parameters": critical["eigenvalues"].shape[1],
    }


def summarize_correlations(critical):
    """Rows: the rank correlation of minimal ratio and loss at distinct critical points.

    "hessian" says whose positive eigenvalues are counted: those of the regularized loss, or those
    of the plain loss at the same points, see ratio_above_decay.
    """
    rows = []
    choices = {"distinct": critical, "varying": select_not_constant(critical)}
    for name, chosen in choices.items():
        for hessian, ratio in RATIO_OF_HESSIAN.items():
            rows.append({"points": name, "hessian": hessian, "count": len(chosen["loss_rank"]),
                         **ratio_and_loss_columns(chosen, ratio)})
    return rows


def summarize_tolerances(ends):
    """Rows: the correlation over the distinct ends whose gradient is small enough.

    "zero_median" and "negative_median" are medians over these ends of the fractions of zero and of
    negative eigenvalues, None where no end is left.
    """
    rows = []
    for tolerance in TOLERANCES:
        distinct = select_distinct(select(ends, ends["gradient_norm"] <= tolerance))
        choices = {"distinct": distinct, "varying": select_not_constant(distinct)}
        for name, chosen in choices.items():
            count = len(chosen["point"])
            rows.append({
                "tolerance": tolerance,
                "points": name,
                "count": count,
                **ratio_and_loss_columns(chosen),
                "zero_median": np.median(chosen["zero_ratio"]) if count > 0 else None,
                "negative_median": np.median(chosen["negative_ratio"]) if count > 0 else None,
            })
    return rows


def ratio_and_loss_columns(distinct, ratio="minimal_ratio"):
    """Columns: how a ratio goes with the rank of the loss, over distinct ends.

    The unit is the distinct point, see spearman_ci95: however many searches found it, it counts
    once.
    """
    rho, low, high = spearman_ci95(distinct["loss_rank"], distinct[ratio])
    p_value = None if rho is None else spearman_p_value(distinct["loss_rank"], distinct[ratio])
    return {"spearman": rho, "spearman_low": low, "spearman_high": high, "p_value": p_value}


def summarize_followed(followed):
    """Rows: how many of the followed points are left at every weight decay.

    "left" counts distinct ones: where two have become one, it counts once.
    """
    rows = []
    for index, decay in enumerate(FOLLOWED_DECAYS):
        left_count = 0
        if followed is not None:
            left = followed["left"][:, index]
            points = {name: followed[name][left, index] for name in ("loss", "eigenvalues")}
            left_count = len(np.unique(number_ends(points)["point"]))
        rows.append({"weight_decay": decay, "left": left_count})
    return rows


def summarize_lost(followed):
    """A row: how far the smallest |eigenvalue| had fallen where followed points were lost.

    "curvature_ratio" is the median of the last one divided by the first, None where none was lost.
    """
    if followed is None:
        return {"lost": 0, "curvature_ratio": None}
    lost = ~followed["left"][:, -1]
    ratios = followed["last_curvature"][lost] / followed["first_curvature"][lost]
    return {"lost": lost.sum(), "curvature_ratio": np.median(ratios) if len(ratios) else None}


def list_critical(critical, followed):
    """Rows: every distinct critical point."""
    columns = ("point", "times_found", "loss", "gradient_norm", "minimal_ratio",
               "plain_minimal_ratio", "saddle", "constant")
    rows = []
    for index in range(len(critical["loss"])):
        row = {column: critical[column][index] for column in columns}
        row["higher_neighbours"] = followed["higher_neighbours"][index]
        decays_reached = followed["left"][index].sum()
        row["followed_down_to"] = FOLLOWED_DECAYS[decays_reached - 1]
        rows.append(row)
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    results = {
        "constants": {"WIDTHS": WIDTHS, "POINTS": DATA_POINTS, "LEARNING_RATE": LEARNING_RATE,
                      "WEIGHT_DECAY": WEIGHT_DECAY, "ACCEPTED": ACCEPTED,
                      "NEARLY_CRITICAL": NEARLY_CRITICAL, "RADIUS": RADIUS},
        "table": [],
    }
    ends_of_objectives = search_all(settings)
    critical_of_objectives = {}
    for objective, ends in ends_of_objectives.items():
        critical_of_objectives[objective] = find_accepted(ends)
        row = summarize_search(ends, critical_of_objectives[objective])
        results["table"].append({"objective": objective, **row})
    plain_ends = ends_of_objectives["plain"]
    results["tolerances"] = summarize_tolerances(plain_ends)
    results["curves"] = {column: plain_ends[column] for column in
                         ("point", "loss", "minimal_ratio", "zero_ratio", "negative_ratio",
                          "gradient_norm", "constant")}
    critical = critical_of_objectives["regularized"]
    critical["plain_minimal_ratio"] = ratio_above_decay(critical["eigenvalues"],
                                                        WEIGHT_DECAY["regularized"])
    followed = follow_all(critical, settings)
    results["correlations"] = summarize_correlations(critical)
    results["followed"] = summarize_followed(followed)
    results["lost"] = [summarize_lost(followed)]
    results["points"] = list_critical(critical, followed)
    return results


def collect_facts(results):
    """What figure and report say of the results.

    The answer is in "varying_critical_correlation", "above_decay_correlation" and
    "varying_ends_correlation": "answer_p_value" is the largest of their p-values, corrected for the
    three by Holm's method. The other correlations are checks.
    """
    constants, settings = results["constants"], results["settings"]
    tolerance = constants["NEARLY_CRITICAL"]
    tables = {row["objective"]: row for row in results["table"]}
    ends = find_row(results["tolerances"], points="distinct", tolerance=tolerance)
    varying_ends = find_row(results["tolerances"], points="varying", tolerance=tolerance)
    rows = results["correlations"]
    critical = find_row(rows, points="distinct", hessian="regularized")
    varying_critical = find_row(rows, points="varying", hessian="regularized")
    above_decay = find_row(rows, points="varying", hessian="plain")
    saddles = [row for row in results["points"] if row["saddle"]]
    first, last = results["followed"][0], results["followed"][-1]
    p_values = holm([row["p_value"] for row in (varying_critical, above_decay, varying_ends)])
    return {
        "answer_p_value": None if None in p_values else max(p_values),
        "searches": settings["runs"],  # on either objective, one from each training
        "parameters": tables["plain"]["parameters"],  # of one network
        # Searches on the plain loss that made the gradient zero, and those of them that ended at
        # constant predictors.
        "plain_accepted": tables["plain"]["accepted"],
        "plain_accepted_constant": tables["plain"]["accepted_constant"],
        # Distinct ends on the plain loss whose gradient is almost zero, and the rank correlation of
        # loss and minimal ratio over them, with its bootstrap interval over distinct points.
        "ends": ends["count"],
        "ends_correlation": as_interval(ends, "spearman"),
        # The same without constant predictors: nothing but chance says how many of these the
        # searches on the plain loss find.
        "varying_ends": varying_ends["count"],
        "varying_ends_correlation": as_interval(varying_ends, "spearman"),
        # Medians over these ends of the fractions of eigenvalues that count as zero and as
        # negative.
        "varying_ends_zero": varying_ends["zero_median"],
        "varying_ends_negative": varying_ends["negative_median"],
        # Searches on the regularized loss that made the gradient zero, and the distinct points that
        # they found.
        "critical_found": tables["regularized"]["accepted"],
        "critical": critical["count"],
        "critical_correlation": as_interval(critical, "spearman"),
        # The same without constant predictors.
        "varying_critical": varying_critical["count"],
        "varying_critical_correlation": as_interval(varying_critical, "spearman"),
        # Over the same points, where eigenvalues count as positive if they are above the weight
        # decay: those that are positive without the L2 term.
        "above_decay_correlation": as_interval(above_decay, "spearman"),
        # Saddles among all critical points, and those that have no lower random neighbour.
        "saddles": len(saddles),
        "saddles_taken_for_minima": sum(row["higher_neighbours"] == 1 for row in saddles),
        # Critical points that could be followed to the smallest L2 term, and their share.
        "smallest_weight_decay": last["weight_decay"],
        "left": last["left"],
        "share_left": share_with_interval(last["left"], first["left"]),
        # The smallest |eigenvalue| where a point was lost, divided by the first: the median.
        "curvature_ratio": results["lost"][0]["curvature_ratio"],
    }


def share_with_interval(count, total):
    """A share of distinct points with Clopper and Pearson's 95 % interval; the unit is the point.
    """
    if total == 0:
        return {"value": None, "low": None, "high": None}
    low, high = scipy.stats.binomtest(int(count), int(total)).proportion_ci()
    return {"value": count / total, "low": low, "high": high}


# --- drawing ---


def plot(results):
    """Ratio against loss: with the L2 term, with what it adds taken off, and without it."""
    layout = [["critical"] * 4 + ["above_decay"] * 3, ["critical"] * 4 + ["plain"] * 3]
    figure, panels = new_mosaic(figure_title(results["facts"]), results, layout, height=5.8,
                                unit="training")
    draw_critical_points(panels["critical"], results)
    draw_above_decay(panels["above_decay"], results)
    draw_plain_ends(figure, panels["plain"], results)
    legend_below(figure, panels["critical"], columns=2)
    return figure


def plot_details(results):
    """Signs of eigenvalues on the plain loss; how many points are left with less L2; checks."""
    figure, panels = new_figure(details_title(results), results, 2, 2, height=3.1, unit="training")
    draw_signs(panels[0, 0], results)
    draw_followed(panels[1, 0], results)
    draw_choices(panels[0, 1], results)
    draw_tolerances(panels[1, 1], results)
    return figure


def figure_title(facts):
    """Whether a lower loss goes with more positive eigenvalues, in all three panels."""
    correlations = [facts["varying_critical_correlation"], facts["above_decay_correlation"],
                    facts["varying_ends_correlation"]]
    if all(is_below_zero(correlation) for correlation in correlations):
        return "Gradient zero or almost zero: the lower the loss, the more eigenvalues are positive"
    return "Gradient zero or almost zero: a lower loss need not mean more positive eigenvalues"


def details_title(results):
    """Whether every choice of points shows the same."""
    if all_below_zero(results["correlations"] + results["tolerances"]):
        return "However points are chosen: the lower the loss, the more eigenvalues are positive"
    return "Not every choice of points shows more positive eigenvalues at a lower loss"


def is_below_zero(interval):
    """Whether a whole interval lies below zero; not where it is unknown."""
    return interval["high"] is not None and interval["high"] < 0


def all_below_zero(rows):
    """Whether all rank correlations that could be measured, at least one, are below zero."""
    measured = [as_interval(row, "spearman") for row in rows if row["spearman"] is not None]
    return len(measured) > 0 and all(is_below_zero(correlation) for correlation in measured)


def describe_correlation(interval, count):
    """A rank correlation over so many points for a title, in words where there is none."""
    if interval["value"] is None:
        return f"{count} points, too few to correlate"
    return f"rank correlation {format_number(interval['value'], '.2f')} over {count} points"


def draw_critical_points(panel, results):
    """The ratio against the regularized loss at distinct points, by how often they were found."""
    facts, rows = results["facts"], results["points"]
    draw_points(panel, [row for row in rows if not row["constant"]], "minimal_ratio")
    constant = [row for row in rows if row["constant"]]
    if constant:  # a line without points would have a place, the figure's corner
        panel.plot([row["loss"] for row in constant], [row["minimal_ratio"] for row in constant],
                   label=CONSTANT_LABEL, clip_on=False, **CONSTANT_LOOK)
    # Marks for the legend alone.
    panel.scatter([], [], s=MARK_AREA, label="point found once", **POINT_LOOK)
    panel.scatter([], [], s=10 * MARK_AREA, label="point found ten times", **POINT_LOOK)
    correlation = describe_correlation(facts["varying_critical_correlation"],
                                       facts["varying_critical"])
    panel.set(title=f"A: gradient of loss + L2 zero,\n{correlation}",
              xlabel="loss, L2 term included",
              ylabel=f"minimal ratio: positive eigenvalues ÷ {facts['parameters']} "
                     "(1 at a minimum)")


def draw_points(panel, rows, ratio):
    """A ratio against the loss at critical points; a mark's area says how often it was found."""
    losses = np.array([row["loss"] for row in rows])
    ratios = np.array([row[ratio] for row in rows])
    areas = [MARK_AREA * row["times_found"] for row in rows]
    panel.scatter(losses, ratios, s=areas, clip_on=False, zorder=3, **POINT_LOOK)
    draw_group_means(panel, losses, ratios)
    panel.set(xscale="log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 8)))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.xaxis.set_minor_locator(NullLocator())


def groups_by_loss(losses):
    """Indices of points (points,) by rising loss, in up to LOSS_GROUPS groups of equal size."""
    groups = np.array_split(losses.argsort(), LOSS_GROUPS)
    return [group for group in groups if len(group) > 0]


def draw_group_means(panel, losses, ratios):
    """The mean ratio of each group of groups_by_loss, at the median of its losses."""
    groups = groups_by_loss(losses)
    panel.plot([np.median(losses[group]) for group in groups],
               [ratios[group].mean() for group in groups], "k-", marker="_", markersize=10,
               zorder=4, label="mean of each fifth of the points, by loss")


def nearly_critical_ends(results):
    """The distinct ends on the plain loss whose gradient is almost zero: not constant, constant."""
    ends = {name: np.array(values) for name, values in results["curves"].items()}
    almost_zero = ends["gradient_norm"] <= results["constants"]["NEARLY_CRITICAL"]
    distinct = select_distinct(select(ends, almost_zero))
    return select_not_constant(distinct), select(distinct, distinct["constant"])


def draw_plain_ends(figure, panel, results):
    """The ratio against the plain loss at the distinct ends whose gradient is almost zero."""
    facts, tolerance = results["facts"], results["constants"]["NEARLY_CRITICAL"]
    not_constant, constant = nearly_critical_ends(results)
    smallest_norm = tolerance / 100  # of the colours; smaller gradients have the same one
    marks = panel.scatter(not_constant["loss"], not_constant["minimal_ratio"], s=16,
                          marker=MARKERS[0], cmap=COLOR_MAP, edgecolor=GREY, linewidth=0.3,
                          c=not_constant["gradient_norm"].clip(min=smallest_norm),
                          norm=LogNorm(smallest_norm, tolerance))
    draw_group_means(panel, not_constant["loss"], not_constant["minimal_ratio"])
    panel.plot(constant["loss"], constant["minimal_ratio"], **CONSTANT_LOOK)
    bar = figure.colorbar(marks, ax=panel, label="norm of the gradient", extend="min", pad=0.02)
    bar.ax.minorticks_off()
    correlation = describe_correlation(facts["varying_ends_correlation"], facts["varying_ends"])
    panel.set(xscale="log", xlabel="loss (mean squared error)", ylabel="minimal ratio",
              title=f"B: gradient of the loss alone almost zero,\n{correlation}")


def draw_followed(panel, results):
    """How many of the critical points are left while the L2 term falls."""
    rows = results["followed"]
    panel.plot([row["weight_decay"] for row in rows], [row["left"] for row in rows], "-",
               color=COLORS[1], marker=MARKERS[1], markersize=5, clip_on=False, zorder=3)
    panel.set(xscale="log", ylim=(0, None), xlabel="strength of the L2 term (weight decay)",
              ylabel="points that are left", title=followed_title(results["facts"]))
    panel.invert_xaxis()


def followed_title(facts):
    """What became of the critical points."""
    share = facts["share_left"]
    counts = f"{facts['left']} of {facts['critical']} could be followed to the end"
    if share["high"] is not None and share["high"] < 0.5:
        return f"With less L2, most points are lost:\n{counts}"
    return f"Points with less L2:\n{counts}"


def draw_signs(panel, results):
    """Positive, zero and negative eigenvalues on the plain loss, by the loss.

    The distinct ends whose gradient is almost zero, without constant predictors, come in
    LOSS_GROUPS groups of equal size. Means of the three fractions add up to 1; medians need not.
    """
    ends, _ = nearly_critical_ends(results)
    groups = groups_by_loss(ends["loss"])
    columns = {"positive": "minimal_ratio", "zero": "zero_ratio", "negative": "negative_ratio"}
    bottom = np.zeros(len(groups))
    for sign, column in columns.items():
        heights = np.array([ends[column][group].mean() for group in groups])
        panel.bar(range(len(groups)), heights, bottom=bottom, width=0.85, color=SIGN_COLORS[sign])
        if groups:
            panel.text(len(groups) - 0.5, bottom[-1] + heights[-1] / 2, sign, va="center")
        bottom = bottom + heights
    labels = [f"{np.median(ends['loss'][group]):.1g}" for group in groups]
    panel.set(xticks=range(len(groups)), xticklabels=labels, ylim=(0, 1),
              xlabel=f"loss: median of each of {len(groups)} groups of points",
              ylabel="mean fraction of the eigenvalues", title=signs_title(ends["zero_ratio"]))
    panel.grid(visible=False)


def signs_title(zero_ratios):
    """How many eigenvalues are neither positive nor negative at ends without the L2 term."""
    if len(zero_ratios) == 0:
        return "B: gradient of the loss alone almost zero"
    return ("B: gradient of the loss alone almost zero,\n"
            f"{100 * zero_ratios.mean():.0f} % of all eigenvalues count as zero")


def draw_above_decay(panel, results):
    """The ratio at the critical points by the plain loss's Hessian."""
    facts = results["facts"]
    draw_points(panel, [row for row in results["points"] if not row["constant"]],
                "plain_minimal_ratio")
    correlation = describe_correlation(facts["above_decay_correlation"], facts["varying_critical"])
    panel.set(title=f"Control: L2's part of curvature taken off,\n{correlation}",
              xlabel="loss, L2 term included",
              ylabel="minimal ratio")


def draw_choices(panel, results):
    """The correlations with and without what could carry them."""
    tolerance = results["constants"]["NEARLY_CRITICAL"]
    critical, ends = results["correlations"], results["tolerances"]
    rows = [find_row(critical, points="varying", hessian="regularized"),
            find_row(critical, points="distinct", hessian="regularized"),
            find_row(critical, points="varying", hessian="plain"),
            find_row(ends, points="varying", tolerance=tolerance),
            find_row(ends, points="distinct", tolerance=tolerance)]
    names = ["A: loss + L2", "A, also\nconstant output", "control: L2's part\ntaken off",
             "B: loss alone", "B, also\nconstant output"]
    labels = [f"{name} ({row['count']} points)" for name, row in zip(names, rows)]
    draw_correlations(panel, rows, labels, color_numbers=[1, 1, 1, 0, 0])
    panel.set(title=choices_title(rows))


def choices_title(rows):
    """Whether the correlation is negative with every choice of points and of eigenvalues."""
    if all_below_zero(rows):
        return "Other points, other eigenvalues:\nrank correlation still negative"
    return "Other points, other eigenvalues:\nrank correlation not always clearly negative"


def draw_tolerances(panel, results):
    """The correlation against how small a gradient has to be, without constant predictors."""
    rows = [row for row in results["tolerances"] if row["points"] == "varying"]
    labels = [f"{power_of_ten(row['tolerance'])} ({row['count']} points)" for row in rows]
    draw_correlations(panel, rows, labels, color_numbers=[0] * len(rows))
    panel.set(ylabel="largest norm of the gradient", title=tolerances_title(rows))


def tolerances_title(rows):
    """Whether the correlation is negative at all tolerances that leave enough ends."""
    if all_below_zero(rows):
        return "B, other limits on the gradient:\nstill negative"
    return "B, other limits on the gradient:\nnot always clearly negative"


def draw_correlations(panel, rows, labels, color_numbers):
    """Rank correlations with their intervals, the first row at the top.

    color_numbers are indices of COLORS and MARKERS.
    """
    heights = np.arange(len(rows))[::-1]
    for height, row, number in zip(heights, rows, color_numbers):
        draw_ranges(panel, [row], [height], ("spearman", "spearman_low", "spearman_high"),
                    COLORS[number], MARKERS[number])
        if row["spearman"] is None:
            panel.text(-0.5, height, "too few", ha="center", va="center", color=GREY)
    panel.axvline(0, color=GREY, linewidth=1)
    # A little more than −1 to 1, all that a correlation can be, so that no mark is cut.
    panel.set(xlim=(-1.05, 1.05), ylim=(-0.6, len(rows) - 0.4), yticks=heights, yticklabels=labels,
              xlabel="rank correlation of minimal ratio and loss")


def power_of_ten(value):
    """A number as 3 × 10⁻⁵ for a label, its first digit alone."""
    digit, exponent = f"{value:.0e}".split("e")
    power = f"$10^{{{int(exponent)}}}$"
    return power if digit == "1" else f"{digit} × {power}"


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts)
