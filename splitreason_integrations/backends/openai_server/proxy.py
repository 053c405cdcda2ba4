"""The proxy that a server is asked through, as the environment names it.

Read here, and not by the HTTP library: that would send a server passwords from ~/.netrc as well.
"""

import base64
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from splitreason_integrations.errors import ConfigurationError

_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
"""Never asked through a proxy."""


def proxy_of(url: str) -> dict[str, Any]:
    """Return what a request says of its proxy; nothing where none stands in between.

    Raises ConfigurationError for one that is not spoken to by HTTP.
    """
    server = urlsplit(url)
    host = server.hostname or ""
    if host in _THIS_MACHINE or proxy_bypass(host):
        return {}
    known = getproxies()
    named = known.get(server.scheme) or known.get("all")
    if not named:
        return {}
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http":
        raise ConfigurationError(
            f"{host} would be asked through a proxy by {proxy.scheme}: name one by http in "
            f"{server.scheme}_proxy, or {host} in no_proxy"
        )
    user, _, address = proxy.netloc.rpartition("@")
    # It goes to the proxy as Proxy-Authorization.
    word = base64.b64encode(unquote(user).encode()).decode()
    return {
        "proxy": f"http://{address}",
        "proxy_headers": {"Authorization": f"Basic {word}"} if user else None,
    }
