"""Searches a conversation for what is to be hidden, within the request's deadline."""

from collections.abc import Sequence
from functools import partial
from threading import Event
from typing import Any

import anyio
import anyio.to_thread

from splitreason_integrations.errors import ModelUnreachableError
from splitreason_integrations.privacy.redaction import Vault


async def search_in_time(vault: Vault, texts: Sequence[Any], limit_s: float | None) -> None:
    """Let a vault's rules search texts, in a thread; other requests go on meanwhile.

    Args:
        vault: has the rules.
        texts: messages and tools.
        limit_s: for how many seconds; None for as long as it takes.

    Raises:
        ModelUnreachableError: the search took longer; the thread ends soon after.

    """
    is_over = Event()
    search = partial(vault.search, texts, goes_on=lambda: not is_over.is_set())
    try:
        with anyio.fail_after(limit_s):
            await anyio.to_thread.run_sync(search, abandon_on_cancel=True)
    except TimeoutError as error:
        raise ModelUnreachableError(
            f"the rules of redact had not searched the messages after {limit_s:.1f} s, half of the "
            "time that was left; give a longer deadline or shorter messages"
        ) from error
    finally:
        is_over.set()
