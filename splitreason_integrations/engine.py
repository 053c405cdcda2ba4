"""The engine: a small model writes, a large one takes the hard spans, in one streamed reply.

Async is the only implementation; `blocking` opens it to synchronous callers.
"""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from splitreason_integrations.audit.log import AuditLog
from splitreason_integrations.audit.recording import recorded
from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.registry import (
    LargeSpec,
    ModelSpec,
    line_up,
    load_model,
)
from splitreason_integrations.decide.machine import Machine
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.decide.triggers import Needs, Trigger, parse_trigger
from splitreason_integrations.embedded import UNNAMED, check_pair
from splitreason_integrations.errors import ConfigurationError, ReviewPendingError
from splitreason_integrations.humans.human import Answer, HumanCheck, Paused
from splitreason_integrations.loop.handback import Handback
from splitreason_integrations.loop.observers import observed
from splitreason_integrations.loop.request_loop import RequestLoop
from splitreason_integrations.loop.setup import Setup
from splitreason_integrations.loop.snapshot import restore
from splitreason_integrations.loop.spans import SpanTracker
from splitreason_integrations.loop.state import Item, RequestState, Settings
from splitreason_integrations.loop.transcript import Transcript
from splitreason_integrations.options import OPTIONS, OnLargeFailure, check_options
from splitreason_integrations.privacy.redaction import Redact, check_installed, listed
from splitreason_integrations.records import Channel, Completion, Delta, Piece, token_ids
from splitreason_integrations.request import Request
from splitreason_integrations.telemetry import Telemetry
from splitreason_integrations.text.prompts import check_messages
from splitreason_integrations.text.replies import ReplyReader


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitEngine:
    """Two models and the rules by which they share a reply. Holds no weights itself.

    Name both `small` and `large`, or neither for the bundled pair.
    `large` may be a list: where one fails for good, after what `retry` allows, the next goes on in
    the middle of the span, and behind the last one the small model. `human_check` says who is
    asked before text goes to the large model, or after it came back. A span is handed back at the
    first position at which the small model, reading along, gives its close tag more than
    `close_threshold`; it reads along `handback_tokens` at a time, or at least so many where each
    request costs, and nothing at a threshold of 1, which leaves the end to the large model. With
    `prefill_tokens` a large model that vLLM runs reads in the background while the small one
    writes: whenever so many tokens stand that it has not read, as far as nobody is to be asked
    before a span and caps let one open. That is paid for, whether a span follows or not. With
    `audit` every event and every completion is on disk before `stream` yields it. `telemetry` says
    where OpenTelemetry's spans and metrics go; None keeps the engine silent. Without a `trigger`
    the policy's own opens spans, else the small model's tag. What `redact` finds, or the policy
    names, is hidden from remote large models and restored in what they write.
    """

    small: ModelSpec = UNNAMED
    large: LargeSpec = UNNAMED
    trigger: Trigger = None  # type: ignore[assignment]  # filled in below
    policy: Policy = field(default_factory=Policy)
    close_threshold: float = OPTIONS["close_threshold"].default
    handback_tokens: int = OPTIONS["handback_tokens"].default
    prefill_tokens: int | None = OPTIONS["prefill_tokens"].default
    on_large_failure: OnLargeFailure = OPTIONS["on_large_failure"].default
    retry: Retry = field(default_factory=Retry)
    human_check: HumanCheck | None = None
    audit: AuditLog | None = None
    redact: Redact = ()
    telemetry: Telemetry | None = field(default_factory=Telemetry)

    def __post_init__(self) -> None:
        check_pair(self.small, self.large)
        if self.trigger is None:
            object.__setattr__(self, "trigger", parse_trigger(self.policy.trigger or "tag"))
        if not isinstance(self.trigger, Trigger):
            raise ConfigurationError(
                f"trigger must be a Trigger such as Tag(), got {self.trigger!r}; "
                "parse_trigger('tag>0.2') reads one from text"
            )
        check_options("engine", self)
        check_installed((*self.policy.redact, *listed(self.redact)))
        if not isinstance(self.audit, AuditLog | None):
            raise ConfigurationError(
                f"audit must be an AuditLog such as AuditLog('audit.jsonl'), got {self.audit!r}"
            )
        if not isinstance(self.telemetry, Telemetry | None):
            raise ConfigurationError(
                f"telemetry must be a Telemetry such as Telemetry(), or None to switch it off, "
                f"got {self.telemetry!r}"
            )

    async def models(self) -> tuple[Model, Model]:
        """Return the small and the first large model, loading them on first use."""
        small = await load_model(self.small, role="small")
        return small, await load_model(line_up(self.large)[0], role="large")

    def stream(self, request: Request) -> AsyncGenerator[Item | Completion | Paused, None]:
        """Yield deltas and events as they come, and the Completion last.

        Where a person will answer later, a Paused comes last instead: `resume` goes on from it.
        Closing the generator early, or cancelling the task, frees both caches.
        """
        return self._followed(request, None, None)

    def resume(
        self, paused: Paused, answer: Answer, *, replay: bool = False
    ) -> AsyncGenerator[Item | Completion | Paused, None]:
        """Go on with a request that was put aside, in any process that has its models.

        Nothing is generated twice: the models read what stands there already. With `replay` the
        reply so far is yielded again first, for a caller that has not seen it.
        """
        request = Request.of(paused.state["request"])
        return self._followed(request, paused, answer, replay=replay)

    async def complete(self, request: Request) -> Completion:
        """Return the finished reply; raise ReviewPendingError where a person answers later."""
        return await finished(self.stream(request))

    async def finish(self, paused: Paused, answer: Answer) -> Completion:
        """Return the finished reply of a request put aside; raise as `complete` does."""
        return await finished(self.resume(paused, answer))

    def _followed(
        self,
        request: Request,
        paused: Paused | None,
        answer: Answer | None,
        *,
        replay: bool = False,
    ) -> AsyncGenerator[Item | Completion | Paused, None]:
        """Return a request's items, told to the audit log and to telemetry before its caller."""
        request = replace(request, seed=request.seed_or_drawn())
        telemetry, saved = self.telemetry, paused.state if paused else None
        account = telemetry and telemetry.account(self, request, state=saved, replay=replay)
        keep = account.to_keep if account else dict[str, Any]
        items = self._run(request, paused, answer, replay=replay, keep=keep)
        if self.audit is not None:
            items = recorded(self.audit, self, request, items, resumed=paused is not None)
        return observed(items, account) if account else items

    async def _run(
        self,
        request: Request,
        paused: Paused | None,
        answer: Answer | None,
        *,
        replay: bool,
        keep: Callable[[], dict[str, Any]],
    ) -> AsyncGenerator[Item | Completion | Paused, None]:
        started_s = time.monotonic()
        check_messages(request.messages)
        loop, deltas = await self._loop(request, paused, started_s, keep)
        if answer is not None:
            loop.give(answer)
        try:
            for delta in deltas if replay else ():
                yield delta
            async with aclosing(loop.items()) as items:
                async for item in items:
                    yield item
        finally:
            loop.state.close()
        yield loop.paused or _completion(loop)

    async def _loop(
        self,
        request: Request,
        paused: Paused | None,
        started_s: float,
        keep: Callable[[], dict[str, Any]],
    ) -> tuple[RequestLoop, list[Delta]]:
        """Return a request's turn, and what it has written already if it was put aside."""
        saved = paused.state if paused else None
        small = await load_model(self.small, role="small")
        if Needs.ENTROPY in self.trigger.needs and not small.shows_logits:
            raise ConfigurationError(
                f"{small.name} is run by a server or by vLLM, which does not tell entropies: use "
                "another trigger, such as Tag(), or a small model by transformers, such as "
                "'hf:<folder>'"
            )
        policy = self.policy.for_request(request.metadata)
        setup = Setup(
            request,
            small,
            line_up(self.large),
            tags_as_text=self.trigger.uses_tag,
            redact=(*policy.redact, *listed(self.redact)),
            hidden=saved["hidden"] if saved else None,
        )
        participants = await setup.first(saved["large"] if saved else 0)
        settings, large = self._settings(request, saved, started_s), participants[1].model
        machine = Machine(
            policy=policy,
            max_tokens=request.max_tokens or small.context_tokens,
            prices=policy.prices_of(large.name, large.prices),
        )
        header = participants[0].prompt.header
        reader = ReplyReader(small.codec.response_template, header, request.stop, request.tools)
        transcript = Transcript(setup.codecs, participants[0].prompt.token_ids[-1:], reader)
        state = RequestState(
            settings=settings,
            request=request,
            machine=machine,
            small=participants[0],
            large=participants[1],
            transcript=transcript,
            spans=SpanTracker(request.request_id, machine, transcript),
            handback=Handback(*participants, self.close_threshold, self.retry),
            vault=setup.vault,
            keep=keep,
        )
        deltas = restore(state, saved) if saved else []
        return RequestLoop(state, setup.large), deltas

    def _settings(
        self, request: Request, saved: Mapping[str, Any] | None, started_s: float
    ) -> Settings:
        return Settings(
            trigger=self.trigger,
            seed=request.seed_or_drawn(),
            close_threshold=self.close_threshold,
            handback_tokens=self.handback_tokens,
            prefill_tokens=self.prefill_tokens,
            on_large_failure=self.on_large_failure,
            started_s=started_s - saved["elapsed_s"] if saved else started_s,
            retry=self.retry,
            human_check=self.human_check,
        )


async def finished(items: AsyncGenerator[Item | Completion | Paused, None]) -> Completion:
    """Return the completion that ends a stream.

    Raises ReviewPendingError where the request was put aside instead.
    """
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Paused):
                raise ReviewPendingError(item.question.id, item)
            if isinstance(item, Completion):
                return item
    raise AssertionError("a stream ends with its completion")


def _completion(loop: RequestLoop) -> Completion:
    state = loop.state
    transcript, machine, ledger = state.transcript, state.machine, state.machine.ledger
    reader = transcript.reader
    pieces = tuple(
        Piece(author, tuple(token_ids(list(group))), model)
        for (author, model), group in groupby(transcript.pieces, key=lambda piece: piece.writer)
    )
    return Completion(
        request_id=state.request.request_id,
        reasoning=reader.text(Channel.REASONING),
        answer=reader.text(Channel.ANSWER),
        tool_calls=reader.tool_calls,
        pieces=pieces,
        spans=tuple(state.spans.records),
        prompt_tokens=state.small.prompt_tokens,
        small_tokens=ledger.small,
        large_tokens=ledger.large,
        reasoning_tokens=transcript.reasoning_tokens,
        stop_reason=machine.stop_reason,
        latency_s=time.monotonic() - state.settings.started_s,
        cost_usd=ledger.usd + loop.small_cost_usd,
        human_tokens=ledger.human,
        read_ahead_usd=ledger.ahead_usd,
        degraded=machine.degraded,
        seed=state.settings.seed,
    )
