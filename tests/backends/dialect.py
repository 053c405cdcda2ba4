"""vLLM's way of streaming completions, and a server that ends with its standard input."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

from aiohttp import web


def completion_event(ids, text, *, finish=None, stop=None, prompt=None, top=None, index=0):
    choice = {
        "index": index,
        "text": text,
        "logprobs": top and {"top_logprobs": top},
        "finish_reason": finish,
        "stop_reason": stop,
        "prompt_token_ids": prompt,
        "token_ids": ids,
    }
    return {"id": "cmpl-1", "object": "text_completion", "created": 1, "choices": [choice]}


def sse(data):
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


@asynccontextmanager
async def serving_here(app):
    """Serve in this process, on a free port, while the block runs; give the address of the API."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def serve(app, *, port=0):
    """Serve on a port of this machine, a free one by default, until standard input ends."""
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, shutdown_timeout=0.1)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
