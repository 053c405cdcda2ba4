"""However a span is asked for and read along, the reply is the same: hundreds of random pairs."""

import asyncio
import random

import pytest

from splitreason_integrations import AskRule, HumanCheck, Policy, Prices, SplitEngine, TagClose
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.engine import finished
from splitreason_integrations.humans.human import Answer, Paused
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import request

WORDS = ["so ", "nine", " 12", "\n", "ü", "🙂", " wait", ".", " é", "a b", "Mia", " mia@x.org "]
RETRY = Retry(attempts=50, wait_s=0.0, max_wait_s=0.0, breaker_failures=10_000)


def text_of(rng, most):
    return "".join(rng.choices(WORDS, k=rng.randrange(1, most)))


class Failing(ScriptedModel):
    """Fails after so many tokens of some of its writings; `wrote` counts what is to be paid."""

    def __init__(self, reply, *, failures, **settings):
        super().__init__(reply, **settings)
        self.failures, self.wrote = iter(failures), 0

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        write, truncate, longest = session.write, session.truncate, 0

        def truncating(length):
            nonlocal longest
            longest = max(longest, session.length)
            truncate(length)

        async def writing(order):
            nonlocal longest
            left, received, before = next(self.failures, None), 0, session.length
            longest = 0
            parts = write(order)
            try:
                async for part in parts:
                    if left is not None and left <= received + len(part.token_ids):
                        longest, before = received, 0
                        raise ConnectionError("gone")
                    received += len(part.token_ids)
                    yield part
            finally:
                await parts.aclose()
                # It may have been cut before this is closed.
                self.wrote += max(longest, session.length if before else 0) - before

        session.write, session.truncate = writing, truncating
        return session


class Case:
    """A random pair and its settings, which may be made again and again."""

    def __init__(self, seed):
        rng = random.Random(seed)
        spans = rng.randrange(1, 4)
        self.small = "".join(text_of(rng, 8) + "<bigmodel>" for _ in range(spans))
        self.small += text_of(rng, 8) + "</think>\n\n" + text_of(rng, 8)
        self.large = "".join(
            text_of(rng, 60) + rng.choice(["</bigmodel>", "</bigmodel>", "<|im_end|>"])
            for _ in range(spans)
        )
        self.ends = rng.sample(range(400), rng.choice([0, 0, 3, 40]))
        self.settings = {
            "handback_tokens": rng.choice([1, 2, 5, 8, 30]),
            "close": TagClose(rng.choice([0.5, 0.5, 0.5, 1.0])),
            "retry": RETRY,
        }
        if rng.random() < 0.3:
            self.settings["redact"] = ["email"]
        if rng.random() < 0.3:
            self.settings["policy"] = Policy(
                max_span_tokens=rng.choice([None, 7, 20]), only_in_reasoning=rng.random() < 0.5
            )
        self.stop = [rng.choice(["🙂", "b", "\n"])] if rng.random() < 0.2 else []
        self.asks, self.seed = rng.random() < 0.3, seed
        self.failures = [rng.choice([None, 0, 3, 9]) for _ in range(rng.choice([0, 0, 4]))]

    def pair(self, rng, **large):
        small = ScriptedModel(
            self.small,
            name="s",
            close_probability=lambda text: float(len(text) in self.ends),
            slice_tokens=rng.randrange(1, 9),
        )
        large = {
            "name": "l",
            "slice_tokens": rng.choice([1, 2, 7, 50]),
            "delay_s": rng.choice([0.0, 0.0, 0.0002]),
            "prices": Prices(output_usd=1.0),
            **large,
        }
        return small, Failing(self.large, failures=self.failures, **large)

    async def reply(self, pair):
        check = None
        if self.asks:
            rng = random.Random(self.seed)

            async def answer(question):
                decision = rng.choice(["approve", "refuse", "edit"])
                return Answer(decision=decision, text="Edited." if decision == "edit" else "")

            check = HumanCheck(reviewer=answer, after=AskRule())
        engine = SplitEngine(small=pair[0], large=pair[1], human_check=check, **self.settings)
        return await finished(engine.stream(request(max_tokens=400, stop=self.stop)))


def facts(reply):
    return {
        "reasoning": reply.reasoning,
        "answer": reply.answer,
        "pieces": [(str(piece.author), piece.token_ids) for piece in reply.pieces],
        "spans": [(span.text, span.tokens, span.closed_by, span.human) for span in reply.spans],
        "tokens": (reply.small_tokens, reply.large_tokens, reply.human_tokens),
        "ended": (reply.stop_reason, reply.degraded),
    }


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
async def test_one_request_a_span_reads_as_many_do(block):
    rng, before = random.Random(block), asyncio.all_tasks()
    for seed in range(block * 30, block * 30 + 30):
        case = Case(seed)
        failures, case.failures = case.failures, []
        often = case.pair(rng)
        wanted = facts(await case.reply(often))
        for remote in (False, True):
            case.failures = failures if not case.settings.get("redact") else []
            once = case.pair(rng, resumes=False, remote=remote and "redact" in case.settings)
            reply = await case.reply(once)
            assert facts(reply) == wanted, seed
            paid = reply.cost_usd * 1e6
            assert paid == pytest.approx(once[1].wrote), seed
            dropped = sum(span.surplus_tokens for span in reply.spans)
            if not case.asks:
                assert reply.large_tokens + dropped == once[1].wrote, seed
        assert all(model.open_sessions == 0 for model in (*often, *once))
    assert asyncio.all_tasks() == before


async def later(question):
    return None


async def put_aside(case, pair):
    """Answer as the case's person does, each time after the request was put aside."""
    rng, check = random.Random(case.seed), HumanCheck(reviewer=later, after=AskRule())
    engine = SplitEngine(small=pair[0], large=pair[1], human_check=check, **case.settings)
    stream = engine.stream(request(max_tokens=400, stop=case.stop))
    while True:
        item = [item async for item in stream][-1]
        if not isinstance(item, Paused):
            return item
        decision = rng.choice(["approve", "refuse", "edit"])
        answer = Answer(decision=decision, text="Edited." if decision == "edit" else "")
        stream = engine.resume(Paused.from_json(item.to_json()), answer)


@pytest.mark.slow
async def test_a_request_put_aside_at_every_question_goes_on_as_it_would_have():
    asked = 0
    for case in filter(lambda case: case.asks, map(Case, range(300))):
        case.failures, rng = [], random.Random(case.seed)
        wanted = facts(await case.reply(case.pair(rng, resumes=False)))
        reply = await put_aside(case, case.pair(rng, resumes=False))
        assert facts(reply) == wanted, case.seed
        asked += len(reply.spans)
    assert asked > 100
