"""What a paused request looks like as JSON; whatever else is read ends in one error.

The error names the place, the rule that it breaks and the remedy, and shows no text of users.
"""

import json
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splitreason_integrations.errors import PauseError

REMEDY = "take it from where it was stored first, or ask anew"

_MOST_CHARACTERS = 1 << 26
_MOST = 1 << 53

Count = Annotated[int, Field(ge=0, le=_MOST)]
"""How many there are of something."""
Amount = Annotated[float, Field(ge=0, le=1e12)]
"""Seconds, or USD."""
Name = Annotated[str, Field(max_length=10_000)]
"""A short text."""


class Stored(BaseModel):
    """A table of a stored request: no field more or less, and every value of its own type."""

    model_config = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


class StoredQuestion(Stored):
    """A `Question`."""

    request_id: Annotated[Name, Field(min_length=1)]
    span: Count
    start_token: Count
    moment: Literal["before", "after"]
    model: Name
    opened_by: Name
    context: str
    text: str = ""
    offload_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    cost_usd: Amount = 0.0
    metadata: dict[str, str] = {}


class StoredPause(Stored):
    """A `Paused`, what its state holds aside."""

    question: StoredQuestion
    state: dict[str, Any]
    timeout_s: Amount | None
    on_timeout: Literal["approve", "refuse", "stop"]
    signature: Annotated[str, Field(max_length=200)] | None = None


def read_pause(text: str) -> StoredPause:
    """Return a paused request that was written as JSON.

    Raises:
        PauseError: the text is another one.

    """
    try:
        return checked(StoredPause, _parsed(text))
    except PauseError as error:
        raise PauseError(f"not a paused request: {error}") from error


def as_json(data: Any) -> str:
    """Return plain data as JSON; raise PauseError where it holds what JSON does not."""
    try:
        return json.dumps(data, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise PauseError(
            f"a request that is paused must be plain data, as JSON holds it ({error}): leave the "
            "rest out of its messages, tools and schema"
        ) from error


_S = TypeVar("_S", bound=BaseModel)


def checked(kind: type[_S], data: Any, *, place: str = "") -> _S:
    """Return data as a stored table.

    Raises:
        PauseError: it is another one; the first value that is not as it should be is named, below
            `place`.

    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise PauseError(_said(error, place)) from None
    except RecursionError:
        raise PauseError(f"{place or 'it'} is nested too deeply; {REMEDY}") from None


def _said(error: ValidationError, place: str) -> str:
    first, *others = error.errors(include_url=False, include_context=False, include_input=False)
    at = ".".join([*filter(None, [place]), *map(str, first["loc"])]) or "it"
    more = f" (and {len(others)} more)" if others else ""
    said = first["msg"].removeprefix("Value error, ")
    return f"{at}: {said[0].lower()}{said[1:]}{more}; {REMEDY}"


def _parsed(text: Any) -> Any:
    if not isinstance(text, str):
        raise PauseError(f"it is of type {type(text).__name__} and no text; {REMEDY}")
    if len(text) > _MOST_CHARACTERS:
        raise PauseError(
            f"it has {len(text):,} characters, and at most {_MOST_CHARACTERS:,} are read; {REMEDY}"
        )
    try:
        infinite: list[float] = []

        def number(written: str) -> float:
            value = float(written)
            if not math.isfinite(value):
                infinite.append(value)
            return value

        data = json.loads(text, parse_constant=number, parse_float=number)
        place = next(_infinite(data, ""), None) if infinite else None
    except RecursionError:
        raise PauseError(f"it is nested too deeply; {REMEDY}") from None
    except ValueError as error:
        raise PauseError(f"it cannot be read as JSON ({error}); {REMEDY}") from error
    if place is not None:
        raise PauseError(f"{place}: should be a finite number; {REMEDY}")
    return data


def _infinite(data: Any, place: str) -> Iterator[str]:
    """Yield the places of numbers that are not finite."""
    if isinstance(data, float) and not math.isfinite(data):
        yield place[1:]
    if isinstance(data, dict | list):
        for name, one in data.items() if isinstance(data, dict) else enumerate(data):
            yield from _infinite(one, f"{place}.{name}")
