"""run_all.py and the Makefile, with nine stand-ins for the experiments."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time

import report.__main__
import run_all
from common import download, progress

import pytest
import torchvision
from conftest import LONGEST_WAIT, ROOT, SMALL_FILES, checksum

NINE = ["hw1_1_mnist.py", "hw1_1_simulate.py", "hw1_2_gradnorm.py", "hw1_2_minratio.py",
        "hw1_2_pca.py", "hw1_3_flatness.py", "hw1_3_params.py", "hw1_3_random_labels.py",
        "hw1_3_sensitivity.py"]
# A stand-in notes its command line and its place, and says what run_all.py reads of an experiment's
# output.
STAND_IN = """
import sys
from pathlib import Path
from common import progress
name = Path(__file__).stem
Path(__file__).with_name(name + ".started").write_text(" ".join(sys.argv[1:]))
Path(__file__).with_name(name + ".place").write_text(repr(tuple(progress._place)))
print(f"| a table |\\n\\nresults: figures/{name}.json\\nfigure:  figures/{name}.png")
"""
README = "It took 7 s.\n"
README_WRITTEN_ANEW = (
    "<!-- Made from report/README.md.j2 and the stored results by `python -m report`. -->\n"
    "It took 42 s.\n")
RESULTS = ('{"experiment": "hw1_1_mnist", "settings": {}, "environment": {}, "seconds": 42,'
           ' "table": [], "curves": {}}')


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with stand-ins, a README, its template and results; run_all's main works there."""
    folder = tmp_path / "a project"
    (folder / "figures").mkdir(parents=True)
    for script in NINE:
        (folder / script).write_text(STAND_IN)
    (folder / "README.md").write_text(README)
    (folder / "report").mkdir()
    (folder / "report" / "README.md.j2").write_text("It took {{ images.seconds }} s.\n")
    (folder / "report" / "benchmarks.md.j2").write_text("fast\n")
    (folder / "figures" / "hw1_1_mnist.json").write_text(RESULTS)
    monkeypatch.setattr(run_all, "PROJECT", folder)
    monkeypatch.setattr(report.__main__, "ROOT", folder)
    monkeypatch.setattr(progress, "_place", progress.Place())  # as it is for other tests
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def copied_project(project):
    """The same folder with a run_all.py of its own, to be started as a command."""
    for package in ("common", "report"):
        shutil.copytree(ROOT / package, project / package, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__", "*.j2"))
    shutil.copy(ROOT / "run_all.py", project)
    return project


def started(project):
    """The command line of every stand-in that was started."""
    return {path.with_suffix(".py").name: path.read_text() for path in project.glob("*.started")}


def summary_line(output, script):
    """The words on the script's line in the summary, which stands at the end."""
    return [line for line in output.splitlines() if line.startswith(script)][-1].split(maxsplit=4)


# --- the nine ---


def test_the_nine_are_the_scripts_of_this_folder():
    assert sorted(path.name for path in ROOT.glob("hw1_*.py")) == NINE
    assert sorted(run_all.SCRIPTS) == NINE


def test_scripts_without_images_are_those_that_know_no_dataset(run_here, capsys):
    without = []
    for script in NINE:
        run_here(ROOT / script, "--help", folder=ROOT)
        if "--dataset" not in capsys.readouterr().out:
            without.append(script)
    assert sorted(run_all.WITHOUT_IMAGES) == without


# --- success and failure ---


def test_all_scripts_get_the_flags_and_the_summary_names_their_figures(project, capsys):
    status = run_all.main(["--quick", "--seed", "3", "--dataset", "digits", "--out", "ø out",
                           "--data-dir", "the data", "--device", "cpu"])
    assert status == 0
    common = "--device=cpu --seed=3 --out=ø out --quick"
    with_images = f"{common} --dataset=digits --data-dir=the data"
    assert started(project) == {
        script: common if script in run_all.WITHOUT_IMAGES else with_images for script in NINE}
    output = capsys.readouterr().out
    for script in NINE:
        name, seconds, unit, result, message = summary_line(output, script)
        assert (name, unit, result) == (script, "s", "ok")
        assert 0 <= int(seconds) < 60
        assert message == f"figures/{script.removesuffix('.py')}.png"


def test_a_script_that_fails_stops_no_other_one_and_leaves_the_readme(copied_project):
    failing, faulty = "hw1_1_mnist.py", "hw1_2_pca.py"
    for script, end in [(failing, "\nprint('error: no luck', file=sys.stderr)\nsys.exit(2)"),
                        (faulty, "\n1 / 0")]:
        (copied_project / script).write_text(STAND_IN + end)
    command = [sys.executable, "run_all.py", "--dataset", "digits"]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=LONGEST_WAIT,
                           cwd=copied_project, env=os.environ | {"PYTHONIOENCODING": "utf-8"})
    assert ended.returncode == 1
    assert set(started(copied_project)) == set(NINE)
    results = {script: summary_line(ended.stdout, script)[3:] for script in NINE}
    assert results.pop(failing) == ["FAILED", "exit status 2, see its error above"]
    assert results.pop(faulty) == ["FAILED", "exit status 1, see its error above"]
    assert all(result == "ok" for result, _ in results.values())
    first, *traceback, zero, last = ended.stderr.splitlines()
    assert first == "error: no luck"
    assert zero == "ZeroDivisionError: division by zero" and any(faulty in line
                                                                 for line in traceback)
    assert last.startswith("error: 2 of 9 scripts failed")
    assert (copied_project / "README.md").read_text() == README


def test_jobs_and_cluster_go_to_every_script_and_every_script_knows_its_place(project):
    pytest.importorskip("distributed")
    assert run_all.main(["--dataset", "digits", "--jobs", "3", "--cluster", "tcp://here:1"]) == 0
    assert all("--jobs=3 --cluster=tcp://here:1" in line for line in started(project).values())
    expected_before = 0.0
    for number, (script, seconds) in enumerate(run_all.SCRIPTS.items(), 1):
        written = (project / script).with_suffix(".place").read_text()
        name, start, before, share = ast.literal_eval(written)
        assert name == f"{number} of 9 " and abs(time.time() - start) < 100
        assert before == pytest.approx(expected_before)
        assert share == pytest.approx(seconds / sum(run_all.SCRIPTS.values()))
        expected_before += share
    assert expected_before == pytest.approx(1)


@pytest.mark.parametrize("flags, fails, expected", [
    ([], False, (0, README_WRITTEN_ANEW)),
    ([], True, (1, README)),
    (["--quick"], False, (0, README)),
    (["--seed", "1"], False, (0, README)),
    (["--out", "elsewhere"], False, (0, README)),
    (["--out", "figures/"], False, (0, README_WRITTEN_ANEW)),
    (["--dataset", "digits"], False, (0, README)),
], ids=["the report", "a failure", "quick", "another seed", "another folder",
    "the same folder", "other images"])
def test_the_readme_is_written_anew_where_all_succeed_at_the_reports_settings(
        project, small_sets, flags, fails, expected):
    if fails:
        (project / "hw1_3_params.py").write_text("exit(1)")
    status = run_all.main(["--data-dir", str(small_sets), *flags])
    assert (status, (project / "README.md").read_text()) == expected


def test_flags_that_are_wrong_give_one_line_and_start_nothing(project, capsys):
    assert run_all.main(["--dataset", "cats"]) == 2
    assert run_all.main(["--epochs", "3"]) == 2
    assert run_all.main(["--device", "tpu"]) == 2
    assert run_all.main(["--jobs", "0"]) == 2
    (project / "file").write_text("mine")
    assert run_all.main(["--out", "file"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5 and all(line.startswith("error: ") for line in errors)
    assert started(project) == {}


# --- data ---


@pytest.fixture
def no_network(monkeypatch):
    """Downloads that fail at once, as where there is no network."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


def test_without_network_and_files_auto_says_so_once_and_all_work_on_digits(
        project, no_network, capsys):
    assert run_all.main(["--quick"]) == 0
    assert capsys.readouterr().err.count("continuing on scikit-learn's digits") == 1
    for script, arguments in started(project).items():
        assert ("--dataset=digits" in arguments) == (script not in run_all.WITHOUT_IMAGES)
    assert set(started(project)) == set(NINE)


def test_without_network_and_files_mnist_stops_before_any_script(project, no_network, capsys):
    assert run_all.main(["--quick", "--dataset", "mnist"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: MNIST is not in ")
    assert started(project) == {}


def test_with_a_network_the_files_are_fetched_once_before_the_scripts_start(
        project, server, monkeypatch):
    served, address, asked = server
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", [
        (f"{name}.gz", checksum(served / f"{name}.gz")) for name, _, _ in SMALL_FILES])
    monkeypatch.setattr(download, "FILES", SMALL_FILES)
    monkeypatch.setattr(download, "MNIST_MD5",
                        tuple(checksum(served / name) for name, _, _ in SMALL_FILES))
    look = ("import pathlib\nfiles = [path.name for path in pathlib.Path('data').rglob('*-ubyte')]"
            "\nassert len(files) == 4, files\n")
    for script in NINE:
        (project / script).write_text(look + STAND_IN)
    assert run_all.main(["--quick"]) == 0
    assert set(asked) == {f"/{name}.gz" for name, _, _ in SMALL_FILES}
    assert len(asked) <= 2 * len(SMALL_FILES)  # torchvision asks first where a file lies
    assert started(project)["hw1_1_mnist.py"].endswith("--dataset=mnist --data-dir=data")


# --- interruption ---

# Shows for ten seconds that it lives, in its own file.
LIVELY = """
import time
from pathlib import Path
for _ in range(200):
    with Path(__file__).with_suffix(".life").open("a") as file:
        file.write(".")
    time.sleep(0.05)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
@pytest.mark.parametrize("name, word", [("SIGINT", "interrupted"), ("SIGTERM", "terminated")])
def test_a_signal_ends_run_all_and_its_scripts_with_one_line(copied_project, name, word):
    process = start_lively(copied_project, "run_all.py")
    await_lives(copied_project, process, 1)
    process.send_signal(getattr(signal, name))
    output, error = process.communicate(timeout=LONGEST_WAIT)
    assert process.returncode == 128 + getattr(signal, name)
    assert error == f"error: {word}; stored results are whole\n"
    assert "FAILED" not in output and "done" not in output
    assert_no_survivors(copied_project)


def start_lively(project, program):
    """The program, started with nine scripts that show that they live."""
    for script in NINE:
        (project / script).write_text(LIVELY)
    return subprocess.Popen([sys.executable, program, "--quick", "--dataset", "digits"],
                            cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            encoding="utf-8")


def await_lives(project, process, number):
    """Waits until this many scripts run."""
    for _ in range(3000):
        if len(lives(project)) >= number:
            return
        assert process.poll() is None
        time.sleep(0.02)
    raise TimeoutError


def assert_no_survivors(project):
    time.sleep(0.3)
    before = lives(project)
    time.sleep(0.5)
    assert lives(project) == before


def lives(project):
    return {path.name: path.stat().st_size for path in project.glob("*.life")}


# --- the Makefile ---


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("variables, flags", [
    (["PYTHON=/home/jane/python3"], []),
    (["QUICK=0"], []),
    (["QUICK=1"], ["--quick"]),
    (["DATASET=mnist"], ["--dataset", "mnist"]),
    (["QUICK=1", "DATASET=digits"], ["--quick", "--dataset", "digits"]),
], ids=" ".join)
def test_make_figures_starts_run_all_with_the_flags(tmp_path, variables, flags):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    # `make test` leaves its own flags to whatever it starts.
    environment = {key: value for key, value in os.environ.items()
                   if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "QUICK", "DATASET", "PYTHON")}
    made = subprocess.run(["make", "--dry-run", "figures", *variables], cwd=tmp_path,
                          capture_output=True, encoding="utf-8", env=environment,
                          timeout=LONGEST_WAIT)
    assert made.returncode == 0, made.stderr
    first, *_, last = made.stdout.splitlines()
    assert last.split() == [".venv/bin/python", "run_all.py", *flags]
    python = "/home/jane/python3" if "PYTHON=/home/jane/python3" in variables else "python3"
    assert first.split() == [f'"{python}"', "-m", "venv", ".venv"]
