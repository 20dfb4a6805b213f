"""The README as a new user meets it: its commands are real, its example works, its links lead."""

import os
import re
import shlex
import shutil
import subprocess
import sys

from report.__main__ import TEMPLATES, render_all
from report.rendering import ReportError
from run_all import SCRIPTS

import pytest
from conftest import ROOT

# What the templates give, so that a test of a new text needs no run of `python -m report`.
try:
    DOCUMENTS = render_all(ROOT)[0]
except ReportError:  # test_the_templates_can_be_rendered says why
    DOCUMENTS = {ROOT / name: "" for name in TEMPLATES}
README = DOCUMENTS[ROOT / "README.md"]


def test_the_templates_can_be_rendered():
    documents, _ = render_all(ROOT)
    assert documents == DOCUMENTS and len(documents) == 2


def link_targets(text):
    """What the links and pictures of a Markdown text lead to."""
    return re.findall(r"\]\(([^)]+)\)", text)


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


TEXT = "".join(DOCUMENTS.values())
BLOCKS = [command for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
          for command in commands_of(block)]
INLINE = re.findall(r"`((?:python3?|make|sbatch|%run) [^`]+)`", TEXT)
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
    for name in ("common", "report", "benchmarks", "choices", "figures"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*.txt"), ROOT / "Makefile"]:
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
    elif program == "git":
        pytest.skip("it copies from an address that the reader fills in")
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
    else:  # a training takes minutes, too
        quick = {"--replot", "--help"} & {*arguments}
        script, *flags = arguments
        run_here(clone / script, *flags, *([] if quick else ["--help"]), folder=clone)


def test_the_smallest_experiment_runs_and_replots(tmp_path, run_here):
    name = "hw_width"
    shutil.copy(ROOT / "tests" / f"{name}.py", tmp_path)
    flags = ["--quick", "--dataset", "digits"]
    run_here(tmp_path / f"{name}.py", *flags, folder=tmp_path)
    folder = tmp_path / "figures" / "quick,dataset=digits"
    (folder / f"{name}.png").unlink()
    run_here(tmp_path / f"{name}.py", *flags, "--replot", folder=tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{name}.json", f"{name}.md", f"{name}.png"]


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


@pytest.mark.parametrize("path", DOCUMENTS, ids=TEMPLATES)
def test_every_link_leads_somewhere(path):
    text = DOCUMENTS[path]
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    assert link_targets(text)
    for target in link_targets(text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_the_readme_can_be_read_in_ten_minutes():
    assert len(README.encode()) <= 30_000
    main_text = re.split(r"^#+ Appendi", README, flags=re.M)[0]
    # What is read from beginning to end: no code, no text for those who cannot see a picture, and
    # no table, in which one looks something up.
    main_text = re.sub(r"```.*?```|!\[[^\]]*\]\([^)]*\)", "", main_text, flags=re.DOTALL)
    lines = [line for line in main_text.splitlines() if not line.startswith("|")]
    words = re.sub(r"\]\([^)]+\)", "]", "\n".join(lines)).split()
    words = [word for word in words if re.search(r"\w", word)]
    assert 50 < len(words) <= 2_500


@pytest.mark.parametrize("path", DOCUMENTS, ids=TEMPLATES)
def test_a_document_reads_well_as_plain_text(path):
    first, *lines = DOCUMENTS[path].splitlines()
    assert first.startswith("<!-- Made from report/") and first.endswith(" -->")
    assert lines and max(len(line) for line in lines) <= 1_700
    assert "<!--" not in "".join(lines)


def test_every_figure_has_a_text_for_those_who_cannot_see_it():
    pictures = re.findall(r"!\[([^\]]*)\]\((figures/[^)]+)\)", README)
    texts = {file: text for text, file in pictures}
    assert set(texts) >= {f"figures/{script.removesuffix('.py')}.png" for script in SCRIPTS}
    assert all(len(text) > 30 for text in texts.values())


def test_documents_claims_figures_and_tables_agree_with_the_stored_results():
    checked = run([sys.executable, "-m", "report", "--check"])
    assert checked.returncode == 0, checked.stderr
