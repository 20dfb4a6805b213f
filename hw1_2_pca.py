"""What do the paths of eight trainings look like in two dimensions, and how much of that picture is training?

Eight networks of two convolutions and four linear layers are trained from different initializations, and
their weights recorded every three epochs. One principal component analysis (PCA) of all records gives the picture; the
same analysis of random walks shows what it would look like without training (Antognini & Sohl-Dickstein 2018,
arXiv:1806.08805). The loss is then measured on the plane of one path (Li et al. 2018, arXiv:1712.09913) and along
straight lines (Goodfellow et al. 2015, arXiv:1412.6544).

    python hw1_2_pca.py                     # the report's figure
    python hw1_2_pca.py --quick             # a tour in seconds
"""

import numpy as np
import torch
from matplotlib.colors import LogNorm

from common import trajectory
from common.experiment import Flag, main
from common.models import cnn
from common.parameters import parameter_vectors, unflatten
from common.plotting import COLORS, MARKERS, TRAIN, draw_runs, legend_below, new_figure, stored_row
from common.prediction import predict
from common.training import cross_entropy, evaluate, run_generators, train

FLAGS = {
    "epochs": Flag(30, 6, "training epochs"),
    "train_size": Flag(2_000, 500, "training images"),
    "batch_size": Flag(64, 64, "images per mini-batch"),
    "lr": Flag(3e-3, 3e-3, "initial learning rate of Adam, falling to zero along a half cosine: the ends are settled"),
    "probe_size": Flag(1_000, 100, "training images on which the surface and the lines are measured"),
}
RUNS = Flag(8, 4, "trainings")
BLOCKS, KERNEL, HIDDEN_WIDTHS = [[4], [8]], 5, [32, 32, 32]  # the output layer is the fourth linear one
LAYER = 3  # the one layer of the second view, counted from 0: the second linear one, 32 × 32
RECORD_EVERY = 3  # epochs
SURFACE_SIZE = 21  # points along each side of the error surface
MARGIN = 0.3  # of the path's extent, around it on the error surface
ALPHAS = np.linspace(0, 1, 11)  # points of a straight line


def record_paths(settings, data):
    """Trains all runs; returns the model, epochs, paths (R, records, P) in float64, training loss and accuracy there."""
    images, labels = data.train_images[: settings.train_size], data.train_labels[: settings.train_size]
    model = cnn(BLOCKS, KERNEL, HIDDEN_WIDTHS, run_generators(settings.seed, settings.runs, "initialization"))
    model.to(settings.device)
    records = []

    def record(epoch):
        records.append((epoch, parameter_vectors(model).double(), *evaluate(model, images, labels)))

    train(model, images, labels.expand(settings.runs, -1), cross_entropy, epochs=settings.epochs, record=record,
          learning_rate=settings.lr, batch_size=settings.batch_size, record_every=RECORD_EVERY,
          orders=run_generators(settings.seed, settings.runs, "order"))
    epochs, *columns = zip(*records)
    return model, epochs, *(torch.stack(column, 1).cpu() for column in columns)


def error_surface(path, losses_at):
    """Loss on the plane of a path's first two components, moved to pass through its end: a row, and the curves."""
    pca = trajectory.fit_plane(path)
    points, shares = trajectory.project(pca, path), pca.explained_variance_ratio_
    low, high = points.min(0), points.max(0)
    x, y = np.linspace(low - MARGIN * (high - low), high + MARGIN * (high - low), SURFACE_SIZE).T
    surface = losses_at(trajectory.on_plane(pca, np.stack(np.meshgrid(x, y), -1), through=path[-1]))  # (y, x)
    row = {"run": 0, "explained_variance_1": shares[0], "explained_variance_2": shares[1], "variance_in_plane": shares.sum()}
    return row, {"x": x, "y": y, "loss": surface, "path": points}


def run(settings, data):
    model, epochs, paths, loss, accuracy = record_paths(settings, data)
    probe_size = min(settings.train_size, settings.probe_size)
    images, labels = data.train_images[:probe_size], data.train_labels[:probe_size]

    def losses_at(vectors):
        """Loss on the probe images of the networks with parameters (..., P) -> (...): ten at a time, for the memory."""
        groups = vectors.flatten(0, -2).float().to(settings.device).split(10)
        losses = [evaluate(model, images, labels, unflatten(group, model))[0] for group in groups]
        return torch.cat(losses).view(vectors.shape[:-1]).cpu()

    def generators():
        return run_generators(settings.seed, settings.runs, "probe")

    views = {"whole-model": paths, "one-layer": trajectory.one_layer(paths, model, LAYER),
             "from-start": paths - paths[:, :1]}
    compared = {view: trajectory.compare_with_walks(view, vectors, generators()) for view, vectors in views.items()}
    table = [row for row, _, _ in compared.values()]
    own = [trajectory.compare_with_walks("own-path", path[None], [generator])[0]
           for path, generator in zip(paths, generators())]
    own = {column: [row[column] for row in own] for column in own[0] if "explained" in column}
    table.append(table[0] | {"view": "own-path", **{column: np.mean(values) for column, values in own.items()}})
    predictions = predict(model, data.test_images).argmax(2).cpu()
    twins = trajectory.permuted_twins(paths[:, -1], model, generators()[0])
    differences, lines = trajectory.compare_ends(paths, twins, predictions, losses_at, ALPHAS)
    by_run = {"start_loss": loss[:, 0], "end_loss": loss[:, -1], "train_accuracy": accuracy[:, -1],
              "test_accuracy": (predictions == data.test_labels.cpu()).double().mean(1),
              **{f"own-path-{column}": values for column, values in own.items()}}
    every = np.arange(settings.runs)[:, None].repeat(2, axis=1)
    differences += [trajectory.summarize_pairs(quantity, values, every) for quantity, values in by_run.items()]
    surface_row, surface = error_surface(paths[0], losses_at)
    return {"table": table, "differences": differences, "surface": [surface_row], "curves": {
        "epochs": epochs, "loss": loss, "accuracy": accuracy, "surface": surface, "lines": lines,
        "paths": {view: points for view, (_, points, _) in compared.items()},
        "walks": {view: points for view, (_, _, points) in compared.items()}}}


def plot(results):
    curves, table = results["curves"], {row["view"]: row for row in results["table"]}
    losses, surface = np.array(curves["loss"]), curves["surface"]
    training, walk = (sum(shares(table["own-path"], prefix)) for prefix in ("", "control_"))
    figure, axes = new_figure(f"A plane holds {training:.0%} of one training's path, but also {walk:.0%} of a random walk's",
                              results, 3, 2, height=2.8)
    scale = LogNorm(min(losses.min(), np.min(surface["loss"])), max(losses.max(), np.max(surface["loss"])))
    for column, view in zip(axes.T, ("whole-model", "one-layer")):
        name = view.replace("-", " ")
        draw_paths(column[0], curves["paths"][view], shares(table[view]), f"Trainings, {name}", losses, scale)
        draw_paths(column[1], curves["walks"][view], shares(table[view], "control_"), f"Random walks, {name}")
    line_axes, surface_axes = axes[2]
    for (kind, values), color, marker in zip(curves["lines"].items(), COLORS, MARKERS):
        draw_runs(line_axes, ALPHAS, values, color, TRAIN, label=f"line from {kind.replace('-', ' ')}", marker=marker)
    barriers = {kind.replace("-", " "): stored_row(results["differences"], quantity=f"{kind}-barrier")["mean"]
                for kind in curves["lines"] if kind != "start-to-end"}
    line_axes.set(title="Barriers: " + ", ".join(f"{kind} {mean:.2f}" for kind, mean in barriers.items()) + " nats",
                  xlabel="position on the line", ylabel="training loss (nats)", yscale="log")
    contours = surface_axes.contourf(surface["x"], surface["y"], surface["loss"], np.geomspace(scale.vmin, scale.vmax, 16),
                                     norm=scale, cmap="viridis")
    draw_paths(surface_axes, [surface["path"]], shares(results["surface"][0]), "Plane of one training")
    figure.colorbar(contours, ax=axes[:, 1], format="%.2g", label="training loss (nats)", aspect=50)
    legend_below(figure, line_axes)
    return figure


def shares(row, prefix=""):
    """The shares of variance in the first and the second component."""
    return [row[f"{prefix}explained_variance_{i}"] for i in (1, 2)]


def draw_paths(axes, paths, held, title, losses=None, scale=None):
    """Every run's path with a point at each record, coloured by its loss where that is known; a square at the start."""
    paths = np.array(paths)  # (R, records, 2)
    axes.plot(*paths.transpose(2, 1, 0), color="black", linewidth=0.7, zorder=1)
    for marker, part in (("o", slice(1, None)), ("s", slice(0, 1))):
        axes.scatter(*paths[:, part].reshape(-1, 2).T, s=18, marker=marker,
                     c="white" if losses is None else losses[:, part].ravel(), norm=scale, cmap="viridis" if scale else None,
                     edgecolors="black", linewidths=0.5)
    axes.set(title=f"{title}: {sum(held):.0%} of the variance", xlabel=f"component 1: {held[0]:.1%} of variance",
             ylabel=f"component 2: {held[1]:.1%}")


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
