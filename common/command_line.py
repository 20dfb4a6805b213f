"""The frame around every experiment: its flags, its folder, its messages.

An experiment is a script with a docstring, a dict of FLAGS and two functions: run(settings) trains
and returns plain numbers, plot(results) draws a figure from those numbers alone. main does the
rest.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from common.data import DATASETS, DataError, dataset_title, fetch_dataset, set_sizes
from common.pieces import PIECE_SECONDS, ClusterError, PieceFailed
from common.process import prepare_computing
from common.results import (
    NotFinite,
    ResultsError,
    WriteError,
    as_stored,
    check_writable,
    details_path,
    environment,
    figure_path,
    format_table,
    plain,
    png_of,
    read_results,
    store_results,
    tables_text,
    write_atomically,
)
from common.training import Diverged

import joblib
import torch

REPORT_DATASET = "mnist"
LARGEST_INTEGER = 2**32 - 1  # seeds and counts of any use lie far below


class UsageError(Exception):
    """Something the user asked for cannot be done; the message says what and what to do."""


class Flag(NamedTuple):
    """A number that the user may change.

    type turns the words of the command line into the number, or refuses them. default is its value
    in the report, quick its value in the quick tour. at_most is "dataset" where the number counts
    training images, and the name of an earlier flag where it may not exceed that one.
    """

    type: Callable
    default: float
    quick: float
    help: str
    at_most: str | None = None


# --- types of flags ---


def _integer(text, smallest):
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not smallest <= value <= LARGEST_INTEGER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {smallest} to "
                                         f"{LARGEST_INTEGER:,}")
    return value


def positive_integer(text):
    """A whole number from 1 up, as a type of Flag."""
    return _integer(text, smallest=1)


def integer_from_zero(text):
    """A whole number from 0 up, as a type of Flag."""
    return _integer(text, smallest=0)


def positive_number(text):
    """A finite number above 0, as a type of Flag."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


# --- from the command line to a stored result and its figure ---


def main(file, description, flags, run, plot, *, plot_details=None, collect_facts=None,
         uses_images=False, in_pieces=True, arguments=None):
    """Runs one experiment from the command line: the last line of every script.

    file is the script's __file__, whose stem names the results; description is its __doc__. flags
    maps names to Flag. run(settings) returns {"table": [rows], "curves": ..., ...}, plot(results) a
    matplotlib figure, and plot_details(results) a second one with what the answer does not need.
    collect_facts(results) returns {name: number, text or interval}, what figures and report say of
    the results; they are stored as results["facts"]. Where uses_images is True,
    settings.dataset names the set of images to load. in_pieces is False where run does not call
    run_pieces of common.pieces. arguments stand in for the command line's.

    Exits with 2 and one line for anything the user can mend, 1 for a piece of work that failed,
    such as a training that diverged, 130 when interrupted.
    """
    prepare_process()
    start = time.monotonic()
    try:
        parser = experiment_parser(description, flags, uses_images, in_pieces)
        settings = parse(parser, flags, arguments)
        if settings.replot:
            path = find_stored(Path(file).stem, settings, flags)
        else:
            path = _run(Path(file).stem, settings, flags, run, collect_facts, start)
        _draw(path, plot, plot_details, settings)
        print(f"time:    {time.monotonic() - start:.0f} s")
    except (UsageError, DataError, ResultsError, WriteError, ClusterError) as error:
        _exit(error, 2)
    except (Diverged, PieceFailed) as error:
        _exit(error, 1)
    except KeyboardInterrupt:  # where the handler of common.interrupts is not in place
        _exit("interrupted; stored results are whole", 130)


def _exit(message, status):
    print("error:", " ".join(str(message).split()), file=sys.stderr)  # one line, whatever it quotes
    sys.exit(status)


def prepare_process():
    """Settings of the process that every program of ours begins with."""
    prepare_computing()
    # A terminal that cannot show a letter shows its code: no training ends in a traceback over a
    # dash.
    if hasattr(sys.stdout, "reconfigure"):  # Jupyter's output has no such method and no such limit
        sys.stdout.reconfigure(errors="backslashreplace")


def _draw(path, plot, plot_details, settings):
    """Writes the figures and the tables of the results at path beside them."""
    results = read_results(path)  # the figures see what is stored and nothing else
    plots = {figure_path(path): plot}
    if plot_details:
        plots[details_path(path)] = plot_details
    try:
        table = format_table(results["table"])
        tables = tables_text(results).encode()
        pictures = {place: png_of(draw(results), results) for place, draw in plots.items()}
    except Exception as error:
        if not settings.replot:
            raise
        # Stored results of another version, or changed by hand, can fail a figure in any way.
        raise ResultsError(f"{path} does not fit this version ({error!r}); run the experiment "
                           "again") from None
    for place, picture in pictures.items():
        write_atomically(place, picture)
    write_atomically(path.with_suffix(".md"), tables)
    print(f"{table}\n\nresults: {path}")
    for place in pictures:
        print(f"figure:  {place}")


def _run(name, settings, flags, run, collect_facts, start):
    """Runs the experiment and stores its results; returns their path."""
    check_writable(Path(settings.out))
    if settings.dataset:
        settings.dataset = fetch_dataset(settings.dataset, settings.data_dir)
        fit_to_dataset(settings, flags)
    folder = results_folder(settings, flags)
    check_writable(folder)
    settings.experiment = name
    PIECE_SECONDS.clear()
    results = {
        "experiment": name,
        "settings": recorded_settings(settings, flags),
        "environment": environment(settings.device, settings.dataset),
        **run(settings),
    }
    path = folder / f"{name}.json"
    try:
        if collect_facts:
            results["facts"] = collect_facts(as_stored(results))
        results |= {"seconds": time.monotonic() - start, "jobs": settings.jobs,
                    "piece_seconds": PIECE_SECONDS}
        store_results(path, results)
    except NotFinite as error:  # a training can fail in its last step, whose loss nothing checks
        raise Diverged(f"{error}, so nothing was stored; try a smaller learning rate") from None
    return path


# --- settings ---


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message}; see --help")


def parser_of_common_flags(description, uses_images, in_pieces):
    """A parser of the flags that all experiments share."""
    parser = _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                     allow_abbrev=False)
    parser.add_argument("--device", default="auto",
                        help="auto (cuda where there is one, else cpu), cpu, cuda or cuda:1")
    parser.add_argument("--seed", type=integer_from_zero, default=0,
                        help="base seed; run k draws from (seed, k) (default: 0)")
    if in_pieces:
        parser.add_argument("--jobs", type=positive_integer, metavar="N",
                            help="pieces of work that run side by side, each with one thread; "
                            "changes no digit (default: as many as there are cores, on a GPU 1)")
        parser.add_argument("--cluster", metavar="ADDRESS",
                            help="send the pieces to the Dask scheduler at ADDRESS instead")
    parser.add_argument("--quick", action="store_true",
                        help="a tour in seconds, with the values in [brackets]")
    parser.add_argument("--out", default="figures",
                        help="folder of the results; what differs from the report goes to a "
                        "subfolder of it that is named after the difference (default: figures)")
    if uses_images:
        parser.add_argument("--dataset", choices=DATASETS, default="auto",
                            help="auto is mnist where it can be had, else scikit-learn's digits "
                            "(default: auto)")
        parser.add_argument("--data-dir", default="data",
                            help="folder of the sets of images (default: data)")
    return parser


def experiment_parser(description, flags, uses_images, in_pieces):
    """A parser of all flags of one experiment."""
    parser = parser_of_common_flags(description, uses_images, in_pieces)
    parser.add_argument("--replot", action="store_true",
                        help="redraw the figure from the stored results, without training")
    for name, flag in flags.items():
        parser.add_argument(option(name), type=flag.type, metavar="N",
                            help=f"{flag.help} (default: {flag.default} [{flag.quick}])")
    # What stands where a program has no such flag.
    parser.set_defaults(dataset=parser.get_default("dataset"), jobs=None, cluster=None)
    return parser


def parse(parser, flags, arguments=None):
    """The settings: every flag's value, and the names of flags that the user gave or changed.

    `given` lists the flags that were on the command line, `changed` those whose value is another
    one than the default, or than that of the quick tour.

    Raises UsageError; --help exits.
    """
    settings = parser.parse_args(arguments)
    settings.device = parse_device(settings.device)
    if settings.jobs is None:
        settings.jobs = 1 if settings.device.type == "cuda" else joblib.cpu_count()
    check_cluster(settings.cluster)
    settings.given, settings.changed = [], []
    for name, flag in flags.items():
        usual = flag.quick if settings.quick else flag.default
        if getattr(settings, name) is None:
            setattr(settings, name, usual)
            continue
        settings.given.append(name)
        if getattr(settings, name) != usual:
            settings.changed.append(name)
    return settings


def option(name):
    """A flag's name as it is typed: train_size -> --train-size."""
    return "--" + name.replace("_", "-")


def parse_device(name):
    """The torch device of this name, auto being a GPU where there is one. Raises UsageError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    # Other devices, such as mps, lack the float64 of evaluations and curvature.
    if device is None or device.type not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:1")
    available = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= available:
        raise UsageError(f"no device {name!r} on this machine; use --device auto")
    return device


def check_cluster(address):
    """Raises UsageError where --cluster is given without an address, or Dask is not installed."""
    if address == "":
        raise UsageError("--cluster needs the address of a Dask scheduler, such as tcp://here:8786")
    if address is not None and find_spec("distributed") is None:
        raise UsageError("--cluster needs Dask; install it with: python -m pip install -r "
                         "requirements-cluster.txt")


def fit_to_dataset(settings, flags):
    """Keeps numbers that count training images within what there is.

    A default shrinks; for a number that the user gave this raises UsageError.
    """
    training_images, _ = set_sizes(settings.dataset)
    for name, flag in flags.items():
        if flag.at_most is None:
            continue
        if flag.at_most == "dataset":
            title = dataset_title(settings.dataset)
            limit, holder = training_images, f"the {title} training set has"
        else:
            limit, holder = getattr(settings, flag.at_most), f"{option(flag.at_most)} is"
        value = getattr(settings, name)
        if value > limit and name in settings.given:
            raise UsageError(f"{option(name)} {value} is more than {holder} ({limit}); "
                             "make it smaller")
        setattr(settings, name, min(value, limit))


def recorded_settings(settings, flags):
    """The settings that are stored with the results."""
    names = ["seed", "quick", *(["dataset"] if settings.dataset else []), *flags]
    return {name: getattr(settings, name) for name in names}


# --- where results lie ---


def results_folder(settings, flags):
    """--out for the report's own settings, else a subfolder of it named after the difference.

    Two runs of different settings therefore never write to the same place. The device is no
    setting: it is stored with the environment, and the numbers of two devices agree within their
    bands.
    """
    differences = []
    if settings.quick:
        differences.append("quick")
    if settings.dataset not in (None, REPORT_DATASET):
        differences.append(f"dataset={settings.dataset}")
    if settings.seed != 0:
        differences.append(f"seed={settings.seed}")
    for name in flags:
        if name in settings.changed:
            differences.append(f"{name}={getattr(settings, name)}")
    return Path(settings.out, ",".join(differences))


def find_stored(name, settings, flags):
    """The path of the stored results of exactly these settings.

    Raises UsageError where there are none.
    """
    datasets = [REPORT_DATASET, "digits"] if settings.dataset == "auto" else [settings.dataset]
    paths = []
    for dataset in datasets:
        settings.dataset = dataset
        path = results_folder(settings, flags) / f"{name}.json"
        paths.append(path)
        if path.exists():
            if dataset:
                fit_to_dataset(settings, flags)
            _check_stored_settings(path, recorded_settings(settings, flags))
            return path
    stored = sorted(str(path.parent) for path in Path(settings.out).glob(f"**/{name}.json"))
    what_is_stored = "none are stored at all"
    if stored:
        what_is_stored = f"stored are those in {', '.join(stored)}"
    raise UsageError(f"no stored results of these settings at {paths[0]}; {what_is_stored}; run "
                     "without --replot first")


def _check_stored_settings(path, asked):
    stored = read_results(path)["settings"]
    for name, value in plain(asked).items():
        there = stored.get(name) if isinstance(stored, dict) else None
        if there != value:
            raise UsageError(f"{path} holds results of {name} {there}, not {value}; run without "
                             "--replot")
