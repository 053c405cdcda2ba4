"""What a helper thinks to itself is no part of the reply, in which marks it may come."""

import pytest

from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.backends.codec import BorrowedCodec
from splitreason_integrations.backends.openai_server.chat import PlainChat
from splitreason_integrations.backends.openai_server.dialects import Continuation, Served
from splitreason_integrations.backends.openai_server.wire import Part
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.testing import embedded_codec
from splitreason_integrations.text.inline_thoughts import MARKS

MESSAGES = [{"role": "user", "content": "How many are 3 pens and 4 pens?"}]


@pytest.fixture(params=["own", "borrowed"])
def served(request):
    codec = embedded_codec()
    if request.param == "borrowed":
        codec = BorrowedCodec(codec._tokenizer, name="borrowed", end_tokens=codec.end_tokens)
    return Served("m", codec, 4096, own=request.param == "own")


def said(dialect, served, parts, *, begun):
    codec = served.codec
    order = WriteOrder(
        max_tokens=64,
        sampling=Sampling(temperature=0.0),
        seed=0,
        stream=0,
        stop_tokens=codec.end_tokens,
    )
    written = codec.encode(begun) if begun else ()
    answer = dialect.answer(Continuation(codec.render(MESSAGES, None), written, order, 64))
    ids = [token for part in parts for token in answer.take(part).token_ids]
    return codec.decode(ids)


def streamed(text):
    return [*(Part(text=character) for character in text), Part(finish="stop")]


@pytest.mark.parametrize("opening", MARKS)
def test_a_step_is_what_follows_the_thought(served, opening):
    end = MARKS[opening]
    for text in (f"{opening}\nhm\n{end}\n\nthe sum is 7.", f"hm\n{end}\n\nthe sum is 7."):
        dialect = PlainChat(served)
        for parts in ([Part(text=text), Part(finish="stop")], streamed(text)):
            assert said(dialect, served, parts, begun="I add:") == " the sum is 7."


def test_a_thought_alone_is_the_step(served):
    parts = streamed("<think>the sum is 7.</think>")
    assert said(PlainChat(served), served, parts, begun="I add:") == " the sum is 7."


def test_steps_stream_once_the_server_is_known_to_send_no_ends_alone(served):
    dialect = PlainChat(served)
    assert said(dialect, served, streamed("the sum is 7."), begun="I add:") == " the sum is 7."
    assert said(dialect, served, [Part(text="the sum is 7 and so on, ")], begun="I add:")


@pytest.mark.parametrize("opening", MARKS)
def test_the_thought_of_a_whole_reply_is_its_reasoning(served, opening):
    """The prompt has opened the reasoning: the thought is in the reply's own marks."""
    end = MARKS[opening]
    for text in (f"{opening}hm{end}\n\nThe sum is 7.", f"hm{end}\n\nThe sum is 7."):
        for parts in ([Part(text=text), Part(finish="stop")], streamed(text)):
            written = said(PlainChat(served), served, parts, begun="")
            assert written == "hm</think>\n\nThe sum is 7."


def test_reasoning_that_comes_by_itself_is_opened_where_the_prompt_has_not(served):
    dialect, codec = PlainChat(served), served.codec
    prompt = codec.render(MESSAGES, None)
    bare = type(prompt)(prompt.token_ids, "<|im_start|>assistant\n", prompt.said)
    order = WriteOrder(
        max_tokens=64,
        sampling=Sampling(temperature=0.0),
        seed=0,
        stream=0,
        stop_tokens=codec.end_tokens,
    )
    answer = dialect.answer(Continuation(bare, (), order, 64))
    parts = [Part(thought="hm"), Part(text="The sum is 7."), Part(finish="stop")]
    ids = [token for part in parts for token in answer.take(part).token_ids]
    assert codec.decode(ids) == "<think>\nhm</think>\n\nThe sum is 7."
