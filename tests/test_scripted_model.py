"""The public fake writes its script through the real engine."""

import asyncio
import json

import pytest

from splitreason_integrations import (
    Always,
    Keyword,
    Never,
    Policy,
    Random,
    Request,
    SplitEngine,
    Tag,
)
from splitreason_integrations.errors import LargeModelError, SessionError
from splitreason_integrations.events import Event, HandoffFailed
from splitreason_integrations.records import Author, Completion
from splitreason_integrations.testing import ScriptedModel

SMALL = (
    "First, 2+3.<bigmodel> So it is 5.\nThen 5*3.<bigmodel> Fifteen.</think>\n\nThe answer is 15."
)
LARGE = " That is 5.</bigmodel> That is 15.</bigmodel>"
REASONING = "First, 2+3. That is 5. So it is 5.\nThen 5*3. That is 15. Fifteen."


def request(text="How many?", **options):
    return Request(messages=[{"role": "user", "content": text}], seed=1, **options)


def pair(small=SMALL, large=LARGE, **options):
    return ScriptedModel(small), ScriptedModel(large, name="large", **options)


async def run(small, large, asked=None, **options):
    return await SplitEngine(small=small, large=large, **options).complete(asked or request())


@pytest.mark.parametrize("trigger", [Tag(), Tag(0.5), Tag() | Never()])
async def test_both_scripts_are_woven_together(trigger):
    small, large = pair()
    done = await run(small, large, trigger=trigger)
    assert done.reasoning == REASONING
    assert done.answer == "The answer is 15."
    assert [span.text for span in done.spans] == [" That is 5.", " That is 15."]
    assert [span.closed_by for span in done.spans] == ["large", "large"]
    assert (small.open_sessions, large.open_sessions) == (0, 0)


async def test_tags_are_passed_over_where_they_are_forbidden():
    done = await run(*pair(), trigger=Never())
    assert done.reasoning == "First, 2+3. So it is 5.\nThen 5*3. Fifteen."
    assert done.large_tokens == 0


async def test_the_large_model_alone_writes_its_whole_script():
    done = await run(*pair(large="Easy.</think>15"), trigger=Always())
    assert (done.reasoning, done.answer, done.small_tokens) == ("Easy.", "15", 0)


async def test_a_span_opened_by_a_rule_leaves_the_script_whole():
    done = await run(
        *pair(small="One plus two.</think>Three.", large="!</bigmodel>"), trigger=Keyword("plus")
    )
    assert done.reasoning == "One plus! two."
    assert [span.text for span in done.spans] == ["!"]


async def test_random_spans_lose_no_token_of_the_script():
    done = await run(
        *pair(small="abcdefghijklmnop</think>yes", large="-</bigmodel>" * 20), trigger=Random(0.5)
    )
    assert done.spans
    assert done.reasoning.replace("-", "") == "abcdefghijklmnop"


async def test_the_small_model_hands_back_where_the_script_says():
    small = ScriptedModel(SMALL, close_probability=lambda text: text.endswith("5"))
    large = ScriptedModel(" That is 5. And so on, for good.")
    done = await run(small, large, asked=request(max_tokens=200))
    assert done.spans[0].text == " That is 5"
    assert done.spans[0].closed_by == "small"
    assert done.spans[0].surplus_tokens > 0
    assert done.spans[1].text.startswith(". And so on")


async def test_text_tags_of_several_tokens_are_followed(other_codec):
    small = ScriptedModel("one two<bigmodel> four.", codec=other_codec)
    large = ScriptedModel("three.</bigmodel>")
    done = await run(small, large)
    assert [span.text for span in done.spans] == ["three."]
    assert done.reasoning == "one two three. four."


async def test_replies_depend_on_messages_and_tools_or_come_in_turn():
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    echo = ScriptedModel(
        lambda messages, tools: f"</think>{messages[-1]['content']} {json.dumps(len(tools or []))}"
    )
    assert (await run(echo, echo, asked=request("hi", tools=tools))).answer == "hi 1"
    turns = ScriptedModel(["</think>one", "</think>two"])
    assert [(await run(turns, turns)).answer for _ in range(3)] == ["one", "two", "two"]


async def test_a_failing_large_model_keeps_what_it_had_written():
    small, large = pair(fail_after=2, error=OSError("no route"))
    items = [item async for item in SplitEngine(small=small, large=large).stream(request())]
    done = items[-1]
    assert isinstance(done, Completion)
    assert done.degraded
    assert done.large_tokens == 2
    assert done.answer == "The answer is 15."
    assert [item.error for item in items if isinstance(item, HandoffFailed)] == ["OSError"]


async def test_a_failure_is_raised_where_that_is_asked_for():
    small, large = pair(fail_after=0)
    with pytest.raises(LargeModelError, match="fails on purpose"):
        await run(small, large, on_large_failure="raise")
    assert (small.open_sessions, large.open_sessions) == (0, 0)


async def test_limits_of_an_order_are_kept():
    assert (await run(*pair(), asked=request(max_tokens=7))).tokens == 7
    stopped = await run(*pair(), asked=request(stop=["swer"]))
    assert (stopped.answer, stopped.stop_reason) == ("The an", "stop_string")
    slow = ScriptedModel(SMALL, delay_s=0.02)
    late = await run(slow, slow, policy=Policy(deadline_s=0.1))
    assert late.stop_reason == "deadline"
    assert 0 < late.tokens < 10


async def test_cancelling_frees_both_sessions():
    slow = ScriptedModel(SMALL, delay_s=0.01)
    task = asyncio.create_task(run(slow, slow))
    await asyncio.sleep(0.1)
    assert slow.open_sessions
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.open_sessions == 0


async def test_passes_are_counted_as_a_real_model_makes_them():
    small, large = pair(small="Go.<bigmodel></think>Yes.", large="abcdefghijklmnop</bigmodel>")
    done = await run(small, large, handback_tokens=4)
    assert large.passes == done.large_tokens
    chunks = -(-done.large_tokens // 4)
    assert small.passes <= done.small_tokens + chunks + 1


async def test_deltas_have_every_token_once():
    small, large = pair()
    written = {Author.SMALL: [], Author.LARGE: []}
    async for item in SplitEngine(small=small, large=large).stream(request()):
        if not isinstance(item, Event | Completion):
            written[item.author] += item.token_ids
    assert written[Author.LARGE] == [
        token for token in large.tokens_of(LARGE) if not large.codec.is_control(token)
    ]


def test_a_session_refuses_what_a_real_one_refuses():
    model = ScriptedModel("x")
    with pytest.raises(SessionError, match="not rendered"):
        model.open([1, 2, 3])
    with pytest.raises(SessionError, match="at least one token"):
        model.open([])
    session = model.open(model.codec.render([{"role": "user", "content": "hi"}], None).token_ids)
    with pytest.raises(SessionError, match="cannot cut"):
        session.truncate(0)
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.extend([5])
