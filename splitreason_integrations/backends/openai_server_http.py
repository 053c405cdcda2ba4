"""Talks HTTP to one server: connections of each event loop, bounded reading, failures in words.

Whatever the server sends, memory stays bounded and every failure is a ModelCallError.
"""

import asyncio
import json
import math
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from splitreason_integrations.backends.openai_server_spec import OpenAIServerModel
from splitreason_integrations.errors import ModelCallError

_RETRYABLE = frozenset({408, 409, 425, 429})
_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
"""Never asked through a proxy."""
_ERROR_BYTES = 4096
_ERROR_S = 5.0
_SHOWN_CHARACTERS = 300
_SMALL_ANSWER_BYTES = 1 << 20
_LONGEST_WAIT_S = 86_400.0
_KEPT_OPEN_S = 2.0
"""How long an unused connection is kept: servers close theirs after 5 s."""


class Server:
    """A server's address, its key, and one HTTP client an event loop.

    Connections belong to the loop that opened them, and are closed with it.
    """

    def __init__(self, spec: OpenAIServerModel, url: str) -> None:
        self.label = spec.label if url == spec.url else f"{spec.label} at {url}"
        self._url = url
        self._key = spec.key()
        self._limits = spec.limits
        self.read_s = spec.limits.read_s
        self._is_here = urlsplit(url).hostname in _THIS_MACHINE
        self._tls = httpx.create_ssl_context() if url.startswith("https:") else False
        self._clients: dict[asyncio.AbstractEventLoop, _Kept] = {}

    def get(self, path: str) -> Any:
        """Return what the server answers at `path`, as data; blocks. Raises ModelCallError."""
        late_s = time.monotonic() + self.read_s
        try:
            with (
                httpx.Client(**self._settings()) as client,
                client.stream("GET", self._url + path) as response,
            ):
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > _SMALL_ANSWER_BYTES or time.monotonic() > late_s:
                        raise self.broken(f"the answer at {path} is too long, or comes too slowly")
        except httpx.HTTPError as error:
            raise self._unreached(error) from error
        if response.status_code != httpx.codes.OK:
            raise self._refused(response, bytes(body[:_ERROR_BYTES]))
        return self.read(bytes(body))

    @asynccontextmanager
    async def post(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[httpx.Response, None]:
        """Give the answer to `body`, still to be read; leaving ends the request at once."""
        client = await self._client()
        try:
            async with aclosing(await self._answer(client, path, body)) as response:
                if response.status_code != httpx.codes.OK:
                    raise self._refused(response, await _beginning(response))
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise self.broken("the answer is compressed, which was not asked for")
                yield response
        except httpx.HTTPError as error:
            raise self._unreached(error) from error

    async def _answer(
        self, client: httpx.AsyncClient, path: str, body: Mapping[str, Any]
    ) -> httpx.Response:
        """Send a request; once more where the server had just closed the connection kept open."""
        for last in (False, True):
            request = client.build_request("POST", self._url + path, json=body)
            try:
                return await client.send(request, stream=True)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                if last:
                    raise
        raise AssertionError("the last try returns or raises")

    async def lines(
        self, response: httpx.Response, *, line_bytes: int, all_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an answer; raise where one, or all of them, are longer than told."""
        begun, read = bytearray(), 0
        async with aclosing(_chunks(response)) as chunks:
            async for chunk in chunks:
                read += len(chunk)
                first, *more = chunk.split(b"\n")
                begun += first
                if read > all_bytes or max(map(len, (begun, *more))) > line_bytes:
                    raise self.broken("the answer is longer than what was asked for can be")
                for part in more:
                    yield bytes(begun.removesuffix(b"\r"))
                    begun = bytearray(part)
        if begun:
            yield bytes(begun)

    def read(self, data: bytes) -> Any:
        """Return JSON as data; raise ModelCallError where it is none."""
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.broken(f"not JSON: {self._shown(data[:80])}") from error

    def broken(self, what: str, *, retryable: bool = True) -> ModelCallError:
        """Return the error for an answer that is not as it must be."""
        return ModelCallError(f"{self.label}: {what}", retryable=retryable)

    def told(self, error: Any) -> ModelCallError:
        """Return the error for one that the server tells of in its answer."""
        code = error.get("code") if isinstance(error, Mapping) else None
        status = code if isinstance(code, int) else httpx.codes.INTERNAL_SERVER_ERROR
        return ModelCallError(
            f"{self.label} answered with an error: {self._message(error)}",
            retryable=_is_retryable(status),
        )

    async def _client(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        kept = self._clients.get(loop)
        if kept is None:
            for other in [other for other in self._clients if other.is_closed()]:
                del self._clients[other]
            kept = self._clients[loop] = _Kept(httpx.AsyncClient(**self._settings()))
            await kept.begin()
        return kept.client

    def _settings(self) -> dict[str, Any]:
        headers = {"Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        limits = self._limits
        return {
            "headers": headers,
            "verify": self._tls,
            "follow_redirects": False,
            "trust_env": not self._is_here,
            "timeout": httpx.Timeout(limits.read_s, connect=limits.connect_s),
            "limits": httpx.Limits(
                max_connections=limits.connections, keepalive_expiry=_KEPT_OPEN_S
            ),
        }

    def _refused(self, response: httpx.Response, body: bytes) -> ModelCallError:
        status = response.status_code
        if response.is_redirect:
            said = "it redirects; give the address that it redirects to"
        else:
            try:
                said = self._message(json.loads(body))
            except (ValueError, RecursionError):
                said = self._shown(body)
        return ModelCallError(
            f"{self.label} answered with HTTP status {status}: {said}{_remedy(status)}",
            retryable=_is_retryable(status),
            retry_after_s=_retry_after_s(response.headers.get("retry-after", "")),
        )

    def _unreached(self, error: httpx.HTTPError) -> ModelCallError:
        what = self._shown(str(error).encode()) or type(error).__name__
        if _is_untrusted(error):
            return ModelCallError(
                f"{self.label}: its certificate is not trusted: {what}", retryable=False
            )
        lost = isinstance(error, httpx.TransportError)
        never = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            what = f"cannot be reached ({what}); see that the server runs and the address is right"
        return ModelCallError(f"{self.label}: {what}", retryable=lost and not never)

    def _message(self, error: Any) -> str:
        """Return what an error's data say, however they are nested."""
        for name in ("error", "message", "detail"):
            if isinstance(error, Mapping) and name in error:
                error = error[name]
        return self._shown(str(error)[:_ERROR_BYTES].encode())

    def _shown(self, text: bytes) -> str:
        """Return a server's words fit to show: one short line without the key."""
        said = text.decode(errors="replace")
        if self._key is not None:
            said = said.replace(self._key, "[key]")
        plain = "".join(c if c.isprintable() else " " for c in said)
        return " ".join(plain.split())[:_SHOWN_CHARACTERS]


class _Kept:
    """A client that is closed with its event loop, as the loop's asynchronous generators are."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self._until_the_end = self._wait()

    async def begin(self) -> None:
        await anext(self._until_the_end)

    async def _wait(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.client.aclose()


def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())


async def _beginning(response: httpx.Response) -> bytes:
    """Return the first bytes of an error's body, as far as they come in time."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_S), aclosing(_chunks(response)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) >= _ERROR_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError):
        return bytes(body)
    return bytes(body[:_ERROR_BYTES])


def _is_retryable(status: int) -> bool:
    return status in _RETRYABLE or 500 <= status < 600


def _remedy(status: int) -> str:
    return {
        401: "; set api_key or api_key_env",
        403: "; set api_key or api_key_env",
        404: "; see that the address ends in /v1 or the like and that the model's name is right",
    }.get(status, "")


def _retry_after_s(value: str) -> float | None:
    """Return how long a server asks to wait: seconds, or until a date."""
    try:
        asked = float(value)
    except ValueError:
        try:
            asked = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(asked, 0.0), _LONGEST_WAIT_S) if math.isfinite(asked) else None


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
