"""How chats are asked to continue the assistant's last message, and which providers know how."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from splitreason_integrations.backends.openai_server.text import SHOWS_TOKENS


@dataclass(frozen=True, slots=True)
class Mark:
    """How a request asks a server to continue the last message.

    Attributes:
        message: fields of that message.
        body: fields of the request.
        is_own: whether such a server runs the model as it is, with parameters of its kind.
        may_echo: whether the answer may begin with the message that it continues.

    """

    message: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    is_own: bool = False
    may_echo: bool = False


MARKS: Mapping[str, Mark] = {
    "continue": Mark(
        body={"continue_final_message": True, "add_generation_prompt": False, **SHOWS_TOKENS},
        is_own=True,
    ),
    "prefix": Mark(message={"prefix": True}, may_echo=True),
    "partial": Mark(message={"partial": True}),
    "trailing": Mark(),
}
"""vLLM, SGLang; DeepSeek's beta, Mistral, LiteLLM; Qwen, Moonshot; Anthropic, OpenRouter."""

PLAIN = "plain"
HOSTS: Mapping[str, str] = {
    "api.deepseek.com": "prefix",
    "api.mistral.ai": "prefix",
    "dashscope.aliyuncs.com": "partial",
    "dashscope-intl.aliyuncs.com": "partial",
    "api.moonshot.ai": "partial",
    "api.moonshot.cn": "partial",
    "api.anthropic.com": "trailing",
    "openrouter.ai": "trailing",
    "api.openai.com": PLAIN,
}
"""Providers known by their addresses, where no dialect need be tried."""
