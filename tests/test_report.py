"""The README's numbers: written from stored results, and checked against them."""

import json
import subprocess
import sys

from common.results import ResultsError, figure_problem, png_of, read_results, store_results
from report.__main__ import main, render

import pytest
from conftest import JSON, REMOVED, ROOT, STEPS, change
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.figure import Figure

RESULTS = {
    "experiment": "demo",
    "settings": {},
    "environment": {},
    "seconds": 12.0,
    "constants": {"RATES": [0.001, 0.01], "TINY": -1e-4},
    "table": [{"model": "a", "count": 1234, "loss": 0.00012, "p": None},
              {"model": "b", "count": 7, "loss": 0.5, "p": 0.25}],
    "curves": {},
}


@pytest.fixture
def figures(tmp_path):
    """A folder of figures with the results of one experiment, demo.json."""
    store_results(tmp_path / "figures" / "demo.json", RESULTS)
    return tmp_path / "figures"


@pytest.fixture
def report(tmp_path, capsys):
    """A function that runs `python -m report` on README.md beside figures.

    Returns its exit status, what it prints and its errors.
    """
    def report(*words):
        capsys.readouterr()
        status = main([*words, "--readme", str(tmp_path / "README.md"),
                       "--figures", str(tmp_path / "figures")])
        return status, *capsys.readouterr()

    return report


def write(path, text):
    path.write_bytes(text.encode())
    return path


def draw(path):
    """Draws the figure of the stored results at path."""
    results = read_results(path)
    figure = Figure(figsize=(1, 1), dpi=30)
    figure.subplots().plot([row["count"] for row in results["table"]])
    path.with_suffix(".png").write_bytes(png_of(figure, results))
    return path.with_suffix(".png")


# --- markers ---


def test_render_fills_tables_and_values(figures):
    text = ("before <!-- table demo.table model loss model=b -->old<!-- end --> middle "
            "<!-- value demo.table model=a loss .1e -->9<!-- end --> in "
            "<!-- value demo.seconds .0f -->?<!-- end --> s")
    rendered = render(text, figures)
    assert rendered == (
        "before <!-- table demo.table model loss model=b -->\n"
        "| model | loss |\n"
        "|-------|-----:|\n"
        "| b     |  0.5 |\n"
        "<!-- end --> middle <!-- value demo.table model=a loss .1e -->1.2e-04<!-- end --> in "
        "<!-- value demo.seconds .0f -->12<!-- end --> s")
    assert render(rendered, figures) == rendered


@pytest.mark.parametrize(("marker", "written"), [
    ("value demo.constants.RATES g", "0.001, 0.01"),
    ("value demo.constants.RATES count", "2"),
    ("value demo.table count", "2"),
    ("value demo.table model=a count", "1"),
    ("value demo.constants.TINY .2f", "0.00"),
    ("value demo.constants.TINY .0%", "0%"),
    ("value demo.constants.TINY .4f", "-0.0001"),
    ("value demo.table model=b p .1points", "25.0"),
])
def test_lists_counts_and_zeros(figures, marker, written):
    filled = f"<!-- {marker} -->{written}<!-- end -->"
    assert render(f"<!-- {marker} --><!-- end -->", figures) == filled


def test_results_in_a_subfolder_are_found(figures):
    store_results(figures / "seed=1,runs=8" / "demo.json", {**RESULTS, "seconds": 3.0})
    marker = "value seed=1,runs=8/demo.seconds .0f"
    assert render(f"<!-- {marker} --><!-- end -->", figures) == f"<!-- {marker} -->3<!-- end -->"


def test_a_folder_may_have_dots_in_its_name(figures):
    store_results(figures / "lr=0.03" / "demo.json", {**RESULTS, "seconds": 4.0})
    marker = "value lr=0.03/demo.seconds .0f"
    assert render(f"<!-- {marker} --><!-- end -->", figures) == f"<!-- {marker} -->4<!-- end -->"


@pytest.mark.parametrize(("marker", "message"), [
    ("value demo.table model=c loss .2f", "no row"),
    ("value demo.table loss .2f", "2 rows where one is needed"),
    ("value demo.table model=a weight .2f", "no column 'weight'"),
    ("table demo.table model weight", "no column 'weight'"),
    ("table demo.rows", "no 'rows'"),
    ("table absent.table", "absent.json"),
    ("value demo.seconds", "does not fit"),
    ("value demo.table model=a p .2f", "does not fit"),
])
def test_render_refuses_what_the_results_do_not_hold(figures, marker, message):
    with pytest.raises(ResultsError, match=message):
        render(f"<!-- {marker} --><!-- end -->", figures)


@pytest.mark.parametrize("text", [
    "<!-- value demo.seconds .0f -->11",
    "<!-- value demo.seconds .0f -->11 s. <!-- value demo.table count -->3<!-- end -->",
    "<!-- value demo.table count -->3<!-- end --> <!-- value demo.seconds .0f -->11 s.\n",
    "<!-- value demo.seconds .0f -->11 s.\n\n<!-- table demo.table -->\n<!-- end -->\n",
], ids=range(4))
@pytest.mark.parametrize("words", [[], ["--check"]], ids=["write", "check"])
def test_a_marker_without_end_is_named_and_nothing_is_written(tmp_path, figures, report, text,
                                                             words):
    readme = write(tmp_path / "README.md", text)
    status, _, error = report(*words)
    assert status == 2 and error.count("\n") == 1
    assert "'<!-- value demo.seconds .0f -->' has no '<!-- end -->'" in error
    assert readme.read_bytes() == text.encode()


# --- writing ---

README = ("<!-- value demo.seconds .0f --><!-- end --> "
          "<!-- value demo.table model=b loss .2f --><!-- end -->"
          "<!-- table demo.table model loss p --><!-- end --><!-- table demo.table --><!-- end -->")


def test_only_what_stands_in_markers_is_written(tmp_path, figures, report):
    text = "ä <!-- note -->\nloss <!-- value demo.table model=b loss .2f -->{}<!-- end -->.  \n\n"
    readme = write(tmp_path / "README.md", text.format("0.49"))
    assert report() == (0, "", "")
    assert readme.read_bytes() == text.format("0.50").encode()


def test_a_readme_with_other_line_ends_is_written_with_newlines_only(tmp_path, figures, report):
    readme = write(tmp_path / "README.md", "one\r\n<!-- table demo.table model -->\r\n"
                                           "<!-- end -->\r\nlast\r\n")
    assert report()[0] == 0
    assert b"| b     |\n<!-- end -->\nlast\n" in readme.read_bytes()
    assert b"\r" not in readme.read_bytes()


def test_a_readme_that_is_missing_or_no_text_is_an_error_of_one_line(tmp_path, figures, report):
    status, _, error = report()
    assert status == 2 and "README.md" in error and error.count("\n") == 1
    (tmp_path / "README.md").write_bytes(b"\xff\xfe")
    status, _, error = report()
    assert status == 2 and error.count("\n") == 1


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b'{"experiment": "demo"}', b"\x00", b'{"table": [NaN]}', b"\xff",
    b"[" * 100_000], ids=range(9))
def test_damaged_results_are_named_and_nothing_is_written(tmp_path, figures, report, content):
    readme = write(tmp_path / "README.md", README)
    (figures / "demo.json").write_bytes(content)
    status, _, error = report()
    assert status == 2 and readme.read_bytes() == README.encode()
    assert error.startswith(f"error: {figures / 'demo.json'} ")
    assert error.endswith("run the experiment again\n")


@example(steps=[5, 0, 0], value="\ud800")  # half a letter
@given(steps=STEPS, value=JSON | st.just(REMOVED))
def test_results_with_any_change_are_written_or_named(tmp_path, figures, report, steps, value):
    readme = write(tmp_path / "README.md", README)
    (figures / "demo.json").write_text(json.dumps(change(RESULTS, steps, value)), encoding="utf-8")
    status, _, error = report()
    if status == 0:
        assert readme.read_bytes() != README.encode() and error == ""
    else:
        assert status == 2 and readme.read_bytes() == README.encode()
        assert error.startswith("error: ") and "demo.json" in error and error.count("\n") == 1


# --- checking ---


def test_check_fails_until_the_numbers_are_written_and_writes_nothing(tmp_path, figures, report):
    text = "loss <!-- value demo.table model=b loss .2f -->0.49<!-- end -->"
    readme = write(tmp_path / "README.md", text)
    status, _, error = report("--check")
    assert status == 1 and "0.49" in error and "0.50" in error
    assert readme.read_bytes() == text.encode()
    assert report() == (0, "", "")
    assert report("--check") == (0, "", "")
    results = read_results(figures / "demo.json")
    results["table"][1]["loss"] = 0.7
    store_results(figures / "demo.json", results)
    status, _, error = report("--check")
    assert status == 1 and "0.50" in error and "0.70" in error


@pytest.mark.parametrize("rows", [1, 3])
def test_check_notices_another_number_of_rows(tmp_path, figures, report, rows):
    write(tmp_path / "README.md", "<!-- table demo.table model --><!-- end -->")
    assert report()[0] == 0
    table = [{"model": name} for name in "abc"[:rows]]
    store_results(figures / "demo.json", {**RESULTS, "table": table})
    assert report("--check")[0] == 1


def test_check_says_of_every_figure_whether_it_belongs_and_is_shown(tmp_path, figures, report):
    right = draw(figures / "demo.json")
    hidden = figures / "quick" / "demo.json"
    store_results(hidden, RESULTS)
    hidden = draw(hidden)
    write(tmp_path / "README.md", "![the demo](figures/demo.png)")
    status, printed, error = report("--check")
    assert (status, error) == (0, "")
    assert printed.splitlines() == [
        f"{right}: belongs to demo.json, shown in README.md",
        f"{hidden}: belongs to demo.json, not shown in README.md"]


def test_check_fails_where_a_figure_does_not_belong_to_its_results(tmp_path, figures, report):
    right = draw(figures / "demo.json")
    store_results(figures / "other.json", {**RESULTS, "experiment": "other"})
    wrong = draw(figures / "other.json")
    wrong.write_bytes(right.read_bytes())
    alone = figures / "lr=0.03" / "demo.png"
    alone.parent.mkdir()
    alone.write_bytes(right.read_bytes())
    damaged = figures / "third.png"
    store_results(figures / "third.json", RESULTS)
    damaged.write_bytes(right.read_bytes()[:-50])
    write(tmp_path / "README.md", "![](figures/demo.png) ![](figures/other.png)")
    status, printed, error = report("--check")
    assert status == 1
    assert sorted(printed.splitlines()) == sorted([
        f"{right}: belongs to demo.json, shown in README.md",
        f"{wrong}: does not belong to other.json, shown in README.md",
        f"{alone}: does not belong to demo.json, not shown in README.md",
        f"{damaged}: does not belong to third.json, not shown in README.md"])
    problems = [figure_problem(path) for path in (wrong, alone, damaged)]
    assert sorted(error.splitlines()) == sorted(f"error: {problem}" for problem in problems)


def test_check_fails_where_a_figure_that_the_readme_shows_is_missing(tmp_path, figures, report):
    write(tmp_path / "README.md", "![the demo](figures/demo.png)")
    status, _, error = report("--check")
    assert status == 1
    assert f"shows {figures / 'demo.png'}, which does not exist" in error


def test_the_command_exits_with_the_status_of_its_check(tmp_path, figures):
    readme = write(tmp_path / "README.md", "<!-- value demo.table count -->3<!-- end -->")
    finished = subprocess.run(
        [sys.executable, "-m", "report", "--check", "--readme", str(readme),
         "--figures", str(figures)], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 1 and "differs from the stored results" in finished.stderr
