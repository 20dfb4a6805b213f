"""Runs the nine experiments one after another, each on all cores, and writes the README anew.

    python run_all.py              # at full settings
    python run_all.py --quick      # the tour: a few minutes

Takes the flags that all experiments share, such as --jobs, --dataset and --out.
"""

import io
import runpy
import sys
import time
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

from common.command_line import (
    REPORT_DATASET,
    UsageError,
    check_cluster,
    parse_device,
    parser_of_common_flags,
    prepare_process,
)
from common.data import DataError, fetch_dataset
from common.process import return_freed_memory
from common.progress import set_place
from common.results import WriteError, check_writable
from report.__main__ import main as report

PROJECT = Path(__file__).resolve().parent
# The nine, and the seconds that each takes of the report on two cores: the time left is estimated
# from them.
SCRIPTS = {
    "hw1_1_simulate.py": 127,
    "hw1_1_mnist.py": 76,
    "hw1_2_pca.py": 26,
    "hw1_2_gradnorm.py": 44,
    "hw1_2_minratio.py": 27,
    "hw1_3_random_labels.py": 70,
    "hw1_3_params.py": 85,
    "hw1_3_flatness.py": 38,
    "hw1_3_sensitivity.py": 58,
}
WITHOUT_IMAGES = ("hw1_1_simulate.py", "hw1_2_minratio.py")


class Outcome(NamedTuple):
    """How one script ended: its exit status, its seconds, and its figure or what its end was."""

    script: str
    status: int
    seconds: float
    message: str


def arguments_of(script, settings):
    """The command line of one script."""
    arguments = [f"--device={settings.device}", f"--seed={settings.seed}", f"--out={settings.out}"]
    if settings.jobs is not None:
        arguments.append(f"--jobs={settings.jobs}")
    if settings.cluster is not None:
        arguments.append(f"--cluster={settings.cluster}")
    if settings.quick:
        arguments.append("--quick")
    if script not in WITHOUT_IMAGES:
        arguments += [f"--dataset={settings.dataset}", f"--data-dir={settings.data_dir}"]
    return arguments


def run_script(script, settings):
    """Runs one script as its command would, but in this process; returns its Outcome.

    The processes that do its pieces of work are then there for the next script too.
    """
    start = time.monotonic()
    arguments_before = sys.argv
    sys.argv = [str(PROJECT / script), *arguments_of(script, settings)]
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except Exception:  # a fault in the script stops no other one
        traceback.print_exc()
        status = 1
    finally:
        sys.argv = arguments_before
        return_freed_memory()
    message = outcome_message(status, output.getvalue())
    return Outcome(script, status, time.monotonic() - start, message)


def outcome_message(status, output):
    """The figure of a script that succeeded, or how another one ended."""
    if status != 0:
        return f"exit status {status}, see its error above"
    figures = [line.split(maxsplit=1)[1] for line in output.splitlines()
               if line.startswith("figure:")]
    return figures[0] if figures else "no figure"


def run_scripts(scripts, settings):
    """Runs scripts {name: seconds} one after another; says how each ended; returns outcomes."""
    if settings.quick:  # they differ less in the tour
        scripts = dict.fromkeys(scripts, 1)
    start, total, before = time.time(), sum(scripts.values()), 0
    outcomes = []
    for number, (script, seconds) in enumerate(scripts.items(), 1):
        place = f"{number} of {len(scripts)}"
        set_place(place, start, before / total, seconds / total)
        outcome = run_script(script, settings)
        outcomes.append(outcome)
        result = "done" if outcome.status == 0 else "FAILED"
        print(f"{place}  {script:22}  {result} after {outcome.seconds:.0f} s", flush=True)
        before += seconds
    return outcomes


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
    parser = parser_of_common_flags(__doc__, uses_images=True, in_pieces=True)
    try:
        settings = parser.parse_args(arguments)
        # What is wrong is refused here, not nine times.
        parse_device(settings.device)
        check_cluster(settings.cluster)
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
