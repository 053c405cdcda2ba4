"""Text as it comes from servers, made tokens: nothing lost, nothing doubled, nothing guessed."""

import random

import pytest

from splitreason_integrations.backends.base import End
from splitreason_integrations.backends.openai_server.chat import Chat, PlainChat
from splitreason_integrations.backends.openai_server.chat_answer import read_chat
from splitreason_integrations.backends.openai_server.dialects import Continuation, Served
from splitreason_integrations.backends.openai_server.spelling import spelled
from splitreason_integrations.backends.openai_server.text import Text, TextTokens
from splitreason_integrations.backends.openai_server.wire import UnreadableError, read_part
from splitreason_integrations.testing import embedded_codec
from tests.backends.servers import order

CODEC = embedded_codec()
CLOSE, BORDER = map(CODEC.control_token, ("</bigmodel>", "</think>"))
TEXTS = [
    "So 47*23 = 940+141 = 1081, and that is all.\n\nThen: (a) one, (b) two\ttabs  and   spaces",
    "naïve café 日本語 emoji 😀👍🏽 mixed ünïcode",
    "a" * 300 + " " + "<" * 50 + " </big </bigmode> ",
]


def cut(rng, text):
    while text:
        at = rng.randint(1, 7)
        yield text[:at]
        text = text[at:]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_cut_anywhere_is_the_same_text(text, other_codec):
    rng = random.Random(1)
    for codec in (CODEC, other_codec):
        said = text if codec is CODEC else "the small model writes and the large model helps, 1*2"
        whole = codec.encode(said)
        for pieces in ([said], list(said), *(list(cut(rng, said)) for _ in range(20))):
            tokens = TextTokens(codec, {"</bigmodel>": 6} if codec is CODEC else {})
            ids = [one for piece in pieces for one in tokens.push(piece)] + tokens.flush()
            assert codec.decode([*codec.encode("\n"), *ids]).endswith(said)
            if codec is CODEC:
                assert ids == whole, "characters are no tokens"


def some(begun=(), **more):
    prompt = CODEC.render([{"role": "user", "content": "x"}], None)
    return Continuation(prompt, begun, order(**more), 8)


def answer(dialect, events, read, *, begun=(), **more):
    answering = dialect.answer(some(begun, **more))
    written = [answering.take(read(event)) for event in events]
    return CODEC.decode([t for one in written for t in one.token_ids]), written[-1]


def text_event(text, finish=None):
    return {"choices": [{"text": text, "finish_reason": finish}]}


def chat_event(text="", finish=None, **more):
    return {"choices": [{"delta": {"content": text, **more}, "finish_reason": finish}]}


SERVED = Served("m", CODEC, 1024)


def test_a_stop_token_that_is_spelled_ends_the_text_where_it_stands():
    events = [text_event("one, tw"), text_event("o.</big"), text_event("model> three", "length")]
    said, last = answer(Text(SERVED), events, read_part, stop_tokens=frozenset([CLOSE]))
    assert said == "one, two."
    assert (last.end, last.stop_token) == (End.STOP_TOKEN, CLOSE)


def test_a_forbidden_control_token_is_left_out():
    events = [text_event("one </bigmodel>two", "stop")]
    said, last = answer(Text(SERVED), events, read_part, forbidden=(CLOSE,))
    assert said == "one two"
    assert last.end is End.STOP_TOKEN


def test_what_merely_quotes_a_turn_opens_none():
    said, last = answer(Text(SERVED), [text_event("x <|im_start|>user", "stop")], read_part)
    assert said == "x <|im_start|>user"
    assert CODEC.control_token("<|im_start|>") not in last.token_ids


@pytest.mark.parametrize("half", ["<", "</big", "</bigmodel"])
def test_half_a_tag_is_no_text_where_an_answer_breaks_off(half):
    for finish in (None, "length"):
        answering = Text(SERVED).answer(some(stop_tokens=frozenset([CLOSE])))
        written = answering.take(read_part(text_event(f"so it is 1081{half}", finish)))
        rest = () if finish else answering.rest()
        assert CODEC.decode([*written.token_ids, *rest]) == "so it is 1081"


def test_half_a_character_at_the_end_is_written_anew():
    said, last = answer(Text(SERVED), [text_event("so \ufffd", "length")], read_part)
    assert (said, last.end) == ("so ", End.LENGTH)
    assert answer(Text(SERVED), [text_event("so \ufffd", "stop")], read_part)[0] == "so \ufffd"


@pytest.mark.parametrize("dialect", [Text(SERVED), PlainChat(SERVED), Chat(SERVED, "continue")])
def test_an_answer_that_ends_by_its_length_without_a_word_is_named(dialect):
    read = read_part if dialect.name == "text" else read_chat
    event = text_event("", "length") if dialect.name == "text" else chat_event("", "length")
    with pytest.raises(UnreadableError, match="before it wrote anything"):
        answer(dialect, [event], read)


def test_reasoning_that_comes_by_itself_goes_before_the_rest():
    thoughts = [chat_event(reasoning_content="2 and 2"), chat_event(reasoning=" is 4.")]
    events = [*thoughts, chat_event("4", "stop")]
    said, last = answer(Chat(SERVED, "continue"), events, read_chat)
    assert said == "2 and 2 is 4.</think>\n\n4"
    assert BORDER in last.token_ids


def called(*pieces):
    """Return the events of a tool call whose arguments come in pieces."""
    first, *rest = pieces
    function = {"name": "add", "arguments": first}
    more = [{"index": 0, "function": {"arguments": piece}} for piece in rest]
    calls = [{"index": 0, "id": "1", "type": "function", "function": function}, *more]
    return [*(chat_event(tool_calls=[one]) for one in calls), chat_event("", "tool_calls")]


@pytest.mark.parametrize("pieces", [('{"a": 1}',), ("", '{"a"', ": 1}"), ({"a": 1},)])
def test_a_call_that_comes_beside_the_text_is_the_text_that_was_written_for_it(pieces):
    wanted = CODEC.reply_format.write_call("add", '{"a": 1}')
    said = answer(Chat(SERVED, "continue"), called(*pieces), read_chat)[0]
    assert said == wanted
    thought = chat_event(reasoning_content="hm")
    said = answer(Chat(SERVED, "continue"), [thought, *called(*pieces)], read_chat)[0]
    assert said.startswith("hm</think>")
    assert said.endswith(wanted)


@pytest.mark.parametrize("piece", ['{"a": ', "tmp", '"tmp"', "[1]"])
def test_a_call_that_is_no_json_is_named(piece):
    with pytest.raises(UnreadableError, match="no JSON object"):
        answer(Chat(SERVED, "continue"), called(piece), read_chat)


def test_a_call_is_no_next_step():
    with pytest.raises(UnreadableError, match="where the next step was asked for"):
        answer(PlainChat(SERVED), called("{}"), read_chat, begun=CODEC.encode("So"))


def test_a_step_is_what_is_said_and_not_what_is_thought():
    begun = CODEC.encode("So 2*2 =")
    events = [chat_event(reasoning_content="hm"), chat_event("4", "stop")]
    assert answer(PlainChat(SERVED), events, read_chat, begun=begun)[0] == " 4"
    alone = [chat_event(reasoning_content="it is 4"), chat_event("", "stop")]
    assert answer(PlainChat(SERVED), alone, read_chat, begun=begun)[0] == " it is 4"


@pytest.mark.parametrize(
    ("said", "kept"),
    [("</bigmodel>", ""), ("4</bigmodel>", " 4"), ("</think>4", " 4"), ("</big", " </big")],
)
def test_a_step_is_set_apart_where_it_has_text(said, kept):
    begun, rng = CODEC.encode("So 2*2 ="), random.Random(3)
    stop = {"stop_tokens": frozenset([CLOSE])}
    for pieces in ([said], list(said), *([*cut(rng, said)] for _ in range(20))):
        events = [*map(chat_event, pieces), chat_event("", "stop")]
        assert answer(PlainChat(SERVED), events, read_chat, begun=begun, **stop)[0] == kept


@pytest.mark.parametrize(
    ("said", "kept"),
    [("So 2*2 = 4", " 4"), ("So 2*2 is", "So 2*2 is"), (" 4", " 4"), ("So 2", "So 2")],
)
def test_the_message_that_is_gone_on_with_is_not_taken_twice(said, kept):
    begun, rng = CODEC.encode("So 2*2 ="), random.Random(2)
    prefix = "<think>\n"
    for echo in ("", prefix):
        pieces = [*cut(rng, f"{echo}{said}")]
        events = [*map(chat_event, pieces), chat_event("", "stop")]
        got = answer(Chat(SERVED, "prefix"), events, read_chat, begun=begun)[0]
        whole = said.startswith("So 2*2 =") and echo
        assert got == (kept if whole else f"{echo}{said}")


def test_ids_become_a_text_in_which_only_control_tokens_spell_one(other_codec):
    ids = [*CODEC.encode("x </think> y"), BORDER, *CODEC.encode("z")]
    assert spelled(CODEC, ids) == "x < /think> y</think>z"
    said = "the small model writes"
    assert said in spelled(other_codec, other_codec.encode(said))


def test_messages_go_over_the_wire_as_providers_take_them():
    call = {"id": "1", "function": {"name": "add", "arguments": {"a": 1}}}
    said = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "content": "1", "tool_call_id": "1"},
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    body = (
        Chat(SERVED, "partial")
        .question(Continuation(CODEC.render(said, tools), (), order(), 8))
        .body
    )
    sent = body["messages"][1]
    assert sent["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert "reasoning_content" not in sent
    assert body["tool_choice"] == "none"
    assert body["messages"][-1] == {"role": "assistant", "content": "<think>\n", "partial": True}
