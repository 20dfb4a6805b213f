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


TENT_ERRORS = {  # {pieces: {depth: of two runs}}
    4: {1: (1e-6, 2e-6), 2: (1e-7, 0.07), 4: (1e-9, 1e-8)},
    8: {1: (1e-3, 0.04), 2: (1e-4, 0.07), 4: (0.05, 0.06)},
    256: {1: (0.2, 0.22), 2: (0.24, 0.2), 4: (0.249, 0.25)},
}


def results_by_hand(square_p_value):
    """Two runs of depths 1 and 2 on two functions, on the square wave depth 2 is better; tent maps.
    """
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
    bounds, fits = [], []
    for pieces, errors_of_depths in TENT_ERRORS.items():
        name, best_constant = f"tent map, {pieces} pieces", 0.25 if pieces == 256 else 0.08
        bounds.append({"function": name, "pieces": pieces, "best_constant": best_constant,
                       "one_layer_floor": 0.05 if pieces == 256 else 0})
        train_mse[name] = {}
        for depth, errors in errors_of_depths.items():
            train_mse[name][depth] = [[0.01, error] for error in errors]
            shares = [error / best_constant for error in errors]
            fits.append({"function": name, "pieces": pieces, "depth": depth, "runs": 2,
                         "runs_that_fit": sum(share < 0.1 for share in shares),
                         "share_median": sum(shares) / 2, "share_lowest": min(shares)})
    return {
        "constants": {"QUESTION_FUNCTIONS": ("sinc", "square wave"), "TENT_PIECES": [4, 8, 256]},
        "table": table, "comparisons": comparisons, "test_comparisons": test_comparisons,
        "connected_dots": dots, "fixed_hinges": fixed_hinges,
        "set_by_hand": [{"depth": 2, "train_mse": 0.0}, {"depth": 4, "train_mse": 1e-30}],
        "tent_map_bounds": bounds, "tent_map_fits": fits,
        "curves": {"train_mse": train_mse, "test_mse": test_mse},
    }


def test_facts():
    facts = hw1_1_simulate.collect_facts(results_by_hand(0.002))
    assert facts["hinges"] == 5
    assert (facts["no_depth_wins_both"], facts["no_depth_wins_both_p_value"]) == (True, 0.002)
    sinc = facts["sinc"]
    interval, times_dots = sinc.pop("times_fixed_hinges"), sinc.pop("times_dots")
    assert sinc == {
        "winners": [1], "p_value": 0.001, "test_winners": [], "test_p_value": None,
        "best_depth": 1,
        "best_test_depth": 1, "best_test_error": 0.2, "dots_test_error": 0.05,
        "runs_below_dots": 3,  # 0.064 is above
        "fixed_hinges_training_error": 1e-14, "fixed_hinges_test_error": 0.001}
    assert times_dots["value"] == pytest.approx(4 * 0.001 / 0.05)
    assert interval["value"] == pytest.approx(4)  # the geometric mean of 2 and 8, of depth 1
    assert interval["low"] < 1 and interval["high"] == pytest.approx(16 / interval["low"])
    square_wave = facts["square_wave"]
    assert square_wave["winners"] == [2]
    assert square_wave["times_fixed_hinges"]["value"] == pytest.approx(16)  # of 4 and 64, depth 2


def test_facts_of_the_tent_map():
    facts = hw1_1_simulate.collect_facts(results_by_hand(0.002))["tent_map"]
    fits = facts.pop("fits")
    assert facts == {
        "partly_fitted_pieces": 8, "failing_pieces": 8, "most_pieces": 256,
        "one_layer_floor": 0.05, "best_constant_error": 0.25, "floor_share": 0.2,
        "largest_error_set_by_hand": 1e-30}
    assert list(fits) == [4, 8, 256]
    assert fits[4] == {"runs": 6, "runs_that_fit": 5, "one_layer_runs": 2,
                       "one_layer_runs_that_fit": 2, "deeper_runs": 4, "deeper_runs_that_fit": 3}
    assert fits[8] == {"runs": 6, "runs_that_fit": 2, "one_layer_runs": 2,
                       "one_layer_runs_that_fit": 1, "deeper_runs": 4, "deeper_runs_that_fit": 1}
    assert fits[256]["runs_that_fit"] == 0


@pytest.mark.parametrize("counts, failing", [
    ((10, 5, 4, 0), 16), ((10, 10, 10, 5), None), ((4, 5, 4, 0), 16), ((0, 0, 0, 0), 4),
    ((10, 4, 5, 4), 256)])
def test_failing_begins_where_half_of_the_runs_fit_no_more_and_nowhere_above(counts, failing):
    fits = {pieces: {"runs": 10, "runs_that_fit": count}
            for pieces, count in zip((4, 8, 16, 256), counts)}
    assert hw1_1_simulate.failing_pieces(fits) == failing


def test_without_a_winner_on_the_square_wave_nothing_is_said_of_both():
    facts = hw1_1_simulate.collect_facts(results_by_hand(0.2))
    assert (facts["no_depth_wins_both"], facts["no_depth_wins_both_p_value"]) == (False, None)
