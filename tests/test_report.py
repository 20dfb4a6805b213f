"""The report: templates and stored results give the documents, and claims are checked."""

import json
import shutil
import subprocess
import sys
from importlib import import_module

import report.__main__
from common.command_line import REPORT_DATASET, experiment_parser, parse, results_folder
from common.results import (
    figure_problem,
    png_of,
    read_results,
    store_results,
    tables_problem,
    tables_text,
)
from report.certainty import CERTAINTY_RULE, certainty
from report.formats import fixed, interval, minutes, number, percent, points, table, unformatted
from report.names import SOURCES
from report.rendering import ReportError, render

import pytest
from conftest import JSON, REMOVED, ROOT, STEPS, change
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.figure import Figure

RESULTS = {
    "experiment": "demo",
    "settings": {"epochs": 1200, "lr": 1e-5},
    "environment": {},
    "seconds": 150.0,
    "constants": {"DEPTHS": [1, 2, 4]},
    "facts": {"accuracy": 0.9931, "p_value": 0.2, "untested": None, "best": "b", "fits": True,
              "ratio": {"value": 0.57, "low": 0.36, "high": 0.78},
              "difference": {"value": -0.0123, "ci95": 0.004}},
    "table": [{"model": "a", "runs": 8, "values": 0.5, "values_ci95": 0.1, "p": None},
              {"model": "b", "runs": 8, "values": 0.75, "values_ci95": 0.25, "p": 0.01}],
    "curves": {},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose README's template is still to be written; `images` are RESULTS."""
    for folder in ("report", "figures", "benchmarks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "report" / "benchmarks.md.j2").write_text("{{ images.seconds }} s\n")
    save(tmp_path / "figures" / "hw1_1_mnist.json", RESULTS)
    monkeypatch.setattr(report.__main__, "ROOT", tmp_path)
    return tmp_path


def save(path, results):
    """Stores results and writes their tables beside them, as a script does."""
    store_results(path, results)
    path.with_suffix(".md").write_text(tables_text(read_results(path)), encoding="utf-8")


def write_template(project, text):
    (project / "report" / "README.md.j2").write_text(text, encoding="utf-8")


def rendered(project, text):
    """What a template of this text gives, and the claims that are not supported."""
    write_template(project, text)
    return render(project / "report" / "README.md.j2", project / "figures")


@pytest.fixture
def command(project, capsys):
    """A function that is `python -m report`; returns status, printed text and errors."""
    def command(*words):
        capsys.readouterr()
        status = report.__main__.main(list(words))
        return status, *capsys.readouterr()

    return command


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def draw(path):
    """Draws the figure of the stored results at path."""
    results = read_results(path)
    figure = Figure(figsize=(1, 1), dpi=30)
    figure.subplots().plot([row["runs"] for row in results["table"]])
    path.with_suffix(".png").write_bytes(png_of(figure, results))
    return path.with_suffix(".png")


# --- filters ---


@pytest.mark.parametrize(("written", "expected"), [
    (percent(0.9931, 1), "99.3 %"), (percent(-0.5, 0), "−50 %"), (percent(-1e-9, 1), "0.0 %"),
    (points(0.0123, 1), "1.2"), (points(-0.0123, 2), "−1.23"),
    (fixed(1234.5, 2), "1,234.50"), (fixed(-0.04, 1), "0.0"), (fixed(-0.06, 1), "−0.1"),
    (number(0.5678, 2), "0.57"), (number(0.5, 3), "0.500"), (number(1234.5, 2), "1,200"),
    (number(12, 3), "12"), (number(12.0, 3), "12.0"), (number(0, 2), "0"), (number(9.99, 2), "10"),
    (number(1.23e-5, 2), "1.2 · 10⁻⁵"), (number(-1.23e-5, 1), "−1 · 10⁻⁵"),
    (number(0.001, 1), "0.001"), (number(0.00099, 2), "9.9 · 10⁻⁴"),
    (number(0.0009999, 2), "0.0010"), (number(1e6, 2), "1,000,000"),
    (number(1.5e6, 2), "1.5 · 10⁶"), (number(-3.3e12, 2), "−3.3 · 10¹²"),
    (minutes(50.4), "50 s"), (minutes(89), "89 s"), (minutes(90), "2 min"),
    (minutes(3067), "51 min"),
    (unformatted(60_000), "60,000"), (unformatted(-0.25), "−0.25"), (unformatted(1e-5), "1 · 10⁻⁵"),
    (unformatted(0.003), "0.003"), (unformatted(1234.5), "1,234.5"), (unformatted(None), "–"),
    (unformatted([1, None, 0.5]), "1, –, 0.5"), (unformatted(True), "yes"),
    (unformatted("4 conv"), "4 conv"),
])
def test_filters(written, expected):
    assert written == expected


@pytest.mark.parametrize("write", [percent, points, fixed, number])
def test_a_filter_takes_the_value_of_an_interval_and_writes_a_dash_for_none(write):
    assert write({"value": 0.5, "ci95": 0.1}, 2) == write(0.5, 2)
    assert write(None, 2) == write({"value": None, "low": 0, "high": 1}, 2) == "–"
    for wrong in ("0.5", True, [0.5], {"mean": 0.5}):
        with pytest.raises(ValueError, match="is no number"):
            write(wrong, 2)
    assert minutes(None) == "–"


RATIO, DIFFERENCE = RESULTS["facts"]["ratio"], RESULTS["facts"]["difference"]


@pytest.mark.parametrize(("measured", "form", "expected"), [
    (RATIO, ("fixed", 2), "0.57 (0.36 to 0.78)"),
    (RATIO, ("percent", 0), "57 % (36 % to 78 %)"),
    (DIFFERENCE, ("points", 2), "−1.23 ± 0.40"),
    (DIFFERENCE, ("number", 1), "−0.01 ± 0.004"),
    (None, ("fixed", 2), "–"),
    ({"value": 0.5, "ci95": None}, ("fixed", 1), "0.5 (no interval)"),
    ({"value": 0.5, "low": None, "high": None}, ("fixed", 1), "0.5 (no interval)"),
])
def test_intervals(measured, form, expected):
    assert interval(measured, *form) == expected


def test_a_table_of_columns_has_their_names_and_all_digits():
    assert table(RESULTS["table"], ["model", "values_ci95", "p"]) == (
        "| model | values ci95 |    p |\n"
        "|-------|------------:|-----:|\n"
        "| a     |         0.1 |    – |\n"
        "| b     |        0.25 | 0.01 |")


def test_a_table_has_headings_filters_and_intervals_of_several_columns():
    rows = [{"name": "x | y", "time": 100, "own": RATIO, "mean": 2, "mean_low": 1, "mean_high": 3}]
    assert table(rows, {"name": "network", "time": ("time", "minutes"),
                        "own": ("ratio", "interval", "fixed", 1),
                        "mean": ("mean", "interval", "number", 1)}) == (
        "| network |  time |            ratio |       mean |\n"
        "|---------|------:|-----------------:|-----------:|\n"
        "| x \\| y  | 2 min | 0.6 (0.4 to 0.8) | 2 (1 to 3) |")
    with pytest.raises(ValueError, match="no time_ci95"):
        table(rows, {"time": ("time", "interval", "fixed", 1)})
    with pytest.raises(ValueError, match="no column 'p'; it has name, time"):
        table(rows, ["p"])


# --- certainty ---


@pytest.mark.parametrize(("p_value", "word"), [
    (0.0099, "settled"), (0, "settled"), (0.01, "suggestive"), (0.0499, "suggestive"),
    (0.05, "open"), (1, "open"), (None, "open")])
def test_certainty(p_value, word):
    assert certainty(p_value) == word
    assert f"*{word.capitalize()}*" in CERTAINTY_RULE


# --- names ---


@pytest.mark.parametrize("name", SOURCES)
def test_the_command_of_a_name_makes_the_file_of_that_name(name):
    file, command = SOURCES[name]
    python, *words = command.split()
    if words[0] == "-m":
        module, flags = words[1], words[2:]
    else:
        module, flags = words[0].removesuffix(".py"), words[1:]
    script = import_module(module)
    parser = experiment_parser("", script.FLAGS, uses_images=True, in_pieces=False)
    settings = parse(parser, script.FLAGS, [*flags, f"--dataset={REPORT_DATASET}", "--out=out"])
    made = results_folder(settings, script.FLAGS) / module.rpartition(".")[2]
    assert python == "python" and f"out/{file}" == made.as_posix()


def test_facts_parts_and_rows(project):
    text, unsupported = rendered(project, """{{ images.accuracy | percent(1) }}, {{ images.best }},
{{ images.ratio.low }}, {{ images.difference | points(1) }}, {{ images.untested }},
{{ images.settings.epochs }}, {{ images.constants.DEPTHS }}, {{ images.seconds | minutes }},
{{ images.row("table", model="b").values | percent(0) }},
{{ images.rows("table", runs=8) | length }}, {{ images.untested.low | fixed(1) }}
{{ images.difference | interval("points", 1) }}, {{ certainty(images.p_value) }}
{{ images.rows("table", model="a") | table(["runs"]) }}
""")
    assert text == """99.3 %, b,
0.36, −1.2, –,
1,200, 1, 2, 4, 2 min,
75 %,
2, –
−1.2 ± 0.4, open
| runs |
|-----:|
|    8 |
"""
    assert unsupported == []


def test_results_in_a_subfolder_have_a_name_of_their_own(project):
    folder = "runs=1,epochs=150,train_size=60000,hidden_width=512"
    save(project / "figures" / folder / "hw1_3_random_labels.json", {**RESULTS, "seconds": 3.0})
    assert rendered(project, "{{ large_labels.seconds }}") == ("3", [])


def test_only_results_that_the_template_names_are_read(project):
    (project / "figures" / "hw1_2_pca.json").write_text("{")
    assert rendered(project, "{{ images.best }}") == ("b", [])
    with pytest.raises(ReportError) as error:
        rendered(project, "one\n{{ paths.best }}")
    assert str(error.value) == (
        f"README.md.j2, line 2: paths: {project / 'figures' / 'hw1_2_pca.json'} is damaged: not "
        "JSON; run the experiment again: python hw1_2_pca.py")


def test_missing_results_are_named_with_the_command_that_makes_them(project):
    with pytest.raises(ReportError) as error:
        rendered(project, "{{ large_labels.best }}")
    message = str(error.value)
    assert message.startswith("README.md.j2, line 1: large_labels: ") and "\n" not in message
    folder = "runs=1,epochs=150,train_size=60000,hidden_width=512"
    assert f"{folder}/hw1_3_random_labels.json" in message
    assert message.endswith(SOURCES["large_labels"].command)


@pytest.mark.parametrize(("text", "message"), [
    ("{{ images.acuracy }}", "images .* has no fact 'acuracy'; it has accuracy, p_value"),
    ("{{ imags.accuracy }}", "'imags' is undefined"),
    ("{{ images.settings.steps }}", "no attribute 'steps'"),
    ("{{ images.row('table', model='a').vales | fixed(1) }}", "no attribute 'vales'"),
    ("{{ images.row('table', model='c') }}", "no row of {'model': 'c'}"),
    ("{{ images.row('table', runs=8) }}", "2 rows"),
    ("{{ images.row('table', width=8) }}", "no column 'width'; it has model"),
    ("{{ images.rows('curves') }}", "images.curves is no table"),
    ("{{ images.rows('tables') }}", "no fact 'tables'"),
    ("{{ images.rows('table') | table(['width']) }}", "no column 'width'"),
    ("{{ images.rows('table') | table({'runs': ('runs', 'percents', 1)}) }}", "percents"),
    ("{{ images.ratio }}", "needs a filter"),
    ("{{ images.best | percent(1) }}", "b is no number"),
    ("{{ images.accuracy | interval('fixed', 1) }}", "0.9931 is no interval"),
    ("{{ images.accuracy | percents }}", "percents"),
    ("{{ images.accuracy", "unexpected end"),
    ("{{ images.untested + 1 }}", "NoneType"),
    ("{{ certainty(images.pvalue) }}", "no fact 'pvalue'"),
    ("{{ certainty(images.ratio) }}", "dict"),
    ("{% call claim('images.pvalue < 1') %}a{% endcall %}", "no fact 'pvalue'"),
    ("{% call claim('imgs.p_value < 1') %}a{% endcall %}", "'imgs' is undefined"),
    ("{% call claim(images.p_value < 1) %}a{% endcall %}", "stands in quotes"),
    ("{% call claim('images.p_value') %}a{% endcall %}", "neither true nor false"),
    ("{% call claim('images.p_value <') %}a{% endcall %}", "end of template|end of statement"),
    ("{% call claim('images.ratio > 0') %}a{% endcall %}", "dict"),
])
@pytest.mark.parametrize("words", [[], ["--check"]], ids=["write", "check"])
def test_a_mistake_is_one_line_that_names_the_templates_line(project, command, text, message,
                                                             words):
    write_template(project, f"one\n\n{text}")
    before = contents(project)
    status, _, error = command(*words)
    assert status == 2 and contents(project) == before
    assert error.startswith("error: README.md.j2, line 3: ") and error.count("\n") == 1
    with pytest.raises(ReportError, match=message):
        rendered(project, f"one\n\n{text}")


# --- claims ---


@pytest.mark.parametrize(("condition", "supported"), [
    ("images.p_value > 0.05", True),
    ("images.p_value < 0.05", False),
    ("images.ratio.low > 0 and images.best == 'b'", True),
    ("images.row('table', model='b').values > images.row('table', model='a').values", True),
    ("images.fits", True),
    ("not images.fits", False),
    ("certainty(images.p_value) == 'open'", True),
    # Where a number was not measured nothing follows from it, however the condition is put.
    ("images.untested < 0.05", False),
    ("not images.untested < 0.05", False),
    ("images.untested != 3", False),
    ("images.untested.low > 0", False),
    ("[images.accuracy, images.untested] | min > 0", False),
    ("images.row('table', model='a')['p'] != 3", False),
    ("images.row('table', model='a').p < 0.05", False),
])
def test_a_claim_is_marked_and_listed_where_its_condition_is_false(project, condition, supported):
    text, unsupported = rendered(
        project, f'one\n**{{% call claim("{condition}") %}}All\nis well. {{% endcall %}}**\n')
    if supported:
        assert (text, unsupported) == ("one\n**All\nis well. **\n", [])
    else:
        assert text == "one\n**All\nis well. *(not in this run)* **\n"
        assert unsupported == ["README.md.j2, line 2: the results do not support 'All is well.' "
                               f"({condition})"]


def test_claims_know_what_the_template_has_set_and_each_its_own_line(project):
    text, unsupported = rendered(project, """{% set best = images.row("table", model="b") -%}
{% call claim("best.values > 0.7") %}High{% endcall %}
{% call claim("best.values > 0.8") %}Higher, {{ best.values }}{% endcall %}
{% call claim("best.values > 0.9") %}Highest{% endcall %}
""")
    assert text == "High\nHigher, 0.75 *(not in this run)*\nHighest *(not in this run)*\n"
    assert [line.split(":")[0] for line in unsupported] == ["README.md.j2, line 3",
                                                            "README.md.j2, line 4"]


def test_an_included_template_is_named_with_its_own_line(project):
    section = project / "report" / "sections" / "one.md.j2"
    section.parent.mkdir()
    readme = 'one\n\n\n{% include "sections/one.md.j2" %}\n'
    section.write_text('{% set p = images.p_value %}\n{% call claim("p < 0.05") %}A{% endcall %}')
    text, unsupported = rendered(project, readme)
    assert text == "one\n\n\n\nA *(not in this run)*\n"
    assert unsupported == [
        "sections/one.md.j2, line 2: the results do not support 'A' (p < 0.05)"]
    for mistake in ("{{ images.acuracy }}", "{{ images.", "{{ imags }}",
                    "{% call claim('imags > 1') %}A{% endcall %}"):
        section.write_text(f"two\n{mistake}")
        with pytest.raises(ReportError, match=r"^sections/one\.md\.j2, line 2: "):
            rendered(project, readme)


# --- writing ---


def test_both_documents_are_written_and_say_where_they_come_from(project, command):
    write_template(project, "# Ä title\n{{ images.seconds }} s\n")
    assert command() == (0, "", "")
    assert (project / "README.md").read_bytes().decode() == (
        "<!-- Made from report/README.md.j2 and the stored results by `python -m report`. -->\n"
        "# Ä title\n150 s\n")
    first, *rest = (project / "benchmarks" / "README.md").read_text().splitlines()
    assert "report/benchmarks.md.j2" in first and rest == ["150 s"]


def test_documents_have_newlines_only_whatever_their_template_has(project, command):
    (project / "report" / "README.md.j2").write_bytes(b"one\r\n{{ images.best }}\r\n")
    assert command()[0] == 0
    assert (project / "README.md").read_bytes().endswith(b"-->\none\nb\n")


def test_an_unsupported_claim_is_written_with_its_mark_and_said(project, command):
    write_template(project, '{% call claim("images.p_value < 0.05") %}It wins.{% endcall %}\n')
    status, printed, error = command()
    assert (status, error) == (0, "") and "line 1: the results do not support 'It wins.'" in printed
    assert "It wins. *(not in this run)*\n" in (project / "README.md").read_text()


def test_nothing_is_written_where_the_other_template_fails(project, command):
    write_template(project, "fine\n")
    (project / "report" / "benchmarks.md.j2").write_text("{{ speed.seconds }}\n")
    before = contents(project)
    status, _, error = command()
    assert status == 2 and error.startswith("error: benchmarks.md.j2, line 1: speed: ")
    assert contents(project) == before


def test_a_template_or_document_that_is_missing_or_no_text_is_an_error_of_one_line(
        project, command):
    status, _, error = command()
    assert status == 2 and "README.md.j2" in error and error.count("\n") == 1
    (project / "report" / "README.md.j2").write_bytes(b"\xff\xfe")
    status, _, error = command()
    assert status == 2 and "README.md.j2" in error and error.count("\n") == 1
    write_template(project, "fine\n")
    (project / "README.md").write_bytes(b"\xff\xfe")
    status, _, error = command("--check")
    assert status == 2 and error.count("\n") == 1


TEMPLATE = """{{ images.accuracy | percent(1) }} {{ images.ratio | interval("fixed", 2) }}
{{ images.best }} {{ images.settings.lr }} {{ images.row("table", model="a").values | fixed(1) }}
{% call claim("images.p_value < 1") %}A claim.{% endcall %} {{ images.constants.DEPTHS }}
{{ images.rows("table") | table(["model", "p"]) }}
{{ certainty(images.p_value) }}
"""


@example(steps=[5, 3], value="\ud800")  # half a letter
@given(steps=STEPS, value=JSON | st.just(REMOVED))
def test_results_with_any_change_are_written_or_named_in_one_line(project, command, steps, value):
    write_template(project, TEMPLATE)
    (project / "README.md").unlink(missing_ok=True)
    changed = json.dumps(change(RESULTS, steps, value))
    (project / "figures" / "hw1_1_mnist.json").write_text(changed, encoding="utf-8")
    status, _, error = command()
    if status == 0:
        assert error == "" and (project / "README.md").exists()
    else:
        assert status == 2 and not (project / "README.md").exists()
        assert error.startswith(("error: README.md.j2", "error: benchmarks.md.j2"))
        assert error.count("\n") == 1


# --- checking ---


def test_check_fails_until_the_documents_are_written_and_writes_nothing(project, command):
    write_template(project, "{{ images.accuracy | percent(1) }}\n")
    before = contents(project)
    status, _, error = command("--check")
    assert status == 1 and str(project / "README.md") in error
    assert str(project / "benchmarks" / "README.md") in error
    assert contents(project) == before
    assert command()[0] == 0
    assert command("--check") == (0, "", "")
    facts = {**RESULTS["facts"], "accuracy": 0.9}
    save(project / "figures" / "hw1_1_mnist.json", {**RESULTS, "facts": facts})
    status, _, error = command("--check")
    assert status == 1 and "is:     99.3 %\n  should: 90.0 %" in error


@pytest.mark.parametrize("change", [lambda text: text + "more\n", lambda text: text[:-2]],
                         ids=["longer", "shorter"])
def test_check_notices_a_document_that_was_changed_at_its_end(project, command, change):
    write_template(project, "one\ntwo\n")
    command()
    path = project / "README.md"
    path.write_text(change(path.read_text()))
    status, _, error = command("--check")
    assert status == 1 and f"{path} is not what its template gives" in error


def test_check_fails_for_every_claim_that_is_not_supported(project, command):
    claim = '{{% call claim("images.p_value < {}") %}}p is below {}.{{% endcall %}}\n'
    write_template(project, claim.format(0.01, 0.01) + claim.format(0.3, 0.3)
                   + claim.format(0.05, 0.05))
    command()
    status, _, error = command("--check")
    assert status == 1
    assert error.splitlines() == [
        f"error: README.md.j2, line {line}: the results do not support 'p is below {limit}.' "
        f"(images.p_value < {limit})" for line, limit in [(1, 0.01), (3, 0.05)]]


def test_check_says_of_every_figure_whether_it_belongs(project, command):
    figures = project / "figures"
    right = draw(figures / "hw1_1_mnist.json")
    save(figures / "other.json", {**RESULTS, "experiment": "other"})
    wrong = draw(figures / "other.json")
    wrong.write_bytes(right.read_bytes())
    alone = figures / "lr=0.03" / "demo.png"
    alone.parent.mkdir()
    alone.write_bytes(right.read_bytes())
    save(figures / "third.json", RESULTS)
    damaged = figures / "third.png"
    damaged.write_bytes(right.read_bytes()[:-50])
    write_template(project, "![](figures/hw1_1_mnist.png)\n")
    command()
    status, printed, error = command("--check")
    assert status == 1
    assert sorted(printed.splitlines()) == sorted([
        f"{right}: belongs to hw1_1_mnist.json", f"{wrong}: does not belong to other.json",
        f"{alone}: does not belong to demo.json", f"{damaged}: does not belong to third.json"])
    problems = [figure_problem(path) for path in (wrong, alone, damaged)]
    assert sorted(error.splitlines()) == sorted(f"error: {problem}" for problem in problems)
    for path in (wrong, alone, damaged):
        path.unlink()
    assert command("--check")[0] == 0


def test_check_fails_where_tables_do_not_belong_to_their_results(project, command):
    write_template(project, "fine\n")
    command()
    tables = project / "figures" / "hw1_1_mnist.md"
    whole = tables.read_text(encoding="utf-8")
    for damaged in (whole.replace("0.75", "0.76"), whole + "more", ""):
        assert damaged != whole
        tables.write_text(damaged, encoding="utf-8")
        status, _, error = command("--check")
        assert status == 1 and error == f"error: {tables_problem(tables)}\n"
    tables.unlink()
    assert command("--check")[0] == 1
    tables.write_text(whole, encoding="utf-8")
    assert command("--check") == (0, "", "")


@pytest.mark.parametrize(("document", "shown"), [
    ("README.md.j2", "figures/hw1_1_mnist.png"),
    ("benchmarks.md.j2", "../figures/hw1_1_mnist.png")])
def test_check_fails_where_a_figure_that_is_shown_is_missing(project, command, document, shown):
    write_template(project, "fine\n")
    (project / "report" / document).write_text(f"![the demo]({shown}) [x](https://x.org/x.png)\n")
    command()
    status, _, error = command("--check")
    assert status == 1 and f"shows {shown}, which does not exist" in error
    assert error.count("\n") == 1
    draw(project / "figures" / "hw1_1_mnist.json")
    assert command("--check")[0] == 0


def test_the_command_ends_with_the_status_of_its_check(project):
    for package in ("common", "report"):
        shutil.copytree(ROOT / package, project / package, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__", "*.j2"))
    write_template(project, "{{ images.accuracy | percent(1) }}\n")
    for words, status in [(["--check"], 1), ([], 0), (["--check"], 0)]:
        ended = subprocess.run([sys.executable, "-m", "report", *words], cwd=project,
                               capture_output=True, text=True)
        assert ended.returncode == status, ended.stderr
    assert "99.3 %" in (project / "README.md").read_text()
