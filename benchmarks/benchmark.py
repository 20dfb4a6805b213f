"""How fast are stacks of runs beside the loops that most people write?

Each kind of work in this laboratory is timed in turn as the laboratory does it, by a plain PyTorch loop over tensors in
memory with the fused optimizer and, where there is one, by the tutorials' loop with a DataLoader and ToTensor. What the
processor could do at best is its own matrix product, timed between them. All this is repeated in one process after
another, since timings differ more between processes than within one.

    python benchmark.py              # the report's figure
    python benchmark.py --quick      # a tour in seconds
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np
from matplotlib.ticker import PercentFormatter

from benchmark_workloads import workloads
from common.data import load_dataset
from common.experiment import Flag, keep_freed_memory, main
from common.plotting import COLORS, GREY, draw_ranges, legend_below, new_figure
from common.statistics import quartile_columns
from common.timing import matrix_product, measure_operations, time_interleaved

FLAGS = {
    "steps": Flag(40, 4, "training steps in one timing"),
    "functions_steps": Flag(200, 20, "the same for the function networks, whose steps are short"),
    "rounds": Flag(3, 1, "timings of each piece of work in a process"),
    "images": Flag(70_000, 1_000, "images on which the interpolated models are evaluated"),
}
RUNS = Flag(5, 2, "processes that time each piece of work")
QUANTITIES = ("rate", "tutorial_ratio", "plain_ratio", "gflops", "product_gflops",
              "share", "operations_share", "kernels_share")
SUFFIXES = ("median", "q25", "q75")  # over the processes


def _append_operations(measured, work, device):
    measured.append(measure_operations(work, device))


def measure(name, ways, settings):
    """Medians over the rounds of one process: {quantity: number}, rates in units and in operations per second."""
    product, product_operations = matrix_product(settings.device)
    measured = []  # (arithmetic, product_seconds, library_seconds) of the stack
    works = {way: work for way, (work, _) in ways.items()} | {"matrix product": product}
    works["operations"] = partial(_append_operations, measured, ways["stack"][0], settings.device)
    seconds = time_interleaved(works, settings.device, settings.rounds, title=name)
    arithmetic, product_seconds, library_seconds = np.array(measured[1:]).T  # without the first round
    rates = {way: units / np.array(seconds[way]) for way, (_, units) in ways.items()}
    product_rate = product_operations / np.array(seconds["matrix product"])
    arithmetic_rate = arithmetic / np.array(seconds["stack"])
    # What nobody does in a tutorial has no ratio.
    ratios = {f"{way}_ratio": rates["stack"] / rates[way] for way in ("tutorial", "plain") if way in rates}
    quantities = {"rate": rates["stack"], **ratios, "gflops": arithmetic_rate / 1e9, "product_gflops": product_rate / 1e9,
                  "share": arithmetic_rate / product_rate,
                  "operations_share": arithmetic / library_seconds / product_rate,
                  "kernels_share": arithmetic / product_seconds / product_rate}
    return {quantity: np.median(values) for quantity, values in quantities.items()}


def measure_all(settings):
    """`measure` of all workloads, for a process of its own: [(name, runs, unit, quantities), ...]."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    return [(name, runs, unit, measure(name, ways, settings)) for name, runs, unit, ways in workloads(data, settings)]


def run(settings, _):
    # A spawned process starts from nothing, unlike a copy of this one.
    with ProcessPoolExecutor(1, get_context("spawn"), keep_freed_memory, max_tasks_per_child=1) as pool:
        processes = list(pool.map(measure_all, [settings] * settings.runs))
    table, curves = [], {}
    for workload in zip(*processes):
        name, runs, unit, first = workload[0]
        curves[name] = {quantity: [quantities[quantity] for *_, quantities in workload] for quantity in first}
        row = {"workload": name, "runs": runs, "unit": unit}
        for quantity in QUANTITIES:
            values = curves[name].get(quantity)
            row |= quartile_columns(quantity, values) if values else dict.fromkeys(f"{quantity}_{end}" for end in SUFFIXES)
        table.append(row)
    return {"table": table, "curves": curves}


def plot(results):
    rows = results["table"][::-1]
    places = np.arange(len(rows))
    ratios = [row["tutorial_ratio_median"] for row in rows if row["tutorial_ratio_median"] is not None]
    title = f"Stacks of runs do {min(ratios):.0f} to {max(ratios):.0f} times the work of the tutorials' loop"
    figure, ((ratio_axes, share_axes),) = new_figure(title, results, 1, 2, height=4.5, sharey=True, width_ratios=(3, 2))
    for way, marker, color in (("tutorial", "o", COLORS[0]), ("plain", "s", COLORS[1])):
        columns = [f"{way}_ratio_{suffix}" for suffix in SUFFIXES]
        draw_ranges(ratio_axes, rows, places, columns, color, marker, f"against the {way} loop")
    ratio_axes.axvline(1, color=GREY, linewidth=1)
    ratio_axes.set(xscale="log", xlabel="times as many per second (median and quartiles)", yticks=places,
                   yticklabels=[f"{row['workload']} ×{row['runs']}" for row in rows], title="how much faster")
    for quantity, marker, color, label in (("share", "D", COLORS[2], "achieved"),
                                           ("operations_share", "|", "black", "PyTorch's operations alone"),
                                           ("kernels_share", "|", GREY, "their products alone")):
        columns = [f"{quantity}_{suffix}" for suffix in SUFFIXES]
        draw_ranges(share_axes, rows, places, columns, color, marker, label)
    share_axes.xaxis.set_major_formatter(PercentFormatter(1))
    share_axes.set(xlim=(0, None), xlabel="of a float32 matrix product's rate", title="achieved, and what limits it")
    legend_below(figure, ratio_axes, share_axes)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
