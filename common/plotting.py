"""One visual language for all figures: train dashed, test solid, the runs as bands, one colour per model."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

matplotlib.use("Agg")  # files only: no display is needed

# Okabe & Ito's palette, which colour-blind readers can tell apart, the darker ones first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")  # one for each colour, which grey prints and some eyes do not show
TRAIN, TEST = "--", "-"
GREY = "#777777"  # what belongs to no model
matplotlib.rcParams.update({
    "figure.dpi": 150, "savefig.facecolor": "white", "figure.constrained_layout.use": True,
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5, "figure.titlesize": 11.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4",
    "axes.axisbelow": True, "lines.linewidth": 1.6, "legend.frameon": False,
})


def new_figure(title, results, rows, columns, height=3.0, **subplots):
    """A figure 9 inches wide with `rows` × `columns` axes, its title, and a line below that says what was measured."""
    figure = Figure(figsize=(9, height * rows + 0.9))
    axes = figure.subplots(rows, columns, squeeze=False, **subplots)
    figure.suptitle(f"{title}\n", fontweight="bold")  # the empty second line makes room for the note
    settings, environment = results["settings"], results["environment"]
    note = [environment["dataset"], f"{settings['runs']} run{'s' * (settings['runs'] > 1)}", f"seed {settings['seed']}",
            "quick tour, not the report's settings" if settings["quick"] else None]
    figure.text(0.5, 1 - 0.4 / figure.get_figheight(), " · ".join(filter(None, note)), fontsize=8, color="#555555",
                ha="center")
    return figure, axes


def draw_runs(axes, x, values, color, style=TEST, label=None, marker=None):
    """The median of the runs as a line, their quartiles as a band, their full range as a fainter one.

    values is (runs, points), x (points,). Markers stand at all points of a short line, at every seventh part of a long one.
    """
    low, first, median, third, high = np.quantile(np.asarray(values, dtype=float), [0, 0.25, 0.5, 0.75, 1], axis=0)
    axes.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
    axes.fill_between(x, first, third, color=color, alpha=0.25, linewidth=0)
    axes.plot(x, median, style, color=color, label=label, marker=marker, markersize=4,
              markevery=1 if len(median) <= 12 else len(median) // 7)


def draw_train_test(axes, x, values, quantity, color, label, marker, unit=1):
    """Both values["train_…"] and values["test_…"] of a quantity, (runs, points), times unit: dashed and solid."""
    for part, style in (("train", TRAIN), ("test", TEST)):
        draw_runs(axes, x, unit * np.asarray(values[f"{part}_{quantity}"]), color, style, label, marker)


def draw_final(axes, position, values, center, color, marker):
    """The last values (R,) of every run side by side at a position of the axis, and their center, such as np.median."""
    axes.plot(position + np.linspace(-0.2, 0.2, len(values)), values, marker, color=color, markersize=4)
    axes.hlines(center(values), position - 0.35, position + 0.35, color=color)


def draw_ranges(axes, rows, places, columns, color, marker, label=None):
    """Values of stored rows with their intervals, side by side at places (rows,) of the y axis.

    columns names the value and the ends of its interval; a row without a value leaves its place empty.
    """
    filled = [(place, row) for place, row in zip(places, rows) if row[columns[0]] is not None]
    places = [place for place, _ in filled]
    values, low, high = ([row[name] for _, row in filled] for name in columns)
    axes.hlines(places, low, high, color=color)
    axes.plot(values, places, marker, color=color, markersize=5, label=label)


def legend_below(figure, *panels, columns=4, train_test=False):
    """One legend for the whole figure, below its panels, from their labelled lines; each label once.

    train_test adds what the dashed and the solid lines are.
    """
    entries = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels())}
    for label, style in {"training": TRAIN, "test": TEST}.items() if train_test else ():
        entries[label] = Line2D([], [], color=GREY, linestyle=style)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def stored_row(rows, **columns):
    """The first of the stored rows with these values. Raises LookupError where there is none."""
    found = [row for row in rows if all(row[name] == value for name, value in columns.items())]
    return found[0]


def number(value, form):
    """A number for a title, in Python's format `form` with a true minus sign, or a dash where there is none."""
    return "–" if value is None else format(value, form).replace("-", "−")
