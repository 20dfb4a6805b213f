"""The facts about sensitivity, from rows made by hand."""

import hw1_3_sensitivity
from common.statistics import correlation_within_groups

import numpy as np
import pytest


def results(runs, sizes=2):
    """Made-up results of so many runs of two batch sizes, of which `sizes` reached equal loss."""
    random = np.random.default_rng(0)
    rows = []
    for target in ("test_loss", "test_accuracy"):
        for place, measure in enumerate(hw1_3_sensitivity.MEASURES):
            row = {"regime": "equal_loss", "target": target, "measure": measure}
            for name in ("correlation", "partial", "within"):
                row |= {name: 0.1 * place, f"{name}_low": -0.5, f"{name}_high": None}
            rows.append(row)
    values = {name: random.standard_normal((2, runs))[:sizes].tolist()
              for name in ("sensitivity", "sharpness", "test_loss")}
    values["train_loss"] = [[0.0499] * runs, [0.0502] * runs][:sizes]
    return {"settings": {"target_loss": 0.05}, "correlations": rows,
            "curves": {"equal_loss": values},
            "table": [{"regime": "equal_epochs", "train_loss": loss} for loss in (0.2, 0.1, 0.4)]}


def test_facts_have_the_correlations_and_how_equal_the_loss_is():
    facts = hw1_3_sensitivity.collect_facts(results(runs=5))
    assert facts["batch_sizes"] == 2
    assert facts["largest_loss_deviation"] == pytest.approx(0.004)
    assert facts["equal_epochs_train_loss"] == {"lowest": 0.1, "of_largest_batch": 0.4}
    assert list(facts["at_equal_loss"]) == list(hw1_3_sensitivity.MEASURES)
    with_loss, with_error = (facts["at_equal_loss"]["sharpness"][target]["within"]
                             for target in ("test_loss", "test_error"))
    assert with_loss == {"value": pytest.approx(0.3), "low": -0.5, "high": None}
    assert with_error == {"value": pytest.approx(-0.3), "low": None, "high": 0.5}


def test_the_lead_is_a_difference_of_fishers_z_with_the_jackknifes_interval():
    stored = results(runs=5)
    lead = hw1_3_sensitivity.collect_facts(stored)["lead_of_sensitivity"]
    x, y, target = (np.array(stored["curves"]["equal_loss"][name]).T
                    for name in ("sensitivity", "sharpness", "test_loss"))

    def difference(kept):
        return (np.arctanh(correlation_within_groups(x[kept], target[kept])[0])
                - np.arctanh(correlation_within_groups(y[kept], target[kept])[0]))

    assert lead["value"] == pytest.approx(difference(np.arange(5)))
    left_out = [difference(np.delete(np.arange(5), run)) for run in range(5)]
    # The jackknife's standard error, by its usual formula, times Student's quantile.
    error = np.sqrt(4 / 5 * np.sum((left_out - np.mean(left_out)) ** 2))
    assert lead["ci95"] == pytest.approx(2.776445 * error)


@pytest.mark.parametrize("runs, sizes", [(3, 2), (5, 0)])
def test_there_is_no_lead_where_too_few_runs_are_compared(runs, sizes):
    facts = hw1_3_sensitivity.collect_facts(results(runs, sizes))
    assert facts["lead_of_sensitivity"] == {"value": None, "ci95": None}
    assert facts["batch_sizes"] == sizes
    assert (facts["largest_loss_deviation"] is None) is (sizes == 0)
