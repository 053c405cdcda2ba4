"""A model that ignores a ban is noticed, whichever backend it is on."""

import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from splitreason_integrations.backends.base import Verdict
from splitreason_integrations.backends.vllm_local.model import LocalVLLM, VLLMSession
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import embedded_codec
from tests.backends.servers import order, prompt, write

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
