"""The tables of a reply's metadata."""

from typing import NotRequired, get_origin, get_type_hints

from build_tools.markdown import anchored, attribute_text, code, table, type_text
from splitreason_integrations.records import SpanRecord
from splitreason_integrations.records.metadata import ReadAhead, ReplyMetadata, TokenCounts

TABLES = {
    "metadata": ReplyMetadata,
    "metadata-tokens": TokenCounts,
    "metadata-span": SpanRecord,
    "metadata-reading": ReadAhead,
}
"""The parts of the metadata, by the name of their place in the page."""


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
