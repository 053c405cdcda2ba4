"""A request's stream, shown to an observer item by item before its caller sees it."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from typing import Protocol, TypeVar

import anyio

_Item = TypeVar("_Item")


class Observer(Protocol):
    """Follows one request, as audit and telemetry do; what its methods raise ends the request."""

    async def started(self) -> None:
        """Observe that the request begins."""
        ...

    def working(self) -> AbstractContextManager[object]:
        """Return a context that is entered while an item is made, and left before it is yielded."""
        ...

    async def note(self, item: object) -> None:
        """Observe an item before it is yielded."""
        ...

    async def ended_early(self, error: BaseException) -> None:
        """Observe an error, a cancellation or an early close that ends the stream."""
        ...


async def observed(
    items: AsyncGenerator[_Item, None], observer: Observer
) -> AsyncGenerator[_Item, None]:
    """Yield what `items` yields, each item after the observer has seen it."""
    try:
        await observer.started()
        async with aclosing(items):
            while True:
                with observer.working():
                    item = await anext(items, None)
                if item is None:
                    return
                await observer.note(item)
                yield item
    except BaseException as error:
        # A cancelled task can still wait for the observer, but only inside a shield.
        with anyio.CancelScope(shield=True):
            await observer.ended_early(error)
        raise
