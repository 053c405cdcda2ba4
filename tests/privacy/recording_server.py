"""A server in this process that keeps the bodies of requests, in the three ways of asking."""

from contextlib import asynccontextmanager

from aiohttp import web

from tests.backends.dialect import completion_event, serving_here, sse


class RecordingServer:
    """Answers a few words; `bodies` are what it was sent, as text."""

    def __init__(self, codec):
        self.codec = codec
        self.bodies = []
        self.url = ""

    async def complete(self, request):
        body = await request.json()
        prompt = body.get("prompt")
        decoded = self.codec.decode(prompt) if isinstance(prompt, list) else ""
        self.bodies.append(f"{await request.text()}\n{decoded}")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        text = " so it is."
        if "messages" in body:
            choice = {"index": 0, "finish_reason": "stop", "delta": {"content": text}}
            event = {"choices": [choice]}
        elif isinstance(prompt, list):
            ids = self.codec.encode(text)
            end = min(self.codec.end_tokens)
            event = completion_event(ids, text, finish="stop", stop=end, prompt=prompt)
            event["choices"][0]["token_ids"] = [*ids, end]
        else:
            event = {"choices": [{"index": 0, "finish_reason": "stop", "text": text}]}
        await response.write(sse(event) + sse("[DONE]"))
        return response


@asynccontextmanager
async def recording_server(codec):
    """Serve on a free port while the block runs."""
    server = RecordingServer(codec)
    app = web.Application(client_max_size=1 << 26)
    paths = ("/v1/completions", "/v1/chat/completions")
    app.add_routes([web.post(path, server.complete) for path in paths])
    async with serving_here(app) as server.url:
        yield server
