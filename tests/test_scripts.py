"""Every script end to end, as a user starts it: in a process of its own, on the quick settings and the bundled digits."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler

import pytest
from conftest import ROOT, SMALL_FILES, checksum
from PIL import Image

SCRIPTS = sorted(path.name for path in ROOT.glob("hw1_*.py"))
# No display, no home, no language, and one thread for each of the processes that run side by side.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "HOME")} | {
    "LANG": "C", "OMP_NUM_THREADS": "1"}


def start(script, *arguments, folder, before=(), **environment):
    """The running script, started in another folder than its own, after the words of the command `before`."""
    return subprocess.Popen([*before, sys.executable, ROOT / script, *map(str, arguments)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, encoding="utf-8", cwd=folder, env=ENVIRONMENT | environment)


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
def test_quick_run_then_replot_then_the_same_numbers_again(script, tmp_path, run_here):
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
    run_here(ROOT / script, *flags, "--replot", "--out", "ø figures", folder=tmp_path)
    assert figure.read_bytes() == drawn

    run_here(ROOT / script, *flags, "--out", "again", folder=tmp_path)  # another process than the first one's
    run_here(ROOT / script, *flags, "--seed", "1", "--out", "other", folder=tmp_path)
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


# Stands in for Python: the mirror of MNIST is a server on this machine, whose small set has checksums of its own.
REDIRECTED = """
import runpy, sys, torchvision
from common import data
data.FILES, data.MNIST_MD5, data.DOWNLOAD_TIMEOUT = {files!r}, {checksums!r}, 60
torchvision.datasets.MNIST.mirrors, torchvision.datasets.MNIST.resources = [{address!r}], {resources!r}
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_two_at_once_on_an_empty_data_folder_writes_there_and_in_figures_only(tmp_path, server, monkeypatch):
    served, address, asked = server
    together, answer = threading.Barrier(2), SimpleHTTPRequestHandler.do_GET

    def answer_both(handler):  # each request waits for the other script's, so that no file is complete for one of them only
        together.wait(timeout=60)
        answer(handler)

    monkeypatch.setattr(SimpleHTTPRequestHandler, "do_GET", answer_both)
    copy, python = tmp_path / "copy", tmp_path / "copy" / ".venv" / "bin" / "python"
    shutil.copytree(ROOT / "common", copy / "common", ignore=shutil.ignore_patterns("__pycache__"))
    scripts = ["hw1_2_pca", "hw1_3_params"]
    for name in ["Makefile", "requirements.txt", *[f"{script}.py" for script in scripts]]:
        shutil.copy(ROOT / name, copy)
    python.parent.mkdir(parents=True)
    (copy / ".venv" / "redirected.py").write_text(REDIRECTED.format(
        files=SMALL_FILES, checksums=[checksum(served / name) for name, _, _ in SMALL_FILES], address=address,
        resources=[(f"{name}.gz", checksum(served / f"{name}.gz")) for name, _, _ in SMALL_FILES]))
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" .venv/redirected.py "$@"\n')
    python.chmod(0o755)
    (copy / ".venv" / "installed").touch()
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    before = set(tmp_path.rglob("*"))
    # `make test` leaves its own flags to whatever it starts
    environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    environment |= {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(copy),
                    "PYTHONDONTWRITEBYTECODE": "1", "no_proxy": "*"}
    made = subprocess.run(["make", "-j2", "figures", "QUICK=1"], cwd=copy, env=environment, text=True, encoding="utf-8",
                          capture_output=True, timeout=280)
    assert made.returncode == 0, made.stderr
    assert all("%|" in line for line in made.stderr.split("\n") if line)  # the progress of the downloads
    assert asked.count(f"/{SMALL_FILES[0][0]}.gz") >= 2  # both did download
    for script in scripts:
        results = stored(copy / "figures" / "quick" / f"{script}.json")
        assert results["experiment"] == script and results["environment"]["dataset"] == "MNIST"
        Image.open(copy / "figures" / "quick" / f"{script}.png").load()
    raw = copy / "data" / "MNIST" / "raw"
    assert [checksum(raw / name) for name, _, _ in SMALL_FILES] == [checksum(served / name) for name, _, _ in SMALL_FILES]
    written = {str(path.relative_to(tmp_path)) for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    # matplotlib remembers the machine's fonts, in the folder that is meant for such things
    assert {name for name in written if not name.startswith("home/.cache/matplotlib/")} == {
        *[f"copy/figures/quick/{script}.{kind}" for script in scripts for kind in ("json", "png")],
        *[f"copy/data/MNIST/raw/{name}" for name, _, _ in SMALL_FILES]}


@pytest.mark.parametrize("flags", [[], ["--replot"]], ids=" ".join)
def test_a_folder_that_may_not_be_written_to_gives_one_line_and_keeps_its_files(tmp_path, obeying, flags):
    folder = tmp_path / "figures" / "digits"
    folder.mkdir(parents=True)
    for kind in ("json", "png"):
        shutil.copy(ROOT / "figures" / f"hw1_3_params.{kind}", folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    folder.chmod(0o555)
    process = start("hw1_3_params.py", "--dataset", "digits", *flags, folder=tmp_path, before=obeying)
    _, error = process.communicate(timeout=100)
    file = "figures/digits/hw1_3_params.png cannot be written" if flags else "--out figures/digits cannot be written to"
    assert process.returncode == 2
    assert error.startswith(f"error: {file} (Permission denied)") and error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_home_that_may_not_be_written_to_and_a_terminal_that_knows_ascii_only(tmp_path, obeying):
    for folder in ("home", "temporary", "ø figures"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "figures" / "hw1_3_params.json", tmp_path / "ø figures")
    (tmp_path / "home").chmod(0o555)
    process = start("hw1_3_params.py", "--replot", "--out", "ø figures", folder=tmp_path, before=obeying,
                    HOME=str(tmp_path / "home"), TMPDIR=str(tmp_path / "temporary"), PYTHONIOENCODING="ascii")
    output, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    assert all("matplotlib" in line.lower() for line in error.splitlines())  # it says that it cannot remember the fonts
    assert r"figure:  \xf8 figures/hw1_3_params.png" in output
    assert (tmp_path / "ø figures" / "hw1_3_params.png").exists()
    assert not list((tmp_path / "home").iterdir()) and not list((tmp_path / "temporary").iterdir())


def test_a_learning_rate_of_a_million_stops_with_the_run_and_epoch_named(tmp_path):
    process = start("hw1_1_mnist.py", "--quick", "--dataset", "digits", "--lr", "1e6", "--out", "figures", folder=tmp_path)
    _, error = process.communicate(timeout=100)
    assert process.returncode == 1
    assert error.startswith("error: ") and "run 0" in error and "at epoch 1" in error and error.count("\n") == 1


def test_there_are_nine():
    assert len(SCRIPTS) == 9
