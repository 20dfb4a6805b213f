"""Does the gradient's norm fall with the loss, or does it rise while the loss falls?

Loss and gradient of the whole training set are followed from the first step to the last: on a function, where every
step uses all points, with ReLU networks of three depths and 571 parameters; on images, where every step uses a
mini-batch, whose own gradient norm is recorded beside the full one. The learning rate is constant. One network of each
task is trained again with a rate that falls to zero along a half cosine, to see what of the picture is the step size.

    python hw1_2_gradnorm.py                     # the report's figure
    python hw1_2_gradnorm.py --quick             # a tour in seconds
    python hw1_2_gradnorm.py --dataset digits    # without a download
"""

from math import ceil

import numpy as np
import torch
from scipy.ndimage import median_filter

from common.data import TITLES
from common.derivatives import loss_and_gradient
from common.experiment import Flag, UsageError, main
from common.models import mlp, mlp_widths
from common.plotting import COLORS, draw_runs, new_figure
from common.statistics import ci95_columns, rank_correlations, ratio_ci95_columns
from common.training import cross_entropy, mean_squared_error, run_generators, train
from hw1_1_simulate import PARAMETERS, grid, sinc

FLAGS = {
    "steps": Flag(20_000, 500, "training steps on the function, each on all points"),
    "points": Flag(128, 128, "training points of the function, evenly spaced on [0, 1]"),
    "epochs": Flag(30, 4, "training epochs on the images"),
    "train_size": Flag(10_000, 1_000, "training images"),
    "batch_size": Flag(64, 64, "images per mini-batch"),
    "lr": Flag(1e-3, 1e-3, "learning rate of Adam"),
}
RUNS = Flag(6, 3, "runs of each network")
FUNCTION_MODELS = {"1-hidden": 1, "4-hidden": 4, "7-hidden": 7, "4-hidden-cosine": 4}  # hidden layers
IMAGE_MODELS = {"3-hidden": [784, 32, 32, 32, 10], "3-hidden-cosine": [784, 32, 32, 32, 10]}  # widths
MODEL_COLORS = dict(zip([*FUNCTION_MODELS, *IMAGE_MODELS], (COLORS[i] for i in (0, 2, 3, 2, 4, 4))))
FUNCTION_RECORDS, IMAGE_RECORDS = 400, 100  # recorded steps, evenly spaced on a log axis; the first ones coincide
EARLY = 0.05  # the share of the steps that is called early; the rest is late
SMOOTH = 9  # records of the running median that loss curves pass before their slope is taken, and all before drawing


def record_steps(total, count):
    """Step 0 and up to `count` steps from 1 to the last (total − 1), evenly spaced in their logarithm."""
    if total < 4:
        raise UsageError(f"a training of {total} steps is too short to follow; raise --steps or --epochs")
    return np.unique([0, *np.geomspace(1, total - 1, count).round().astype(int)])


def observe(name, model, inputs, targets, loss_function, steps, settings, **options):
    """Trains the stack; returns loss, full and batch gradient norm before each of the steps, (R, records) each."""
    records = []

    def probe(step):
        batch_gradient = torch.cat([parameter.grad.flatten(1) for parameter in model.parameters()], dim=1)
        loss, gradient = loss_and_gradient(model, inputs, targets, loss_function)
        records.append((loss, gradient.norm(dim=1), batch_gradient.double().norm(dim=1)))

    train(model, inputs, targets, loss_function, learning_rate=settings.lr, cosine=name.endswith("cosine"), title=name,
          probe=probe, probe_steps=steps, **options)
    # Logarithms follow: a network that is stuck can reach a gradient of exactly zero.
    return [torch.stack(column, 1).clamp(min=1e-30).cpu().numpy() for column in zip(*records)]


def observe_all(settings, data):
    """Trains every network; yields task, model, recorded steps and the three curves of `observe`."""
    points = grid(settings.points, settings.device)
    targets = sinc(points).expand(settings.runs, -1, -1)
    steps = record_steps(settings.steps, FUNCTION_RECORDS)
    for name, depth in FUNCTION_MODELS.items():
        generators = run_generators(settings.seed, settings.runs, "initialization")
        model = mlp(mlp_widths(depth, PARAMETERS), generators).to(settings.device)
        yield "sinc", name, steps, observe(name, model, points, targets, mean_squared_error, steps, settings,
                                           epochs=settings.steps)
    images = data.train_images[: settings.train_size]
    labels = data.train_labels[: settings.train_size].expand(settings.runs, -1)
    steps = record_steps(settings.epochs * ceil(len(images) / settings.batch_size), IMAGE_RECORDS)
    for name, widths in IMAGE_MODELS.items():
        model = mlp(widths, run_generators(settings.seed, settings.runs, "initialization")).to(settings.device)
        yield TITLES[data.name], name, steps, observe(
            name, model, images, labels, cross_entropy, steps, settings, epochs=settings.epochs,
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
        phases += [label | row for row in describe_phases(steps, loss, norm, batch_norm)]
        early, late = early_records(steps), steps >= steps[-1] / 2
        quantities = {"final_over_peak_norm": norm[:, -1] / norm.max(1)}
        for key, values in {"loss": loss, "norm": norm}.items():
            low, high = np.quantile(values[:, late], (0.05, 0.95), axis=1)
            quantities[f"second_half_q95_over_q05_{key}"] = high / low
            quantities[f"second_half_over_last_early_{key}"] = geometric_mean(values[:, late]) / values[:, early][:, -1]
            if name.endswith("-cosine"):  # the same runs, from the same start
                constant = curves[task][name.removesuffix("-cosine")][key]
                quantities[f"cosine_over_constant_final_{key}"] = values[:, -1] / constant[:, -1]
        ratios += [label | {"quantity": key, **ratio_ci95_columns("ratio", values)} for key, values in quantities.items()]
        curves.setdefault(task, {})[name] = {"steps": steps, "loss": loss, "norm": norm, "batch_norm": batch_norm}
    return {"table": table, "phases": phases, "ratios": ratios, "curves": curves}


def early_records(steps):
    """Which records lie in the early phase, (records,): the first two at least."""
    return steps < max(EARLY * (steps[-1] + 1), 2)


def describe_phases(steps, loss, norm, batch_norm):
    """How loss and norm go together early, late and in all of training: a row each, of means over the runs.

    The speed at a record is −d log(loss) / d log(step) of the run's smoothed loss. "Drops" are the fastest quarter of the
    run's records in the phase, "plateaus" the slowest. The relative norm ‖∇L‖ / L = ‖∇ log L‖ is the slope that a log
    axis shows. Ratios are of geometric means.
    """
    speeds, relative_norm = -np.gradient(np.log(smooth(loss)), np.log(steps + 1), axis=1), norm / loss
    early, rows = early_records(steps), []
    for phase, chosen in {"early": early, "late": ~early, "all": early | ~early}.items():
        x, y, batch, relative, speed = (values[:, chosen] for values in (loss, norm, batch_norm, relative_norm, speeds))
        rows.append({
            "phase": phase, "records": int(chosen.sum()),
            **ci95_columns("rank_correlation", rank_correlations(x, y), limit=1),
            **ci95_columns("batch_rank_correlation", rank_correlations(x, batch), limit=1),
            **ci95_columns("loss_fell_norm_rose", ((np.diff(x) < 0) & (np.diff(y) > 0)).mean(1)),
            **ci95_columns("speed_rank_correlation", rank_correlations(speed, relative), limit=1),
            **ratio_ci95_columns("drops_over_plateaus_norm", drops_over_plateaus(y, speed)),
            **ratio_ci95_columns("drops_over_plateaus_relative_norm", drops_over_plateaus(relative, speed)),
            **ratio_ci95_columns("batch_over_full_norm", geometric_mean(batch / y)),
        })
    return rows


def drops_over_plateaus(values, speed):
    """Geometric mean of each run's values in its drops over that in its plateaus: (R, records) twice -> (R,)."""
    ordered = np.take_along_axis(values, speed.argsort(axis=1), axis=1)  # the slowest first
    quarter = ceil(ordered.shape[1] / 4)
    return geometric_mean(ordered[:, -quarter:]) / geometric_mean(ordered[:, :quarter])


def smooth(values):
    """Running median along the records: (R, records) -> the same shape."""
    return median_filter(values, (1, SMOOTH), mode="nearest")


def geometric_mean(values):
    """(R, records) -> (R,)."""
    return np.exp(np.log(values).mean(1))


def plot(results):
    curves, phases = results["curves"], results["phases"]
    figure, axes = new_figure("Rank correlation of gradient norm and loss: " + "; ".join(
        f"{task} {mean_correlation(phases, task, 'early'):.2f} early, {mean_correlation(phases, task, 'late'):.2f} late"
        for task in curves), results, 2, 3, height=2.9)
    for (loss_axes, norm_axes, _), (task, models) in zip(axes, curves.items()):
        for name, curve in models.items():
            steps = np.array(curve["steps"]) + 1
            draw_curves(loss_axes, steps, curve["loss"], name)
            draw_curves(norm_axes, steps, curve["norm"], name, label=f"{task}, {name}")
            if task != "sinc" and not name.endswith("cosine"):
                norm_axes.plot(steps, np.median(smooth(np.array(curve["batch_norm"])), axis=0), ":", label=f"{task}, batch",
                               color=MODEL_COLORS[name])
        for panel, what in ((loss_axes, "training loss"), (norm_axes, "norm of the full gradient")):
            panel.set(xscale="log", yscale="log", title=f"{task}: {what}", xlabel="training step", ylabel=what)
            panel.axvline(EARLY * steps[-1], color="#888888", linewidth=0.8)
    draw_phases(axes[0, 2], phases, "rank_correlation")
    axes[0, 2].set(title="norm with loss (○ early, ● late)", ylabel="rank correlation", ylim=(-0.6, 1.05))
    draw_phases(axes[1, 2], phases, "drops_over_plateaus_relative_norm")
    axes[1, 2].set(title="steeper in drops? (○ early, ● late)", ylabel="‖∇ log L‖, drops / plateaus", yscale="log")
    handles, labels = (first + second for first, second in zip(*(row[1].get_legend_handles_labels() for row in axes)))
    figure.legend(handles, labels, loc="outside lower left", ncols=4)
    return figure


def mean_correlation(phases, task, phase):
    """Mean rank correlation of loss and norm over a task's networks of constant learning rate."""
    return np.mean([row["rank_correlation"] for row in phases if row["task"] == task and row["phase"] == phase
                    and not row["model"].endswith("cosine")])


def draw_curves(axes, steps, values, name, label=None):
    """Running medians of the runs with their bands and run 0 as it is, thin; a cosine schedule as its median alone."""
    values, color = np.array(values), MODEL_COLORS[name]
    if name.endswith("cosine"):
        axes.plot(steps, np.median(smooth(values), axis=0), "-.", color=color, label=label)
    else:
        axes.plot(steps, values[0], color=color, linewidth=0.4, alpha=0.6)
        draw_runs(axes, steps, smooth(values), color, label=label)


def draw_phases(axes, phases, column):
    """One column's mean and 95 % interval for every network: early open, late filled; squares for a cosine schedule."""
    for position, name in enumerate(MODEL_COLORS):
        for phase, shift in (("early", -0.15), ("late", 0.15)):
            row = next(row for row in phases if row["model"] == name and row["phase"] == phase)
            color = MODEL_COLORS[name]
            if row[f"{column}_low"] is not None:
                axes.vlines(position + shift, row[f"{column}_low"], row[f"{column}_high"], color=color, linewidth=1)
            axes.plot(position + shift, row[column], "s" if name.endswith("cosine") else "o", color=color,
                      markerfacecolor="white" if phase == "early" else color)
    axes.axvline(len(FUNCTION_MODELS) - 0.5, color="#888888", linewidth=0.8)
    axes.set_xticks(range(len(MODEL_COLORS)), [name.replace("-hidden", "").replace("-cosine", "\ncosine")
                                              for name in MODEL_COLORS])
    axes.set_xlabel("hidden layers: sinc | images")


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
