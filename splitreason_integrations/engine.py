"""The engine: a small model writes, a large one takes the hard spans, in one streamed reply.

Async is the only implementation; `blocking` opens it to synchronous callers.
"""

import os
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import anyio.to_thread

from splitreason_integrations.backends.base import Codec, Model, Prompt
from splitreason_integrations.backends.registry import ModelSpec, load_model
from splitreason_integrations.checks import check_texts
from splitreason_integrations.errors import ConfigurationError, RequestError, SettingError
from splitreason_integrations.grammar import Guide, answer_grammar, call_grammar
from splitreason_integrations.machine import Machine
from splitreason_integrations.markers import Marks, marks_of
from splitreason_integrations.policy import Policy
from splitreason_integrations.prompts import (
    align_reasoning,
    begins_reasoning,
    check_messages,
    check_room,
    render,
)
from splitreason_integrations.records import Author, Channel, Completion, Message, Piece, token_ids
from splitreason_integrations.replies import ReplyReader
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.seat import Seat
from splitreason_integrations.transcript import Transcript
from splitreason_integrations.triggers import Trigger, parse_trigger
from splitreason_integrations.turn import Item, Settings, Turn

OnLargeFailure = Literal["small", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One conversation to continue.

    `max_tokens` bounds the whole reply, reasoning included; None leaves it to the contexts.
    With a `response_schema`, a JSON schema, the answer behind the reasoning is JSON that fits it;
    with `must_call` it is a call of one of the `tools`, where the models' way of calling is known.
    By `metadata` the rules of a policy choose what applies, such as `{"tenant": "acme"}`.
    Without a `seed` one is drawn and reported, so that every reply can be repeated.
    """

    messages: Sequence[Message]
    tools: Sequence[Message] | None = None
    response_schema: Mapping[str, Any] | None = None
    must_call: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens <= 0:
            raise RequestError(f"max_tokens must be 1 or more, got {self.max_tokens}")
        if isinstance(self.stop, str) or not all(isinstance(s, str) and s for s in self.stop):
            raise RequestError(f"stop must be a list of non-empty strings, got {self.stop!r}")
        try:
            check_texts("metadata", self.metadata)
        except SettingError as error:
            raise RequestError(str(error)) from error
        if self.must_call and (self.response_schema is not None or not self.tools):
            raise RequestError("must_call needs tools to call, and no response_schema beside them")

    def grammar(self, codec: Codec) -> str | None:
        """Return the grammar that a model's answer has to keep to, if there is one."""
        if self.response_schema is not None:
            return answer_grammar(self.response_schema, codec)
        return call_grammar(self.tools, codec) if self.must_call and self.tools else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitEngine:
    """Two models and the rules by which they share a reply. Holds no weights itself.

    A span is handed back at the first position at which the small model, reading along, gives its
    close tag more than `close_threshold`; it reads along `handback_tokens` at a time. Without a
    `trigger` the policy's own opens spans, else the small model's tag.
    """

    small: ModelSpec = "embedded"
    large: ModelSpec = "embedded"
    trigger: Trigger = None  # type: ignore[assignment]  # filled in below
    policy: Policy = field(default_factory=Policy)
    close_threshold: float = 0.5
    handback_tokens: int = 8
    on_large_failure: OnLargeFailure = "small"

    def __post_init__(self) -> None:
        if self.trigger is None:
            object.__setattr__(self, "trigger", parse_trigger(self.policy.trigger or "tag"))
        if not isinstance(self.trigger, Trigger):
            raise ConfigurationError(
                f"trigger must be a Trigger such as Tag(), got {self.trigger!r}; "
                "parse_trigger('tag>0.2') reads one from text"
            )
        if not 0 <= self.close_threshold <= 1:
            raise ConfigurationError(
                f"close_threshold must lie in [0, 1], got {self.close_threshold}"
            )
        if self.handback_tokens < 1:
            raise ConfigurationError(
                f"handback_tokens must be 1 or more, got {self.handback_tokens}"
            )
        if self.on_large_failure not in ("small", "raise"):
            raise ConfigurationError(
                f"on_large_failure must be 'small' or 'raise', got {self.on_large_failure!r}"
            )

    async def models(self) -> tuple[Model, Model]:
        """Return both models, loading them on first use."""
        small = await load_model(self.small, role="small")
        return small, await load_model(self.large, role="large")

    async def stream(self, request: Request) -> AsyncGenerator[Item | Completion, None]:
        """Yield deltas and events as they come, and the Completion last.

        Closing the generator early, or cancelling the task, frees both caches.
        """
        started_s = time.monotonic()
        check_messages(request.messages)
        models = await self.models()
        turn = await self._turn(request, models, started_s)
        try:
            async with aclosing(turn.items()) as items:
                async for item in items:
                    yield item
        finally:
            turn.close()
        yield _completion(turn)

    async def complete(self, request: Request) -> Completion:
        """Return the finished reply."""
        async with aclosing(self.stream(request)) as items:
            async for item in items:
                if isinstance(item, Completion):
                    return item
        raise AssertionError("a stream ends with its completion")

    async def _turn(self, request: Request, models: tuple[Model, Model], started_s: float) -> Turn:
        small, large = models
        prompts = align_reasoning(
            (small, render(small, request.messages, request.tools)),
            (large, render(large, request.messages, request.tools)),
        )
        for model, prompt in zip(models, prompts, strict=True):
            check_room(model, prompt)
        policy = self.policy.for_request(request.metadata)
        machine = Machine(
            policy=policy,
            max_tokens=request.max_tokens or small.context_tokens,
            prices=policy.prices_of(large.name, large.prices),
        )
        reader = ReplyReader(
            small.codec.response_template, prompts[0].header, request.stop, request.tools
        )
        transcript = Transcript(
            {Author.SMALL: small.codec, Author.LARGE: large.codec},
            {Author.SMALL: prompts[0].token_ids, Author.LARGE: prompts[1].token_ids},
            reader,
        )
        marks = (
            marks_of(small.codec, as_text=self.trigger.uses_tag),
            marks_of(large.codec, as_text=False),
        )
        guides = await _guides(request, models, prompts, marks)
        seats = [
            Seat(author, model, prompt, mark, other=other.codec, guide=guide)
            for author, model, prompt, mark, other, guide in zip(
                Author, models, prompts, marks, reversed(models), guides, strict=True
            )
        ]
        settings = self._settings(request, models, started_s)
        return Turn(settings, machine, seats[0], seats[1], transcript)

    def _settings(
        self, request: Request, models: tuple[Model, Model], started_s: float
    ) -> Settings:
        small, large = models
        return Settings(
            request_id=request.request_id,
            trigger=self.trigger,
            small_sampling=request.sampling.over(small.default_sampling),
            large_sampling=request.sampling.over(large.default_sampling),
            seed=int.from_bytes(os.urandom(4)) if request.seed is None else request.seed,
            close_threshold=self.close_threshold,
            handback_tokens=self.handback_tokens,
            on_large_failure=self.on_large_failure,
            started_s=started_s,
        )


async def _guides(
    request: Request,
    models: tuple[Model, Model],
    prompts: tuple[Prompt, Prompt],
    marks: tuple[Marks, Marks],
) -> list[Guide | None]:
    """Return both models' guides; compiling a grammar takes long, so other requests go on."""
    if request.response_schema is None and not request.must_call:
        return [None, None]

    def compiled() -> list[Guide | None]:
        return [_guide(request, *one) for one in zip(models, prompts, marks, strict=True)]

    return await anyio.to_thread.run_sync(compiled)


def _guide(request: Request, model: Model, prompt: Prompt, marks: Marks) -> Guide | None:
    grammar = request.grammar(model.codec)
    if grammar is None:
        return None
    return Guide(model.codec, grammar, marks, reasons=begins_reasoning(prompt))


def _completion(turn: Turn) -> Completion:
    transcript, ledger = turn.transcript, turn.machine.ledger
    reader = transcript.reader
    pieces = tuple(
        Piece(author, tuple(token_ids(list(group))))
        for author, group in groupby(transcript.pieces, key=lambda piece: piece.author)
    )
    latency_s = time.monotonic() - turn.settings.started_s
    return Completion(
        request_id=turn.settings.request_id,
        reasoning=reader.text(Channel.REASONING),
        answer=reader.text(Channel.ANSWER),
        tool_calls=reader.tool_calls,
        pieces=pieces,
        spans=tuple(turn.spans.records),
        prompt_tokens=turn.small.prompt_tokens,
        small_tokens=ledger.small,
        large_tokens=ledger.large,
        reasoning_tokens=transcript.reasoning_tokens,
        stop_reason=turn.machine.stop_reason,
        latency_s=latency_s,
        cost_usd=ledger.usd + turn.small_cost_usd,
        degraded=turn.machine.degraded,
        seed=turn.settings.seed,
    )
