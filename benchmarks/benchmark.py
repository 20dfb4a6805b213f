"""How fast are stacks of runs beside the loops that most people write?

Each kind of work in this laboratory is timed in turn as the laboratory does it, by a plain PyTorch
loop over tensors in memory with the fused optimizer and, where there is one, by the tutorials' loop
with a DataLoader and ToTensor. What the processor could do at best is its own matrix product, timed
between them. All this is repeated in one process after another, since timings differ more between
processes than within one.

From the project's folder:

    python -m benchmarks.benchmark              # the report's figure
    python -m benchmarks.benchmark --quick      # a tour in seconds
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.timing import matrix_product, measure_operations, time_in_turns
from benchmarks.workloads import all_workloads
from common.command_line import Flag, main, positive_integer
from common.data import load_dataset
from common.plotting import COLORS, GREY, draw_ranges, legend_below, new_figure
from common.process import prepare_computing
from common.statistics import quartile_columns

import numpy as np
from matplotlib.ticker import PercentFormatter

FLAGS = {
    "runs": Flag(positive_integer, 5, quick=2, help="processes that time each piece of work"),
    "steps": Flag(positive_integer, 40, quick=4, help="training steps in one timing"),
    "functions_steps": Flag(positive_integer, 200, quick=20,
                            help="the same for the function networks, whose steps are short"),
    "rounds": Flag(positive_integer, 3, quick=1,
                   help="timings of each piece of work in a process"),
    "images": Flag(positive_integer, 70_000, quick=1_000,
                   help="images on which the interpolated models are evaluated"),
}
# What is measured of every piece of work. gflops are 10⁹ floating-point operations per second; a
# share is the rate of these operations, divided by that of the matrix product.
QUANTITIES = (
    "rate",  # of the stack, units per second
    "tutorial_ratio",  # of the stack's rate to that of the tutorials' loop
    "plain_ratio",  # and to that of the plain loop
    "gflops",
    "product_gflops",  # of the matrix product
    "share",
    "operations_share",  # what it would be if all but PyTorch's operations were free
    "kernels_share",  # what it would be if all but their products and convolutions were free
)


# --- measuring ---


def run(settings):
    """Measures all pieces of work in one process after another and sums up over the processes."""
    processes = [in_new_process(measure_all, settings) for _ in range(settings.runs)]
    table, curves = [], {}
    for measured in zip(*processes):  # one piece of work in every process
        name = measured[0]["workload"]
        curves[name] = gather_quantities(measured)
        table.append(summarize(measured[0], curves[name]))
    return {"table": table, "curves": curves}


def in_new_process(function, *arguments):
    """What function(*arguments) returns in a process of its own, which ends with it."""
    # A spawned process starts from nothing, unlike a copy of this one.
    with ProcessPoolExecutor(1, get_context("spawn"), prepare_computing) as pool:
        return pool.submit(function, *arguments).result()


def measure_all(settings):
    """Measures all pieces of work in this process: a list of dicts."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    measured = []
    for workload in all_workloads(data, settings):
        measured.append({
            "workload": workload.name,
            "runs": workload.runs,
            "unit": workload.unit,
            "quantities": measure(workload, settings),
        })
    return measured


def measure(workload, settings):
    """The QUANTITIES of one piece of work, as medians over the rounds: {name: number}."""
    seconds, operations, product_operations = time_workload(workload, settings)
    arithmetic, product_seconds, library_seconds = np.array(operations).T
    rates = {}
    for name, way in workload.ways.items():
        rates[name] = way.units / seconds[name]
    arithmetic_rate = arithmetic / seconds["stack"]
    product_rate = product_operations / seconds["matrix product"]

    quantities = {"rate": rates["stack"]}
    for way in ("tutorial", "plain"):
        if way in rates:  # what nobody does in a tutorial has no ratio
            quantities[f"{way}_ratio"] = rates["stack"] / rates[way]
    quantities["gflops"] = arithmetic_rate / 1e9
    quantities["product_gflops"] = product_rate / 1e9
    quantities["share"] = arithmetic_rate / product_rate
    quantities["operations_share"] = arithmetic / library_seconds / product_rate
    quantities["kernels_share"] = arithmetic / product_seconds / product_rate
    return {name: np.median(values) for name, values in quantities.items()}


def time_workload(workload, settings):
    """Times all ways of a piece of work, the matrix product between them.

    Returns seconds {way or "matrix product": (rounds,)}, the stack's Operations in each round, and
    the floating-point operations of the matrix product.
    """
    stack = workload.ways["stack"].work
    product, product_operations = matrix_product(settings.device)
    operations = []

    def measure_stack():
        operations.append(measure_operations(stack, settings.device))

    pieces = {name: way.work for name, way in workload.ways.items()}
    pieces["matrix product"] = product
    pieces["operations"] = measure_stack
    timed = time_in_turns(pieces, settings.device, settings.rounds, title=workload.name)
    seconds = {name: np.array(values) for name, values in timed.items()}
    return seconds, operations[1:], product_operations  # without the first round, as in timed


# --- summing up ---


def gather_quantities(measured):
    """What every process measured of one piece of work: {quantity: [a number for each process]}."""
    gathered = {}
    for quantity in measured[0]["quantities"]:
        gathered[quantity] = [process["quantities"][quantity] for process in measured]
    return gathered


def summarize(described, gathered):
    """One row of the table: medians and quartiles over the processes, None where there are none."""
    row = {name: described[name] for name in ("workload", "runs", "unit")}
    for quantity in QUANTITIES:
        if quantity in gathered:
            row.update(quartile_columns(quantity, gathered[quantity]))
        else:
            row.update(dict.fromkeys(range_columns(quantity)))
    return row


def range_columns(quantity):
    """The columns of a quantity's median and quartiles, named as quartile_columns names them."""
    return [f"{quantity}_median", f"{quantity}_q25", f"{quantity}_q75"]


# --- drawing ---


def plot(results):
    """The gain over the loops and the limits of the rate: two panels, a line for each workload."""
    rows = results["table"][::-1]  # the first of the table at the top
    ratios = [row["tutorial_ratio_median"] for row in rows
              if row["tutorial_ratio_median"] is not None]
    title = (f"Stacks of runs do {min(ratios):.0f} to {max(ratios):.0f} times the work of the "
             "tutorials' loop")
    figure, panels = new_figure(title, results, 1, 2, height=4.5, sharey=True, width_ratios=(3, 2))
    ratio_panel, fraction_panel = panels[0]
    draw_ratios(ratio_panel, rows)
    draw_fractions(fraction_panel, rows)
    legend_below(figure, ratio_panel, fraction_panel)
    return figure


def draw_ratios(panel, rows):
    """The stack's rate over that of each loop, with quartiles."""
    places = range(len(rows))
    for way, color, marker in (("tutorial", COLORS[0], "o"), ("plain", COLORS[1], "s")):
        columns = range_columns(f"{way}_ratio")
        draw_ranges(panel, rows, places, columns, color, marker, f"against the {way} loop")
    panel.axvline(1, color=GREY, linewidth=1)
    labels = [f"{row['workload']} ×{row['runs']}" for row in rows]
    panel.set(xscale="log", title="how much faster", yticks=places, yticklabels=labels,
              xlabel="times as many per second (median and quartiles)")


def draw_fractions(panel, rows):
    """The stack's arithmetic rate and its limits as fractions of the matrix product's rate."""
    places = range(len(rows))
    for quantity, color, marker, label in (
            ("share", COLORS[2], "D", "achieved"),
            ("operations_share", "black", "|", "PyTorch's operations alone"),
            ("kernels_share", GREY, "|", "their products alone")):
        draw_ranges(panel, rows, places, range_columns(quantity), color, marker, label)
    panel.xaxis.set_major_formatter(PercentFormatter(1))
    panel.set(xlim=(0, None), title="achieved, and what limits it",
              xlabel="of a float32 matrix product's rate")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True, in_pieces=False)
