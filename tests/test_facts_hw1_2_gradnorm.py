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


def test_a_batch_is_compared_with_all_images_at_the_end():
    curves = curves_from({"loss": [1, 1], "norm": [0.1, 0.2]}, batch_norm=[0.2, 1.6])
    ratio = hw1_2_gradnorm.batch_over_full_norm(curves)
    assert ratio["value"] == pytest.approx(4)  # of 2 and 8
    half_width = stats.t.ppf(0.975, 1) * np.log(2)  # the logarithms' standard error is log 2
    assert ratio["low"] == pytest.approx(4 * np.exp(-half_width))
    assert ratio["high"] == pytest.approx(4 * np.exp(half_width))


def made_up_results():
    """Of four runs, whose norms end about 10 and 3 times smaller with the falling rate."""
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


def test_the_facts_of_a_task_are_its_changes_at_either_rate_and_between_the_rates():
    facts = hw1_2_gradnorm.collect_facts(made_up_results())
    # Steps 2 and 3, a fifth of the steps, have 99.
    constant = facts["images"]["constant"]
    assert constant["loss"]["value"] == pytest.approx(6 ** 0.25 / 99 / 100)
    assert constant["norm"]["value"] == pytest.approx(6 ** 0.25 / 99 / 10)
    of_images, of_sinc = (facts[name]["falling_over_constant"] for name in ("images", "sinc"))
    assert of_sinc["loss"]["value"] == pytest.approx(2 ** 0.25)
    assert of_images["norm"]["value"] == pytest.approx(100 ** -0.25)
    on_sinc, on_images = (stats.ttest_1samp(np.log(ratios), 0).pvalue
                          for ratios in ([10, 10, 15, 10], [10 / 3, 4, 3, 2.5]))
    assert 2 * on_sinc < on_images  # Holm's: the smaller one counts twice
    assert of_sinc["p_value"] == pytest.approx(2 * on_sinc)
    assert of_images["p_value"] == pytest.approx(on_images)


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


def changes(constant_high, falling_high):
    """Facts of a task whose norm, or loss, has changed by ratios with these upper ends."""
    return {rate: {quantity: interval(0.1, 0.05, high) for quantity in ("norm", "loss")}
            for rate, high in (("constant", constant_high), ("falling", falling_high))}


@pytest.mark.parametrize("constant_high, falling_high, named", [
    (1.1, 0.9, True), (0.9, 0.9, False), (1.1, 1.1, False), (None, 0.9, True), (1.1, None, False)])
def test_the_title_names_the_rate_only_where_the_norm_falls_with_the_falling_one_alone(
        constant_high, falling_high, named):
    on_sinc = changes(constant_high, falling_high)
    for on_images, always in ((changes(0.9, 0.9), True), (changes(1.1, 0.9), False)):
        title = hw1_2_gradnorm.figure_title({"sinc": on_sinc, "images": on_images}, "MNIST")
        assert ("goes on falling only if the learning rate falls" in title) is named
        assert title.endswith("on MNIST always") is (named and always)


@pytest.mark.parametrize("constant_high, falling_high, words", [
    (0.9, 0.9, "goes on falling\nat either rate"),
    (1.1, 0.9, "goes on falling\nonly with the falling rate"),
    (0.9, 1.1, "goes on falling\nonly at the constant rate"),
    (None, None, "falls\nat the beginning alone")])
def test_a_panel_says_at_which_rate_the_norm_goes_on_falling(constant_high, falling_high, words):
    described = hw1_2_gradnorm.describe_norm(changes(constant_high, falling_high))
    assert described == f"the norm {words}"


@pytest.mark.parametrize("low, value, high, words", [
    (1.1, 4, 9, "with the falling rate\nthe loss ends 4.0 times higher"),
    (0.1, 0.25, 0.9, "with the falling rate\nthe loss ends 4.0 times lower"),
    (0.9, 4, 9, "the loss ends\nnot clearly different"),
    (None, 4, None, "the loss ends\nnot clearly different")])
def test_a_panel_says_which_rate_ends_at_the_lower_loss(low, value, high, words):
    facts = {"falling_over_constant": {"loss": interval(value, low, high)}}
    assert hw1_2_gradnorm.describe_loss(facts) == words


@pytest.mark.parametrize("at_edge, below, exceptions, larger", [
    (0.06, 0.001, 0, True), (0.06, 0.001, 4, True), (0.06, 0.001, 5, False),
    (0.001, 0.06, 0, False), (None, 1, 0, False), (1, None, 0, False)])
def test_norms_are_called_larger_at_the_limit_where_their_median_is_with_few_exceptions(
        at_edge, below, exceptions, larger):
    facts = {"descent": {"median_norm_at_edge": at_edge, "median_norm_below": below,
                         "exceptions": exceptions, "trainings": 20}}  # a quarter of which is 5
    assert ("gradient norms mostly stay large" in hw1_2_gradnorm.details_title(facts)) is larger
