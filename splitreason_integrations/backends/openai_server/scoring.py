"""Reads probabilities from answers: behind each of some prompts, or in a draft."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from splitreason_integrations.backends.base import Written
from splitreason_integrations.backends.lookahead import Draft
from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.wire import Part, UnreadableError
from splitreason_integrations.backends.scores import Asked, Scores
from splitreason_integrations.protocols import Codec


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
