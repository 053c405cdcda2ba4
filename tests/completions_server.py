"""A completions server in vLLM's dialect, run as a process of its own.

`python -m tests.completions_server embedded:large` serves a model of this package. It prints its
port, and ends when its standard input does.
"""

import asyncio
import json
import sys
from contextlib import aclosing

from aiohttp import web

KEY = "the-servers-key"


def completion_event(ids, text, *, finish=None, stop=None, prompt=None):
    choice = {
        "index": 0,
        "text": text,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": stop,
        "prompt_token_ids": prompt,
        "token_ids": ids,
    }
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "choices": [choice]}


def sse(data):
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


class RealModel:
    """Answers with what a model of this package writes."""

    def __init__(self, name):
        from splitreason_integrations import blocking
        from splitreason_integrations.backends.registry import load_model

        self.model = blocking.run(lambda: load_model(name, role="large"))

    def facts(self, name):
        return {"id": name, "object": "model", "max_model_len": self.model.context_tokens}

    async def events(self, body):
        from splitreason_integrations.backends.base import End, WriteOrder
        from splitreason_integrations.sampling import Sampling

        prompt, codec = body["prompt"], self.model.codec
        order = WriteOrder(
            max_tokens=body["max_tokens"],
            sampling=Sampling(body["temperature"], body["top_p"], None, body["min_p"]),
            seed=body["seed"],
            stream=1,
            stop_tokens=frozenset(body["stop_token_ids"]),
            forbidden=tuple(int(token) for token in body.get("logit_bias", {})),
        )
        session, text = self.model.open(prompt), codec.text_stream(after=prompt[-6:])
        first = prompt
        try:
            async with aclosing(session.write(order)) as writing:
                async for written in writing:
                    ids = list(written.token_ids)
                    said = "".join(text.push(token) for token in ids)
                    finish = {End.STOP_TOKEN: "stop", End.LENGTH: "length"}.get(written.end)
                    own_end = written.stop_token in codec.end_tokens
                    if written.stop_token is not None:
                        ids.append(written.stop_token)
                    yield completion_event(
                        ids,
                        said,
                        finish=finish,
                        stop=None if own_end else written.stop_token,
                        prompt=first,
                    )
                    first = None
        finally:
            session.close()


async def complete(request):
    if request.app["key"] and request.headers.get("Authorization") != f"Bearer {KEY}":
        said = f"wrong key {request.headers.get('Authorization')}"
        return web.json_response({"error": {"message": said, "code": 401}}, status=401)
    body = await request.json()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    request.app["requests"].append(len(body["prompt"]))
    async with aclosing(request.app["model"].events(body)) as events:
        async for event in events:
            await response.write(sse(event))
    await response.write(sse("[DONE]"))
    return response


async def models(request):
    facts = request.app["model"].facts("large")
    return web.json_response({"object": "list", "data": [facts]})


async def state(request):
    model = request.app["model"].model
    return web.json_response(
        {"requests": request.app["requests"], "open_sessions": model.open_sessions}
    )


def application(model, *, key):
    app = web.Application(client_max_size=1 << 24)
    app["model"], app["requests"], app["key"] = model, [], key
    app.add_routes(
        [
            web.post("/v1/completions", complete),
            web.get("/v1/models", models),
            web.get("/state", state),
        ]
    )
    return app


async def serve(app, *, port=0):
    """Serve on a port of this machine, a free one by default, until standard input ends."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, shutdown_timeout=0.1)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    asyncio.run(serve(application(RealModel(sys.argv[1]), key="--key" in sys.argv)))
