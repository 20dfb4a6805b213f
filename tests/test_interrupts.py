"""Ctrl-C and kill signals: one line, whatever the script is doing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from common.results import figure_problem, tables_problem

import pytest
from conftest import LONGEST_WAIT, ROOT, Terminal, await_handler

pytestmark = pytest.mark.skipif(sys.platform == "win32",
                                reason="Windows ends a process without asking it")
SIGNALS = pytest.mark.parametrize("name, word", [("SIGINT", "interrupted"),
                                                 ("SIGTERM", "terminated")])


# --- a real script at random moments ---

# Two seconds of training, storing and drawing after an import of two, all in the process of the
# script: its workers are for test_pieces.py.
COMMAND = [sys.executable, str(ROOT / "hw1_2_minratio.py"), "--quick", "--runs", "2", "--epochs",
           "100", "--iterations", "10", "--jobs", "1", "--out", "figures"]
AT_A_TIME = 2


def interrupt(folder, moment, signal_number):
    """Starts the script, sends the signal at the moment; returns its exit status and lines.

    moment is ("imports" or "training", seconds): from the first import, or from the first sign of
    the line of progress.
    """
    folder.mkdir()
    phase, seconds = moment
    terminal = Terminal()
    process = terminal.start(COMMAND, cwd=folder, env=os.environ | {"TMPDIR": str(folder)})
    try:
        await_handler(process)
        if phase == "training":
            assert terminal.something.wait(timeout=LONGEST_WAIT)
        time.sleep(seconds)
        process.send_signal(signal_number)
        status = process.wait(timeout=LONGEST_WAIT)
    finally:
        terminal.close(process)
    return status, terminal.lines_beside_progress()


def test_at_random_moments(tmp_path):
    # One in every sixth of two seconds of either phase, and the two signals in turn.
    draw = random.Random(0)
    moments = [(phase, draw.uniform(sixth, sixth + 1) / 3)
               for phase in ("imports", "training") for sixth in range(6)]
    endings = [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")] * 6
    signals = [signal_number for signal_number, _ in endings]
    folders = [tmp_path / str(position) for position in range(len(moments))]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        outcomes = list(pool.map(interrupt, folders, moments, signals))
    interrupted = 0
    for folder, moment, (signal_number, word), (status, lines) in zip(
            folders, moments, endings, outcomes):
        if status == 0:  # it had ended, or was about to
            assert lines == [], (moment, lines)
        elif status == -signal_number:
            # Python was shutting down, and had given up its handlers: all was written by then.
            assert lines == [], (moment, lines)
            assert len([path for path in folder.rglob("*") if path.is_file()]) == 4, moment
        else:
            interrupted += 1
            assert status == 128 + signal_number, (moment, lines)
            assert len(lines) == 1 and lines[0].startswith(f"error: {word}; "), (moment, lines)
        only_whole_results(folder)
    assert interrupted >= 5  # few, where a machine is so fast that most had ended


def only_whole_results(folder):
    """Fails where a file is neither whole results nor figure or tables of those beside it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        assert path.stem.removesuffix("_details") == "hw1_2_minratio", path
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            problem = {".png": figure_problem, ".md": tables_problem}[path.suffix]
            assert problem(path) is None


# --- small programs in a copy of the project: the handler itself ---


@pytest.fixture
def start(tmp_path, project):
    """A function that starts a small program which waits, once it has said that it is ready."""
    processes = []

    def start_program(text, folder="project", preparation=None):
        program = tmp_path / folder / "program.py"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"{text}\nprint('ready', flush=True)\nimport time\ntime.sleep(30)\n")
        process = subprocess.Popen(
            [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", cwd=tmp_path, preexec_fn=preparation,
            env=os.environ | {"PYTHONPATH": str(project)})
        processes.append(process)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        return process

    yield start_program
    for process in processes:
        process.kill()
        process.communicate()


@SIGNALS
def test_unfinished_files_and_folders_go_and_others_stay(tmp_path, start, name, word):
    process = start("""
from common.interrupts import UNFINISHED
from pathlib import Path
for file in ("results.json", ".half a file", ".half a folder/with/a file"):
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text("1")
UNFINISHED.update([Path(".half a file"), ".half a folder", Path("never written")])
""")
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=LONGEST_WAIT)
    assert process.returncode == 128 + getattr(signal, name)
    assert error.startswith(f"error: {word}; ") and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["project", "results.json"]


def test_clean_up_code_that_swallows_exceptions_does_not_swallow_ctrl_c(start):
    process = start("""
import common.interrupts
class Stubborn:
    def __del__(self):
        print("ready", flush=True)
        while True:
            pass
Stubborn()
""")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=LONGEST_WAIT)
    assert process.returncode == 130
    assert error.startswith("error: interrupted; ") and error.count("\n") == 1


def test_a_background_job_that_ignores_ctrl_c_goes_on_ignoring_it(start):
    process = start("import common.interrupts",
                    preparation=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=LONGEST_WAIT) == 143


def test_a_program_of_others_keeps_its_own_handlers(start):
    process = start("import common.interrupts", folder="elsewhere")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=LONGEST_WAIT)
    assert "KeyboardInterrupt" in error and "error: interrupted" not in error
    process = start("import common.interrupts", folder="elsewhere")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=LONGEST_WAIT) == -signal.SIGTERM
