"""Flatness and generalization, part 1: what lies on the straight line between two solutions?

Two pairs of trainings, each differing in one thing: batch 64 against 1,024, and learning rate 1e-3 against 1e-2. Loss and
accuracy are measured along θ(α) = (1 − α) θ₁ + α θ₂ for pairs that start from one initialization and for pairs that start
from two. Then one solution is rescaled without changing its function, and its sharpness is measured again.

    python hw1_3_flatness.py                              # the report's figure
    python hw1_3_flatness.py --quick --dataset digits     # a tour in seconds, without a download
"""

from math import ceil

import numpy as np
import torch

from common.experiment import Flag, main
from common.models import mlp
from common.parameters import barrier, interpolate, parameter_vectors, unflatten
from common.plotting import COLORS, GREY, MARKERS, draw_runs, draw_train_test, legend_below, new_figure, stored_row
from common.prediction import predict
from common.sharpness import curvature, epsilon_sharpness, largest_eigenvalue, loss_of, rescale
from common.statistics import mean_columns
from common.training import cross_entropy, evaluate_sets, run_generators, train

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
    return model, parameter_vectors(model)


def measure(model, vectors, sets):
    """Loss and accuracy of vectors (R, P) on each of sets {name: (images, labels)}: {name_loss, name_accuracy: (R,)}."""
    return {name: values.cpu().numpy() for name, values in evaluate_sets(model, sets, unflatten(vectors, model)).items()}


def measure_lines(model, first, second, sets):
    """The same along the lines between first and second (R, P): {name: (R, A)}. Each line is a stack of A networks."""
    lines = [measure(model, interpolate(start, end, ALPHAS), sets) for start, end in zip(first, second)]
    return {name: np.stack([values[name] for values in lines]) for name in lines[0]}


def measure_solutions(model, vectors, loss, sets):
    """What belongs to each solution of vectors (R, P) by itself, whatever the line: {name: (R,)}."""
    sharpness = {"largest_eigenvalue": largest_eigenvalue(loss, vectors.double()),
                 "sharpness": epsilon_sharpness(loss, vectors.double()), "weight_norm": vectors.norm(dim=1)}
    return measure(model, vectors, sets) | {name: value.cpu().numpy() for name, value in sharpness.items()}


def run(settings, data):
    images, labels = data.train_images[: settings.train_size], data.train_labels[: settings.train_size]
    sets = {"train": (images, labels), "test": (data.test_images, data.test_labels)}
    model, base = train_stack(images, labels, **BASE, settings=settings)
    loss = loss_of(model, images, labels)
    sharpness_loss = loss_of(model, images[: settings.sharpness_images], labels[: settings.sharpness_images])
    table, comparisons, curves = [], [], {"alpha": ALPHAS}
    solved = {"runs": settings.runs + 1}
    solutions = [BASE | solved | mean_columns(measure_solutions(model, base, sharpness_loss, sets))]
    for comparison, value in CHANGES.items():
        changed = BASE | {comparison: min(value, len(images))}  # no batch is larger than the set; no learning rate is near
        others = train_stack(images, labels, **changed, settings=settings)[1]
        solutions.append(changed | solved | mean_columns(measure_solutions(model, others, sharpness_loss, sets)))
        curves[comparison] = {}
        for initialization, partners in PARTNERS.items():
            first, second = base[:-1], others[partners]
            values = curves[comparison][initialization] = measure_lines(model, first, second, sets)
            pair = {"comparison": comparison, "initialization": initialization, "runs": settings.runs}
            rise = mean_columns({"barrier": barrier(ALPHAS, values["train_loss"])})
            comparisons.append(pair | rise)
            direction = second.double() - first.double()
            for index, options, end in zip(ENDS, (BASE, changed), (first, second)):
                bends = curvature(loss, end.double(), direction).cpu().numpy()
                table.append(pair | {"end": options[comparison], "barrier": rise["barrier"],
                                     "updates": settings.epochs * ceil(len(images) / options["batch_size"]),
                                     **{name: value[:, index].mean() for name, value in values.items()},
                                     **mean_columns({"curvature": bends})})
    rescaling, curves["rescaling"] = measure_rescaled(model, base[:-1], sharpness_loss, sets)
    return {"table": table, "comparisons": comparisons, "solutions": solutions, "rescaling": rescaling, "curves": curves}


def measure_rescaled(model, vectors, loss, sets):
    """Rescales every run of vectors (R, P) by each of SCALES: one row each, and the curves {name: (scales, R)}."""
    def outputs(points):
        return predict(model, sets["test"][0], unflatten(points, model))

    rows, curves, unscaled = [], {"largest_eigenvalue": [], "sharpness": []}, outputs(vectors)
    for scale in SCALES:
        scaled = rescale(vectors, model, scale)
        values = measure_solutions(model, scaled, loss, sets)
        rows.append({"scale": scale, "runs": len(vectors), **mean_columns(values),
                     "largest_output_change": (outputs(scaled) - unscaled).abs().max()})
        for name, curve in curves.items():
            curve.append(values[name])
    return rows, curves


def plot(results):
    curves, alphas = results["curves"], results["curves"]["alpha"]
    barriers = {(row["comparison"], row["initialization"]): row["barrier"] for row in results["comparisons"]}
    one, two = (" and ".join(f"{barriers[comparison, name]:.2g}" for comparison in CHANGES) for name in PARTNERS)
    figure, axes = new_figure(f"From one start barriers of {one} nats, from two starts {two}", results, 3, 2, height=2.7)
    for panels, comparison in zip(axes.T, CHANGES):
        ends = [row["end"] for row in results["table"] if row["comparison"] == comparison][:2]
        lowest = {}
        for (initialization, values), color, marker in zip(curves[comparison].items(), COLORS, MARKERS):
            for panel, quantity, unit in zip(panels, ("loss", "accuracy"), (1, 100)):
                draw_train_test(panel, alphas, values, quantity, color, f"{initialization} initialization", marker, unit)
            lowest[initialization] = np.median(values["test_accuracy"], axis=0)[ENDS[0] : ENDS[1] + 1].min()
        name = comparison.replace("_", " ").capitalize()
        panels[0].set(title=f"{name}: barrier {barriers[comparison, 'same']:.2g} from one start, "
                            f"{barriers[comparison, 'different']:.2g} from two", yscale="log", ylabel="cross-entropy (nats)")
        panels[1].set(title=f"{name}: test accuracy falls to {lowest['same']:.0%} and {lowest['different']:.0%}",
                      ylabel="accuracy (%)", ylim=(0, 101))
        for panel in panels[:2]:
            panel.set(xlabel=f"α: {comparison.replace('_', ' ')} {ends[0]:,} at 0, {ends[1]:,} at 1", xticks=[-1, 0, 1, 2])
            for alpha in (0, 1):
                panel.axvline(alpha, color=GREY, linewidth=1)
    names = [f"{scale:g}" if scale >= 1 else f"1/{1 / scale:g}" for scale in SCALES]
    smallest, unscaled = (stored_row(results["rescaling"], scale=scale) for scale in (SCALES[0], 1))
    for panel, name, label in zip(axes[2], ("largest_eigenvalue", "sharpness"), ("largest eigenvalue", "ε-sharpness (%)")):
        draw_runs(panel, SCALES, np.transpose(curves["rescaling"][name]), COLORS[2], marker=MARKERS[2])
        factor = f"{smallest[name] / unscaled[name]:,.0f}"
        panel.set(title=f"One function, c = {names[0]}: {label.partition(' (')[0]} × {factor}",
                  xlabel="first layer times c, second divided by c", ylabel=label, xscale="log", yscale="log")
        panel.set_xticks(SCALES, names)
        panel.minorticks_off()
    legend_below(figure, axes[0, 0], train_test=True)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
