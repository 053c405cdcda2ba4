"""The replay of a reply as if spans had been handed off in it, and its correction by a pilot."""

import numpy as np
import pytest

from splitreason_integrations import (
    Agrees,
    Disagreement,
    Entropy,
    Never,
    Opening,
    Policy,
    Prices,
    StepEnd,
    Tag,
    TagClose,
)
from splitreason_integrations.decide.closing import LowEntropy
from splitreason_integrations.decide.triggers import Position
from splitreason_integrations.evals.forecast import NeverCloses, Replay, replay_close
from splitreason_integrations.evals.metrics import Metric, PerPrompt, draw
from splitreason_integrations.evals.pilot import Pilot, forecast_figures, pilot_numbers
from splitreason_integrations.evals.watching import Watched
from splitreason_integrations.records import Completion


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
