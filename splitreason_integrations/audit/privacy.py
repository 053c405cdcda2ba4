"""What a log without content keeps of a text: its length and its SHA-256.

A text is kept only where its field is known to name something; an unknown field counts as content.
A SHA-256 proves what a text was to whoever has it; of a text of few possible values it also lets
one guess.
"""

from collections.abc import Mapping
from typing import Any

from splitreason_integrations.audit.record import sha256

NAMES = frozenset(
    {
        "action",
        "at",
        "by",
        "cap",
        "check",
        "close",
        "decision",
        "error",
        "human",
        "id",
        "kind",
        "model",
        "moment",
        "name",
        "reason",
        "role",
        "rule",
        "setting",
        "stage",
        "status",
        "to",
        "trigger",
        "verdict",
    }
)
"""Fields whose text names who, what or why."""

_NAME_ENDINGS = ("_by", "_id", "_model", "_name", "_reason")


def without_content(data: Any, *, field: str = "") -> Any:
    """Return plain data in which every text that may be content is replaced by its measure."""
    if isinstance(data, Mapping):
        return {name: without_content(value, field=name) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [without_content(one, field=field) for one in data]
    if isinstance(data, str) and not is_name(field):
        return measure(data)
    return data


def measure(text: str) -> dict[str, Any]:
    """Return the length in characters and the SHA-256 of a text."""
    return {"chars": len(text), "sha256": sha256(text.encode("utf-8", "surrogatepass"))}


def is_name(field: str) -> bool:
    """Return whether the text of a field names something and so is no content."""
    return field in NAMES or field.endswith(_NAME_ENDINGS)
