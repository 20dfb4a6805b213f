"""How the report writes numbers, intervals and tables: the filters of its templates.

Each takes a number, None, or an interval: {"value": …, "low": …, "high": …}, or {"value": …,
"ci95": …} with the half width. Of an interval, all filters but `interval` write the value.
"""

from common.results import align_column, join_columns

NOT_MEASURED = "–"  # stands for None
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def is_interval(value):
    """Whether this is a value with its interval."""
    return isinstance(value, dict) and "value" in value


def value_of(measured):
    """The number itself, of an interval its value. Raises ValueError where it is neither."""
    value = measured["value"] if is_interval(measured) else measured
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"{measured} is no number")
    return value


# --- filters ---


def fixed(measured, digits):
    """A number with this many decimals: 1,234.50, −0.13."""
    value = value_of(measured)
    if value is None:
        return NOT_MEASURED
    rounded = round(value, digits) + 0.0  # the sum turns −0.0 into 0.0
    return f"{rounded:,.{digits}f}".replace("-", "−")


def percent(measured, digits):
    """A fraction in percent: 99.1 %."""
    value = value_of(measured)
    return NOT_MEASURED if value is None else f"{fixed(100 * value, digits)} %"


def points(measured, digits):
    """A difference of two fractions in percentage points, without a unit: −0.3."""
    value = value_of(measured)
    return NOT_MEASURED if value is None else fixed(100 * value, digits)


def number(measured, digits):
    """A number to this many significant digits: 0.57, 1,200, 1.2 · 10⁻⁵.

    Powers of ten stand below 0.001 and above 1,000,000. Whole numbers get no decimals.
    """
    value = value_of(measured)
    if value is None:
        return NOT_MEASURED
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    rounded = float(f"{mantissa}e{exponent}")
    if rounded != 0 and not 1e-3 <= abs(rounded) <= 1e6:
        return power_of_ten(mantissa, exponent)
    decimals = 0 if isinstance(value, int) else max(0, digits - 1 - int(exponent))
    return fixed(rounded, decimals)


def power_of_ten(mantissa, exponent):
    """"1.2" and "-05" as 1.2 · 10⁻⁵."""
    superscript = str(int(exponent)).translate(SUPERSCRIPTS)
    return f"{mantissa.replace('-', '−')} · 10{superscript}"


def minutes(seconds):
    """A time in seconds; in minutes from 90 seconds on: 50 s, 3 min."""
    value = value_of(seconds)
    if value is None:
        return NOT_MEASURED
    return f"{fixed(value, 0)} s" if value < 90 else f"{fixed(value / 60, 0)} min"


FORMS = {"fixed": fixed, "percent": percent, "points": points, "number": number}


def interval(measured, form, digits):
    """A value and its interval in one of FORMS: 0.57 (0.36 to 0.78), or 0.57 ± 0.05."""
    if measured is None:
        return NOT_MEASURED
    if not is_interval(measured):
        raise ValueError(f"{measured} is no interval")
    bounds = [measured[key] for key in measured if key in ("ci95", "low", "high")]
    if None in bounds:
        return f"{FORMS[form](measured, digits)} (no interval)"
    if "ci95" in measured:
        return f"{FORMS[form](measured, digits)} ± {FORMS[form](measured['ci95'], digits)}"
    low, high = FORMS[form](measured["low"], digits), FORMS[form](measured["high"], digits)
    return f"{FORMS[form](measured, digits)} ({low} to {high})"


def unformatted(value):
    """What a template writes without a filter: all digits that are stored, lists with commas."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return fixed(value, 0)
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:,.6g}".partition("e")
        return power_of_ten(mantissa, exponent) if exponent else mantissa.replace("-", "−")
    if isinstance(value, list):
        return ", ".join(unformatted(item) for item in value)
    if isinstance(value, dict):
        raise ValueError(f"{value!r} needs a filter")
    return value


# --- tables ---


def table(rows, columns):
    """Rows (a list of dicts) as a Markdown table.

    columns is a list of column names, or a dict that maps them to headings: "heading", or
    ("heading", form, digits), or ("heading", "interval", form, digits).
    """
    if isinstance(columns, list):
        columns = {column: column.replace("_", " ") for column in columns}
    return join_columns([table_column(rows, name, form) for name, form in columns.items()])


def table_column(rows, name, form):
    """One column of a table, top to bottom; numbers are on the right."""
    heading, *form = [form] if isinstance(form, str) else form
    if any(name not in row for row in rows):
        raise ValueError(f"a row has no column {name!r}; it has {', '.join(rows[0])}")
    cells = [table_cell(row, name, form) for row in rows]
    texts = any(isinstance(row[name], (str, bool, list)) for row in rows)
    return align_column(heading, cells, right=not texts)


def table_cell(row, name, form):
    """One cell of a table. An interval may be in one column or in several, see interval_of."""
    if not form:
        return unformatted(row[name])
    filter_name, *arguments = form
    if filter_name == "interval":
        return interval(interval_of(row, name), *arguments)
    return {**FORMS, "minutes": minutes}[filter_name](row[name], *arguments)


def interval_of(row, name):
    """The interval in column `name`, or that of it and of name_ci95, or of name_low and name_high.
    """
    if row[name] is None or is_interval(row[name]):
        return row[name]
    if f"{name}_ci95" in row:
        return {"value": row[name], "ci95": row[f"{name}_ci95"]}
    if f"{name}_low" in row and f"{name}_high" in row:
        return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
    raise ValueError(f"a row has no {name}_ci95, and not both {name}_low and {name}_high")
