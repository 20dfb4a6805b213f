"""Stored results: the JSON file of a run, the figure drawn from it, and tables for people.

A run's numbers lie in NAME.json, its figure in NAME.png and its tables in NAME.md beside it; some
have a second figure, NAME_details.png. A figure says in its own text field which numbers it was
drawn from. Neither figures nor tables are ever beside other numbers: storing results removes those
of earlier ones first.
"""

import hashlib
import io
import json
import os
import platform
import re
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from common.data import dataset_title, set_sizes
from common.interrupts import UNFINISHED

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

REQUIRED = ("experiment", "settings", "environment", "seconds", "table", "curves")
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "matplotlib")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
# What differs between two runs that are the same in all else.
OF_THE_RUN = ("seconds", "jobs", "piece_seconds")
DETAILS = "_details"  # ends the name of a second figure
FINGERPRINT_FIELD = "Results"  # the PNG's text field that says what the figure was drawn from


class ResultsError(Exception):
    """Stored results cannot be used; the message names the file."""


class WriteError(Exception):
    """A file or folder cannot be written; the message names it."""


class NotFinite(Exception):
    """A result is infinite or not a number, which JSON cannot hold."""


# --- numbers as JSON and back ---


def plain(value):
    """Tensors, arrays and NumPy numbers as lists and numbers for JSON, floats to six digits.

    Keys that are numbers become strings, which read_results turns back. Raises ValueError for a key
    that is a string and looks like a number: it would come back as one.
    """
    if isinstance(value, dict):
        return {_plain_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _plain_key(key):
    if isinstance(key, str) and NUMBER.fullmatch(key):
        raise ValueError(f"the key {key!r} would come back as a number")
    return str(key)


def _number(text):
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _numeric_keys(pairs):
    """A dict whose keys are numbers again where all of them were."""
    if pairs and all(NUMBER.fullmatch(key) for key, _ in pairs):
        return {_number(key): value for key, value in pairs}
    return dict(pairs)


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def read_results(path):
    """The stored results of one experiment.

    Raises ResultsError where the file is missing, damaged or of another form.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        results = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_numeric_keys)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}; run the experiment again") from None
    except (ValueError, OverflowError, RecursionError):  # the last: thousands of nested brackets
        raise ResultsError(f"{path} is damaged: not JSON; run the experiment again") from None
    for key in REQUIRED:
        if not isinstance(results, dict) or key not in results:
            raise ResultsError(f"{path} has no {key!r}: not results of this version; run the "
                               "experiment again")
    return results


def results_text(results):
    """Plain results as the text of their file, one line for each part.

    Raises NotFinite where a number is infinite or not a number.
    """
    parts = []
    for key, value in results.items():
        try:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
        except ValueError:
            raise NotFinite(f"a number of {key!r} is infinite or not a number") from None
    return "{\n" + ",\n".join(parts) + "\n}\n"


def as_stored(results):
    """Results as read_results will give them: plain, rounded, without a file in between.

    Raises NotFinite.
    """
    return json.loads(results_text(plain(results)), object_pairs_hook=_numeric_keys)


def fingerprint(results):
    """A checksum of results as read_results gives them, without what is OF_THE_RUN."""
    lasting = {key: value for key, value in results.items() if key not in OF_THE_RUN}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()


def environment(device, dataset=None):
    """What numbers depend on beside the settings: versions, device and set of images."""
    values = {"python": platform.python_version()}
    for library in LIBRARIES:
        values[library] = torch.__version__ if library == "torch" else version(library)
    values["device"] = str(device)
    values["device_name"] = device_name(device)
    values["dataset"] = dataset_title(dataset) if dataset else None
    if dataset:
        values["train_images"], values["test_images"] = set_sizes(dataset)
    return values


def device_name(device):
    """The name of the processor or of the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):  # Linux knows more than Python's platform module
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


# --- files ---


def figure_path(path):
    """Where the figure of the results at path lies."""
    return path.with_suffix(".png")


def details_path(path):
    """Where the second figure of the results at path lies, if it has one."""
    return path.with_name(f"{path.stem}{DETAILS}.png")


def results_path(figure):
    """Where the results of a figure lie, the first or the second one."""
    return figure.with_name(f"{figure.stem.removesuffix(DETAILS)}.json")


def check_writable(folder):
    """Makes the folder where it is missing. Raises WriteError unless files can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise WriteError(f"--out {folder} cannot be written to ({error.strerror}); name another "
                         "folder") from None


def write_atomically(path, content):
    """Writes a file of these bytes, whole or not at all: until the end the previous one stays.

    Raises WriteError where the folder or the disk does not take it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    UNFINISHED.add(temporary)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(f"{path} cannot be written ({error.strerror}); what was there before is "
                         "unchanged") from None
    finally:
        with suppress(OSError):  # it is there only where writing failed
            temporary.unlink()
        UNFINISHED.discard(temporary)


def store_results(path, results):
    """Writes results as JSON, after removing the figures and the tables of earlier results.

    Raises NotFinite, and WriteError where the folder or the disk does not take them; then they lie
    in a temporary folder that the message names.
    """
    content = results_text(plain(results)).encode()
    try:
        remove_figures_and_tables(path)
        write_atomically(path, content)
    except WriteError as error:
        rescued = Path(tempfile.gettempdir(), f"rescued-{os.getpid()}-{path.name}")
        try:
            rescued.write_bytes(content)
        except OSError:  # the disk is full there too
            raise error from None
        raise WriteError(f"{error}; the new results are in {rescued}") from None


def remove_figures_and_tables(path):
    """Removes what lies beside the results at path, where it is there. Raises WriteError."""
    for beside in (figure_path(path), details_path(path), path.with_suffix(".md")):
        try:
            beside.unlink(missing_ok=True)
        except OSError as error:
            raise WriteError(f"{beside} cannot be replaced ({error.strerror}); what was there "
                             "before is unchanged") from None


def png_of(figure, results):
    """The bytes of a matplotlib figure as a PNG of 256 colours that says what it was drawn from.

    So few colours take a third of the space and make no difference to the eye.
    """
    drawn, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    texts = PngInfo()
    texts.add_text(FINGERPRINT_FIELD, fingerprint(results))
    picture = Image.open(drawn).convert("RGB").quantize(256)
    picture.save(reduced, format="png", optimize=True, pnginfo=texts)
    return reduced.getvalue()


def figure_problem(path):
    """Why the figure at path does not belong to the results beside it, or None where it does."""
    try:
        results = read_results(results_path(path))
    except ResultsError as error:
        return str(error)
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            picture.verify()  # the checksums of all parts; the picture cannot be read after it
        with Image.open(path, formats=["PNG"]) as picture:
            drawn_from = picture.text.get(FINGERPRINT_FIELD)
    except Exception:  # Pillow raises errors of many kinds for damage
        return f"{path} is damaged; draw it again with --replot"
    if drawn_from is None:
        return f"{path} does not say what it was drawn from; draw it again with --replot"
    if drawn_from != fingerprint(results):
        return (f"{path} was drawn from other results than {results_path(path).name}; "
                "draw it again with --replot")
    return None


# --- tables ---


def tables_text(results):
    """All tables of results as Markdown, each under its key: the text of NAME.md.

    A table is a list of rows, each a dict of columns. No program reads this text.
    """
    parts = [f"# All tables of {results['experiment']}\n\n"
             f"Written with {results['experiment']}.json, which has the numbers in all digits."]
    for key, value in results.items():
        if is_table(value) and key not in OF_THE_RUN:
            parts.append(f"## {key}\n\n{format_table(value)}")
    return "\n\n".join(parts) + "\n"


def tables_problem(path):
    """Why the tables at path do not belong to the results beside them, or None where they do."""
    try:
        expected = tables_text(read_results(path.with_suffix(".json")))
        belongs = path.read_text(encoding="utf-8") == expected
    except ResultsError as error:
        return str(error)
    except Exception:  # the file is missing or no text, or results were changed by hand
        belongs = False
    if not belongs:
        return (f"{path} does not hold the tables of {path.stem}.json; write it again with "
                "--replot")
    return None


def is_table(value):
    """Whether this is a table: a list of rows, each a dict of columns."""
    return isinstance(value, list) and value != [] and all(isinstance(row, dict) for row in value)


def format_cell(value):
    """A number for a table: whole ones in full, others to four digits; a dash for none."""
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
    if 1e-3 <= abs(value) < 1e3:
        return f"{value:.4g}"
    return f"{value:.2e}"


def format_table(rows, columns=None):
    """Rows (a list of dicts) as an aligned Markdown table; columns names some of theirs, or all.

    Columns of numbers are aligned to the right.
    """
    if columns is None:
        columns = list(rows[0])
    return join_columns([format_column(rows, column) for column in columns])


def format_column(rows, column):
    """One column of a table, top to bottom."""
    cells = [format_cell(row[column]) for row in rows]
    numbers = all(isinstance(row[column], (int, float, type(None))) for row in rows)
    return align_column(column.replace("_", " "), cells, right=numbers)


def align_column(heading, cells, right):
    """A heading, the ruler and cells of one width, with the text on the right or on the left."""
    heading, *cells = [text.replace("|", "\\|") for text in (heading, *cells)]
    width = max(len(text) for text in (heading, *cells))
    if right:
        ruler = "-" * (width + 1) + ":"
        return [f" {heading:>{width}} ", ruler, *(f" {cell:>{width}} " for cell in cells)]
    ruler = "-" * (width + 2)
    return [f" {heading:<{width}} ", ruler, *(f" {cell:<{width}} " for cell in cells)]


def join_columns(columns):
    """Columns of align_column side by side: a Markdown table."""
    return "\n".join("|" + "|".join(cells) + "|" for cells in zip(*columns))
