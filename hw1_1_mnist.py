"""Deep or shallow: which convolutional network classifies images better with the same number of parameters?

Four networks with one, two or four convolutions, two of which differ in the kernel alone: what the convolutions save,
one hidden linear layer takes up. They are trained on MNIST and, by the same code, on scikit-learn's digits.

    python hw1_1_mnist.py              # the report's figure
    python hw1_1_mnist.py --quick      # a tour in seconds
"""

from functools import partial

import numpy as np
import scipy
import torch

from common.data import TITLES, load_dataset
from common.experiment import Flag, main
from common.models import cnn, cnn_hidden_width, parameter_count
from common.plotting import COLORS, MARKERS, draw_final, draw_train_test, legend_below, new_figure
from common.statistics import compare_to_best, mean_ci95
from common.training import cross_entropy, evaluate_sets, run_generators, train

FLAGS = {
    "epochs": Flag(10, 2, "passes through the training images of the main task"),
    "lr": Flag(3e-3, 3e-3, "AdamW's learning rate at the start; it falls to zero along a half cosine"),
    "batch_size": Flag(128, 128, "images per step"),
    "train_size": Flag(60_000, 1_000, "training images, the first of the set"),
}
RUNS = Flag(3, 2, "repeated runs of each network")
PARAMETERS = 32_000
WEIGHT_DECAY = 0.2  # decoupled; without it the deepest network stopped near 99.1 % on MNIST
# Channels of the convolutions, block by block, each block ending in a 2 × 2 max-pool; and the kernel.
MODELS = {
    "1 conv 5×5": ([[8]], 5),
    "2 conv 5×5": ([[8], [16]], 5),
    "2 conv 3×3": ([[8], [16]], 3),
    "4 conv 3×3": ([[8], [16], [32, 32]], 3),
}
SMALL_TASK_EPOCHS = 4  # the digits are a fortieth of MNIST, so their epochs are this many times as many
MEASURES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


def train_model(name, data, epochs, settings):
    """Trains one stack; returns its parameter count and, per measure, the values (runs, epochs + 1)."""
    blocks, kernel = MODELS[name]
    images, labels = data.train_images[: settings.train_size], data.train_labels[: settings.train_size]
    generators = run_generators(settings.seed, settings.runs, "initialization")
    model = cnn(blocks, kernel, [cnn_hidden_width(blocks, kernel, PARAMETERS)], generators).to(settings.device)
    optimizer = partial(torch.optim.AdamW, weight_decay=WEIGHT_DECAY)
    history = {name: [] for name in MEASURES}
    sets = {"train": (images, labels), "test": (data.test_images, data.test_labels)}

    def measure(epoch):
        for name, values in evaluate_sets(model, sets).items():
            history[name].append(values)

    train(model, images, labels.expand(settings.runs, -1), cross_entropy, epochs=epochs, learning_rate=settings.lr,
          batch_size=min(settings.batch_size, len(images)), orders=run_generators(settings.seed, settings.runs, "order"),
          optimizer=optimizer, record=measure, title=f"{TITLES[data.name]}, {name}")
    return parameter_count(model), {measure: torch.stack(values, 1).cpu() for measure, values in history.items()}


def tasks(settings, data):
    """The main task and, beside another one, the digits, loaded when their turn comes: data set and epochs of each."""
    yield data, settings.epochs
    if data.name != "digits":
        yield load_dataset("digits", settings.data_dir, settings.device), SMALL_TASK_EPOCHS * settings.epochs


def run(settings, data):
    table, curves = [], {}
    for task, epochs in tasks(settings, data):
        title = TITLES[task.name]
        for name, (blocks, kernel) in MODELS.items():
            parameters, history = train_model(name, task, epochs, settings)
            curves.setdefault(title, {})[name] = history
            final = {measure: values[:, -1] for measure, values in history.items()}
            table.append({
                "dataset": title, "model": name, "convolutions": sum(map(len, blocks)), "kernel": kernel,
                "train_images": min(settings.train_size, len(task.train_images)), "test_images": len(task.test_images),
                "parameters": parameters, "runs": settings.runs, "epochs": epochs,
                **{measure: final[measure].mean() for measure in MEASURES},
                "test_accuracy_ci95": mean_ci95(final["test_accuracy"])[1],
            })
    return {"table": table, "comparisons": compare(curves), "curves": curves}


def compare(curves):
    """The most accurate network on each task against each other one: paired t-tests, since runs share their data order."""
    rows = []
    for dataset, histories in curves.items():
        accuracy = {name: history["test_accuracy"][:, -1].numpy() for name, history in histories.items()}
        best, others = compare_to_best(accuracy, np.mean, scipy.stats.ttest_rel)
        rows += [{"dataset": dataset, "best": best, "against": other, "accuracy_difference": difference.mean(),
                  "difference_ci95": mean_ci95(difference)[1], "p_value": p_value}
                 for other, difference, p_value in others]
    return rows


def plot(results):
    best = {row["dataset"]: row["best"] for row in results["comparisons"]}
    beaten = {dataset: sum(row["dataset"] == dataset and row["p_value"] is not None and row["p_value"] < 0.05
                           for row in results["comparisons"]) for dataset in best}
    verdicts = {dataset: f"{model} beats {beaten[dataset]} of {len(MODELS) - 1}" for dataset, model in best.items()}
    title = "Most accurate: " + ", ".join(f"{verdict} on {dataset}" for dataset, verdict in verdicts.items())
    figure, axes = new_figure(title, results, len(best), 3)
    for (loss_axes, error_axes, final_axes), (dataset, histories) in zip(axes, results["curves"].items()):
        for position, ((name, history), color, marker) in enumerate(zip(histories.items(), COLORS, MARKERS)):
            epochs = range(len(history["test_loss"][0]))
            errors = {f"{part}_error": 1 - np.array(history[f"{part}_accuracy"]) for part in ("train", "test")}
            draw_train_test(loss_axes, epochs, history, "loss", color, name, marker)
            draw_train_test(error_axes, epochs, errors, "error", color, name, marker, unit=100)
            final = [100 * accuracies[-1] for accuracies in history["test_accuracy"]]
            draw_final(final_axes, position, final, np.mean, color, marker)
        losses, accuracies = ([np.median(history[measure], axis=0)[-1] for history in histories.values()]
                              for measure in ("test_loss", "test_accuracy"))
        loss_axes.set(yscale="log", title=f"{dataset}: test loss {min(losses):.2g} to {max(losses):.2g}", xlabel="epochs",
                      ylabel="cross-entropy (nats)")
        error_axes.set_yscale("symlog", linthresh=0.1)  # linear below 0.1 %, since training errors reach zero
        error_axes.yaxis.set_major_formatter("{x:g}")
        error_axes.set(title=f"{dataset}: test error {1 - max(accuracies):.1%} to {1 - min(accuracies):.1%}",
                       xlabel="epochs", ylabel="1 − accuracy (%)")
        final_axes.set(title=f"{verdicts[dataset]} (p < 0.05)", xlabel="network (bar: mean)",
                       ylabel="final test accuracy (%)", xticks=range(len(MODELS)),
                       xticklabels=[name.replace(" conv ", " ×\n") for name in MODELS])
    legend_below(figure, axes[0, 0], columns=6, train_test=True)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
