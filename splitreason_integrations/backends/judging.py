"""What a form and a watch keep of tokens that came from elsewhere, and which they refuse."""

from collections.abc import Callable, Sequence

from splitreason_integrations.backends.base import End, Verdict, Watch, WriteOrder, Written
from splitreason_integrations.backends.scores import Scores, asked_by


def judged(
    order: WriteOrder,
    written: Written,
    scores: Sequence[Scores],
    refused: list[int],
    *,
    first: int,
    fitting: int,
    ban_ignored: Callable[[WriteOrder], Exception],
) -> tuple[Written, bool]:
    """Return what is kept of some tokens, and whether the next one is refused.

    Args:
        order: how they were asked for.
        written: the tokens.
        scores: of each of them, the stop token included, if there is a watch.
        refused: collects the tokens that were refused at one place.
        first: the place of the first one in the session's reply.
        fitting: how many of them, the stop token included, keep the answer in its form.
        ban_ignored: the error for a model that writes what was ruled out.

    """
    tokens = written.tokens
    kept, refuses = written if fitting == len(tokens) else Written(tokens[:fitting]), None
    if order.watch is not None:
        kept, refuses = _watched(order.watch, order, first, kept, scores[:fitting])
    if kept.tokens:
        refused.clear()
    if refuses is None and kept.end is not End.WATCH and fitting < len(tokens):
        refuses = tokens[fitting]
    if order.only and not tokens and written.end is not None:
        raise ban_ignored(order)
    if refuses is None:
        return kept, False
    if refuses in refused or (order.only and refuses not in order.only):
        raise ban_ignored(order)
    refused.append(refuses)
    return kept, True


def _watched(
    watch: Watch, order: WriteOrder, first: int, written: Written, scores: Sequence[Scores]
) -> tuple[Written, int | None]:
    """Return what a watch keeps of tokens from place `first` of the reply, and what it refuses."""
    tokens = written.tokens
    for at, (token, score) in enumerate(zip(tokens, scores, strict=True)):
        allowed = score.without(order.forbidden) if asked_by(watch).spread else score
        verdict = watch(
            token,
            index=first + at,
            probability=score.of(watch.probability_of),
            entropy=allowed.entropy if watch.wants_entropy else 0.0,
            confidence=allowed.of(token) if watch.wants_confidence else 1.0,
        )
        if verdict is Verdict.STOP:
            return Written(tokens[:at], End.WATCH), None
        if verdict is Verdict.REFUSE:
            return Written(tokens[:at]), token
    return written, None
