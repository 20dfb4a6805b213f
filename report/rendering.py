"""A template and the stored results give a document."""

import sys
import traceback
from pathlib import Path

from report.certainty import CERTAINTY_RULE, certainty
from report.formats import FORMS, interval, minutes, table, unformatted
from report.names import SOURCES, Results

import jinja2

UNSUPPORTED = " *(not in this run)*"


class ReportError(Exception):
    """A template cannot be rendered; the message names its line."""


class NotMeasured(Exception):
    """The condition of a claim asks for a number that is None."""


class Environment(jinja2.Environment):
    """Jinja2, in which a.b of a dict is its entry b, and any part of None is None."""

    def getattr(self, value, name):
        if value is None:
            return None
        if isinstance(value, dict):  # Jinja2 would find methods of the dict, such as its values
            return value[name] if name in value else self.undefined(obj=value, name=name)
        return super().getattr(value, name)


class ConditionEnvironment(Environment):
    """The same for the conditions of claims, in which no number may be None."""

    def getattr(self, value, name):
        return require_measured(super().getattr(value, name))

    def getitem(self, value, name):
        return require_measured(super().getitem(value, name))


def require_measured(value):
    """The value. Raises NotMeasured where it is None."""
    if value is None:
        raise NotMeasured
    return value


def render(path, figures):
    """The document that the template at path gives, and the claims that are not supported.

    figures is the folder of the results. The claims are lines of text. Raises ReportError.
    """
    names = {name: Results(name, figures) for name in SOURCES}
    names |= {"certainty": certainty, "certainty_rule": CERTAINTY_RULE}
    conditions = ConditionEnvironment(undefined=jinja2.StrictUndefined)
    unsupported = []

    @jinja2.pass_context
    def claim(context, condition, caller):
        """The sentence between the call and its end, marked where the condition is false."""
        sentence = caller()
        if holds(condition, context.get_all(), conditions):
            return sentence
        unsupported.append(f"{place_in_progress()}: the results do not support "
                           f"{' '.join(sentence.split())!r} ({condition})")
        end = len(sentence.rstrip())
        return sentence[:end] + UNSUPPORTED + sentence[end:]

    environment = Environment(
        loader=jinja2.FileSystemLoader(path.parent), undefined=jinja2.StrictUndefined,
        finalize=unformatted, keep_trailing_newline=True)
    environment.filters |= {**FORMS, "interval": interval, "minutes": minutes, "table": table}
    try:
        text = environment.get_template(path.name).render(names, claim=claim)
        text.encode()  # results can hold half of a letter, which no file can
    except Exception as error:  # results of another version can fail a template in any way
        message = " ".join(str(error).split())
        raise ReportError(f"{place_of(error, path)}: {message}") from None
    return text, unsupported


def holds(condition, names, conditions):
    """Whether a claim's condition, a text, is true. It is not where a number in it is None."""
    if not isinstance(condition, str):
        raise ValueError('a condition stands in quotes: claim("images.p_value < 0.05")')
    try:
        result = conditions.compile_expression(condition, undefined_to_none=False)(names)
    except NotMeasured:
        return False
    if not isinstance(result, bool):
        raise ValueError(f"{condition!r} is neither true nor false")
    return result


def place_in_progress():
    """The template, which may be an included one, and its line that is being rendered."""
    frame = sys._getframe()
    while "__jinja_template__" not in frame.f_globals:
        frame = frame.f_back
    template = frame.f_globals["__jinja_template__"]
    return f"{template.name}, line {template.get_corresponding_lineno(frame.f_lineno)}"


def place_of(error, path):
    """The template at path, or the one that it includes, and the line where the error came up."""
    places = [f"{Path(frame.filename).relative_to(path.parent).as_posix()}, line {frame.lineno}"
              for frame in traceback.extract_tb(error.__traceback__)
              if path.parent in Path(frame.filename).parents and frame.filename.endswith(".j2")]
    return places[-1] if places else path.name
