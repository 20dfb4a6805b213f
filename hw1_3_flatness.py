"""Flatness and generalization, part 1: what lies on the straight line between two solutions?

Two pairs of trainings, each differing in one thing: batch size 64 against 1,024, and learning rate
1e-3 against 1e-2. Loss and accuracy are measured along θ(α) = (1 − α) θ₁ + α θ₂, for pairs that
start from one initialization and for pairs that start from two. Then one solution is rescaled
without changing its function, and three measures of its sharpness are taken again: two change, one
does not. Cross-entropy bends less where a network is more confident, so every measure of flatness
stands beside the training loss, the norm of the weights and the uncertainty of the same networks,
and the test loss is given once more after one temperature has taken the over-confidence away.

    python hw1_3_flatness.py              # the report's figure
    python hw1_3_flatness.py --quick      # a tour in seconds
"""

from common.command_line import Flag, main, positive_integer
from common.data import first_images, load_dataset
from common.derivatives import (
    adaptive_sharpness,
    curvature,
    epsilon_sharpness,
    largest_eigenvalue,
    loss_at,
)
from common.evaluation import evaluate_sets, predict
from common.models import mlp
from common.parameters import barrier, interpolate, parameter_vectors, rescale, unflatten
from common.pieces import Piece, groups_of_runs, join_groups, run_pieces, to_arrays
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    TEST,
    TRAIN,
    draw_each_run,
    draw_final,
    draw_runs,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import holm, mean_ci95, p_value_of_mean, range_columns, tested_means
from common.temperature import HELD_OUT, calibrate
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
# How long it takes to measure a line, or a stack of solutions, about, where 1 is a training step of
# a stack on one image. Only the progress line and the order of the work depend on it.
LINE_COST, SOLUTIONS_COST = 60_000, 90_000
LINE_MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
# What is given beside the curvature at the ends of a line, in addition to LINE_MEASURES.
END_MEASURES = ("weight_norm", "uncertainty")
# What is stored of every solution by itself; of the others the table has median and range.
SOLUTION_MEASURES = ("train_loss", "test_loss", "calibrated_test_loss", "temperature",
                     "test_accuracy", "adaptive_sharpness")
# The measures that a rescaling is tried on.
SHARPNESS_MEASURES = ("largest_eigenvalue", "sharpness", "adaptive_sharpness")
SCALES = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)  # powers of two: a float times one of them loses no digit


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs (R) as their first dimension; P is the number of
# parameters of one network. Inputs that all runs share lack that dimension. See common/models.py.
def build_model(run_numbers, settings):
    """A stack of networks, one for each run, initialized from (seed, run number)."""
    generators = run_generators(settings.seed, run_numbers, "initialization")
    return mlp(WIDTHS, generators).to(settings.device)


def build_structure(settings):
    """A model that is never trained: it says how a vector of parameters becomes a network.

    Whoever evaluates it gives parameters in place of its own, of however many networks.
    """
    return build_model([0], settings)


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


def count_updates(options, settings):
    """The training steps of a training with the batch size of options."""
    return count_steps(settings.train_size, settings.epochs, options["batch_size"])


def train_all(options_by_training, data, later_cost, settings):
    """Trains all runs with all options {training: options}: {training: solutions (runs + 1, P)}.

    One run more than there are pairs, so that run k can also be paired with run k + 1.
    """
    pieces = {}
    for training, options in options_by_training.items():
        steps = count_updates(options, settings)
        for runs in groups_of_runs(range(settings.runs + 1), RUNS_TOGETHER):
            pieces[training, runs[0]] = Piece(
                f"training, {training}, runs {runs}", train_model, (runs, options, settings),
                steps=steps, step_cost=options["batch_size"], data=data)
    # join_groups puts the groups of runs together and takes the run out of the keys: {training: …}.
    trained = join_groups(run_pieces(pieces, settings, later_cost))
    return {training: torch.from_numpy(result["solutions"])
            for training, result in trained.items()}


def pair_solutions(base, changed, initialization):
    """The two ends of each line, (runs, ...) twice, from values (runs + 1, ...) of two trainings.

    The values are the solutions or what was measured of them. With A0, A1, ... of the base and B0,
    B1, ... of the changed training, where Ak and Bk started from the same weights and saw the
    images in the same order, the pairs are

    - same: (A0, B0), (A1, B1), ...
    - different: (A0, B1), (A1, B2), ...

    The sampled unit is the pair. No solution is in two pairs of one kind. Those of the same
    initialization are independent of each other. Those of different ones are not quite: B1 ends one
    pair, and A1, from the same initialization, begins the next.
    """
    if initialization == "same":
        return base[:-1], changed[:-1]
    return base[:-1], changed[1:]


# --- measuring ---


def measure_networks(data, networks, settings):
    """Loss and accuracy of networks (n, P) on both sets of images: {"train_loss": (n,), ...}."""
    sets = {
        "train": first_images(data, settings.train_size),
        "test": (data.test_images, data.test_labels),
    }
    model = build_structure(settings)
    return to_arrays(evaluate_sets(model, sets, unflatten(networks.to(settings.device), model)))


def measure_uncertainty(data, solutions, settings):
    """How unsure solutions (R, P) are of their own predictions, from 0 to 1/4: (R,).

    It is the mean of p (1 − p) over the training images, where p is the probability of the
    predicted class: the variance of an answer that is right with probability p. The second
    derivative of cross-entropy by the output of that class is the same p (1 − p), so that an unsure
    network has a curved loss, and a confident one a flat loss.
    """
    images, _ = first_images(data, settings.train_size)
    model = build_structure(settings)
    logits = predict(model, images, unflatten(solutions.to(settings.device), model))
    # In float64, because 1 − p is small where the network is confident.
    highest = logits.double().softmax(2).amax(2)  # (R, N)
    return (highest * (1 - highest)).mean(1)


def measure_line(data, first, second, settings):
    """measure_networks along the line between two solutions (P,), and the curvature at its ends.

    The curvature is the second derivative of the training loss by α. Returns {"train_loss": (1,
    alphas), ..., "curvature_at_0": (1,), "curvature_at_1": (1,)}.
    """
    networks = interpolate(first, second, ALPHAS)  # (alphas, P), evaluated as one stack
    values = {name: by_alpha[np.newaxis]
              for name, by_alpha in measure_networks(data, networks, settings).items()}
    images, labels = first_images(data, settings.train_size)
    # In float64, because curvature is a small difference of large sums.
    loss = loss_at(build_structure(settings), images.double(), labels, cross_entropy)
    at_0 = first.double().to(settings.device).unsqueeze(0)  # (1, P), as curvature takes stacks
    at_1 = second.double().to(settings.device).unsqueeze(0)
    values["curvature_at_0"] = curvature(loss, at_0, at_1 - at_0).cpu().numpy()
    values["curvature_at_1"] = curvature(loss, at_1, at_1 - at_0).cpu().numpy()
    return values


def measure_solutions(data, solutions, settings):
    """Measures each solution (R, P): {name: (R,)}.

    They are loss, accuracy, SHARPNESS_MEASURES, norm, uncertainty, the temperature, and the test
    loss at that temperature, the last two NaN where no image is left to fit it on.
    """
    images, labels = first_images(data, settings.train_size)
    # In float64 like curvature: sharpness is a small difference of large sums too.
    model = build_structure(settings)
    loss = loss_at(model, images[: settings.sharpness_images].double(),
                   labels[: settings.sharpness_images], cross_entropy)
    precise = solutions.double().to(settings.device)
    measured = {
        "largest_eigenvalue": largest_eigenvalue(loss, precise),
        "sharpness": epsilon_sharpness(loss, precise),
        "adaptive_sharpness": adaptive_sharpness(loss, precise),
        "weight_norm": solutions.norm(dim=1),
        "uncertainty": measure_uncertainty(data, solutions, settings),
    }
    measured |= calibrate(model, data, settings.train_size,
                          unflatten(solutions.to(settings.device), model))
    return measure_networks(data, solutions, settings) | to_arrays(measured)


def measure_rescaled(data, solutions, scale, settings):
    """Rescales solutions (R, P) and measures them: {name: (R,)}.

    The first layer is multiplied by the scale, the second layer's weights are divided by it. The
    ReLU between them lets the factor through, so that the function stays as it is, which the
    largest change of an output confirms.
    """
    model = build_structure(settings)
    solutions = solutions.to(settings.device)
    rescaled = rescale(solutions, model, scale)
    outputs_before = predict(model, data.test_images, unflatten(solutions, model))
    outputs_after = predict(model, data.test_images, unflatten(rescaled, model))
    values = measure_solutions(data, rescaled, settings)
    changes = (outputs_after - outputs_before).abs()  # (R, images, classes)
    values["output_change"] = changes.amax((1, 2)).cpu().numpy()
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
                # A row of a tensor shares the tensor's memory. Sent to another process, it would
                # take all rows with it; a copy of the row, made by clone, does not.
                pieces["line", comparison, initialization, run_number] = Piece(
                    f"line, {comparison}, {initialization} initialization, run {run_number}",
                    measure_line, (first.clone(), second.clone(), settings),
                    steps=1, step_cost=LINE_COST, data=data)
    for training, of_training in solutions.items():
        for runs in groups_of_runs(range(settings.runs + 1), RUNS_TOGETHER):
            pieces["solutions", training, runs[0]] = Piece(
                f"solutions, {training}, runs {runs}", measure_solutions,
                (of_training[runs], settings), steps=1, step_cost=SOLUTIONS_COST, data=data)
    for scale in SCALES:
        for runs in groups_of_runs(range(settings.runs), RUNS_TOGETHER):
            pieces["scale", scale, runs[0]] = Piece(
                f"layers rescaled by {scale}, runs {runs}", measure_rescaled,
                (solutions["base"][runs], scale, settings),
                steps=1, step_cost=SOLUTIONS_COST, data=data)
    return pieces


def cost_of_measuring(settings):
    """What all measuring_pieces will cost; needed before there are solutions to make them of."""
    lines = len(CHANGES) * len(INITIALIZATIONS) * settings.runs
    trainings = 1 + len(CHANGES)  # the base is one of them
    stacks = trainings * len(groups_of_runs(range(settings.runs + 1), RUNS_TOGETHER))
    stacks += len(SCALES) * len(groups_of_runs(range(settings.runs), RUNS_TOGETHER))
    return lines * LINE_COST + stacks * SOLUTIONS_COST


# --- summing up ---


# "measured" are the results of measuring_pieces after join_groups, which puts all runs together and
# takes the run out of the keys: ("line", comparison, initialization), ("solutions", training) and
# ("scale", scale).


def summarize_values(values):
    """Columns: median, lowest and highest of all values {name: (runs,)}, none of them negative.

    All three are None for what could not be measured.
    """
    columns = {}
    for name, of_runs in values.items():
        columns_of_name = range_columns(name, of_runs)
        if np.isnan(of_runs).any():
            columns_of_name = dict.fromkeys(columns_of_name)  # the same columns, all None
        columns |= columns_of_name
    return columns


def summarize_solutions(measured, options_by_training, settings):
    """Rows: all measures of the solutions of every training; the sampled unit is the run.

    Returns also {training: {name: (runs,)}} of SOLUTION_MEASURES, None in the place of what could
    not be measured, such as the temperature where no image is left to fit it on.
    """
    rows, curves = [], {}
    for training, options in options_by_training.items():
        values = measured["solutions", training]
        rows.append({
            **options,
            "updates": count_updates(options, settings),
            "runs": len(values["train_loss"]),
            **summarize_values(values),
        })
        curves[training] = {}
        for name in SOLUTION_MEASURES:
            is_unknown = np.isnan(values[name]).any()
            curves[training][name] = None if is_unknown else values[name]
    return rows, curves


def summarize_rescaled(measured):
    """A row for each of SCALES, and {measure: (scales, runs)} of SHARPNESS_MEASURES.

    The sampled unit is the run: a solution of the base, the same ones at every scale.
    """
    rows, curves = [], {name: [] for name in SHARPNESS_MEASURES}
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
    columns = {"end": options[comparison], "updates": count_updates(options, settings)}
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
        barrier_row = {"comparison": comparison, "initialization": initialization,
                       "pairs": len(barriers), **range_columns("barrier", barriers)}
        barrier_rows.append(barrier_row)

        at_0, at_1 = measures_of_ends(measured, comparison, initialization)
        end_rows.append(
            barrier_row | summarize_end(AT_0, lines, at_0, BASE, comparison, settings))
        end_rows.append(
            barrier_row | summarize_end(AT_1, lines, at_1, changed_options, comparison, settings))
    return end_rows, barrier_rows, curves


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    # HELD_OUT images more than the training takes: on those the temperatures are fitted.
    data = load_dataset(settings.dataset, settings.data_dir, settings.device,
                        settings.train_size + HELD_OUT)
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
    solution_rows, curves["solutions"] = summarize_solutions(measured, options_by_training,
                                                             settings)
    rescaling_rows, curves["rescaling"] = summarize_rescaled(measured)
    return {
        "constants": {"WIDTHS": WIDTHS, "ALPHAS": ALPHAS, "BASE": BASE, "CHANGES": CHANGES,
                      "SCALES": SCALES},
        "table": end_rows,
        "comparisons": barrier_rows,
        "solutions": solution_rows,
        "rescaling": rescaling_rows,
        "curves": curves,
    }


def collect_facts(results):
    """What figure and report say: losses and barriers in nats, accuracies as fractions.

    "batch_size" and "learning_rate" are the two comparisons; "base" and again "batch_size" and
    "learning_rate" are the three trainings, each named after what it changes. "value" is a median,
    "low" and "high" are the lowest and the highest of all pairs or runs. The p-values are corrected
    for the number of comparisons, two, by Holm's method (1979). "minima" are the solutions of the
    three trainings.
    """
    changes = results["constants"]["CHANGES"]
    differences = {name: barrier_differences(results["curves"], name) for name in changes}
    p_values = holm([p_value_of_mean(values) for values in differences.values()])
    facts = {}
    for (name, values), p_value in zip(differences.items(), p_values):
        difference, half_width = mean_ci95(values)
        base_row, changed_row = ends_of_lines(results, name)
        facts[name] = {
            "base_end": base_row["end"],
            "changed_end": changed_row["end"],
            "base_updates": base_row["updates"],
            "base_train_loss": base_row["train_loss_median"],
            "changed_updates": changed_row["updates"],
            "changed_train_loss": changed_row["train_loss_median"],
            "same_start_barrier": range_of(find_barriers(results, name, "same"), "barrier"),
            "different_starts_barrier": range_of(find_barriers(results, name, "different"),
                                                 "barrier"),
            "difference": {"value": difference, "ci95": half_width},
            "p_value": p_value,
        }
    columns = ("train_loss", "test_loss", "calibrated_test_loss", "temperature", "test_accuracy",
               "largest_eigenvalue", "adaptive_sharpness", "uncertainty")
    solutions = {}
    for training, row in zip(("base", *changes), results["solutions"]):
        solutions[training] = {column: range_of(row, column) for column in columns}
        solutions[training]["updates"] = row["updates"]
    facts["minima"] = solutions
    facts["flattest"] = flattest_training(solutions)
    facts["excess_of_learning_rate"] = excesses_of_training(
        results["curves"]["solutions"], "learning_rate",
        ("test_loss", "calibrated_test_loss", "test_accuracy"))
    facts["rescaling"] = rescaling_facts(results)
    return facts


def flattest_training(solutions):
    """The training whose adaptive sharpness is lower in every run than in any run of the others.

    solutions are the facts named "minima". None where no training's is.
    """
    for training, solution in solutions.items():
        lowest_of_others = min(other["adaptive_sharpness"]["low"]
                               for name, other in solutions.items() if name != training)
        if solution["adaptive_sharpness"]["high"] < lowest_of_others:
            return training
    return None


def excesses_of_training(of_trainings, training, names):
    """Measures of the solutions of a training minus those of the base: facts, see tested_means.

    of_trainings are {training: {name: (runs,) or None}}. The unit is the run: run k of both starts
    from the same weights, so that the difference is taken in each run.
    """
    differences = {}
    for name in names:
        changed, base = of_trainings[training][name], of_trainings["base"][name]
        differences[name] = None if changed is None else np.array(changed) - base
    return tested_means(differences)


def rescaling_facts(results):
    """What rescaling does to the measures of sharpness of the solutions.

    - "..._before" and "..._after" are medians over the solutions, as trained and at the smallest
      scale. A smaller scale yet would make the first two measures as large as one likes.
    - "eigenvalue_factor": by how much the smallest scale multiplies a solution's largest
      eigenvalue, the median over the solutions.
    - "lowest_sharpness_factor": the same of ε-sharpness, at the scale where this median is lowest,
      "lowest_sharpness_scale". Below 1 it says that sharpness can fall as well.
    - "largest_change_of_adaptive_sharpness" is the largest of any solution at any scale, as a
      fraction; "largest_output_change" that of any output at the smallest scale.
    """
    scales = results["constants"]["SCALES"]
    smallest = find_row(results["rescaling"], scale=min(scales))
    as_trained = find_row(results["rescaling"], scale=1)
    relative = relative_to_scale_1(results)
    sharpness_factors = np.median(relative["sharpness"], axis=1)  # (scales,)
    return {
        "divided_by": 1 / smallest["scale"],
        "eigenvalue_before": as_trained["largest_eigenvalue_median"],
        "eigenvalue_after": smallest["largest_eigenvalue_median"],
        "eigenvalue_factor": np.median(relative["largest_eigenvalue"][scales.index(min(scales))]),
        "sharpness_before": as_trained["sharpness_median"],
        "sharpness_after": smallest["sharpness_median"],
        "lowest_sharpness_factor": sharpness_factors.min(),
        "lowest_sharpness_scale": scales[sharpness_factors.argmin()],
        "adaptive_sharpness": as_trained["adaptive_sharpness_median"],
        "largest_change_of_adaptive_sharpness": abs(relative["adaptive_sharpness"] - 1).max(),
        "largest_output_change": smallest["largest_output_change"],
    }


def relative_to_scale_1(results):
    """Measures of sharpness, each solution's divided by its own at scale 1.

    Returns {measure: (scales, runs)}.
    """
    place_of_1 = results["constants"]["SCALES"].index(1)
    relative = {}
    for measure, of_scales in results["curves"]["rescaling"].items():
        by_scale = np.array(of_scales)
        relative[measure] = by_scale / by_scale[place_of_1]
    return relative


def barrier_differences(curves, comparison):
    """Barriers of the lines from different starts minus those from the same start: (pairs,).

    The unit is the pair: difference k is of the lines from Ak to Bk+1 and from Ak to Bk, in the
    letters of pair_solutions. Neighbours are not independent: B1 is part of differences 0 and 1,
    and A1, from the same initialization, of difference 1. The t-tests and t-intervals made of them
    take them as independent, which would make them too sure of themselves if neighbours rose and
    fell together. As differences further apart share nothing, neighbours correlate by 1/2 at most;
    an interval of five would then have to be 1.5 times as wide.
    """
    barriers = {}
    for initialization, values in curves[comparison].items():
        train_losses = torch.tensor(values["train_loss"])
        barriers[initialization] = barrier(torch.tensor(curves["alpha"]), train_losses).numpy()
    return barriers["different"] - barriers["same"]


def range_of(row, name):
    """Median, lowest and highest of a stored row, as a fact."""
    return {"value": row[f"{name}_median"], "low": row[f"{name}_lowest"],
            "high": row[f"{name}_highest"]}


def find_barriers(results, comparison, initialization):
    """The stored row about the barriers of these lines, in nats."""
    return find_row(results["comparisons"], comparison=comparison, initialization=initialization)


def ends_of_lines(results, comparison):
    """The stored rows of both ends of the lines of a comparison: that of α = 0, that of α = 1.

    They are those of the lines from the same start. Those from different starts lie between
    solutions of the same trainings.
    """
    at_0, at_1 = [row for row in results["table"] if row["comparison"] == comparison
                  and row["initialization"] == "same"]
    return at_0, at_1


# --- drawing ---

# A barrier from the same start counts as none below this fraction of the lowest from different
# starts.
NO_BARRIER = 0.1
# A sharpness counts as unchanged below this relative change: rounding in float64 is far smaller,
# what a scale changes far larger.
NO_CHANGE = 1e-6
RISE = 2  # the factor from which on a sharpness counts as risen
START_LABELS = {"same": "same start", "different": "different starts"}
MEASURE_LABELS = {"largest_eigenvalue": "largest eigenvalue", "sharpness": "ε-sharpness",
                  "adaptive_sharpness": "adaptive sharpness"}
OPTION_LABELS = {"batch_size": "batch", "learning_rate": "rate"}


def plot(results):
    """Loss along the lines; below, the rescaling, and test loss against sharpness."""
    facts, comparisons = results["facts"], list(results["constants"]["CHANGES"])
    figure, panels = new_figure(figure_title(facts, comparisons), results, 2, 2, height=3.4,
                                unit="pair", height_ratios=(1.25, 1))
    for panel, comparison in zip(panels[0], comparisons):
        draw_lines(panel, results, comparison, "loss")
        panel.set(title=loss_title(facts, comparison), ylabel="cross-entropy (nats)",
                  ylim=(0, 1.3 * highest_between_ends(results)))
        panel.text(0.5, 0.98, "higher losses\nare cut off", transform=panel.transAxes, ha="center",
                   va="top", fontsize=8, color="#555555")
    draw_rescaling(panels[1, 0], results)
    draw_solutions(panels[1, 1], results)
    legend_below(figure, panels[0, 0], panels[1, 1], columns=6, train_test=True)
    return figure


def figure_title(facts, comparisons):
    """Between which solutions there is a barrier, in words."""
    without_barrier = [f"two {name.replace('_', ' ')}s" for name in comparisons
                       if is_one_valley(facts[name])]
    if not without_barrier:
        return "Barriers from the same start are not far below those from different starts"
    subject = " and ".join(without_barrier)
    return (f"{subject[0].upper()}{subject[1:]}, same start: no loss barrier. "
            "Different starts: a barrier")


def is_one_valley(comparison):
    """Whether no pair of solutions from the same start has a barrier between them."""
    return comparison["same_start_barrier"]["high"] < smallest_barrier(comparison)


def smallest_barrier(comparison):
    """What a barrier from the same start must reach to count as one (nats), by NO_BARRIER."""
    return NO_BARRIER * comparison["different_starts_barrier"]["low"]


def loss_title(facts, comparison):
    """Whether there is a barrier from the same start, in words, where all pairs agree."""
    name = comparison.replace("_", " ")
    if is_one_valley(facts[comparison]):
        return f"Two {name}s: no barrier from the same start"
    if facts[comparison]["same_start_barrier"]["low"] > smallest_barrier(facts[comparison]):
        return f"Two {name}s: a barrier even from the same start"
    return f"Two {name}s: from the same start some barriers"


def highest_between_ends(results):
    """The highest loss on all lines between their ends, in nats."""
    alphas = np.array(results["curves"]["alpha"])
    between = (alphas >= 0) & (alphas <= 1)
    highest = 0.0
    for comparison in results["constants"]["CHANGES"]:
        for lines in results["curves"][comparison].values():
            for name in ("train_loss", "test_loss"):
                highest = max(highest, np.array(lines[name])[:, between].max())
    return highest


def draw_lines(panel, results, comparison, measure, factor=1):
    """A measure along all lines, times a factor: training dashed, test solid."""
    curves, facts = results["curves"], results["facts"][comparison]
    for (initialization, label), color, marker in zip(START_LABELS.items(), COLORS, MARKERS):
        values = curves[comparison][initialization]
        for name, style, shown_label in (("train", TRAIN, None), ("test", TEST, label)):
            of_lines = factor * np.array(values[f"{name}_{measure}"])
            draw_each_run(panel, curves["alpha"], of_lines, color, style, shown_label, marker)
    for alpha in (0, 1):
        panel.axvline(alpha, color=GREY, linewidth=1)
    name = OPTION_LABELS[comparison]
    panel.set(xlabel="position α on the line", xlim=(-1.05, 2.05))
    panel.set_xticks([-1, 0, 1, 2], ["−1", f"0\n{name} {facts['base_end']:,}",
                                     f"1\n{name} {facts['changed_end']:,}", "2"])


def draw_rescaling(panel, results):
    """Every measure of sharpness against the scale of a layer, as a multiple of its own at scale 1.
    """
    scales = results["constants"]["SCALES"]
    relative = relative_to_scale_1(results)
    looks = zip(MEASURE_LABELS.items(), COLORS[2:], MARKERS[2:])
    for (measure, label), color, marker in looks:
        by_run = relative[measure].T  # (runs, scales)
        draw_runs(panel, scales, by_run, color, marker=marker)
        panel.annotate(label, (scales[-1], np.median(by_run[:, -1])), (7, 0), color=color,
                       textcoords="offset points", va="center")
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set(title=rescaling_title(results["facts"]["rescaling"]),
              xlim=(0.7 * scales[0], 40 * scales[-1]),  # with room for the names on the right
              xlabel="factor (first layer × factor, second layer ÷ factor)",
              ylabel="sharpness / its value at factor 1")
    panel.set_xticks(scales, [f"1/{1 / scale:g}" if scale < 1 else f"{scale:g}"
                              for scale in scales])


def rescaling_title(facts):
    """Which measures follow the scale of the weights, in words."""
    eigenvalue_rises = facts["eigenvalue_after"] > RISE * facts["eigenvalue_before"]
    sharpness_rises = facts["sharpness_after"] > RISE * facts["sharpness_before"]
    adaptive_sharpness_stays = facts["largest_change_of_adaptive_sharpness"] < NO_CHANGE
    if not (eigenvalue_rises and sharpness_rises and adaptive_sharpness_stays):
        return "Sharpness of a rescaled network"
    sharpness_falls_too = facts["lowest_sharpness_factor"] < 1 - NO_CHANGE
    changes = "rises or falls" if sharpness_falls_too else "rises"
    return f"Same outputs, layers rescaled: sharpness {changes},\nonly adaptive sharpness stays"


def draw_solutions(panel, results):
    """The test loss of every solution against its adaptive sharpness, before and after temperature.
    """
    of_trainings = list(results["curves"]["solutions"].values())
    # Notes stand above and below the solutions in turn, so that those of neighbours do not meet.
    from_flat_to_sharp = np.argsort([np.median(values["adaptive_sharpness"])
                                     for values in of_trainings])
    for turn, place in enumerate(from_flat_to_sharp):
        row, values = results["solutions"][place], of_trainings[place]
        sharpness, as_trained = values["adaptive_sharpness"], values["test_loss"]
        calibrated = values["calibrated_test_loss"] or []  # none where no image was left to fit on
        panel.plot(sharpness, as_trained, "o", color="black", markersize=4, label="as trained")
        if calibrated:
            panel.vlines(sharpness, calibrated, as_trained, color="black", linewidth=0.8)
            panel.plot(sharpness, calibrated, "_", color="black", markersize=8,
                       label="after one temperature")
        note = (f"batch {row['batch_size']:,}, rate {row['learning_rate']:g},\n"
                f"training loss {row['train_loss_median']:.2g}")
        losses = [*as_trained, *calibrated]
        if turn % 2 == 0:
            height, points_away, alignment = max(losses), 7, "bottom"
        else:
            height, points_away, alignment = min(losses), -7, "top"
        panel.annotate(note, (np.median(sharpness), height), (0, points_away),
                       textcoords="offset points", ha="center", va=alignment, fontsize=8)
    panel.set(title=solutions_title(results["facts"]), xlabel="adaptive sharpness (%)",
              ylabel="test loss (nats)", xscale="log")
    panel.margins(x=0.3, y=0.25)  # room for the notes
    panel.xaxis.set_major_formatter("{x:g}")


def solutions_title(facts):
    """Whether the flattest solutions lose more in the test, and how much of that is confidence.

    It is mostly confidence where a temperature takes more than half of the excess away. An excess
    counts where its interval says so.
    """
    low_before, _ = ends_of_interval(facts["excess_of_learning_rate"]["test_loss"])
    low_after, high_after = ends_of_interval(
        facts["excess_of_learning_rate"]["calibrated_test_loss"])
    if facts["flattest"] == "learning_rate" and low_before > 0:
        if high_after < 0:
            return "The flattest solution has a higher test loss,\na lower one after a temperature"
        if high_after < low_before / 2:
            return "The flattest solution's high test loss\nis mostly confidence"
        if low_after > 0:
            return "The flattest solution has a higher test loss,\nalso after a temperature"
    return "Test loss and sharpness of three solutions"


def ends_of_interval(difference):
    """Low and high end of a stored difference's interval, both NaN where there is none.

    No comparison with NaN holds.
    """
    if difference["ci95"] is None:
        return np.nan, np.nan
    return difference["value"] - difference["ci95"], difference["value"] + difference["ci95"]


def plot_details(results):
    """All losses and accuracies along the lines, and what the three solutions are like."""
    figure, panels = new_figure("The lines in full, and the solutions at their ends", results, 2, 3,
                                unit="pair")
    for column, comparison in enumerate(results["constants"]["CHANGES"]):
        loss_panel, accuracy_panel = panels[:, column]
        draw_lines(loss_panel, results, comparison, "loss")
        draw_lines(accuracy_panel, results, comparison, "accuracy", factor=100)
        name = comparison.replace("_", " ")
        loss_panel.set(title=f"Loss between two {name}s", ylabel="cross-entropy (nats)",
                       yscale="log")
        accuracy_panel.set(title=f"Accuracy between two {name}s", ylabel="accuracy (%)",
                           ylim=(0, 102))
    draw_training_losses(panels[0, 2], results)
    draw_temperatures(panels[1, 2], results)
    legend_below(figure, panels[0, 0], train_test=True)
    return figure


def draw_training_losses(panel, results):
    """Training loss, hollow, and test loss of every solution."""
    for place, values in enumerate(results["curves"]["solutions"].values()):
        draw_final(panel, place, values["train_loss"], np.median, "black", "o", TRAIN)
        draw_final(panel, place, values["test_loss"], np.median, "black", "o")
    panel.set(title=training_losses_title(results["facts"]["minima"]), yscale="log",
              ylabel="cross-entropy (nats)")
    name_solutions(panel, results)


def training_losses_title(minima):
    """How far the solutions' training losses lie apart, in words."""
    losses = [solution["train_loss"]["value"] for solution in minima.values()]
    return f"Training losses differ {max(losses) / min(losses):,.0f}-fold"


def draw_temperatures(panel, results):
    """The temperature of every solution for which one could be fitted."""
    for place, values in enumerate(results["curves"]["solutions"].values()):
        if values["temperature"] is not None:
            draw_final(panel, place, values["temperature"], np.median, "black", "o")
    panel.axhline(1, color=GREY, linewidth=1)
    panel.set(title="Above 1: over-confident", ylabel="temperature")
    name_solutions(panel, results)


def name_solutions(panel, results):
    """Batch size and learning rate of every solution below its place on the x axis."""
    labels = []
    for row in results["solutions"]:
        labels.append(f"batch {row['batch_size']:,}\nrate {row['learning_rate']:g}")
    panel.set_xticks(range(len(labels)), labels)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts, uses_images=True)
