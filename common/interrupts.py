"""Ends a script in one line where Ctrl-C or a kill signal stops it, whatever it is doing.

Scripts import this module first, because the imports after it take seconds. The handler ends the
process at once instead of raising an exception: an exception can be raised inside a library's
clean-up code, which prints it and goes on. Tests, Jupyter and other programs that import the
experiments keep their own handlers.
"""

import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

UNFINISHED = set()  # temporary files and folders to remove when the script is stopped
PROJECT = Path(__file__).resolve().parent.parent


def stop(signal_number, frame):
    """Removes what is unfinished, says one line and ends the process with 128 + signal_number."""
    for path in UNFINISHED.copy():
        if Path(path).is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):  # it may be gone already
                Path(path).unlink()
    word = "interrupted" if signal_number == signal.SIGINT else "terminated"
    clear_line = "\r\x1b[K" if sys.stderr is not None and sys.stderr.isatty() else ""
    # Written past Python's buffers, which the signal may have met in the middle of a write.
    with suppress(OSError):  # nobody may be there to read it any more
        os.write(2, f"{clear_line}error: {word}; stored results are whole\n".encode())
    os._exit(128 + signal_number)


def is_our_program():
    """Whether the running program is a script of this project, not Jupyter, pytest or another."""
    program = getattr(sys.modules["__main__"], "__file__", None)
    return (program is not None and Path(program).resolve().parent == PROJECT
            and "IPython" not in sys.modules
            and threading.current_thread() is threading.main_thread())


if is_our_program():
    # A shell's background jobs ignore Ctrl-C; that stays so.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
