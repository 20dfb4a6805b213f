"""What do paths of eight trainings look like in two dimensions, and how much of that is training?

Eight networks are trained from different initializations, and their weights are recorded every
three epochs. One principal component analysis (PCA) of all recorded weights gives the picture. The
same analysis of 200 sets of random walks shows what it would look like without training (Antognini
& Sohl-Dickstein 2018, arXiv:1806.08805). The loss is then measured on the plane of one path, as a
surface (Li et al. 2018, arXiv:1712.09913).

    python hw1_2_pca.py              # the report's figure
    python hw1_2_pca.py --quick      # a tour in seconds
"""

from itertools import combinations

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import first_images, load_dataset
from common.evaluation import evaluate
from common.models import cnn
from common.parameters import one_layer, parameter_vectors, unflatten
from common.pieces import Piece, groups_of_runs, join_runs, run_pieces
from common.plotting import (
    COLORS,
    GREY,
    find_row,
    legend_below,
    new_figure,
    new_mosaic,
)
from common.progress import advance
from common.statistics import mean_ci95, p_value_of_mean, range_columns
from common.training import (
    count_steps,
    cross_entropy,
    expand_to_runs,
    run_generators,
    train,
)
from common.trajectory import explained_variance, fit_plane, on_plane, project, random_walks

import matplotlib
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 8, quick=4, help="trainings"),
    "epochs": Flag(positive_integer, 30, quick=6, help="training epochs"),
    "lr": Flag(positive_number, 3e-3, quick=3e-3,
               help="initial learning rate of Adam, falling to zero along a half cosine"),
    "train_size": Flag(positive_integer, 2_000, quick=500, at_most="dataset",
                       help="training images"),
    "batch_size": Flag(positive_integer, 64, quick=64, at_most="train_size",
                       help="images per mini-batch"),
    "probe_size": Flag(positive_integer, 1_000, quick=100, at_most="train_size",
                       help="training images on which the surface is measured"),
}
# Two convolutions, of 4 and of 8 channels, each followed by a 2×2 max-pool; then four linear
# layers, of which the output layer is the last.
BLOCKS = [[4], [8]]
KERNEL = 5
HIDDEN_WIDTHS = [32, 32, 32]
ONE_LAYER = 3  # the layer that is shown alone, counted from 0: the second linear one, 32 × 32
RECORD_EVERY = 3  # epochs between two checkpoints
SURFACE_SIZE = 21  # points along each side of the error surface
MARGIN = 0.3  # around the path on the error surface, as a fraction of the path's extent
# The trainings are compared with so many sets of random walks, each of one walk for every training.
WALK_SETS = 200
SETS_IN_PIECE = 10  # sets of walks in one piece of work
SET_COST = 10  # one set takes as long as about so many training steps
# A random walk looks as flat as a training if its plane holds more than this fraction of what the
# training's plane holds.
ALIKE = 0.9
ROUNDING = 1e-9  # fractions of variance that differ by less count as equal
NETWORKS_AT_ONCE = 10  # networks whose loss is measured together, to save memory
GROUPS_IN_PIECE = 5  # groups of NETWORKS_AT_ONCE in one piece of work
GROUP_COST = 50  # one group takes as long as about so many training steps


# --- networks ---


# Models are stacks of networks, see common/models.py: dimension 0 of their parameters, outputs and
# losses is the run. Here its size is 1, because larger stacks make convolutions no faster on a CPU.
# In the shapes of paths, R is the number of runs and P that of the parameters of one network.
def build_model(run_number, settings):
    """A stack of one network, initialized from (seed, run_number)."""
    generators = run_generators(settings.seed, [run_number], "initialization")
    return cnn(BLOCKS, KERNEL, HIDDEN_WIDTHS, generators).to(settings.device)


# --- training ---


def train_model(data, run_number, settings):
    """Trains one run and records it every few epochs.

    Returns {"epochs": (1, checkpoints), "paths": weights (1, checkpoints, P) in float64, "loss" and
    "accuracy": training loss and accuracy (1, checkpoints)}, arrays whose first dimension is the
    run.
    """
    model = build_model(run_number, settings)
    images, labels = first_images(data, settings.train_size)
    labels_of_runs = expand_to_runs(labels, model)  # (1, images): train asks for each run's own
    epochs, weights, losses, accuracies = [], [], [], []

    def record(epoch):  # train calls it before training, then every few epochs, and at the end
        loss, accuracy = evaluate(model, images, labels)
        epochs.append(epoch)
        weights.append(parameter_vectors(model).double())
        losses.append(loss)
        accuracies.append(accuracy)

    train(model, images, labels_of_runs, cross_entropy, epochs=settings.epochs,
          learning_rate=settings.lr, batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, [run_number], "order"),
          record=record, record_every=RECORD_EVERY)
    return {
        "epochs": np.array([epochs]),
        "paths": torch.stack(weights, dim=1).cpu().numpy(),
        "loss": torch.stack(losses, dim=1).cpu().numpy(),
        "accuracy": torch.stack(accuracies, dim=1).cpu().numpy(),
    }


def train_all(data, later_cost, settings):
    """train_model of all runs, each a piece of work: arrays with the runs as first dimension.

    later_cost is what the pieces of the later stages, walks and surface, cost together: the
    progress line counts them too.
    """
    steps = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    pieces = {}
    for run_number in range(settings.runs):
        pieces[run_number] = Piece(name=f"training, run {run_number}", function=train_model,
                                   arguments=(run_number, settings), steps=steps, data=data)
    histories = run_pieces(pieces, settings, later_cost)
    return join_runs(list(histories.values()))


# --- random walks: a set has one walk for each training ---


def draw_walks(paths, layer_paths, set_number, settings):
    """One set of walks: walks shaped like paths, and others shaped like layer_paths.

    paths are (R, checkpoints, P), layer_paths (R, checkpoints, parameters of one layer). A walk
    starts where the path of its training starts, and takes steps of the same lengths in random
    directions. Every walk of every set draws from a generator of its own.
    """
    walk_numbers = [set_number * settings.runs + run for run in range(settings.runs)]
    # "probe" is the stream of all random directions, see STREAMS in common/training.py.
    generators = run_generators(settings.seed, walk_numbers, "probe")
    return random_walks(paths, generators), random_walks(layer_paths, generators)


def measure_walks(paths, layer_paths, set_numbers, settings):
    """measure_views of the sets of walks of these numbers: {view: (sets, ...)}."""
    fractions = {}
    for set_number in set_numbers:
        walks, layer_walks = draw_walks(paths, layer_paths, set_number, settings)
        for view, values in measure_views(walks, layer_walks).items():
            fractions.setdefault(view, []).append(values)
        advance()  # the line of progress
    return {view: np.stack(values) for view, values in fractions.items()}


def measure_all_walks(paths, layer_paths, later_cost, settings):
    """measure_walks of all sets, cut into pieces of work: {view: (sets, ...)}.

    later_cost is what the pieces of the later stage, the surface, cost together.
    """
    pieces = {}
    for numbers in groups_of_runs(range(WALK_SETS), SETS_IN_PIECE):
        pieces[numbers[0]] = Piece(name=f"random walks, sets {numbers[0]} to {numbers[-1]}",
                                   function=measure_walks,
                                   arguments=(paths, layer_paths, numbers, settings),
                                   steps=len(numbers), step_cost=SET_COST)
    fractions = run_pieces(pieces, settings, later_cost)
    return join_runs(list(fractions.values()))


# --- planes: paths are weights (R, checkpoints, P) of R trainings, or random walks ---


def views_of(paths, layer_paths):
    """The three views in which all paths share one plane: {view: (R, checkpoints, parameters)}.

    They are all weights, those of one layer, and all weights minus those at the start.
    """
    return {"whole-model": paths, "one-layer": layer_paths, "from-start": paths - paths[:, :1]}


def measure_views(paths, layer_paths):
    """The fractions of variance in components 1 and 2 of every view: {view: (2,)}.

    In the views of views_of all paths together have one PCA. A fourth view is "own-path", in which
    each path has a PCA of its own: (R, 2).
    """
    fractions = {}
    for view, vectors in views_of(paths, layer_paths).items():
        points = vectors.flatten(0, 1)  # (R · checkpoints, parameters)
        fractions[view] = explained_variance(points).numpy()  # (2,)
    own_fractions = [explained_variance(path).numpy() for path in paths]  # path (checkpoints, P)
    fractions["own-path"] = np.stack(own_fractions)
    return fractions


def place_on_planes(paths, layer_paths):
    """The paths of each view of views_of on the plane of their PCA: {view: (R, checkpoints, 2)}."""
    on_planes = {}
    for view, vectors in views_of(paths, layer_paths).items():
        pca = fit_plane(vectors)  # of all R · checkpoints points together
        on_planes[view] = project(pca, vectors)
    return on_planes


# --- the loss on the plane of one path ---


def place_surface(path):
    """The plane of one path (checkpoints, P): the networks on it, and where the path lies.

    The plane has the directions of the path's two components and is moved so that it passes through
    the path's end. The other points of the path are not on it; they are shown where they project
    to. Returns networks (y, x, P), {"x", "y": coordinates of the networks, "path": (checkpoints,
    2)}, and the fractions of the path's variance in both components (2,).
    """
    pca = fit_plane(path)
    points = project(pca, path)  # (checkpoints, 2), a NumPy array
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * (high - low)
    (x_low, y_low), (x_high, y_high) = low - margin, high + margin
    x = np.linspace(x_low, x_high, SURFACE_SIZE)
    y = np.linspace(y_low, y_high, SURFACE_SIZE)
    grid = np.stack(np.meshgrid(x, y), axis=-1)  # (y, x, 2)
    networks = on_plane(pca, grid, through=path[-1])
    return networks, {"x": x, "y": y, "path": points}, pca.explained_variance_ratio_


def measure_losses(data, vectors, settings):
    """The training loss of networks with these parameters (n, P), on the first images: (n,)."""
    images, labels = first_images(data, settings.probe_size)
    model = build_model(0, settings)  # for its structure: other parameters replace its own
    losses = []
    for group in vectors.split(NETWORKS_AT_ONCE):
        parameters = unflatten(group.to(images.device), model)
        group_losses, _ = evaluate(model, images, labels, parameters)
        losses.append(group_losses)
        advance()  # the line of progress
    return torch.cat(losses).cpu()


def measure_surface(networks, data, settings):
    """measure_losses of networks (y, x, P), cut into pieces of work: (y, x)."""
    vectors = networks.float().flatten(0, 1)  # (y · x, P)
    pieces = {}
    for number, part in enumerate(vectors.split(GROUPS_IN_PIECE * NETWORKS_AT_ONCE)):
        # A copy: a part of a larger tensor would take the whole of it along.
        pieces[number] = Piece(name=f"losses on the plane, part {number}", function=measure_losses,
                               arguments=(part.clone(), settings), steps=GROUPS_IN_PIECE,
                               step_cost=GROUP_COST, data=data)
    losses = torch.cat(list(run_pieces(pieces, settings).values()))  # (y · x,)
    return losses.view(networks.shape[:-1]).numpy()


# --- summing up ---


def monte_carlo_p_value(value, controls):
    """The fraction of controls (n,) that are at least as far from their median as value is.

    This is a two-sided p-value. value counts as one more control, so that the smallest p-value is
    1 / (n + 1).
    """
    median = np.median(controls)
    as_far = abs(controls - median) >= abs(value - median) - ROUNDING
    return (as_far.sum() + 1) / (len(controls) + 1)


def compare_with_walks(fractions, walk_fractions):
    """Columns: fractions of variance (2,) of paths against those of random walks (sets, 2).

    The fractions in component 1, in component 2 and in both have the mean of the sets beside them,
    and the range of their central 95 %. The p-value is that of the sum, see monte_carlo_p_value. It
    treats each set of walks as one independent sample.
    """
    path_values = [*fractions, fractions.sum()]
    walk_values = [*walk_fractions.T, walk_fractions.sum(1)]
    columns = {}
    for name, of_paths, of_walks in zip(("1", "2", "sum"), path_values, walk_values):
        low, high = np.quantile(of_walks, (0.025, 0.975))
        columns[f"explained_variance_{name}"] = of_paths
        columns[f"walk_explained_variance_{name}_mean"] = of_walks.mean()
        columns[f"walk_explained_variance_{name}_low"] = low
        columns[f"walk_explained_variance_{name}_high"] = high
    columns["walk_sets"] = len(walk_fractions)
    columns["p_value"] = monte_carlo_p_value(path_values[-1], walk_values[-1])
    return columns


def fraction_of_orthogonal_starts(runs):
    """The fraction of variance in each component if all starts were orthogonal and equally long.

    Random starts in many dimensions are nearly that. R such starts are the corners of a regular
    simplex, as three are those of an equilateral triangle. Around their mean the corners span R − 1
    dimensions and vary equally in each: each component has 1 / (R − 1). None for a single run.
    """
    return 1 / (runs - 1) if runs > 1 else None


def summarize_views(paths, layer_paths, fractions, walk_fractions):
    """Rows: how much of the variance of every view lies in a plane, and how much by chance.

    fractions and walk_fractions are measure_views of the paths and of all sets of walks. "own-path"
    has means over the runs, of the paths and of each set. "orthogonal_starts" is what the starts
    alone give, None where they are taken away.
    """
    rows = []
    for view, vectors in views_of(paths, layer_paths).items():
        of_starts = fraction_of_orthogonal_starts(len(paths)) if view != "from-start" else None
        rows.append({"view": view, **describe_paths(vectors),
                     **compare_with_walks(fractions[view], walk_fractions[view]),
                     "orthogonal_starts": of_starts})
    own_path = compare_with_walks(fractions["own-path"].mean(0),
                                  walk_fractions["own-path"].mean(1))
    rows.append({"view": "own-path", **describe_paths(paths), **own_path,
                 "orthogonal_starts": None})
    return rows


def describe_paths(paths):
    """The sizes of paths, as columns of a row."""
    runs, checkpoints, dimensions = paths.shape
    return {"runs": runs, "checkpoints": checkpoints, "dimensions": dimensions}


def summarize_own_paths(fractions, walk_fractions):
    """Rows: the path of each run by itself, (R, 2), against its own random walks (sets, R, 2)."""
    rows = []
    for run_index, run_fractions in enumerate(fractions):
        rows.append({"run": run_index,
                     **compare_with_walks(run_fractions, walk_fractions[:, run_index])})
    return rows


def summarize_trainings(paths, history):
    """Rows: medians and ranges over the runs of distances, losses and accuracies.

    A distance is Euclidean, between all weights. "start-to-start" is between each two runs; there
    is none for a single run.
    """
    values = {
        "start-to-end distance": (paths[:, -1] - paths[:, 0]).norm(dim=1).numpy(),
        "start loss": history["loss"][:, 0],
        "end loss": history["loss"][:, -1],
        "end accuracy": history["accuracy"][:, -1],
    }
    first, second = torch.combinations(torch.arange(len(paths))).T
    if len(first) > 0:
        values["start-to-start distance"] = (paths[first, 0] - paths[second, 0]).norm(dim=1).numpy()
    return [{"quantity": quantity, "values": len(of_quantity),
             **range_columns("value", of_quantity)} for quantity, of_quantity in values.items()]


def summarize_surface(surface, fractions, end_loss):
    """A row: the lowest loss of a surface, and whether it lies beyond the path's end.

    fractions (2,) are those of the path's variance along both components, end_loss is the loss at
    the path's end. The lowest loss is beyond the end if, measured along the straight line from the
    path's start to its end, it is farther away than the end.
    """
    losses = surface["loss"]
    y_index, x_index = np.unravel_index(losses.argmin(), losses.shape)
    lowest = np.array([surface["x"][x_index], surface["y"][y_index]])
    start, end = surface["path"][0], surface["path"][-1]
    position = (lowest - start) @ (end - start) / np.square(end - start).sum()  # the end is at 1
    return {
        "run": 0,
        "explained_variance_1": fractions[0],
        "explained_variance_2": fractions[1],
        "end_loss": end_loss,
        "lowest_loss": losses.min(),
        "lowest_beyond_end": bool(position > 1 and losses.min() < end_loss),
    }


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size)
    cost_of_walks = WALK_SETS * SET_COST
    groups_on_surface = SURFACE_SIZE**2 / NETWORKS_AT_ONCE
    cost_of_surface = groups_on_surface * GROUP_COST
    history = train_all(data, cost_of_walks + cost_of_surface, settings)
    paths = torch.from_numpy(history["paths"])
    model = build_model(0, settings).cpu()  # for its structure
    layer_paths = one_layer(paths, model, ONE_LAYER)

    fractions = measure_views(paths, layer_paths)
    walk_fractions = measure_all_walks(paths, layer_paths, cost_of_surface, settings)
    walks, _ = draw_walks(paths, layer_paths, 0, settings)
    drawn_walk = walks[0]  # (checkpoints, P): beside the path of the first run

    surface_networks, surface, surface_fractions = place_surface(paths[0])
    surface["loss"] = measure_surface(surface_networks, data, settings)
    end_loss = measure_losses(data, paths[:1, -1].float(), settings).item()
    return {
        "constants": {"BLOCKS": BLOCKS, "KERNEL": KERNEL, "HIDDEN_WIDTHS": HIDDEN_WIDTHS,
                      "RECORD_EVERY": RECORD_EVERY, "WALK_SETS": WALK_SETS},
        "table": summarize_views(paths, layer_paths, fractions, walk_fractions),
        "own_paths": summarize_own_paths(fractions["own-path"], walk_fractions["own-path"]),
        "trainings": summarize_trainings(paths, history),
        "surface": [summarize_surface(surface, surface_fractions, end_loss)],
        "curves": {
            "epochs": history["epochs"][0],  # the same for all runs
            "loss": history["loss"],
            "accuracy": history["accuracy"],
            "surface": surface,
            "paths": place_on_planes(paths, layer_paths),
            "walk": project(fit_plane(drawn_walk), drawn_walk),
        },
    }


def collect_facts(results):
    """What figure and report say: fractions of variance in a plane, and distances between weights.

    The planes are those of components 1 and 2. Distances are Euclidean.
    """
    views = {row["view"]: row for row in results["table"]}
    trainings = {row["quantity"]: row for row in results["trainings"]}
    own_path = views["own-path"]
    in_plane = own_path["explained_variance_sum"]
    walk_in_plane = own_path["walk_explained_variance_sum_mean"]
    start_distances = trainings.get("start-to-start distance")  # None for a single run
    lowest_of_starts = None if start_distances is None else start_distances["value_lowest"]
    all_trainings = views["whole-model"]
    return {
        # In a training's own plane: a mean over the runs.
        "training_in_plane": in_plane,
        # In a random walk's own plane: the mean, and the ends of the central 95 % of the sets.
        "walk_in_plane": {"value": walk_in_plane,
                          "low": own_path["walk_explained_variance_sum_low"],
                          "high": own_path["walk_explained_variance_sum_high"]},
        # Whether the two are about the same.
        "alike": walk_in_plane > ALIKE * in_plane,
        # "excess" and "excess_p_value": by how much training_in_plane is above walk_in_plane.
        **compare_own_paths(results["own_paths"]),
        # In the plane of a random walk whose steps are all equally long.
        "equal_steps_in_plane": fraction_of_equal_steps(own_path["checkpoints"]),
        # In one plane of all trainings, with all weights.
        "all_trainings_in_plane": all_trainings["explained_variance_sum"],
        # What that plane would hold if the runs differed by their random starts alone.
        "unrelated_starts_in_plane": fraction_of_unrelated_starts(all_trainings["runs"]),
        # Between the two starts that are closest, among all weights.
        "lowest_start_distance": lowest_of_starts,
        # Between the two starts that look closest in the plane of all trainings.
        "lowest_start_distance_in_plane": lowest_start_distance(
            results["curves"]["paths"]["whole-model"]),
        # From start to end of the run that moves farthest, among all weights.
        "highest_moved_distance": trainings["start-to-end distance"]["value_highest"],
        # Whether the loss on the plane of one path is lowest beyond the path's end.
        "surface_lowest_beyond_end": results["surface"][0]["lowest_beyond_end"],
    }


def compare_own_paths(rows):
    """How much more of each run's path lies in its plane than of that run's random walks.

    "excess" is the mean of the differences with its t-interval, "excess_p_value" the p-value of a
    t-test of the differences. Both treat each run as one independent sample. The p-value is None
    for a single run, and where all runs differ by the same: three checkpoints always lie in a
    plane, those of a walk too.
    """
    excesses = [row["explained_variance_sum"] - row["walk_explained_variance_sum_mean"]
                for row in rows]
    mean, half_width = mean_ci95(excesses)
    differ = np.ptp(excesses) > ROUNDING
    p_value = p_value_of_mean(excesses) if differ else None
    return {"excess": {"value": mean, "ci95": half_width}, "excess_p_value": p_value}


def fraction_of_unrelated_starts(runs):
    """The fraction of variance in the plane of two components of random starts alone.

    It is 2 / (R − 1), see fraction_of_orthogonal_starts, and all of it for two runs, which lie on a
    line. None for a single run.
    """
    in_each_component = fraction_of_orthogonal_starts(runs)
    return None if in_each_component is None else min(1, 2 * in_each_component)


def lowest_start_distance(paths):
    """The lowest distance of two starts of paths (R, checkpoints, 2); None for a single run."""
    starts = np.array(paths)[:, 0]
    distances = [np.linalg.norm(first - second) for first, second in combinations(starts, 2)]
    return min(distances, default=None)


def fraction_of_equal_steps(checkpoints):
    """The fraction of variance in the plane of a random walk with steps of one length.

    In many dimensions its steps are nearly orthogonal to each other. With T checkpoints the
    variance along component k is then proportional to 1 / sin²(πk / (2T)) (Antognini &
    Sohl-Dickstein 2018).
    """
    k = np.arange(1, checkpoints)
    variances = 1 / np.sin(np.pi * k / (2 * checkpoints)) ** 2
    return variances[:2].sum() / variances.sum()


# --- drawing ---

COLOR_MAP = "viridis"  # of losses
TRAINING_COLOR, WALK_COLOR = COLORS[0], GREY
# The views whose variances are drawn, by their names in the table, from top to bottom. "from-start"
# is in the table alone.
VIEW_LABELS = {"own-path": "each run by itself", "whole-model": "all runs, all weights",
               "one-layer": "all runs, one layer"}


def plot(results):
    """One training and one random walk, each in its own plane, and all trainings in one plane."""
    figure, panels = new_figure(figure_title(results["facts"]), results, 1, 2, height=3.5,
                                width_ratios=[1.3, 1])
    own_panel, all_panel = panels[0]
    draw_own_planes(own_panel, results)
    draw_all_trainings(all_panel, results)
    legend_below(figure, own_panel)
    return figure


def plot_details(results):
    """The loss on the plane of one training, one layer of all, and the variance in each plane."""
    layout = [["surface"] * 3 + ["layer"] * 2, ["variances"] * 5]
    figure, panels = new_mosaic(details_title(results["facts"]), results, layout, height=4.8,
                                height_ratios=[2, 1])
    scale = loss_scale(results)
    contours = draw_surface(panels["surface"], results, scale)
    draw_one_layer(panels["layer"], results, scale)
    draw_variances(panels["variances"], results)
    ticks = LogLocator().tick_values(scale.vmin, scale.vmax)
    is_shown = (ticks >= scale.vmin) & (ticks <= scale.vmax)
    surface_images = results["settings"]["probe_size"]
    path_images = results["settings"]["train_size"]
    figure.colorbar(contours, ax=[panels["surface"], panels["layer"]], format="%g",
                    ticks=ticks[is_shown],
                    label="training loss (nats): of the surface on\n"
                          f"{surface_images:,} images, of the paths on {path_images:,}")
    legend_below(figure, panels["surface"], panels["variances"])
    figure.get_layout_engine().set(wspace=0.06)  # as much of a panel's width between neighbours
    return figure


def figure_title(facts):
    """Whether a random walk lies about as nearly in a plane as a training."""
    training, walk = facts["training_in_plane"], facts["walk_in_plane"]["value"]
    if facts["alike"]:
        return (f"A training lies nearly in a plane ({training:.0%}), "
                f"but so does a random walk ({walk:.0%})")
    return (f"A training lies nearer to a plane than a random walk: "
            f"{training:.0%} against {walk:.0%}")


def details_title(facts):
    """Where the loss is lowest on the plane of a training."""
    if facts["surface_lowest_beyond_end"]:
        return "On the plane of a training, the loss is lowest beyond the path's end"
    return "On the plane of a training, the loss is not lowest beyond the path's end"


# --- drawing: paths are (checkpoints, 2) ---


def draw_path(panel, path, line_color, point_colors, linestyle="-", size=24):
    """A path with a square at its start, and points elsewhere, in front of it.

    point_colors has one for each checkpoint. size is that of the points in square points.
    """
    x, y = np.array(path).T
    style = {"edgecolors": line_color, "linewidths": size / 30}  # thin around small points
    panel.plot(x, y, linestyle, color=line_color, linewidth=0.9, zorder=2)
    panel.scatter(x[:1], y[:1], marker="s", c=point_colors[:1], s=2 * size, zorder=1.5, **style)
    panel.scatter(x[1:], y[1:], marker="o", c=point_colors[1:], s=size, zorder=3, **style)


def draw_own_planes(panel, results):
    """One training's path in its own plane, and one of its random walks in the walk's own plane.

    One walk is drawn, but the percentages of walks are means of all the walks of this training.
    """
    row = find_row(results["own_paths"], run=0)
    path = np.array(results["curves"]["surface"]["path"])
    walk = np.array(results["curves"]["walk"])
    walk = walk * np.sign(path[0] * walk[0])  # a component's sign is free: both start on one side
    draw_path(panel, walk, WALK_COLOR, ["white"] * len(walk), ":")
    draw_path(panel, path, TRAINING_COLOR, [TRAINING_COLOR] * len(path))
    panel.annotate("random walks:\n"
                   f"{row['walk_explained_variance_sum_mean']:.0%} on average",
                   walk[1], xytext=(-20, 8), textcoords="offset points", ha="center", va="bottom",
                   color="#555555", fontweight="bold")
    panel.annotate(f"training:\n{row['explained_variance_sum']:.0%} in its plane",
                   path[1], xytext=(8, 2), textcoords="offset points", ha="left", va="bottom",
                   color=TRAINING_COLOR, fontweight="bold")
    panel.plot([], [], "o-", color=TRAINING_COLOR, label="training")
    panel.plot([], [], "o:", color=WALK_COLOR, markerfacecolor="white", label="random walk")
    panel.plot([], [], "s", color=GREY, markerfacecolor="white", label="start")
    panel.set_aspect("equal", adjustable="datalim")
    panel.set(title="One training, and a random walk with steps\nof the same lengths, each in its "
                    "own plane",
              xlabel=f"component 1 ({row['explained_variance_1']:.0%} of the variance, "
                     f"of walks {row['walk_explained_variance_1_mean']:.0%} on average)",
              ylabel=f"component 2 ({row['explained_variance_2']:.0%}, of walks "
                     f"{row['walk_explained_variance_2_mean']:.0%})")


def draw_all_trainings(panel, results):
    """The paths of all trainings in one plane, with all weights."""
    for path in results["curves"]["paths"]["whole-model"]:
        draw_path(panel, path, TRAINING_COLOR, [TRAINING_COLOR] * len(path), size=8)
    panel.set_aspect("equal", adjustable="datalim")
    panel.locator_params(nbins=6, steps=[1, 2, 5, 10])
    panel.set_title(all_trainings_title(results["facts"]))
    label_components(panel, find_row(results["table"], view="whole-model"))


def all_trainings_title(facts):
    """Whether the paths are short beside their distances, and how much of these a plane hides."""
    in_space, in_plane = facts["lowest_start_distance"], facts["lowest_start_distance_in_plane"]
    if in_space is None:
        return "The only training"
    far_apart = in_space > 2 * facts["highest_moved_distance"]
    title = "All trainings in one plane"
    if far_apart:
        title += ": short paths, far apart"
    return f"{title}.\nNearest starts: {in_plane:.1f} apart as drawn, {in_space:.0f} in truth"


def label_components(panel, row):
    """The axes of a plane and the fractions of variance along them."""
    panel.set(xlabel=f"component 1 ({row['explained_variance_1']:.0%} of the variance)",
              ylabel=f"component 2 ({row['explained_variance_2']:.0%})")


def loss_scale(results):
    """Logarithmic colours for all losses of the details, from the lowest above zero."""
    losses = np.concatenate([np.ravel(results["curves"]["loss"]),
                             np.ravel(results["curves"]["surface"]["loss"])])
    return LogNorm(losses[losses > 0].min(), losses.max())


def draw_surface(panel, results, scale):
    """The training loss on the plane of one path, and the path; returns the contours."""
    surface, row = results["curves"]["surface"], results["surface"][0]
    levels = np.geomspace(scale.vmin, scale.vmax, 16)
    losses = np.clip(surface["loss"], scale.vmin, scale.vmax)
    contours = panel.contourf(surface["x"], surface["y"], losses, levels, norm=scale,
                              cmap=COLOR_MAP)
    draw_path(panel, surface["path"], "black", ["white"] * len(surface["path"]))
    panel.plot([], [], "s", color="black", markerfacecolor="white", label="start of a training")
    panel.set_aspect("equal")
    panel.set_title("The plane through the end of one training,\nand the projection of its path")
    label_components(panel, row)
    return contours


def draw_one_layer(panel, results, scale):
    """The paths of all trainings in one plane, with the weights of one layer, coloured by loss."""
    paths, losses = results["curves"]["paths"]["one-layer"], results["curves"]["loss"]
    for path, path_losses in zip(paths, losses):
        shown_losses = np.clip(path_losses, scale.vmin, scale.vmax)
        draw_path(panel, path, "black", matplotlib.colormaps[COLOR_MAP](scale(shown_losses)),
                  size=6)
    panel.set_aspect("equal", adjustable="datalim")
    panel.locator_params(nbins=6, steps=[1, 2, 5, 10])
    panel.set_title("One layer of all trainings")
    label_components(panel, find_row(results["table"], view="one-layer"))


def draw_variances(panel, results):
    """How much of the variance a plane holds: of trainings, of random walks, of starts alone."""
    for place, view in enumerate(VIEW_LABELS):
        row = find_row(results["table"], view=view)
        panel.plot(100 * row["explained_variance_sum"], place - 0.15, "o", color=TRAINING_COLOR,
                   clip_on=False)
        panel.hlines(place + 0.15, 100 * row["walk_explained_variance_sum_low"],
                     100 * row["walk_explained_variance_sum_high"], color=WALK_COLOR)
        panel.plot(100 * row["walk_explained_variance_sum_mean"], place + 0.15, "o",
                   color=WALK_COLOR, markerfacecolor="white", clip_on=False)
        if row["orthogonal_starts"] is not None:
            of_starts = 100 * results["facts"]["unrelated_starts_in_plane"]
            panel.vlines(of_starts, place - 0.4, place + 0.4, color="black", linewidth=1, zorder=1)
    panel.plot([], [], "o", color=TRAINING_COLOR, label="trainings")
    panel.plot([], [], "o-", color=WALK_COLOR, markerfacecolor="white",
               label="random walks, central 95 %")
    panel.plot([], [], "|", color="black", markersize=12, label="unrelated starts alone")
    panel.grid(False, axis="y")
    panel.tick_params(axis="y", length=0)
    panel.set(title=variances_title(results["facts"]), xlabel="variance in the plane (%)",
              xlim=(0, 100), ylim=(len(VIEW_LABELS) - 0.5, -0.5),
              yticks=range(len(VIEW_LABELS)), yticklabels=VIEW_LABELS.values())


def variances_title(facts):
    """What the plane of all trainings holds, beside that of unrelated starts alone."""
    if facts["unrelated_starts_in_plane"] is None:
        return "The variance in a plane"
    return (f"One plane of all trainings holds {facts['all_trainings_in_plane']:.0%} of the "
            f"variance; unrelated starts alone give {facts['unrelated_starts_in_plane']:.0%}")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts, uses_images=True)
