"""How much of the report's time do PyTorch's operations take, however good the code around them is?

All nine experiments run at full settings, on one core, under a timer of every operation:
matrix products and convolutions, whose arithmetic cannot be avoided, and all others, from pooling
to the optimizer. What is in neither is Python, autograd, the calls of the operations and the timer
itself: better code around the operations can save no more.

From the project's folder:

    python -m benchmarks.benchmark_limits              # the report's figure, an hour
    python -m benchmarks.benchmark_limits --quick      # a tour in two minutes
"""

from argparse import Namespace
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter

from benchmarks.timing import measure_operations
from common.command_line import Flag, fit_to_dataset, main, positive_integer
from common.plotting import COLORS, GREY, legend_below, new_figure

import numpy as np

FLAGS = {
    "runs": Flag(positive_integer, 1, quick=1, help="measurements of each experiment"),
}
CORES = 2  # among which the report's pieces of work are shared out
PROJECT = Path(__file__).parent.parent
SCRIPTS = sorted(path.stem for path in PROJECT.glob("hw1_*.py"))


# --- measuring ---


def run(settings):
    """Measures every experiment and adds up what the report takes."""
    table = [measure(script, settings) for script in SCRIPTS]
    return {"table": table, "report": [sum_up(table)], "curves": {}}


def measure(script, settings):
    """One row of the table: the seconds of one experiment, medians over settings.runs."""
    work = experiment(script, settings)
    measured = []
    for _ in range(settings.runs):
        start = perf_counter()
        operations = measure_operations(work, settings.device)
        seconds = perf_counter() - start
        measured.append((seconds, operations.library_seconds, operations.product_seconds))
    seconds, library_seconds, product_seconds = np.median(measured, axis=0)
    return {
        "experiment": script,
        "seconds": seconds,
        "library_seconds": library_seconds,
        "product_seconds": product_seconds,
        "library_share": library_seconds / seconds,
        "product_share": product_seconds / seconds,
    }


def experiment(script, settings):
    """A script's run on its own defaults for the report or the tour, without arguments."""
    module = import_module(script)
    own_settings = Namespace(**vars(settings))
    for name, flag in module.FLAGS.items():
        setattr(own_settings, name, flag.quick if settings.quick else flag.default)
    own_settings.jobs = 1  # in this process, which the timer sees
    own_settings.given = []  # all are the script's defaults: what exceeds the set of images shrinks
    fit_to_dataset(own_settings, module.FLAGS)
    return partial(module.run, own_settings)


def sum_up(table):
    """Minutes of the whole report on CORES."""
    report = {"cores": CORES}
    for name in ("", "library_", "product_"):
        seconds = sum(row[f"{name}seconds"] for row in table)
        report[f"{name}minutes"] = seconds / CORES / 60
    return report


# --- drawing ---


def plot(results):
    """Seconds of every experiment, as bars within each other: all, operations, products."""
    report = results["report"][0]
    title = (f"{report['library_minutes']:.0f} of {report['minutes']:.0f} timed minutes on "
             f"{report['cores']} cores are PyTorch's operations, "
             f"{report['product_minutes']:.0f} of them products")
    figure, panels = new_figure(title, results, 1, 1, height=3.6)
    draw_seconds(panels[0, 0], results["table"])
    legend_below(figure, panels[0, 0])
    return figure


def draw_seconds(panel, table):
    """Three bars for each experiment, the first of the table at the top."""
    rows = table[::-1]
    places = range(len(rows))
    for column, thickness, color, label in (
            ("seconds", 0.8, GREY, "all, the timer's own included"),
            ("library_seconds", 0.6, COLORS[5], "PyTorch's operations, not their calls"),
            ("product_seconds", 0.4, COLORS[0], "products and convolutions")):
        seconds = [row[column] for row in rows]
        panel.barh(places, seconds, thickness, color=color, label=label)
    scripts = [row["experiment"] for row in rows]
    panel.set(xlabel="seconds on one core", yticks=places, yticklabels=scripts)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True, in_pieces=False)
