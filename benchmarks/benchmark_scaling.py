"""How much faster is a script on more cores, and how long would the report take on many?

Every script is run with one and with two jobs in turn: the three longest of the report repeatedly,
on the report's settings, the others once, on shorter ones. Their time is what they store: without
the import of their libraries, with the start of their workers.
For more cores than this machine has, the report's time is computed: the seconds of all pieces of
work, as the report's own results store them, are put on the cores, the longest first, and what a
script does before, between and after is added.

From the project's folder, on a machine with nothing else to do:

    python -m benchmarks.benchmark_scaling              # the report's figure
    python -m benchmarks.benchmark_scaling --quick      # a tour in minutes
"""

import heapq
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.command_line import Flag, main, positive_integer
from common.plotting import COLORS, GREY, MARKERS, draw_ranges, legend_below, new_figure
from common.results import ResultsError, read_results
from common.statistics import quartile_columns
from run_all import SCRIPTS, WITHOUT_IMAGES

import numpy as np
from tqdm import trange

# --- settings ---

FLAGS = {
    "runs": Flag(positive_integer, 3, quick=1,
                 help="timings of the longest scripts with every --jobs"),
}
PROJECT = Path(__file__).resolve().parent.parent
JOBS = (1, 2)
LONGEST = 3  # so many scripts, the longest of the report, are timed repeatedly
# Settings with which the others take less than a minute. The longest have those of the report.
FLAGS_OF_OTHERS = {
    "hw1_2_pca.py": ["--epochs=6"],
    "hw1_2_gradnorm.py": ["--steps=2000", "--epochs=3"],
    "hw1_2_minratio.py": ["--runs=50"],
    "hw1_3_random_labels.py": ["--epochs=2"],
    "hw1_3_flatness.py": ["--epochs=3", "--runs=2"],
    "hw1_3_sensitivity.py": ["--epochs=3", "--max-epochs=20"],
}
CORES = (1, 2, 4, 8, 16, 64)


# --- measuring ---


def run(settings):
    """Times the scripts, and computes from stored results what more cores would take."""
    stored = {script: read_stored(script) for script in SCRIPTS}
    by_seconds = sorted(stored, key=lambda script: -stored[script]["seconds"])
    longest = by_seconds[:LONGEST]
    speedups = measure_speedups(longest, settings)
    start_up = seconds_to_start(settings)
    predictions = predict_scripts(stored, start_up)
    return {
        "table": [summarize_speedup(script, *seconds) for script, seconds in speedups.items()],
        "predictions": predictions,
        "report": sum_up(predictions),
        "longest": [summarize_longest({script: speedups[script] for script in longest})],
        "thousand_runs": [estimate_thousand_runs(script, results)
                          for script, results in stored.items()],
        "start_up": start_up,
        "curves": {"cores": CORES},
    }


def read_stored(script):
    """The report's results of one script. Raises ResultsError where there are none."""
    path = PROJECT / "figures" / f"{Path(script).stem}.json"
    results = read_results(path)
    if "piece_seconds" not in results:
        raise ResultsError(f"{path} has no seconds of pieces; run {script} again")
    return results


def measure_speedups(longest, settings):
    """The seconds of every script with one job and with two: {script: [(timings,), (timings,)]}.

    The longest scripts have several timings. Both take turns, so that whatever else the machine
    does meets them alike.
    """
    seconds = {script: [[] for _ in JOBS] for script in SCRIPTS}
    for round_number in trange(settings.runs, desc="timing", leave=False, disable=None):
        for script, seconds_by_jobs in seconds.items():
            if round_number > 0 and script not in longest:
                continue
            for jobs, timings in zip(JOBS, seconds_by_jobs):
                timings.append(seconds_of_script(script, jobs, settings))
    return seconds


def seconds_of_script(script, jobs, settings):
    """The seconds that one script stores with its results, with so many jobs."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"--jobs={jobs}", f"--out={folder}", "--device=cpu"]
        arguments += ["--quick"] if settings.quick else FLAGS_OF_OTHERS.get(script, [])
        if script not in WITHOUT_IMAGES:
            arguments += [f"--dataset={settings.dataset}", f"--data-dir={settings.data_dir}"]
        run_python([script, *arguments])
        path, = Path(folder).rglob("*.json")
        return read_results(path)["seconds"]


def seconds_to_start(settings):
    """The median of the seconds until a script has imported what it needs."""
    script = next(iter(SCRIPTS))
    seconds = []
    for _ in range(settings.runs):
        start = time.perf_counter()
        run_python([script, "--help"])
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def run_python(command):
    """Runs a Python command in the project's folder."""
    subprocess.run([sys.executable, *command], cwd=PROJECT, stdout=subprocess.DEVNULL, check=True)


# --- predicting ---


def schedule(piece_seconds, cores):
    """The seconds until all pieces have ended, the longest begun first, each on the next free core.

    piece_seconds are those of one call of run_pieces, {name: seconds}.
    """
    free_at = [0.0] * cores  # a heap: the core that is free first
    for seconds in sorted(piece_seconds.values(), reverse=True):
        heapq.heappush(free_at, heapq.heappop(free_at) + seconds)
    return max(free_at)


def predict_script(results, cores, start_up):
    """The seconds that a script takes on so many cores, from the results that it stored.

    What is not in its pieces takes as long as it did. This neglects that cores share memory.
    """
    calls = results["piece_seconds"]
    beside_pieces = results["seconds"] - sum(schedule(call, results["jobs"]) for call in calls)
    return start_up + beside_pieces + sum(schedule(call, cores) for call in calls)


def predict_scripts(stored, start_up):
    """Rows: the predicted seconds of every script on every number of cores."""
    rows = []
    for script, results in stored.items():
        total = sum(sum(call.values()) for call in results["piece_seconds"])
        longest = [max(call.values()) for call in results["piece_seconds"]]
        row = {
            "script": script,
            "pieces": sum(len(call) for call in results["piece_seconds"]),
            "piece_seconds": total,
            "longest_piece": max(longest),
            # Calls come one after another. Beyond this number of cores the longest piece of each
            # call decides.
            "cores_used": total / sum(longest),
        }
        for cores in CORES:
            row[f"seconds_{cores}"] = predict_script(results, cores, start_up)
        rows.append(row)
    return rows


def sum_up(predictions):
    """Rows: the minutes of the whole report on every number of cores."""
    return [{"cores": cores,
             "minutes": sum(row[f"seconds_{cores}"] for row in predictions) / 60}
            for cores in CORES]


# --- summing up ---


def summarize_longest(speedups):
    """A row: the lowest and the highest median gain of some scripts, {script: their seconds}."""
    gains = [np.median(np.divide(*seconds)) for seconds in speedups.values()]
    return {"scripts": ", ".join(speedups), "slowest": min(gains), "fastest": max(gains)}


def estimate_thousand_runs(script, results):
    """A row: the hours of one core that a thousand runs of a script would take."""
    seconds = sum(sum(call.values()) for call in results["piece_seconds"])
    return {"script": script,
            "core_hours": seconds / results["settings"]["runs"] * 1_000 / 3600}


def summarize_speedup(script, seconds_with_one, seconds_with_two):
    """A row: the seconds with one and two jobs, and how many times as fast two are."""
    speedups = np.divide(seconds_with_one, seconds_with_two)
    return {
        "script": script,
        "timings": len(seconds_with_one),
        "seconds_1": np.median(seconds_with_one),
        "seconds_2": np.median(seconds_with_two),
        **quartile_columns("speedup", speedups),
    }


# --- drawing ---


def plot(results):
    """The measured gain of a second job, and the predicted time of the report on more cores."""
    minutes = {row["cores"]: row["minutes"] for row in results["report"]}
    title = (f"The report takes {minutes[2]:.0f} minutes on 2 cores, and would take "
             f"{minutes[8]:.1f} on 8")
    figure, panels = new_figure(title, results, 1, 2, height=3.8)
    draw_speedups(panels[0, 0], results["table"])
    draw_predictions(panels[0, 1], results)
    legend_below(figure, panels[0, 1], columns=4)
    return figure


def draw_speedups(panel, table):
    """How many times as fast every script is with two jobs: median and quartiles."""
    rows = table[::-1]
    places = range(len(rows))
    draw_ranges(panel, rows, places, ("speedup_median", "speedup_q25", "speedup_q75"), COLORS[0],
                MARKERS[0])
    panel.axvline(2, color=GREY, linewidth=1)
    panel.set(title="Measured: two jobs beside one\n(the three longest in full, others shortened)",
              xlim=(0.9, 2.1), yticks=places,
              yticklabels=[Path(row["script"]).stem for row in rows],
              xlabel="times as fast (line: twice)")


def draw_predictions(panel, results):
    """The predicted minutes of the report against the cores, beside what would be ideal."""
    cores = [row["cores"] for row in results["report"]]
    minutes = np.array([row["minutes"] for row in results["report"]])
    panel.plot(cores, minutes, "-o", color=COLORS[0], markersize=4, label="predicted")
    panel.plot(cores, minutes[0] / np.array(cores), ":", color=GREY,
               label="one core's time, shared out evenly")
    for count, value in zip(cores, minutes):
        panel.annotate(f"{value:.1f}", (count, value), (4, 4), textcoords="offset points")
    panel.set(xscale="log", yscale="log", title="Predicted: the whole report", xlabel="cores",
              ylabel="minutes")
    panel.set_xticks(cores, [str(count) for count in cores])
    panel.minorticks_off()


if __name__ == "__main__":
    main(__file__, __doc__, FLAGS, run, plot, uses_images=True, in_pieces=False)
