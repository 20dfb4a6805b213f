"""What do the paths of eight trainings look like in two dimensions, and how much of that picture is training?

Eight networks of two convolutions and four linear layers of width 32 are trained from different initializations, and
their weights recorded every three epochs. One principal component analysis (PCA) of all records gives the picture; the
same analysis of random walks shows what it would look like without training (Antognini & Sohl-Dickstein 2018,
arXiv:1806.08805). The loss is then measured on the plane of one path (Li et al. 2018, arXiv:1712.09913) and along
straight lines (Goodfellow et al. 2015, arXiv:1412.6544).

    python hw1_2_pca.py                     # the report's figure
    python hw1_2_pca.py --quick             # a tour in seconds
    python hw1_2_pca.py --dataset digits    # without a download
"""

from itertools import combinations

import numpy as np
import torch
from matplotlib.colors import LogNorm

from common.experiment import Flag, main
from common.models import cnn, run_count
from common.parameters import barrier, flatten, interpolate, unflatten
from common.plotting import COLORS, draw_runs, legend_below, new_figure
from common.training import cross_entropy, evaluate, run_generators, train
from common.trajectory import (
    compare_with_walks,
    fit_plane,
    mean_over_pairs,
    on_plane,
    one_layer,
    permuted_twins,
    project,
)

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
VIEW_TITLES = {"whole-model": "whole model", "one-layer": "one layer", "from-start": "from their starts"}
SURFACE_RUN, SURFACE_SIZE = 0, 21  # the run whose plane is drawn, and the points along each side of it
MARGIN = 0.3  # of the path's extent, around it on the error surface
ALPHAS = np.linspace(0, 1, 11)  # points of a straight line


def record_paths(settings, data):
    """Trains all runs; returns the model, epochs, paths (R, records, P) in float64, training loss and accuracy there."""
    images, labels = data.train_images[: settings.train_size], data.train_labels[: settings.train_size]
    model = cnn(BLOCKS, KERNEL, HIDDEN_WIDTHS, run_generators(settings.seed, settings.runs, "initialization"))
    model.to(settings.device)
    records = []

    def record(epoch):
        records.append((epoch, flatten(dict(model.named_parameters())).double(), *evaluate(model, images, labels)))

    train(model, images, labels.expand(settings.runs, -1), cross_entropy, epochs=settings.epochs, record=record,
          learning_rate=settings.lr, batch_size=settings.batch_size, record_every=RECORD_EVERY,
          orders=run_generators(settings.seed, settings.runs, "order"))
    epochs, *columns = zip(*records)
    return model, epochs, *(torch.stack(column, 1).cpu() for column in columns)


def error_surface(path, losses_at):
    """Loss on the plane of a path's first two components, moved to pass through its end: a row, and the curves.

    The path itself is not in the plane, so the loss is measured at the records and at their projections, too.
    """
    pca = fit_plane(path)
    points, shares = project(pca, path), pca.explained_variance_ratio_
    low, high = points.min(0), points.max(0)
    x, y = np.linspace(low - MARGIN * (high - low), high + MARGIN * (high - low), SURFACE_SIZE).T
    surface = losses_at(on_plane(pca, np.stack(np.meshgrid(x, y), -1), through=path[-1]))  # (y, x)
    true, projected = losses_at(path), losses_at(on_plane(pca, points, through=path[-1]))
    row = {"run": SURFACE_RUN, "explained_variance_1": shares[0], "explained_variance_2": shares[1],
           "variance_in_plane": shares.sum(), "start_loss": true[0], "start_loss_in_plane": projected[0],
           "end_loss": true[-1], "lowest_loss_in_plane": surface.min(),
           "largest_loss_ratio": (projected / true).log().abs().max().exp()}
    return row, {"x": x, "y": y, "loss": surface, "path": points, "path_loss": true, "projected_loss": projected}


def compare_ends(model, paths, predictions, losses_at, generator):
    """How far the ends are apart in parameters, in loss on the lines between them, and in what they predict.

    Each end is also compared with a twin that is the same function: distances and barriers that twins have as well cannot
    tell whether two ends differ. Returns rows, and the losses along the lines (n, alphas).
    """
    starts, ends, every = paths[:, 0], paths[:, -1], torch.arange(len(paths))
    pairs = torch.tensor(list(combinations(every, 2)), dtype=torch.int64).view(-1, 2)
    kinds = {"start-to-end": (starts, ends, torch.stack([every, every], 1)),
             "end-to-twin": (ends, permuted_twins(ends, model, generator), torch.stack([every, every], 1))}
    values, curves = {}, {}
    if len(pairs):
        kinds["end-to-end"] = (*ends[pairs.T], pairs)
        values = {"start-to-start-distance": ((starts[pairs[:, 0]] - starts[pairs[:, 1]]).norm(dim=1), pairs),
                  "disagreement": ((predictions[pairs[:, 0]] != predictions[pairs[:, 1]]).double().mean(1), pairs)}
    for kind, (first, second, members) in kinds.items():
        curves[kind] = losses_at(interpolate(first, second, torch.as_tensor(ALPHAS)))
        values[f"{kind}-distance"] = (first - second).norm(dim=1), members
        values[f"{kind}-barrier"] = barrier(ALPHAS, curves[kind]), members
    return [summarize(quantity, *pair) for quantity, pair in values.items()], curves


def summarize(quantity, values, pairs):
    """A row: the mean of the values (n,) with its 95 % interval over the runs, the smallest and the largest."""
    mean, half = mean_over_pairs(values, pairs)
    return {"quantity": quantity, "values": len(values), "mean": mean, "low": None if half is None else mean - half,
            "high": None if half is None else mean + half, "smallest": min(values), "largest": max(values)}


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

    views = dict(zip(VIEW_TITLES, (paths, one_layer(paths, model, LAYER), paths - paths[:, :1])))
    compared = [compare_with_walks(view, vectors, generators()) for view, vectors in views.items()]
    own = [compare_with_walks("own-path", path[None], [generator])[0] for path, generator in zip(paths, generators())]
    own = {column: [row[column] for row in own] for column in own[0] if "explained" in column}
    surface_row, surface = error_surface(paths[SURFACE_RUN], losses_at)
    predictions = predict(model, data.test_images)
    differences, lines = compare_ends(model, paths, predictions, losses_at, generators()[0])
    ends = [{"run": k, "start_loss": loss[k, 0], "end_loss": loss[k, -1], "train_accuracy": accuracy[k, -1],
             "test_accuracy": (predictions[k] == data.test_labels.cpu()).double().mean()} for k in range(settings.runs)]
    every = np.arange(settings.runs)[:, None].repeat(2, axis=1)
    differences += [summarize(column, [row[column] for row in ends], every) for column in list(ends[0])[1:]]
    differences += [summarize(f"own-path-{column}", values, every) for column, values in own.items()]
    own_row = compared[0][0] | {"view": "own-path", **{column: np.mean(values) for column, values in own.items()}}
    return {
        "table": [*(row for row, _, _ in compared), own_row],
        "differences": differences, "ends": ends, "surface": [surface_row],
        "curves": {"epochs": epochs, "loss": loss, "accuracy": accuracy, "surface": surface, "lines": lines,
                   "paths": dict(zip(views, (points for _, points, _ in compared))),
                   "walks": dict(zip(views, (points for _, _, points in compared)))},
    }


@torch.no_grad()
def predict(model, images):
    """The class that every run assigns to each image: images (N, ...) -> (R, N)."""
    batches = (batch.expand(run_count(model), *batch.shape) for batch in images.split(500))
    return torch.cat([model(batch).argmax(2) for batch in batches], 1).cpu()


def plot(results):
    curves, table = results["curves"], {row["view"]: row for row in results["table"]}
    shares = [sum(table[view][f"{prefix}explained_variance_{i}"] for i in (1, 2))
              for view in ("whole-model", "own-path") for prefix in ("", "control_")]
    title = "Variance in two components: all trainings {:.0%}, all walks {:.0%}; one training {:.0%}, one walk {:.0%}"
    figure, axes = new_figure(title.format(*shares), results, 3, 3, height=2.9)
    for column, (view, title) in enumerate(VIEW_TITLES.items()):
        draw_paths(axes[0, column], curves["paths"][view], table[view], "", curves["accuracy"])
        draw_paths(axes[1, column], curves["walks"][view], table[view], "control_")
        axes[0, column].set_title(f"trainings, {title}")
        axes[1, column].set_title(f"random walks, {title}")
    draw_shares(axes[2, 0], results["table"])
    draw_surface(axes[2, 2], curves["surface"], results["surface"][0])
    for (kind, losses), color in zip(curves["lines"].items(), COLORS):
        draw_runs(axes[2, 1], ALPHAS, losses, color, label=kind.replace("-", " "))
    axes[2, 1].set(title="loss on straight lines", xlabel="position on the line", ylabel="training loss", yscale="log")
    legend_below(figure, axes[2, 1])
    return figure


def draw_paths(axes, paths, row, prefix, accuracy=None):
    """Every run's path, from start (open) to end (filled), with its training accuracy (%) where there is room."""
    paths = np.array(paths)
    extent, labelled = np.ptp(paths, axis=(0, 1)), []
    for k, path in enumerate(paths):
        color = COLORS[k % len(COLORS)]
        axes.plot(*path.T, "-", color=color, linewidth=1, marker=".", markersize=3)
        axes.plot(*path[0], "o", color=color, markerfacecolor="white", markersize=5)
        axes.plot(*path[-1], "o", color=color, markersize=5)
        for point, share in zip(path[::-1], accuracy[k][::-1] if accuracy else ()):
            if all(np.linalg.norm((point - other) / extent) > 0.07 for other in labelled):
                labelled.append(point)
                axes.annotate(f"{100 * share:.0f}", point, xytext=(4, 3), textcoords="offset points", fontsize=6.5,
                              color=color)
    axes.set(**{f"{axis}label": f"component {i}: {row[f'{prefix}explained_variance_{i}']:.1%} of variance"
                for i, axis in ((1, "x"), (2, "y"))})


def draw_shares(axes, table):
    """The first two components' shares of variance, trainings beside random walks, for every view."""
    for position, row in enumerate(table):
        for prefix, shift, color in (("", -0.2, COLORS[0]), ("control_", 0.2, "#999999")):
            first, second = (100 * row[f"{prefix}explained_variance_{i}"] for i in (1, 2))
            axes.bar(position + shift, first, 0.36, color=color)
            axes.bar(position + shift, second, 0.36, bottom=first, color=color, alpha=0.5)
    axes.set_xticks(range(len(table)), [row["view"].replace("-", "\n") for row in table], fontsize=7.5)
    axes.set(title="trainings (blue), random walks (grey)", ylabel="variance held (%)")


def draw_surface(axes, surface, row):
    """Contours of the loss, equally spaced in its logarithm, with the path on top."""
    loss = np.array(surface["loss"])
    contours = axes.contourf(surface["x"], surface["y"], loss, np.geomspace(loss.min(), loss.max(), 13), norm=LogNorm(),
                             cmap="Blues")
    axes.figure.colorbar(contours, ax=axes, format="%.2g", label="training loss")
    axes.plot(*np.transpose(surface["path"]), color=COLORS[1], marker=".", markersize=4, linewidth=1)
    axes.plot(*surface["path"][-1], "o", color=COLORS[1], markersize=5)
    axes.set(title=f"the plane of run {row['run']}: {row['variance_in_plane']:.0%} of its path",
             xlabel=f"component 1: {row['explained_variance_1']:.1%} of variance",
             ylabel=f"component 2: {row['explained_variance_2']:.1%} of variance")


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
