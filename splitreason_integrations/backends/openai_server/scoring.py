"""Reads probabilities from answers: behind each of some prompts, or in a draft."""

from collections.abc import Sequence

from splitreason_integrations.backends.lookahead import Draft
from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.wire import UnreadableError
from splitreason_integrations.backends.scores import Scores
from splitreason_integrations.protocols import Codec


async def read_scores(
    call: Call, codec: Codec, prompts: int, tokens: Sequence[int]
) -> list[Scores]:
    """Return what is said of tokens behind each prompt, in order; raise ModelCallError."""
    found: dict[int, Scores] = {}
    while len(found) < prompts and (part := await call.news()) is not None:
        if not part.top or part.index in found:
            continue
        try:
            found[part.index] = part.scores(codec, tokens)[0]
        except UnreadableError as error:
            raise call.broken(str(error)) from error
    if sorted(found) != list(range(prompts)):
        raise call.broken(
            "does not give the log probability behind every prompt; use a server that knows "
            "logprob_token_ids, such as vLLM"
        )
    await call.settle()
    return [found[index] for index in range(prompts)]


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
