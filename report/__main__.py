"""Writes the numbers of the README from the stored results.

    python -m report              # writes them
    python -m report --check      # changes nothing; says what does not agree, figures included

Comments in the README, which no reader sees, stand around everything that is measured and name
where it is stored: a list of rows in figures/NAME.json, the conditions that its rows satisfy
(quoted where they hold a space), and then

    <!-- table hw1_1_mnist.table dataset=MNIST model parameters -->
    <!-- end -->
                 for a table: its columns, or none for all of them

    <!-- value hw1_1_mnist.table dataset=MNIST "model=1 conv 5×5" test_accuracy .2% --><!-- end -->
                 for a number: a column and its Python format, one row being left. A number in no
                 row, and a list of numbers, need the format alone. Two formats more: ".1points" is
                 a fraction in percentage points, "count" is how many rows or numbers there are.
"""

import argparse
import re
import shlex
import sys
from pathlib import Path

from common.results import (
    ResultsError,
    WriteError,
    figure_problem,
    format_table,
    read_results,
    write_atomically,
)

ROOT = Path(__file__).resolve().parent.parent
START = r"<!-- (table|value) ([^\n]*?) -->"
END = "<!-- end -->"
MARKER = re.compile(f"{START}(.*?){END}", re.DOTALL)


# --- what a marker names ---


def select(folder, words):
    """What a marker names in the stored results, and its remaining words.

    words are "NAME.key", then "column=value" conditions, then columns or a format. Of a list of
    rows those that satisfy the conditions are left. Raises ResultsError where there is no such
    thing.
    """
    file, key = split_name(words[0])
    selected = read_results(folder / file)
    for part in key.split("."):
        if part not in selected:
            raise ResultsError(f"{file} has no {key!r}")
        selected = selected[part]
    conditions = [word.split("=", 1) for word in words[1:] if "=" in word]
    rest = [word for word in words[1:] if "=" not in word]
    if is_rows(selected):
        selected = [row for row in selected if satisfies(row, conditions)]
        if not selected:
            raise ResultsError(f"{file}: no row of {' '.join(words)}")
    return selected, rest


def split_name(name):
    """The file and the key that "FOLDER/NAME.key" names; the folder, if any, may have dots."""
    folder, slash, rest = name.rpartition("/")
    experiment, _, key = rest.partition(".")
    return f"{folder}{slash}{experiment}.json", key


def is_rows(selected):
    """Whether this is a list of rows, each a dict of columns."""
    return isinstance(selected, list) and all(isinstance(row, dict) for row in selected)


def satisfies(row, conditions):
    """Whether a row has all (column, value) of conditions, values as they are written."""
    return all(str(row.get(column)) == value for column, value in conditions)


# --- what is written for it ---


def content_of_table(instruction, folder):
    """The rows and columns that a table's marker names, as Markdown."""
    rows, columns = select(folder, shlex.split(instruction))
    require_columns(rows, columns, instruction)
    return f"\n{format_table(rows, columns or None)}\n"


def content_of_value(instruction, folder):
    """The number or numbers that a value's marker names, formatted."""
    selected, rest = select(folder, shlex.split(instruction))
    *columns, form = rest
    if form == "count":
        return str(len(selected))
    if is_rows(selected):
        require_columns(selected, columns, instruction)
        if len(selected) != 1:
            raise ResultsError(f"{file_of(instruction)}: {len(selected)} rows where one is needed "
                               f"for the marker {instruction!r}")
        selected = selected[0][columns[0]]
    numbers = selected if isinstance(selected, list) else [selected]
    return ", ".join(format_value(number, form) for number in numbers)


def require_columns(rows, columns, instruction):
    """Raises ResultsError unless the rows have all of the columns."""
    for column in columns:
        if is_rows(rows) and column not in rows[0]:
            raise ResultsError(f"{file_of(instruction)}: no column {column!r} for the marker "
                               f"{instruction!r}")


def file_of(instruction):
    """The file that a marker's instruction names."""
    return split_name(instruction.split()[0])[0]


def format_value(number, form):
    """A number in Python's format form, or in percentage points."""
    if form.endswith("points"):
        number, form = 100 * number, form.replace("points", "f")
    negative_zero = r"^-(0(\.0*)?%?)$"
    return re.sub(negative_zero, r"\1", format(number, form))


def render(text, folder):
    """The README's text with the content of every marker written anew from the results in folder.

    Raises ResultsError where a marker has no end, or names what the results do not hold.
    """
    for start in re.finditer(START, text):
        next_start, end = re.search(START, text[start.end():]), text.find(END, start.end())
        if end < 0 or (next_start and start.end() + next_start.start() < end):
            raise ResultsError(f"the README's marker {start.group()!r} has no {END!r}")

    def fill(match):
        kind, instruction, _ = match.groups()
        try:
            content_of = content_of_table if kind == "table" else content_of_value
            content = content_of(instruction, folder)
            content.encode()  # JSON can hold half of a letter, which no file can
        except ResultsError:
            raise
        except Exception as error:
            # Results of another version, or changed by hand, can fail a marker in any way.
            raise ResultsError(f"{file_of(instruction)} does not fit the marker {instruction!r} "
                               f"({error!r})") from None
        return f"<!-- {kind} {instruction} -->{content}{END}"

    return MARKER.sub(fill, text)


# --- the two commands ---


def write(readme, figures):
    """Writes the README's numbers anew."""
    text = readme.read_text(encoding="utf-8")
    rendered = render(text, figures)
    if rendered != text:
        write_atomically(readme, rendered.encode())


def find_differences(readme, figures):
    """What does not agree between README, results and figures: a list of lines."""
    differences = []
    text = readme.read_text(encoding="utf-8")
    rendered = render(text, figures)
    for is_line, should_line in zip(text.splitlines(), rendered.splitlines()):
        if is_line != should_line:
            differences.append(f"{readme} differs from the stored results; run `python -m report`\n"
                               f"  is:     {is_line}\n  should: {should_line}")
            break
    for shown in re.findall(rf"\({figures.name}/([^)]+\.png)\)", text):
        if not (figures / shown).exists():
            differences.append(f"{readme} shows {figures / shown}, which does not exist; draw it "
                               "with --replot")
    for path in sorted(figures.rglob("*.png")):
        problem = figure_problem(path)
        if problem:
            differences.append(problem)
        in_readme = path.relative_to(figures.parent).as_posix() in text
        print(f"{path}: {'does not belong' if problem else 'belongs'} to {path.stem}.json, "
              f"{'shown' if in_readme else 'not shown'} in {readme.name}")
    return differences


def main(arguments=None):
    """The command; returns its exit status: 1 where something does not agree, 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="change nothing; say of every figure whether it belongs to its "
                        "results")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--figures", type=Path, default=ROOT / "figures")
    settings = parser.parse_args(arguments)
    try:
        if not settings.check:
            write(settings.readme, settings.figures)
            return 0
        differences = find_differences(settings.readme, settings.figures)
    except (ResultsError, WriteError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for difference in differences:
        print(f"error: {difference}", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
