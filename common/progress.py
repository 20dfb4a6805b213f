"""How far the work of a script is: pieces count their steps, and one line on the terminal tells.

A piece may run in another process. It writes the steps that it has done to a file of its own, and
the script adds up what the files say. On a cluster, where those files are out of sight, the line
moves as pieces end.
"""

import threading
import time
from contextlib import suppress
from typing import NamedTuple

from tqdm import tqdm

SECONDS_BETWEEN = 0.3  # two counts in a file, and two looks at all files
COLUMNS = 79  # of the line: one less than a usual terminal's, in which some begin a new line
# Below this fraction the time left is a guess that nobody should see.
FIRST_ESTIMATE = 0.01
# tqdm's monitor is a thread of its own, which a signal at the wrong moment makes print a traceback.
tqdm.monitor_interval = 0


# --- in a piece ---


class _Counter(threading.local):
    """The steps of the piece that this thread is running, and the file that gets them.

    A process of a cluster may run several pieces at a time, each in a thread.
    """

    path = None
    steps = 0
    written_at = 0.0


_counter = _Counter()


def begin_counting(path):
    """Counts from zero, into the file at path; advance does nothing before this is called."""
    _counter.path, _counter.steps = path, 0
    _write_count()


def end_counting():
    """Counts no further; the file stays as it is."""
    _counter.path = None


def advance(steps=1):
    """Says that so many steps of the running piece are done. Every loop that takes long calls it.

    Outside of a piece this does nothing.
    """
    if _counter.path is None:
        return
    _counter.steps += steps
    if time.monotonic() - _counter.written_at > SECONDS_BETWEEN:
        _write_count()


def _write_count():
    with suppress(OSError):  # the folder is not there on a cluster, and gone after an interrupt
        _counter.path.write_text(str(_counter.steps))
    _counter.written_at = time.monotonic()


def steps_done(path):
    """The steps that a piece has written to its file; None where it has not begun."""
    try:
        return int(path.read_text() or 0)  # empty in the moment between emptying and writing
    except OSError:
        return None


# --- on the terminal ---


class Place(NamedTuple):
    """The place of a script among several that run one after another, see set_place."""

    name: str = ""
    start: float | None = None
    before: float = 0.0
    share: float = 1.0


_place = Place()


def set_place(name, start, before, share):
    """Says that the next script is one of several, whose line then tells the time left for all.

    name is its place, such as "3 of 9"; start is when the first of them began; before and share are
    the fractions of all work that comes before it and that it has itself.
    """
    global _place
    _place = Place(f"{name} ", start, before, share)


class ProgressLine:
    """One line that says how much of a script's work is done and how long the rest will take.

    There is no line where stderr is no terminal.
    """

    def __init__(self, title):
        self.start = None  # when the first work was done: what comes before it tells nothing
        self.bar = tqdm(total=1.0, desc=f"{_place.name}{title}", leave=False, disable=None,
                        ncols=COLUMNS, bar_format="{desc} {percentage:3.0f}%|{bar}{postfix}")

    def show(self, fraction):
        """Shows that this fraction of the script's work is done."""
        if self.bar.disable:
            return
        if self.start is None and fraction > 0:
            self.start = time.time()
        # Never back: a look at a count that is just being written misses what it counts.
        fraction = max(self.bar.n, min(fraction, 1.0))
        self.bar.n = fraction
        text = f"{time_left(self.start, fraction)} left"
        if _place.start is not None:
            fraction_of_all = _place.before + _place.share * fraction
            text += f", all {time_left(_place.start, fraction_of_all)}"
        self.bar.set_postfix_str(text)

    def close(self):
        """Takes the line away."""
        self.bar.close()


def time_left(start, fraction):
    """The time that the rest takes, as minutes:seconds, if it goes on as since start."""
    if start is None or fraction < FIRST_ESTIMATE:
        return "-:--"
    seconds = max(round((time.time() - start) * (1 - fraction) / fraction), 0)
    return f"{seconds // 60}:{seconds % 60:02}"
