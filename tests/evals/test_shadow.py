"""Shadow mode: where the small model alone would have handed off."""

import json
from dataclasses import replace

import numpy as np
import pytest

from splitreason_integrations import (
    Agrees,
    Always,
    Disagreement,
    Entropy,
    Never,
    Opening,
    Policy,
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
from splitreason_integrations.decide.closing import LowEntropy
from splitreason_integrations.decide.triggers import Needs, Position
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.evals.answering import ask
from splitreason_integrations.evals.estimates import Plan
from splitreason_integrations.evals.forecast import NeverCloses, Replay, replay_close
from splitreason_integrations.evals.metrics import Metric, PerPrompt, draw
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.pilot import Pilot, forecast_figures, pilot_numbers
from splitreason_integrations.evals.runner import run_mode
from splitreason_integrations.evals.shadow import shadow
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.evals.watching import Watched, watch
from splitreason_integrations.records import Completion
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


def reply_of(tokens, *, reasoning=0):
    """A reply of so many tokens of the small model, behind a prompt of 10."""
    return Completion(
        request_id="r", reasoning="", answer="", tool_calls=(), pieces=(), spans=(),
        prompt_tokens=10, small_tokens=tokens, large_tokens=0, reasoning_tokens=reasoning,
        stop_reason="stop", latency_s=1.0, cost_usd=0.0, degraded=False, seed=0,
    )  # fmt: skip


def watched_of(facts, tokens=12, *, texts=None, reasoning=0):
    """A watched reply; `facts` are those of positions, by index."""
    positions = [Position(i, **facts.get(i, {})) for i in range(tokens)]
    texts = texts or tuple("x" * i for i in range(tokens + 1))
    return Watched(reply_of(tokens, reasoning=reasoning), tuple(positions), tuple(texts))


def replayed(watched, trigger, close=None, policy=None, **more):
    rules = Replay(
        trigger=trigger,
        close=close or NeverCloses(),
        policy=policy or Policy(min_span_tokens=1),
        prices=more.pop("prices", Prices()),
        **more,
    )
    return rules.forecast(watched)


CHANCES = {i: {"open_probability": p} for i, p in {3: 0.9, 4: 0.9, 6: 0.9, 9: 0.4}.items()}


def test_a_span_replaces_what_the_small_model_wrote():
    watched = watched_of(CHANCES)
    found = replayed(watched, Tag(0.5), Agrees())
    assert found.openings == (3, 4, 6)
    assert (found.large_tokens, found.small_tokens) == (3, 9)
    found = replayed(watched, Tag(0.5), Agrees(2))
    assert found.openings == (3, 6)
    assert (found.large_tokens, found.small_tokens) == (4, 8)
    assert replayed(watched, Tag(0.3), Agrees(2)).openings == (3, 6, 9)
    assert replayed(watched, Tag(0.95), Agrees(2)).openings == ()


def test_a_span_without_an_end_replaces_the_rest():
    found = replayed(watched_of(CHANCES), Tag(0.5))
    assert found.openings == (3,)
    assert (found.large_tokens, found.small_tokens) == (9, 3)


def test_a_span_ends_where_both_models_would_have_written_the_token():
    disagreed = {i: {"large_probability": 0.01, "large_likeliest": False} for i in (2, 3, 4, 8)}
    watched = watched_of(disagreed)
    assert replayed(watched, Disagreement(), Agrees()).openings == (2, 8)
    assert replayed(watched, Disagreement(), Agrees()).large_tokens == 4 + 2
    sure = watched_of({**disagreed, 5: {"confidence": 0.5}})
    assert replayed(sure, Disagreement(), Agrees(probability=0.9)).large_tokens == 5 + 2


def test_a_span_ends_where_entropy_is_low_or_a_step_ends():
    entropies = {i: {"entropy": e} for i, e in enumerate([0, 3, 3, 3, 0.1, 3, 0, 0, 0, 0, 0, 0])}
    found = replayed(watched_of(entropies), Entropy(1.0), LowEntropy(0.5))
    assert (found.openings, found.large_tokens) == ((1, 5), 3 + 1)
    texts = ["", "a", "ab", "abc", "abc.\n", "abc.\nd", *("abc.\nd" + "e" * i for i in range(1, 8))]
    found = replayed(watched_of(entropies, texts=texts), Entropy(1.0), StepEnd())
    assert (found.openings, found.large_tokens) == ((1, 5), 3 + 7)


def test_gaps_and_caps_hold_in_a_replay():
    everywhere = watched_of({i: {"entropy": 3.0} for i in range(12)})

    def spans(**caps):
        policy = Policy(min_span_tokens=1, **caps)
        return replayed(everywhere, Entropy(1.0), Agrees(2), policy)

    assert spans().openings == (0, 2, 4, 6, 8, 10)
    assert spans(min_gap_tokens=3).openings == (0, 5, 10)
    assert spans(min_small_tokens=4, max_spans=2).openings == (4, 6)
    assert spans(max_span_tokens=1).openings == tuple(range(12))
    assert spans(max_large_tokens=4).large_tokens == 4
    capped = spans(max_offload_share=0.25)
    assert 0 < capped.large_tokens <= 3
    reasons = watched_of({i: {"entropy": 3.0} for i in range(12)}, reasoning=5)
    policy = Policy(min_span_tokens=1, only_in_reasoning=True)
    assert replayed(reasons, Entropy(1.0), Agrees(2), policy).openings == (0, 2, 4)


def test_an_opening_has_its_exact_length():
    found = replayed(watched_of({}), Opening(5), Agrees())
    assert (found.openings, found.large_tokens, found.small_tokens) == ((0,), 5, 7)


def test_reading_is_priced_as_input():
    prices = Prices(input_usd=1.0, output_usd=10.0)
    disagreed = watched_of({2: {"large_probability": 0.01, "large_likeliest": False}})
    read = replayed(disagreed, Disagreement(), Agrees(), prices=prices)
    # The prompt, and all that the small model wrote; the span ends where both agree.
    assert read.large_tokens == 2
    assert read.large_usd == pytest.approx((10 + 10 + 10 * 2) / 1e6)
    tagged = replayed(watched_of({2: CHANCES[3]}), Tag(0.5), Agrees(), prices=prices)
    assert tagged.large_usd == pytest.approx((10 + 2 + 10) / 1e6)
    assert replayed(disagreed, Never(), prices=prices).large_usd == 0
    chunked = replayed(
        watched_of({2: CHANCES[3]}), Tag(0.5), Agrees(), prices=prices, chunk_tokens=8
    )
    assert chunked.large_usd == pytest.approx((10 + 2 + 8 * 10) / 1e6)


def test_a_close_tag_is_replayed_as_what_the_model_was_taught():
    assert replay_close(TagClose() | Agrees(), closes=True) == StepEnd() | Agrees()
    assert replay_close(TagClose(), closes=False) == NeverCloses()
    assert replay_close(Agrees(2), closes=False) == Agrees(2)


def test_a_pilot_corrects_the_forecast():
    def figures(handoffs, large, tokens):
        return PerPrompt(
            *(np.array(one, float) for one in (handoffs, large, tokens)),
            usd=np.zeros(len(tokens)),
            latency_s=np.ones(len(tokens)),
        )

    forecast = figures([1, 2, 1, 2], [10, 20, 10, 20], [100, 100, 100, 100])
    numbers = pilot_numbers(4, 2)
    assert numbers == [0, 2]
    real = figures([3, 3], [30, 40], [120, 120])
    picks = draw(4, resamples=1000)
    found = forecast_figures(forecast, Pilot(numbers, real), picks)
    assert found[Metric.HANDOFFS].value == 1.5 * 3
    assert found[Metric.SHARE].value == pytest.approx((15 * 3.5) / (100 * 1.2))
    assert found[Metric.SHARE].low < found[Metric.SHARE].value < found[Metric.SHARE].high
    assert forecast_figures(forecast, None, picks)[Metric.HANDOFFS].value == 1.5
    nothing = forecast_figures(forecast, Pilot(numbers, figures([0, 0], [0, 0], [9, 9])), picks)
    assert nothing[Metric.SHARE].low >= 0
    unforeseen = forecast_figures(
        figures([0, 2, 0, 2], [0] * 4, [9] * 4), Pilot(numbers, real), picks
    )
    assert unforeseen[Metric.HANDOFFS].value == 1 + 3
    assert pilot_numbers(3, 8) == [0, 1, 2]
    assert pilot_numbers(3, 0) == []


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
