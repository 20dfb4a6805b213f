"""The frame: flags, files and messages, tried on an experiment small enough to watch."""

import itertools
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time

import matplotlib
import pytest
import torch
from conftest import JSON, REMOVED, ROOT, STEPS, change
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import hw1_3_sensitivity as script
from common import experiment
from common.experiment import Flag, UsageError, main, plain, write_atomically
from common.plotting import new_figure
from common.training import Diverged

FLAGS = {"epochs": Flag(20, 2, "passes"), "lr": Flag(0.1, 0.1, "learning rate"), "batch_size": Flag(64, 64, "images"),
         "train_size": Flag(5_000, 500, "images")}
RUNS = Flag(3, 2, "runs")
WIDTHS, RATE, MODES = (784, 10), {"slow": 1e-3}, {"name": "fast"}


def run(settings, data=None):
    """Stands in for an experiment: one number for each run."""
    rows = [{"run": k, "value": settings.lr * settings.epochs + k, "n": settings.train_size} for k in range(settings.runs)]
    return {"table": rows, "curves": {"line": torch.arange(3.0) + settings.seed}}


def plot(results):
    figure, axes = new_figure("demo", results, 1, 1)
    axes[0, 0].plot(results["curves"]["line"])
    return figure


def call(*arguments, run=run, images=False, status=None):
    if status is None:
        return main(run, plot, FLAGS, runs=RUNS, images=images, arguments=list(arguments))
    with pytest.raises(SystemExit) as exit:
        main(run, plot, FLAGS, runs=RUNS, images=images, arguments=list(arguments))
    assert exit.value.code == status


def test_full_settings_are_the_reports_and_all_others_go_elsewhere(tmp_path):
    out = tmp_path / "figures"
    call("--out", str(out))
    report = (out / "test_experiment.json").read_bytes()
    for arguments, folder in [(["--quick"], "quick"), (["--epochs", "3"], "custom"), (["--seed", "1"], "custom"),
                              (["--quick", "--runs", "1"], "quick-custom"), (["--epochs", "20"], ".")]:
        call("--out", str(out), *arguments)
        assert (out / folder / "test_experiment.png").exists() and (out / folder / "test_experiment.json").exists()
    changed = json.loads((out / "test_experiment.json").read_bytes())
    assert changed["table"] == json.loads(report)["table"]
    assert sorted(path.name for path in out.iterdir()) == [
        "custom", "quick", "quick-custom", "test_experiment.json", "test_experiment.png"]


def test_another_data_set_goes_to_its_own_folder_and_shrinks_defaults_only(tmp_path, capsys):
    call("--out", str(tmp_path), "--dataset", "digits", images=True)
    results = json.loads((tmp_path / "digits" / "test_experiment.json").read_text())
    assert results["settings"]["train_size"] == 1_437 and results["environment"]["dataset"] == "digits (8×8)"
    assert results["environment"]["train_images"] == 1_437 and results["environment"]["test_images"] == 360
    call("--out", str(tmp_path), "--dataset", "digits", "--train-size", "2000", images=True, status=2)
    assert "--train-size 2000 is more than the digits (8×8) training set has (1437)" in capsys.readouterr().err
    call("--out", str(tmp_path), "--dataset", "digits", "--train-size", "50", "--batch-size", "51", images=True, status=2)
    assert "--batch-size 51 is more than the training size has (50)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(script.run, script.plot, script.FLAGS, runs=script.RUNS, images=True, arguments=[
            "--out", str(tmp_path), "--dataset", "digits", "--train-size", "100", "--sharpness-images", "101"])
    assert "--sharpness-images 101 is more than the training size has (100)" in capsys.readouterr().err


def test_results_hold_what_the_report_needs(tmp_path, capsys):
    call("--out", str(tmp_path), "--device", "cpu")
    results = json.loads((tmp_path / "test_experiment.json").read_text())
    assert list(results) == ["experiment", "settings", "constants", "environment", "seconds", "table", "curves"]
    assert results["settings"] == {"seed": 0, "quick": False, "runs": 3, "epochs": 20, "lr": 0.1, "batch_size": 64,
                                   "train_size": 5000}
    assert results["constants"] == {"WIDTHS": [784, 10], "RATE": {"slow": 1e-3}}
    assert results["environment"]["torch"] == torch.__version__ and results["environment"]["device"] == "cpu"
    assert results["curves"]["line"] == [0, 1, 2]
    printed = capsys.readouterr().out
    assert str(tmp_path / "test_experiment.png") in printed and "| run | value |" in printed and "time: " in printed


def test_replot_draws_the_stored_numbers_without_training(tmp_path, capsys):
    def refuse(settings):
        raise AssertionError("trained")

    call("--out", str(tmp_path), "--replot", run=refuse, status=2)
    assert "no stored results" in capsys.readouterr().err
    call("--out", str(tmp_path))
    figure = tmp_path / "test_experiment.png"
    first = figure.read_bytes()
    figure.unlink()
    call("--out", str(tmp_path), "--replot", run=refuse)
    assert figure.read_bytes() == first
    stored = tmp_path / "test_experiment.json"
    whole = stored.read_text()
    damaged = ['{"experiment": ', "[" * 100_000, ""]
    others = [whole.replace('"line"', '"lines"'), whole.replace('"seed"', '"seeds"'),
              *[re.sub(r'"table": .*\]', f'"table": {value}', whole) for value in ("[]", "null", '[{"run": 1}, 2]')]]
    for content, reason in [*[(content, "is damaged") for content in damaged], ("{}", "has no"),
                            *[(content, "does not fit this version") for content in others]]:
        stored.write_text(content)
        call("--out", str(tmp_path), "--replot", run=refuse, status=2)
        error = capsys.readouterr().err
        assert error.startswith(f"error: {stored} {reason}") and error.count("\n") == 1
        assert figure.read_bytes() == first


def test_stored_results_are_never_unpickled(tmp_path, bomb, capsys):
    pickled, crater = bomb
    (tmp_path / "test_experiment.json").write_bytes(pickled)
    call("--out", str(tmp_path), "--replot", status=2)
    assert "is damaged" in capsys.readouterr().err and not crater.exists()


@settings(max_examples=15)  # half of them are drawn, which takes a while
@example(steps=[-1], value=[])  # curves that are a list
@given(steps=STEPS, value=JSON | st.just(REMOVED))
def test_a_real_figure_with_any_change_of_its_results_is_drawn_or_refused(tmp_path, monkeypatch, capsys, steps, value):
    monkeypatch.setitem(matplotlib.rcParams, "figure.dpi", 30)
    results = json.loads((ROOT / "figures" / "hw1_3_sensitivity.json").read_text())
    stored, figure = tmp_path / "hw1_3_sensitivity.json", tmp_path / "hw1_3_sensitivity.png"
    stored.write_text(json.dumps(change(results, steps, value)))
    figure.unlink(missing_ok=True)
    try:
        main(script.run, script.plot, script.FLAGS, runs=script.RUNS, images=True,
             arguments=["--replot", "--out", str(tmp_path)])
    except SystemExit as exit:
        error = capsys.readouterr().err
        assert exit.code == 2 and error.startswith(f"error: {stored} ") and error.count("\n") == 1 and not figure.exists()
    else:
        Image.open(figure).load()


BAD_FLAGS = [
    ["--runs", "0"], ["--runs", "-3"], ["--epochs", "0"], ["--epochs", "1.5"], ["--lr", "0"], ["--lr", "nan"],
    ["--lr", "inf"], ["--batch-size", "-1"], ["--train-size", "x"], ["--seed", "-1"], ["--seed", "5000000000"],
    ["--device", "tpu"], ["--device", "cuda:99"], ["--device", ""], ["--dataset", "imagenet"],
    ["--no-such-flag"], ["extra"], ["two\nlines"], ["--epoch", "3"], ["--device", "cpu:7"],
]


@pytest.mark.parametrize("arguments", BAD_FLAGS, ids=" ".join)
def test_bad_flags_give_one_line_and_status_2_before_any_work(arguments, tmp_path, capsys):
    def refuse(settings, data):
        raise AssertionError("worked")

    call("--out", str(tmp_path / "out"), *arguments, run=refuse, images=True, status=2)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


WORDS = st.sampled_from(["--quick", "--replot", "-h", "--help", "--", "-1", "0", "2", "0.5", "1e400", "cpu", "digits", "\n"])
NAMES = st.sampled_from(["--runs", "--epochs", "--lr", "--seed", "--device", "--dataset"])


@given(st.lists(st.one_of(WORDS.map(lambda word: [word]), st.tuples(NAMES, WORDS | st.text(max_size=6))), max_size=3)
       .map(lambda groups: [word for group in groups for word in group]))
def test_any_words_are_help_or_settings_or_one_clear_line(tmp_path, capsys, words):
    def reach(settings, data):
        assert settings.runs >= 1 and settings.lr > 0 and settings.seed >= 0
        raise Diverged("reached")

    with pytest.raises(SystemExit) as exit:
        call("--out", str(tmp_path), "--dataset", "digits", *words, run=reach, images=True)
    output, error = capsys.readouterr()
    if exit.value.code == 0:
        assert output.startswith("usage: ") and error == ""
    elif exit.value.code == 1:
        assert error == "error: reached\n"
    else:
        assert exit.value.code == 2 and error.startswith("error: ") and len(error.splitlines()) == 1


def test_out_that_is_a_file_or_below_one(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below"):
        call("--out", str(tmp_path / out), status=2)
        assert capsys.readouterr().err.startswith(f"error: --out {tmp_path / out} cannot be written to")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_diverged_training_leaves_the_stored_results(tmp_path, capsys):
    call("--out", str(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def diverge(settings):
        raise Diverged("demo: the loss of run 1 is not finite at epoch 2")

    call("--out", str(tmp_path), run=diverge, status=1)
    assert capsys.readouterr().err == "error: demo: the loss of run 1 is not finite at epoch 2\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_results_that_are_not_numbers_are_never_stored(tmp_path, capsys):
    def not_a_number(settings):
        return {"table": [{"value": float("nan")}], "curves": {}}

    call("--out", str(tmp_path), run=not_a_number, status=1)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nothing was stored" in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_write_that_is_cut_off_keeps_the_previous_file(tmp_path, stop):
    path = tmp_path / "results.json"
    write_atomically(path, lambda file: file.write(b"whole"))

    def cut_off(file):
        file.write(b"ha")
        raise stop

    with pytest.raises(stop):
        write_atomically(path, cut_off)
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_previous_file(tmp_path):
    path = tmp_path / "results.json"
    write_atomically(path, lambda file: file.write(b"whole"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))  # the system refuses the next byte, as a full disk does
    try:
        with pytest.raises(UsageError, match=r"results\.json cannot be written \(File too large\)"):
            write_atomically(path, lambda file: file.write(b"x" * 100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_scripts_leave_earlier_results_and_one_line(tmp_path, signal_number, status):
    script = tmp_path / "slow.py"
    script.write_text(textwrap.dedent("""
        "Waits to be interrupted."
        import time
        from common.experiment import Flag, main

        def run(settings):
            print("working", flush=True)
            time.sleep(60)

        main(run, None, {}, runs=Flag(1, 1, "runs"))
    """))
    (tmp_path / "slow.json").write_text("earlier")
    process = subprocess.Popen([sys.executable, script, "--out", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
                               # A shell has its background jobs ignore Ctrl-C, and what they start inherits that.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal_number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == status
    assert error == ("error: interrupted; earlier results are as they were\n" if status == 130 else "")
    assert (tmp_path / "slow.json").read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slow.json", "slow.py"]


def test_kill_at_twenty_random_moments_leaves_whole_files(tmp_path):
    path = tmp_path / "results.json"
    contents = [json.dumps([number] * 50_000).encode() for number in range(2)]
    write_atomically(path, lambda file: file.write(contents[0]))
    moments = random.Random(0)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            for content in itertools.cycle(contents):
                write_atomically(path, lambda file: file.write(content))  # noqa: B023 (called at once)
        time.sleep(moments.uniform(0.002, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert path.read_bytes() in contents
    # what a killed writer leaves is hidden from git and from every reader, and the next run is not disturbed
    write_atomically(path, lambda file: file.write(contents[1]))
    assert path.read_bytes() == contents[1]
    assert all(file.name.startswith(".results.json.") for file in tmp_path.iterdir() if file != path)


def test_an_output_folder_that_vanishes_is_made_again(tmp_path):
    def vanish(settings):
        (tmp_path / "out").rmdir()
        return run(settings)

    call("--out", str(tmp_path / "out"), run=vanish)
    assert (tmp_path / "out" / "test_experiment.json").exists()


def test_plain_keeps_six_digits_and_nothing_but_numbers():
    value = {"a": torch.tensor([1.23456789]), 3: (torch.tensor(2), 1e-17 / 3), "b": [None, "x", True]}
    assert plain(value) == {"a": [1.23457], "3": [2, 3.33333e-18], "b": [None, "x", True]}


def test_device_auto_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(experiment.torch.cuda, "is_available", lambda: False)
    assert experiment._device("auto") == torch.device("cpu")
