"""Tool calls shown while they are written: what grows is in the end what was called."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock

from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.reply_formats import FORMATS, TAGGED
from tests.adapters.langchain_fakes import add, joined, scripted

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(min_size=1), VALUES, max_size=4)
IN_JSON = ["hermes", "llama3", "mistral-lists"]
"""Families that write the name in the JSON, in front of the arguments."""
SHAPES = (
    '{"name": "f", "arguments": %s}',
    '{"arguments": %s, "name": "f"}',
    '{"type": "function", "function": {"name": "f", "parameters": %s}}',
    '[{"name": "f", "arguments": {}}, {"name": "g", "arguments": %s}]',
    '{"name": "f", "arguments": %s}\n{"name": "g"}; {"name": "h", "arguments": {"name": "x"}}',
)


def cut(text, seed):
    rng = random.Random(seed)
    cuts = sorted(rng.choices(range(len(text) + 1), k=6))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def read(template, pieces, tools=None):
    """Return the reader, and for each call the name, the joined arguments and whether it broke."""
    reader = ReplyReader(template, "", tools=tools)
    growing = {}
    counts = {}
    for text in [*pieces, None]:
        reader.finish() if text is None else reader.feed(text)
        for piece in reader.take_call_pieces():
            name, arguments, broken = growing.get(piece.index, (piece.name, "", False))
            assert piece.index in growing or piece.index == len(growing)
            assert piece.index not in growing or piece.name is None
            growing[piece.index] = (name, arguments + piece.arguments, broken or piece.broken)
            counts[piece.index] = counts.get(piece.index, 0) + 1
    return reader, list(growing.values()), counts


def check(reader, growing):
    """Make sure that the calls that grew are those that were read; broken ones say so."""
    made = [(name, json.loads(text)) for name, text, broken in growing if not broken]
    assert made == [(c.name, c.arguments) for c in reader.tool_calls if c.arguments is not None]
    if any(call.arguments is None for call in reader.tool_calls):
        assert any(broken for *_, broken in growing)


@pytest.mark.parametrize("family", FORMATS)
@given(arguments=ARGUMENTS, seed=st.integers(0, 10))
def test_calls_of_every_family(family, arguments, seed):
    form = FORMATS[family]
    text = form.write_call("f", json.dumps(arguments, ensure_ascii=False))
    reader, growing, _ = read(form.response_template, cut(text, seed))
    check(reader, growing)


@pytest.mark.parametrize("shape", SHAPES)
@given(arguments=ARGUMENTS, spaces=st.sampled_from([None, 2]), seed=st.integers(0, 10))
def test_calls_of_every_shape(shape, arguments, spaces, seed):
    text = f"<tool_call>{shape % json.dumps(arguments, indent=spaces)}</tool_call>"
    reader, growing, _ = read(TAGGED.response_template, cut(text * 2, seed))
    check(reader, growing)
    assert len(growing) == 2 * (1 + shape.count('"g"') + shape.count('"h"'))


@given(parts=st.lists(st.sampled_from([*'{}[]",:\\ 1', "name", "arguments"])), at=VALUES)
def test_no_text_confuses_the_stream(parts, at):
    text = "".join(parts)
    inside = f'{{"name": "f", "arguments": {{"a": {text}'
    for shown in (text, inside, inside + json.dumps(at)):
        reader, growing, _ = read(TAGGED.response_template, ["<tool_call>", *shown, "</tool_call>"])
        check(reader, growing)


@pytest.mark.parametrize("family", IN_JSON)
def test_arguments_arrive_in_pieces(family):
    form = FORMATS[family]
    _, growing, counts = read(
        form.response_template, form.write_call("f", '{"city": "Paris", "days": 3}')
    )
    assert growing == [("f", '{"city": "Paris", "days": 3}', False)]
    assert counts == {0: len('{"city": "Paris", "days": 3}')}


def test_langchain_gets_chunks_of_a_call():
    call = '{"name": "add", "arguments": {"a": 12, "b": 34}}'
    model = scripted(f"</think>\n\n<tool_call>\n{call}\n</tool_call>").bind_tools([add])
    chunks = list(model.stream("12+34?"))
    parts = [part for chunk in chunks for part in chunk.tool_call_chunks]
    assert len(parts) > 3
    assert [part["name"] for part in parts] == ["add"] + [None] * (len(parts) - 1)
    assert {part["index"] for part in parts} == {2}
    assert "".join(part["args"] for part in parts) == '{"a": 12, "b": 34}'
    (called,) = joined(chunks).tool_calls
    assert called["args"] == {"a": 12, "b": 34}
    assert called["id"]


@pytest.mark.parametrize("inner", ['{"a": "x\\\\", "b": [1, {"c": 2', '{"a": "y \\"z', '{"a": [[1'])
def test_langchain_makes_no_call_of_one_cut_short(inner):
    text = f'</think>\n\n<tool_call>{{"name": "add", "arguments": {inner}'
    for end in range(len(text) - len(inner) + 1, len(text) + 1):
        message = scripted(text[:end]).invoke("x")
        assert message.tool_calls == []
        assert len(message.invalid_tool_calls) == 1


def test_llama_index_shows_a_call_that_grows():
    call = '{"name": "add", "arguments": {"a": 12, "b": 34}}'
    model = LlamaIndexLLM(
        small=ScriptedModel(f"</think>\n\n<tool_call>\n{call}\n</tool_call>"),
        large=ScriptedModel("x"),
    )
    replies = list(model.stream_chat([ChatMessage(role="user", content="12+34?")]))
    blocks = [b for one in replies for b in one.message.blocks if isinstance(b, ToolCallBlock)]
    known = [block.tool_kwargs for block in blocks]
    assert {"a": 12} in known
    assert known[-1] == {"a": 12, "b": 34}
    assert all(set(known[at]) <= set(known[at + 1]) for at in range(len(known) - 1))
    assert len({block.tool_call_id for block in blocks}) == 1
