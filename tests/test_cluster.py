"""--cluster: a real Dask scheduler and real worker processes on this machine."""

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

from common import cluster
from common.results import OF_THE_RUN

import pytest
from conftest import LONGEST_WAIT, ROOT
from dask.distributed import Client

# Neither the scheduler nor a worker finds the project by itself.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


# --- a cluster ---


class Cluster:
    """A scheduler, and workers with a folder of their own, which does not hold the project."""

    def __init__(self, folder, **environment):
        self.folder = folder
        self.processes = {}
        with socket.create_server(("127.0.0.1", 0)) as server:  # closed again: the port is free
            self.address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        self.start("scheduler", "--port", self.address.rpartition(":")[2], **environment)

    def start(self, kind, *arguments, name="scheduler", **environment):
        with open(self.folder / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *arguments, "--host", "127.0.0.1",
                 "--no-dashboard"],
                cwd=self.folder, stdout=log, stderr=log, env=ENVIRONMENT | environment)

    def add_worker(self, name, threads=1):
        """Starts a worker that nothing starts again once it is gone; pieces see its name."""
        self.start("worker", self.address, "--nthreads", str(threads), "--no-nanny",
                   "--local-directory", str(self.folder), name=name, WORKER=name)

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


@contextmanager
def running_cluster(folder, workers=("first", "second"), **environment):
    folder.mkdir()
    running = Cluster(folder, **environment)
    try:
        for name in workers:
            running.add_worker(name)
        await_workers(running, len(workers))
        yield running
    finally:
        running.stop()


def await_workers(running, count):
    """Waits for the scheduler and then for so many workers."""
    with Client(running.address, timeout=LONGEST_WAIT) as client:
        if count > 0:
            client.wait_for_workers(count, timeout=LONGEST_WAIT)


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """A cluster of two workers that no test kills."""
    with running_cluster(tmp_path_factory.mktemp("cluster") / "workers") as running:
        yield running


# --- a small experiment whose pieces stop in their middle ---

PROGRAM = '''
from common.command_line import Flag, main, positive_integer
from common.pieces import Piece, run_pieces
from common.training import run_generators

import os
import time
from pathlib import Path

import torch
from matplotlib import pyplot

FLAGS = {"pieces": Flag(positive_integer, 4, quick=4, help="pieces of work")}
FOLDER = Path(__file__).resolve().parent

def note(number, what):
    (FOLDER / f"{number} {what} {os.environ.get('WORKER')}").touch()

def compute(number, settings):
    generator, = run_generators(settings.seed, [number], "initialization")
    matrix = torch.randn(64, 64, generator=generator)
    for step in range(20):
        if step == 10:
            note(number, "began on")
            in_the_middle(number)
        matrix = torch.tanh(matrix @ matrix / 8)
    note(number, "ended on")
    return matrix.numpy()

def run(settings):
    pieces = {number: Piece(f"piece {number}", compute, (number, settings), 1)
              for number in range(settings.pieces)}
    outputs = run_pieces(pieces, settings)
    return {"table": [{"pieces": len(outputs)}], "curves": outputs}

def plot(results):
    return pyplot.figure()
'''
PAUSE = '''
def in_the_middle(number):
    while not (FOLDER / "go on").exists():
        time.sleep(0.05)
'''
MEET = '''
def in_the_middle(number):
    deadline = time.monotonic() + 30
    while "WORKER" in os.environ and len(list(FOLDER.glob("* began on *"))) < 4:
        assert time.monotonic() < deadline, "the others do not run meanwhile"
        time.sleep(0.05)
'''
RAISE = '''
def in_the_middle(number):
    if number == 2:
        raise ValueError("no such thing")
'''
DIE = '''
def in_the_middle(number):
    os._exit(1)
'''
CALL_MAIN = '''
main(__file__, "A small experiment", FLAGS, run, plot)
'''


@pytest.fixture
def program(tmp_path):
    """A function that writes the small experiment to a folder of its own; returns its path."""
    def write(middle):
        path = tmp_path / "program" / "program.py"
        path.parent.mkdir()
        path.write_text(PROGRAM + middle + CALL_MAIN)
        return path

    return write


def start(script, *arguments, folder, **environment):
    """The running script, as a command."""
    return subprocess.Popen([sys.executable, script, *map(str, arguments)], cwd=folder,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                            env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment)


def succeed(process):
    """Waits for a script that ends well and is quiet."""
    _, error = process.communicate(timeout=LONGEST_WAIT)
    assert process.returncode == 0, error
    assert [line for line in error.splitlines() if "font cache" not in line] == []


def lasting(folder):
    """The only results stored in a folder, without what differs between equal runs."""
    path, = folder.rglob("*.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in results.items() if key not in OF_THE_RUN}


def await_files(folder, pattern, count=1):
    """The names of the files that fit the pattern, as soon as there are so many."""
    deadline = time.monotonic() + LONGEST_WAIT
    while len(names := names_of(folder, pattern)) < count:
        assert time.monotonic() < deadline, list(folder.iterdir())
        time.sleep(0.05)
    return names


def names_of(folder, pattern):
    return sorted(path.name for path in folder.glob(pattern))


# --- what comes out ---

TOURS = {
    "hw1_2_minratio.py": ["--quick", "--runs", "2", "--epochs", "10", "--iterations", "10"],
    "hw1_1_mnist.py": ["--quick", "--dataset", "digits", "--epochs", "1", "--train-size", "100"],
}


@pytest.mark.parametrize("script", TOURS)
def test_the_same_numbers_as_with_one_job(script, two_workers, tmp_path, run_here):
    for out, flags in (("one job", ["--jobs", 1]), ("cluster", ["--cluster", two_workers.address])):
        run_here(ROOT / script, *TOURS[script], *flags, "--out", out, folder=tmp_path)
    assert lasting(tmp_path / "cluster") == lasting(tmp_path / "one job")


def test_a_worker_of_many_threads_runs_as_many_pieces_at_once(tmp_path, program, run_here):
    path = program(MEET)
    with running_cluster(tmp_path / "workers", workers=()) as running:
        running.add_worker("first", threads=4)
        run_here(path, "--cluster", running.address, "--out", "cluster", folder=tmp_path)
    assert len(names_of(path.parent, "* ended on first")) == 4
    run_here(path, "--jobs", 1, "--out", "one job", folder=tmp_path)
    assert lasting(tmp_path / "cluster") == lasting(tmp_path / "one job")


def test_images_are_found_though_the_worker_is_in_another_folder(two_workers, mnist_dir, tmp_path,
                                                                 run_here):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM + '''
from common.data import load_dataset
def total(data):
    return float(data.test_images[:100].double().sum())
def run(settings):
    data = load_dataset("mnist", settings.data_dir)
    result = run_pieces({0: Piece("sum", total, (), 1, data=data)}, settings)
    assert result == {0: total(data)}
    return {"table": [{"sum": result[0]}], "curves": {}}
main(__file__, "", FLAGS, run, plot, uses_images=True)
''')
    run_here(path, "--dataset", "mnist", "--data-dir", os.path.relpath(mnist_dir, tmp_path),
             "--cluster", two_workers.address, folder=tmp_path)


def test_workers_run_the_code_as_it_is_not_as_an_earlier_script_brought_it(two_workers, tmp_path,
                                                                           run_here, monkeypatch):
    package = tmp_path / "common"
    shutil.copytree(ROOT / "common", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cluster, "PACKAGE", package)  # what is sent
    before = (package / "data.py").read_text(encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + '''
from common.data import set_sizes
def run(settings):
    pieces = {number: Piece("sizes", set_sizes, ("digits",), 1) for number in range(8)}
    sizes = run_pieces(pieces, settings)  # more pieces than one of the workers takes
    return {"table": [{"sizes": sizes[number]} for number in pieces], "curves": {}}
''' + CALL_MAIN)
    for sizes in ((1437, 360), (2, 3), (1437, 360)):
        after = before.replace("DIGITS_SIZES = (1_437, 360)", f"DIGITS_SIZES = {sizes}")
        (package / "data.py").write_text(after, encoding="utf-8")
        run_here(program, "--cluster", two_workers.address, folder=tmp_path)
        assert lasting(tmp_path)["table"] == 8 * [{"sizes": list(sizes)}]


# --- workers that come and go ---


def test_a_killed_worker_s_piece_runs_again_on_one_that_came_later(tmp_path, program, run_here):
    path = program(PAUSE)
    with running_cluster(tmp_path / "workers", workers=["first"]) as running:
        process = start(path, "--cluster", running.address, "--out", "cluster", folder=tmp_path)
        interrupted, = await_files(path.parent, "* began on first")
        running.add_worker("second")
        await_files(path.parent, "* began on second")
        assert names_of(path.parent, "* ended on *") == []
        running.processes["first"].kill()
        (path.parent / "go on").touch()
        succeed(process)
    number = interrupted.split()[0]
    assert names_of(path.parent, f"{number} * on *") == [
        f"{number} began on first", f"{number} began on second", f"{number} ended on second"]
    run_here(path, "--jobs", 1, "--out", "one job", folder=tmp_path)
    assert lasting(tmp_path / "cluster") == lasting(tmp_path / "one job")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_a_terminated_script_leaves_no_pieces_on_the_cluster(two_workers, tmp_path, program):
    path = program(PAUSE)
    # Only a script of the project handles the signal: one beside the package common.
    shutil.copytree(ROOT / "common", path.parent / "common")
    process = start(path, "--pieces", 8, "--cluster", two_workers.address, folder=tmp_path)
    await_files(path.parent, "* began on *", 2)
    process.send_signal(signal.SIGTERM)
    line = ends_with_one_line(process, status=128 + signal.SIGTERM)
    assert line == "error: terminated; stored results are whole\n"
    (path.parent / "go on").touch()
    with Client(two_workers.address, timeout=LONGEST_WAIT) as client:
        # What comes last runs last: after it no worker has anything left to do.
        client.gather([client.submit(abs, 1, workers=[worker], pure=False, priority=-1)
                       for worker in client.nthreads()])
    assert len(names_of(path.parent, "* ended on *")) == 2
    assert len(names_of(path.parent, "* began on *")) == 2


# --- what fails ---


def ends_with_one_line(process, status):
    """Waits for a script that fails with this status; returns the one line that it says."""
    _, error = process.communicate(timeout=LONGEST_WAIT)
    assert process.returncode == status, error
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


@pytest.fixture
def fail(tmp_path, monkeypatch, capsys):
    """A function that runs a script in this process; returns the one line with which it ends."""
    statuses = []

    def run_script(path):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            statuses.append(end.code)

    def run(path, *arguments, status):
        statuses.clear()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        running = threading.Thread(target=run_script, args=[path], daemon=True)
        running.start()
        running.join(LONGEST_WAIT)
        error = capsys.readouterr().err
        assert statuses == [status], error
        assert error.startswith("error: ") and error.count("\n") == 1, error
        assert names_of(tmp_path, "**/*.json") == []
        return error

    return run


def test_a_piece_that_raises_is_named(two_workers, program, fail):
    line = fail(program(RAISE), "--cluster", two_workers.address, status=1)
    assert "piece 2: ValueError: no such thing (" in line


def test_a_piece_that_ends_every_worker_is_named(tmp_path, program, fail):
    path = program(DIE)
    with running_cluster(tmp_path / "workers",
                         DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1") as running:
        line = fail(path, "--pieces", 1, "--cluster", running.address, status=1)
    assert "piece 0: 2 workers died while they ran it" in line
    assert names_of(path.parent, "* began on *") == ["0 began on first", "0 began on second"]


def test_a_cluster_without_workers_then_with_one_that_is_lost(tmp_path, program, fail,
                                                              monkeypatch):
    monkeypatch.setattr(cluster, "SECONDS_WITHOUT_WORKERS", 1)
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_LOOKS", 0.1)
    path = program(DIE)
    with running_cluster(tmp_path / "workers", workers=()) as running:
        line = fail(path, "--cluster", running.address, status=2)
        assert "the cluster has no workers" in line
        running.add_worker("first")
        await_workers(running, 1)
        line = fail(path, "--cluster", running.address, status=2)
        assert "the cluster has no workers" in line
        assert len(names_of(path.parent, "* began on first")) == 1


def test_a_scheduler_that_is_lost(tmp_path, program):
    path = program(PAUSE)
    with running_cluster(tmp_path / "workers", workers=["first"]) as running:
        process = start(path, "--cluster", running.address, folder=tmp_path)
        await_files(path.parent, "* began on first")
        running.processes["scheduler"].kill()
        line = ends_with_one_line(process, status=2)
    assert f"the connection to the scheduler at {running.address} was lost" in line


def test_no_scheduler_at_the_address(program, fail, monkeypatch):
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 1)
    path = program(PAUSE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    assert f"no Dask scheduler at {address} (" in fail(path, "--cluster", address, status=2)


def test_a_server_that_is_no_scheduler(program, fail, monkeypatch):
    monkeypatch.setattr(cluster, "SECONDS_TO_CONNECT", 1)
    path = program(PAUSE)
    with socket.create_server(("127.0.0.1", 0)) as server:  # it connects, and never says a word
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert f"no Dask scheduler at {address} (" in fail(path, "--cluster", address, status=2)


def test_an_address_that_is_none(program, fail):
    line = fail(program(PAUSE), "--cluster", "nonsense", status=2)
    assert "no Dask scheduler at nonsense (" in line


def test_a_worker_with_other_libraries(two_workers, program, fail, monkeypatch):
    python = cluster.versions_here()["Python"]
    monkeypatch.setattr(cluster, "versions_here", lambda: {"Python": python, "torch": os.getpid()})
    line = fail(program(PAUSE), "--cluster", two_workers.address, status=2)
    assert f"could not begin on a worker (RuntimeError: it has {{'Python': '{python}', 't" in line
    assert f"not {{'Python': '{python}', 'torch': {os.getpid()}}}" in line


def test_a_cluster_with_another_python(two_workers, program, fail, monkeypatch):
    python = cluster.versions_here()["Python"]
    monkeypatch.setattr(cluster, "versions_here", lambda: {"Python": "3.9"})
    line = fail(program(PAUSE), "--cluster", two_workers.address, status=2)
    assert f"the scheduler of the cluster has Python {python}; start all of it with 3.9" in line


def test_without_dask_all_but_the_cluster_works(tmp_path, program, fail, monkeypatch):
    path = program(PAUSE)
    (path.parent / "go on").touch()
    without = tmp_path / "without.py"
    without.write_text("import runpy, sys\n"
                       "sys.modules |= {'dask': None, 'distributed': None}\n"  # cannot be imported
                       f"runpy.run_path({str(path)!r}, run_name='__main__')\n")
    process = start(without, "--jobs", 1, folder=tmp_path / "program")
    monkeypatch.setitem(sys.modules, "distributed", None)
    line = fail(path, "--cluster", "127.0.0.1:1", "--out", tmp_path / "refused", status=2)
    assert "pip install -r requirements-cluster.txt" in line
    assert not (tmp_path / "refused").exists()
    succeed(process)
