"""Half characters: what no tokenizer and no server can be sent.

Text that was cut in the middle of an emoji, or read with `surrogateescape`, may hold one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.errors import RequestError


def check_encodable(value: Any, where: str) -> None:
    """Raise RequestError if a text in plain data holds half a surrogate pair.

    Args:
        value: plain data; other values than text, mappings and sequences are left.
        where: what it is, as the error's first words.

    """
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            check_encodable(key, where)
            check_encodable(one, f"{where}, {key!r}")
    elif isinstance(value, Sequence):
        for at, one in enumerate(value):
            check_encodable(one, f"{where}, {at}")


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{where}: character {error.start} is {text[error.start]!a}, half of a surrogate pair, "
            "which cannot be encoded; replace it: text.encode(errors='replace').decode()"
        ) from error
