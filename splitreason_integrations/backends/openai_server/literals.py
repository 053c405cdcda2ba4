"""Lists of tokens as grammars in llama.cpp's notation, for servers that take text."""

from collections.abc import Sequence

from splitreason_integrations.protocols import Codec

MOST_LITERALS = 256
"""A longer list says little more than which token was refused, and takes long to read."""

_BROKEN = "\ufffd"
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def literal_grammar(codec: Codec, token_ids: Sequence[int]) -> str | None:
    """Return the grammar of a text that is one of some tokens'.

    None for a list that is too long, and where a token alone is no whole character.
    """
    if not 0 < len(token_ids) <= MOST_LITERALS:
        return None
    before = codec.encode("\n")
    texts = [codec.text_stream(after=before).push(token) for token in token_ids]
    if any(not text or _BROKEN in text for text in texts):
        return None
    return f"root ::= {' | '.join(dict.fromkeys(map(quoted, texts)))}"


def quoted(text: str) -> str:
    """Return a text in llama.cpp's notation."""
    return f'"{"".join(_ESCAPED.get(one, one) for one in text)}"'
