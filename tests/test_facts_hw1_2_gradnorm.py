"""What the report says of the gradient's norm, from curves made by hand."""

import hw1_2_gradnorm

import numpy as np
import pytest
from scipy import stats


def made_up_curves(runs, together):
    """Losses that fall tenfold at step 10, norms that stay; late both jump, alike or opposed."""
    generator = np.random.default_rng(0)
    steps = np.arange(100)
    jumps = generator.normal(size=(runs, 100)) * 0.1
    noise = generator.normal(size=(runs, 100)) * 0.01
    loss = np.where(steps < 10, 1, 0.1) * np.exp(jumps)
    norm = np.exp((jumps if together else -jumps) + noise)
    return {"steps": steps.tolist(), "loss": loss.tolist(), "norm": norm.tolist()}


@pytest.mark.parametrize("together", [True, False])
def test_changes_are_tested_over_runs_with_holms_correction(together):
    curves = {"sinc": {"a": made_up_curves(4, together)}, "MNIST": {"b": made_up_curves(4, True)}}
    p_values = hw1_2_gradnorm.p_values_of_late_changes(curves)
    correlations, changes = hw1_2_gradnorm.late_changes(curves["sinc"]["a"])
    assert (np.array(correlations) > 0).all() == together
    assert changes == 94  # records 5 to 99 are late
    single = stats.ttest_1samp(np.arctanh(correlations), 0).pvalue
    assert single <= p_values["a"] <= 2 * single + 1e-12
    assert p_values["a"] < 0.01


def test_the_typical_run_falls_as_far_as_the_median_one():
    steps = np.arange(100)
    falls = [1e-1, 1e-4, 1e-2]  # from the early phase to the second half, run by run
    curves = {"steps": steps.tolist(),
              "loss": [np.where(steps < 10, 1, fall).tolist() for fall in falls]}
    assert hw1_2_gradnorm.find_typical_run(curves) == 2


def test_that_the_norm_falls_less_is_tested_over_runs():
    assert hw1_2_gradnorm.p_value_of_falling_less(made_up_curves(4, True)) < 0.01
    alike = made_up_curves(4, True)
    alike["norm"] = alike["loss"]
    assert hw1_2_gradnorm.p_value_of_falling_less(alike) is None
    assert hw1_2_gradnorm.p_value_of_falling_less(made_up_curves(1, True)) is None


def test_a_single_run_has_no_p_value_and_the_answer_takes_the_largest():
    curves = {"sinc": {"a": made_up_curves(1, True)}}
    assert hw1_2_gradnorm.p_values_of_late_changes(curves) == {"a": None}
    known = {"late_changes_p_value": 0.001, "falls_less_p_value": 0.004}
    assert hw1_2_gradnorm.largest_p_value([known, known]) == pytest.approx(0.008)
    unknown = {"late_changes_p_value": None, "falls_less_p_value": 0.004}
    assert hw1_2_gradnorm.largest_p_value([known, unknown]) is None
    rows = [{"phase": "late", "change_correlation_low": 0.3},
            {"phase": "late", "change_correlation_low": -0.1},
            {"phase": "early", "change_correlation_low": -0.9}]
    assert hw1_2_gradnorm.lowest_late_changes(rows) == -0.1
    rows[0]["change_correlation_low"] = None
    assert hw1_2_gradnorm.lowest_late_changes(rows) is None
