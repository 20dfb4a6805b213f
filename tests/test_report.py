"""The README's numbers: written from the stored results, and checked against them."""

import json
import shutil

import pytest
from conftest import JSON, REMOVED, ROOT, STEPS, change
from hypothesis import example, given
from hypothesis import strategies as st

from common.report import ResultsError, format_cell, format_table, main, read_results, render

RESULTS = {
    "experiment": "demo", "settings": {}, "constants": {"RATES": [0.001, 0.01], "TINY": -1e-4}, "environment": {},
    "seconds": 12.0, "curves": {},
    "table": [{"model": "a", "count": 1234, "loss": 0.00012, "p": None}, {"model": "b", "count": 7, "loss": 0.5, "p": 0.25}],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "demo.json").write_text(json.dumps(RESULTS))
    return tmp_path


def test_cells():
    assert [format_cell(value) for value in (None, 3, 12_345, 0.25, 0.0, 1.2e-7, 123456.7, -1.2e9, 4e-17, "x", True)] == [
        "–", "3", "12,345", "0.25", "0", "1.20e-07", "123,457", "-1.20e+09", "0", "x", "True"]


def test_table_is_aligned_markdown():
    assert format_table(RESULTS["table"], ["model", "count"]) == (
        "| model | count |\n"
        "|-------|------:|\n"
        "| a     | 1,234 |\n"
        "| b     |     7 |")


def test_render_fills_tables_and_values(folder):
    text = ("before <!-- table demo.table model loss model=b -->old<!-- end --> middle "
            "<!-- value demo.table model=a loss .1e -->9<!-- end --> in <!-- value demo.seconds .0f -->?<!-- end --> s")
    rendered = render(text, folder)
    assert "| b     |  0.5 |\n<!-- end --> middle" in rendered and "old" not in rendered
    assert "-->1.2e-04<!-- end --> in" in rendered and "-->12<!-- end --> s" in rendered
    assert render(rendered, folder) == rendered


@pytest.mark.parametrize(("marker", "written"), [
    ("value demo.constants.RATES g", "0.001, 0.01"), ("value demo.constants.RATES count", "2"),
    ("value demo.table count", "2"), ("value demo.table model=a count", "1"),
    ("value demo.constants.TINY .2f", "0.00"), ("value demo.constants.TINY .0%", "0%"),
    ("value demo.constants.TINY .4f", "-0.0001"), ("value demo.table model=b p .1points", "25.0"),
])
def test_lists_counts_and_zeros(folder, marker, written):
    assert render(f"<!-- {marker} --><!-- end -->", folder) == f"<!-- {marker} -->{written}<!-- end -->"


@pytest.mark.parametrize(("marker", "message"), [
    ("value demo.table model=c loss .2f", "no row"), ("value demo.table loss .2f", "2 rows where one is needed"),
    ("value demo.table model=a weight .2f", "no column 'weight'"), ("table demo.rows", "no 'rows'"),
    ("table absent.table", "absent.json"),
])
def test_render_refuses_what_the_results_do_not_hold(folder, marker, message):
    with pytest.raises(ResultsError, match=message):
        render(f"<!-- {marker} --><!-- end -->", folder)


def test_check_fails_until_the_numbers_are_written(folder, capsys):
    readme = folder / "README.md"
    readme.write_text("loss <!-- value demo.table model=b loss .2f -->0.49<!-- end -->")
    arguments = ["--readme", str(readme), "--figures", str(folder)]
    assert main(["--check", *arguments]) == 1
    assert "0.49" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "0.50" in readme.read_text()
    assert main(["--check", *arguments]) == 0


README = ("<!-- value demo.seconds .0f --><!-- end --> <!-- value demo.table model=b loss .2f --><!-- end -->"
          "<!-- table demo.table model loss p --><!-- end --><!-- table demo.table --><!-- end -->")


def write_report(folder, results, capsys):
    """The exit status, what the report says, and whether the README is as it was; results is a text, bytes or a dict."""
    readme = folder / "README.md"
    readme.write_text(README)
    content = json.dumps(results) if isinstance(results, dict) else results
    (folder / "demo.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    status = main(["--readme", str(readme), "--figures", str(folder)])
    return status, capsys.readouterr().err, readme.read_text() == README


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"experiment": "demo"}', "\x00", '{"table": [NaN]}', b"\xff",
                                     "[" * 100_000], ids=range(9))
def test_damaged_results_are_named(tmp_path, content, capsys):
    status, error, kept = write_report(tmp_path, content, capsys)
    assert status == 2 and kept
    assert error.startswith(f"error: {tmp_path / 'demo.json'} ") and error.endswith("run the experiment again\n")
    with pytest.raises(ResultsError, match=r"demo\.json .*run the experiment again"):
        read_results(tmp_path / "demo.json")


def test_results_are_never_unpickled(tmp_path, bomb, capsys):
    pickled, crater = bomb
    status, error, _ = write_report(tmp_path, pickled, capsys)
    assert status == 2 and "demo.json is damaged" in error and not crater.exists()


@example(steps=[5, 0, 0], value="\ud800")  # half a letter
@given(steps=STEPS, value=JSON | st.just(REMOVED))
def test_results_with_any_change_are_written_or_named(tmp_path, capsys, steps, value):
    status, error, kept = write_report(tmp_path, change(RESULTS, steps, value), capsys)
    if status == 0:
        assert not kept and error == ""
    else:
        assert status == 2 and kept and error.startswith("error: ") and "demo.json" in error and error.count("\n") == 1


def test_the_readme_agrees_with_the_stored_results(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_a_changed_result_makes_the_readme_wrong(tmp_path):
    figures = shutil.copytree(ROOT / "figures", tmp_path / "figures")
    assert main(["--check", "--figures", str(figures)]) == 0
    path = figures / "hw1_1_simulate.json"
    results = json.loads(path.read_text())
    for row in results["table"]:
        row["train_mse_median"] *= 2
    path.write_text(json.dumps(results))
    assert main(["--check", "--figures", str(figures)]) == 1
