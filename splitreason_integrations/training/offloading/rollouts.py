"""Rollouts: replies of the engine with real offloads, in the format of a trainer.

A rollout is exactly what the engine generates for its request and seed; the number of concurrent
rollouts does not change it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from splitreason_integrations.backends.base import Model
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request
from splitreason_integrations.training.offloading.authors import AuthoredModel


@dataclass(frozen=True)
class Rollout:
    """One reply from the small model's view.

    Attributes:
        prompt_ids: The small model's prompt.
        token_ids: All tokens after it, by any author, in the small model's vocabulary, including
            the token that ended its turn.
        own: For each of them 1 if the small model wrote it, 0 if it only read it.
        reply: What the engine returned.

    """

    prompt_ids: list[int]
    token_ids: list[int]
    own: list[int]
    reply: Completion


async def rollout(engine: SplitEngine, small: Model, request: Request) -> Rollout:
    """Have the engine answer a request with `small` as the small model."""
    authored = AuthoredModel(small)
    reply = await replace(engine, small=authored).complete(request)
    session = authored.last
    assert session is not None, "a small model that writes has a session"
    start = session.length - len(session.own)
    token_ids, own = list(session.token_ids), list(session.own)
    if session.ended_by is not None:
        token_ids, own = [*token_ids, session.ended_by], [*own, 1]
    return Rollout(token_ids[:start], token_ids[start:], own, reply)


async def rollouts(
    engine: SplitEngine, small: Model, requests: Sequence[Request], *, at_once: int
) -> list[Rollout]:
    """Have the engine answer requests, `at_once` in parallel; results are in order."""
    slots = asyncio.Semaphore(at_once)

    async def one(request: Request) -> Rollout:
        async with slots:
            return await rollout(engine, small, request)

    async with asyncio.TaskGroup() as group:
        jobs = [group.create_task(one(request)) for request in requests]
    return [job.result() for job in jobs]


def for_trainer(found: Sequence[Rollout]) -> dict[str, Any]:
    """Return rollouts in the format of TRL's GRPOTrainer.

    Tokens of a degraded reply are masked: after a failure of the large model the reply is not what
    the small model would normally get.
    """
    return {
        "prompt_ids": [one.prompt_ids for one in found],
        "completion_ids": [one.token_ids for one in found],
        "logprobs": None,
        "env_mask": [[0] * len(one.own) if one.reply.degraded else one.own for one in found],
        "reply": [one.reply for one in found],
    }
