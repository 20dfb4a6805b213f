"""The frame around every experiment: flags, data, files, messages.

An experiment is a script with a docstring, a dict of FLAGS and two functions: `run` trains and returns plain numbers,
`plot` draws a figure from those numbers alone. `main` does the rest.
"""

import argparse
import ctypes
import io
import json
import math
import os
import platform
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from common.data import DATASETS, TITLES, DataError, load_dataset
from common.report import ResultsError, format_table, read_results
from common.training import Diverged

REPORT_DATASET = "mnist"


class UsageError(Exception):
    """Something the user asked for cannot be done; the message says what and what to do."""


class Flag(NamedTuple):
    """An experiment's own number: its value in the report, in the quick tour, and what it means."""

    default: float
    quick: float
    help: str


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message}; see --help")


def main(run, plot, flags, *, runs, images=False, arguments=None):
    """Runs one experiment from the command line: a script's whole `__main__`.

    run(settings), or run(settings, data) where images is True, returns {"table": [rows], "curves": ..., ...};
    plot(results) returns a matplotlib figure. flags maps names to Flag; runs is the Flag of the repeated runs. Exits with
    2 and one line for anything the user can mend, 1 for a training that diverged, 130 when interrupted.
    """
    # A polite kill unwinds like any error, so that no temporary file stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A terminal that lacks a letter gets its code: hours of training do not end in a traceback over a dash.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _main(run, plot, {"runs": runs, **flags}, images, arguments)
    except (UsageError, DataError, ResultsError) as error:
        sys.exit(_say(error, 2))
    except Diverged as error:
        sys.exit(_say(error, 1))
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; earlier results are as they were", 130))


def _say(message, status):
    print("error:", " ".join(str(message).splitlines()), file=sys.stderr)  # one line, whatever the user's words hold
    return status


def keep_freed_memory():
    """Has the C library keep the memory that a training step frees: the next step asks for the same megabytes again.

    By default glibc returns them, and the kernel's fresh, zeroed pages cost wide stacks half of their time.
    """
    with suppress(AttributeError, OSError, TypeError):  # other C libraries know no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 2**27)  # M_TRIM_THRESHOLD: bytes that may lie free, more than any step here uses
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: larger pieces, whole data sets, are returned at once as before


def _main(run, plot, flags, images, arguments):
    start = time.monotonic()
    keep_freed_memory()
    name, description = Path(run.__code__.co_filename).stem, run.__globals__["__doc__"]
    settings, explicit = parse(flags, images, description, arguments)
    if settings.replot:
        path = _stored(name, settings, explicit, images)
    else:
        path, results = _compute(name, run, flags, settings, explicit, images, start)
        try:
            lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in results.items()]
        except ValueError:  # a training can fail in its very last step, whose loss nothing has checked
            raise Diverged("a result is infinite or not a number, so nothing was stored; try a smaller --lr") from None
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        write_atomically(path, lambda file: file.write(text.encode()))
    results = read_results(path)  # the figure sees what is stored and nothing else
    figure_path = path.with_suffix(".png")
    try:
        image, table = render(plot(results)), format_table(results["table"])
    except Exception as error:
        if not settings.replot:
            raise
        # Stored results of another version, or changed by hand, can fail a figure in any way.
        raise ResultsError(f"{path} does not fit this version ({error!r}); run the experiment again") from None
    write_atomically(figure_path, lambda file: file.write(image))
    print(table)
    print(f"\nresults: {path}\nfigure:  {figure_path}\ntime:    {time.monotonic() - start:.0f} s")


def parse(flags, images, description, arguments=None):
    """The settings, and the set of names given explicitly. Raises UsageError; `--help` exits."""
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--device", default="auto", help="auto (cuda where there is one, else cpu), cpu, cuda or cuda:1")
    parser.add_argument("--seed", type=_integer(0), default=0, help="base seed; run k draws from (seed, k) (default: 0)")
    parser.add_argument("--quick", action="store_true", help="a tour in seconds, with the values in brackets below")
    parser.add_argument("--replot", action="store_true", help="redraw the figure from the stored results, without training")
    parser.add_argument("--out", default="figures", help="folder of the results; all but the report's own go to a "
                        "subfolder of it (default: figures)")
    if images:
        parser.add_argument("--dataset", choices=DATASETS, default="auto", help="auto is mnist where it can be had, else "
                            "scikit-learn's digits (default: auto)")
        parser.add_argument("--data-dir", default="data", help="folder of the data sets (default: data)")
    for name, flag in flags.items():
        kind = _integer(1) if isinstance(flag.default, int) else _positive
        parser.add_argument("--" + name.replace("_", "-"), type=kind, metavar="N" if kind is not _positive else "X",
                            help=f"{flag.help} (default: {flag.default} [{flag.quick}])")
    settings = parser.parse_args(arguments)
    explicit = {name for name in flags if getattr(settings, name) is not None}
    for name in flags.keys() - explicit:
        setattr(settings, name, flags[name].quick if settings.quick else flags[name].default)
    if not settings.quick:
        explicit = {name for name in explicit if getattr(settings, name) != flags[name].default}
    if settings.seed:
        explicit.add("seed")
    settings.device = _device(settings.device)
    return settings, explicit


def _integer(smallest):
    def convert(text):
        value = int(text)
        if not smallest <= value < 2**32:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {smallest} up")
        return value

    convert.__name__ = "whole number"  # what argparse calls it in "invalid ... value"
    return convert


def _positive(text):
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


_positive.__name__ = "number"


def _device(name):
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):  # others, such as mps, lack the float64 of evaluations and curvature
            raise RuntimeError
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:1") from None
    found = {"cpu": 1, "cuda": torch.cuda.device_count()}[device.type]
    if (device.index or 0) >= found:
        raise UsageError(f"no device {name!r} on this machine; use --device auto")
    return device


def _folder(settings, explicit, dataset):
    """The folder of a run: --out itself for the report's own, a subfolder named after the difference for all others."""
    parts = ["quick"] * settings.quick + ["custom"] * bool(explicit) + [dataset] * (dataset not in (None, REPORT_DATASET))
    return Path(settings.out, "-".join(parts)) if parts else Path(settings.out)


def _stored(name, settings, explicit, images):
    dataset = getattr(settings, "dataset", None)
    candidates = [REPORT_DATASET, "digits"] if dataset == "auto" else [dataset]
    paths = [_folder(settings, explicit, candidate) / f"{name}.json" for candidate in candidates]
    path = next(filter(os.path.exists, paths), None)
    if path is None:
        raise UsageError(f"no stored results at {paths[0]}; run without --replot first")
    return path


def _compute(name, run, flags, settings, explicit, images, start):
    check_writable(Path(settings.out))
    data = None
    if images:
        data = load_dataset(settings.dataset, settings.data_dir, settings.device)
        _fit_to_data(settings, explicit, data)
    folder = _folder(settings, explicit, data and data.name)
    check_writable(folder)
    if data:
        settings.dataset = data.name  # in place of "auto"
    results = run(settings, data) if images else run(settings)
    stored = {
        "experiment": name,
        "settings": {key: getattr(settings, key) for key in ["seed", "quick", *(["dataset"] if images else []), *flags]},
        "constants": constants(run.__globals__),
        "environment": environment(settings.device, data),
        "seconds": time.monotonic() - start,
        **results,
    }
    return folder / f"{name}.json", plain(stored)


def _fit_to_data(settings, explicit, data):
    """Keeps what counts training images within the data: a default shrinks, a number that was asked for is an error."""
    limit, whole = len(data.train_images), f"the {TITLES[data.name]} training set"
    for name in ("train_size", "batch_size", "sharpness_images", "probe_size"):
        value = getattr(settings, name, None)
        if value is None:
            continue
        if value > limit and name in explicit:
            raise UsageError(f"--{name.replace('_', '-')} {value} is more than {whole} has ({limit}); make it smaller")
        setattr(settings, name, min(value, limit))
        if name == "train_size":
            limit, whole = settings.train_size, "the training size"


def constants(names):
    """What a script holds fixed: those of its UPPERCASE names that stand for numbers, or for series or dicts of them."""
    values = {name: plain(value) for name, value in names.items() if name.isupper()}
    return {name: value for name, value in values.items() if _only_numbers(value)}


def _only_numbers(value):
    if isinstance(value, (dict, list)):
        return all(map(_only_numbers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, (int, float))


def environment(device, data=None):
    """Where numbers come from: versions, device, threads, data set and its images."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    with suppress(OSError):
        if device.type == "cpu":
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    return {"python": platform.python_version(), "torch": torch.__version__, "device": str(device), "device_name": name,
            "threads": torch.get_num_threads(), "dataset": TITLES[data.name] if data else None,
            **({"train_images": len(data.train_images), "test_images": len(data.test_images)} if data else {})}


def plain(value):
    """Tensors, arrays and NumPy numbers as lists and numbers for JSON, floats to six significant digits."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return float(f"{value:.6g}") if isinstance(value, float) else value


def render(figure):
    """A matplotlib figure as the bytes of a PNG of 256 colours: a third of the size, and no difference to the eye."""
    drawn, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(256).save(reduced, format="png", optimize=True)
    return reduced.getvalue()


def check_writable(folder):
    """Raises UsageError unless files can be written in folder, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be written to ({error.strerror}); name another folder") from None


def write_atomically(path, write):
    """Writes a file through write(file), whole or not at all: whatever happens, the previous one stays until the end.

    Raises UsageError where the folder or the disk does not take it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
        try:
            with file:
                write(file)
                os.fchmod(file.fileno(), 0o644)  # temporary files are for their owner alone
            os.replace(file.name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(file.name)
            raise
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); what was there before is unchanged") from None
