"""What servers really send, in every place where an answer is read.

One table: a form, and where it comes. What is sound is read as it is meant, what is final is asked
for once, what may pass can be asked for again, and the server's own words are kept.
"""

import json
from collections import Counter
from dataclasses import dataclass, field

import pytest

from splitreason_integrations import OpenAIServerModel, Retry, ServerLimits, SplitEngine
from splitreason_integrations.backends.base import End, Wanted
from splitreason_integrations.backends.openai_server import call
from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.replicas import Replicas
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.request import Request
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.raw_server import FOREVER_S, RawServer, Reply, json_reply
from tests.backends.servers import order, write

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

CODEC = embedded_codec()
PROMPT = CODEC.render([{"role": "user", "content": "Hello"}], None)
SAID = " the sum is 7."
IDS = CODEC.encode(SAID)
CUT = 3
TOKEN, OTHER = CODEC.encode("x")[-1], CODEC.encode(" a")[-1]
DIALECTS = ("ids", "text", "continue")
PLACES = ("detection", "writing", "scoring")
DONE = b"data: [DONE]\n\n"


def sse(data, *, gap=b"\n\n"):
    return b"data: " + json.dumps(data).encode() + gap


@dataclass(frozen=True)
class Place:
    """Where an answer is read, and how a sound one looks there."""

    name: str
    dialect: str

    @property
    def is_chat(self):
        return self.dialect == "continue"

    @property
    def reads_text(self):
        return self.dialect != "ids"

    def choice(self, ids, finish=None, *, text=None, index=0):
        said = CODEC.decode(ids) if text is None else text
        more = {"finish_reason": finish, "index": index}
        if self.is_chat:
            return {"delta": {"content": said}, **more}
        if self.dialect == "ids":
            more["token_ids"] = ids
        if self.name != "writing":
            more["logprobs"] = {"top_logprobs": [{f"token_id:{TOKEN}": -0.5, "x": -0.5}]}
        return {"text": said, **more}

    def event(self, ids=(), finish=None, **more):
        return sse({"choices": [self.choice(list(ids), finish, **more)]})

    @property
    def first(self):
        """The first event of the answer."""
        return self.event(IDS[:CUT] if self.name == "writing" else [TOKEN])

    @property
    def rest(self):
        """The other event with text."""
        if self.name == "writing":
            return self.event(IDS[CUT:])
        return self.event([TOKEN], index=1) if self.name == "scoring" else b""

    def end(self, finish="stop"):
        return self.event((), finish) if self.name != "scoring" else self.event([TOKEN], finish)

    @property
    def whole(self):
        return self.first + self.rest

    @property
    def usage(self):
        return {"prompt_tokens": len(PROMPT), "completion_tokens": 1}


@dataclass(frozen=True)
class Form:
    """One form of an answer.

    Attributes:
        reply: returns what is sent at a place.
        outcome: how it has to be taken: `read`, `final` or `retryable`.
        words: the server's own words, which an error has to hold.
        not_at: why it cannot come at some places, by place, dialect or both.
        outcome_at: other outcomes, by place.

    """

    reply: object
    outcome: str = "read"
    words: str = ""
    not_at: dict = field(default_factory=dict)
    outcome_at: dict = field(default_factory=dict)

    def cannot_come(self, place):
        known = (place.name, place.dialect, (place.name, place.dialect))
        return next((self.not_at[one] for one in known if one in self.not_at), "")

    def outcome_in(self, place):
        return self.outcome_at.get(place.name, self.outcome)


def stream(*parts, **more):
    """Return what builds a stream of some parts, each of them bytes or built by the place."""
    return lambda at: Reply(tuple(part(at) if callable(part) else part for part in parts), **more)


def whole(at):
    return at.whole


def first(at):
    return at.first


def rest(at):
    return at.rest


def end(at):
    return at.end()


def usage(**more):
    return lambda at: sse({"usage": at.usage, **more})


def between(data, **more):
    """Return a form with something between the events of a sound answer."""
    return Form(stream(first, data, rest, end, data, DONE), **more)


def finishing(reason, **more):
    return Form(stream(whole, lambda at: at.end(reason), DONE), **more)


def failing(data, outcome, words, **more):
    return Form(stream(first, data, DONE), outcome, words, **more)


CHATS_ALONE = {
    "ids": "the field belongs to chats: /completions has `text`, which is a string",
    "text": "the field belongs to chats: /completions has `text`, which is a string",
}
WRITTEN_ALONE = {
    "detection": "has to be read as part of an answer, which detection only counts",
    "scoring": "holds no probabilities, of which scores are made",
}
HAS_SCORES = {"scoring": "read"}
"""A score is there before the end of the answer comes, however it ends."""
SPEAKS = {"detection": "read", "scoring": "read"}
"""A verdict on a text shows that the server understood the question."""
DOCUMENT = "a whole answer that is one document holds both events of this place"


def document(at):
    """Return a whole answer to a question that asked for a stream."""
    if at.name == "writing":
        choices = [at.choice(IDS, "stop")]
    else:
        choices = [at.choice([TOKEN], "length", index=index) for index in (0, 1)]
    if at.is_chat:
        choices = [{**one, "message": one["delta"]} for one in choices[:1]]
        for one in choices:
            del one["delta"]
    return {"choices": choices, "usage": at.usage}


def parted(at):
    parts = [{"type": "text", "text": CODEC.decode(ids)} for ids in (IDS[:CUT], IDS[CUT:])]
    delta = {"content": [*parts, {"type": "reference", "reference_ids": [1]}]}
    return sse({"choices": [{"delta": delta, "finish_reason": None}]})


def refusal(at):
    return sse({"choices": [{"delta": {"refusal": "I will not."}, "finish_reason": None}]})


def error(message="it broke", **more):
    return sse({"error": {"message": message, **more}})


FORMS = {
    "usage without choices": Form(stream(whole, end, usage(), DONE)),
    "usage with choices: null": Form(stream(whole, end, usage(choices=None), DONE)),
    "usage with no choice": Form(stream(whole, end, usage(choices=[]), DONE)),
    "usage before the end": Form(stream(whole, usage(), end, DONE)),
    "an event with an id alone": between(sse({"id": "1", "object": "chat.completion.chunk"})),
    "an event about the prompt": between(sse({"choices": [], "prompt_filter_results": [{}]})),
    "empty data": between(b"data:\n\n"),
    "data: null": between(b"data: null\n\n"),
    "data: {}": between(b"data: {}\n\n"),
    "a comment": between(b": PROCESSING\n\n"),
    "a ping": between(b'event: ping\ndata: {"type": "ping"}\n\n'),
    "a ping without a name": between(b'data: {"type": "ping"}\n\n'),
    "a ping that is a word": between(b"data: ping\n\n"),
    "a heartbeat": between(b"event: heartbeat\ndata: 17\n\n"),
    "fields id and retry": between(b"id: 4\nretry: 3000\n\n"),
    "a field that nobody knows": between(b"x-request: 4\n\n"),
    "a byte order mark": Form(stream(b"\xef\xbb\xbf", whole, end, DONE)),
    "lines that end by both": Form(
        stream(lambda at: (at.whole + at.end() + DONE).replace(b"\n", b"\r\n"))
    ),
    "no space behind the colon": Form(
        stream(lambda at: (at.whole + at.end() + DONE).replace(b"data: ", b"data:"))
    ),
    "no line between events": Form(
        stream(lambda at: (at.whole + at.end() + DONE).replace(b"\n\n", b"\n"))
    ),
    "an event over several lines": Form(
        stream(lambda at: (at.whole + at.end()).replace(b'"choices":', b'\ndata: "choices":'), DONE)
    ),
    "an event without data:": Form(
        stream(lambda at: (at.whole + at.end()).replace(b"data: ", b""), kind="application/json")
    ),
    "the wrong content type": Form(stream(whole, end, DONE, kind="text/plain; charset=utf-8")),
    "no content type": Form(stream(whole, end, DONE, kind="")),
    "one document": Form(lambda at: json_reply(200, document(at))),
    "one document over several lines": Form(
        lambda at: Reply((json.dumps(document(at), indent=1).encode(),), kind="application/json")
    ),
    "[DONE] without a finish reason": Form(stream(whole, DONE)),
    "a finish reason without [DONE]": Form(stream(whole, end)),
    "a connection that stays open": Form(stream(whole, end, FOREVER_S)),
    "content in parts": Form(stream(parted, end, DONE), not_at=CHATS_ALONE),
    **{
        f"finished by {reason}": finishing(reason)
        for reason in ("STOP", "end_turn", "eos_token", "tool_calls", "FINISH_REASON_STOP", "odd")
    },
    "finished by model_length": finishing("model_length"),
    "finished by content_filter": finishing(
        "content_filter", outcome="final", words="content_filter", outcome_at=SPEAKS
    ),
    "finished by SAFETY": finishing("SAFETY", outcome="final", words="SAFETY", outcome_at=SPEAKS),
    "a refusal": Form(
        stream(refusal, end, DONE), "final", "refusal", CHATS_ALONE, outcome_at=SPEAKS
    ),
    "finished by error": Form(
        stream(lambda at: at.event((), "error"), DONE), "retryable", "ended by 'error'"
    ),
    "cut off": Form(stream(first), "retryable", "", {"detection": "one event is all it needs"}),
    "nothing but [DONE]": Form(stream(DONE), "retryable", "", outcome_at={"detection": "final"}),
    "context_length_exceeded": failing(
        error("too long", code="context_length_exceeded"), "final", "too long"
    ),
    "a code of its own": failing(error(code="weird_model_code"), "final", "it broke"),
    "invalid_request_error": failing(error(type="invalid_request_error"), "final", "it broke"),
    "insufficient_quota": failing(error(code="insufficient_quota"), "final", "it broke"),
    "a code that is digits": failing(error(code="400"), "final", "it broke"),
    "server_error": failing(error(type="server_error"), "retryable", "it broke"),
    "rate_limit_exceeded": failing(error(code="rate_limit_exceeded"), "retryable", "it broke"),
    "an error that is a string": failing(sse({"error": "it broke"}), "retryable", "it broke"),
    "a field error:": failing(
        b'error: {"code": 400, "message": "it broke", "type": "x"}\n\n', "final", "it broke"
    ),
    "a field error: with text": failing(b"error: it broke\n\n", "retryable", "it broke"),
    "event: error": failing(
        b'event: error\ndata: {"error": {"type": "overloaded_error", "message": "it broke"}}\n\n',
        "retryable",
        "it broke",
    ),
    "event: error with text": failing(b"event: error\ndata: it broke\n\n", "retryable", "it broke"),
    "object: error": failing(
        sse({"object": "error", "message": "it broke", "type": "BadRequestError", "code": 400}),
        "final",
        "it broke",
    ),
    "a detail": failing(sse({"detail": "it broke"}), "retryable", "it broke"),
    "an error without data:": failing(b'{"error": "it broke"}\n', "retryable", "it broke"),
    "a status in base_resp": failing(
        sse({"choices": None, "base_resp": {"status_code": 1008, "status_msg": "it broke"}}),
        "retryable",
        "it broke",
    ),
    "no money": failing(sse({"message": "Insufficient balance"}), "final", "Insufficient"),
    "JSON with status 200": Form(
        lambda at: json_reply(200, {"error": {"message": "it broke", "code": "invalid_model"}}),
        "final",
        "it broke",
    ),
    "JSON without choices": Form(lambda at: json_reply(200, {"ok": 1}), "final", "event stream"),
    "text with status 200": Form(
        lambda at: Reply((b"no model is deployed here",), kind="text/plain"),
        "final",
        "deployed here",
    ),
    "text of a busy server": Form(
        lambda at: Reply((b"overloaded, try again",), kind="text/plain"), "retryable", "try again"
    ),
    "a page": Form(
        lambda at: Reply((b"<html>\n<p>Sign in</p>\n</html>",), kind="text/html"),
        "final",
        "Sign in",
    ),
    "429 of a used-up quota": Form(
        lambda at: json_reply(
            429, {"error": {"message": "it broke", "code": "insufficient_quota"}}
        ),
        "final",
        "it broke",
    ),
    "429": Form(lambda at: json_reply(429, {"error": {"message": "slow"}}), "retryable", "slow"),
    "500 of a long prompt": Form(
        lambda at: json_reply(500, {"message": "maximum context length is 9"}), "final", "length"
    ),
    "500": Form(lambda at: json_reply(500, {"error": {"message": "boom"}}), "retryable", "boom"),
    "501": Form(lambda at: json_reply(501, {"detail": "not here"}), "final", "not here"),
}
CELLS = [
    (name, Place(place, dialect)) for name in FORMS for place in PLACES for dialect in DIALECTS
]


def understood(place, path, body):
    """Return whether a server that speaks a dialect knows such a question."""
    if path == "/chat/completions":
        return place.is_chat
    is_text = isinstance(body["prompt"], str) or isinstance(body["prompt"][0], str)
    return is_text is (place.dialect == "text") and not place.is_chat


@dataclass
class Taken:
    """How a form was taken."""

    outcome: str
    ids: list = field(default_factory=list)
    error: str = ""
    found: str = ""


def model_at(url, speaks, *, read_s=30.0):
    spec = OpenAIServerModel(url, "m", limits=ServerLimits(read_s=read_s))
    size = {"vocabulary": 1024, "context_tokens": 2048, "taught": True}
    return ServerModel(
        Replicas([Server(spec, url)]), CODEC, model="m", name="m", speaks=speaks, **size
    )


async def closed(model):
    for replica in model.replicas.all:
        for kept in replica.server._sessions.values():
            await kept.session.close()


async def ask(place, url, *, speaks, read_s=30.0):
    """Ask a server as the place does; return how its answer was taken."""
    model = model_at(url, speaks, read_s=read_s)
    session = model.open(PROMPT)
    try:
        if place.name == "detection":
            return Taken("read", found=(await model.find_dialect(model.replicas.choose())).name)
        if place.name == "scoring":
            session.extend([OTHER])
            facts = await session.read_facts(Wanted(probability_of=TOKEN), last=2)
            assert [round(one.next_probability, 3) for one in facts] == [0.607] * 2
            return Taken("read")
        stops = CODEC.end_tokens
        ids, last = await write(session, order(40, stop_tokens=stops))
        assert last.end is End.STOP_TOKEN
        return Taken("read", ids)
    except ModelCallError as error:
        kept = list(session.token_ids[len(PROMPT) :])
        return Taken("retryable" if error.retryable else "final", kept, str(error))
    finally:
        session.close()
        await closed(model)


@pytest.mark.parametrize(
    ("name", "place"), CELLS, ids=[f"{name}-{at.name}-{at.dialect}" for name, at in CELLS]
)
async def test_what_servers_send_is_taken_as_it_is_meant(name, place):
    form = FORMS[name]
    if place.name == "scoring" and place.is_chat:
        pytest.skip("a chat gives no probabilities, and is never asked for them")
    if why := form.cannot_come(place):
        pytest.skip(why)
    expected = form.outcome_in(place)

    def handle(path, body):
        if place.name == "detection" and not understood(place, path, body):
            return json_reply(404, {"error": {"message": "no such route"}})
        return form.reply(place)

    server = RawServer(handle)
    async with server.serving() as url:
        speaks = None if place.name == "detection" else place.dialect
        taken = await ask(place, url, speaks=speaks)
    assert taken.outcome == expected, taken.error
    if place.name == "writing":
        begun = IDS if expected == "read" else taken.ids
        assert CODEC.decode(taken.ids) == CODEC.decode(begun)
        assert SAID.startswith(CODEC.decode(taken.ids)), "text is lost or doubled"
    if expected == "read":
        if place.name == "detection":
            assert taken.found in ((place.dialect, "plain") if place.is_chat else (place.dialect,))
    else:
        assert form.words in taken.error
    asked = Counter((path, json.dumps(body, sort_keys=True)) for path, body in server.asked)
    assert set(asked.values()) == {1}, "the same was asked twice"
    if place.name != "detection":
        assert len(asked) == 1


SMALL = "I add 3 and 4.<bigmodel> So that is it.</think>\n\nSeven."
WRITING = Place("writing", "continue")


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.outcome != "read"])
async def test_a_request_goes_on_and_asks_again_only_for_what_may_pass(name):
    server = RawServer(lambda path, body: FORMS[name].reply(WRITING))
    async with server.serving() as url:
        large = model_at(url, "continue")
        engine = SplitEngine(
            small=ScriptedModel(SMALL), large=large, retry=Retry(wait_s=0.0, attempts=2)
        )
        asked = [{"role": "user", "content": "How many are 3 pens and 4 pens?"}]
        reply = await engine.complete(Request(messages=asked, seed=1))
        await closed(large)
    assert (reply.answer, reply.degraded) == ("Seven.", True)
    assert len(server.asked) == (2 if FORMS[name].outcome == "retryable" else 1)


ALIVE = {
    "comments": b": PROCESSING\n\n",
    "pings": b"event: ping\ndata: {}\n\n",
    "empty data": b"data:\n\n",
}


@pytest.mark.parametrize("sign", ALIVE.values(), ids=ALIVE)
@pytest.mark.parametrize("name", PLACES)
async def test_signs_of_life_lengthen_the_wait_to_a_bound(name, sign, monkeypatch):
    place = Place(name, "ids")
    waits = (sign, 0.1) * 8
    server = RawServer(lambda path, body: Reply((*waits, place.whole, place.end(), DONE)))
    async with server.serving() as url:
        speaks = None if name == "detection" else "ids"
        assert (await ask(place, url, speaks=speaks, read_s=0.4)).outcome == "read"
    monkeypatch.setattr(call, "_PATIENCE", 2)
    silent = RawServer(lambda path, body: Reply((sign, 0.1) * 10_000))
    async with silent.serving() as url:
        taken = await ask(place, url, speaks=speaks, read_s=0.2)
    assert (taken.outcome, len(silent.asked)) == ("retryable", 1)
    assert "sent nothing new" in taken.error


async def test_a_model_that_shows_that_it_works_is_waited_for():
    """The engine fails a writer that gives nothing for long: signs of life reach it."""
    place = Place("writing", "text")
    server = RawServer(lambda path, body: Reply((b": x\n\n", 0.1) * 5 + (place.whole, DONE)))
    async with server.serving() as url:
        model = model_at(url, "text", read_s=0.4)
        session = model.open(PROMPT)
        written = [one async for one in session.write(order(40))]
        session.close()
        await closed(model)
    assert [one.token_ids for one in written[:2]] == [(), ()]
    assert CODEC.decode([token for one in written for token in one.token_ids]) == SAID


@pytest.mark.parametrize("speaks", ["text", "plain"])
async def test_a_server_that_fails_at_what_it_does_not_know_is_asked_in_another_way(speaks):
    place = Place("detection", "continue" if speaks == "plain" else "text")

    def handle(path, body):
        if not understood(place, path, body) or "continue_final_message" in body:
            return json_reply(500, {"error": {"message": "list indices must be integers"}})
        return Reply((place.whole, place.end(), DONE))

    server = RawServer(handle)
    async with server.serving() as url:
        model = model_at(url, None)
        assert (await model.find_dialect(model.replicas.choose())).name == speaks
        await closed(model)
    asked = [json.dumps(one, sort_keys=True) for one in server.asked]
    assert len(set(asked)) == len(asked) <= 6


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_server_that_is_down_is_not_taken_for_one_that_knows_less(status):
    server = RawServer(lambda path, body: json_reply(status, {"error": {"message": "down"}}))
    async with server.serving() as url:
        taken = await ask(Place("detection", "ids"), url, speaks=None)
    assert (taken.outcome, len(server.asked)) == ("retryable", 1)
