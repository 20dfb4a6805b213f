"""Deep or shallow: which convolutional network classifies images better at the same size?

Four networks of about 32,000 parameters form two pairs. In each pair the deeper network has two 3×3
convolutions where the other has one 5×5: two 3×3 see as many pixels as one 5×5 (Simonyan &
Zisserman 2015, arXiv:1409.1556). The width of a hidden linear layer is chosen so that all networks
have the same number of parameters; what an image costs still differs, by up to three times within a
pair. They are trained on MNIST and, by the same code, on scikit-learn's digits.

    python hw1_1_mnist.py              # the report's figure
    python hw1_1_mnist.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer
from common.data import dataset_title, first_images, load_dataset
from common.evaluation import evaluate_sets
from common.models import cnn, cnn_hidden_width, cnn_multiplications, parameter_count
from common.pieces import Piece, join_groups, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    TEST,
    TRAIN,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import compare_accuracies, is_significant, mean_columns
from common.training import (
    count_steps,
    cross_entropy,
    expand_to_runs,
    run_generators,
    train,
)

import numpy as np
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 6, quick=2, help="repeated runs of each network"),
    "epochs": Flag(positive_integer, 3, quick=2,
                   help="passes through the training images of the chosen data set"),
    "train_size": Flag(positive_integer, 12_000, quick=1_000, at_most="dataset",
                       help="training images, the first of the set"),
    "batch_size": Flag(positive_integer, 128, quick=128, at_most="train_size",
                       help="images per step"),
}
PARAMETERS = 32_000  # of every network, to within 1 %
# blocks lists the channels of the convolutions; every inner list is a block, which ends in a 2×2
# max-pool. [[8, 8]] is a convolution of 8 channels, another one, and a pool. learning_rate, the
# highest that the schedule reaches, and weight_decay are AdamW's. choices/image_settings.py chose
# them for each network by itself, on held-out training images; the choices came out equal.
MODELS = {
    "1 conv 5×5": {"blocks": [[8]], "kernel": 5, "learning_rate": 3e-2, "weight_decay": 0.2},
    "2 conv 3×3": {"blocks": [[8, 8]], "kernel": 3, "learning_rate": 3e-2, "weight_decay": 0.2},
    "2 conv 5×5": {"blocks": [[8], [16]], "kernel": 5, "learning_rate": 3e-2, "weight_decay": 0.2},
    "4 conv 3×3": {"blocks": [[8, 8], [16, 16]], "kernel": 3, "learning_rate": 3e-2,
                   "weight_decay": 0.2},
}
# What a training step costs, relative to one of "1 conv 5×5".
STEP_COSTS = {"1 conv 5×5": 1.0, "2 conv 3×3": 3.0, "2 conv 5×5": 2.2, "4 conv 3×3": 4.5}
# The learning rate rises through this fraction of the steps and then falls to zero along a half
# cosine. Without the rise the runs of one network ended up to twenty points of accuracy apart.
WARMUP = 0.25
# One 5×5 convolution in every block against two 3×3 ones. The networks of a pair have the same
# number of parameters, but the deeper one takes more multiplications.
DEPTH_PAIRS = (("1 conv 5×5", "2 conv 3×3"), ("2 conv 5×5", "4 conv 3×3"))
SMALL_TASK = "digits"  # enlarged to 28×28 pixels, the size of MNIST's images
SMALL_TASK_EPOCH_FACTOR = 3  # more epochs, because there are only a tenth as many digits
# Training images, the first, on which loss and accuracy are measured.
MEASURED_TRAIN_IMAGES = 5_000
MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


# --- networks ---


# Models are stacks of networks, see common/models.py: dimension 0 of their parameters, outputs and
# losses is the run. Here its size is 1, because larger stacks make convolutions no faster on a CPU.
def build_model(name, run_number, settings):
    """A stack of one network of MODELS, initialized from (seed, run_number)."""
    blocks, kernel = MODELS[name]["blocks"], MODELS[name]["kernel"]
    # One hidden linear layer takes as many units as bring the network to PARAMETERS.
    hidden_width = cnn_hidden_width(blocks, kernel, PARAMETERS)
    generators = run_generators(settings.seed, [run_number], "initialization")
    return cnn(blocks, kernel, [hidden_width], generators).to(settings.device)


# --- training and measuring ---


def train_model(data, name, run_number, learning_rate, weight_decay, epochs, settings):
    """Trains one run of one network and measures it at settings.epochs + 1 equally spaced moments.

    The first moment is before training, the last one at its end. epochs is a multiple of
    settings.epochs. Returns {measure: values (1, moments)}.
    """
    model = build_model(name, run_number, settings)
    images, labels = first_images(data, settings.train_size)
    labels_of_runs = expand_to_runs(labels, model)  # (1, images): train asks for each run's own
    sets = {
        "train": (images[:MEASURED_TRAIN_IMAGES], labels[:MEASURED_TRAIN_IMAGES]),
        "test": (data.test_images, data.test_labels),
    }
    records = {measure: [] for measure in MEASURES}

    # train calls it before training and after every record_every epochs. It passes the epoch, which
    # is not needed: the moments are equally spaced.
    def record(epoch):
        # evaluate_sets names the values "train_loss", "train_accuracy" and so on, as MEASURES does.
        for measure, values in evaluate_sets(model, sets).items():
            records[measure].append(values)  # (1,)

    train(model, images, labels_of_runs, cross_entropy, epochs=epochs,
          learning_rate=learning_rate, warmup=WARMUP, batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, [run_number], "order"),
          optimizer=partial(torch.optim.AdamW, weight_decay=weight_decay), record=record,
          record_every=epochs // settings.epochs)
    histories = {measure: torch.stack(values, dim=1) for measure, values in records.items()}
    return to_arrays(histories)


def list_pieces(data, epochs, settings):
    """The training of every run of every network on one task: {(task, network, run): Piece}."""
    task = dataset_title(data.name)
    images = min(settings.train_size, len(data.train_images))
    steps = count_steps(images, epochs, settings.batch_size)
    pieces = {}
    for name, model in MODELS.items():
        for run_number in range(settings.runs):
            pieces[task, name, run_number] = Piece(
                name=f"{task}, {name}, run {run_number}", function=train_model,
                arguments=(name, run_number, model["learning_rate"], model["weight_decay"], epochs,
                           settings),
                steps=steps, step_cost=STEP_COSTS[name], data=data)
    return pieces


# --- summing up ---


def summarize_model(name, history, data, epochs, settings):
    """One row of the table: means over the runs at the end, and what the network is made of.

    *_ci95 is half the width of a 95 % interval, which treats each run as one independent sample.
    """
    model = MODELS[name]
    hidden_width = cnn_hidden_width(model["blocks"], model["kernel"], PARAMETERS)
    row = {
        "dataset": dataset_title(data.name),
        "model": name,
        "blocks": model["blocks"],
        "kernel": model["kernel"],
        "hidden_width": hidden_width,
        "parameters": parameter_count(build_model(name, 0, settings)),
        "multiplications": cnn_multiplications(model["blocks"], model["kernel"], hidden_width),
        "learning_rate": model["learning_rate"],
        "weight_decay": model["weight_decay"],
        "train_images": min(settings.train_size, len(data.train_images)),
        "test_images": len(data.test_images),
        "runs": settings.runs,
        "epochs": epochs,
    }
    final_values = {measure: history[measure][:, -1] for measure in MEASURES}
    return row | mean_columns(final_values)


def compare_networks(final_accuracies):
    """Rows: compare_accuracies of each two networks on each task.

    final_accuracies is {task: {network: test accuracies (runs,)}}. Runs are paired, because run k
    of every network sees the images in the same order, drawn from (seed, k). "isolates_depth" marks
    the pairs of DEPTH_PAIRS, which differ in depth alone.
    """
    rows = []
    for task, accuracies in final_accuracies.items():
        for row in compare_accuracies(accuracies):
            isolates_depth = {row["better"], row["worse"]} in [set(pair) for pair in DEPTH_PAIRS]
            rows.append({"dataset": task, "isolates_depth": isolates_depth, **row})
    return rows


def collect_facts(results):
    """What figure and report say: the facts of the chosen task ("main") and of the small one.

    Differences are of test accuracies, as fractions, with the half widths of their 95 % intervals.
    """
    tasks = list(results["curves"])
    facts = {"main_task": tasks[0], "main": facts_of_task(results, tasks[0])}
    if len(tasks) > 1:
        facts |= {"small_task": tasks[1], "small": facts_of_task(results, tasks[1])}
    else:
        facts |= {"small_task": None, "small": None}
    return facts


def facts_of_task(results, task):
    """The most accurate network of a task, and what depth and a second block of layers change.

    "one_block" and "two_blocks" are the pairs of DEPTH_PAIRS: the deeper network minus the
    shallower one. "second_block_5x5" and "second_block_3x3" compare networks of equal kernels: two
    blocks minus one.
    """
    rows = [row for row in results["table"] if row["dataset"] == task]
    best = max(rows, key=lambda row: row["test_accuracy"])
    one_block_networks, two_block_networks = results["constants"]["DEPTH_PAIRS"]
    one_block_5x5, one_block_3x3 = one_block_networks
    two_blocks_5x5, two_blocks_3x3 = two_block_networks
    return {
        "best_network": best["model"],
        "best_accuracy": {"value": best["test_accuracy"], "ci95": best["test_accuracy_ci95"]},
        "lowest_accuracy": min(row["test_accuracy"] for row in rows),
        "narrowest": min(row["hidden_width"] for row in rows),
        "widest": max(row["hidden_width"] for row in rows),
        "one_block": compare_pair(results, task, one_block_5x5, one_block_3x3),
        "two_blocks": compare_pair(results, task, two_blocks_5x5, two_blocks_3x3),
        "second_block_5x5": compare_pair(results, task, one_block_5x5, two_blocks_5x5),
        "second_block_3x3": compare_pair(results, task, one_block_3x3, two_blocks_3x3),
    }


def compare_pair(results, task, first, second):
    """The accuracy of the second network minus that of the first, with the stored p-value.

    The p-value is corrected for all comparisons of the task, see compare_accuracies. "winner" is
    the more accurate network where the difference is clear (significant), and None elsewhere.
    """
    rows = [row for row in results["comparisons"]
            if row["dataset"] == task and {row["better"], row["worse"]} == {first, second}]
    row = rows[0]  # the only one: each two networks of a task are compared once
    sign = 1 if row["better"] == second else -1
    return {"difference": {"value": sign * row["accuracy_difference"],
                           "ci95": row["difference_ci95"]},
            "p_value": row["p_value"],
            "winner": row["better"] if is_significant(row["p_value"]) else None}


def is_clear(pair):
    """Whether a difference (compare_pair) is clear."""
    return pair["winner"] is not None


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    epochs_of_dataset = {settings.dataset: settings.epochs}
    if settings.dataset != SMALL_TASK:
        epochs_of_dataset[SMALL_TASK] = SMALL_TASK_EPOCH_FACTOR * settings.epochs
    datasets, pieces = {}, {}
    for dataset, epochs in epochs_of_dataset.items():
        datasets[dataset] = load_dataset(dataset, settings.data_dir, settings.device,
                                         settings.train_size)
        pieces |= list_pieces(datasets[dataset], epochs, settings)
    trained = join_groups(run_pieces(pieces, settings))  # {(task, network): history of all runs}

    table, histories, final_accuracies = [], {}, {}
    for dataset, epochs in epochs_of_dataset.items():
        task = dataset_title(dataset)
        histories[task], final_accuracies[task] = {}, {}
        for name in MODELS:
            history = trained[task, name]
            table.append(summarize_model(name, history, datasets[dataset], epochs, settings))
            histories[task][name] = history
            final_accuracies[task][name] = history["test_accuracy"][:, -1]
    return {
        "constants": {
            "PARAMETERS": PARAMETERS,
            "WARMUP": WARMUP,
            "DEPTH_PAIRS": DEPTH_PAIRS,
            "SMALL_TASK_EPOCH_FACTOR": SMALL_TASK_EPOCH_FACTOR,
            "MEASURED_TRAIN_IMAGES": MEASURED_TRAIN_IMAGES,
        },
        "table": table,
        "comparisons": compare_networks(final_accuracies),
        "curves": histories,
    }


# --- drawing ---

KERNEL_COLORS = {5: COLORS[0], 3: COLORS[1]}
BLOCK_MARKERS = {1: MARKERS[0], 2: MARKERS[1]}  # by the number of blocks
# Tasks by their names among the facts, in colours and marks that no network has.
TASK_LOOKS = {"main": ("black", MARKERS[3]), "small": (COLORS[2], MARKERS[2])}
# Changes of a network by their names among the facts of a task, from top to bottom.
CHANGE_LABELS = {
    "one_block": "two 3×3 instead of\none 5×5, one block",
    "two_blocks": "two 3×3 instead of\none 5×5, two blocks",
    "second_block_5x5": "second block, 5×5",
    "second_block_3x3": "second block, 3×3",
}
# What the details show: measure, unit and style of line.
CURVES = (("train_loss", "training loss", "nats", TRAIN),
          ("test_loss", "test loss", "nats", TEST),
          ("train_error", "training error", "%", TRAIN),
          ("test_error", "test error", "%", TEST))


def plot(results):
    """Every run's final test error on the main task, and what each change does to it on both."""
    facts = results["facts"]
    figure, panels = new_figure(figure_title(facts), results, 1, 2, height=3.5,
                                width_ratios=[1.25, 1])
    final_panel, change_panel = panels[0]
    draw_final_errors(final_panel, results, facts["main_task"])
    draw_changes(change_panel, facts)
    legend_below(figure, final_panel, change_panel, columns=6)
    return figure


def plot_details(results):
    """One column of panels for each task: loss and error by epoch, in training and on test images.
    """
    tasks = list(results["curves"])
    figure, panels = new_figure(details_title(results), results, len(CURVES), len(tasks),
                                height=1.9)
    for column, task in zip(panels.T, tasks):
        for panel, (measure, name, unit, style) in zip(column, CURVES):
            draw_curves(panel, results, task, measure, style)
            panel.set(title=f"{task}: {name}", ylabel=f"{name} ({unit})")
        column[-1].set_xlabel("epochs")
    for panel in panels.flat:  # after all is drawn, as it ends the choice of limits by the data
        panel.set_ylim(bottom=0)
    panels[0, 0].fill_between([], [], color=GREY, alpha=0.2, label="quartiles of the runs")
    legend_below(figure, panels[0, 0], columns=7, train_test=True)
    return figure


def figure_title(facts):
    """What depth alone and a second block of layers change on the main task, in words."""
    main = facts["main"]
    depth = verdict({"with one block": main["one_block"], "with two": main["two_blocks"]})
    second_block = verdict({"with 5×5": main["second_block_5x5"],
                            "with 3×3": main["second_block_3x3"]})
    return f"{facts['main_task']}: depth alone makes {depth}; a second block, {second_block}"


def verdict(pairs):
    """What a change does to the test error, from two comparisons {which: compare_pair}, in words.

    Clear differences alone are named, by one of these phrases:

    - no clear difference
    - 1.5 points fewer errors with 3×3 only  (one of the two is clear)
    - 1.2 points fewer errors with one block, 1.0 points more errors with two  (opposite signs)
    - 0.8 points fewer errors  (both, and equal when rounded)
    - 0.8 to 1.1 points fewer errors  (both)
    """
    clear_points, phrases = [], []
    for which, pair in pairs.items():
        if is_clear(pair):
            points = error_points(pair)
            clear_points.append(points)
            phrases.append(f"{points_in_words(points)} {which}")
    if len(phrases) == 0:
        return "no clear difference"
    if len(phrases) == 1:
        return f"{phrases[0]} only"
    smaller, larger = sorted(clear_points, key=abs)
    have_equal_signs = smaller * larger > 0
    if not have_equal_signs:
        return ", ".join(phrases)
    low, high = f"{abs(smaller):.1f}", f"{abs(larger):.1f}"
    if low == high:
        return points_in_words(larger)
    return f"{low} to {points_in_words(larger)}"


def error_points(pair):
    """By how many percentage points a change raises the test error."""
    return -100 * pair["difference"]["value"]


def points_in_words(points):
    """A change of the test error by so many percentage points, in words."""
    return f"{abs(points):.1f} points {'fewer' if points < 0 else 'more'} errors"


def look_of(results, task, name):
    """Colour and marker of a network: its kernel size and its number of blocks."""
    row = find_row(results["table"], dataset=task, model=name)
    return KERNEL_COLORS[row["kernel"]], BLOCK_MARKERS[len(row["blocks"])]


def values_of(history, measure):
    """A loss of a network, or an error in percent: (runs, moments)."""
    if measure.endswith("_error"):
        images = measure.removesuffix("_error")  # "train" or "test"
        return 100 * (1 - np.array(history[f"{images}_accuracy"]))
    return np.array(history[measure])


def draw_final_errors(panel, results, task):
    """The final test error of every run, runs of equal data order joined within a pair.

    The networks of a pair stand side by side; bars are means.
    """
    pairs = results["constants"]["DEPTH_PAIRS"]
    names = [name for pair in pairs for name in pair]
    errors, places, labels = {}, {}, []
    for position, name in enumerate(names):
        errors[name] = values_of(results["curves"][task][name], "test_error")[:, -1]
        # A little apart, so that no run hides another.
        places[name] = position + np.linspace(-0.15, 0.15, len(errors[name]))
        color, marker = look_of(results, task, name)
        panel.hlines(errors[name].mean(), position - 0.3, position + 0.3, color=color, linewidth=2)
        panel.plot(places[name], errors[name], marker, color=color, markeredgecolor="white",
                   markersize=6, zorder=3)
        block_count = len(find_row(results["table"], dataset=task, model=name)["blocks"])
        labels.append(f"{name}\n({block_count} block{'s' if block_count > 1 else ''})")
    for shallow, deep in pairs:
        for run_number in range(len(errors[shallow])):
            panel.plot([places[shallow][run_number], places[deep][run_number]],
                       [errors[shallow][run_number], errors[deep][run_number]], color=GREY,
                       linewidth=0.6, zorder=0)
    panel.plot([], [], color=GREY, linewidth=0.6, label="same order of images")
    panel.plot([], [], color=GREY, linewidth=2, label="mean of the runs")
    panel.set(title=f"{task}: {final_verdict(errors, pairs)}", xlabel="network",
              ylabel="final test error (%)", xticks=range(len(names)), xticklabels=labels)


def final_verdict(errors, pairs):
    """Whether two blocks are better in every run, from the errors {network: (runs,)}, in words."""
    one_block_networks, two_block_networks = pairs
    one_block_errors = [errors[name] for name in one_block_networks]
    two_block_errors = [errors[name] for name in two_block_networks]
    if np.max(two_block_errors) < np.min(one_block_errors):
        return "every run with two blocks\nerrs less than any with one"
    return "the final test errors of all runs,\nnetworks of equal size in pairs"


def draw_changes(panel, facts):
    """What each change does to the test error on both tasks, with 95 % intervals.

    Marks are full where the difference is clear.
    """
    counts = []
    for task, offset in (("main", -0.13), ("small", 0.13)):
        if facts[task] is not None:
            pairs = [facts[task][change] for change in CHANGE_LABELS]
            name = facts[f"{task}_task"]
            draw_differences(panel, pairs, offset, *TASK_LOOKS[task], name)
            counts.append(f"{name}: {count_clear(pairs)}")
    panel.plot([], [], "o", color=GREY, label="clear (corrected p < 0.05)")
    panel.plot([], [], "o", color=GREY, markerfacecolor="white", label="not clear")

    panel.axvline(0, color=GREY, linewidth=1, zorder=0)
    farthest = max(abs(limit) for limit in panel.get_xlim())
    above_the_first = -0.6
    panel.text(-0.04 * farthest, above_the_first, "← fewer errors", ha="right", va="center")
    panel.text(0.04 * farthest, above_the_first, "more errors →", ha="left", va="center")
    panel.grid(False, axis="y")
    panel.tick_params(axis="y", length=0)
    panel.set(title="Clear differences on " + ";\non ".join(counts),
              xlabel="change of the final test error\n(percentage points)",
              xlim=(-farthest, farthest), ylim=(len(CHANGE_LABELS) - 0.5, -0.9),
              yticks=range(len(CHANGE_LABELS)), yticklabels=CHANGE_LABELS.values())


def count_clear(pairs):
    """How many of the differences (compare_pair) are clear, in words."""
    clear_count = sum(is_clear(pair) for pair in pairs)
    return "none" if clear_count == 0 else f"{clear_count} of {len(pairs)}"


def draw_differences(panel, pairs, offset, color, marker, label):
    """The changes of the test error of one task, each at its place of the y axis plus an offset."""
    panel.plot([], [], marker, color=color, label=label)
    for place, pair in enumerate(pairs):
        half_width = pair["difference"]["ci95"] or 0  # None for a single run
        panel.errorbar(error_points(pair), place + offset, xerr=100 * half_width, fmt=marker,
                       color=color, markersize=5, zorder=3,
                       markerfacecolor=color if is_clear(pair) else "white")


def details_title(results):
    """Whether the networks with two blocks are ahead of the others throughout on the main task."""
    task = results["facts"]["main_task"]
    if two_blocks_lead(results, task):
        return f"{task}: two blocks are ahead in training and test, at every measurement"
    return "Error and loss of the four networks during training"


def two_blocks_lead(results, task):
    """Whether all medians drawn of a network with two blocks are below all of one with one."""
    one_block_networks, two_block_networks = results["constants"]["DEPTH_PAIRS"]
    histories = results["curves"][task]
    for measure, *_ in CURVES:
        medians = {name: np.median(values_of(history, measure), axis=0)[1:]
                   for name, history in histories.items()}
        highest = np.max([medians[name] for name in two_block_networks], axis=0)  # (moments,)
        lowest = np.min([medians[name] for name in one_block_networks], axis=0)
        if not (highest < lowest).all():
            return False
    return True


def draw_curves(panel, results, task, measure, style):
    """A measure of all networks after the start, where all are alike: medians and quartiles."""
    epochs = find_row(results["table"], dataset=task)["epochs"]
    measured_epochs = np.linspace(0, epochs, results["settings"]["epochs"] + 1)[1:]
    for name, history in results["curves"][task].items():
        color, marker = look_of(results, task, name)
        low, median, high = np.quantile(values_of(history, measure)[:, 1:], [0.25, 0.5, 0.75],
                                        axis=0)
        panel.fill_between(measured_epochs, low, high, color=color, alpha=0.12, linewidth=0)
        panel.plot(measured_epochs, median, style, color=color, label=name, marker=marker,
                   markersize=5, markerfacecolor="white" if style == TRAIN else color,
                   clip_on=False)
    panel.set_xticks(measured_epochs)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts, uses_images=True)
