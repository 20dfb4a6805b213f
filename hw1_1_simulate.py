"""Deep or shallow: which fits a one-dimensional function better with the same number of parameters?

Four ReLU networks of about 571 parameters and 1 to 7 hidden layers are trained on sinc and on a
square wave, many runs each. Each of them gets the learning rate that suits it best on runs kept
apart for that choice. Beside what training finds stands what the networks can represent: straight
lines between the training points, and the best output weights for hinges that stay where they are.

The third function, a tent map of 256 straight pieces, tells the two apart: one hidden layer cannot
represent it, all deeper networks can, with weights set by hand. The networks of an earlier report,
which differ in size, are trained on the first two functions.

    python hw1_1_simulate.py              # the report's figure
    python hw1_1_simulate.py --quick      # a tour in seconds
"""

from itertools import product
from math import ceil

from common.command_line import Flag, main, positive_integer
from common.data import TENT_COMPOSITIONS, grid, sinc, square_wave, tent_map
from common.evaluation import predict
from common.models import StackedLinear, mlp, mlp_widths, parameter_count
from common.pieces import Piece, groups_of_runs, join_groups, run_pieces, total_cost
from common.plotting import (
    COLORS,
    GREY,
    MARKERS,
    TEST,
    TRAIN,
    draw_final,
    find_row,
    legend_below,
    new_figure,
)
from common.statistics import (
    as_interval,
    compare_errors,
    interval_columns,
    is_significant,
    quartile_columns,
    ratio_columns,
)
from common.training import mean_squared_error, run_generators, stacked_runs, train

import numpy as np
import scipy
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 10, quick=3, help="reported runs of each network"),
    "epochs": Flag(positive_integer, 20_000, quick=300, help="epochs, one step on all points each"),
    "points": Flag(positive_integer, 128, quick=128,
                   help="training points of sinc and square wave, evenly spaced on [0, 1]"),
}
FUNCTIONS = {"sinc": sinc, "square wave": square_wave, "tent map": tent_map}
QUESTION_FUNCTIONS = ("sinc", "square wave")  # which the question names
PARAMETERS = 571  # of every network, to within 1 %
DEPTHS = (1, 2, 4, 7)  # hidden layers
LEARNING_RATES = (3e-3, 1e-2, 3e-2, 1e-1)  # of Adam; the best is chosen for each depth and function
# The learning rate is chosen on shorter selection runs, none of which is reported: run k draws its
# random numbers from (seed, k), and selection runs are numbered from FIRST_SELECTION_RUN on.
SELECTION_RUNS = 10
FIRST_SELECTION_RUN = 1_000_000
# Of the epochs of a reported run. With an eighth, deep networks got rates that suit the beginning
# of a training, and fell behind on a triangle wave of eight teeth.
SELECTION_FRACTION = 1 / 4
# Of the epochs on the other functions. With all 20,000 the networks hardly came nearer to the tent
# map: in 30 trial runs the lowest error was 97 % of that of the best constant.
TENT_FRACTION = 1 / 8
TEST_POINTS = 2_000
CURVE_STEP = 5  # every fifth test point is stored and drawn
RECORDS = 100  # times that the error is recorded in a training, about
# Outputs near 1 are rounded by 6e-8 in float32, so that training errors below 1e-14 cannot be told
# apart. They are set to it.
SMALLEST_MSE = 1e-14
RUNS_TOGETHER = 10  # of each function, in one stack
# What a training step costs is about proportional to the hidden units of all networks in the stack,
# and never less than what this many units cost.
SMALLEST_STEP_COST = 600

# An earlier report compared these networks and called them equal in size. By the parameter counts
# that it gives, "4 layers" means three hidden layers and the output layer, and so on. It gives no
# learning rate; Adam's default is taken. Their results are in the report, but not in the figure.
EARLIER_REPORT = {
    "2 layers of 60": [1, 60, 1],
    "4 layers of 30": [1, 30, 30, 30, 1],
    "6 layers of 20": [1, 20, 20, 20, 20, 20, 1],
    "8 layers of 15": [1, 15, 15, 15, 15, 15, 15, 15, 1],
}
EARLIER_LEARNING_RATE = 1e-3
EARLIER_FRACTION = 1 / 10  # of the epochs of a reported run


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs as their first dimension; inputs that all runs share
# lack that dimension. See common/models.py.
def build_model(widths, function_names, run_numbers, settings):
    """A stack of networks: all runs for the first function, then all runs for the second, ..."""
    # Run k starts from the same weights on every function.
    _, stacked_numbers = stacked_runs(function_names, run_numbers)
    generators = run_generators(settings.seed, stacked_numbers, "initialization")
    return mlp(widths, generators).to(settings.device)


def set_tent_map_by_hand(depth):
    """A network of the reported size that equals tent_map on [0, 1], without any training.

    Returns a stack of one, float64. Each hidden layer takes on some of the compositions. The tent
    map composed n times is a sum of 2ⁿ ReLUs with hinges at j / 2ⁿ: its slope is 2ⁿ at first, and
    changes by 2ⁿ⁺¹ at every other hinge, down and up in turn. All other units stay zero.
    """
    model = mlp(mlp_widths(depth, PARAMETERS), [torch.Generator()]).double()
    *hidden_layers, output_layer = [layer for layer in model if isinstance(layer, StackedLinear)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        slopes = torch.ones(1)  # by which units of the layer before enter the sum, at first x alone
        for number, layer in enumerate(hidden_layers):
            compositions = (TENT_COMPOSITIONS + number) // depth  # add up to TENT_COMPOSITIONS
            units = 2**compositions
            layer.weight[0, :units, : len(slopes)] = slopes
            layer.bias[0, :units, 0] = -torch.arange(units) / units
            slopes = 2 * units * (-1.0) ** torch.arange(units)
            slopes[0] = units
        output_layer.weight[0, 0, : len(slopes)] = slopes
    return model


# --- training ---


def training_points(function_name, settings, dtype=torch.float32):
    """The points of [0, 1] at which a function is learned, and its values there: (points, 1) each.

    The tent map has the ends of its straight pieces, where it is 0 and 1 in turn: the fewest points
    that show every piece.
    """
    if function_name == "tent map":
        pieces = 2**TENT_COMPOSITIONS
        x = (torch.arange(pieces + 1, dtype=dtype) / pieces).unsqueeze(1)
    else:
        x = grid(settings.points, dtype=dtype)
    return x, FUNCTIONS[function_name](x)


def reported_epochs(function_name, settings):
    """The epochs for which the reported networks learn a function."""
    if function_name == "tent map":
        return max(round(TENT_FRACTION * settings.epochs), 1)
    return settings.epochs


def record_interval(epochs):
    """The number of epochs between two records."""
    return max(epochs // RECORDS, 1)


def recorded_epochs(epochs):
    """The epochs at which train calls record: 0, then one in every interval, and the last one."""
    every_interval = set(range(0, epochs + 1, record_interval(epochs)))
    return sorted(every_interval | {epochs})


def train_model(widths, function_names, run_numbers, learning_rate, epochs, settings):
    """Trains one architecture on functions with equal points, with one run for each of run_numbers.

    Returns {"errors": training errors (runs, functions, records), "outputs": those at the test
    points (runs, functions, TEST_POINTS)}.
    """
    model = build_model(widths, function_names, run_numbers, settings)
    targets = []
    for name in function_names:
        x, y = training_points(name, settings)  # (points, 1) each
        targets.append(y.expand(len(run_numbers), -1, -1))  # (runs, points, 1)
    x = x.to(settings.device)  # shared by all networks
    # (functions · runs, points, 1): each network has its own.
    targets = torch.cat(targets).to(settings.device)
    errors = []

    @torch.no_grad()
    def record(epoch):  # train calls it at the recorded_epochs
        # A first dimension of 1 stands for inputs that all networks share; train adds it by itself.
        outputs = model(x.unsqueeze(0))  # (functions · runs, points, 1)
        errors.append(mean_squared_error(outputs, targets))  # one for each network

    train(model, x, targets, mean_squared_error, epochs=epochs, learning_rate=learning_rate,
          record=record, record_every=record_interval(epochs))
    errors = torch.stack(errors, dim=1).clamp(min=SMALLEST_MSE)  # (functions · runs, records)
    outputs = predict(model, grid(TEST_POINTS, settings.device))
    shape = len(function_names), len(run_numbers), -1
    return {"errors": errors.cpu().numpy().reshape(shape).swapaxes(0, 1),
            "outputs": outputs.cpu().numpy().reshape(shape).swapaxes(0, 1)}


def make_piece(name, widths, function_names, run_numbers, learning_rate, epochs, settings):
    """A call of train_model as a piece of work."""
    networks = len(function_names) * len(run_numbers)
    hidden_units = sum(widths[1:-1])
    step_cost = networks * hidden_units + SMALLEST_STEP_COST
    name = (f"{name}, {', '.join(function_names)}, learning rate {learning_rate}, runs "
            f"{run_numbers[0]} to {run_numbers[-1]}")
    arguments = widths, function_names, run_numbers, learning_rate, epochs, settings
    return Piece(name, train_model, arguments, epochs, step_cost)


def group_functions(depth, function_names):
    """The functions that networks of one depth are trained on in one stack: a list of lists.

    Networks of one hidden layer are wide, and gain nothing from a larger stack. The tent map has
    training points of its own.
    """
    alone = [name for name in function_names if depth == 1 or name == "tent map"]
    together = [name for name in function_names if name not in alone]
    groups = [[name] for name in alone]
    return [together, *groups] if together else groups


def selection_pieces(settings):
    """The trainings that choose learning rates.

    Returns {("selection", depth, rate, functions, first run): Piece}.
    """
    runs = min(SELECTION_RUNS, settings.runs)
    run_numbers = range(FIRST_SELECTION_RUN, FIRST_SELECTION_RUN + runs)
    pieces = {}
    for depth in DEPTHS:
        for names in group_functions(depth, FUNCTIONS):
            epochs = max(round(SELECTION_FRACTION * reported_epochs(names[0], settings)), 1)
            for learning_rate in LEARNING_RATES:
                key = "selection", depth, learning_rate, tuple(names), FIRST_SELECTION_RUN
                pieces[key] = make_piece(f"selection, {depth} hidden",
                                         mlp_widths(depth, PARAMETERS), names, run_numbers,
                                         learning_rate, epochs, settings)
    return pieces


def earlier_epochs(settings):
    """The epochs for which the networks of the earlier report are trained."""
    return max(round(EARLIER_FRACTION * settings.epochs), 1)


def earlier_pieces(settings):
    """The trainings of the earlier report's networks.

    Returns {("earlier", model, rate, functions, first run): Piece}.
    """
    pieces = {}
    for model, widths in EARLIER_REPORT.items():
        for runs in groups_of_runs(range(settings.runs), RUNS_TOGETHER):
            key = "earlier", model, EARLIER_LEARNING_RATE, QUESTION_FUNCTIONS, runs[0]
            pieces[key] = make_piece(model, widths, QUESTION_FUNCTIONS, runs, EARLIER_LEARNING_RATE,
                                     earlier_epochs(settings), settings)
    return pieces


def reported_pieces(learning_rates, settings):
    """The reported trainings: {("reported", depth, rate, functions, first run): Piece}.

    learning_rates are {(depth, function): rate}. Functions whose rate is the same may be trained
    together.
    """
    pieces = {}
    for depth in DEPTHS:
        for learning_rate in LEARNING_RATES:
            same_rate = [name for name in FUNCTIONS if learning_rates[depth, name] == learning_rate]
            for names in group_functions(depth, same_rate):
                for runs in groups_of_runs(range(settings.runs), RUNS_TOGETHER):
                    key = "reported", depth, learning_rate, tuple(names), runs[0]
                    pieces[key] = make_piece(f"{depth} hidden", mlp_widths(depth, PARAMETERS),
                                             names, runs, learning_rate,
                                             reported_epochs(names[0], settings), settings)
    return pieces


def train_pieces(pieces, settings, later_cost=0):
    """Runs the trainings {(kind, network, rate, functions, first run): Piece}.

    Returns {(kind, network, rate, function): {"errors": (runs, records), "outputs": (runs,
    TEST_POINTS)}}: each function by itself, all its runs together. For later_cost see run_pieces.
    """
    trained = {}
    for (*network, names), result in join_groups(run_pieces(pieces, settings, later_cost)).items():
        for position, name in enumerate(names):
            trained[(*network, name)] = {"errors": result["errors"][:, position],
                                         "outputs": result["outputs"][:, position]}
    return trained


def choose_learning_rates(trained):
    """The best learning rate of each depth for each function: {(depth, function): rate}.

    It has the lowest third quartile of the error over the selection runs. The quartile rather than
    the median, because a rate at which half of the runs excel and half collapse is no good choice.
    trained is what train_pieces returns for selection_pieces.
    """
    best = {}
    for depth in DEPTHS:
        for name in FUNCTIONS:
            third_quartiles = {}
            for rate in LEARNING_RATES:
                errors = trained["selection", depth, rate, name]["errors"]  # (runs, records)
                third_quartiles[rate] = np.quantile(errors[:, -1], 0.75)
            best[depth, name] = min(third_quartiles, key=third_quartiles.get)
    return best


def train_all(settings):
    """The learning rates {(depth, function): rate}, and what train_pieces gives for all pieces."""
    # Which functions share a stack is known only later, and makes little difference.
    usual_rates = dict.fromkeys(product(DEPTHS, FUNCTIONS), LEARNING_RATES[0])
    later_cost = total_cost(reported_pieces(usual_rates, settings))
    first_pieces = selection_pieces(settings) | earlier_pieces(settings)
    first_trained = train_pieces(first_pieces, settings, later_cost)
    learning_rates = choose_learning_rates(first_trained)
    reported = train_pieces(reported_pieces(learning_rates, settings), settings)
    return learning_rates, first_trained | reported


# --- measuring: what networks can represent, without training and in float64 ---


def test_points():
    """The points at which all functions are tested, (TEST_POINTS, 1), float64."""
    return grid(TEST_POINTS, dtype=torch.float64)


def true_values(function_name):
    """A function at the test points: (TEST_POINTS,)."""
    return FUNCTIONS[function_name](test_points()).squeeze(1).numpy()


def connect_the_dots(settings):
    """Rows: the test error of straight lines between the training points, for each function.

    A network of one hidden layer with as many hinges as points is just such a function: it fits
    every training point, and no training is needed to find it.
    """
    test_x = test_points().squeeze(1).numpy()
    rows = []
    for name in FUNCTIONS:
        x, y = training_points(name, settings, torch.float64)
        outputs = np.interp(test_x, x.squeeze(1).numpy(), y.squeeze(1).numpy())
        rows.append({"function": name, "points": len(x),
                     "test_mse": ((outputs - true_values(name)) ** 2).mean()})
    return rows


def hinge_features(x, hinges):
    """The hidden layer of a network whose hinges divide [0, 1] evenly, and a column of ones.

    x is (points,), what is returned (points, hinges + 1): relu(x − j / hinges) for j = 0, 1, ...
    """
    places = np.arange(hinges) / hinges
    return np.column_stack([np.maximum(x[:, None] - places, 0), np.ones(len(x))])


def fit_fixed_hinges(settings):
    """Rows: one hidden layer with its hinges fixed and evenly spaced, for each function.

    The best output weights are a problem of least squares, which needs no training. Where several
    weights are best, the shortest vector of them is taken.
    """
    hinges = mlp_widths(1, PARAMETERS)[1]
    test_features = hinge_features(test_points().squeeze(1).numpy(), hinges)
    rows = []
    for name in FUNCTIONS:
        x, y = training_points(name, settings, torch.float64)
        features = hinge_features(x.squeeze(1).numpy(), hinges)
        targets = y.squeeze(1).numpy()
        weights = scipy.linalg.lstsq(features, targets)[0]
        train_mse = ((features @ weights - targets) ** 2).mean()
        rows.append({"function": name, "hinges": hinges,
                     "train_mse": max(train_mse, SMALLEST_MSE),
                     "test_mse": ((test_features @ weights - true_values(name)) ** 2).mean()})
    return rows


def one_layer_floor(hinges, points):
    """An error that no network of one hidden layer with so many hinges can get below.

    It is the mean squared error at points where the targets are 0 and 1 in turn. Each of the
    hinges + 1 straight pieces crosses 1/2 once at most, so that the points fall into hinges + 2
    groups at most, each on one side of 1/2. In a group of m points every second target lies on the
    other side, at least (m − 1) / 2 of them, and each is missed by 1/2 or more (Telgarsky 2016,
    arXiv:1602.04485, counts in this way).
    """
    missed = max(ceil((points - (hinges + 2)) / 2), 0)
    return missed / 4 / points


def bound_tent_map(settings):
    """One row: one_layer_floor for the reported network, and the training error of a constant.

    Both belong to the training points of the tent map.
    """
    _, targets = training_points("tent map", settings, torch.float64)
    hinges = mlp_widths(1, PARAMETERS)[1]
    return [{
        "hinges": hinges,
        "points": len(targets),
        "one_layer_floor": one_layer_floor(hinges, len(targets)),
        "best_constant": targets.var(correction=0),
    }]


def measure_networks_set_by_hand(settings):
    """Rows: the errors on the tent map of the networks that set_tent_map_by_hand gives."""
    x, y = training_points("tent map", settings, torch.float64)
    truth = torch.from_numpy(true_values("tent map"))
    rows = []
    for depth in DEPTHS[1:]:  # one layer cannot represent it
        model = set_tent_map_by_hand(depth)
        train_outputs = predict(model, x).flatten()
        test_outputs = predict(model, test_points()).flatten()
        rows.append({
            "function": "tent map",
            "depth": depth,
            "parameters": parameter_count(model),
            "train_mse": (train_outputs - y.flatten()).square().mean(),
            "test_mse": (test_outputs - truth).square().mean(),
        })
    return rows


# --- summing up ---


def summarize_reported(learning_rates, trained):
    """The rows of the table, one for each function and depth, and the curves behind them.

    learning_rates and trained are what train_all returns. The curves are {"train_mse": {function:
    {depth: errors in training (runs, records)}}, "test_mse": likewise, errors at the end (runs,),
    "fit": likewise, the outputs of the run with the median training error}.
    """
    table = []
    curves = {"train_mse": {}, "test_mse": {}, "fit": {}}
    for function_name in FUNCTIONS:
        for of_function in curves.values():
            of_function[function_name] = {}
        for depth in DEPTHS:
            learning_rate = learning_rates[depth, function_name]
            result = trained["reported", depth, learning_rate, function_name]
            final_errors = result["errors"][:, -1]  # (runs,)
            test_errors = ((result["outputs"] - true_values(function_name)) ** 2).mean(1)  # (runs,)
            median_run = np.argsort(final_errors)[len(final_errors) // 2]
            table.append(summarize_network(function_name, depth, learning_rate, final_errors,
                                           test_errors))
            curves["train_mse"][function_name][depth] = result["errors"]
            curves["test_mse"][function_name][depth] = test_errors
            curves["fit"][function_name][depth] = result["outputs"][median_run, ::CURVE_STEP]
    return table, curves


def summarize_network(function_name, depth, learning_rate, train_errors, test_errors):
    """One row of the table, of one network on one function.

    train_errors and test_errors are those at the end of all runs (runs,).
    """
    widths = mlp_widths(depth, PARAMETERS)
    return {
        "function": function_name,
        "model": f"{depth} hidden",
        "runs": len(train_errors),
        "depth": depth,
        "width": max(widths),
        "parameters": count_parameters(widths),
        "learning_rate": learning_rate,
        **quartile_columns("train_mse", train_errors),
        **quartile_columns("test_mse", test_errors),
    }


def count_parameters(widths):
    """The parameters of one network of these widths."""
    return parameter_count(mlp(widths, [torch.Generator()]))


def summarize_earlier_report(trained, settings):
    """The networks of the earlier report: the rows of its table, and all final errors.

    trained is what train_all returns. The final errors are {function: {model: errors (runs,)}}.
    """
    rows, final_errors = [], {}
    for function_name in QUESTION_FUNCTIONS:
        final_errors[function_name] = {}
        for model, widths in EARLIER_REPORT.items():
            result = trained["earlier", model, EARLIER_LEARNING_RATE, function_name]
            errors = result["errors"][:, -1]  # (runs,)
            final_errors[function_name][model] = errors
            rows.append({
                "function": function_name,
                "model": model,
                "parameters": count_parameters(widths),
                "runs": len(errors),
                "epochs": earlier_epochs(settings),
                **quartile_columns("train_mse", errors),
            })
    return rows, final_errors


def compare_networks(final_errors):
    """Rows: compare_errors of each two networks on every function.

    final_errors is {function: {network: errors (runs,)}}.
    """
    rows = []
    for function_name, errors_by_network in final_errors.items():
        for row in compare_errors(errors_by_network):
            rows.append({"function": function_name, **row})
    return rows


def run(settings):
    """The whole experiment, from training to the numbers that are stored."""
    learning_rates, trained = train_all(settings)
    table, curves = summarize_reported(learning_rates, trained)
    earlier_table, earlier_errors = summarize_earlier_report(trained, settings)
    # Where every depth stays near the best constant there is nothing to compare: no tent map here.
    final_train_mse, final_test_mse = {}, {}
    for name in QUESTION_FUNCTIONS:
        final_test_mse[name] = curves["test_mse"][name]
        final_train_mse[name] = {}
        for depth, errors in curves["train_mse"][name].items():
            final_train_mse[name][depth] = errors[:, -1]
    return {
        "constants": {
            "QUESTION_FUNCTIONS": QUESTION_FUNCTIONS,
            "PARAMETERS": PARAMETERS,
            "DEPTHS": DEPTHS,
            "LEARNING_RATES": LEARNING_RATES,
            "SELECTION_RUNS": SELECTION_RUNS,
            "SELECTION_FRACTION": SELECTION_FRACTION,
            "TENT_FRACTION": TENT_FRACTION,
            "TENT_PIECES": 2**TENT_COMPOSITIONS,
            "TEST_POINTS": TEST_POINTS,
            "SMALLEST_MSE": SMALLEST_MSE,
            "EARLIER_LEARNING_RATE": EARLIER_LEARNING_RATE,
        },
        "table": table,
        "comparisons": compare_networks(final_train_mse),
        "test_comparisons": compare_networks(final_test_mse),
        "connected_dots": connect_the_dots(settings),
        "fixed_hinges": fit_fixed_hinges(settings),
        "set_by_hand": measure_networks_set_by_hand(settings),
        "tent_map_bounds": bound_tent_map(settings),
        "earlier_report": earlier_table,
        "earlier_comparisons": compare_networks(earlier_errors),
        "curves": {
            "epochs": recorded_epochs(settings.epochs),
            "x": test_points()[::CURVE_STEP, 0],
            "truth": {name: true_values(name)[::CURVE_STEP] for name in FUNCTIONS},
            **curves,
        },
    }


def collect_facts(results):
    """What figure and report say: errors are mean squared errors, p-values Holm's.

    A p-value of None stands for "no winner" or "not tested".
    """
    sinc, square_wave = (function_facts(results, name)
                         for name in results["constants"]["QUESTION_FUNCTIONS"])
    one_wins_once = [1] in (sinc["winners"], square_wave["winners"])
    both_have_winners = bool(sinc["winners"] and square_wave["winners"])
    differ = one_wins_once and both_have_winners and sinc["winners"] != square_wave["winners"]
    return {
        "hinges": find_row(results["table"], depth=1)["width"],  # one for each unit of one layer
        "no_depth_wins_both": differ,
        "no_depth_wins_both_p_value": (max(sinc["p_value"], square_wave["p_value"])
                                       if differ else None),
        "sinc": sinc,
        "square_wave": square_wave,
        "tent_map": tent_map_facts(results),
    }


def function_facts(results, function_name):
    """The facts of one of the functions that the question names.

    winners and p_value are about training errors, test_winners and test_p_value about test errors.
    """
    rows = [row for row in results["table"] if row["function"] == function_name]
    dots = find_row(results["connected_dots"], function=function_name)
    fixed_hinges = find_row(results["fixed_hinges"], function=function_name)
    winners, p_value = find_winners(results["comparisons"], function_name)
    test_winners, test_p_value = find_winners(results["test_comparisons"], function_name)
    best_on_training = min(rows, key=lambda row: row["train_mse_median"])
    best_on_test = min(rows, key=lambda row: row["test_mse_median"])
    test_errors = results["curves"]["test_mse"][function_name][best_on_test["depth"]]
    ratios = np.array(test_errors) / fixed_hinges["test_mse"]
    return {
        "winners": winners,
        "p_value": p_value,
        "test_winners": test_winners,
        "test_p_value": test_p_value,
        "best_depth": best_on_training["depth"],
        "dots_test_error": dots["test_mse"],  # of straight lines from point to point
        # Of one hidden layer with fixed hinges, and how many times as large the test error of the
        # best depth is: geometric mean of its runs.
        "fixed_hinges_training_error": fixed_hinges["train_mse"],
        "fixed_hinges_test_error": fixed_hinges["test_mse"],
        "times_fixed_hinges": as_interval(ratio_columns("ratio", ratios), "ratio"),
    }


def tent_map_facts(results):
    """The facts of the tent map: what its networks could reach, and what training reaches.

    All are training errors; bounds are those of the results.
    """
    bounds = results["tent_map_bounds"][0]
    errors = {}  # {depth: (runs,)}
    for depth in results["curves"]["train_mse"]["tent map"]:
        errors[depth] = errors_at_end(results, "tent map", depth)
    deeper = [depth for depth in errors if depth > 1]
    best_depth = min(deeper, key=lambda depth: errors[depth].mean())
    deeper_errors = np.concatenate([errors[depth] for depth in deeper])
    shares = errors[best_depth] / bounds["best_constant"]
    return {
        "one_layer_floor": bounds["one_layer_floor"],
        "fixed_hinges_training_error":
            find_row(results["fixed_hinges"], function="tent map")["train_mse"],
        "best_constant_error": bounds["best_constant"],
        "largest_error_set_by_hand": max(row["train_mse"] for row in results["set_by_hand"]),
        # Of the best constant's error: the floor of one layer, what is left at the best deeper
        # depth, mean over its runs, and what is left in the best run of any depth.
        "floor_share": bounds["one_layer_floor"] / bounds["best_constant"],
        "best_depth": best_depth,
        "best_depth_share": as_interval(interval_columns("share", shares), "share"),
        "lowest_share": np.min(list(errors.values())) / bounds["best_constant"],
        "deeper_runs": len(deeper_errors),
        # Deeper runs that fit better than any network of one layer could.
        "deeper_runs_below_floor": int((deeper_errors < bounds["one_layer_floor"]).sum()),
    }


def errors_at_end(results, function_name, depth):
    """The training errors at the end of all runs (runs,)."""
    return np.array(results["curves"]["train_mse"][function_name][depth])[:, -1]


def find_winners(comparisons, function_name):
    """The depths that win on a function, a list, and the p-value: one layer against deeper ones.

    One layer wins where it is better than every deeper network. Of deeper networks all those win
    that are better than one layer. Better means by a p-value that is significant; the largest
    of those that count is given. comparisons are rows of compare_networks.
    """
    against_one_layer = [row for row in comparisons if row["function"] == function_name
                         and 1 in (row["better"], row["worse"])]
    clear = [row for row in against_one_layer if is_significant(row["p_value"])]
    won_by_deeper = [row for row in clear if row["worse"] == 1]
    won_by_one = [row for row in clear if row["better"] == 1]
    if won_by_deeper:
        winners = sorted(row["better"] for row in won_by_deeper)
        return winners, max(row["p_value"] for row in won_by_deeper)
    if won_by_one and len(won_by_one) == len(against_one_layer):
        return [1], max(row["p_value"] for row in won_by_one)
    return [], None


# --- drawing ---


def plot(results):
    """Above the final errors on the three functions, large; below the trainings and the fits."""
    figure, panels = new_figure(describe_winners(results), results, 2, 3, height=3.4,
                                height_ratios=[4, 3])
    named = results["constants"]["QUESTION_FUNCTIONS"]
    for errors_panel, training_panel, name in zip(panels[0], panels[1], named):
        draw_final_errors(errors_panel, results, name)
        draw_training(training_panel, results, name)
    draw_tent_map(panels[0, 2], results)
    draw_fits(panels[1, 2], results)
    panels[0, 0].set_ylabel("mean squared error of each run")
    panels[1, 0].set_ylabel("training error,\nmedian of the runs")
    label_marks(panels[0, 0])
    legend_below(figure, panels[1, 2], panels[0, 0], columns=4)
    return figure


def function_fact(results, function_name):
    """The facts of one function."""
    return results["facts"][function_name.replace(" ", "_")]


def describe_winners(results):
    """The title of the figure: who wins on which function, and how many find the tent map."""
    functions_of_winners = {}
    for name in results["constants"]["QUESTION_FUNCTIONS"]:
        functions_of_winners.setdefault(name_winners(results, name), []).append(name)
    parts = [f"{winners} on {' and '.join(names)}"
             for winners, names in functions_of_winners.items()]
    tent_map = results["facts"]["tent_map"]
    found = tent_map["deeper_runs_below_floor"]
    trainings = f"{found} of {tent_map['deeper_runs']} trainings find" if found else "none finds"
    return f"Best fit: {', '.join(parts)}; {trainings} the tent map"


def name_winners(results, function_name):
    """The winners on a function: "1 layer", "deeper networks", "2 or 4 layers", or "undecided"."""
    depths = function_fact(results, function_name)["winners"]
    if not depths:
        return "undecided"
    if depths == [1]:
        return "1 layer"
    if len(depths) == len(results["constants"]["DEPTHS"]) - 1:
        return "deeper networks"
    return f"{' or '.join(str(depth) for depth in depths)} layers"


def draw_final_errors(panel, results, function_name):
    """Training and test error of every run at the end, and the medians, for each depth.

    Stars show one hidden layer with fixed hinges, a dotted line the test error of straight lines
    from point to point. What is zero to rounding stands on the lower edge.
    """
    facts = function_fact(results, function_name)
    test_mse = results["curves"]["test_mse"][function_name]
    errors = [facts["fixed_hinges_test_error"]]  # all that is drawn
    for depth in test_mse:
        errors += [*errors_at_end(results, function_name, depth), *test_mse[depth]]
    zero = results["constants"]["SMALLEST_MSE"]
    lower_edge = min(error for error in errors if error > zero) / 10
    for position, depth in enumerate(test_mse):
        train_errors = errors_at_end(results, function_name, depth).clip(lower_edge)
        color, marker = COLORS[position], MARKERS[position]
        draw_final(panel, position - 0.2, train_errors, np.median, color, marker, TRAIN, width=0.34)
        draw_final(panel, position + 0.2, test_mse[depth], np.median, color, marker, TEST,
                   width=0.34)
    one_layer = list(test_mse).index(1)
    fixed_hinges_training_error = max(facts["fixed_hinges_training_error"], lower_edge)
    draw_star(panel, one_layer - 0.2, fixed_hinges_training_error, "white")
    draw_star(panel, one_layer + 0.2, facts["fixed_hinges_test_error"], "black")
    panel.axhline(facts["dots_test_error"], linestyle=":", color=GREY)
    panel.text(0.4, 0.02, "on the axis: zero", transform=panel.transAxes, ha="center", fontsize=8,
               color=GREY)
    winners = name_winners(results, function_name)
    panel.set(yscale="log", xlabel="hidden layers", xticks=range(len(test_mse)),
              xticklabels=list(test_mse),
              title=f"{function_name.capitalize()}, best in\ntraining: {winners}")
    panel.set_ylim(bottom=lower_edge)


def draw_star(panel, position, error, face_color):
    """A network that needed no training: white for its training error, black for its test error."""
    panel.plot(position, error, "*", color="black", markerfacecolor=face_color, markersize=11,
               clip_on=False, zorder=3)


def label_marks(panel):
    """Entries of the legend for what draw_final_errors draws."""
    for label, style, face_color in (("training", TRAIN, "white"), ("test", TEST, GREY)):
        panel.plot([], [], style, color=GREY, marker="o", markerfacecolor=face_color, label=label)
    panel.plot([], [], "*", color="black", markersize=11,
               label="no training: kinks fixed, or set by hand")
    panel.plot([], [], ":", color=GREY, label="straight lines from point to point (test)")


def draw_tent_map(panel, results):
    """The tent map: the training error of every run, and what is reached without training."""
    facts = results["facts"]["tent_map"]
    depths = list(results["curves"]["train_mse"]["tent map"])
    for position, depth in enumerate(depths):
        draw_final(panel, position, errors_at_end(results, "tent map", depth), np.median,
                   COLORS[position], MARKERS[position], TRAIN, width=0.5)
    for row in results["set_by_hand"]:
        draw_star(panel, depths.index(row["depth"]), row["train_mse"], "white")
    one_layer = depths.index(1)
    draw_star(panel, one_layer, facts["fixed_hinges_training_error"], "white")
    panel.hlines(facts["one_layer_floor"], one_layer - 0.4, one_layer + 0.4, color="black")
    panel.text(one_layer - 0.4, facts["one_layer_floor"], "1 layer cannot\nget below", fontsize=8,
               va="bottom")
    constant = facts["best_constant_error"]
    panel.axhline(constant, color=GREY, linewidth=1, zorder=0)
    for height, text in ((1.02, "best horizontal line"), (0.06, "deep, set by hand: zero")):
        panel.text(1, height * constant, text, transform=panel.get_yaxis_transform(), fontsize=8,
                   ha="right", va="bottom")
    panel.set(xlabel="hidden layers", xticks=range(len(depths)), xticklabels=depths,
              title=f"Tent map: deep networks can fit it,\ntrained ones do in "
                    f"{facts['deeper_runs_below_floor']} of {facts['deeper_runs']} runs")
    panel.set_ylim(0, 1.05 * panel.get_ylim()[1])  # room for a line of text


def draw_training(panel, results, function_name):
    """The median training error of every depth against the training steps."""
    curves = results["curves"]
    for position, errors in enumerate(curves["train_mse"][function_name].values()):
        medians = np.median(errors, axis=0)
        panel.plot(curves["epochs"], medians, TRAIN, color=COLORS[position], linewidth=1.2,
                   marker=MARKERS[position], markersize=4, markevery=max(len(medians) // 5, 1))
    best_depth = function_fact(results, function_name)["best_depth"]
    last_epoch = curves["epochs"][-1]
    panel.set(yscale="log", xlabel="training steps", xticks=[0, last_epoch // 2, last_epoch],
              title=f"{function_name.capitalize()}: depth {best_depth} ends lowest")
    panel.xaxis.set_major_formatter("{x:,.0f}")


def draw_fits(panel, results):
    """The named functions, and the outputs of the run with the median training error of each depth.

    The first function stands above the second one.
    """
    curves = results["curves"]
    names = results["constants"]["QUESTION_FUNCTIONS"]
    ticks, tick_labels = [], []
    for name, shift in zip(names, (1.8, 0)):
        panel.plot(curves["x"], np.array(curves["truth"][name]) + shift, color="#cccccc",
                   linewidth=5)
        for position, outputs in enumerate(curves["fit"][name].values()):
            # Markers start at another place for each depth, so that none hides another.
            panel.plot(curves["x"], np.array(outputs) + shift, color=COLORS[position], linewidth=1,
                       marker=MARKERS[position], markersize=4, markevery=(15 * position, 60))
        ticks += [shift, shift + 1]
        tick_labels += ["0", "1"]
    for position, depth in enumerate(curves["fit"][names[0]]):
        panel.plot([], [], color=COLORS[position], marker=MARKERS[position], markersize=4,
                   label=f"{depth} hidden layer{'s' if depth > 1 else ''}")
    panel.plot([], [], color="#cccccc", linewidth=5, label="true function")
    panel.set(title=f"{names[0].capitalize()} above, {names[1]} below:\nthe median runs",
              xlabel="x", yticks=ticks, yticklabels=tick_labels)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts)
