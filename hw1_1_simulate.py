"""Deep or shallow: which fits a one-dimensional function better with the same number of parameters?

Four ReLU networks of about 571 parameters and 1 to 7 hidden layers are trained on sinc and on a
square wave, many runs each. Each of them gets the learning rate that suits it best on runs kept
apart for that choice. Beside what training finds stands what the networks can represent: linear
interpolation between the training points, and the best output weights for one layer whose hinges,
the places where its ReLUs bend, stay where they are.

Tent maps of 4, 8, 16 and 256 straight pieces tell the two apart: networks whose weights are set by
hand equal them, except that one hidden layer cannot represent 256 pieces. How many trainings fit
each map is counted. The networks of an earlier report, which differ in size, are trained on the
first two functions.

    python hw1_1_simulate.py              # the report's figure
    python hw1_1_simulate.py --quick      # a tour in seconds
"""

from functools import partial
from itertools import product
from math import ceil, floor, log10

from common.command_line import Flag, main, positive_integer
from common.data import grid, sinc, square_wave, tent_map
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
    format_number,
    legend_below,
    new_figure,
    new_mosaic,
)
from common.statistics import (
    as_interval,
    compare_errors,
    is_significant,
    quartile_columns,
    range_columns,
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
QUESTION_FUNCTIONS = ("sinc", "square wave")  # which the question names
TENT_MAPS = {  # {name: compositions of the tent map with itself}
    "tent map, 4 pieces": 2,
    "tent map, 8 pieces": 3,
    "tent map, 16 pieces": 4,
    "tent map, 256 pieces": 8,
}
FUNCTIONS = {
    "sinc": sinc,
    "square wave": square_wave,
    **{name: partial(tent_map, compositions=times) for name, times in TENT_MAPS.items()},
}
PARAMETERS = 571  # of every network, to within 1 %
DEPTHS = (1, 2, 4, 7)  # hidden layers
LEARNING_RATES = (3e-3, 1e-2, 3e-2, 1e-1)  # of Adam; the best is chosen for each depth and function
# The learning rate is chosen on shorter selection runs, none of which is reported: run k draws its
# random numbers from (seed, k), and selection runs are numbered from FIRST_SELECTION_RUN on.
SELECTION_RUNS = 10
FIRST_SELECTION_RUN = 1_000_000
# A selection run takes this fraction of a reported run's epochs. In trials with an eighth, deep
# networks got rates that suit only the beginning of a training, and fell behind on a triangle wave
# of eight teeth.
SELECTION_FRACTION = 1 / 4
# A training on tent maps takes this fraction of the epochs on the other functions. In trials with
# all 20,000 some more networks fitted 16 straight pieces, and none fitted 32 or more.
TENT_FRACTION = 1 / 4
# A run fits a tent map where its training error ends below this share of the error of the best
# constant. A network that misses a single tooth (a straight piece up and the next one down) does
# not fit: level there and right elsewhere, it has a share of 0.0104 on the map of 256 straight
# pieces, and a larger one on the maps of fewer teeth.
FITTED_SHARE = 0.01
TEST_POINTS = 2_000
CURVE_STEP = 5  # every fifth test point is stored and drawn
RECORDS = 100  # times that the error is recorded in a training, about
# Outputs near 1 are rounded by up to 6e-8 in float32. The square of that is 4e-15, so that training
# errors below 1e-14 cannot be told from zero. They are set to this.
SMALLEST_MSE = 1e-14
RUNS_TOGETHER = 10  # runs of each function in one stack
# The cost of a training step ≈ the hidden units of all networks in the stack + this. Only the order
# in which trainings start and the progress line depend on it.
FIXED_STEP_COST = 600

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
EARLIER_FRACTION = 1 / 10  # the part of a reported run's epochs for which they are trained


# --- networks ---


# A stack is one model that holds many networks and trains them side by side: one for each run of
# each function. Its parameters, outputs and losses have these networks as their first dimension.
# Inputs that all networks share have 1 there; train and predict add it. See common/models.py.
def build_model(widths, function_names, run_numbers, settings):
    """A stack of networks: all runs for the first function, then all runs for the second, ..."""
    # Run k starts from the same weights on every function.
    _, stacked_numbers = stacked_runs(function_names, run_numbers)
    generators = run_generators(settings.seed, stacked_numbers, "initialization")
    return mlp(widths, generators).to(settings.device)


def set_tent_map_by_hand(depth, compositions):
    """A network of the reported size that equals tent_map on [0, 1], without any training.

    Returns a stack of one, float64. Composed once, the tent map is 2 relu(x) − 4 relu(x − 1/2) on
    [0, 1]. Composed n times, it is a weighted sum of 2ⁿ ReLUs with hinges at 0, 1 / 2ⁿ, 2 / 2ⁿ, ...
    The weight of each is the change of slope at its hinge: from 0 to 2ⁿ at the first one, then by
    −2ⁿ⁺¹ and 2ⁿ⁺¹ in turn. Each hidden layer has the ReLUs of some of the compositions; a layer
    with none passes its input on. All other units stay zero.
    """
    model = mlp(mlp_widths(depth, PARAMETERS), [torch.Generator()]).double()
    *hidden_layers, output_layer = [layer for layer in model if isinstance(layer, StackedLinear)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        # The weights of the units of the layer before: the changes of slope at their hinges. Before
        # the first layer there is x alone.
        weights_of_previous_units = torch.ones(1)
        for number, layer in enumerate(hidden_layers):
            # 8 compositions over 7 layers, for example, are 1, 1, 1, 1, 1, 1 and 2.
            compositions_here = (compositions + number) // depth
            units = 2**compositions_here
            layer.weight[0, :units, : len(weights_of_previous_units)] = weights_of_previous_units
            layer.bias[0, :units, 0] = -torch.arange(units) / units
            slope_changes = 2 * units * (-1.0) ** torch.arange(units)
            slope_changes[0] = units
            weights_of_previous_units = slope_changes
        output_layer.weight[0, 0, : len(weights_of_previous_units)] = weights_of_previous_units
    return model


# --- training ---

# A piece, as in common/pieces.py, is a piece of work: here one call of train_model. The pieces that
# a tent map consists of are called straight pieces. The key of a piece of work has five parts: what
# it is for ("selection", "reported" or "earlier"), the network (its number of hidden layers, or its
# name in EARLIER_REPORT), the learning rate, the names of the functions, and the number of the
# first run.


def training_points(function_name, settings, dtype=torch.float32):
    """The points of [0, 1] at which a function is learned, and its values there: (points, 1) each.

    All tent maps share the ends of the straight pieces of the one that has most: there it is 0 and
    1 in turn, and no fewer points show every piece.
    """
    if function_name in TENT_MAPS:
        straight_pieces = 2 ** max(TENT_MAPS.values())
        x = (torch.arange(straight_pieces + 1, dtype=dtype) / straight_pieces).unsqueeze(1)
    else:
        x = grid(settings.points, dtype=dtype)
    return x, FUNCTIONS[function_name](x)


def shorten(epochs, fraction):
    """A fraction of so many epochs, but at least one."""
    return max(round(fraction * epochs), 1)


def reported_epochs(function_name, settings):
    """The epochs for which the reported networks learn a function."""
    if function_name in TENT_MAPS:
        return shorten(settings.epochs, TENT_FRACTION)
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
    x, _ = training_points(function_names[0], settings)  # (points, 1), those of all functions
    x = x.to(settings.device)
    targets = []
    for name in function_names:
        _, y = training_points(name, settings)  # (points, 1)
        targets.append(y.expand(len(run_numbers), -1, -1))  # (runs, points, 1)
    # (functions · runs, points, 1): each network has its own.
    targets = torch.cat(targets).to(settings.device)
    errors = []

    @torch.no_grad()
    def record(epoch):  # train calls it at the recorded_epochs
        outputs = model(x.unsqueeze(0))  # (functions · runs, points, 1)
        errors.append(mean_squared_error(outputs, targets))  # one for each network

    train(model, x, targets, mean_squared_error, epochs=epochs, learning_rate=learning_rate,
          record=record, record_every=record_interval(epochs))
    errors = torch.stack(errors, dim=1).clamp(min=SMALLEST_MSE)  # (functions · runs, records)
    outputs = predict(model, grid(TEST_POINTS, settings.device))
    # The stack has all runs for the first function, then all runs for the second, and so on. Runs
    # come first in what is returned: join_groups joins groups of runs along the first dimension.
    shape = len(function_names), len(run_numbers), -1
    return {"errors": errors.cpu().numpy().reshape(shape).swapaxes(0, 1),
            "outputs": outputs.cpu().numpy().reshape(shape).swapaxes(0, 1)}


def make_piece(name, widths, function_names, run_numbers, learning_rate, epochs, settings):
    """A call of train_model as a piece of work."""
    networks = len(function_names) * len(run_numbers)
    hidden_units = sum(widths[1:-1])
    step_cost = networks * hidden_units + FIXED_STEP_COST
    name = (f"{name}, {', '.join(function_names)}, learning rate {learning_rate}, runs "
            f"{run_numbers[0]} to {run_numbers[-1]}")
    arguments = widths, function_names, run_numbers, learning_rate, epochs, settings
    return Piece(name, train_model, arguments, epochs, step_cost)


def group_functions(depth, function_names):
    """The functions that networks of one depth are trained on in one stack: a list of lists.

    Networks of one hidden layer are wide, and gain nothing from a larger stack. Tent maps have
    other training points than the other functions.
    """
    if depth == 1:
        return [[name] for name in function_names]
    tent_maps = [name for name in function_names if name in TENT_MAPS]
    others = [name for name in function_names if name not in TENT_MAPS]
    return [group for group in (others, tent_maps) if group]


def selection_pieces(settings):
    """The trainings that choose learning rates.

    Returns {("selection", depth, rate, functions, first run): Piece}.
    """
    runs = min(SELECTION_RUNS, settings.runs)
    run_numbers = range(FIRST_SELECTION_RUN, FIRST_SELECTION_RUN + runs)
    pieces = {}
    for depth in DEPTHS:
        for names in group_functions(depth, FUNCTIONS):
            # Functions of one group take equally many epochs.
            epochs = shorten(reported_epochs(names[0], settings), SELECTION_FRACTION)
            for learning_rate in LEARNING_RATES:
                key = "selection", depth, learning_rate, tuple(names), FIRST_SELECTION_RUN
                pieces[key] = make_piece(f"selection, {depth} hidden",
                                         mlp_widths(depth, PARAMETERS), names, run_numbers,
                                         learning_rate, epochs, settings)
    return pieces


def earlier_epochs(settings):
    """The epochs for which the networks of the earlier report are trained."""
    return shorten(settings.epochs, EARLIER_FRACTION)


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
    TEST_POINTS)}}: each function by itself, all its runs together. later_cost serves the progress
    line alone, see run_pieces.
    """
    # join_groups joins all runs of a network, and drops the first run from the keys.
    results = join_groups(run_pieces(pieces, settings, later_cost))
    trained = {}
    for (kind, network, rate, names), result in results.items():
        for position, name in enumerate(names):
            trained[kind, network, rate, name] = {"errors": result["errors"][:, position],
                                                  "outputs": result["outputs"][:, position]}
    return trained


def errors_at_end(errors):
    """The last of the errors of every run (runs, records): (runs,)."""
    return np.asarray(errors)[:, -1]


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
                final_errors = errors_at_end(trained["selection", depth, rate, name]["errors"])
                third_quartiles[rate] = np.quantile(final_errors, 0.75)
            best[depth, name] = min(third_quartiles, key=third_quartiles.get)
    return best


def cost_of_reported(settings):
    """What the reported trainings cost, about, before their learning rates are chosen."""
    # Any rates serve: they only decide which functions share a stack, which changes little.
    any_rates = dict.fromkeys(product(DEPTHS, FUNCTIONS), LEARNING_RATES[0])
    return total_cost(reported_pieces(any_rates, settings))


def train_all(settings):
    """The learning rates {(depth, function): rate}, and what train_pieces gives for all pieces."""
    first_pieces = selection_pieces(settings) | earlier_pieces(settings)
    first_trained = train_pieces(first_pieces, settings, later_cost=cost_of_reported(settings))
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


def interpolate_linearly(settings):
    """Rows: the test error of linear interpolation between the training points, for each function.

    A network of one hidden layer with as many hinges as points can be just such a function: it fits
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


def one_layer_floor(hinges, straight_pieces, points):
    """An error that no network of one hidden layer with so many hinges can get below.

    It is the mean squared error at so many points of a tent map, among them the ends of its
    straight pieces, where the targets are 0 and 1 in turn. In steps, with the example of 4 straight
    pieces, which have 5 ends, and 1 hinge (Telgarsky 2016, arXiv:1602.04485, counts in this way):

    1. The network consists of hinges + 1 straight pieces of its own (2). Each crosses 1/2 once at
       most, so that its outputs at the ends form hinges + 2 groups (3) at most, from left to right,
       each on one side of 1/2.
    2. In a group of m ends every second target lies on the other side of 1/2: at least (m − 1) / 2
       of them are missed. Over all groups these are (ends − groups) / 2 at least (1).
    3. Each of them is missed by 1/2 or more, which adds 1/4 or more to the sum of squared errors.
    """
    ends, groups = straight_pieces + 1, hinges + 2
    missed = max(ceil((ends - groups) / 2), 0)
    return missed / 4 / points


def bound_tent_maps(settings):
    """Rows: one_layer_floor of the reported network, and a constant's error, for each tent map.

    Both are training errors.
    """
    hinges = mlp_widths(1, PARAMETERS)[1]
    rows = []
    for name, compositions in TENT_MAPS.items():
        _, targets = training_points(name, settings, torch.float64)
        straight_pieces = 2**compositions
        rows.append({
            "function": name,
            "pieces": straight_pieces,
            "hinges": hinges,
            "points": len(targets),
            "one_layer_floor": one_layer_floor(hinges, straight_pieces, len(targets)),
            "best_constant": targets.var(correction=0).item(),
        })
    return rows


def measure_networks_set_by_hand(settings):
    """Rows: the errors on tent maps of the networks that set_tent_map_by_hand gives."""
    rows = []
    for bounds in bound_tent_maps(settings):
        name = bounds["function"]
        x, y = training_points(name, settings, torch.float64)
        truth = torch.from_numpy(true_values(name))
        for depth in DEPTHS:
            if depth == 1 and bounds["one_layer_floor"] > 0:
                continue  # one layer cannot represent it
            model = set_tent_map_by_hand(depth, TENT_MAPS[name])
            train_outputs = predict(model, x).flatten()
            test_outputs = predict(model, test_points()).flatten()
            rows.append({
                "function": name,
                "pieces": bounds["pieces"],
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
    "fit": likewise, the outputs of the run with the median training error, of an even number of
    runs the upper one of the two in the middle}.
    """
    table = []
    curves = {"train_mse": {}, "test_mse": {}, "fit": {}}
    for function_name in FUNCTIONS:
        for curves_of_functions in curves.values():
            curves_of_functions[function_name] = {}
        for depth in DEPTHS:
            learning_rate = learning_rates[depth, function_name]
            result = trained["reported", depth, learning_rate, function_name]
            final_errors = errors_at_end(result["errors"])
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


def count_fits(train_mse, bounds):
    """Rows: how many runs of each depth fit each tent map, and how near the runs come.

    A share is a run's training error at the end, divided by that of the best constant. train_mse is
    that of the curves of summarize_reported, bounds are the rows of bound_tent_maps.
    """
    rows = []
    for row in bounds:
        for depth, errors in train_mse[row["function"]].items():
            shares = errors_at_end(errors) / row["best_constant"]  # (runs,)
            rows.append({
                "function": row["function"],
                "pieces": row["pieces"],
                "depth": depth,
                "runs": len(shares),
                "runs_that_fit": (shares < FITTED_SHARE).sum(),
                **range_columns("share", shares),
            })
    return rows


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
            errors = errors_at_end(result["errors"])
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
    tent_map_bounds = bound_tent_maps(settings)
    # What is compared on the functions of the question. On tent maps the fits are counted instead.
    train_mse, test_mse = {}, {}  # both {function: {depth: errors at the end (runs,)}}
    for name in QUESTION_FUNCTIONS:
        test_mse[name] = curves["test_mse"][name]
        train_mse[name] = {}
        for depth, errors in curves["train_mse"][name].items():
            train_mse[name][depth] = errors_at_end(errors)
    return {
        "constants": {
            "QUESTION_FUNCTIONS": QUESTION_FUNCTIONS,
            "PARAMETERS": PARAMETERS,
            "DEPTHS": DEPTHS,
            "LEARNING_RATES": LEARNING_RATES,
            "SELECTION_RUNS": SELECTION_RUNS,
            "SELECTION_FRACTION": SELECTION_FRACTION,
            "TENT_FRACTION": TENT_FRACTION,
            "TENT_PIECES": [row["pieces"] for row in tent_map_bounds],
            "FITTED_SHARE": FITTED_SHARE,
            "TEST_POINTS": TEST_POINTS,
            "SMALLEST_MSE": SMALLEST_MSE,
            "EARLIER_LEARNING_RATE": EARLIER_LEARNING_RATE,
        },
        "table": table,
        "comparisons": compare_networks(train_mse),
        "test_comparisons": compare_networks(test_mse),
        "connected_dots": interpolate_linearly(settings),
        "fixed_hinges": fit_fixed_hinges(settings),
        "set_by_hand": measure_networks_set_by_hand(settings),
        "tent_map_bounds": tent_map_bounds,
        "tent_map_fits": count_fits(curves["train_mse"], tent_map_bounds),
        "earlier_report": earlier_table,
        "earlier_comparisons": compare_networks(earlier_errors),
        "curves": {
            "epochs": {name: recorded_epochs(reported_epochs(name, settings))
                       for name in FUNCTIONS},
            "x": test_points()[::CURVE_STEP, 0],
            "truth": {name: true_values(name)[::CURVE_STEP] for name in FUNCTIONS},
            **curves,
        },
    }


def collect_facts(results):
    """What figure and report say.

    Errors are mean squared errors. P-values are adjusted by Holm's method for the number of
    comparisons, see compare_errors; None stands for "no winner" or "not tested".
    """
    smooth, jumping = (function_facts(results, name)
                       for name in results["constants"]["QUESTION_FUNCTIONS"])
    # Winners are either one layer alone or some deeper networks, see find_winners. That no depth
    # wins both functions is shown where one layer wins one of them, and deeper networks the other.
    # Different deeper networks would not show it, as find_winners does not compare them.
    both_have_winners = bool(smooth["winners"] and jumping["winners"])
    one_layer_wins_one_only = (smooth["winners"] == [1]) != (jumping["winners"] == [1])
    no_depth_wins_both = both_have_winners and one_layer_wins_one_only
    p_value = max(smooth["p_value"], jumping["p_value"]) if no_depth_wins_both else None
    return {
        "hinges": find_row(results["table"], depth=1)["width"],  # one for each unit of one layer
        "no_depth_wins_both": no_depth_wins_both,
        "no_depth_wins_both_p_value": p_value,
        "sinc": smooth,
        "square_wave": jumping,
        "tent_map": tent_map_facts(results),
    }


def function_facts(results, function_name):
    """The facts of one of the functions that the question names.

    winners and p_value are about training errors, test_winners and test_p_value about test errors.
    "dots" in the name of a fact stands for linear interpolation between the training points.
    """
    rows = [row for row in results["table"] if row["function"] == function_name]
    interpolation_error = find_row(results["connected_dots"], function=function_name)["test_mse"]
    fixed_hinges = find_row(results["fixed_hinges"], function=function_name)
    winners, p_value = find_winners(results["comparisons"], function_name)
    test_winners, test_p_value = find_winners(results["test_comparisons"], function_name)
    best_on_training = min(rows, key=lambda row: row["train_mse_median"])
    best_on_test = min(rows, key=lambda row: row["test_mse_median"])
    test_mse = results["curves"]["test_mse"][function_name]  # {depth: (runs,)}
    best_test_errors = np.array(test_mse[best_on_test["depth"]])
    times_interpolation = ratio_columns("ratio", best_test_errors / interpolation_error)
    times_fixed_hinges = ratio_columns("ratio", best_test_errors / fixed_hinges["test_mse"])
    return {
        "winners": winners,
        "p_value": p_value,
        "test_winners": test_winners,
        "test_p_value": test_p_value,
        "best_depth": best_on_training["depth"],
        # The depth with the lowest median of the test errors, and linear interpolation.
        "best_test_depth": best_on_test["depth"],
        "best_test_error": best_on_test["test_mse_median"],
        "dots_test_error": interpolation_error,
        "runs_below_dots": int((np.array(list(test_mse.values())) < interpolation_error).sum()),
        # One hidden layer with fixed hinges has these errors.
        "fixed_hinges_training_error": fixed_hinges["train_mse"],
        "fixed_hinges_test_error": fixed_hinges["test_mse"],
        # The test error of the best depth is so many times as large as these two: geometric means.
        "times_dots": as_interval(times_interpolation, "ratio"),
        "times_fixed_hinges": as_interval(times_fixed_hinges, "ratio"),
    }


def tent_map_facts(results):
    """The facts of the tent maps: what their networks could reach, and what training reaches.

    All are training errors. A share is an error divided by that of the best constant. Pieces are
    straight pieces. Facts whose name says nothing of pieces or fits are about the tent map of most
    pieces.
    """
    bounds = max(results["tent_map_bounds"], key=lambda row: row["pieces"])
    pieces, best_constant = bounds["pieces"], bounds["best_constant"]
    fits = fits_by_pieces(results)
    return {
        "fits": fits,  # {pieces: counts}
        "partly_fitted_pieces": partly_fitted_pieces(fits),
        "failing_pieces": failing_pieces(fits),
        "most_pieces": pieces,
        "best_constant_error": best_constant,
        "one_layer_floor": bounds["one_layer_floor"],
        "floor_share": bounds["one_layer_floor"] / best_constant,
        # This is the largest one of all networks set by hand, on all tent maps.
        "largest_error_set_by_hand": max(row["train_mse"] for row in results["set_by_hand"]),
    }


def fits_by_pieces(results):
    """How many runs fit each tent map, of one layer, of deeper networks and of all."""
    fits = {}
    for pieces in results["constants"]["TENT_PIECES"]:
        rows = [row for row in results["tent_map_fits"] if row["pieces"] == pieces]
        one_layer = find_row(rows, depth=1)
        runs = sum(row["runs"] for row in rows)
        runs_that_fit = sum(row["runs_that_fit"] for row in rows)
        fits[pieces] = {
            "runs": runs,
            "runs_that_fit": runs_that_fit,
            "one_layer_runs": one_layer["runs"],
            "one_layer_runs_that_fit": one_layer["runs_that_fit"],
            "deeper_runs": runs - one_layer["runs"],
            "deeper_runs_that_fit": runs_that_fit - one_layer["runs_that_fit"],
        }
    return fits


def partly_fitted_pieces(fits):
    """The number of straight pieces that half of the runs fit, as nearly as possible."""
    distances = {}  # of the fraction of runs that fit from 1/2
    for pieces, counts in fits.items():
        distances[pieces] = abs(counts["runs_that_fit"] / counts["runs"] - 1 / 2)
    return min(distances, key=distances.get)


def failing_pieces(fits):
    """The smallest number of straight pieces such that most runs fail there and at all larger ones.

    That is, fewer than half of the runs fit. None where there is no such number.
    """
    failing = None
    for pieces in sorted(fits, reverse=True):
        if fits[pieces]["runs_that_fit"] >= fits[pieces]["runs"] / 2:
            break
        failing = pieces
    return failing


def find_winners(comparisons, function_name):
    """The depths that win on a function, a list, and the p-value of their win.

    Only comparisons of one layer with a deeper network count, and only significant ones show that
    one of the two is better.

    - One layer wins, [1], where it is better than every deeper network.
    - All deeper networks that are better than one layer win together.
    - Otherwise nobody wins: the list is empty and the p-value None.

    The p-value is the largest of those of the winners' comparisons. comparisons are rows of
    compare_networks.
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

TRUTH_COLOR = "#bbbbbb"  # of the true functions, wide lines below the fits
FIXED_HINGES_PLACE = -1.3  # on the x axis; the depths are at 0, 1, ...


def plot(results):
    """The errors at the end on sinc and on the square wave, and the fits of the tent maps."""
    smooth, jumping = results["constants"]["QUESTION_FUNCTIONS"]
    layout = [["smooth", "test", "tent maps"],
              ["smooth", "training", "tent maps"]]
    figure, panels = new_mosaic(figure_title(results["facts"]), results, layout, height=4.5,
                                width_ratios=[1, 1, 1.7], height_ratios=[5, 6])
    draw_both_errors(panels["smooth"], results, smooth)
    draw_test_errors(panels["test"], results, jumping)
    draw_training_errors(panels["training"], results, jumping)
    draw_tent_maps(panels["tent maps"], results)
    label_marks(panels["tent maps"], results)
    legend_below(figure, panels["tent maps"])
    return figure


def figure_title(facts):
    """The title of the main figure."""
    parts = []
    if facts["no_depth_wins_both"]:
        parts.append("the depth that trains best depends on the function")
    if training_misses_tent_maps(facts["tent_map"]):
        parts.append("training stops far short of capacity")
    title = "; ".join(parts) or "training errors of deep and of shallow networks"
    return title[0].upper() + title[1:]


def training_misses_tent_maps(facts):
    """Whether networks can represent all tent maps, and most trainings fail on some of them."""
    return facts["largest_error_set_by_hand"] == 0 and facts["failing_pieces"] is not None


def tent_map_title(facts):
    """The title of the panel of the tent maps, from their facts."""
    if not training_misses_tent_maps(facts):
        return "Tent maps: training error of every run"
    return (f"Tent maps: from {facts['failing_pieces']} pieces on most trainings\n"
            f"fail; deep weights set by hand fit all {facts['most_pieces']}")


def find_facts(results, function_name):
    """The stored facts of one function of the question."""
    return results["facts"][function_name.replace(" ", "_")]


def name_winners(results, function_name):
    """The winners on a function: "1 layer", "deeper networks", "2 or 4 layers", or "undecided"."""
    depths = find_facts(results, function_name)["winners"]
    if not depths:
        return "undecided"
    if depths == [1]:
        return "1 layer"
    if len(depths) == len(results["constants"]["DEPTHS"]) - 1:
        return "deeper networks"
    return f"{' or '.join(str(depth) for depth in depths)} layers"


def draw_both_errors(panel, results, function_name):
    """Training and test error of every run on one function, with the medians of each depth."""
    facts = find_facts(results, function_name)
    train_errors = training_errors(results, function_name)
    test_errors = {}
    for depth, errors in results["curves"]["test_mse"][function_name].items():
        test_errors[depth] = without_rounding(errors, results)
    train_star = without_rounding(facts["fixed_hinges_training_error"], results)
    test_star = without_rounding(facts["fixed_hinges_test_error"], results)
    zero_place = set_error_axis(panel, [*train_errors.values(), *test_errors.values(), train_star,
                                        test_star, facts["dots_test_error"]])
    draw_depths(panel, train_errors, train_star, TRAIN, zero_place, shift=-0.2, width=0.36)
    draw_depths(panel, test_errors, test_star, TEST, zero_place, shift=0.2, width=0.36)
    draw_interpolation_error(panel, facts, 1.5, "linear interpolation, test")
    panel.set(ylabel="mean squared error", title=winners_title(results, function_name))


def draw_test_errors(panel, results, function_name):
    """The test error of every run on one function, with the medians of each depth."""
    facts = find_facts(results, function_name)
    test_errors = results["curves"]["test_mse"][function_name]
    draw_depths(panel, test_errors, facts["fixed_hinges_test_error"], TEST)
    draw_interpolation_error(panel, facts, -0.65, "linear\ninterpolation")
    panel.set(ylabel="test error", title=test_title(results, function_name))
    panel.set_ylim(0, 1.05 * max(map(max, test_errors.values())))


def draw_training_errors(panel, results, function_name):
    """The training error of every run on one function, with the medians of each depth."""
    errors = training_errors(results, function_name)
    star = without_rounding(find_facts(results, function_name)["fixed_hinges_training_error"],
                            results)
    zero_place = set_error_axis(panel, [*errors.values(), star])
    draw_depths(panel, errors, star, TRAIN, zero_place)
    panel.set(ylabel="training error", title=winners_title(results, function_name))


def winners_title(results, function_name):
    """The title of a panel that shows which depth has the lowest training error on a function."""
    return (f"{function_name.capitalize()}, lowest training\n"
            f"error: {name_winners(results, function_name)}")


def test_title(results, function_name):
    """The title of draw_test_errors."""
    name = function_name.capitalize()
    # The depth with the lowest median is the one that is compared with linear interpolation.
    highest_ratio = find_facts(results, function_name)["times_dots"]["high"]
    if highest_ratio is None or highest_ratio <= 1:  # of a single run, or clearly better
        return f"{name}: test errors"
    return f"{name}, test: no depth\nclearly beats linear interpolation"


def training_errors(results, function_name):
    """The training errors at the end of all runs on a function: {depth: (runs,)}."""
    final_errors = {}
    for depth, errors in results["curves"]["train_mse"][function_name].items():
        final_errors[depth] = without_rounding(errors_at_end(errors), results)
    return final_errors


def without_rounding(errors, results):
    """The errors, with 0 for those up to SMALLEST_MSE, which are zero but for rounding."""
    return np.where(np.asarray(errors) > results["constants"]["SMALLEST_MSE"], errors, 0)


def set_error_axis(panel, errors):
    """Makes the y axis logarithmic, with a place for zero below all others, which is returned.

    errors are all that will be drawn, numbers and arrays; see put_zeros.
    """
    all_errors = np.hstack(errors)
    above_zero = all_errors[all_errors > 0] if all_errors.any() else [1.0]
    lowest_decade = floor(log10(min(above_zero)))
    highest_decade = ceil(log10(max(above_zero)))
    # Two ticks are so many decades apart, and at least one where all errors are equal.
    step = max(ceil((highest_decade - lowest_decade) / 6), 1)
    decades = range(highest_decade, lowest_decade - 1, -step)
    zero_place = 10.0 ** (lowest_decade - step)
    tick_labels = [f"$10^{{{decade}}}$" for decade in decades]
    room = 10 ** (0.4 * step)  # for half a mark
    panel.set(yscale="log", ylim=(zero_place / room, room * 10.0**highest_decade))
    panel.set_yticks([zero_place, *[10.0**decade for decade in decades]], ["0", *tick_labels])
    panel.minorticks_off()
    return zero_place


def put_zeros(errors, zero_place):
    """The errors as they are drawn on an axis that has zero at zero_place."""
    return np.where(np.asarray(errors) > 0, errors, zero_place)


def draw_depths(panel, errors, star, style, zero_place=0, shift=0, width=0.8):
    """The errors of all runs {depth: (runs,)} with their medians, and that of fixed hinges: a star.

    style is TRAIN or TEST. shift moves all marks on the x axis, width is that of a depth on it.
    """
    for position, errors_of_depth in enumerate(errors.values()):
        draw_final(panel, position + shift, put_zeros(errors_of_depth, zero_place), np.median,
                   COLORS[position], MARKERS[position], style, width)
    panel.plot(FIXED_HINGES_PLACE + shift, put_zeros(star, zero_place), "*", color="black",
               markerfacecolor="white" if style == TRAIN else "black", markersize=10)
    set_depth_axis(panel, list(errors))


def draw_interpolation_error(panel, facts, label_place, label):
    """The test error of linear interpolation, and below it, centered, a label."""
    error = facts["dots_test_error"]
    panel.axhline(error, linestyle=":", color="black", linewidth=1.2)
    panel.annotate(label, (label_place, error), (0, -4), textcoords="offset points", ha="center",
                   va="top", fontsize=8)


def set_depth_axis(panel, depths):
    """An x axis with a tick for one layer with fixed hinges, and one for each depth."""
    panel.set(xlabel="hidden layers", xticks=[FIXED_HINGES_PLACE, *range(len(depths))],
              xticklabels=["1,\nsolved", *depths],
              xlim=(FIXED_HINGES_PLACE - 0.6, len(depths) - 0.4))


def draw_tent_maps(panel, results):
    """The training error of every run on the tent maps, and what networks can represent.

    All errors are shares of the best constant's error.
    """
    facts, constants = results["facts"]["tent_map"], results["constants"]
    all_pieces = constants["TENT_PIECES"]
    shares = {}  # {(pieces, depth): (runs,)}
    for bounds in results["tent_map_bounds"]:
        for depth, errors in training_errors(results, bounds["function"]).items():
            shares[bounds["pieces"], depth] = errors / bounds["best_constant"]
    zero_place = set_error_axis(panel, list(shares.values()))

    for (pieces, depth), shares_of_runs in shares.items():
        place, position = tent_map_place(constants, pieces, depth)
        places = place + np.linspace(-0.07, 0.07, len(shares_of_runs))
        panel.plot(places, put_zeros(shares_of_runs, zero_place), MARKERS[position],
                   color=COLORS[position], markersize=5, markerfacecolor="white")
    for row in results["set_by_hand"]:
        place, _ = tent_map_place(constants, row["pieces"], row["depth"])
        error = without_rounding(row["train_mse"], results)
        panel.plot(place, put_zeros(error, zero_place), "X", color="black", markersize=6)

    place, _ = tent_map_place(constants, facts["most_pieces"], depth=1)
    panel.hlines(facts["floor_share"], place - 0.12, place + 0.12, color="black")
    panel.text(place + 0.16, facts["floor_share"], "best possible\nwith 1 layer", va="center",
               fontsize=8)
    right_end = len(all_pieces) - 0.4
    panel.axhline(constants["FITTED_SHARE"], color=GREY, linewidth=1)
    panel.annotate("fits are below", (right_end, constants["FITTED_SHARE"]), (0, -3),
                   textcoords="offset points", ha="right", va="top", fontsize=8)
    tick_labels = []
    for pieces in all_pieces:
        fits = facts["fits"][pieces]
        tick_labels.append(f"{pieces}\n{fits['runs_that_fit']} of {fits['runs']}\nruns fit")
    panel.set(xlabel="straight pieces", xticks=range(len(all_pieces)), xticklabels=tick_labels,
              xlim=(-0.55, right_end), title=tent_map_title(facts),
              ylabel="training error ÷ error of the best constant")


def tent_map_place(constants, pieces, depth):
    """Where draw_tent_maps has a depth on its x axis, and the depth's position among all depths."""
    depths = constants["DEPTHS"]
    position = depths.index(depth)
    offset = np.linspace(-0.33, 0.33, len(depths))[position]
    return constants["TENT_PIECES"].index(pieces) + offset, position


def label_marks(panel, results):
    """Entries of the legend of the main figure."""
    for position, depth in enumerate(results["constants"]["DEPTHS"]):
        panel.plot([], [], MARKERS[position], color=COLORS[position], label=name_depth(depth))
    panel.plot([], [], "o", color=GREY, markerfacecolor="white", label="training, each run")
    panel.plot([], [], "o", color=GREY, label="test, each run")
    panel.plot([], [], "_", color=GREY, markersize=14, label="median")
    panel.plot([], [], "X", color="black", markersize=6, label="weights set by hand")
    panel.plot([], [], "*", color="black", markersize=10, label="1 layer, output solved")


def name_depth(depth):
    """A depth in words, such as "2 hidden layers"."""
    return f"{depth} hidden layer" if depth == 1 else f"{depth} hidden layers"


def plot_details(results):
    """Above the training errors against steps, below what the median runs have learned."""
    smooth, jumping = results["constants"]["QUESTION_FUNCTIONS"]
    pieces = results["facts"]["tent_map"]["partly_fitted_pieces"]
    zigzag = find_row(results["tent_map_bounds"], pieces=pieces)["function"]
    figure, panels = new_figure("How the training error falls, and what the median run learns",
                                results, 2, 3, height=3.3)
    for panel, name in zip(panels[0], (smooth, jumping, zigzag)):
        draw_training(panel, results, name)
    draw_residuals(panels[1, 0], results, smooth)
    draw_fits(panels[1, 1], results, jumping)
    draw_fits(panels[1, 2], results, zigzag)
    panels[0, 0].set_ylabel("training error,\nmedian and quartiles")
    for position, depth in enumerate(results["constants"]["DEPTHS"]):
        panels[0, 0].plot([], [], color=COLORS[position], marker=MARKERS[position], markersize=4,
                          label=name_depth(depth))
    panels[0, 0].plot([], [], color=TRUTH_COLOR, linewidth=4, label="true function")
    legend_below(figure, panels[0, 0], columns=5)
    return figure


def draw_training(panel, results, function_name):
    """The training error of every depth against the steps: the median, and a band of quartiles."""
    curves = results["curves"]
    epochs = curves["epochs"][function_name]
    for position, errors in enumerate(curves["train_mse"][function_name].values()):
        first_quartile, median, third_quartile = np.quantile(errors, [0.25, 0.5, 0.75], axis=0)
        color = COLORS[position]
        panel.fill_between(epochs, first_quartile, third_quartile, color=color, alpha=0.2,
                           linewidth=0)
        panel.plot(epochs, median, TRAIN, color=color, linewidth=1.2, marker=MARKERS[position],
                   markersize=4, markevery=max(len(median) // 5, 1))
    panel.set(yscale="log", xlabel="training steps", xticks=[0, epochs[-1] // 2, epochs[-1]],
              title=training_title(results, function_name))
    panel.xaxis.set_major_formatter("{x:,.0f}")


def training_title(results, function_name):
    """The title of a panel of draw_training."""
    name = function_name.capitalize()
    if function_name in results["constants"]["QUESTION_FUNCTIONS"]:
        best_depth = find_facts(results, function_name)["best_depth"]
        return f"{name}: lowest at the end\nwith {name_depth(best_depth)}"
    pieces = find_row(results["tent_map_bounds"], function=function_name)["pieces"]
    fits = results["facts"]["tent_map"]["fits"][pieces]
    return f"{name}:\n{fits['runs_that_fit']} of {fits['runs']} runs fit"


def draw_fits(panel, results, function_name):
    """What the median run of each depth gives, over the true function."""
    curves = results["curves"]
    truth = np.array(curves["truth"][function_name])
    ticks = [round(truth.min()), round(truth.max())]
    draw_strips(panel, curves["x"], truth, curves["fit"][function_name], ticks)
    panel.set_title(f"{function_name.capitalize()}:\nmedian runs")


def draw_residuals(panel, results, function_name):
    """What the median run of each depth gives, minus the true function."""
    curves = results["curves"]
    truth = np.array(curves["truth"][function_name])
    residuals = {}
    for depth, outputs in curves["fit"][function_name].items():
        residuals[depth] = np.array(outputs) - truth
    largest = np.abs(list(residuals.values())).max()
    tick = float(f"{largest / 2:.0e}")  # one digit
    draw_strips(panel, curves["x"], np.zeros_like(truth), residuals, [-tick, tick])
    panel.set_title(f"{function_name.capitalize()}:\nmedian runs minus true function")


def draw_strips(panel, x, truth, curves, ticks):
    """A curve (x,) of every depth over the same truth (x,), one below another on equal scales.

    curves is {depth: curve}. The ticks are repeated for every depth.
    """
    strip_height = 1.3 * np.ptp([truth, *curves.values()])
    tick_places = []
    for position, curve in enumerate(curves.values()):
        shift = -position * strip_height
        panel.plot(x, truth + shift, color=TRUTH_COLOR, linewidth=4)
        panel.plot(x, np.array(curve) + shift, color=COLORS[position], linewidth=1.2,
                   marker=MARKERS[position], markersize=4, markevery=60)
        tick_places += [tick + shift for tick in ticks]
    tick_labels = [format_number(tick, "g") for tick in ticks] * len(curves)
    panel.set(xlabel="x", yticks=tick_places, yticklabels=tick_labels)


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, plot_details=plot_details,
         collect_facts=collect_facts)
