"""Flatness and generalization, part 1: what lies on the straight line between two solutions?

Two pairs of trainings, each differing in one thing: batch 64 against 1,024, and learning rate 1e-3 against 1e-2. Loss and
accuracy are measured along θ(α) = (1 − α) θ₁ + α θ₂ for pairs that start from one initialization and for pairs that start
from two. Then one solution is rescaled without changing its function, and its sharpness is measured again.

    python hw1_3_flatness.py                              # the report's figure
    python hw1_3_flatness.py --quick --dataset digits     # a tour in seconds, without a download
"""

import numpy as np
import torch
from torch.func import functional_call

from common.experiment import Flag, main
from common.models import mlp
from common.parameters import barrier, flatten, interpolate, unflatten
from common.plotting import COLORS, TEST, TRAIN, draw_runs, legend_below, new_figure
from common.sharpness import curvature, epsilon_sharpness, largest_eigenvalue, loss_of, rescale
from common.statistics import mean_ci95
from common.training import cross_entropy, evaluate, run_generators, train

FLAGS = {
    "epochs": Flag(30, 10, "epochs of every training"),
    "train_size": Flag(10_000, 1_400, "training images"),
    "sharpness_images": Flag(1_024, 256, "training images, the first, on which the rescaled solution is measured"),
}
RUNS = Flag(5, 3, "pairs of each kind")
WIDTHS = [784, 64, 32, 10]
BASE = {"batch_size": 64, "learning_rate": 1e-3}  # the end at α = 0
CHANGES = {"batch_size": 1_024, "learning_rate": 1e-2}  # each comparison changes this one value for the end at α = 1
PARTNERS = {"same": slice(0, -1), "different": slice(1, None)}  # run k of the base meets run k, or run k + 1
ALPHAS = torch.arange(-20, 41) / 20  # −1 … 2 in steps of 0.05; exactly 0 and 1 are among them
ENDS = [20, 40]  # their places
SCALES = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)  # powers of two: a float times one of them loses no digit


def train_stack(images, labels, batch_size, learning_rate, settings):
    """One run more than there are pairs, so that run k can meet run k + 1; returns the model and its vectors (R + 1, P)."""
    runs = settings.runs + 1
    model = mlp(WIDTHS, run_generators(settings.seed, runs, "initialization")).to(settings.device)
    train(model, images, labels.expand(runs, -1), cross_entropy, epochs=settings.epochs, learning_rate=learning_rate,
          batch_size=batch_size, orders=run_generators(settings.seed, runs, "order"),
          title=f"batch size {batch_size}, learning rate {learning_rate}")
    return model, flatten(dict(model.named_parameters()))


def measure(model, vectors, sets):
    """Loss and accuracy of vectors (R, P) on each of sets {name: (images, labels)}: {name_loss, name_accuracy: (R,)}."""
    parameters = unflatten(vectors, model)
    values = {}
    for name, (images, labels) in sets.items():
        loss, accuracy = evaluate(model, images, labels, parameters)
        values |= {f"{name}_loss": loss.cpu().numpy(), f"{name}_accuracy": accuracy.cpu().numpy()}
    return values


def measure_lines(model, first, second, sets):
    """The same along the lines between first and second (R, P): {name: (R, A)}. Each line is a stack of A networks."""
    lines = [measure(model, interpolate(start, end, ALPHAS), sets) for start, end in zip(first, second)]
    return {name: np.stack([values[name] for values in lines]) for name in lines[0]}


def measure_solutions(model, vectors, loss, sets):
    """What belongs to each solution of vectors (R, P) by itself, whatever the line: {name: (R,)}."""
    sharpness = {"largest_eigenvalue": largest_eigenvalue(loss, vectors.double()),
                 "sharpness": epsilon_sharpness(loss, vectors.double()), "weight_norm": vectors.norm(dim=1)}
    return measure(model, vectors, sets) | {name: value.cpu().numpy() for name, value in sharpness.items()}


def summarize(values):
    """Means over the runs of {name: (R,)} with the half widths of their 95 % intervals, as columns."""
    means = {name: mean_ci95(value) for name, value in values.items()}
    return {name + suffix: mean[i] for name, mean in means.items() for i, suffix in enumerate(("", "_ci95"))}


def run(settings, data):
    images, labels = data.train_images[: settings.train_size], data.train_labels[: settings.train_size]
    sets = {"train": (images, labels), "test": (data.test_images, data.test_labels)}
    model, base = train_stack(images, labels, **BASE, settings=settings)
    loss = loss_of(model, images, labels)
    sharpness_loss = loss_of(model, images[: settings.sharpness_images], labels[: settings.sharpness_images])
    table, comparisons, curves = [], [], {"alpha": ALPHAS}
    solved = {"runs": settings.runs + 1}
    solutions = [BASE | solved | summarize(measure_solutions(model, base, sharpness_loss, sets))]
    for comparison, value in CHANGES.items():
        changed = BASE | {comparison: min(value, len(images))}  # no batch is larger than the set; no learning rate is near
        others = train_stack(images, labels, **changed, settings=settings)[1]
        solutions.append(changed | solved | summarize(measure_solutions(model, others, sharpness_loss, sets)))
        curves[comparison] = {}
        for initialization, partners in PARTNERS.items():
            first, second = base[:-1], others[partners]
            values = curves[comparison][initialization] = measure_lines(model, first, second, sets)
            direction = second.double() - first.double()
            curvatures = [curvature(loss, end.double(), direction).cpu().numpy() for end in (first, second)]
            differences = summarize(compare_ends(values, curvatures, direction.norm(dim=1).cpu().numpy()))
            pair = {"comparison": comparison, "initialization": initialization, "runs": settings.runs}
            comparisons.append(pair | differences)
            for index, options, bends in zip(ENDS, (BASE, changed), curvatures):
                table.append(pair | {"end": options[comparison]}
                             | {name: value[:, index].mean() for name, value in values.items()}
                             | {"barrier": differences["barrier"], **summarize({"curvature": bends})}
                             | {"updates": settings.epochs * -(-len(images) // options["batch_size"])})
    rescaling, curves["rescaling"] = measure_rescaled(model, base[:-1], sharpness_loss, sets)
    return {"table": table, "comparisons": comparisons, "solutions": solutions, "rescaling": rescaling, "curves": curves}


def compare_ends(values, curvatures, distances):
    """What a line says about its ends, for every run: {name: (R,)}. values are the curves, curvatures those at 0 and 1."""
    squares = np.maximum(distances**2, 1e-30)  # zero where --train-size is below both batch sizes, and so is the curvature
    return {
        "distance": distances,
        "barrier": barrier(ALPHAS, values["train_loss"]), "test_barrier": barrier(ALPHAS, values["test_loss"]),
        "test_loss_difference": np.diff(values["test_loss"][:, ENDS])[:, 0],
        "test_accuracy_difference": np.diff(values["test_accuracy"][:, ENDS])[:, 0],
        "curvature_difference": curvatures[1] - curvatures[0],
        # per unit of length in the space of parameters, at α = 0 and at α = 1
        "curvature_per_length_0": curvatures[0] / squares, "curvature_per_length_1": curvatures[1] / squares,
    }


def measure_rescaled(model, vectors, loss, sets):
    """Rescales every run of vectors (R, P) by each of SCALES: one row each, and the curves {name: (scales, R)}."""
    images = sets["test"][0]

    @torch.no_grad()
    def outputs(points):
        return functional_call(model, unflatten(points, model), (images.expand(len(points), *images.shape),))

    rows, curves = [], {"largest_eigenvalue": [], "sharpness": []}
    for scale in SCALES:
        scaled = rescale(vectors, model, scale)
        values = measure_solutions(model, scaled, loss, sets)
        rows.append({"scale": scale, "runs": len(vectors), **summarize(values),
                     "largest_output_change": (outputs(scaled) - outputs(vectors)).abs().max()})
        for name, curve in curves.items():
            curve.append(values[name])
    return rows, curves


def plot(results):
    curves, alphas = results["curves"], np.array(results["curves"]["alpha"])
    barriers = {name: [row["barrier"] for row in results["comparisons"] if row["initialization"] == name]
                for name in PARTNERS}
    title = "Loss barriers (batch size, learning rate): " + "; ".join(
        ", ".join(f"{value:.2g}" for value in barriers[name]) + text
        for name, text in zip(PARTNERS, (" nats from one start", " from two")))
    figure, axes = new_figure(title, results, 2, 3, height=2.9)
    for column, comparison in zip(axes.T, CHANGES):
        for initialization, color in zip(PARTNERS, COLORS):
            values = curves[comparison][initialization]
            for panel, quantity, factor in zip(column, ("loss", "accuracy"), (1, 100)):
                for name, style in (("train", TRAIN), ("test", TEST)):
                    draw_runs(panel, alphas, factor * np.array(values[f"{name}_{quantity}"]), color, style,
                              f"{name}, {initialization} initialization")
        ends = [row["end"] for row in results["table"] if row["comparison"] == comparison][:2]
        for panel in column:
            panel.set(xlabel="α", xticks=[-1, 0, 1, 2], xticklabels=["−1", f"0\n{ends[0]:,}", f"1\n{ends[1]:,}", "2"])
            for alpha in (0, 1):
                panel.axvline(alpha, color="#999999", linewidth=0.8)
        name = comparison.replace("_", " ")
        column[0].set(yscale="log", title=f"loss: {name} {ends[0]:,} to {ends[1]:,}", ylabel="cross-entropy (nats)")
        column[1].set(title=f"accuracy: {name} {ends[0]:,} to {ends[1]:,}", ylabel="accuracy (%)", ylim=(0, 101))
    labels = {"largest_eigenvalue": "largest eigenvalue", "sharpness": "ε-sharpness (%)"}
    for panel, (name, label) in zip(axes[:, 2], labels.items()):
        draw_runs(panel, SCALES, np.transpose(curves["rescaling"][name]), COLORS[2], marker="o")
        panel.set(xscale="log", yscale="log", title="one function, rescaled", xlabel="scale c of the first layer",
                  ylabel=label)
        panel.set_xticks(SCALES, [f"{scale:g}" if scale >= 1 else f"1/{1 / scale:g}" for scale in SCALES])
        panel.minorticks_off()
    legend_below(figure, axes[0, 0])
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
