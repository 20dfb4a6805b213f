"""Writes README.md and benchmarks/README.md from their templates and the stored results.

    python -m report            # writes them
    python -m report --check    # changes nothing; fails where something does not agree

The templates, report/README.md.j2 and report/benchmarks.md.j2, are Markdown with a few things of
Jinja2 (https://jinja.palletsprojects.com). What they may write:

    {{ images.best_accuracy | percent(2) }}     a fact of the results that report/names.py calls
                                                images; here as 99.31 %
    {{ images.settings.epochs }}                any other part of the results; also constants.NAME,
                                                environment.NAME and seconds
    {{ images.row("table", dataset="MNIST", model="4 conv 3×3").test_accuracy | percent(2) }}
                                                a number of the only row with these values
    {{ images.difference | interval("points", 2) }}
                                                0.57 (0.36 to 0.78), or 0.57 ± 0.05
    {{ images.rows("table", dataset="MNIST") | table(["model", "parameters"]) }}
    {{ images.rows("table") | table({
        "model": "network",
        "seconds": ("time", "minutes"),
        "train_accuracy": ("training accuracy", "percent", 1),
        "test_accuracy": ("test accuracy", "interval", "percent", 2),
    }) }}                                       rows as a table: columns, or columns with headings
                                                and filters. An interval takes its bounds from
                                                test_accuracy_ci95, or from _low and _high.
    {% call claim("images.p_value < 0.05") %}Four layers win.{% endcall %}
                                                a sentence and its condition, which stands in
                                                quotes and is made of facts, rows and what
                                                {% set %} names. Where it is false, or a number in
                                                it is None, the sentence gets "(not in this run)".
                                                Names of a {% for %} loop are unknown to it.
    {% include "sections/images.md.j2" %}       another template, from its place under report/
    {{ certainty(images.p_value) }}     settled, suggestive or open, by the rule that
                                       {{ certainty_rule }} writes out

The filters are the functions of report/formats.py: percent(digits), points(digits),
number(digits), fixed(digits), interval(filter, digits), minutes, table(columns).
"""

import argparse
import re
import sys
from itertools import zip_longest
from pathlib import Path

from common.results import (
    WriteError,
    figure_problem,
    results_path,
    tables_problem,
    write_atomically,
)
from report.rendering import ReportError, render

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = {"README.md": "report/README.md.j2", "benchmarks/README.md": "report/benchmarks.md.j2"}


def render_all(project):
    """{path of a document: its text}, and a line for every claim that is not supported."""
    documents, unsupported = {}, []
    for document, template in TEMPLATES.items():
        text, lines = render(project / template, project / "figures")
        origin = f"<!-- Made from {template} and the stored results by `python -m report`. -->"
        documents[project / document] = f"{origin}\n{text}"
        unsupported += lines
    return documents, unsupported


def find_problems(documents, figures):
    """What does not agree between documents, results, figures and tables: a list of lines."""
    problems = []
    for path, text in documents.items():
        problems += document_problems(path, text)
    for path in sorted(figures.rglob("*.png")):
        problem = figure_problem(path)
        print(f"{path}: {'does not belong' if problem else 'belongs'} to "
              f"{results_path(path).name}")
        problems += [problem] if problem else []
    for path in sorted(figures.rglob("*.json")):
        problem = tables_problem(path.with_suffix(".md"))
        problems += [problem] if problem else []
    return problems


def document_problems(path, text):
    """How a written document differs from this text, and which of its figures are missing."""
    problems = []
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = zip_longest(written.splitlines(), text.splitlines(), fillvalue="(no line)")
    for is_line, should_line in lines:
        if is_line != should_line:
            problems.append(f"{path} is not what its template gives; run `python -m report`\n"
                            f"  is:     {is_line}\n  should: {should_line}")
            break
    for shown in re.findall(r"\]\((?!https?:)([^()\s]+\.png)\)", text):
        if not (path.parent / shown).exists():
            problems.append(f"{path} shows {shown}, which does not exist; draw it with --replot")
    return problems


def main(arguments=None):
    """The command; returns its exit status: 1 where something does not agree, 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true",
                        help="change nothing; say what does not agree with the stored results")
    settings = parser.parse_args(arguments)
    try:
        documents, unsupported = render_all(ROOT)
        if settings.check:
            problems = unsupported + find_problems(documents, ROOT / "figures")
        else:
            problems = []
            for path, text in documents.items():
                write_atomically(path, text.encode())
            for line in unsupported:
                print(line)
    except (ReportError, WriteError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
