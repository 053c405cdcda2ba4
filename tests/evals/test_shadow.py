"""Shadow mode: where the small model alone would have handed off."""

import json
from dataclasses import replace

import pytest

from splitreason_integrations import (
    Agrees,
    Always,
    Disagreement,
    Entropy,
    Never,
    Prices,
    Random,
    Shadow,
    SplitEngine,
    StepEnd,
    Tag,
    TagClose,
    TransformersModel,
    embedded,
)
from splitreason_integrations.backends.base import Gives
from splitreason_integrations.decide.triggers import Needs, Position
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.evals.answering import ask
from splitreason_integrations.evals.estimates import Plan
from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.runner import run_mode
from splitreason_integrations.evals.shadow import shadow
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.evals.watching import watch
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


def test_the_small_model_continues_and_the_large_one_is_not_loaded():
    engine = scripted()
    report = shadow(engine, TASKS, [Tag(), Tag(0.5), Never()], Plan(span_tokens=10))
    assert report.untaught is None
    handoffs = [one.figures[Metric.HANDOFFS].value for one in report.estimates]
    assert handoffs == [2, 2, 0]
    assert engine.large.passes == 0
    assert engine.small.open_sessions == 0


def test_estimates_add_up():
    engine = scripted()
    prices = Prices(input_usd=1.0, output_usd=10.0)
    far = Network(round_trip_s=0.5, tokens_per_s=20)
    plan = Plan(span_tokens=8, prices=prices, network=far)
    report = shadow(engine, TASKS, [Tag()], plan)
    (watched,) = watch(engine, TASKS[:1], [Tag()])
    first, second = (at.index for at in watched.positions if at.tag_chosen)
    estimate = report.estimates[0].data()
    # Each span replaces the rest of its step.
    step = watched.texts.index("First. Second.") - first
    rest = watched.reply.small_tokens - second
    read = watched.reply.prompt_tokens + second - step
    assert estimate["large_tokens"] == 16
    assert estimate["added_latency_s"] == pytest.approx(2 * 0.5 + 16 / 20)
    assert estimate["usd_per_1k"] == pytest.approx(1000 * (read * 1 + 16 * 10) / 1e6)
    left = watched.reply.small_tokens - step - rest
    assert estimate["offload_share"] == pytest.approx(16 / (16 + left), abs=0.2)
    assert json.loads(json.dumps(report.data()))["n"] == 3


def test_both_models_run_on_the_prompts_of_a_pilot():
    engine = replace(scripted(), large=ScriptedModel(" hard</bigmodel>" * 2))
    (estimate,) = shadow(engine, TASKS, [Tag()], Plan(pilot=2)).estimates
    assert estimate.pilot == 2
    assert estimate.figures[Metric.HANDOFFS].value == 2
    assert estimate.large_tokens == 2 * len(engine.large.codec.encode(" hard"))
    assert shadow(engine, TASKS, [Never()], Plan(pilot=9)).data()["pilot"] == 3


def test_the_large_model_reads_only_where_a_rule_needs_it():
    def engine():
        large = ScriptedModel("unused", reading=lambda text, token: 0.01 if token == "." else 1.0)
        small = ScriptedModel("One two. Three four.</think>\n\n7", taught=False)
        return SplitEngine(small=small, large=large)

    silent = engine()
    report = shadow(silent, TASKS, [Entropy(1.0)], Plan(reads_along=False))
    assert silent.large.passes == 0
    assert report.estimates[0].close == StepEnd()
    assert "never taught" in report.untaught
    reading = engine()
    report = shadow(reading, TASKS, [Disagreement(0.1)])
    assert report.estimates[0].figures[Metric.HANDOFFS].value == 2
    assert report.estimates[0].close == Agrees() | StepEnd()
    assert reading.large.passes > 0
    with pytest.raises(RequestError, match="name it with --large"):
        shadow(engine(), TASKS, [Disagreement(0.1)], Plan(reads_along=False))


def test_triggers_that_suit_the_small_model_are_the_default():
    taught = shadow(scripted(), TASKS).estimates
    assert [str(one.trigger) for one in taught] == ["tag>0.99", "tag>0.9", "tag>0.5", "tag>0.1"]
    engine = replace(scripted(), small=ScriptedModel("One two.</think>\n\n7", taught=False))
    untaught = shadow(engine, TASKS).estimates
    assert str(untaught[0].trigger) == "disagreement<0.1"
    alone = shadow(engine, TASKS, plan=Plan(reads_along=False)).estimates
    assert [one.trigger for one in alone] == [one.trigger for one in untaught[1:]]


def test_impossible_estimates_are_refused():
    plan = Plan(span_tokens=10)
    with pytest.raises(RequestError, match="one prompt"):
        shadow(scripted(), [], [Tag()], plan)
    with pytest.raises(RequestError, match="the whole reply"):
        shadow(scripted(), TASKS, [Tag(), Always()], plan)
    with pytest.raises(ConfigurationError, match="span_tokens"):
        Plan(span_tokens=0)
    with pytest.raises(ConfigurationError, match="pilot"):
        Plan(pilot=-1)
    deaf = replace(scripted(), large=ScriptedModel("unused"))
    deaf.large.gives = Gives.NOTHING
    with pytest.raises(ConfigurationError, match="gives no probabilities of what it reads"):
        shadow(deaf, TASKS, [Disagreement(0.1)], plan)


def test_tags_of_plain_text_are_watched_too(other_codec):
    small = ScriptedModel("first 12*3 =<bigmodel> 36 then <bigmodel>36+4 = 40", codec=other_codec)
    engine = SplitEngine(small=small, large=ScriptedModel("unused"))
    (watched,) = watch(engine, TASKS[:1], [Tag(), Tag(0.5)], seed=0)
    assert sum(at.tag_chosen for at in watched.positions) == 2
    assert "big" not in watched.reply.answer
    assert "36 then" in watched.reply.answer


def test_the_embedded_small_model_writes_what_it_writes_alone():
    (task,) = generated("dev", ["word"], n=1, seed=5)
    (watched,) = watch(SplitEngine(), [task], [Tag(0.5), Random(0.1)], seed=0)
    alone = ask(SplitEngine(trigger=Never()), task.messages, task.tools, seed=0, max_tokens=512)
    assert watched.reply.pieces == alone.pieces
    assert watched.reply.large_tokens == 0


@pytest.fixture(scope="module")
def untaught():
    """Two models that were never taught to mark spans: they are shown no tags."""
    base, large = (
        TransformersModel(str(embedded.path(name)), taught=False) for name in ("base", "large")
    )
    return SplitEngine(small=base, large=large)


def forecast_and_reality(engine, trigger, pilot):
    """Return the forecast, and the real run of the same prompts as (handoffs, share)."""
    tasks = generated("dev", ["word", "context"], n=24, seed=6)
    figures = shadow(engine, tasks, [trigger], Plan(pilot=pilot)).estimates[0].figures
    real = run_mode("split", replace(engine, trigger=trigger), tasks, seed=0)
    handoffs = sum(len(reply.spans) for reply in real.replies) / len(tasks)
    return figures, handoffs, real.offload_share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trigger", "close"),
    [
        (Disagreement(0.1), Agrees() | StepEnd()),
        (Entropy(1.0), Agrees() | StepEnd()),
        (Entropy(0.5), StepEnd()),
    ],
    ids=str,
)
def test_the_forecast_for_an_untaught_pair_is_what_happens(untaught, trigger, close):
    engine = replace(untaught, close=close)
    figures, handoffs, share = forecast_and_reality(engine, trigger, pilot=8)
    assert figures[Metric.HANDOFFS].value == pytest.approx(handoffs, rel=0.3)
    assert figures[Metric.SHARE].value == pytest.approx(share, rel=0.4)
    assert figures[Metric.SHARE].low <= share <= figures[Metric.SHARE].high


@pytest.mark.slow
def test_a_tag_that_nobody_writes_ends_no_span_in_the_forecast_either(untaught):
    engine = replace(untaught, close=TagClose())
    figures, _, share = forecast_and_reality(engine, Entropy(0.3), pilot=0)
    assert share > 0.6
    assert figures[Metric.SHARE].value == pytest.approx(share, rel=0.3)


@pytest.mark.slow
def test_shadow_foresees_the_taught_pairs_spans():
    figures, handoffs, share = forecast_and_reality(SplitEngine(), Tag(0.5), pilot=0)
    assert figures[Metric.HANDOFFS].value == pytest.approx(handoffs, rel=0.2)
    assert figures[Metric.SHARE].value == pytest.approx(share, rel=0.5)
    figures, handoffs, share = forecast_and_reality(SplitEngine(), Tag(0.5), pilot=8)
    assert figures[Metric.SHARE].value == pytest.approx(share, rel=0.35)
