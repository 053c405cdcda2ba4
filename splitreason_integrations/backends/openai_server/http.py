"""HTTP to one server: connections of each event loop, bounded reading, readable errors.

Whatever the server sends, memory stays bounded and every failure is a ModelCallError.
"""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any
from weakref import WeakSet

import aiohttp

from splitreason_integrations.backends.openai_server.echoes import without_echo
from splitreason_integrations.backends.openai_server.failures import (
    is_passing,
    is_retryable,
    message_of,
    remedy_of,
    retry_after_s,
    status_of,
    words_of,
)
from splitreason_integrations.backends.openai_server.proxy import proxy_of
from splitreason_integrations.backends.openai_server.spec import OpenAIServerModel
from splitreason_integrations.errors import ModelCallError, ModelStalledError
from splitreason_integrations.processes.children import after_fork

_ERROR_BYTES = 4096
_ERROR_S = 5.0
_SHOWN_CHARACTERS = 300
_SMALL_ANSWER_BYTES = 1 << 20
_KEPT_OPEN_S = 2.0
"""How long an unused connection is kept: servers close theirs after 5 s."""


class Server:
    """A server's address, its key, and one HTTP session an event loop.

    Connections belong to the loop that opened them, and are closed with it.
    """

    def __init__(self, spec: OpenAIServerModel, url: str) -> None:
        self.label = spec.label if url == spec.url else f"{spec.label} at {url}"
        self._url = url
        self._key = spec.key()
        self._limits = spec.limits
        self.read_s = spec.limits.read_s
        self._way = {"allow_redirects": False, **proxy_of(url)}
        self._tls = ssl.create_default_context() if url.startswith("https:") else False
        self._sessions: dict[asyncio.AbstractEventLoop, _Kept] = {}
        self._sockets: WeakSet[socket.socket] = WeakSet()
        after_fork(self._leave_to_parent)

    def get(self, path: str) -> Any:
        """Return what the server answers at `path`, as data. Raises ModelCallError.

        Blocks, in a thread that has no running event loop.
        """
        return asyncio.run(self._get(path))

    async def _get(self, path: str) -> Any:
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self.read_s),
                self._new_session() as session,
                session.get(self._url + path, **self._way) as response,
                aclosing(_chunks(response)) as chunks,
            ):
                async for chunk in chunks:
                    body += chunk
                    if len(body) > _SMALL_ANSWER_BYTES:
                        raise self.broken(f"the answer at {path} is too long", retryable=False)
        except aiohttp.ClientError as error:
            raise self._unreached(error) from error
        except TimeoutError as error:
            raise self.broken(f"the answer at {path} is too long, or too slow") from error
        if response.status != HTTPStatus.OK:
            raise self._refused(response, bytes(body[:_ERROR_BYTES]))
        return self.read(bytes(body), retryable=False)

    @asynccontextmanager
    async def post(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """Give the answer to `body`, not read yet; leaving the block ends the request at once."""
        session = await self._session()
        try:
            async with await self._answer(session, path, body) as response:
                if response.status != HTTPStatus.OK:
                    raise self._refused(response, await _beginning(response), body)
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise self.broken("the answer is compressed, which was not asked for")
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreached(error) from error

    async def _answer(
        self, session: aiohttp.ClientSession, path: str, body: Mapping[str, Any]
    ) -> aiohttp.ClientResponse:
        """Send a request; once more where the server had just closed the connection kept open."""
        try:
            return await session.post(self._url + path, json=body, **self._way)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                raise
            return await session.post(self._url + path, json=body, **self._way)

    async def lines(
        self, response: aiohttp.ClientResponse, *, line_bytes: int, all_bytes: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an answer; raise if one, or all of them, are longer than this."""
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

    def read(self, data: bytes, *, retryable: bool = True) -> Any:
        """Return JSON as data; raise ModelCallError if it is not JSON."""
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.no_json(data, retryable=retryable) from error

    def no_json(self, data: bytes, *, retryable: bool = True, sent: Any = None) -> ModelCallError:
        """Return the error for data that have to be JSON and are not, in the answer to `sent`."""
        shown = without_echo(self._shown(data[:80]), sent)
        return self.broken(f"not JSON: {shown}", retryable=retryable)

    def broken(self, what: str, *, retryable: bool = True) -> ModelCallError:
        """Return the error for an answer that breaks the protocol."""
        return ModelCallError(f"{self.label}: {what}", retryable=retryable)

    def stalled(self) -> ModelCallError:
        """Return the error for an answer that does not come in time."""
        return ModelStalledError(f"{self.label} sent nothing new for {self.read_s:g} s")

    def error_in_answer(self, error: Any, sent: Any = None) -> ModelCallError:
        """Return the error for one that the server reports within an answer to `sent`."""
        status, said = status_of(error), self._said(error, sent)
        return ModelCallError(
            f"{self.label} answered with an error: {said}{remedy_of(status)}",
            retryable=is_retryable(status),
            status=status,
            said=self._learned(error, said),
        )

    def no_stream(self, kind: str, text: str, sent: Any = None) -> ModelCallError:
        """Return the error for an answer with status 200 that is no stream, but some text."""
        said = without_echo(self._shown(text.encode()), sent)
        return ModelCallError(
            f"{self.label}: answers with {kind[:40]!r}, not with an event stream: "
            f"{said or '(nothing)'}; see that the address is that of an OpenAI-compatible server",
            retryable=is_passing(text),
            said=said,
        )

    def close(self) -> None:
        """Have every event loop close its connections to the server, from any thread."""
        while self._sessions:
            loop, kept = self._sessions.popitem()
            # A loop that is closed, or closes meanwhile, has closed or will close its own.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(kept.close)

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    def _leave_to_parent(self) -> None:
        """In a forked process, drop the copies of the parent's connections.

        Closing them as usual could end a TLS connection that the parent still uses, and take it
        out of the parent's selector, which is shared. Keeping them open would keep the server from
        noticing that the parent closes one. So each copy is replaced by the null device.
        """
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for one in list(self._sockets):
            if one.fileno() >= 0:
                os.dup2(null, one.fileno(), inheritable=False)
        os.close(null)
        for loop in self._sessions:
            # It would report connections that were not closed.
            loop.set_exception_handler(lambda loop, context: None)
        self._sessions, self._sockets = {}, WeakSet()

    async def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        kept = self._sessions.get(loop)
        if kept is None:
            # Loops of other threads come and go meanwhile.
            for other in [other for other in list(self._sessions) if other.is_closed()]:
                self._sessions.pop(other, None)
            kept = self._sessions[loop] = _Kept(self._new_session())
            await kept.begin()
        return kept.session

    def _new_session(self) -> aiohttp.ClientSession:
        headers = {"Accept-Encoding": "identity"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        limits = self._limits
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limits.connections,
                keepalive_timeout=_KEPT_OPEN_S,
                ssl=self._tls,
                socket_factory=self._new_socket,
            ),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_s, sock_read=limits.read_s
            ),
        )

    def _refused(
        self, response: aiohttp.ClientResponse, body: bytes, sent: Any = None
    ) -> ModelCallError:
        status = response.status
        try:
            error = json.loads(body)
        except (ValueError, RecursionError):
            error = body.decode(errors="replace")
        said = self._said(error, sent)
        if 300 <= status < 400:
            said = "it redirects; give the address that it redirects to"
        return ModelCallError(
            f"{self.label} answered with HTTP status {status}: {said}{remedy_of(status)}",
            retryable=is_retryable(status_of(error, status)),
            retry_after_s=retry_after_s(response.headers.get("retry-after", "")),
            status=status,
            said=self._learned(error, said),
        )

    def _unreached(self, error: Exception) -> ModelCallError:
        what = self._shown(str(error).encode()) or type(error).__name__
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return ModelCallError(
                f"{self.label}: its certificate is not trusted: {what}", retryable=False
            )
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            what = f"cannot be reached ({what}); see that the server runs and the address is right"
        return ModelCallError(
            f"{self.label}: {what}", retryable=not isinstance(error, aiohttp.InvalidURL)
        )

    def _said(self, error: Any, sent: Any) -> str:
        return without_echo(self._shown(message_of(error)[:_ERROR_BYTES].encode()), sent)

    def _learned(self, error: Any, said: str) -> str:
        """Return a server's words with the code and the parameter that it names beside them."""
        words = self._shown(words_of(error).encode())
        return f"{said} ({words})" if words else said

    def _shown(self, text: bytes) -> str:
        """Return a server's text as one short line without the key."""
        said = text.decode(errors="replace")
        if self._key is not None:
            said = said.replace(self._key, "[key]")
        plain = "".join(c if c.isprintable() else " " for c in said)
        return " ".join(plain.split())[:_SHOWN_CHARACTERS]


class _Kept:
    """A session that is closed with its event loop, as the loop's asynchronous generators are."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self._until_the_end = self._wait()

    async def begin(self) -> None:
        await anext(self._until_the_end)

    def close(self) -> None:
        self._closing = asyncio.ensure_future(self._until_the_end.aclose())

    async def _wait(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.session.close()


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    async for chunk in response.content.iter_any():
        yield chunk


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return the first bytes of an error's body, as far as they come in time."""
    body = bytearray()
    try:
        async with asyncio.timeout(_ERROR_S), aclosing(_chunks(response)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) >= _ERROR_BYTES:
                    break
    except (TimeoutError, aiohttp.ClientError):
        return bytes(body)
    return bytes(body[:_ERROR_BYTES])
