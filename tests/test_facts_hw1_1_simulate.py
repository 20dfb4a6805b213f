"""The facts of the function experiment, from rows made by hand."""

import hw1_1_simulate

import pytest


def comparison(better, worse, p_value, function="sinc"):
    return {"function": function, "better": better, "worse": worse, "p_value": p_value}


@pytest.mark.parametrize("rows, winners, p_value", [
    ([(1, 2, 0.01), (1, 4, 0.04)], [1], 0.04),  # better than all others
    ([(1, 2, 0.01), (1, 4, 0.06)], [], None),  # than one only
    ([(1, 2, 0.01), (4, 1, 0.6)], [], None),
    ([(1, 2, 0.01), (4, 1, 0.03)], [4], 0.03),  # one deeper network suffices
    ([(7, 1, 0.02), (2, 1, 0.01), (4, 1, 0.2)], [2, 7], 0.02),
    ([(1, 2, None), (4, 1, None)], [], None),  # a single run: no test
])
def test_who_wins(rows, winners, p_value):
    others = [comparison(2, 4, 1e-9), comparison(4, 1, 1e-9, "square wave")]
    comparisons = [comparison(*row) for row in rows] + others
    assert hw1_1_simulate.find_winners(comparisons, "sinc") == (winners, p_value)


def results_by_hand(square_p_value, tent_errors=((0.2, 0.22), (0.24, 0.2))):
    """Two runs of depths 1 and 2 on three functions; on the square wave depth 2 is better."""
    table, comparisons, test_comparisons, dots, fixed_hinges = [], [], [], [], []
    train_mse, test_mse = {}, {}
    for name in ("sinc", "square wave"):
        better, worse = (2, 1) if name == "square wave" else (1, 2)
        p_value = square_p_value if name == "square wave" else 0.001
        for depth in (1, 2):
            error = 0.1 if depth == better else 0.3
            table.append({"function": name, "depth": depth, "width": 5, "runs": 2,
                          "train_mse_median": error, "test_mse_median": 2 * error})
        comparisons.append(comparison(better, worse, p_value, name))
        test_comparisons.append(comparison(better, worse, 0.5, name))
        dots.append({"function": name, "test_mse": 0.05})
        fixed_hinges.append({"function": name, "train_mse": 1e-14, "test_mse": 0.001})
        train_mse[name] = {1: [[1, 0.1], [1, 0.3]], 2: [[0.01, 0.2], [1, 0.4]]}
        test_mse[name] = {1: [0.002, 0.008], 2: [0.004, 0.064]}
    train_mse["tent map"] = {1: [[1, error] for error in tent_errors[0]],
                             2: [[0.01, error] for error in tent_errors[1]]}
    fixed_hinges.append({"function": "tent map", "train_mse": 0.23, "test_mse": 0.09})
    return {
        "constants": {"QUESTION_FUNCTIONS": ("sinc", "square wave")},
        "table": table, "comparisons": comparisons, "test_comparisons": test_comparisons,
        "connected_dots": dots, "fixed_hinges": fixed_hinges,
        "set_by_hand": [{"depth": 2, "train_mse": 0.0}, {"depth": 4, "train_mse": 1e-30}],
        "tent_map_bounds": [{"one_layer_floor": 0.05, "best_constant": 0.25}],
        "curves": {"train_mse": train_mse, "test_mse": test_mse},
    }


def test_facts():
    facts = hw1_1_simulate.collect_facts(results_by_hand(0.002))
    assert facts["hinges"] == 5
    assert (facts["no_depth_wins_both"], facts["no_depth_wins_both_p_value"]) == (True, 0.002)
    sinc = facts["sinc"]
    interval = sinc.pop("times_fixed_hinges")
    assert sinc == {
        "winners": [1], "p_value": 0.001, "test_winners": [], "test_p_value": None,
        "best_depth": 1, "dots_test_error": 0.05,
        "fixed_hinges_training_error": 1e-14, "fixed_hinges_test_error": 0.001}
    assert interval["value"] == pytest.approx(4)  # the geometric mean of 2 and 8, of depth 1
    assert interval["low"] < 1 and interval["high"] == pytest.approx(16 / interval["low"])
    square_wave = facts["square_wave"]
    assert square_wave["winners"] == [2]
    assert square_wave["times_fixed_hinges"]["value"] == pytest.approx(16)  # of 4 and 64, depth 2


def test_facts_of_the_tent_map():
    facts = hw1_1_simulate.collect_facts(results_by_hand(0.002))["tent_map"]
    interval = facts.pop("best_depth_share")
    assert facts == {
        "one_layer_floor": 0.05, "fixed_hinges_training_error": 0.23, "best_constant_error": 0.25,
        "largest_error_set_by_hand": 1e-30, "floor_share": 0.2,
        "best_depth": 2, "lowest_share": 0.8, "deeper_runs": 2, "deeper_runs_below_floor": 0}
    assert interval["value"] == pytest.approx(0.88)  # 0.22 of 0.25
    assert interval["high"] - 0.88 == pytest.approx(12.706 * 0.08, rel=1e-3)  # t(0.975, 1) · 0.08


def test_only_deeper_runs_that_learn_the_tent_map_are_counted():
    results = results_by_hand(0.002, tent_errors=((0.01, 0.01), (0.0499, 0.05)))
    facts = hw1_1_simulate.collect_facts(results)["tent_map"]
    assert facts["deeper_runs_below_floor"] == 1


def test_without_a_winner_on_the_square_wave_nothing_is_said_of_both():
    facts = hw1_1_simulate.collect_facts(results_by_hand(0.2))
    assert (facts["no_depth_wins_both"], facts["no_depth_wins_both_p_value"]) == (False, None)
