"""No cap is exceeded by a single token, and every gate holds, whatever the models try."""

import random
from itertools import pairwise

import pytest

from splitreason_integrations import Author, Channel, Delta, Policy, Prices, Request, SplitEngine
from splitreason_integrations.decide.machine import (
    LargeFailed,
    LargeWrote,
    Machine,
    ReplyEnded,
    SmallWrote,
    SpanClosed,
    SpanOpened,
)
from splitreason_integrations.decide.orders import CloseSpan, Finish, WriteLarge, WriteSmall
from splitreason_integrations.events import HandoffRequested
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import collect

PRICES = Prices(input_usd=2.0, output_usd=10.0)
WORDS = ["one", " two", " three", " 4", "5", "\n", " so", ",", " six", "."]
MACHINE_SEEDS = 60
POLICIES_A_SEED = 50
ENGINE_SEEDS = 60
GENERATIONS_A_SEED = 17


def some_policy(rng):
    """A policy with a few of all caps and gates; now and then a rule that sets one more."""

    def perhaps(value):
        return value if rng.random() < 0.5 else None

    return Policy(
        max_offload_share=perhaps(rng.choice([0.0, 1.0, rng.random(), rng.random()])),
        max_spans=perhaps(rng.randint(0, 5)),
        max_span_tokens=perhaps(rng.randint(0, 30)),
        max_large_tokens=perhaps(rng.randint(0, 60)),
        max_usd=perhaps(rng.random() * 0.002),
        min_span_tokens=rng.randint(1, 12),
        min_small_tokens=rng.choice([0, rng.randint(0, 40)]),
        min_gap_tokens=rng.choice([0, rng.randint(0, 20)]),
        only_in_reasoning=rng.random() < 0.3,
    )


class Greedy:
    """Models that write, open and go on as much as they are let, now and then less."""

    def __init__(self, policy, rng):
        self.machine = Machine(policy=policy, max_tokens=rng.randint(1, 300), prices=PRICES)
        self.policy = policy
        self.rng = rng
        self.channel = Channel.REASONING
        self.read = rng.randint(0, 50)
        self.gap = None

    def part(self, most):
        return most if self.rng.random() < 0.4 else self.rng.randint(0, most)

    def step(self):
        """Carry out one order; return whether there is another."""
        machine = self.machine
        machine.at(0.0, unread=self.read, channel=self.channel)
        order = machine.order()
        match order:
            case WriteSmall(limit, may_open):
                self.write_small(self.part(limit), may_open=may_open)
            case WriteLarge(limit):
                kept = self.part(limit)
                surplus = self.rng.randint(0, limit - kept)
                machine.note(LargeWrote(kept, surplus, self.read))
                self.read = 0
                if self.rng.random() < 0.2:
                    failed = self.rng.random() < 0.05
                    self.close(LargeFailed() if failed else SpanClosed("large"))
            case CloseSpan(cap):
                self.close(SpanClosed(cap))
            case Finish(reason):
                machine.note(ReplyEnded(reason))
        return not isinstance(order, Finish)

    def write_small(self, tokens, *, may_open):
        self.machine.note(SmallWrote(tokens))
        self.read += tokens
        self.gap = None if self.gap is None else self.gap + tokens
        if self.rng.random() < 0.1:
            self.channel = self.rng.choice([None, *Channel])
        if may_open and self.policy.opens_in(self.channel):
            self.check_gates()
            self.machine.note(SpanOpened("test"))
            self.read += 1

    def close(self, fact):
        self.machine.note(fact)
        self.gap = 0
        self.read += 1

    def check_gates(self):
        ledger, policy = self.machine.ledger, self.policy
        assert ledger.small >= policy.min_small_tokens
        assert self.gap is None or self.gap >= policy.min_gap_tokens
        assert self.channel is Channel.REASONING or not policy.only_in_reasoning

    def check_caps(self):
        ledger, policy = self.machine.ledger, self.policy
        total = ledger.small + ledger.large
        assert total <= self.machine.max_tokens
        if policy.max_offload_share is not None:
            assert ledger.large <= policy.max_offload_share * total + 1e-6
        assert policy.max_spans is None or ledger.spans <= policy.max_spans
        assert policy.max_span_tokens is None or ledger.span <= policy.max_span_tokens
        if policy.max_large_tokens is not None:
            assert ledger.large + ledger.surplus <= policy.max_large_tokens
        assert policy.max_usd is None or ledger.usd <= policy.max_usd + 1e-12


@pytest.mark.parametrize("seed", range(MACHINE_SEEDS))
def test_no_random_policy_is_exceeded_in_the_machine(seed):
    rng = random.Random(seed)
    for _ in range(POLICIES_A_SEED):
        models = Greedy(some_policy(rng), rng)
        for _ in range(2000):
            going_on = models.step()
            models.check_caps()
            if not going_on:
                break


def script(rng, tags):
    """A text of words in which tags stand anywhere, with an answer behind the reasoning."""
    parts = [rng.choice([*WORDS, *WORDS, *tags]) for _ in range(rng.randint(5, 120))]
    parts.insert(rng.randint(0, len(parts)), "</think>")
    return "".join(parts)


def check_deltas(policy, items):
    seen = {Author.SMALL: 0, Author.LARGE: 0}
    for delta in (item for item in items if isinstance(item, Delta)):
        for _ in delta.token_ids:
            seen[delta.author] += 1
            large, total = seen[Author.LARGE], sum(seen.values())
            if policy.max_offload_share is not None:
                assert large <= policy.max_offload_share * total + 1e-6
        if policy.only_in_reasoning and delta.author is Author.LARGE and delta.text:
            assert delta.channel is Channel.REASONING


def check_openings(policy, items, end_of_reasoning):
    ids = []
    for item in items:
        ids += item.token_ids if isinstance(item, Delta) else ()
        if isinstance(item, HandoffRequested) and policy.only_in_reasoning:
            assert end_of_reasoning not in ids


def check_spans(policy, reply):
    spans = reply.spans
    assert policy.max_spans is None or len(spans) <= policy.max_spans
    for span in spans:
        assert policy.max_span_tokens is None or span.tokens <= policy.max_span_tokens
    if policy.max_large_tokens is not None:
        paid = reply.large_tokens + sum(span.surplus_tokens for span in spans)
        assert paid <= policy.max_large_tokens
    assert policy.max_usd is None or reply.cost_usd <= policy.max_usd + 1e-12
    if spans:
        assert spans[0].start_token >= policy.min_small_tokens
    for before, after in pairwise(spans):
        gap = after.start_token - before.start_token - before.tokens
        assert gap >= policy.min_gap_tokens


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(ENGINE_SEEDS))
def test_no_random_policy_is_exceeded_in_the_engine(seed):
    rng = random.Random(seed)
    for _ in range(GENERATIONS_A_SEED):
        policy = some_policy(rng)
        close = rng.random() < 0.5
        small = ScriptedModel(
            script(rng, ["<bigmodel>"] * 4),
            close_probability=lambda text, close=close: float(close and text.endswith("4")),
        )
        large = ScriptedModel(script(rng, ["</bigmodel>"]), prices=PRICES)
        engine = SplitEngine(
            small=small, large=large, policy=policy, handback_tokens=rng.randint(1, 9)
        )
        hello = [{"role": "user", "content": "hi"}]
        items, reply = collect(engine, Request(messages=hello, max_tokens=rng.randint(1, 150)))
        check_deltas(policy, items)
        check_openings(policy, items, small.codec.control_token("</think>"))
        check_spans(policy, reply)
