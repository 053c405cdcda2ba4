"""Finds passwords without a name: of command lines, of SQL, of Basic authentication."""

import base64
import re
from collections.abc import Iterator

from splitreason_integrations.privacy.names import is_nothing

_USER_OPTION = re.compile(
    r"[ \t](?:-u|--user|--proxy-user|-U)[ \t=]{0,2}[\"']?[^\s:\"'/-][^\s:\"'/]{0,63}:"
    r"([^\s\"']{1,256})"
)
_SHORT_OPTION = re.compile(
    r"\b(?:sshpass|mysql|mysqldump|mysqladmin)\b[^\n|;]{0,80}? -p ?[\"']?([^\s\"'-][^\s\"']{2,256})"
)
_IDENTIFIED = re.compile(r"\bidentified\s{1,4}by\s{1,4}[\"']([^\"'\n]{1,256})", re.IGNORECASE)


def passwords_of_commands(text: str) -> Iterator[tuple[int, int]]:
    """Yield the passwords of command lines and of SQL that have no name of their own."""
    for pattern in (_USER_OPTION, _SHORT_OPTION, _IDENTIFIED):
        for found in pattern.finditer(text):
            if not is_nothing(found[1]):
                yield found.span(1)


def is_basic(value: str) -> bool:
    """Return whether a value is a user and a password as Basic authentication writes them."""
    try:
        return b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except ValueError:
        return False
