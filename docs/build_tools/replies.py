"""The tables of a reply's metadata."""

from collections.abc import Mapping
from typing import NotRequired, get_origin, get_type_hints

from build_tools.markdown import anchored, attribute_text, code, table, type_text
from splitreason_integrations.records import SpanRecord
from splitreason_integrations.records.endings import CLOSED_BY, STOP_REASONS
from splitreason_integrations.records.metadata import ReadAhead, ReplyMetadata, TokenCounts

TABLES = {
    "metadata": ReplyMetadata,
    "metadata-tokens": TokenCounts,
    "metadata-span": SpanRecord,
    "metadata-reading": ReadAhead,
}
"""The parts of the metadata, by the name of their place in the page."""


def closed_by() -> str:
    """Return the table of the reasons for which a span ends, the close rules first."""
    rule = ("a close rule, such as `agrees:2`", "It held here; see `close`.")
    return table(("Value", "Meaning"), [rule, *_explained(CLOSED_BY)])


def stop_reasons() -> str:
    """Return the table of the reasons for which a reply ends."""
    return table(("Value", "Meaning"), _explained(STOP_REASONS))


def _explained(values: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(code(name), text) for name, text in values.items()]


def keys(name: str) -> str:
    """Return the keys of one part of the metadata."""
    kind = TABLES[name]
    rows = (
        (
            anchored(key, prefix=name),
            code(type_text(annotation)),
            "sometimes" if get_origin(annotation) is NotRequired else "always",
            attribute_text(kind, key),
        )
        for key, annotation in get_type_hints(kind, include_extras=True).items()
    )
    return table(("Key", "Type", "Present", "Meaning"), rows)
