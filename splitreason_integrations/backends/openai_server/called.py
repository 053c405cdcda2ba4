"""Tool calls that a server sends beside the text: the text that the model wrote for them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.backends.openai_server.wire import UnreadableError
from splitreason_integrations.protocols import ReplyFormat

_MOST_CALLS = 128


def calls_in(delta: Mapping[str, Any]) -> Sequence[Any]:
    """Return the pieces of tool calls in an event, also in the form of older servers."""
    if isinstance(older := delta.get("function_call"), Mapping):
        return [{"index": 0, "function": older}]
    calls = delta.get("tool_calls")
    return calls if isinstance(calls, list) else ()


class CalledTools:
    """Tool calls, put together of their pieces.

    Servers that find calls in the text send them so even if they are asked not to.
    """

    def __init__(self, form: ReplyFormat) -> None:
        self._form = form
        self._calls: dict[int, tuple[str, str]] = {}

    def add(self, pieces: Sequence[Any]) -> None:
        """Take the pieces of an event; raise UnreadableError if they are none."""
        for at, piece in enumerate(pieces):
            function = piece.get("function") if isinstance(piece, Mapping) else None
            index = piece.get("index", at) if isinstance(function, Mapping) else None
            if not isinstance(function, Mapping) or type(index) is not int:
                raise UnreadableError("a tool call is of another type")
            name, arguments = function.get("name"), function.get("arguments")
            if isinstance(arguments, Mapping):
                arguments = json.dumps(arguments, ensure_ascii=False)
            if not isinstance(name or "", str) or not isinstance(arguments or "", str):
                raise UnreadableError("a tool call is of another type")
            before = self._calls.get(index, ("", ""))
            self._calls[index] = (before[0] or name or "", before[1] + (arguments or ""))
            if len(self._calls) > _MOST_CALLS:
                raise UnreadableError("has too many tool calls", lasting=True)

    def first(self) -> tuple[str, str] | None:
        """Return the name and the arguments of the first call; None where there is none."""
        for name, arguments in self._calls.values():
            if name:
                return name, arguments or "{}"
        return None

    def take(self) -> str:
        """Return the calls as the model's family writes them, once; raise UnreadableError."""
        calls, self._calls = self._calls, {}
        return "".join(
            self._form.write_call(name, _checked(arguments or "{}"))
            for name, arguments in calls.values()
            if name
        )

    def __bool__(self) -> bool:
        return bool(self._calls)


def _checked(arguments: str) -> str:
    try:
        is_object = isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise UnreadableError("calls a tool by no JSON object", lasting=True)
    return arguments
