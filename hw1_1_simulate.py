"""Deep or shallow: which fits a one-dimensional function better with the same number of parameters?

Four ReLU networks of about 571 parameters and 1 to 7 hidden layers are trained on three functions,
many runs each. Each of them gets the learning rate that suits it best on runs kept apart for that
choice. The widest layer has more units than there are points, so that it could fit any values: what
differs here is what training finds, not what a network can represent. The networks of an earlier
report, which differ in size, are trained again beside them.

    python hw1_1_simulate.py              # the report's figure
    python hw1_1_simulate.py --quick      # a tour in seconds
"""

from common.command_line import Flag, main, positive_integer
from common.data import grid, sinc, square_wave, triangle_wave
from common.evaluation import predict
from common.models import mlp, mlp_widths, parameter_count
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
from common.statistics import compare_errors, is_significant, quartile_columns
from common.training import mean_squared_error, run_generators, stacked_runs, train

import numpy as np
import torch

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 10, quick=3, help="reported runs of each network"),
    "epochs": Flag(positive_integer, 20_000, quick=300, help="epochs, one step on all points each"),
    "points": Flag(positive_integer, 128, quick=128,
                   help="training points, evenly spaced on [0, 1]"),
}
FUNCTIONS = {"sinc": sinc, "square wave": square_wave, "triangle wave": triangle_wave}
PARAMETERS = 571  # of every network, to within 1 %
DEPTHS = (1, 2, 4, 7)  # hidden layers
LEARNING_RATES = (3e-3, 1e-2, 3e-2, 1e-1)  # of Adam; the best is chosen for each depth and function
# The learning rate is chosen on shorter selection runs, none of which is reported: run k draws its
# random numbers from (seed, k), and selection runs are numbered from FIRST_SELECTION_RUN on.
SELECTION_RUNS = 10
FIRST_SELECTION_RUN = 1_000_000
# Of the epochs of a reported run. With an eighth, deep networks got rates that suit the beginning
# of a training, and fell behind on the triangle wave.
SELECTION_FRACTION = 1 / 4
TEST_POINTS = 2_000
CURVE_STEP = 5  # every fifth test point is stored and drawn
RECORDS = 100  # times that the error is recorded in a training, about
# Outputs near 1 are rounded by 6e-8 in float32, so that training errors below 1e-14 cannot be told
# apart. They are set to it.
SMALLEST_MSE = 1e-14
FAILED = 0.5  # of the function's variance: a run with a larger final error is hardly better than
# the best constant, and counts as failed
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
EARLIER_FUNCTIONS = ("sinc", "square wave")
EARLIER_LEARNING_RATE = 1e-3
EARLIER_FRACTION = 1 / 6  # of the epochs of a reported run


# --- networks ---


# A stack is one model that holds many networks, one for each run, and trains them side by side. Its
# parameters, outputs and losses have the runs as their first dimension, which inputs that all runs
# share lack. See common/models.py.
def build_model(widths, function_names, run_numbers, settings):
    """A stack of networks: all runs for the first function, then all runs for the second, ..."""
    # Run k starts from the same weights on every function.
    _, stacked_numbers = stacked_runs(function_names, run_numbers)
    generators = run_generators(settings.seed, stacked_numbers, "initialization")
    return mlp(widths, generators).to(settings.device)


# --- training ---


def record_interval(epochs):
    """The number of epochs between two records."""
    return max(epochs // RECORDS, 1)


def recorded_epochs(epochs):
    """The epochs at which train calls record: 0, then one in every interval, and the last one."""
    every_interval = set(range(0, epochs + 1, record_interval(epochs)))
    return sorted(every_interval | {epochs})


def train_model(widths, function_names, run_numbers, learning_rate, epochs, settings):
    """Trains one architecture on several functions, with one run for each of run_numbers.

    Returns {"errors": training errors (runs, functions, records), "outputs": those at the test
    points (runs, functions, TEST_POINTS)}.
    """
    model = build_model(widths, function_names, run_numbers, settings)
    x = grid(settings.points, settings.device)  # (points, 1), shared by all networks
    targets = []
    for name in function_names:
        y = FUNCTIONS[name](x)  # (points, 1)
        targets.append(y.expand(len(run_numbers), -1, -1))  # (runs, points, 1)
    targets = torch.cat(targets)  # (functions · runs, points, 1): each network has its own
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

    Networks of one hidden layer are wide, and gain nothing from a larger stack.
    """
    if depth == 1:
        return [[name] for name in function_names]
    return [list(function_names)]


def selection_pieces(settings):
    """The trainings that choose learning rates.

    Returns {("selection", depth, rate, functions, first run): Piece}.
    """
    runs = min(SELECTION_RUNS, settings.runs)
    run_numbers = range(FIRST_SELECTION_RUN, FIRST_SELECTION_RUN + runs)
    epochs = max(round(SELECTION_FRACTION * settings.epochs), 1)
    pieces = {}
    for depth in DEPTHS:
        for names in group_functions(depth, FUNCTIONS):
            for learning_rate in LEARNING_RATES:
                key = ("selection", depth, learning_rate, tuple(names), FIRST_SELECTION_RUN)
                pieces[key] = make_piece(f"selection, {depth} hidden",
                                         mlp_widths(depth, PARAMETERS), names, run_numbers,
                                         learning_rate, epochs, settings)
    return pieces


def earlier_epochs(settings):
    """The epochs for which the networks of the earlier report are trained."""
    return max(round(EARLIER_FRACTION * settings.epochs), 1)


def earlier_pieces(settings):
    """The trainings of the earlier report's networks: {("earlier", model, first run): Piece}."""
    pieces = {}
    for model, widths in EARLIER_REPORT.items():
        for runs in groups_of_runs(range(settings.runs), RUNS_TOGETHER):
            pieces["earlier", model, runs[0]] = make_piece(
                model, widths, EARLIER_FUNCTIONS, runs, EARLIER_LEARNING_RATE,
                earlier_epochs(settings), settings)
    return pieces


def reported_pieces(learning_rates, settings):
    """The reported trainings: {(depth, rate, functions, first run): Piece}.

    learning_rates are {depth: {function: rate}}. Functions whose rate is the same are trained
    together.
    """
    pieces = {}
    for depth, rates in learning_rates.items():
        for learning_rate in sorted(set(rates.values())):
            same_rate = [name for name in FUNCTIONS if rates[name] == learning_rate]
            for names in group_functions(depth, same_rate):
                for runs in groups_of_runs(range(settings.runs), RUNS_TOGETHER):
                    pieces[depth, learning_rate, tuple(names), runs[0]] = make_piece(
                        f"{depth} hidden", mlp_widths(depth, PARAMETERS), names, runs,
                        learning_rate, settings.epochs, settings)
    return pieces


def choose_learning_rates(trained):
    """The best learning rate of each depth for each function: {depth: {function: rate}}.

    trained are the joined results of selection_pieces, among others.
    """
    final_errors = {depth: {rate: {} for rate in LEARNING_RATES} for depth in DEPTHS}
    for key, result in trained.items():
        if key[0] == "selection":
            _, depth, learning_rate, names = key
            for position, name in enumerate(names):
                final_errors[depth][learning_rate][name] = result["errors"][:, position, -1]
    return {depth: best_learning_rates(errors) for depth, errors in final_errors.items()}


def best_learning_rates(final_errors):
    """For each function the learning rate with the lowest third quartile of the error.

    final_errors is {learning rate: {function: errors (runs,)}}. The quartile rather than the
    median, because a rate at which half of the runs excel and half collapse is no good choice.
    """
    best = {}
    for function_name in FUNCTIONS:
        third_quartiles = {}
        for learning_rate, errors in final_errors.items():
            third_quartiles[learning_rate] = np.quantile(errors[function_name], 0.75)
        best[function_name] = min(third_quartiles, key=third_quartiles.get)
    return best


# --- summing up ---


def true_values(function_name):
    """A function at the test points: (TEST_POINTS,)."""
    return FUNCTIONS[function_name](grid(TEST_POINTS)).squeeze(1).numpy()


def summarize_network(function_name, depth, learning_rate, train_errors, test_errors):
    """One row of the table, of one network on one function.

    train_errors and test_errors are those at the end of all runs (runs,).
    """
    widths = mlp_widths(depth, PARAMETERS)
    failed = train_errors > FAILED * true_values(function_name).var()
    return {
        "function": function_name,
        "model": f"{depth} hidden",
        "runs": len(train_errors),
        "failed_runs": failed.sum(),
        "depth": depth,
        "width": max(widths),
        "parameters": count_parameters(widths),
        "learning_rate": learning_rate,
        **quartile_columns("train_mse", train_errors),
        **quartile_columns("test_mse", test_errors),
    }


def connect_the_dots(settings):
    """Rows: the test error of straight lines between the training points, for each function.

    A network of one hidden layer with as many hinges as points is just such a function: it fits
    every training point, and no training is needed to find it.
    """
    x = grid(settings.points).squeeze(1).numpy()
    test_x = grid(TEST_POINTS).squeeze(1).numpy()
    rows = []
    for name, function in FUNCTIONS.items():
        y = function(grid(settings.points)).squeeze(1).numpy()
        outputs = np.interp(test_x, x, y)
        rows.append({"function": name, "points": settings.points,
                     "test_mse": ((outputs - true_values(name)) ** 2).mean()})
    return rows


def count_parameters(widths):
    """The parameters of one network of these widths."""
    return parameter_count(mlp(widths, [torch.Generator()]))


def summarize_earlier_report(trained, settings):
    """The networks of the earlier report: the rows of its table, and all final errors.

    trained are the joined results of earlier_pieces, among others. The final errors are {function:
    {model: errors (runs,)}}.
    """
    rows, final_errors = [], {name: {} for name in EARLIER_FUNCTIONS}
    for model, widths in EARLIER_REPORT.items():
        for position, function_name in enumerate(EARLIER_FUNCTIONS):
            errors = trained["earlier", model]["errors"][:, position]  # (runs, records)
            final_errors[function_name][model] = errors[:, -1]
            rows.append({
                "function": function_name,
                "model": model,
                "parameters": count_parameters(widths),
                "runs": len(errors),
                "epochs": earlier_epochs(settings),
                **quartile_columns("train_mse", errors[:, -1]),
            })
    rows.sort(key=lambda row: row["function"])
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
    first_pieces = selection_pieces(settings) | earlier_pieces(settings)
    # Which functions share a stack is known only later, and makes little difference.
    usual_rates = {depth: dict.fromkeys(FUNCTIONS, LEARNING_RATES[0]) for depth in DEPTHS}
    later_cost = total_cost(reported_pieces(usual_rates, settings))
    first_trained = join_groups(run_pieces(first_pieces, settings, later_cost))
    learning_rates = choose_learning_rates(first_trained)
    trained = join_groups(run_pieces(reported_pieces(learning_rates, settings), settings))

    table = []
    train_mse = {name: {} for name in FUNCTIONS}  # during training
    final_train_mse = {name: {} for name in FUNCTIONS}
    test_mse = {name: {} for name in FUNCTIONS}  # at the end
    fits = {name: {} for name in FUNCTIONS}
    for (depth, learning_rate, names), result in trained.items():
        for position, name in enumerate(names):
            errors, outputs = result["errors"][:, position], result["outputs"][:, position]
            final_errors = errors[:, -1]  # (runs,)
            test_errors = ((outputs - true_values(name)) ** 2).mean(1)  # (runs,)
            table.append(summarize_network(name, depth, learning_rate, final_errors, test_errors))
            train_mse[name][depth] = errors
            final_train_mse[name][depth] = final_errors
            test_mse[name][depth] = test_errors
            median_run = np.argsort(final_errors)[len(final_errors) // 2]
            fits[name][depth] = outputs[median_run, ::CURVE_STEP]
    table.sort(key=lambda row: (list(FUNCTIONS).index(row["function"]), row["depth"]))

    earlier_table, earlier_errors = summarize_earlier_report(first_trained, settings)
    truth = {name: true_values(name)[::CURVE_STEP] for name in FUNCTIONS}
    return {
        "constants": {
            "PARAMETERS": PARAMETERS,
            "DEPTHS": DEPTHS,
            "LEARNING_RATES": LEARNING_RATES,
            "SELECTION_RUNS": SELECTION_RUNS,
            "SELECTION_FRACTION": SELECTION_FRACTION,
            "TEST_POINTS": TEST_POINTS,
            "SMALLEST_MSE": SMALLEST_MSE,
            "FAILED": FAILED,
            "EARLIER_LEARNING_RATE": EARLIER_LEARNING_RATE,
        },
        "table": table,
        "comparisons": compare_networks(final_train_mse),
        "test_comparisons": compare_networks(test_mse),
        "connected_dots": connect_the_dots(settings),
        "earlier_report": earlier_table,
        "earlier_comparisons": compare_networks(earlier_errors),
        "curves": {
            "epochs": recorded_epochs(settings.epochs),
            "x": grid(TEST_POINTS)[::CURVE_STEP, 0],
            "truth": truth,
            "train_mse": train_mse,
            "test_mse": test_mse,
            "fit": fits,
        },
    }


def collect_facts(results):
    """What figure and report say: errors are mean squared errors, p-values Holm's.

    A p-value of None stands for "no winner" or "not tested".
    """
    table = results["table"]
    one_layer = [row for row in table if row["depth"] == 1]
    deeper = [row for row in table if row["depth"] > 1]
    facts = {
        # One hidden layer can bend once for each unit, and so fit any values at as many points.
        "hinges": one_layer[0]["width"],
        "can_fit_every_point": one_layer[0]["width"] >= results["settings"]["points"],
        "one_layer_runs": sum(row["runs"] for row in one_layer),
        "one_layer_failed_runs": sum(row["failed_runs"] for row in one_layer),
        "deeper_runs": sum(row["runs"] for row in deeper),
        "deeper_failed_runs": sum(row["failed_runs"] for row in deeper),
    }
    for name in results["curves"]["truth"]:
        facts[name.replace(" ", "_")] = function_facts(results, name)
    # Of the two functions that the question names.
    sinc, square_wave = facts["sinc"], facts["square_wave"]
    one_wins = [1] in (sinc["winners"], square_wave["winners"])
    both_have_winners = bool(sinc["winners"] and square_wave["winners"])
    differ = one_wins and both_have_winners and sinc["winners"] != square_wave["winners"]
    facts["no_depth_wins_both"] = differ
    facts["no_depth_wins_both_p_value"] = (max(sinc["p_value"], square_wave["p_value"])
                                           if differ else None)
    return facts


def function_facts(results, function_name):
    """The facts of one function.

    winners and p_value are about training errors, test_winners and test_p_value about test errors.
    """
    rows = [row for row in results["table"] if row["function"] == function_name]
    dots = find_row(results["connected_dots"], function=function_name)
    best_row = min(rows, key=lambda row: row["train_mse_median"])
    lowest_test_error = min(row["test_mse_median"] for row in rows)
    winners, p_value = find_winners(results["comparisons"], function_name)
    test_winners, test_p_value = find_winners(results["test_comparisons"], function_name)
    one_layer_row = find_row(rows, depth=1)
    deeper_below_dots, deeper_as_good = 0, False
    for depth, test_errors in results["curves"]["test_mse"][function_name].items():
        train_errors = np.array(results["curves"]["train_mse"][function_name][depth])[:, -1]
        if depth > 1:
            deeper_below_dots += sum(error < dots["test_mse"] for error in test_errors)
            deeper_as_good |= bool(train_errors.min() <= one_layer_row["train_mse_median"])
    return {
        "winners": winners,
        "p_value": p_value,
        "test_winners": test_winners,
        "test_p_value": test_p_value,
        "best_depth": best_row["depth"],
        "lowest_training_error": best_row["train_mse_median"],  # median over runs
        "lowest_test_error": lowest_test_error,  # median over runs
        "dots_test_error": dots["test_mse"],  # of straight lines from point to point
        "times_dots": lowest_test_error / dots["test_mse"],
        "deeper_runs_below_dots": deeper_below_dots,
        # Whether some deeper run reaches the median training error of one hidden layer.
        "a_deeper_run_reaches_one_layer": deeper_as_good,
        # Lowest median test error, as a fraction of the function's variance.
        "unexplained": lowest_test_error / np.var(results["curves"]["truth"][function_name]),
    }


def find_winners(comparisons, function_name):
    """The depths that win on a function, a list, and the p-value: one layer against deeper ones.

    One layer wins where it is better than every deeper network. Of deeper networks all those win
    that are better than one layer. Better means by a p-value that is significant; the largest
    of those that count is given. comparisons are rows of compare_networks.
    """
    worse_than_one, better_than_one = {}, {}  # {depth: p-value}
    for row in comparisons:
        if row["function"] == function_name and row["better"] == 1:
            worse_than_one[row["worse"]] = row["p_value"]
        elif row["function"] == function_name and row["worse"] == 1:
            better_than_one[row["better"]] = row["p_value"]
    winners = [depth for depth, p_value in better_than_one.items() if is_significant(p_value)]
    if winners:
        return sorted(winners), max(better_than_one[depth] for depth in winners)
    p_values = list(worse_than_one.values())
    if p_values and not better_than_one and all(map(is_significant, p_values)):
        return [1], max(p_values)
    return [], None


# --- drawing ---


def plot(results):
    """A column for each function: final errors, large; below, training and fits."""
    figure, panels = new_figure(describe_winners(results), results, 3, 3, height=2.8,
                                height_ratios=[4, 2.5, 2.5])
    for column, name in zip(panels.T, results["curves"]["truth"]):
        errors_panel, training_panel, fit_panel = column
        draw_final_errors(errors_panel, results, name)
        draw_training(training_panel, results, name)
        draw_fits(fit_panel, results, name)
    errors_panel, training_panel, fit_panel = panels[:, 0]
    errors_panel.set_ylabel("mean squared error of each run")
    training_panel.set_ylabel("training error,\nmedian of the runs")
    fit_panel.set_ylabel("f(x), median run")
    legend_below(figure, fit_panel, errors_panel, columns=4)
    return figure


def function_fact(results, function_name):
    """The facts of one function."""
    return results["facts"][function_name.replace(" ", "_")]


def describe_winners(results):
    """The title of the figure: which networks win on which functions."""
    functions_of_winners = {}
    for name in results["curves"]["truth"]:
        winners = name_winners(results, name) or "undecided"
        functions_of_winners.setdefault(winners, []).append(name)
    parts = [f"{winners} on {' and '.join(names)}"
             for winners, names in functions_of_winners.items()]
    return f"Best fit: {', '.join(parts)}"


def name_winners(results, function_name):
    """The networks that win on a function: "1 layer", "deeper networks", "2 or 4 layers", or None.
    """
    depths = function_fact(results, function_name)["winners"]
    if not depths:
        return None
    if depths == [1]:
        return "1 layer"
    if len(depths) == len(results["constants"]["DEPTHS"]) - 1:
        return "deeper networks"
    return f"{' or '.join(str(depth) for depth in depths)} layers"


def draw_final_errors(panel, results, function_name):
    """Training and test error of every run at the end, and the medians, for each depth.

    A dotted line shows the test error of straight lines from point to point.
    """
    curves = results["curves"]
    depths = list(curves["train_mse"][function_name])
    labels = []
    for position, depth in enumerate(depths):
        train_errors = np.array(curves["train_mse"][function_name][depth])[:, -1]
        test_errors = np.array(curves["test_mse"][function_name][depth])
        color, marker = COLORS[position], MARKERS[position]
        draw_final(panel, position - 0.2, train_errors, np.median, color, marker, TRAIN, width=0.34)
        draw_final(panel, position + 0.2, test_errors, np.median, color, marker, TEST, width=0.34)
        row = find_row(results["table"], function=function_name, depth=depth)
        labels.append(f"{depth}\n{row['failed_runs']} failed")
    facts = function_fact(results, function_name)
    for name, style, face in (("training", TRAIN, "white"), ("test", TEST, GREY)):
        panel.plot([], [], style, color=GREY, marker="o", markerfacecolor=face, label=name)
    panel.axhline(facts["dots_test_error"], linestyle=":", color=GREY,
                  label="straight lines from point to point (test)")
    panel.set(yscale="log", xlabel="hidden layers, and runs that failed",
              xticks=range(len(depths)), xticklabels=labels,
              title=f"{function_name.capitalize()}:\n"
                    f"best: {name_winners(results, function_name) or 'undecided'}")


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
              title=f"Lowest median: depth {best_depth}")
    panel.xaxis.set_major_formatter("{x:,.0f}")


def draw_fits(panel, results, function_name):
    """The function, and the outputs of the run with the median training error of every depth."""
    curves = results["curves"]
    panel.plot(curves["x"], curves["truth"][function_name], color="#cccccc", linewidth=5)
    for position, (depth, outputs) in enumerate(curves["fit"][function_name].items()):
        # Markers start at another place for each depth, so that none hides another.
        panel.plot(curves["x"], outputs, color=COLORS[position], linewidth=1,
                   marker=MARKERS[position], markersize=4, markevery=(15 * position, 60),
                   label=f"{depth} hidden layer{'s' if depth > 1 else ''}")
    panel.plot([], [], color="#cccccc", linewidth=5, label="true function")
    unexplained = function_fact(results, function_name)["unexplained"]
    finding = "No median run fits it all" if unexplained > 0.05 else "The best median run fits"
    panel.set(title=finding, xlabel="x")


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, collect_facts=collect_facts)
