"""Deep or shallow: which fits a one-dimensional function better with the same number of parameters?

Four ReLU networks of 571 parameters and 1 to 7 hidden layers are trained on three functions, many runs each, every
network with the learning rate that suits it best on runs kept apart for that choice.

    python hw1_1_simulate.py              # the report's figure
    python hw1_1_simulate.py --quick      # a tour in seconds
"""

import numpy as np
import torch

from common.experiment import Flag, main
from common.functions import grid, sinc, square_wave, triangle_wave
from common.models import mlp, mlp_widths, parameter_count
from common.plotting import COLORS, MARKERS, TRAIN, draw_final, draw_runs, legend_below, new_figure, number, stored_row
from common.prediction import predict
from common.statistics import compare_errors, quartile_columns
from common.training import mean_squared_error, run_generators, train

FLAGS = {
    "epochs": Flag(20_000, 300, "training steps, each on all points"),
    "points": Flag(128, 128, "training points, evenly spaced on [0, 1]"),
}
RUNS = Flag(15, 3, "reported runs of each network")
PARAMETERS = 571
DEPTHS = (1, 2, 4, 7)
FUNCTIONS = {"sinc": sinc, "square wave": square_wave, "triangle wave": triangle_wave}
LEARNING_RATES = (3e-3, 1e-2, 3e-2, 1e-1)
SELECTION_RUNS = 10  # runs that choose the learning rate; their numbers start at FIRST_SELECTION_RUN and none is reported
FIRST_SELECTION_RUN = 1_000_000
SELECTION_EPOCHS = 1 / 4  # of a reported run's
TEST_POINTS = 2_000
RECORDS = 100
# An earlier report's networks, which it called equal in size: 120 hidden units each, the output layer counted as a layer.
# The widths follow from the parameter counts it gives; the learning rate, which it does not give, is Adam's default.
EARLIER_REPORT = {"2 layers of 60": [1, 60, 1], "4 layers of 30": [1, *[30] * 3, 1], "6 layers of 20": [1, *[20] * 5, 1],
                  "8 layers of 15": [1, *[15] * 7, 1]}
EARLIER_LEARNING_RATE = 1e-3
SMALLEST_MSE = 1e-14  # outputs near 1 carry rounding errors of 6e-8 in float32: a smaller error is no longer a fit


def record_interval(epochs):
    return max(epochs // RECORDS, 1)


def train_stack(widths, names, run_numbers, learning_rate, epochs, settings):
    """Trains one stack on several functions, run_numbers each; returns the model and errors (functions, runs, records)."""
    x = grid(settings.points, settings.device)
    targets = torch.cat([FUNCTIONS[name](x).expand(len(run_numbers), -1, -1) for name in names])
    generators = [generator for _ in names for generator in run_generators(settings.seed, run_numbers, "initialization")]
    model = mlp(widths, generators).to(settings.device)
    errors = []

    @torch.no_grad()
    def measure(epoch):
        outputs = model(x.expand(len(targets), -1, -1))
        errors.append(mean_squared_error(outputs, targets).view(len(names), -1))

    train(model, x, targets, mean_squared_error, epochs=epochs, learning_rate=learning_rate, record=measure,
          record_every=record_interval(epochs),
          title=f"{len(widths) - 2} hidden, {', '.join(names)}, learning rate {learning_rate}")
    return model, torch.stack(errors, -1).clamp(min=SMALLEST_MSE).cpu().numpy()


def choose_learning_rates(widths, settings):
    """For each function the learning rate of the lowest third quartile of the error, on runs that are not reported.

    The quartile rather than the median: a rate at which half of the runs excel and half collapse is no good choice.
    """
    run_numbers = range(FIRST_SELECTION_RUN, FIRST_SELECTION_RUN + min(SELECTION_RUNS, settings.runs))
    epochs = max(round(SELECTION_EPOCHS * settings.epochs), 1)
    trials = [train_stack(widths, list(FUNCTIONS), run_numbers, rate, epochs, settings)[1] for rate in LEARNING_RATES]
    scores = [np.quantile(errors[:, :, -1], 0.75, axis=1) for errors in trials]  # (rates, functions)
    return {name: LEARNING_RATES[int(np.argmin(column))] for name, column in zip(FUNCTIONS, np.transpose(scores))}


def train_depth(depth, settings):
    """Trains one network at its best; yields per function the table's row, the errors and the median run's fit."""
    widths = mlp_widths(depth, PARAMETERS)
    rates = choose_learning_rates(widths, settings)
    x = grid(TEST_POINTS, settings.device)
    for rate in sorted(set(rates.values())):
        names = [name for name in FUNCTIONS if rates[name] == rate]  # one stack for those that share a rate
        model, errors = train_stack(widths, names, range(settings.runs), rate, settings.epochs, settings)
        fits = predict(model, x).view(len(names), settings.runs, -1)
        for name, error, fit in zip(names, errors, fits):
            row = {"function": name, "model": f"{depth} hidden", "depth": depth, "width": max(widths),
                   "parameters": parameter_count(model), "runs": settings.runs, "learning_rate": rate,
                   **quartile_columns("train_mse", error[:, -1]),
                   "test_mse_median": (fit - FUNCTIONS[name](x).squeeze(1)).square().mean(1).quantile(0.5)}
            yield row, error, fit[int(np.argsort(error[:, -1])[settings.runs // 2])]


def run(settings):
    x, every = grid(TEST_POINTS, settings.device), record_interval(settings.epochs)
    curves = {"epochs": sorted({*range(0, settings.epochs + 1, every), settings.epochs}), "x": x[::5, 0],
              "truth": {name: function(x)[::5, 0] for name, function in FUNCTIONS.items()},
              "train_mse": {name: {} for name in FUNCTIONS}, "fit": {name: {} for name in FUNCTIONS}}
    table = []
    for depth in DEPTHS:
        for row, errors, fit in train_depth(depth, settings):
            table.append(row)
            curves["train_mse"][row["function"]][depth] = errors
            curves["fit"][row["function"]][depth] = fit[::5]
    table.sort(key=lambda row: (list(FUNCTIONS).index(row["function"]), row["depth"]))
    return {"table": table, "comparisons": compare_all(curves["train_mse"]), **repeat_earlier_report(settings),
            "curves": curves}


def compare_all(errors):
    """On every function the network of the lowest median error against each other one: errors (runs, records) of each."""
    return [{"function": name, **row} for name, networks in errors.items()
            for row in compare_errors({network: error[:, -1] for network, error in networks.items()})]


def repeat_earlier_report(settings):
    """Its networks of unequal size on the assignment's two functions, with repeated runs."""
    rows, errors = [], {"sinc": {}, "square wave": {}}
    for model, widths in EARLIER_REPORT.items():
        stack, both = train_stack(widths, list(errors), range(settings.runs), EARLIER_LEARNING_RATE, settings.epochs,
                                  settings)
        for name, error in zip(errors, both):
            errors[name][model] = error
            rows.append({"function": name, "model": model, "parameters": parameter_count(stack), "runs": settings.runs,
                         **quartile_columns("train_mse", error[:, -1])})
    return {"earlier_report": sorted(rows, key=lambda row: row["function"]), "earlier_comparisons": compare_all(errors)}


def plot(results):
    curves = results["curves"]
    best = {row["function"]: row["best"] for row in results["comparisons"]}
    beaten = {name: ", ".join(str(row["against"]) for row in results["comparisons"] if row["function"] == name
                              and row["p_value"] is not None and row["p_value"] < 0.05) for name in FUNCTIONS}
    title = f"Depth of the lowest median error at {PARAMETERS} parameters: " + ", ".join(
        f"{name} {depth}" for name, depth in best.items())
    figure, axes = new_figure(title, results, len(FUNCTIONS), 3, height=2.4)
    for (loss_axes, fit_axes, final_axes), name in zip(axes, FUNCTIONS):
        fit_axes.plot(curves["x"], curves["truth"][name], color="#cccccc", linewidth=5, label="truth")
        for depth, color, marker in zip(DEPTHS, COLORS, MARKERS):
            errors = np.array(curves["train_mse"][name][str(depth)])
            label = f"{depth} hidden"
            draw_runs(loss_axes, curves["epochs"], errors, color, TRAIN, label, marker)
            position = DEPTHS.index(depth)
            fit_axes.plot(curves["x"], curves["fit"][name][str(depth)], color=color, linewidth=1, label=label, marker=marker,
                          markersize=4, markevery=(15 * position, 60))
            draw_final(final_axes, position, errors[:, -1], np.median, color, marker)
        row = stored_row(results["table"], function=name, depth=best[name])
        train, test = (number(row[f"{part}_mse_median"], ".1e") for part in ("train", "test"))
        loss_axes.set(yscale="log", title=f"{name}: {best[name]} hidden ends at {train}", xlabel="training steps",
                      ylabel="training MSE")
        fit_axes.set(title=f"{best[name]} hidden: test MSE {test}", xlabel="x", ylabel="f(x), median run")
        final_axes.set(yscale="log", title=f"{best[name]} beats {beaten[name] or 'none'} (p < 0.05)",
                       xlabel="hidden layers", ylabel="final training MSE", xticks=range(len(DEPTHS)), xticklabels=DEPTHS)
    legend_below(figure, axes[0, 1], columns=5)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS)
