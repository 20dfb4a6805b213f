"""What the report says of critical points, from rows made by hand."""

import hw1_2_minratio

import pytest


def row(spearman, count, **columns):
    ends = (None, None) if spearman is None else (spearman - 0.1, spearman + 0.1)
    return {"spearman": spearman, "spearman_low": ends[0], "spearman_high": ends[1],
            "count": count, "p_value": count / 10_000, **columns}


def made_up_results():
    saddles_and_shares = [(False, 1.0), (False, 0.9), (True, 1.0), (True, 1.0), (True, 0.99)]
    return {
        "settings": {"runs": 7}, "constants": {"NEARLY_CRITICAL": 1e-4},
        "table": [{"objective": "plain", "accepted": 2, "accepted_constant": 1, "parameters": 33},
                  {"objective": "regularized", "accepted": 5}],
        "tolerances": [
            row(-0.3, 30, tolerance=1e-3, points="varying", zero_median=0.1, negative_median=0.2),
            row(-0.4, 40, tolerance=1e-4, points="distinct", zero_median=0.3, negative_median=0.4),
            row(-0.5, 50, tolerance=1e-4, points="varying", zero_median=0.5, negative_median=0.25),
            row(None, 6, tolerance=1e-5, points="varying", zero_median=0.6, negative_median=0.3)],
        "correlations": [row(-0.7, 70, points="distinct", hessian="regularized"),
                         row(-0.2, 70, points="distinct", hessian="plain"),
                         row(-0.9, 69, points="varying", hessian="regularized"),
                         row(-0.6, 69, points="varying", hessian="plain")],
        "points": [{"saddle": saddle, "higher_neighbours": share}
                   for saddle, share in saddles_and_shares],
        "followed": [
            {"weight_decay": 1e-3, "left": 70},
            {"weight_decay": 1e-4, "left": 30},
            {"weight_decay": 1e-6, "left": 7}],
        "lost": [{"lost": 60, "curvature_ratio": 0.02}],
    }


def test_every_correlation_is_that_of_its_own_points():
    facts = hw1_2_minratio.collect_facts(made_up_results())
    for name, value, count in (("ends", -0.4, 40), ("varying_ends", -0.5, 50),
                               ("critical", -0.7, 70), ("varying_critical", -0.9, 69)):
        assert facts[name] == count
        assert facts[f"{name}_correlation"]["value"] == value
    assert facts["varying_ends_correlation"] == {"value": -0.5, "low": -0.6, "high": -0.4}
    assert facts["above_decay_correlation"] == pytest.approx(
        {"value": -0.6, "low": -0.7, "high": -0.5})
    assert (facts["varying_ends_zero"], facts["varying_ends_negative"]) == (0.5, 0.25)


def test_the_answer_has_the_largest_of_three_corrected_p_values():
    results = made_up_results()
    # Of 50, 69 and 69 ten thousandths the smallest counts three times, the next one twice.
    assert hw1_2_minratio.collect_facts(results)["answer_p_value"] == pytest.approx(0.015)
    results["tolerances"][2]["p_value"] = None
    assert hw1_2_minratio.collect_facts(results)["answer_p_value"] is None


def test_points_are_counted():
    facts = hw1_2_minratio.collect_facts(made_up_results())
    assert (facts["searches"], facts["parameters"]) == (7, 33)
    assert (facts["plain_accepted"], facts["plain_accepted_constant"]) == (2, 1)
    assert facts["critical_found"] == 5
    assert (facts["saddles"], facts["saddles_taken_for_minima"]) == (3, 2)


def test_what_is_left_is_compared_with_what_was_there_first():
    facts = hw1_2_minratio.collect_facts(made_up_results())
    assert facts["smallest_weight_decay"] == 1e-6
    assert facts["left"] == 7
    share = facts["share_left"]
    assert share["value"] == pytest.approx(0.1) and share["low"] < 0.1 < share["high"]
    assert facts["curvature_ratio"] == 0.02
