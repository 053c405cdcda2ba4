"""Chats whose prompts are rendered by real templates, the way that vLLM and SGLang do it.

`python -m tests.backends.template_server` serves every template: the model `vllm:qwen3` is Qwen3's
on vLLM. A reply is always the same; `/state` has the prompts as the model would read them.

vLLM has the template render the last message, and cuts the text behind its content. SGLang renders
the conversation before it, with the beginning of a reply, and puts the content behind that; tools
that may not be called are not shown. Both take variables of the template.
"""

import asyncio
from functools import cache

import jinja2
from aiohttp import web

from tests.backends.dialect import serve, sse
from tests.text.templates import tokenizer

SAID = " I am fine."


class RefusedError(Exception):
    """The server does not take this."""


@cache
def known(name):
    return tokenizer(name)


def rendered(body):
    """Return the text of a request's prompt."""
    how, _, name = body["model"].partition(":")
    messages, tools = body["messages"], body.get("tools")
    goes_on = body.get("continue_final_message", False)
    if not isinstance(goes_on, bool):
        raise RefusedError("continue_final_message: Input should be a valid boolean")
    begun = ""
    if how == "sglang":
        tools = None if body.get("tool_choice") == "none" else tools
        if goes_on:
            *messages, last = messages
            begun, goes_on = last["content"], False
    try:
        text = known(name).apply_chat_template(
            messages,
            tools=tools,
            tokenize=False,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
            **body.get("chat_template_kwargs") or {},
        )
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise RefusedError(str(error)) from error
    return text + begun


async def answered(request):
    body = await request.json()
    try:
        prompt = rendered(body)
    except RefusedError as refusal:
        return web.json_response({"error": {"message": str(refusal)}}, status=400)
    request.app["asked"].append({"prompt": prompt, "body": body})
    tokens = len(known(body["model"].partition(":")[2]).encode(prompt, add_special_tokens=False))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    choice = {"index": 0, "delta": {"content": SAID}, "finish_reason": "stop"}
    await response.write(sse({"choices": [choice]}))
    usage = {"prompt_tokens": tokens, "completion_tokens": 4}
    await response.write(sse({"choices": [], "usage": usage}))
    await response.write(sse("[DONE]"))
    return response


async def refused(request):
    return web.json_response({"error": {"message": "no such route"}}, status=404)


async def state(request):
    return web.json_response(request.app["asked"])


def application():
    app = web.Application()
    app["asked"] = []
    app.add_routes(
        [
            web.post("/v1/chat/completions", answered),
            web.post("/v1/completions", refused),
            web.get("/state", state),
        ]
    )
    return app


if __name__ == "__main__":
    asyncio.run(serve(application()))
