"""Constrained answers: always valid, whichever model writes them, through hand-overs and cuts."""

import json
import random

import pytest

from splitreason_integrations import (
    Random,
    Request,
    Sampling,
    SplitEngine,
    TagClose,
    blocking,
)
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.errors import RequestError
from splitreason_integrations.testing import embedded_codec
from splitreason_integrations.text.grammar import Guide, answer_grammar
from splitreason_integrations.text.tags import Tags, tags_of
from tests.backends.servers import QUESTION
from tests.loop.engine_runs import complete, engine
from tests.text.schemas import POINT, SCHEMAS, validate

TOOLS = [
    {"type": "function", "function": {"name": "move", "description": "Move.", "parameters": POINT}},
    {"type": "function", "function": {"name": "stop", "description": "Stop."}},
]
HELLO = [{"role": "user", "content": "Where?"}]


def ask(seed, **more):
    return Request(
        messages=HELLO, sampling=Sampling(temperature=1.0), seed=seed, max_tokens=300, **more
    )


class Eager(HFModel):
    """Ends its reasoning soon, which random weights do not know how to."""

    end = "</think>"
    eagerness = -1.0

    def forward(self, token_ids, cache, *, last):
        logits = super().forward(token_ids, cache, last=last).clone()
        logits[:, self.codec.control_token(self.end)] = logits.max() + self.eagerness
        return logits


@pytest.fixture(scope="module")
def eager_pair(random_pair):
    return tuple(Eager(m.network, m.codec, name=f"eager-{m.name}") for m in random_pair)


def test_two_tokenizers_keep_to_one_grammar(eager_pair, other_model):
    checked = 0
    for seed in range(8):
        for pair in ((eager_pair[0], other_model), (other_model, eager_pair[1])):
            reply = complete(
                engine(pair, trigger=Random(0.4), close=TagClose(2e-3)),
                ask(seed, response_schema=SCHEMAS["nested"]),
            )
            if reply.stop_reason == "stop" and reply.spans:
                checked += 1
                validate(json.loads(reply.answer), SCHEMAS["nested"])
    assert checked


def test_the_embedded_pair_reasons_freely_and_then_answers_in_json():
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "integer", "minimum": 0, "maximum": 9999}},
        "required": ["answer"],
    }
    reply = blocking.run(
        lambda: SplitEngine().complete(
            Request(
                messages=[{"role": "user", "content": QUESTION}],
                response_schema=schema,
                max_tokens=300,
                seed=1,
            )
        )
    )
    assert reply.reasoning
    assert json.loads(reply.answer) == {"answer": 1069}


CALCULATOR = {
    "type": "function",
    "function": {
        "name": "calculator",
        "description": "Evaluate an arithmetic expression.",
        "parameters": {
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        },
    },
}


def test_a_typed_answer_may_be_a_call_where_there_are_tools():
    messages = [{"role": "user", "content": "What is 179-55?"}]
    form = {"tools": [CALCULATOR], "response_schema": SCHEMAS["integer"], "max_tokens": 200}
    first = blocking.run(lambda: SplitEngine().complete(Request(messages=messages, seed=1, **form)))
    (call,) = first.tool_calls
    assert (call.name, call.arguments, first.answer) == (
        "calculator",
        {"expression": "179-55"},
        "",
    )
    function = {"name": call.name, "arguments": call.arguments}
    messages += [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": function}],
        },
        {"role": "tool", "content": "124"},
    ]
    second = blocking.run(
        lambda: SplitEngine().complete(Request(messages=messages, seed=1, **form))
    )
    assert not second.tool_calls
    validate(json.loads(second.answer), SCHEMAS["integer"])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"response_schema": {"type": "integr"}}, "type: 'integr' is not valid"),
        ({"must_call": True}, "needs tools"),
        ({"must_call": True, "tools": TOOLS, "response_schema": POINT}, "no response_schema"),
    ],
)
def test_what_cannot_be_kept_to_is_refused_before_work(eager_pair, more, says):
    with pytest.raises(RequestError, match=says):
        complete(engine(eager_pair), ask(1, **more))


def test_properties_may_be_named_like_keywords(embedded):
    inner = {"type": "object", "properties": {"a": {"type": "boolean"}}}
    named = {"type": "object", "properties": {"properties": inner, "enum": inner}}
    written = json.loads(answer_grammar(named, embedded[0].codec).partition("%json ")[2])
    assert set(written["properties"]) == {"properties", "enum"}
    assert written["additionalProperties"] is False
    assert all(one["additionalProperties"] is False for one in written["properties"].values())


TAGGED = {
    "no": Tags(),
    "control": tags_of(embedded_codec(), as_text=False),
    "text": Tags(tuple(embedded_codec().encode(" x")), tuple(embedded_codec().encode("12"))),
}


@pytest.mark.parametrize("tags", TAGGED.values(), ids=TAGGED)
@pytest.mark.parametrize("name", SCHEMAS)
def test_tokens_are_accepted_that_may_come_and_no_others(name, tags):
    codec, rng = embedded_codec(), random.Random(name)
    ends, every = codec.end_tokens, {*range(len(codec._tokenizer)), 2000}
    grammar = answer_grammar(SCHEMAS[name], codec)
    begun = [*codec.encode("so it is"), codec.control_token("</think>")]
    guide, checked = (Guide(codec, grammar, tags, reasons=True) for _ in range(2))
    tokens = list[int]()
    while len(tokens) < 30 and not ends & set(tokens):
        some = guide.allowed([*begun, *tokens])
        for one in {rng.choice(some), *rng.sample(sorted(every), 8), *ends, *tags.open_tokens}:
            accepted = checked.accepted([*begun, *tokens], [one])
            assert accepted == (one in some), codec.decode([*tokens, one])
        tokens.append(rng.choice(some))
    assert checked.accepted([], [*begun, *tokens]) == len(begun) + len(tokens)
    other = next(iter(every - set(guide.allowed([*begun, *tokens[:3]]))))
    assert checked.accepted(begun, [*tokens[:3], other, *tokens[3:]]) == 3


def test_where_a_text_has_to_come_its_longest_token_has_to():
    codec = embedded_codec()
    guide = Guide(codec, answer_grammar(SCHEMAS["recursive"], codec), Tags(), reasons=False)
    begun = [*codec.encode('{"value": 3, "ne')]
    (whole,), (part,) = guide.allowed(begun), codec.encode("x")
    assert codec.decode([whole]) == "xt"
    assert [guide.accepted(begun, [one]) for one in (whole, part)] == [1, 0]
