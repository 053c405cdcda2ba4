"""Random models, rules and chunks: spans end where they must, cut text is never shown."""

import random
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from splitreason_integrations import (
    Agrees,
    Always,
    Author,
    Completion,
    Confidence,
    Delta,
    Disagreement,
    Entropy,
    LowEntropy,
    Opening,
    Policy,
    Random,
    Request,
    Sampling,
    SplitEngine,
    StepEnd,
    Tag,
    TagClose,
    blocking,
)
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import HELLO

WORDS = (
    "one",
    "two ",
    " three",
    ". Four",
    "5.5",
    "six.\n",
    "e.g. ",
    "ünï",
    "日本。",
    " end",
    "<",
    "!",
)


def script(rng, *, role):
    parts = [rng.choice(WORDS) for _ in range(rng.randint(1, 60))]
    if role == "large":
        return "".join(part + (" </bigmodel>" if rng.random() < 0.05 else "") for part in parts)
    for _ in range(rng.randint(0, 3)):
        parts.insert(rng.randrange(len(parts) + 1), "<bigmodel>")
    return "".join(parts) + "</think>\n\n" + "".join(rng.choices(WORDS, k=5))


def scored(seed, scale):
    """A number in [0, scale) that depends on the texts alone, as a model's would."""

    def score(*texts):
        return random.Random(f"{seed}{texts!r}").random() * scale

    return score


def leaf_trigger(rng):
    return rng.choice(
        [
            Tag(),
            Tag(0.5),
            Random(0.1),
            Entropy(rng.uniform(0, 2)),
            Confidence(0.3),
            Opening(rng.randint(1, 20)),
            Disagreement(rng.choice([0.1, 0.4, 0.9])),
            Disagreement(0.5),
            Always(),
        ]
    )


def leaf_close(rng):
    return rng.choice(
        [
            TagClose(rng.choice([0.3, 0.9, 1.0])),
            Agrees(rng.randint(1, 3)),
            Agrees(probability=0.8),
            LowEntropy(rng.uniform(0, 1)),
            StepEnd(),
        ]
    )


def joined(rng, leaf):
    rule = leaf(rng)
    if isinstance(rule, Always):
        return rule
    for _ in range(rng.randint(0, 2)):
        other = leaf(rng)
        if not isinstance(other, Always):
            rule = rule | other if rng.random() < 0.6 else rule & other
    return rule


@dataclass
class Case:
    seed: int

    def models(self, *, delay_s=0.0):
        rng = random.Random(self.seed)
        return tuple(
            ScriptedModel(
                script(rng, role=role),
                name=f"{role}-{self.seed}",
                close_probability=scored(f"c{self.seed}", 1.0),
                reading=scored(f"r{role}{self.seed}", 1.0),
                entropy=scored(f"e{role}{self.seed}", 2.0),
                slice_tokens=rng.randint(1, 9),
                taught=rng.random() < 0.5,
                resumes=rng.random() < 0.7,
            )
            for role in ("small", "large")
        )

    def engine(self, *, chunk):
        rng = random.Random(f"rules{self.seed}")
        small, large = self.models()
        policy = Policy(
            max_span_tokens=rng.choice([None, 1, 5, 64]),
            max_offload_share=rng.choice([None, None, 0.3]),
            min_span_tokens=1,
            only_in_reasoning=rng.random() < 0.3,
        )
        return SplitEngine(
            small=small,
            large=large,
            trigger=joined(rng, leaf_trigger),
            close=joined(rng, leaf_close),
            policy=policy,
            handback_tokens=chunk,
            telemetry=None,
        )

    def request(self):
        rng = random.Random(f"asked{self.seed}")
        return Request(
            messages=HELLO,
            max_tokens=rng.choice([20, 80, 160]),
            seed=5,
            sampling=Sampling(temperature=0.0),
            stop=rng.choice([[], [], [" end"]]),
        )


async def run(engine, request):
    shown, reply = [], None
    async with aclosing(engine.stream(request)) as items:
        async for item in items:
            if isinstance(item, Delta):
                shown.append(item)
            if isinstance(item, Completion):
                reply = item
    return shown, reply


@pytest.mark.parametrize("start", range(0, 1000, 50))
def test_what_is_shown_is_what_is_kept_and_no_span_is_longer_than_its_cap(start):
    for seed in range(start, start + 50):
        case = Case(seed)
        engine = case.engine(chunk=4)
        shown, reply = blocking.run(lambda e=engine, c=case: run(e, c.request()))
        ids = [token for delta in shown for token in delta.token_ids]
        assert ids == [token for piece in reply.pieces for token in piece.token_ids], seed
        text = "".join(delta.text for delta in shown if delta.channel == "reasoning")
        assert text == reply.reasoning, seed
        assert "bigmodel>" not in text, seed
        cap = engine.policy.max_span_tokens
        assert all(cap is None or span.tokens <= cap for span in reply.spans), seed
        assert sum(span.tokens for span in reply.spans) == reply.large_tokens, seed
        assert all(span.closed_by for span in reply.spans), seed
        large = [len(piece.token_ids) for piece in reply.pieces if piece.author is Author.LARGE]
        assert sum(large) == reply.large_tokens, seed
        assert engine.small.open_sessions == engine.large.open_sessions == 0, seed


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_the_text_is_the_same_whatever_the_chunk(start):
    for seed in range(start, start + 50):
        case = Case(seed)
        replies = []
        for chunk in (1, 3, 16):
            engine = case.engine(chunk=chunk)
            replies.append(blocking.run(lambda e=engine, c=case: run(e, c.request()))[1])
        first = replies[0]
        for other in replies[1:]:
            assert other.pieces == first.pieces, (seed, engine.trigger, engine.close)
            assert [(s.start_token, s.tokens) for s in other.spans] == [
                (s.start_token, s.tokens) for s in first.spans
            ], seed


def random_rules(seed):
    rng = random.Random(f"networks{seed}")
    trigger = Disagreement(rng.choice([0.02, 0.1, 0.5]))
    if rng.random() < 0.4:
        trigger = trigger | Entropy(rng.uniform(2, 5))
    elif rng.random() < 0.4:
        trigger = trigger & Random(0.3)
    return {
        "trigger": trigger,
        "close": joined(rng, leaf_close),
        "policy": Policy(max_span_tokens=rng.choice([3, 16]), min_span_tokens=1),
    }


@pytest.mark.parametrize("hot", [0.0, 1.0])
@pytest.mark.parametrize("tokenizers", ["same", "other small", "other large"])
def test_networks_write_the_same_whatever_the_chunk(random_pair, other_model, tokenizers, hot):
    pair = {
        "same": random_pair,
        "other small": (other_model, random_pair[1]),
        "other large": (random_pair[0], other_model),
    }[tokenizers]
    spans = 0
    for seed in range(12):
        replies = []
        for chunk in (1, 3, 16):
            engine = SplitEngine(
                small=pair[0],
                large=pair[1],
                handback_tokens=chunk,
                telemetry=None,
                **random_rules(seed),
            )
            asked = Request(
                messages=HELLO, max_tokens=60, seed=seed, sampling=Sampling(temperature=hot)
            )
            replies.append(blocking.run(lambda e=engine, a=asked: e.complete(a)))
        assert all(one.pieces == replies[0].pieces for one in replies), (seed, engine.trigger)
        spans += len(replies[0].spans)
    assert spans > 12
