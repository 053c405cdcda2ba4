"""A server whose answers are given byte by byte, in the event loop of the test that uses it."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

FOREVER_S = 3600


@dataclass(frozen=True)
class Reply:
    """What is sent back: a number among the parts is a pause in seconds."""

    parts: tuple
    status: int = 200
    kind: str = "text/event-stream"


def json_reply(status, data):
    return Reply((json.dumps(data).encode(),), status, "application/json")


class RawServer:
    """Answers each request with what `handle(path, body)` returns; keeps what it was asked."""

    def __init__(self, handle):
        self.handle = handle
        self.asked = []

    @asynccontextmanager
    async def serving(self):
        """Serve on a free port; give the address of the API."""
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._tasks = set()
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks)

    async def _answer(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            sizes = [line for line in head.lower().split("\r\n") if line.startswith("content-le")]
            body = await reader.readexactly(int(sizes[0].split(":")[1])) if sizes else b"null"
            path = head.split()[1].removeprefix("/v1")
            self.asked.append((path, json.loads(body)))
            reply = self.handle(path, json.loads(body))
            lines = f"HTTP/1.1 {reply.status} X\r\nContent-Type: {reply.kind}\r\n"
            writer.write(f"{lines}Connection: close\r\n\r\n".encode())
            for part in reply.parts:
                await writer.drain()
                if isinstance(part, bytes):
                    writer.write(part)
                else:
                    await asyncio.sleep(part)
            await writer.drain()
        writer.close()
