"""Hold what a model elsewhere writes to a form, by requests that its engine understands.

Each token is checked here. Where the engine can hold a whole answer to a grammar, the answer is one
request; where it cannot, or an answer goes on that has begun, the model writes freely and a token
that may not come is drawn again among those that may. Both give the same distribution, unless
`top_p`, `top_k` or `min_p` cut it: they count all tokens where the model writes freely.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto

from splitreason_integrations.backends.base import End, WriteOrder, Written
from splitreason_integrations.errors import RequestError
from splitreason_integrations.protocols import Guide


class Grammars(Enum):
    """What an engine can be given to hold an answer to.

    Attributes:
        NONE: no grammar.
        WITHOUT_TAGS: the grammar of a whole answer, where no tag may come in it.
        WITH_TAGS: the same, also where tags may come.

    """

    NONE = auto()
    WITHOUT_TAGS = auto()
    WITH_TAGS = auto()


def held_to_form(
    order: WriteOrder,
    guide: Guide,
    reply: Sequence[int],
    refused: Sequence[int],
    *,
    grammars: Grammars,
) -> WriteOrder:
    """Return how to ask for what comes behind a reply.

    Args:
        order: what is to be written.
        guide: says which tokens may come.
        reply: the session's reply so far.
        refused: tokens that were drawn here and may not come; they are among `order.forbidden`.
        grammars: what the engine can be given.

    Raises:
        RequestError: No token is left that may come.

    """
    written = guide.answer_tokens(reply)
    if written is None:
        if guide.reasoning_end is None:
            return order
        # The request ends with the reasoning, so that the answer is one request.
        return replace(order, stop_tokens=order.stop_tokens | {guide.reasoning_end})
    if refused:
        forbidden = set(order.forbidden)
        only = tuple(token for token in guide.allowed(reply) if token not in forbidden)
        if not only:
            raise RequestError(
                "the answer's form leaves no token to write here: use another schema, or a model "
                "whose tokenizer can spell it"
            )
        return replace(order, only=only)
    if written or grammars is Grammars.NONE:
        return order
    if grammars is Grammars.WITH_TAGS or set(guide.between) <= set(order.forbidden):
        return replace(order, grammar=guide.grammar)
    return order


def past_reasoning(written: Written, order: WriteOrder) -> Written:
    """Return what was written, where an end of the reasoning ends no more than a request."""
    token = written.stop_token
    if written.end is not End.STOP_TOKEN or token is None or token in order.stop_tokens:
        return written
    return Written((*written.token_ids, token))
