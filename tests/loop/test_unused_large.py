"""What a large model cannot do stops no request in which no span can open."""

from copy import deepcopy
from dataclasses import replace

import pytest

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import Never, Policy, Rule, SplitEngine
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.errors import ContextOverflowError, RequestError
from splitreason_integrations.request import Request
from splitreason_integrations.testing import ScriptedModel

REFUSING = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
    "{% endif %}{{ m.content }}{% endfor %}"
)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
FORBID = [
    {"trigger": Never()},
    {"policy": Policy(max_spans=0)},
    {"policy": Policy(max_span_tokens=0)},
    {"policy": Policy(max_large_tokens=0)},
    {"policy": Policy(max_offload_share=0)},
    {"policy": Policy(max_offload_share=0, trigger="disagreement<0.1", close="agrees")},
    {"policy": Policy(max_offload_share=0), "prefill_tokens": 1},
]


@pytest.fixture
def refusing(embedded):
    tokenizer = deepcopy(embedded[0].codec._tokenizer)
    tokenizer.chat_template = REFUSING
    return ScriptedModel("never read", codec=TokenizerCodec(tokenizer, name="strict"))


@pytest.mark.parametrize("settings", FORBID, ids=str)
async def test_its_template_and_context_do_not_count(refusing, settings):
    small = ScriptedModel("so <bigmodel>on</think>\n\nyes")
    for large in (refusing, ScriptedModel("short", context_tokens=4)):
        engine = SplitEngine(small=small, large=large, **settings)
        assert not engine.uses_large
        reply = await engine.complete(Request(messages=MESSAGES))
        assert (reply.answer, reply.large_tokens, reply.degraded) == ("yes", 0, False)
        assert large.passes == 0


async def test_where_a_span_can_open_they_do(refusing):
    small = ScriptedModel("so <bigmodel>on</think>\n\nyes")
    with pytest.raises(RequestError, match="no system"):
        await SplitEngine(small=small, large=refusing).complete(Request(messages=MESSAGES))
    short = ScriptedModel("short", context_tokens=4)
    with pytest.raises(ContextOverflowError):
        await SplitEngine(small=small, large=short).complete(Request(messages=MESSAGES))


async def test_a_rule_may_still_allow_spans(refusing):
    small = ScriptedModel("so <bigmodel>on</think>\n\nyes")
    rule = Rule(when={"tenant": "acme"}, set={"max_spans": 2})
    engine = SplitEngine(small=small, large=refusing, policy=Policy(max_spans=0, rules=(rule,)))
    assert engine.uses_large
    asked = Request(messages=MESSAGES)
    assert (await engine.complete(asked)).answer == "yes"
    with pytest.raises(RequestError, match="no system"):
        await engine.complete(replace(asked, metadata={"tenant": "acme"}))


def test_its_context_is_not_the_pairs():
    pair = {"small": ScriptedModel("x"), "large": ScriptedModel("x", context_tokens=64)}
    assert LlamaIndexLLM(**pair).metadata.context_window == 64
    assert LlamaIndexLLM(**pair, trigger="never").metadata.context_window == 8192
    assert SplitReasonLLM(**pair).profile["max_input_tokens"] == 64
    assert SplitReasonLLM(**pair, trigger="never").profile["max_input_tokens"] == 8192
