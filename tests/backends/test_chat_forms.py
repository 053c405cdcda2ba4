"""Typed answers and forced calls that a large model behind a chat writes, as a whole."""

import json

import pytest
from llama_index.core import PromptTemplate
from pydantic import BaseModel, Field

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import Always, OpenAIServerModel, SplitEngine
from splitreason_integrations.errors import LargeModelError
from splitreason_integrations.records import Author
from tests.backends.servers import LARGE, QUESTION, serving
from tests.backends.test_server_forms import FORMS, asked, bodies, check
from tests.text.test_grammar import TOOLS

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

KNOWN = {"tokenizer": LARGE, "context_tokens": 2048}
NAMED = {"continue": None, "prefix": "prefix", "partial": "partial", "plain": "plain"}
"""How a server that speaks a dialect is named; None has it found."""


class Stock(BaseModel):
    """How many there are."""

    number: int = Field(ge=0, le=9999)


def spec_of(url, speaks, **more):
    return OpenAIServerModel(url, speaks, dialect=NAMED[speaks], **{**KNOWN, **more})


@pytest.fixture(scope="module", params=NAMED)
def chat(request):
    echo = ["--echo"] if request.param == "prefix" else []
    flags = ["--forms", *echo]
    with serving("dialect_server", "embedded:large", request.param, *flags) as (_, url):
        yield spec_of(url, request.param)


def typed(url):
    """Return the requests that asked for a form."""
    return [
        one
        for one in bodies(url)
        if "response_format" in one or one.get("tool_choice") not in (None, "none")
    ]


def engine(large, **settings):
    return SplitEngine(trigger=Always(), small="embedded", large=large, **settings)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_where_it_writes_the_reply_it_writes_the_answer_in_one_request(chat, form):
    await engine(chat).complete(asked(**form))
    before = len(typed(chat.url))
    reply = await engine(chat).complete(asked(**form))
    check(reply, form)
    assert {piece.author for piece in reply.pieces} == {Author.LARGE}
    assert not reply.degraded
    assert len(typed(chat.url)) == before + 1
    assert reply.reasoning, "the reasoning is free"


async def test_a_chat_that_has_structured_outputs_holds_to_the_grammar():
    flags = ["--forms", "--structured"]
    with serving("dialect_server", "embedded:large", "continue", *flags) as (_, url):
        for form in FORMS.values():
            reply = await engine(spec_of(url, "continue")).complete(asked(**form))
            check(reply, form)
            assert {piece.author for piece in reply.pieces} == {Author.LARGE}
            assert not reply.degraded
        held = [one for one in bodies(url) if "structured_outputs" in one]
        assert len(held) == 1 + len(FORMS), "one probe, and an answer each"
        assert not typed(url)


async def test_the_answer_is_the_one_of_the_same_model_here(chat):
    form = FORMS["answer"]
    here = await SplitEngine(trigger=Always()).complete(asked(**form))
    there = await engine(chat).complete(asked(**form))
    assert json.loads(there.answer) == json.loads(here.answer)
    assert there.reasoning == here.reasoning


async def test_what_is_asked_for_is_the_schema_or_the_tool(chat):
    await engine(chat).complete(asked(**FORMS["answer"]))
    sent = typed(chat.url)[-1]["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["name"]
    assert sent["json_schema"]["strict"] is True
    assert sent["json_schema"]["schema"]["additionalProperties"] is False
    await engine(chat).complete(asked(tools=TOOLS[:1], must_call=True))
    name = TOOLS[0]["function"]["name"]
    sent = typed(chat.url)[-1]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": name}}
    assert [one["function"]["name"] for one in sent["tools"]] == [name]
    await engine(chat).complete(asked(**FORMS["call"]))
    assert typed(chat.url)[-1]["tool_choice"] == "required"
    await engine(chat).complete(asked(response_schema={"type": "object"}))
    assert typed(chat.url)[-1]["response_format"] == {"type": "json_object"}


async def test_reasoning_that_is_ended_at_its_cap_is_followed_by_a_typed_answer(chat):
    form = FORMS["answer"]
    reply = await engine(chat).complete(asked(max_reasoning_tokens=8, **form))
    check(reply, form)
    assert reply.reasoning_tokens <= 8
    assert not reply.degraded


@pytest.mark.parametrize("misfits", [1, 2])
@pytest.mark.parametrize("speaks", ["continue", "plain"])
async def test_what_does_not_fit_is_asked_for_again_once(speaks, misfits):
    flags = ["--forms", f"--misfits={misfits}"]
    with serving("dialect_server", "embedded:large", speaks, *flags) as (_, url):
        form = FORMS["mixed"]
        reply = await engine(spec_of(url, speaks)).complete(asked(**form))
        answered = [one for one in typed(url) if speaks != "plain" or "temperature" not in one]
        assert len(answered) == 2 + 2, "two probes, and twice"
    check(reply, form)
    assert reply.degraded is (misfits == 2)
    wrote = {piece.author for piece in reply.pieces[-1:]}
    assert wrote == {Author.SMALL if misfits == 2 else Author.LARGE}


async def test_that_the_small_model_wrote_it_is_said_or_raised():
    flags = ["--forms", "--misfits=9"]
    with serving("dialect_server", "embedded:large", "plain", *flags) as (_, url):
        large = spec_of(url, "plain")
        items = [one async for one in engine(large).stream(asked(**FORMS["answer"]))]
        said = [one.error for one in items if getattr(one, "name", "").endswith("failed")]
        assert said == ["AnswerFormError"]
        with pytest.raises(LargeModelError, match="no answer in the form"):
            await engine(large, on_large_failure="raise").complete(asked(**FORMS["answer"]))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_chat_that_knows_no_forms_is_not_asked_for_one_while_it_works(form):
    with serving("dialect_server", "embedded:large", "continue") as (_, url):
        large = spec_of(url, "continue")
        for _ in range(2):
            reply = await engine(large).complete(asked(**form))
            check(reply, form)
            assert not reply.degraded
            assert Author.SMALL in {piece.author for piece in reply.pieces}
        assert len(typed(url)) == 2, "the two probes"


async def test_beside_a_small_model_that_goes_on_no_form_is_asked_for(chat):
    before = len(typed(chat.url))
    reply = await SplitEngine(small="embedded", large=chat).complete(asked(**FORMS["answer"]))
    check(reply, FORMS["answer"])
    assert len(typed(chat.url)) == before


async def test_a_choice_between_an_answer_and_a_call_is_the_small_models(chat):
    before = len(typed(chat.url))
    form = {"response_schema": FORMS["answer"]["response_schema"], "tools": TOOLS}
    reply = await engine(chat).complete(asked(**form))
    assert reply.answer or reply.tool_calls
    probes = [one["messages"][-1]["content"] for one in typed(chat.url)[before:]]
    assert set(probes) <= {"Hello"}


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_both_frameworks_get_what_it_wrote(chat, method):
    llm = SplitReasonLLM(small="embedded", large=chat, trigger="always", seed=1, max_tokens=500)
    found = llm.with_structured_output(Stock, method=method, include_raw=True).invoke(QUESTION)
    assert isinstance(found["parsed"], Stock)
    authors = found["raw"].response_metadata["splitreason"]["tokens"]
    assert authors["small"] == 0
    assert authors["large"] > 0
    other = LlamaIndexLLM(small="embedded", large=chat, trigger="always", seed=1, max_tokens=500)
    template = PromptTemplate("{question}")
    stock = other.structured_predict(Stock, template, question=QUESTION)
    assert isinstance(stock, Stock)
