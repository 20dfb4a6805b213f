"""The look of all figures: training dashed, test solid, a band for runs, one colour per model."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

matplotlib.use("Agg")  # files only: no display is needed

# Okabe & Ito's palette, which colour-blind readers can tell apart, the darker ones first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")  # one per colour, for grey prints and colour-blind eyes
TRAIN, TEST = "--", "-"  # line styles
GREY = "#777777"  # what belongs to no model
WIDTH = 9  # inches, of every figure
matplotlib.rcParams.update({
    "figure.dpi": 150,
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "figure.titlesize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
})


def new_figure(title, results, rows, columns, height=3.0, unit="run", **subplots):
    """A figure of rows × columns panels with its title, and a line below it on what was measured.

    height is that of a row in inches; unit is what the setting `runs` counts; subplots are options
    of matplotlib's Figure.subplots.
    """
    figure = Figure(figsize=(WIDTH, height * rows + 0.9))
    panels = figure.subplots(rows, columns, squeeze=False, **subplots)
    write_title(figure, title, results, unit)
    return figure, panels


def new_mosaic(title, results, layout, height, unit="run", **subplots):
    """The same with panels of several sizes: the figure and {name: panel}.

    layout has a list of names for each row of equal columns; a panel fills all places of its name.
    height is that of all rows in inches; unit is what the setting `runs` counts; subplots are
    options of Figure.subplot_mosaic.
    """
    figure = Figure(figsize=(WIDTH, height + 0.9))
    panels = figure.subplot_mosaic(layout, **subplots)
    write_title(figure, title, results, unit)
    return figure, panels


def write_title(figure, title, results, unit="run"):
    """A figure's title, and the line below it on what was measured."""
    figure.suptitle(f"{title}\n", fontweight="bold")  # an empty second line makes room for the note
    below_the_title = 1 - 0.4 / figure.get_figheight()
    figure.text(0.5, below_the_title, describe_run(results, unit), fontsize=8, color="#555555",
                ha="center")


def describe_run(results, unit="run"):
    """Data set, number of runs and seed of stored results, for the line below a figure's title."""
    settings = results["settings"]
    runs = settings["runs"]
    parts = [f"{runs} {unit}{'s' if runs > 1 else ''}", f"seed {settings['seed']}"]
    if results["environment"]["dataset"]:
        parts.insert(0, results["environment"]["dataset"])
    if settings["quick"]:
        parts.append("quick tour, not the report's settings")
    return " · ".join(parts)


def draw_runs(panel, x, values, color, style=TEST, label=None, marker=None):
    """The median of the runs as a line, their quartiles as a band, the full range fainter.

    values is (runs, points), x (points,). Markers stand at all points of a short line, and at every
    seventh part of a long one.
    """
    values = np.asarray(values, dtype=float)
    low, first_quartile, median, third_quartile, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1],
                                                                    axis=0)
    panel.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
    panel.fill_between(x, first_quartile, third_quartile, color=color, alpha=0.25, linewidth=0)
    mark_every = 1 if len(median) <= 12 else len(median) // 7
    panel.plot(x, median, style, color=color, label=label, marker=marker, markersize=4,
               markevery=mark_every)


def draw_train_test(panel, x, train_values, test_values, color, label, marker):
    """The runs in training, dashed, and in test, solid; values are (runs, points)."""
    draw_runs(panel, x, train_values, color, TRAIN, label, marker)
    draw_runs(panel, x, test_values, color, TEST, label, marker)


def draw_final(panel, position, values, center, color, marker, style=TEST, width=0.7):
    """The last values (R,) of all runs side by side at a position, and their center.

    center is a function such as np.median. Where style is TRAIN, the marks are hollow and the
    center is dashed. width is that of the line of the center, in units of the axis.
    """
    places = position + np.linspace(-0.3, 0.3, len(values)) * width
    panel.plot(places, values, marker, color=color, markersize=4,
               markerfacecolor="white" if style == TRAIN else color)
    panel.hlines(center(values), position - width / 2, position + width / 2, color=color,
                 linestyle=style)


def draw_each_run(panel, x, values, color, style=TEST, label=None, marker=None):
    """Every run (a row of values) as a thin line, with marks on the first one.

    values is (runs, points), x (points,). More than five runs would be a tangle: draw_runs has
    them.
    """
    values = np.asarray(values, dtype=float)
    if len(values) > 5:
        draw_runs(panel, x, values, color, style, label, marker)
        return
    mark_every = 1 if len(x) <= 12 else len(x) // 7
    panel.plot(x, values[0], style, color=color, linewidth=1, label=label, marker=marker,
               markersize=4, markevery=mark_every)
    panel.plot(x, values[1:].T, style, color=color, linewidth=1)


def draw_marked_runs(panel, x, values, look, style=TEST, marked=slice(None)):
    """Every run as a thin line, and marks on their mean: hollow in training, full in test.

    values is (runs, points), x (points,). look names color and marker; marked has the indices of
    the points with a mark, or a slice of them.
    """
    x, values = np.asarray(x), np.asarray(values, dtype=float)
    draw_each_run(panel, x, values, look["color"], style)
    panel.plot(x[marked], values[:, marked].mean(0), look["marker"], color=look["color"],
               markersize=5, zorder=3, clip_on=False,
               markerfacecolor="white" if style == TRAIN else look["color"])


def draw_ranges(panel, rows, places, columns, color, marker, label=None):
    """Values of stored rows with their intervals, side by side at places (rows,) of the y axis.

    columns names the value and the ends of its interval; a row without a value leaves its place
    empty.
    """
    value_column, low_column, high_column = columns
    filled = [(place, row) for place, row in zip(places, rows) if row[value_column] is not None]
    values = [row[value_column] for _, row in filled]
    filled_places = [place for place, _ in filled]
    panel.hlines(filled_places, [row[low_column] for _, row in filled],
                 [row[high_column] for _, row in filled], color=color)
    panel.plot(values, filled_places, marker, color=color, markersize=5, label=label)


def legend_below(figure, *panels, columns=4, train_test=False):
    """One legend for the figure, below its panels, from their labelled lines; each label once.

    train_test adds what the dashed and the solid lines are.
    """
    entries = {}
    for panel in panels:
        lines, labels = panel.get_legend_handles_labels()
        entries.update(zip(labels, lines))
    if train_test:
        entries["training"] = Line2D([], [], color=GREY, linestyle=TRAIN)
        entries["test"] = Line2D([], [], color=GREY, linestyle=TEST)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def find_row(rows, **columns):
    """The first of the stored rows with these values. Raises LookupError where there is none."""
    for row in rows:
        if all(row[name] == value for name, value in columns.items()):
            return row
    raise LookupError(f"no row of {columns}")


def percent(fraction):
    """A fraction in percent with as few digits as it has: 20 %, 99.9 %."""
    return f"{100 * fraction:g} %"


def format_number(value, form):
    """A number for a title in Python's format form, with a true minus sign; a dash for None."""
    return "–" if value is None else format(value, form).replace("-", "−")
