"""The entropy and the confidence at every position of a small model's replies."""

import math
from dataclasses import dataclass

import pytest
import torch

from splitreason_integrations import Confidence, Entropy, Shadow, SplitEngine
from splitreason_integrations.backends.scores import LIKELIEST
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from splitreason_integrations.testing import embedded_codec

NEAR = 2e-3
"""Nats, and shares: float32 by two implementations."""
TAGS = [embedded_codec().control_token(tag) for tag in ("<bigmodel>", "</bigmodel>")]


@dataclass(frozen=True)
class Noted:
    """A reply's token ids, and what was noted at each position: index, entropy, confidence."""

    prompt: tuple[int, ...]
    token_ids: tuple[int, ...]
    positions: tuple[tuple[int, float, float], ...]


async def noted(small, *, replies, seed=7):
    """Return the notes on some replies, which a small model writes alone."""
    found = []
    for task in generated("test", ("word", "context"), n=replies, seed=seed)[:replies]:
        seen = []
        trigger = Shadow(Entropy(1.0) | Confidence(0.5), seen.append)
        engine = SplitEngine(small=small, large="embedded", trigger=trigger)
        asked = Request(messages=task.messages, tools=task.tools, seed=1, max_tokens=300)
        reply = await engine.complete(asked)
        ids = tuple(token for piece in reply.pieces for token in piece.token_ids)
        prompt = embedded_codec().render(task.messages, task.tools).token_ids
        places = tuple((at.index, at.entropy, at.confidence) for at in seen)
        found.append(Noted(tuple(prompt), ids, places))
    return found


def bounds_of_tails(network, one, *, listed=LIKELIEST):
    """Return, by index, the most entropy in nats that a tail has: r * ln(V - listed).

    r is the probability of all but the tokens that are listed, among those that may be chosen.
    """
    sequence = torch.tensor([[*one.prompt, *one.token_ids]])
    with torch.no_grad():
        chances = network(sequence).logits[0, len(one.prompt) - 1 :].double().softmax(-1)
    rest = 1.0 - chances.topk(listed).values.sum(-1)
    allowed = 1.0 - chances[:, TAGS].sum(-1)
    most = math.log(chances.shape[-1] - listed)
    return (rest / allowed * most).tolist()


async def check_alike(small, network, *, replies, record_property):
    """Check entropy and confidence at every position of replies against those of the model here."""
    here, there = [await noted(one, replies=replies) for one in ("embedded", small)]
    positions, widest = 0, 0.0
    for mine, theirs in zip(here, there, strict=True):
        assert theirs.token_ids == mine.token_ids
        assert len(theirs.positions) == len(mine.positions) >= len(mine.token_ids)
        bounds = bounds_of_tails(network, mine)
        for (index, entropy, confidence), (at, least, sure) in zip(
            mine.positions, theirs.positions, strict=True
        ):
            assert at == index
            assert sure == pytest.approx(confidence, abs=NEAR)
            assert -NEAR <= entropy - least <= bounds[index] + NEAR
            widest = max(widest, entropy - least)
            positions += 1
    assert len(here) == replies
    assert positions > 50 * replies
    record_property("rate", f"{positions} positions, the tail at most {widest:.3f} nats")
