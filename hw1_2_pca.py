"""What do paths of eight trainings look like in two dimensions, and how much of that is training?

Eight networks are trained from different initializations, and their weights are recorded every
three epochs. One principal component analysis (PCA) of all recorded weights gives the picture. The
same analysis of 200 sets of random walks shows what it would look like without training (Antognini
& Sohl-Dickstein 2018, arXiv:1806.08805). The loss is then measured on the plane of one path (Li et
al. 2018, arXiv:1712.09913) and along straight lines (Goodfellow et al. 2015, arXiv:1412.6544).

    python hw1_2_pca.py              # the report's figure
    python hw1_2_pca.py --quick      # a tour in seconds
"""

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import first_images, load_dataset
from common.evaluation import evaluate, predict
from common.models import cnn
from common.parameters import (
    barrier,
    interpolate,
    one_layer,
    parameter_vectors,
    permuted_copies,
    unflatten,
)
from common.pieces import Piece, groups_of_runs, join_runs, run_pieces
from common.plotting import find_row, new_figure
from common.progress import advance
from common.statistics import mean_ci95, mean_over_pairs, range_columns
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
import scipy
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
                       help="training images on which the surface and the lines are measured"),
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
CONTROL_WALKS = 200  # sets of random walks that the trainings are compared with
WALKS_IN_PIECE = 25  # of them, in one piece of work
WALK_COST = 10  # of one of them: the training steps that take as long, about
ALIKE = 0.9  # a plane that holds this fraction of what it holds of a training looks like it
ROUNDING = 1e-9  # fractions of variance that differ by less count as equal
ALPHAS = np.linspace(0, 1, 11)  # points of a straight line
NETWORKS_AT_ONCE = 10  # whose loss is measured together, to save memory
GROUPS_IN_PIECE = 5  # of so many networks each, in one piece of work
# Training steps that take as long as measuring the loss of NETWORKS_AT_ONCE, about.
GROUP_COST = 50


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
# Convolutions gain nothing from it on a CPU: here every run is trained in a stack of its own.
def build_model(run_number, settings):
    """A stack of one network, initialized from (seed, run_number)."""
    generators = run_generators(settings.seed, [run_number], "initialization")
    return cnn(BLOCKS, KERNEL, HIDDEN_WIDTHS, generators).to(settings.device)


# --- training ---


def train_model(data, run_number, settings):
    """Trains one run and records it every few epochs.

    Returns {"epochs": (1, checkpoints), "paths": weights (1, checkpoints, P) in float64, "loss" and
    "accuracy": training loss and accuracy (1, checkpoints), "predictions": the classes of the test
    images at the end (1, test images)}, arrays whose first dimension is the run.
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
        "predictions": predict(model, data.test_images).argmax(2).cpu().numpy(),
    }


def train_all(data, later_cost, settings):
    """train_model of all runs, each a piece of work: arrays with the runs as first dimension."""
    steps = count_steps(settings.train_size, settings.epochs, settings.batch_size)
    pieces = {}
    for run_number in range(settings.runs):
        pieces[run_number] = Piece(f"training, run {run_number}", train_model,
                                   (run_number, settings), steps, data=data)
    return join_runs(list(run_pieces(pieces, settings, later_cost).values()))


# --- losses of other networks than the trained ones ---


def measure_losses(data, vectors, settings):
    """The training loss of networks with these parameters (n, P), on the first images: (n,)."""
    images, labels = first_images(data, settings.train_size)
    model = build_model(0, settings)  # for its structure: other parameters replace its own
    losses = []
    for group in vectors.split(NETWORKS_AT_ONCE):
        parameters = unflatten(group.to(images.device), model)
        group_losses, _ = evaluate(model, images[: settings.probe_size],
                                   labels[: settings.probe_size], parameters)
        losses.append(group_losses)
        advance()
    return torch.cat(losses).cpu()


def measure_all_losses(vectors_by_name, data, settings):
    """measure_losses for {name: vectors (..., P)}, cut into pieces of work: {name: (...)}."""
    pieces = {}
    for name, vectors in vectors_by_name.items():
        groups = vectors.float().flatten(0, -2).split(GROUPS_IN_PIECE * NETWORKS_AT_ONCE)
        for number, group in enumerate(groups):
            # A copy: a part of a larger tensor would take the whole of it along.
            pieces[name, number] = Piece(f"losses, {name}, part {number}", measure_losses,
                                         (group.clone(), settings), GROUPS_IN_PIECE, GROUP_COST,
                                         data)
    measured = run_pieces(pieces, settings)
    losses = {}
    for name, vectors in vectors_by_name.items():
        parts = [part for (part_of, _), part in measured.items() if part_of == name]
        losses[name] = torch.cat(parts).view(vectors.shape[:-1])
    return losses


def cost_of_losses(settings):
    """What measure_all_losses will cost, about."""
    pairs = settings.runs * (settings.runs - 1) // 2
    networks = SURFACE_SIZE**2 + (2 * settings.runs + pairs) * len(ALPHAS)
    return GROUP_COST * networks / NETWORKS_AT_ONCE


# --- random walks ---


def draw_walks(paths, layer_paths, walk_number, settings):
    """One control walk: (R, checkpoints, P) like paths, and (R, checkpoints, p) like layer_paths.

    A control walk is a set of as many random walks as there are trainings. They start where the
    paths start and take steps of the same lengths in random directions. Every run of every control
    walk draws from a generator of its own.
    """
    numbers = [run + settings.runs * walk_number for run in range(settings.runs)]
    generators = run_generators(settings.seed, numbers, "probe")
    return random_walks(paths, generators), random_walks(layer_paths, generators)


def cost_of_walks():
    """What measure_all_walks will cost."""
    return CONTROL_WALKS * WALK_COST


def measure_walks(paths, layer_paths, walk_numbers, settings):
    """measure_views of the control walks of these numbers, their number as first dimension."""
    shares = {}
    for walk_number in walk_numbers:
        walks, layer_walks = draw_walks(paths, layer_paths, walk_number, settings)
        for view, values in measure_views(walks, layer_walks).items():
            shares.setdefault(view, []).append(values)
        advance()
    return {view: np.stack(values) for view, values in shares.items()}


def measure_all_walks(paths, layer_paths, later_cost, settings):
    """measure_walks of all control walks, cut into pieces of work.

    Returns {view: (walks, 2)}, of each run by itself {"own-path": (walks, R, 2)}.
    """
    pieces = {}
    for numbers in groups_of_runs(range(CONTROL_WALKS), WALKS_IN_PIECE):
        pieces[numbers[0]] = Piece(f"control walks {numbers[0]} to {numbers[-1]}", measure_walks,
                                   (paths, layer_paths, numbers, settings), len(numbers), WALK_COST)
    return join_runs(list(run_pieces(pieces, settings, later_cost).values()))


# --- measuring: paths are weights (R, checkpoints, P) of R trainings, or random walks ---


def look_at(paths, layer_paths):
    """Paths in three views: all weights, those of one layer, and all weights minus the start's."""
    return {"whole-model": paths, "one-layer": layer_paths, "from-start": paths - paths[:, :1]}


def measure_views(paths, layer_paths):
    """The fractions of variance in components 1 and 2 of every view: {view: (2,)}.

    All paths together have one PCA. In a fourth view each has a PCA of its own: {"own-path":
    (R, 2)}.
    """
    shares = {view: explained_variance(vectors.flatten(0, 1)).numpy()
              for view, vectors in look_at(paths, layer_paths).items()}
    shares["own-path"] = np.stack([explained_variance(path).numpy() for path in paths])
    return shares


def place_on_planes(paths, layer_paths):
    """The paths of each view on the plane of their PCA: {view: (R, checkpoints, 2)}."""
    return {view: project(fit_plane(vectors), vectors)
            for view, vectors in look_at(paths, layer_paths).items()}


def place_surface(path):
    """The plane of one path (checkpoints, P) as networks whose loss is to be measured.

    The plane has the directions of the path's two components and is moved so that it passes through
    the path's end. Coordinates are those of the PCA. The other points of the path lie beside the
    plane and are shown where they project to. Returns the networks (y, x, P), a row, and curves.
    """
    pca = fit_plane(path)
    points = project(pca, path)  # (checkpoints, 2), a NumPy array
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * (high - low)
    (x_low, y_low), (x_high, y_high) = low - margin, high + margin
    x = np.linspace(x_low, x_high, SURFACE_SIZE)
    y = np.linspace(y_low, y_high, SURFACE_SIZE)
    grid = np.stack(np.meshgrid(x, y), axis=-1)  # (y, x, 2)
    first, second = pca.explained_variance_ratio_
    row = {"run": 0, "explained_variance_1": first, "explained_variance_2": second,
           "variance_in_plane": first + second}
    return on_plane(pca, grid, through=path[-1]), row, {"x": x, "y": y, "path": points}


def place_lines(paths, copies):
    """The ends of straight lines between networks: {line: (first, second, pairs)}.

    first and second are (lines, P); pairs (lines, 2) are the two runs of every line. The lines lead
    from each start to its end, from each end to its permuted copy, and between the ends of each two
    runs. A copy (R, P) computes the same function with its hidden units in another order: where two
    runs are no farther apart than a run and its copy, the distance does not prove that they compute
    different functions.
    """
    starts, ends = paths[:, 0], paths[:, -1]
    own = own_pairs(len(paths))
    lines = {"start-to-end": (starts, ends, own), "end-to-copy": (ends, copies, own)}
    pairs = torch.combinations(torch.arange(len(paths)))
    if len(pairs) > 0:  # two runs at least
        lines["end-to-end"] = (ends[pairs[:, 0]], ends[pairs[:, 1]], pairs)
    return lines


def measure_pairs(paths, predictions):
    """Rows: how far each two runs are apart at the start, and how often they disagree at the end.

    predictions are the classes of the test images (R, N).
    """
    pairs = torch.combinations(torch.arange(len(paths)))
    if len(pairs) == 0:  # a single run
        return []
    first, second = pairs.T
    start_distances = (paths[first, 0] - paths[second, 0]).norm(dim=1)
    disagreements = (predictions[first] != predictions[second]).double().mean(1)
    return [summarize("start-to-start-distance", start_distances, pairs),
            summarize("disagreement", disagreements, pairs)]


# --- summing up ---


def monte_carlo_p_value(value, controls):
    """How often a control (n,) is at least as far from the controls' median as value: two-sided.

    value counts as one more control, so that the smallest p-value is 1 / (n + 1).
    """
    median = np.median(controls)
    as_far = abs(controls - median) >= abs(value - median) - ROUNDING
    return (as_far.sum() + 1) / (len(controls) + 1)


def compare_with_walks(shares, walk_shares):
    """Columns: fractions of variance (2,) of paths against those of control walks (walks, 2).

    The sampled unit is the control walk. The fractions in component 1, in component 2 and in both
    have the mean of the control walks beside them, and the range of their central 95 %. The p-value
    is that of the sum, see monte_carlo_p_value.
    """
    path_values = [*shares, shares.sum()]
    walk_values = [*walk_shares.T, walk_shares.sum(1)]
    columns = {}
    for name, of_paths, of_walks in zip(("1", "2", "sum"), path_values, walk_values):
        low, high = np.quantile(of_walks, (0.025, 0.975))
        columns[f"explained_variance_{name}"] = of_paths
        columns[f"control_explained_variance_{name}_mean"] = of_walks.mean()
        columns[f"control_explained_variance_{name}_low"] = low
        columns[f"control_explained_variance_{name}_high"] = high
    columns["control_walks"] = len(walk_shares)
    columns["p_value"] = monte_carlo_p_value(path_values[-1], walk_values[-1])
    return columns


def share_of_orthogonal_starts(runs):
    """The fraction of variance in each component of starts of one length, orthogonal to each other.

    Random starts in many dimensions are nearly that. When centred, R of them span R − 1 dimensions
    and vary equally in each. None for a single run.
    """
    return 1 / (runs - 1) if runs > 1 else None


def summarize_views(paths, layer_paths, shares, walk_shares):
    """Rows: how much of the variance of every view lies in a plane, and how much by chance.

    shares and walk_shares are measure_views of the paths and of all control walks. "own-path" has
    means over the runs, of the paths and of each control walk. "orthogonal_starts" is what the
    starts alone give, None where they are taken away.
    """
    rows = []
    for view, vectors in look_at(paths, layer_paths).items():
        of_starts = share_of_orthogonal_starts(len(paths)) if view != "from-start" else None
        rows.append({"view": view, **describe_paths(vectors),
                     **compare_with_walks(shares[view], walk_shares[view]),
                     "orthogonal_starts": of_starts})
    own_path = compare_with_walks(shares["own-path"].mean(0), walk_shares["own-path"].mean(1))
    rows.append({"view": "own-path", **describe_paths(paths), **own_path,
                 "orthogonal_starts": None})
    return rows


def describe_paths(paths):
    """The sizes of paths, as columns of a row."""
    runs, checkpoints, dimensions = paths.shape
    return {"runs": runs, "records": checkpoints, "dimensions": dimensions}


def summarize_own_paths(shares, walk_shares):
    """Rows: the path of each run by itself, (R, 2), against its own random walks (walks, R, 2)."""
    rows = []
    for run_index, run_shares in enumerate(shares):
        rows.append({"run": run_index,
                     **compare_with_walks(run_shares, walk_shares[:, run_index])})
    return rows


def summarize_lines(lines, losses):
    """Rows of the distances between the ends of lines, see place_lines, and rows of the barriers.

    losses are {line: (lines, alphas)}. The barrier is the most by which the loss exceeds the linear
    interpolation of the losses at the two ends. It cannot be negative, so it has a range and no
    t-interval; the lines between the ends of each two runs share runs.
    """
    distances, barriers = [], []
    for name, (first, second, pairs) in lines.items():
        distances.append(summarize(f"{name}-distance", (first - second).norm(dim=1), pairs))
        barriers.append({"line": name, "lines": len(pairs),
                         **range_columns("barrier", barrier(ALPHAS, losses[name]).numpy())})
    return distances, barriers


def summarize_surface(surface, end_loss):
    """Columns: the lowest loss of a surface, and whether it lies beyond the path's end.

    end_loss is the loss of the path's end. "lowest_position" is measured along the straight line
    from the path's start, where it is 0, to its end, where it is 1.
    """
    losses = np.asarray(surface["loss"])
    y_index, x_index = np.unravel_index(losses.argmin(), losses.shape)
    lowest = np.array([surface["x"][x_index], surface["y"][y_index]])
    start, end = surface["path"][0], surface["path"][-1]
    position = (lowest - start) @ (end - start) / np.square(end - start).sum()
    return {"end_loss": end_loss, "lowest_loss": losses.min(), "lowest_position": position,
            "lowest_beyond_end": bool(position > 1 and losses.min() < end_loss)}


def own_pairs(runs):
    """For values of which every run has one, the pairs that summarize asks for: (runs, 2).

    Each run is paired with itself.
    """
    every_run = torch.arange(runs)
    return torch.stack([every_run, every_run], dim=1)


def summarize(quantity, values, pairs):
    """A row: the mean of values (n,) with its interval, the smallest and the largest value.

    pairs (n, 2) are the numbers of the two runs that each value belongs to. The interval allows for
    pairs that share a run, which are not independent; see mean_over_pairs.
    """
    mean, half_width = mean_over_pairs(values, pairs)
    return {
        "quantity": quantity,
        "values": len(values),
        "mean": mean,
        "low": None if half_width is None else mean - half_width,
        "high": None if half_width is None else mean + half_width,
        "smallest": min(values),
        "largest": max(values),
    }


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size)
    history = train_all(data, cost_of_walks() + cost_of_losses(settings), settings)
    paths = torch.from_numpy(history["paths"])
    predictions = torch.from_numpy(history["predictions"])
    model = build_model(0, settings).cpu()  # for its structure
    layer_paths = one_layer(paths, model, ONE_LAYER)

    shares = measure_views(paths, layer_paths)
    walk_shares = measure_all_walks(paths, layer_paths, cost_of_losses(settings), settings)
    drawn_walk = draw_walks(paths, layer_paths, 0, settings)[0][0]  # of the first run

    copy_generator = run_generators(settings.seed, 1, "probe")[0]  # one order for all runs
    lines = place_lines(paths, permuted_copies(paths[:, -1], model, copy_generator))
    surface_networks, surface_row, surface = place_surface(paths[0])
    networks = {"surface": surface_networks}
    for name, (first, second, _) in lines.items():
        networks[name] = interpolate(first, second, torch.as_tensor(ALPHAS))
    losses = measure_all_losses(networks, data, settings)
    surface["loss"] = losses["surface"]
    line_losses = {name: losses[name] for name in lines}
    end_loss = line_losses["start-to-end"][0, -1]  # of the run whose surface it is
    surface_row |= summarize_surface(surface, end_loss)

    distances, barriers = summarize_lines(lines, line_losses)
    summaries = measure_pairs(paths, predictions) + distances
    values_of_runs = {
        "start_loss": history["loss"][:, 0],
        "end_loss": history["loss"][:, -1],
        "train_accuracy": history["accuracy"][:, -1],
        "test_accuracy": (predictions == data.test_labels.cpu()).double().mean(1),
    }
    values_of_runs["own-path-explained_variance_1"] = shares["own-path"][:, 0]
    values_of_runs["own-path-explained_variance_2"] = shares["own-path"][:, 1]
    values_of_runs["own-path-explained_variance_sum"] = shares["own-path"].sum(1)
    for quantity, values in values_of_runs.items():
        summaries.append(summarize(quantity, values, own_pairs(settings.runs)))

    return {
        "constants": {"RECORD_EVERY": RECORD_EVERY, "ALPHAS": ALPHAS,
                      "CONTROL_WALKS": CONTROL_WALKS},
        "table": summarize_views(paths, layer_paths, shares, walk_shares),
        "own_paths": summarize_own_paths(shares["own-path"], walk_shares["own-path"]),
        "differences": summaries,
        "barriers": barriers,
        "surface": [surface_row],
        "curves": {
            "epochs": history["epochs"][0],  # the same for all runs
            "loss": history["loss"],
            "accuracy": history["accuracy"],
            "surface": surface,
            "lines": line_losses,
            "paths": place_on_planes(paths, layer_paths),
            "walk": project(fit_plane(drawn_walk), drawn_walk),
        },
    }


def collect_facts(results):
    """What figure and report say of the results.

    "in_plane" is the fraction of variance in the plane of components 1 and 2; distances are
    Euclidean, between all weights; losses are in nats. Intervals of trainings are over the runs,
    those of walks hold the central 95 % of the control walks.
    """
    views = {row["view"]: row for row in results["table"]}
    differences = {row["quantity"]: row for row in results["differences"]}
    surface = results["surface"][0]
    whole_model, one_layer, own_path = (views[name] for name in
                                        ("whole-model", "one-layer", "own-path"))
    runs, starts = own_path["runs"], whole_model["orthogonal_starts"]
    return {
        "runs": runs,
        "training_in_plane": as_interval(differences["own-path-explained_variance_sum"], "mean"),
        "walk_in_plane": walks_in_plane(own_path),
        "alike": own_path["control_explained_variance_sum_mean"] > (
            ALIKE * own_path["explained_variance_sum"]),
        **compare_own_paths(results["own_paths"]),
        "equal_steps_in_plane": share_of_equal_steps(own_path["records"]),
        "whole_model_in_plane": whole_model["explained_variance_sum"],
        "whole_model_walk_in_plane": walks_in_plane(whole_model),
        "starts_in_plane": None if starts is None else min(2 * starts, 1),
        "one_layer_in_plane": one_layer["explained_variance_sum"],
        "one_layer_walk_in_plane": walks_in_plane(one_layer),
        "start_distance": mean_of(differences, "start-to-start-distance"),
        "moved_distance": mean_of(differences, "start-to-end-distance"),
        "end_distance": mean_of(differences, "end-to-end-distance"),
        "surface_end_loss": surface["end_loss"],
        "surface_lowest_loss": surface["lowest_loss"],
        "surface_lowest_beyond_end": surface["lowest_beyond_end"],
    }


def as_interval(row, name):
    """A number of a row with the ends of its interval."""
    return {"value": row[name], "low": row["low"], "high": row["high"]}


def walks_in_plane(row):
    """The fraction of the control walks' variance that lies in a plane: mean and central 95 %."""
    name = "control_explained_variance_sum"
    return {"value": row[f"{name}_mean"], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def mean_of(differences, quantity):
    """The mean of a quantity, None where there was a single run."""
    return differences[quantity]["mean"] if quantity in differences else None


def compare_own_paths(rows):
    """How much more of each run's path lies in its plane than of that run's random walks.

    The unit is the run. "excess" is the mean of the differences with its t-interval, "p_value" that
    of the paired t-test; None for a single run, and where all runs differ by the same, as those of
    three records do, which any plane holds.
    """
    excesses = [row["explained_variance_sum"] - row["control_explained_variance_sum_mean"]
                for row in rows]
    mean, half_width = mean_ci95(excesses)
    differ = np.ptp(excesses) > ROUNDING
    p_value = scipy.stats.ttest_1samp(excesses, 0).pvalue if differ else None
    return {"excess": {"value": mean, "ci95": half_width}, "excess_p_value": p_value}


def share_of_equal_steps(records):
    """The fraction of variance in the plane of a random walk with steps of one length.

    In many dimensions its steps are nearly orthogonal to each other. Its components then have
    variances that are proportional to these (Antognini & Sohl-Dickstein 2018).
    """
    variances = 1 / np.sin(np.pi * np.arange(1, records) / (2 * records)) ** 2
    return variances[:2].sum() / variances.sum()


# --- drawing ---

COLOR_MAP = "viridis"  # of losses


def plot(results):
    """One training beside a random walk, the surface of its plane, and all trainings together."""
    figure, panels = new_figure(figure_title(results["facts"]), results, 2, 2, height=3.4,
                                width_ratios=[1.15, 1], height_ratios=[1.2, 1])
    scale = loss_scale(results)
    draw_own_planes(panels[0, 0], results, scale)
    contours = draw_surface(panels[0, 1], results, scale)
    draw_view(panels[1, 0], results, "whole-model", "All weights", scale)
    draw_view(panels[1, 1], results, "one-layer", "One layer", scale)
    ticks = LogLocator().tick_values(scale.vmin, scale.vmax)
    figure.colorbar(contours, ax=panels, ticks=ticks[(ticks >= scale.vmin) & (ticks <= scale.vmax)],
                    format="%g", label="training loss (nats)", aspect=50)
    return figure


def figure_title(facts):
    """Whether a random walk looks about as flat as a training."""
    training, walk = facts["training_in_plane"]["value"], facts["walk_in_plane"]["value"]
    if facts["alike"]:
        return (f"A random walk looks nearly as flat as a training: its plane holds {walk:.0%}, "
                f"the training's {training:.0%}")
    return (f"A training looks flatter than a random walk: its plane holds {training:.0%}, "
            f"the walk's {walk:.0%}")


def loss_scale(results):
    """Logarithmic colours for all losses of the figure, from the lowest above zero."""
    losses = np.concatenate([np.ravel(results["curves"]["loss"]),
                             np.ravel(results["curves"]["surface"]["loss"])])
    return LogNorm(losses[losses > 0].min(), losses.max())


def draw_view(panel, results, view, name, scale):
    """The paths of all trainings in one view, and whether random walks vary as much in a plane."""
    row = find_row(results["table"], view=view)
    draw_paths(panel, results["curves"]["paths"][view], results["curves"]["loss"], scale, size=11)
    share, of_walks = row["explained_variance_sum"], row["control_explained_variance_sum_mean"]
    panel.set_title(f"{name}, {row['runs']} trainings in one plane: it holds\n{share:.0%} of the "
                    f"variance, of random walks {of_walks:.0%}")
    label_components(panel, row)


def label_components(panel, row):
    """The axes of a plane and the fractions of variance along them."""
    panel.set(xlabel=f"component 1: {row['explained_variance_1']:.0%} of the variance",
              ylabel=f"component 2: {row['explained_variance_2']:.0%}")


def draw_own_planes(panel, results, scale):
    """One training's path in its own plane, and one of its random walks in the walk's own plane."""
    row = find_row(results["own_paths"], run=0)
    path = np.array(results["curves"]["surface"]["path"])
    walk = np.array(results["curves"]["walk"])
    walk = walk * np.sign(path[0] * walk[0])  # a component's sign is free: both start on one side
    draw_paths(panel, [walk], linestyle=":")
    draw_paths(panel, [path], results["curves"]["loss"][:1], scale)
    of_walks = row["control_explained_variance_sum_mean"]
    label_point(panel, walk[0], f"random walk:\n{of_walks:.0%} in its plane", (0.3, 0.16))
    label_point(panel, path[1], f"training:\n{row['explained_variance_sum']:.0%} in its plane",
                (0.66, 0.75))
    panel.set(title="One training and one random walk with steps of\nthe same lengths, each in its "
                    "own plane (squares: starts)",
              xlabel="component 1", ylabel="component 2")


def label_point(panel, point, text, place):
    """Writes a text at a place of the panel, with a thin line to a point (2,)."""
    panel.annotate(text, point, xytext=place, textcoords="axes fraction", fontweight="bold",
                   arrowprops={"arrowstyle": "-", "linewidth": 0.6, "shrinkB": 6})


def draw_paths(panel, paths, losses=None, scale=None, linestyle="-", size=24):
    """Paths (R, checkpoints, 2), with a square at the start and points elsewhere.

    The marks have the colours of their losses (R, checkpoints) on the scale, or are white. size is
    theirs in square points.
    """
    style = {"s": size, "edgecolors": "black", "linewidths": 0.5}
    for run_index, path in enumerate(np.array(paths)):
        x, y = path.T
        if losses is None:
            colors = np.full(len(path), "white")
        else:
            shown_losses = np.clip(losses[run_index], scale.vmin, scale.vmax)
            colors = matplotlib.colormaps[COLOR_MAP](scale(shown_losses))
        panel.plot(x, y, linestyle, color="black", linewidth=0.8, zorder=1)
        panel.scatter(x[1:], y[1:], marker="o", c=colors[1:], **style)
        panel.scatter(x[:1], y[:1], marker="s", c=colors[:1], **style)


def draw_surface(panel, results, scale):
    """The training loss on the plane of one path, and the path; returns the contours."""
    surface, row = results["curves"]["surface"], results["surface"][0]
    levels = np.geomspace(scale.vmin, scale.vmax, 16)
    losses = np.clip(surface["loss"], scale.vmin, scale.vmax)
    contours = panel.contourf(surface["x"], surface["y"], losses, levels, norm=scale,
                              cmap=COLOR_MAP)
    draw_paths(panel, [surface["path"]])
    where = "beyond" if row["lowest_beyond_end"] else "not beyond"
    panel.set(title=f"Loss on the training's plane: lowest {where} the path's end\n"
                    "(of the path only the end lies on this surface)")
    label_components(panel, row)
    return contours


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts, uses_images=True)
