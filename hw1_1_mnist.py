"""Deep or shallow: which convolutional network classifies images better at the same size?

Four networks of about 32,000 parameters form two pairs. In each pair the deeper network has two 3×3
convolutions where the other has one 5×5, and is like it in everything else: two 3×3 see as many
pixels as one 5×5 (Simonyan & Zisserman 2015, arXiv:1409.1556). The width of a hidden linear layer
is chosen so that all networks have the same number of parameters. They are trained on MNIST and, by
the same code, on scikit-learn's digits.

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
    draw_train_test,
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
# max-pool. [[8, 8]] is a convolution of 8 channels, another one, and a pool. Learning rate (the
# highest) and weight decay are AdamW's, chosen for each network on held-out training images by
# choices/image_settings.py.
MODELS = {
    "1 conv 5×5": {"blocks": [[8]], "kernel": 5, "learning_rate": 3e-2, "weight_decay": 0.2},
    "2 conv 3×3": {"blocks": [[8, 8]], "kernel": 3, "learning_rate": 3e-2, "weight_decay": 0.2},
    "2 conv 5×5": {"blocks": [[8], [16]], "kernel": 5, "learning_rate": 3e-2, "weight_decay": 0.2},
    "4 conv 3×3": {"blocks": [[8, 8], [16, 16]], "kernel": 3, "learning_rate": 3e-2,
                   "weight_decay": 0.2},
}
# The learning rate rises through this fraction of the steps and then falls to zero along a half
# cosine. Without the rise the runs of one network ended up to twenty points of accuracy apart.
WARMUP = 0.25
# Each pair differs in depth alone: one 5×5 convolution in a block against two 3×3 ones.
DEPTH_PAIRS = (("1 conv 5×5", "2 conv 3×3"), ("2 conv 5×5", "4 conv 3×3"))
# What a training step costs, relative to one of "1 conv 5×5".
STEP_COSTS = {"1 conv 5×5": 1.0, "2 conv 3×3": 3.0, "2 conv 5×5": 2.2, "4 conv 3×3": 4.5}
SMALL_TASK = "digits"  # enlarged to 28×28 pixels, the size of MNIST's images
SMALL_TASK_EPOCH_FACTOR = 3  # more epochs, because there are only a tenth as many digits
# Training images, the first, on which loss and accuracy are measured.
MEASURED_TRAIN_IMAGES = 5_000
MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs as their first dimension; inputs that all runs share
# lack that dimension. See common/models.py. Stacks do not make convolutions faster on a CPU: here
# every stack holds a single run, and the runs are shared out among the cores.
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

    def record(epoch):  # train calls it before training and after every record_every epochs
        # "train" and "loss" make "train_loss", one of MEASURES, and so on.
        for measure, values in evaluate_sets(model, sets).items():
            records[measure].append(values)  # (1,)

    train(model, images, labels_of_runs, cross_entropy, epochs=epochs,
          learning_rate=learning_rate, warmup=WARMUP, batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, [run_number], "order"),
          optimizer=partial(torch.optim.AdamW, weight_decay=weight_decay), record=record,
          record_every=epochs // settings.epochs)
    return to_arrays({measure: torch.stack(values, dim=1) for measure, values in records.items()})


def list_pieces(data, epochs, settings):
    """The training of every run of every network on one task: {(task, network, run): Piece}."""
    task = dataset_title(data.name)
    images = min(settings.train_size, len(data.train_images))
    steps = count_steps(images, epochs, settings.batch_size)
    pieces = {}
    for name, model in MODELS.items():
        for run_number in range(settings.runs):
            pieces[task, name, run_number] = Piece(
                f"{task}, {name}, run {run_number}", train_model,
                (name, run_number, model["learning_rate"], model["weight_decay"], epochs, settings),
                steps, STEP_COSTS[name], data)
    return pieces


# --- summing up ---


def summarize_model(name, history, data, epochs, settings):
    """One row of the table: means over the runs at the end, and what the network is made of.

    The interval *_ci95 is that of mean_columns: the unit is the run.
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
    the pairs that differ in depth alone.
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

    "one_block" and "two_blocks" are the two pairs that isolate depth: the deeper network minus the
    shallower one. "second_block" compares the networks of 5×5 convolutions: two blocks minus one.
    """
    rows = [row for row in results["table"] if row["dataset"] == task]
    best = max(rows, key=lambda row: row["test_accuracy"])
    one_block, two_blocks = results["constants"]["DEPTH_PAIRS"]
    return {
        "best_network": best["model"],
        "best_accuracy": {"value": best["test_accuracy"], "ci95": best["test_accuracy_ci95"]},
        "lowest_accuracy": min(row["test_accuracy"] for row in rows),
        "narrowest": min(row["hidden_width"] for row in rows),
        "widest": max(row["hidden_width"] for row in rows),
        "one_block": compare_pair(results, task, *one_block),
        "two_blocks": compare_pair(results, task, *two_blocks),
        "second_block": compare_pair(results, task, one_block[0], two_blocks[0]),
    }


def compare_pair(results, task, first, second):
    """The accuracy of the second network minus that of the first, with the stored p-value.

    The p-value is corrected for all comparisons of the task, see compare_accuracies.
    """
    rows = [row for row in results["comparisons"]
            if row["dataset"] == task and {row["better"], row["worse"]} == {first, second}]
    row, = rows  # there is one row for each pair
    sign = 1 if row["better"] == second else -1
    return {"difference": {"value": sign * row["accuracy_difference"],
                           "ci95": row["difference_ci95"]},
            "p_value": row["p_value"],
            "winner": row["better"] if is_significant(row["p_value"]) else None}


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


# --- drawing: histories are {network: {measure: values (runs, moments)}} of one task ---

KERNEL_COLORS = {5: COLORS[0], 3: COLORS[1]}
BLOCK_MARKERS = {1: MARKERS[0], 2: MARKERS[1]}  # by the number of blocks


def plot(results):
    """One row of panels for each task: final test error, then error and loss during training."""
    tasks = list(results["curves"])
    figure, panels = new_figure(figure_title(results), results, len(tasks), 3, height=3.2,
                                width_ratios=[1.7, 1, 1])
    for (final_panel, error_panel, loss_panel), task in zip(panels, tasks):
        draw_final_errors(final_panel, results, task)
        draw_errors(error_panel, results, task)
        draw_losses(loss_panel, results, task)
    legend_below(figure, panels[0, 1], columns=6, train_test=True)
    return figure


def figure_title(results):
    """What depth alone and a second block of layers change on the main task, in words."""
    facts = results["facts"]["main"]
    return (f"Depth alone: {depth_verdict(facts)}. A second block of layers: "
            f"{pair_verdict(facts['second_block'])}")


def depth_verdict(facts):
    """How the deeper networks of both pairs fare, in a few words."""
    one_block, two_blocks = (pair_verdict(facts[pair]) for pair in ("one_block", "two_blocks"))
    if one_block == two_blocks:
        return one_block
    return f"{one_block} with one block, {two_blocks} with two"


def pair_verdict(pair):
    """How the deeper network of a pair fares against the shallower one, in a few words."""
    if pair["winner"] is None:
        return "no clear difference"
    better = "better" if pair["difference"]["value"] > 0 else "worse"
    return f"{better} by {abs(100 * pair['difference']['value']):.2g} points"


def measured_epochs(results, task):
    """The epochs at which the networks of a task were measured: (moments,)."""
    epochs = find_row(results["table"], dataset=task)["epochs"]
    return np.linspace(0, epochs, results["settings"]["epochs"] + 1)


def look_of(results, task, name):
    """Colour and marker of a network: its kernel size and its number of blocks."""
    row = find_row(results["table"], dataset=task, model=name)
    return KERNEL_COLORS[row["kernel"]], BLOCK_MARKERS[len(row["blocks"])]


def draw_final_errors(panel, results, task):
    """The final test error of every run, runs of equal data order joined within a pair.

    The networks of a pair stand side by side; bars are means.
    """
    histories = results["curves"][task]
    pairs = results["constants"]["DEPTH_PAIRS"]
    names = [name for pair in pairs for name in pair]
    errors = {name: 100 * (1 - np.array(histories[name]["test_accuracy"])[:, -1])
              for name in names}
    for position, name in enumerate(names):
        color, marker = look_of(results, task, name)
        panel.plot(np.full(len(errors[name]), position), errors[name], marker, color=color,
                   markersize=5, alpha=0.8)
        panel.hlines(errors[name].mean(), position - 0.3, position + 0.3, color=color)
    for number, (shallow, deep) in enumerate(pairs):
        places = [2 * number, 2 * number + 1]
        panel.plot(places, [errors[shallow], errors[deep]], color=GREY, linewidth=0.6, zorder=0)
    facts = results["facts"]["main" if task == results["facts"]["main_task"] else "small"]
    panel.set(title=f"{task}, depth alone: {depth_verdict(facts)}",
              ylabel="final test error (%)", xticks=range(len(names)), xticklabels=names,
              xlabel="grey: runs with the same order of images; bars: means")


def draw_errors(panel, results, task):
    """Percentage of wrongly classified images during training."""
    epochs = measured_epochs(results, task)
    for name, history in results["curves"][task].items():
        color, marker = look_of(results, task, name)
        train_errors = 100 * (1 - np.array(history["train_accuracy"]))
        test_errors = 100 * (1 - np.array(history["test_accuracy"]))
        draw_train_test(panel, epochs, train_errors, test_errors, color, name, marker)
    panel.set_yscale("symlog", linthresh=0.1)  # linear below 0.1 %, as training errors reach zero
    panel.yaxis.set_major_formatter("{x:g}")
    panel.set(title=f"{task}: error", xlabel="epochs", ylabel="1 − accuracy (%)")


def draw_losses(panel, results, task):
    """Cross-entropy during training."""
    epochs = measured_epochs(results, task)
    for name, history in results["curves"][task].items():
        color, marker = look_of(results, task, name)
        draw_train_test(panel, epochs, history["train_loss"], history["test_loss"], color, None,
                        marker)
    panel.set(yscale="log", title=f"{task}: loss", xlabel="epochs", ylabel="cross-entropy (nats)")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts, uses_images=True)
