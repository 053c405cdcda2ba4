"""The published method's way over two servers, as a baseline (arXiv 2504.16379, its reference).

The large model, which knows no tags there, is asked for a chunk at a time; then the small one
writes a few tokens from every prefix of the chunk, to see behind which it would close the span.
Every request sends all of the text. Written anew from that description, but for its mistakes: it
takes an event of a stream for a token, which under load it is not.
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
class Flowed:
    """A reply and what it took; `span_requests` are those of its spans alone."""

    pieces: list[str] = field(default_factory=list)
    tokens: int = 0
    large_tokens: int = 0
    requests: int = 0
    span_requests: int = 0

    @property
    def text(self) -> str:
        """The reply, without the tags."""
        return "".join(piece for piece in self.pieces if piece not in (OPEN, CLOSE))


class PublishedFlow:
    """The baseline's pair. Both models have to share their tokenizer, with the tags in it."""

    def __init__(self, small: ServerModel, large: ServerModel) -> None:
        marks = tags_of(small.codec, as_text=False)
        if small.codec.fingerprint != large.codec.fingerprint or not marks:
            raise ConfigurationError(
                "the published flow is written for two models that share a tokenizer with the "
                "tags, such as the bundled pair: serve both models of one"
            )
        self._small = small
        self._large = large
        self._decode = small.codec.decode

    async def answer(self, messages: Sequence[Message], *, max_tokens: int) -> Flowed:
        """Return the reply to a conversation."""
        prompt, flowed = self.prompt(messages), Flowed()
        while (left := max_tokens - flowed.tokens) > 0:
            pieces = await self._write(self._small, prompt, flowed, left, {"stop": [OPEN]})
            flowed.requests += 1
            opens = pieces[-1:] == [OPEN]
            self._keep(flowed, pieces[:-1] if opens else pieces)
            if not opens:
                break
            await self.span(prompt, flowed)
        return flowed

    def prompt(self, messages: Sequence[Message]) -> str:
        """Return a conversation as the models read it."""
        return self._decode(self._small.codec.render(messages, None).token_ids)

    async def span(self, prompt: str, flowed: Flowed, *, held_open: int | None = None) -> None:
        """Have the large model write a span; `held_open` is its length, whoever would end it."""
        flowed.pieces.append(OPEN)
        more = {} if held_open is None else {_ENDLESS: True}
        written = 0
        while held_open is None or written < held_open:
            chunk = await self._write(self._large, prompt, flowed, CHUNK_TOKENS, more)
            end, probes = await self._probed(prompt + "".join(flowed.pieces), chunk)
            kept = chunk if end is None or held_open is not None else chunk[:end]
            self._keep(flowed, kept)
            flowed.large_tokens += len(kept)
            written += len(kept)
            flowed.span_requests += 1 + probes
            flowed.requests += 1 + probes
            if held_open is None and (end is not None or len(chunk) < CHUNK_TOKENS):
                break
        flowed.pieces.append(CLOSE)

    def _keep(self, flowed: Flowed, pieces: Sequence[str]) -> None:
        flowed.pieces += pieces
        flowed.tokens += len(pieces)

    async def _write(
        self,
        model: ServerModel,
        prompt: str,
        flowed: Flowed,
        tokens: int,
        more: dict[str, Any],
    ) -> list[str]:
        """Return the texts of the tokens; an open tag may be the last of them."""
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
        """Return behind how many tokens the small model would close, and the requests it took."""
        found, requests = None, 0
        for start in range(0, len(chunk), PROMPTS_A_PROBE):
            places = range(start + 1, min(start + PROMPTS_A_PROBE, len(chunk)) + 1)
            begun = await self._begun([before + "".join(chunk[:at]) for at in places])
            requests += 1
            closing = [at for at, text in zip(places, begun, strict=True) if text.startswith(CLOSE)]
            found = found or (closing[0] if closing else None)
        return found, requests

    async def _begun(self, prompts: Sequence[str]) -> list[str]:
        """Return what the small model writes behind each prompt, a few tokens."""
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
