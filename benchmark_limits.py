"""How much of the report's time is arithmetic that only a faster library or machine could shorten?

All nine experiments run at full settings, one after another, under a counter that times the library's kernels for matrix
products and convolutions. Everything else is pooling, optimizers, memory traffic, Python, and the timer itself.

    python benchmark_limits.py              # the report's figure, more than an hour
    python benchmark_limits.py --quick      # a tour in a minute
"""

import time
from argparse import Namespace
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np
import torch

from common.experiment import Flag, main
from common.plotting import COLORS, legend_below, new_figure
from common.timing import measure_products

RUNS = Flag(1, 1, "measurements of each experiment")
CORES = 2  # that share the report's work, see the Makefile
SCRIPTS = sorted(path.stem for path in Path(__file__).parent.glob("hw1_*.py"))


def experiment(script, settings, data):
    """The script's work on its own settings for the report or the quick tour, as a function without arguments."""
    module = import_module(script)
    values = {name: flag.quick if settings.quick else flag.default for name, flag in module.FLAGS.items()}
    runs = module.RUNS.quick if settings.quick else module.RUNS.default
    own = Namespace(**vars(settings) | values | {"runs": runs})
    return partial(module.run, own, *[data] * (len(signature(module.run).parameters) - 1))


def run(settings, data):
    torch.set_num_threads(1)  # as `make figures` has it
    table = []
    for script in SCRIPTS:
        work = experiment(script, settings, data)
        seconds, kernel_seconds = [], []
        for _ in range(settings.runs):
            start = time.perf_counter()
            kernel_seconds.append(measure_products(work, settings.device)[1])
            seconds.append(time.perf_counter() - start)
        table.append({"experiment": script, "seconds": np.median(seconds), "kernel_seconds": np.median(kernel_seconds),
                      "share": np.median(np.divide(kernel_seconds, seconds))})
    sums = {name: sum(row[name] for row in table) for name in ("seconds", "kernel_seconds")}
    report = {"cores": CORES, "minutes": sums["seconds"] / CORES / 60, "kernel_minutes": sums["kernel_seconds"] / CORES / 60}
    return {"table": table, "report": [report], "curves": {}}


def plot(results):
    rows, report = results["table"][::-1], results["report"][0]
    title = (f"{report['kernel_minutes']:.0f} of {report['minutes']:.0f} timed minutes on {report['cores']} cores "
             "are products and convolutions")
    figure, ((axes,),) = new_figure(title, results, 1, 1, height=3.6)
    places = np.arange(len(rows))
    axes.barh(places, [row["seconds"] for row in rows], color=COLORS[5], label="all")
    axes.barh(places, [row["kernel_seconds"] for row in rows], 0.4, color=COLORS[0], label="products and convolutions")
    axes.set(xlabel="seconds on one core, the timer's own included", yticks=places,
             yticklabels=[f"{row['experiment']}: {row['share']:.0%}" for row in rows])
    legend_below(figure, axes)
    return figure


if __name__ == "__main__":
    main(run, plot, {}, runs=RUNS, images=True)
