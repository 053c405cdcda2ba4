"""A thousand constrained replies by random models, and two hundred forced hand-overs in them."""

import json

import pytest

from splitreason_integrations import Always, Never, Random, TagClose, blocking
from tests.loop.engine_runs import engine
from tests.text.schemas import POINT, SCHEMAS, validate
from tests.text.test_grammar import TOOLS, Eager, ask

REPLIES = 1000
CASES = 100
TRIGGERS = (Never(), Never(), Always(), Random(0.1))


class Hasty(Eager):
    """Hardly reasons, so that a test is about the answer."""

    eagerness = 3.0


@pytest.fixture(scope="module")
def pair(random_pair):
    return tuple(Hasty(m.network, m.codec, name=f"hasty-{m.name}") for m in random_pair)


def check(reply, schema):
    """Return whether the reply is finished; a finished one has to fit, a cut one says so."""
    if reply.stop_reason != "stop":
        assert reply.stop_reason == "length"
        return False
    validate(json.loads(reply.answer), schema)
    return True


async def replies_to(pair, schema, seeds):
    finished = 0
    for seed in seeds:
        some_engine = engine(pair, trigger=TRIGGERS[seed % len(TRIGGERS)], close=TagClose(2e-2))
        reply = await some_engine.complete(ask(seed, response_schema=schema))
        finished += check(reply, schema)
    return finished


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_every_finished_reply_fits_its_schema(pair, name):
    seeds = range(-(-REPLIES // len(SCHEMAS)))
    finished = blocking.run(lambda: replies_to(pair, SCHEMAS[name], seeds))
    assert finished > len(seeds) / 2


def test_there_are_thirty():
    assert len(SCHEMAS) == 30


def handed_over_inside(reply):
    """Whether the large model was called in the middle of the answer or of the call."""
    first = reply.reasoning_tokens + 1
    return any(first < span.start_token < reply.tokens for span in reply.spans)


async def forced_cases(pair, more, check_reply):
    """Ask until there are a hundred finished replies with a hand-over inside."""
    some_engine = engine(pair, trigger=Random(0.3), close=TagClose(2e-2), handback_tokens=2)
    cases = 0
    for seed in range(1000):
        reply = await some_engine.complete(ask(seed, **more))
        if reply.stop_reason == "stop" and handed_over_inside(reply):
            check_reply(reply)
            cases += 1
            if cases == CASES:
                return
    raise AssertionError(f"only {cases} hand-overs inside")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nested", "unicode values"])
def test_hand_overs_in_the_middle_of_an_answer(pair, name):
    schema = SCHEMAS[name]
    blocking.run(
        lambda: forced_cases(pair, {"response_schema": schema}, lambda reply: check(reply, schema))
    )


@pytest.mark.slow
def test_hand_overs_in_the_middle_of_a_forced_call(pair):
    def check_call(reply):
        (call,) = reply.tool_calls
        validate(call.arguments, POINT if call.name == "move" else {"const": {}})

    blocking.run(lambda: forced_cases(pair, {"tools": TOOLS, "must_call": True}, check_call))
