"""A model at work on one request: its session, its tags, and how far it has been told."""

from collections.abc import Sequence

from splitreason_integrations.backends.base import Codec, Guide, Model, Prompt, Session
from splitreason_integrations.bridge import Bridge
from splitreason_integrations.markers import Marks
from splitreason_integrations.records import Author, Piece, token_ids


class Seat:
    """One of the two places at a request. `told` counts the pieces its session knows."""

    def __init__(
        self,
        author: Author,
        model: Model,
        prompt: Prompt,
        marks: Marks,
        *,
        other: Codec,
        guide: Guide | None = None,
    ) -> None:
        self.author = author
        self.model = model
        self.marks = marks
        self.guide = guide
        self.told = 0
        self.bridge = Bridge(other, model.codec)
        self._other = other
        self._prompt = prompt
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The session, opened when it is first needed."""
        if self._session is None:
            self._session = self.model.open(self._prompt.token_ids)
        return self._session

    @property
    def reasoning_ends(self) -> frozenset[int]:
        """The token that ends the reasoning; empty where it takes several."""
        codec = self.model.codec
        token = codec.control_token(codec.reply_format.end_of_reasoning)
        return frozenset() if token is None else frozenset([token])

    @property
    def prompt_tokens(self) -> int:
        """Tokens of this model's prompt."""
        return len(self._prompt.token_ids)

    @property
    def read_tokens(self) -> int:
        """Tokens of the prompt or the other author that went through the model so far."""
        return 0 if self._session is None else self._session.read

    def unread_tokens(self, pieces: Sequence[Piece]) -> int:
        """Return about how many tokens the model has to read before it can go on."""
        known = self.prompt_tokens if self._session is None else self._session.unread
        new = pieces[self.told :]
        return known + sum(len(p.token_ids) for p in new if p.author is not self.author)

    def room(self, pieces: Sequence[Piece]) -> int:
        """Return how many tokens fit into the context, beside what is to be told and two tags."""
        length = self.prompt_tokens if self._session is None else self._session.length
        untold = sum(len(p.token_ids) for p in pieces[self.told :] if p.author is not self.author)
        tags = len(self.marks.open_tokens) + len(self.marks.close_tokens)
        return self.model.context_tokens - length - untold - tags

    def tell(self, pieces: Sequence[Piece]) -> None:
        """Append what the other author wrote since the session was last told."""
        # In one go: how the other author's writing was sliced depends on the clock.
        new = [piece for piece in pieces[self.told :] if piece.author is not self.author]
        self.session.extend(self.bridge.carry(token_ids(new)).token_ids)
        self.told = len(pieces)

    def forget_surplus(self) -> None:
        """Start the bridge afresh after a cut: what came behind it was never said."""
        self.bridge = Bridge(self._other, self.model.codec)

    def close(self) -> None:
        """Free the cache."""
        if self._session is not None:
            self._session.close()
