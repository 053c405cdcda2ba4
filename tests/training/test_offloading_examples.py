"""Tagged traces as token ids and labels: a trainer reads what the engine would."""

from __future__ import annotations

import json

import pytest

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.problems import Split, Writing, join, render, sample
from splitreason_integrations.problems.rendering import AFTER_THOUGHT
from splitreason_integrations.training.documents import Encoder
from splitreason_integrations.training.offloading.examples import (
    IGNORED,
    ExampleWriter,
    read_tagged,
)
from splitreason_integrations.training.traces import pair_traces
from tests.training.toy_training import ROW, TOKENIZER, written


def example(tmp_path, row, *, weight=1.0, tokenizer=TOKENIZER, spans_only=False):
    (trace,) = read_tagged(written(tmp_path, row))
    writer = ExampleWriter(
        tokenizer, name="small", span_weight=weight, seed=0, spans_only=spans_only
    )
    return writer.write(1, trace)


def test_a_trace_is_written_as_the_engine_reads_it(tmp_path):
    one = example(tmp_path, ROW)
    text = TOKENIZER.decode(one.input_ids)
    assert text == (
        "<|im_start|>user\nHow many cards are 47 times 23? </think> <bigmodel><|im_end|>\n"
        "<|im_start|>assistant\n<think>\n47*23 =<bigmodel> 940+141 = 1081</bigmodel> cards.\n"
        "</think>\n\nThere are 1081 cards.<|im_end|>"
    )
    # What the user wrote spells no control token, what the model is to write does.
    opening = TOKENIZER.convert_tokens_to_ids("<bigmodel>")
    assert one.input_ids.count(opening) == 1
    learned = [t for t, label in zip(one.input_ids, one.labels, strict=True) if label != IGNORED]
    assert TOKENIZER.decode(learned).startswith("47*23 =<bigmodel> 940")
    assert one.labels[: len(one.labels) - len(learned)] == [IGNORED] * (
        len(one.labels) - len(learned)
    )


def test_without_weight_a_span_is_read_and_not_learned(tmp_path):
    one = example(tmp_path, ROW, weight=0.0)
    learned = [t for t, label in zip(one.input_ids, one.labels, strict=True) if label != IGNORED]
    assert TOKENIZER.decode(learned) == (
        "47*23 =<bigmodel> cards.\n</think>\n\nThere are 1081 cards.<|im_end|>"
    )
    assert one.input_ids == example(tmp_path, ROW).input_ids


def test_text_and_ends_of_spans_can_be_learned_alone(tmp_path):
    one = example(tmp_path, ROW, spans_only=True)
    learned = [t for t, label in zip(one.input_ids, one.labels, strict=True) if label != IGNORED]
    assert TOKENIZER.decode(learned) == " 940+141 = 1081</bigmodel>"
    assert one.input_ids == example(tmp_path, ROW).input_ids


def test_a_trace_from_outside_never_becomes_a_control_token(tmp_path):
    one = example(tmp_path, {**ROW, "tagged": "a </think> b <|im_end|>", "answer": "c <think>"})
    ends = [TOKENIZER.convert_tokens_to_ids(t) for t in ("</think>", "<think>", "<|im_end|>")]
    assert [one.input_ids.count(t) for t in ends] == [1, 1, 2]


TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def test_a_call_is_written_as_the_family_writes_it_and_spells_no_control_token(tmp_path):
    asked = {"role": "user", "content": "47 and 23?"}
    call = {"name": "add", "arguments": {"a": "47 </tool_call> <think>"}}
    row = {"messages": [asked], "tools": TOOLS, "tagged": "I add.", "tool_calls": [call, call]}
    one = example(tmp_path, row)
    text = TOKENIZER.decode(one.input_ids)
    body = '{"name": "add", "arguments": {"a": "47 </tool_call> <think>"}}'
    written = f"<tool_call>\n{body}\n</tool_call>"
    assert text.endswith(f"I add.\n</think>\n\n{written}\n{written}<|im_end|>")
    assert '"name": "add"' in text.partition("<|im_start|>assistant")[0]
    learned = [label for label in one.labels if label != IGNORED]
    ends = [TOKENIZER.convert_tokens_to_ids(t) for t in ("<tool_call>", "</tool_call>", "<think>")]
    assert [learned.count(t) for t in ends] == [2, 2, 0]


def test_the_pairs_own_traces_read_like_the_documents_that_taught_it(tmp_path):
    rows = list(pair_traces(30, tries=4, seed=2, shares={"tools": 1.0}))
    assert len(rows) == 30
    assert any("tool_calls" in row for row in rows)
    found = {}
    for problem in sample(Split.TRAIN, "tools", seed=2, n=30):
        for turn in range(len(problem.turns)):
            shown = Encoder(TOKENIZER).prompt_text(problem, turn)
            ending = join(render(problem.turns[turn], lambda _: Writing.TERSE))
            found[shown] = ending.partition(AFTER_THOUGHT)[2]
    for row in rows:
        text = TOKENIZER.decode(example(tmp_path, row).input_ids)
        shown = next(prompt for prompt in found if text.startswith(prompt))
        assert text == f"{shown}{row['tagged']}{AFTER_THOUGHT}{found[shown]}<|im_end|>"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 1: not JSON"),
        ({**ROW, "tool_calls": [{"name": "f", "arguments": {}}]}, "a reply ends with one"),
        ({"tagged": "x", "question": "?", "tool_calls": [{"name": "f"}]}, "must be a list of"),
        ({"tagged": "x", "question": "?", "tool_calls": {"name": "f"}}, "must be a list of"),
        ({"question": "?"}, 'line 1: needs "tagged"'),
        ({"tagged": "x"}, 'line 1: needs "question"'),
        ({**ROW, "tagged": "a <bigmodel> b"}, "never closed"),
        ({**ROW, "tagged": "a </bigmodel> b"}, "must alternate"),
        ({**ROW, "tagged": "<bigmodel> <bigmodel> </bigmodel>"}, "must alternate"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line(tmp_path, row, said):
    file = tmp_path / "rows.jsonl"
    file.write_text(row if isinstance(row, str) else json.dumps(row), "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        list(read_tagged(file))
