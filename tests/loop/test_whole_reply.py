"""Replies that a large model writes alone, and that lack an answer or the marks of their parts."""

import pytest

from splitreason_integrations import Always, SplitEngine
from splitreason_integrations.errors import LargeModelError
from splitreason_integrations.records import Author
from splitreason_integrations.request import Request
from splitreason_integrations.testing import ScriptedModel
from tests.backends.servers import QUESTION, serving, spec
from tests.text.test_hidden_marks import CALL, TOOL, marked

SAID = [{"role": "user", "content": QUESTION}]
ENDLESS = "47*23 = 1081. 1081 cards."


def engine(large, *, small="1081", **settings):
    return SplitEngine(small=ScriptedModel(small), large=large, trigger=Always(), **settings)


async def replied(some_engine, **more):
    """Return the reply, and the errors that were reported."""
    items = [one async for one in some_engine.stream(Request(messages=SAID, seed=1, **more))]
    errors = [one.error for one in items if type(one).__name__ == "HandoffFailed"]
    return items[-1], errors


async def test_a_reply_that_ends_within_its_reasoning_is_ended_by_the_small_model():
    reply, errors = await replied(engine(ScriptedModel(ENDLESS)))
    assert (reply.answer, reply.degraded, errors) == ("1081", True, ["UnmarkedReplyError"])
    assert reply.reasoning == ENDLESS
    assert {piece.author for piece in reply.pieces} == {Author.SMALL, Author.LARGE}


async def test_the_next_large_model_ends_it_where_there_is_one():
    larges = [ScriptedModel(ENDLESS), ScriptedModel("So.</think>1081", name="second")]
    reply, errors = await replied(engine(larges))
    assert (reply.answer, reply.degraded, errors) == ("1081", False, ["UnmarkedReplyError"])
    assert {piece.author for piece in reply.pieces} == {Author.LARGE}


async def test_it_is_an_error_where_that_was_asked_for():
    for remote, remedy in (
        (True, "if its server hides control"),
        (False, "it never wrote </think>"),
    ):
        large = ScriptedModel(ENDLESS, remote=remote)
        with pytest.raises(LargeModelError, match=f"within its reasoning; {remedy}"):
            await replied(engine(large, on_large_failure="raise"))


async def test_a_reply_that_is_cut_off_is_none_of_these():
    reply, errors = await replied(engine(ScriptedModel(ENDLESS)), max_tokens=5)
    assert (reply.stop_reason, reply.degraded, errors) == ("length", False, [])


async def test_a_reply_with_an_answer_is_as_it_was():
    reply, errors = await replied(engine(ScriptedModel(f"{ENDLESS}</think>1081")))
    assert (reply.answer, reply.degraded, errors) == ("1081", False, [])


async def test_a_call_without_its_marks_is_reported():
    codec = marked("mistral")
    bare = CALL.replace("[TOOL_CALLS]", "").replace("[ARGS]", "")
    large = ScriptedModel(bare, codec=codec)
    small = ScriptedModel("unused", codec=codec)
    some = SplitEngine(small=small, large=large, trigger=Always())
    reply, errors = await replied(some, tools=[TOOL])
    assert (reply.degraded, errors) == (True, ["UnmarkedReplyError"])
    assert reply.answer == bare
    other = SplitEngine(small=small, large=ScriptedModel(CALL, codec=codec), trigger=Always())
    reply, errors = await replied(other, tools=[TOOL])
    assert [call.name for call in reply.tool_calls] == ["multiply"]
    assert (reply.degraded, errors) == (False, [])


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("speaks", ["text", "continue"])
async def test_a_server_that_hides_control_tokens_gives_no_empty_answer(speaks):
    with serving("dialect_server", "embedded:large", speaks, "--hides") as (_, url):
        large = spec(url, context_tokens=2048, dialect=speaks)
        some = SplitEngine(small="embedded", large=large, trigger=Always())
        reply, errors = await replied(some, max_tokens=400)
    assert reply.answer
    assert "1069" in reply.reasoning
    assert (reply.degraded, errors) == (True, ["UnmarkedReplyError"])
