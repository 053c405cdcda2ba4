"""The reply as it grows: tokens with their author, and the text that a reader may see."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from splitreason_integrations.protocols import Codec, TextStream
from splitreason_integrations.records import Author, Channel, Delta, Piece, Writer
from splitreason_integrations.records import token_ids as joined
from splitreason_integrations.text.replies import ReplyReader

SMALL: Writer = (Author.SMALL, 0)

TAIL_CHARACTERS = 4000
"""How much of the reply's text triggers and close rules are shown."""
"""The small model."""


class Transcript:
    """Collects all authors' tokens and turns them into deltas.

    Args:
        codecs: the codec of everyone who writes; more may be added while the reply grows.
        last_of_prompt: the small prompt's last tokens, for decoding what follows them.
        reader: separates the reply into its channels.

    Attributes:
        pieces: the reply's tokens by author; they are only ever appended.
        tokens: how many tokens the reply has.
        reasoning_tokens: how many of them are reasoning.
        tail: the end of the reply's text, control tokens included.

    """

    def __init__(
        self, codecs: Mapping[Writer, Codec], last_of_prompt: Sequence[int], reader: ReplyReader
    ) -> None:
        self._codecs = codecs
        small = codecs[SMALL]
        # One stream for all who share their ids: a character may be of two authors.
        self._streams: dict[str, TextStream] = {
            small.fingerprint: small.text_stream(after=last_of_prompt)
        }
        self._reader = reader
        self._writer = SMALL
        self.pieces: list[Piece] = []
        self.tokens = 0
        self.reasoning_tokens = 0
        self.tail = ""
        self._end_of_reasoning = small.reply_format.end_of_reasoning.strip()
        self._reasoning = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop string ended the reply."""
        return self._reader.stopped

    def shown(self, text: str) -> str:
        """Return a text at the reply's end without what a stop string cut off there."""
        cut_off = self._reader.cut_off
        if not cut_off:
            return text
        at = text.rfind(cut_off)
        if at >= 0:
            return text[:at]
        return "" if cut_off.endswith(text) else text

    @property
    def reader(self) -> ReplyReader:
        """Separates the reply into its channels."""
        return self._reader

    @property
    def channel(self) -> Channel | None:
        """The part of the reply being written; None before one has begun, or between two."""
        reader = self._reader
        if self._end_of_reasoning in self._reasoning:
            # The reader still waits for what may belong to the border.
            return None
        begun = reader.channel is Channel.REASONING or reader.text(Channel.ANSWER)
        return reader.channel if begun or reader.channel is Channel.TOOL_CALL else None

    @property
    def author(self) -> Author:
        """Who wrote last."""
        return self._writer[0]

    def text_of(self, pieces: Sequence[Piece]) -> str:
        """Return the text of some pieces, control tokens included."""
        return "".join(
            self._codecs[writer].decode(joined(list(group)))
            for writer, group in groupby(pieces, key=lambda piece: piece.writer)
        )

    def add(self, writer: Writer, token_ids: Sequence[int]) -> list[Delta]:
        """Append tokens; return what they show. Every kept id is in exactly one delta."""
        if not token_ids:
            return []
        author = writer[0]
        deltas = self._change(writer)
        kept: list[int] = []
        for run in self._runs(writer, token_ids):
            shown = self._feed(writer, run)
            kept += run
            channel = shown[0][0] if shown else self._reader.channel
            if channel is Channel.REASONING:
                self.reasoning_tokens += len(run)
            texts = shown or [(channel, "")]
            calls = self._reader.take_call_pieces()
            for at, (where, text) in enumerate(texts, 1 - len(texts)):
                ids = tuple(run) if at == 1 - len(texts) else ()
                deltas.append(Delta(text, ids, author, where, () if at else calls))
            if self.stopped:
                break
        if kept:
            self.pieces.append(Piece(author, tuple(kept), writer[1]))
            self.tokens += len(kept)
        return deltas

    def finish(self) -> list[Delta]:
        """End the reply; return text that was held back."""
        shown = self._show(self._stream(self._writer).flush()) + self._reader.finish()
        deltas = [Delta(text, (), self.author, channel) for channel, text in shown]
        if calls := self._reader.take_call_pieces():
            deltas.append(Delta("", (), self.author, Channel.TOOL_CALL, calls))
        return deltas

    def _stream(self, writer: Writer) -> TextStream:
        codec = self._codecs[writer]
        if codec.fingerprint not in self._streams:
            # The reply never begins a text: some decoders drop a space that does.
            self._streams[codec.fingerprint] = codec.text_stream(after=codec.encode("\n")[-1:])
        return self._streams[codec.fingerprint]

    def _change(self, writer: Writer) -> list[Delta]:
        """Switch to another author; return text that the last one left unfinished for good."""
        before, self._writer = self._writer, writer
        if self._stream(writer) is self._stream(before):
            return []
        shown = self._show(self._stream(before).flush())
        return [Delta(text, (), before[0], channel) for channel, text in shown]

    def _runs(self, writer: Writer, token_ids: Sequence[int]) -> list[list[int]]:
        """Split at control tokens, so that each channel's tokens are counted as its own."""
        if self._reader.may_stop:
            return [[token_id] for token_id in token_ids]
        runs: list[list[int]] = []
        fresh = True
        for token_id in token_ids:
            control = self._codecs[writer].is_control(token_id)
            if fresh or control:
                runs.append([])
            runs[-1].append(token_id)
            fresh = control
        return runs

    def _feed(self, writer: Writer, token_ids: Sequence[int]) -> list[tuple[Channel, str]]:
        stream = self._stream(writer)
        return self._show("".join([stream.push(token_id) for token_id in token_ids]))

    def _show(self, text: str) -> list[tuple[Channel, str]]:
        self.tail = (self.tail + text)[-TAIL_CHARACTERS:]
        shown = self._reader.feed(text) if text else []
        if self._reader.channel is not Channel.REASONING:
            self._reasoning = ""
        elif self._end_of_reasoning not in self._reasoning:
            self._reasoning = self._reasoning[-len(self._end_of_reasoning) :] + text
        return shown
