"""The facts about sensitivity, from rows made by hand."""

import hw1_3_sensitivity

import numpy as np
import pytest
from scipy import stats

QUANTITIES = ("sensitivity", "jacobian", "sharpness", "adaptive_sharpness",
              "largest_eigenvalue", *hw1_3_sensitivity.OUTCOMES)


def results(runs, sizes=6):
    """Made-up results of so many runs, of which `sizes` batch sizes reached equal loss."""
    random = np.random.default_rng(0)
    rows = []
    for outcome in hw1_3_sensitivity.OUTCOMES:
        for place, measure in enumerate(hw1_3_sensitivity.MEASURES):
            row = {"outcome": outcome, "measure": measure, "batch_sizes": sizes}
            for name in ("across", "within"):
                row |= {name: 0.1 * place, f"{name}_low": 0.1 * place - 0.2, f"{name}_high": 0.9}
            rows.append(row)
    values = {name: random.standard_normal((sizes, runs)).tolist() for name in QUANTITIES}
    return {"settings": {"target_loss": 0.05}, "correlations": rows,
            "curves": {"equal_loss": values,
                       "equal_epochs": {"test_error": [[0.1, 0.2, 0.3], [0.2, 0.4, 0.6]]}},
            "table": [{"regime": "equal_epochs", "train_loss": loss} for loss in (0.2, 0.1, 0.4)]}


def test_facts_have_the_correlations_with_their_intervals():
    stored = results(runs=5)
    facts = hw1_3_sensitivity.collect_facts(stored)
    assert facts["batch_sizes"] == 6
    assert facts["equal_epochs_train_loss"] == {"lowest": 0.1, "of_largest_batch": 0.4}
    assert list(facts["at_equal_loss"]) == list(hw1_3_sensitivity.MEASURES)
    link = facts["at_equal_loss"]["sharpness"]["test_error"]["within"]
    assert link == {"value": pytest.approx(0.3), "low": pytest.approx(0.1), "high": 0.9}


@pytest.mark.parametrize("group, measures", hw1_3_sensitivity.MEASURE_GROUPS.items())
def test_p_values_are_those_of_fishers_z_corrected_within_each_group(group, measures):
    stored = results(runs=5)
    values = {name: np.array(by_size) for name, by_size in stored["curves"]["equal_loss"].items()}
    # So near the outcome that its correlation is clear, though not the same in every run.
    values[measures[0]] = values["test_error"] + 0.3 * values[measures[0]]
    stored["curves"]["equal_loss"] = {name: by_size.tolist() for name, by_size in values.items()}
    expected = {}
    for measure in measures:
        for outcome in hw1_3_sensitivity.OUTCOMES:
            ranks = [stats.spearmanr(values[measure][:, run], values[outcome][:, run]).statistic
                     for run in range(5)]
            ranks = np.clip(ranks, -1 + 3 / 210, 1 - 3 / 210)  # 6³ − 6 = 210
            expected[measure, outcome] = stats.ttest_1samp(np.arctanh(ranks), 0).pvalue
    facts = hw1_3_sensitivity.collect_facts(stored)[group]
    found = {(measure, outcome): p_value for measure, by_outcome in facts["p_values"].items()
             for outcome, p_value in by_outcome.items()}
    smallest = min(expected, key=expected.get)
    assert facts["measures"] == measures and set(found) == set(expected)
    assert found[smallest] == pytest.approx(len(expected) * expected[smallest])
    largest = max(expected, key=expected.get)
    assert found[largest] >= expected[largest]
    assert facts["significant"] == sum(p_value < 0.05 for p_value in found.values()) > 0


def test_the_cost_of_the_largest_batch_is_that_of_each_run():
    stored = results(runs=3, sizes=3)
    stored["curves"]["equal_loss"]["test_error"] = [[0.1, 0.2, 0.3], [9.0] * 3, [0.2, 0.4, 0.6]]
    cost = hw1_3_sensitivity.collect_facts(stored)["cost_of_largest_batch"]["test_error"]
    # Differences of 0.1, 0.2 and 0.3: their standard error is 0.1 / √3, Student's quantile 4.303.
    assert cost["value"] == pytest.approx(0.2)
    assert cost["ci95"] == pytest.approx(0.24841, rel=1e-4)


def test_costs_are_tested_together():
    stored = results(runs=5)
    costs = hw1_3_sensitivity.collect_facts(stored)["cost_of_largest_batch"]
    values = {name: np.array(by_size) for name, by_size in stored["curves"]["equal_loss"].items()}
    p_values = {outcome: stats.ttest_rel(values[outcome][-1], values[outcome][0]).pvalue
                for outcome in hw1_3_sensitivity.OUTCOMES}
    smallest = min(p_values, key=p_values.get)
    assert costs[smallest]["p_value"] == pytest.approx(min(1, 3 * p_values[smallest]))
    assert all(costs[outcome]["p_value"] >= p_values[outcome] for outcome in p_values)


@pytest.mark.parametrize("runs, sizes", [(1, 6), (5, 0), (5, 1)])
def test_there_is_no_interval_where_too_little_is_compared(runs, sizes):
    facts = hw1_3_sensitivity.collect_facts(results(runs, sizes))
    assert {cost["ci95"] for cost in facts["cost_of_largest_batch"].values()} == {None}
    for group in hw1_3_sensitivity.MEASURE_GROUPS:
        assert facts[group]["significant"] == 0
        assert {*facts[group]["p_values"]["sensitivity" if group == "with_test_labels" else
                                          "jacobian"].values()} == {None}
    assert facts["batch_sizes"] == sizes


def test_without_a_temperature_there_is_no_cost_after_it():
    stored = results(runs=5)
    del stored["curves"]["equal_loss"]["calibrated_test_loss"]
    facts = hw1_3_sensitivity.collect_facts(stored)
    nothing = {"value": None, "ci95": None, "p_value": None}
    assert facts["cost_of_largest_batch"]["calibrated_test_loss"] == nothing
    assert facts["cost_of_largest_batch"]["test_error"]["ci95"] > 0
