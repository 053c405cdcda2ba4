"""Rewards are pure, bounded and ordered: a right answer earns most, noise least."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitreason_integrations.errors import SettingError
from splitreason_integrations.training.offloading.rewards import (
    PARTS,
    Costs,
    Curriculum,
    Facts,
    Form,
    Rewards,
    logged,
)

REASONING = "I multiply 47 by 23 to count all the cards. 47*23 = 940+141 = 1081 cards in all."
HONEST = Facts(REASONING, "There are 1081 cards.", finished=True, right=False, small_tokens=60)

weights = st.floats(0, 0.33)
costs = st.builds(
    Costs,
    latency=weights,
    money=weights,
    share=weights,
    full_s=st.floats(0.01, 100),
    full_usd=st.floats(1e-6, 1),
    target_share=st.floats(0, 1),
    round_trip_s=st.floats(0, 5),
)
rewards = st.builds(Rewards, costs=costs, malformed=st.floats(-5, -0.01))
prices = st.floats(0, 1)
honest_wrong = st.builds(
    lambda spans, wait_s, usd: replace(HONEST, span_tokens=spans, wait_s=wait_s, usd=usd),
    spans=st.lists(st.integers(1, 200), max_size=7).map(tuple),
    wait_s=st.floats(0, 1e6),
    usd=st.floats(0, 1e6),
)
bad_forms = [
    replace(HONEST, finished=False),
    replace(HONEST, answer=" \n"),
    replace(HONEST, reasoning=""),
    replace(HONEST, reasoning=f"{REASONING} <bigmodel>"),
    replace(HONEST, answer="There are 1081 cards.</bigmodel>"),
    replace(HONEST, span_tokens=(0,)),
    replace(HONEST, span_tokens=(1,) * 40),
    replace(HONEST, answer="There are 77 cards."),
    replace(HONEST, reasoning="So it is 1081. " * 100),
    replace(HONEST, surprise=6.0),
]


@given(rewards, prices, honest_wrong, st.sampled_from(bad_forms), st.booleans())
def test_bad_form_earns_less_than_any_honest_wrong_answer(some, price, honest, bad, right):
    assert some.form.fault(honest) is None
    assert some.form.fault(bad) is not None
    bad = replace(bad, right=right)
    assert some.total(bad, price=price) < some.total(honest, price=price)


@given(rewards, prices, honest_wrong)
def test_a_right_answer_earns_at_least_as_much_as_a_wrong_one_at_any_price(some, price, honest):
    free = replace(HONEST, span_tokens=(), wait_s=0.0, usd=0.0)
    dear_but_right = some.total(replace(honest, right=True), price=price)
    assert dear_but_right >= some.total(replace(free, right=False), price=price) - 1e-9 - (
        price * some.costs.share  # the target may lie where the free one is
    )
    assert dear_but_right <= 1.0


@given(rewards, honest_wrong, st.floats(0, 10), st.floats(0, 10), st.integers(0, 300))
def test_costs_never_rise_the_reward(some, honest, wait_s, usd, tokens):
    for dearer in (
        replace(honest, wait_s=honest.wait_s + wait_s),
        replace(honest, usd=honest.usd + usd),
    ):
        assert some.total(dearer) <= some.total(honest) + 1e-12
    cheap = replace(some, costs=replace(some.costs, share=0.0))
    longer = replace(honest, span_tokens=(*honest.span_tokens[:6], tokens + 1))
    assert cheap.total(longer) == pytest.approx(
        cheap.total(replace(honest, span_tokens=longer.span_tokens))
    )


@given(rewards, honest_wrong, prices)
def test_parts_add_up_and_are_known(some, honest, price):
    parts = some.parts(honest, price=price)
    assert set(parts) <= set(PARTS)
    assert sum(logged(parts).values()) == pytest.approx(some.total(honest, price=price))
    assert some.parts(honest, price=price) == parts
    assert some.total(honest, price=0.0) == 0.0


@settings(max_examples=200)
@given(st.integers(0, 10_000))
def test_noise_of_a_vocabulary_is_bad_form(seed):
    from transformers import AutoTokenizer

    from splitreason_integrations.embedded import path

    tokenizer = AutoTokenizer.from_pretrained(path("small"))
    rng = random.Random(seed)
    ids = [rng.randrange(len(tokenizer)) for _ in range(rng.randrange(1, 300))]
    text = tokenizer.decode(ids)
    # What the surprise of noise is to the model is tested with the reference.
    noise = Facts(text, text[-20:], finished=True, right=False, small_tokens=len(ids), surprise=7)
    assert Rewards().total(noise) < Rewards().total(HONEST)


def test_the_price_rises_between_two_steps():
    rise = Curriculum(start=0.2, end=0.8, from_step=10, to_step=40)
    assert [rise.price(step) for step in (0, 10, 25, 40, 99)] == pytest.approx(
        [0.2, 0.2, 0.5, 0.8, 0.8]
    )
    assert Curriculum().price(0) == 1.0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Costs(latency=0.5, money=0.4, share=0.2), "add up to 1.1"),
        (lambda: Costs(full_s=0), "full_s must be above 0"),
        (lambda: Rewards(malformed=0.1), "malformed must lie in"),
        (lambda: Curriculum(from_step=5, to_step=2), "swap them"),
        (lambda: Form(spans_in_100=-1), "spans_in_100"),
    ],
)
def test_settings_that_would_turn_the_order_around_are_refused(make, said):
    with pytest.raises(SettingError, match=said):
        make()
