"""Half characters and deep nesting: what no tokenizer and no server can be sent.

Text that was cut in the middle of an emoji, or read with `surrogateescape`, may hold one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.errors import RequestError

MOST_LEVELS = 120
"""How deep messages and tools may be nested; readers of JSON and templates hold little more."""


def check_encodable(value: Any, where: str) -> None:
    """Raise RequestError if a text in plain data holds half a surrogate pair, or it is too deep.

    Args:
        value: plain data; other values than text, mappings and sequences are left.
        where: what it is, as the error's first words.

    """
    _check(value, (where,))


def _check(value: Any, path: tuple[Any, ...]) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif len(path) > MOST_LEVELS + 1:
        raise RequestError(
            f"{_written(path[:6])}, …: nested more than {MOST_LEVELS} levels deep, or contains "
            "itself; give its inner part as JSON text, or leave it out"
        )
    elif isinstance(value, Mapping):
        for key, one in value.items():
            _check(key, path)
            _check(one, (*path, repr(key)))
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        for at, one in enumerate(value):
            _check(one, (*path, at))


def _written(path: tuple[Any, ...]) -> str:
    return ", ".join(map(str, path))


def _check_text(text: str, path: tuple[Any, ...]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{_written(path)}: character {error.start} is {text[error.start]!a}, half of a "
            "surrogate pair, which cannot be encoded; replace it: "
            "text.encode(errors='replace').decode()"
        ) from error
