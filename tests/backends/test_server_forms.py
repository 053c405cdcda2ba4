"""Typed answers and forced calls where the models are on servers."""

import json
import logging
from types import SimpleNamespace

import httpx
import pytest

from splitreason_integrations import Always, Random, SplitEngine, TagClose
from splitreason_integrations.backends import refusal
from splitreason_integrations.errors import ModelCallError, RequestError
from splitreason_integrations.records import Author, Channel
from splitreason_integrations.request import Request
from tests.backends.servers import QUESTION, load, serving, serving_pair, spec
from tests.text.schemas import POINT, record, validate
from tests.text.test_grammar import TOOLS

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

ANSWER = record(answer={"type": "integer", "minimum": 0, "maximum": 9999})
REFUSES = "refuses a grammar"
MIXED = record(
    kind={"enum": ["sum", "product"]},
    at=POINT,
    notes={"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 3},
)


@pytest.fixture(scope="module")
def pair():
    with serving_pair() as both:
        yield both


@pytest.fixture(scope="module")
def chat():
    with serving("dialect_server", "embedded:large", "continue") as (_, url):
        yield spec(url, context_tokens=2048)


def asked(seed=1, **form):
    return Request(
        messages=[{"role": "user", "content": QUESTION}], max_tokens=500, seed=seed, **form
    )


def check(reply, form):
    assert reply.stop_reason == "stop"
    if "response_schema" in form:
        validate(json.loads(reply.answer), form["response_schema"])
        return
    (call,) = reply.tool_calls
    validate(call.arguments, POINT if call.name == "move" else {"const": {}})


FORMS = {
    "answer": {"response_schema": ANSWER},
    "mixed": {"response_schema": MIXED},
    "call": {"tools": TOOLS, "must_call": True},
}


@pytest.mark.parametrize("settings", [{}, {"trigger": Random(0.1), "close": TagClose(0.05)}])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_both_on_servers_write_what_both_here_write(pair, form, settings):
    here = await SplitEngine(**settings).complete(asked(**form))
    there = await SplitEngine(small=pair[0], large=pair[1], **settings).complete(asked(**form))
    check(there, form)
    assert there.pieces == here.pieces
    assert there.spans


async def test_an_answer_with_no_tags_in_it_is_one_request(pair):
    url = pair[0].url
    before = len(requests(url))
    engine = SplitEngine(small=pair[0], large=pair[1], trigger=Random(0.0))
    check(await engine.complete(asked(response_schema=MIXED)), FORMS["mixed"])
    held = [one for one in requests(url)[before:] if one["structured_outputs"]]
    assert len(held) == 1
    assert not [one for one in requests(url)[before:] if one["allowed_token_ids"]]


def requests(url):
    return httpx.get(url.replace("/v1", "/state")).json()["requests"]


@pytest.mark.parametrize("trigger", [None, Always()], ids=str)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_beside_a_large_model_on_a_chat_the_small_one_writes_the_answer(chat, form, trigger):
    settings = {} if trigger is None else {"trigger": trigger}
    reply = await SplitEngine(small="embedded", large=chat, **settings).complete(asked(**form))
    check(reply, form)
    assert reply.spans
    assert not reply.degraded
    assert {piece.author for piece in reply.pieces} == {Author.SMALL, Author.LARGE}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_a_server_that_takes_text_and_grammars_holds_to_the_form(form):
    with serving("dialect_server", "embedded:small", "text", "--grammars") as (_, url):
        small = spec(url, context_tokens=2048)
        reply = await SplitEngine(small=small, large="embedded").complete(asked(**form))
        check(reply, form)
        assert reply.spans
        assert [body for body in bodies(url) if "grammar" in body]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_by_text_a_whole_answer_is_one_request(form):
    with serving("dialect_server", "embedded:small", "text", "--grammars") as (_, url):
        small = spec(url, context_tokens=2048)
        engine = SplitEngine(small=small, large="embedded", trigger=Random(0.0))
        check(await engine.complete(asked(**form)), form)
        _, *asked_to_hold = [body for body in bodies(url) if "grammar" in body]
    assert len(asked_to_hold) == 1, "the first one is the probe"


def bodies(url):
    return httpx.get(url.replace("/v1", "/state")).json()["bodies"]


async def test_a_small_model_that_cannot_hold_a_form_is_refused_before_work():
    with serving("dialect_server", "embedded:small", "text") as (_, url):
        engine = SplitEngine(small=spec(url, dialect="text", context_tokens=2048), large="embedded")
        with pytest.raises(RequestError, match="'vllm:<folder>', or a server of vLLM"):
            await engine.complete(asked(response_schema=ANSWER))


async def test_a_server_that_refuses_grammars_holds_to_the_form_token_by_token(pair, caplog):
    with serving("completions_server", "embedded:small", "--no-grammars") as (_, url):
        engine = SplitEngine(small=spec(url), large=pair[1], trigger=Random(0.05))
        with caplog.at_level(logging.WARNING):
            replies = [await engine.complete(asked(seed, **FORMS["mixed"])) for seed in (1, 2)]
        refusals = [one for one in requests(url) if one["structured_outputs"]]
    assert not refusals, "a refused request is not noted by the server"
    for reply in replies:
        check(reply, FORMS["mixed"])
    assert len([one for one in caplog.records if REFUSES in one.getMessage()]) == 1


class Clock:
    """The time by which what was refused is tried again."""

    now_s = 0.0

    def __init__(self, monkeypatch):
        time = SimpleNamespace(monotonic=lambda: self.now_s)
        monkeypatch.setattr(refusal, "time", time)


async def test_grammars_that_a_server_refused_are_tried_again_later(pair, monkeypatch, caplog):
    clock = Clock(monkeypatch)
    with serving("completions_server", "embedded:small", "--no-grammars") as (_, url):
        engine = SplitEngine(small=spec(url), large=pair[1], trigger=Random(0.0))
        for asks_s, tried in ((0, 1), (590, 1), (620, 2), (1800, 2), (1900, 3)):
            clock.now_s = asks_s
            check(await engine.complete(asked(1, **FORMS["answer"])), FORMS["answer"])
            assert len([one for one in caplog.records if REFUSES in one.getMessage()]) == tried


async def test_a_server_that_heeds_no_grammars_is_asked_again_later(monkeypatch):
    clock = Clock(monkeypatch)
    with serving("dialect_server", "embedded:small", "text") as (_, url):
        model = load(spec(url, dialect="text", context_tokens=2048))
        for asks_s, is_asked in ((0, True), (590, False), (620, True), (1800, False), (1900, True)):
            clock.now_s, before = asks_s, len(bodies(url))
            await model.find_out()
            assert bool(bodies(url)[before:]) is is_asked


async def test_a_refusal_of_another_kind_says_nothing_of_grammars(pair, caplog):
    with serving("completions_server", "embedded:small", "--no-access") as (_, url):
        engine = SplitEngine(small=spec(url), large=pair[1], trigger=Random(0.0))
        with caplog.at_level(logging.WARNING), pytest.raises(ModelCallError, match="no access"):
            await engine.complete(asked(**FORMS["mixed"]))
        assert not load(spec(url)).no_grammars.holds
    assert not [one for one in caplog.records if REFUSES in one.getMessage()]


async def test_a_server_that_heeds_no_form_is_an_error_and_never_a_wrong_answer(pair):
    with serving("completions_server", "embedded:small", "--no-forms") as (_, url):
        engine = SplitEngine(small=spec(url), large=pair[1], trigger=Random(0.0))
        with pytest.raises(ModelCallError, match="ruled out by the answer"):
            await engine.complete(asked(**FORMS["mixed"]))


@pytest.mark.slow
async def test_what_breaks_off_within_an_answer_is_gone_on_with(pair):
    with serving("completions_server", "embedded:small", "--breaks") as (_, url):
        for seed in range(100):
            form = list(FORMS.values())[seed % 3]
            settings = {"trigger": Random(0.05), "close": TagClose(0.05)}
            engine = SplitEngine(small=spec(url), large=pair[1], **settings)
            pieces, reply = "", None
            async for item in engine.stream(asked(seed, **form)):
                if getattr(item, "channel", None) is Channel.ANSWER:
                    pieces += item.text
                reply = item
            check(reply, form)
            assert pieces == reply.answer
