"""Every option of a pair, declared once: name, type, range, default and text.

The engine, the chat models and the command read this table, so an option has the same range, the
same default and the same text wherever it can be set.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from splitreason_integrations.checks import check_number
from splitreason_integrations.embedded import UNNAMED
from splitreason_integrations.errors import SettingError

OnLargeFailure = Literal["small", "raise"]

Taker = Literal["engine", "sampling", "request", "chat"]
"""What an option is a field of: `SplitEngine`, `Sampling`, `Request`, or the chat models alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing that can be set on a pair.

    Attributes:
        name: keyword of the chat models and of a single call.
        taker: what it is a field of.
        text: what it does, in one sentence; shown by `--help` and in JSON schemas.
        kind: type of its value: float, int or str; object where a check of its own reads it.
        default: its value where nobody sets it; None also where the taker makes a default object.
        least: smallest value of a number.
        most: largest value of a number.
        above: whether a number must be larger than `least`.
        choices: the values of a text, if only some are allowed.
        field: its attribute on the chat models; empty for its name.

    """

    name: str
    taker: Taker
    text: str
    kind: type = object
    default: Any = None
    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    choices: tuple[str, ...] = ()
    field: str = ""

    @property
    def attribute(self) -> str:
        """The attribute of the chat models that holds its value."""
        return self.field or self.name

    @property
    def flag(self) -> str:
        """The option as a command line has it."""
        return f"--{self.name.replace('_', '-')}"

    def check(self, value: Any) -> None:
        """Check a value; an option whose default is None may be None.

        Raises:
            SettingError: the value is out of range or of another type.

        """
        if value is None and self.default is None:
            return
        if self.choices and value not in self.choices:
            choices = " or ".join(map(repr, self.choices))
            raise SettingError(f"{self.name} must be {choices}, got {value!r}", (self.name,))
        if self.kind in (int, float):
            whole = self.kind is int
            check_number(self.name, value, least=self.least, most=self.most, whole=whole)
            if self.above and value <= self.least:
                raise SettingError(
                    f"{self.name} must be above {self.least:g}, got {value}", (self.name,)
                )

    def json_schema(self) -> dict[str, Any]:
        """Return the range as keywords of a JSON schema."""
        schema: dict[str, Any] = {"enum": list(self.choices)} if self.choices else {}
        if math.isfinite(self.least):
            schema["exclusiveMinimum" if self.above else "minimum"] = self.least
        if math.isfinite(self.most):
            schema["maximum"] = self.most
        return schema


_MODELS = "embedded, hf:<folder or name>, vllm:<folder or name>, or http://<host>/v1#<model>."
_BOTH = "Name both models or neither."

TABLE = (
    Option(
        name="small",
        taker="engine",
        text=f"Small model: {_MODELS} {_BOTH}",
        default=UNNAMED,
    ),
    Option(
        name="large",
        taker="engine",
        text=f"Large model: {_MODELS} {_BOTH}",
        default=UNNAMED,
    ),
    Option(
        name="trigger",
        taker="engine",
        text="What opens a span: tag, tag>0.2, disagreement<0.1, entropy>1.5, step-entropy>1.2, "
        "confidence<0.4, loop, opening:64, random:0.05, keyword:PATTERN, always, never; several "
        "join with | and &, with PATTERN in double quotes; unset, what the policy says, else "
        "what suits the two models.",
    ),
    Option(
        name="policy",
        taker="engine",
        text="What is allowed: a ready-made policy's name, or a .toml file.",
    ),
    Option(
        name="temperature",
        taker="sampling",
        text="Sampling temperature; 0 is greedy, unset is the models' own default.",
        kind=float,
        least=0,
        most=100,
    ),
    Option(
        name="top_p",
        taker="sampling",
        text="Sample from the likeliest tokens that together have this probability.",
        kind=float,
        least=0,
        above=True,
        most=1,
    ),
    Option(
        name="top_k",
        taker="sampling",
        text="Sample from this many of the likeliest tokens.",
        kind=int,
        least=1,
    ),
    Option(
        name="min_p",
        taker="sampling",
        text="Leave out tokens whose probability is less than this share of the likeliest one's.",
        kind=float,
        least=0,
        most=1,
    ),
    Option(
        name="repetition_penalty",
        taker="sampling",
        text="Make tokens of the prompt and the reply less likely: positive logits are divided by "
        "it, others multiplied; 1 is off.",
        kind=float,
        least=0,
        above=True,
    ),
    Option(
        name="presence_penalty",
        taker="sampling",
        text="Subtract this from the logits of tokens that the reply has already; 0 is off.",
        kind=float,
        least=-2,
        most=2,
    ),
    Option(
        name="frequency_penalty",
        taker="sampling",
        text="Subtract this from a token's logit for each time that the reply has it; 0 is off.",
        kind=float,
        least=-2,
        most=2,
    ),
    Option(
        name="no_repeat_ngram_size",
        taker="sampling",
        text="Write no sequence of this many tokens that the prompt or the reply has already; 0 "
        "is off; for hf models.",
        kind=int,
        least=0,
    ),
    Option(
        name="max_tokens",
        taker="request",
        text="Longest reply in tokens, reasoning included.",
        kind=int,
        least=1,
    ),
    Option(
        name="max_reasoning_tokens",
        taker="request",
        text="Most tokens of reasoning; it is then ended, and the answer written.",
        kind=int,
        least=0,
    ),
    Option(
        name="thinking",
        taker="request",
        text="Whether the models think before they answer; unset, each does as it is set up.",
    ),
    Option(
        name="timeout",
        taker="chat",
        text="Seconds after which a reply ends with what it has.",
        kind=float,
        least=0,
        above=True,
    ),
    Option(name="stop", taker="request", text="Texts at which the answer ends."),
    Option(
        name="seed",
        taker="request",
        text="Seed of sampling; unset, it is drawn at random and reported.",
        kind=int,
    ),
    Option(
        name="show_schema",
        taker="request",
        text="Whether the models read the JSON schema that an answer is held to, at the end of the "
        "user's message.",
        default=True,
    ),
    Option(
        name="request_metadata",
        taker="request",
        text="Names and texts by which the policy's rules choose what applies.",
    ),
    Option(
        name="max_retries",
        taker="chat",
        text="Further calls of a failing large model before the next one goes on.",
        kind=int,
        least=0,
    ),
    Option(
        name="retry",
        taker="engine",
        text="How a failing large model is called again: a Retry such as Retry(attempts=2).",
    ),
    Option(
        name="on_large_failure",
        taker="engine",
        text="Once every large model failed: small has the small model write on, raise ends the "
        "request with the error.",
        kind=str,
        default="small",
        choices=get_args(OnLargeFailure),
    ),
    Option(
        name="human_check",
        taker="engine",
        text="Who is asked before or after a handoff: a HumanCheck, or a function that is asked "
        "before each.",
    ),
    Option(
        name="close",
        taker="engine",
        text="What ends a span: tag>0.5, agrees, agrees:2, agrees>0.9, entropy<0.5, step; several "
        "join with | and &; tag>1 leaves the end to the large model; unset, what the policy says, "
        "else what suits the small model.",
        field="close_rule",
    ),
    Option(
        name="handback_tokens",
        taker="engine",
        text="Tokens of the large model that the small one reads at a time, to find a span's end.",
        kind=int,
        default=8,
        least=1,
    ),
    Option(
        name="prefill_tokens",
        taker="engine",
        text="Unread tokens at which a large model run by vLLM reads ahead; unset, it does not.",
        kind=int,
        least=1,
    ),
    Option(
        name="audit",
        taker="engine",
        text="Audit log to record requests in, by its path.",
    ),
    Option(
        name="redact",
        taker="engine",
        text="What is hidden from large models on servers: rules such as email, or a function "
        "from a text to the parts to hide.",
        default=(),
    ),
    Option(
        name="pause_key",
        taker="engine",
        text="What signs requests that wait for a person: a key, or several, of which the first "
        "one signs; unset, those in SPLITREASON_PAUSE_KEY. It is written and shown nowhere.",
    ),
    Option(
        name="telemetry",
        taker="engine",
        text="Where OpenTelemetry's spans and metrics go: a Telemetry, or False for nowhere.",
    ),
)

OPTIONS = {option.name: option for option in TABLE}
"""All options by name."""


_REPLACED = "close_threshold"


def names_for(taker: Taker) -> tuple[str, ...]:
    """Return the names of the options that are fields of one taker."""
    return tuple(option.name for option in TABLE if option.taker == taker)


def check_replaced(given: Mapping[str, Any]) -> None:
    """Refuse `close_threshold`, which `close` replaces.

    Raises:
        SettingError: it is given; the error has the new form of its value.

    """
    if _REPLACED in given:
        raise SettingError(f"{_REPLACED} is now close: {_new_form(given[_REPLACED])}", (_REPLACED,))


def replaced_flag(value: str | None) -> str:
    """Return what a command says where `--close-threshold` is given: the new form of its value."""
    return f"it is now --close: write --close 'tag>{_threshold(value)}'"


def _new_form(value: Any) -> str:
    note = ", which leaves the end to the large model" if _threshold(value) == "1" else ""
    return f'write close = "tag>{_threshold(value)}"{note}'


def _threshold(value: Any) -> str:
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return "0.5"


def check_options(taker: Taker, value: object) -> None:
    """Check the fields of an engine, of a sampling or of a request that the table has a range for.

    Raises:
        SettingError: a field is out of range or of another type.

    """
    for name in names_for(taker):
        if hasattr(value, name):
            OPTIONS[name].check(getattr(value, name))
