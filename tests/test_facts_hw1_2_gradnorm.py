"""What the report says of the gradient's norm, from curves made by hand."""

import hw1_2_gradnorm
from hw1_2_gradnorm import collect_edge_facts

import numpy as np
import pytest
from scipy import stats


def curves_from(ends, **others):
    """Curves of 20 steps that begin at 1: {quantity: (runs, 20)} with the runs' ends at the last.

    Step 18, the first of the end, has the same value as step 19; those before have none.
    """
    quantities = {"steps": list(range(20))}
    for name, values in {**ends, **others}.items():
        quantities[name] = [[1.0, *[99.0] * 17, value, value] for value in values]
    return quantities


def interval(value, low, high):
    return {"value": value, "low": low, "high": high}


def test_the_typical_run_changes_norm_squared_over_loss_as_the_median_one():
    # norm² ÷ loss: 1e-1, 1e-4 and 1e-2; neither loss nor norm has its median in run 2
    curves = curves_from({"loss": [1e-3, 1e-2, 1e-4], "norm": [1e-2, 1e-3, 1e-3]})
    assert hw1_2_gradnorm.find_typical_run(curves) == 2


def test_a_batch_is_compared_with_all_images_at_the_end():
    curves = curves_from({"loss": [1, 1], "norm": [0.1, 0.2]}, batch_norm=[0.2, 1.6])
    ratio = hw1_2_gradnorm.batch_over_full_norm(curves)
    assert ratio["value"] == pytest.approx(4)  # of 2 and 8
    half_width = stats.t.ppf(0.975, 1) * np.log(2)  # the logarithms' standard error is log 2
    assert ratio["low"] == pytest.approx(4 * np.exp(-half_width))
    assert ratio["high"] == pytest.approx(4 * np.exp(half_width))


def made_up_results():
    """Of four runs, in which the falling rate changes norm² ÷ loss about 100-fold and 10-fold."""
    constant = curves_from({"loss": [1e-2, 2e-2, 1e-2, 3e-2], "norm": [0.1, 0.2, 0.3, 0.1]},
                           batch_norm=[0.5] * 4)
    falling = {
        "sinc": curves_from({"loss": [1e-2, 2e-2, 2e-2, 3e-2], "norm": [0.01, 0.02, 0.02, 0.01]}),
        "MNIST": curves_from({"loss": [1e-2, 2e-2, 1e-2, 3e-2], "norm": [0.03, 0.05, 0.1, 0.04]})}
    curves = {task: {name: constant for name in hw1_2_gradnorm.FUNCTION_TRAININGS}
              for task in ("sinc", "MNIST")}
    for task, of_task in falling.items():
        curves[task]["Adam, rate falls"] = of_task
    as_arrays = {}
    for task, trainings in curves.items():
        as_arrays[task] = {name: {key: np.array(values) for key, values in of_training.items()}
                           for name, of_training in trainings.items()}
    return {"environment": {"dataset": "MNIST"}, "constants": {"DESCENT_RATES": [0.01]},
            "curves": curves, "ends": [], "ratios": hw1_2_gradnorm.compare_trainings(as_arrays)}


def test_the_answer_is_that_the_rate_matters_beside_the_loss_on_both_tasks():
    facts = hw1_2_gradnorm.collect_facts(made_up_results())
    p_values = []
    for loss_ratios, norm_ratios in (([1, 1, 2, 1], [10, 10, 15, 10]),
                                     ([1, 1, 1, 1], [10 / 3, 4, 3, 2.5])):
        ratios = 2 * np.log(norm_ratios) + np.log(loss_ratios)  # constant over falling
        p_values.append(stats.ttest_1samp(ratios, 0).pvalue)
    on_sinc, on_images = p_values
    assert on_sinc < on_images < 2 * on_sinc  # Holm's: the smaller one counts twice
    assert facts["answer_p_value"] == pytest.approx(2 * on_sinc)
    assert facts["sinc"]["falling_over_constant"]["loss"]["value"] == pytest.approx(2 ** 0.25)
    of_images = facts["images"]["falling_over_constant"]
    assert of_images["norm"]["value"] == pytest.approx(100 ** -0.25)
    assert of_images["norm_squared_over_loss"]["value"] == pytest.approx(0.1)
    # norm² ÷ loss of the constant rate: 1, 2, 9 and 1/3
    for name in ("sinc", "images"):
        constant = facts[name]["constant"]
        assert constant["norm_squared_over_loss"]["value"] == pytest.approx(6 ** 0.25)
        assert constant["p_value"] == pytest.approx(
            min(1, 2 * stats.ttest_1samp(np.log([1, 2, 9, 1 / 3]), 0).pvalue))
        assert facts[name]["typical_run"] in (0, 1)  # at equal distances from the median


def test_an_answer_without_a_test_has_no_p_value():
    results = made_up_results()
    for row in results["ratios"]:
        if row["task"] == "MNIST":
            row["p_value"] = None
    assert hw1_2_gradnorm.collect_facts(results)["answer_p_value"] is None


def test_norms_at_the_edge_are_told_from_those_below_and_exceptions_are_counted():
    rows = [{"training": name, "at_edge": at_edge, "final_gradient_norm": norm}
            for name, at_edge, norm in (
                ("a", True, 7), ("b", True, 0.5), ("b", True, 4), ("b", True, 5),
                ("a", False, 0.2), ("b", False, 0.02), ("b", False, 5), ("c", False, 100))]
    facts = collect_edge_facts({"ends": rows}, ["a", "b"])
    # The medians are 4.5 and 0.2, their geometric mean is 0.95: 0.5 at the edge and 5 below it
    # lie on the wrong side.
    assert facts == pytest.approx({
        "trainings": 7, "at_edge": 4, "below": 3, "median_norm_at_edge": 4.5,
        "median_norm_below": 0.2, "exceptions": 2})
    assert [row["final_gradient_norm"] for row in rows
            if hw1_2_gradnorm.has_norm_of_other_side(row, facts)] == [0.5, 5, 100]
    assert collect_edge_facts({"ends": rows}, ["c"]) == {
        "trainings": 1, "at_edge": 0, "below": 1, "median_norm_at_edge": None,
        "median_norm_below": 100, "exceptions": 0}


# --- titles ---


@pytest.mark.parametrize("high, matters", [(0.9, True), (1.1, False), (None, False)])
def test_the_title_names_the_rate_only_where_it_matters_beside_the_loss(high, matters):
    on_sinc = {"falling_over_constant": {"norm_squared_over_loss": interval(0.1, 0.05, high)}}
    title = hw1_2_gradnorm.figure_title({"sinc": on_sinc})
    assert title == ("On sinc, the gradient norm follows the learning rate, not only the loss"
                     if matters else
                     "Loss and gradient norm at a constant and at a falling learning rate")


def test_the_norm_keeps_falling_in_a_title_only_where_the_interval_says_so():
    describe = hw1_2_gradnorm.describe_late
    assert describe(interval(0.1, 0.02, 0.9)) == "the norm\nkeeps falling"
    assert describe(interval(0.5, 0.1, 1.5)) == "the norm\nsoon stops falling"
    assert describe(interval(0.5, None, None)) == "loss\nand gradient norm"


def test_the_late_fall_divides_the_last_tenth_by_the_second_one():
    steps = np.arange(101)
    norms = np.ones((2, 101))
    norms[:, :10] = 1e6  # the first steps do not count
    norms[:, 10:21] = [[8.0], [2.0]]
    norms[:, 21:90] = 1e-6  # nor do those in between
    norms[:, 90:] = [[2.0], [2.0]]
    ratio = hw1_2_gradnorm.late_fall({"steps": steps, "norm": norms})
    assert ratio["value"] == pytest.approx(0.5)  # of 1/4 and 1
    # Without a record in that tenth, the one before it counts.
    few = {"steps": [0, 5, 50, 100], "norm": [[9, 4, 1, 2], [9, 4, 1, 2]]}
    assert hw1_2_gradnorm.late_fall(few)["value"] == pytest.approx(2 / 4)


@pytest.mark.parametrize("at_edge, below, exceptions, larger", [
    (0.06, 0.001, 0, True), (0.06, 0.001, 4, True), (0.06, 0.001, 5, False),
    (0.001, 0.06, 0, False), (None, 1, 0, False), (1, None, 0, False)])
def test_norms_are_called_larger_at_the_limit_where_their_median_is_with_few_exceptions(
        at_edge, below, exceptions, larger):
    facts = {"descent": {"median_norm_at_edge": at_edge, "median_norm_below": below,
                         "exceptions": exceptions, "trainings": 20}}  # a quarter of which is 5
    assert ("mostly end large at the limit" in hw1_2_gradnorm.details_title(facts)) is larger
