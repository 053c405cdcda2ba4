"""Forced calls and JSON answers in each family's own format, written by random models."""

import json
import re
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from splitreason_integrations import Random, TagClose
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.records import Delta
from splitreason_integrations.text.reply_formats import FORMATS
from tests.conftest import random_network
from tests.loop.engine_runs import collect, complete, engine
from tests.text.schemas import POINT, record, several, validate
from tests.text.test_grammar import TOOLS, Eager, ask

CONTROL = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]")
END = "[EOS]"
PLAIN = ("</function>", "</parameter>", "</invoke>")
"""What no family has a control token for."""

RICH = {
    "type": "function",
    "function": {
        "name": "note",
        "parameters": {
            **record(
                ["text", "size", "at", "flag"],
                text={"type": "string", "minLength": 1, "maxLength": 6},
                size={"enum": ["small", 3, None]},
                code={"type": "string", "pattern": "^[a-c]{2}/[0-9]$"},
                at={"$ref": "#/$defs/point"},
                flag={"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                more={"type": ["string", "integer"], "maxLength": 3, "minimum": 0, "maximum": 9},
                points=several({"$ref": "#/$defs/point"}, 0, 1),
            ),
            "$defs": {"point": POINT},
        },
    },
}
"""Text, text of a pattern, choices, unions, references and lists."""


def codec_of(family):
    """A codec of a family: bytes, its markers as control tokens, and a chat template with them."""
    spelled = f"{family.call}{family.argument}{family.end_of_reasoning}{family.answer_start}"
    own = [mark for mark in dict.fromkeys(CONTROL.findall(spelled)) if mark not in PLAIN]
    markers = [*(mark for mark in own if "{" not in mark), "<bigmodel>", "</bigmodel>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END, *markers],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["move and stop at x on"], trainer)
    tools = "{% for tool in tools or [] %}{{ tool.function.name }}\n{% endfor %}"
    messages = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    template = tools + messages + "{# " + family.signs[0] + family.call + " #}"
    thought = "" if family.always_reasons else "<think>"
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        chat_template=template + "{% if add_generation_prompt %}" + thought + "{% endif %}",
    )
    return TokenizerCodec(fast, name=family.name)


class EagerInFamily(Eager):
    """Ends its reasoning soon, in its family's way."""

    end = property(lambda self: self.codec.reply_format.end_of_reasoning)


@pytest.fixture(scope="module", params=FORMATS)
def pair(request):
    codec = codec_of(FORMATS[request.param])
    assert codec.reply_format.name == request.param
    size = len(codec._tokenizer)
    return tuple(EagerInFamily(random_network(size, s), codec, name=f"random-{s}") for s in (1, 2))


def test_forced_calls(pair):
    made = []
    for seed in range(6):
        reply = complete(
            engine(pair, trigger=Random(0.2), close=TagClose(2e-2)),
            ask(seed, tools=TOOLS, must_call=True),
        )
        if reply.stop_reason == "stop":
            (call,) = reply.tool_calls
            assert call.arguments is not None, call
            validate(call.arguments, POINT if call.name == "move" else {"const": {}})
            assert reply.answer == ""
            made.append(call.name)
    assert made


def test_forced_calls_with_arguments_of_every_kind(pair):
    made = []
    for seed in range(6):
        items, reply = collect(
            engine(pair, trigger=Random(0.1), close=TagClose(5e-2)),
            replace(ask(seed, tools=[RICH], must_call=True), max_tokens=600),
        )
        if reply.stop_reason == "stop":
            (call,) = reply.tool_calls
            pieces = [piece for item in items if isinstance(item, Delta) for piece in item.calls]
            assert json.loads("".join(piece.arguments for piece in pieces)) == call.arguments
            assert not call.error, call
            validate(call.arguments, RICH["function"]["parameters"])
            made.append(call)
    assert made


def test_answers_in_json(pair):
    finished = 0
    for seed in range(6):
        reply = complete(
            engine(pair, trigger=Random(0.2), close=TagClose(2e-2)),
            ask(seed, response_schema=POINT),
        )
        if reply.stop_reason == "stop":
            finished += 1
            validate(json.loads(reply.answer), POINT)
    assert finished
