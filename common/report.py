"""Writes the numbers of the README from the stored results: `python -m common.report`, or `--check` to compare only.

Comments in the README, which no reader sees, stand around everything that is measured and name where it is stored: a list
of rows in figures/NAME.json, the conditions that its rows satisfy (quoted where they hold a space), and then

    <!-- table hw1_1_mnist.table dataset=MNIST model parameters -->     for a table, its columns, or none for all;
    <!-- end -->
    <!-- value hw1_1_mnist.table dataset=MNIST "model=1 conv 5×5" test_accuracy .2% -->     for a number, a column and its
    <!-- end -->     Python format, one row being left. A number in no row, and a list of numbers, need the format alone.
                     Two formats more: ".1points" is a share in percentage points, "count" how many rows or numbers there
                     are.
"""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MARKER = re.compile(r"<!-- (table|value) ([^\n]*?) -->(.*?)<!-- end -->", re.DOTALL)
REQUIRED = ("experiment", "settings", "environment", "seconds", "table", "curves")


class ResultsError(Exception):
    """Stored results cannot be used; the message names the file."""


def read_results(path):
    """The stored results of one experiment. Raises ResultsError where the file is missing, damaged or of another form."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}; run the experiment again") from None
    except (ValueError, RecursionError):  # the latter from brackets nested by the thousand
        raise ResultsError(f"{path} is damaged: not JSON; run the experiment again") from None
    missing = [key for key in REQUIRED if not isinstance(results, dict) or key not in results]
    if missing:
        raise ResultsError(f"{path} has no {missing[0]!r}: not results of this version; run the experiment again")
    return results


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def format_cell(value):
    """A number for a table: large and whole ones in full, others to four significant digits; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) < 1e-15:  # what rounding leaves of a difference between equals
        return "0"
    if 1e3 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.2e}" if not 1e-3 <= abs(value) < 1e7 else f"{value:.4g}"


def format_table(rows, columns=None):
    """Rows (a list of dicts) as an aligned Markdown table."""
    columns = columns or list(rows[0])
    cells = [[name.replace("_", " ") for name in columns], *[[format_cell(row[name]) for name in columns] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    numeric = [all(isinstance(row[name], (int, float, type(None))) for row in rows) for name in columns]
    lines = ["| " + " | ".join(cell.rjust(width) if right else cell.ljust(width)
                               for cell, width, right in zip(row, widths, numeric)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def select(folder, words):
    """What a marker names, rows that satisfy its conditions, and its remaining words.

    words are "NAME.key", then "column=value" conditions, then columns or a format. Raises ResultsError for no such thing.
    """
    experiment, _, key = words[0].partition(".")
    selected = read_results(Path(folder, f"{experiment}.json"))
    for part in key.split("."):
        if part not in selected:
            raise ResultsError(f"{experiment}.json has no {key!r}")
        selected = selected[part]
    conditions = [word.split("=", 1) for word in words[1:] if "=" in word]
    rest = [word for word in words[1:] if "=" not in word]
    if _rows(selected):
        selected = [row for row in selected if all(str(row.get(column)) == value for column, value in conditions)]
        if not selected:
            raise ResultsError(f"{experiment}.json: no row of {' '.join(words)}")
    return selected, rest


def _rows(selected):
    return isinstance(selected, list) and all(isinstance(row, dict) for row in selected)


def _content(kind, instruction, folder):
    selected, rest = select(folder, shlex.split(instruction))
    file = f"{instruction.partition('.')[0]}.json"
    missing = [name for name in rest[: None if kind == "table" else -1] if _rows(selected) and name not in selected[0]]
    if missing:
        raise ResultsError(f"{file}: no column {missing[0]!r} for the marker {instruction!r}")
    if kind == "table":
        return f"\n{format_table(selected, rest)}\n"
    if rest[-1] == "count":
        return str(len(selected))
    if _rows(selected):
        if len(selected) != 1:
            raise ResultsError(f"{file}: {len(selected)} rows where one is needed for the marker {instruction!r}")
        selected = selected[0][rest[0]]
    return ", ".join(_written(number, rest[-1]) for number in (selected if isinstance(selected, list) else [selected]))


def _written(number, form):
    if form.endswith("points"):
        number, form = 100 * number, form.replace("points", "f")
    return re.sub(r"^-(0(\.0*)?%?)$", r"\1", format(number, form))  # no "-0.00"


def render(text, folder):
    """The README's text with every marker's content written anew from the results in folder."""

    def fill(match):
        kind, instruction, _ = match.groups()
        try:
            content = _content(kind, instruction, folder)
            content.encode()  # JSON can hold half a letter, UTF-8 cannot
        except ResultsError:
            raise
        except Exception as error:
            # Results of another version, or changed by hand, can fail a marker in any way.
            file = f"{instruction.partition('.')[0]}.json"
            raise ResultsError(f"{file} does not fit the marker {instruction!r} ({error!r})") from None
        return f"<!-- {kind} {instruction} -->{content}<!-- end -->"

    return MARKER.sub(fill, text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where the README is out of step")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--figures", type=Path, default=ROOT / "figures")
    settings = parser.parse_args(arguments)
    try:
        text = settings.readme.read_text(encoding="utf-8")
        rendered = render(text, settings.figures)
    except (ResultsError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if settings.check:
        for before, after in zip(text.splitlines(), rendered.splitlines()):
            if before != after:
                print(f"error: {settings.readme} differs from the stored results; run `python -m common.report`\n"
                      f"  is:     {before}\n  should: {after}", file=sys.stderr)
                return 1
        return int(text != rendered)
    if text != rendered:
        settings.readme.write_text(rendered, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
