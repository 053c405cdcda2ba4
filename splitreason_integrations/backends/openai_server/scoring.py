"""Reads probabilities from answers: behind each of some prompts, or in a draft."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from splitreason_integrations.backends.base import Written
from splitreason_integrations.backends.lookahead import Draft
from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.dialects import Dialect
from splitreason_integrations.backends.openai_server.text import Text
from splitreason_integrations.backends.openai_server.wire import Part, Question, UnreadableError
from splitreason_integrations.backends.scores import Asked, Scores
from splitreason_integrations.protocols import Codec

_NEARLY_ALL = 0.9
"""Where more of the probability is forbidden, the rest is asked for by itself."""


async def read_scores(
    call: Call, codec: Codec, prompts: int, tokens: Sequence[int]
) -> list[Scores]:
    """Return what is said of tokens behind each prompt, in order; raise ModelCallError."""
    found = await read_some(call, codec, prompts, tokens)
    if sorted(found) != list(range(prompts)):
        raise call.broken(
            "does not give the log probability behind every prompt; use a server that knows "
            "logprob_token_ids, such as vLLM"
        )
    return [found[index] for index in range(prompts)]


async def read_some(
    call: Call, codec: Codec, prompts: int, tokens: Sequence[int]
) -> dict[int, Scores]:
    """Return what is said behind prompts, by their numbers; raise ModelCallError."""
    found: dict[int, Scores] = {}
    while len(found) < prompts and (part := await call.news()) is not None:
        if not part.top or part.index in found:
            continue
        try:
            found[part.index] = part.scores(codec, tokens)[0]
        except UnreadableError as error:
            raise call.broken(str(error)) from error
    await call.settle()
    return found


async def sharpened(
    ask: Callable[[Question], Call],
    dialect: Dialect | None,
    codec: Codec,
    prompts: Sequence[Sequence[int]],
    scores: Sequence[Scores],
    forbidden: Sequence[int],
) -> list[Scores]:
    """Return scores that are as precise among the tokens that are not forbidden.

    llama.cpp adds the probabilities of all tokens in float32: where nearly all of it is forbidden,
    what is left drowns in the rounding. There it is asked for by itself. Raises ModelCallError.

    Args:
        ask: sends a question.
        dialect: of the server.
        codec: of the model.
        prompts: behind which the scores are.
        scores: behind each of them.
        forbidden: tokens that may not come.

    """
    sharper = list(scores)
    if not (forbidden and isinstance(dialect, Text) and dialect.names_tokens):
        return sharper
    lost = [sum(map(one.of, {*forbidden})) for one in scores]
    blurred = [at for at, share in enumerate(lost) if share > _NEARLY_ALL]
    if not blurred:
        return sharper
    call = ask(dialect.scoring_allowed([prompts[at] for at in blurred], forbidden))
    try:
        found = await read_some(call, codec, len(blurred), ())
    finally:
        await call.ended()
    for at, allowed in ((at, found.get(index)) for index, at in enumerate(blurred)):
        if allowed is not None:
            sharper[at] = allowed.in_place_of(scores[at], forbidden)
    return sharper


async def read_draft(call: Call, codec: Codec, token: int) -> Draft:
    """Return the next part of a draft, with P(`token`) at each token; raise ModelCallError."""
    part = await call.news()
    if part is None:
        return Draft(ends=True)
    try:
        scores = part.scores(codec, [token])
    except UnreadableError as error:
        raise call.broken(str(error)) from error
    return Draft(part.token_ids or (), [one.of(token) for one in scores], part.finish is not None)


def scores_in(
    part: Part, written: Written, asked: Asked, codec: Codec, found: Mapping[int, Scores]
) -> list[Scores]:
    """Return the scores at each token of a part; raise UnreadableError if they are missing.

    Args:
        part: what a server said.
        written: the tokens that it adds.
        asked: what was asked for.
        codec: of the model.
        found: scores by place that the part lacks.

    """
    tokens = written.tokens
    if not asked:
        return [Scores({}) for _ in tokens]
    places = [at for at in range(len(tokens)) if at in found or at < len(part.top)]
    said = replace(part, top=[{} if at in found else part.top[at] for at in places])
    scores = said.scores(codec, {*asked.tokens, *tokens})[: len(tokens)]
    if len(scores) < len(tokens):
        raise UnreadableError(
            "does not give log probabilities; use a server that knows logprob_token_ids, such as "
            "vLLM, or another trigger",
            lasting=True,
        )
    return [found.get(at, one) for at, one in enumerate(scores)]
