"""Prepares one request: loads its models, checks it, and restores it where it was paused."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.registry import (
    LargeSpec,
    ModelSpec,
    check_model_spec,
    line_up,
    name_and_prices,
    public_name,
)
from splitreason_integrations.backends.tag_probe import Teaching
from splitreason_integrations.decide.closing import AutoClose, CloseRule
from splitreason_integrations.decide.machine import Machine
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.decide.resilience import Retry
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import Answer, HumanCheck, Question
from splitreason_integrations.humans.signing import Keys
from splitreason_integrations.loop.choice import Rules, Situation, choose, marks_spans
from splitreason_integrations.loop.handback import Handback
from splitreason_integrations.loop.loading import Loading
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.request_loop import RequestLoop
from splitreason_integrations.loop.setup import Setup
from splitreason_integrations.loop.snapshot import check_question, restore
from splitreason_integrations.loop.spans import SpanTracker
from splitreason_integrations.loop.state import RequestState, Settings
from splitreason_integrations.loop.transcript import Transcript
from splitreason_integrations.privacy.redaction import Redact, listed
from splitreason_integrations.records import Author
from splitreason_integrations.request import Request
from splitreason_integrations.text.prompts import begins_reasoning, check_messages
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.tags import tags_of


class EngineSettings(Protocol):
    """What a request takes from the engine; `SplitEngine` documents each."""

    @property
    def small(self) -> ModelSpec: ...  # noqa: D102
    @property
    def large(self) -> LargeSpec: ...  # noqa: D102
    @property
    def trigger(self) -> Trigger: ...  # noqa: D102
    @property
    def policy(self) -> Policy: ...  # noqa: D102
    @property
    def close(self) -> CloseRule | None: ...  # noqa: D102
    @property
    def handback_tokens(self) -> int: ...  # noqa: D102
    @property
    def prefill_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def on_large_failure(self) -> str: ...  # noqa: D102
    @property
    def retry(self) -> Retry: ...  # noqa: D102
    @property
    def human_check(self) -> HumanCheck | None: ...  # noqa: D102
    @property
    def redact(self) -> Redact: ...  # noqa: D102
    @property
    def pause_keys(self) -> Keys: ...  # noqa: D102


class Preparation:
    """One request before its first token.

    Args:
        engine: the settings that all its requests share.
        request: what is asked; its seed is drawn.
        saved: the snapshot of a paused request; None for a new one.
        question: what a person was asked about it.
        answer: what a person answered to a paused request's question.
        replay: whether the reply so far is yielded again.
        telemetry_context: returns what telemetry keeps in a snapshot.

    """

    def __init__(
        self,
        engine: EngineSettings,
        request: Request,
        *,
        saved: Mapping[str, Any] | None,
        question: Question | None,
        answer: Answer | None,
        replay: bool,
        telemetry_context: Callable[[], dict[str, Any]],
    ) -> None:
        self._engine = engine
        self._request = request
        self._saved = saved
        self._question = question
        self._answer = answer
        self._replay = replay
        self._telemetry_context = telemetry_context

    async def loop(self) -> RequestLoop:
        """Return the request's loop, ready to write."""
        check_messages(self._request.messages)
        for spec in line_up(self._engine.large):
            check_model_spec(spec, role="large")
        policy = self._engine.policy.for_request(self._request.metadata)
        policy = policy.with_less_reasoning(self._request.max_reasoning_tokens)
        self._check_prices(policy)
        now_s = time.monotonic()
        started_s = now_s - (self._saved["elapsed_s"] if self._saved else 0.0)
        # After a pause as long as before it: what is left may be too short to reach any server,
        # and the answer would be lost.
        loading = Loading(now_s, policy.deadline_s)
        try:
            small = await loading.small(self._engine.small)
            teaching = await self._teaching(loading, small)
            setup = self._setup(loading, policy, small, teaching)
            pair = await self._pair(setup, policy)
            if setup.answer_is_small:
                policy = replace(policy, only_in_reasoning=True)
            rules = self._rules(policy, pair, teaching)
            state = self._state(setup, pair, rules, self._settings(started_s, rules))
        except BaseException:
            loading.close()
            raise
        try:
            if self._saved is None and teaching is not None and not teaching.opens:
                state.emit(rules.event(self._request.request_id))
            await self._restore(state)
            return RequestLoop(state, setup.large, answer=self._answer)
        except BaseException:
            await state.aclose()
            raise

    def _check_prices(self, policy: Policy) -> None:
        """Refuse a cap on the cost of a large model without prices: it would never hold."""
        opens = self._engine.trigger.opens_spans and not policy.forbids_spans
        if policy.max_usd is None or not opens or self._saved is not None:
            return
        for spec in line_up(self._engine.large):
            name, own = name_and_prices(spec)
            if policy.prices_of(name, own) == Prices():
                raise ConfigurationError(
                    f"max_usd cannot hold: {public_name(spec)} has no prices, so that its tokens "
                    "would cost nothing. Give them in the policy's models, in a file as "
                    '[models."*".prices] with input_usd and output_usd, or as prices= of the '
                    "model; or leave max_usd out"
                )

    def _setup(
        self, loading: Loading, policy: Policy, small: Model, teaching: Teaching | None
    ) -> Setup:
        engine, saved = self._engine, self._saved
        uses_tags = self._uses_tags or (teaching is not None and teaching.opens)
        return Setup(
            self._request,
            small,
            line_up(engine.large),
            loading,
            engine.retry,
            tags_as_text=uses_tags,
            marks_spans=marks_spans(engine.trigger, self._close, teaching),
            whole=not engine.trigger.hands_back and not policy.only_in_reasoning,
            redact=(*policy.redact, *listed(engine.redact)),
            hidden=saved["hidden"] if saved else None,
        )

    async def _teaching(self, loading: Loading, small: Model) -> Teaching | None:
        """Return what the small model knows of the tags; None where that makes no difference."""
        trigger = self._engine.trigger
        depends = trigger.is_auto or self._close.is_auto
        if not (trigger.opens_spans and trigger.hands_back):
            return None
        if depends or tags_of(small.codec, as_text=self._uses_tags):
            return await loading.small_teaching(small)
        return None

    def _rules(
        self,
        policy: Policy,
        pair: tuple[Participant, Participant | None],
        teaching: Teaching | None,
    ) -> Rules:
        """Return what opens, ends and caps the spans of this request."""
        engine, (small, large) = self._engine, pair
        check = engine.human_check
        here = Situation(
            small=small.model,
            large=None if large is None else large.model,
            teaching=teaching,
            asks_first=bool(policy.ask_before or (check and check.before)),
        )
        return choose(Rules(trigger=engine.trigger, close=self._close, policy=policy), here)

    @property
    def _close(self) -> CloseRule:
        """The named close rule, or `auto` where one is to be chosen."""
        return self._engine.close or AutoClose()

    @property
    def _uses_tags(self) -> bool:
        """Whether a named rule uses the tags."""
        return self._engine.trigger.uses_tag or self._close.uses_tag

    async def _pair(self, setup: Setup, policy: Policy) -> tuple[Participant, Participant | None]:
        if self._saved is None:
            needs_large = self._engine.trigger.opens_spans and not policy.forbids_spans
            return await setup.pair(needs_large=needs_large)
        others = {model for author, model, _ in self._saved["pieces"] if author == Author.LARGE}
        return await setup.pair_again(self._saved["large"], others)

    async def _restore(self, state: RequestState) -> None:
        if self._saved is None:
            return
        deltas = await restore(state, self._saved)
        if self._question is not None:
            check_question(state, self._question)
        if self._replay:
            state.emit(*deltas)

    def _state(
        self,
        setup: Setup,
        pair: tuple[Participant, Participant | None],
        rules: Rules,
        settings: Settings,
    ) -> RequestState:
        request, policy, (small, large) = self._request, rules.policy, pair
        if small.prompt.thinks is False:
            policy = policy.with_less_reasoning(0)
        machine = Machine(
            policy=policy,
            max_tokens=request.max_tokens or small.model.context_tokens,
            prices=policy.prices_of(large.model.name, large.model.prices) if large else Prices(),
        )
        template, header = small.model.codec.response_template, small.prompt.header
        reader = ReplyReader(
            template, header, request.stop, request.tools, max_calls=request.max_calls
        )
        transcript = Transcript(
            setup.codecs,
            small.prompt.token_ids[-1:],
            reader,
            begins_reasoning=begins_reasoning(small.prompt),
            max_reasoning_tokens=policy.max_reasoning_tokens,
        )
        return RequestState(
            settings=settings,
            request=request,
            machine=machine,
            small=small,
            large_model=large,
            transcript=transcript,
            spans=SpanTracker(request.request_id, machine, transcript),
            handback=Handback(small, large, settings.close, settings.retry),
            loading=setup.loading,
            unreached=setup.unreached,
            telemetry_context=self._telemetry_context,
            vault=setup.vault,
        )

    def _settings(self, started_s: float, rules: Rules) -> Settings:
        engine = self._engine
        return Settings(
            trigger=rules.trigger,
            close=rules.close,
            choice_reason=rules.reason,
            seed=self._request.seed_or_drawn(),
            handback_tokens=engine.handback_tokens,
            prefill_tokens=engine.prefill_tokens,
            on_large_failure=engine.on_large_failure,
            started_s=started_s,
            retry=engine.retry,
            human_check=engine.human_check,
            pause_keys=engine.pause_keys,
        )
