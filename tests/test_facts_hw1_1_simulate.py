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


def results_by_hand(square_p_value):
    """Two runs of depths 1 and 2 on three functions; on the square wave depth 2 is better."""
    table, comparisons, test_comparisons, dots = [], [], [], []
    train_mse, test_mse, truth = {}, {}, {}
    for name in ("sinc", "square wave", "triangle wave"):
        better, worse = (2, 1) if name == "square wave" else (1, 2)
        p_value = square_p_value if name == "square wave" else 0.001
        for depth, failed_runs in ((1, 0), (2, 1)):
            error = 0.1 if depth == better else 0.3
            table.append({"function": name, "depth": depth, "width": 5, "runs": 2,
                          "failed_runs": failed_runs, "train_mse_median": error,
                          "test_mse_median": 2 * error})
        comparisons.append(comparison(better, worse, p_value, name))
        test_comparisons.append(comparison(better, worse, 0.5, name))
        dots.append({"function": name, "test_mse": 0.05})
        train_mse[name] = {1: [[1, 0.1], [1, 0.3]], 2: [[0.01, 0.2], [1, 0.4]]}
        test_mse[name] = {1: [0.01, 0.3], 2: [0.04, 0.06]}
        truth[name] = [-1, 1]
    return {"settings": {"points": 5}, "table": table, "comparisons": comparisons,
            "test_comparisons": test_comparisons, "connected_dots": dots,
            "curves": {"truth": truth, "train_mse": train_mse, "test_mse": test_mse}}


def test_facts():
    facts = hw1_1_simulate.collect_facts(results_by_hand(0.002))
    assert (facts["hinges"], facts["can_fit_every_point"]) == (5, True)
    assert (facts["one_layer_failed_runs"], facts["one_layer_runs"]) == (0, 6)
    assert (facts["deeper_failed_runs"], facts["deeper_runs"]) == (3, 6)
    assert (facts["no_depth_wins_both"], facts["no_depth_wins_both_p_value"]) == (True, 0.002)
    assert facts["triangle_wave"] == {
        "winners": [1], "p_value": 0.001, "test_winners": [], "test_p_value": None,
        "best_depth": 1, "lowest_training_error": 0.1, "lowest_test_error": 0.2,
        "dots_test_error": 0.05, "times_dots": pytest.approx(4),
        "deeper_runs_below_dots": 1,  # that of 0.04; one layer's does not count
        "a_deeper_run_reaches_one_layer": False,  # 0.2 at the end, not the 0.01 before
        "unexplained": pytest.approx(0.2)}
    assert facts["square_wave"]["winners"] == [2]
    assert facts["square_wave"]["a_deeper_run_reaches_one_layer"] is True  # 0.2 against 0.3


def test_without_a_winner_on_the_square_wave_nothing_is_said_of_both():
    facts = hw1_1_simulate.collect_facts(results_by_hand(0.2))
    assert (facts["no_depth_wins_both"], facts["no_depth_wins_both_p_value"]) == (False, None)
