"""Every script end to end, as a user starts it: in a process of its own, on the quick settings and the bundled digits."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPTS = sorted(path.name for path in ROOT.glob("hw1_*.py"))
# No display, no home, no language, and one thread for each of the processes that run side by side.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "HOME")} | {
    "LANG": "C", "OMP_NUM_THREADS": "1"}


def start(script, *arguments, folder):
    """The running script, started in another folder than its own."""
    return subprocess.Popen([sys.executable, ROOT / script, *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, encoding="utf-8", cwd=folder, env=ENVIRONMENT)


def succeed(process):
    output, error = process.communicate(timeout=280)
    assert process.returncode == 0, error
    assert error == ""  # no warning, and no progress bar where stderr is no terminal
    return output


def quick(script):
    """The flags of the quick tour without a network."""
    return ["--quick", *(["--dataset", "digits"] if "images=True" in (ROOT / script).read_text() else [])]


def stored(path):
    return json.loads(path.read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("script", SCRIPTS)
def test_quick_run_then_replot_then_the_same_numbers_again(script, tmp_path):
    name, flags = script.removesuffix(".py"), quick(script)
    succeed(start(script, *flags, "--out", "ø figures", folder=tmp_path))
    folder = tmp_path / "ø figures" / ("quick-digits" if "--dataset" in flags else "quick")
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.json", f"{name}.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ø figures"]  # nothing is written anywhere else

    results, figure = stored(folder / f"{name}.json"), folder / f"{name}.png"
    assert results["experiment"] == name and results["table"] and results["curves"]
    drawn = figure.read_bytes()
    assert drawn.startswith(b"\x89PNG") and len(drawn) < 300_000
    figure.unlink()
    succeed(start(script, *flags, "--replot", "--out", "ø figures", folder=tmp_path))
    assert figure.read_bytes() == drawn

    again = start(script, *flags, "--out", "again", folder=tmp_path)
    other_seed = start(script, *flags, "--seed", "1", "--out", "other", folder=tmp_path)
    succeed(again)
    succeed(other_seed)
    repeated = stored(tmp_path / "again" / folder.name / f"{name}.json")
    for key in results.keys() - {"seconds"}:
        assert repeated[key] == results[key]
    other = stored(tmp_path / "other" / folder.name.replace("quick", "quick-custom") / f"{name}.json")
    assert other["table"] != results["table"] and other["curves"] != results["curves"]


def test_two_copies_at_once_both_succeed_and_leave_whole_files(tmp_path):
    flags = ["--quick", "--epochs", "50", "--runs", "1", "--out", "figures"]
    for process in [start("hw1_1_simulate.py", *flags, folder=tmp_path) for _ in range(2)]:
        succeed(process)
    folder = tmp_path / "figures" / "quick-custom"
    assert sorted(path.name for path in folder.iterdir()) == ["hw1_1_simulate.json", "hw1_1_simulate.png"]
    assert stored(folder / "hw1_1_simulate.json")["settings"]["epochs"] == 50


def test_a_learning_rate_of_a_million_stops_with_the_run_and_epoch_named(tmp_path):
    process = start("hw1_1_mnist.py", "--quick", "--dataset", "digits", "--lr", "1e6", "--out", "figures", folder=tmp_path)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1
    assert error.startswith("error: ") and "run 0" in error and "at epoch 1" in error and error.count("\n") == 1


def test_there_are_nine():
    assert len(SCRIPTS) == 9
