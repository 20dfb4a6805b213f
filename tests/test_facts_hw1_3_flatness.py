"""The facts about flatness, from rows made by hand."""

import hw1_3_flatness

import pytest


def columns(name, median, lowest, highest):
    return {f"{name}_median": median, f"{name}_lowest": lowest, f"{name}_highest": highest}


def results(heights, calibrated=(1.5, 1.5, 1.5)):
    """Made-up results: lines whose barriers from different starts are the heights (pairs,).

    calibrated are the test losses of the larger learning rate after a temperature.
    """
    changes = {"batch_size": 1024, "learning_rate": 0.01}
    table, comparisons, curves = [], [], {"alpha": [0.0, 0.5, 1.0]}
    for name, end in changes.items():
        for kind in ("same", "different"):
            key = {"comparison": name, "initialization": kind}
            median = 1 if kind == "same" else 5
            comparisons.append(key | columns("barrier", median, median - 1, median + 1))
            table.append(key | {"end": 64, "updates": 300, "train_loss_median": 0.1})
            table.append(key | {"end": end, "updates": 20, "train_loss_median": 0.2})
        flat = [[0.0, 0.5, 1.0] for _ in heights]
        walls = [[0.0, 0.5 + height, 1.0] for height in heights]
        curves[name] = {"same": {"train_loss": flat}, "different": {"train_loss": walls}}
    solutions = [{"updates": 10 * loss} | columns("test_loss", loss, loss - 1, loss + 1)
                 | columns("train_loss", loss / 10, 0, 1) | columns("test_accuracy", 0.9, 0.8, 1)
                 | columns("calibrated_test_loss", 4, 3, 5) | columns("temperature", 2, 1, 3)
                 | columns("largest_eigenvalue", 2, 1, 3) | columns("uncertainty", 0.1, 0, 0.2)
                 | columns("adaptive_sharpness", 7, 6, 8)
                 for loss in (5, 6, 7)]
    curves["solutions"] = {
        "base": {"test_loss": [1.0, 2.0, 3.0], "calibrated_test_loss": [1.0, 1.0, 1.0],
                 "test_accuracy": [0.9, 0.8, 0.7]},
        "learning_rate": {"test_loss": [2.0, 4.0, 6.0], "calibrated_test_loss": calibrated,
                          "test_accuracy": [0.8, 0.6, 0.4]}}
    rescaling = [{"scale": scale, "largest_eigenvalue_median": value, "largest_output_change": 0,
                  "sharpness_median": 10 * value, "adaptive_sharpness_median": 7}
                 for scale, value in ((0.25, 32), (1, 2), (4, 50))]
    curves["rescaling"] = {"sharpness": [[9.0, 8.0], [3.0, 2.0], [1.5, 0.5]],
                           "adaptive_sharpness": [[7.0, 9.0], [7.0, 10.0], [7.0, 10.5]],
                           "largest_eigenvalue": [[32.0, 40.0], [2.0, 1.0], [50.0, 60.0]]}
    return {"constants": {"CHANGES": changes, "SCALES": [0.25, 1, 4]}, "table": table,
            "comparisons": comparisons, "solutions": solutions, "rescaling": rescaling,
            "curves": curves}


def test_facts_compare_the_barriers_and_the_minima():
    facts = hw1_3_flatness.collect_facts(results([1.0, 2.0, 3.0]))
    for name, end in (("batch_size", 1024), ("learning_rate", 0.01)):
        comparison = facts[name]
        assert (comparison["base_end"], comparison["changed_end"]) == (64, end)
        assert (comparison["base_updates"], comparison["changed_updates"]) == (300, 20)
        assert comparison["same_start_barrier"] == {"value": 1, "low": 0, "high": 2}
        assert comparison["different_starts_barrier"] == {"value": 5, "low": 4, "high": 6}
        # Differences of 1, 2 and 3 have t = 2 √3: p = 0.0742, times 2 by Holm; half width 4.303/√3.
        assert comparison["difference"] == {"value": pytest.approx(2),
                                            "ci95": pytest.approx(2.4841, rel=1e-4)}
        assert comparison["p_value"] == pytest.approx(2 * 0.07418, rel=1e-3)
    assert list(facts["minima"]) == ["base", "batch_size", "learning_rate"]
    assert facts["minima"]["learning_rate"]["test_loss"] == {"value": 7, "low": 6, "high": 8}
    assert facts["minima"]["base"]["adaptive_sharpness"] == {"value": 7, "low": 6, "high": 8}
    assert facts["minima"]["batch_size"]["train_loss"] == {"value": 0.6, "low": 0, "high": 1}
    assert facts["minima"]["batch_size"]["test_accuracy"] == {"value": 0.9, "low": 0.8, "high": 1}
    assert [solution["updates"] for solution in facts["minima"].values()] == [50, 60, 70]
    assert facts["rescaling"] == {
        "divided_by": 4, "eigenvalue_before": 2, "eigenvalue_after": 32,
        "eigenvalue_factor": 28,  # the median of 16 and 40
        "sharpness_before": 20, "sharpness_after": 320, "adaptive_sharpness": 7,
        "lowest_sharpness_factor": 0.375, "lowest_sharpness_scale": 4,  # of 1/2 and 1/4
        "largest_output_change": 0,
        "largest_change_of_adaptive_sharpness": pytest.approx(0.1)}  # from 10 to 9


def test_the_excess_of_the_larger_rate_is_that_of_each_run():
    excess = hw1_3_flatness.collect_facts(results([1.0, 2.0]))["excess_of_learning_rate"]
    # Differences of 1, 2 and 3: their standard error is 1 / √3, Student's quantile 4.303.
    # t = 2 √3 has p = 0.0742 with two degrees of freedom, and there are two tests.
    p_value = pytest.approx(2 * 0.07418, rel=1e-3)
    assert excess["test_loss"] == {"value": pytest.approx(2), "p_value": p_value,
                                   "ci95": pytest.approx(2.4841, rel=1e-4)}
    # These differences are all equal, which leaves nothing to test.
    assert excess["calibrated_test_loss"] == {"value": 0.5, "ci95": 0, "p_value": None}
    # A tenth of the differences above, and of the other sign.
    assert excess["test_accuracy"] == {"value": pytest.approx(-0.2), "p_value": p_value,
                                       "ci95": pytest.approx(0.24841, rel=1e-4)}


def test_the_flattest_training_lies_below_the_others_in_every_run():
    made_up = results([1.0, 2.0])
    assert hw1_3_flatness.collect_facts(made_up)["flattest"] is None  # all are alike
    made_up["solutions"][2]["adaptive_sharpness_highest"] = 5.9  # the lowest of the others is 6
    assert hw1_3_flatness.collect_facts(made_up)["flattest"] == "learning_rate"
    made_up["solutions"][0]["adaptive_sharpness_lowest"] = 5.8
    assert hw1_3_flatness.collect_facts(made_up)["flattest"] is None


def test_there_is_no_excess_without_a_temperature():
    facts = hw1_3_flatness.collect_facts(results([1.0, 2.0], calibrated=None))
    assert facts["excess_of_learning_rate"]["calibrated_test_loss"] == {
        "value": None, "ci95": None, "p_value": None}


@pytest.mark.parametrize("heights", [[1.0], [2.0, 2.0]])
def test_there_is_no_p_value_where_there_is_nothing_to_test(heights):
    assert hw1_3_flatness.collect_facts(results(heights))["batch_size"]["p_value"] is None
