"""The frame: flags, folders and messages, tried on an experiment small enough to watch."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap

import hw1_1_mnist as mnist
import hw1_3_sensitivity as sensitivity
from common import command_line
from common.command_line import (
    Flag,
    UsageError,
    experiment_parser,
    fit_to_dataset,
    integer_from_zero,
    main,
    parse,
    positive_integer,
    positive_number,
    results_folder,
)
from common.pieces import Piece, run_pieces
from common.plotting import new_figure
from common.results import figure_problem, read_results
from common.training import Diverged

import matplotlib
import pytest
import torch
from conftest import JSON, LONGEST_WAIT, REMOVED, ROOT, STEPS, change
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

FLAGS = {
    "runs": Flag(positive_integer, 3, quick=2, help="runs"),
    "epochs": Flag(positive_integer, 20, quick=2, help="passes"),
    "lr": Flag(positive_number, 0.1, quick=0.1, help="learning rate"),
    "warmup": Flag(integer_from_zero, 5, quick=0, help="passes with a small learning rate"),
    "train_size": Flag(positive_integer, 60_000, quick=500, help="images", at_most="dataset"),
    "batch_size": Flag(positive_integer, 64, quick=64, help="images", at_most="train_size"),
}


def run(settings):
    """Stands in for an experiment: one number for each run."""
    rows = []
    for k in range(settings.runs):
        rows.append({"run": k, "value": settings.lr * settings.epochs + k,
                     "n": settings.train_size})
    line = torch.arange(3.0) + settings.seed
    return {"constants": {"WIDTHS": (784, 10)}, "table": rows, "curves": {"line": line}}


def plot(results):
    figure, panels = new_figure("demo", results, 1, 1)
    panels[0, 0].plot(results["curves"]["line"])
    return figure


def refuse(settings):
    raise AssertionError("trained")


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "figure.dpi", 30)


@pytest.fixture
def call(tmp_path, capsys):
    """A function that runs demo.py with words of the command line.

    It returns the printed text where a run succeeds. Where an exit status is given, it returns the
    one line of the error.
    """
    def call(*words, run=run, images=False, flags=FLAGS, status=None):
        capsys.readouterr()
        out = () if "--out" in words else ("--out", str(tmp_path))
        arguments = [*out, *map(str, words)]
        if status is None:
            main("demo.py", "a demo", flags, run, plot, uses_images=images, arguments=arguments)
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as exit:
            main("demo.py", "a demo", flags, run, plot, uses_images=images, arguments=arguments)
        error = capsys.readouterr().err
        assert exit.value.code == status
        assert error.startswith("error: ") and error.count("\n") == 1 and error.endswith("\n")
        return error

    return call


def content_of_files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- folders ---


@pytest.mark.parametrize(("words", "folder"), [
    ("", "."),
    ("--epochs 20", "."),
    ("--lr 1e-1 --runs 3 --seed 0", "."),
    ("--epochs 2", "epochs=2"),
    ("--seed 1", "seed=1"),
    ("--lr 0.03 --runs 8", "runs=8,lr=0.03"),
    ("--warmup 0", "warmup=0"),
    ("--quick", "quick"),
    ("--quick --epochs 2", "quick"),  # 2 is the quick value
    ("--quick --epochs 20", "quick,epochs=20"),  # 20 is not, though it is the report's
    ("--quick --seed 1 --batch-size 7", "quick,seed=1,batch_size=7"),
])
def test_folders_are_named_after_what_differs_from_the_report(call, tmp_path, words, folder):
    printed = call(*words.split())
    stored = tmp_path / folder / "demo.json"
    assert sorted(tmp_path.rglob("demo.*")) == [stored, stored.with_suffix(".md"),
                                                stored.with_suffix(".png")]
    assert str(stored) in printed and str(stored.with_suffix(".png")) in printed


@pytest.mark.parametrize(("words", "folder"), [
    ("--dataset mnist", "."),
    ("", "."),  # auto, and MNIST is there
    ("--dataset fashion-mnist", "dataset=fashion-mnist"),
    ("--dataset digits", "dataset=digits"),
    ("--dataset digits --quick --lr 0.03", "quick,dataset=digits,lr=0.03"),
])
def test_folders_name_another_data_set_than_mnist(call, tmp_path, small_sets, words, folder):
    out = tmp_path / "figures"
    call(*words.split(), "--data-dir", small_sets, "--out", out, images=True)
    assert [path.parent for path in out.rglob("demo.json")] == [out / folder]


CHOICES = {
    "--runs": ["1", "2", "3", "11"], "--epochs": ["2", "20", "21"],
    "--lr": ["0.1", "1e-1", "0.03", "1e-5", "0.00001", "1", "1.0000001"],
    "--warmup": ["0", "5", "1"], "--train-size": ["500", "60000", "64", "7"],
    "--batch-size": ["64", "7", "1"], "--seed": ["0", "1", "11"],
    "--dataset": ["mnist", "digits", "kmnist"],
}
COMMANDS = st.tuples(
    st.sampled_from([[], ["--quick"]]),
    *[st.sampled_from([[], *([option, value] for value in values)])
      for option, values in CHOICES.items()],
).map(lambda groups: [word for group in groups for word in group])


def settings_and_folder(words):
    parser = experiment_parser("", FLAGS, uses_images=True, in_pieces=True)
    settings = parse(parser, FLAGS, [*words, *(() if "--dataset" in words
                                               else ("--dataset", "mnist"))])
    try:
        fit_to_dataset(settings, FLAGS)
    except UsageError:
        assume(False)
    names = ["quick", "seed", "dataset", *FLAGS]
    return [getattr(settings, name) for name in names], results_folder(settings, FLAGS)


@settings(max_examples=200)
@given(first=COMMANDS, second=COMMANDS)
def test_runs_with_different_settings_never_share_a_folder(first, second):
    first_settings, first_folder = settings_and_folder(first)
    second_settings, second_folder = settings_and_folder(second)
    assume(first_settings != second_settings)
    assert first_folder != second_folder


@given(words=COMMANDS, option=st.sampled_from(list(CHOICES)), data=st.data())
def test_a_single_changed_flag_gives_another_folder(words, option, data):
    one, other = data.draw(st.lists(st.sampled_from(CHOICES[option]), min_size=2, max_size=2,
                                    unique=True))
    first_settings, first_folder = settings_and_folder([*words, option, one])
    second_settings, second_folder = settings_and_folder([*words, option, other])
    assert (first_folder == second_folder) == (first_settings == second_settings)


def test_a_run_on_another_data_set_overwrites_nothing_of_mnist(call, tmp_path, small_sets):
    out = tmp_path / "figures"
    for words in ([], ["--quick"], ["--seed", "1"]):
        call(*words, "--dataset", "mnist", "--data-dir", small_sets, "--out", out, images=True)
    mnist = content_of_files(out)
    for dataset in ("digits", "fashion-mnist"):
        for words in ([], ["--quick"], ["--seed", "1"]):
            call(*words, "--dataset", dataset, "--data-dir", small_sets, "--out", out, images=True)
    after = content_of_files(out)
    assert len(mnist) == 9 and len(after) == 27
    assert {path: after[path] for path in mnist} == mnist


# --- numbers that count training images ---


def test_a_default_beyond_the_data_set_shrinks(call, tmp_path):
    call("--dataset", "digits", images=True)
    results = read_results(tmp_path / "dataset=digits" / "demo.json")
    assert results["settings"]["train_size"] == 1_437
    assert results["environment"]["dataset"] == "digits (8×8)"
    assert results["environment"]["train_images"] == 1_437
    assert results["environment"]["test_images"] == 360
    call("--dataset", "digits", "--train-size", "50", images=True)
    results = read_results(tmp_path / "dataset=digits,train_size=50" / "demo.json")
    assert results["settings"]["batch_size"] == 50


@pytest.mark.parametrize(("words", "message"), [
    ("--train-size 2000",
     "--train-size 2000 is more than the digits (8×8) training set has (1437)"),
    ("--train-size 60000",  # the default, but asked for
     "--train-size 60000 is more than the digits (8×8) training set has (1437)"),
    ("--train-size 50 --batch-size 51", "--batch-size 51 is more than --train-size is (50)"),
    ("--train-size 50 --batch-size 64", "--batch-size 64 is more than --train-size is (50)"),
])
def test_a_number_beyond_the_data_set_that_was_asked_for_is_refused(call, tmp_path, words, message):
    error = call("--dataset", "digits", *words.split(), images=True, run=refuse, status=2)
    assert message in error
    assert not content_of_files(tmp_path)


def test_the_images_of_sharpness_must_lie_within_the_training_images(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        main("demo.py", "", sensitivity.FLAGS, refuse, plot, uses_images=True, arguments=[
            "--out", str(tmp_path), "--dataset", "digits", "--train-size", "100",
            "--sharpness-images", "101"])
    assert exit.value.code == 2
    assert "--sharpness-images 101 is more than --train-size is (100)" in capsys.readouterr().err


# --- what is stored and printed ---


def test_results_hold_what_the_report_needs(call, tmp_path):
    printed = call("--device", "cpu")
    results = read_results(tmp_path / "demo.json")
    assert set(results) == {"experiment", "settings", "constants", "environment", "seconds",
                            "jobs", "piece_seconds", "table", "curves"}
    assert results["settings"] == {"seed": 0, "quick": False, "runs": 3, "epochs": 20, "lr": 0.1,
                                   "warmup": 5, "train_size": 60_000, "batch_size": 64}
    assert results["constants"] == {"WIDTHS": [784, 10]}
    assert results["environment"]["torch"] == torch.__version__
    assert results["environment"]["device"] == "cpu"
    assert results["curves"]["line"] == [0, 1, 2]
    assert "| run | value |" in printed and "time: " in printed


# --- replot ---


def test_replot_draws_the_stored_numbers_without_training(call, tmp_path):
    call()
    figure = tmp_path / "demo.png"
    first = figure.read_bytes()
    figure.unlink()
    call("--replot", run=refuse)
    assert figure.read_bytes() == first


def test_the_tables_of_results_lie_beside_them_and_replot_writes_them_again(call, tmp_path):
    call()
    tables = tmp_path / "demo.md"
    whole = tables.read_text(encoding="utf-8")
    assert "## table\n\n| run | value |      n |\n" in whole
    tables.write_text("other")
    call("--replot", run=refuse)
    assert tables.read_text(encoding="utf-8") == whole


def test_replot_of_settings_that_are_not_stored_names_what_is(call, tmp_path):
    error = call("--replot", run=refuse, status=2)
    assert f"no stored results of these settings at {tmp_path / 'demo.json'}" in error
    assert "none are stored at all" in error
    call("--quick")
    call("--lr", "0.01")
    before = content_of_files(tmp_path)
    error = call("--lr", "0.03", "--replot", run=refuse, status=2)
    assert str(tmp_path / "lr=0.03" / "demo.json") in error
    assert f"stored are those in {tmp_path / 'lr=0.01'}, {tmp_path / 'quick'};" in error
    call("--replot", run=refuse, status=2)
    assert content_of_files(tmp_path) == before


def test_replot_finds_the_digits_where_there_was_no_mnist(call, tmp_path):
    call("--dataset", "digits", images=True)
    figure = tmp_path / "dataset=digits" / "demo.png"
    figure.unlink()
    call("--replot", images=True, run=refuse)
    assert figure.exists()
    call("--dataset", "mnist", "--replot", images=True, run=refuse, status=2)


def test_replot_refuses_results_whose_settings_were_changed_by_hand(call, tmp_path):
    call()
    stored, figure = tmp_path / "demo.json", tmp_path / "demo.png"
    whole, drawn = json.loads(stored.read_text(encoding="utf-8")), figure.read_bytes()
    for changed, said in [
            ({**whole["settings"], "lr": 0.03}, "lr 0.03, not 0.1"),
            ({**whole["settings"], "quick": True}, "quick True, not False"),
            ({**whole["settings"], "seed": 1}, "seed 1, not 0"),
            ({"seed": 0, "quick": False}, "runs None, not 3"),
            ([], "seed None, not 0")]:
        stored.write_text(json.dumps({**whole, "settings": changed}), encoding="utf-8")
        error = call("--replot", run=refuse, status=2)
        assert error.startswith(f"error: {stored} holds results of {said}")
        assert figure.read_bytes() == drawn


def test_replot_refuses_results_of_another_default(call):
    call()
    later = {**FLAGS, "lr": Flag(positive_number, 0.2, quick=0.1, help="learning rate")}
    error = call("--replot", flags=later, run=refuse, status=2)
    assert "demo.json holds results of lr 0.1, not 0.2" in error
    more = {**FLAGS, "decay": Flag(positive_number, 0.2, quick=0.1, help="weight decay")}
    error = call("--replot", flags=more, run=refuse, status=2)
    assert "demo.json holds results of decay None, not 0.2" in error


def test_replot_of_damaged_results_says_so_and_keeps_the_figure(call, tmp_path):
    call()
    stored, figure = tmp_path / "demo.json", tmp_path / "demo.png"
    whole, drawn = stored.read_text(encoding="utf-8"), figure.read_bytes()
    damaged = ['{"experiment": ', "[" * 100_000, ""]
    others = [whole.replace('"line"', '"lines"'),
              *[re.sub(r'"table": .*\]', f'"table": {value}', whole)
                for value in ("[]", "null", '[{"run": 1}, 2]')]]
    for content, reason in [*[(content, "is damaged") for content in damaged], ("{}", "has no"),
                            *[(content, "does not fit this version") for content in others]]:
        assert content != whole
        stored.write_text(content, encoding="utf-8")
        error = call("--replot", run=refuse, status=2)
        assert error.startswith(f"error: {stored} {reason}")
        assert figure.read_bytes() == drawn


SMALLEST_RUN = ["--quick", "--dataset", "digits", "--runs", "2", "--epochs", "1",
                "--train-size", "64", "--jobs", "1"]


@pytest.fixture(scope="module")
def results_of_a_script(tmp_path_factory):
    """Results of a real experiment, as small as it can be made."""
    out = tmp_path_factory.mktemp("results")
    main(mnist.__file__, "", mnist.FLAGS, mnist.run, mnist.plot, uses_images=True,
         collect_facts=mnist.collect_facts, arguments=[*SMALLEST_RUN, "--out", str(out)])
    path, = out.rglob("*.json")
    return out, path, json.loads(path.read_text(encoding="utf-8"))


@settings(max_examples=12)  # half of them are drawn, which takes a while
@example(steps=[-1], value=[])  # the last part of the results as an empty list
@given(steps=STEPS, value=JSON | st.just(REMOVED))
def test_a_real_figure_with_any_change_of_its_results_is_drawn_or_refused(
        results_of_a_script, capsys, steps, value):
    out, stored, results = results_of_a_script
    figure = stored.with_suffix(".png")
    stored.write_text(json.dumps(change(results, steps, value)), encoding="utf-8")
    figure.unlink(missing_ok=True)
    capsys.readouterr()
    try:
        main(mnist.__file__, "", mnist.FLAGS, refuse, mnist.plot, uses_images=True,
             arguments=[*SMALLEST_RUN, "--replot", "--out", str(out)])
    except SystemExit as exit:
        error = capsys.readouterr().err
        assert exit.code == 2 and error.startswith(f"error: {stored} ")
        assert error.count("\n") == 1 and not figure.exists()
    else:
        Image.open(figure).load()
        assert figure_problem(figure) is None


def plot_more(results):
    figure, panels = new_figure("more of the demo", results, 1, 1)
    panels[0, 0].plot(results["curves"]["line"][::-1])
    return figure


def test_a_second_figure_lies_beside_the_first_and_goes_with_it(tmp_path, capsys):
    arguments = ["--out", str(tmp_path)]
    main("demo.py", "", FLAGS, run, plot, plot_details=plot_more, uses_images=True,
         arguments=[*arguments, "--dataset=digits"])
    first, second = sorted(tmp_path.rglob("*.png"))
    assert (first.name, second.name) == ("demo.png", "demo_details.png")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("figure:")] == [
        ["figure:", str(first)], ["figure:", str(second)]]
    assert first.read_bytes() != second.read_bytes()
    assert figure_problem(first) is None and figure_problem(second) is None
    # Other results have no second figure: that of the earlier ones is gone.
    main("demo.py", "", FLAGS, run, plot, uses_images=True,
         arguments=[*arguments, "--dataset=digits"])
    assert list(tmp_path.rglob("*.png")) == [first]


# --- words of the command line ---

BAD_FLAGS = [
    ["--runs", "0"], ["--runs", "-3"], ["--epochs", "0"], ["--epochs", "1.5"], ["--lr", "0"],
    ["--lr", "-0.1"], ["--lr", "nan"], ["--lr", "inf"], ["--warmup", "-1"], ["--warmup", "0.5"],
    ["--batch-size", "-1"], ["--train-size", "x"], ["--seed", "-1"], ["--seed", "5000000000"],
    ["--device", "tpu"], ["--device", "cuda:99"], ["--device", ""], ["--dataset", "imagenet"],
    ["--jobs", "0"], ["--jobs", "-1"], ["--jobs", "2.5"], ["--cluster"],
    ["--no-such-flag"], ["extra"], ["two\nlines"], ["--epoch", "3"], ["--device", "cpu:7"],
]


@pytest.mark.parametrize("words", BAD_FLAGS, ids=" ".join)
def test_bad_flags_give_one_line_and_status_2_before_any_work(call, tmp_path, words):
    call("--out", tmp_path / "out", *words, run=refuse, images=True, status=2)
    assert not (tmp_path / "out").exists()


def test_a_whole_number_that_is_too_large_is_told_the_largest(call):
    error = call("--batch-size", "1000000000000", run=refuse, status=2)
    assert "--batch-size" in error and "'1000000000000'" in error
    assert "from 1 to 4,294,967,295" in error  # 2³² − 1, the largest seed of 32 bits
    assert "from 0 to 4,294,967,295" in call("--warmup", "4294967296", run=refuse, status=2)


def test_only_integer_from_zero_takes_a_zero(call, tmp_path):
    call("--warmup", "0")
    stored = read_results(tmp_path / "warmup=0" / "demo.json")
    assert stored["settings"]["warmup"] == 0
    assert "'0' is not a positive number" in call("--lr", "0", run=refuse, status=2)
    assert "'0' is not a whole number from 1" in call("--epochs", "0", run=refuse, status=2)


WORDS = st.sampled_from(["--quick", "--replot", "-h", "--help", "--", "-1", "0", "2", "0.5",
                         "1e400", "cpu", "digits", "\n"])
NAMES = st.sampled_from(["--runs", "--jobs", "--epochs", "--lr", "--warmup", "--seed", "--device",
                         "--dataset"])
GROUPS = st.one_of(WORDS.map(lambda word: [word]), st.tuples(NAMES, WORDS | st.text(max_size=6)))


@given(st.lists(GROUPS, max_size=3))
def test_any_words_are_help_or_settings_or_one_clear_line(tmp_path, capsys, groups):
    def reach(settings):
        assert settings.runs >= 1 and settings.lr > 0 and settings.seed >= 0
        assert settings.warmup >= 0 and settings.jobs >= 1
        raise Diverged("reached")

    words = [word for group in groups for word in group]
    with pytest.raises(SystemExit) as exit:
        main("demo.py", "a demo", FLAGS, reach, plot, uses_images=True,
             arguments=["--out", str(tmp_path), "--dataset", "digits", *words])
    output, error = capsys.readouterr()
    if exit.value.code == 0:
        assert output.startswith("usage: ") and error == ""
    elif exit.value.code == 1:
        assert error == "error: reached\n"
    else:
        assert exit.value.code == 2
        assert error.startswith("error: ") and len(error.splitlines()) == 1


# --- pieces of work ---


def test_jobs_are_as_many_as_cores_and_one_on_a_gpu(monkeypatch):
    parser = experiment_parser("", FLAGS, uses_images=False, in_pieces=True)
    monkeypatch.setattr(command_line.joblib, "cpu_count", lambda: 7)
    assert parse(parser, FLAGS, ["--device", "cpu"]).jobs == 7
    assert parse(parser, FLAGS, ["--device", "cpu", "--jobs", "3"]).jobs == 3
    monkeypatch.setattr(command_line, "parse_device", torch.device)
    assert parse(parser, FLAGS, ["--device", "cuda"]).jobs == 1
    assert parse(parser, FLAGS, ["--device", "cuda", "--jobs", "3"]).jobs == 3


def test_an_experiment_without_pieces_has_no_flags_for_them(capsys):
    for in_pieces in (True, False):
        with pytest.raises(SystemExit):
            main("demo.py", "a demo", FLAGS, refuse, plot, in_pieces=in_pieces, arguments=["-h"])
        words = capsys.readouterr().out.split()
        assert ("--jobs" in words) == ("--cluster" in words) == in_pieces


def test_jobs_name_no_folder_and_what_a_run_took_is_stored_beside_its_settings(call, tmp_path):
    def run_in_pieces(settings):
        lengths = run_pieces({k: Piece(f"run {k}", len, ("ab",), 1) for k in range(settings.runs)},
                             settings)
        assert settings.jobs == 1
        return {**run(settings), "lengths": list(lengths.values())}

    call("--jobs", "1", run=run_in_pieces)
    results = read_results(tmp_path / "demo.json")
    assert results["lengths"] == [2, 2, 2]
    assert results["jobs"] == 1 and "jobs" not in results["settings"]
    seconds, = results["piece_seconds"]
    assert list(seconds) == ["run 0", "run 1", "run 2"]
    assert all(value >= 0 for value in seconds.values())
    call("--jobs", "1", run=run_in_pieces)  # only the pieces of this run
    assert len(read_results(tmp_path / "demo.json")["piece_seconds"]) == 1


def test_a_cluster_without_dask_is_refused_with_what_to_install(call, monkeypatch):
    monkeypatch.setattr(command_line, "find_spec", lambda name: None)
    error = call("--cluster", "127.0.0.1:8786", run=refuse, status=2)
    assert "--cluster needs Dask" in error and "requirements-cluster.txt" in error


def test_device_auto_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command_line.parse_device("auto") == torch.device("cpu")


# --- folders that cannot be written, trainings that fail ---


def test_out_that_is_a_file_or_below_one(call, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        error = call("--out", out, run=refuse, status=2)
        assert error.startswith(f"error: --out {out} cannot be written to")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_output_folder_that_vanishes_is_made_again(call, tmp_path):
    def vanish(settings):
        (tmp_path / "out").rmdir()
        return run(settings)

    call("--out", tmp_path / "out", run=vanish)
    assert figure_problem(tmp_path / "out" / "demo.png") is None


def test_results_that_cannot_be_written_are_not_lost(call, tmp_path, monkeypatch):
    def replace_folder(settings):
        (tmp_path / "out").rmdir()
        (tmp_path / "out").write_text("a file where the folder was")
        return run(settings)

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    error = call("--out", tmp_path / "out", run=replace_folder, status=2)
    assert "cannot be" in error and error.count("\n") == 1
    rescued, = (tmp_path / "temporary").iterdir()
    assert f"the new results are in {rescued}" in error
    assert read_results(rescued)["table"]


@pytest.mark.parametrize("status", [1, 130])
def test_a_training_that_ends_early_leaves_the_stored_pair(call, tmp_path, status):
    def fail(settings):
        raise failures[status]

    failures = {1: Diverged("demo: the loss of run 1 is not finite at epoch 2"),
                130: KeyboardInterrupt()}
    messages = {1: "demo: the loss of run 1 is not finite at epoch 2",
                130: "interrupted; stored results are whole"}
    call()
    before = content_of_files(tmp_path)
    assert call(run=fail, status=status) == f"error: {messages[status]}\n"
    assert content_of_files(tmp_path) == before


def test_results_that_are_not_numbers_are_never_stored(call, tmp_path):
    def not_a_number(settings):
        return {"table": [{"value": float("nan")}], "curves": {}}

    call()
    before = content_of_files(tmp_path)
    assert "nothing was stored" in call(run=not_a_number, status=1)
    assert content_of_files(tmp_path) == before


# --- scripts that are stopped, as processes of their own ---


def start_and_wait(script, source, *words, **options):
    """Starts a script that says "here" where it then waits, and returns it waiting there."""
    script.write_text(textwrap.dedent(source), encoding="utf-8")
    process = subprocess.Popen([sys.executable, str(script), "--out", str(script.parent), *words],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               cwd=script.parent, **options)
    if process.stdout.readline() != "here\n":
        process.kill()
        pytest.fail(process.communicate()[1])
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize(("name", "status", "word", "moment"), [
    ("SIGINT", 130, "interrupted", "training"),
    ("SIGTERM", 143, "terminated", "writing"),
])
def test_stopped_scripts_leave_earlier_results_and_one_line(tmp_path, name, status, word, moment):
    # Scripts beside common/ are those that end in one line, so this one gets its own common/.
    shutil.copytree(ROOT / "common", tmp_path / "common")
    earlier = tmp_path / "demo.json"
    earlier.write_text("earlier", encoding="utf-8")
    process = start_and_wait(tmp_path / "demo.py", f"""
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's job may ignore

        import os
        import time
        from common.command_line import Flag, main, positive_integer

        def wait(*_):
            print("here", flush=True)
            time.sleep(60)

        def run(settings):
            if "{moment}" == "training":
                wait()
            os.replace = wait
            return {{"table": [{{"value": 1}}], "curves": {{}}}}

        main(__file__, "", {{"runs": Flag(positive_integer, 1, quick=1, help="runs")}}, run, None)
    """)
    unfinished = [path for path in tmp_path.iterdir() if path.name.startswith(".demo.json")]
    assert len(unfinished) == (1 if moment == "writing" else 0)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=LONGEST_WAIT)
    assert process.returncode == status
    assert error == f"error: {word}; stored results are whole\n"
    assert earlier.read_text(encoding="utf-8") == "earlier"
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"common", "demo.json", "demo.py"}


def test_a_script_killed_between_storing_and_drawing_leaves_results_alone(
        call, tmp_path):
    flags = {"runs": Flag(positive_integer, 1, quick=1, help="runs")}

    def earlier(settings):
        return {"table": [{"value": 1}], "curves": {"line": [1, 2]}}

    call(run=earlier, flags=flags)
    assert figure_problem(tmp_path / "demo.png") is None
    process = start_and_wait(tmp_path / "demo.py", f"""
        import sys
        import time
        sys.path.insert(0, {str(ROOT)!r})
        from common.command_line import Flag, main, positive_integer

        def run(settings):
            return {{"table": [{{"value": 2}}], "curves": {{"line": [3, 4]}}}}

        def plot(results):
            print("here", flush=True)
            time.sleep(60)

        main(__file__, "", {{"runs": Flag(positive_integer, 1, quick=1, help="runs")}}, run, plot)
    """)
    process.kill()
    process.communicate(timeout=LONGEST_WAIT)
    assert {path.name for path in tmp_path.iterdir()} == {"demo.py", "demo.json"}
    assert read_results(tmp_path / "demo.json")["table"] == [{"value": 2}]
    call("--replot", run=refuse, flags=flags)
    assert figure_problem(tmp_path / "demo.png") is None
