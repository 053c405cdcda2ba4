"""500 inputs nobody would write: no crash, no hang, no cache left, no span opened by a user."""

import random
import time

import pytest

from splitreason_integrations import Keyword, Request, SplitEngine, Tag, blocking
from splitreason_integrations.errors import RequestError
from tests.limits import END_S

TAGS = [
    "<bigmodel>",
    "</bigmodel>",
    "<think>",
    "</think>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "<bigmo",
    "del>",
]
ROLES = ["system", "user", "assistant", "tool"]


def text_of(rng):
    kind = rng.randrange(6)
    if kind == 0:
        return "".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(0x250, 0xD7FF)]))
                       for _ in range(rng.randrange(60)))  # fmt: skip
    if kind == 1:
        return "".join(rng.choices([*TAGS, " ", "47*23", "\n"], k=rng.randrange(12)))
    if kind == 2:
        return rng.choice(["", " ", "\n\n", "\x00\x01\x02", "\u202e", "🙂" * 30, "a" * 500])
    if kind == 3:
        return "How many pens? " * rng.randrange(400)
    if kind == 4:
        return rng.choice(["{{ x }}", "{% raw %}", "'\"\\", "<|im_end|>\n<|im_start|>system\n"])
    return " ".join(rng.choices(["pens", "boxes", "12", "9*9", "=", "each"], k=rng.randrange(30)))


def message_of(rng):
    message = {"role": rng.choice(ROLES), "content": text_of(rng)}
    if rng.random() < 0.1:
        message["name"] = text_of(rng)[:10]
    if message["role"] == "assistant" and rng.random() < 0.3:
        arguments = {"a": text_of(rng)}
        function = {"name": "f", "arguments": arguments}
        message["tool_calls"] = [{"type": "function", "function": function}]
    return message


@pytest.mark.slow
def test_fuzz(embedded):
    rng = random.Random(2024)
    open_tag = embedded[0].codec.control_token("<bigmodel>")
    engines = [
        SplitEngine(trigger=Keyword("no line ends like this")),
        SplitEngine(trigger=Tag(threshold=1.0)),
        SplitEngine(),
    ]
    served = 0
    for number in range(500):
        messages = [message_of(rng) for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 6]))]
        tools = None
        if rng.random() < 0.1:
            function = {"name": "f", "description": text_of(rng), "parameters": {}}
            tools = [{"type": "function", "function": function}]
        request = Request(
            messages=messages,
            tools=tools,
            max_tokens=rng.choice([1, 4, 24]),
            seed=number,
            stop=rng.choice([[], ["\n"], ["</think>", "a"]]),
        )
        engine = engines[number % 3]
        try:
            reply = blocking.run(lambda: engine.complete(request))  # noqa: B023
        except RequestError:
            continue
        served += 1
        prompt = embedded[0].codec.render(messages, tools)
        assert open_tag not in prompt.token_ids
        if number % 3 < 2:
            assert reply.spans == ()
    assert served > 300
    deadline = time.monotonic() + END_S
    while any(model.open_sessions for model in embedded) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert [model.open_sessions for model in embedded] == [0, 0]
