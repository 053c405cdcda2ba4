"""Markdown tables and notes from plain data, as every published figure uses them."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.tables import markdown_table

Found = Mapping[str, Any]
"""What a benchmark printed as JSON."""

_CONTEXT = ("command", "hardware", "date")


def read(path: Path) -> Found:
    """Return measured figures from a JSON file.

    Raises:
        RequestError: It is missing or no JSON, or does not say how, where and when it was measured.

    """
    try:
        found: Found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path}: cannot be read: {error}") from error
    for key in _CONTEXT:
        if not found.get(key):
            raise RequestError(f"{path}: figures need {', '.join(_CONTEXT)}; {key} is missing")
    return found


def share(value: float) -> str:
    """Return a part of one in per cent."""
    return f"{value:.1%}"


def interval(values: Sequence[float], form: str = "{:.1%}") -> str:
    """Return an interval's two ends."""
    low, high = (form.format(value) for value in values)
    return f"{low} to {high}"


def ratio(value: float, values: Sequence[float]) -> str:
    """Return a ratio with its interval."""
    return f"{value:.2f} ({interval(values, '{:.2f}')})"


def rule(text: str) -> str:
    """Return a trigger or a close rule as code; a dash where there is none.

    Markdown's dialects disagree on a bar within backticks in a table, so that one is written in
    HTML.
    """
    if "|" in text:
        return f"<code>{escape(text).replace('|', '&#124;')}</code>"
    return f"`{text}`" if text else "–"


def note(found: Found, remark: str = "") -> str:
    """Return the line below a table: command, remark, hardware, versions and date."""
    versions = found.get("versions", {})
    named = [f"{name} {versions[name]}" for name in ("torch", "transformers") if name in versions]
    parts = [remark, found["hardware"], ", ".join(named), found["date"]]
    return f"`{found['command']}`: {'; '.join(part for part in parts if part)}."


def transcribed(found: Found) -> str:
    """Return the table of figures that were kept as a table, with the remark that they have."""
    rows = markdown_table(found["headings"], found["rows"])
    return f"{rows}\n\n{note(found, found.get('remark', ''))}"
