"""How much of the report's time do PyTorch's operations take, however good the code around them is?

All nine experiments run at full settings, one after another, under a timer of every operation: matrix products and
convolutions, whose arithmetic cannot be avoided, and all others, from pooling to the optimizer. What is in neither is
Python, autograd, the calls of the operations and the timer itself: better code around the operations can save no more.

    python benchmark_limits.py              # the report's figure, an hour
    python benchmark_limits.py --quick      # a tour in two minutes
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
from common.plotting import COLORS, GREY, legend_below, new_figure
from common.timing import measure_operations

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
        measured = []
        for _ in range(settings.runs):
            start = time.perf_counter()
            products, library = measure_operations(work, settings.device)[1:]
            measured.append((time.perf_counter() - start, library, products))
        row = dict(zip(("seconds", "library_seconds", "product_seconds"), np.median(measured, axis=0)))
        table.append({"experiment": script, **row, "library_share": row["library_seconds"] / row["seconds"],
                      "product_share": row["product_seconds"] / row["seconds"]})
    report = {f"{name}minutes": sum(row[f"{name}seconds"] for row in table) / CORES / 60
              for name in ("", "library_", "product_")}
    return {"table": table, "report": [{"cores": CORES, **report}], "curves": {}}


def plot(results):
    rows, report = results["table"][::-1], results["report"][0]
    minutes = {name: f"{value:.0f}" for name, value in report.items()}
    title = (f"{minutes['library_minutes']} of {minutes['minutes']} timed minutes on {minutes['cores']} cores are PyTorch's "
             f"operations, {minutes['product_minutes']} of them products")
    figure, ((axes,),) = new_figure(title, results, 1, 1, height=3.6)
    places = np.arange(len(rows))
    for name, height, color, label in (("seconds", 0.8, GREY, "all, the timer's own included"),
                                       ("library_seconds", 0.6, COLORS[5], "PyTorch's operations, not their calls"),
                                       ("product_seconds", 0.4, COLORS[0], "products and convolutions")):
        axes.barh(places, [row[name] for row in rows], height, color=color, label=label)
    axes.set(xlabel="seconds on one core", yticks=places, yticklabels=[row["experiment"] for row in rows])
    legend_below(figure, axes)
    return figure


if __name__ == "__main__":
    main(run, plot, {}, runs=RUNS, images=True)
