"""Can a network fit random labels?

One architecture is trained on the same images with none, a part or all of the labels drawn at random, once and for good,
until every network gives at least 99.9 % of its training labels. The test set keeps its real labels. On the training
images whose labels were randomized we also count the true labels that the network gives: are patterns learned first?

    python hw1_3_random_labels.py              # the report's figure
    python hw1_3_random_labels.py --quick      # a tour in seconds
"""

from functools import partial

import numpy as np
import torch

from common.data import CLASSES, randomized_task
from common.experiment import Flag, main
from common.models import mlp, parameter_count
from common.peaks import held_out_argmax
from common.plotting import COLORS, MARKERS, TRAIN, draw_runs, draw_train_test, legend_below, new_figure, number
from common.prediction import predict
from common.statistics import mean_ci95, mean_columns
from common.training import cross_entropy, evaluate, run_generators, train

FLAGS = {
    "epochs": Flag(100, 60, "passes through the training images at most; training ends when all networks fit their labels"),
    "lr": Flag(0.03, 0.03, "learning rate of SGD with momentum"),
    "batch_size": Flag(200, 100, "images per step"),
    "train_size": Flag(10_000, 500, "training images, the first of the set"),
}
RUNS = Flag(3, 2, "repeated runs of each share of random labels")
SHARES = (0, 0.25, 0.5, 0.75, 1)  # of the training labels
HIDDEN = (128, 512)
# Constant, so that no schedule decides when the labels are fitted. In trials Adam at 1e-3 had fitted 96 to 98 % of random
# labels after 60 epochs.
MOMENTUM = 0.9  # of SGD
FITTED = 0.999  # training accuracy that counts as fitted


def train_stack(data, settings):
    """Trains all shares × runs as one stack; returns the parameter count and measures (shares, runs, epochs + 1)."""
    # Run k of every share starts from the same parameters, sees the same order and randomizes nested sets: pairs.
    run_numbers = [*range(settings.runs)] * len(SHARES)
    initializations, orders, label_generators = (run_generators(settings.seed, run_numbers, stream)
                                                 for stream in ("initialization", "order", "labels"))
    images, test_images, labels, masks = randomized_task(data, settings.train_size, SHARES, label_generators)
    true_labels = data.train_labels[: settings.train_size]
    model = mlp([images[0].numel(), *HIDDEN, CLASSES], initializations).to(settings.device)
    history = {}

    def measure(epoch):
        logits = predict(model, images)
        answers = logits.argmax(2)
        test_loss, test_accuracy = evaluate(model, test_images, data.test_labels)
        measures = {
            "train_loss": cross_entropy(logits, labels),
            "train_accuracy": (answers == labels).double().mean(1),
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            # of the randomized examples only; 0 where there are none
            "true_accuracy": ((answers == true_labels) & masks).sum(1) / masks.sum(1).clamp(min=1),
        }
        for name, values in measures.items():
            history.setdefault(name, []).append(values.cpu())
        return bool((measures["train_accuracy"] >= FITTED).all())

    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr, orders=orders,
          batch_size=settings.batch_size, optimizer=partial(torch.optim.SGD, momentum=MOMENTUM), cosine=False,
          record=measure, title="five shares")
    return parameter_count(model), {name: torch.stack(values, 1).unflatten(0, (len(SHARES), settings.runs)).numpy()
                                    for name, values in history.items()}


def first_fitted(accuracies):
    """The first epoch after which the training accuracies (epochs + 1,) reach FITTED; None where none does."""
    reached = np.flatnonzero(accuracies >= FITTED)
    return int(reached[0]) if len(reached) else None


def run(settings, data):
    parameters, measures = train_stack(data, settings)
    fitted = [[first_fitted(accuracies) for accuracies in runs] for runs in measures["train_accuracy"]]
    table, fits = [], compare_fits(fitted, settings)
    for i, share in enumerate(SHARES):
        final = {name: values[i, :, -1] for name, values in measures.items()}
        table.append({
            "randomized": share, "runs": settings.runs, "train_size": settings.train_size, "parameters": parameters,
            "epochs_to_fit": fits[i]["epochs_to_fit"],
            **{name: final[name].mean() for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")},
            "test_accuracy_ci95": mean_ci95(final["test_accuracy"])[1],
        })
    return {"table": table, "fits": fits, "memorization": describe_memorization(measures),
            "curves": {"epochs_to_fit": dict(zip(SHARES, fitted)),
                       **{name: dict(zip(SHARES, values)) for name, values in measures.items()}}}


def compare_fits(fitted, settings):
    """How many runs of each share fit, and how many times as many epochs they take as the same run with true labels."""
    rows = []
    for share, runs in zip(SHARES, fitted):
        row = {"randomized": share, "runs": settings.runs, "runs_fitted": sum(epoch is not None for epoch in runs),
               "epochs_to_fit": None, "epochs_ci95": None, "slowdown": None, "slowdown_ci95": None}
        if None not in runs:
            row["epochs_to_fit"], row["epochs_ci95"] = mean_ci95(runs)
            if all(fitted[0]):  # neither None nor zero
                row["slowdown"], row["slowdown_ci95"] = mean_ci95(np.divide(runs, fitted[0]))
        rows.append(row)
    return rows


def describe_memorization(measures):
    """Peak and end of the accuracy on the true labels of randomized examples, and on the test set (Arpit et al. 2017)."""
    rows = []
    for i, share in enumerate(SHARES):
        for name in ("test_accuracy", "true_accuracy") if share else ("test_accuracy",):
            values = measures[name][i]  # (runs, epochs + 1)
            epochs = held_out_argmax(values)
            at_peak = range(len(epochs)), epochs
            rows.append({"randomized": share, "measure": name, "peak_epoch": epochs.mean(),
                         **mean_columns({"peak": values[at_peak], "final": values[:, -1]}),
                         "train_accuracy_at_peak": measures["train_accuracy"][i][at_peak].mean()})
    return rows


def plot(results):
    curves, table = results["curves"], results["table"]
    fitted, trained = (sum(row[name] for row in results["fits"]) for name in ("runs_fitted", "runs"))
    true, random = (f"{table[i]['test_accuracy']:.0%}" for i in (0, -1))
    title = f"{fitted} of {trained} networks fit their labels; test accuracy {true} with true, {random} with random ones"
    figure, axes = new_figure(title, results, 2, 2, height=3.2)
    (loss_axes, accuracy_axes), (true_axes, epochs_axes) = axes
    epochs = range(len(curves["train_loss"]["0"][0]))
    for row, color, marker in zip(table, COLORS, MARKERS):
        share = str(row["randomized"])
        label = f"{row['randomized']:.0%} random"
        values = {name: np.array(by_share[share]) for name, by_share in curves.items() if name != "epochs_to_fit"}
        draw_train_test(loss_axes, epochs, values, "loss", color, label, marker)
        draw_train_test(accuracy_axes, epochs, values, "accuracy", color, label, marker, unit=100)
        if row["randomized"]:
            draw_runs(true_axes, epochs, 100 * values["true_accuracy"], color, TRAIN, label, marker)
        places = 100 * row["randomized"] + np.linspace(-2, 2, row["runs"])  # side by side
        for place, epoch in zip(places, curves["epochs_to_fit"][share]):
            height, fill = (epochs[-1], "none") if epoch is None else (epoch, color)  # open where a run never fits
            epochs_axes.plot(place, height, marker, color=color, markerfacecolor=fill, markersize=5)
    loss_axes.set(yscale="log", title=f"Test loss ends at {table[0]['test_loss']:.2g} to {table[-1]['test_loss']:.2g} nats",
                  xlabel="epochs", ylabel="cross-entropy (nats)")
    accuracy_axes.set(title=f"Training accuracy ends at {min(row['train_accuracy'] for row in table):.2%} or more",
                      xlabel="epochs", ylabel="accuracy (%)")
    true = next(row for row in results["memorization"] if row["measure"] == "true_accuracy")
    true_axes.set(title=f"True labels of randomized images: {true['peak']:.0%} early, {true['final']:.0%} at the end",
                  xlabel="epochs", ylabel="accuracy on their true labels (%)")
    slowdown = number(results["fits"][-1]["slowdown"], ".1f")
    epochs_axes.set(title=f"Random labels take {slowdown} times the epochs of true ones", xlabel="randomized labels (%)",
                    ylabel=f"epochs to fit {FITTED:.1%}", xticks=[100 * share for share in SHARES], ylim=(0, None))
    legend_below(figure, loss_axes, columns=7, train_test=True)
    return figure


if __name__ == "__main__":
    main(run, plot, FLAGS, runs=RUNS, images=True)
