"""Where a model's files come from: a folder, the cache of the Hugging Face hub, or the hub itself.

The libraries that read a model ask the hub again and again before they look into its cache. So the
hub is asked once here, and where it does not answer, they read what is on this machine alone.
"""

import re
import ssl
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener, getproxies

from splitreason_integrations.errors import ModelLoadError
from splitreason_integrations.processes import environment
from splitreason_integrations.processes.children import PerProcess

_ANSWERS_IN_S = 4.0
_KNOWN_FOR_S = 60.0
_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)


def files_of(source: str, *, what: str) -> str:
    """Return what the libraries read a model from: a folder, or a name that they ask the hub for.

    Where the hub does not answer, a name becomes the folder of its copy in the hub's cache: given
    the name, some would ask the hub even with `local_files_only`.

    Args:
        source: A folder or file, or a name on the hub.
        what: What needs it, as the error's first words.

    Raises:
        ModelLoadError: There is no such folder, and the hub neither answers nor has a copy of the
            model in its cache on this machine.

    """
    if Path(source).exists():
        return source
    missing = f"{what}: there is no folder {source!r}"
    if not _is_name(source):
        raise ModelLoadError(f"{missing}: give the model's folder, or its name on the model hub")
    if answers():
        return source
    copy = _copy_in_cache(source)
    if copy is not None:
        return str(copy)
    why, first = f"the hub at {environment.HUB_ADDRESS.get()} does not answer", ""
    if _is_offline():
        why = f"{environment.HUB_OFFLINE.name} is set, so the hub is not asked"
        first = f"unset {environment.HUB_OFFLINE.name} and "
    raise ModelLoadError(
        f"{missing}, the local hub cache has no model of that name, and {why}: give the model's "
        f"folder, or {first}run `hf download {source}` where the hub can be reached"
    )


def answers() -> bool:
    """Return whether the hub answers a request; one attempt a minute, of a few seconds at most."""
    return not _is_offline() and _state.value.answers(environment.HUB_ADDRESS.get())


def _is_offline() -> bool:
    return environment.HUB_OFFLINE.get().upper() in ("1", "ON", "YES", "TRUE")


def _is_name(source: str) -> bool:
    return _NAME.fullmatch(source) is not None and not source.startswith(".")


def _copy_in_cache(name: str) -> Path | None:
    """Return the folder of a model in the hub's cache: the copy of its main branch, or the newest.

    None where the cache has no file of it; some of its files may be missing.
    """
    from huggingface_hub import constants

    cached = Path(constants.HF_HUB_CACHE, f"models--{name.replace('/', '--')}")
    with suppress(OSError):
        main = cached / "snapshots" / (cached / "refs" / "main").read_text("utf-8").strip()
        if any(main.glob("*")):
            return main
    copies = [copy for copy in (cached / "snapshots").glob("*") if any(copy.glob("*"))]
    return max(copies, key=lambda copy: copy.stat().st_mtime, default=None)


class _State:
    """What each hub did when it was last asked."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, bool]] = {}

    def answers(self, address: str) -> bool:
        """Return whether a hub answers, as found within the last minute."""
        at, found = self._known.get(address, (-_KNOWN_FOR_S, False))
        if time.monotonic() - at >= _KNOWN_FOR_S:
            found = _answers_in_time(address)
            self._known[address] = time.monotonic(), found
        return found


def _answers_in_time(address: str) -> bool:
    """Ask a hub in a thread, which is left alone when the time is over.

    The time limit of a connection does not hold for finding the address of a host, and begins
    again for each address that is found.
    """
    found: list[bool] = []
    asking = threading.Thread(target=lambda: found.append(_responds(address)), daemon=True)
    asking.start()
    asking.join(_ANSWERS_IN_S)
    return found == [True]


def _responds(address: str) -> bool:
    """Return whether a hub responds, in whichever way but as a gateway that cannot reach it."""
    scheme = urlsplit(address).scheme
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    if proxy and not proxy.startswith("http"):
        return True  # a SOCKS proxy is assumed to reach it
    opener = build_opener(ProxyHandler({scheme: proxy} if proxy else {}))
    try:
        with opener.open(Request(address, method="HEAD"), timeout=_ANSWERS_IN_S):
            return True
    except HTTPError as error:
        return error.code < 500
    except URLError as error:
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    except (OSError, HTTPException, ValueError):
        return False


_state = PerProcess(_State)
