"""Deep or shallow: which convolutional network classifies images better at the same size?

Four networks of about 32,000 parameters have one, two or four convolutions. A hidden linear layer
is as wide as brings each of them to that number; two networks differ in the size of the kernels and
in that width alone. They are trained on MNIST and, by the same code, on scikit-learn's digits.

    python hw1_1_mnist.py              # the report's figure
    python hw1_1_mnist.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import dataset_title, first_images, load_dataset
from common.evaluation import evaluate_sets
from common.models import cnn, cnn_hidden_width, parameter_count
from common.pieces import Piece, join_groups, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    MARKERS,
    draw_final,
    draw_train_test,
    legend_below,
    new_figure,
)
from common.statistics import compare_to_best, is_significant, mean_ci95
from common.training import (
    count_steps,
    cross_entropy,
    expand_to_runs,
    run_generators,
    train,
)

import numpy as np
import scipy
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 3, quick=2, help="repeated runs of each network"),
    "epochs": Flag(positive_integer, 4, quick=2,
                   help="passes through the training images of the chosen data set"),
    "lr": Flag(positive_number, 3e-3, quick=3e-3,
               help="AdamW's learning rate at the start; it falls to zero along a half cosine"),
    "train_size": Flag(positive_integer, 60_000, quick=1_000, at_most="dataset",
                       help="training images, the first of the set"),
    "batch_size": Flag(positive_integer, 128, quick=128, at_most="train_size",
                       help="images per step"),
}
PARAMETERS = 32_000  # of every network, to within 1 %
# [[8], [16]] is a convolution of 8 channels, a 2×2 max-pool, a convolution of 16 channels, and a
# pool: each inner list is a block of convolutions, given by their numbers of channels, that ends in
# a pool.
MODELS = {
    "1 conv 5×5": {"blocks": [[8]], "kernel": 5},
    "2 conv 5×5": {"blocks": [[8], [16]], "kernel": 5},
    "2 conv 3×3": {"blocks": [[8], [16]], "kernel": 3},
    "4 conv 3×3": {"blocks": [[8], [16], [32, 32]], "kernel": 3},
}
# What a training step costs, one of "1 conv 5×5" being 1.
STEP_COSTS = {"1 conv 5×5": 1.0, "2 conv 5×5": 1.6, "2 conv 3×3": 1.2, "4 conv 3×3": 1.8}
WEIGHT_DECAY = 0.2  # of AdamW; without it the deepest network's test accuracy stayed near 99.1 %
SMALL_TASK = "digits"  # enlarged to 28×28 pixels, the size of MNIST's images
SMALL_TASK_EPOCH_FACTOR = 10  # more epochs, because the digits are a fortieth of MNIST
# Training images, the first, on which loss and accuracy are measured after every epoch: as many as
# MNIST has test images. All of them would take a quarter of the time.
MEASURED_TRAIN_IMAGES = 10_000
MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs as their first dimension, which inputs that all runs
# share lack. See common/models.py. Convolutions gain nothing from it on a CPU: here every stack
# holds a single run, and the runs are shared out among the cores.
def build_model(name, run_number, settings):
    """A stack of one network of MODELS, initialized from (seed, run_number)."""
    blocks, kernel = MODELS[name]["blocks"], MODELS[name]["kernel"]
    # One hidden linear layer takes as many units as bring the network to PARAMETERS.
    hidden_width = cnn_hidden_width(blocks, kernel, PARAMETERS)
    generators = run_generators(settings.seed, [run_number], "initialization")
    return cnn(blocks, kernel, [hidden_width], generators).to(settings.device)


# --- training and measuring ---


def train_model(data, name, run_number, epochs, settings):
    """Trains one run of one network and measures it before training and after every epoch.

    Returns {measure: values (1, epochs + 1)}.
    """
    model = build_model(name, run_number, settings)
    images, labels = first_images(data, settings.train_size)
    labels_of_runs = expand_to_runs(labels, model)  # (1, images): train asks for each run's own
    sets = {
        "train": (images[:MEASURED_TRAIN_IMAGES], labels[:MEASURED_TRAIN_IMAGES]),
        "test": (data.test_images, data.test_labels),
    }
    records = {measure: [] for measure in MEASURES}

    def record(epoch):  # train calls it before training and after every epoch
        # "train" and "loss" make "train_loss", one of MEASURES, and so on.
        for measure, values in evaluate_sets(model, sets).items():
            records[measure].append(values)  # (1,)

    train(model, images, labels_of_runs, cross_entropy, epochs=epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, [run_number], "order"),
          optimizer=partial(torch.optim.AdamW, weight_decay=WEIGHT_DECAY), record=record)
    return to_arrays({measure: torch.stack(values, dim=1) for measure, values in records.items()})


def list_pieces(data, epochs, settings):
    """The training of every run of every network on one task: {(task, network, run): Piece}."""
    task = dataset_title(data.name)
    images = min(settings.train_size, len(data.train_images))
    steps = count_steps(images, epochs, settings.batch_size)
    pieces = {}
    for name in MODELS:
        for run_number in range(settings.runs):
            pieces[task, name, run_number] = Piece(
                f"{task}, {name}, run {run_number}", train_model,
                (name, run_number, epochs, settings), steps, STEP_COSTS[name], data)
    return pieces


# --- summing up ---


def summarize_model(name, history, data, epochs, settings):
    """One row of the table: means over the runs after the last epoch."""
    row = {
        "dataset": dataset_title(data.name),
        "model": name,
        "convolutions": sum(len(block) for block in MODELS[name]["blocks"]),
        "kernel": MODELS[name]["kernel"],
        "train_images": min(settings.train_size, len(data.train_images)),
        "test_images": len(data.test_images),
        "parameters": parameter_count(build_model(name, 0, settings)),
        "runs": settings.runs,
        "epochs": epochs,
    }
    for measure in MEASURES:
        row[measure] = history[measure][:, -1].mean()
    _, row["test_accuracy_ci95"] = mean_ci95(history["test_accuracy"][:, -1])
    return row


def compare_models(final_accuracies):
    """Compares the most accurate network with each other one, on each task.

    final_accuracies is {task: {network: test accuracies (runs,)}}. Returns rows; the difference is
    that of the best network minus the other. The t-tests are paired, because run k of every network
    sees the images in the same order, drawn from (seed, k). Their p-values are corrected for the
    number of comparisons.
    """
    rows = []
    for task, accuracies in final_accuracies.items():
        best, comparisons = compare_to_best(accuracies, np.mean, scipy.stats.ttest_rel)
        for other, differences, p_value in comparisons:
            mean_difference, half_width = mean_ci95(differences)
            rows.append({
                "dataset": task,
                "best": best,
                "against": other,
                "accuracy_difference": mean_difference,
                "difference_ci95": half_width,
                "p_value": p_value,
            })
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    epochs_of_dataset = {settings.dataset: settings.epochs}
    if settings.dataset != SMALL_TASK:
        epochs_of_dataset[SMALL_TASK] = SMALL_TASK_EPOCH_FACTOR * settings.epochs
    datasets, pieces = {}, {}
    for dataset, epochs in epochs_of_dataset.items():
        datasets[dataset] = load_dataset(dataset, settings.data_dir, settings.device)
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
            "WEIGHT_DECAY": WEIGHT_DECAY,
            "SMALL_TASK_EPOCH_FACTOR": SMALL_TASK_EPOCH_FACTOR,
        },
        "table": table,
        "comparisons": compare_models(final_accuracies),
        "curves": histories,
    }


# --- drawing: histories are {network: {measure: values (runs, epochs + 1)}} of one task ---


def plot(results):
    """One row of panels for each task: loss, error, final accuracy."""
    verdicts = {task: describe_winner(results, task) for task in results["curves"]}
    winners = ", ".join(f"{verdict} on {task}" for task, verdict in verdicts.items())
    figure, panels = new_figure(f"Most accurate: {winners}", results, len(verdicts), 3)
    for row_of_panels, (task, histories) in zip(panels, results["curves"].items()):
        loss_panel, error_panel, final_panel = row_of_panels
        draw_losses(loss_panel, task, histories)
        draw_errors(error_panel, task, histories)
        draw_final_accuracies(final_panel, histories, verdicts[task])
    legend_below(figure, panels[0, 0], columns=6, train_test=True)
    return figure


def describe_winner(results, task):
    """The most accurate network of a task and how many others it beats significantly, in words."""
    rows = [row for row in results["comparisons"] if row["dataset"] == task]
    beaten = [row for row in rows if is_significant(row["p_value"])]
    return f"{rows[0]['best']} beats {len(beaten)} of {len(rows)}"


def draw_losses(panel, task, histories):
    """Cross-entropy of every network against the epochs; the title and the lines show medians."""
    final_losses = []
    for (name, history), color, marker in zip(histories.items(), COLORS, MARKERS):
        test_losses = np.array(history["test_loss"])
        epochs = range(test_losses.shape[1])
        draw_train_test(panel, epochs, history["train_loss"], test_losses, color, name, marker)
        final_losses.append(np.median(test_losses[:, -1]))
    title = f"{task}: test loss {min(final_losses):.2g} to {max(final_losses):.2g}"
    panel.set(yscale="log", title=title, xlabel="epochs", ylabel="cross-entropy (nats)")


def draw_errors(panel, task, histories):
    """Percentage of wrongly classified images; the title and the lines show medians."""
    final_errors = []
    for (name, history), color, marker in zip(histories.items(), COLORS, MARKERS):
        train_errors = 100 * (1 - np.array(history["train_accuracy"]))
        test_errors = 100 * (1 - np.array(history["test_accuracy"]))
        epochs = range(test_errors.shape[1])
        draw_train_test(panel, epochs, train_errors, test_errors, color, name, marker)
        final_errors.append(np.median(test_errors[:, -1]))
    panel.set_yscale("symlog", linthresh=0.1)  # linear below 0.1 %, as training errors reach zero
    panel.yaxis.set_major_formatter("{x:g}")
    title = f"{task}: test error {min(final_errors):.1f}% to {max(final_errors):.1f}%"
    panel.set(title=title, xlabel="epochs", ylabel="1 − accuracy (%)")


def draw_final_accuracies(panel, histories, verdict):
    """The final test accuracy of every run, and the mean, for each network."""
    for position, history in enumerate(histories.values()):
        accuracies = 100 * np.array(history["test_accuracy"])[:, -1]
        draw_final(panel, position, accuracies, np.mean, COLORS[position], MARKERS[position])
    short_names = [name.replace(" conv ", " ×\n") for name in histories]  # on two lines
    panel.set(title=f"{verdict} (p < 0.05)", xlabel="network (bar: mean)",
              ylabel="final test accuracy (%)", xticks=range(len(histories)),
              xticklabels=short_names)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
