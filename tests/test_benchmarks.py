"""The benchmarks end to end, on as little work as shows that they work; what they time is no test."""

import json
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

import benchmark
import benchmark_growth
import benchmark_limits
from common.experiment import Flag, main


def measure(module, folder, *arguments):
    """The rows that the benchmark stores; its figure is drawn too."""
    main(module.run, module.plot, getattr(module, "FLAGS", {}), runs=module.RUNS, images=True,
         arguments=["--quick", "--runs", "1", "--dataset", "digits", "--out", str(folder), *arguments])
    path = folder / "quick-custom-digits" / f"{module.__name__}.json"
    assert path.with_suffix(".png").exists()
    return json.loads(path.read_text())


def test_every_workload_is_timed_against_the_loops(tmp_path):
    results = measure(benchmark, tmp_path, "--runs", "2", "--steps", "1", "--functions-steps", "2", "--images", "100")
    rows = results["table"]
    assert len(rows) == len(json.loads((ROOT / "figures" / "benchmark.json").read_text())["table"])
    for row in rows:
        assert all(row[f"{name}_median"] > 0
                   for name in ("rate", "plain_ratio", "share", "operations_share", "kernels_share"))
        measured = results["curves"][row["workload"]]  # a number per process
        assert all(len(values) == 2 for values in measured.values())
        # results keep six significant digits, which rounds both sides by up to 5e-6 of the number
        assert row["rate_median"] == pytest.approx(sum(measured["rate"]) / 2, rel=2e-5)
        assert (row["tutorial_ratio_median"] is None) == (row["workload"] in ("Hessians, 33 parameters", "input gradients"))


def test_growth_is_measured_along_runs_parameters_and_images(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_growth, "RUN_COUNTS", (1, 2))
    monkeypatch.setattr(benchmark_growth, "HIDDEN_WIDTHS", (4, 8))
    results = measure(benchmark_growth, tmp_path, "--largest-set", "160")
    counts = {grows: [row["value"] for row in results["table"] if row["grows"] == grows]
              for grows in ("runs", "parameters", "images")}
    assert counts == {"runs": [1, 2] * 3, "parameters": [785 * 4 + 5 * 10, 785 * 8 + 9 * 10],
                      "images": [10, 20, 40, 80, 160]}
    assert all(row["time_median"] > 0 for row in results["table"])
    # forth, and back by the weights, all layers; back by the inputs all but the first: two operations each
    assert results["estimates"][0]["operations_per_image"] == 2 * (2 * (784 * 32 + 2 * 32 * 32 + 320) + 2 * 32 * 32 + 320)


def test_limits_hold_the_operations_of_each_experiment_on_its_own_settings(tmp_path, monkeypatch):
    seen = []

    def multiply_and_sleep(settings, data=None):
        seen.append((settings.runs, settings.steps, data is not None))
        left, right = torch.rand(2, 64, 64)
        left @ right
        time.sleep(0.2)

    modules = {"without": SimpleNamespace(FLAGS={"steps": Flag(9, 3, "")}, RUNS=Flag(5, 2, ""),
                                          run=lambda settings: multiply_and_sleep(settings)),
               "with": SimpleNamespace(FLAGS={"steps": Flag(9, 4, "")}, RUNS=Flag(5, 3, ""),
                                       run=lambda settings, data: multiply_and_sleep(settings, data))}
    monkeypatch.setattr(benchmark_limits, "SCRIPTS", [*modules])
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    results = measure(benchmark_limits, tmp_path)
    assert seen == [(2, 3, False), (3, 4, True)]
    for row in results["table"]:
        assert 0 < row["product_seconds"] < row["library_seconds"] <= row["seconds"] - 0.2
    total = sum(row["seconds"] for row in results["table"])
    assert results["report"][0]["minutes"] == pytest.approx(total / 2 / 60, rel=1e-4)  # stored with six digits


def test_limits_know_the_nine_scripts():
    assert sorted(path.stem for path in ROOT.glob("hw1_*.py")) == benchmark_limits.SCRIPTS
