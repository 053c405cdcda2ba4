"""Encodes text that arrives in pieces, each behind the tokens that are already committed."""

from collections.abc import Sequence

from splitreason_integrations.protocols import Codec, TextStream

_CONTEXT_TOKENS = 4


class Joiner:
    """Encodes a text that goes on piece by piece; what stands is never encoded anew."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        # A reply never begins a text: some decoders drop a space that does.
        self._before = codec.encode("\n")

    def encode(self, text: str) -> list[int]:
        """Return ids of a text behind what stands."""
        ids = self._codec.encode(text) if text else []
        if not self.joins(ids, text):
            # A tokenizer that puts a space before every text: encode behind a line break instead.
            lead, led = self._codec.encode("\n"), self._codec.encode("\n" + text)
            if led[: len(lead)] == lead and self.joins(led[len(lead) :], text):
                ids = led[len(lead) :]
        return ids

    def advance(self, token_ids: Sequence[int]) -> None:
        """Let ids stand."""
        self._before = list(token_ids[-_CONTEXT_TOKENS:]) or self._before

    def joins(self, token_ids: Sequence[int], text: str) -> bool:
        """Return whether ids mean just this text behind what stands."""
        before = self._codec.decode(self._before)
        return self._codec.decode([*self._before, *token_ids]) == before + text

    def stream(self) -> TextStream:
        """Return a decoder of tokens that follow what stands."""
        return self._codec.text_stream(after=self._before)


def whole_ends(stream: TextStream, token_ids: Sequence[int]) -> dict[int, int]:
    """Return, by character offset, after how many tokens that offset is reached whole."""
    offset, ends = 0, {}
    for count, token_id in enumerate(token_ids, 1):
        offset += len(stream.push(token_id))
        if stream.complete:
            ends[offset] = count
    return ends
