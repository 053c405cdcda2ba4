"""Policies in the engine and in a framework's settings: clock, channel, rules, terms, trigger."""

import re

import pytest

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import (
    Agrees,
    Always,
    Author,
    ModelTerms,
    Never,
    Policy,
    Prices,
    Request,
    Rule,
    SplitEngine,
    StepEnd,
    Tag,
)
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import HELLO, complete

LONG = "word " * 400


def reply_of(small, large, policy, **settings):
    more = {name: settings.pop(name) for name in ("metadata", "max_tokens") if name in settings}
    models = (
        one if isinstance(one, ScriptedModel) else ScriptedModel(one) for one in (small, large)
    )
    engine = SplitEngine(
        **dict(zip(("small", "large"), models, strict=True)), **settings, policy=policy
    )
    return complete(engine, Request(messages=HELLO, **{"max_tokens": 200, **more}))


@pytest.mark.parametrize("trigger", [Tag(), Always()], ids=str)
def test_a_slow_span_is_closed_and_what_it_wrote_is_kept(trigger):
    slow = ScriptedModel(LONG, delay_s=0.01)
    small = "Hm.<bigmodel> so it is.</think>Done."
    policy = Policy(max_span_s=0.1, max_spans=1)
    reply = reply_of(small, slow, policy, trigger=trigger, handback_tokens=64)
    (span,) = reply.spans
    assert span.closed_by == "max_span_s"
    assert 0.1 <= span.latency_s < 1.0
    assert 0 < span.tokens < 64
    assert "word" in reply.reasoning
    assert reply.stop_reason == "stop"
    assert not reply.degraded


def test_the_requests_deadline_comes_before_a_spans():
    slow = ScriptedModel(LONG, delay_s=0.01)
    reply = reply_of("Hm.<bigmodel>", slow, Policy(max_span_s=60.0, deadline_s=0.1))
    assert [span.closed_by for span in reply.spans] == ["deadline"]
    assert not reply.degraded
    assert reply.latency_s < 1.0


@pytest.mark.parametrize("chunk", [1, 3, 8])
@pytest.mark.parametrize("trigger", [Tag(), Always()], ids=str)
def test_the_large_model_hands_back_where_the_reasoning_ends(trigger, chunk):
    reply = reply_of(
        "Hm.<bigmodel>.</think>Mine.<bigmodel> All mine.",
        "It is 3</think>Theirs.",
        Policy(only_in_reasoning=True, max_spans=1),
        trigger=trigger,
        handback_tokens=chunk,
    )
    assert [span.closed_by for span in reply.spans] == ["only_in_reasoning"]
    assert "It is 3" in reply.reasoning
    assert reply.answer == "Mine. All mine."


def test_without_the_gate_a_span_may_be_in_the_answer():
    script = "Hm.</think>Mine.<bigmodel> So."
    free = reply_of(script, "Theirs.</bigmodel>", Policy())
    assert "Theirs." in free.answer
    held = reply_of(script, "Theirs.</bigmodel>", Policy(only_in_reasoning=True))
    assert (held.spans, held.answer) == ((), "Mine. So.")


@pytest.mark.parametrize("trigger", [Tag(), Always()], ids=str)
def test_an_end_of_reasoning_of_several_tokens_closes_the_span_behind_the_chunk(
    other_codec, trigger
):
    large = ScriptedModel("It is 3 </think> theirs and more of theirs and more", codec=other_codec)
    policy = Policy(only_in_reasoning=True)
    reply = reply_of("Hm.<bigmodel> mine.", large, policy, trigger=trigger, handback_tokens=1)
    assert reply.spans[0].closed_by == "only_in_reasoning"
    assert "theirs and" not in reply.answer
    assert reply.answer.endswith("mine.")


def test_reasoning_that_the_model_begins_itself_may_have_spans(other_codec):
    small = ScriptedModel("<think>Hm.<bigmodel> so.</think> All mine.", codec=other_codec)
    reply = reply_of(small, "It is 3</bigmodel>", Policy(only_in_reasoning=True))
    assert [span.closed_by for span in reply.spans] == ["large"]
    assert "It is 3" in reply.reasoning
    assert reply.answer == "All mine."


def test_rules_look_at_the_requests_metadata():
    policy = Policy(rules=[Rule(when={"tenant": "acme"}, set={"max_spans": 0})])
    script = ("Hm.<bigmodel> so.</think>Done.", "It is 3</bigmodel>")
    assert len(reply_of(*script, policy, metadata={"tenant": "bolt"}).spans) == 1
    assert reply_of(*script, policy, metadata={"tenant": "acme"}).spans == ()
    with pytest.raises(RequestError, match="tenant must be text"):
        Request(messages=HELLO, metadata={"tenant": 3})


def test_terms_price_a_large_model_without_prices():
    terms = ModelTerms(prices=Prices(output_usd=1000.0))
    script = ("Hm.<bigmodel> so.</think>Done.", ScriptedModel(LONG, name="big"))
    reply = reply_of(*script, Policy(models={"big": terms}, max_usd=0.01))
    assert reply.large_tokens == 10
    assert reply.cost_usd == pytest.approx(0.01)
    assert reply.spans[0].cost_usd == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("policy", "prices", "refused"),
    [
        (Policy(max_usd=0.01), None, True),
        (Policy(rules=[Rule(when={"tenant": "acme"}, set={"max_usd": 0.01})]), None, True),
        (Policy(max_usd=0.01, models={"other": ModelTerms(prices=Prices(1.0, 1.0))}), None, True),
        (Policy(max_usd=0.01, models={"big": ModelTerms(prices=Prices(1.0, 1.0))}), None, False),
        (Policy(max_usd=0.01), Prices(output_usd=1.0), False),
        (Policy(max_usd=0.01, max_spans=0), None, False),
    ],
)
def test_a_cap_on_the_cost_of_a_model_without_prices_is_refused(policy, prices, refused):
    large = ScriptedModel("It is 3</bigmodel>", name="big", prices=prices)
    small = ScriptedModel("Hm.<bigmodel> so.</think>Done.")
    if not refused:
        assert reply_of(small, large, policy, metadata={"tenant": "acme"}).answer == "Done."
        return
    with pytest.raises(ConfigurationError, match=r"big has no prices.*\[models.\"\*\".prices\]"):
        reply_of(small, large, policy, metadata={"tenant": "acme"})


def test_the_bundled_pair_has_no_prices_either():
    engine = SplitEngine(policy=Policy(max_usd=0.01))
    with pytest.raises(ConfigurationError, match="embedded has no prices"):
        complete(engine, Request(messages=HELLO))
    engine = SplitEngine(policy=Policy(max_usd=0.01), trigger=Never())
    assert complete(engine, Request(messages=HELLO, max_tokens=4)).small_tokens == 4


def test_the_policys_trigger_counts_where_none_is_set():
    assert SplitEngine().trigger.is_auto
    assert SplitEngine(policy=Policy(trigger="tag>0.4")).trigger == Tag(threshold=0.4)
    assert SplitEngine(policy=Policy(trigger="tag>0.4"), trigger=Never()).trigger == Never()
    llm = SplitReasonLLM(policy={"trigger": "tag>0.4"})
    assert llm.engine().trigger == Tag(threshold=0.4)
    assert llm.with_options({"policy": {"trigger": "never"}}).engine().trigger == Never()
    assert llm.with_options({"trigger": "always"}).engine().trigger == Always()
    assert llm.plain_options()["trigger"] == "tag>0.4"


def test_settings_take_templates_files_and_metadata(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'max_spans = 2\n[[rules]]\nwhen = { tenant = "acme" }\nset = { deadline_s = 9 }'
    )
    assert SplitReasonLLM(policy="balanced").policy == Policy.template("balanced")
    llm = SplitReasonLLM(policy=path, timeout=5, request_metadata={"tenant": "acme"})
    assert llm.policy.max_spans == 2
    assert llm.request(HELLO).metadata == {"tenant": "acme"}
    assert llm.engine().policy.for_request({"tenant": "acme"}).deadline_s == 5
    again = llm.with_options({"request_metadata": {"tenant": "bolt"}})
    assert again.request(HELLO).metadata == {"tenant": "bolt"}


@pytest.mark.parametrize("close", [StepEnd(), Agrees(3)], ids=str)
@pytest.mark.parametrize("chunk", range(1, 9))
def test_the_small_model_goes_on_from_what_was_kept_of_a_cut_chunk(
    other_codec, close, chunk, monkeypatch
):
    sessions = {}
    ends = Participant.close

    def seen(self):
        sessions[self.author] = self.codec.decode(self.written or ())
        ends(self)

    monkeypatch.setattr(Participant, "close", seen)
    large = ScriptedModel("It is 3 </think> theirs and more of theirs and more", codec=other_codec)
    policy = Policy(only_in_reasoning=True)
    small = ScriptedModel("Hm.<bigmodel> mine.", reading=lambda *_: 0.0)
    settings = {"trigger": Tag(), "close": close, "handback_tokens": chunk}
    reply = reply_of(small, large, policy, **settings)
    read = re.sub("</?bigmodel>", "", sessions[Author.SMALL])
    assert reply.spans[0].closed_by == "only_in_reasoning"
    assert "".join(read.split()) == "".join(f"{reply.reasoning}</think>{reply.answer}".split())
