"""A completions server in vLLM's dialect, run as a process of its own.

`python -m tests.backends.completions_server embedded:large` serves a model of this package. It
prints its port, and ends when its standard input does. With --no-grammars it refuses them, with
--no-access requests that have one, for a reason of another kind, with
--no-forms it heeds neither them nor lists of tokens, with --breaks it breaks off within answers
that are held to a form.
"""

import asyncio
import math
import random
import sys
from collections import deque
from contextlib import aclosing

import torch
from aiohttp import web

from splitreason_integrations import Sampling, blocking
from splitreason_integrations.backends.base import End, Verdict, WriteOrder
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.embedded import path
from splitreason_integrations.text.grammar import Guide
from splitreason_integrations.text.tags import Tags
from tests.backends.dialect import completion_event, serve, sse

NOTED = ("prompt", "max_tokens", "structured_outputs", "allowed_token_ids")
KEY = "the-servers-key"
FINISHES = {End.STOP_TOKEN: "stop", End.LENGTH: "length"}


class Noting:
    """A watch that keeps everything and notes how probable tokens were: as vLLM, chosen ones."""

    wants_entropy = False
    wants_confidence = True

    def __init__(self, token):
        self.probability_of = token
        self.top = deque()

    def __call__(self, token_id, *, index, probability, entropy, confidence):
        self.top.append(shown({self.probability_of: probability, token_id: confidence}))
        return Verdict.KEEP

    def take(self, count):
        """Return what was noted at the next tokens; the model is writing further ones."""
        return [self.top.popleft() for _ in range(count)]


class Spread:
    """Computes the likeliest tokens at each place of a sequence, as vLLM gives them."""

    def __init__(self, model, prompt, likeliest):
        self.model, self.ids, self.likeliest = model, list(prompt), likeliest

    def next(self, ids):
        """Return what is likeliest at the places of the next tokens."""
        logits = self.model.forward([*self.ids, *ids], self.model.new_cache(), last=0)
        found = []
        for at, token in enumerate(ids, len(self.ids) - 1):
            chances = logits[at].float().softmax(-1)
            top = [*chances.topk(self.likeliest).indices.tolist(), token]
            found.append(shown({one: float(chances[one]) for one in top}))
        self.ids += ids
        return found


def shown(probabilities):
    return {
        f"token_id:{token}": math.log(max(one, 1e-30))
        for token, one in probabilities.items()
        if token is not None
    }


class Only:
    """A guide that lets some tokens come."""

    def __init__(self, token_ids):
        self.token_ids = token_ids

    def restrict(self, logits, reply):
        return torch.full_like(logits, -math.inf).index_copy(
            0, torch.tensor(self.token_ids), logits[self.token_ids]
        )


def held_to(body, codec):
    """Return what holds the answer to the form that a request asks for, as vLLM does."""
    if body.get("allowed_token_ids"):
        return Only(body["allowed_token_ids"])
    form = body.get("structured_outputs")
    return form and Guide(codec, form["grammar"], Tags(), reasons=False)


class RealModel:
    """Answers with what a model of this package writes."""

    def __init__(self, name, *, shows_root):
        self.model = blocking.run(lambda: load_model(name, role="large"))
        self.root = str(path(name.partition(":")[2])) if shows_root else None

    def facts(self, name):
        length = self.model.context_tokens
        return {"id": name, "object": "model", "max_model_len": length, "root": self.root}

    def events(self, body):
        if isinstance(body["prompt"][0], list):
            return self.scores(body)
        return self.written(body)

    async def scores(self, body):
        for index, prompt in enumerate(body["prompt"]):
            logits = self.model.forward(prompt, self.model.new_cache(), last=1)[-1].float()
            chances, allowed = logits.softmax(-1), logits.clone()
            allowed[[int(token) for token in body.get("logit_bias", {})]] -= 100
            token = int(allowed.argmax())
            asked = body.get("logprob_token_ids") or []
            if not asked and body.get("logprobs"):
                asked = chances.topk(body["logprobs"]).indices.tolist()
            top = [shown({one: float(chances[one]) for one in (*asked, token)})]
            ids = [token] if body.get("return_token_ids") else None
            yield completion_event(ids, "x", finish="length", top=top, index=index)

    async def written(self, body):
        prompt, codec = body["prompt"], self.model.codec
        chosen, likeliest = body.get("logprob_token_ids"), body.get("logprobs")
        noting = Noting(*chosen) if chosen else None
        spread = None if chosen or not likeliest else Spread(self.model, prompt, likeliest)
        order = WriteOrder(
            max_tokens=body["max_tokens"],
            sampling=Sampling(body["temperature"], body["top_p"], None, body["min_p"]),
            seed=body["seed"],
            stream=1,
            stop_tokens=frozenset(body["stop_token_ids"]),
            forbidden=tuple(int(token) for token in body.get("logit_bias", {})),
            watch=noting,
            guide=held_to(body, codec),
        )
        session, text = self.model.open(prompt), codec.text_stream(after=prompt[-6:])
        first = prompt
        try:
            async with aclosing(session.write(order)) as writing:
                async for written in writing:
                    ids = list(written.token_ids)
                    said = "".join(text.push(token) for token in ids)
                    own_end = written.stop_token in codec.end_tokens
                    if written.stop_token is not None:
                        ids.append(written.stop_token)
                    yield completion_event(
                        ids,
                        said,
                        finish=FINISHES.get(written.end),
                        stop=None if own_end else written.stop_token,
                        prompt=first,
                        top=noting.take(len(ids)) if noting else spread and spread.next(ids),
                    )
                    first = None
        finally:
            session.close()


async def complete(request):
    if request.app["key"] and request.headers.get("Authorization") != f"Bearer {KEY}":
        said = f"wrong key {request.headers.get('Authorization')}"
        return web.json_response({"error": {"message": said, "code": 401}}, status=401)
    body, flags = await request.json(), request.app["flags"]
    is_held = bool(body.get("structured_outputs") or body.get("allowed_token_ids"))
    if body.get("structured_outputs") and "--no-grammars" in flags:
        said = "structured_outputs is not supported"
        return web.json_response({"error": {"message": said, "code": 400}}, status=400)
    if body.get("structured_outputs") and "--no-access" in flags:
        return web.json_response({"error": {"message": "no access", "code": 403}}, status=403)
    if "--no-forms" in flags:
        body = {one: value for one, value in body.items() if one not in NOTED[2:]}
    left = request.app["chance"].randint(0, 12) if is_held and "--breaks" in flags else math.inf
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    request.app["requests"].append({one: body.get(one) for one in NOTED})
    async with aclosing(request.app["model"].events(body)) as events:
        async for event in events:
            left -= 1
            if left < 0:
                request.transport.abort()
                raise asyncio.CancelledError
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


def application(model, flags):
    app = web.Application(client_max_size=1 << 24)
    app["model"], app["requests"], app["key"] = model, [], "--key" in flags
    app["flags"], app["chance"] = flags, random.Random(3)
    app.add_routes(
        [
            web.post("/v1/completions", complete),
            web.get("/v1/models", models),
            web.get("/state", state),
        ]
    )
    return app


if __name__ == "__main__":
    torch.set_num_threads(1)
    flags = sys.argv[2:]
    served = RealModel(sys.argv[1], shows_root="--root" in flags)
    asyncio.run(serve(application(served, flags)))
