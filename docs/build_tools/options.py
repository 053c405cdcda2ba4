"""The table of options, from the one that engine, chat models and command read."""

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from build_tools.markdown import anchored, code, sentence, table, type_text
from langchain_splitreason.chat_model import SplitReasonLLM
from splitreason_integrations.cli import ask
from splitreason_integrations.embedded import Unnamed
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.options import TABLE, Option

_TAKERS = {
    "engine": "`SplitEngine`",
    "sampling": "`Sampling`",
    "request": "`Request`",
    "chat": "chat models only",
}


def options() -> str:
    """Return the table of all options."""
    head = ("Option", "Meaning", "Type", "Range", "Default", "Field of", "`splitreason ask`")
    return table(head, map(_row, TABLE))


_ALSO = {
    "audit": "`str` or `Path`: the log's path",
    "human_check": "a function",
    "telemetry": "`False`",
}
"""What chat models take beside the type that the engine has."""


def _row(option: Option) -> tuple[str, ...]:
    return (
        anchored(option.name, prefix="option"),
        sentence(option.text),
        ", or ".join(filter(None, (code(_type(option)), _ALSO.get(option.name)))),
        _range(option),
        _default(option),
        _TAKERS[option.taker],
        code(option.flag) if option.name in _flags() else "",
    )


@cache
def _flags() -> frozenset[str]:
    """Return the options that `splitreason ask` has a flag for."""
    command: Callable[..., Any] = ask.ask
    return frozenset(inspect.signature(command).parameters)


def _type(option: Option) -> str:
    """Return its type in the chat models; where they read several, what the engine has."""
    annotation: Any = SplitReasonLLM.model_fields[option.attribute].annotation
    if annotation is Any:
        annotation = SplitEngine.__dataclass_fields__[option.name].type
    return type_text(annotation)


def _range(option: Option) -> str:
    if option.choices:
        return " or ".join(map(code, option.choices))
    if math.isinf(option.least) and math.isinf(option.most):
        return ""
    above = "above " if option.above else ""
    if math.isinf(option.most):
        return f"{above}{option.least:g}" + ("" if option.above else " or more")
    return f"{above}{option.least:g} to {option.most:g}"


def _default(option: Option) -> str:
    if isinstance(option.default, Unnamed):
        return "`embedded`, where neither model is named"
    if option.default in (None, ()):
        return "unset"
    return code(option.default)
