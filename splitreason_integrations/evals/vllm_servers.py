"""Start vLLM servers on this machine, from an environment that has vLLM."""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.server_process import Running, free_port, server_process
from splitreason_integrations.processes import environment

# CPU block sizes are multiples of 32; with the default of 128 no short prompt is cached. The
# "uni" executor avoids a worker process, on which a server would wait with a busy core.
_ARGUMENTS = (
    *("--dtype", "float32", "--enforce-eager", "--block-size", "32"),
    *("--distributed-executor-backend", "uni"),
)


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
    port = free_port()
    command = [vllm_python(), "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--model", str(path), "--served-model-name", name]
    with server_process(
        [*command, *_ARGUMENTS, *more],
        log,
        port=port,
        env=environment.vllm_process(key=key),
        name="vLLM",
    ) as running:
        yield running
