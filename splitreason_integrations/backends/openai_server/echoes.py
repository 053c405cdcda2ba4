"""What a server's error repeats of the request, which no exception is to show.

Exceptions are logged, recorded and reported; a server's words may quote the user's.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from splitreason_integrations.privacy.redaction import Vault

_RULES = ("email", "card", "key")
_SAID = frozenset({"messages", "prompt", "tools"})
"""Where a request's body has the conversation."""
_LEFT_OUT = "[…]"
_SIGNS = "\"'`“”‘’.,:;!?()[]{}<>…"
_LEAST_WORDS = 3
_LEAST_CHARACTERS = 16
_LEAST_WORD = 8


def without_echo(said: str, sent: Any = None) -> str:
    """Return a server's words without what they repeat of a request, and without keys.

    Three words in a row are left out where the request has them, and one word with a digit or a
    sign in it.

    Args:
        said: a server's words, short ones.
        sent: the body of the request; None where there is none.

    """
    asked = f" {' '.join(word for text in _texts(sent) for word in text.split())} "
    if not asked.strip():
        return Vault(_RULES).hide(said)
    words, kept, at = said.split(), list[str](), 0
    while at < len(words):
        count = _repeated(words[at:], asked)
        kept.append(_LEFT_OUT if count else words[at])
        at += count or 1
    return Vault(_RULES).hide(" ".join(kept))


def _repeated(words: Sequence[str], asked: str) -> int:
    """Return how many words, from the first one on, repeat the request."""
    longest = 0
    for count in range(1, len(words) + 1):
        part = " ".join(words[:count]).strip(_SIGNS)
        if not part or part not in asked:
            break
        is_run = count >= _LEAST_WORDS and len(part) >= _LEAST_CHARACTERS
        is_odd = count == 1 and len(part) >= _LEAST_WORD and not part.replace("_", "a").isalpha()
        longest = count if is_run or is_odd or longest else longest
    return longest


def _texts(sent: Any, name: str = "") -> Iterator[str]:
    """Yield the texts of the conversation in a request's body."""
    if isinstance(sent, str):
        yield from [sent] if name in _SAID else []
    elif isinstance(sent, Mapping):
        for key, value in sent.items():
            yield from _texts(value, name if name in _SAID else key)
    elif isinstance(sent, list | tuple) and not (sent and isinstance(sent[0], int)):
        for one in sent:
            yield from _texts(one, name)
