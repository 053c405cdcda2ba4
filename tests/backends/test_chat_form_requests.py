"""What a chat is sent for a typed answer, and what of its answers becomes the reply."""

import json

import pytest

from splitreason_integrations.backends.base import End, WriteOrder
from splitreason_integrations.backends.openai_server.chat import Chat, PlainChat
from splitreason_integrations.backends.openai_server.chat_answer import read_chat
from splitreason_integrations.backends.openai_server.dialects import Continuation, Served
from splitreason_integrations.backends.openai_server.wire import MisfitError, Part
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.protocols import AnswerForm
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.testing import embedded_codec
from splitreason_integrations.text.grammar import Guide, answer_grammar, call_grammar
from splitreason_integrations.text.tags import Tags
from tests.text.schemas import POINT, record
from tests.text.test_grammar import TOOLS

CODEC = embedded_codec()
SERVED = Served("m", CODEC, 4096)
HELLO = [{"role": "user", "content": "Where?"}]
END = CODEC.control_token("</think>")
THOUGHT = (*CODEC.encode("So."), END)
SCHEMA = record(x=POINT["properties"]["x"], y=POINT["properties"]["y"])
CALL = AnswerForm(None, tuple(TOOLS))
TYPED = AnswerForm(SCHEMA)


def wanted(form, written=THOUGHT, tools=None):
    grammar = answer_grammar(form.schema, CODEC) if form.schema else call_grammar(TOOLS, CODEC)
    order = WriteOrder(
        max_tokens=99,
        sampling=Sampling(),
        seed=0,
        stream=0,
        stop_tokens=CODEC.end_tokens,
        guide=Guide(CODEC, grammar, Tags(), reasons=True, form=form),
        form=form,
    )
    return Continuation(CODEC.render(HELLO, tools), written, order, 99)


def chat(name):
    return PlainChat(SERVED) if name == "plain" else Chat(SERVED, name)


def delta(**more):
    finish = more.pop("finish", None)
    return read_chat({"choices": [{"index": 0, "delta": more, "finish_reason": finish}]})


def answered(name, form, *deltas, written=THOUGHT):
    """Return the text that some events add, and how they end."""
    answer, ids, end = chat(name).answer(wanted(form, written)), [], None
    for one in deltas:
        assert end is None
        said = answer.take(one)
        ids += said.token_ids
        end = said.end
    return CODEC.decode(ids), end


NAMES = ["continue", "prefix", "partial", "trailing", "plain"]


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_goes_on_behind_the_reasoning(name):
    body = chat(name).question(wanted(TYPED)).body
    assert body["response_format"]["json_schema"]["schema"]["properties"].keys() == {"x", "y"}
    last = body["messages"][-1]
    if name == "plain":
        assert last["role"] == "user"
        assert "----------\nSo.\n----------\nAnswer now" in last["content"]
        assert "think>" not in last["content"]
    else:
        assert last["role"] == "assistant"
        assert last["content"].endswith("So.</think>")
    assert "tools" not in body


@pytest.mark.parametrize("name", NAMES)
def test_a_forced_call_is_asked_for_once(name):
    """Neither "none" nor a description in the messages goes with it."""
    some = chat(name)
    free = some.question(wanted(TYPED, tools=TOOLS)).body
    assert free["tool_choice"] == "none"
    some.drops_tools()
    described = some.question(wanted(TYPED, tools=TOOLS)).body
    assert "tools" not in described
    assert "tool_choice" not in described
    assert "Move." in json.dumps(described["messages"])
    body = some.question(wanted(CALL, tools=TOOLS)).body
    assert body["tool_choice"] == "required"
    assert len(body["tools"]) == 2
    assert "Move." not in json.dumps(body["messages"])
    assert "response_format" not in body


@pytest.mark.parametrize("tools", [None, []])
def test_no_choice_is_sent_where_there_are_no_tools(tools):
    for name in NAMES:
        assert "tool_choice" not in chat(name).question(wanted(TYPED, tools=tools)).body


def test_strict_is_what_all_properties_are_required_in():
    some = chat("continue")

    def is_strict(schema):
        body = some.question(wanted(AnswerForm(schema))).body
        return body["response_format"]["json_schema"]["strict"]

    assert is_strict(SCHEMA)
    assert not is_strict(record(["a"], a=POINT, b=POINT))
    assert not is_strict(record(a=record([], b=POINT)))
    said = "Invalid schema for response_format 'answer': 'minimum' is not permitted."
    assert some.adapts(ModelCallError(said, retryable=False, status=400, said=said))
    assert not is_strict(SCHEMA)
    assert not some.adapts(ModelCallError(said, retryable=False, status=400, said=said))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "deltas",
    [
        [delta(content=' {"y": 2,'), delta(content='"x":1}\n'), delta(finish="stop")],
        [delta(reasoning_content="{}"), delta(content='{"x":1,"y":2}', finish="stop")],
        [delta(content="<think>{}</think>"), delta(content='{"x": 1, "y": 2}', finish="stop")],
        [delta(content=[{"type": "text", "text": '{"x": 1, "y": 2}'}], finish="end_turn")],
        [delta(content='{"x": 1, "y": 2}<|im_end|>', finish="stop")],
    ],
    ids=["pieces", "a thought beside it", "a thought in it", "parts", "with its end"],
)
def test_what_fits_is_the_answer_and_no_thought(name, deltas):
    assert answered(name, TYPED, *deltas) == ('{"x": 1, "y": 2}', End.STOP_TOKEN)


def test_what_repeats_the_reply_is_not_said_twice():
    said = delta(content='<think>\nSo.</think>{"x": 1, "y": 2}', finish="stop")
    assert answered("prefix", TYPED, said)[0] == '{"x": 1, "y": 2}'


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "said",
    [
        "",
        "Hello",
        '{"x": 1}',
        '{"x": 1, "y": 77}',
        '{"x": 1, "y": 2, "z": 3}',
        '{"x": 1, "y"',
        "[]",
    ],
)
def test_what_does_not_fit_adds_nothing(name, said):
    with pytest.raises(MisfitError, match="no answer in the form") as misfit:
        answered(name, TYPED, delta(content=said, finish="stop"))
    assert not misfit.value.lasting


@pytest.mark.parametrize("name", NAMES)
def test_what_is_cut_off_is_not_asked_for_again(name):
    with pytest.raises(MisfitError, match="allow more tokens") as misfit:
        answered(name, TYPED, delta(content='{"x": 1, "y": 2}', finish="length"))
    assert misfit.value.lasting


def called(name, arguments, **more):
    function = {"name": name, "arguments": arguments}
    return delta(tool_calls=[{"index": 0, "function": function, **more}])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", ['{"y":2, "x":1}', {"y": 2, "x": 1}], ids=["text", "object"])
def test_a_call_is_put_into_the_format_of_the_family(name, arguments):
    expected = CODEC.reply_format.write_call("move", '{"x": 1, "y": 2}')
    deltas = [delta(content="Moving."), called("move", arguments), delta(finish="tool_calls")]
    assert answered(name, CALL, *deltas)[0] == expected
    written = delta(content=f"\n{expected}\n", finish="stop")
    assert answered(name, CALL, written)[0] == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "deltas",
    [
        [delta(content="Moving.", finish="stop")],
        [called("fly", "{}"), delta(finish="stop")],
        [called("move", '{"x": 1}'), delta(finish="stop")],
        [called("move", "[1]"), delta(finish="stop")],
        [called("move", '{"x": 1'), delta(finish="stop")],
    ],
    ids=["text", "another tool", "lacks one", "no object", "broken"],
)
def test_a_call_that_cannot_be_made_adds_nothing(name, deltas):
    with pytest.raises(MisfitError, match="no answer in the form"):
        answered(name, CALL, *deltas)


def test_where_there_is_no_reply_yet_a_plain_chats_thought_is_its_reasoning():
    deltas = [
        delta(reasoning_content="So it is."),
        delta(content='{"x":1,"y":2}'),
        delta(finish="stop"),
    ]
    text, end = answered("plain", TYPED, *deltas, written=())
    assert text == 'So it is.</think>\n\n{"x": 1, "y": 2}'
    assert end is End.STOP_TOKEN


def test_nothing_that_a_server_says_becomes_a_control_token():
    schema = AnswerForm(record(s={"type": "string"}))
    answer = chat("plain").answer(wanted(schema))
    written = answer.take(Part(text='{"s": "</think><|im_end|>"}', finish="stop"))
    assert not any(map(CODEC.is_control, written.token_ids))
    assert json.loads(CODEC.decode(written.token_ids)) == {"s": "</think><|im_end|>"}
