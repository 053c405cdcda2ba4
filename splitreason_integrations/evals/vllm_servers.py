"""Start vLLM servers on this machine, from an environment that has vLLM."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.processes import environment

_STARTS_IN_S = 300.0
_STOPS_IN_S = 20.0
_LOOKS_EVERY_S = 0.5
_LOG_BYTES = 2000
# CPU block sizes are multiples of 32; with the default of 128 no short prompt is cached. The
# "uni" executor avoids a worker process, on which a server would wait with a busy core.
_ARGUMENTS = (
    *("--dtype", "float32", "--enforce-eager", "--block-size", "32"),
    *("--distributed-executor-backend", "uni"),
)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started.

    Attributes:
        process: Its process.
        url: Address of its API.
        log: Its log file.

    """

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            ConfigurationError: It ended, or did not answer in time; the message quotes its log.

        """
        late_s = time.monotonic() + _STARTS_IN_S
        while time.monotonic() < late_s:
            if self.process.poll() is not None:
                break
            health = self.url.replace("/v1", "/health")
            with suppress(URLError, OSError), urlopen(health, timeout=_LOOKS_EVERY_S):
                return
            time.sleep(_LOOKS_EVERY_S)
        log = self.log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
        raise ConfigurationError(f"vLLM did not start in {_STARTS_IN_S:g} s: {log}")


def has_vllm() -> bool:
    """Return whether vLLM is installed here or an environment with it is configured."""
    return environment.VLLM_PYTHON.is_set() or find_spec("vllm") is not None


def vllm_python() -> str:
    """Return the Python to run vLLM with.

    Raises:
        ConfigurationError: vLLM is not installed here and no environment is configured.

    """
    if has_vllm():
        return environment.VLLM_PYTHON.get() or sys.executable
    raise ConfigurationError(
        "there is no vLLM here: give --small and --large as http://<host>/v1#<model>, or set "
        f"{environment.VLLM_PYTHON.name} to the Python of an environment that has it (`make "
        "test-vllm` builds one in .venv-vllm)"
    )


@contextmanager
def vllm_server(
    path: Path, log: Path, *, name: str, key: str = "", more: Sequence[str] = ()
) -> Generator[Running, None, None]:
    """Serve the model in a folder on one CPU core; the server stops on exit.

    It listens on 127.0.0.1 only, and asks for `key` if one is given.
    """
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    command = [vllm_python(), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model", str(path), "--served-model-name", name]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *_ARGUMENTS, *more],
            env=environment.vllm_process(key=key),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Running(process, f"http://127.0.0.1:{port}/v1", log)
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
