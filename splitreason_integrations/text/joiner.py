"""Encodes text that arrives in pieces, each after the tokens committed so far."""

from collections.abc import Sequence

from splitreason_integrations.protocols import Codec, TextStream

_CONTEXT_TOKENS = 4
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Joiner:
    """Encodes a text piece by piece; committed tokens are never encoded again."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        # A reply never begins a text: some decoders drop a space that does.
        self._before = codec.encode("\n")

    def encode(self, text: str) -> list[int]:
        """Return ids of a text that follows the committed tokens."""
        ids = self._codec.encode(text) if text else []
        if not self.joins(ids, text):
            # A tokenizer that puts a space before every text: encode after a line break instead.
            lead, led = self._codec.encode("\n"), self._codec.encode("\n" + text)
            if led[: len(lead)] == lead and self.joins(led[len(lead) :], text):
                ids = led[len(lead) :]
        return ids

    def advance(self, token_ids: Sequence[int]) -> None:
        """Commit ids as context."""
        if not token_ids:
            return
        count = _CONTEXT_TOKENS
        # Of a character of several tokens the context has all or none.
        while count < len(token_ids) and _BROKEN in self._codec.decode(token_ids[-count:]):
            count *= 2
        self._before = list(token_ids[-count:])
        # A stream after it would take the broken character for one that goes on.
        if self._codec.decode(self._before).endswith(_BROKEN):
            self._before = self._codec.encode("\n")

    def joins(self, token_ids: Sequence[int], text: str) -> bool:
        """Return whether ids decode to exactly this text after the committed tokens."""
        before = self._codec.decode(self._before)
        return self._codec.decode([*self._before, *token_ids]) == before + text

    def stream(self) -> TextStream:
        """Return a decoder of tokens that follow the committed ones."""
        return self._codec.text_stream(after=self._before)


def whole_ends(stream: TextStream, token_ids: Sequence[int]) -> dict[int, int]:
    """Return a map: character offset to the number of tokens whose text ends there."""
    offset, ends = 0, {}
    for count, token_id in enumerate(token_ids, 1):
        offset += len(stream.push(token_id))
        if stream.complete:
            ends[offset] = count
    return ends
