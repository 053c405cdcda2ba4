"""Sessions over vLLM's engine, with the engine played by a fake; bans that are ignored."""

import asyncio
import math
import sys
from concurrent.futures import Future
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest

from splitreason_integrations.backends.base import End, Verdict
from splitreason_integrations.backends.vllm_local.model import LocalVLLM, VLLMSession
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import embedded_codec
from tests.backends.servers import chances, order, prompt, write

MODULE = sys.modules[VLLMSession.__module__]


@dataclass
class Deaf:
    """An engine that ends every answer with the same stop token, whatever is forbidden."""

    token: int
    asked: int = 0

    def __call__(self, *_):
        self.asked += 1
        assert self.asked < 9, "the same token is asked for again and again"
        return self

    async def next(self):
        return SimpleNamespace(token_ids=[self.token], finish_reason="stop", logprobs=None)

    def end(self):
        """Nothing is under way."""


class Refusing:
    """A watch that refuses one token."""

    probability_of = None
    wants_entropy = False
    wants_confidence = False

    def __init__(self, token):
        self.token = token

    def __call__(self, token_id, **_):
        return Verdict.REFUSE if token_id == self.token else Verdict.KEEP


async def test_vllm_that_writes_a_refused_stop_token_again_is_an_error(monkeypatch):
    end = min(embedded_codec().end_tokens)
    deaf = Deaf(end)
    monkeypatch.setattr(MODULE, "Writing", deaf)
    monkeypatch.setattr(MODULE, "writing", lambda *_, **__: None)
    model = LocalVLLM(None, embedded_codec(), name="deaf", vocabulary=10_000, context_tokens=2048)
    session = model.open(prompt())
    asked = order(20, stop_tokens=frozenset([end]), watch=Refusing(end))
    with pytest.raises(ModelCallError, match="forbidden by logit_bias"):
        await write(session, asked)
    assert deaf.asked == 2
    session.close()


WORDS = list(range(40, 60))
CLOSE = 99


class Engine:
    """Writes `WORDS` by their places, whatever is in the prompt; the last word is final."""

    def __init__(self):
        self.scored = 0

    def do(self, work):
        done = Future()
        done.set_result(asyncio.run(work) if asyncio.iscoroutine(work) else work)
        return done

    def last(self, prompts, params):
        self.scored += len(prompts)
        return [SimpleNamespace(outputs=[piece([0], len(one))]) for one in prompts]


def piece(ids, place, finish=None):
    """Return what vLLM gives: P(CLOSE) is 1/place at the place behind so many tokens."""
    tops = [{CLOSE: SimpleNamespace(logprob=-math.log(place + at))} for at in range(len(ids))]
    return SimpleNamespace(token_ids=ids, finish_reason=finish, logprobs=tops)


class Writing:
    """One request of the fake engine: two tokens at a time."""

    made: ClassVar = []

    def __init__(self, engine, ids, params):
        self.ids, self.most, self.ended = list(ids), params, False
        self.made.append(self)

    async def next(self):
        at = len(self.ids) - PROMPT_TOKENS
        ids = WORDS[at : at + min(2, self.most)]
        made = piece(ids, len(self.ids), "length" if self.most <= 2 else None)
        self.ids, self.most = self.ids + ids, self.most - len(ids)
        return made

    def end(self):
        self.ended = True


PROMPT_TOKENS = len(prompt())


@pytest.fixture
def session(monkeypatch):
    Writing.made = []
    monkeypatch.setattr(MODULE, "Writing", Writing)
    monkeypatch.setattr(MODULE, "writing", lambda order, *, max_tokens, position: max_tokens)
    monkeypatch.setattr(MODULE, "drafting", lambda token, *, max_tokens: 6)
    monkeypatch.setattr(MODULE, "scoring", lambda *tokens: 1)
    model = LocalVLLM(Engine(), embedded_codec(), name="m", vocabulary=10_000, context_tokens=2048)
    session = model.open(prompt())
    yield session
    session.close()
    assert model.open_sessions == 0
    assert all(one.ended for one in Writing.made)


def behind(places):
    return [pytest.approx(1 / (PROMPT_TOKENS + place)) for place in places]


async def test_it_writes_and_goes_on_where_a_token_is_refused(session):
    ids, last = await write(session, order(5))
    assert ids == WORDS[:5]
    assert last.end is End.LENGTH
    refused = iter([WORDS[6]])
    watch = Refusing(next(refused))
    with pytest.raises(ModelCallError, match="forbidden by logit_bias"):
        await write(session, order(5, watch=watch))
    assert list(session.token_ids[PROMPT_TOKENS:]) == WORDS[:6], "what came before it is kept"


async def test_a_draft_saves_the_requests_for_what_matches_it(session):
    await write(session, order(2))
    session.look_ahead(CLOSE)
    session.extend(WORDS[2:6])
    assert await chances(session, CLOSE, last=3) == behind([4, 5, 6])
    assert session._model.engine.scored == 0, "the draft knows them"
    session.extend([1, 2])
    assert await chances(session, CLOSE) == behind([7, 8])
    assert session._model.engine.scored == 2
    assert (session.read, session.unread) == (PROMPT_TOKENS + 6, 0)
    session.close()


async def test_a_prefill_counts_as_read_at_once(session):
    assert (session.read, session.unread) == (0, PROMPT_TOKENS)
    session.prefill()
    assert (session.read, session.unread) == (PROMPT_TOKENS, 0)
    session.prefill()
    assert len(Writing.made) == 1
    session.truncate(PROMPT_TOKENS)
    assert Writing.made[0].ended
