"""Can a network fit random labels?

One architecture is trained on the same images with none, a part or all of the labels drawn at
random, once and for good, until it predicts 99.9 % of its training labels or time is up.
The test set keeps its real labels. On mislabelled training images, those whose label is not the
true one, we also count how often the network gives the true label: are patterns learned first? With
true and with random labels the training is repeated on fewer images: what does memorization cost as
the set grows?

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
    draw_marked_runs,
    find_row,
    legend_below,
    new_figure,
    percent,
)
from common.statistics import (
    as_interval,
    as_mean,
    held_out_argmax,
    holm,
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
TRUE_LABELS, ALL_RANDOM = 0, 1  # the lowest and the highest fraction of randomized labels
FRACTIONS = (TRUE_LABELS, 0.25, 0.5, ALL_RANDOM)  # of the training labels that are randomized
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
# Two fractions take as long to fit where the whole interval of the ratio of their epochs lies
# between 1 / SAME_TIME and SAME_TIME.
SAME_TIME = 1.25
# A network is measured before steps that each come this many times as late as the one before. On a
# logarithmic axis they are equally spaced: patterns are learned in a fraction of the first epoch,
# random labels in dozens.
RECORD_RATIO = 1.15
# Epochs in which 10,000 labels are fitted at each of FRACTIONS: the line of progress needs them.
USUAL_EPOCHS = {TRUE_LABELS: 8, 0.25: 41, 0.5: 43, ALL_RANDOM: 45}


# --- networks ---


# Models are stacks of networks, see common/models.py: dimension 0 of their parameters, outputs and
# losses is the run. Here its size is 1, because networks as wide as these train no faster in larger
# stacks.
def build_model(pixels, run_number, settings):
    """A stack of one network, initialized from (seed, run_number), the same for every fraction."""
    generators = run_generators(settings.seed, [run_number], "initialization")
    widths = [pixels, settings.hidden_width, SECOND_HIDDEN_WIDTH, CLASSES]
    return mlp(widths, generators).to(settings.device)


# --- training and measuring ---


def train_model(data, fraction, run_number, train_size, settings):
    """Trains one run on so many images with a fraction of random labels, and measures it.

    randomized_task draws nested sets: what it randomizes at one fraction, it randomizes in the same
    way at a larger one. Runs of equal number can thus be compared in pairs. About one in ten of the
    labels that were drawn at random is the true one by chance: that image is not mislabelled.

    Returns {measure: values (records,)} with the epochs of these records, which need not be whole,
    see RECORD_RATIO.
    """
    label_generators = run_generators(settings.seed, [run_number], "labels")
    images, test_images, labels, _ = randomized_task(data, train_size, [fraction],
                                                     label_generators)  # labels: (1, images)
    true_labels = data.train_labels[:train_size]
    model = build_model(images[0].numel(), run_number, settings)
    steps_of_epoch = count_steps(train_size, 1, settings.batch_size)
    last_step = settings.epochs * steps_of_epoch
    records = {"epoch": []}

    def save_record(step):  # train calls it, as its probe, before each of the probe_steps
        logits = predict(model, images)  # (1, images, classes)
        measures = measure_training(logits, labels, true_labels)
        test_loss, test_accuracy = evaluate(model, test_images, data.test_labels)
        measures["test_loss"], measures["test_accuracy"] = test_loss, test_accuracy
        for name, values in measures.items():
            records.setdefault(name, []).append(values.item())
        records["epoch"].append(step / steps_of_epoch)

    def stop_when_fitted(epoch):  # train calls it, as its record, before training and every epoch
        if epoch == 0:
            return False
        if epoch == settings.epochs:
            save_record(last_step)  # no step comes after it that would have a record before it
        return records["train_accuracy"][-1] >= FITTED  # True ends the training

    train(model, images, labels, cross_entropy, epochs=settings.epochs, learning_rate=settings.lr,
          batch_size=settings.batch_size,
          order_generators=run_generators(settings.seed, [run_number], "order"),
          optimizer=partial(torch.optim.SGD, momentum=MOMENTUM), cosine=False,
          record=stop_when_fitted, probe=save_record,
          probe_steps=geometric_steps(last_step, RECORD_RATIO))
    return {name: np.array(values) for name, values in records.items()}


def train_all(data, settings):
    """train_model of all runs at all fractions and sizes, each a piece of work.

    Returns {(train size, fraction): list of the runs' {measure: values (records,)}}.
    """
    train_size = settings.train_size
    tasks = [(train_size, fraction) for fraction in FRACTIONS]
    for size in SIZES:
        if size < train_size:
            tasks += [(size, TRUE_LABELS), (size, ALL_RANDOM)]
    pieces = {}
    for size, fraction in tasks:
        epochs = min(USUAL_EPOCHS[fraction], settings.epochs)
        steps = count_steps(size, epochs, settings.batch_size)
        for run_number in range(settings.runs):
            pieces[size, fraction, run_number] = Piece(
                name=f"{size:,} images, {fraction:.0%} random labels, run {run_number}",
                function=train_model, arguments=(fraction, run_number, size, settings),
                steps=steps, data=data)
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


def measure_training(logits, labels, true_labels):
    """Loss and accuracy on the training labels, and accuracy on the true labels: {measure: (R,)}.

    logits are (R, images, classes) of R runs, labels (R, images), true_labels (images,). The
    accuracy on true labels counts only the mislabelled images, whose label is not the true one.
    Where there are none it is undefined, and 0 stands for it: neither figure nor table shows it
    with true labels.
    """
    predictions = logits.argmax(2)
    is_mislabelled = labels != true_labels
    mislabelled_count = is_mislabelled.sum(1).clamp(min=1)  # at least 1: no division by zero
    is_seen_as_true = is_mislabelled & (predictions == true_labels)
    return {
        "train_loss": cross_entropy(logits, labels),
        "train_accuracy": (predictions == labels).double().mean(1),
        "true_accuracy": is_seen_as_true.sum(1) / mislabelled_count,
    }


# --- summing up: runs are lists of what train_model returns ---


def epochs_to_reach(runs, threshold):
    """The epochs until the training accuracy of each run first reaches a threshold: a list.

    Between two records the accuracy is interpolated linearly. None for a run that never reaches it.
    """
    return [place_of_reaching(run["epoch"], run["train_accuracy"], threshold) for run in runs]


def slowdowns_by_run(trained, size, fraction, threshold):
    """How many times the epochs of true labels each run takes to reach a threshold.

    trained is what train_all returns. Run k of both has the same images, initialization and data
    order. Returns ratios (R,), None where a run does not reach the threshold, or begins there.
    """
    epochs = epochs_to_reach(trained[size, fraction], threshold)
    true_epochs = epochs_to_reach(trained[size, TRUE_LABELS], threshold)
    if None in epochs + true_epochs or 0 in epochs + true_epochs:
        return None
    return np.divide(epochs, true_epochs)


def compare_times(trained):
    """Rows: how long each fraction of random labels takes to reach each of THRESHOLDS.

    "slowdown" is the geometric mean of slowdowns_by_run. Intervals treat each run as one
    independent sample.
    """
    rows = []
    for (size, fraction), runs in trained.items():
        for threshold in THRESHOLDS:
            epochs = epochs_to_reach(runs, threshold)
            slowdowns = slowdowns_by_run(trained, size, fraction, threshold)
            row = {
                "train_size": size,
                "randomized": fraction,
                "threshold": threshold,
                "runs": len(epochs),
                "runs_that_reach_it": sum(epoch is not None for epoch in epochs),
                "epochs": None, "epochs_low": None, "epochs_high": None,
                "slowdown": None, "slowdown_low": None, "slowdown_high": None,
            }
            if None not in epochs:
                row |= interval_columns("epochs", epochs)
            if slowdowns is not None:
                row |= ratio_columns("slowdown", slowdowns)
            rows.append(row)
    return rows


def list_slowdowns(trained):
    """Rows: the slowdown of each run that fits random labels, see slowdowns_by_run."""
    rows = []
    for size, fraction in trained:
        slowdowns = slowdowns_by_run(trained, size, fraction, FITTED)
        if slowdowns is None:
            continue
        for run_number, slowdown in enumerate(slowdowns):
            rows.append({"train_size": size, "randomized": fraction, "run": run_number,
                         "slowdown": slowdown})
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

    The accuracies are those on the test set and on the true labels of mislabelled images; measures
    are {name: (runs, records)}. The peak of run k is its value where the mean of the other runs is
    highest: the highest of a run's own noisy values would overstate its peak. held_out_argmax has
    an example.
    """
    names = ["test_accuracy"]
    if fraction > 0:  # with true labels no image is mislabelled
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
        "constants": {"SECOND_HIDDEN_WIDTH": SECOND_HIDDEN_WIDTH, "FRACTIONS": FRACTIONS,
                      "MOMENTUM": MOMENTUM, "FITTED": FITTED, "THRESHOLDS": THRESHOLDS,
                      "RECORD_RATIO": RECORD_RATIO},
        "table": table,
        "times": compare_times(trained),
        "slowdowns": list_slowdowns(trained),
        "memorization": peaks,
        "curves": curves,
    }


def named_fractions(results):
    """The fractions of random labels that facts and figures are about, under their names."""
    fractions = results["constants"]["FRACTIONS"]  # from true labels to all random
    return {"true_labels": fractions[0], "fewest_random": fractions[1],
            "partly_random": fractions[-2], "all_random": fractions[-1]}


def collect_facts(results):
    """What figure and report say: accuracies are fractions, slowdowns ratios of epochs."""
    constants, full_size = results["constants"], results["settings"]["train_size"]
    fitted = constants["FITTED"]
    fits = [row for row in results["times"]
            if (row["train_size"], row["threshold"]) == (full_size, fitted)]
    fractions = named_fractions(results)
    partly_random, all_random = fractions["partly_random"], fractions["all_random"]
    true_row = find_row(results["table"], randomized=fractions["true_labels"])
    random_row = find_row(results["table"], randomized=all_random)
    lowest_threshold = constants["THRESHOLDS"][0]
    smallest_size = min(row["train_size"] for row in results["times"])
    true_label = find_row(results["memorization"], randomized=partly_random,
                          measure="true_accuracy")
    test = find_row(results["memorization"], randomized=partly_random, measure="test_accuracy")
    return {
        "networks": sum(row["runs"] for row in fits),
        "networks_that_fit": sum(row["runs_that_reach_it"] for row in fits),
        "chance": 1 / CLASSES,
        "test_accuracy_of_true_labels": as_mean(true_row, "test_accuracy"),
        "test_accuracy_of_random_labels": as_mean(random_row, "test_accuracy"),
        # A fraction of random labels, and four facts about the networks that were given them.
        "partly_random": partly_random,
        "true_label_peak": as_mean(true_label, "peak"),
        "true_label_end": as_mean(true_label, "final"),
        "test_accuracy_peak": as_mean(test, "peak"),
        "test_accuracy_end": as_mean(test, "final"),
        "test_loss_rises": {fraction: rise_of_test_loss(results, fraction)
                            for fraction in constants["FRACTIONS"]},
        # All labels random against true ones.
        "lowest_threshold": lowest_threshold,
        "smallest_size": smallest_size,
        "slowdown_to_lowest_threshold": slowdown_of(results, full_size, all_random,
                                                    lowest_threshold),
        "slowdown_to_fit": slowdown_of(results, full_size, all_random, fitted),
        "slowdown_to_fit_smallest_size": slowdown_of(results, smallest_size, all_random, fitted),
        **slowdown_tests(results, full_size, smallest_size, all_random),
        **facts_of_fewest_random(results),
    }


def slowdown_tests(results, full_size, smallest_size, fraction):
    """Tests of the slowdown to fit a fraction of random labels, and of its growth with the images.

    "larger_size_ratio" is the slowdown with all images divided by that with the fewest, run by run:
    run k of both has the same seeds. None where either is unknown. The p-values are those of
    t-tests of the logarithms, corrected for both by Holm's method: of whether the slowdown is 1,
    and of whether it is the same for both numbers of images. The unit is the run.
    """
    slowdowns = {}  # (runs,) of either number of images
    for size in (full_size, smallest_size):
        slowdowns[size] = np.array([row["slowdown"] for row in results["slowdowns"]
                                    if (row["train_size"], row["randomized"]) == (size, fraction)])
    growth = None
    if smallest_size < full_size and all(len(of_runs) > 0 for of_runs in slowdowns.values()):
        growth = slowdowns[full_size] / slowdowns[smallest_size]
    slowdown_p_value, growth_p_value = holm([
        p_value_of_mean(np.log(slowdowns[full_size])),
        None if growth is None else p_value_of_mean(np.log(growth))])
    return {
        "slowdown_to_fit_p_value": slowdown_p_value,
        "larger_size_ratio": (None if growth is None
                              else as_interval(ratio_columns("ratio", growth), "ratio")),
        "larger_size_p_value": growth_p_value,
    }


def facts_of_fewest_random(results):
    """How long the fewest random labels take to fit, against true labels and random ones alone."""
    fractions = named_fractions(results)
    fewest_random, all_random = fractions["fewest_random"], fractions["all_random"]
    ratio = compare_epochs_to_fit(results, all_random, fewest_random)
    return {
        "fewest_random": fewest_random,
        "slowdown_to_fit_fewest_random": slowdown_of(results, results["settings"]["train_size"],
                                                     fewest_random, results["constants"]["FITTED"]),
        "epochs_to_fit_all_to_fewest": ratio,
        "fitting_takes_as_long": is_about_one(ratio),
    }


def is_about_one(ratio):
    """Whether the whole interval of a ratio of epochs lies between 1 / SAME_TIME and SAME_TIME."""
    if ratio["low"] is None:
        return False
    return bool(ratio["low"] > 1 / SAME_TIME and ratio["high"] < SAME_TIME)


def slowdown_of(results, train_size, fraction, threshold):
    """The slowdown where this fraction of the labels is random: {"value", "low", "high"}."""
    row = find_row(results["times"], train_size=train_size, randomized=fraction,
                   threshold=threshold)
    return as_interval(row, "slowdown")


def compare_epochs_to_fit(results, fraction, other_fraction):
    """The epochs to fit a fraction of random labels, divided by those to fit another one.

    {"value", "low", "high"}, run by run. The interval treats each run as one independent sample.
    All are None where a run does not fit its labels, the ends also for a single run.
    """
    curves = results["curves"]
    epochs = []
    for one_fraction in (fraction, other_fraction):
        runs = [{"epoch": curves["epoch"][one_fraction], "train_accuracy": accuracies}
                for accuracies in curves["train_accuracy"][one_fraction]]
        epochs.append(epochs_to_reach(runs, results["constants"]["FITTED"]))
    if None in epochs[0] + epochs[1]:
        return {"value": None, "low": None, "high": None}
    return as_interval(ratio_columns("ratio", np.divide(*epochs)), "ratio")


def rise_of_test_loss(results, fraction):
    """How far the test loss rises from its lowest value to the end: {"value", "ci95"}.

    The lowest value of run k is that where the mean of the other runs is lowest: the lowest of a
    run's own noisy values would overstate its rise. held_out_argmax has an example. The interval
    treats each run as one independent sample.
    """
    losses = np.array(results["curves"]["test_loss"][fraction])  # (runs, records)
    lowest_records = held_out_argmax(-losses)  # where −losses are highest, losses are lowest
    lowest = losses[np.arange(len(losses)), lowest_records]
    return as_mean(mean_columns({"rise": losses[:, -1] - lowest}), "rise")


# --- drawing ---

SLOWDOWN_LABEL = "epochs ÷ epochs with true labels"
ACCURACY_AXIS = {"ylim": (0, 110), "yticks": range(0, 101, 20)}  # in percent, room for a note
BESIDE = 0.06  # fractions that share a place of an axis are drawn so far beside each other


def plot(results):
    """Accuracy and mislabelled images during training; the cost of random labels, in two ways."""
    figure, panels = new_figure(figure_title(results), results, 2, 2, height=3.3,
                                height_ratios=[5, 4])
    draw_accuracy(panels[0, 0], results)
    draw_mislabelled(panels[0, 1], results)
    draw_thresholds(panels[1, 0], results)
    draw_sizes(panels[1, 1], results)
    legend_below(figure, panels[0, 0], columns=6, train_test=True)
    return figure


def plot_details(results):
    """Training and test loss of every run against epochs."""
    figure, panels = new_figure(loss_title(results["facts"]), results, 1, 2, height=3.8)
    train_panel, test_panel = panels[0]
    for fraction in results["constants"]["FRACTIONS"]:
        draw_fraction(train_panel, results, fraction, "train_loss", TRAIN)
        draw_fraction(test_panel, results, fraction, "test_loss", TEST)
    train_panel.set(title="Loss on the training labels", ylabel="training loss (nats)")
    test_panel.set(title="Loss on the test images", ylabel="test loss (nats)")
    for panel in panels[0]:
        set_epoch_axis(panel)
        panel.set_yscale("log", subs=(2, 5))  # few enough ticks to write numbers at all of them
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("{x:g}")
    legend_below(figure, test_panel, columns=6, train_test=True)
    return figure


def loss_title(facts):
    """Whether the test loss rises in training at every fraction of random labels."""
    rises = [rise for fraction, rise in facts["test_loss_rises"].items() if fraction > 0]
    if all(rise["ci95"] is not None and rise["value"] > rise["ci95"] for rise in rises):
        return "While random labels are memorized, test loss rises"
    return "Loss on training and test images"


def look_of_fraction(results, fraction):
    """Color and marker of a fraction of random labels, the same in all panels."""
    place = results["constants"]["FRACTIONS"].index(fraction)
    return {"color": COLORS[place], "marker": MARKERS[place]}


def figure_title(results):
    """Whether all labels but 0.1 % are fitted (FITTED), and in how many times the epochs."""
    facts = results["facts"]
    if facts["networks_that_fit"] < facts["networks"]:
        train_size = results["settings"]["train_size"]
        return (f"{facts['networks_that_fit']} of {facts['networks']} networks fit practically all "
                f"their {train_size:,} labels")
    title = "Networks fit practically all labels, even random ones"
    slowdown = facts["slowdown_to_fit"]["value"]
    return title if slowdown is None else f"{title}; those take about {slowdown:.0f} times as long"


def draw_fraction(panel, results, fraction, measure, style, scale=1):
    """A stored measure of every run at a fraction of random labels, times scale, against epochs.

    Marks stand midway and at the end.
    """
    curves, look = results["curves"], look_of_fraction(results, fraction)
    epochs = np.array(curves["epoch"][fraction])[1:]  # a logarithmic axis cannot show epoch 0
    values = scale * np.array(curves[measure][fraction])[:, 1:]  # (runs, records)
    draw_marked_runs(panel, epochs, values, look, style, marked=[len(epochs) // 2, -1])
    panel.plot([], [], style, **look, label=f"{percent(fraction)} random")  # for the legend


def set_epoch_axis(panel):
    """Epochs on a logarithmic axis, as plain numbers."""
    panel.set(xscale="log", xlabel="epochs")
    panel.xaxis.set_major_formatter("{x:g}")


def draw_accuracy(panel, results):
    """Training and test accuracy of every run against epochs."""
    for fraction in results["constants"]["FRACTIONS"]:
        draw_fraction(panel, results, fraction, "train_accuracy", TRAIN, scale=100)
        draw_fraction(panel, results, fraction, "test_accuracy", TEST, scale=100)
    set_epoch_axis(panel)
    panel.set(title=accuracy_title(results), ylabel="accuracy (%)", **ACCURACY_AXIS)


def accuracy_title(results):
    """Whether all networks fit, and whether more random labels mean a lower test accuracy."""
    facts = results["facts"]
    all_fit = facts["networks_that_fit"] == facts["networks"]
    first_line = "Practically all labels are learned." if all_fit else "Not all labels are learned."
    final_accuracies = [row["test_accuracy"] for row in results["table"]]  # by rising fraction
    falls = final_accuracies == sorted(final_accuracies, reverse=True)
    second_line = ("The more are random, the worse on test images" if falls
                   else "Accuracy on training and test images")
    return f"{first_line}\n{second_line}"


def draw_mislabelled(panel, results):
    """How often mislabelled training images are seen as their true class, against epochs."""
    for fraction in results["constants"]["FRACTIONS"]:
        if fraction > 0:
            draw_fraction(panel, results, fraction, "true_accuracy", TRAIN, scale=100)
    set_epoch_axis(panel)
    true_labels = named_fractions(results)["true_labels"]
    panel.text(0.99, 0.99, "0 % random: no image is mislabelled", transform=panel.transAxes,
               color=look_of_fraction(results, true_labels)["color"], ha="right", va="top",
               fontsize=8.5)
    panel.set(title=mislabelled_title(results["facts"]), ylabel="seen as their true class (%)",
              **ACCURACY_AXIS)


def mislabelled_title(facts):
    """Whether mislabelled images are at first seen as their true class, more often than guessed."""
    peak = facts["true_label_peak"]
    if peak["ci95"] is None or peak["value"] - peak["ci95"] <= facts["chance"]:
        return "How often mislabelled images\nare seen as their true class"
    return (f"Patterns come first: with {percent(facts['partly_random'])} random, about "
            f"{100 * peak['value']:.0f} %\n"
            "of mislabelled images are first seen as their true class")


def draw_thresholds(panel, results):
    """The slowdown by random labels against the training accuracy that is asked for."""
    thresholds = results["constants"]["THRESHOLDS"]
    random_fractions = [value for value in results["constants"]["FRACTIONS"] if value > 0]
    middle = (len(random_fractions) - 1) / 2
    for number, fraction in enumerate(random_fractions):
        rows = [row for row in results["times"] if row["randomized"] == fraction
                and row["train_size"] == results["settings"]["train_size"]]
        places = np.arange(len(rows)) + BESIDE * (number - middle)
        draw_slowdowns(panel, places, rows, look_of_fraction(results, fraction))
    panel.set(title=thresholds_title(results["facts"]), ylim=(0, None),
              xticks=range(len(thresholds)),
              xticklabels=[percent(threshold) for threshold in thresholds],
              xlabel="training accuracy reached", ylabel=SLOWDOWN_LABEL)


def thresholds_title(facts):
    """Whether a few random labels take as long to fit as random labels alone."""
    if not facts["fitting_takes_as_long"]:
        return "The slowdown by random labels,\nby training accuracy reached"
    return ("Fitting practically all labels takes as long\n"
            f"with {percent(facts['fewest_random'])} random as with 100 %")


def draw_sizes(panel, results):
    """The slowdown where all labels are random against the number of training images."""
    all_random = named_fractions(results)["all_random"]
    random_rows = [row for row in results["times"] if row["randomized"] == all_random
                   and row["threshold"] == results["constants"]["FITTED"]]
    rows = sorted(random_rows, key=lambda row: row["train_size"])
    sizes = [row["train_size"] for row in rows]
    draw_slowdowns(panel, sizes, rows, look_of_fraction(results, all_random))
    panel.set(xscale="log", ylim=(0, None), xlabel="training images", ylabel=SLOWDOWN_LABEL,
              title=sizes_title(results))
    panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
    panel.minorticks_off()


def sizes_title(results):
    """Whether the slowdown grows with the number of training images."""
    ratio = results["facts"]["larger_size_ratio"]
    grows = ratio is not None and ratio["low"] is not None and ratio["low"] > 1
    finding = "The slowdown grows with the training set" if grows else "Slowdown and training set"
    return f"{finding}\n({percent(results['constants']['FITTED'])} reached, all labels random)"


def draw_slowdowns(panel, places, rows, look):
    """The slowdowns of rows of compare_times, with their intervals, at places of the x axis."""
    known_places, slowdowns = [], []
    for place, row in zip(places, rows):
        if row["slowdown"] is None:
            continue
        known_places.append(place)
        slowdowns.append(row["slowdown"])
        if row["slowdown_low"] is not None:
            panel.vlines(place, row["slowdown_low"], row["slowdown_high"], color=look["color"],
                         linewidth=1)
    panel.plot(known_places, slowdowns, TRAIN, **look, markersize=5, markerfacecolor="white")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts, uses_images=True)
