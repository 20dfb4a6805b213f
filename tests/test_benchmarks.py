"""The benchmarks end to end, on as little work as shows that they run; timings are no test."""

import json
import os
import runpy
from types import SimpleNamespace

from benchmarks import (
    benchmark,
    benchmark_growth,
    benchmark_scaling,
    timing,
)
from common.command_line import main
from common.results import read_results

import pytest
from conftest import ROOT

WITHOUT_TUTORIAL = {"Hessians, 33 parameters", "input gradients"}


def run_quick(module, out, *arguments, folder="quick,dataset=digits"):
    """Runs a benchmark's quick tour on the digits; returns what it stores in the folder of out.

    Its figure is drawn too.
    """
    main(module.__file__, module.__doc__, module.FLAGS, module.run, module.plot, uses_images=True,
         in_pieces=False,
         arguments=["--quick", "--dataset", "digits", "--out", str(out), *arguments])
    path = out / folder / f"{module.__name__.removeprefix('benchmarks.')}.json"
    assert path.with_suffix(".png").exists()
    return read_results(path)


def test_every_process_is_a_new_one():
    processes = {os.getpid(), *(benchmark.in_new_process(os.getpid) for _ in range(2))}
    assert len(processes) == 3


def test_every_workload_is_timed_against_the_loops(tmp_path, monkeypatch):
    # In this process, which has imported everything, and beside a smaller matrix product.
    monkeypatch.setattr(benchmark, "in_new_process", lambda function, settings: function(settings))
    monkeypatch.setattr(timing, "MATRIX_SIZE", 256)
    results = run_quick(benchmark, tmp_path, "--steps", "1", "--functions-steps", "2",
                        "--images", "100",
                        folder="quick,dataset=digits,steps=1,functions_steps=2,images=100")
    rows = results["table"]
    assert len(rows) == 13
    for row in rows:
        for quantity in ("rate", "plain_ratio", "share", "operations_share", "kernels_share"):
            assert row[f"{quantity}_median"] > 0
        measured = results["curves"][row["workload"]]  # a number for each of two processes
        assert {len(values) for values in measured.values()} == {2}
        # Results keep six significant digits, which rounds both sides by up to 5e-6 of the number.
        assert row["rate_median"] == pytest.approx(sum(measured["rate"]) / 2, rel=2e-5)
    without_ratio = {row["workload"] for row in rows if row["tutorial_ratio_median"] is None}
    assert without_ratio == WITHOUT_TUTORIAL


def test_growth_is_measured_along_runs_parameters_and_images(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_growth, "RUN_COUNTS", (1, 2))
    monkeypatch.setattr(benchmark_growth, "HIDDEN_WIDTHS", (4, 8))
    results = run_quick(benchmark_growth, tmp_path, "--runs", "1", "--largest-set", "160",
                        folder="quick,dataset=digits,runs=1,largest_set=160")
    counts = {"runs": [], "parameters": [], "images": []}
    for row in results["table"]:
        counts[row["grows"]].append(row["value"])
        assert row["time_median"] > 0
    assert counts == {
        "runs": [1, 2] * 3,
        "parameters": [785 * 4 + 5 * 10, 785 * 8 + 9 * 10],
        "images": [10, 20, 40, 80, 160],
    }


def test_costs_are_estimated_from_the_time_of_the_largest_stack():
    microseconds_per_step = [[9.0], [1.0, 2.0, 3.0]]  # of 128 images
    by_runs = {benchmark_growth.CNN: microseconds_per_step}
    task = benchmark_growth.Task("a task", "a network", benchmark_growth.CNN, images=640, factor=3)
    row = benchmark_growth.estimate(task, by_runs)
    steps = 1_000 * 10 * 5  # runs, epochs, steps per epoch
    assert row["core_hours"] == pytest.approx(3 * 2e-6 * steps / 3600)


# --- more cores ---


def test_pieces_go_to_the_next_free_core_the_longest_first():
    seconds = {"a": 1, "b": 4, "c": 2, "d": 3}
    # On two cores: 4 beside 3, then 2 on the core of 3, then 1 on that of 4: both end at 5.
    assert [benchmark_scaling.schedule(seconds, cores) for cores in (1, 2, 3, 4, 9)] == [
        10, 5, 4, 4, 4]


def test_a_script_with_two_calls_waits_for_the_first_and_keeps_what_is_not_in_pieces():
    results = {"seconds": 13.0, "jobs": 2,
               "piece_seconds": [{"a": 4.0, "b": 4.0}, {"c": 3.0, "d": 5.0}]}
    # 4 + 5 seconds with two jobs, so that 4 are not in pieces; 2 more until it starts.
    predicted = [benchmark_scaling.predict_script(results, cores, 2.0) for cores in (1, 2, 8)]
    assert predicted == [2 + 4 + 8 + 8, 2 + 4 + 4 + 5, 2 + 4 + 4 + 5]


def test_the_cores_that_a_script_can_use_count_the_longest_piece_of_every_call():
    results = {"seconds": 20.0, "jobs": 1,
               "piece_seconds": [{"a": 4.0, "b": 4.0}, {"c": 2.0, "d": 8.0}]}
    row, = benchmark_scaling.predict_scripts({"hw1_a.py": results}, start_up=1.0)
    assert (row["piece_seconds"], row["longest_piece"]) == (18, 8)
    assert row["cores_used"] == pytest.approx(18 / (4 + 8))


def test_scripts_are_timed_with_one_and_two_jobs_and_the_report_is_predicted(
        tmp_path, monkeypatch):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "hw1_a.json").write_text(json.dumps({
        "experiment": "hw1_a", "settings": {"runs": 5}, "environment": {}, "table": [],
        "curves": {}, "seconds": 70, "jobs": 2, "piece_seconds": [{"a": 60, "b": 60}]}))
    # The script of this folder says that it takes nine seconds with one job and five with two.
    (tmp_path / "hw1_a.py").write_text("""
import json, sys
from pathlib import Path
if "--help" not in sys.argv:
    out, = [word for word in sys.argv if word.startswith("--out=")]
    results = dict.fromkeys(("experiment", "settings", "environment", "table", "curves"))
    results["seconds"] = 5 if "--jobs=2" in sys.argv else 9
    Path(out.removeprefix("--out="), "hw1_a.json").write_text(json.dumps(results))
""")
    monkeypatch.setattr(benchmark_scaling, "PROJECT", tmp_path)
    monkeypatch.setattr(benchmark_scaling, "SCRIPTS", {"hw1_a.py": 1})
    results = run_quick(benchmark_scaling, tmp_path / "out")
    row, = results["table"]
    assert (row["seconds_1"], row["seconds_2"], row["speedup_median"]) == (9, 5, 1.8)
    prediction, = results["predictions"]
    assert (prediction["pieces"], prediction["longest_piece"], prediction["cores_used"]) == (
        2, 60, 2)
    assert results["thousand_runs"][0]["core_hours"] == pytest.approx(120 / 5 * 1000 / 3600)
    longest, = results["longest"]
    assert longest["slowest"] == longest["fastest"] == row["speedup_median"]
    report = {row["cores"]: row["minutes"] for row in results["report"]}
    start_up = results["start_up"]
    assert report[1] == pytest.approx((start_up + 10 + 120) / 60, rel=1e-4)
    assert report[2] == report[64] == pytest.approx((start_up + 10 + 60) / 60, rel=1e-4)


def test_the_longest_scripts_are_timed_repeatedly_the_others_once(monkeypatch):
    monkeypatch.setattr(benchmark_scaling, "SCRIPTS", {"long.py": 9, "short.py": 1})
    timed = []

    def seconds_of_script(script, jobs, settings):
        timed.append((script, jobs))
        return len(timed)

    monkeypatch.setattr(benchmark_scaling, "seconds_of_script", seconds_of_script)
    seconds = benchmark_scaling.measure_speedups(["long.py"], SimpleNamespace(runs=2))
    assert timed == [("long.py", 1), ("long.py", 2), ("short.py", 1), ("short.py", 2),
                     ("long.py", 1), ("long.py", 2)]
    assert seconds == {"long.py": [[1, 5], [2, 6]], "short.py": [[3], [4]]}


def test_scaling_shortens_scripts_by_flags_that_they_have():
    assert set(benchmark_scaling.FLAGS_OF_OTHERS) < set(benchmark_scaling.SCRIPTS)
    for script, flags in benchmark_scaling.FLAGS_OF_OTHERS.items():
        names = runpy.run_path(str(ROOT / script), run_name="its flags")["FLAGS"]
        for flag in flags:
            name, value = flag.removeprefix("--").split("=")
            assert int(value) > 0 and name.replace("-", "_") in names
