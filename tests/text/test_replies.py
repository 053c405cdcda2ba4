"""Every reply is read whole, one character at a time and cut at random: always the same."""

import random

import pytest

from splitreason_integrations.records import Channel
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.reply_formats import TAGGED

CASES = {
    "answer alone": ("", "Hello.", (), ("", "Hello.", [])),
    "think": ("", "<think>\nHm.\n</think>\n\nYes.\n", (), ("Hm.", "Yes.", [])),
    "think is in the header": ("<x><think>\n", "Hm.\n</think>\n\nYes.", (), ("Hm.", "Yes.", [])),
    "never ends thinking": ("<think>\n", "Hm, hm", (), ("Hm, hm", "", [])),
    "call": (
        "<think>\n",
        'Call.\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
        (),
        ("Call.", "", [("f", {"a": 1})]),
    ),
    "two calls": (
        "",
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>\n'
        '<tool_call>{"name": "g"}</tool_call>',
        (),
        ("", "", [("f", {}), ("g", {})]),
    ),
    "broken call": ("", '<tool_call>{"name": "f", "argu</tool_call>', (), ("", "", [("", None)])),
    "call of another shape": ("", "<tool_call>[1]</tool_call>", (), ("", "", [("", None)])),
    "stop string": ("", "one two three", ("two",), ("", "one", [])),
    "stop inside reasoning is ignored": (
        "<think>\n",
        "one two</think>one two three",
        ("two",),
        ("one two", "one", []),
    ),
    "earliest stop wins": ("", "abcdef", ("ef", "cd"), ("", "ab", [])),
    "almost a stop": ("", "aab aac", ("aad",), ("", "aab aac", [])),
    "unicode": ("<think>\n", "né 日本</think>🙂 ok", ("🙂!",), ("né 日本", "🙂 ok", [])),
    "a sign that begins no tag": ("", "1 < 2 and <b>", (), ("", "1 < 2 and <b>", [])),
}


def pieces_of(text, how):
    if how == "whole":
        return [text]
    if how == "characters":
        return list(text)
    rng = random.Random(how)
    cuts = sorted(rng.sample(range(len(text) + 1), min(4, len(text))))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@pytest.mark.parametrize("how", ["whole", "characters", "cut 1", "cut 2", "cut 3"])
@pytest.mark.parametrize("case", CASES)
def test_channels(case, how):
    header, text, stop, (reasoning, answer, calls) = CASES[case]
    reader = ReplyReader(TAGGED.response_template, header, stop)
    shown = [one for piece in pieces_of(text, how) for one in reader.feed(piece)]
    shown += reader.finish()
    assert reader.text(Channel.REASONING) == reasoning
    assert reader.text(Channel.ANSWER) == answer
    assert [(call.name, call.arguments) for call in reader.tool_calls] == calls
    for channel, expected in ((Channel.REASONING, reasoning), (Channel.ANSWER, answer)):
        assert "".join(text for where, text in shown if where is channel) == expected
    assert reader.stopped == ("stop" in case and "almost" not in case)


def test_text_after_a_stop_string_is_dropped():
    reader = ReplyReader(TAGGED.response_template, "", ("STOP",))
    reader.feed("yes STOP no")
    assert reader.feed("more") == []
    assert reader.finish() == []
    assert reader.text(Channel.ANSWER) == "yes"
