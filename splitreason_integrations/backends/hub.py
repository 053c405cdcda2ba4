"""Whether the Hugging Face hub can be asked: where it cannot, only its local cache is read."""

import socket
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from splitreason_integrations.processes import environment
from splitreason_integrations.processes.children import PerProcess

_ANSWERS_IN_S = 5.0
_KNOWN_FOR_S = 60.0


def cache_only(source: str) -> bool:
    """Return whether a model's files have to come from this machine.

    So it is for a folder or file, and for a name while the hub does not answer: the libraries that
    read it would try again for a minute before they look into their cache.
    """
    return Path(source).exists() or not answers()


def answers() -> bool:
    """Return whether the hub accepts a connection; a configured proxy is assumed to reach it."""
    if environment.HUB_OFFLINE.get().upper() in ("1", "ON", "YES", "TRUE"):
        return False
    if getproxies().get("https"):
        return True
    return _state.value.answers(environment.HUB_ADDRESS.get())


class _State:
    """What each hub did when it was last called."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, bool]] = {}

    def answers(self, address: str) -> bool:
        """Return whether a hub accepts a connection, as found within the last minute."""
        at, found = self._known.get(address, (-_KNOWN_FOR_S, False))
        if time.monotonic() - at >= _KNOWN_FOR_S:
            found = _accepts(address)
            self._known[address] = time.monotonic(), found
        return found


def _accepts(address: str) -> bool:
    hub = urlsplit(address)
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        with socket.create_connection((hub.hostname or "", port), timeout=_ANSWERS_IN_S):
            return True
    except OSError:
        return False


_state = PerProcess(_State)
