"""What do paths of eight trainings look like in two dimensions, and how much of that is training?

Eight networks are trained from different initializations, and their weights are recorded every
three epochs. One principal component analysis (PCA) of all recorded weights gives the picture. The
same analysis of random walks shows what it would look like without training (Antognini &
Sohl-Dickstein 2018, arXiv:1806.08805). The loss is then measured on the plane of one path (Li et
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
from common.pieces import Piece, join_runs, run_pieces
from common.plotting import (
    COLORS,
    MARKERS,
    TRAIN,
    draw_runs,
    find_row,
    legend_below,
    new_figure,
)
from common.progress import advance
from common.statistics import mean_over_pairs
from common.training import (
    count_steps,
    cross_entropy,
    expand_to_runs,
    run_generators,
    train,
)
from common.trajectory import fit_plane, on_plane, project, random_walks

import matplotlib
import numpy as np
import torch
from matplotlib.colors import LogNorm

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


# --- measuring: paths are weights (R, checkpoints, P) of R trainings ---


def measure_plane(paths, walks):
    """How much of the variance of paths, and of random walks as their control, lies in a plane.

    Each of the two has a PCA of its own. Returns the fractions of variance in the first and second
    component as a dict of columns, and paths and walks on their planes (R, checkpoints, 2).
    """
    path_pca, walk_pca = fit_plane(paths), fit_plane(walks)
    columns = {}
    columns["explained_variance_1"], columns["explained_variance_2"] = (
        path_pca.explained_variance_ratio_)
    columns["control_explained_variance_1"], columns["control_explained_variance_2"] = (
        walk_pca.explained_variance_ratio_)
    return columns, project(path_pca, paths), project(walk_pca, walks)


def measure_views(paths, model, settings):
    """Looks at the trainings in three ways: all weights, one layer, and each path minus its start.

    The control of each view is as many random walks, which start where the paths start and take
    steps of the same lengths in random directions. Returns the rows of the table, and paths and
    walks on their planes, {view: (R, checkpoints, 2)} each.
    """
    views = {
        "whole-model": paths,
        "one-layer": one_layer(paths, model, ONE_LAYER),
        "from-start": paths - paths[:, :1],  # not drawn
    }
    rows, paths_on_planes, walks_on_planes = [], {}, {}
    for view, vectors in views.items():
        walks = random_walks(vectors, run_generators(settings.seed, settings.runs, "probe"))
        columns, paths_on_planes[view], walks_on_planes[view] = measure_plane(vectors, walks)
        rows.append({"view": view, **describe_paths(vectors), **columns})
    return rows, paths_on_planes, walks_on_planes


def describe_paths(paths):
    """The sizes of paths, as columns of a row."""
    runs, checkpoints, dimensions = paths.shape
    return {"runs": runs, "records": checkpoints, "dimensions": dimensions}


def measure_own_planes(paths, settings):
    """measure_plane of each path by itself: {column: values (R,)}."""
    generators = run_generators(settings.seed, settings.runs, "probe")
    values = {}
    for run_index, generator in enumerate(generators):
        path = paths[run_index : run_index + 1]  # (1, checkpoints, P)
        walk = random_walks(path, [generator])
        columns, _, _ = measure_plane(path, walk)
        for column, value in columns.items():
            values.setdefault(column, []).append(value)
    return values


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


def summarize_lines(lines, losses):
    """Rows: the distance between the ends of lines, see place_lines, and the barrier between them.

    losses are {line: (lines, alphas)}. The barrier is the most by which the loss exceeds the linear
    interpolation of the losses at the two ends.
    """
    rows = []
    for name, (first, second, pairs) in lines.items():
        distances = (first - second).norm(dim=1)
        rows.append(summarize(f"{name}-distance", distances, pairs))
        rows.append(summarize(f"{name}-barrier", barrier(ALPHAS, losses[name]), pairs))
    return rows


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
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    history = train_all(data, cost_of_losses(settings), settings)
    paths = torch.from_numpy(history["paths"])
    predictions = torch.from_numpy(history["predictions"])
    model = build_model(0, settings).cpu()  # for its structure

    table, paths_on_planes, walks_on_planes = measure_views(paths, model, settings)
    own_planes = measure_own_planes(paths, settings)
    own_means = {column: np.mean(values) for column, values in own_planes.items()}
    table.append({"view": "own-path", **describe_paths(paths), **own_means})

    copy_generator = run_generators(settings.seed, 1, "probe")[0]  # one order for all runs
    lines = place_lines(paths, permuted_copies(paths[:, -1], model, copy_generator))
    surface_networks, surface_row, surface = place_surface(paths[0])
    networks = {"surface": surface_networks}
    for name, (first, second, _) in lines.items():
        networks[name] = interpolate(first, second, torch.as_tensor(ALPHAS))
    losses = measure_all_losses(networks, data, settings)
    surface["loss"] = losses["surface"]
    line_losses = {name: losses[name] for name in lines}

    summaries = measure_pairs(paths, predictions) + summarize_lines(lines, line_losses)
    values_of_runs = {
        "start_loss": history["loss"][:, 0],
        "end_loss": history["loss"][:, -1],
        "train_accuracy": history["accuracy"][:, -1],
        "test_accuracy": (predictions == data.test_labels.cpu()).double().mean(1),
    }
    for column, values in own_planes.items():
        values_of_runs[f"own-path-{column}"] = values
    for quantity, values in values_of_runs.items():
        summaries.append(summarize(quantity, values, own_pairs(settings.runs)))

    return {
        "constants": {"RECORD_EVERY": RECORD_EVERY, "ALPHAS": ALPHAS},
        "table": table,
        "differences": summaries,
        "surface": [surface_row],
        "curves": {
            "epochs": history["epochs"][0],  # the same for all runs
            "loss": history["loss"],
            "accuracy": history["accuracy"],
            "surface": surface,
            "lines": line_losses,
            "paths": paths_on_planes,
            "walks": walks_on_planes,
        },
    }


# --- drawing ---

COLOR_MAP = "viridis"  # of losses


def plot(results):
    """Trainings beside random walks, twice; then the straight lines and the surface of one path."""
    rows = {row["view"]: row for row in results["table"]}
    training, walk = sum(variances(rows["own-path"])), sum(variances(rows["own-path"], "control_"))
    title = (f"A plane holds {training:.0%} of one training's path, but also {walk:.0%} of a "
             "random walk's")
    figure, panels = new_figure(title, results, 3, 2, height=2.8)
    scale = loss_scale(results)
    losses = np.array(results["curves"]["loss"])
    for (paths_panel, walks_panel), view in zip(panels, ("whole-model", "one-layer")):
        name = view.replace("-", " ")
        draw_paths(paths_panel, results["curves"]["paths"][view], variances(rows[view]),
                   f"Trainings, {name}", losses, scale)
        draw_paths(walks_panel, results["curves"]["walks"][view], variances(rows[view], "control_"),
                   f"Random walks, {name}")
    lines_panel, surface_panel = panels[2]
    draw_lines(lines_panel, results)
    contours = draw_surface(surface_panel, results, scale)
    figure.colorbar(contours, ax=panels[:, 1], format="%.2g", label="training loss (nats)",
                    aspect=50)
    legend_below(figure, lines_panel)
    return figure


def loss_scale(results):
    """Logarithmic colours for all losses of the figure, from the lowest above zero."""
    losses = np.concatenate([np.ravel(results["curves"]["loss"]),
                             np.ravel(results["curves"]["surface"]["loss"])])
    return LogNorm(losses[losses > 0].min(), losses.max())


def variances(row, prefix=""):
    """The fractions of variance in the first and the second component."""
    return row[f"{prefix}explained_variance_1"], row[f"{prefix}explained_variance_2"]


def draw_paths(panel, paths, explained, title, losses=None, scale=None):
    """The paths (R, checkpoints, 2) of all runs, with a square at the start and points elsewhere.

    The marks have the colours of their losses (R, checkpoints) on the scale, or are white.
    """
    style = {"s": 18, "edgecolors": "black", "linewidths": 0.5}
    for run_index, path in enumerate(np.array(paths)):
        x, y = path.T
        if losses is None:
            colors = np.full(len(path), "white")
        else:
            shown_losses = np.clip(losses[run_index], scale.vmin, scale.vmax)
            colors = matplotlib.colormaps[COLOR_MAP](scale(shown_losses))
        panel.plot(x, y, color="black", linewidth=0.7, zorder=1)
        panel.scatter(x[1:], y[1:], marker="o", c=colors[1:], **style)
        panel.scatter(x[:1], y[:1], marker="s", c=colors[:1], **style)
    first, second = explained
    panel.set(title=f"{title}: {first + second:.0%} of the variance",
              xlabel=f"component 1: {first:.1%} of variance", ylabel=f"component 2: {second:.1%}")


def draw_lines(panel, results):
    """The training loss along straight lines between networks."""
    titles = []
    for (name, losses), color, marker in zip(results["curves"]["lines"].items(), COLORS, MARKERS):
        words = name.replace("-", " ").replace("copy", "permuted copy")
        draw_runs(panel, results["constants"]["ALPHAS"], losses, color, TRAIN, f"line from {words}",
                  marker)
        if name != "start-to-end":  # the title is about the others
            row = find_row(results["differences"], quantity=f"{name}-barrier")
            titles.append(f"{words} {row['mean']:.2f}")
    panel.set(title=f"Barriers: {', '.join(titles)} nats", xlabel="position on the line",
              ylabel="training loss (nats)", yscale="log")


def draw_surface(panel, results, scale):
    """The training loss on the plane of one path, and the path; returns the contours."""
    surface = results["curves"]["surface"]
    levels = np.geomspace(scale.vmin, scale.vmax, 16)
    losses = np.clip(surface["loss"], scale.vmin, scale.vmax)
    contours = panel.contourf(surface["x"], surface["y"], losses, levels, norm=scale,
                              cmap=COLOR_MAP)
    draw_paths(panel, [surface["path"]], variances(results["surface"][0]), "Plane of one training")
    return contours


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
