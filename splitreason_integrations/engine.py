"""The engine: a small model writes, a large one takes the hard spans, in one streamed reply.

Async is the only implementation; `blocking` opens it to synchronous callers.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import InitVar, dataclass, field, replace
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
from splitreason_integrations.decide.closing import CloseRule, parse_close
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.resilience import Retry, check_ends
from splitreason_integrations.decide.triggers import Auto, Trigger, parse_trigger
from splitreason_integrations.embedded import UNNAMED, check_pair
from splitreason_integrations.errors import ConfigurationError, ReviewPendingError
from splitreason_integrations.humans.human import Answer, HumanCheck, Paused, read_answer
from splitreason_integrations.humans.signing import Keys, PauseKey, keys_in_use, read_keys
from splitreason_integrations.loop.observers import observed
from splitreason_integrations.loop.paused_state import check_paused
from splitreason_integrations.loop.preparation import Preparation
from splitreason_integrations.loop.request_loop import run_request
from splitreason_integrations.loop.state import Item
from splitreason_integrations.options import (
    OPTIONS,
    OnLargeFailure,
    check_options,
    check_replaced,
)
from splitreason_integrations.privacy.redaction import Redact, check_installed, listed
from splitreason_integrations.privacy.secret_names import shown_fields
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request
from splitreason_integrations.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitEngine:
    """Two models and the rules by which they share a reply. Holds no weights itself.

    Name both `small` and `large`, or neither for the bundled pair.
    `large` may be a list: where one fails for good, after what `retry` allows, the next goes on in
    the middle of the span, and behind the last one the small model. `human_check` says who is
    asked before text goes to the large model, or after it came back. A span is handed back at the
    first place at which `close` holds; the small model reads along `handback_tokens` at a time, or
    at least so many where each request costs. With `prefill_tokens` a large model that vLLM runs
    reads in the background while the small one writes: whenever it has not read so many tokens, as
    far as nobody is to be asked before a span and caps let one open. That is paid for, whether a
    span follows or not. With `audit` every event and every completion is on disk before `stream`
    yields it. `telemetry` says where OpenTelemetry's spans and metrics go; None keeps the engine
    silent. Without a `trigger` the policy's own opens spans; without that and without `close` each
    request uses what suits its two models: the tags where the small model was taught to write them,
    else `Disagreement` or `Entropy`, and `Agrees() | StepEnd()`. What `redact` finds, or the policy
    names, is hidden from remote large models and restored in what they write. `pause_key` signs
    paused requests, of several keys the first one, and only what one of them signed is continued;
    unset, the keys are those in SPLITREASON_PAUSE_KEY, if there are any.

    Raises:
        ConfigurationError: If an option is of another type or range than it has to be, or one model
            is named without the other.

    """

    small: ModelSpec = UNNAMED
    large: LargeSpec = UNNAMED
    trigger: Trigger = None  # type: ignore[assignment]  # filled in below
    policy: Policy = field(default_factory=Policy)
    close: CloseRule | None = None
    handback_tokens: int = OPTIONS["handback_tokens"].default
    prefill_tokens: int | None = OPTIONS["prefill_tokens"].default
    on_large_failure: OnLargeFailure = OPTIONS["on_large_failure"].default
    retry: Retry = field(default_factory=Retry)
    human_check: HumanCheck | None = None
    audit: AuditLog | None = None
    redact: Redact = ()
    telemetry: Telemetry | None = field(default_factory=Telemetry)
    pause_key: PauseKey = field(default=OPTIONS["pause_key"].default, repr=False)
    close_threshold: InitVar[object] = None
    """Refused: the error names the form of `close` that replaces it."""

    def __repr__(self) -> str:
        return shown_fields(self)

    def __post_init__(self, close_threshold: object) -> None:
        if close_threshold is not None:
            check_replaced({"close_threshold": close_threshold})
        check_pair(self.small, self.large)
        if self.trigger is None:
            own = self.policy.trigger
            trigger = Auto() if own is None else parse_trigger(own)
            object.__setattr__(self, "trigger", trigger)
        if not isinstance(self.trigger, Trigger):
            raise ConfigurationError(
                f"trigger must be a Trigger such as Tag(), got {self.trigger!r}; "
                "parse_trigger('tag>0.2') reads one from text"
            )
        if self.close is None and self.policy.close is not None:
            object.__setattr__(self, "close", parse_close(self.policy.close))
        if not isinstance(self.close, CloseRule | None):
            raise ConfigurationError(
                f"close must be a close rule such as Agrees() | StepEnd(), got {self.close!r}; "
                "parse_close('agrees | step') reads one from text"
            )
        object.__setattr__(self, "pause_key", read_keys(self.pause_key))
        check_options("engine", self)
        check_ends(self.retry, self.policy.deadline_s)
        ruled = (name for rule in self.policy.rules for name in rule.set.get("redact", ()))
        check_installed((*self.policy.redact, *ruled, *listed(self.redact)))
        if not isinstance(self.audit, AuditLog | None):
            raise ConfigurationError(
                f"audit must be an AuditLog such as AuditLog('audit.jsonl'), got {self.audit!r}"
            )
        if not isinstance(self.telemetry, Telemetry | None):
            raise ConfigurationError(
                f"telemetry must be a Telemetry such as Telemetry(), or None to switch it off, "
                f"got {self.telemetry!r}"
            )

    @property
    def uses_large(self) -> bool:
        """Whether a span can open in any request; else no large model is loaded."""
        forbidden = self.policy.forbids_spans and not self.policy.rules
        return self.trigger.opens_spans and not forbidden

    @property
    def pause_keys(self) -> Keys:
        """The keys that sign paused requests, the first one for new ones; empty for none."""
        return keys_in_use(read_keys(self.pause_key))

    async def models(self) -> tuple[Model, Model]:
        """Return the small and the first large model, loading them on first use."""
        small = await load_model(self.small, role="small")
        return small, await load_model(line_up(self.large)[0], role="large")

    def stream(self, request: Request) -> AsyncGenerator[Item | Completion | Paused, None]:
        """Yield deltas and events as they come, and the Completion last.

        Where a person will answer later, a Paused comes last instead: `resume` goes on from it.
        Closing the generator early, or cancelling the task, frees both caches.

        Raises:
            RequestError: the messages or what is asked of the reply cannot be served.
            ModelUnreachableError: the small model's server does not answer.
            ConfigurationError: the two models cannot do together what is asked.

        """
        return self._observed(request, None, None)

    def resume(
        self, paused: Paused, answer: Answer, *, replay: bool = False
    ) -> AsyncGenerator[Item | Completion | Paused, None]:
        """Go on with a paused request, in any process that has its models.

        Nothing is generated twice: the models read what was written. With `replay` the reply so
        far is yielded again first, for a caller that has not seen it. Raises as `stream` does,
        and ModelUnreachableError where the large model's server does not answer: the request
        stays paused, and can be resumed later.

        Raises:
            PauseError: the request was changed, is damaged, or is not signed with a key that is
                set; nothing is loaded for it.
            ConfigurationError: the answer is none.

        """
        paused = check_paused(paused, self.pause_keys)
        answer = read_answer(answer, by="program", to=paused.question)
        request = Request.of(paused.state["request"])
        return self._observed(request, paused, answer, replay=replay)

    async def complete(self, request: Request) -> Completion:
        """Return the finished reply; raise ReviewPendingError where a person answers later."""
        return await finished(self.stream(request))

    async def finish(self, paused: Paused, answer: Answer) -> Completion:
        """Return the finished reply of a paused request; raise as `complete` does."""
        return await finished(self.resume(paused, answer))

    def _observed(
        self,
        request: Request,
        paused: Paused | None,
        answer: Answer | None,
        *,
        replay: bool = False,
    ) -> AsyncGenerator[Item | Completion | Paused, None]:
        """Return a request's items, which audit log and telemetry see before the caller does."""
        request = replace(request, seed=request.seed_or_drawn())
        telemetry, saved = self.telemetry, paused.state if paused else None
        observer = telemetry and telemetry.observer(self, request, state=saved, replay=replay)
        preparation = Preparation(
            self,
            request,
            saved=saved,
            question=paused.question if paused else None,
            answer=answer,
            replay=replay,
            telemetry_context=observer.saved_context if observer else dict[str, Any],
        )
        items = run_request(preparation.loop)
        if self.audit is not None:
            items = recorded(self.audit, self, request, items, resumed=paused is not None)
        return observed(items, observer) if observer else items


async def finished(items: AsyncGenerator[Item | Completion | Paused, None]) -> Completion:
    """Return the completion that ends a stream.

    Raises ReviewPendingError where the request was paused instead.
    """
    async with aclosing(items):
        async for item in items:
            if isinstance(item, Paused):
                raise ReviewPendingError(item.question.id, item)
            if isinstance(item, Completion):
                return item
    raise AssertionError("a stream ends with its completion")
