"""A server on this machine, as a process of its own that ends with the block that started it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from splitreason_integrations.errors import ConfigurationError

_STARTS_IN_S = 300.0
_STOPS_IN_S = 20.0
_LOOKS_EVERY_S = 0.5
_LOG_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started.

    Attributes:
        process: Its process.
        url: Address of its API.
        log: Its log file.
        name: What it is, for errors.
        health: The path that it answers once it is ready.

    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    name: str
    health: str = "/health"

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            ConfigurationError: It ended, or did not answer in time; the message quotes its log.

        """
        late_s = time.monotonic() + _STARTS_IN_S
        while time.monotonic() < late_s:
            if self.process.poll() is not None:
                break
            health = self.url.replace("/v1", self.health)
            with suppress(URLError, OSError), urlopen(health, timeout=_LOOKS_EVERY_S):
                return
            time.sleep(_LOOKS_EVERY_S)
        log = self.log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
        raise ConfigurationError(f"{self.name} did not start in {_STARTS_IN_S:g} s: {log}")


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextmanager
def server_process(
    command: Sequence[str | Path],
    log: Path,
    *,
    port: int,
    env: Mapping[str, str],
    name: str,
    health: str = "/health",
) -> Generator[Running, None, None]:
    """Run a server that listens on a port of 127.0.0.1; it stops on exit, with its processes."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield Running(process, f"http://127.0.0.1:{port}/v1", log, name, health)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOPS_IN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
