"""What the report says of the gradient's norm, from curves made by hand."""

import hw1_2_gradnorm
from hw1_2_gradnorm import collect_edge_facts

import numpy as np
import pytest
from scipy import stats


def made_up_curves(runs, norm_falls):
    """Losses that fall tenfold at step 10, with noise, and norms that stay or fall as much."""
    generator = np.random.default_rng(0)
    steps = np.arange(100)
    fall = np.where(steps < 10, 1, 0.1)
    loss = fall * np.exp(generator.normal(size=(runs, 100)) * 0.1)
    norm = (fall if norm_falls else 1) * np.exp(generator.normal(size=(runs, 100)) * 0.1)
    return {"steps": steps.tolist(), "loss": loss.tolist(), "norm": norm.tolist()}


def interval(value, low, high):
    return {"value": value, "low": low, "high": high}


def test_the_typical_run_falls_as_far_as_the_median_one():
    steps = np.arange(100)
    falls = [1e-1, 1e-4, 1e-2]  # from the early phase to the second half, run by run
    curves = {"steps": steps.tolist(),
              "loss": [np.where(steps < 10, 1, fall).tolist() for fall in falls]}
    assert hw1_2_gradnorm.find_typical_run(curves) == 2


def test_that_the_norm_falls_less_is_tested_over_runs():
    curves = made_up_curves(4, norm_falls=False)
    steps, falls = np.arange(100), {}
    for key in ("loss", "norm"):
        falls[key] = np.log(hw1_2_gradnorm.fall_since_early(steps, np.array(curves[key])))
    expected = stats.ttest_rel(falls["norm"], falls["loss"]).pvalue
    assert hw1_2_gradnorm.p_value_of_falling_less(curves) == pytest.approx(expected)
    assert expected < 0.01
    assert hw1_2_gradnorm.p_value_of_falling_less(made_up_curves(4, norm_falls=True)) > 0.05
    alike = {**curves, "norm": curves["loss"]}
    assert hw1_2_gradnorm.p_value_of_falling_less(alike) is None
    assert hw1_2_gradnorm.p_value_of_falling_less(made_up_curves(1, norm_falls=False)) is None


def test_the_answer_takes_the_larger_p_value_corrected_for_both_tasks():
    known = [{"falls_less_p_value": 0.001}, {"falls_less_p_value": 0.004}]
    assert hw1_2_gradnorm.largest_p_value(known) == pytest.approx(0.008)
    assert hw1_2_gradnorm.largest_p_value([known[0], {"falls_less_p_value": 0.9}]) == 1
    assert hw1_2_gradnorm.largest_p_value([known[0], {"falls_less_p_value": None}]) is None


def test_norms_at_the_edge_are_told_from_those_below():
    rows = [{"training": name, "at_edge": at_edge, "final_gradient_norm": norm,
             "fraction_of_limit": fraction}
            for name, at_edge, norm, fraction in (
                ("a", True, 7, 0.97), ("b", True, 3, 1.1), ("b", True, 4, 1.0),
                ("a", False, 0.2, 0.5), ("b", False, 5, 0.6), ("c", False, 100, 0.1))]
    facts = collect_edge_facts({"ends": rows}, ["a", "b"])
    assert facts == pytest.approx({
        "trainings": 5, "at_edge": 3, "below": 2, "median_norm_at_edge": 4,
        "lowest_norm_at_edge": 3, "median_norm_below": 2.6, "highest_norm_below": 5,
        "lowest_fraction_at_edge": 0.97, "highest_fraction_at_edge": 1.1})
    none_at_edge = collect_edge_facts({"ends": rows}, ["c"])
    assert (none_at_edge["at_edge"], none_at_edge["median_norm_at_edge"],
            none_at_edge["lowest_fraction_at_edge"]) == (0, None, None)


# --- titles ---


def test_the_title_says_what_the_intervals_say():
    def title(norm_low=0.2, below=0, falling_rate_high=0.9):
        images = {"loss_fall": interval(0.02, 0.01, 0.07), "norm_fall": interval(0.5, norm_low, 2)}
        on_sinc = {"loss_fall": interval(0.02, 0.01, 0.07), "norm_fall": interval(0.5, 0.2, 2),
                   "falling_rate_norm": interval(0.1, 0.05, falling_rate_high)}
        return hw1_2_gradnorm.figure_title(
            {"sinc": on_sinc, "images": images, "adam": {"below": below}})

    finding = "The loss falls further than the gradient norm"
    assert title() == f"{finding}; on sinc Adam's rate keeps the norm up"
    assert title(below=1) == finding
    for high in (1.1, None):
        assert title(falling_rate_high=high) == finding
    for low in (0.05, None):  # within the loss's interval, and of a single run
        assert title(norm_low=low) == (
            "From early to late, the gradient norm need not stay behind the loss")


def test_a_change_is_named_only_where_its_interval_excludes_none():
    describe = hw1_2_gradnorm.describe_change
    assert describe(interval(0.02, 0.01, 0.9)) == "falls 50-fold"
    assert describe(interval(2.04, 1.5, 3)) == "rises 2.0-fold"
    assert describe(interval(2, 0.9, 5)) == "has no clear trend"
    assert describe(interval(2, None, None)) == "has no clear trend"


def test_the_norms_at_the_end_are_compared_where_both_kinds_of_run_exist():
    def title(at_edge, below):
        return hw1_2_gradnorm.ends_title(
            {"descent": {"median_norm_at_edge": at_edge, "median_norm_below": below}})

    assert title(0.06, 0.001) == "Gradient descent: median norm\n60 times as large at the limit"
    for unclear in (title(0.001, 0.06), title(None, 1), title(1, None)):
        assert unclear == "The norm need not be larger\nat the limit"
