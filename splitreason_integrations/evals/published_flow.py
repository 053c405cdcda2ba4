"""Baseline: the published method's flow over two servers (arXiv 2504.16379, reference code).

The large model, which does not know the tags, is asked for one chunk at a time. Then the small
model continues every prefix of the chunk by a few tokens, to find the prefix after which it would
close the span. Every request sends the whole text. This is an independent implementation of that
description without one mistake of the reference, which counts a stream event as a token; under load
an event holds several.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.wire import Question, read_part
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.records import Message
from splitreason_integrations.text.tags import CLOSE, OPEN, tags_of

CHUNK_TOKENS = 32
PROBE_TOKENS = 6
PROMPTS_A_PROBE = 8
_ENDLESS = "ignore_eos"


@dataclass(slots=True)
class FlowReply:
    """A reply and what it took.

    Attributes:
        pieces: Texts of the tokens and of the tags, in order.
        tokens: Generated tokens.
        large_tokens: Tokens written by the large model.
        requests: Requests in all.
        span_requests: Requests made for spans.

    """

    pieces: list[str] = field(default_factory=list)
    tokens: int = 0
    large_tokens: int = 0
    requests: int = 0
    span_requests: int = 0

    @property
    def text(self) -> str:
        """The reply without the tags."""
        return "".join(piece for piece in self.pieces if piece not in (OPEN, CLOSE))


class PublishedFlow:
    """The baseline's pair of models.

    Raises:
        ConfigurationError: The two models do not share a tokenizer that contains the tags.

    """

    def __init__(self, small: ServerModel, large: ServerModel) -> None:
        tags = tags_of(small.codec, as_text=False)
        if small.codec.fingerprint != large.codec.fingerprint or not tags:
            raise ConfigurationError(
                "the published flow needs two models that share a tokenizer which contains the "
                "tags, such as the bundled pair: serve both models of such a pair"
            )
        self._small = small
        self._large = large
        self._decode = small.codec.decode

    async def answer(self, messages: Sequence[Message], *, max_tokens: int) -> FlowReply:
        """Answer a conversation."""
        prompt, flowed = self.prompt(messages), FlowReply()
        while (left := max_tokens - flowed.tokens) > 0:
            pieces = await self._write(self._small, prompt, flowed, left, {"stop": [OPEN]})
            flowed.requests += 1
            opens = pieces[-1:] == [OPEN]
            self._append(flowed, pieces[:-1] if opens else pieces)
            if not opens:
                break
            await self.span(prompt, flowed)
        return flowed

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return the text of a conversation after the chat template."""
        return self._decode(self._small.codec.render(messages, None).token_ids)

    async def span(self, prompt: str, flowed: FlowReply, *, held_open: int | None = None) -> None:
        """Have the large model write a span; `held_open` fixes its length and ignores every end."""
        flowed.pieces.append(OPEN)
        more = {} if held_open is None else {_ENDLESS: True}
        written = 0
        while held_open is None or written < held_open:
            chunk = await self._write(self._large, prompt, flowed, CHUNK_TOKENS, more)
            end, probes = await self._probed(prompt + "".join(flowed.pieces), chunk)
            kept = chunk if end is None or held_open is not None else chunk[:end]
            self._append(flowed, kept)
            flowed.large_tokens += len(kept)
            written += len(kept)
            flowed.span_requests += 1 + probes
            flowed.requests += 1 + probes
            if held_open is None and (end is not None or len(chunk) < CHUNK_TOKENS):
                break
        flowed.pieces.append(CLOSE)

    def _append(self, flowed: FlowReply, pieces: Sequence[str]) -> None:
        flowed.pieces += pieces
        flowed.tokens += len(pieces)

    async def _write(
        self,
        model: ServerModel,
        prompt: str,
        flowed: FlowReply,
        tokens: int,
        more: dict[str, Any],
    ) -> list[str]:
        """Return the texts of the generated tokens; the last one may be an open tag."""
        body: dict[str, Any] = {
            "model": model.model,
            "prompt": prompt + "".join(flowed.pieces),
            "max_tokens": tokens,
            "stream": True,
            "return_token_ids": True,
            "temperature": 0.0,
            "skip_special_tokens": False,
            "add_special_tokens": False,
            "include_stop_str_in_output": True,
            **more,
        }
        question = Question("/completions", body, read_part, len(body["prompt"]), tokens)
        call, pieces = Call(model.replicas.choose(), question), list[str]()
        stream, ends = model.codec.text_stream(), model.codec.end_tokens
        try:
            while (part := await call.next()) is not None:
                kept = [
                    one for one in part.token_ids or () if more.get(_ENDLESS) or one not in ends
                ]
                pieces += map(stream.push, kept)
            await call.settle()
        finally:
            await call.ended()
        return pieces

    async def _probed(self, before: str, chunk: Sequence[str]) -> tuple[int | None, int]:
        """Return after how many tokens the small model would close, and the requests this took."""
        found, requests = None, 0
        for start in range(0, len(chunk), PROMPTS_A_PROBE):
            places = range(start + 1, min(start + PROMPTS_A_PROBE, len(chunk)) + 1)
            begun = await self._begun([before + "".join(chunk[:at]) for at in places])
            requests += 1
            closing = [at for at, text in zip(places, begun, strict=True) if text.startswith(CLOSE)]
            found = found or (closing[0] if closing else None)
        return found, requests

    async def _begun(self, prompts: Sequence[str]) -> list[str]:
        """Return a few tokens of the small model's continuation of each prompt."""
        body = {
            "model": self._small.model,
            "prompt": list(prompts),
            "max_tokens": PROBE_TOKENS,
            "temperature": 0.0,
            "skip_special_tokens": False,
            "add_special_tokens": False,
        }
        server = self._small.replicas.choose().server
        async with server.post("/completions", body) as response:
            choices = json.loads(await response.read())["choices"]
        begun = {choice["index"]: str(choice["text"]) for choice in choices}
        return [begun[index] for index in range(len(prompts))]
