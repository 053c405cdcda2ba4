"""A completions server in this process that keeps all it is sent, and quotes what it was asked."""

from contextlib import asynccontextmanager

from aiohttp import web

from splitreason_integrations.testing import embedded_codec
from tests.backends.dialect import completion_event, serving_here, sse

CODEC = embedded_codec()
OPEN, CLOSE = map(CODEC.control_token, ("<bigmodel>", "</bigmodel>"))


class QuotingServer:
    """What was `sent`, as the bodies of requests with their tokens as text."""

    def __init__(self):
        self.sent = []
        self.url = ""

    async def complete(self, request):
        body = await request.json()
        prompt = body["prompt"]
        text = CODEC.decode(prompt)
        self.sent.append(f"{await request.text()}\n{text}")
        asked = text.rpartition("<|im_start|>user\n")[2].partition("<|im_end|>")[0]
        script = [*CODEC.encode(f" They say: {asked} That is all."), CLOSE]
        written = len(prompt) - 1 - max(at for at, one in enumerate(prompt) if one == OPEN)
        ids = script[written:][: body["max_tokens"]] or [CLOSE]
        closed = ids[-1] == CLOSE
        shown = CODEC.decode([one for one in ids if one != CLOSE])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        event = completion_event(
            ids,
            shown,
            finish="stop" if closed else "length",
            stop=CLOSE if closed else None,
            prompt=prompt,
        )
        await response.write(sse(event) + sse("[DONE]"))
        return response


@asynccontextmanager
async def quoting_server():
    """Serve on a free port while the block runs."""
    server = QuotingServer()
    app = web.Application(client_max_size=1 << 24)
    app.add_routes([web.post("/v1/completions", server.complete)])
    async with serving_here(app) as server.url:
        yield server
