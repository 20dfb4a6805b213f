"""What the nine scripts claim, on inputs made by hand whose answers are known.

Two runs, epochs or networks never have the same value here, so that a mean over the wrong axis, a
wrong sign or a swapped pair shows.
"""

import copy
import importlib
import itertools
import math
import warnings
from pathlib import Path
from types import SimpleNamespace

import hw1_1_mnist
import hw1_1_simulate
import hw1_2_gradnorm
import hw1_2_minratio
import hw1_2_pca
import hw1_3_flatness
import hw1_3_params
import hw1_3_random_labels
import hw1_3_sensitivity
from common import plotting
from common.command_line import UsageError
from common.data import Dataset
from common.evaluation import evaluate
from common.models import cnn, mlp, parameter_count
from common.parameters import interpolate, parameter_vectors, unflatten
from common.pieces import join_groups
from common.results import png_of, read_results
from common.statistics import find_peak
from common.training import cross_entropy, mean_squared_error, run_generators, train
from common.trajectory import fit_plane, random_walks

import matplotlib
import numpy as np
import pytest
import torch
from scipy import stats

FIGURES = Path(__file__).parent.parent / "figures"
T_ONE_DEGREE, T_TWO_DEGREES = 12.706204736, 4.302652730  # Student's 97.5 % quantiles, from a table


def half_width(*values):
    """The half width of the 95 % t-interval of two or three runs' mean."""
    quantile = {2: T_ONE_DEGREE, 3: T_TWO_DEGREES}[len(values)]
    return pytest.approx(quantile * np.std(values, ddof=1) / math.sqrt(len(values)))


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


# --- hw1_1_simulate ---


def simulate_settings():
    return SimpleNamespace(seed=0, runs=3, epochs=64, points=16, device=torch.device("cpu"))


def selected(last_errors):
    """What the selection runs give: last_errors(depth, rate, function) are those at their ends.

    The errors before mislead: the lower the last one, the higher they are.
    """
    trained = {}
    for depth, rate, name in itertools.product(
            hw1_1_simulate.DEPTHS, hw1_1_simulate.LEARNING_RATES, hw1_1_simulate.FUNCTIONS):
        errors = [[3 - error, error] for error in last_errors(depth, rate, name)]
        trained["selection", depth, rate, name] = {"errors": np.array(errors)}  # (runs, records)
    return trained


def test_the_best_learning_rate_has_the_lowest_third_quartile_not_the_lowest_median(monkeypatch):
    monkeypatch.setattr(hw1_1_simulate, "LEARNING_RATES", (1e-3, 1e-2, 1e-1))
    excels_or_collapses, steady, bad = [0, 0, 0, 1, 1], [0.2] * 5, [2.0] * 5
    errors = {1e-3: excels_or_collapses, 1e-2: steady, 1e-1: bad}
    trained = selected(lambda depth, rate, name: errors[rate])
    assert set(hw1_1_simulate.choose_learning_rates(trained).values()) == {1e-2}


def test_each_depth_gets_its_own_best_rate_for_each_function_by_the_last_errors():
    functions, rates = list(hw1_1_simulate.FUNCTIONS), hw1_1_simulate.LEARNING_RATES
    best = {}  # another rate for each depth and function
    for row, depth in enumerate(hw1_1_simulate.DEPTHS):
        for column, name in enumerate(functions):
            best[depth, name] = rates[(row + 2 * column) % 4]
    trained = selected(lambda depth, rate, name: [0.1 if best[depth, name] == rate else 0.3] * 3)
    trained["reported", 1, rates[3], functions[0]] = {"errors": np.zeros((3, 2))}  # misleads too
    assert hw1_1_simulate.choose_learning_rates(trained) == best


def test_functions_of_equal_rate_and_points_are_trained_together_but_not_by_wide_networks(
        monkeypatch):
    names = list(hw1_1_simulate.FUNCTIONS)
    rates = dict.fromkeys(itertools.product(hw1_1_simulate.DEPTHS, names), 0.01)
    few, some, more, most = hw1_1_simulate.TENT_MAPS
    rates |= {(7, "sinc"): 0.03, (7, some): 0.03, (7, most): 0.03}
    monkeypatch.setattr(hw1_1_simulate, "RUNS_TOGETHER", 2)
    pieces = hw1_1_simulate.reported_pieces(rates, simulate_settings())
    stacks = {(1, 0.01, (name,)) for name in names}
    for depth in (2, 4):
        stacks |= {(depth, 0.01, ("sinc", "square wave")), (depth, 0.01, (few, some, more, most))}
    stacks |= {(7, 0.01, ("square wave",)), (7, 0.03, ("sinc",)), (7, 0.01, (few, more)),
               (7, 0.03, (some, most))}
    assert set(pieces) == {("reported", *stack, run) for stack in stacks for run in (0, 2)}
    for (_, depth, rate, names, first_run), piece in pieces.items():
        assert piece.function is hw1_1_simulate.train_model
        widths, functions, runs, learning_rate, epochs, _ = piece.arguments
        assert (len(widths) - 2, tuple(functions), learning_rate) == (depth, names, rate)
        assert list(runs) == {0: [0, 1], 2: [2]}[first_run]
        assert epochs == piece.steps == (16 if "tent map" in names[0] else 64)


def test_all_results_belong_to_their_network_function_and_run(monkeypatch):
    """Trainings in which every number says what it belongs to."""
    settings, functions = simulate_settings(), list(hw1_1_simulate.FUNCTIONS)
    vars(settings).update(jobs=1, cluster=None, experiment="test")
    # Two functions share their best rate, and with it a stack.
    best = {(depth, name): hw1_1_simulate.LEARNING_RATES[(depth + place // 2) % 4]
            for depth in (1, 2, 4, 7) for place, name in enumerate(functions)}
    sizes = {tuple(widths): 100 + place
             for place, widths in enumerate(hw1_1_simulate.EARLIER_REPORT.values())}

    def error(widths, name, run, rate):
        depth = len(widths) - 2
        if run >= hw1_1_simulate.FIRST_SELECTION_RUN:
            return 1.0 if rate == best[depth, name] else 2.0
        size = sizes.get(tuple(widths), depth)
        return 1e4 * size + 100 * functions.index(name) + 10 * run + rate

    def train_model(widths, names, run_numbers, rate, epochs, settings):
        errors = np.array([[[9e9, error(widths, name, run, rate)] for name in names]
                           for run in run_numbers])
        return {"errors": errors, "outputs": np.repeat(errors[..., -1:], 2_000, axis=2)}

    monkeypatch.setattr(hw1_1_simulate, "train_model", train_model)
    monkeypatch.setattr(hw1_1_simulate, "RUNS_TOGETHER", 2)
    results = hw1_1_simulate.run(settings)
    for place, (name, depth) in enumerate(itertools.product(functions, (1, 2, 4, 7))):
        rate, row = best[depth, name], results["table"][place]
        errors = [error([0] * (depth + 2), name, run, rate) for run in range(3)]
        assert (row["function"], row["depth"], row["learning_rate"]) == (name, depth, rate)
        assert (row["runs"], row["train_mse_median"]) == (3, pytest.approx(errors[1]))
        final_errors = np.array(results["curves"]["train_mse"][name][depth])[:, -1]
        assert final_errors.tolist() == pytest.approx(errors)
        assert results["curves"]["fit"][name][depth] == pytest.approx([errors[1]] * 400)
        assert results["curves"]["epochs"][name][-1] == (16 if "tent map" in name else 64)
        # The outputs are the errors too, far larger than the functions.
        assert results["curves"]["test_mse"][name][depth] == pytest.approx(
            [error**2 for error in errors], rel=1e-2)
    earlier = {(row["function"], row["model"]): row for row in results["earlier_report"]}
    assert len(earlier) == len(results["earlier_report"]) == 2 * 4
    for name, (model, widths) in itertools.product(
            ("sinc", "square wave"), hw1_1_simulate.EARLIER_REPORT.items()):
        row = earlier[name, model]
        assert row["runs"] == 3
        assert row["train_mse_median"] == pytest.approx(error(widths, name, 1, 1e-3))


def test_rates_are_chosen_in_shorter_runs_that_are_not_reported():
    settings = simulate_settings()
    pieces = hw1_1_simulate.selection_pieces(settings)
    tried = [(depth, rate, name) for _, depth, rate, names, _ in pieces for name in names]
    assert sorted(tried) == sorted(itertools.product(
        hw1_1_simulate.DEPTHS, hw1_1_simulate.LEARNING_RATES, hw1_1_simulate.FUNCTIONS))
    for (_, depth, rate, names, _), piece in pieces.items():
        widths, functions, runs, learning_rate, epochs, _ = piece.arguments
        assert (len(widths) - 2, tuple(functions), learning_rate) == (depth, names, rate)
        assert epochs == piece.steps == (4 if "tent map" in names[0] else 16)  # a quarter
        assert len(runs) == 3 and not set(runs) & set(range(settings.runs))
    settings.runs = 15
    assert {len(piece.arguments[2]) for piece in
            hw1_1_simulate.selection_pieces(settings).values()} == {10}


def test_a_networks_training_does_not_depend_on_the_others_in_its_stack():
    settings, widths = simulate_settings(), [1, 6, 6, 1]
    names = ["sinc", "square wave"]
    together = hw1_1_simulate.train_model(widths, names, range(2), 0.01, 12, settings)
    assert together["errors"].shape == (2, 2, 13)  # runs, functions, records
    assert together["outputs"].shape == (2, 2, hw1_1_simulate.TEST_POINTS)
    for place, name in enumerate(names):
        for run in range(2):
            alone = hw1_1_simulate.train_model(widths, [name], [run], 0.01, 12, settings)
            for quantity, values in together.items():
                np.testing.assert_allclose(values[run, place], alone[quantity][0, 0], rtol=1e-3,
                                           atol=1e-5)


@pytest.mark.parametrize("epochs, expected", [
    (3, [0, 1, 2, 3]),
    (250, list(range(0, 251, 2))),
    (301, [*range(0, 301, 3), 301]),
])
def test_recorded_epochs_are_those_at_which_a_training_records(epochs, expected):
    assert hw1_1_simulate.recorded_epochs(epochs) == expected
    model, recorded = mlp([1, 1], [torch.Generator()]), []
    train(model, torch.ones(1, 1), torch.ones(1, 1, 1), mean_squared_error, epochs=epochs,
          learning_rate=0.01, record=recorded.append,
          record_every=hw1_1_simulate.record_interval(epochs))
    assert recorded == expected


def test_networks_are_compared_on_each_function():
    low, high = np.array([1e-6, 2e-6, 4e-6]), np.array([1e-4, 4e-4, 1e-6])
    rows = hw1_1_simulate.compare_networks({"sinc": {1: high, 2: low}, "wave": {1: low, 2: high}})
    assert [(row["function"], row["better"], row["worse"]) for row in rows] == [
        ("sinc", 2, 1), ("wave", 1, 2)]
    for row in rows:
        assert row["median_ratio"] == pytest.approx(50)  # 1e-4 over 2e-6
        assert row["chance_of_lower_error"] == pytest.approx((3 + 3 + 0.5) / 9)  # one tie


def test_linear_interpolation_misses_only_what_lies_between_the_points():
    rows = hw1_1_simulate.interpolate_linearly(SimpleNamespace(points=1_000))
    errors = {row["function"]: row["test_mse"] for row in rows}
    # Between 1,000 points: curvature for sinc, one interval for each jump of the square wave. Tent
    # maps are straight between their own points.
    assert errors["sinc"] < 1e-9
    assert all(errors[name] < 1e-24 for name in hw1_1_simulate.TENT_MAPS)
    test_jumps = 4  # of the height 2 in [0, 1], each within one interval of two test points
    assert 0 < errors["square wave"] <= test_jumps * 2 * 1 / hw1_1_simulate.TEST_POINTS


# --- hw1_1_mnist ---


def test_networks_are_compared_run_by_run_on_each_task():
    accuracies = {"1 conv 5×5": np.array([0.94, 0.95, 0.96]),
                  "2 conv 3×3": np.array([0.95, 0.97, 0.99]),
                  "4 conv 3×3": np.array([0.90, 0.90, 0.91])}
    rows = hw1_1_mnist.compare_networks({"MNIST": accuracies, "digits": accuracies})
    assert [row["dataset"] for row in rows] == ["MNIST"] * 3 + ["digits"] * 3
    assert [(row["better"], row["worse"], row["isolates_depth"]) for row in rows[:3]] == [
        ("2 conv 3×3", "1 conv 5×5", True), ("1 conv 5×5", "4 conv 3×3", False),
        ("2 conv 3×3", "4 conv 3×3", False)]
    assert rows[0]["accuracy_difference"] == pytest.approx(0.02)
    assert rows[0]["difference_ci95"] == half_width(0.01, 0.02, 0.03)


def test_the_networks_of_a_pair_see_the_same_pixels_with_the_same_number_of_parameters():
    for shallow, deep in hw1_1_mnist.DEPTH_PAIRS:
        blocks, deep_blocks = (hw1_1_mnist.MODELS[name]["blocks"] for name in (shallow, deep))
        kernels = [hw1_1_mnist.MODELS[name]["kernel"] for name in (shallow, deep)]
        # Two convolutions of 3×3 see 5×5 pixels.
        assert kernels == [5, 3] and deep_blocks == [[c, c] for (c,) in blocks]
        # The same number of features and, to 1 %, of parameters enter the same linear layers.
        sizes = [parameter_count(hw1_1_mnist.build_model(name, 0, SimpleNamespace(
            seed=0, device=torch.device("cpu")))) for name in (shallow, deep)]
        assert sizes == pytest.approx([hw1_1_mnist.PARAMETERS] * 2, rel=0.01)


def pair_results():
    def row(better, worse, p_value, difference):
        return {"dataset": "MNIST", "better": better, "worse": worse, "p_value": p_value,
                "accuracy_difference": difference, "difference_ci95": 0.001}

    table = [{"dataset": "MNIST", "model": name, "test_accuracy": accuracy,
              "test_accuracy_ci95": 0.002, "hidden_width": 20} for name, accuracy in
             (("a", 0.95), ("A", 0.96), ("b", 0.98), ("B", 0.97))]
    return {"constants": {"DEPTH_PAIRS": [["a", "A"], ["b", "B"]]}, "curves": {"MNIST": {}},
            "table": table,
            "comparisons": [row("A", "a", 0.01, 0.0123), row("b", "B", 0.049, 0.01),
                            row("b", "a", 0.051, 0.03), row("B", "A", 0.002, 0.0154)]}


def test_facts_of_a_pair_are_of_the_deeper_network_minus_the_shallower_one():
    facts = hw1_1_mnist.collect_facts(pair_results())
    assert (facts["main_task"], facts["small_task"], facts["small"]) == ("MNIST", None, None)
    main = facts["main"]
    assert main["best_network"] == "b" and main["lowest_accuracy"] == 0.95
    assert main["best_accuracy"] == {"value": 0.98, "ci95": 0.002}
    assert main["one_block"] == {"difference": {"value": 0.0123, "ci95": 0.001}, "p_value": 0.01,
                                 "winner": "A"}
    assert main["two_blocks"] == {"difference": {"value": -0.01, "ci95": 0.001}, "p_value": 0.049,
                                  "winner": "b"}
    assert main["second_block_5x5"]["winner"] is None  # p is not below 0.05
    assert main["second_block_5x5"]["difference"]["value"] == 0.03
    assert main["second_block_3x3"] == {"difference": {"value": 0.0154, "ci95": 0.001},
                                        "p_value": 0.002, "winner": "B"}


def test_the_title_says_what_depth_and_a_second_block_change():
    results = pair_results()
    assert hw1_1_mnist.figure_title(hw1_1_mnist.collect_facts(results)) == (
        "MNIST: depth alone makes 1.2 points fewer errors with one block, 1.0 points more errors "
        "with two; a second block, 1.5 points fewer errors with 3×3 only")
    results["comparisons"][2]["p_value"] = 0.049
    assert hw1_1_mnist.figure_title(hw1_1_mnist.collect_facts(results)).endswith(
        "; a second block, 1.5 to 3.0 points fewer errors")
    results["comparisons"][2]["accuracy_difference"] = 0.0152
    assert hw1_1_mnist.figure_title(hw1_1_mnist.collect_facts(results)).endswith(
        "; a second block, 1.5 points fewer errors")
    for row in results["comparisons"]:
        row["p_value"] = None
    assert hw1_1_mnist.figure_title(hw1_1_mnist.collect_facts(results)) == (
        "MNIST: depth alone makes no clear difference; a second block, no clear difference")


def test_a_networks_row_has_the_means_over_runs_at_the_end():
    history = {  # two runs, three epochs
        "train_loss": np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 0.5]]),
        "test_loss": np.array([[3.0, 2.0, 1.5], [3.0, 2.0, 2.5]]),
        "train_accuracy": np.array([[0.1, 0.5, 1.0], [0.1, 0.5, 0.8]]),
        "test_accuracy": np.array([[0.1, 0.99, 0.6], [0.1, 0.99, 0.8]]),
    }
    data = SimpleNamespace(name="mnist", train_images=range(50), test_images=range(20))
    settings = SimpleNamespace(runs=2, train_size=70, seed=0, device=torch.device("cpu"))
    row = hw1_1_mnist.summarize_model("4 conv 3×3", history, data, 2, settings)
    # 80 + 584 + 1,168 + 2,320 of the convolutions, and 785 · 35 + 36 · 10 of the linear layers
    assert (row["hidden_width"], row["parameters"]) == (35, 4_152 + 785 * 35 + 360)
    # 9 · (8 + 64) at 28², 9 · (128 + 256) at 14², and the linear layers without biases
    assert row["multiplications"] == 784 * 648 + 196 * 3_456 + 784 * 35 + 350
    assert (row["train_images"], row["test_images"]) == (50, 20)
    assert (row["test_accuracy"], row["test_accuracy_ci95"]) == (
        pytest.approx(0.7), half_width(0.6, 0.8))
    settings.train_size = 40
    row = hw1_1_mnist.summarize_model("1 conv 5×5", history, data, 2, settings)
    assert (row["train_images"], row["kernel"]) == (40, 5)
    assert row["parameters"] == 208 + 1_569 * 20 + 21 * 10


# --- hw1_2_pca ---


def test_the_variance_and_the_coordinates_of_every_view_are_those_of_its_own_plane():
    # squares of 8 and 2 along the axes
    paths = 5 + tensor([[[2, 0, 0], [-2, 0, 0]], [[0, 1, 0], [0, -1, 0]]])
    layer_paths = tensor([[[1, 0], [0, 0]], [[0, 3], [0, 0]]])
    fractions = hw1_2_pca.measure_views(paths, layer_paths)
    assert list(fractions) == ["whole-model", "one-layer", "from-start", "own-path"]
    assert fractions["whole-model"] == pytest.approx([0.8, 0.2])
    # around their mean these points have the matrix [[12, −2], [−2, 3]]: (0, 0), (−4, 0), (0, 0)
    # and (0, −2); and those of the layer [[0.75, −0.75], [−0.75, 6.75]]
    root = math.sqrt(97)
    assert fractions["from-start"] == pytest.approx([(15 + root) / 30, (15 - root) / 30])
    root = math.sqrt(6**2 + 4 * 0.75**2)
    assert fractions["one-layer"] == pytest.approx([(7.5 + root) / 15, (7.5 - root) / 15])
    np.testing.assert_allclose(fractions["own-path"], [[1, 0], [1, 0]], atol=1e-12)

    on_planes = hw1_2_pca.place_on_planes(paths, layer_paths)
    assert list(on_planes) == ["whole-model", "one-layer", "from-start"]
    np.testing.assert_allclose(abs(on_planes["whole-model"]),
                               [[[2, 0], [2, 0]], [[0, 1], [0, 1]]], atol=1e-12)
    lengths = np.linalg.norm(np.diff(on_planes["from-start"], axis=1), axis=2)
    np.testing.assert_allclose(lengths, [[4], [2]])


def walk_task():
    """Paths of three runs, those of a layer, and settings."""
    random = torch.Generator().manual_seed(0)
    paths = torch.randn(3, 5, 30, dtype=torch.float64, generator=random).cumsum(1)
    settings = SimpleNamespace(seed=4, runs=3, jobs=1, cluster=None, experiment="test",
                               device=torch.device("cpu"))
    return paths, 2 * paths[:, :, 10:20], settings


def test_every_walk_of_every_set_has_a_generator_of_its_own():
    paths, layer_paths, settings = walk_task()
    for set_number, numbers in ((0, (0, 1, 2)), (1, (3, 4, 5)), (7, (21, 22, 23))):
        walks, layer_walks = hw1_2_pca.draw_walks(paths, layer_paths, set_number, settings)
        for run, number in enumerate(numbers):
            generators = run_generators(4, [number], "probe")
            one = slice(run, run + 1)
            torch.testing.assert_close(walks[one], random_walks(paths[one], generators))
            torch.testing.assert_close(layer_walks[one], random_walks(layer_paths[one], generators))


def test_random_walks_are_the_same_however_they_are_cut_into_pieces(monkeypatch):
    paths, layer_paths, settings = walk_task()
    monkeypatch.setattr(hw1_2_pca, "WALK_SETS", 5)
    expected = [hw1_2_pca.measure_views(*hw1_2_pca.draw_walks(paths, layer_paths, number, settings))
                for number in range(5)]
    for sets_in_piece in (2, 5):
        monkeypatch.setattr(hw1_2_pca, "SETS_IN_PIECE", sets_in_piece)
        fractions = hw1_2_pca.measure_all_walks(paths, layer_paths, 0, settings)
        assert {view: values.shape for view, values in fractions.items()} == {
            "whole-model": (5, 2), "one-layer": (5, 2), "from-start": (5, 2), "own-path": (5, 3, 2)}
        for view, values in fractions.items():
            np.testing.assert_array_equal(values, [of_set[view] for of_set in expected])
    assert len(np.unique(fractions["whole-model"])) == 10  # no walk is drawn twice


@pytest.mark.parametrize(("value", "as_far"), [
    (3, 5),  # the median itself: all five
    (5, 2),  # by 2: 1 and 10
    (1, 2),  # by 2 on the other side
    (9, 1),  # by 6: 10 alone
    (100, 0),
    (-100, 0),
])
def test_a_p_value_counts_controls_as_far_from_their_median(value, as_far):
    controls = np.array([2.0, 10.0, 1.0, 4.0, 3.0])  # their median is 3
    assert hw1_2_pca.monte_carlo_p_value(value, controls) == pytest.approx((as_far + 1) / 6)


def test_rounding_does_not_make_a_p_value():
    assert hw1_2_pca.monte_carlo_p_value(1 + 1e-13, np.ones(200)) == 1


def test_fractions_of_variance_are_compared_with_those_of_random_walks():
    walk_fractions = np.array([[0.1 + place / 1000, 0.3 - place / 500] for place in range(41)])
    columns = hw1_2_pca.compare_with_walks(np.array([0.3, 0.05]), walk_fractions)
    # of 41 values 2.5 % are one: the second and the last but one
    assert columns == pytest.approx({
        "explained_variance_1": 0.3, "walk_explained_variance_1_mean": 0.12,
        "walk_explained_variance_1_low": 0.101, "walk_explained_variance_1_high": 0.139,
        "explained_variance_2": 0.05, "walk_explained_variance_2_mean": 0.26,
        "walk_explained_variance_2_low": 0.222, "walk_explained_variance_2_high": 0.298,
        "explained_variance_sum": 0.35, "walk_explained_variance_sum_mean": 0.38,
        "walk_explained_variance_sum_low": 0.361, "walk_explained_variance_sum_high": 0.399,
        "walk_sets": 41,
        # sums are 0.38 ± 0.02 in steps of 0.001: none is 0.03 away from their middle
        "p_value": 1 / 42}, abs=1e-12)


def test_orthogonal_starts_give_every_component_the_same_fraction():
    starts = 3 * torch.eye(8, 20, dtype=torch.float64)
    ratios = fit_plane(starts).explained_variance_ratio_
    assert ratios == pytest.approx([1 / 7, 1 / 7])
    assert hw1_2_pca.fraction_of_orthogonal_starts(8) == pytest.approx(1 / 7)
    assert hw1_2_pca.fraction_of_orthogonal_starts(1) is None


def test_views_and_single_paths_are_compared_with_their_own_walks():
    paths, layer_paths, _ = walk_task()
    views = ("whole-model", "one-layer", "from-start")
    fractions = {view: np.array([place, 0.5]) for place, view in enumerate(views)}
    walk_fractions = {view: np.full((4, 2), 10.0 + place) for place, view in enumerate(views)}
    fractions["own-path"] = np.array([[0.1, 0.2], [0.3, 0.4], [0.8, 0.9]])
    walk_fractions["own-path"] = np.zeros((4, 3, 2)) + np.array([[1.0], [2.0], [6.0]])
    rows = hw1_2_pca.summarize_views(paths, layer_paths, fractions, walk_fractions)
    assert [row["view"] for row in rows] == [*views, "own-path"]
    assert [(row["runs"], row["checkpoints"]) for row in rows] == [(3, 5)] * 4
    assert [row["dimensions"] for row in rows] == [30, 10, 30, 30]
    assert [row["explained_variance_1"] for row in rows] == pytest.approx([0, 1, 2, 0.4])
    assert [row["explained_variance_sum"] for row in rows] == pytest.approx([0.5, 1.5, 2.5, 0.9])
    assert [row["walk_explained_variance_2_mean"] for row in rows] == [10, 11, 12, 3]
    assert [row["orthogonal_starts"] for row in rows] == [0.5, 0.5, None, None]
    own_rows = hw1_2_pca.summarize_own_paths(fractions["own-path"], walk_fractions["own-path"])
    assert [row["run"] for row in own_rows] == [0, 1, 2]
    assert [row["explained_variance_2"] for row in own_rows] == [0.2, 0.4, 0.9]
    assert [row["walk_explained_variance_sum_high"] for row in own_rows] == [2, 4, 12]


def test_the_lowest_loss_of_a_surface_is_beyond_the_paths_end_or_not():
    path = np.array([[0.0, 0.0], [1.0, 5.0], [2.0, 0.0]])
    surface = {"x": np.array([0.0, 1.0, 2.0, 3.0]), "y": np.array([0.0, 1.0]), "path": path,
               "loss": np.array([[9.0, 8.0, 7.0, 6.0], [9.0, 8.0, 7.0, 2.0]])}
    fractions = np.array([0.7, 0.2])
    assert hw1_2_pca.summarize_surface(surface, fractions, 4.0) == {
        "run": 0, "explained_variance_1": 0.7, "explained_variance_2": 0.2, "end_loss": 4,
        "lowest_loss": 2, "lowest_beyond_end": True}
    # between the points of the grid the end itself is lower
    assert hw1_2_pca.summarize_surface(surface, fractions, 1.0)["lowest_beyond_end"] is False
    surface["loss"][1, 1] = 1.5  # before the end
    row = hw1_2_pca.summarize_surface(surface, fractions, 4.0)
    assert (row["lowest_loss"], row["lowest_beyond_end"]) == (1.5, False)


def test_trainings_have_medians_and_ranges_of_their_distances_and_ends():
    paths = tensor([[[0, 0], [9, 9], [0, 2]], [[3, 4], [9, 9], [3, 5]], [[6, 8], [9, 9], [6, 11]]])
    history = {"loss": np.array([[3.0, 1.0, 0.1], [2.0, 1.0, 0.3], [7.0, 1.0, 0.2]]),
               "accuracy": np.array([[0.1, 0.5, 0.9], [0.1, 0.5, 0.7], [0.1, 0.5, 0.8]])}
    rows = {row.pop("quantity"): row for row in hw1_2_pca.summarize_trainings(paths, history)}
    expected = {"start-to-end distance": (2, 1, 3), "start loss": (3, 2, 7),
                "end loss": (0.2, 0.1, 0.3), "end accuracy": (0.8, 0.7, 0.9),
                "start-to-start distance": (5, 5, 10)}  # of (0, 1), (0, 2) and (1, 2)
    assert rows == {quantity: {"values": 3, "value_median": pytest.approx(median),
                               "value_lowest": pytest.approx(lowest),
                               "value_highest": pytest.approx(highest)}
                    for quantity, (median, lowest, highest) in expected.items()}
    one_run = {name: values[:1] for name, values in history.items()}
    quantities = [row["quantity"] for row in hw1_2_pca.summarize_trainings(paths[:1], one_run)]
    assert quantities == list(expected)[:4]


def test_the_surface_of_a_quadratic_loss_is_that_quadratic_around_the_paths_end():
    path = tensor([[0, 0, 0], [10, 6, 1], [20, -5, 2], [32, 3, -1]])
    # Rotated, so that its first two components are the first two axes; it leaves their plane.
    path = (path - path.mean(0)) @ torch.linalg.svd(path - path.mean(0)).Vh.T

    def losses_at(points):
        from_end = points - path[-1]
        return 10 * from_end[..., 0] ** 2 + from_end[..., 1] ** 2 + from_end[..., 2].abs()

    networks, surface, fractions = hw1_2_pca.place_surface(path)
    surface["loss"] = losses_at(networks)
    squares = path.square().sum(0)
    assert fractions == pytest.approx((squares / squares.sum())[:2].tolist())
    assert surface["loss"].shape == (len(surface["y"]), len(surface["x"]))
    x_end, y_end = surface["path"][-1]
    x, y = np.meshgrid(surface["x"] - x_end, surface["y"] - y_end)
    np.testing.assert_allclose(surface["loss"], 10 * x**2 + y**2, atol=1e-9)
    np.testing.assert_allclose(abs(surface["path"]), abs(path[:, :2]), atol=1e-12)
    for axis, places in enumerate((surface["x"], surface["y"])):
        low, high = surface["path"][:, axis].min(), surface["path"][:, axis].max()
        extent = high - low
        assert (places[0], places[-1]) == pytest.approx((low - 0.3 * extent, high + 0.3 * extent))


def pca_task():
    random = torch.Generator().manual_seed(0)
    images = torch.randn(30, 1, 28, 28, generator=random)
    labels = torch.randint(10, (30,), generator=random)
    data = Dataset("digits", images, labels, images[25:], labels[25:])
    settings = SimpleNamespace(seed=0, runs=3, epochs=1, train_size=20, batch_size=10,
                               probe_size=12, lr=3e-3, device=torch.device("cpu"), jobs=1,
                               cluster=None, experiment="test")
    return data, settings


def test_losses_on_a_plane_in_pieces_are_those_of_each_network_by_itself(monkeypatch):
    monkeypatch.setattr(hw1_2_pca, "NETWORKS_AT_ONCE", 2)
    monkeypatch.setattr(hw1_2_pca, "GROUPS_IN_PIECE", 2)
    data, settings = pca_task()
    model = hw1_2_pca.build_model(7, settings)
    random = torch.Generator().manual_seed(1)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # 7 networks: the last piece, and the last group in it, are smaller.
    networks = 0.1 * torch.randn(1, 7, parameters, generator=random, dtype=torch.float64)
    losses = hw1_2_pca.measure_surface(networks, data, settings)
    assert losses.shape == (1, 7)
    for vector, loss in zip(networks[0], losses[0]):
        torch.nn.utils.vector_to_parameters(vector.float(), model.parameters())
        with torch.no_grad():  # of the first 12 training images
            logits = model(data.train_images[None, :12])[0]
        expected = torch.nn.functional.cross_entropy(logits, data.train_labels[:12])
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_the_paths_of_all_trainings_are_those_of_each_run():
    data, settings = pca_task()
    history = hw1_2_pca.train_all(data, 0, settings)
    assert history["epochs"].tolist() == [[0, 1]] * 3
    for run in range(3):
        generators = run_generators(0, [run], "initialization")
        model = cnn([[4], [8]], 5, [32, 32, 32], generators)
        starts_at = parameter_vectors(model)[0].numpy()
        np.testing.assert_array_equal(history["paths"][run, 0], starts_at)
        train(model, data.train_images[:20], data.train_labels[None, :20], cross_entropy, epochs=1,
              learning_rate=3e-3, batch_size=10, order_generators=run_generators(0, [run], "order"))
        np.testing.assert_allclose(history["paths"][run, 1], parameter_vectors(model)[0].numpy(),
                                   atol=1e-6)
        loss, accuracy = evaluate(model, data.train_images[:20], data.train_labels[:20])
        assert history["loss"][run, 1] == pytest.approx(loss.item(), rel=1e-5)
        assert history["accuracy"][run, 1] == pytest.approx(accuracy.item())


# --- hw1_2_gradnorm ---


@pytest.mark.parametrize("total", [2, 64, 20_001])
def test_recorded_steps_are_evenly_spaced_from_the_first_to_the_last(total):
    steps = hw1_2_gradnorm.choose_recorded_steps(total, 51)
    assert steps[0] == 0 and steps[-1] == total - 1
    assert len(steps) == min(total, 51) and (np.diff(steps) > 0).all()
    if total == 20_001:
        assert steps.tolist() == list(range(0, 20_001, 400))


def test_a_training_without_start_and_end_is_refused():
    with pytest.raises(UsageError, match="1 step "):
        hw1_2_gradnorm.choose_recorded_steps(1, 50)


def test_the_end_of_training_is_the_last_tenth_of_its_steps():
    steps = np.array([0, 10, 899, 900, 950, 1000])
    assert steps[hw1_2_gradnorm.last_records(steps)].tolist() == [900, 950, 1000]
    few = np.arange(4)  # of which there is one at least
    assert hw1_2_gradnorm.last_records(few).tolist() == [False, False, False, True]


def test_a_training_is_summarized_by_its_start_and_its_end():
    steps = np.array([0, 50, 90, 100])
    loss = np.array([[5.0, 1, 1, 4], [7, 1, 2, 8], [9, 1, 1, 441], [6, 1, 18, 20]])
    norm = np.array([[3.0, 9, 1, 1], [5, 7, 2, 2], [4, 8, 3, 3], [6, 2, 4, 4]])
    row = hw1_2_gradnorm.summarize_training({"steps": steps, "loss": loss, "norm": norm})
    # the last two records are the end; their geometric means are 2, 4, 21 and √360 = 18.97
    assert row == pytest.approx({
        "runs": 4, "steps": 101, "initial_loss": 6.5,
        "final_loss_median": (4 + math.sqrt(360)) / 2, "final_loss_lowest": 2,
        "final_loss_highest": 21,
        "initial_gradient_norm": 4.5, "final_gradient_norm_median": 2.5,
        "final_gradient_norm_lowest": 1, "final_gradient_norm_highest": 4})


def test_every_run_ends_at_the_edge_or_below_by_the_median_of_its_last_records():
    rows = hw1_2_gradnorm.summarize_ends({
        "steps": np.array([0, 50, 90, 95, 100]),
        "loss": np.array([[9.0, 9, 1, 2, 4], [9, 9, 3, 3, 3]]),
        "norm": np.array([[9.0, 9, 1, 10, 100], [9, 9, 2, 2, 2]]),
        "fraction_of_limit": np.array([[0, 0, 0.9, 0.1, 1.2], [1, 1, 0.89, 0.89, 50]])})
    expected = [
        {"run": 0, "final_loss": 2, "final_gradient_norm": 10, "fraction_of_limit": 0.9,
         "at_edge": True},
        {"run": 1, "final_loss": 3, "final_gradient_norm": 2, "fraction_of_limit": 0.89,
         "at_edge": False}]
    assert rows == [pytest.approx(row) for row in expected]


def falling_curves(*ends, power=0.5):
    """Curves of runs with the loss 3 and the norm 7 that end at so many times that loss.

    The norm is proportional to a power of the loss.
    """
    relative_loss = np.ones((len(ends), 100))
    relative_loss[:, 90:] = np.array(ends)[:, None]
    relative_loss[:, 90::2] *= 2  # the end's geometric mean stays: five records are doubled,
    relative_loss[:, 91::2] /= 2  # and five are halved
    return {"steps": np.arange(100), "loss": 3 * relative_loss, "norm": 7 * relative_loss**power}


def test_later_changes_divide_the_last_tenth_by_the_second_one():
    steps = np.arange(101)
    values = np.ones((2, 101))
    values[:, :10] = 1e6  # the first steps do not count
    values[:, 10:21] = [[8.0], [2.0]]
    values[:, 21:90] = 1e-6  # nor do those in between
    values[:, 90:] = [[2.0], [2.0]]
    ratios = hw1_2_gradnorm.later_changes({"steps": steps, "loss": 5 * values, "norm": values**2})
    assert ratios["loss"] == pytest.approx([1 / 4, 1])
    assert ratios["norm"] == pytest.approx([1 / 16, 1])
    # Without a record in that tenth, the one before it counts.
    few = np.array([[9.0, 4, 1, 2]])
    ratios = hw1_2_gradnorm.later_changes({"steps": np.array([0, 5, 50, 100]), "loss": few,
                                          "norm": few})
    assert ratios["norm"] == pytest.approx([2 / 4])


def test_trainings_are_compared_with_earlier_steps_and_with_the_constant_rate_run_by_run():
    constant = falling_curves(1e-2, 1e-3, 1e-4)
    on_function = {name: constant for name in hw1_2_gradnorm.FUNCTION_TRAININGS}
    on_function["Adam, rate falls"] = falling_curves(1e-2, 1e-4, 1e-5, power=1)
    on_images = {"Adam": falling_curves(1e-2, 1e-3, 1e-3, power=1),
                 "Adam, rate falls": falling_curves(1e-3, 1e-3, 1e-4, power=1)}
    rows = hw1_2_gradnorm.compare_trainings({"sinc": on_function, "MNIST": on_images})
    found = {(row["task"], row["training"], row["divided_by"]): row for row in rows}
    assert len(found) == len(rows) == 6  # two rates on each task, and the comparison of both
    later = found["sinc", "Adam, rate falls", "earlier"]
    assert [later["loss"], later["norm"]] == pytest.approx([10 ** (-11 / 3)] * 2)
    assert found["sinc", "Adam", "earlier"]["norm"] == pytest.approx(10 ** -1.5)
    of_constant = found["sinc", "Adam, rate falls", "Adam"]
    assert of_constant["loss"] == pytest.approx(10 ** (-2 / 3))  # 1, 0.1 and 0.1
    assert of_constant["norm"] == pytest.approx(10 ** (-13 / 2 / 3))
    # t-tests of the norms' logarithms; the smaller of the two tasks' p-values counts twice
    on_sinc, on_images = (stats.ttest_1samp(logarithms, 0).pvalue
                          for logarithms in ([2, 4, 5], [3, 3, 4]))
    assert 2 * on_images < on_sinc
    assert later["p_value"] == pytest.approx(on_sinc)
    of_images = found["MNIST", "Adam, rate falls", "earlier"]
    assert of_images["p_value"] == pytest.approx(2 * on_images)


# --- hw1_2_minratio ---


def test_of_points_found_twice_one_counts_and_constant_predictors_can_be_left_out():
    found = {"point": np.array([3, 1, 1, 2, 3]),
             "constant": np.array([False, True, True, False, False])}
    distinct = hw1_2_minratio.select_distinct(found)
    assert distinct["point"].tolist() == [1, 2, 3]
    not_constant = hw1_2_minratio.select_not_constant(distinct)
    assert not_constant["point"].tolist() == [2, 3]


def test_accepted_points_are_numbered_among_themselves_and_counted():
    # Runs 1 and 4 end at one point, run 0 nearly there, with some gradient left.
    ends = {"gradient_norm": np.array([1e-9, 1e-12, 1e-11, 1e-3, 1e-10]),
            "loss": np.array([0.2, 0.2, 0.5, 0.1, 0.2]),
            "eigenvalues": np.array([[1, 9], [1, 9], [2, 9], [3, 9], [1, 9.00001]]),
            "parameters": np.arange(10).reshape(5, 2),
            # among all ends, of which run 3's, with a large gradient, has the lowest loss
            "point": np.array([2, 2, 3, 1, 2]), "loss_rank": np.array([2, 2, 3, 1, 2])}
    found = hw1_2_minratio.find_accepted(ends)
    assert found["point"].tolist() == found["loss_rank"].tolist() == [1, 2]
    assert found["run"].tolist() == [1, 2] and found["times_found"].tolist() == [2, 1]
    assert found["parameters"].tolist() == [[2, 3], [4, 5]]
    nothing = hw1_2_minratio.find_accepted(hw1_2_minratio.select(ends, [0, 3]))
    assert len(nothing["run"]) == len(nothing["point"]) == 0


def test_a_search_is_summarized_by_what_it_found():
    ends = {"gradient_norm": np.array([3e-11, 2e-12, 1e-11, 1e-3]),
            "constant": np.array([True, True, False, True])}
    found = {
        "loss": np.array([0.1, 0.2]),
        "constant": np.array([False, True]),
        "gradient_norm": np.array([1e-11, 2e-12]),
        "eigenvalues": np.array([[2.0, 2.0, -1.0], [2.0, -1.0, -2.0]]),
    }
    assert hw1_2_minratio.summarize_search(ends, found) == {
        "searches": 4, "accepted": 3, "accepted_constant": 2, "distinct": 2,
        "distinct_constant": 1, "max_gradient_norm": 1e-11, "parameters": 3}
    nothing = hw1_2_minratio.summarize_search(ends, hw1_2_minratio.select(found, []))
    assert nothing["distinct"] == nothing["max_gradient_norm"] == 0


def made_up_points():
    """Twelve points of falling ratio, and a constant predictor of the highest loss and ratio.

    They come in no order of loss.
    """
    order = np.random.default_rng(0).permutation(13)
    point = np.arange(1, 14)[order]
    falling = np.array([*np.linspace(0.9, 0.4, 12), 1.0])[order]
    return {"point": point, "loss_rank": point, "constant": point == 13, "minimal_ratio": falling,
            "plain_minimal_ratio": 0.5 + point % 2 / 10}


def test_the_ratio_is_correlated_with_the_loss_in_two_sets_of_points_by_two_hessians():
    rows = hw1_2_minratio.summarize_correlations(made_up_points())
    choices = itertools.product(("distinct", "varying"), ("regularized", "plain"))
    assert [(row["points"], row["hessian"]) for row in rows] == list(choices)
    distinct, plain_distinct, varying, plain_varying = rows
    assert distinct["count"] == plain_distinct["count"] == 13
    assert varying["count"] == plain_varying["count"] == 12
    for row, points in ((plain_distinct, np.arange(13)), (plain_varying, np.arange(12))):
        expected = stats.spearmanr(points, (points + 1) % 2).statistic
        assert row["spearman"] == pytest.approx(expected)
    # 1 − 6 Σd² / (n (n² − 1)): twelve reversed ranks shifted by one, and the thirteenth in place
    squares = sum((rank - (13 - rank)) ** 2 for rank in range(1, 13))
    assert distinct["spearman"] == pytest.approx(1 - 6 * squares / (13 * (13**2 - 1)))
    assert varying["spearman"] == pytest.approx(-1)


def test_positive_without_the_weight_decay_are_the_eigenvalues_above_it():
    matrix = np.array([[0.3, 0.1, 0.0], [0.1, -0.2, 0.0], [0.0, 0.0, 0.0]])
    shifted = np.linalg.eigvalsh(matrix + 1e-3 * np.eye(3))
    eigenvalues = np.stack([shifted, [-1.0, 0.5e-3, 2e-3]])
    ratios = hw1_2_minratio.ratio_above_decay(eigenvalues, 1e-3)
    assert ratios.tolist() == pytest.approx([1 / 3, 1 / 3])
    assert hw1_2_minratio.ratio_above_decay(eigenvalues, 0).tolist() == pytest.approx([2 / 3] * 2)


def test_points_of_equal_loss_have_equal_ranks():
    found = made_up_points()
    found["loss_rank"] = (found["point"] + 1) // 2  # in pairs
    rho = hw1_2_minratio.summarize_correlations(found)[2]["spearman"]  # varying, regularized
    pairs = np.repeat(np.arange(6), 2)
    expected = stats.spearmanr(pairs, -np.arange(12))
    assert rho == pytest.approx(expected.statistic)


def test_where_one_ratio_differs_there_is_nothing_to_correlate():
    ratio = np.ones(34)
    ratio[3] = 0.997
    row = hw1_2_minratio.ratio_and_loss_columns({"minimal_ratio": ratio,
                                                 "loss_rank": np.arange(34)})
    assert row == {"spearman": None, "spearman_low": None, "spearman_high": None, "p_value": None}
    correlation = hw1_2_minratio.as_interval(row, "spearman")
    described = hw1_2_minratio.describe_correlation(correlation, 34)
    assert described == "34 points, too few to correlate"


def test_the_ends_of_searches_are_correlated_up_to_every_tolerance_and_coinciding_ones_count_once():
    # Twelve ends at 1e-4, of which two coincide with others, then ten at 1e-5 that reverse them.
    near, nearer = np.arange(1, 13), np.arange(13, 23)
    point = np.concatenate([near, nearer, [1, 1]])
    ends = {
        "gradient_norm": np.concatenate([np.full(12, 1e-4), np.full(10, 1e-5), [1e-4, 1e-4]]),
        "minimal_ratio": np.concatenate([near, 50 - nearer, [1, 1]]) / 50,
        "point": point, "loss_rank": point, "constant": point == 22,
        "zero_ratio": point / 100, "negative_ratio": point / 200,
    }
    all_rows = hw1_2_minratio.summarize_tolerances(ends)
    rows = {row["tolerance"]: row for row in all_rows if row["points"] == "distinct"}
    assert list(rows) == list(hw1_2_minratio.TOLERANCES)
    counts = {row["tolerance"]: row["count"] for row in all_rows if row["points"] == "varying"}
    assert counts[1e-3] == counts[1e-4] == 21 and counts[1e-5] == 9 and counts[1e-6] == 0
    for tolerance in (1e-3, 1e-4):
        assert rows[tolerance]["count"] == 22
        expected = stats.spearmanr(np.arange(22), np.r_[near, 50 - nearer]).statistic
        assert rows[tolerance]["spearman"] == pytest.approx(expected)
    assert rows[1e-5]["count"] == 10 and rows[1e-5]["spearman"] == pytest.approx(-1)
    assert rows[1e-6]["spearman"] is None
    assert rows[1e-4]["zero_median"] == pytest.approx(0.115)  # of 1 to 22 hundredths
    assert rows[1e-5]["negative_median"] == pytest.approx(17.5 / 200)  # of 13 to 22
    assert rows[1e-6]["zero_median"] is rows[1e-6]["negative_median"] is None


@pytest.mark.parametrize("high, finding", [
    (-0.1, "the lower the loss, the more eigenvalues are positive"),
    (0.1, "a lower loss need not mean more positive eigenvalues"),
    (None, "a lower loss need not mean more positive eigenvalues")])
def test_the_title_names_a_rule_only_where_all_three_panels_show_it(high, finding):
    names = ("varying_ends_correlation", "varying_critical_correlation", "above_decay_correlation")
    for unsure in names:
        facts = {name: {"value": -0.7, "low": -0.8, "high": -0.5} for name in names}
        facts[unsure] = {"value": -0.6, "low": -0.9, "high": high}
        title = hw1_2_minratio.figure_title(facts)
        assert title == f"Gradient zero or almost zero: {finding}"


def test_few_points_have_no_correlation():
    few = hw1_2_minratio.select(made_up_points(), made_up_points()["point"] <= 3)
    rows = hw1_2_minratio.summarize_correlations(few)
    assert [(row["count"], row["spearman"]) for row in rows] == [(3, None)] * 4


def made_up_following():
    """Four points, of which the second and the third become one and the fourth is lost."""
    decays = len(hw1_2_minratio.FOLLOWED_DECAYS)
    losses = np.tile(np.array([[0.1], [0.2], [0.3], [0.4]]), decays)
    losses[2, 3:] = 0.2
    left = np.ones((4, decays), dtype=bool)
    left[3, 2:] = False
    return {
        "loss": losses, "left": left,
        "eigenvalues": np.ones((4, decays, 5)),
        "first_curvature": np.array([1.0, 1.0, 1.0, 4.0]),
        "last_curvature": np.array([1.0, 1.0, 1.0, 0.1]),
        "higher_neighbours": np.array([1.0, 0.9, 1.0, 1.0]),
    }


def test_of_followed_points_those_that_became_one_count_once():
    rows = hw1_2_minratio.summarize_followed(made_up_following())
    assert [row["weight_decay"] for row in rows] == list(hw1_2_minratio.FOLLOWED_DECAYS)
    assert [row["left"] for row in rows] == [4, 4, 3, 2, 2, 2, 2]
    nothing = hw1_2_minratio.summarize_followed(None)
    assert [row["left"] for row in nothing] == [0] * 7


def test_the_curvature_of_points_that_are_lost_is_compared_with_the_first():
    following = made_up_following()
    assert hw1_2_minratio.summarize_lost(following) == {"lost": 1, "curvature_ratio": 0.1 / 4}
    following["left"][:] = True
    assert hw1_2_minratio.summarize_lost(following) == {"lost": 0, "curvature_ratio": None}
    assert hw1_2_minratio.summarize_lost(None) == {"lost": 0, "curvature_ratio": None}


def test_every_critical_point_is_listed_with_what_became_of_it():
    critical = {name: np.arange(4) for name in
                ("point", "times_found", "loss", "gradient_norm", "minimal_ratio",
                 "plain_minimal_ratio", "saddle", "constant")}
    rows = hw1_2_minratio.list_critical(critical, made_up_following())
    assert [row["loss"] for row in rows] == [0, 1, 2, 3]
    assert [row["followed_down_to"] for row in rows] == [1e-6, 1e-6, 1e-6, 3e-4]
    assert [row["higher_neighbours"] for row in rows] == [1, 0.9, 1, 1]
    nothing = hw1_2_minratio.select(critical, [])
    assert hw1_2_minratio.list_critical(nothing, None) == []


def test_a_share_has_an_exact_interval():
    share = hw1_2_minratio.share_with_interval(0, 20)
    assert share["value"] == share["low"] == 0
    assert share["high"] == pytest.approx(1 - 0.025 ** (1 / 20))  # (1 − p)²⁰ = 0.025
    assert hw1_2_minratio.share_with_interval(0, 0)["value"] is None


def test_a_title_says_that_most_points_are_lost_only_where_that_is_sure():
    facts = {"left": 3, "critical": 10}
    for high, beginning in ((0.49, "With less L2, most points are lost"),
                            (0.6, "Points with less L2"), (None, "Points with less L2")):
        facts["share_left"] = {"value": 0.3, "low": 0.1, "high": high}
        assert hw1_2_minratio.followed_title(facts).startswith(beginning)


def test_titles_name_a_rule_for_all_choices_only_where_each_measured_one_shows_it():
    below = {"spearman": -0.5, "spearman_low": -0.7, "spearman_high": -0.1}
    around = {"spearman": -0.5, "spearman_low": -0.7, "spearman_high": 0.1}
    nothing = {"spearman": None, "spearman_low": None, "spearman_high": None}
    for title in (hw1_2_minratio.tolerances_title, hw1_2_minratio.choices_title):
        assert "still negative" in title([below, below, nothing])
        for rows in ([below, around, nothing], [nothing], []):
            assert "not always clearly negative" in title(rows)
    for critical, ends, beginning in (([below], [below, nothing], "However points are chosen"),
                                      ([below], [around], "Not every choice"),
                                      ([around], [below], "Not every choice"),
                                      ([nothing], [nothing], "Not every choice")):
        results = {"correlations": critical, "tolerances": ends}
        assert hw1_2_minratio.details_title(results).startswith(beginning)


@pytest.mark.parametrize("value, label", [
    (1e-4, "$10^{-4}$"), (3e-5, "3 × $10^{-5}$"), (1e-10, "$10^{-10}$"), (2e3, "2 × $10^{3}$")])
def test_limits_are_written_as_powers_of_ten(value, label):
    assert hw1_2_minratio.power_of_ten(value) == label


def test_a_predictor_is_constant_if_it_varies_a_thousandth_of_what_the_targets_do():
    model = mlp([1, 1], [torch.Generator()]).double()  # slope and offset
    x = torch.linspace(0, 1, 11, dtype=torch.float64).unsqueeze(1)
    points = tensor([[0.0, 5], [0.0019, 5], [0.0021, 5], [-0.0019, 5], [-0.0021, 5]])
    constant = hw1_2_minratio.is_constant(model, points, x, 2 * x)
    assert constant.tolist() == [True, True, False, True, False]


def test_stops_are_spread_like_a_squared_uniform_number_over_all_steps():
    settings = SimpleNamespace(seed=0, epochs=99, device=torch.device("cpu"))
    stops = hw1_2_minratio.draw_stops(range(2_000), settings).numpy()
    assert stops.min() == 0 and stops.max() == 99
    # P(stop < s) = √(s / 100): a tenth of the trainings do not move at all
    counts, _ = np.histogram(stops, bins=[0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100])
    assert stats.chisquare(counts).pvalue > 0.001
    # every run has its own, whatever the others
    runs = [4, 17, 3]
    assert hw1_2_minratio.draw_stops(runs, settings).tolist() == stops[runs].tolist()


def test_points_are_numbered_over_all_groups_of_an_objective(monkeypatch):
    losses = {"plain": [0.5, 0.2, 0.9, 0.5, 0.1], "regularized": [0.7, 0.3, 0.3, 0.7, 0.3]}
    # by which alone two ends of equal plain loss are told apart
    largest = {"plain": [3, 2, 1, 4, 5], "regularized": [8, 9, 9, 8, 9]}

    def search_and_measure(run_numbers, settings):
        ends = {}
        for objective in losses:
            loss = np.array([losses[objective][run] for run in run_numbers])
            eigenvalues = np.array([[-1.0, largest[objective][run]] for run in run_numbers])
            ends[objective] = {"loss": loss, "eigenvalues": eigenvalues}
        return ends

    monkeypatch.setattr(hw1_2_minratio, "search_and_measure", search_and_measure)
    monkeypatch.setattr(hw1_2_minratio, "RUNS_TOGETHER", 2)
    settings = SimpleNamespace(runs=5, epochs=1, iterations=1, jobs=1, cluster=None,
                               experiment="test", device=torch.device("cpu"))
    results = hw1_2_minratio.search_all(settings)
    assert list(results) == ["plain", "regularized"]
    for objective, ends in results.items():
        assert ends["loss"].tolist() == losses[objective]
    assert results["plain"]["loss_rank"].tolist() == [3, 2, 4, 3, 1]
    # one of the two of equal loss comes first
    assert results["plain"]["point"].tolist() in ([3, 2, 5, 4, 1], [4, 2, 5, 3, 1])
    assert results["regularized"]["point"].tolist() == [2, 1, 1, 2, 1]
    assert results["regularized"]["loss_rank"].tolist() == [2, 1, 1, 2, 1]


def test_a_search_does_not_depend_on_the_others_in_its_stack():
    settings = SimpleNamespace(seed=0, epochs=40, iterations=3, device=torch.device("cpu"))
    runs = [6, 3, 5]
    together = hw1_2_minratio.search_and_measure(runs, settings)
    alone = [hw1_2_minratio.search_and_measure([run], settings) for run in runs]
    for objective, ends in together.items():
        for name, values in ends.items():
            expected = np.concatenate([part[objective][name] for part in alone])
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-8, err_msg=name)


def test_a_followed_point_has_the_loss_and_the_curvature_of_every_weight_decay():
    settings = SimpleNamespace(seed=0, neighbours=50, device=torch.device("cpu"))
    # A point that certainly exists: all parameters zero but the last bias, the mean of the targets.
    _, y = hw1_2_minratio.make_data(settings)
    constant = np.zeros((1, 33))
    constant[0, -1] = y.mean().item() / (1 + 1e-3 / 2)  # which minimizes (b − ȳ)² + ½ 0.001 b²
    followed = hw1_2_minratio.follow_and_probe(constant, [5], settings)
    assert followed["left"].all()
    decays = np.array(hw1_2_minratio.FOLLOWED_DECAYS)
    mean, offsets = y.mean().item(), y.mean().item() / (1 + decays / 2)
    losses = y.var(correction=0).item() + (offsets - mean)**2 + decays / 2 * offsets**2
    np.testing.assert_allclose(followed["loss"][0], losses)
    # All but one eigenvalue are those of the L2 term, or those of the loss beside it.
    assert followed["first_curvature"][0] >= 1e-4 and followed["last_curvature"][0] <= 1e-6 * 1.01
    assert followed["higher_neighbours"].shape == (1,)


# --- hw1_3_random_labels ---


def label_runs(*accuracies):
    """Runs that are measured every half epoch."""
    return [{"epoch": np.arange(len(values)) / 2, "train_accuracy": np.array(values)}
            for values in accuracies]


def test_the_time_to_an_accuracy_lies_between_two_records():
    runs = label_runs([0.1, 0.8, 1.0], [0.1, 0.2, 0.3], [0.95, 0.5, 1.0])
    assert hw1_3_random_labels.epochs_to_reach(runs, 0.9) == [pytest.approx(0.75), None, 0]


def test_the_slowdown_divides_by_the_same_run_with_true_labels():
    trained = {(100, 0): label_runs([0, 0.9, 1], [0, 0, 0.9]),  # 0.5 and 1 epochs to 90 %
               (100, 1): label_runs([0, 0, 0, 0.9], [0, 0, 0.9]),  # 1.5 and 1
               (10, 0): label_runs([0.95], [0, 0.9]),  # fits before training
               (10, 1): label_runs([0, 0.9], [0, 0.2])}
    rows = {(row["train_size"], row["randomized"]): row
            for row in hw1_3_random_labels.compare_times(trained) if row["threshold"] == 0.9}
    full = rows[100, 1]
    assert (full["runs"], full["runs_that_reach_it"]) == (2, 2)
    assert full["epochs"] == pytest.approx(1.25)
    assert full["slowdown"] == pytest.approx(math.sqrt(3 * 1))
    half_of_logarithms = stats.t.ppf(0.975, 1) * np.std([math.log(3), 0], ddof=1) / math.sqrt(2)
    assert full["slowdown_high"] == pytest.approx(math.sqrt(3) * math.exp(half_of_logarithms))
    assert rows[100, 0]["slowdown"] == pytest.approx(1)
    assert rows[10, 1]["runs_that_reach_it"] == 1 and rows[10, 1]["epochs"] is None
    assert rows[10, 0]["epochs"] == 0.25 and rows[10, 0]["slowdown"] is None


def test_slowdowns_of_single_runs_are_those_of_networks_that_all_fit():
    trained = {(100, 0): label_runs([0, 1], [0, 0, 1]), (100, 1): label_runs([0, 0, 1], [0, 0, 1]),
               (10, 0): label_runs([0, 1], [0, 1]), (10, 1): label_runs([0, 1], [0, 0.9])}
    rows = hw1_3_random_labels.list_slowdowns(trained)
    assert [(row["train_size"], row["randomized"], row["run"]) for row in rows] == [
        (100, 0, 0), (100, 0, 1), (100, 1, 0), (100, 1, 1), (10, 0, 0), (10, 0, 1)]
    # From one record to the next the accuracy is interpolated: 99.9 % is reached a little earlier.
    early = 0.5 * 0.001
    assert [row["slowdown"] for row in rows[2:4]] == pytest.approx([(1 - early) / (0.5 - early), 1])


def test_peaks_are_measured_where_the_other_runs_have_theirs():
    measures = {
        "epoch": np.array([0, 0.5, 1, 4]),
        "test_accuracy": np.array([[0.1, 0.9, 0.6, 0.4], [0.2, 0.3, 0.8, 0.5]]),
        "true_accuracy": np.array([[0.0, 0.2, 0.7, 0.1], [0.0, 0.3, 0.9, 0.2]]),
        "train_accuracy": np.array([[0.1, 0.2, 0.3, 1.0], [0.1, 0.4, 0.5, 0.9]]),
    }
    test, true = hw1_3_random_labels.summarize_peaks(0.5, measures)
    assert test == {  # the first run at epoch 1, the second at epoch 0.5
        "randomized": 0.5, "measure": "test_accuracy", "peak_epoch": 0.75,
        "peak": pytest.approx((0.6 + 0.3) / 2), "peak_ci95": half_width(0.6, 0.3),
        "final": pytest.approx(0.45), "final_ci95": half_width(0.4, 0.5),
        "train_accuracy_at_peak": pytest.approx((0.3 + 0.4) / 2)}
    assert (true["measure"], true["peak_epoch"]) == ("true_accuracy", 1)
    assert (true["peak"], true["final"]) == pytest.approx((0.8, 0.15))
    assert true["train_accuracy_at_peak"] == pytest.approx(0.4)
    rows = hw1_3_random_labels.summarize_peaks(0, measures)
    assert [row["measure"] for row in rows] == ["test_accuracy"]


def test_answers_are_counted_against_the_training_labels_and_the_true_ones():
    answers = torch.tensor([[0, 1, 2, 3], [3, 1, 2, 0]])  # of two networks for four images
    labels = torch.tensor([[4, 1, 0, 2], [0, 1, 2, 3]])
    true_labels = torch.tensor([0, 1, 0, 3])
    logits = 3 * torch.nn.functional.one_hot(answers, 5).double()
    measures = hw1_3_random_labels.measure_training(logits, labels, true_labels)
    assert measures["train_accuracy"].tolist() == [0.25, 0.5]
    # The first and the last image of the first network are mislabelled, the third of the second,
    # which answers with its label.
    assert measures["true_accuracy"].tolist() == [1, 0]
    hit = math.log(math.exp(3) + 4) - 3
    assert measures["train_loss"].tolist() == pytest.approx([hit + 2.25, hit + 1.5])


def test_an_image_is_mislabelled_only_where_its_label_is_not_the_true_one():
    true_labels = torch.tensor([0, 1, 2, 3])
    labels = torch.tensor([[1, 2, 2, 3], [1, 2, 2, 3], [0, 1, 2, 3]])
    answers = torch.tensor([[0, 2, 0, 0], [1, 2, 2, 3], [0, 1, 2, 3]])
    logits = torch.nn.functional.one_hot(answers, 5).double()
    measures = hw1_3_random_labels.measure_training(logits, labels, true_labels)
    # One of the two mislabelled images; none, because all labels are fitted; there is none.
    assert measures["true_accuracy"].tolist() == [0.5, 0, 0]


# --- hw1_3_params ---

FIVE_WIDTHS = (1, 2, 4, 8, 16)
COUNTS = [100, 200, 400, 800, 1600]


@pytest.fixture
def five_widths(monkeypatch):
    monkeypatch.setattr(hw1_3_params, "WIDTHS", FIVE_WIDTHS)


def test_the_threshold_is_the_first_width_whose_mean_fits():
    # one run of the second width fits, the mean of both does not; the last width falls below again
    accuracies = np.array([[0.5, 1.0, 1.0, 1.0, 0.9], [0.5, 0.9, 0.998, 1.0, 0.9]])
    assert hw1_3_params.interpolation_threshold(accuracies) == 2
    assert hw1_3_params.interpolation_threshold(accuracies[:, :2]) is None


def test_values_at_the_threshold_are_compared_with_the_largest_network_run_by_run(five_widths):
    accuracies = np.array([[0.5, 0.9, 1.0, 1.0, 1.0]] * 2)
    values = np.array([[9.0, 8.0, 3.0, 5.0, 1.0], [9.0, 8.0, 4.0, 5.0, 2.5]])
    columns = hw1_3_params.summarize_threshold(accuracies, values, COUNTS)
    assert columns == {
        "width": 4, "parameters": 400, "largest_parameters": 1600,
        "at_threshold_mean": 3.5, "at_threshold_mean_ci95": half_width(3, 4),
        "at_largest_mean": 1.75, "at_largest_mean_ci95": half_width(1, 2.5),
        "change_mean": -1.75, "change_mean_ci95": half_width(-2, -1.5)}
    unfitted = hw1_3_params.summarize_threshold(accuracies - 0.1, values, COUNTS)
    assert set(unfitted) == set(columns)
    known = {"largest_parameters", "at_largest_mean", "at_largest_mean_ci95"}
    assert {name for name, value in unfitted.items() if value is not None} == known
    assert {name: unfitted[name] for name in known} == {name: columns[name] for name in known}


def test_the_late_rise_starts_from_where_the_other_runs_are_lowest(five_widths):
    # The first run is lowest at the second width, the second at the third, the mean at the third.
    values = np.array([[9.0, 1.0, 2.0, 5.0, 6.0], [9.0, 4.0, 0.5, 5.0, 8.0]])
    columns = hw1_3_params.summarize_late_rise(values)
    assert columns == {"width": 4, "lowest_mean": (2 + 4) / 2, "at_largest_mean": 7,
                       "rise_mean": ((6 - 2) + (8 - 4)) / 2, "rise_mean_ci95": 0,
                       "beyond_interval": True}
    values[1, -1] = 4.5  # rises of 4 and 0.5
    assert hw1_3_params.summarize_late_rise(values)["beyond_interval"] is False


def test_a_clear_peak_has_its_place_height_rise_and_fall(five_widths):
    values = np.array([[2.0, 1.0, 5.0, 2.0, 3.0], [2.0, 1.2, 5.4, 2.0, 3.0],
                       [2.0, 0.8, 5.2, 2.0, 3.0]])
    columns = hw1_3_params.summarize_peak(values, COUNTS, widths_averaged=1)
    assert columns == {
        "width": 4, "parameters": 400, "valley_before_parameters": 200,
        "valley_after_parameters": 800, "beyond_intervals": True,
        "height_mean": pytest.approx(5.2), "height_mean_ci95": half_width(5, 5.4, 5.2),
        "rise_mean": pytest.approx(4.2), "rise_mean_ci95": half_width(4, 4.2, 4.4),
        "fall_mean": pytest.approx(3.2), "fall_mean_ci95": half_width(3, 3.4, 3.2)}
    smoothed = hw1_3_params.summarize_peak(values, COUNTS, widths_averaged=3)
    assert smoothed["height_mean"] == pytest.approx((5.2 + 2 + 3) / 3)  # of 4, 8 and 16 units
    assert smoothed["width"] == 8


def test_a_peak_that_one_run_has_alone_is_no_clear_one(five_widths):
    values = np.array([[2.0, 1.0, 9.0, 2.0, 1.0], [3.0, 2.0, 1.9, 1.8, 1.0],
                       [3.0, 2.0, 1.9, 1.8, 1.0]])
    columns = hw1_3_params.summarize_peak(values, COUNTS, widths_averaged=1)
    assert columns["width"] == 4 and columns["beyond_intervals"] is False
    # a monotone curve has none even where the runs agree perfectly, and one run proves nothing
    falling = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]] * 3)
    assert not hw1_3_params.summarize_peak(falling, COUNTS, 1)["beyond_intervals"]
    assert not hw1_3_params.summarize_peak(values[:1], COUNTS, 1)["beyond_intervals"]


@pytest.mark.parametrize("runs", [hw1_3_params.FLAGS["runs"].default, 8])  # 8: the fresh runs
@pytest.mark.parametrize("widths_averaged", [hw1_3_params.SMOOTHED, hw1_3_params.NOT_SMOOTHED])
def test_pure_noise_seldom_has_a_clear_peak(runs, widths_averaged):
    random = np.random.default_rng(0)
    widths = len(hw1_3_params.WIDTHS)
    clear, clear_where_chosen = 0, 0
    for _ in range(1_000):
        values = random.standard_normal((runs, widths))
        peak = hw1_3_params.summarize_peak(values, range(widths), widths_averaged)
        clear += peak["beyond_intervals"]
        before, top, after = find_peak(values.mean(0))
        clear_where_chosen += all(hw1_3_params.is_above_zero(values[:, top] - values[:, valley])
                                  for valley in (before, after))
    assert clear <= 60
    assert clear_where_chosen > 150  # in the very runs that choose the place: far too often


def test_above_zero_means_beyond_the_interval():
    assert hw1_3_params.is_above_zero(np.array([1.0, 1.1, 0.9])) is True
    assert not hw1_3_params.is_above_zero(np.array([-1.0, -1.1, -0.9]))
    assert not hw1_3_params.is_above_zero(np.array([0.1, 2.0, 0.2]))
    assert not hw1_3_params.is_above_zero(np.array([5.0]))


def test_curves_are_summarized_for_each_fraction_and_measure(five_widths):
    peaked, falling = [2.0, 1.0, 5.0, 2.0, 3.0], [5.0, 4.0, 3.0, 2.0, 1.0]

    def runs(*curves):  # two runs, alike, of every fraction
        return np.stack([[curve, curve] for curve in curves])

    unknown = np.full((2, 2, 5), np.nan)  # no image is left to fit a temperature on
    measures = {"test_loss": runs(falling, peaked), "test_error": runs(peaked, falling),
                "calibrated_test_loss": unknown,
                "train_accuracy": runs([0.5, 0.9, 0.9, 1, 1], [0.5, 0.5, 0.5, 0.5, 0.5])}
    thresholds, late_rises, peaks = hw1_3_params.summarize_curves(COUNTS, measures, 30)
    keys = [(0, "test_loss"), (0, "test_error"), (0.2, "test_loss"), (0.2, "test_error")]
    for rows in (thresholds, late_rises, peaks[:4], peaks[4:]):
        assert [(row["randomized"], row["measure"]) for row in rows] == keys
    assert [row["width"] for row in thresholds] == [8, 8, None, None]
    assert [row["at_largest_mean"] for row in thresholds] == [1, 3, 3, 1]
    assert [row["labels_times_classes"] for row in thresholds] == [300] * 4  # of ten digits
    assert [row["rise_mean"] for row in late_rises] == [0, 2, 2, 0]
    assert [row["widths_averaged"] for row in peaks] == [3] * 4 + [1] * 4
    assert [row["beyond_intervals"] for row in peaks[4:]] == [False, True, True, False]
    assert peaks[5]["height_mean"] == 5
    measures["calibrated_test_loss"] = runs(peaked, peaked)
    _, late_rises, _ = hw1_3_params.summarize_curves(COUNTS, measures, 30)
    assert [row["rise_mean"] for row in late_rises if row["measure"] == "calibrated_test_loss"] == [
        2, 2]


def test_calibrated_losses_are_measured_where_the_losses_of_the_other_runs_rise():
    # The first run peaks at the third width, the other two at the second; the valleys are the
    # first widths. Without the first run the peak is at the second, without another at the third.
    losses = np.array([[1.0, 2.0, 9.0, 0.0], [1.0, 4.0, 3.0, 0.0], [1.0, 4.0, 3.0, 0.0]])
    calibrated = np.array([[5.0, 4.0, 3.0, 1.0], [5.0, 4.5, 4.0, 1.0], [5.0, 6.0, 5.5, 1.0]])
    changes = hw1_3_params.changes_to_peak(losses, calibrated, widths_averaged=1)
    assert changes.tolist() == [4 - 5, 4 - 5, 5.5 - 5]
    alone = hw1_3_params.changes_to_peak(losses[:1], calibrated[:1], widths_averaged=1)
    assert alone.tolist() == [3 - 5]
    # Means of three widths, the last one counted twice at the ends: 4/3, 4, 11/3, 3, with a peak
    # at the second width.
    smooth = hw1_3_params.changes_to_peak(losses[:1], calibrated[:1], widths_averaged=3)
    assert smooth.tolist() == pytest.approx([(5 + 4 + 3) / 3 - (5 + 5 + 4) / 3])


def test_rise_and_fall_of_features_are_differences_of_errors_and_factors_of_losses(monkeypatch):
    monkeypatch.setattr(hw1_3_params, "FRACTIONS", (0,))
    errors = np.array([[0.3, 0.8, 0.2], [0.3, 0.9, 0.1], [0.3, 0.7, 0.3]])[:, None]
    losses = np.array([[0.1, 10, 0.1], [0.1, 1000, 0.1], [0.1, 100, 0.1]])[:, None]
    measures = {"test_error": errors, "test_loss": losses}
    error, loss = hw1_3_params.summarize_feature_peaks([10, 20, 40], 20, measures)
    assert (error["features"], error["features_per_label"]) == (20, 1) == (
        loss["features"], loss["features_per_label"])
    assert (error["rise"], error["fall"]) == (pytest.approx(0.5), pytest.approx(0.6))
    assert error["rise_high"] - error["rise"] == pytest.approx(half_width(0.4, 0.5, 0.6))
    assert loss["rise"] == loss["fall"] == pytest.approx(1000)  # the geometric mean
    spread = np.exp(half_width(*np.log([100, 1000, 10_000])).expected)
    assert loss["rise_high"] / loss["rise"] == pytest.approx(spread)
    assert loss["runs_highest_there"] == error["runs_highest_there"] == 3
    assert error["beyond_intervals"] is True
    falling = {"test_error": errors[:, :, ::-1].copy(), "test_loss": losses}
    falling["test_error"][0, 0] = [0.9, 0.5, 0.4]  # one run without a peak
    error, _ = hw1_3_params.summarize_feature_peaks([10, 20, 40], 20, falling)
    assert error["runs_highest_there"] == 2 and error["beyond_intervals"] is False


# --- hw1_3_flatness ---


def test_pairs_start_alike_or_from_two_initializations():
    base, changed = tensor([[1], [2], [3]]), tensor([[10], [20], [30]])
    for initialization, expected in (("same", [[10], [20]]), ("different", [[20], [30]])):
        first, second = hw1_3_flatness.pair_solutions(base, changed, initialization)
        assert (first.tolist(), second.tolist()) == ([[1], [2]], expected)


def test_pairs_of_values_are_those_of_the_solutions():
    base, changed = np.array([1, 2, 3]), np.array([10, 20, 30])
    measured = {("solutions", "base"): {"weight_norm": base, "uncertainty": -base},
                ("solutions", "batch_size"): {"weight_norm": changed, "uncertainty": -changed}}
    for initialization, last in (("same", [10, 20]), ("different", [20, 30])):
        first, second = hw1_3_flatness.measures_of_ends(measured, "batch_size", initialization)
        assert {name: values.tolist() for name, values in first.items()} == {
            "weight_norm": [1, 2], "uncertainty": [-1, -2]}
        assert second["weight_norm"].tolist() == last
        assert (-second["uncertainty"]).tolist() == last


def test_uncertainty_is_the_variance_of_an_answer_that_is_right_as_often_as_predicted(monkeypatch):
    """Linear classifiers of two classes with margins m and 3 m: p = σ(m), so p (1 − p) is known."""
    monkeypatch.setattr(hw1_3_flatness, "WIDTHS", [1, 2])  # two weights, then two offsets
    images = torch.tensor([[2.0], [-6.0], [50.0]])  # the last training image is not used
    data = Dataset("two", images, torch.tensor([0, 0, 1]), images, torch.tensor([0, 1, 1]))
    settings = SimpleNamespace(seed=0, train_size=2, device=torch.device("cpu"))
    vectors = torch.tensor([[0.0, 0, 0, 0], [0.5, -0.5, 0, 0], [-5, 5, 0, 0]])
    measured = hw1_3_flatness.measure_uncertainty(data, vectors, settings).tolist()
    sure = [1 / (1 + math.exp(-margin)) / (1 + math.exp(margin)) for margin in (2, 6, 20, 60)]
    assert measured == pytest.approx([1 / 4, (sure[0] + sure[1]) / 2, (sure[2] + sure[3]) / 2],
                                     rel=1e-6)


def test_lines_are_measured_from_the_first_solution_to_the_second(monkeypatch):
    """Linear classifiers of two classes: the first is always right, the second always wrong."""
    monkeypatch.setattr(hw1_3_flatness, "WIDTHS", [1, 2])  # two weights, then two offsets
    first, second = torch.tensor([1.0, -1, 0, 0]), torch.tensor([-0.5, 0.5, 0, 0])
    images = torch.tensor([[2.0], [-2.0]])
    # labels of the test images are swapped, and the third training image is not used
    data = Dataset("two", torch.tensor([[2.0], [-2.0], [9.0]]), torch.tensor([0, 1, 1]),
                   images, torch.tensor([1, 0]))
    settings = SimpleNamespace(seed=0, train_size=2, device=torch.device("cpu"))
    values = hw1_3_flatness.measure_line(data, first, second, settings)
    alphas = np.arange(-10, 21) / 10
    margins = 4 * (1 - 1.5 * alphas)  # of both images: 4 w for the weights w and −w
    # their loss is log(1 + exp(−margin)), in float32
    np.testing.assert_allclose(values["train_loss"], [np.log1p(np.exp(-margins))], rtol=1e-5,
                               atol=1e-6)
    np.testing.assert_allclose(values["test_loss"], [np.log1p(np.exp(margins))], rtol=1e-5,
                               atol=1e-6)
    np.testing.assert_array_equal(values["train_accuracy"], [margins > 0])
    np.testing.assert_array_equal(values["test_accuracy"], [margins < 0])


def test_curvature_along_a_line_is_the_second_derivative_by_its_position(monkeypatch):
    # The margin m of the only image is linear in α, and its loss is log(1 + exp(−m)), whose second
    # derivative by α is m'² σ(m) σ(−m) in float64.
    monkeypatch.setattr(hw1_3_flatness, "WIDTHS", [1, 2])
    data = Dataset("one", torch.tensor([[2.0]]), torch.tensor([0]), torch.tensor([[2.0]]),
                   torch.tensor([0]))
    settings = SimpleNamespace(seed=0, train_size=1, device=torch.device("cpu"))
    values = hw1_3_flatness.measure_line(data, torch.tensor([1.0, -1, 0, 0]),
                                         torch.tensor([-0.5, 0.5, 1, 0]), settings)

    def second_derivative(margin, slope):
        return slope**2 / (1 + math.exp(margin)) / (1 + math.exp(-margin))

    # from margin 4 to margin −1
    assert values["curvature_at_0"].tolist() == pytest.approx([second_derivative(4, -5)], rel=1e-9)
    assert values["curvature_at_1"].tolist() == pytest.approx([second_derivative(-1, -5)], rel=1e-9)


def test_an_end_has_the_values_at_its_own_place_on_the_lines(monkeypatch):
    monkeypatch.setattr(hw1_3_flatness, "AT_0", 0)  # of three places
    monkeypatch.setattr(hw1_3_flatness, "AT_1", 2)
    lines = {"train_loss": np.array([[1.0, 2.0, 3.0], [5.0, 7.0, 9.0], [2.0, 2.0, 4.0]]),
             "train_accuracy": np.array([[0.9, 0.8, 0.7], [0.6, 0.4, 0.1], [0.8, 0.0, 0.6]]),
             "test_loss": np.array([[10.0, 11.0, 15.0], [20.0, 22.0, 26.0], [19.0, 1.0, 16.0]]),
             "test_accuracy": np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.8], [0.4, 0.9, 0.7]]),
             "curvature_at_0": np.array([1.0, 5.0, 2.0]),
             "curvature_at_1": np.array([4.0, 8.0, 7.0])}
    settings = SimpleNamespace(epochs=3, train_size=100)
    options = {"batch_size": 64, "learning_rate": 0.5}
    first = {"weight_norm": np.array([30.0, 32.0, 33.0]), "uncertainty": np.array([0.1, 0, 0])}
    columns = hw1_3_flatness.summarize_end(0, lines, first, options, "learning_rate", settings)
    assert columns == {"end": 0.5, "updates": 3 * 2, "train_loss_median": 2,
                       "train_accuracy_median": 0.8, "test_loss_median": 19,
                       "test_accuracy_median": 0.4, "weight_norm_median": 32,
                       "uncertainty_median": 0, "curvature_median": 2, "curvature_lowest": 1,
                       "curvature_highest": 5}
    second = {"weight_norm": np.array([40.0, 43.0, 42.0]), "uncertainty": np.array([0.2, 0.1, 0.1])}
    columns = hw1_3_flatness.summarize_end(2, lines, second, options | {"batch_size": 100},
                                           "batch_size", settings)
    assert columns == {"end": 100, "updates": 3, "train_loss_median": 4,
                       "train_accuracy_median": 0.6, "test_loss_median": 16,
                       "test_accuracy_median": 0.7, "weight_norm_median": 42,
                       "uncertainty_median": 0.1, "curvature_median": 7, "curvature_lowest": 4,
                       "curvature_highest": 8}


def test_lines_of_one_kind_are_summed_up_together():
    alphas = np.arange(-10, 21) / 10
    measured = {}
    for comparison, initialization, run in itertools.product(
            ("batch_size", "learning_rate"), ("same", "different"), range(2)):
        # The loss is height at both ends and `hump` more in the middle; far beyond it is larger.
        hump = 1 + run + 10 * (initialization == "different")
        hump += 100 * (comparison == "learning_rate")
        height = 1000 + run
        loss = height + 4 * hump * alphas * (1 - alphas) * np.where(abs(alphas - 0.5) > 0.5, -9, 1)
        curves = {name: np.array([loss + place]) for place, name in enumerate(
            ("train_loss", "train_accuracy", "test_loss", "test_accuracy"))}
        measured["line", comparison, initialization, run] = curves | {
            "curvature_at_0": np.array([hump]), "curvature_at_1": np.array([2 * hump])}
    for training, norms in (("base", (1.0, 2.0, 30.0)), ("batch_size", (9.0, 9.0, 9.0)),
                            ("learning_rate", (4.0, 6.0, 80.0))):
        measured["solutions", training, 0] = {"weight_norm": np.array(norms),
                                              "uncertainty": np.array(norms) / 8}
    settings = SimpleNamespace(epochs=1, train_size=128)
    changed = {"batch_size": 64, "learning_rate": 1e-2}
    ends, barriers, curves = hw1_3_flatness.summarize_lines(join_groups(measured), "learning_rate",
                                                            changed, settings)
    assert barriers == [
        {"comparison": "learning_rate", "initialization": initialization, "pairs": 2,
         "barrier_median": pytest.approx(median), "barrier_lowest": pytest.approx(median - 0.5),
         "barrier_highest": pytest.approx(median + 0.5)}
        for initialization, median in (("same", 101.5), ("different", 111.5))]
    assert [(row["initialization"], row["end"], row["barrier_highest"], row["curvature_median"],
             row["weight_norm_median"], row["uncertainty_median"]) for row in ends] == [
        ("same", 1e-3, pytest.approx(102), 101.5, 1.5, 1.5 / 8),
        ("same", 1e-2, pytest.approx(102), 203, 5, 5 / 8),
        ("different", 1e-3, pytest.approx(112), 111.5, 1.5, 1.5 / 8),
        ("different", 1e-2, pytest.approx(112), 223, 43, 43 / 8)]
    assert {row["train_loss_median"] for row in ends} == {1000.5}
    assert ends[0]["test_accuracy_median"] == 1003.5
    assert list(curves) == ["same", "different"]
    for initialization, values in curves.items():
        assert list(values) == ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
        runs = [measured["line", "learning_rate", initialization, run] for run in range(2)]
        for name, by_run in values.items():
            np.testing.assert_array_equal(by_run, [run[name][0] for run in runs])


def test_the_solutions_of_a_training_are_summed_up_over_all_groups_of_runs():
    def group(*losses):
        values = dict.fromkeys(hw1_3_flatness.SOLUTION_MEASURES, np.array(losses))
        return values | {"weight_norm": 2 * np.array(losses), "test_loss": 3 * np.array(losses),
                         "calibrated_test_loss": np.array(losses)}

    measured = {("solutions", "base", 0): group(1.0, 2.0), ("solutions", "base", 2): group(6.0),
                ("solutions", "batch_size", 0): group(7.0, 9.0), ("scale", 1.0, 0): group(99.0)}
    measured["solutions", "batch_size", 0]["calibrated_test_loss"][1] = np.nan  # not measured
    (base, changed), curves = hw1_3_flatness.summarize_solutions(
        join_groups(measured), {"base": {"batch_size": 64}, "batch_size": {"batch_size": 1024}},
        SimpleNamespace(train_size=2_000, epochs=3))
    assert (base["batch_size"], base["runs"]) == (64, 3)
    for name, factor in (("train_loss", 1), ("weight_norm", 2), ("test_loss", 3)):
        assert [base[f"{name}_{column}"] for column in ("median", "lowest", "highest")] == [
            2 * factor, factor, 6 * factor]
    assert (changed["batch_size"], changed["runs"], changed["train_loss_median"]) == (1024, 2, 8)
    assert (base["updates"], changed["updates"]) == (3 * 32, 3 * 2)
    assert base["calibrated_test_loss_median"] == 2
    assert changed["calibrated_test_loss_median"] is None
    assert curves["base"]["calibrated_test_loss"].tolist() == [1, 2, 6]
    assert curves["batch_size"]["calibrated_test_loss"] is None
    assert curves["batch_size"]["test_loss"].tolist() == [21, 27]
    assert set(curves["batch_size"]) == set(hw1_3_flatness.SOLUTION_MEASURES)


def test_a_comparison_changes_one_option():
    settings = SimpleNamespace(train_size=10_000)
    assert hw1_3_flatness.options_of_change("batch_size", settings) == {
        "batch_size": 1_024, "learning_rate": 1e-3}
    assert hw1_3_flatness.options_of_change("learning_rate", settings) == {
        "batch_size": 64, "learning_rate": 1e-2}
    few = SimpleNamespace(train_size=500)
    assert hw1_3_flatness.options_of_change("batch_size", few)["batch_size"] == 500
    assert hw1_3_flatness.BASE == {"batch_size": 64, "learning_rate": 1e-3}


# --- hw1_3_sensitivity ---


def test_the_target_loss_is_found_between_two_steps():
    path = torch.arange(9.0).unsqueeze(1).repeat(1, 2)  # both parameters count the steps
    calls = []

    def loss(points):
        calls.append(points)
        return 10 * torch.exp(-points[:, 0])

    for target in (9.0, 1.0, 0.3, 0.02):
        reached, steps = hw1_3_sensitivity.find_target_loss(path, loss, target)
        assert loss(reached[None]).item() == pytest.approx(
            target, rel=hw1_3_sensitivity.LOSS_TOLERANCE)
        assert loss(reached[None]).item() <= target
        assert steps == pytest.approx(reached[0].item())
    assert len(calls) < 4 * 25


def test_a_run_that_starts_below_the_target_is_taken_as_it_starts():
    path = torch.tensor([[3.0, 4.0]])
    reached, steps = hw1_3_sensitivity.find_target_loss(path, lambda points: points[:, 0], 9.0)
    assert reached.tolist() == [3, 4] and steps == 0


@pytest.mark.parametrize("batch_size", [8, 64])
def test_both_moments_lie_on_the_path_of_a_plain_training(batch_size):
    """The losses at every step of the same training, seen through train's own probe."""
    random = torch.Generator().manual_seed(0)
    data = Dataset("made up", torch.randn(64, 1, 28, 28, generator=random), torch.arange(64) % 10,
                   torch.randn(8, 1, 28, 28, generator=random), torch.arange(8) % 10)
    settings = SimpleNamespace(seed=0, device=torch.device("cpu"), train_size=64, epochs=2,
                               max_epochs=40, lr=2e-3, target_loss=1.0)
    model, networks = hw1_3_sensitivity.train_model(data, batch_size, [0, 1], settings)
    vectors, steps = networks["equal_loss"]
    losses, _ = evaluate(model, data.train_images, data.train_labels, unflatten(vectors, model))
    assert losses.tolist() == pytest.approx([1, 1], rel=hw1_3_sensitivity.LOSS_TOLERANCE)

    model, path = hw1_3_sensitivity.build_model([0, 1], settings), []
    labels = data.train_labels.expand(2, -1)
    train(model, data.train_images, labels, cross_entropy, epochs=40, learning_rate=2e-3,
          batch_size=batch_size, order_generators=run_generators(0, 2, "order"), cosine=False,
          probe=lambda step: path.append(parameter_vectors(model)), probe_steps=range(320))
    for run in range(2):
        before = math.ceil(steps[run]) - 1  # the place may be the very end of a step
        ends = torch.stack([path[before][run], path[before + 1][run]])
        place = interpolate(ends[0], ends[1], torch.tensor([steps[run] - before]))
        # Steps are counted in float64, parameters in float32.
        torch.testing.assert_close(vectors[run], place[0].float(), rtol=1e-4, atol=1e-5)
        ends_losses, _ = evaluate(model, data.train_images, data.train_labels,
                                  unflatten(ends, model))
        assert ends_losses[0] > 1 >= ends_losses[1]
    steps_of_epoch = 64 // batch_size
    vectors, steps = networks["equal_epochs"]
    assert steps.tolist() == [2 * steps_of_epoch] * 2
    torch.testing.assert_close(vectors, path[2 * steps_of_epoch])


def test_a_run_that_never_reaches_the_target_has_no_numbers():
    data = Dataset("made up", torch.randn(16, 1, 28, 28), torch.arange(16) % 10,
                   torch.randn(8, 1, 28, 28), torch.arange(8) % 10)
    settings = SimpleNamespace(seed=0, device=torch.device("cpu"), train_size=16, epochs=1,
                               max_epochs=2, lr=2e-3, target_loss=1e-9, sharpness_images=4)
    measured = hw1_3_sensitivity.train_and_measure(data, 16, [3], settings)
    assert measured["equal_epochs", "updates"].tolist() == [1]
    assert np.isfinite(measured["equal_epochs", "test_loss"]).all()
    at_equal_loss = {quantity: by_run for (regime, quantity), by_run in measured.items()
                     if regime == "equal_loss"}
    assert {*hw1_3_sensitivity.MEASURES, *hw1_3_sensitivity.OUTCOMES} < set(at_equal_loss)
    assert all(np.isnan(by_run).all() for by_run in at_equal_loss.values())


def test_batch_sizes_count_only_where_every_run_meets_the_condition():
    updates = np.array([[5.0, 6.0], [np.nan, 7.0]])
    curves = {"equal_epochs": {"updates": updates, "gap": np.array([[1.0, 2.0], [3.0, 4.0]])},
              "equal_loss": {"updates": updates + np.nan, "gap": updates}}
    # a quantity that could not be measured
    curves["equal_epochs"]["temperature"] = np.array([[np.nan] * 2, [3.0, 4.0]])
    complete = hw1_3_sensitivity.drop_unfinished(curves)
    assert "temperature" not in complete["equal_epochs"]
    assert complete["equal_epochs"]["gap"].tolist() == [[1, 2]]
    assert complete["equal_loss"]["gap"].shape == (0, 2)


def test_a_row_has_means_over_the_runs_or_nothing():
    names = [name for name in hw1_3_sensitivity.MEAN_COLUMNS if not name.endswith("_ci95")]
    values = {name: np.array([[place, place + 2.0]] * 2) for place, name in enumerate(names)}
    for by_size in values.values():
        by_size[1, 1] = np.nan  # a run that has not met the condition
    values["updates"][0] = [0, 2]
    rows = hw1_3_sensitivity.summarize_batch_sizes(
        [16, 32], {"equal_epochs": values, "equal_loss": values})
    assert [(row["regime"], row["batch_size"], row["runs"], row["reached"]) for row in rows] == [
        ("equal_epochs", 16, 2, 2), ("equal_epochs", 32, 2, 1),
        ("equal_loss", 16, 2, 2), ("equal_loss", 32, 2, 1)]
    assert {name: rows[0][name] for name in names} == {
        name: place + 1 for place, name in enumerate(names)}
    place = names.index("sensitivity")
    assert rows[0]["sensitivity_ci95"] == half_width(place, place + 2)
    assert {rows[1][name] for name in hw1_3_sensitivity.MEAN_COLUMNS} == {None}


def test_pieces_are_joined_by_regime_and_batch_size(monkeypatch):
    stacks = []

    def train_and_measure(batch_size, run_numbers, settings):
        stacks.append((batch_size, list(run_numbers)))
        values = batch_size + np.array(run_numbers, dtype=float)
        return {("equal_epochs", "test_loss"): values, ("equal_loss", "test_loss"): -values}

    monkeypatch.setattr(hw1_3_sensitivity, "train_and_measure", train_and_measure)
    monkeypatch.setattr(hw1_3_sensitivity, "RUNS_TOGETHER", 2)
    settings = SimpleNamespace(runs=3, epochs=1, max_epochs=2, train_size=200, jobs=1, cluster=None,
                               experiment="test", device=torch.device("cpu"))
    curves = hw1_3_sensitivity.measure_all([16, 64, 128], None, settings)
    assert sorted(stacks) == [(16, [0, 1]), (16, [2]), (64, [0, 1]), (64, [2]),
                              (128, [0]), (128, [1]), (128, [2])]
    expected = np.array([[16, 17, 18], [64, 65, 66], [128, 129, 130]])
    np.testing.assert_array_equal(curves["equal_epochs"]["test_loss"], expected)
    np.testing.assert_array_equal(curves["equal_loss"]["test_loss"], -expected)


def test_correlations_of_known_relations():
    random = np.random.default_rng(0)
    batch_size = np.repeat([[16.0], [32], [64], [128], [256]], 4, axis=1)  # five sizes, four runs
    own = random.standard_normal((5, 4))  # what tells the runs of a batch size apart
    test_loss = 10 * np.log2(batch_size) + own
    values = {
        "batch_size": batch_size,
        "sensitivity": 10 - test_loss,
        "jacobian": np.ones((5, 4)),
        "sharpness": np.log2(batch_size),  # follows from the batch size
        "adaptive_sharpness": own,
        "largest_eigenvalue": random.random((5, 4)),
        "test_loss": test_loss,
        "test_error": random.random((5, 4)),
    }
    rows = hw1_3_sensitivity.summarize_correlations({"equal_loss": values})
    assert len(rows) == 3 * 6 and {row["batch_sizes"] for row in rows} == {5}
    found = {(row["outcome"], row["measure"]): row for row in rows}
    to_loss = found["test_loss", "sensitivity"]
    assert to_loss["across"] == pytest.approx(-1, abs=0.03)  # of five points, moved inward
    assert to_loss["within"] == pytest.approx(-1, abs=1e-3)
    assert found["test_loss", "adaptive_sharpness"]["within"] == pytest.approx(1, abs=1e-3)
    # The interval of sensitivity is one of three, those without test labels are of twelve each.
    for measure, tests in (("sensitivity", 3), ("largest_eigenvalue", 12), ("batch_size", 12)):
        ranks = [stats.spearmanr(values[measure][:, run], values["test_error"][:, run]).statistic
                 for run in range(4)]
        z = np.arctanh(np.clip(ranks, -1 + 3 / 120, 1 - 3 / 120))  # 5³ − 5 = 120
        interval = stats.ttest_1samp(z, 0).confidence_interval(1 - 0.05 / tests)
        assert found["test_error", measure]["across_low"] == pytest.approx(np.tanh(interval.low))
    sharp = found["test_loss", "sharpness"]
    assert sharp["across"] == pytest.approx(1, abs=0.03) and sharp["within"] is None
    jacobian = found["test_loss", "jacobian"]
    assert jacobian["across"] is jacobian["within"] is None
    eigenvalue = found["test_error", "largest_eigenvalue"]
    per_run = [stats.spearmanr(values["largest_eigenvalue"][:, run],
                               values["test_error"][:, run]).statistic for run in range(4)]
    assert eigenvalue["across"] == pytest.approx(np.tanh(np.mean(np.arctanh(per_run))))
    assert eigenvalue["across_low"] < eigenvalue["across"] < eigenvalue["across_high"]
    # There is no calibrated test loss among the values, and below no batch size at all.
    nothing = {name: by_size[:0] for name, by_size in values.items()}
    empty = hw1_3_sensitivity.summarize_correlations({"equal_loss": nothing})
    assert {row["batch_sizes"] for row in empty} == {0}
    for row in [found["calibrated_test_loss", measure] for measure in values if
                measure in hw1_3_sensitivity.MEASURES] + empty:
        assert row["across"] is row["across_low"] is row["within"] is row["within_high"] is None


# --- figures ---

SCRIPTS = ("hw1_1_simulate", "hw1_1_mnist", "hw1_2_pca", "hw1_2_gradnorm", "hw1_2_minratio",
           "hw1_3_random_labels", "hw1_3_params", "hw1_3_flatness", "hw1_3_sensitivity")
# Constants of the scripts that say how a figure looks, or by which name results are stored, and not
# what was done.
LOOKS = {"TRUTH_COLOR", "FIXED_HINGES_PLACE",
         "AXIS_LABELS", "GROUP_LABELS", "OPTION_LABELS", "START_LABELS", "OUTCOME_LABELS",
         "UNDER_TRAINED", "LOOKS", "TITLE_NETWORKS", "COLOR_MAP", "REGIME_LABELS",
         "REGIME_LOOKS", "MEASURE_LABELS", "DOTTED", "MODEL_LABELS", "COMPARED_LOOK",
         "LABEL_LOOKS", "CALIBRATED_LOOK", "EXPECTED_LOOK", "EXPECTED_LABEL", "STAR_LOOK",
         "EVERY_THIRD",
         "SLOWDOWN_LABEL", "BESIDE", "ACCURACY_AXIS",
         "NORM_LOOK", "BATCH_LOOK", "ADAM_LABELS", "FUNCTION_TASK", "ADAM_CONSTANT",
         "SHOWN_FROM", "NO_BARRIER", "NO_CHANGE", "RISE", "KERNEL_COLORS",
         "BLOCK_MARKERS", "TASK_LOOKS", "CHANGE_LABELS", "CURVES", "TRAINING_COLOR", "WALK_COLOR",
         "VIEW_LABELS", "POINT_LOOK", "MARK_AREA", "LOSS_GROUPS", "SIGN_COLORS", "CONSTANT_LOOK",
         "CONSTANT_LABEL"}


@pytest.fixture(autouse=True)
def low_resolution(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "figure.dpi", 30)


def stored(name):
    """The results of the report, to be changed."""
    return copy.deepcopy(read_results(FIGURES / f"{name}.json"))


def titles(figure):
    return [panel.get_title() for panel in figure.axes]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_figure_needs_nothing_but_the_stored_results(name, monkeypatch):
    """None of the settings that later versions of a script may change: here they are all gone."""
    script, results = importlib.import_module(name), stored(name)
    plots = [getattr(script, plot) for plot in ("plot", "plot_details") if hasattr(script, plot)]
    expected = [png_of(plot(results), results) for plot in plots]
    settings = [constant for constant in vars(script) if constant.isupper()
                and constant not in LOOKS and not hasattr(plotting, constant)]  # nor colours
    assert "FLAGS" in settings
    for constant in settings:
        monkeypatch.delattr(script, constant)
    assert [png_of(plot(results), results) for plot in plots] == expected


def test_a_change_has_a_full_mark_and_its_interval_only_where_it_is_clear():
    results = stored("hw1_1_mnist")
    for task in ("main", "small"):
        for change in hw1_1_mnist.CHANGE_LABELS:
            results["facts"][task][change].update(
                winner=None, difference={"value": 0.01, "ci95": 0.005})
    results["facts"]["small"]["two_blocks"].update(
        winner="2 conv 5×5", difference={"value": -0.02, "ci95": None})  # of a single run
    panel = hw1_1_mnist.plot(results).axes[1]
    assert panel.get_title() == "Clear differences on MNIST: none;\non digits (8×8): 1 of 4"
    bars = panel.containers  # those of the main task first, from top to bottom
    marks = [bar.lines[0] for bar in bars]
    assert [mark.get_xdata()[0] for mark in marks] == [-1] * 5 + [2, -1, -1]  # errors, in points
    full = [mark.get_markerfacecolor() == mark.get_color() for mark in marks]
    assert full == [False] * 5 + [True] + [False] * 2
    ends = [bar.lines[2][0].get_segments()[0][:, 0] for bar in bars]
    np.testing.assert_allclose(ends, [[-1.5, -0.5]] * 5 + [[2, 2]] + [[-1.5, -0.5]] * 2)


def test_two_blocks_are_said_to_be_better_only_where_every_run_and_every_median_is():
    results = stored("hw1_1_mnist")
    assert "every run with two blocks" in titles(hw1_1_mnist.plot(results))[0]
    assert "two blocks are ahead" in hw1_1_mnist.plot_details(results).get_suptitle()
    history = results["curves"]["MNIST"]["4 conv 3×3"]
    history["test_accuracy"][0][-1] = 0.9
    assert "the final test errors of all runs" in titles(hw1_1_mnist.plot(results))[0]
    assert "two blocks are ahead" in hw1_1_mnist.plot_details(results).get_suptitle()  # medians
    for run in history["train_loss"]:
        run[1] = 1.0
    assert "two blocks" not in hw1_1_mnist.plot_details(results).get_suptitle()


@pytest.mark.parametrize("clear", [True, False])
def test_panels_of_the_gradient_norm_name_a_finding_only_where_it_is_clear(clear):
    results = stored("hw1_2_gradnorm")
    facts, end = results["facts"], 0.5 if clear else 2
    facts["adam"]["below"] = 0 if clear else 1
    facts["images"]["falling_over_constant"]["loss"].update(value=0.25, low=0.1, high=end)
    facts["images"]["batch_over_full_norm"].update(value=3, low=1 / end, high=9)
    facts["descent"].update(median_norm_at_edge=8, median_norm_below=2 if clear else 9)
    *_, images_loss = titles(hw1_2_gradnorm.plot(results))
    assert images_loss.endswith("the loss ends 4.0 times lower") is clear
    fractions, ends, batch_norms, *_ = titles(hw1_2_gradnorm.plot_details(results))
    assert ("rises to its limit" in fractions) is clear
    assert ("median norm is 4 times" in ends) is clear
    assert ("ends\n3.0 times that of all images" in batch_norms) is clear


def test_runs_without_exceptions_are_drawn():
    results = stored("hw1_2_gradnorm")
    results["facts"]["descent"].update(median_norm_at_edge=None, exceptions=0)
    panel = hw1_2_gradnorm.plot_details(results).axes[1]
    assert [len(line.get_xdata()) for line in panel.lines] == [6, 6, 6]
    assert png_of(hw1_2_gradnorm.plot_details(results), results)


def test_a_surface_with_a_loss_of_exactly_zero_is_drawn():
    results = stored("hw1_2_pca")
    results["curves"]["surface"]["loss"][3][4] = 0.0
    results["curves"]["loss"][0][-1] = 0.0
    scale = hw1_2_pca.loss_scale(results)
    assert 0 < scale.vmin < scale.vmax
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of values that a logarithm cannot show
        warnings.simplefilter("error", RuntimeWarning)
        figure = hw1_2_pca.plot_details(results)
        assert png_of(figure, results)
    surface_panel = figure.axes[0]
    contours = surface_panel.collections[0]
    assert contours.levels.min() == pytest.approx(scale.vmin)


@pytest.mark.parametrize("p_value, better, winner", [
    (0.049, 1, "1 layer"), (0.05, 1, "undecided"), (None, 1, "undecided"),
    (0.049, 2, "2 layers"), (0.05, 2, "undecided")])
def test_a_depth_wins_in_the_figure_only_with_a_significant_difference(p_value, better, winner):
    results = stored("hw1_1_simulate")
    results["comparisons"] = [
        {"function": "square wave", "better": better, "worse": 3 - better, "p_value": p_value},
        {"function": "square wave", "better": 1, "worse": 4, "p_value": p_value}]
    results["facts"] = hw1_1_simulate.collect_facts(results)
    figure = hw1_1_simulate.plot(results)
    assert "Sinc, lowest training\nerror: undecided" in titles(figure)
    assert f"Square wave, lowest training\nerror: {winner}" in titles(figure)
    assert figure.get_suptitle().startswith("Training stops far short of capacity")


@pytest.mark.parametrize("change, part", [
    ({}, "The depth that trains best depends on the function; training stops far short"),
    ({"no_depth_wins_both": False}, "Training stops far short of capacity"),
    ({"failing_pieces": None}, "The depth that trains best depends on the function"),
    ({"largest_error_set_by_hand": 1e-9}, "The depth that trains best depends on the function"),
])
def test_the_title_says_of_functions_and_capacity_what_the_facts_say(change, part):
    tent_facts = {"failing_pieces": 16, "most_pieces": 256, "largest_error_set_by_hand": 0.0}
    facts = {"no_depth_wins_both": True, "tent_map": tent_facts}
    for name, value in change.items():
        (facts if name in facts else tent_facts)[name] = value
    assert hw1_1_simulate.figure_title(facts).startswith(part)
    fails = "far short of capacity" in hw1_1_simulate.figure_title(facts)
    assert fails == ("from 16 pieces on" in hw1_1_simulate.tent_map_title(tent_facts))


@pytest.mark.parametrize("interpolation, beaten", [
    (0.02, False),  # the best depth's median is above it
    (0.03, False),  # below it, but not clearly
    (0.04, True)])
def test_no_depth_beats_linear_interpolation_unless_the_best_is_clearly_better(interpolation,
                                                                               beaten):
    results = stored("hw1_1_simulate")
    results["connected_dots"][1]["test_mse"] = interpolation
    results["facts"] = hw1_1_simulate.collect_facts(results)
    title = "Square wave, test: no depth\nclearly beats linear interpolation"
    assert (title in titles(hw1_1_simulate.plot(results))) is not beaten
    # Of a single run there is no interval.
    results["facts"]["square_wave"]["times_dots"].update(low=None, high=None)
    assert "Square wave: test errors" in titles(hw1_1_simulate.plot(results))


@pytest.mark.parametrize("errors, labels", [
    ([[0.01, 0.01], 0.01], ["0", "$10^{-2}$"]),  # all equal, and a power of ten
    ([[0.2, 0.5]], ["0", "$10^{0}$", "$10^{-1}$"]),  # within a decade
    ([[0.0, 0.0], 0.0], ["0", "$10^{0}$"]),
    ([[0.0, 1e-12], 1.0], ["0", *[f"$10^{{{decade}}}$" for decade in range(0, -13, -2)]]),
])
def test_an_axis_of_errors_has_ticks_for_any_errors(errors, labels):
    panel = matplotlib.figure.Figure().subplots()
    zero_place = hw1_1_simulate.set_error_axis(panel, [np.array(values) for values in errors])
    assert [tick.get_text() for tick in panel.get_yticklabels()] == labels
    low, high = panel.get_ylim()
    drawn = hw1_1_simulate.put_zeros(np.hstack(errors), zero_place)
    assert low < zero_place == panel.get_yticks()[0] <= drawn.min() <= drawn.max() < high
    assert all(error == zero_place or error > 5 * zero_place for error in drawn)


def test_errors_of_zero_have_a_place_of_their_own_on_the_axis():
    results = stored("hw1_1_simulate")
    name, depth = results["tent_map_bounds"][0]["function"], 2
    results["curves"]["train_mse"][name][depth][3][-1] = results["constants"]["SMALLEST_MSE"]
    results["curves"]["train_mse"]["sinc"][depth][3][-1] = results["constants"]["SMALLEST_MSE"]
    results["curves"]["test_mse"]["sinc"][depth][3] = 1e-20
    for panel in hw1_1_simulate.plot(results).axes:
        if panel.get_yscale() == "linear":
            continue
        zero_place = dict(zip([tick.get_text() for tick in panel.get_yticklabels()],
                              panel.get_yticks()))["0"]
        drawn = np.concatenate([line.get_ydata() for line in panel.lines])
        assert drawn[drawn < 1e-13].tolist() in ([], [zero_place] * (drawn < 1e-13).sum())
        assert panel.get_ylim()[0] < drawn.min() == zero_place


def test_the_figure_counts_the_fits_of_every_tent_map():
    results = stored("hw1_1_simulate")
    for row in results["tent_map_fits"]:
        row["runs_that_fit"] = {4: 10, 8: 7, 16: row["depth"], 256: 0}[row["pieces"]]
    results["facts"] = hw1_1_simulate.collect_facts(results)
    panels = hw1_1_simulate.plot(results).axes
    panel, = [panel for panel in panels if panel.get_title().startswith("Tent maps")]
    assert [label.get_text() for label in panel.get_xticklabels()] == [
        "4\n40 of 40\nruns fit", "8\n28 of 40\nruns fit", "16\n14 of 40\nruns fit",
        "256\n0 of 40\nruns fit"]
    assert "from 16 pieces on" in panel.get_title()
    # 14 of 40 is nearer to one half than 28.
    assert "Tent map, 16 pieces:\n14 of 40 runs fit" in titles(hw1_1_simulate.plot_details(results))


@pytest.mark.parametrize("clear", [True, False])
def test_peaks_are_named_only_where_they_are_clear(clear):
    results = stored("hw1_3_params")
    for name in ("true_labels", "random_labels"):
        results["facts"][name].update(loss_peak_is_clear=clear, error_peak_is_clear=False,
                                      calibrated_peak_is_clear=False)
        results["facts"][name]["late_loss_rise_is_clear"] = False
        results["facts"][f"{name}_features"].update(loss_peak_is_clear=clear,
                                                    error_peak_is_clear=clear)
    of_networks, of_features, *loss_titles = titles(hw1_3_params.plot(results))
    assert of_networks.endswith("keeps falling with 20 % random labels")
    details = titles(hw1_3_params.plot_details(results))
    for title in (of_features, *loss_titles, details[2]):
        assert ("peaks" in title) is clear
    assert ("times as large" in details[3]) is clear
    assert [title.endswith("after one temperature it does not")
            for title in loss_titles] == [clear, clear]
    results["facts"]["random_labels"]["error_peak_is_clear"] = True
    assert titles(hw1_3_params.plot(results))[0].endswith("peaks with 20 % random labels")


@pytest.mark.parametrize("change, ci95, lowest, fitted, falls", [
    (-0.1, 0.09, 900, 8, True), (-0.1, 0.11, 900, 8, False), (0.1, 0.09, 900, 8, False),
    (-0.1, None, 900, 8, False), (-0.1, 0.09, 800, 8, False), (-0.1, 0.09, 900, None, False)])
def test_the_error_keeps_falling_only_with_the_labels_with_which_it_does_to_the_end(
        change, ci95, lowest, fitted, falls):
    tried = {"error_peak_is_clear": False, "fitted_width": fitted,
             "lowest_error_parameters": lowest, "error_change": {"value": change, "ci95": ci95}}
    flat = {"error_peak_is_clear": False, "fitted_width": 8, "lowest_error_parameters": 900,
            "error_change": {"value": 0.0, "ci95": 0.1}}
    facts = {"most_random": 0.2, "most_parameters": 900}
    neither = "Trained networks: training and test error"
    falling = "Trained networks: test error\nkeeps falling with "
    assert hw1_3_params.error_title(facts | {"true_labels": tried, "random_labels": flat}) == (
        f"{falling}true labels" if falls else neither)
    assert hw1_3_params.error_title(facts | {"true_labels": flat, "random_labels": tried}) == (
        f"{falling}20 % random labels" if falls else neither)
    assert hw1_3_params.error_title(facts | {"true_labels": tried, "random_labels": tried}) == (
        f"{falling}true labels and 20 % random labels" if falls else neither)


def test_the_title_of_the_weights_is_about_the_peak_of_the_squared_error():
    results = stored("hw1_3_params")
    rows = [row for row in results["features"] if row["randomized"] == 0.2]
    ratio = rows[2]["weight_norm_median"] / rows[-1]["weight_norm_median"]
    peaks = results["facts"]["random_labels_features"]
    peaks["loss_peak_per_label"] = rows[2]["features_per_label"]  # the error's is elsewhere
    assert ratio < 2 and "times as large" not in hw1_3_params.weights_title(results)
    rows[2]["weight_norm_median"] *= 3 / ratio
    assert "are 3 times as large" in hw1_3_params.weights_title(results)
    peaks["loss_peak_is_clear"] = False
    assert "times as large" not in hw1_3_params.weights_title(results)


def test_both_figures_of_the_parameters_name_the_dotted_line():
    results = stored("hw1_3_params")
    for figure in (hw1_3_params.plot(results), hw1_3_params.plot_details(results)):
        entries = [text.get_text() for text in figure.legends[0].get_texts()]
        assert "as many trained parameters as labels × classes" in entries


@pytest.mark.parametrize("after, calibrated_rise, ending", [
    (None, None, "largest networks"), (False, 0.3, "it does not"), (True, 0.09, "it does so less"),
    (True, 0.11, "it still does")])
def test_a_rise_of_the_loss_is_said_to_be_gone_only_where_a_temperature_was_fitted(
        after, calibrated_rise, ending):
    facts = {"loss_peak_is_clear": False, "late_loss_rise_is_clear": True,
             "late_loss_rise": {"value": 0.2}, "calibrated_late_rise_is_clear": after,
             "calibrated_late_rise": calibrated_rise and {"value": calibrated_rise}}
    title = hw1_3_params.network_loss_title(facts, 0)
    assert title.startswith("True labels: test loss rises with the largest networks")
    assert title.endswith(ending)


def test_no_threshold_is_drawn_where_no_network_fits():
    results = stored("hw1_3_params")
    for name in ("true_labels", "random_labels"):
        results["facts"][name].update(fitted_width=None, fitted_parameters=None)
    figure = hw1_3_params.plot(results)
    assert figure.get_suptitle().startswith("No network fits 20 % random labels")
    assert not any("fits" in note.get_text() for panel in figure.axes for note in panel.texts)
    for panel in figure.axes:  # where it is expected is drawn all the same
        assert [line.get_xdata()[0] for line in panel.lines if line.get_linestyle() == ":"] == [1]


@pytest.mark.parametrize("value, ci95, finding", [
    (-0.1, 0.09, "still err less on test images"), (0.1, 0.09, "still err more on test images"),
    (-0.1, 0.11, "does not clearly change"), (-0.1, None, "does not clearly change")])
def test_the_title_says_how_the_error_changes_beyond_the_threshold(value, ci95, finding):
    facts = stored("hw1_3_params")["facts"]
    facts["random_labels"]["error_change"] = {"value": value, "ci95": ci95}
    assert finding in hw1_3_params.figure_title(facts)


def test_no_barrier_is_said_only_of_comparisons_without_one_from_the_same_start():
    different = {"value": 3, "low": 2, "high": 4}
    facts = {name: {"same_start_barrier": {"value": 0, "low": 0, "high": highest},
                    "different_starts_barrier": different}
             for name, highest in (("batch_size", 0.19), ("learning_rate", 0.21))}
    title = hw1_3_flatness.figure_title(facts, list(facts))
    assert title.startswith("Two batch sizes, same start: no loss barrier.")
    assert [hw1_3_flatness.loss_title(facts, name) for name in facts] == [
        "Two batch sizes: no barrier from the same start",
        "Two learning rates: from the same start some barriers"]
    facts["learning_rate"]["same_start_barrier"]["low"] = 0.205  # all above a tenth of 2
    assert hw1_3_flatness.loss_title(facts, "learning_rate") == (
        "Two learning rates: a barrier even from the same start")
    facts["batch_size"]["same_start_barrier"]["high"] = 0.3
    assert hw1_3_flatness.figure_title(facts, list(facts)).startswith(
        "Barriers from the same start are not far below")


@pytest.mark.parametrize("change, eigenvalue, sharpness, factor, title", [
    (1e-9, 3.0, 30.0, 0.9, "Same outputs, layers rescaled: sharpness rises or falls,\n"
                           "only adaptive sharpness stays"),
    (1e-9, 3.0, 30.0, 1 - 1e-9, "Same outputs, layers rescaled: sharpness rises,\n"
                                "only adaptive sharpness stays"),
    (1e-3, 3.0, 30.0, 0.9, "Sharpness of a rescaled network"),
    (1e-9, 1.9, 30.0, 0.9, "Sharpness of a rescaled network"),
    (1e-9, 3.0, 19.0, 0.9, "Sharpness of a rescaled network")])
def test_the_title_says_what_a_rescaling_does_to_sharpness(change, eigenvalue, sharpness, factor,
                                                           title):
    facts = {"largest_change_of_adaptive_sharpness": change, "eigenvalue_before": 1.0,
             "eigenvalue_after": eigenvalue, "sharpness_before": 10.0,
             "sharpness_after": sharpness, "lowest_sharpness_factor": factor}
    assert hw1_3_flatness.rescaling_title(facts) == title


@pytest.mark.parametrize("flattest, before, after, title", [
    ("learning_rate", 0.2, 0.08, "The flattest solution's high test loss\nis mostly confidence"),
    ("learning_rate", 0.2, -0.005, "The flattest solution's high test loss\nis mostly confidence"),
    ("learning_rate", 0.2, 0.09, "The flattest solution has a higher test loss,\n"
                                 "also after a temperature"),
    ("learning_rate", 0.2, -0.3, "The flattest solution has a higher test loss,\n"
                                 "a lower one after a temperature"),
    ("learning_rate", 0.02, 0.005, "Test loss and sharpness of three solutions"),
    ("learning_rate", 0.2, None, "Test loss and sharpness of three solutions"),
    ("learning_rate", 0.005, -0.2, "Test loss and sharpness of three solutions"),
    ("learning_rate", -0.2, -0.2, "Test loss and sharpness of three solutions"),
    ("base", 0.2, 0.0, "Test loss and sharpness of three solutions"),
    (None, 0.2, 0.0, "Test loss and sharpness of three solutions")])
def test_the_title_says_how_much_of_the_flattest_solutions_loss_is_confidence(flattest, before,
                                                                              after, title):
    facts = {"flattest": flattest, "excess_of_learning_rate": {
        "test_loss": {"value": before, "ci95": 0.01},
        "calibrated_test_loss": {"value": after, "ci95": None if after is None else 0.01}}}
    assert hw1_3_flatness.solutions_title(facts) == title
    facts["excess_of_learning_rate"]["test_loss"]["ci95"] = None  # of a single run
    assert hw1_3_flatness.solutions_title(facts) == "Test loss and sharpness of three solutions"


def test_networks_that_never_fit_are_counted_and_have_no_factor():
    results = stored("hw1_3_random_labels")
    constants = results["constants"]
    rows = [row for row in results["times"] if row["train_size"] == 10_000
            and (row["randomized"], row["threshold"]) == (1, constants["FITTED"])]
    assert len(rows) == 1
    rows[0].update(runs_that_reach_it=1, slowdown=None, slowdown_low=None, slowdown_high=None)
    results["slowdowns"] = [row for row in results["slowdowns"]
                            if (row["train_size"], row["randomized"]) != (10_000, 1)]
    results["facts"] = hw1_3_random_labels.collect_facts(results)
    figure = hw1_3_random_labels.plot(results)
    assert figure.get_suptitle().startswith("10 of 12 networks fit practically all their 10")
    assert titles(figure)[0].startswith("Not all labels are learned")
    assert titles(figure)[3].startswith("Slowdown and training set")


def test_the_slowdown_grows_with_the_training_set_only_where_the_interval_says_so():
    results = stored("hw1_3_random_labels")
    for low, finding in ((1.1, "The slowdown grows"), (0.9, "Slowdown and"), (None, "Slowdown")):
        results["facts"]["larger_size_ratio"]["low"] = low
        assert hw1_3_random_labels.sizes_title(results).startswith(finding)
    results["facts"]["larger_size_ratio"] = None  # a single size
    assert hw1_3_random_labels.sizes_title(results).startswith("Slowdown and")


@pytest.mark.parametrize("as_long, finding", [
    (True, "Fitting practically all labels takes as long\nwith 25 % random as with 100 %"),
    (False, "The slowdown by random labels")])
def test_few_random_labels_take_as_long_as_many_only_where_the_facts_say_so(as_long, finding):
    facts = stored("hw1_3_random_labels")["facts"]
    facts["fitting_takes_as_long"] = as_long
    assert hw1_3_random_labels.thresholds_title(facts).startswith(finding)


@pytest.mark.parametrize("ci95, finding", [
    (0.39, "Patterns come first: with 50 % random, about 50 %"), (0.41, "How often"),
    (None, "How often")])
def test_patterns_come_first_only_where_more_than_chance_is_seen(ci95, finding):
    facts = stored("hw1_3_random_labels")["facts"]
    facts["true_label_peak"] = {"value": 0.5, "ci95": ci95}  # chance is 0.1
    assert hw1_3_random_labels.mislabelled_title(facts).startswith(finding)


@pytest.mark.parametrize("ci95, finding", [
    (0.9, "While random labels are memorized, test loss rises"),
    (1.1, "Loss on training and test images"), (None, "Loss on training and test images")])
def test_test_loss_rises_only_where_it_does_with_every_fraction_of_random_labels(ci95, finding):
    facts = {"test_loss_rises": {0: {"value": 0, "ci95": 1}, 0.5: {"value": 1, "ci95": 0.5},
                                 1: {"value": 1, "ci95": ci95}}}
    assert hw1_3_random_labels.loss_title(facts) == finding


def test_a_regime_that_no_batch_size_reached_leaves_its_curves_out():
    results = stored("hw1_3_sensitivity")
    results["curves"]["equal_loss"] = {name: [] for name in results["curves"]["equal_loss"]}
    for row in results["correlations"]:
        row["batch_sizes"] = 0
        for name in ("across", "within"):
            row[name] = row[f"{name}_low"] = row[f"{name}_high"] = None
    results["facts"] = hw1_3_sensitivity.collect_facts(results)
    figure = hw1_3_sensitivity.plot(results)
    assert png_of(figure, results)
    equal_loss_panel, _, equal_epochs_panel, networks_panel = figure.axes
    assert equal_epochs_panel.lines and not equal_loss_panel.lines
    assert equal_loss_panel.get_title() == "At training loss 0.05: no clear difference"
    assert networks_panel.get_title() == ("Sensitivity, with test labels:\n"
                                          "no clear link with the test error")
    assert figure.get_suptitle().strip() == (
        "At equal loss no clear winner; no measure clearly tracks error")
    loss_panel, *others = hw1_3_sensitivity.plot_details(results).axes
    labels = {line.get_label() for line in loss_panel.lines}
    assert "equal epochs" in labels and "equal training loss" not in labels
    sharpness_panel, networks_panel = others[2], others[-1]
    assert not sharpness_panel.lines
    assert not networks_panel.axison  # no link was tested


def with_clear_links(clear, sign=1):
    """Stored results in which only these measures go with every target, in one direction."""
    results = stored("hw1_3_sensitivity")
    facts = results["facts"]
    for group in ("with_test_labels", "without_test_labels"):
        for measure, p_values in facts[group]["p_values"].items():
            for target in p_values:
                p_values[target] = 0.049 if measure in clear else 0.05
                facts["at_equal_loss"][measure][target]["across"]["value"] = 0.5 * sign
    return results


@pytest.mark.parametrize("clear, ending, panel_title", [
    (["sensitivity"], "only sensitivity, with test labels, clearly tracks error",
     "Only sensitivity, with test labels,\nclearly goes with both losses"),
    (["sensitivity", "jacobian"], "without test labels, Jacobian clearly tracks error",
     "Clearly goes with both losses:\nsensitivity, Jacobian"),
    (["jacobian", "sharpness"], "2 measures without test labels clearly track error",
     "Clearly goes with both losses:\nJacobian, ε-sharpness"),
    ([], "no measure clearly tracks error", "No measure clearly\ngoes with both losses")])
def test_the_titles_name_only_the_measures_that_are_clear_after_correction(clear, ending,
                                                                           panel_title):
    results = with_clear_links(clear)
    assert hw1_3_sensitivity.figure_title(results).endswith("; " + ending)
    both_losses = ["test_loss", "calibrated_test_loss"]
    assert hw1_3_sensitivity.correlations_title(results["facts"], both_losses) == panel_title
    of_error = hw1_3_sensitivity.correlations_title(results["facts"], ["test_error"])
    assert of_error == panel_title.replace("both losses", "the test error")
    falling = with_clear_links(clear, sign=-1)
    assert hw1_3_sensitivity.figure_title(falling).endswith("; no measure clearly tracks error")
    for targets in (both_losses, ["test_error"]):
        title = hw1_3_sensitivity.correlations_title(falling["facts"], targets)
        assert title.startswith("No measure")


def test_marks_of_correlations_are_full_where_they_are_clear_after_correction():
    results = with_clear_links(["jacobian"], sign=-1)  # clear of one sign or the other
    main_panel = hw1_3_sensitivity.plot(results).axes[1]
    details_panel = hw1_3_sensitivity.plot_details(results).axes[6]
    for panel, outcomes in ((main_panel, 1), (details_panel, 2)):
        marks = [line for line in panel.lines if len(line.get_xdata()) == 1]
        full = [mark.get_markerfacecolor() == mark.get_color() for mark in marks]
        assert full == [False] * outcomes + [True] * outcomes + [False] * 3 * outcomes


@pytest.mark.parametrize("p_values, best", [
    ({"sharpness": 0.2, "adaptive_sharpness": 0.1}, "adaptive_sharpness"),
    ({"sharpness": 0.04}, "sharpness")])
def test_the_details_show_the_measure_without_test_labels_of_the_lowest_p_value(p_values, best):
    results = stored("hw1_3_sensitivity")
    for measure, by_outcome in results["facts"]["without_test_labels"]["p_values"].items():
        by_outcome.update(dict.fromkeys(by_outcome, 0.001))  # of outcomes that are not drawn
        by_outcome["calibrated_test_loss"] = p_values.get(measure)
    panel = hw1_3_sensitivity.plot_details(results).axes[7]
    drawn = panel.collections[0].get_offsets()
    values = results["curves"]["equal_loss"]
    np.testing.assert_array_equal(drawn[:, 0], np.ravel(values[best]))
    np.testing.assert_array_equal(drawn[:, 1], np.ravel(values["calibrated_test_loss"]))


@pytest.mark.parametrize("value, beginning, panel_title", [
    (0.012, "At equal loss batch 16 beats 4,096;",
     "At training loss 0.05\nthe largest batch errs 1.2 points more"),
    (0.01, "At equal loss no clear winner;",
     "At training loss 0.05: no clear difference")])
def test_a_batch_size_errs_less_only_where_the_interval_says_so(value, beginning, panel_title):
    results = stored("hw1_3_sensitivity")
    results["facts"]["cost_of_largest_batch"]["test_error"] = {"value": value, "ci95": 0.01}
    assert hw1_3_sensitivity.figure_title(results).startswith(beginning)
    assert hw1_3_sensitivity.equal_loss_title(results) == panel_title


@pytest.mark.parametrize("largest, title", [
    (0.11, "After 20 epochs large batches are under-trained"), (0.1, "After 20 epochs")])
def test_large_batches_are_under_trained_with_ten_times_the_lowest_loss(largest, title):
    results = stored("hw1_3_sensitivity")
    results["facts"]["equal_epochs_train_loss"] = {"lowest": 0.01, "of_largest_batch": largest}
    assert hw1_3_sensitivity.equal_epochs_title(results) == title


@pytest.mark.parametrize("measure, p_value, correlation, title", [
    ("sensitivity", 0.049, 0.1, "Sensitivity, with test labels:\nrises with the test loss"),
    ("sharpness", 0.049, -0.1, "ε-sharpness, without test labels:\nfalls as the test loss rises"),
    ("sensitivity", 0.05, 0.9, "Sensitivity, with test labels:\nno clear link with the test loss"),
    ("jacobian", None, None, "Jacobian, without test labels:\nno clear link with the test loss")])
def test_a_measure_rises_with_test_loss_only_where_its_corrected_p_value_says_so(
        measure, p_value, correlation, title):
    facts = stored("hw1_3_sensitivity")["facts"]
    for group in ("with_test_labels", "without_test_labels"):
        for by_outcome in facts[group]["p_values"].values():
            by_outcome["test_loss"] = p_value
    facts["at_equal_loss"][measure]["test_loss"]["across"]["value"] = correlation
    assert hw1_3_sensitivity.networks_title(facts, measure, "test_loss") == title


def test_without_a_temperature_the_test_loss_is_drawn_as_it_is():
    results = stored("hw1_3_sensitivity")
    del results["curves"]["equal_loss"]["calibrated_test_loss"]
    for by_outcome in results["facts"]["without_test_labels"]["p_values"].values():
        by_outcome["test_loss"] = 0.2
    results["facts"]["without_test_labels"]["p_values"]["sharpness"]["test_loss"] = 0.1
    panel = hw1_3_sensitivity.plot_details(results).axes[7]
    assert panel.get_ylabel() == "test loss (nats)"
    drawn = panel.collections[0].get_offsets()
    values = results["curves"]["equal_loss"]
    np.testing.assert_array_equal(drawn[:, 1], np.ravel(values["test_loss"]))
    np.testing.assert_array_equal(drawn[:, 0], np.ravel(values["sharpness"]))


def test_a_search_without_critical_points_is_drawn():
    results = stored("hw1_2_minratio")
    results["points"] = []
    for row in results["correlations"] + results["tolerances"]:
        row.update(count=0, spearman=None, spearman_low=None, spearman_high=None)
    for row in results["tolerances"]:
        row.update(zero_median=None, negative_median=None)
    results["followed"] = hw1_2_minratio.summarize_followed(None)
    results["lost"] = [hw1_2_minratio.summarize_lost(None)]
    results["curves"]["gradient_norm"] = [1.0] * len(results["curves"]["gradient_norm"])
    for row in results["table"]:
        row.update(accepted=0)
    results["facts"] = hw1_2_minratio.collect_facts(results)
    figure, details = hw1_2_minratio.plot(results), hw1_2_minratio.plot_details(results)
    assert png_of(figure, results) and png_of(details, results)
    assert "need not" in figure.get_suptitle()
    assert titles(figure)[:3] == [
        "A: gradient of loss + L2 zero,\n0 points, too few to correlate",
        "Control: L2's part of curvature taken off,\n0 points, too few to correlate",
        "B: gradient of the loss alone almost zero,\n0 points, too few to correlate"]
    signs, _, followed, _ = titles(details)
    assert signs == "B: gradient of the loss alone almost zero"
    assert followed == "Points with less L2:\n0 of 0 could be followed to the end"


def test_every_critical_point_is_drawn_as_large_as_it_was_often_found():
    results = stored("hw1_2_minratio")
    points = results["points"]
    panel = hw1_2_minratio.plot(results).axes[0]
    marks, constant = panel.collections[0], panel.lines[1]  # the first line has means
    places = {(point["loss"], point["minimal_ratio"]) for point in points}
    assert places == {*map(tuple, marks.get_offsets()), *map(tuple, constant.get_xydata())}
    assert len(marks.get_offsets()) == results["facts"]["varying_critical"]
    found = [point["times_found"] for point in points if not point["constant"]]
    assert marks.get_sizes().tolist() == [hw1_2_minratio.MARK_AREA * times for times in found]


def test_bars_have_the_means_of_the_fractions_in_groups_of_rising_loss():
    results = stored("hw1_2_minratio")
    curves = results["curves"]
    losses = np.random.default_rng(0).permutation(np.arange(1.0, 11))
    # Of the last four, one has a large gradient, one is constant, and two are the lowest end again.
    lowest = losses.argmin()
    curves["point"] = [*range(1, 11), 11, 12, lowest + 1, lowest + 1]
    curves["gradient_norm"] = [0.0] * 10 + [1.0, 0.0, 0.0, 0.0]
    curves["constant"] = [False] * 11 + [True, False, False]
    curves["loss"] = [*losses, 0.5, 0.5, 1.0, 1.0]
    curves["minimal_ratio"] = [*losses / 100, 0.9, 0.9, 0.01, 0.01]
    curves["zero_ratio"] = [*losses / 50, 0.9, 0.9, 0.02, 0.02]
    curves["negative_ratio"] = [*1 - 3 * losses / 100, 0.9, 0.9, 0.97, 0.97]
    panel = hw1_2_minratio.plot_details(results).axes[0]
    assert "\n11 % of all eigenvalues count as zero" in panel.get_title()  # of 1 to 10 fiftieths
    bars = panel.patches
    means = np.array([1.5, 3.5, 5.5, 7.5, 9.5]) / 100
    heights = np.array([bar.get_height() for bar in bars]).reshape(3, 5)
    np.testing.assert_allclose(heights, [means, 2 * means, 1 - 3 * means])
    bottoms = np.array([bar.get_y() for bar in bars]).reshape(3, 5)
    np.testing.assert_allclose(bottoms, [0 * means, means, 3 * means])


def test_only_ends_with_a_small_gradient_are_drawn_and_constant_predictors_have_other_marks():
    results = stored("hw1_2_minratio")
    curves = results["curves"]
    # The last two are ends of the first two that were found again.
    curves["point"] = [3, 2, 1, 4, 3, 2]
    curves["gradient_norm"] = [1e-4, 1.1e-4, 0.0, 1e-9, 1e-5, 1.1e-4]
    curves["loss"] = [0.3, 0.2, 0.1, 0.4, 0.3, 0.2]
    curves["minimal_ratio"] = [0.5, 0.6, 0.7, 0.8, 0.5, 0.6]
    curves["zero_ratio"] = curves["negative_ratio"] = [0.1] * 6
    curves["constant"] = [False, False, False, True, False, False]
    panel = hw1_2_minratio.plot(results).axes[2]
    means, constant = panel.lines
    assert constant.get_xydata().tolist() == [[0.4, 0.8]]
    assert means.get_xydata().tolist() == [[0.1, 0.7], [0.3, 0.5]]  # of one point each
    marks = panel.collections[0]
    assert marks.get_offsets().tolist() == [[0.1, 0.7], [0.3, 0.5]]
    norms = marks.get_array()
    assert norms[1] == 1e-4 and 0 < norms[0] <= 1e-6  # a logarithmic scale has no zero


def test_as_many_ends_are_drawn_as_the_title_counts():
    results = stored("hw1_2_minratio")
    panel = hw1_2_minratio.plot(results).axes[2]
    assert len(panel.collections[0].get_offsets()) == results["facts"]["varying_ends"]
    constant = results["facts"]["ends"] - results["facts"]["varying_ends"]
    assert len(panel.lines[1].get_xydata()) == constant


def test_a_correlation_of_either_sign_is_inside_its_panel():
    results = stored("hw1_2_minratio")
    for row in results["correlations"] + results["tolerances"]:
        row.update(spearman=0.99, spearman_low=0.9, spearman_high=1.0)
    panels = hw1_2_minratio.plot_details(results).axes
    correlations = [panel for panel in panels if "rank correlation" in panel.get_xlabel()]
    assert len(correlations) == 2
    for panel in correlations:
        assert panel.get_xlim()[0] < -1 and panel.get_xlim()[1] > 1
