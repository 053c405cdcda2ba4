"""The reply as it grows: tokens with their author, and the text that a reader may see."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from splitreason_integrations.protocols import Codec, TextStream
from splitreason_integrations.records import Author, Channel, Delta, Piece, TextRun, Writer, runs_of
from splitreason_integrations.records import token_ids as joined
from splitreason_integrations.text.replies import ReplyReader

SMALL: Writer = (Author.SMALL, 0)
"""The small model."""

CLOSER: Writer = (Author.SMALL, 1)
"""What ends the reasoning where its cap is reached: it counts as the small model's, which reads it
as it reads another author's."""

TAIL_CHARACTERS = 4000
"""How much of the reply's text triggers and close rules are shown."""


class Transcript:
    """Collects all authors' tokens and turns them into deltas.

    Args:
        codecs: the codec of everyone who writes; more may be added while the reply grows.
        last_of_prompt: the small prompt's last tokens, for decoding what follows them.
        reader: separates the reply into its channels.
        begins_reasoning: whether the prompt has opened the reasoning.
        max_reasoning_tokens: cap on the tokens of the reasoning; None for none. With a cap, a
            thought that begins behind it or behind the answer's beginning is neither counted nor
            shown; it is to be ended at once.

    Attributes:
        pieces: the reply's tokens by author; they are only ever appended.
        tokens: how many tokens the reply has.
        reasoning_tokens: how many of them are reasoning.
        tail: the end of the reply's text, control tokens included.

    """

    def __init__(
        self,
        codecs: Mapping[Writer, Codec],
        last_of_prompt: Sequence[int],
        reader: ReplyReader,
        *,
        begins_reasoning: bool = False,
        max_reasoning_tokens: int | None = None,
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
        self._cap = max_reasoning_tokens
        self._half = 0
        self._ended_at: int | None = None
        self._begins_reasoning = self._has_begun = begins_reasoning
        self._end_of_reasoning = small.reply_format.end_of_reasoning.strip()
        self._reasoning = ""
        self._shown: list[Delta] = []

    @property
    def stopped(self) -> bool:
        """Whether the reply has ended by what it says: `ended_by` says by what."""
        return self._reader.stopped

    @property
    def ended_by(self) -> str:
        """Why the reply ended by what it says: its last call, or a stop string."""
        return "stop" if self._reader.has_all_calls else "stop_string"

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
        if self._begins_reasoning and not self.tail:
            return Channel.REASONING
        begun = reader.channel is Channel.REASONING or reader.text(Channel.ANSWER)
        return reader.channel if begun or reader.channel is Channel.TOOL_CALL else None

    @property
    def ends_whole(self) -> bool:
        """Whether the reply ends with a whole character."""
        return self._stream(self._writer).complete

    def reasoning_left(self, held: int) -> int | None:
        """Return how many tokens may still be reasoning.

        None without a cap, and where the reply reasons no more. `held` tokens come next already.
        """
        if self._cap is None or not (self.reasons or not self._has_begun):
            return None
        return 0 if self._reader.is_hidden else max(0, self._cap - self.reasoning_tokens - held)

    @property
    def reasons(self) -> bool:
        """Whether the reasoning is being written."""
        return self.channel is Channel.REASONING

    @property
    def may_think(self) -> bool:
        """Whether a thought may begin here; a cap allows none behind it or behind the reasoning."""
        if self._cap is None:
            return True
        return not self._has_begun and self.reasoning_tokens + self._half < self._cap

    @property
    def lacks_answer(self) -> bool:
        """Whether the reasoning was ended at its cap, and nothing is behind that yet."""
        return self._ended_at == self.tokens

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
            texts = shown or [(channel, "")]
            calls = self._reader.take_call_pieces()
            for at, (where, text) in enumerate(texts, 1 - len(texts)):
                ids = tuple(run) if at == 1 - len(texts) else ()
                deltas.append(Delta(text, ids, author, where, () if at else calls))
            if self.stopped or (self._reader.is_hidden and writer != CLOSER):
                break
        if kept:
            self.pieces.append(Piece(author, tuple(kept), writer[1]))
            self.tokens += len(kept)
        if writer == CLOSER:
            self._ended_at = self.tokens
        self._shown += deltas
        return deltas

    def finish(self) -> list[Delta]:
        """End the reply; return text that was held back."""
        shown = self._show(self._stream(self._writer).flush()) + self._reader.finish()
        deltas = [Delta(text, (), self.author, channel) for channel, text in shown]
        if calls := self._reader.take_call_pieces():
            deltas.append(Delta("", (), self.author, Channel.TOOL_CALL, calls))
        self._shown += deltas
        return deltas

    def runs(self) -> tuple[TextRun, ...]:
        """Return the text so far by author and part."""
        return runs_of(self._shown)

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
        if self._reader.may_stop or self._cap is not None:
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
        """Show a run of tokens, and count those that are reasoning."""
        stream, reasoned = self._stream(writer), self.reasons
        opened = self._begins_reasoning and not self.tail
        self._reader.hides_thoughts = not (opened or self.may_think)
        shown = self._show("".join([stream.push(token_id) for token_id in token_ids]))
        ends = reasoned and any(channel is Channel.REASONING for channel, _ in shown)
        counts = writer != CLOSER and not self._reader.is_hidden
        if counts and (self.reasons or ends):
            # The first character of a thought may be of several tokens.
            self.reasoning_tokens += len(token_ids) + (0 if reasoned else self._half)
        self._half = 0 if stream.complete else self._half + len(token_ids)
        self._has_begun = self._has_begun or self.channel is not None
        return shown

    def _show(self, text: str) -> list[tuple[Channel, str]]:
        self.tail = (self.tail + text)[-TAIL_CHARACTERS:]
        shown = self._reader.feed(text) if text else []
        if self._reader.channel is not Channel.REASONING:
            self._reasoning = ""
        elif self._end_of_reasoning not in self._reasoning:
            self._reasoning = self._reasoning[-len(self._end_of_reasoning) :] + text
        return shown
