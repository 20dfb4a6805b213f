"""The README as a new user meets it: its commands are real, its example works, its links lead."""

import os
import re
import shlex
import shutil
import subprocess
import sys

from run_all import SCRIPTS

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
VISIBLE = re.sub(r"<!--.*?-->", "", README, flags=re.DOTALL)


def commands_of(block):
    """The commands of a block for sh; one whose quotes span several lines is one command."""
    commands, begun = [], ""
    for line in block.splitlines():
        begun += line.partition("#")[0].rstrip() + "\n"
        if begun.count("'") % 2 == 0:
            commands.append(begun.strip())
            begun = ""
    assert not begun, "a quote that never ends"
    return commands


BLOCKS = [command for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
          for command in commands_of(block)]
INLINE = re.findall(r"`((?:python3?|make|sbatch|%run) [^`]+)`", VISIBLE)
COMMANDS = sorted({command.replace("%run", "python") for command in BLOCKS + INLINE if command})


def run(words, folder=ROOT, **environment):
    # `make test` leaves its own flags to whatever it starts.
    kept = {key: value for key, value in os.environ.items()
            if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    kept |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", timeout=120,
                          env=kept | environment)


@pytest.fixture
def clone(tmp_path):
    """A folder like a fresh clone, in which a command may write."""
    for name in ("common", "report", "benchmarks", "figures"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*.txt"), ROOT / "Makefile", ROOT / "README.md"]:
        shutil.copy(path, tmp_path)
    return tmp_path


def test_the_readme_names_a_command_for_all_nine_and_for_each():
    assert "make figures" in COMMANDS
    commands_of_scripts = {command.split()[1] for command in COMMANDS
                           if command.startswith("python hw1_")}
    assert commands_of_scripts == set(SCRIPTS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_real(command, clone, run_here):
    program, *arguments = shlex.split(command)
    if program == "make":
        if not shutil.which("make"):
            pytest.skip("make is not installed")
        made = run([program, *arguments, "--dry-run"], clone)
        assert made.returncode == 0, made.stderr
    elif program == "sbatch":
        pytest.skip("no cluster; its line is tried below")
    elif arguments[:2] == ["-m", "pip"]:
        files = [word for word in arguments if word.endswith(".txt")]
        assert files and all((clone / file).exists() for file in files)
    elif arguments[:2] == ["-m", "venv"]:
        made = run([sys.executable, *arguments, "--without-pip"], clone)
        assert made.returncode == 0, made.stderr
    elif arguments == ["-m", "report", "--check"]:
        pytest.skip("has a test of its own below")
    elif arguments[:2] == ["-m", "report"]:
        made = run([sys.executable, *arguments], clone)
        assert made.returncode == 0, made.stderr
    elif arguments[0] == "-m":  # a benchmark takes minutes
        assert (clone / (arguments[1].replace(".", "/") + ".py")).exists()
    elif arguments[0].startswith("hw_"):
        pytest.skip("the example, which is run below")
    else:  # a training takes minutes, too
        quick = {"--replot", "--help"} & {*arguments}
        script, *flags = arguments
        run_here(clone / script, *flags, *([] if quick else ["--help"]), folder=clone)


def test_the_smallest_experiment_runs_and_replots(tmp_path, run_here):
    example, = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    name, = re.findall(r"python (hw_\w+)\.py", example)
    (tmp_path / f"{name}.py").write_text(example, encoding="utf-8")
    flags = ["--quick", "--dataset", "digits"]
    result = run([sys.executable, f"{name}.py", *flags], tmp_path, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "figures" / "quick,dataset=digits"
    (folder / f"{name}.png").unlink()
    run_here(tmp_path / f"{name}.py", *flags, "--replot", folder=tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.json", f"{name}.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="the lines are for sh")
def test_the_slurm_job_starts_scheduler_workers_and_a_script_that_find_each_other(
        tmp_path, run_here):
    command, = [shlex.split(command) for command in COMMANDS if command.startswith("sbatch")]
    lines = next(word for word in command if word.startswith("--wrap=")).removeprefix("--wrap=")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("dask", "python", "hostname", "srun"):  # what they do is to say how they started
        program = binaries / name
        text = {"hostname": "echo node7", "srun": 'exec "$@"'}.get(name, f'echo "{name} $*"')
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    started = run(["sh", "-c", lines], tmp_path, PATH=f"{binaries}{os.pathsep}{os.environ['PATH']}")
    assert started.returncode == 0, started.stderr
    # Two of them are in the background: their order is left to chance.
    scheduler, = [line for line in started.stdout.splitlines() if "scheduler" in line]
    worker, = [line for line in started.stdout.splitlines() if "worker" in line]
    script, = [line for line in started.stdout.splitlines() if line.startswith("python")]
    assert scheduler == "dask scheduler"
    assert worker.startswith("dask worker node7:8786 --nthreads 1 ")
    _, name, *flags = script.split()
    assert name in SCRIPTS and flags[-2:] == ["--cluster", "node7:8786"]
    run_here(ROOT / name, *flags, "--help", folder=tmp_path)  # refuses flags that it does not know


def test_every_link_leads_somewhere():
    titles = re.findall(r"^#+ (.*)$", README, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert any(target.startswith("#") for target in targets)
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_every_figure_has_a_text_for_those_who_cannot_see_it():
    pictures = re.findall(r"!\[([^\]]*)\]\((figures/[^)]+)\)", README)
    texts = {file: text for text, file in pictures}
    assert set(texts) >= {f"figures/{script.removesuffix('.py')}.png" for script in SCRIPTS}
    assert all(len(text) > 30 for text in texts.values())


def test_no_line_of_prose_begins_with_a_comment():
    """Markdown would take the whole line for HTML, and show its links as they are written."""
    assert not re.findall(r"^ {0,3}<!-- value .*", README, re.M)


def test_the_readme_and_the_figures_agree_with_the_stored_results():
    checked = run([sys.executable, "-m", "report", "--check"])
    assert checked.returncode == 0, checked.stderr
