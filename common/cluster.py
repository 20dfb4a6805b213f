"""Pieces of work on any number of machines: a running Dask scheduler hands them to its workers.

Importing this needs what requirements-cluster.txt names.
"""

import hashlib
import importlib
import io
import logging
import platform
import queue
import sys
import threading
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

from common.pieces import ClusterError, PieceFailed
from common.training import Diverged

import cloudpickle
from dask.distributed import CancelledError, Client, KilledWorker, get_worker, wait
from dask.distributed import TimeoutError as DaskTimeoutError

SECONDS_TO_CONNECT = 10
SECONDS_WITHOUT_WORKERS = 60  # after which a script gives up, at its start and later
SECONDS_BETWEEN_LOOKS = 2  # whether there are workers
PACKAGE = Path(__file__).resolve().parent

# What Dask logs here is about a lost cluster, for which the script has its one line.
for _logger in ("distributed", "distributed.client"):
    logging.getLogger(_logger).setLevel(logging.CRITICAL)
# The functions of this module are sent as their code, not by their names: scheduler and workers may
# not have this module, or an earlier one.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


# --- in the script ---


def start_on_cluster(calls, address):
    """Yields the results of joblib's calls as they end on the workers of the scheduler at address.

    Dask runs the piece of a worker that is lost again on another one. Every call takes this code
    along. The workers need the libraries, of the same versions as here.

    Raises ClusterError, PieceFailed, and what the calls raise.
    """
    code, versions = zip_of_package(), versions_here()

    def run_there(call):  # a function within another, because Dask sends these by cloudpickle only
        return run_call(code, versions, call)

    with connect(address) as client:
        check_pythons(client, versions["Python"])
        names = {}  # of the pieces, by their futures
        for call in calls:
            _, (_, piece, *_), _ = call  # of run_piece
            # The call as bytes: all else is unpickled by the scheduler too, which lacks our code.
            future = client.submit(run_there, cloudpickle.dumps(call), pure=False)
            names[future] = piece.name
        try:
            for future in as_they_end(set(names), client):
                yield result_of(future, names.pop(future))
        except (CancelledError, OSError):
            raise ClusterError(f"the connection to the scheduler at {address} was lost") from None


def connect(address):
    """A client of the scheduler at address. Raises ClusterError where there is none."""
    outcome = queue.SimpleQueue()

    def try_to_connect():
        try:
            outcome.put(Client(address, timeout=SECONDS_TO_CONNECT))
        except Exception as error:  # of many kinds, as it finds the address
            outcome.put(error)

    # In a thread because a client waits forever for the greeting of a server that is not Dask's,
    # such as that of Dask's own web page.
    threading.Thread(target=try_to_connect, daemon=True).start()
    try:
        client = outcome.get(timeout=2 * SECONDS_TO_CONNECT)
    except queue.Empty:
        client = "what is there does not answer"
    if not isinstance(client, Client):
        raise ClusterError(f"no Dask scheduler at {address} ({client}); start one with: "
                           "dask scheduler")
    return client


def check_pythons(client, version_here):
    """Raises ClusterError where the cluster has another Python, which our code would crash."""
    found = client.get_versions()
    for name, there in {"the scheduler": found["scheduler"], **found["workers"]}.items():
        version_there = ".".join(there["packages"]["python"].split(".")[:2])
        if version_there != version_here:
            raise ClusterError(f"{name} of the cluster has Python {version_there}; start all of it "
                               f"with {version_here}, as here")


def as_they_end(futures, client):
    """Yields a set of futures as they end. Raises ClusterError where there are no workers."""
    last_seen = time.monotonic()
    while futures:
        if client.nthreads():  # of all workers
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > SECONDS_WITHOUT_WORKERS:
            raise ClusterError("the cluster has no workers, or none any more; start some with: "
                               "dask worker ADDRESS --nworkers auto --nthreads 1")
        try:
            ended, futures = wait(futures, SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED")
        except DaskTimeoutError:
            continue
        yield from ended


def result_of(future, name):
    """The result of the piece called name. Raises PieceFailed, ClusterError, and Diverged."""
    try:
        return future.result()
    except (PieceFailed, Diverged, CancelledError):
        raise
    except KilledWorker as error:
        raise PieceFailed(f"{name}: {error.allowed_failures + 1} workers died while they ran it, "
                          "perhaps for want of memory") from None
    except Exception as error:  # before the piece began
        raise ClusterError(f"{name} could not begin on a worker ({type(error).__name__}: {error}); "
                           "workers need what requirements-cluster.txt names, of the same versions "
                           "as here") from None


def zip_of_package():
    """The package common as the bytes of a zip file, the same as long as nothing is changed."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted(PACKAGE.glob("*.py")):
            archive.write(path, f"common/{path.name}")
    return content.getvalue()


def versions_here():
    """What must be the same on all machines: digits depend on it, or whether code can be sent."""
    versions = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for library in ("torch", "numpy", "scipy", "scikit-learn"):
        versions[library] = version(library).split("+")[0]  # without +cpu and the like
    return versions


# --- on a worker ---


def run_call(code, versions, call):
    """Runs a pickled call with the package common of this code, the bytes of a zip file.

    The worker may have another common, such as that of a script that ran before an edit.
    """
    worker = get_worker()
    path = Path(worker.local_directory, f"common-{hashlib.sha256(code).hexdigest()}.zip")
    lock = vars(worker).setdefault("lock_of_common", threading.Lock())  # it may have many threads
    with lock:
        # Inside, because the search for versions goes through sys.path, which changes below.
        there = versions_here()
        if there != versions:
            raise RuntimeError(f"it has {there}, not {versions}")
        present = getattr(sys.modules.get("common"), "__file__", None) or ""
        if not present.startswith(str(path)):
            path.write_bytes(code)
            for name in list(sys.modules):
                if name.partition(".")[0] == "common":
                    del sys.modules[name]
            sys.path.insert(0, str(path))
            importlib.import_module("common")  # from now on Python knows where its parts are
            sys.path.remove(str(path))
        function, arguments, keywords = cloudpickle.loads(call)
    return function(*arguments, **keywords)
