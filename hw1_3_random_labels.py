"""Can a network fit random labels?

One architecture is trained on the same images with none, a part or all of the labels drawn at
random, once and for good, until it predicts 99.9 % of its training labels or time is up.
The test set keeps its real labels. On training images with a randomized label we also count how
often the network gives the true label: are patterns learned first? With true and with random labels
the training is repeated on fewer images: what does memorization cost as the set grows?

    python hw1_3_random_labels.py              # the report's figure
    python hw1_3_random_labels.py --quick      # a tour in seconds
"""

from functools import partial

from common.command_line import Flag, main, positive_integer, positive_number
from common.data import CLASSES, load_dataset, randomized_task
from common.evaluation import evaluate, predict
from common.models import mlp, parameter_count
from common.pieces import Piece, run_pieces
from common.plotting import (
    COLORS,
    MARKERS,
    TEST,
    TRAIN,
    draw_each_run,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import (
    as_interval,
    as_mean,
    held_out_argmax,
    interval_columns,
    mean_columns,
    p_value_of_mean,
    place_of_reaching,
    ratio_columns,
)
from common.training import (
    count_steps,
    cross_entropy,
    geometric_steps,
    run_generators,
    train,
)

import numpy as np
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 3, quick=2,
                 help="repeated runs of each fraction of random labels"),
    "epochs": Flag(positive_integer, 100, quick=60,
                   help="passes through the training images at most; a training ends when the "
                   "network fits its labels"),
    "lr": Flag(positive_number, 0.03, quick=0.03, help="learning rate of SGD with momentum"),
    "train_size": Flag(positive_integer, 10_000, quick=500, at_most="dataset",
                       help="training images, the first of the set"),
    "batch_size": Flag(positive_integer, 200, quick=100, at_most="train_size",
                       help="images per step"),
    "hidden_width": Flag(positive_integer, 128, quick=128,
                         help="units of the first hidden layer; more of them are needed to fit "
                         "more than 10,000 random labels"),
}
FRACTIONS = (0, 0.25, 0.5, 1)  # of the training labels that are randomized
SECOND_HIDDEN_WIDTH = 512
# Smaller training sets, the first images of the large one, on which networks are trained too, with
# true labels and with random ones. Only those below --train-size are used.
SIZES = (1_000, 3_000, 10_000, 30_000)
# SGD with momentum, because Adam at 1e-3 fitted only 96 to 98 % of random labels in 60 epochs when
# it was tried. Its learning rate is constant, so that no schedule decides when the labels are
# fitted.
MOMENTUM = 0.9
FITTED = 0.999  # training accuracy that counts as fitted
THRESHOLDS = (0.9, 0.95, 0.99, FITTED)  # training accuracies whose times are compared
RECORD_RATIO = 1.15  # each measured step is so many times the one before
# Epochs in which 10,000 labels are fitted at each of FRACTIONS: the line of progress needs them.
USUAL_EPOCHS = {0: 8, 0.25: 41, 0.5: 43, 1: 45}


# --- networks ---


# A stack is one model that holds many networks and trains them side by side. Its parameters,
# outputs and losses have the networks (R) as their first dimension. Inputs that all networks share
# lack that dimension. See common/models.py. Wide networks train no faster in a stack: here every
# stack holds a single one.
def build_model(pixels, run_number, settings):
    """A stack of one network, initialized from (seed, run_number), the same for every fraction."""
    generators = run_generators(settings.seed, [run_number], "initialization")
    widths = [pixels, settings.hidden_width, SECOND_HIDDEN_WIDTH, CLASSES]
    return mlp(widths, generators).to(settings.device)


# --- training and measuring ---


def train_model(data, fraction, run_number, train_size, settings):
    """Trains one run on so many images with a fraction of random labels, and measures it.

    Labels that are random at one fraction are also random at a larger one, so that runs of equal
    number can be compared in pairs. About one in ten of the labels that were drawn at random is the
    true one by chance.

    Returns {measure: values (records,)} with the epochs of these records. They need not be whole:
    each is RECORD_RATIO times as late as the one before.
    """
    label_generators = run_generators(settings.seed, [run_number], "labels")
    images, test_images, labels, is_random = randomized_task(
        data, train_size, [fraction], label_generators)  # labels, is_random: (1, N)
    true_labels = data.train_labels[:train_size]
    model = build_model(images[0].numel(), run_number, settings)
    steps_of_epoch = count_steps(train_size, 1, settings.batch_size)
    last_step = settings.epochs * steps_of_epoch
    records = {"epoch": []}

    def save_record(step):  # train calls it before each of the probe_steps
        logits = predict(model, images)  # (1, N, classes)
        measures = measure_training(logits, labels, true_labels, is_random)
        test_loss, test_accuracy = evaluate(model, test_images, data.test_labels)
        measures["test_loss"], measures["test_accuracy"] = test_loss, test_accuracy
        for name, values in measures.items():
            records.setdefault(name, []).append(values.item())
        records["epoch"].append(step / steps_of_epoch)

    def after_epoch(epoch):  # train calls it before training, too
        if epoch == settings.epochs:
            save_record(last_step)  # no step comes after it that would have a record before it
        return epoch > 0 and records["train_accuracy"][-1] >= FITTED  # True ends the training

    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, [run_number], "order"),
          optimizer=partial(torch.optim.SGD, momentum=MOMENTUM), cosine=False, record=after_epoch,
          probe=save_record, probe_steps=geometric_steps(last_step, RECORD_RATIO))
    return {name: np.array(values) for name, values in records.items()}


def train_all(data, settings):
    """train_model of all runs at all fractions and sizes, each a piece of work.

    Returns {(train size, fraction): list of the runs' {measure: values (records,)}}.
    """
    train_size = settings.train_size
    tasks = [(train_size, fraction) for fraction in FRACTIONS]
    for size in SIZES:
        if size < train_size:
            tasks += [(size, FRACTIONS[0]), (size, FRACTIONS[-1])]  # true and random labels
    pieces = {}
    for size, fraction in tasks:
        epochs = min(USUAL_EPOCHS[fraction], settings.epochs)
        steps = count_steps(size, epochs, settings.batch_size)
        for run_number in range(settings.runs):
            pieces[size, fraction, run_number] = Piece(
                f"{size:,} images, {fraction:.0%} random labels, run {run_number}", train_model,
                (fraction, run_number, size, settings), steps, data=data)
    trained = run_pieces(pieces, settings)
    runs_of_task = {}
    for (size, fraction, _), result in trained.items():
        runs_of_task.setdefault((size, fraction), []).append(result)
    return runs_of_task


def align_runs(runs):
    """Runs {measure: values (records,)} of various lengths as {measure: (runs, records)}.

    All of them are measured at the same epochs up to their end. A run that has fitted its labels
    has ended; its last values stand for the records that it lacks. "epoch" stays (records,).
    """
    longest = max(runs, key=lambda run: len(run["epoch"]))
    aligned = {"epoch": longest["epoch"]}
    for name in longest:
        if name == "epoch":
            continue
        rows = []
        for run in runs:
            missing_count = len(longest["epoch"]) - len(run["epoch"])
            rows.append(np.pad(run[name], (0, missing_count), mode="edge"))
        aligned[name] = np.stack(rows)
    return aligned


def measure_training(logits, labels, true_labels, is_random):
    """Loss and accuracy on the training labels, and accuracy on the true labels: {measure: (R,)}.

    logits are (R, N, classes), labels and is_random (R, N), true_labels (N,). The accuracy on true
    labels counts only the examples whose label was drawn at random; it is 0 where there are none.
    """
    predictions = logits.argmax(2)
    random_count = is_random.sum(1).clamp(min=1)  # at least 1, to avoid a division by zero
    predicts_true_label = (predictions == true_labels) & is_random
    return {
        "train_loss": cross_entropy(logits, labels),
        "train_accuracy": (predictions == labels).double().mean(1),
        "true_accuracy": predicts_true_label.sum(1) / random_count,
    }


# --- summing up: runs are lists of what train_model returns ---


def epochs_to_reach(runs, threshold):
    """The epochs until the training accuracy of each run first reaches a threshold: a list.

    Between two records the accuracy is taken as straight. None for a run that never reaches it.
    """
    return [place_of_reaching(run["epoch"], run["train_accuracy"], threshold) for run in runs]


def compare_times(trained):
    """Rows: how long each fraction of random labels takes to reach each of THRESHOLDS.

    trained is what train_all returns. "slowdown" divides the epochs of a run by those of the same
    run with true labels: run k of both has the same images, initialization and data order. The unit
    of its interval is the run.
    """
    rows = []
    for (size, fraction), runs in trained.items():
        for threshold in THRESHOLDS:
            epochs = epochs_to_reach(runs, threshold)
            true_epochs = epochs_to_reach(trained[size, FRACTIONS[0]], threshold)
            row = {
                "train_size": size,
                "randomized": fraction,
                "threshold": threshold,
                "runs": len(epochs),
                "runs_that_reach_it": sum(epoch is not None for epoch in epochs),
                "epochs": None, "epochs_low": None, "epochs_high": None,
                "slowdown": None, "slowdown_low": None, "slowdown_high": None,
            }
            all_reach_it = None not in epochs
            both_reach_it = all_reach_it and None not in true_epochs
            some_begin_there = 0 in epochs or 0 in true_epochs  # before training
            if all_reach_it:
                row |= interval_columns("epochs", epochs)
            if both_reach_it and not some_begin_there:
                row |= ratio_columns("slowdown", np.divide(epochs, true_epochs))
            rows.append(row)
    return rows


def summarize_fraction(fraction, measures, parameters, settings):
    """One row of the table: means over the runs at the end.

    measures are {name: (runs, records)}.
    """
    row = {
        "randomized": fraction,
        "runs": settings.runs,
        "train_size": settings.train_size,
        "parameters": parameters,
        "parameters_per_label": parameters / settings.train_size,
    }
    for name in ("train_loss", "train_accuracy", "test_loss"):
        row[name] = measures[name][:, -1].mean()
    return row | mean_columns({"test_accuracy": measures["test_accuracy"][:, -1]})


def summarize_peaks(fraction, measures):
    """Rows: the peak and the end of two accuracies (Arpit et al. 2017, arXiv:1706.05394).

    The accuracies are those on the test set and on the true labels of randomized examples; measures
    are {name: (runs, records)}. The peak of run k is its value where the mean of the other runs is
    highest: the highest of a run's own noisy values would overstate its peak.
    """
    names = ["test_accuracy"]
    if fraction > 0:
        names.append("true_accuracy")
    rows = []
    for name in names:
        values = measures[name]
        peak_records = held_out_argmax(values)  # (runs,)
        every_run = np.arange(len(values))
        peaks = values[every_run, peak_records]  # of run k the value at peak_records[k]
        train_accuracy_at_peak = measures["train_accuracy"][every_run, peak_records]
        rows.append({
            "randomized": fraction,
            "measure": name,
            "peak_epoch": measures["epoch"][peak_records].mean(),
            **mean_columns({"peak": peaks, "final": values[:, -1]}),
            "train_accuracy_at_peak": train_accuracy_at_peak.mean(),
        })
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size)
    trained = train_all(data, settings)
    parameters = parameter_count(build_model(data.train_images[0].numel(), 0, settings))
    table, peaks, curves = [], [], {}
    for fraction in FRACTIONS:
        measures = align_runs(trained[settings.train_size, fraction])
        table.append(summarize_fraction(fraction, measures, parameters, settings))
        peaks += summarize_peaks(fraction, measures)
        for name, values in measures.items():
            curves.setdefault(name, {})[fraction] = values  # {measure: {fraction: values}}
    return {
        "constants": {"FRACTIONS": FRACTIONS, "MOMENTUM": MOMENTUM, "FITTED": FITTED,
                      "THRESHOLDS": THRESHOLDS, "RECORD_RATIO": RECORD_RATIO},
        "table": table,
        "times": compare_times(trained),
        "memorization": peaks,
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say: accuracies are fractions, slowdowns ratios of epochs."""
    constants, full_size = results["constants"], results["settings"]["train_size"]
    fitted = constants["FITTED"]
    fits = [row for row in results["times"]
            if (row["train_size"], row["threshold"]) == (full_size, fitted)]
    true_row, random_row = results["table"][0], results["table"][-1]
    lowest_threshold = constants["THRESHOLDS"][0]
    smallest_size = min(row["train_size"] for row in results["times"])
    to_lowest = slowdown_of(results, full_size, lowest_threshold)
    to_fit = slowdown_of(results, full_size, fitted)
    on_smallest = slowdown_of(results, smallest_size, fitted)
    partly_random = constants["FRACTIONS"][-2]
    true_label = find_row(results["memorization"], randomized=partly_random,
                          measure="true_accuracy")
    test = find_row(results["memorization"], randomized=partly_random, measure="test_accuracy")
    return {
        "networks": sum(row["runs"] for row in fits),
        "networks_that_fit": sum(row["runs_that_reach_it"] for row in fits),
        "chance": 1 / CLASSES,
        "random_fit_p_value": p_value_of_chance(results),
        "test_accuracy_of_true_labels": as_mean(true_row, "test_accuracy"),
        "test_accuracy_of_random_labels": as_mean(random_row, "test_accuracy"),
        # A fraction of random labels, and four facts about the networks that were given them.
        "partly_random": partly_random,
        "true_label_peak": as_mean(true_label, "peak"),
        "true_label_end": as_mean(true_label, "final"),
        "test_accuracy_peak": as_mean(test, "peak"),
        "test_accuracy_end": as_mean(test, "final"),
        # All labels random against true ones.
        "lowest_threshold": lowest_threshold,
        "smallest_size": smallest_size,
        "slowdown_to_lowest_threshold": to_lowest,
        "slowdown_to_fit": to_fit,
        "slowdown_to_fit_smallest_size": on_smallest,
        "easier_threshold_ratio": ratio_of_intervals(to_lowest, to_fit),
        "larger_size_ratio": (ratio_of_intervals(to_fit, on_smallest)
                              if smallest_size < full_size else None),
    }


def slowdown_of(results, train_size, threshold):
    """The slowdown where all labels are random: {"value", "low", "high"}."""
    row = find_row(results["times"], train_size=train_size, randomized=1, threshold=threshold)
    return as_interval(row, "slowdown")


def ratio_of_intervals(first, second):
    """The ratio of two values, {"value", "low", "high"}, with bounds that are wide on purpose.

    They divide the lowest by the highest, and the highest by the lowest; they are None where a
    bound is missing. Returns None where a value is missing.
    """
    if None in (first["value"], second["value"]):
        return None
    ratio = {"value": first["value"] / second["value"], "low": None, "high": None}
    if None not in (first["low"], second["low"]):
        ratio["low"] = first["low"] / second["high"]
        ratio["high"] = first["high"] / second["low"]
    return ratio


def p_value_of_chance(results):
    """The p-value of a t-test: is accuracy on random training labels other than that of guessing?

    The unit is the run, which draws its own labels. None for a single run, and where all runs are
    equal.
    """
    accuracies = np.array(results["curves"]["train_accuracy"][1])[:, -1]
    return p_value_of_mean(accuracies, 1 / CLASSES)


# --- drawing ---


def plot(results):
    """Accuracy and true labels during training; the cost of random labels, in two ways."""
    figure, panels = new_figure(describe_finding(results), results, 2, 2, height=3.2,
                                height_ratios=[5, 4])
    draw_accuracy(panels[0, 0], results)
    draw_true_accuracy(panels[0, 1], results)
    draw_thresholds(panels[1, 0], results)
    draw_sizes(panels[1, 1], results)
    legend_below(figure, panels[0, 0], columns=6, train_test=True)
    return figure


def describe_finding(results):
    """The title of the figure."""
    facts = results["facts"]
    slowdown = facts["slowdown_to_fit"]["value"]
    if facts["networks_that_fit"] < facts["networks"]:
        train_size = results["settings"]["train_size"]
        return (f"{facts['networks_that_fit']} of {facts['networks']} networks fit all their "
                f"{train_size:,} labels")
    title = "Networks fit all labels, even random ones"
    return title if slowdown is None else f"{title}; those take {slowdown:.0f} times the epochs"


def measured_epochs(results, fraction):
    """The epochs at which the networks of a fraction were measured: (records,).

    Without epoch 0, which a logarithmic axis cannot show.
    """
    return np.array(results["curves"]["epoch"][fraction])[1:]


def draw_accuracy(panel, results):
    """Training and test accuracy of every run against epochs."""
    table, curves = results["table"], results["curves"]
    for row, color, marker in zip(table, COLORS, MARKERS):
        fraction = row["randomized"]
        epochs = measured_epochs(results, fraction)
        train_accuracies = 100 * np.array(curves["train_accuracy"][fraction])[:, 1:]
        test_accuracies = 100 * np.array(curves["test_accuracy"][fraction])[:, 1:]
        draw_each_run(panel, epochs, train_accuracies, color, TRAIN, f"{fraction:.0%} random",
                      marker)
        draw_each_run(panel, epochs, test_accuracies, color, TEST, marker=marker)
    final_accuracies = [row["test_accuracy"] for row in table]
    all_fit = results["facts"]["networks_that_fit"] == results["facts"]["networks"]
    first_line = "All labels are learned." if all_fit else "Not all labels are learned."
    falls = final_accuracies == sorted(final_accuracies, reverse=True)
    second_line = ("The more are random, the worse on test images" if falls
                   else "Accuracy on training and test images")
    panel.set(xscale="log", title=f"{first_line}\n{second_line}", xlabel="epochs",
              ylabel="accuracy (%)")
    panel.xaxis.set_major_formatter("{x:g}")


def draw_true_accuracy(panel, results):
    """How often randomized training images get their true label, against epochs."""
    for row, color, marker in zip(results["table"], COLORS, MARKERS):
        fraction = row["randomized"]
        if fraction > 0:
            accuracies = 100 * np.array(results["curves"]["true_accuracy"][fraction])[:, 1:]
            draw_each_run(panel, measured_epochs(results, fraction), accuracies, color, TRAIN,
                          marker=marker)
    facts = results["facts"]
    peak, end = facts["true_label_peak"]["value"], facts["true_label_end"]["value"]
    finding = "Patterns come first" if peak > end else "No pattern is seen first"
    panel.set(xscale="log", xlabel="epochs", ylabel="predicted as their true class (%)",
              title=f"{finding}: with {facts['partly_random']:.0%} random, up to {peak:.0%}\n"
                    "of mislabelled images are seen as their true class")
    panel.xaxis.set_major_formatter("{x:g}")


def draw_thresholds(panel, results):
    """The slowdown by random labels against the training accuracy that is asked for."""
    thresholds, facts = results["constants"]["THRESHOLDS"], results["facts"]
    for table_row, color, marker in zip(results["table"], COLORS, MARKERS):
        fraction = table_row["randomized"]
        if fraction > 0:
            rows = [row for row in results["times"] if row["randomized"] == fraction
                    and row["train_size"] == results["settings"]["train_size"]]
            draw_slowdowns(panel, range(len(rows)), rows, color, marker)
    easier = describe_slowdown(facts["slowdown_to_lowest_threshold"], f"{100 * thresholds[0]:g} %")
    full = describe_slowdown(facts["slowdown_to_fit"], f"{100 * thresholds[-1]:g} %")
    panel.set(title="The cost depends on what counts as fitted:\n"
                    f"{easier}, {full} (all random)",
              ylim=(0, None), xticks=range(len(thresholds)),
              xticklabels=[f"{100 * value:g} %" for value in thresholds],
              xlabel="training accuracy reached", ylabel="times the epochs of true labels")


def describe_slowdown(slowdown, goal):
    """In a few words how many times the epochs of true labels random ones take to reach a goal."""
    if slowdown["value"] is None:
        return f"no ratio for {goal}"  # some run has not reached it
    return f"{slowdown['value']:.0f} times for {goal}"


def draw_sizes(panel, results):
    """The slowdown where all labels are random against the number of training images."""
    random_rows = [row for row in results["times"] if row["randomized"] == 1
                   and row["threshold"] == results["constants"]["FITTED"]]
    rows = sorted(random_rows, key=lambda row: row["train_size"])
    sizes = [row["train_size"] for row in rows]
    place = results["constants"]["FRACTIONS"].index(1)
    draw_slowdowns(panel, sizes, rows, COLORS[place], MARKERS[place])
    facts = results["facts"]
    ratio = facts["larger_size_ratio"]
    grows = ratio is not None and ratio["low"] is not None and ratio["low"] > 1
    few = describe_slowdown(facts["slowdown_to_fit_smallest_size"], f"{sizes[0]:,} images")
    many = describe_slowdown(facts["slowdown_to_fit"], f"{sizes[-1]:,} images")
    finding = "The cost grows with the training set" if grows else "Cost by size of training set"
    panel.set(xscale="log", ylim=(0, None), xlabel="training images",
              ylabel="times the epochs of true labels",
              title=f"{finding}:\n{few}, {many}")
    panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
    panel.minorticks_off()


def draw_slowdowns(panel, places, rows, color, marker):
    """The slowdowns of rows of compare_times, with their intervals, at places of the x axis."""
    known_places, slowdowns = [], []
    for place, row in zip(places, rows):
        if row["slowdown"] is None:
            continue
        known_places.append(place)
        slowdowns.append(row["slowdown"])
        if row["slowdown_low"] is not None:
            panel.vlines(place, row["slowdown_low"], row["slowdown_high"], color=color, linewidth=1)
    panel.plot(known_places, slowdowns, TRAIN, marker=marker, color=color, markersize=5)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts, uses_images=True)
