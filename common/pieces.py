"""Runs the pieces of a script's work on all cores, or on a cluster: the same digits everywhere.

A script cuts its work into pieces by its settings alone, never by the number of cores, and each
piece has one thread. Where a piece runs, beside which others and after which, then changes no
digit of what it returns. joblib runs the processes.
"""

import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import resource_tracker
from pathlib import Path
from typing import NamedTuple

from common.data import Dataset, load_dataset
from common.interrupts import UNFINISHED
from common.process import (
    FOLDER_PREFIX,
    end_with_parent,
    prepare_computing,
    return_freed_memory,
)
from common.progress import (
    SECONDS_BETWEEN,
    ProgressLine,
    begin_counting,
    end_counting,
    steps_done,
)
from common.results import WriteError
from common.training import Diverged

import joblib
import numpy as np
import torch

IDLE_SECONDS = 86_400  # after which a worker without work may end: longer than any script takes
NAMED = 3  # pieces that a message names at most

# The seconds of all pieces that this process's script has run: for every call of run_pieces a dict
# {name: seconds}.
PIECE_SECONDS = []


class PieceFailed(Exception):
    """A piece of work raised an error, or the process that ran it ended; the message names it."""


class ClusterError(Exception):
    """The cluster cannot be used, or has given a piece of work up; the message says what to do."""


class Piece(NamedTuple):
    """A part of a script's work that needs no other part: function(*arguments).

    With data, a Dataset, the call is function(data, *arguments), and all processes of a machine
    share its memory. name is what messages call the piece. steps is how often it calls advance of
    common.progress, at most, as every step of a training does. step_cost says what a step costs,
    in a unit that all pieces of a script share: the most expensive pieces begin first, and the
    progress line moves by it.
    """

    name: str
    function: Callable
    arguments: tuple
    steps: int
    step_cost: float = 1.0
    data: Dataset | None = None

    def cost(self):
        """What the whole piece costs."""
        return self.steps * self.step_cost


def total_cost(pieces):
    """What all pieces {key: Piece} cost together."""
    return sum(piece.cost() for piece in pieces.values())


def groups_of_runs(run_numbers, size):
    """Run numbers in groups of so many, the last one perhaps smaller: a list of lists."""
    run_numbers = list(run_numbers)
    return [run_numbers[start : start + size] for start in range(0, len(run_numbers), size)]


def join_runs(groups):
    """Groups of runs {name: values (runs, ...)} as one: {name: values (all runs, ...)}."""
    return {name: np.concatenate([group[name] for group in groups]) for name in groups[0]}


def join_groups(results):
    """The results {(..., first run): {name: values}} of all groups of runs as one: {(...): ...}.

    Where one part of the key is left, that part alone is the new key.
    """
    groups = {}
    for (*parts, _), result in results.items():
        key = parts[0] if len(parts) == 1 else tuple(parts)
        groups.setdefault(key, []).append(result)
    return {key: join_runs(groups_of_key) for key, groups_of_key in groups.items()}


def to_arrays(tensors):
    """A dict of tensors on any device as a dict of NumPy arrays, which a piece can return."""
    return {name: values.cpu().numpy() for name, values in tensors.items()}


# --- in the script ---


def run_pieces(pieces, settings, later_cost=0):
    """Runs independent pieces {key: Piece}, settings.jobs at a time; returns {key: result}.

    What a piece is given and returns must be picklable. later_cost is what the pieces cost,
    about, that the script will run in further calls.

    Raises PieceFailed, Diverged, ClusterError, and WriteError where the temporary folder takes no
    files.
    """
    pieces_by_number = dict(enumerate(pieces.values()))
    results, finished, seconds_by_name = {}, set(), {}
    PIECE_SECONDS.append(seconds_by_name)
    with temporary_folder() as folder, _progress.shown(settings.experiment, pieces_by_number,
                                                       folder, finished, later_cost):
        calls = make_calls(pieces_by_number, folder, settings)
        try:
            for number, result, seconds in start(calls, settings):
                results[number] = result
                seconds_by_name[pieces_by_number[number].name] = seconds
                finished.add(number)
        except BrokenProcessPool:
            running = [piece.name for number, piece in pieces_by_number.items()
                       if number not in finished and steps_done(folder / str(number)) is not None]
            raise PieceFailed("a worker process was killed, perhaps for want of memory, while it "
                              f"ran one of: {some_names(running)}; try fewer --jobs") from None
    return {key: results[number] for number, key in enumerate(pieces)}


def make_calls(pieces, folder, settings):
    """The calls of run_piece for pieces {number: Piece}, the most expensive first."""
    shared = {}  # SharedImages by the id of their Dataset: pieces may share one
    calls = []
    for number, piece in sorted(pieces.items(), key=lambda item: -item[1].cost()):
        data = piece.data
        if data is not None and settings.cluster:
            piece = piece._replace(data=StoredImages(data.name, os.path.abspath(settings.data_dir)))
        elif data is not None and settings.jobs > 1:
            if id(data) not in shared:
                shared[id(data)] = share(data, folder, len(shared))
            piece = piece._replace(data=shared[id(data)])
        calls.append(joblib.delayed(run_piece)(number, piece, folder, settings.device))
    return calls


def start(calls, settings):
    """Starts the calls; returns an iterator over their results, as they end."""
    if settings.cluster:
        from common.cluster import start_on_cluster  # imported here: few have what it needs

        return start_on_cluster(calls, settings.cluster)
    parallel = joblib.Parallel(n_jobs=min(settings.jobs, len(calls)), backend="loky", batch_size=1,
                               pre_dispatch="all", return_as="generator_unordered",
                               max_nbytes=None,  # what is large is shared already, see share
                               idle_worker_timeout=IDLE_SECONDS, initializer=end_with_parent)
    threading.excepthook = report_unless_cancelled
    with heirs_ignore_ctrl_c():
        return parallel(calls)


def report_unless_cancelled(arguments):
    """Reports the exception that ended a thread, but not that a result came for a cancelled piece.

    Where a piece fails, joblib cancels the others. Its own thread may still get the result of one
    of them, and would end with a traceback beside the one line on the failure.
    """
    if not issubclass(arguments.exc_type, InvalidStateError):
        threading.__excepthook__(arguments)


@contextmanager
def heirs_ignore_ctrl_c():
    """Processes that are started inside never see Ctrl-C, nor do those that they start.

    A terminal sends it to all of them. The script answers it, and its workers end with the script.
    """
    quiet = "ignore:resource_tracker"  # joblib's helper process would list what an end leaves open
    warnings_before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = quiet
    if hasattr(signal, "pthread_sigmask"):  # Windows has none
        # joblib needs this helper of Python's own. Up to Python 3.11 it lets Ctrl-C through again
        # when it has started, so it starts first.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if warnings_before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = warnings_before


def some_names(names):
    """The first few names, and how many others there are."""
    if not names:
        return "none yet"
    text = "; ".join(names[:NAMED])
    others = len(names) - NAMED
    return f"{text} and {others} more" if others > 0 else text


@contextmanager
def temporary_folder():
    """A folder that goes at the end, also where the script is interrupted.

    Raises WriteError where none can be made.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
    except OSError as error:
        raise WriteError(f"no temporary folder can be made ({error.strerror}); set TMPDIR to a "
                         "folder that can be written to") from None
    UNFINISHED.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        UNFINISHED.discard(folder)


class _Progress:
    """The progress line of a script, over all its calls of run_pieces."""

    def __init__(self):
        self.line = None
        self.cost_before = 0.0  # of the pieces of earlier calls

    @contextmanager
    def shown(self, experiment, pieces, folder, finished, later_cost):
        """Shows the progress meanwhile of pieces {number: Piece}.

        finished is the set of the numbers of those that have ended. The line goes at the end where
        nothing comes later, and where a piece fails.
        """
        if self.line is None:
            self.line, self.cost_before = ProgressLine(experiment), 0.0
        cost_of_all = self.cost_before + total_cost(pieces) + later_cost
        ended = threading.Event()

        def watch():
            while not ended.wait(SECONDS_BETWEEN):
                done = self.cost_before + cost_done(pieces, folder, finished)
                self.line.show(done / cost_of_all)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            self.cost_before += total_cost(pieces)
            if later_cost == 0 or len(finished) < len(pieces):
                self.line.close()
                self.line = None


_progress = _Progress()


def cost_done(pieces, folder, finished):
    """The cost of what is done of pieces {number: Piece}, of which those in finished have ended."""
    done = 0.0
    for number, piece in pieces.items():
        if number in finished:
            done += piece.cost()
        else:
            steps = steps_done(folder / str(number)) or 0
            done += min(steps, piece.steps) * piece.step_cost
    return done


# --- data that processes share ---


class SharedImages(NamedTuple):
    """The four tensors of a Dataset as arrays in files that processes map into their memory."""

    name: str
    arrays: list


class StoredImages(NamedTuple):
    """A Dataset to be read, or downloaded, by the machine that needs it."""

    name: str
    data_dir: str


def share(data, folder, number):
    """A Dataset as SharedImages, in files in the folder whose names begin with the number."""
    arrays = []
    for part, tensor in zip(data._fields[1:], data[1:]):
        path = folder / f"{number}-{part}"
        array = tensor.cpu().contiguous().numpy()
        try:
            path.write_bytes(array)
        except OSError as error:
            raise WriteError(f"{folder} cannot be written to ({error.strerror}); set TMPDIR to a "
                             "folder with more space") from None
        # Copy on write: PyTorch warns of memory that it may not write to, although nobody does.
        arrays.append(np.memmap(path, dtype=array.dtype, mode="c", shape=array.shape))
    return SharedImages(data.name, arrays)


def opened(data, device):
    """The Dataset that a piece was given, or that its SharedImages or StoredImages stand for."""
    if isinstance(data, SharedImages):
        return Dataset(data.name, *[torch.from_numpy(array).to(device) for array in data.arrays])
    if isinstance(data, StoredImages):
        return load_once(data.name, data.data_dir, device)
    return data


@lru_cache(maxsize=2)
def load_once(name, data_dir, device):
    """load_dataset, remembered for the next piece in this process."""
    return load_dataset(name, data_dir, device)


# --- in the process that runs a piece ---


def run_piece(number, piece, folder, device):
    """Runs one piece; returns its number, its result and its seconds.

    piece.data may be SharedImages or StoredImages in place of a Dataset.
    """
    prepare_computing()
    begin_counting(folder / str(number))
    start = time.monotonic()
    try:
        arguments = piece.arguments
        if piece.data is not None:
            arguments = (opened(piece.data, device), *arguments)
        result = piece.function(*arguments)
    except Diverged as error:
        raise Diverged(f"{piece.name}: {error}") from None
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise PieceFailed(f"{piece.name}: {type(error).__name__}: {error} (in {place.name}, line "
                          f"{place.lineno})") from error
    finally:
        end_counting()
    seconds = time.monotonic() - start
    return_freed_memory()
    return number, result, seconds
