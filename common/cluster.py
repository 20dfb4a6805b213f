"""Pieces of work on any number of machines: joblib hands them to a running Dask scheduler.

Importing this needs what requirements-cluster.txt names.
"""

import shutil
import tempfile
from pathlib import Path

from common.pieces import ClusterError

import joblib
from dask.distributed import Client, KilledWorker

SECONDS_TO_WAIT = 60  # for the scheduler, and then for its first worker
PROJECT = Path(__file__).resolve().parent.parent


def start_on_cluster(calls, address):
    """Yields the results of joblib's calls as they end on the workers of the scheduler at address.

    Dask runs the piece of a worker that is lost again on another one. The workers get this code
    from here, but need the libraries, and the same version of Python.

    Raises ClusterError, and what the calls raise.
    """
    with connect(address) as client:
        send_code(client)
        backend = joblib.parallel_config(backend="dask", client=client,
                                         wait_for_workers_timeout=SECONDS_TO_WAIT)
        try:
            with backend:
                parallel = joblib.Parallel(n_jobs=-1, batch_size=1, pre_dispatch="all",
                                           return_as="generator_unordered")
                yield from parallel(calls)
        except TimeoutError:
            raise ClusterError(f"the scheduler at {address} has no workers; start some") from None
        except KilledWorker:
            raise ClusterError("several workers of the cluster died over the same piece, perhaps "
                               "for want of memory; start them with more") from None


def connect(address):
    """A client of the scheduler at address. Raises ClusterError where there is none."""
    try:
        return Client(address, timeout=SECONDS_TO_WAIT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler answers at {address} ({error}); start one with: "
                           "dask scheduler") from None


def send_code(client):
    """Sends the package common to all workers, present and future ones."""
    with tempfile.TemporaryDirectory() as folder:
        archive = shutil.make_archive(str(Path(folder, "common")), "zip", PROJECT, "common")
        client.upload_file(archive)
