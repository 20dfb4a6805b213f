"""Every script end to end, as a user starts it: in a process of its own, on the bundled digits."""

import json
import os
import shutil
import subprocess
import sys

from common import command_line
from common.results import OF_THE_RUN, figure_problem, tables_problem
from run_all import WITHOUT_IMAGES

import pytest
from conftest import ROOT

# No display, no home, no language, and another number of threads than the scripts use.
ENVIRONMENT = {key: value for key, value in os.environ.items()
               if key not in ("DISPLAY", "HOME")}
ENVIRONMENT |= {"LANG": "C", "OMP_NUM_THREADS": "3", "PYTHONIOENCODING": "utf-8"}

# The quick tour of every script takes five to ten seconds, too long for three runs of each. These
# flags make it smaller; what they do not name is as in the tour.
SMALLER_TOURS = {
    "hw1_1_mnist": {"epochs": 1, "train_size": 200},
    "hw1_1_simulate": {"runs": 2, "epochs": 20},
    "hw1_2_gradnorm": {"runs": 2, "steps": 20, "epochs": 1, "train_size": 100},
    "hw1_2_minratio": {"runs": 4, "epochs": 50, "iterations": 50},
    "hw1_2_pca": {"runs": 3, "epochs": 2, "train_size": 100},
    "hw1_3_flatness": {"runs": 2, "epochs": 1, "train_size": 200, "sharpness_images": 32},
    "hw1_3_params": {"epochs": 1, "train_size": 100},
    "hw1_3_random_labels": {"epochs": 2, "train_size": 200},
    "hw1_3_sensitivity": {"runs": 2, "epochs": 1, "max_epochs": 2, "train_size": 256,
                          "sharpness_images": 32},
}


def start(script, *arguments, folder, before=(), **environment):
    """The running script, started in another folder than its own, after the words of `before`."""
    return subprocess.Popen([*before, sys.executable, ROOT / script, *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                            cwd=folder, env=ENVIRONMENT | environment)


def succeed(process):
    output, error = process.communicate(timeout=280)
    assert process.returncode == 0, error
    # No warning, and no progress bar where stderr is no terminal. On a machine's first use,
    # matplotlib says that it looks for fonts.
    assert [line for line in error.splitlines() if "font cache" not in line] == []
    return output


def stored(path):
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


@pytest.mark.parametrize("name", SMALLER_TOURS)
def test_a_tour_then_replot_then_the_same_numbers_with_another_number_of_jobs(
        name, tmp_path, run_here, monkeypatch):
    script, flags, parts = ROOT / f"{name}.py", ["--quick"], ["quick"]
    if script.name not in WITHOUT_IMAGES:
        flags += ["--dataset", "digits"]
        parts.append("dataset=digits")
    changes = []
    for flag, value in SMALLER_TOURS[name].items():
        flags += ["--" + flag.replace("_", "-"), value]
        changes.append(f"{flag}={value}")
    folder_name = ",".join([*parts, *changes])
    succeed(start(script, *flags, "--jobs", 1, "--out", "ø figures", folder=tmp_path))
    folder = tmp_path / "ø figures" / folder_name
    figures = sorted(folder.glob("*.png"))
    assert [path.name for path in figures] in ([f"{name}.png"],
                                               [f"{name}.png", f"{name}_details.png"])
    assert sorted(path.name for path in folder.iterdir() if path not in figures) == [
        f"{name}.json", f"{name}.md"]
    # Nothing is written anywhere else.
    assert [path.name for path in folder.parent.iterdir()] == [folder_name]
    assert [path.name for path in tmp_path.iterdir()] == ["ø figures"]

    results = stored(folder / f"{name}.json")
    assert results["experiment"] == name and results["table"] and results["curves"]
    drawn = [figure.read_bytes() for figure in figures]
    for figure, content in zip(figures, drawn):
        assert content.startswith(b"\x89PNG") and len(content) < 300_000
        assert figure_problem(figure) is None
    tables = folder / f"{name}.md"
    assert tables_problem(tables) is None and "## table\n" in tables.read_text(encoding="utf-8")
    for path in (*figures, tables):
        path.unlink()
    run_here(script, *flags, "--replot", "--out", "ø figures", folder=tmp_path)
    assert [figure.read_bytes() for figure in figures] == drawn
    assert tables_problem(tables) is None

    # In other processes, side by side: two workers, which the scripts here share as in run_all.py.
    # The same numbers would be drawn as above, so they are not.
    with monkeypatch.context() as changed:
        changed.setattr(command_line, "_draw", lambda *_: None)
        run_here(script, *flags, "--jobs", 2, "--out", "again", folder=tmp_path)
    repeated = stored(tmp_path / "again" / folder_name / f"{name}.json")
    for key in results.keys() - set(OF_THE_RUN):
        assert repeated[key] == results[key]
    assert (results["jobs"], repeated["jobs"]) == (1, 2)

    run_here(script, *flags, "--jobs", 1, "--seed", 1, "--out", "other", folder=tmp_path)
    other_name = ",".join([*parts, "seed=1", *changes])
    other = stored(tmp_path / "other" / other_name / f"{name}.json")
    assert other["table"] != results["table"] and other["curves"] != results["curves"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows replaces no file that another reads")
def test_two_copies_at_once_both_succeed_and_leave_whole_files(tmp_path):
    flags = ["--quick", "--runs", "2", "--epochs", "10", "--iterations", "10", "--out", "figures"]
    for process in [start("hw1_2_minratio.py", *flags, folder=tmp_path) for _ in range(2)]:
        succeed(process)
    folder = tmp_path / "figures" / "quick,runs=2,epochs=10,iterations=10"
    names = sorted(path.name for path in folder.iterdir())
    assert [name for name in names if not name.endswith("_details.png")] == [
        "hw1_2_minratio.json", "hw1_2_minratio.md", "hw1_2_minratio.png"]
    assert stored(folder / "hw1_2_minratio.json")["settings"]["epochs"] == 10
    assert figure_problem(folder / "hw1_2_minratio.png") is None
    assert tables_problem(folder / "hw1_2_minratio.md") is None


@pytest.mark.parametrize("flags, place, message", [
    (["--dataset", "digits"], "figures/dataset=digits",
     "--out figures/dataset=digits cannot be written to"),
    (["--dataset", "mnist", "--replot"], "figures", "figures/hw1_3_params.png cannot be written"),
], ids=["run", "replot"])
def test_a_folder_that_may_not_be_written_to_gives_one_line_and_keeps_its_files(
        tmp_path, obeying, flags, place, message):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    for kind in ("json", "png"):
        shutil.copy(ROOT / "figures" / f"hw1_3_params.{kind}", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    folder.chmod(0o555)
    process = start("hw1_3_params.py", *flags, folder=tmp_path, before=obeying)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 2
    assert error.startswith(f"error: {message} (Permission denied)") and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_home_that_may_not_be_written_to_and_a_terminal_that_knows_ascii_only(tmp_path, obeying):
    for folder in ("home", "temporary", "ø figures"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "figures" / "hw1_3_params.json", tmp_path / "ø figures")
    (tmp_path / "home").chmod(0o555)
    process = start("hw1_3_params.py", "--replot", "--out", "ø figures", folder=tmp_path,
                    before=obeying, HOME=str(tmp_path / "home"),
                    TMPDIR=str(tmp_path / "temporary"), PYTHONIOENCODING="ascii")
    output, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    # matplotlib says that it cannot remember the fonts.
    assert all("matplotlib" in line.lower() for line in error.splitlines())
    assert r"figure:  \xf8 figures/hw1_3_params.png" in output
    assert (tmp_path / "ø figures" / "hw1_3_params.png").exists()
    assert not list((tmp_path / "home").iterdir())
    assert not list((tmp_path / "temporary").iterdir())


def test_a_learning_rate_of_a_million_stops_with_network_and_epoch_named(tmp_path):
    process = start("hw1_3_random_labels.py", "--quick", "--dataset", "digits", "--lr", "1e6",
                    "--out", "figures", "--jobs", 2, folder=tmp_path)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1
    assert error.startswith("error: 500 images, ") and error.count("\n") == 1
    assert "network 0" in error and "at epoch 1" in error
    assert not [path for path in (tmp_path / "figures").rglob("*") if path.is_file()]
