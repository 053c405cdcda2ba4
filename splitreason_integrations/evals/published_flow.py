"""The published method's way over two servers, as a baseline (arXiv 2504.16379, its reference).

The large model, which knows no tags there, is asked for a chunk at a time; then the small one
writes a few tokens from every prefix of the chunk, to see behind which it would close the span.
Written anew from that description, and kinder than it: ids are sent, where it sends text.
"""

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from splitreason_integrations.backends.base import End, Session, WriteOrder
from splitreason_integrations.backends.openai_server import ServerModel
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.markers import marks_of
from splitreason_integrations.records import Message
from splitreason_integrations.sampling import Sampling

CHUNK_TOKENS = 32
PROBE_TOKENS = 6
PROMPTS_A_PROBE = 8


@dataclass(slots=True)
class Flowed:
    """A reply and what it took: `token_ids` with the tags, requests of spans and of all."""

    token_ids: list[int]
    span_requests: int = 0
    requests: int = 0
    large_tokens: int = 0


class PublishedFlow:
    """The baseline's pair. Both models have to share their tokenizer, with the tags in it."""

    def __init__(self, small: ServerModel, large: ServerModel) -> None:
        marks = marks_of(small.codec, as_text=False)
        if small.codec.fingerprint != large.codec.fingerprint or not marks:
            raise ConfigurationError(
                "the published flow is written for two models that share a tokenizer with the "
                "tags, such as the bundled pair: serve both models of one"
            )
        (self._open,), (self._close,) = marks.open_tokens, marks.close_tokens
        self._small = small
        self._large = large
        self._ends = small.codec.end_tokens

    @property
    def tags(self) -> tuple[int, int]:
        """The ids of both tags."""
        return self._open, self._close

    async def answer(self, messages: Sequence[Message], *, max_tokens: int) -> Flowed:
        """Return the reply to a conversation."""
        prompt = self._small.codec.render(messages, None).token_ids
        flowed, ends = Flowed([]), self._ends | {self._open}
        while (left := max_tokens - len(flowed.token_ids)) > 0:
            ids, stop_token = await self._write(
                self._small, (*prompt, *flowed.token_ids), left, ends, forbidden=self._close
            )
            flowed.requests += 1
            flowed.token_ids += ids
            if stop_token != self._open:
                break
            await self.span(prompt, flowed)
        return flowed

    async def span(
        self, prompt: Sequence[int], flowed: Flowed, *, held_open: int | None = None
    ) -> None:
        """Have the large model write a span; `held_open` is its length, whoever would end it."""
        flowed.token_ids.append(self._open)
        ends = self._ends if held_open is None else frozenset[int]()
        written = 0
        while held_open is None or written < held_open:
            before = (*prompt, *flowed.token_ids)
            ids, stop_token = await self._write(
                self._large, before, CHUNK_TOKENS, ends, forbidden=self._open
            )
            end, probes = await self._probed(before, ids)
            kept = ids if end is None or held_open is not None else ids[:end]
            flowed.token_ids += kept
            flowed.large_tokens += len(kept)
            flowed.span_requests += 1 + probes
            flowed.requests += 1 + probes
            written += len(kept)
            if held_open is None and (stop_token is not None or end is not None):
                break
        flowed.token_ids.append(self._close)

    async def _write(
        self,
        model: ServerModel,
        sequence: Sequence[int],
        tokens: int,
        ends: frozenset[int],
        *,
        forbidden: int,
    ) -> tuple[list[int], int | None]:
        session: Session = model.open(sequence)
        banned = (forbidden,) if ends else (forbidden, self._close, *sorted(self._ends))
        order = WriteOrder(
            max_tokens=tokens,
            sampling=Sampling(temperature=0.0),
            seed=0,
            stream=0,
            stop_tokens=ends,
            forbidden=banned,
        )
        ids, stop_token = list[int](), None
        try:
            async with aclosing(session.write(order)) as writing:
                async for written in writing:
                    ids += written.token_ids
                    stop_token = written.stop_token if written.end is End.STOP_TOKEN else None
        finally:
            session.close()
        return ids, stop_token

    async def _probed(self, before: Sequence[int], chunk: Sequence[int]) -> tuple[int | None, int]:
        """Return behind how many tokens the small model would close, and the requests it took."""
        found, requests = None, 0
        for start in range(0, len(chunk), PROMPTS_A_PROBE):
            places = range(start + 1, min(start + PROMPTS_A_PROBE, len(chunk)) + 1)
            begun = await self._begun([(*before, *chunk[:at]) for at in places])
            requests += 1
            closing = [at for at, first in zip(places, begun, strict=True) if first == self._close]
            found = found or (closing[0] if closing else None)
        return found, requests

    async def _begun(self, prompts: Sequence[Sequence[int]]) -> list[int | None]:
        """Return the first token that the small model writes behind each prompt."""
        body = {
            "model": self._small.model,
            "prompt": [list(prompt) for prompt in prompts],
            "max_tokens": PROBE_TOKENS,
            "temperature": 0.0,
            "return_token_ids": True,
            "skip_special_tokens": False,
        }
        server = self._small.replicas.choose().server
        async with server.post("/completions", body) as response:
            choices = json.loads(await response.aread())["choices"]
        begun: dict[int, int | None] = {
            choice["index"]: next(iter(choice["token_ids"]), None) for choice in choices
        }
        return [begun[index] for index in range(len(prompts))]
