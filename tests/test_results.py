"""Stored results: numbers as JSON and back, files written whole, figures that tell their origin."""

import io
import itertools
import json
import os
import random
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path

from common.results import (
    FINGERPRINT_FIELD,
    NotFinite,
    ResultsError,
    WriteError,
    environment,
    figure_problem,
    fingerprint,
    format_cell,
    format_table,
    plain,
    png_of,
    read_results,
    store_results,
    tables_problem,
    tables_text,
    write_atomically,
)

import matplotlib
import numpy as np
import pytest
import scipy
import sklearn
import torch
from conftest import JSON, STEPS, change
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

RESULTS = {
    "experiment": "demo",
    "settings": {"lr": 0.1},
    "environment": {"device": "cpu"},
    "seconds": 12.5,
    "table": [{"model": "a", "count": 1234, "seconds": 2.0}, {"model": "b", "count": 7,
                                                              "seconds": 3.0}],
    "curves": {"line": [1, 2, 3]},
}


def draw(results):
    """The bytes of a small figure that says that it was drawn from these results."""
    figure = Figure(figsize=(1, 1), dpi=30)
    figure.subplots().plot(results["curves"]["line"])
    return png_of(figure, results)


@pytest.fixture
def pair(tmp_path):
    """The paths of stored results and of the figure drawn from them."""
    path = tmp_path / "demo.json"
    store_results(path, RESULTS)
    figure = path.with_suffix(".png")
    figure.write_bytes(draw(read_results(path)))
    return path, figure


# --- numbers as JSON and back ---


def round_trip(folder, curves):
    store_results(folder / "demo.json", {**RESULTS, "curves": curves})
    return read_results(folder / "demo.json")["curves"]


def test_plain_keeps_six_digits_and_nothing_but_numbers():
    value = {"a": torch.tensor([1.23456789]), 3: (torch.tensor(2), 1e-17 / 3),
             "b": [None, "x", True], "c": np.float32(0.1), "d": range(2)}
    assert plain(value) == {"a": [1.23457], "3": [2, 3.33333e-18], "b": [None, "x", True],
                            "c": 0.1, "d": [0, 1]}


NUMBERS = st.integers(-10**20, 10**20) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.dictionaries(NUMBERS, st.integers(), min_size=1))
def test_numeric_keys_come_back_as_numbers_of_their_type(tmp_path, curves):
    assume(len({str(key) for key in curves}) == len(curves))
    back = round_trip(tmp_path, curves)
    assert back == curves
    assert [type(key) for key in back] == [type(key) for key in curves]


def test_numeric_keys_of_numpy_and_on_every_level_come_back(tmp_path):
    back = round_trip(tmp_path, {"rates": {1e-05: {np.int64(2): 1}, np.float64(0.001): {16: 2}}})
    assert back == {"rates": {1e-05: {2: 1}, 0.001: {16: 2}}}
    assert {type(key) for key in back["rates"]} == {float}
    assert {type(key) for inner in back["rates"].values() for key in inner} == {int}


@pytest.mark.parametrize("key", ["1", "-3", "0.5", "1e-05", "1e+20", "007"])
def test_a_string_key_that_looks_like_a_number_is_refused(pair, key):
    path, _ = pair
    before = path.read_bytes()
    with pytest.raises(ValueError, match="would come back as a number"):
        store_results(path, {**RESULTS, "curves": {"inner": [{key: 1}]}})
    assert path.read_bytes() == before


def test_keys_that_only_begin_like_a_number_and_mixed_keys_stay_strings(tmp_path):
    assert round_trip(tmp_path, {"1 conv": 1, "2.": 2, "3e": 3}) == {"1 conv": 1, "2.": 2, "3e": 3}
    assert round_trip(tmp_path, {1: 2, "whole set": 3}) == {"1": 2, "whole set": 3}
    assert round_trip(tmp_path, {}) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor([1, -torch.inf])],
                         ids=str)
def test_results_that_are_not_finite_change_nothing(pair, value):
    before = [path.read_bytes() for path in pair]
    with pytest.raises(NotFinite, match="'curves' is infinite or not a number"):
        store_results(pair[0], {**RESULTS, "curves": {"line": value}})
    assert [path.read_bytes() for path in pair] == before


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b'{"experiment": "demo"}', b"\x00", b'{"table": [NaN]}', b"\xff",
    b"[" * 100_000, b'{"1' + b"0" * 5_000 + b'": 1}'], ids=range(10))
def test_damaged_results_are_named(tmp_path, content):
    path = tmp_path / "demo.json"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"demo\.json .*run the experiment again$"):
        read_results(path)


def test_results_files_have_newlines_only_also_where_text_files_end_lines_otherwise(
        tmp_path, monkeypatch):
    plain_open = io.open

    def windows_open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None,
                     *others):
        if "b" not in mode and newline is None and set(mode) & set("wax+"):
            newline = "\r\n"
        return plain_open(file, mode, buffering, encoding, errors, newline, *others)

    monkeypatch.setattr(io, "open", windows_open)
    monkeypatch.setattr("builtins.open", windows_open)
    with open(tmp_path / "text", "w") as file:
        file.write("line\n")
    assert (tmp_path / "text").read_bytes() == b"line\r\n"  # as on Windows
    store_results(tmp_path / "demo.json", RESULTS)
    content = (tmp_path / "demo.json").read_bytes()
    assert content.count(b"\n") > len(RESULTS) and b"\r" not in content


# --- what results depend on ---


def test_environment_names_the_versions_of_all_libraries():
    values = environment(torch.device("cpu"))
    assert values["python"] == ".".join(map(str, sys.version_info[:3]))
    assert values["torch"] == torch.__version__
    for module, name in ((np, "numpy"), (scipy, "scipy"), (sklearn, "scikit-learn"),
                         (matplotlib, "matplotlib")):
        assert values[name] == module.__version__ == version(name)
    assert values["device"] == "cpu"
    assert values["device_name"] and values["dataset"] is None


def test_environment_counts_the_images_of_the_data_set():
    values = environment(torch.device("cpu"), "digits")
    assert values["dataset"] == "digits (8×8)"
    assert values["train_images"] + values["test_images"] == 1_797  # all of scikit-learn's


# --- figures and the results they were drawn from ---


def test_the_fingerprint_ignores_how_long_results_took_on_how_many_cores_and_nothing_else():
    whole = fingerprint(RESULTS)
    assert fingerprint({**RESULTS, "seconds": 99.0}) == whole
    assert fingerprint({**RESULTS, "jobs": 2, "piece_seconds": [{"a": 9.0}]}) == whole
    for key in set(RESULTS) - {"seconds"}:
        assert fingerprint({**RESULTS, key: "another"}) != whole
        assert fingerprint({name: RESULTS[name] for name in RESULTS if name != key}) != whole
    inner_seconds = [{**row, "seconds": 99.0} for row in RESULTS["table"]]
    assert fingerprint({**RESULTS, "table": inner_seconds}) != whole
    assert fingerprint({**RESULTS, "more": 1}) != whole


@given(steps=STEPS, value=JSON)
def test_the_fingerprint_tells_any_change_of_results(steps, value):
    changed = change(RESULTS, steps, value)
    lasting = [{**results, "seconds": 0} for results in (RESULTS, changed)]
    same = json.dumps(lasting[0], sort_keys=True) == json.dumps(lasting[1], sort_keys=True)
    assert (fingerprint(changed) == fingerprint(RESULTS)) == same


def test_the_right_figure_has_no_problem_however_long_its_results_took(pair):
    path, figure = pair
    assert figure_problem(figure) is None
    path.write_text(json.dumps({**RESULTS, "seconds": 99.0}), encoding="utf-8")
    assert figure_problem(figure) is None


def test_a_figure_of_other_results_is_found(pair):
    path, figure = pair
    path.write_text(json.dumps({**RESULTS, "curves": {"line": [1, 2, 4]}}), encoding="utf-8")
    assert f"{figure} was drawn from other results than demo.json" in figure_problem(figure)


def test_a_figure_without_its_results_is_found(pair):
    path, figure = pair
    path.unlink()
    assert str(path) in figure_problem(figure)
    path.write_text("{", encoding="utf-8")
    assert f"{path} is damaged" in figure_problem(figure)


def test_a_figure_that_does_not_say_what_it_was_drawn_from_is_found(pair):
    _, figure = pair
    Image.open(figure).save(figure)  # another program drops the text
    Image.open(figure).load()
    assert f"{figure} does not say what it was drawn from" in figure_problem(figure)


def test_any_damage_to_a_figure_is_found(pair):
    _, figure = pair
    whole = figure.read_bytes()
    last_part = 12  # bytes of a PNG's end: a length of 0, a name and a checksum
    for place in range(len(whole) - last_part):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        figure.write_bytes(damaged)
        assert f"{figure} is damaged" in figure_problem(figure), place
    for length in range(0, len(whole) - last_part, 7):
        figure.write_bytes(whole[:length])
        assert f"{figure} is damaged" in figure_problem(figure), length
    Image.open(io.BytesIO(whole)).convert("RGB").save(figure, format="jpeg")
    assert f"{figure} is damaged" in figure_problem(figure)


def test_the_text_of_a_figure_is_a_field_that_other_programs_can_read(pair):
    path, figure = pair
    with Image.open(figure) as picture:
        assert picture.info[FINGERPRINT_FIELD] == fingerprint(read_results(path))


def test_no_figure_and_no_tables_of_earlier_results_lie_beside_new_ones(pair):
    path, figure = pair
    path.with_suffix(".md").write_text("tables")
    (path.parent / "other.md").write_text("tables")
    (path.parent / "other.png").write_bytes(figure.read_bytes())
    store_results(path, {**RESULTS, "curves": {"line": [0]}})
    assert not figure.exists() and read_results(path)["curves"] == {"line": [0]}
    assert (path.parent / "other.png").exists()
    assert not path.with_suffix(".md").exists() and (path.parent / "other.md").exists()


def test_results_whose_earlier_figure_cannot_be_removed_are_not_stored(pair):
    path, figure = pair
    before = path.read_bytes()
    figure.unlink()
    figure.mkdir()
    with pytest.raises(WriteError, match=r"demo\.png cannot be replaced"):
        store_results(path, {**RESULTS, "curves": {"line": [0]}})
    assert path.read_bytes() == before


# --- files, whole or not at all ---


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("moment", ["writing", "replacing"])
def test_a_write_that_is_cut_off_leaves_the_previous_file_alone(tmp_path, monkeypatch, moment,
                                                                stop):
    path = tmp_path / "results.json"
    write_atomically(path, b"whole")
    write_bytes = Path.write_bytes
    unfinished = []

    def cut_off(temporary, content):
        if moment == "writing":
            write_bytes(temporary, b"ha")
        unfinished.extend(file.read_bytes() for file in tmp_path.iterdir() if file != path)
        raise stop

    if moment == "writing":
        monkeypatch.setattr(Path, "write_bytes", cut_off)
    else:
        monkeypatch.setattr(os, "replace", cut_off)
    with pytest.raises(stop):
        write_atomically(path, b"another")
    assert unfinished == [b"ha" if moment == "writing" else b"another"]
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_previous_file_alone(tmp_path):
    resource = pytest.importorskip("resource", reason="Windows cannot limit the size of files")
    path = tmp_path / "results.json"
    write_atomically(path, b"whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system refuses the next byte, as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"results\.json cannot be written \(File too large\)"):
            write_atomically(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_named_and_nothing_is_left_behind(tmp_path):
    path = tmp_path / "results.json"
    path.mkdir()
    with pytest.raises(WriteError, match=r"results\.json cannot be written"):
        write_atomically(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_written_where_python_has_no_fchmod(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "fchmod", raising=False)  # Windows before Python 3.13
    path = tmp_path / "results.json"
    for content in (b"first", b"second\n\r\n"):
        write_atomically(path, content)
        assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
@pytest.mark.parametrize(("mask", "permissions"), [(0o022, 0o644), (0o027, 0o640),
                                                   (0o002, 0o664)])
def test_written_files_have_the_permissions_of_any_other_file(tmp_path, mask, permissions):
    path = tmp_path / "results.json"
    previous = os.umask(mask)
    try:
        write_atomically(path, b"first")
        assert path.stat().st_mode & 0o777 == permissions
        write_atomically(path, b"second")
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == permissions


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux is it safe to fork with PyTorch")
def test_kill_at_twenty_random_moments_leaves_whole_files(tmp_path):
    path = tmp_path / "results.json"
    contents = [json.dumps([number] * 50_000).encode() for number in range(2)]
    write_atomically(path, contents[0])
    moments = random.Random(0)
    for _ in range(20):
        child = os.fork()
        if child == 0:
            try:
                for content in itertools.cycle(contents):
                    write_atomically(path, content)
            finally:
                os._exit(1)
        time.sleep(moments.uniform(0.002, 0.03))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert path.read_bytes() in contents
    # What a killed writer leaves is hidden from git and every reader, and disturbs no other.
    write_atomically(path, contents[1])
    assert path.read_bytes() == contents[1]
    assert all(file.name.startswith(".results.json.") for file in tmp_path.iterdir()
               if file != path)


# --- tables ---


@pytest.mark.parametrize(("value", "cell"), [
    (None, "–"), (3, "3"), (12_345, "12,345"), (0.25, "0.25"), (0.0, "0"), (1.2e-7, "1.20e-07"),
    (123456.7, "123,457"), (-1.2e9, "-1.20e+09"), (4e-17, "0"), ("x", "x"), (True, "True"),
])
def test_cells(value, cell):
    assert format_cell(value) == cell


def test_a_table_is_aligned_markdown():
    assert format_table(RESULTS["table"], ["model", "count"]) == (
        "| model | count |\n"
        "|-------|------:|\n"
        "| a     | 1,234 |\n"
        "| b     |     7 |")


def test_a_line_in_a_cell_ends_no_cell():
    assert format_table([{"max |g|": 1}]) == ("| max \\|g\\| |\n"
                                              "|----------:|\n"
                                              "|         1 |")


def test_the_text_of_all_tables_has_each_under_its_key_and_nothing_of_the_run():
    results = {**RESULTS, "pairs": [{"p": None}], "empty": [], "list": [1, 2],
               "mixed": [{"a": 1}, 2], "piece_seconds": [{"a": 9.0}]}
    assert tables_text(results) == (
        "# All tables of demo\n\nWritten with demo.json, which has the numbers in all digits.\n\n"
        f"## table\n\n{format_table(RESULTS['table'])}\n\n"
        "## pairs\n\n| p |\n|--:|\n| – |\n")


def test_tables_belong_to_results_until_either_changes(pair):
    path, _ = pair
    tables = path.with_suffix(".md")
    assert f"{tables} does not hold the tables of demo.json" in tables_problem(tables)  # missing
    tables.write_text(tables_text(read_results(path)), encoding="utf-8")
    assert tables_problem(tables) is None
    path.write_text(json.dumps({**RESULTS, "seconds": 99.0, "piece_seconds": [{"a": 9.0}]}))
    assert tables_problem(tables) is None
    for table in ([{"model": "a", "count": 1235}], [{}], [{"model": "a"}, {}], [1]):
        path.write_text(json.dumps({**RESULTS, "table": table}))
        assert "does not hold the tables" in tables_problem(tables)
    tables.write_bytes(b"\xff")
    assert "does not hold the tables" in tables_problem(tables)
    path.write_text("{")
    assert f"{path} is damaged" in tables_problem(tables)
