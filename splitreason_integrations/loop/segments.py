"""A reply in segments, each from one question to the next: run one, keep one as plain data."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from splitreason_integrations.errors import PauseError
from splitreason_integrations.events import Event
from splitreason_integrations.humans.human import Answer, Paused, read_answer
from splitreason_integrations.humans.stored import REMEDY
from splitreason_integrations.loop.paused_state import check_paused
from splitreason_integrations.loop.state import Item
from splitreason_integrations.records import Completion, completion_from, delta_from
from splitreason_integrations.request import Request
from splitreason_integrations.text.tool_choice import Tool

Saved = dict[str, Any]
"""The result of a segment as plain data: the paused request, or all of a finished reply."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A paused request, and the answer with which it goes on."""

    paused: Paused
    answer: Answer

    @classmethod
    def of(cls, paused: Paused, given: Any, *, by: str = "program") -> "Answered":
        """Return a paused request with an `Answer`, or with what `read_answer` makes one of.

        Raises:
            PauseError: the paused request was changed or is damaged.
            ConfigurationError: the answer is none, or is to another question.

        """
        paused = check_paused(paused)
        return cls(paused, read_answer(given, by=by, to=paused.question))

    @property
    def request(self) -> Request:
        """The request as it was made."""
        return Request.of(self.paused.state["request"])

    @property
    def tools(self) -> list[Tool]:
        """The tools that the request offers."""
        return [dict(tool) for tool in self.request.tools or ()]

    @property
    def tool_choice(self) -> str:
        """Whether one of them must be called: `any` or `auto`."""
        return "any" if self.request.must_call else "auto"

    def __str__(self) -> str:
        """Return which question got which answer; traces show it as a resumed run's input."""
        answer = self.answer
        text = f": {answer.text}" if answer.text else ""
        return f"{self.paused.question.id}: {answer.decision} by {answer.by} at {answer.at}{text}"


class Engine(Protocol):
    """What runs a request, and goes on with a paused one: `SplitEngine`."""

    def stream(self, request: Request) -> AsyncGenerator[Item | Completion | Paused, None]:
        """Yield a request's items."""
        ...

    def resume(
        self, paused: Paused, answer: Answer, *, replay: bool = False
    ) -> AsyncGenerator[Item | Completion | Paused, None]:
        """Yield the items of a paused request from the answer on."""
        ...


def segment(
    engine: Engine, request: Request, answered: Answered | None = None
) -> AsyncGenerator[Item | Completion | Paused, None]:
    """Return the items of one segment; earlier deltas are replayed first, without their events."""
    if answered is None:
        return engine.stream(request)
    return engine.resume(answered.paused, answered.answer, replay=True)


def packed(items: Iterable[Item | Completion]) -> Saved:
    """Return a finished reply as plain data, without its events: they were yielded already."""
    return {"items": [asdict(item) for item in items if not isinstance(item, Event)]}


def unpacked(saved: Saved) -> list[Item | Completion]:
    """Return the deltas and the completion that `packed` described.

    Raises:
        PauseError: it is not what `packed` returned.

    """
    try:
        *deltas, reply = saved["items"]
        return [*map(delta_from, deltas), completion_from(reply)]
    except (KeyError, TypeError, ValueError) as error:
        raise PauseError(
            f"a finished reply was changed where it is kept ({type(error).__name__}: {error}); "
            f"{REMEDY}"
        ) from error
