"""The reply as it grows: tokens with their author, and the text that a reader may see."""

from collections.abc import Mapping, Sequence

from splitreason_integrations.backends.base import Codec, TextStream
from splitreason_integrations.records import Author, Channel, Delta, Piece
from splitreason_integrations.replies import ReplyReader


class Transcript:
    """Collects both authors' tokens and turns them into deltas.

    `pieces` only ever grows. Once `stopped`, a stop string has ended the reply and further tokens
    are dropped.
    """

    def __init__(
        self,
        codecs: Mapping[Author, Codec],
        prompts: Mapping[Author, Sequence[int]],
        reader: ReplyReader,
    ) -> None:
        self._codecs = codecs
        # One stream for both where they share their ids: a character may be of two authors.
        shared: dict[str, TextStream] = {}
        self._streams = {
            author: shared.setdefault(
                codec.fingerprint, codec.text_stream(after=prompts[author][-1:])
            )
            for author, codec in codecs.items()
        }
        self._reader = reader
        self.author = Author.SMALL
        self.pieces: list[Piece] = []
        self.tokens = 0
        self.reasoning_tokens = 0
        self.line = ""

    @property
    def stopped(self) -> bool:
        """Whether a stop string ended the reply."""
        return self._reader.stopped

    @property
    def reader(self) -> ReplyReader:
        """The reply, told apart into its channels."""
        return self._reader

    @property
    def channel(self) -> Channel | None:
        """The part of the reply being written; None before one has begun, or between two."""
        reader = self._reader
        begun = reader.channel is Channel.REASONING or reader.text(Channel.ANSWER)
        return reader.channel if begun or reader.channel is Channel.TOOL_CALL else None

    def add(self, author: Author, token_ids: Sequence[int]) -> list[Delta]:
        """Append tokens; return what is new to see. Every kept id is in exactly one delta."""
        deltas = self._change(author)
        kept: list[int] = []
        for run in self._runs(author, token_ids):
            shown = self._feed(author, run)
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
            self.pieces.append(Piece(author, tuple(kept)))
            self.tokens += len(kept)
        return deltas

    def finish(self) -> list[Delta]:
        """End the reply; return text that was held back."""
        shown = self._show(self._streams[self.author].flush()) + self._reader.finish()
        deltas = [Delta(text, (), self.author, channel) for channel, text in shown]
        if calls := self._reader.take_call_pieces():
            deltas.append(Delta("", (), self.author, Channel.TOOL_CALL, calls))
        return deltas

    def _change(self, author: Author) -> list[Delta]:
        """Let another author go on; return what the last one left unfinished, if it stays so."""
        before, self.author = self.author, author
        if self._streams[author] is self._streams[before]:
            return []
        shown = self._show(self._streams[before].flush())
        return [Delta(text, (), before, channel) for channel, text in shown]

    def _runs(self, author: Author, token_ids: Sequence[int]) -> list[list[int]]:
        """Split at control tokens, so that each channel's tokens are counted as its own."""
        if self._reader.may_stop:
            return [[token_id] for token_id in token_ids]
        runs: list[list[int]] = []
        fresh = True
        for token_id in token_ids:
            control = self._codecs[author].is_control(token_id)
            if fresh or control:
                runs.append([])
            runs[-1].append(token_id)
            fresh = control
        return runs

    def _feed(self, author: Author, token_ids: Sequence[int]) -> list[tuple[Channel, str]]:
        stream = self._streams[author]
        return self._show("".join([stream.push(token_id) for token_id in token_ids]))

    def _show(self, text: str) -> list[tuple[Channel, str]]:
        self.line = (self.line + text).rpartition("\n")[2]
        return self._reader.feed(text) if text else []
