"""How fast are stacks of runs beside the loops that most people write?

Each kind of work in this laboratory is timed in turn as the laboratory does it, by a plain PyTorch loop over tensors in
memory with the fused optimizer and, where there is one, by the tutorials' loop with a DataLoader and ToTensor. What the
processor could do at best is its own matrix product, timed between them.

    python benchmark.py              # the report's figure
    python benchmark.py --quick      # a tour in seconds
"""

from functools import partial

import numpy as np

from benchmark_workloads import workloads
from common.experiment import Flag, main
from common.plotting import COLORS, GREY, draw_ranges, legend_below, new_figure
from common.statistics import quartile_columns
from common.timing import matrix_product, measure_operations, time_interleaved

FLAGS = {
    "steps": Flag(40, 4, "training steps in one timing"),
    "functions_steps": Flag(200, 20, "the same for the function networks, whose steps are short"),
    "images": Flag(70_000, 1_000, "images on which the interpolated models are evaluated"),
}
RUNS = Flag(7, 2, "timings of each piece of work")


def _append_operations(measured, work, device):
    measured.append(measure_operations(work, device))


def run(settings, data):
    table, curves = [], {}
    product, product_operations = matrix_product(settings.device)
    for name, runs, unit, ways in workloads(data, settings):
        measured = []  # (arithmetic, product_seconds, library_seconds) of the stack
        works = {way: work for way, (work, _) in ways.items()} | {"matrix product": product}
        works["operations"] = partial(_append_operations, measured, ways["stack"][0], settings.device)
        seconds = time_interleaved(works, settings.device, settings.runs, title=name)
        arithmetic, product_seconds, library_seconds = np.array(measured[1:]).T  # without the first round
        rates = {way: units / np.array(seconds[way]) for way, (_, units) in ways.items()}
        curves[name] = rates
        product_rate = product_operations / np.array(seconds["matrix product"])
        arithmetic_rate = arithmetic / np.array(seconds["stack"])
        row = {"workload": name, "runs": runs, "unit": unit, "rate": np.median(rates["stack"])}
        for way in ("tutorial", "plain"):
            # What nobody does in a tutorial has no ratio.
            ratios = quartile_columns(f"{way}_ratio", rates["stack"] / rates.get(way, np.nan))
            row |= {name: None if np.isnan(ratio) else ratio for name, ratio in ratios.items()}
        table.append(row | {"gflops": np.median(arithmetic_rate) / 1e9, "product_gflops": np.median(product_rate) / 1e9,
                            "share": np.median(arithmetic_rate / product_rate),
                            "operations_share": np.median(arithmetic / library_seconds / product_rate),
                            "kernels_share": np.median(arithmetic / product_seconds / product_rate)})
    return {"table": table, "curves": curves}


def plot(results):
    rows = results["table"][::-1]
    places = np.arange(len(rows))
    ratios = [row["tutorial_ratio_median"] for row in rows if row["tutorial_ratio_median"] is not None]
    title = f"Stacks of runs do {min(ratios):.0f} to {max(ratios):.0f} times the work of the tutorials' loop"
    figure, ((ratio_axes, share_axes),) = new_figure(title, results, 1, 2, height=4.5, sharey=True, width_ratios=(3, 2))
    for way, marker, color in (("tutorial", "o", COLORS[0]), ("plain", "s", COLORS[1])):
        columns = [f"{way}_ratio_{suffix}" for suffix in ("median", "q25", "q75")]
        draw_ranges(ratio_axes, rows, places, columns, color, marker, f"against the {way} loop")
    ratio_axes.axvline(1, color=GREY, linewidth=1)
    ratio_axes.set(xscale="log", xlabel="times as many per second (median and quartiles)", yticks=places,
                   yticklabels=[f"{row['workload']} ×{row['runs']}" for row in rows], title="how much faster")
    share_axes.barh(places, [100 * row["share"] for row in rows], color=COLORS[2])
    for column, color, label in (("operations_share", "black", "PyTorch's operations alone"),
                                 ("kernels_share", GREY, "their products alone")):
        share_axes.plot([100 * row[column] for row in rows], places, "|", color=color, markersize=12, markeredgewidth=2,
                        label=label)
    share_axes.set(xlabel="% of a float32 matrix product's rate", title="achieved, and what limits it")
    legend_below(figure, ratio_axes, share_axes)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
