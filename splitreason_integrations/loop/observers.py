"""A request's stream, told to an account item by item before its caller sees it."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from typing import Protocol, TypeVar

import anyio

_Item = TypeVar("_Item")


class Observer(Protocol):
    """What is kept of one request while it runs; what its methods raise ends the request."""

    async def started(self) -> None:
        """Hear that the request begins."""
        ...

    def working(self) -> AbstractContextManager[object]:
        """Return what holds while the next item is made, and not while its caller has it."""
        ...

    async def note(self, item: object) -> None:
        """Hear of an item that its caller has not seen yet."""
        ...

    async def ended_early(self, error: BaseException) -> None:
        """Hear what ended the stream: an error, a cancellation, or a caller who had enough."""
        ...


async def observed(
    items: AsyncGenerator[_Item, None], account: Observer
) -> AsyncGenerator[_Item, None]:
    """Yield what `items` yields, each item once the account has it."""
    try:
        await account.started()
        async with aclosing(items):
            while True:
                with account.working():
                    item = await anext(items, None)
                if item is None:
                    return
                await account.note(item)
                yield item
    except BaseException as error:
        # A cancelled task may still wait for the account, but only behind a shield.
        with anyio.CancelScope(shield=True):
            await account.ended_early(error)
        raise
