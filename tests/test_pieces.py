"""Pieces of work: the same results from any number of processes, and no process left behind."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

from common.data import Dataset
from common.models import mlp
from common.parameters import parameter_vectors
from common.pieces import (
    Piece,
    PieceFailed,
    groups_of_runs,
    join_groups,
    join_runs,
    report_unless_cancelled,
    run_pieces,
    some_names,
)
from common.results import WriteError
from common.training import Diverged, cross_entropy, run_generators, train

import numpy as np
import pytest
import torch
from conftest import LONGEST_WAIT, Terminal

HAS_TERMINALS = pytest.mark.skipif(sys.platform == "win32", reason="Windows has none of POSIX")


def settings_of(jobs):
    return SimpleNamespace(experiment="demo", jobs=jobs, cluster=None, data_dir="data",
                           device=torch.device("cpu"))


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The temporary folder of a test, in which nothing may be left at its end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    assert left_in(folder) == []


def left_in(folder):
    """The names of what lies in a temporary folder, beside PyTorch's own."""
    return [path.name for path in folder.iterdir() if not path.name.startswith("torchinductor")]


# --- results ---


def finish_after(name, other, folder):
    """Waits until the piece called other has ended, if there is one; notes its own end."""
    for _ in range(3_000):
        if other is None or (folder / other).exists():
            with (folder / "ends").open("a") as ends:
                ends.write(f"{name}\n")
            (folder / name).touch()  # last: who waits for it comes after it in the notes
            return f"result of {name}"
        time.sleep(0.01)
    raise TimeoutError(f"{name} waited for {other}")


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_results_come_under_their_keys_in_the_order_of_keys(tmp_path, jobs):
    # The piece of the first key ends last: one process runs it last, being the cheapest, and where
    # there are several it waits for the last one.
    waits_for = None if jobs == 1 else "c"
    pieces = {
        ("task", 2): Piece("a", finish_after, ("a", waits_for, tmp_path), steps=1),
        ("task", 1): Piece("b", finish_after, ("b", None, tmp_path), steps=3),
        "third": Piece("c", finish_after, ("c", None, tmp_path), steps=2),
    }
    results = run_pieces(pieces, settings_of(jobs))
    assert (tmp_path / "ends").read_text().split()[-1] == "a"
    assert list(results.items()) == [
        (("task", 2), "result of a"), (("task", 1), "result of b"), ("third", "result of c")]


def test_the_most_expensive_piece_begins_first(tmp_path):
    costs = {"a": (2, 1.0), "b": (1, 5.0), "c": (3, 1.0), "d": (100, 0.01), "e": (3, 1.0)}
    pieces = {name: Piece(name, finish_after, (name, None, tmp_path), steps, step_cost)
              for name, (steps, step_cost) in costs.items()}
    run_pieces(pieces, settings_of(1))
    assert (tmp_path / "ends").read_text().split() == ["b", "c", "e", "a", "d"]


def test_of_many_pieces_the_two_most_expensive_run_side_by_side(tmp_path):
    pieces = {name: Piece(name, finish_after, (name, None, tmp_path), steps=1) for name in "abcd"}
    pieces["e"] = Piece("e", finish_after, ("e", "f", tmp_path), steps=3)  # waits for a second one
    pieces["f"] = Piece("f", finish_after, ("f", None, tmp_path), steps=2)
    run_pieces(pieces, settings_of(2))
    assert (tmp_path / "ends").read_text().split()[0] == "f"


def train_shortly(run_number):
    """The parameters of a trained network, and a sum whose digits depend on the threads."""
    generator, = run_generators(0, [run_number], "probe")
    images = torch.randn(256, 784, generator=generator)
    labels = torch.randint(10, (1, 256), generator=generator)
    model = mlp([784, 64, 10], run_generators(0, [run_number], "initialization"))
    train(model, images, labels, cross_entropy, epochs=5, learning_rate=1e-2, batch_size=100,
          order_generators=run_generators(0, [run_number], "order"))
    total = torch.randn(10**6, generator=generator).sum()
    return torch.cat([parameter_vectors(model).flatten(), total.view(1)])


def train_in_pieces(jobs):
    pieces = {run: Piece(f"run {run}", train_shortly, (run,), steps=15) for run in range(4)}
    return torch.stack(list(run_pieces(pieces, settings_of(jobs)).values()))


def test_the_number_of_jobs_changes_no_digit():
    alone = train_in_pieces(1)
    assert len(alone.unique(dim=0)) == 4
    assert torch.equal(train_in_pieces(2), alone)


def test_the_threads_that_the_environment_asks_for_change_no_digit(project):
    (project / "program.py").write_text("""
from test_pieces import train_in_pieces
print(train_in_pieces(2).tolist())
""")
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    path = os.pathsep.join([str(project), str(Path(__file__).parent)])
    environment = os.environ | dict.fromkeys(names, "4") | {"PYTHONPATH": path}
    ended = subprocess.run([sys.executable, "program.py"], cwd=project, env=environment,
                           capture_output=True, encoding="utf-8", timeout=LONGEST_WAIT)
    assert json.loads(ended.stdout) == train_in_pieces(1).tolist(), ended.stderr


def test_every_process_computes_with_one_thread_whatever_the_threads_before():
    before = torch.get_num_threads()
    try:
        for jobs in (1, 2):
            torch.set_num_threads(3)
            pieces = {k: Piece(str(k), torch.get_num_threads, (), steps=1) for k in range(2)}
            assert run_pieces(pieces, settings_of(jobs)) == {0: 1, 1: 1}
    finally:
        torch.set_num_threads(before)


def test_groups_of_runs_hold_every_run_once_and_are_joined_in_order():
    assert groups_of_runs(range(5), 2) == [[0, 1], [2, 3], [4]]
    assert groups_of_runs([7, 9], 5) == [[7, 9]]
    groups = [{"loss": np.full((len(runs), 2), runs[0])} for runs in groups_of_runs(range(5), 2)]
    assert join_runs(groups)["loss"].tolist() == [[0, 0], [0, 0], [2, 2], [2, 2], [4, 4]]


def test_groups_are_joined_by_all_of_their_key_but_the_first_run():
    joined = join_groups({("a", 1, 0): {"loss": np.array([1, 2])},
                          ("b", 1, 0): {"loss": np.array([7])},
                          ("a", 1, 2): {"loss": np.array([3])}})
    assert {key: values["loss"].tolist() for key, values in joined.items()} == {
        ("a", 1): [1, 2, 3], ("b", 1): [7]}
    alone = join_groups({("a", 0): {"loss": np.array([1])}, ("a", 1): {"loss": np.array([2])}})
    assert list(alone) == ["a"] and alone["a"]["loss"].tolist() == [1, 2]


# --- data ---


def small_dataset(name="small", seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Dataset(name, torch.randn(30, 1, 28, 28, generator=generator),
                   torch.randint(10, (30,), generator=generator),
                   torch.randn(7, 1, 28, 28, generator=generator),
                   torch.randint(10, (7,), generator=generator))


def copy_of(data):
    return [tensor.clone() for tensor in data[1:]]


def file_at(address):
    """The file whose content lies at this address of the process's memory, "" where none does."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        borders, *_, path = (line + " ").split(" ", 5)
        start, end = (int(border, 16) for border in borders.split("-"))
        if start <= address < end:
            return path.strip()
    raise ValueError(f"nothing lies at {address:x}")


def places(data):
    """The process, and where each of its tensors lies: the address and the file."""
    addresses = [tensor.data_ptr() for tensor in data[1:]]
    return os.getpid(), [(address, file_at(address)) for address in addresses]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells")
def test_processes_share_the_memory_of_their_data(temporary):
    data = small_dataset()
    pieces = {k: Piece(str(k), places, (), steps=1, data=data) for k in range(4)}
    results = run_pieces(pieces, settings_of(2)).values()
    for process, tensors in results:
        assert process != os.getpid()
        assert len({file for _, file in tensors}) == 4  # one for each tensor
        for address, file in tensors:
            assert Path(file.removesuffix(" (deleted)")).is_relative_to(temporary.resolve())
            assert address % 64 == 0  # as PyTorch's own: kernels may add up in another order
    assert len({tuple(file for _, file in tensors) for _, tensors in results}) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_piece_gets_its_own_set_of_images_whole(jobs):
    sets = {name: small_dataset(name, seed) for seed, name in enumerate(("one", "other"))}
    pieces = {(name, k): Piece(name, copy_of, (), steps=1, data=data)
              for name, data in sets.items() for k in range(2)}
    for (name, _), tensors in run_pieces(pieces, settings_of(jobs)).items():
        for tensor, expected in zip(tensors, sets[name][1:]):
            assert torch.equal(tensor, expected) and tensor.dtype == expected.dtype


def test_two_sets_of_the_same_name_are_not_mixed_up():
    sets = [small_dataset("same", seed) for seed in (0, 1)]
    pieces = {k: Piece(str(k), copy_of, (), steps=1, data=data) for k, data in enumerate(sets)}
    for k, tensors in run_pieces(pieces, settings_of(2)).items():
        assert torch.equal(tensors[0], sets[k].train_images)


def add_one_to_all(data):
    for tensor in data[1:]:
        tensor += 1
    return copy_of(data)


def test_a_piece_cannot_change_the_data_of_others():
    data = small_dataset()
    before = copy_of(data)
    pieces = {k: Piece(str(k), add_one_to_all, (), steps=1, data=data) for k in range(4)}
    for tensors in run_pieces(pieces, settings_of(2)).values():
        for tensor, original in zip(tensors, before):
            assert torch.equal(tensor, original + 1)  # not + 2 or more
    for tensor, original in zip(data[1:], before):
        assert torch.equal(tensor, original)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_a_temporary_folder_that_is_full_is_told_in_words(temporary):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(WriteError) as raised:
            run_pieces({0: Piece("a", copy_of, (), steps=1, data=small_dataset())}, settings_of(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(temporary) in str(raised.value) and "TMPDIR" in str(raised.value)
    assert "None" not in str(raised.value)


# --- pieces that fail ---


def fail(error):
    raise error


def want_all_memory():
    bytearray(2**62)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("function", "arguments", "kind", "message"), [
    (fail, (ValueError("no such thing"),), PieceFailed,
     r"the culprit: ValueError: no such thing \(.+\)"),
    (want_all_memory, (), PieceFailed, r"the culprit: MemoryError: *\(.+\)"),
    (fail, (Diverged("the loss is not finite"),), Diverged, "the culprit: the loss is not finite"),
], ids=["ValueError", "MemoryError", "Diverged"])
def test_a_piece_that_raises_is_named_and_others_run_after_it(
        tmp_path, jobs, function, arguments, kind, message):
    pieces = {"good": Piece("another", copy_of, (), steps=1, data=small_dataset()),
              "bad": Piece("the culprit", function, arguments, steps=1)}
    with pytest.raises(kind) as raised:
        run_pieces(pieces, settings_of(jobs))
    assert re.fullmatch(message, str(raised.value))
    pieces = {name: Piece(name, finish_after, (name, None, tmp_path), steps=1) for name in "ab"}
    assert run_pieces(pieces, settings_of(jobs)) == {"a": "result of a", "b": "result of b"}


def test_a_message_names_a_few_pieces_and_counts_the_others():
    assert some_names(["a"]) == "a"
    assert some_names(["a", "b", "c"]) == "a; b; c"
    assert some_names(["a", "b", "c", "d", "e"]) == "a; b; c and 2 more"


# --- a whole script and its processes ---

# Two long pieces; what the first does once the other runs is an argument of the function below.
DEMO = '''
"""A script of two pieces that take a minute, or end as the environment variable ACTION says."""

import os
import signal
import time
from pathlib import Path

from common.command_line import Flag, main, positive_integer
from common.pieces import Piece, run_pieces
from common.progress import advance


def raise_an_error():
    raise ValueError("two\\nlines")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


ACTIONS = {"raise": raise_an_error, "die": die, "go on": int}


def take_a_minute(name, others):
    Path(name).touch()
    while not all(Path(other).exists() for other in others):
        time.sleep(0.01)
    if name == "culprit":
        ACTIONS[os.environ.get("ACTION", "go on")]()
    for _ in range(6_000):
        time.sleep(0.01)
        advance()


def run(settings):
    names = ["culprit", "bystander"]
    return run_pieces({name: Piece(f"the {name}", take_a_minute, (name, names), 6_000)
                       for name in names}, settings)


main(__file__, "", {"runs": Flag(positive_integer, 1, quick=1, help="runs")}, run, None)
'''


@pytest.fixture
def start_demo(project, tmp_path, temporary):
    """A function that starts the script on a terminal; returns that, the process and its folder."""
    (project / "demo.py").write_text(DEMO)
    started = []

    def start(name="work", **environment):
        folder = tmp_path / name
        folder.mkdir()
        terminal = Terminal()
        command = [sys.executable, str(project / "demo.py"), "--jobs", "2", "--out", "figures"]
        process = terminal.start(command, cwd=folder, env={
            **os.environ, "TMPDIR": str(temporary), **environment})
        started.append((terminal, process))
        return terminal, process, folder

    yield start
    for terminal, process in started:
        terminal.close(process)


def await_files(process, *paths):
    while not all(path.exists() for path in paths):
        assert process.poll() is None
        time.sleep(0.01)


def check_that_nothing_is_left(terminal, process, folder):
    """Fails where a process still runs, or a file of joblib's or results lie anywhere.

    The fixture of the temporary folder looks at that one.
    """
    assert terminal.hangs_up()  # no process is left on it
    assert [path for path in (folder / "figures").rglob("*") if path.is_file()] == []
    shared_memory = Path("/dev/shm")  # where joblib has files of its own, on Linux
    if shared_memory.exists():
        assert [*shared_memory.glob(f"*[-_]{process.pid}[-_]*")] == []


FAILURES = {
    "raise": r"the culprit: ValueError: two lines \(.*line \d+\)",
    "die": "a worker process was killed, perhaps for want of memory, while it ran one of: "
           "the culprit; the bystander; try fewer --jobs",
}


@HAS_TERMINALS
@pytest.mark.parametrize("action", FAILURES)
def test_a_piece_that_fails_ends_the_script_in_one_line_and_leaves_nothing(start_demo, action):
    terminal, process, folder = start_demo(ACTION=action)
    assert process.wait(timeout=LONGEST_WAIT) == 1
    check_that_nothing_is_left(terminal, process, folder)
    line, = terminal.lines_beside_progress()
    assert re.fullmatch(f"error: {FAILURES[action]}", line)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows blocks no signals")
def test_ctrl_c_reaches_the_script_and_none_of_its_workers(project):
    # In a process of its own, whose first worker is the first one that it starts.
    (project / "program.py").write_text("""
import signal
from types import SimpleNamespace
from common.pieces import Piece, run_pieces

settings = SimpleNamespace(experiment="demo", jobs=2, cluster=None, device="cpu")
blocked = (signal.SIG_BLOCK, ())  # adds nothing, and returns what is blocked
pieces = {k: Piece(str(k), signal.pthread_sigmask, blocked, steps=1) for k in range(6)}
for signals in run_pieces(pieces, settings).values():
    print("worker", signal.SIGINT in signals, signal.SIGTERM in signals)
print("script", signal.SIGINT in signal.pthread_sigmask(*blocked))
""")
    ended = subprocess.run([sys.executable, "program.py"], cwd=project, capture_output=True,
                           encoding="utf-8", timeout=LONGEST_WAIT)
    assert ended.stdout.splitlines() == 6 * ["worker True False"] + ["script False"], ended.stderr


def end(process, name):
    """Ends the script as Ctrl-C does, which reaches its whole process group, or by a signal."""
    if name == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, name))


STATUS_AND_LINES = {
    "SIGINT": (130, ["error: interrupted; stored results are whole"]),
    "SIGTERM": (143, ["error: terminated; stored results are whole"]),
    "SIGKILL": (-9, []),
}


@HAS_TERMINALS
@pytest.mark.parametrize("name", STATUS_AND_LINES)
def test_no_worker_survives_its_script(start_demo, name):
    terminal, process, folder = start_demo()
    await_files(process, folder / "culprit", folder / "bystander")
    end(process, name)
    status, lines = STATUS_AND_LINES[name]
    assert process.wait(timeout=LONGEST_WAIT) == status
    check_that_nothing_is_left(terminal, process, folder)
    assert terminal.lines_beside_progress() == lines


@HAS_TERMINALS
def test_the_end_may_come_at_any_moment_while_workers_start(start_demo, tmp_path):
    draw = random.Random(0)
    names = ["SIGINT", "SIGKILL", "SIGTERM"]
    moments = [draw.uniform(third, third + 1) / 3 for third in range(3)]  # of a second
    for position, (name, moment) in enumerate(zip(names, moments)):
        temporary = tmp_path / f"temporary {position}"
        temporary.mkdir()
        terminal, process, folder = start_demo(str(position), TMPDIR=str(temporary))
        while not left_in(temporary):  # the folder of the pieces: the workers start now
            assert process.poll() is None, terminal.text()
            time.sleep(0.005)
        time.sleep(moment)
        end(process, name)
        status, lines = STATUS_AND_LINES[name]
        assert process.wait(timeout=LONGEST_WAIT) == status, (name, moment)
        check_that_nothing_is_left(terminal, process, folder)
        assert terminal.lines_beside_progress() == lines, (name, moment)
        assert left_in(temporary) == [], (name, moment)


def test_a_result_for_a_cancelled_piece_is_no_news_and_other_errors_of_threads_are(monkeypatch,
                                                                                   capsys):
    monkeypatch.setattr(threading, "excepthook", report_unless_cancelled)
    cancelled = Future()
    cancelled.cancel()
    for function, arguments in ((cancelled.set_result, (1,)), (int, ("no number",))):
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        thread.join()
    error = capsys.readouterr().err
    assert "InvalidStateError" not in error and "ValueError" in error
