"""Runs the nine experiments, one on each core at a time, and writes the README's numbers anew.

    python run_all.py              # at full settings: half an hour on two cores
    python run_all.py --quick      # the tour: a few minutes

Takes the flags that all experiments share, such as --dataset and --out.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from common.command_line import (
    REPORT_DATASET,
    UsageError,
    parse_device,
    parser_of_common_flags,
    prepare_process,
)
from common.data import DataError, fetch_dataset
from common.interrupts import CHILDREN, STARTING
from common.results import WriteError, check_writable
from report.__main__ import main as report

PROJECT = Path(__file__).resolve().parent
# The longest first, so that no core waits long for the last one.
SCRIPTS = (
    "hw1_1_mnist.py",
    "hw1_1_simulate.py",
    "hw1_3_sensitivity.py",
    "hw1_3_random_labels.py",
    "hw1_3_params.py",
    "hw1_3_flatness.py",
    "hw1_2_gradnorm.py",
    "hw1_2_pca.py",
    "hw1_2_minratio.py",
)
WITHOUT_IMAGES = ("hw1_1_simulate.py", "hw1_2_minratio.py")


class Outcome(NamedTuple):
    """How one script ended: its exit status, its seconds, and its figure or its error."""

    script: str
    status: int
    seconds: float
    message: str


def arguments_of(script, settings):
    """The command line of one script."""
    arguments = [f"--device={settings.device}", f"--seed={settings.seed}", f"--out={settings.out}"]
    if settings.quick:
        arguments.append("--quick")
    if script not in WITHOUT_IMAGES:
        arguments += [f"--dataset={settings.dataset}", f"--data-dir={settings.data_dir}"]
    return arguments


def run_script(script, settings):
    """Runs one script in a process of its own, with one thread; returns its Outcome."""
    start = time.monotonic()
    # Networks this small gain little from a second thread: two scripts of one thread each are done
    # far sooner.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    with STARTING:
        process = subprocess.Popen(
            [sys.executable, str(PROJECT / script), *arguments_of(script, settings)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
            env=environment)
        CHILDREN.add(process)
    try:
        output, errors = process.communicate()
    finally:
        process.kill()  # does nothing where it has ended
        CHILDREN.discard(process)
    message = outcome_message(process.returncode, output, errors)
    return Outcome(script, process.returncode, time.monotonic() - start, message)


def outcome_message(status, output, errors):
    """The figure of a script that succeeded, or the last line of what a failed one said."""
    if status < 0:  # on Linux and macOS
        return f"ended by signal {-status}"
    lines = (output if status == 0 else errors).splitlines()
    if status == 0:
        lines = [line.split(maxsplit=1)[1] for line in lines if line.startswith("figure:")]
    return lines[-1] if lines else f"exit status {status}"


def run_scripts(scripts, settings):
    """Runs the scripts side by side and says when each one ends; returns their outcomes."""
    outcomes = []
    workers = os.cpu_count() or 1
    print(f"{len(scripts)} scripts, {workers} at a time", flush=True)
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(run_script, script, settings) for script in scripts]
        for finished in as_completed(running):
            outcome = finished.result()
            outcomes.append(outcome)
            result = "done" if outcome.status == 0 else "FAILED"
            print(f"{len(outcomes)} of {len(scripts)}  {outcome.script:22}  {result} after "
                  f"{outcome.seconds:.0f} s", flush=True)
    return sorted(outcomes)


def print_summary(outcomes):
    """Script, time, and figure or error of every outcome."""
    print()
    for outcome in outcomes:
        result = "ok    " if outcome.status == 0 else "FAILED"
        print(f"{outcome.script:22}  {outcome.seconds:5.0f} s  {result}  {outcome.message}")


def is_report(settings):
    """Whether results of these settings are the README's."""
    in_its_folder = Path(settings.out).resolve() == PROJECT / "figures"
    return (in_its_folder and settings.dataset == REPORT_DATASET and settings.seed == 0
            and not settings.quick)


def main(arguments=None):
    """The command; returns its exit status, 0 only where every script succeeded."""
    prepare_process()
    parser = parser_of_common_flags(__doc__, uses_images=True)
    try:
        settings = parser.parse_args(arguments)
        parse_device(settings.device)  # a name that is wrong is refused here, not nine times
        check_writable(Path(settings.out))
        # Once for all, so that the scripts never work on different sets of images.
        settings.dataset = fetch_dataset(settings.dataset, settings.data_dir)
    except (UsageError, DataError, WriteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    outcomes = run_scripts(SCRIPTS, settings)
    print_summary(outcomes)
    failed = [outcome for outcome in outcomes if outcome.status != 0]
    if failed:
        print(f"error: {len(failed)} of {len(outcomes)} scripts failed; the README stays as it was",
              file=sys.stderr)
        return 1
    if is_report(settings):
        return report([])
    print("\nThese are not the report's settings; the README stays as it was.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
