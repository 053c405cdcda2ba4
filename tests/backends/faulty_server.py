"""A completions server that fails on request: `python -m tests.backends.faulty_server [port]`.

It keeps nothing of a model: the name that a request gives is JSON with the script to write, the
faults to meet in turn and a number to count by. Where the script goes on is read off the prompt,
be it token ids, a text or messages; the two latter are answered in text, and tags are text there.
"""

import asyncio
import json
import re
import sys
from collections import Counter

from aiohttp import web

from tests.backends.dialect import completion_event, serve, sse

FOREVER_S = 3600
TAG = "</bigmodel>"
DASHES = "----------"
LONG_LINE_BYTES = 1 << 21
HUGE_BODY_BYTES = 1 << 22


class Wire:
    """One answer on its way, on which something may go wrong at a byte of it."""

    def __init__(self, request, fault):
        self.request = request
        self.fault = fault
        self.left = fault.get("byte", 1 << 60)
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})

    async def open(self):
        await self.response.prepare(self.request)

    async def send(self, data):
        now, later = data[: self.left], data[self.left :]
        self.left -= len(now)
        await self.response.write(now)
        if later or self.left == 0:
            await self.break_off()
        await asyncio.sleep(self.fault.get("slow_s", 0))

    async def break_off(self):
        if self.fault["kind"] == "hang":
            await asyncio.sleep(FOREVER_S)
        if self.fault["kind"] == "abort":
            self.request.transport.abort()
        else:
            self.request.transport.close()
        raise asyncio.CancelledError


def place_in(script, prompt):
    """Return where a script goes on behind a prompt; what is lost or doubled is an error."""
    ids = [token for token, _ in script]
    tag = ids[-1]
    own = [token for token in prompt if token in ids and token != tag]
    at = 0
    for token in own:
        at += ids[at] == tag
        if ids[at] != token:
            return None
        at += 1
    closed = bool(own) and tag in prompt[len(prompt) - prompt[::-1].index(own[-1]) :]
    return at + (closed and at < len(ids) and ids[at] == tag)


def read_ids(script, body):
    """Return a prompt that is text as ids: those of the script that it has, the tag among them."""
    tag = script[-1][0]
    known = {said: token for token, said in script if said} | {TAG: tag}
    text = body.get("prompt") or body["messages"][-1]["content"]
    text = text.split(DASHES)[1] if DASHES in text else text
    return [known[word] for word in re.findall(rf"{TAG}| [a-z]+", text) if word in known]


def as_text(event, script, *, chat):
    """Return an event without token ids; the tag is written out in it."""
    (choice,) = event["choices"]
    said = dict(map(tuple, script)) | {script[-1][0]: TAG}
    named = [token for token in choice["token_ids"] if token in said]
    ended = len(named) < len(choice["token_ids"])
    text = "".join(said[token] for token in named)
    finish = "stop" if ended else choice["finish_reason"]
    how = {"delta": {"content": text}} if chat else {"text": text}
    return {"choices": [{"index": 0, "finish_reason": finish, **how}]}


def answers(script, at, body, grouping):
    """Return the events of a sound answer: some tokens of the script each, up to a stop token."""
    events, left, prompt = [], body["max_tokens"], body["prompt"]
    while True:
        ids, text, finish, stop = [], "", None, None
        for _ in range(grouping[len(events) % len(grouping)]):
            token, said = script[at] if at < len(script) else (2, "")
            at += 1
            ids.append(token)
            if token in body.get("stop_token_ids", ()):
                finish, stop = "stop", token
                break
            text += said
            left -= 1
            if left == 0:
                finish = "length"
                break
        events.append(completion_event(ids, text, finish=finish, stop=stop, prompt=prompt))
        prompt = None
        if finish:
            return events


CHANGES = {
    "ids": lambda token: {"token_ids": [token], "text": " zebra"},
    "outside": lambda token: {"token_ids": [5000]},
    "types": lambda token: {"token_ids": "12"},
    "many": lambda token: {"token_ids": [token] * 1000, "text": ""},
    "finish": lambda token: {"finish_reason": "abort"},
    "short": lambda token: {"finish_reason": "length", "stop_reason": None},
}
TEXT_CHANGES = {
    "types": lambda _: {"text": 7, "delta": {"content": 7}},
    "finish": CHANGES["finish"],
    "short": lambda _: {"finish_reason": "length", "text": "", "delta": {"content": ""}},
}
INSTEAD = {
    "error": {"error": {"message": "out of memory", "code": 500}},
    "refusal": {"error": {"message": "bad request", "code": 400}},
    "no ids": {"choices": [{"text": " zebra", "index": 0}]},
    "no json": '{"choices": [{"text',
    "deep": "[" * 50_000,
    "done": "[DONE]",
    "long": "x" * LONG_LINE_BYTES,
}
"""What an event is changed to by its first token, and what may are put in its place."""


def spoilt(event, how, token):
    if how in INSTEAD:
        return INSTEAD[how]
    changes = CHANGES if "token_ids" in event["choices"][0] else TEXT_CHANGES
    return {"choices": [{**event["choices"][0], **changes[how](token)}]}


def ends(event):
    return event["choices"][0]["finish_reason"] is not None


async def refuse(request, fault):
    """Answer without a stream."""
    body = fault["body"] * (HUGE_BODY_BYTES if fault.get("huge") else 1)
    headers = fault.get("headers", {})
    return web.Response(status=fault["status"], text=body, headers=headers)


async def complete(request):
    app, body = request.app, await request.json()
    asked = json.loads(body["model"])
    number = app["calls"][asked["id"]]
    app["calls"][asked["id"]] += 1
    fault = asked["faults"][number] if number < len(asked["faults"]) else {"kind": "none"}
    if fault.get("port", request.url.port) != request.url.port:
        fault = {"kind": "none"}
    app["active"].append(asked["id"])
    try:
        return await answer(request, body, asked, fault)
    except ConnectionResetError:
        raise asyncio.CancelledError from None
    except Exception as error:
        app["anomalies"].append(repr(error))
        raise
    finally:
        app["active"].remove(asked["id"])


async def answer(request, body, asked, fault):
    if fault["kind"] == "status":
        return await refuse(request, fault)
    wire = Wire(request, fault)
    if fault.get("byte") == -1:
        await wire.break_off()
    chat, script = "messages" in body, asked["script"]
    is_text = chat or isinstance(body["prompt"], str)
    prompt = read_ids(script, body) if is_text else body["prompt"]
    at = place_in(script, prompt)
    if at is None:
        request.app["anomalies"].append(asked["id"])
        return web.Response(status=400, text="tokens were lost or doubled")
    await wire.open()
    body = {**body, "prompt": prompt}
    events = answers(script, at, body, asked["grouping"])
    if is_text:
        events = [as_text(event, script, chat=chat) for event in events]
        events = events[: 1 + next((n for n, e in enumerate(events) if ends(e)), len(events))]
    for index, event in enumerate(events):
        if fault["kind"] == "spoil" and index == fault["event"] % len(events):
            await wire.send(sse(spoilt(event, fault["how"], asked["script"][0][0])))
            if fault["how"] == "done":
                return wire.response
            continue
        if fault["kind"] == "chatter":
            while True:
                await wire.send(b": still here\n\n" * 1000)
        await wire.send(sse(event))
    await wire.send(sse("[DONE]"))
    return wire.response


async def models(request):
    """List models for ever: in a rush, or a little at a time."""
    response = web.StreamResponse()
    await response.prepare(request)
    hurries = "rush" in request.path
    while True:
        await response.write(b" " * (1 << 16) if hurries else b" ")
        await asyncio.sleep(0 if hurries else 0.05)


async def state(request):
    app = request.app
    return web.json_response({"active": app["active"], "anomalies": app["anomalies"]})


def application():
    app = web.Application(client_max_size=1 << 24)
    app["calls"], app["active"], app["anomalies"] = Counter(), [], []
    app.add_routes(
        [
            web.post("/v1/completions", complete),
            web.post("/v1/chat/completions", complete),
            web.get("/{way}/models", models),
            web.get("/state", state),
        ]
    )
    return app


if __name__ == "__main__":
    asyncio.run(serve(application(), port=int(sys.argv[1]) if sys.argv[1:] else 0))
