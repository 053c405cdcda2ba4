"""A request, its events and its reply as attributes; texts only where content is recorded."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from splitreason_integrations.audit.privacy import is_name
from splitreason_integrations.backends.registry import PROVIDER, public_name
from splitreason_integrations.events import Event
from splitreason_integrations.records import Completion, Message
from splitreason_integrations.telemetry import names
from splitreason_integrations.telemetry.request_facts import RequestFacts

_CONVENTIONS = {"error": names.ERROR_TYPE, "model": names.REQUEST_MODEL}
_MODELS = ("model", "to")
_PERSONAL = ("by",)
"""Who answered. The audit log records it, a trace only where content is recorded."""


def shared_attributes(pair: str) -> dict[str, str]:
    """Return the attributes that all spans and metrics of a request have."""
    return {
        names.OPERATION_NAME: names.CHAT,
        names.PROVIDER_NAME: PROVIDER,
        names.REQUEST_MODEL: pair,
    }


def request_attributes(facts: RequestFacts, *, content: bool) -> dict[str, Any]:
    """Return the attributes of a request as it begins."""
    request, sampling = facts.request, facts.request.sampling
    given = {
        names.REQUEST_MAX_TOKENS: request.max_tokens,
        names.REQUEST_SEED: request.seed,
        names.REQUEST_TEMPERATURE: sampling.temperature,
        names.REQUEST_TOP_K: sampling.top_k,
        names.REQUEST_TOP_P: sampling.top_p,
        names.REQUEST_FREQUENCY_PENALTY: sampling.frequency_penalty,
        names.REQUEST_PRESENCE_PENALTY: sampling.presence_penalty,
        names.INPUT_MESSAGES: _input(request.messages) if content else None,
    }
    return {
        **shared_attributes(facts.pair),
        names.OUTPUT_TYPE: "text" if request.response_schema is None else "json",
        names.RESPONSE_ID: request.request_id,
        names.TRIGGER: facts.trigger,
        names.RESUMED: facts.state is not None,
        **{name: value for name, value in given.items() if value is not None},
        **{f"{names.METADATA}.{name}": _sound(text) for name, text in request.metadata.items()},
    }


def reply_attributes(reply: Completion, *, content: bool) -> dict[str, Any]:
    """Return the attributes of a finished reply: tokens, share, cost, stop reason."""
    return {
        names.OUTCOME: names.FINISHED,
        names.RESPONSE_FINISH_REASONS: [reply.stop_reason],
        names.INPUT_TOKENS: reply.prompt_tokens,
        names.OUTPUT_TOKENS: reply.tokens,
        names.REASONING_TOKENS: reply.reasoning_tokens,
        names.SMALL_TOKENS: reply.small_tokens,
        names.LARGE_TOKENS: reply.large_tokens,
        names.HUMAN_TOKENS: reply.human_tokens,
        names.OFFLOAD_SHARE: reply.offload_share,
        names.SPANS: len(reply.spans),
        names.COST_USD: reply.cost_usd,
        names.DEGRADED: reply.degraded,
        names.TRIGGER: reply.trigger,
        **_rules_and_reading(reply),
        **({names.OUTPUT_MESSAGES: _output(reply)} if content else {}),
    }


def _rules_and_reading(reply: Completion) -> dict[str, Any]:
    """Return what ended the spans, and what the large model read while the small one wrote."""
    facts = {
        names.CLOSE: reply.close,
        names.READ_AHEAD_TOKENS: reply.read_ahead_tokens,
        names.SMALL_SURPLUS_TOKENS: reply.small_surplus_tokens,
    }
    return {name: value for name, value in facts.items() if value}


def event_attributes(event: Event, *, content: bool) -> dict[str, Any]:
    """Return the attributes of an event; a text counts as content unless it is a known name."""
    facts = event.data()
    del facts["request_id"]
    return {
        _CONVENTIONS.get(name, f"splitreason.{name}"): _shown(name, value)
        for name, value in facts.items()
        if isinstance(value, str | int | float) and (content or not _is_private(name, value))
    }


def _is_private(name: str, value: object) -> bool:
    return isinstance(value, str) and (name in _PERSONAL or not is_name(name))


def _shown(name: str, value: Any) -> Any:
    if name in _MODELS:
        return public_name(value)
    return _sound(value) if isinstance(value, str) else value


def _sound(text: str) -> str:
    """Return a text that can be sent: half of a surrogate pair would cost the whole batch."""
    return text.encode("utf-8", "replace").decode()


def _input(messages: Iterable[Message]) -> str:
    """Return messages as the conventions have them, in JSON."""
    return _json([{"role": str(one.get("role")), "parts": _parts(one)} for one in messages])


def _parts(message: Message) -> list[dict[str, Any]]:
    if message.get("role") == "tool":
        called = message.get("tool_call_id")
        return [{"type": "tool_call_response", "id": called, "response": message.get("content")}]
    functions = [(call.get("id"), call["function"]) for call in message.get("tool_calls") or ()]
    return [
        *_texts(message.get("reasoning_content"), message.get("content")),
        *(_call(number, one["name"], one["arguments"]) for number, one in functions),
    ]


def _output(reply: Completion) -> str:
    calls = [_call(call.id, call.name, call.arguments) for call in reply.tool_calls]
    parts = [*_texts(reply.reasoning, reply.answer), *calls]
    return _json([{"role": "assistant", "parts": parts, "finish_reason": reply.stop_reason}])


def _texts(reasoning: Any, answer: Any) -> list[dict[str, Any]]:
    both = (("reasoning", reasoning), ("text", answer))
    return [{"type": kind, "content": text} for kind, text in both if text]


def _call(number: str | None, name: str, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"type": "tool_call", "id": number, "name": name, "arguments": arguments}


def _json(value: Any) -> str:
    return _sound(json.dumps(value, ensure_ascii=False, default=str))
