"""What servers say when they fail: the message, and whether the same request may succeed later.

Every server has its own form. The HTTP status alone does not decide: a used-up quota comes as 429,
a prompt that is too long as 500, and an error within a stream has no status at all.
"""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

_MESSAGES = (
    "error",
    "errors",
    "message",
    "detail",
    "msg",
    "error_msg",
    "status_msg",
    "base_resp",
    "text",
)
_NUMBERS = ("code", "status", "status_code", "http_code", "error_code")
_NAMES = ("code", "type", "error_type", "status")
_ABOUT = (*_NAMES, "param", "loc")
_RETRYABLE = frozenset({408, 409, 425, 429})
_LASTING = frozenset({501, 505})
_LONGEST_WAIT_S = 86_400.0
_DEEPEST = 4

BAD_REQUEST = 400
USED_UP = 402
FAILED = 500
UNAVAILABLE = 503

_OVERFLOW = re.compile(
    r"context.?(length|window|size|limit)"
    r"|(prompt|input|request|message)s? (is |are )?too (long|large)"
    r"|too many (input )?tokens|reduce the length|maximum (number of )?(input )?tokens"
)
_USED_UP = re.compile(r"insufficient.(balance|quota|credit|fund)|(your|current) quota|billing")
_LASTING_WORDS: Mapping[int, re.Pattern[str]] = {
    401: re.compile(r"authenticat|unauthori[sz]ed|api_?key|invalid_token"),
    USED_UP: re.compile(r"quota|billing|payment|balance|credit|deactivated|suspended"),
    403: re.compile(r"permission|forbidden|content_|policy|safety|moderation|sensitive|denied"),
    404: re.compile(r"not_?found|no_such|does_?not_?exist"),
    BAD_REQUEST: re.compile(
        r"context_?(length|window)|too_(long|large)|above_max|below_min|exceeds?_|invalid|bad_?req"
        r"|validation|unsupported|not_?supported|unknown|unrecognized|missing|value_?error"
    ),
}
"""What a code or a type says of the request itself, by the HTTP status that fits."""
_BUSY = re.compile(r"throttl|rate_?(limit|quota)|too_?many_?requests|overload")
_PASSING = re.compile(
    r"rate_?limit|too_?many|throttl|overload|capacity|busy|unavailable|server_?error|internal"
    r"|time_?d?_?out|upstream|gateway|network|connection|temporar|try_?again|loading|aborted"
    r"|api_error|engine|exhausted|incomplete|cancel|econn|etimed|socket"
)
"""What a code, a type or a message says of the server, which may be another one later."""


def reported(data: Any) -> Any | None:
    """Return the error that an answer's data report, in any server's form; None without one."""
    if not isinstance(data, Mapping):
        return None
    for name in ("error", "errors"):
        if data.get(name):
            # The code may be beside the message.
            return data if isinstance(data[name], str) else data[name]
    if "error" in (data.get("object"), data.get("type")):
        return data
    if data.get("choices"):
        return None
    base = data.get("base_resp")
    if isinstance(base, Mapping) and base.get("status_code"):
        return base
    says = any(isinstance(data.get(name), str | list) and data[name] for name in _MESSAGES[2:6])
    return data if says or data.get("error_code") else None


def message_of(error: Any) -> str:
    """Return the message in an error's data, however it is nested."""
    for _ in range(_DEEPEST):
        if isinstance(error, list) and len(error) == 1:
            error = error[0]
        if not isinstance(error, Mapping):
            break
        named = next((name for name in _MESSAGES if error.get(name)), None)
        if named is None:
            break
        error = error[named]
    return error if isinstance(error, str) else json.dumps(error, ensure_ascii=False, default=str)


def words_of(error: Any) -> str:
    """Return what an error says of the parameter that it is about: its code, type and parameter."""
    said = list[str]()
    for name, value in ((name, one.get(name)) for one in _levels(error) for name in _ABOUT):
        if isinstance(value, list):
            value = ".".join(map(str, value))
        if isinstance(value, str) and value:
            said.append(f"{name} {value}")
    return ", ".join(said)


def status_of(error: Any, http: int | None = None) -> int:
    """Return the HTTP status that fits an error.

    Args:
        error: its data, or its text.
        http: the status that it came with, None within a stream.

    """
    levels = _levels(error)
    number = next((one for level in levels for one in _numbers(level)), http)
    if number is not None and not is_retryable(number):
        return number
    names = [one.get(name) for name in _NAMES for one in levels]
    for name in (one.lower() for one in names if isinstance(one, str) and not one.isdigit()):
        is_busy = _BUSY.search(name)
        if not is_busy and (lasting := _lasting(name)) is not None:
            return lasting
        if is_busy or _PASSING.search(name):
            return number or UNAVAILABLE
    said = message_of(error).lower()
    if _OVERFLOW.search(said):
        return BAD_REQUEST
    if _USED_UP.search(said):
        return USED_UP
    if number is not None:
        return number
    if _PASSING.search(re.sub(r"\W+", "_", said)):
        return UNAVAILABLE
    # A code that nobody knows: servers give codes to what is wrong with a request.
    coded = any(isinstance(one.get("code"), str) for one in levels)
    return BAD_REQUEST if coded else FAILED


def is_overflow(said: str) -> bool:
    """Return whether a server's words say that a context is too short."""
    return _OVERFLOW.search(said.lower()) is not None


def is_passing(said: str) -> bool:
    """Return whether a server's words, without any data, say that it may answer later."""
    return _PASSING.search(re.sub(r"\W+", "_", said.lower())) is not None


def is_retryable(status: int) -> bool:
    """Return whether a request that was refused with this status may succeed later."""
    return status in _RETRYABLE or (500 <= status < 600 and status not in _LASTING)


def remedy_of(status: int) -> str:
    """Return what to do about a status, where that is known."""
    return {
        401: "; set api_key or api_key_env",
        403: "; set api_key or api_key_env",
        404: "; see that the address ends in /v1 or the like and that the model's name is right",
    }.get(status, "")


def retry_after_s(value: str) -> float | None:
    """Return how long a server asks to wait: seconds, or until a date."""
    try:
        asked = float(value)
    except ValueError:
        try:
            asked = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(asked, 0.0), _LONGEST_WAIT_S) if math.isfinite(asked) else None


def _levels(error: Any) -> list[Mapping[str, Any]]:
    """Return the error's data and what they nest, the innermost first."""
    found = list[Mapping[str, Any]]()
    for _ in range(_DEEPEST):
        if isinstance(error, list) and error:
            error = error[0]
        if not isinstance(error, Mapping):
            break
        found.insert(0, error)
        error = next((error[name] for name in _MESSAGES if error.get(name)), None)
    return found


def _numbers(level: Mapping[str, Any]) -> Iterator[int]:
    for name in _NUMBERS:
        value = level.get(name)
        number = int(value) if isinstance(value, str) and value.isdecimal() else value
        if type(number) is int and 400 <= number < 600:
            yield number


def _lasting(name: str) -> int | None:
    return next((status for status, words in _LASTING_WORDS.items() if words.search(name)), None)
