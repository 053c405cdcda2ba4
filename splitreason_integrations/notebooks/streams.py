"""A reply in a notebook while it is written: one output, drawn anew a few times a second."""

import time
from collections.abc import AsyncIterable, Iterable
from importlib import import_module
from typing import Any, TypeVar

from splitreason_integrations.checks import check_extra
from splitreason_integrations.errors import RequestError
from splitreason_integrations.notebooks.replies import view_of
from splitreason_integrations.records import Completion, Delta, runs_of
from splitreason_integrations.records.view import ReplyView

_EVERY_S = 0.1
"""Least seconds between two drawings, which the notebook has to keep up with."""

_Part = TypeVar("_Part")


def live(stream: Iterable[_Part]) -> Any:
    """Show a reply while it is streamed; return the whole reply.

    Args:
        stream: What `stream` of LangChain's chat model or `stream_chat` and `stream_complete` of
            LlamaIndex's return.

    Returns:
        The sum of LangChain's chunks, or LlamaIndex's last response.

    Raises:
        RequestError: The stream has no part, or is of no `SplitReasonLLM`.
        MissingExtraError: IPython is not installed.

    """
    screen = _Screen()
    try:
        for part in stream:
            screen.add(part)
    finally:
        screen.draw()
    return screen.reply()


async def live_async(stream: AsyncIterable[_Part]) -> Any:
    """Show a reply while it is streamed, as `live` does.

    Args:
        stream: What `astream` of LangChain's chat model returns, what `await` of LlamaIndex's
            `astream_chat` and `astream_complete` gives, or a stream of the engine.

    Returns:
        As `live` does; of an engine's stream the completion.

    Raises:
        RequestError: As `live` does.
        MissingExtraError: As `live` does.

    """
    screen = _Screen()
    try:
        async for part in stream:
            screen.add(part)
    finally:
        screen.draw()
    return screen.reply()


class _Screen:
    """The parts of a stream so far, and the output that shows them."""

    def __init__(self) -> None:
        check_extra("notebook", "IPython", what="a live display")
        display: Any = import_module("IPython.display")
        self._handle = display.DisplayHandle()
        self._handle.display(ReplyView(()))
        self._deltas: list[Delta] = []
        self._whole: Any = None
        self._drawn_s = time.monotonic()

    def add(self, part: Any) -> None:
        """Add a part, and draw it if the last drawing is long enough ago."""
        if isinstance(part, Delta):
            self._deltas.append(part)
        elif isinstance(part, Completion) or hasattr(part, "raw"):
            self._whole = part  # LlamaIndex's responses hold all before them
        elif hasattr(part, "additional_kwargs"):
            self._whole = part if self._whole is None else self._whole + part
        if time.monotonic() - self._drawn_s >= _EVERY_S:
            self.draw()

    def draw(self) -> None:
        """Draw what there is."""
        view = None if self._whole is None else view_of(self._whole)
        self._handle.update(view or ReplyView(runs_of(self._deltas)))
        self._drawn_s = time.monotonic()

    def reply(self) -> Any:
        """Return the whole reply."""
        if self._whole is None or view_of(self._whole) is None:
            raise RequestError(
                "this is no stream of a reply: give llm.stream(...), llm.stream_chat(...) or "
                "llm.stream_complete(...) of a SplitReasonLLM"
            )
        return self._whole
