"""The README as a new user meets it: its commands run, its example works, its links lead somewhere."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
VISIBLE = re.sub(r"<!--.*?-->", "", README, flags=re.DOTALL)
VALUES = re.compile(r"<!-- value .*?<!-- end -->", re.DOTALL)
SCRIPTS = sorted(path.name for path in ROOT.glob("hw1_*.py"))
BLOCKS = [line.partition("#")[0].strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
          for line in block.splitlines()]
INLINE = re.findall(r"`((?:python|make|sbatch) [^`]+)`", VISIBLE)
COMMANDS = sorted({command for command in BLOCKS + INLINE if command})


def run(words, folder=ROOT, **environment):
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=120,
                          env=os.environ | {"OMP_NUM_THREADS": "1"} | environment)


def in_a_copy(tmp_path):
    """A folder like a fresh clone, in which a command may write."""
    for name in ("common", "Makefile", "requirements.txt", "requirements-dev.txt", *SCRIPTS,
                 *(path.name for path in ROOT.glob("benchmark*.py"))):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    shutil.copytree(ROOT / "figures", tmp_path / "figures")
    return tmp_path


def test_commands_were_found():
    assert any(command.startswith("make figures") for command in COMMANDS)
    assert set(SCRIPTS) <= {shlex.split(command)[1] for command in COMMANDS if command.startswith("python hw1_")}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_runs_as_written(command, tmp_path, run_here):
    words = shlex.split(command)
    if words[0] == "make" or words[1] == "-m":  # make: what it would do; the scripts themselves have their own tests
        result = run([*words, "--dry-run"] if words[0] == "make" else [sys.executable, *words[1:]], in_a_copy(tmp_path))
        assert result.returncode == 0, result.stderr
    elif words[0] == "sbatch":
        pytest.skip("no cluster; its line is tried below")
    elif words[1].startswith("hw_"):
        pytest.skip("the example, which is run below")
    else:
        quick = {"--replot", "--help"} & {*words}
        run_here(words[1], *words[2:], *([] if quick else ["--help"]), folder=in_a_copy(tmp_path))


def test_the_smallest_experiment_runs_and_replots(tmp_path, run_here):
    example, = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    name, = re.findall(r"python (hw_\w+)\.py", example)
    (tmp_path / f"{name}.py").write_text(example, encoding="utf-8")
    flags = ["--quick", "--dataset", "digits"]
    result = run([sys.executable, f"{name}.py", *flags], tmp_path, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    run_here(tmp_path / f"{name}.py", *flags, "--replot", folder=tmp_path)
    assert sorted(path.name for path in (tmp_path / "figures" / "quick-digits").iterdir()) == [f"{name}.json", f"{name}.png"]


def test_the_job_array_covers_the_nine_scripts(tmp_path):
    command, = [shlex.split(command) for command in COMMANDS if command.startswith("sbatch")]
    first, last = re.fullmatch(r"--array=(\d+)-(\d+)", command[1]).groups()
    line = next(word for word in command if word.startswith("--wrap=")).removeprefix("--wrap=")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho $1\n")
    python.chmod(0o755)
    for script in SCRIPTS:
        (tmp_path / script).touch()
    started = [run(["sh", "-c", line], tmp_path, SLURM_ARRAY_TASK_ID=str(task)).stdout.strip()
               for task in range(int(first), int(last) + 1)]
    assert started == SCRIPTS


def test_every_link_leads_somewhere():
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", README, re.M)}
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    for target in targets:
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_every_figure_has_a_text_for_those_who_cannot_see_it():
    texts = dict((file, text) for text, file in re.findall(r"!\[([^\]]*)\]\((figures/[^)]+)\)", README))
    assert set(texts) >= {f"figures/{script.removesuffix('.py')}.png" for script in SCRIPTS}
    assert all(len(text) > 30 for text in texts.values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_first_table_answers_each_question_with_a_number_and_its_interval(script):
    row, = [line for line in README.splitlines() if line.startswith("|") and f"`{script}`" in line]
    answer = row.split("|")[-2]
    assert "<!-- value" in answer
    assert "±" in answer or " to " in re.sub(r"<!--.*?-->", "", answer)


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_section_has_the_same_parts_in_the_same_order(script):
    section, = [part for part in re.split(r"^###? ", README, flags=re.M)
                if f"`python {script}`" in part and "Question" in part]
    parts = ["**Question.**", "| setting | |", f"](figures/{script.removesuffix('.py')}.png)", "<!-- table ", "**Reading.**",
             "**Against the literature.**", "**Limits.**"]
    places = [section.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_reading_rests_on_stored_numbers(script):
    section, = [part for part in re.split(r"^###? ", README, flags=re.M)
                if f"`python {script}`" in part and "Question" in part]
    reading = section[section.index("**Reading.**") : section.index("**Against the literature.**")]
    assert len(VALUES.findall(reading)) >= 3


def test_no_line_of_prose_begins_with_a_comment():
    """Markdown would take the whole line for HTML, and show its links and emphasis as they are written."""
    assert not re.findall(r"^ {0,3}<!-- value .*", README, re.M)


# Digits that may be typed: names, formulas, and what others have written. All else comes from stored results.
NO_MEASUREMENT = [
    r"```.*?```", r"`[^`]*`", r"\]\([^)]*\)", r"arXiv:[\d.]+", r"^!\[.*$",  # code, links, figures
    r"\d+(-\d+)+", r"\d×\d", r"LeNet-5", r"Python 3\.\d+",
    r"[248] layers of \d0", r"part [12]\b",  # networks, versions, sections
    r"float(32|64)", r"\bL2\b", r"∇L(\(θ\))? = 0",  # terms
    r"5πx", r"\[0, 1\]", r"\(1 − α\)", r"−1 to 2", r"0 ≤ α ≤ 1",  # the functions, and where α lies
    r"1 \+ f", r"\(\\\|x\\\| \+ 1\)",  # the ε-sharpness
    r"\b(19|20)\d\d\b", r"Proc\. IEEE 86", r"95 %",  # years, and the level of every interval
    r"0\.92 to 0\.94", r"99\.05 %", r"60,000 parameters",  # the earlier report's accuracies, LeNet-5's
]


def test_every_number_is_generated():
    text = re.sub(r"<!-- (value|table) .*?<!-- end -->", "", README, flags=re.DOTALL)
    for pattern in NO_MEASUREMENT:
        text = re.sub(pattern, "", text, flags=re.DOTALL if pattern.startswith("```") else re.M)
    assert re.findall(r".*\d.*", text) == []
