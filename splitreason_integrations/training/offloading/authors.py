"""Record which tokens of a sequence the small model wrote, and which it only read.

Its own tokens are those that it generated, the open tag that it chose, and the end of its turn. Not
its own are the large model's tokens, the close tag that follows from reading along, and tokens that
were there when the session was opened.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from splitreason_integrations.backends.base import (
    DraftsAhead,
    End,
    Model,
    Session,
    TokenFacts,
    Wanted,
    WriteOrder,
    Written,
)
from splitreason_integrations.text.tags import Tags, tags_of


class AuthoredModel:
    """A model for one request whose sessions record the author of each token."""

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.codec = model.codec
        self.prices = model.prices
        self.hint = model.hint
        # Where it learns to mark spans, it is not asked whether it knows how.
        self.taught: bool | None = True
        self.context_tokens = model.context_tokens
        self.default_sampling = model.default_sampling
        self.unknown_sampling = model.unknown_sampling
        self.remote = model.remote
        self.resumes = model.resumes
        self.gives = model.gives
        self.last: AuthoredSession | None = None
        self._model = model

    @property
    def open_sessions(self) -> int:
        """Number of sessions that hold a cache now."""
        return self._model.open_sessions

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> AuthoredSession:
        """Start a session with a prompt and the reply so far."""
        tags = tags_of(self.codec, as_text=True)
        session = self._model.open(prompt, written)
        if isinstance(session, DraftsAhead):
            self.last = _DraftingSession(session, session, len(prompt), len(written), tags)
        else:
            self.last = AuthoredSession(session, len(prompt), len(written), tags)
        return self.last


class AuthoredSession:
    """A session with the author of each token after the prompt: 1 for the model, 0 for another.

    Attributes:
        own: The authors.
        ended_by: The token with which the model ended its turn, if it did.

    """

    def __init__(self, session: Session, prompt_tokens: int, written: int, tags: Tags) -> None:
        self.own = [0] * written
        self.ended_by: int | None = None
        self._session = session
        self._prompt_tokens = prompt_tokens
        self._tags = tags
        self._chose_tag = False

    @property
    def token_ids(self) -> Sequence[int]:
        """The sequence, prompt included."""
        return self._session.token_ids

    @property
    def length(self) -> int:
        """Tokens in the sequence, prompt included."""
        return self._session.length

    @property
    def unread(self) -> int:
        """Tokens of the prompt or the other author that still have to go through the model."""
        return self._session.unread

    @property
    def read(self) -> int:
        """Tokens of the prompt or the other author that have gone through the model."""
        return self._session.read

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens of the other author, or the open tag at which the model stopped."""
        opening = self._tags.open_tokens
        chosen = self._chose_tag and tuple(token_ids[: len(opening)]) == opening
        self.own += [1] * len(opening) if chosen else []
        self.own += [0] * (len(token_ids) - (len(opening) if chosen else 0))
        self._chose_tag = self._chose_tag and not token_ids
        self._session.extend(token_ids)

    def truncate(self, length: int) -> None:
        """Cut the sequence and its cache to `length` tokens."""
        self._session.truncate(length)
        del self.own[length - self._prompt_tokens :]

    async def write(self, order: WriteOrder) -> AsyncGenerator[Written, None]:
        """Generate; the last item has an `end`. Closing the generator stops the model."""
        before = len(self.own)
        self._chose_tag, self.ended_by = False, None
        writing = self._session.write(order)
        try:
            async for written in writing:
                if written.end is not None:
                    self._note_end(written)
                yield written
        finally:
            await writing.aclose()
            self.own[before:] = [1] * (self.length - self._prompt_tokens - before)

    def _note_end(self, written: Written) -> None:
        # A one-token tag is a stop token; a plain-text tag is recognised by the watch.
        if written.end is End.STOP_TOKEN:
            self._chose_tag = written.stop_token in self._tags.open_tokens
            self.ended_by = None if self._chose_tag else written.stop_token
        else:
            self._chose_tag = written.end is End.WATCH and not self._tags.control

    async def read_facts(
        self, wanted: Wanted, *, last: int | None = None, spare: int = 0
    ) -> list[TokenFacts]:
        """Read the pending tokens in one pass; return facts of each of them."""
        return await self._session.read_facts(wanted, last=last, spare=spare)

    def close(self) -> None:
        """Free the cache, at the latest when the running step ends."""
        self._session.close()


class _DraftingSession(AuthoredSession):
    """An authored session that can draft ahead."""

    def __init__(
        self, drafts: DraftsAhead, session: Session, prompt_tokens: int, written: int, tags: Tags
    ) -> None:
        super().__init__(session, prompt_tokens, written, tags)
        self._drafts = drafts

    def look_ahead(self, token_id: int) -> None:
        """Start drafting; see `DraftsAhead`."""
        self._drafts.look_ahead(token_id)
