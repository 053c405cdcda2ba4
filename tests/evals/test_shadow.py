"""Shadow mode: where the small model alone would have handed off."""

import json
from dataclasses import replace

import pytest

from splitreason_integrations import (
    Always,
    Entropy,
    Never,
    Prices,
    Random,
    Shadow,
    SplitEngine,
    Tag,
)
from splitreason_integrations.decide.triggers import Needs, Position
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.evals.answering import ask
from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.runner import run_mode
from splitreason_integrations.evals.shadow import Plan, Watched, mean_span_tokens, shadow, watch
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.testing import ScriptedModel

SCRIPT = "First.<bigmodel> Second.<bigmodel> Third.</think>\n\n7"
TASKS = [Task(({"role": "user", "content": "Hello"},))] * 3


def scripted():
    return SplitEngine(small=ScriptedModel(SCRIPT), large=ScriptedModel(" hard</bigmodel>"))


def test_it_never_fires_and_passes_on_what_it_sees():
    seen = []
    trigger = Shadow(Tag(0.2) | Entropy(1.0), seen.append)
    at = Position(4, open_probability=0.9)
    assert not trigger.fires(at)
    assert seen == [at]
    assert trigger.needs == Needs.OPEN_PROBABILITY | Needs.ENTROPY
    assert trigger.uses_tag
    assert not Shadow(Never(), seen.append).uses_tag
    assert str(trigger) == "shadow((tag>0.2 | entropy>1))"


def test_neighbouring_positions_are_one_handoff():
    chances = {3: 0.9, 4: 0.9, 6: 0.9, 9: 0.4}
    positions = tuple(Position(i, open_probability=chances.get(i, 0.0)) for i in range(12))
    watched = Watched(reply=None, positions=positions)
    assert watched.handoffs(Tag(0.5)) == [3, 6]
    assert watched.handoffs(Tag(0.3)) == [3, 6, 9]
    assert watched.handoffs(Tag(0.95)) == []


def test_the_small_model_continues_and_the_large_one_is_not_loaded():
    engine = scripted()
    report = shadow(engine, TASKS, [Tag(), Tag(0.5), Never()], Plan(span_tokens=10))
    handoffs = [one.figures[Metric.HANDOFFS].value for one in report.estimates]
    assert handoffs == [2, 2, 0]
    assert engine.large.passes == 0
    assert engine.small.open_sessions == 0


def test_estimates_add_up():
    engine = scripted()
    prices = Prices(input_usd=1.0, output_usd=10.0)
    far = Network(round_trip_s=0.5, tokens_per_s=20)
    plan = Plan(span_tokens=10, prices=prices, network=far)
    report = shadow(engine, TASKS, [Tag()], plan)
    (watched,) = watch(engine, TASKS[:1], [Tag()], seed=0)
    estimate = report.estimates[0].data()
    read = watched.reply.prompt_tokens + watched.handoffs(Tag())[-1]
    assert estimate["large_tokens"] == 20
    assert estimate["added_latency_s"] == pytest.approx(2 * 0.5 + 20 / 20)
    assert estimate["usd_per_1k"] == pytest.approx(1000 * (read * 1 + 20 * 10) / 1e6)
    assert estimate["offload_share"] == pytest.approx(20 / (20 + watched.reply.small_tokens))
    assert json.loads(json.dumps(report.data()))["n"] == 3


def test_spans_are_sampled_with_both_models():
    engine = replace(scripted(), large=ScriptedModel(" hard</bigmodel>" * 2))
    spans = mean_span_tokens(engine, TASKS, [Tag()])
    assert spans == len(engine.large.codec.encode(" hard"))
    with pytest.raises(RequestError, match="no span opened in 3"):
        mean_span_tokens(engine, TASKS, [Never()])


def test_impossible_estimates_are_refused():
    plan = Plan(span_tokens=10)
    with pytest.raises(RequestError, match="one prompt and one trigger"):
        shadow(scripted(), TASKS, [], plan)
    with pytest.raises(RequestError, match="the whole reply"):
        shadow(scripted(), TASKS, [Tag(), Always()], plan)
    with pytest.raises(ConfigurationError, match="span_tokens"):
        Plan(span_tokens=0)


def test_tags_of_plain_text_are_watched_too(other_codec):
    small = ScriptedModel("first 12*3 =<bigmodel> 36 then <bigmodel>36+4 = 40", codec=other_codec)
    engine = SplitEngine(small=small, large=ScriptedModel("unused"))
    (watched,) = watch(engine, TASKS[:1], [Tag(), Tag(0.5)], seed=0)
    assert len(watched.handoffs(Tag())) == 2
    assert "big" not in watched.reply.answer
    assert "36 then" in watched.reply.answer


def test_the_embedded_small_model_writes_what_it_writes_alone():
    (task,) = generated("dev", ["word"], n=1, seed=5)
    (watched,) = watch(SplitEngine(), [task], [Tag(0.5), Random(0.1)], seed=0)
    alone = ask(SplitEngine(trigger=Never()), task.messages, task.tools, seed=0, max_tokens=512)
    assert watched.reply.pieces == alone.pieces
    assert watched.reply.large_tokens == 0


def test_shadow_foresees_the_pairs_handoffs():
    tasks = generated("dev", ["word", "context"], n=8, seed=6)
    trigger = Tag(0.5)
    real = run_mode("split", SplitEngine(trigger=trigger), tasks, seed=0)
    opened = sum(len(reply.spans) for reply in real.replies)
    watched = watch(SplitEngine(), tasks, [trigger], seed=0)
    foreseen = sum(len(one.handoffs(trigger)) for one in watched)
    assert opened > 0
    assert foreseen == pytest.approx(opened, rel=0.3)
