"""Tables in Markdown, and the parts of docstrings that they show."""

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_ATTRIBUTE = re.compile(r"^    (\w+): ", re.MULTILINE)
_SPACE = re.compile(r"\s+")
_CODE = re.compile(r"(`[^`]*`)")
_SENTENCES = {"Meaning", "What it does"}
"""Heads of columns with sentences, which the style sheet gives more room."""


class MissingTextError(Exception):
    """Something public has no text to show."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; `|` in its cells is escaped, but for code, where none is needed."""
    wide = [title in _SENTENCES for title in head]
    shown = ([_roomy(*cell) for cell in zip(row, wide, strict=True)] for row in rows)
    lines = [head, ["---"] * len(head), *shown]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _roomy(text: str, wide: bool) -> str:
    return f'<span class="meaning">{text}</span>' if wide and text else text


def _cell(text: str) -> str:
    parts = _CODE.split(_SPACE.sub(" ", text).strip())
    return "".join(one if one.startswith("`") else one.replace("|", "\\|") for one in parts)


def code(text: object) -> str:
    """Return a text as code, which may have `|` in it."""
    return f"`{text}`" if str(text) else ""


def anchored(name: str, *, prefix: str) -> str:
    """Return a name as code with an anchor, so that pages can link to it."""
    return f'<span id="{prefix}-{name}"></span>`{name}`'


def summary(kind: Any) -> str:
    """Return the first line of a docstring.

    Raises:
        MissingTextError: There is none.

    """
    text = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0]
    # A dataclass without a docstring gets its signature as one.
    if not text or text.startswith(f"{kind.__name__}("):
        raise MissingTextError(f"{kind.__name__} has no docstring")
    return sentence(text)


def sentence(text: str) -> str:
    """Return a text that begins with a capital and ends with a full stop, without HTML."""
    parts = _CODE.split(_SPACE.sub(" ", text).strip())
    plain = "".join(one if one.startswith("`") else one.replace("<", "&lt;") for one in parts)
    word = plain.split(" ", 1)[0]
    # A name that has capitals of its own, such as vLLM, keeps its form.
    capital = plain if any(map(str.isupper, word[1:])) else plain[:1].upper() + plain[1:]
    return capital if capital.endswith((".", ":", "?", "!")) else f"{capital}."


def attribute_texts(kind: type) -> Mapping[str, str]:
    """Return the texts in the `Attributes:` part of a class's docstring, by name."""
    doc = inspect.cleandoc(kind.__doc__ or "")
    _, _, part = doc.partition("Attributes:\n")
    part = re.split(r"\n(?=\S)", part)[0]
    pieces = _ATTRIBUTE.split(part)
    return {name: sentence(text) for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}


def attribute_text(kind: type, name: str) -> str:
    """Return the text of one attribute, also of a base class.

    Raises:
        MissingTextError: No class describes it.

    """
    for one in kind.__mro__:
        text = attribute_texts(one).get(name)
        if text:
            return text
    raise MissingTextError(f"{kind.__name__}.{name} is not in its docstring's Attributes")


def type_text(annotation: Any) -> str:
    """Return a type as pages show it: without modules."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", text)
    return re.sub(r"^NotRequired\[(.*)\]$", r"\1", text)


def default_text(field: "dataclasses.Field[Any]") -> str:
    """Return what a dataclass's field is where nobody sets it."""
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    return ""


def fields_table(kind: Any, *, prefix: str) -> str:
    """Return a dataclass's fields: name, type, default and text."""
    rows = (
        (
            anchored(field.name, prefix=prefix),
            code(type_text(field.type)),
            code(default_text(field)) or "required",
            attribute_text(kind, field.name),
        )
        for field in dataclasses.fields(kind)
    )
    return table(("Name", "Type", "Default", "Meaning"), rows)
