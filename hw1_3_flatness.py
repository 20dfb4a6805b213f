"""Flatness and generalization, part 1: what lies on the straight line between two solutions?

Two pairs of trainings, each differing in one thing: batch size 64 against 1,024, and learning rate
1e-3 against 1e-2. Loss and accuracy are measured along θ(α) = (1 − α) θ₁ + α θ₂, for pairs that
start from one initialization and for pairs that start from two. Then one solution is rescaled
without changing its function, and its sharpness is measured again.

    python hw1_3_flatness.py              # the report's figure
    python hw1_3_flatness.py --quick      # a tour in seconds
"""

from math import ceil

from common.command_line import Flag, main, positive_integer
from common.data import load_dataset
from common.derivatives import curvature, epsilon_sharpness, largest_eigenvalue, loss_at
from common.evaluation import evaluate_sets, predict
from common.models import mlp
from common.parameters import barrier, interpolate, parameter_vectors, rescale, unflatten
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    draw_runs,
    draw_train_test,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import mean_columns
from common.training import cross_entropy, expand_to_runs, run_generators, train

import numpy as np
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 5, quick=3, help="pairs of each kind"),
    "epochs": Flag(positive_integer, 30, quick=10, help="epochs of every training"),
    "train_size": Flag(positive_integer, 10_000, quick=1_400, at_most="dataset",
                       help="training images"),
    "sharpness_images": Flag(positive_integer, 1_024, quick=256, at_most="train_size",
                             help="training images, the first, on which sharpness is measured"),
}
WIDTHS = [784, 64, 32, 10]
# The options of the base training, whose solutions lie at α = 0. Adam trains all networks.
BASE = {"batch_size": 64, "learning_rate": 1e-3}
# Each comparison changes one of them for the training whose solutions lie at α = 1.
CHANGES = {"batch_size": 1_024, "learning_rate": 1e-2}
INITIALIZATIONS = ("same", "different")  # of the two ends of a line
ALPHAS = torch.arange(-20, 41) / 20  # −1 … 2 in steps of 0.05; exactly 0 and 1 are among them
AT_0, AT_1 = ALPHAS.tolist().index(0), ALPHAS.tolist().index(1)  # their indices
SCALES = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)  # powers of two: a float times one of them loses no digit


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
def build_model(settings):
    """A stack of settings.runs + 1 networks, each with an initialization of its own.

    One more than there are pairs, so that run k can also be paired with run k + 1.
    """
    generators = run_generators(settings.seed, settings.runs + 1, "initialization")
    return mlp(WIDTHS, generators).to(settings.device)


# --- training ---


def train_model(images, labels, batch_size, learning_rate, settings):
    """Trains a stack; returns the model and its solutions, vectors (runs + 1, P).

    Run k of every training draws its weights and its data order from the same seed.
    """
    model = build_model(settings)
    labels_of_runs = expand_to_runs(labels, model)  # (runs + 1, N); images are shared by all runs
    train(model, images, labels_of_runs, cross_entropy, epochs=settings.epochs,
          learning_rate=learning_rate, batch_size=batch_size,
          order_generators=run_generators(settings.seed, settings.runs + 1, "order"),
          title=f"batch size {batch_size}, learning rate {learning_rate}")
    return model, parameter_vectors(model)


def pair_solutions(base, changed, initialization):
    """The two ends of each line, (runs, P) twice, from solutions (runs + 1, P) of two trainings.

    Run k of the base meets run k, which started from the same weights, or run k + 1, which did not,
    and which saw the images in another order as well.
    """
    if initialization == "same":
        return base[:-1], changed[:-1]
    return base[:-1], changed[1:]


# --- measuring: sets are {"train": (images, labels), "test": (images, labels)} ---


def measure_networks(model, vectors, sets):
    """Loss and accuracy of networks (n, P) on each of the sets: {"train_loss": (n,), ...}.

    Their parameters replace those of the model, however many networks it holds itself.
    """
    values = evaluate_sets(model, sets, unflatten(vectors, model))
    return {name: by_network.cpu().numpy() for name, by_network in values.items()}


def measure_lines(model, first, second, sets):
    """measure_networks along the lines from first to second (R, P): {name: (R, alphas)}."""
    lines = {}
    for start, end in zip(first, second):
        networks = interpolate(start, end, ALPHAS)  # (alphas, P), evaluated as one stack
        for name, values in measure_networks(model, networks, sets).items():
            lines.setdefault(name, []).append(values)
    return {name: np.stack(values) for name, values in lines.items()}


def measure_solutions(model, vectors, sharpness_loss, sets):
    """Loss, accuracy, sharpness in two measures, and norm of each solution (R, P): {name: (R,)}."""
    values = measure_networks(model, vectors, sets)
    eigenvalues = largest_eigenvalue(sharpness_loss, vectors.double())
    values["largest_eigenvalue"] = eigenvalues.cpu().numpy()
    values["sharpness"] = epsilon_sharpness(sharpness_loss, vectors.double()).cpu().numpy()
    values["weight_norm"] = vectors.norm(dim=1).cpu().numpy()
    return values


def measure_rescaled(model, vectors, sharpness_loss, sets):
    """Rescales solutions (R, P) by each of SCALES and measures them.

    The first layer is multiplied by the scale, the second layer's weights are divided by it. The
    ReLU between them lets the factor through, so that the function stays as it is, which the
    largest change of an output confirms. Returns a row for each scale, and {measure: (scales, R)}
    of the two measures of sharpness.
    """
    test_images, _ = sets["test"]
    unscaled_outputs = predict(model, test_images, unflatten(vectors, model))
    rows, curves = [], {"largest_eigenvalue": [], "sharpness": []}
    for scale in SCALES:
        scaled = rescale(vectors, model, scale)
        values = measure_solutions(model, scaled, sharpness_loss, sets)
        outputs = predict(model, test_images, unflatten(scaled, model))
        rows.append({
            "scale": scale,
            "runs": len(vectors),
            **mean_columns(values),
            "largest_output_change": (outputs - unscaled_outputs).abs().max(),
        })
        for name, curve in curves.items():
            curve.append(values[name])
    return rows, curves


def measure_curvature(loss, ends, first, second):
    """The second derivative of the loss by α, at these ends of lines from first to second: (R,)."""
    direction = second.double() - first.double()
    return curvature(loss, ends.double(), direction).cpu().numpy()


# --- summing up ---


def summarize_solutions(model, solutions, options, sharpness_loss, sets):
    """A row: mean loss, accuracy, sharpness and norm of the solutions (R, P) of one training."""
    measured = measure_solutions(model, solutions, sharpness_loss, sets)
    return options | {"runs": len(solutions)} | mean_columns(measured)


def summarize_end(alpha_index, line_values, curvatures, options, comparison, settings):
    """Columns for one end of the lines: its training, and means over the lines there.

    alpha_index is AT_0 or AT_1, line_values are what measure_lines returns, curvatures (R,) are
    those of the loss along each line at that end, and options are those of the end's training.
    """
    columns = {"end": options[comparison]}
    columns["updates"] = settings.epochs * ceil(settings.train_size / options["batch_size"])
    for name, by_line in line_values.items():
        columns[name] = by_line[:, alpha_index].mean()
    return columns | mean_columns({"curvature": curvatures})


def options_of_change(comparison, settings):
    """The options of the training that a comparison sets against BASE."""
    options = BASE | {comparison: CHANGES[comparison]}
    # A batch cannot be larger than the training set.
    options["batch_size"] = min(options["batch_size"], settings.train_size)
    return options


def compare_solutions(model, base, changed, changed_options, comparison, line_loss, sets, settings):
    """Measures the lines between the solutions (runs + 1, P) of the base and of a changed training.

    Returns rows of the two ends of each kind of lines, rows of the barriers, and {initialization:
    what measure_lines returns}.
    """
    end_rows, barrier_rows, line_values = [], [], {}
    for initialization in INITIALIZATIONS:
        first, second = pair_solutions(base, changed, initialization)
        values = measure_lines(model, first, second, sets)
        line_values[initialization] = values
        key = {"comparison": comparison, "initialization": initialization, "runs": len(first)}
        # The most by which the training loss between the ends exceeds the straight line from its
        # value at one end to that at the other.
        barriers = mean_columns({"barrier": barrier(ALPHAS, values["train_loss"])})
        barrier_rows.append(key | barriers)

        at_first = measure_curvature(line_loss, first, first, second)
        at_second = measure_curvature(line_loss, second, first, second)
        key["barrier"] = barriers["barrier"]
        end_rows.append(key | summarize_end(AT_0, values, at_first, BASE, comparison, settings))
        end_rows.append(key | summarize_end(AT_1, values, at_second, changed_options, comparison,
                                            settings))
    return end_rows, barrier_rows, line_values


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    images = data.train_images[: settings.train_size]
    labels = data.train_labels[: settings.train_size]
    sets = {"train": (images, labels), "test": (data.test_images, data.test_labels)}
    model, base = train_model(images, labels, **BASE, settings=settings)

    # Functions of the parameters, in float64 because sharpness and curvature are small differences
    # of large sums.
    line_loss = loss_at(model, images.double(), labels, cross_entropy)
    sharpness_images = images[: settings.sharpness_images].double()
    sharpness_labels = labels[: settings.sharpness_images]
    sharpness_loss = loss_at(model, sharpness_images, sharpness_labels, cross_entropy)

    end_rows, barrier_rows, curves = [], [], {"alpha": ALPHAS}
    solution_rows = [summarize_solutions(model, base, BASE, sharpness_loss, sets)]
    for comparison in CHANGES:
        options = options_of_change(comparison, settings)
        _, changed = train_model(images, labels, **options, settings=settings)
        solution_rows.append(summarize_solutions(model, changed, options, sharpness_loss, sets))
        ends, barriers, curves[comparison] = compare_solutions(
            model, base, changed, options, comparison, line_loss, sets, settings)
        end_rows += ends
        barrier_rows += barriers
    without_extra_network = base[:-1]
    rescaling_rows, curves["rescaling"] = measure_rescaled(model, without_extra_network,
                                                           sharpness_loss, sets)
    return {
        "constants": {"ALPHAS": ALPHAS, "BASE": BASE, "CHANGES": CHANGES, "SCALES": SCALES},
        "table": end_rows,
        "comparisons": barrier_rows,
        "solutions": solution_rows,
        "rescaling": rescaling_rows,
        "curves": curves,
    }


# --- drawing ---


def plot(results):
    """Loss above accuracy along lines, for both comparisons; below, sharpness after rescaling."""
    comparisons = list(results["constants"]["CHANGES"])
    barriers = {}
    for initialization in ("same", "different"):
        numbers = [f"{find_barrier(results, name, initialization):.2g}" for name in comparisons]
        barriers[initialization] = " and ".join(numbers)
    title = (f"From one start barriers of {barriers['same']} nats, from two starts "
             f"{barriers['different']}")
    figure, panels = new_figure(title, results, 3, 2, height=2.7)
    for column, comparison in enumerate(comparisons):
        draw_loss(panels[0, column], results, comparison)
        draw_accuracy(panels[1, column], results, comparison)
    draw_rescaling(panels[2, 0], results, "largest_eigenvalue", "largest eigenvalue", unit="")
    draw_rescaling(panels[2, 1], results, "sharpness", "ε-sharpness", unit=" (%)")
    legend_below(figure, panels[0, 0], train_test=True)
    return figure


def find_barrier(results, comparison, initialization):
    """The mean barrier of these lines in nats."""
    return find_row(results["comparisons"], comparison=comparison,
                    initialization=initialization)["barrier"]


def comparison_title(comparison):
    """batch_size -> Batch size."""
    return comparison.replace("_", " ").capitalize()


def draw_loss(panel, results, comparison):
    """Training and test loss along the lines."""
    alphas = results["curves"]["alpha"]
    for (initialization, values), color, marker in zip(results["curves"][comparison].items(),
                                                       COLORS, MARKERS):
        draw_train_test(panel, alphas, values["train_loss"], values["test_loss"], color,
                        f"{initialization} initialization", marker)
    same = find_barrier(results, comparison, "same")
    different = find_barrier(results, comparison, "different")
    panel.set(yscale="log", ylabel="cross-entropy (nats)",
              title=f"{comparison_title(comparison)}: barrier {same:.2g} from one start, "
                    f"{different:.2g} from two")
    mark_ends(panel, results, comparison)


def draw_accuracy(panel, results, comparison):
    """Training and test accuracy along the lines."""
    alphas = np.array(results["curves"]["alpha"])
    between = (alphas >= 0) & (alphas <= 1)
    lowest = {}
    for (initialization, values), color, marker in zip(results["curves"][comparison].items(),
                                                       COLORS, MARKERS):
        train_accuracies = 100 * np.array(values["train_accuracy"])
        test_accuracies = 100 * np.array(values["test_accuracy"])
        draw_train_test(panel, alphas, train_accuracies, test_accuracies, color, None, marker)
        lowest[initialization] = np.median(test_accuracies, axis=0)[between].min()
    panel.set(ylabel="accuracy (%)", ylim=(0, 101),
              title=f"{comparison_title(comparison)}: test accuracy falls to {lowest['same']:.0f}% "
                    f"and {lowest['different']:.0f}%")
    mark_ends(panel, results, comparison)


def mark_ends(panel, results, comparison):
    """Lines at the two ends, and what they are."""
    ends = [row["end"] for row in results["table"] if row["comparison"] == comparison]
    base, changed = ends[:2]  # two rows for each kind of lines, first that of α = 0
    panel.set(xlabel=f"α: {comparison.replace('_', ' ')} {base:,} at 0, {changed:,} at 1",
              xticks=[-1, 0, 1, 2])
    for alpha in (0, 1):
        panel.axvline(alpha, color=GREY, linewidth=1)


def draw_rescaling(panel, results, name, label, unit):
    """A sharpness measure of one function against the factor by which its layers are rescaled."""
    scales = results["constants"]["SCALES"]
    draw_runs(panel, scales, np.transpose(results["curves"]["rescaling"][name]), COLORS[2],
              marker=MARKERS[2])
    smallest = find_row(results["rescaling"], scale=scales[0])
    unscaled = find_row(results["rescaling"], scale=1)
    factor = f"{smallest[name] / unscaled[name]:,.0f}"
    scale_names = [f"{scale:g}" if scale >= 1 else f"1/{1 / scale:g}" for scale in scales]
    panel.set(title=f"One function, c = {scale_names[0]}: {label} × {factor}",
              xlabel="first layer times c, second divided by c", ylabel=label + unit,
              xscale="log", yscale="log")
    panel.set_xticks(scales, scale_names)
    panel.minorticks_off()


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
