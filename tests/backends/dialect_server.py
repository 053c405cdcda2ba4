"""The embedded models behind servers that do not know token ids.

`python -m tests.backends.dialect_server embedded:large text` serves `/completions` with text alone;
`continue`, `prefix`, `partial`, `resume` and `plain` serve chats. With --grammars it heeds those
in llama.cpp's notation. Chats with --forms heed `response_format` and `tool_choice`, but for as
many requests as --misfits=2 says, and with --structured grammars as vLLM takes them. With --hides
no control token is shown. Events hold a few characters each, never tokens. With --names `text` is
as llama.cpp: it takes ids too, and an event is of a token that ends no half character, whose id is
in its log probabilities; with --v1-only it has no path but OpenAI's. What a server of its kind
would not know, it refuses by name.
"""

import asyncio
import codecs
import random
import sys
from contextlib import aclosing
from dataclasses import replace

from aiohttp import web
from transformers.convert_slow_tokenizer import bytes_to_unicode

from splitreason_integrations import Sampling, blocking
from splitreason_integrations.backends.base import End, WriteOrder
from splitreason_integrations.backends.registry import load_model
from tests.backends.completions_server import Only
from tests.backends.dialect import serve, sse
from tests.backends.gbnf_reader import Grammar
from tests.backends.typed_chat import PARAMETERS, TypedChat, form_of

FINISHES = {End.STOP_TOKEN: "stop", End.LENGTH: "length"}
OPENAI = {"model", "max_tokens", "stream", "stream_options", "temperature", "top_p", "seed"}
KNOWN = {
    "text": OPENAI
    | {"prompt", "logit_bias", "logprobs", "top_k", "min_p", "repetition_penalty"}
    | {"skip_special_tokens"},
    "continue": OPENAI
    | {"messages", "tools", "tool_choice", "continue_final_message", "add_generation_prompt"}
    | {"skip_special_tokens", "logit_bias"},
    "prefix": OPENAI | {"messages", "tools", "tool_choice"},
    "partial": OPENAI | {"messages", "tools", "tool_choice"},
    "resume": OPENAI | {"messages", "tools", "tool_choice"},
    "plain": (OPENAI | {"messages", "max_completion_tokens"}) - {"max_tokens", "temperature"},
}
MARKING = ("prefix", "partial", "resume")
"""Dialects in which a field of the last message says that it is gone on with."""


class RefusedError(Exception):
    """The server does not take this."""


class Held:
    """A guide that holds a reply to a grammar in llama.cpp's notation."""

    def __init__(self, codec, text):
        self.grammar = Grammar(text)
        self.ends = set(codec.end_tokens)
        tokens = codec._tokenizer.convert_ids_to_tokens(range(len(codec._tokenizer)))
        in_bytes = {character: byte for byte, character in bytes_to_unicode().items()}
        self.words = [
            bytes(in_bytes[one] for one in token) if set(token) <= set(in_bytes) else token.encode()
            for token in tokens
        ]

    def restrict(self, logits, reply):
        text, begun = whole(b"".join(self.words[token] for token in reply))
        state = self.grammar.after(text)
        some = [t for t, word in enumerate(self.words) if self._may_come(t, begun + word, state)]
        return Only(some).restrict(logits, reply)

    def _may_come(self, token, word, state):
        if token in self.ends:
            return () in state
        try:
            text, begun = whole(word)
        except UnicodeDecodeError:
            return False
        after = self.grammar.after(text, state)
        return any(not begun or begins(stack, begun) for stack in after if stack or not begun)


def whole(raw):
    """Return the text of some bytes, and those of a character that has begun."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    return decoder.decode(raw), decoder.getstate()[0]


def begins(stack, begun):
    """Return whether a character that has begun may come."""
    kind, what = stack[0]
    return kind == "in" or what.encode().startswith(begun)


class TextModel:
    """A model of this package that is given text or messages, and answers in text."""

    def __init__(self, name, speaks, flags):
        self.model = blocking.run(lambda: load_model(name, role="large"))
        self.tokenizer = self.model.codec._tokenizer
        self.speaks = speaks
        self.flags = flags
        self.random = random.Random(7)
        misfits = next((one[10:] for one in flags if one.startswith("--misfits=")), "0")
        self.typed = TypedChat(self.model, int(misfits)) if "--forms" in flags else None

    def check(self, body):
        known = KNOWN[self.speaks] | ({"grammar"} if "--grammars" in self.flags else set())
        known |= PARAMETERS if self.typed else set()
        known |= {"structured_outputs"} if "--structured" in self.flags else set()
        known |= {"post_sampling_probs"} if "--names" in self.flags else set()
        unknown = sorted(set(body) - known)
        if unknown:
            instead = " Use 'max_completion_tokens' instead." if "max_tokens" in unknown else ""
            raise RefusedError(f"Unrecognized request arguments supplied: {unknown[0]}.{instead}")

    def ids(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def chat(self, body):
        """Return the ids of a conversation, and whether its last message is gone on with."""
        messages = body["messages"]
        last, goes_on = messages[-1], body.get("continue_final_message", False)
        if self.speaks in MARKING:
            goes_on = last.get(self.speaks, False)
        if last["role"] == "assistant" and self.speaks == "plain":
            raise RefusedError("the last message must be from the user")
        text = self.tokenizer.apply_chat_template(
            [{k: v for k, v in m.items() if k not in MARKING} for m in messages],
            tools=body.get("tools"),
            tokenize=False,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
        )
        return self.ids(text), last["content"] if goes_on else ""

    def next_step(self, body):
        """Return the ids of what an obedient model would go on with."""
        asked = body["messages"][-1]["content"]
        question, dashes, more = asked.partition("----------\n")
        if not dashes:
            return self.chat(body)[0]
        begun = more.rpartition("\n----------")[0]
        question = question.rpartition("\n\n")[0] if "\n\n" in question else question
        messages = [*body["messages"][:-1], {"role": "user", "content": question}]
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return self.ids(text + begun)

    async def text_of(self, prompt, body):
        """Yield text and how it ends, as the model's tokens come."""
        codec, order = self.model.codec, self.order(body)
        session, text = self.model.open(prompt), codec.text_stream(after=prompt[-6:])
        try:
            async with aclosing(session.write(order)) as writing:
                async for written in writing:
                    ids = [one for one in written.token_ids if not self.hides(one)]
                    yield "".join(map(text.push, ids)), FINISHES.get(written.end)
        finally:
            session.close()

    def hides(self, token):
        return "--hides" in self.flags and self.model.codec.is_control(token)

    def order(self, body):
        codec = self.model.codec
        ends = codec.end_tokens
        if self.speaks == "plain" and "----------\n" in body["messages"][-1]["content"]:
            # Whoever is asked for a step does not end the reasoning.
            ends |= {codec.control_token("</think>")}
        return WriteOrder(
            max_tokens=body.get("max_tokens") or body["max_completion_tokens"],
            sampling=Sampling(body.get("temperature", 0.0), body.get("top_p"), None, None),
            seed=body.get("seed", 0),
            stream=1,
            stop_tokens=ends,
            forbidden=tuple(int(t) for t, bias in body.get("logit_bias", {}).items() if bias < 0),
            guide=self.held(body),
        )

    def held(self, body):
        favoured = [int(token) for token, bias in body.get("logit_bias", {}).items() if bias > 0]
        if favoured:
            return Only(favoured)
        return Held(self.model.codec, body["grammar"]) if body.get("grammar") else None

    async def chopped(self, texts):
        """Yield the same text, cut anywhere."""
        held = ""
        async for text, finish in texts:
            held += text
            while len(held) > 5 or (finish and held):
                at = self.random.randint(1, 5)
                now, held = held[:at], held[at:]
                yield now, None
            if finish:
                yield "", finish

    async def named(self, prompt, body):
        """Yield the text that a token ends, how all ends, and the token as llama.cpp names it."""
        text, ends = self.model.codec.text_stream(after=prompt[-6:]), self.model.codec.end_tokens
        async for token, top in self.tokens(prompt, body):
            said = "" if token in ends else text.push(token)
            if text.complete:
                yield said, None, top
            if token in ends:
                yield "", "stop", None
                return
        yield "", "length", None

    async def tokens(self, prompt, body):
        """Yield each token, an end included, with what is said of it."""
        written, order = [], replace(self.order(body), max_tokens=1)
        for _ in range(body["max_tokens"]):
            session = self.model.open(prompt, written)
            (token,) = [one async for part in session.write(order) for one in part.tokens]
            session.close()
            yield token, self.named_top([*prompt, *written], token, body.get("logprobs", 1))
            written.append(token)
            if token in order.stop_tokens:
                return

    async def unstreamed(self, body):
        """Return a whole answer in llama.cpp's own form."""
        codec, known, prompt = self.model.codec, [], body["prompt"]
        prompt = self.ids(prompt) if isinstance(prompt, str) else prompt
        stream, text = codec.text_stream(after=prompt[-6:]), ""
        found = [one async for one in self.tokens(prompt, body)]
        for token, top in found:
            text += "" if token in codec.end_tokens else stream.push(token)
            known += top["content"] if stream.complete else []
        ends = found[-1][0] in codec.end_tokens
        answer = {"content": text, "tokens": [token for token, _ in found]}
        if known:
            answer["completion_probabilities"] = known
        return answer | {"stop_type": "eos" if ends else "limit"}

    def named_top(self, prompt, token, count):
        # llama.cpp adds in float32, so that small summands are lost behind a large one.
        logits = self.model.forward(prompt, self.model.new_cache(), last=True)[-1].float()
        powers = (logits - logits.max()).exp()
        chances = (powers / float(powers.numpy().cumsum(dtype="float32")[-1])).log()
        listed = [
            {"id": one, "token": "", "logprob": float(chances[one])}
            for one in (token, *chances.topk(count).indices.tolist())
        ]
        return {"content": [{**listed[0], "top_logprobs": listed[1:]}]}

    def allowed_top(self, prompt, body):
        """Return the most probable tokens among those that no bias rules out."""
        logits = self.model.forward(prompt, self.model.new_cache(), last=True)[-1].float()
        logits[[int(token) for token in body["logit_bias"]]] -= 100
        top = logits.softmax(-1).topk(body["logprobs"])
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        listed = [{"id": token, "token": "", "prob": chance} for token, chance in pairs]
        return {"content": [{**listed[0], "top_probs": listed}]}

    def chances(self, prompt):
        logits = self.model.forward(prompt, self.model.new_cache(), last=True)[-1]
        return logits.float().log_softmax(-1)

    def likeliest(self, prompt, token=None, count=5):
        """Return the most probable next tokens as their text, with their log probabilities."""
        if "--names" in self.flags:
            return self.named_top(prompt, token or int(self.chances(prompt).argmax()), count)
        top = self.chances(prompt).topk(5)
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        return {"top_logprobs": [{self.model.codec.decode([one]): value for one, value in pairs}]}


def usage(prompt, said):
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": said}}


class Answer:
    """One answer on its way."""

    def __init__(self, request, body):
        self.request, self.body = request, body
        self.model = request.app["model"]
        self.response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})

    async def send(self, text, finish, *, index=0, top=None):
        delta = {"text": text} if "prompt" in self.body else {"delta": {"content": text}}
        logprobs = {"logprobs": top} if top else {}
        choice = {"index": index, "finish_reason": finish, **delta, **logprobs}
        await self.response.write(sse({"choices": [choice]}))

    async def typed(self, prompt, grammar):
        await self.response.prepare(self.request)
        async for delta in self.model.typed.deltas(prompt, self.body, grammar):
            choice = {"index": 0, "finish_reason": None, "delta": delta}
            await self.response.write(sse({"choices": [choice]}))
        await self.send("", "stop")
        await self.response.write(sse(usage(len(prompt), 9)))
        await self.response.write(sse("[DONE]"))
        return self.response

    async def answer(self, prompt, begun=""):
        if self.model.typed and (grammar := form_of(self.body, self.model.model.codec)):
            return await self.typed(prompt, grammar)
        await self.response.prepare(self.request)
        if begun and "--echo" in self.model.flags:
            await self.send(begun, None)
        favoured = [t for t, bias in self.body.get("logit_bias", {}).items() if bias > 0]
        if favoured:
            token = int(favoured[0])
            top = self.model.likeliest(prompt, token)
            await self.send(self.model.model.codec.decode([token]), None, top=top)
            await self.send("", "length")
        elif "--names" in self.model.flags and "logprobs" in self.body:
            async for text, finish, top in self.model.named(prompt, self.body):
                await self.send(text, finish, top=top)
        else:
            texts = self.model.text_of(prompt, self.body)
            async with aclosing(self.model.chopped(texts)) as pieces:
                async for text, finish in pieces:
                    await self.send(text, finish)
        if self.body.get("stream_options"):
            await self.response.write(sse(usage(len(prompt), self.body.get("max_tokens", 0))))
        await self.response.write(sse("[DONE]"))
        return self.response

    async def score(self):
        await self.response.prepare(self.request)
        for index, said in enumerate(self.body["prompt"]):
            prompt = self.model.ids(said) if isinstance(said, str) else said
            if self.body.get("post_sampling_probs"):
                top = self.model.allowed_top(prompt, self.body)
            else:
                top = self.model.likeliest(prompt, count=self.body["logprobs"])
            await self.send("x", "length", index=index, top=top)
        await self.response.write(sse("[DONE]"))
        return self.response


async def answered(request):
    model, body = request.app["model"], await request.json()
    request.app["bodies"].append(body)
    is_chat = request.path.endswith("/chat/completions")
    if is_chat is (model.speaks == "text"):
        return web.json_response({"error": {"message": "no such route"}}, status=404)
    try:
        model.check(body)
        answer = Answer(request, body)
        if is_chat and model.speaks == "plain":
            model.chat(body)
            return await answer.answer(model.next_step(body))
        if is_chat:
            return await answer.answer(*model.chat(body))
        prompt, names = body["prompt"], "--names" in model.flags
        if isinstance(prompt, list) and isinstance(prompt[0], (str, list) if names else str):
            return await answer.score()
        if isinstance(prompt, str) or not names:
            if not isinstance(prompt, str):
                raise RefusedError("prompt must be a string")
            prompt = model.ids(prompt)
        return await answer.answer(prompt)
    except RefusedError as refusal:
        return web.json_response({"error": {"message": str(refusal)}}, status=400)


async def unstreamed(request):
    model, body = request.app["model"], await request.json()
    request.app["bodies"].append(body)
    if "--names" not in model.flags or "--v1-only" in model.flags:
        return web.json_response({"error": {"message": "no such route"}}, status=404)
    return web.json_response(await model.unstreamed(body))


async def state(request):
    model = request.app["model"].model
    bodies = request.app["bodies"]
    return web.json_response({"bodies": bodies, "open_sessions": model.open_sessions})


def application(model):
    app = web.Application(client_max_size=1 << 24)
    app["model"], app["bodies"] = model, []
    app.add_routes(
        [
            web.post("/v1/completions", answered),
            web.post("/completion", unstreamed),
            web.post("/v1/chat/completions", answered),
            web.get("/state", state),
        ]
    )
    return app


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    served = TextModel(sys.argv[1], sys.argv[2], sys.argv[3:])
    asyncio.run(serve(application(served)))
