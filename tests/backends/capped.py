"""Replies with a cap on their reasoning, by two models anywhere and by the same ones here."""

from splitreason_integrations import SplitEngine
from splitreason_integrations.request import Request

CAPS = (0, 1, 7, 41, 90)


async def capped(pair, tasks, *, caps=CAPS, same=True, **settings):
    """Check that no reply has a token of reasoning more than its cap, and that each has an answer.

    Where `same`, both places write the same. Returns how many were ended at their caps.
    """
    here = SplitEngine(**settings)
    there = SplitEngine(small=pair[0], large=pair[1], **settings)
    ended = 0
    for task in tasks:
        for cap in caps:
            asked = Request(
                messages=task.messages, seed=1, max_tokens=cap + 100, max_reasoning_tokens=cap
            )
            reply = await there.complete(asked)
            assert reply.reasoning_tokens <= cap
            assert not reply.degraded
            ended += reply.reasoning_was_ended
            if reply.reasoning_was_ended:
                assert reply.reasoning_tokens == cap
                assert reply.answer or reply.tool_calls
            if same:
                assert reply.pieces == (await here.complete(asked)).pieces
    return ended
