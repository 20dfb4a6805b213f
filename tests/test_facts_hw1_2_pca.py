"""What the report says of the paths of training, from rows made by hand."""

import hw1_2_pca

import numpy as np
import pytest
from scipy import stats


def made_up_results(excesses):
    def view(name, share, orthogonal):
        return {"view": name, "runs": len(excesses), "checkpoints": 11,
                "explained_variance_sum": share,
                "walk_explained_variance_sum_mean": 0.8, "orthogonal_starts": orthogonal,
                "walk_explained_variance_sum_low": 0.7,
                "walk_explained_variance_sum_high": 0.9}

    trainings = [{"quantity": "start-to-end distance", "value_lowest": 4.0, "value_highest": 6.0}]
    if len(excesses) > 1:
        trainings.append({"quantity": "start-to-start distance", "value_lowest": 20.0,
                          "value_highest": 22.0})
    starts = 0.25 if len(excesses) > 1 else None
    starts_in_plane = [[0, 0], [3, 4], [3, 1]][:len(excesses)]  # 5, √10 and 3 apart
    return {
        "table": [view("whole-model", 0.3, starts), view("one-layer", 0.4, starts),
                  view("own-path", 0.95, None)],
        "trainings": trainings,
        "own_paths": [{"explained_variance_sum": 0.5 + excess,
                       "walk_explained_variance_sum_mean": 0.5} for excess in excesses],
        "curves": {"paths": {"whole-model": [[start, [9, 9]] for start in starts_in_plane]}},
        "surface": [{"end_loss": 0.3, "lowest_loss": 0.1, "lowest_beyond_end": True}],
    }


def test_the_facts_compare_each_training_with_its_own_walks():
    excesses = [0.1, 0.3, 0.2]
    facts = hw1_2_pca.collect_facts(made_up_results(excesses))
    assert facts["training_in_plane"] == 0.95
    assert facts["walk_in_plane"] == {"value": 0.8, "low": 0.7, "high": 0.9}
    assert facts["alike"] is False  # 0.8 is less than nine tenths of 0.95
    assert facts["excess"]["value"] == pytest.approx(0.2)
    assert facts["excess_p_value"] == pytest.approx(
        stats.ttest_rel([0.6, 0.8, 0.7], [0.5] * 3).pvalue)
    assert (facts["lowest_start_distance"], facts["highest_moved_distance"]) == (20, 6)
    assert facts["lowest_start_distance_in_plane"] == 3
    assert facts["all_trainings_in_plane"] == 0.3
    assert facts["unrelated_starts_in_plane"] == 1  # three starts always lie in a plane


def test_facts_of_a_single_run_and_of_equal_runs_have_no_p_value():
    facts = hw1_2_pca.collect_facts(made_up_results([0.1]))
    for name in ("excess_p_value", "lowest_start_distance", "lowest_start_distance_in_plane",
                 "unrelated_starts_in_plane"):
        assert facts[name] is None
    assert facts["excess"]["ci95"] is None
    assert hw1_2_pca.collect_facts(made_up_results([0.0, 0.0]))["excess_p_value"] is None


def test_equal_orthogonal_steps_have_this_fraction_in_a_plane():
    walk = np.tril(np.ones((11, 11)), -1)  # step k is one along axis k
    variances = np.linalg.svd(walk - walk.mean(0), compute_uv=False) ** 2
    assert hw1_2_pca.fraction_of_equal_steps(11) == pytest.approx(
        variances[:2].sum() / variances.sum())


def test_the_title_calls_walk_and_training_alike_only_where_they_are():
    facts = {"training_in_plane": 0.97, "walk_in_plane": {"value": 0.93}}
    assert hw1_2_pca.figure_title(facts | {"alike": True}).startswith(
        "A training lies nearly in a plane (97%), but")
    assert hw1_2_pca.figure_title(facts | {"alike": False}).startswith(
        "A training lies nearer to a plane than a random walk")


@pytest.mark.parametrize("runs", [2, 3, 4, 8])
def test_unrelated_starts_have_this_fraction_in_a_plane(runs):
    # Random directions in so many dimensions are nearly orthogonal.
    starts = np.random.default_rng(0).standard_normal((runs, 200_000))
    variances = np.linalg.svd(starts - starts.mean(0), compute_uv=False) ** 2
    assert hw1_2_pca.fraction_of_unrelated_starts(runs) == pytest.approx(
        variances[:2].sum() / variances.sum(), rel=0.01)


def test_paths_are_called_short_and_far_apart_only_where_they_are():
    facts = {"lowest_start_distance": 13, "lowest_start_distance_in_plane": 2.34,
             "highest_moved_distance": 6}
    assert hw1_2_pca.all_trainings_title(facts) == (
        "All trainings in one plane: short paths, far apart.\n"
        "Nearest starts: 2.3 apart as drawn, 13 in truth")
    facts["highest_moved_distance"] = 7
    assert hw1_2_pca.all_trainings_title(facts).startswith("All trainings in one plane.\nNearest")
    facts["lowest_start_distance"] = None
    assert hw1_2_pca.all_trainings_title(facts) == "The only training"


def test_the_titles_of_the_details_say_what_the_facts_say():
    facts = {"surface_lowest_beyond_end": True, "all_trainings_in_plane": 0.3,
             "unrelated_starts_in_plane": 0.25}
    assert hw1_2_pca.details_title(facts).endswith("the loss is lowest beyond the path's end")
    assert "not lowest" in hw1_2_pca.details_title(facts | {"surface_lowest_beyond_end": False})
    assert hw1_2_pca.variances_title(facts) == (
        "One plane of all trainings holds 30% of the variance; unrelated starts alone give 25%")
    facts["unrelated_starts_in_plane"] = None
    assert hw1_2_pca.variances_title(facts) == "The variance in a plane"
