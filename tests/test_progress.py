"""The line of progress: true, one line, and only where somebody sees it."""

import io
import os
import re
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace

from common import progress
from common.pieces import Piece, cost_done, run_pieces
from common.progress import (
    ProgressLine,
    advance,
    begin_counting,
    end_counting,
    steps_done,
    time_left,
)

import pytest
import torch
from conftest import LONGEST_WAIT, Terminal
from tqdm import tqdm

COLUMNS = 80  # of a usual terminal

# --- a script on a terminal, and with its errors in a file ---

# One call of a single piece of many steps, then one of four, of which one ends early.
DEMO = '''
import sys
import time
from types import SimpleNamespace

from common.pieces import Piece, run_pieces, total_cost
from common.progress import advance


def walk(steps, pause):
    for _ in range(steps):
        time.sleep(pause)
        advance()


settings = SimpleNamespace(experiment="demo", jobs=int(sys.argv[1]), cluster=None, device="cpu")
first = {0: Piece("long", walk, (150, 0.02), steps=150)}
second = {k: Piece(str(k), walk, (30, 0.02), steps=30) for k in range(3)}
second[3] = Piece("ends early", walk, (1, 0.02), steps=60)
run_pieces(first, settings, later_cost=total_cost(second))
run_pieces(second, settings)
'''


@pytest.fixture(scope="module")
def shown_and_filed(tmp_path_factory):
    """What the script writes on a terminal, and what it writes where its errors go to a file."""
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo-terminals")
    folder = tmp_path_factory.mktemp("progress")
    (folder / "demo.py").write_text(DEMO)
    command = [sys.executable, "demo.py"]  # and how many pieces at a time
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    terminal = Terminal()
    process = terminal.start([*command, "2"], cwd=folder, env=environment)
    try:
        filed = subprocess.run([*command, "1"], cwd=folder, env=environment,
                               capture_output=True, timeout=LONGEST_WAIT)
        assert filed.returncode == 0, filed.stderr
        assert process.wait(timeout=LONGEST_WAIT) == 0, terminal.text()
    finally:
        terminal.close(process)
    return terminal.text(), (filed.stdout + filed.stderr).decode()


@pytest.fixture
def shown(shown_and_filed):
    return shown_and_filed[0]


def screen(text):
    """The rows of a terminal of 80 columns once it has shown this text, and their widest ever."""
    rows, row, column, widest = {}, 0, 0, 0
    for character in text:
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
        else:
            assert character.isprintable(), f"{character!r} moves the cursor"
            row, column = row + column // COLUMNS, column % COLUMNS  # a full row goes on below
            rows[row, column] = character
            column += 1
            widest = max(widest, column)
    lines = [""] * (row + 1)
    for (place, column), character in sorted(rows.items()):
        lines[place] = lines[place].ljust(column) + character
    return lines, widest


def percentages(text):
    return [int(percentage) for percentage in re.findall(r"(\d+)%\|", text)]


def test_the_line_is_one_line_of_a_terminal_and_goes_at_the_end(shown):
    lines, widest = screen(shown)
    assert "%|" in shown and widest < COLUMNS  # in the last column some terminals begin a new line
    assert len(lines) == 1 and lines[0].strip() == ""


def test_the_line_moves_while_a_piece_of_many_steps_runs(shown):
    # The first piece is 150 of 300 steps, and runs alone.
    assert len({value for value in percentages(shown) if 0 < value < 50}) >= 4


def test_the_percentage_never_falls_and_comes_near_the_end(shown):
    values = percentages(shown)
    assert values == sorted(values)
    assert values[-1] >= 75


def test_the_line_says_how_long_the_rest_takes_once_it_can_know(shown):
    times = re.findall(r"(\d+)%\|.*?(\S+) left", shown)
    assert times[0] == ("0", "-:--")
    for percentage, text in times:
        if int(percentage) > 1:
            assert re.fullmatch(r"0:[0-5]\d", text), text  # all of it takes some ten seconds


def test_nothing_is_written_to_a_file(shown_and_filed):
    assert shown_and_filed[1] == ""


# --- one process and a terminal made of a string ---


class TerminalInMemory(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    terminal = TerminalInMemory()
    monkeypatch.setattr(progress, "tqdm", partial(tqdm, file=terminal))
    return terminal


def settings_of(jobs):
    return SimpleNamespace(experiment="demo", jobs=jobs, cluster=None, device=torch.device("cpu"))


def advance_often(seconds, steps):
    for _ in range(steps):
        time.sleep(seconds / steps)
        advance()


def fail():
    raise ValueError


def test_the_line_moves_also_where_the_script_itself_runs_the_pieces(terminal):
    run_pieces({0: Piece("a", advance_often, (2.0, 100), steps=100)}, settings_of(1))
    assert len(set(percentages(terminal.getvalue()))) >= 4
    lines, _ = screen(terminal.getvalue())
    assert [line.strip() for line in lines] == [""]


def test_two_calls_share_one_line_by_what_they_cost(terminal):
    first = {0: Piece("a", advance_often, (1.0, 100), steps=100)}
    second = {0: Piece("b", advance_often, (1.0, 100), steps=100, step_cost=3.0)}
    run_pieces(first, settings_of(1), later_cost=300)
    values = percentages(terminal.getvalue())
    assert 5 < max(values) <= 25
    run_pieces(second, settings_of(1))
    later_values = percentages(terminal.getvalue())[len(values):]
    assert min(later_values) >= 25 and 50 < max(later_values) <= 100
    lines, _ = screen(terminal.getvalue())
    assert [line.strip() for line in lines] == [""]


@pytest.mark.parametrize("later_cost", [0, 10])
def test_the_line_goes_where_a_piece_fails(terminal, later_cost):
    pieces = {0: Piece("a", advance_often, (1.0, 10), steps=10), 1: Piece("b", fail, (), steps=1)}
    with pytest.raises(Exception, match="ValueError"):
        run_pieces(pieces, settings_of(1), later_cost=later_cost)
    print("error: the end", file=terminal)
    lines, _ = screen(terminal.getvalue())
    assert percentages(terminal.getvalue())
    assert [line.strip() for line in lines] == ["error: the end", ""]


@pytest.mark.parametrize("is_one_of_nine", [False, True])
def test_the_longest_line_fits_into_the_terminal(terminal, monkeypatch, is_one_of_nine):
    monkeypatch.setattr(progress, "_place", progress.Place())
    if is_one_of_nine:
        progress.set_place("9 of 9", start=0.0, before=0.95, share=0.05)
    line = ProgressLine("hw1_3_random_labels")
    for fraction in (0.0, 1e-6, 0.02, 0.5, 1.0):
        line.show(fraction)
        if line.start is not None:
            line.start = time.time() - 100_000  # more than a day, 99 % of which is still to come
    line.close()
    text = terminal.getvalue()
    lines, widest = screen(text)
    assert widest < COLUMNS and [line.strip() for line in lines] == [""]
    assert percentages(text)[-1] == 100 and "81666:40 left" in text
    assert ("9 of 9 hw1_3_random_labels" in text) == ("all " in text) == is_one_of_nine


def test_the_percentage_does_not_fall_where_a_count_is_read_while_it_is_written(terminal):
    line = ProgressLine("demo")
    for fraction in (0.5, 0.25, 0.6):
        line.show(fraction)
    line.close()
    values = percentages(terminal.getvalue())
    assert values == sorted(values) and values[-1] == 60


# --- the time left ---


@pytest.mark.parametrize(("elapsed", "fraction", "expected"), [
    (10, 0.5, "0:10"),
    (30, 1 / 3, "1:00"),
    (400, 0.1, "60:00"),
    (59.7, 0.5, "1:00"),  # not 0:60
    (119.8, 0.5, "2:00"),
    (10, 1.0, "0:00"),
    (10, 1 + 1e-12, "0:00"),  # what rounding may make of 1
    (1, 0.005, "-:--"),
    (0, 0.0, "-:--"),
])
def test_the_time_left_goes_on_as_since_the_start(monkeypatch, elapsed, fraction, expected):
    monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: 1_000.0))
    assert time_left(1_000.0 - elapsed, fraction) == expected


def test_the_time_before_the_first_work_does_not_count(terminal, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: now))
    line = ProgressLine("demo")
    line.show(0)
    now = 1_000.0  # the workers have started
    line.show(0.001)
    now = 1_020.0
    line.show(0.5)
    line.close()
    assert re.findall(r"(\S+) left", terminal.getvalue())[-1] == "0:20"
    assert "-:-- left" in terminal.getvalue()


# --- counts ---


@pytest.fixture
def count(tmp_path, monkeypatch):
    """The file of a count that has begun and that every advance is written to at once."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", -1)
    begin_counting(tmp_path / "count")
    yield tmp_path / "count"
    end_counting()


def test_steps_are_counted_from_zero_for_each_piece(count, tmp_path):
    assert steps_done(count) == 0
    advance()
    advance(5)
    assert steps_done(count) == 6
    begin_counting(tmp_path / "another")
    advance()
    assert (steps_done(count), steps_done(tmp_path / "another")) == (6, 1)


def test_outside_of_a_piece_advance_does_nothing(count):
    advance(3)
    end_counting()
    advance(4)
    assert steps_done(count) == 3
    begin_counting(count)
    assert steps_done(count) == 0


def test_a_count_in_a_folder_that_is_gone_stops_nothing(count, tmp_path):
    begin_counting(tmp_path / "gone" / "count")
    advance()
    assert steps_done(tmp_path / "gone" / "count") is None


def test_what_is_done_is_the_cost_of_steps_and_of_whole_pieces_that_have_ended(tmp_path):
    pieces = {0: Piece("ended early", print, (), steps=10, step_cost=2.0),
              1: Piece("half done", print, (), steps=10, step_cost=3.0),
              2: Piece("took more steps than it said", print, (), steps=10, step_cost=5.0),
              3: Piece("not begun", print, (), steps=10, step_cost=7.0)}
    for number, steps in ((0, 1), (1, 5), (2, 12)):
        (tmp_path / str(number)).write_text(str(steps))
    assert cost_done(pieces, tmp_path, finished={0}) == 20 + 15 + 50
