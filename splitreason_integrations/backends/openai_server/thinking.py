"""How the providers of chats switch a model's thoughts on and off.

Servers that render a chat template take its variables; providers have parameters of their own.
"""

from collections.abc import Callable, Mapping
from typing import Any

from splitreason_integrations.text.thinking import TemplateSettings

_Switch = Callable[[bool], dict[str, Any]]


def _typed(thinks: bool) -> dict[str, Any]:
    return {"thinking": {"type": "enabled" if thinks else "disabled"}}


def _flag(thinks: bool) -> dict[str, Any]:
    return {"enable_thinking": thinks}


def _effort(thinks: bool) -> dict[str, Any]:
    return {"reasoning_effort": "medium" if thinks else "none"}


def _routed(thinks: bool) -> dict[str, Any]:
    return {"reasoning": {"enabled": thinks}}


_SWITCHES: Mapping[str, _Switch] = {
    "api.deepseek.com": _typed,
    "api.moonshot.ai": _typed,
    "api.moonshot.cn": _typed,
    "api.z.ai": _typed,
    "open.bigmodel.cn": _typed,
    "dashscope.aliyuncs.com": _flag,
    "dashscope-intl.aliyuncs.com": _flag,
    "openrouter.ai": _routed,
    "api.openai.com": _effort,
    "generativelanguage.googleapis.com": _effort,
}
"""As the providers document them."""


def thinking_parameters(
    host: str, thinking: bool | None, variables: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters of a request that switch thoughts on or off, or say nothing of them.

    Args:
        host: of the server.
        thinking: whether the model is to think; None leaves it to the server.
        variables: of the model's chat template; providers have none, and get them as parameters.

    """
    switch = _SWITCHES.get(host)
    if switch is None:
        given = TemplateSettings(thinking, variables).as_variables()
        return {"chat_template_kwargs": given} if given else {}
    return {**({} if thinking is None else switch(thinking)), **variables}
