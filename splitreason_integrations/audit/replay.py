"""A recorded request run anew, and whether the reply is the same."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import groupby, takewhile
from typing import Any

from splitreason_integrations.audit.history import RequestHistory
from splitreason_integrations.audit.settings import rule_from
from splitreason_integrations.backends.registry import ModelSpec
from splitreason_integrations.decide.closing import CloseRule, TagClose
from splitreason_integrations.decide.triggers import Trigger
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import AuditError
from splitreason_integrations.options import TABLE
from splitreason_integrations.records import Completion
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.settings.option_fields import check_policy

_ENGINE = [one.name for one in TABLE if one.taker == "engine" and one.kind is not object]
_REQUEST = {field.name for field in fields(Request)} - {"request_id"}


@dataclass(frozen=True, slots=True)
class Replay:
    """Both replies as text, reasoning and answer joined, and whether their tokens are the same."""

    recorded: str
    again: str
    same_tokens: bool

    @property
    def identical(self) -> bool:
        """Whether text, authors and tokens are the same."""
        return self.same_tokens and self.recorded == self.again

    @property
    def differs_at(self) -> int:
        """How many characters at the beginning are the same."""
        pairs = zip(self.recorded, self.again, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def pieces_of(request: RequestHistory) -> list[Mapping[str, Any]]:
    """Return the recorded reply piece by piece; raise AuditError where there is none."""
    if not request.finished:
        raise AuditError(
            f"request {request.request_id} is {request.status}: it has no reply to replay; "
            "name a finished one"
        )
    if "pieces" not in request.finished:
        raise AuditError(
            f"the texts of request {request.request_id} were not recorded; log with "
            "AuditLog(path, content=True) to replay"
        )
    pieces: list[Mapping[str, Any]] = request.finished["pieces"]
    return pieces


async def run_again(
    request: RequestHistory, *, small: ModelSpec | None = None, large: ModelSpec | None = None
) -> Replay:
    """Run a finished request with its recorded seed, models, trigger and policy; no human check.

    Models that were loaded objects are to be named. Raises AuditError where the texts were not
    recorded, and what the engine raises.
    """
    pieces = pieces_of(request)
    engine = engine_of(request.started["engine"], small=small, large=large)
    reply = await engine.complete(request_of(request.started["request"]))
    recorded = request.finished["reasoning"] + request.finished["answer"]
    return Replay(recorded, reply.reasoning + reply.answer, _runs(pieces) == _runs_of(reply))


def engine_of(
    settings: Mapping[str, Any], *, small: ModelSpec | None = None, large: ModelSpec | None = None
) -> SplitEngine:
    """Return the engine that recorded settings describe, without a log and a human check.

    Raises AuditError or ConfigurationError where this version cannot do what was recorded.
    """
    try:
        return SplitEngine(
            small=small or settings["small"],
            large=large or settings["large"],
            trigger=rule_from(settings["trigger"], Trigger),
            close=_close_of(settings),
            policy=check_policy(settings["policy"]),
            **{name: settings[name] for name in _ENGINE},
        )
    except (KeyError, TypeError) as error:
        raise _of_another_version(error) from error


def _close_of(settings: Mapping[str, Any]) -> CloseRule | None:
    """Return the recorded close rule; earlier versions recorded a threshold."""
    if "close_threshold" in settings:
        return TagClose(settings["close_threshold"])
    close = settings["close"]
    return None if close is None else rule_from(close, CloseRule)


def request_of(settings: Mapping[str, Any]) -> Request:
    """Return the request that recorded settings describe."""
    given = {name: value for name, value in settings.items() if name in _REQUEST}
    try:
        # Without the setting, it is of a version that showed no schema.
        given.setdefault("show_schema", False)
        seed = settings.get("seed")
        given["seed"] = int(seed, 0) if isinstance(seed, str) else seed  # a long one is text
        return Request(**{**given, "sampling": Sampling(**settings["sampling"])})
    except (KeyError, TypeError) as error:
        raise _of_another_version(error) from error


def _of_another_version(error: Exception) -> AuditError:
    return AuditError(
        f"the recorded settings do not fit this version ({error}); replay with the version of "
        "splitreason-integrations that recorded them"
    )


def _runs(pieces: list[Mapping[str, Any]]) -> list[tuple[str, list[int]]]:
    """Return the token ids of consecutive pieces of one author, joined."""
    runs = groupby((one for one in pieces if one["token_ids"]), key=lambda one: one["author"])
    return [
        (author, [token for piece in run for token in piece["token_ids"]]) for author, run in runs
    ]


def _runs_of(reply: Completion) -> list[tuple[str, list[int]]]:
    return [(str(piece.author), list(piece.token_ids)) for piece in reply.pieces]
