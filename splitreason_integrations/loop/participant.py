"""A model at work on one request: its session, its tags, and how much of the reply it has read."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby

from splitreason_integrations.backends.base import LeavesOut, Model, Session
from splitreason_integrations.loop.bridge import Bridge
from splitreason_integrations.privacy.redacting_codec import RedactingCodec
from splitreason_integrations.protocols import Codec, Guide, Prompt
from splitreason_integrations.records import Author, Piece, Writer, token_ids
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.tags import Tags

_MOST_PIECES = 2000
"""Pieces of a reply that are looked at for what has begun in them."""

Codecs = Mapping[Writer, Codec]
"""The codec of everyone who writes at a request."""


class Participant:
    """One of the two models that write a reply.

    Attributes:
        writer: the model's author and number, as pieces of the reply name it.
        model: the loaded model.
        codec: the model's own codec, or one that hides what must not leave this process.
        tags: the tags that it is shown around spans; empty where it is shown none.
        looked_for: the tags that are looked for in what it writes.
        sampling: how its tokens are drawn.
        guide: keeps its answer in a requested form; None where none is requested.
        prompt: the conversation in the model's own template.
        synced_upto: how many pieces of the reply its session holds.
        read_before: tokens that earlier sessions of this participant have read.
        hint: what a person added to the prompt; None without one.

    """

    def __init__(
        self,
        writer: Writer,
        model: Model,
        prompt: Prompt,
        tags: Tags,
        *,
        codecs: Codecs,
        sampling: Sampling,
        guide: Guide | None = None,
        looked_for: Tags | None = None,
        prompt_with: Callable[[str], Awaitable[Prompt]] | None = None,
    ) -> None:
        self.writer = writer
        self.model = model
        self.codec = codecs[writer]
        self.tags = tags
        self.looked_for = tags if looked_for is None else looked_for
        self.sampling = sampling
        self.guide = guide
        self.prompt = prompt
        self.synced_upto = 0
        self.read_before = 0
        self.hint: str | None = None
        self._codecs = codecs
        self._prompt_with = prompt_with
        self._bridges: dict[str, Bridge] = {}
        self._session: Session | None = None

    @property
    def author(self) -> Author:
        """The model's author: small or large."""
        return self.writer[0]

    @property
    def session(self) -> Session:
        """The session, opened when it is first needed."""
        if self._session is None:
            self._session = self.model.open(self.prompt)
        return self._session

    @property
    def reasoning_ends(self) -> frozenset[int]:
        """The token that ends the reasoning; empty where it takes several."""
        token = self.codec.control_token(self.codec.reply_format.end_of_reasoning)
        return frozenset() if token is None else frozenset([token])

    @property
    def is_open(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    @property
    def left_out(self) -> frozenset[str]:
        """The settings that its model's server was not asked for, as it does not take them."""
        return self._session.left_out if isinstance(self._session, LeavesOut) else frozenset()

    @property
    def prompt_tokens(self) -> int:
        """Tokens of this model's prompt."""
        return len(self.prompt.token_ids)

    @property
    def read_tokens(self) -> int:
        """Tokens of the prompt or the other author that the model has read so far."""
        return self.read_before + (0 if self._session is None else self._session.read)

    @property
    def written(self) -> tuple[int, ...] | None:
        """The session's tokens after the prompt; None where there is no session."""
        if self._session is None:
            return None
        return tuple(self._session.token_ids[len(self.prompt.token_ids) :])

    def unread_tokens(self, pieces: Sequence[Piece]) -> int:
        """Return about how many tokens the model has to read before it can go on."""
        known = self.prompt_tokens if self._session is None else self._session.unread
        return known + self._unsynced_tokens(pieces)

    def room(self, pieces: Sequence[Piece]) -> int:
        """Return how many more tokens fit into the context, after unsynced pieces and two tags."""
        length = self.prompt_tokens if self._session is None else self._session.length
        tags = len(self.looked_for.open_tokens) + len(self.looked_for.close_tokens)
        return self.model.context_tokens - length - self._unsynced_tokens(pieces) - tags

    def bridge_from(self, codec: Codec) -> Bridge:
        """Return what converts another codec's tokens to this model's tokens."""
        if codec.fingerprint not in self._bridges:
            by_line = isinstance(self.codec, RedactingCodec)
            self._bridges[codec.fingerprint] = Bridge(codec, self.codec, by_line=by_line)
        return self._bridges[codec.fingerprint]

    def sync(self, pieces: Sequence[Piece]) -> None:
        """Append what others wrote since the last sync."""
        # All of one author at once: how its text was sliced depends on timing.
        new = [piece for piece in pieces[self.synced_upto :] if piece.writer != self.writer]
        hides = isinstance(self.codec, RedactingCodec)
        before = _text(pieces[: self.synced_upto], self._codecs) if hides and new else ""
        for codec, group in groupby(new, key=lambda piece: self._codecs[piece.writer]):
            bridge, ids = self.bridge_from(codec), token_ids(list(group))
            bridge.follow(before)
            self.session.extend(bridge.convert(ids).token_ids)
            before += codec.decode(ids) if hides else ""
        self.synced_upto = len(pieces)
        if isinstance(self.codec, RedactingCodec):
            self._hide_what_came_together(self.codec, pieces)

    def mark_synced(self, pieces: Sequence[Piece]) -> None:
        """Note that the session holds these pieces already: it wrote or read them itself."""
        self.synced_upto = len(pieces)

    def cut(self, length: int) -> int:
        """Cut the session to `length` tokens; return how many that drops."""
        surplus = self.session.length - length
        self.session.truncate(length)
        return surplus

    def open_again(self, written: Sequence[int]) -> None:
        """Go on in a new session that holds `written` after the prompt."""
        self.read_before = self.read_tokens
        self.close()
        self._session = self.model.open(self.prompt, written)
        self.forget_surplus()

    def restore(self, *, synced_upto: int, read_tokens: int, written: Sequence[int] | None) -> None:
        """Bring the participant to where a snapshot was taken.

        Args:
            synced_upto: how many pieces of the reply its session held.
            read_tokens: how many tokens it had read.
            written: the session's tokens after the prompt; None where there was no session.

        """
        self.synced_upto, self.read_before = synced_upto, read_tokens
        if written is not None:
            self.open_again(written)

    async def show_hint(self, hint: str) -> None:
        """Show the model a hint at the end of the user's message."""
        assert self._prompt_with is not None, "this model's prompt takes no hint"
        self.hint = hint
        written, self.prompt = self.written, await self._prompt_with(hint)
        if written is not None:
            self.open_again(written)

    def forget_surplus(self) -> None:
        """Start the bridges anew after a cut: text after it is no part of the reply."""
        self._bridges.clear()

    def close(self) -> None:
        """Free the cache."""
        if self._session is not None:
            self._session.close()

    def _hide_what_came_together(self, codec: RedactingCodec, pieces: Sequence[Piece]) -> None:
        """Begin a new session where the model went on with what is to be hidden.

        Its part and the one before it are harmless each; together they must not be sent.
        """
        written = self.written
        if not written or not any(piece.writer == self.writer for piece in pieces):
            return
        groups = groupby(pieces, key=lambda piece: piece.writer)
        said = [
            (self._codecs[writer].decode(token_ids(list(group))), writer == self.writer)
            for writer, group in groups
        ]
        secrets = codec.said_together(said)
        hidden = codec.hide_in(written, secrets) if secrets else None
        if hidden is not None:
            self.open_again(hidden)

    def _unsynced_tokens(self, pieces: Sequence[Piece]) -> int:
        new = pieces[self.synced_upto :]
        return sum(len(piece.token_ids) for piece in new if piece.writer != self.writer)


def _text(pieces: Sequence[Piece], codecs: Codecs) -> str:
    """Return the end of what was said, as text."""
    last = pieces[-_MOST_PIECES:]
    groups = groupby(last, key=lambda piece: piece.writer)
    return "".join(codecs[writer].decode(token_ids(list(group))) for writer, group in groups)
