"""What a record may hold: data that every reader of JSON reads alike.

Readers of JSON differ beyond 2**53 for whole numbers and beyond a hundred levels or so of nesting.
Whole numbers beyond that are written as text, which loses no digit; deeper data is refused.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from splitreason_integrations.errors import AuditError

EXACT = 2**53
"""The largest whole number that all readers of JSON read exactly."""

LEVELS = 128
"""How deep lists and mappings may be nested: deeper than what a request may hold."""

_DECIMAL_BITS = 14_000
"""Up to here Python writes a number in decimal; longer ones are written in hexadecimal."""


def plain(value: Any) -> Any:
    """Return a value as JSON data; numbers and types that JSON has not become text.

    Raises:
        AuditError: the value is nested too deeply, or contains itself; or two names of a mapping
            are the same as text.

    """
    return _plain(value, LEVELS)


def plain_or_text(value: Any) -> Any:
    """Return what a model wrote as JSON data, or as JSON text where that is nested too deeply."""
    try:
        return plain(value)
    except AuditError:
        return json.dumps(value, default=str)


def _plain(value: Any, levels: int) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return _scalar(value)
    if isinstance(value, Enum):
        return _plain(value.value, levels)
    if isinstance(value, bytes):
        return str(value)
    if levels == 0:
        raise AuditError(
            f"data for the audit log is nested more than {LEVELS} levels deep, or contains itself; "
            "give less deep data, or pass the inner part as text"
        )
    if isinstance(value, Mapping):
        return _mapping(value, levels - 1)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), levels - 1) for f in fields(value)}
    if isinstance(value, Iterable):
        return [_plain(one, levels - 1) for one in value]
    return str(value)


def _scalar(value: str | bool | float | None) -> Any:
    if isinstance(value, Enum):
        return _scalar(value.value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if -EXACT <= value <= EXACT:
        return value
    return str(value) if value.bit_length() <= _DECIMAL_BITS else hex(value)


def _mapping(value: Mapping[Any, Any], levels: int) -> dict[str, Any]:
    written = {str(name): _plain(one, levels) for name, one in value.items()}
    if len(written) < len(value):
        raise AuditError(
            "data for the audit log has names that are the same as text, such as 1 and '1'; "
            "give each value a name of its own"
        )
    return written
