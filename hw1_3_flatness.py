"""Flatness and generalization, part 1: what lies on the straight line between two solutions?

Two pairs of trainings, each differing in one thing: batch size 64 against 1,024, and learning rate
1e-3 against 1e-2. Loss and accuracy are measured along θ(α) = (1 − α) θ₁ + α θ₂, for pairs that
start from one initialization and for pairs that start from two. Then one solution is rescaled
without changing its function, and its sharpness is measured again. Cross-entropy bends less where a
network is more confident, so every measure of flatness stands beside the training loss, the norm of
the weights and the uncertainty of the same networks.

    python hw1_3_flatness.py              # the report's figure
    python hw1_3_flatness.py --quick      # a tour in seconds
"""


from common.command_line import Flag, main, positive_integer
from common.data import first_images, load_dataset
from common.derivatives import curvature, epsilon_sharpness, largest_eigenvalue, loss_at
from common.evaluation import evaluate_sets, predict
from common.models import mlp
from common.parameters import barrier, interpolate, parameter_vectors, rescale, unflatten
from common.pieces import (
    Piece,
    groups_of_runs,
    join_groups,
    run_pieces,
    to_arrays,
    total_cost,
)
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
from common.statistics import range_columns
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
ALPHAS = torch.arange(-10, 21) / 10  # −1 … 2 in steps of 0.1; exactly 0 and 1 are among them
AT_0, AT_1 = ALPHAS.tolist().index(0), ALPHAS.tolist().index(1)  # their indices
RUNS_TOGETHER = 3  # in one stack
# What the pieces of work cost, a training step on an image of every network in a stack being 1.
LINE_COST, SOLUTIONS_COST = 60_000, 65_000
LINE_MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
# What is given beside the curvature at the ends of a line, in addition to LINE_MEASURES.
END_MEASURES = ("weight_norm", "uncertainty")
SCALES = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)  # powers of two: a float times one of them loses no digit


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
def build_model(run_numbers, settings):
    """A stack of networks, one for each run, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(WIDTHS, generators).to(settings.device)


# --- training ---


def train_model(data, run_numbers, options, settings):
    """Trains some runs with the batch size and learning rate of options.

    Returns {"solutions": the parameters (runs, P)}. Run k of every training draws its weights and
    its data order from the same seed.
    """
    model = build_model(run_numbers, settings)
    images, labels = first_images(data, settings.train_size)
    labels_of_runs = expand_to_runs(labels, model)  # (runs, N); images are shared by all runs
    train(model, images, labels_of_runs, cross_entropy, epochs=settings.epochs,
          learning_rate=options["learning_rate"], batch_size=options["batch_size"],
          order_generators=run_generators(settings.seed, run_numbers, "order"))
    return {"solutions": parameter_vectors(model).cpu().numpy()}


def train_all(options_by_training, data, later_cost, settings):
    """Trains all runs with all options {training: options}: {training: solutions (runs + 1, P)}.

    One run more than there are pairs, so that run k can also be paired with run k + 1.
    """
    pieces = {}
    for training, options in options_by_training.items():
        steps = count_steps(settings.train_size, settings.epochs, options["batch_size"])
        for runs in groups_of_runs(range(settings.runs + 1), RUNS_TOGETHER):
            pieces[training, runs[0]] = Piece(f"training, {training}, runs {runs}", train_model,
                                              (runs, options, settings), steps,
                                              options["batch_size"], data)
    trained = join_groups(run_pieces(pieces, settings, later_cost))
    return {training: torch.from_numpy(result["solutions"])
            for training, result in trained.items()}


def pair_solutions(base, changed, initialization):
    """The two ends of each line, (runs, ...) twice, from values (runs + 1, ...) of two trainings.

    The values are the solutions or what was measured of them. Run k of the base meets run k of the
    other training, which started from the same weights and saw the images in the same order, or run
    k + 1, which did neither. The sampled unit is the pair. Within one kind of lines no two pairs
    share a solution. Pairs of the same initialization are independent of each other. Those of
    different ones are not quite: run k + 1 of the other training ends pair k, and run k + 1 of the
    base, from the same initialization and with the same order, begins pair k + 1.
    """
    if initialization == "same":
        return base[:-1], changed[:-1]
    return base[:-1], changed[1:]


# --- measuring ---


def measure_networks(data, vectors, settings):
    """Loss and accuracy of networks (n, P) on both sets of images: {"train_loss": (n,), ...}."""
    sets = {
        "train": first_images(data, settings.train_size),
        "test": (data.test_images, data.test_labels),
    }
    # A model for its structure: the parameters replace its own, however many networks they are of.
    model = build_model([0], settings)
    return to_arrays(evaluate_sets(model, sets, unflatten(vectors.to(settings.device), model)))


def measure_uncertainty(data, vectors, settings):
    """How unsure networks (R, P) are of their own predictions, from 0 to 1/4: (R,).

    It is the mean of p (1 − p) over the training images, where p is the probability of the
    predicted class: the variance of an answer that is right with probability p. The second
    derivative of cross-entropy by the output of that class is the same p (1 − p), so that an unsure
    network has a curved loss, and a confident one a flat loss.
    """
    images, _ = first_images(data, settings.train_size)
    model = build_model([0], settings)
    logits = predict(model, images, unflatten(vectors.to(settings.device), model))
    # In float64, because 1 − p is small where the network is confident.
    highest = logits.double().softmax(2).amax(2)  # (R, N)
    return (highest * (1 - highest)).mean(1)


def measure_line(data, first, second, settings):
    """measure_networks along the line from first to second (P,), and the curvature at its ends.

    The curvature is the second derivative of the training loss by α. Returns {"train_loss": (1,
    alphas), ..., "curvature_at_0": (1,), "curvature_at_1": (1,)}.
    """
    networks = interpolate(first, second, ALPHAS)  # (alphas, P), evaluated as one stack
    values = {name: by_alpha[np.newaxis]
              for name, by_alpha in measure_networks(data, networks, settings).items()}
    images, labels = first_images(data, settings.train_size)
    # In float64, because curvature is a small difference of large sums.
    loss = loss_at(build_model([0], settings), images.double(), labels, cross_entropy)
    direction = second.double() - first.double()
    for name, end in {"curvature_at_0": first, "curvature_at_1": second}.items():
        end, direction = end.double().to(settings.device), direction.to(settings.device)
        values[name] = curvature(loss, end[None], direction[None]).cpu().numpy()
    return values


def measure_solutions(data, vectors, settings):
    """Measures each solution (R, P): {name: (R,)}.

    They are loss, accuracy, sharpness in two measures, norm, and uncertainty.
    """
    images, labels = first_images(data, settings.train_size)
    # In float64 like curvature: sharpness is a small difference of large sums too.
    loss = loss_at(build_model([0], settings), images[: settings.sharpness_images].double(),
                   labels[: settings.sharpness_images], cross_entropy)
    precise = vectors.double().to(settings.device)
    measured = {
        "largest_eigenvalue": largest_eigenvalue(loss, precise),
        "sharpness": epsilon_sharpness(loss, precise),
        "weight_norm": vectors.norm(dim=1),
        "uncertainty": measure_uncertainty(data, vectors, settings),
    }
    return measure_networks(data, vectors, settings) | to_arrays(measured)


def measure_rescaled(data, vectors, scale, settings):
    """Rescales solutions (R, P) and measures them: {name: (R,)}.

    The first layer is multiplied by the scale, the second layer's weights are divided by it. The
    ReLU between them lets the factor through, so that the function stays as it is, which the
    largest change of an output confirms.
    """
    model = build_model([0], settings)
    vectors = vectors.to(settings.device)
    scaled = rescale(vectors, model, scale)
    before = predict(model, data.test_images, unflatten(vectors, model))
    after = predict(model, data.test_images, unflatten(scaled, model))
    values = measure_solutions(data, scaled, settings)
    values["output_change"] = (after - before).abs().amax((1, 2)).cpu().numpy()
    return values


def measuring_pieces(solutions, data, settings):
    """All measurements as pieces of work.

    solutions are {training: (runs + 1, P)}. The keys of the pieces are ("line", comparison,
    initialization, run), ("solutions", training, first run) and ("scale", scale, first run).
    """
    pieces = {}
    for comparison in CHANGES:
        for initialization in INITIALIZATIONS:
            ends = pair_solutions(solutions["base"], solutions[comparison], initialization)
            for run_number, (first, second) in enumerate(zip(*ends)):
                # Copies: a part of a larger tensor would take the whole of it along.
                pieces["line", comparison, initialization, run_number] = Piece(
                    f"line, {comparison}, {initialization} initialization, run {run_number}",
                    measure_line, (first.clone(), second.clone(), settings), 1, LINE_COST, data)
    for training, vectors in solutions.items():
        for runs in groups_of_runs(range(settings.runs + 1), RUNS_TOGETHER):
            pieces["solutions", training, runs[0]] = Piece(
                f"solutions, {training}, runs {runs}", measure_solutions,
                (vectors[runs], settings), 1, SOLUTIONS_COST, data)
    for scale in SCALES:
        for runs in groups_of_runs(range(settings.runs), RUNS_TOGETHER):
            pieces["scale", scale, runs[0]] = Piece(
                f"layers rescaled by {scale}, runs {runs}", measure_rescaled,
                (solutions["base"][runs], scale, settings), 1, SOLUTIONS_COST, data)
    return pieces


def cost_of_measuring(settings):
    """What all measuring_pieces will cost."""
    no_solutions = dict.fromkeys(["base", *CHANGES], torch.zeros(settings.runs + 1, 0))
    return total_cost(measuring_pieces(no_solutions, None, settings))


# --- summing up: measured are the joined results of measuring_pieces ---


def summarize_values(values):
    """Columns: median, lowest and highest of all values {name: (runs,)}, none of them negative."""
    columns = {}
    for name, of_runs in values.items():
        columns |= range_columns(name, of_runs)
    return columns


def summarize_solutions(measured, options_by_training):
    """Rows: all measures of the solutions of every training; the sampled unit is the run."""
    rows = []
    for training, options in options_by_training.items():
        values = measured["solutions", training]
        rows.append(options | {"runs": len(values["train_loss"])} | summarize_values(values))
    return rows


def summarize_rescaled(measured):
    """A row for each of SCALES, and {measure: (scales, runs)} of the two measures of sharpness.

    The sampled unit is the run: a solution of the base, the same ones at every scale.
    """
    rows, curves = [], {"largest_eigenvalue": [], "sharpness": []}
    for scale in SCALES:
        values = dict(measured["scale", scale])
        largest_output_change = values.pop("output_change").max()
        rows.append({
            "scale": scale,
            "runs": len(values["train_loss"]),
            **summarize_values(values),
            "largest_output_change": largest_output_change,
        })
        for name, curve in curves.items():
            curve.append(values[name])
    return rows, curves


def measures_of_ends(measured, comparison, initialization):
    """END_MEASURES of the solutions at both ends of the lines: {name: (pairs,)} twice."""
    first, second = {}, {}
    for name in END_MEASURES:
        base = measured["solutions", "base"][name]
        changed = measured["solutions", comparison][name]
        first[name], second[name] = pair_solutions(base, changed, initialization)
    return first, second


def summarize_end(alpha_index, lines, end_measures, options, comparison, settings):
    """Columns for one end of the lines: its training, and what was measured there.

    alpha_index is AT_0 or AT_1, lines are what measure_line returns for all of them, end_measures
    are END_MEASURES {name: (pairs,)} of the solutions there, and options are those of the end's
    training. The sampled unit is the pair, see pair_solutions.
    """
    columns = {"end": options[comparison]}
    columns["updates"] = count_steps(settings.train_size, settings.epochs, options["batch_size"])
    for name in LINE_MEASURES:
        columns[f"{name}_median"] = np.median(lines[name][:, alpha_index])
    for name, values in end_measures.items():
        columns[f"{name}_median"] = np.median(values)
    curvatures = lines["curvature_at_0" if alpha_index == AT_0 else "curvature_at_1"]
    return columns | range_columns("curvature", curvatures)


def options_of_change(comparison, settings):
    """The options of the training that a comparison sets against BASE."""
    options = BASE | {comparison: CHANGES[comparison]}
    # A batch cannot be larger than the training set.
    options["batch_size"] = min(options["batch_size"], settings.train_size)
    return options


def summarize_lines(measured, comparison, changed_options, settings):
    """Sums up the lines from the solutions of the base to those of a changed training.

    Returns rows of the two ends of each kind of lines, rows of the barriers, and {initialization:
    {"train_loss": (runs, alphas), ...}}.
    """
    end_rows, barrier_rows, curves = [], [], {}
    for initialization in INITIALIZATIONS:
        lines = measured["line", comparison, initialization]
        curves[initialization] = {name: lines[name] for name in LINE_MEASURES}
        # The most by which the training loss between the ends exceeds the straight line from its
        # value at one end to that at the other.
        barriers = barrier(ALPHAS, lines["train_loss"]).numpy()
        key = {"comparison": comparison, "initialization": initialization, "pairs": len(barriers),
               **range_columns("barrier", barriers)}
        barrier_rows.append(key)

        at_0, at_1 = measures_of_ends(measured, comparison, initialization)
        end_rows.append(key | summarize_end(AT_0, lines, at_0, BASE, comparison, settings))
        end_rows.append(
            key | summarize_end(AT_1, lines, at_1, changed_options, comparison, settings))
    return end_rows, barrier_rows, curves


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    data = load_dataset(settings.dataset, settings.data_dir, settings.device)
    options_by_training = {"base": BASE}
    for comparison in CHANGES:
        options_by_training[comparison] = options_of_change(comparison, settings)
    solutions = train_all(options_by_training, data, cost_of_measuring(settings), settings)
    measured = join_groups(run_pieces(measuring_pieces(solutions, data, settings), settings))

    end_rows, barrier_rows, curves = [], [], {"alpha": ALPHAS}
    for comparison in CHANGES:
        ends, barriers, curves[comparison] = summarize_lines(
            measured, comparison, options_by_training[comparison], settings)
        end_rows += ends
        barrier_rows += barriers
    rescaling_rows, curves["rescaling"] = summarize_rescaled(measured)
    return {
        "constants": {"ALPHAS": ALPHAS, "BASE": BASE, "CHANGES": CHANGES, "SCALES": SCALES},
        "table": end_rows,
        "comparisons": barrier_rows,
        "solutions": summarize_solutions(measured, options_by_training),
        "rescaling": rescaling_rows,
        "curves": curves,
    }


# --- drawing ---


def plot(results):
    """Loss above accuracy along lines, for both comparisons; below, sharpness after rescaling."""
    comparisons = list(results["constants"]["CHANGES"])
    first = comparisons[0]
    same = find_barriers(results, first, "same")["barrier_highest"]
    different = find_barriers(results, first, "different")["barrier_lowest"]
    title = (f"Between two {first.replace('_', ' ')}s no barrier is above {same:.2g} nats from one "
             f"start, none below {different:.2g} from two")
    figure, panels = new_figure(title, results, 3, 2, height=2.8)
    for column, comparison in enumerate(comparisons):
        draw_loss(panels[0, column], results, comparison)
        draw_accuracy(panels[1, column], results, comparison)
    draw_rescaling(panels[2, 0], results, "largest_eigenvalue", "largest eigenvalue", unit="")
    draw_rescaling(panels[2, 1], results, "sharpness", "ε-sharpness", unit=" (%)")
    legend_below(figure, panels[0, 0], train_test=True)
    return figure


def find_barriers(results, comparison, initialization):
    """The stored row about the barriers of these lines, in nats."""
    return find_row(results["comparisons"], comparison=comparison, initialization=initialization)


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
    same = find_barriers(results, comparison, "same")["barrier_median"]
    different = find_barriers(results, comparison, "different")["barrier_median"]
    panel.set(yscale="log", ylabel="cross-entropy (nats)",
              title=f"{comparison_title(comparison)}: the median barrier is {same:.2g} nats\n"
                    f"from one start, {different:.2g} from two")
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
              title=f"{comparison_title(comparison)}: test accuracy falls to "
                    f"{lowest['same']:.0f}%\nfrom one start, {lowest['different']:.0f}% from two")
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
    medians = {row["scale"]: row[f"{name}_median"] for row in results["rescaling"]}
    factor = max(medians.values()) / medians[1]
    scale_names = [f"{scale:g}" if scale >= 1 else f"1/{1 / scale:g}" for scale in scales]
    panel.set(title=f"One function, rescaled: {label} up to {factor:,.0f}-fold",
              xlabel="first layer times c, second divided by c", ylabel=label + unit,
              xscale="log", yscale="log")
    panel.set_xticks(scales, scale_names)
    panel.minorticks_off()


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True)
