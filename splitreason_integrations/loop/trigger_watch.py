"""Asks the trigger at every position while the small model writes."""

from dataclasses import replace

from splitreason_integrations.backends.base import Verdict
from splitreason_integrations.decide.triggers import Needs, Position, Trigger
from splitreason_integrations.loop.transcript import TAIL_CHARACTERS
from splitreason_integrations.protocols import Codec
from splitreason_integrations.text.tags import CLOSE, OPEN, Tags, partial_tag

_SHOWN_TAG_CHARACTERS = 2
_RECENT_TOKENS = 24


class TriggerWatch:
    """Judges each token that the small model chooses.

    Where only the chosen tag opens a span, and the tag is one token, that token is a stop token of
    the writing and there is nothing to judge. Tags of several tokens are recognised in the text.

    Attributes:
        opening: stop tokens that open a span.
        opened: whether a span is to open here.
        held: how many of the last kept tokens may belong to a tag.
        spare: the text before the tag inside the first of those.
        probability_of: the token whose probability the trigger needs; None for none.
        wants_entropy: whether the trigger needs the entropy of the next token.
        wants_confidence: whether the trigger needs the probability of the chosen token.
        span_tokens: exact length of the span that is to open here; None for none.
        doubt: where a span would open if the whole of a tag of several tokens is as probable as its
            first token; None where there is no such doubt.
        positions: what is known of the kept tokens, by their place in the reply, where the trigger
            needs the large model to read them.

    """

    def __init__(self, trigger: Trigger, tags: Tags, codec: Codec, *, seed: int) -> None:
        self._trigger = trigger
        self._tags = tags
        self._codec = codec
        self._seed = seed
        self._may_open = False
        self._text_tags = bool(tags) and not tags.control
        self._wants_text = Needs.TEXT in trigger.needs
        self._wants_large = Needs.LARGE in trigger.needs
        self._stream = codec.text_stream()
        self._text = ""
        self._recent: list[int] = []
        self._suppressed = False
        wants_probability = bool(tags) and Needs.OPEN_PROBABILITY in trigger.needs
        self.probability_of = tags.open_tokens[0] if wants_probability else None
        self.wants_entropy = self.wants_confidence = False
        self.span_tokens: int | None = None
        self.doubt: Position | None = None
        self.positions: dict[int, Position] = {}
        self._confirmed: dict[int, float] = {}
        alone = tags.control and trigger.stops_at_tag
        self.opening = frozenset(tags.open_tokens if alone else ())
        self.opened = False
        self.held = 0
        self.spare = ""

    @property
    def reads_tags_as_text(self) -> bool:
        """Whether the tags are plain text, so that every token has to be looked at."""
        return self._text_tags

    def resume(self, text: str, *, may_open: bool, goes_on: bool) -> None:
        """Begin to judge a writing.

        Args:
            text: the end of the reply's text.
            may_open: whether a span may open.
            goes_on: whether the small model wrote the last token itself.

        """
        self._may_open = may_open
        self._stream = self._codec.text_stream()
        self._text = text
        if not goes_on:
            self._recent, self._suppressed = [], False
        self.wants_entropy = may_open and Needs.ENTROPY in self._trigger.needs
        self.wants_confidence = may_open and Needs.CONFIDENCE in self._trigger.needs
        self.opened, self.span_tokens, self.doubt = False, None, None
        self.positions.clear()
        self.held, self.spare = 0, ""

    def __call__(
        self,
        token_id: int,
        *,
        index: int,
        probability: float,
        entropy: float,
        confidence: float,
    ) -> Verdict:
        """Judge a chosen token."""
        before = after = ""
        if self._text_tags:
            before = self._codec.decode(self._recent)
            after = self._codec.decode([*self._recent, token_id])
        chosen = self._tag_chosen(token_id, before, after)
        at = Position(
            index=index,
            tag_chosen=chosen,
            open_probability=self._confirmed.get(index, probability),
            entropy=entropy,
            line=self._text.rpartition("\n")[2] if self._wants_text else "",
            seed=self._seed,
            confidence=confidence,
            chosen=self._codec.decode([token_id]) if self._wants_text else "",
            text=self._text if self._wants_text else "",
        )
        if self._may_open and self._stream.complete and self._trigger.fires(at):
            if self._is_doubtful(at):
                self.doubt, self.held, self.spare = at, 0, ""
                return Verdict.STOP
            self.opened, self.held, self.spare = True, 0, ""
            self.span_tokens = self._trigger.span_tokens(at)
            if chosen:
                self._take_back()
            return Verdict.STOP
        if chosen and self._text_tags:
            self._take_back()
            return Verdict.STOP
        if chosen or (self._text_tags and self._grows_unwanted_tag(after)):
            return Verdict.REFUSE
        if self._wants_large and self._may_open:
            self.positions[index] = at
        self._keep(token_id, after)
        return Verdict.KEEP

    def confirm(self, rest: float) -> bool:
        """Return whether a span opens at the place of the doubt.

        Args:
            rest: the probability of the tag's other tokens behind its first one.

        """
        assert self.doubt is not None, "there was a doubt"
        probability = self.doubt.open_probability * rest
        at = replace(self.doubt, open_probability=probability)
        self._confirmed = {at.index: probability}
        self.span_tokens = self._trigger.span_tokens(at)
        return self._trigger.fires(at)

    def _is_doubtful(self, at: Position) -> bool:
        """Return whether the trigger fires for a tag of which only the first token is known."""
        if not self._text_tags or self.probability_of is None or at.index in self._confirmed:
            return False
        return not self._trigger.fires(replace(at, open_probability=0.0))

    def _take_back(self) -> None:
        """Have a tag dropped, and not written again where it opens nothing."""
        self._hold()
        self.forget_held()
        self._suppressed = True

    def forget_held(self) -> None:
        """Take it that the held tokens were never written: they are dropped."""
        self._recent = self._recent[: len(self._recent) - self.held]

    def _keep(self, token_id: int, after: str) -> None:
        if self._wants_text:
            self._text = (self._text + self._stream.push(token_id))[-TAIL_CHARACTERS:]
        if self._text_tags:
            self._recent = [*self._recent[1 - _RECENT_TOKENS :], token_id]
            self._hold()
            self._suppressed = self._suppressed and partial_tag(after, (OPEN,)) > 0

    def _tag_chosen(self, token_id: int, before: str, after: str) -> bool:
        if not self._text_tags:
            return bool(self._tags) and token_id == self._tags.open_tokens[0]
        return OPEN in after and OPEN not in before

    def _grows_unwanted_tag(self, after: str) -> bool:
        may_grow = self._may_open and self._trigger.uses_tag and not self._suppressed
        tags = (CLOSE,) if may_grow else (OPEN, CLOSE)
        return partial_tag(after, tags) > _SHOWN_TAG_CHARACTERS or any(t in after for t in tags)

    def _hold(self) -> None:
        """Work out which kept tokens may be a tag's beginning."""
        self.held, self.spare = 0, ""
        if not self._text_tags:
            return
        text = self._codec.decode(self._recent)
        part = partial_tag(text, (OPEN,))
        for count in range(len(self._recent) + 1):
            covered = text[len(self._codec.decode(self._recent[: len(self._recent) - count])) :]
            if len(covered) >= part:
                self.held, self.spare = count, covered[: len(covered) - part]
                return
