"""What every process of ours does with its threads and its memory, and when its parent ends."""

import atexit
import ctypes
import gc
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import torch

# Temporary folders of a script's pieces of work: this, the script's process number, and more.
FOLDER_PREFIX = "pieces-"


def prepare_computing():
    """One thread, and memory that is kept. Every process calls it before it computes."""
    # Sums are taken in another order by another number of threads, and differ in their last digits.
    torch.set_num_threads(1)
    keep_freed_memory()
    collect_no_libraries()


def keep_freed_memory():
    """Has the C library keep the memory that a training step frees, for the next step.

    By default glibc returns it, and the kernel's fresh, zeroed pages cost wide stacks half of their
    time.
    """
    with suppress(AttributeError, OSError, TypeError):  # other C libraries have no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_threshold = -1, -3  # glibc's names of the two limits
        mallopt(trim_threshold, 2**27)  # bytes that may lie free, more than any step here uses
        # Larger pieces, whole data sets, are returned at once as before.
        mallopt(mmap_threshold, 2**25)


def collect_no_libraries():
    """Has Python's garbage collector pass over what is there by now, mostly imported libraries.

    They stay to the end. To look through them after each piece of work takes a quarter of a second.
    """
    if gc.get_freeze_count() == 0:
        gc.freeze()
        atexit.register(gc.unfreeze)  # or a library complains that its objects are still there


def return_freed_memory():
    """Has the C library return the memory that it kept: a piece of work is at its end."""
    gc.collect()  # what only cycles hold is not freed yet
    with suppress(AttributeError, OSError, TypeError):  # other C libraries have no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def end_with_parent():
    """Has this worker end as soon as the script that started it is gone, however that ended."""
    threading.Thread(target=_await_end_of_parent, daemon=True).start()


def _await_end_of_parent():
    parent = multiprocessing.parent_process()
    if os.name == "nt":
        parent.join()
    else:
        # An orphan gets another parent. Python knows the first one by its number alone here.
        while os.getppid() == parent.pid:
            time.sleep(0.2)
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{parent.pid}-*"):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
