"""Conversations as chats are sent them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.errors import SessionError
from splitreason_integrations.protocols import Conversation, Prompt
from splitreason_integrations.text.prompts import opening_of


def opens_reasoning(prompt: Sequence[int]) -> bool:
    """Return whether a prompt has opened the reasoning."""
    return isinstance(prompt, Prompt) and bool(opening_of(prompt))


def said_of(prompt: Sequence[int]) -> Conversation:
    """Return what a prompt was made of; raise SessionError for bare ids."""
    said = prompt.said if isinstance(prompt, Prompt) else None
    if said is None:
        raise SessionError(
            "a model that is sent messages needs the prompt that its codec rendered, not ids alone"
        )
    return said


def sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as it goes over the wire: the arguments of calls are JSON as text."""
    changed = dict(message)
    if changed.get("tool_calls"):
        changed["tool_calls"] = [_call(call) for call in changed["tool_calls"]]
    return changed


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function", call))
    if not isinstance(function.get("arguments"), str):
        function["arguments"] = json.dumps(function.get("arguments") or {}, ensure_ascii=False)
    return {**call, "type": "function", "function": function}
