"""Does the gradient's norm fall with the loss, or does it rise while the loss falls?

Loss and gradient of the whole training set are followed through the training of ReLU networks: on a function, where every
step uses all points, and on images, where it uses a mini-batch. The learning rate is constant; one network of each task is
trained again with a rate that falls to zero along a half cosine, to see what of the picture is the step size.

    python hw1_2_gradnorm.py                     # the report's figure
    python hw1_2_gradnorm.py --quick             # a tour in seconds
"""

from math import ceil

import numpy as np
import scipy
import torch

from common.data import TITLES
from common.derivatives import loss_and_gradient
from common.experiment import Flag, UsageError, main
from common.functions import grid, sinc
from common.models import mlp, mlp_widths
from common.parameters import flatten
from common.phases import EARLY, describe_phases, early_records
from common.plotting import COLORS, GREY, MARKERS, TRAIN, draw_runs, legend_below, new_figure, number, stored_row
from common.statistics import ratio_ci95_columns
from common.training import cross_entropy, mean_squared_error, run_generators, train

FLAGS = {
    "steps": Flag(20_000, 500, "training steps on the function, each on all points"),
    "points": Flag(128, 128, "training points of the function, evenly spaced on [0, 1]"),
    "epochs": Flag(30, 4, "training epochs on the images"),
    "train_size": Flag(10_000, 1_000, "training images"),
    "batch_size": Flag(64, 64, "images per mini-batch"),
    "lr": Flag(1e-3, 1e-3, "learning rate of Adam"),
}
RUNS = Flag(6, 3, "runs of each network")
PARAMETERS = 571  # of the networks on the function
FUNCTION_MODELS = {name: mlp_widths(depth, PARAMETERS) for name, depth in
                   {"1-hidden": 1, "4-hidden": 4, "7-hidden": 7, "4-hidden-cosine": 4}.items()}
IMAGE_MODELS = {"3-hidden": [784, 32, 32, 32, 10], "3-hidden-cosine": [784, 32, 32, 32, 10]}
# Those of 1, 4 and 7 hidden layers as in the first experiment.
LOOKS = dict(zip([*FUNCTION_MODELS, *IMAGE_MODELS], [(COLORS[i], MARKERS[i]) for i in (0, 2, 3, 4, 1, 5)]))
FUNCTION_RECORDS, IMAGE_RECORDS = 400, 100  # recorded steps, evenly spaced on a log axis; the first ones coincide


def record_steps(total, count):
    """Step 0 and up to `count` steps from 1 to the last (total − 1), evenly spaced in their logarithm."""
    if total < 4:
        raise UsageError(f"a training of {total} steps is too short to follow; raise --steps or --epochs")
    return np.unique([0, *np.geomspace(1, total - 1, count).round().astype(int)])


def observe(name, model, inputs, targets, loss_function, steps, settings, **options):
    """Trains the stack; returns loss, full and batch gradient norm before each of the steps, (R, records) each."""
    records = []

    def probe(step):
        batch_gradient = flatten({name: parameter.grad for name, parameter in model.named_parameters()})
        loss, gradient = loss_and_gradient(model, inputs, targets, loss_function)
        records.append((loss, gradient.norm(dim=1), batch_gradient.double().norm(dim=1)))

    train(model, inputs, targets, loss_function, learning_rate=settings.lr, cosine=name.endswith("cosine"), title=name,
          probe=probe, probe_steps=steps, **options)
    # Logarithms follow: a network that is stuck can reach a gradient of exactly zero.
    return [torch.stack(column, 1).clamp(min=1e-30).cpu().numpy() for column in zip(*records)]


def observe_all(settings, data):
    """Trains every network; yields task, model, recorded steps and the three curves of `observe`."""
    points, images = grid(settings.points, settings.device), data.train_images[: settings.train_size]
    targets = sinc(points).expand(settings.runs, -1, -1)
    labels = data.train_labels[: settings.train_size].expand(settings.runs, -1)
    function_steps = record_steps(settings.steps, FUNCTION_RECORDS)
    image_steps = record_steps(settings.epochs * ceil(len(images) / settings.batch_size), IMAGE_RECORDS)
    for name, widths in (FUNCTION_MODELS | IMAGE_MODELS).items():
        model = mlp(widths, run_generators(settings.seed, settings.runs, "initialization")).to(settings.device)
        if name in FUNCTION_MODELS:
            yield "sinc", name, function_steps, observe(name, model, points, targets, mean_squared_error, function_steps,
                                                        settings, epochs=settings.steps,
                                                        record_every=max(settings.steps // 100, 1))
        else:
            yield TITLES[data.name], name, image_steps, observe(
                name, model, images, labels, cross_entropy, image_steps, settings, epochs=settings.epochs,
                batch_size=settings.batch_size, orders=run_generators(settings.seed, settings.runs, "order"))


def run(settings, data):
    table, phases, ratios, curves = [], [], [], {}
    for task, name, steps, (loss, norm, batch_norm) in observe_all(settings, data):
        label = {"task": task, "model": name}
        table.append({
            **label, "runs": settings.runs, "steps": int(steps[-1]) + 1,
            "initial_loss": np.median(loss[:, 0]), "final_loss": np.median(loss[:, -1]),
            "initial_gradient_norm": np.median(norm[:, 0]), "peak_gradient_norm": np.median(norm.max(1)),
            "final_gradient_norm": np.median(norm[:, -1]),
        })
        curves.setdefault(task, {})[name] = {"steps": steps, "loss": loss, "norm": norm}
        phases += [label | row for row in describe_phases(steps, loss, norm, batch_norm)]
        ratios += [label | row for row in describe_ratios(curves[task], name)]
    return {"table": table, "phases": phases, "ratios": ratios, "curves": curves}


def describe_ratios(curves, name):
    """How loss and norm of one network change from the end of the early phase to the second half of training and within it.

    A network of cosine schedule is also set against the one of constant rate: the same runs, from the same start.
    """
    steps, rows = curves[name]["steps"], []
    for key in ("loss", "norm"):
        values, late = curves[name][key], steps >= steps[-1] / 2
        low, high = np.quantile(values[:, late], (0.05, 0.95), axis=1)
        last_early = values[:, early_records(steps)][:, -1]
        ratios = {"second_half_q95_over_q05": high / low,
                  "second_half_over_last_early": scipy.stats.gmean(values[:, late], axis=1) / last_early}
        if name.endswith("-cosine"):
            ratios["cosine_over_constant_final"] = values[:, -1] / curves[name.removesuffix("-cosine")][key][:, -1]
        rows += [{"quantity": f"{ratio}_{key}", **ratio_ci95_columns("ratio", runs)} for ratio, runs in ratios.items()]
    return rows


def plot(results):
    ratios = {(row["model"], row["quantity"]): number(row["ratio"], ",.0f" if row["ratio"] >= 100 else ".2g")
              for row in results["ratios"]}
    loss, norm = (ratios["4-hidden", f"second_half_q95_over_q05_{key}"] for key in ("loss", "norm"))
    title = f"In the second half on sinc the loss varies by a factor of {loss}, its gradient's norm by {norm} (4 layers)"
    figure, axes = new_figure(title, results, 2, 2, height=3.2)
    for panels, (task, models), network, deepest in zip(axes.T, results["curves"].items(), ("4-hidden", "3-hidden"),
                                                        ("7-hidden", "3-hidden")):
        for panel, key, label in zip(panels, ("loss", "norm"), ("training loss", "norm of the full gradient")):
            for name, curve in models.items():
                color, marker = LOOKS[name]
                steps, values = np.array(curve["steps"]) + 1, np.array(curve[key])
                style = ":" if name.endswith("cosine") else TRAIN  # the constant rate shows through
                draw_runs(panel, steps, values, color, style, f"{task}: {name.replace('-', ' ')}", marker)
            panel.set(xscale="log", yscale="log", xlabel="training step (line: early | late)", ylabel=label)
            panel.axvline(EARLY * steps[-1], color=GREY, linewidth=1)
        loss, norm = (ratios[deepest, f"second_half_over_last_early_{key}"] for key in ("loss", "norm"))
        panels[0].set_title(f"{task}, {deepest}, second half: loss × {loss}, norm × {norm}")
        early, late = (number(stored_row(results["phases"], model=network, phase=phase)["rank_correlation"], ".2f")
                       for phase in ("early", "late"))
        panels[1].set_title(f"{task}, {network}: rank correlation {early} early, {late} late")
    legend_below(figure, *axes[0], columns=3)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
