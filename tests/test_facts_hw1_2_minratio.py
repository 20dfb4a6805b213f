"""What the report says of critical points, from rows made by hand."""

import hw1_2_minratio


def row(spearman, count, **columns):
    ends = (None, None) if spearman is None else (spearman - 0.1, spearman + 0.1)
    return {"spearman": spearman, "spearman_low": ends[0], "spearman_high": ends[1],
            "count": count, "differing": 1, **columns}


def test_every_correlation_is_that_of_its_own_points():
    plain = {"objective": "plain"}
    regularized = {"objective": "regularized"}
    results = {
        "settings": {"runs": 7}, "constants": {"NEARLY_CRITICAL": 1e-4},
        "table": [{**plain, "accepted": 1, "parameters": 33}, {**regularized, "accepted": 5}],
        "search": [{**plain, "constant": 1, "rejected_kernel_dimensions": None},
                   {**regularized, "saddles": 4, "saddles_without_lower_neighbour": 3,
                    "negative_to_positive": None}],
        "tolerances": [row(-0.3, 30, **plain, tolerance=1e-3, points="varying"),
                       row(-0.4, 40, **plain, tolerance=1e-4, points="distinct"),
                       row(-0.5, 50, **plain, tolerance=1e-4, points="varying"),
                       row(None, 6, **plain, tolerance=1e-5, points="varying")],
        "correlations": [row(-0.7, 70, **regularized, points="distinct", ratio="eigenvalues"),
                         row(None, 70, **regularized, points="distinct", ratio="neighbours"),
                         row(-0.9, 69, **regularized, points="varying", ratio="eigenvalues")],
    }
    facts = hw1_2_minratio.collect_facts(results)
    for name, value, count in (("ends", -0.4, 40), ("varying_ends", -0.5, 50),
                               ("stricter_varying_ends", None, 6), ("critical", -0.7, 70),
                               ("varying_critical", -0.9, 69)):
        assert facts[name] == count
        assert facts[f"{name}_correlation"]["value"] == value
    assert facts["varying_ends_correlation"] == {"value": -0.5, "low": -0.6, "high": -0.4}
    assert facts["neighbours_differing"] == 1 and facts["searches"] == 7
