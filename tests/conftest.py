"""What several test files need: real MNIST where it is at hand, made-up files, a server.

Everything here imports on every system; what a system lacks skips the test that asks for it.
"""

import gc
import gzip
import hashlib
import json
import os
import re
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import download

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent
# Seconds until a test gives up waiting for what takes a few on an idle machine: on a busy one
# only a fault takes so long.
LONGEST_WAIT = 120
# A shell has its background jobs ignore Ctrl-C, and what they start inherits that: the scripts that
# the tests interrupt start as in the foreground.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Python keeps its bytecode even where the environment says that it should not: else every process
# that a test starts compiles PyTorch anew, which doubles its seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The same examples every time and everywhere: a test that passed here does not fail elsewhere by
# chance. No deadline, since a busy machine is no fault; a fixture's folder is shared by the
# examples of a test, which leave it as it was.
hypothesis.settings.register_profile(
    "steady", derandomize=True, deadline=None, database=None, max_examples=50,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
hypothesis.settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def no_garbage_among_what_is_imported():
    """Spares run_pieces, which collects garbage after each piece, the search of all modules.

    There are so many here that each search would take 0.3 s, far more than most pieces.
    """
    torch.optim.SGD([torch.zeros(1)], lr=1)  # the first optimizer imports much
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()  # or a library complains at the end that its objects are still there


# --- sets of images ---

# Files like those of download.FILES, but of 200 training and 100 test images, read in a moment.
SMALL_FILES = (
    ("train-images-idx3-ubyte", "00000803 000000c8 0000001c 0000001c", 16 + 200 * 28 * 28),
    ("train-labels-idx1-ubyte", "00000801 000000c8", 8 + 200),
    ("t10k-images-idx3-ubyte", "00000803 00000064 0000001c 0000001c", 16 + 100 * 28 * 28),
    ("t10k-labels-idx1-ubyte", "00000801 00000064", 8 + 100),
)


@pytest.fixture
def mnist_dir():
    """The data folder with the real MNIST; where it is missing the test is skipped, visibly."""
    folder = ROOT / "data"
    if not all((folder / "MNIST" / "raw" / name).exists() for name, _, _ in download.FILES):
        pytest.skip("MNIST is not in data/")
    return folder


@pytest.fixture
def small_sets(tmp_path, monkeypatch):
    """A data folder with small whole files of MNIST, whose checksums pass, and of Fashion-MNIST."""
    monkeypatch.setattr(download, "FILES", SMALL_FILES)
    for name in ("MNIST", "FashionMNIST"):
        write_idx_files(tmp_path / "data" / name / "raw")
    raw = tmp_path / "data" / "MNIST" / "raw"
    checksums = tuple(checksum(raw / name) for name, _, _ in SMALL_FILES)
    monkeypatch.setattr(download, "MNIST_MD5", checksums)
    return tmp_path / "data"


def write_idx_files(folder, files=None):
    """Writes files in MNIST's format with random pixels and labels, as long as files says."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name, header, size in files or download.FILES:
        header = bytes.fromhex(header)
        largest = 10 if "labels" in name else 256
        content = torch.randint(largest, (size - len(header),), dtype=torch.uint8,
                                generator=generator)
        (folder / name).write_bytes(header + content.numpy().tobytes())


def checksum(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror on this machine with a small set: its folder, its address, a list of requests."""
    asked = []
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message",
                        lambda handler, *_: asked.append(handler.path))
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    write_idx_files(folder, SMALL_FILES)
    for name, _, _ in SMALL_FILES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes(), 1))
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{listening.server_address[1]}/", asked
        listening.shutdown()


# --- trespassers ---


@pytest.fixture
def obeying():
    """The start of a command that obeys the permissions of files, as every user's but root's."""
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has no permissions that a test could take away")
    if os.geteuid():
        return []
    command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if (not shutil.which("setpriv")
            or subprocess.run([*command, "true"], capture_output=True).returncode):
        pytest.skip("root may write everywhere, and setpriv cannot change that here")
    return command


# --- scripts ---


@pytest.fixture
def run_here(monkeypatch):
    """A function that runs a script in this process as its command would.

    That saves an import of PyTorch, which takes seconds. The script must end by itself or with
    status 0.
    """
    def run(path, *arguments, folder):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as exit:
            assert not exit.code

    return run


# --- small scripts in a copy of the project, and what a terminal shows of them ---


@pytest.fixture
def project(tmp_path):
    """A folder with a copy of common/: the scripts in it are ours, and end in one line."""
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "common", folder / "common",
                    ignore=shutil.ignore_patterns("__pycache__"))
    return folder


class Terminal:
    """A pseudo-terminal of 80 columns that notes what is written on it.

    What is started on it inherits it: the terminal hangs up once the last of these processes has
    ended.
    """

    def __init__(self):
        import fcntl
        import pty
        import termios

        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.written = b""
        self.something = threading.Event()
        self.reader = threading.Thread(target=self._read)

    def start(self, command, **options):
        """Starts a process in a group of its own, whose standard error is this terminal."""
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.theirs,
                                   start_new_session=True, **options)
        os.close(self.theirs)
        self.reader.start()
        return process

    def _read(self):
        while True:
            try:
                piece = os.read(self.ours, 4096)
            except OSError:  # Linux says so when the last writer has gone
                piece = b""
            if not piece:
                return
            self.written += piece
            self.something.set()

    def hangs_up(self):
        """Whether all processes on this terminal end."""
        self.reader.join(timeout=LONGEST_WAIT)
        return not self.reader.is_alive()

    def close(self, process):
        """Ends what may be left of the process that was started, and of its group."""
        with suppress(ProcessLookupError, PermissionError):  # it has no processes left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.reader.join(timeout=LONGEST_WAIT)
        os.close(self.ours)

    def text(self):
        return self.written.decode()

    def lines_beside_progress(self):
        """The text on the terminal, without the line of progress."""
        text = re.sub(r"\x1b\[[A-Z]", "", self.text())
        lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
        return [line for line in lines if line and not re.search(r"\d+%\|", line)]


def await_handler(process):
    """Waits until the script handles SIGTERM: before its first import of common nothing can."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():  # another system than Linux does not tell
        time.sleep(1)
        return
    while process.poll() is None:
        caught, = re.findall(r"^SigCgt:\s*(\w+)", status.read_text(), re.M)
        if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)


# --- stored results with something changed ---

REMOVED = "removed"  # in place of a value
STEPS = st.lists(st.integers(0, 20), min_size=1, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5)


def change(results, steps, value):
    """A copy of stored results in which one place holds another value, or is gone where REMOVED.

    steps lead to the place, level by level.
    """
    results = here = json.loads(json.dumps(results))
    for depth, step in enumerate(steps, 1):
        keys = list(here) if isinstance(here, dict) else range(len(here))
        key = keys[step % len(keys)]
        if depth == len(steps) or not (isinstance(here[key], (dict, list)) and here[key]):
            break
        here = here[key]
    here[key] = value
    if value == REMOVED:
        del here[key]
    return results
