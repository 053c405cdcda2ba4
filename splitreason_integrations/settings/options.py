"""The settings that both frameworks' chat models share: models, trigger, policy, sampling."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from splitreason_integrations.backends.registry import describe, pair_name, release
from splitreason_integrations.checks import check_names
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.resilience import Retry, check_ends
from splitreason_integrations.embedded import UNNAMED, Unnamed, check_pair
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.options import (
    OPTIONS,
    TABLE,
    OnLargeFailure,
    check_replaced,
    names_for,
)
from splitreason_integrations.records import Message
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.settings.option_fields import (
    AuditField,
    CloseField,
    HumanField,
    PauseKeyField,
    PolicyField,
    RedactField,
    RetryField,
    SpecField,
    TelemetryField,
    TriggerField,
    declared,
    read_pair,
    rule_names,
    type_name,
)
from splitreason_integrations.settings.written import check_written
from splitreason_integrations.telemetry import Telemetry
from splitreason_integrations.text.tool_choice import Tool, most_calls, must_call, offered

MODEL_NAMES = ("model", "model_name")

_STOP, _ALSO_STOP = "stop", "stop_sequences"

OBJECTS = frozenset(
    {"small", "large", "trigger", "policy", "retry", "human_check", "close", "close_rule"}
    | {"audit", "redact", "telemetry", "pause_key"}
)
"""Options that may be objects of our own, by all their names."""

_KEY = "pause_key"

CALL_NAMES = (*(name for name in OPTIONS if name != _KEY), *MODEL_NAMES, _ALSO_STOP)
"""What can be given for one call."""


class PairSettings(BaseModel):
    """The settings of a chat model, checked when they are set; base of the frameworks' classes.

    `trigger` may be a text such as `"tag>0.2"`; without it the policy's own opens spans, else what
    suits the two models. `close` may be a text such as `"agrees | step"`; it is read as
    `close_rule`, since `close()` frees the models. `policy` may be a template's name, the path of a
    .toml file or a dict of `Policy`'s settings; its rules look at `request_metadata`. `model` names
    the small model, or both as `model_name` reads out: `splitreason/<small>+<large>`. `audit` is an
    `AuditLog` or the path of one; `telemetry` a `Telemetry`, or False for no spans and metrics.
    `large` may be a list: where a model fails for good, after `max_retries` further calls, the next
    one goes on. `human_check` is a `HumanCheck`, or a function that is asked before each handoff.
    `redact` names what is hidden from large models on servers, such as `["email", "phone"]`, or is
    a function from a text to the parts to hide. `pause_key` signs paused requests: a key as text,
    or a list of keys, of which the first one signs.
    `close()`, or the end of a `with` or `async with`, frees both models.
    After `timeout` seconds a reply ends with what it has and `stop_reason` "deadline".
    """

    # An error that repeated what was given would show keys inside of it.
    model_config = ConfigDict(
        populate_by_name=True, arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    small: SpecField = declared("small")
    large: SpecField = declared("large")
    trigger: TriggerField = declared("trigger")
    policy: PolicyField = declared("policy", default_factory=Policy)
    temperature: float | None = declared("temperature")
    top_p: float | None = declared("top_p")
    top_k: int | None = declared("top_k")
    min_p: float | None = declared("min_p")
    repetition_penalty: float | None = declared("repetition_penalty")
    presence_penalty: float | None = declared("presence_penalty")
    frequency_penalty: float | None = declared("frequency_penalty")
    no_repeat_ngram_size: int | None = declared("no_repeat_ngram_size")
    max_tokens: int | None = declared("max_tokens")
    max_reasoning_tokens: int | None = declared("max_reasoning_tokens")
    thinking: bool | None = declared("thinking")
    timeout: float | None = declared("timeout")
    stop: list[str] | str | None = declared("stop", alias="stop_sequences")
    seed: int | None = declared("seed")
    show_schema: bool = declared("show_schema")
    request_metadata: dict[str, str] = declared("request_metadata", default_factory=dict)
    max_retries: int | None = declared("max_retries")
    retry: RetryField = declared("retry")
    on_large_failure: OnLargeFailure = declared("on_large_failure")
    human_check: HumanField = declared("human_check")
    close_rule: CloseField = declared("close", alias="close")
    handback_tokens: int = declared("handback_tokens")
    prefill_tokens: int | None = declared("prefill_tokens")
    audit: AuditField = declared("audit")
    redact: RedactField = declared("redact")
    pause_key: PauseKeyField = declared("pause_key", repr=False)
    telemetry: TelemetryField = declared("telemetry", default_factory=Telemetry)

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, given: Any) -> Any:
        """Refuse unknown options and unwritten ones; read `model` as the models that it names."""
        if not isinstance(given, dict):
            return given
        check_replaced(given)
        aliases = {field.alias for field in cls.model_fields.values() if field.alias}
        check_names(given, {*cls.model_fields, *aliases, *MODEL_NAMES}, what="option")
        for name in filter(OBJECTS.__contains__, given):
            check_written(name, given[name], again=cls._with_again(name))
        named = [given[name] for name in MODEL_NAMES if name in given]
        if not named:
            return given
        rest = {name: value for name, value in given.items() if name not in MODEL_NAMES}
        if not isinstance(rest.get("small", UNNAMED), Unnamed):
            raise ConfigurationError("give either model or small: model names the small model")
        pair = read_pair(named[0])
        if pair == {"small": "embedded"} and isinstance(rest.get("large", UNNAMED), Unnamed):
            pair["large"] = "embedded"
        return {**rest, **pair}

    @classmethod
    def _with_again(cls, option: str) -> str:
        """Return how plain data is read with one option given again, in the framework's words."""
        return f"{cls.__name__}(**{{**data, '{option}': ...}})"

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        check_pair(self.small, self.large)
        for option in TABLE:
            option.check(self._value_of(option.name))
        policy = self.policy if self.timeout is None else self.policy.within(self.timeout)
        check_ends(self._retry(), policy.deadline_s)
        return self

    @property
    def model_name(self) -> str:
        """The pair, as replies and traces name it."""
        return pair_name(self.small, self.large)

    @property
    def model(self) -> str:
        """The same as `model_name`."""
        return self.model_name

    def with_options(self, options: dict[str, Any]) -> Self:
        """Return a copy with some options replaced, checked as the constructor does."""
        check_replaced(options)
        if _KEY in options:
            raise ConfigurationError(
                f"{_KEY} is of the model, not of one call, whose arguments traces show: give it to "
                "the constructor, or set SPLITREASON_PAUSE_KEY"
            )
        check_names(options, CALL_NAMES, what="option")
        if not options:
            return self
        if _STOP in options and _ALSO_STOP in options:
            raise ConfigurationError(f"give either {_STOP} or {_ALSO_STOP}: they are the same")
        options = {_STOP if name == _ALSO_STOP else name: one for name, one in options.items()}
        kept = {name: self._value_of(name) for name in OPTIONS}
        if any(name in options for name in MODEL_NAMES):
            del kept["small"]
        return type(self)(**{**kept, **options})

    def close(self) -> None:
        """Free both models' memory, processes and connections; a later call loads them again.

        Other chat models that name the same specs share the models, and load them again too.

        Raises:
            ModelInUseError: a request still uses one of the models; none is freed then.

        """
        release(self.small, self.large)

    async def aclose(self) -> None:
        """Free both models, as `close` does, without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def engine(self) -> SplitEngine:
        """Return the engine that these settings describe."""
        policy = self.policy if self.timeout is None else self.policy.within(self.timeout)
        given = {name: self._value_of(name) for name in names_for("engine")}
        return SplitEngine(**{**given, "policy": policy, "retry": self._retry()})

    @property
    def uses_large(self) -> bool:
        """Whether a span can open at all; else no large model is loaded."""
        return self.engine().uses_large

    def request(
        self,
        messages: Sequence[Message],
        *,
        stop: list[str] | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: str = "auto",
        parallel_calls: bool | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> Request:
        """Return a request with these settings; `stop` goes before the settings' own.

        With `parallel_calls` False the reply has one tool call at most.
        """
        stop_at = self.stop if stop is None else stop
        return Request(
            messages=messages,
            tools=offered(tools, tool_choice) or None,
            response_schema=response_schema,
            show_schema=self.show_schema,
            must_call=must_call(tool_choice),
            max_calls=most_calls(tool_choice, parallel=parallel_calls),
            sampling=self.sampling(),
            max_tokens=self.max_tokens,
            max_reasoning_tokens=self.max_reasoning_tokens,
            thinking=self.thinking,
            stop=[stop_at] if isinstance(stop_at, str) else stop_at or (),
            seed=self.seed,
            metadata=self.request_metadata,
        )

    def _value_of(self, option: str) -> Any:
        return getattr(self, OPTIONS[option].attribute)

    def _retry(self) -> Retry:
        """Return how a failing large model is called again; `max_retries` counts further calls."""
        retry: Retry = self.retry or Retry()
        if self.max_retries is not None and retry.stop is not None:
            raise ConfigurationError(
                "give max_retries or Retry(stop=...), not both: stop says how many calls there are"
            )
        return retry if self.max_retries is None else replace(retry, attempts=self.max_retries + 1)

    def sampling(self) -> Sampling:
        """Return the sampling parameters."""
        return Sampling(**{name: getattr(self, name) for name in names_for("sampling")})

    def plain_options(self) -> dict[str, Any]:
        """Return all options as plain data."""
        engine = self.engine()
        plain = {
            "small": describe(self.small),
            "large": describe(self.large),
            "trigger": str(engine.trigger),
            "close": None if engine.close is None else str(engine.close),
            "policy": asdict(self.policy),
            "retry": type_name(self.retry),
            "human_check": type_name(self.human_check),
            "audit": str(self.audit.path) if self.audit else None,
            "redact": rule_names(self.redact),
            "pause_key": self.pause_key is not None,
            "telemetry": self.telemetry is not None,
        }
        return {name: plain.get(name, self._value_of(name)) for name in OPTIONS}
