"""Real servers of other projects on this machine, each with the bundled large model.

Each runs from an environment of its own, which its target of the Makefile builds.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from splitreason_integrations import OpenAIServerModel
from splitreason_integrations.backends.openai_server.detect import Capabilities
from splitreason_integrations.embedded import path
from splitreason_integrations.evals.server_process import Running, free_port, server_process
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_server
from splitreason_integrations.training.gguf_file import export_gguf

ROOT = Path(__file__).parents[2]
LARGE = str(path("large"))
KEY = "sk-a-key-of-the-test"
HOSTED = "large-hosted"
"""The name of the model by LiteLLM's provider `hosted_vllm`, which takes no token ids."""
CONTEXT_TOKENS = 2048
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
}
"""What keeps servers to this machine and to one core."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model behind a server that was started.

    Attributes:
        spec: the model.
        server: the server.
        behind: the server that a proxy passes requests on to.

    """

    spec: OpenAIServerModel
    server: Running
    behind: Running | None = None


@dataclass(frozen=True, slots=True)
class RealServer:
    """A server of another project.

    Attributes:
        name: what pages call it.
        target: what builds its environment.
        found: what is found out of it.
        start: serves the large model; its log goes into a folder.
        lacks: what is missing here, empty if nothing is.

    """

    name: str
    target: str
    found: Capabilities
    start: Callable[[Path], AbstractContextManager[Served]]
    lacks: Callable[[], str]

    @property
    def reason(self) -> str:
        """Why its tests are not run."""
        return f"{self.name} was not run: {self.lacks()}; make {self.target} builds it"


def environment_of(variable: str, folder: str) -> Path:
    """Return the folder of an environment."""
    return ROOT / os.environ.get(variable, folder)


TRANSFORMERS = environment_of("SERVE_VENV", ".venv-transformers-serve") / "bin" / "transformers"
LITELLM = environment_of("LITELLM_VENV", ".venv-litellm") / "bin" / "litellm"
LLAMA_SERVER = environment_of("LLAMA_CPP_VENV", ".venv-llama-cpp") / "bin" / "llama-server"


def _lacking(*files: Path) -> Callable[[], str]:
    return lambda: ", ".join(f"there is no {one}" for one in files if not one.is_file())


@contextmanager
def _started(command: list[str | Path], logs: Path, **more) -> Iterator[Running]:
    """Run a server on a free port, which ends the command."""
    port = free_port()
    with server_process(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        logs / "server.log",
        port=port,
        env={**os.environ, "HF_HOME": str(logs), **_ENVIRONMENT},
        **more,
    ) as running:
        yield running


@contextmanager
def vllm(logs: Path) -> Iterator[Served]:
    """Serve the model by vLLM."""
    with vllm_server(path("large"), logs / "vllm.log", name="large") as running:
        running.wait()
        yield Served(OpenAIServerModel(running.url, "large"), running)


@contextmanager
def transformers_serve(logs: Path) -> Iterator[Served]:
    """Serve the model by `transformers serve`, which names it by its folder."""
    (logs / "hub").mkdir(exist_ok=True)
    command = [TRANSFORMERS, "serve", LARGE, "--device", "cpu"]
    with _started(command, logs, name="transformers serve") as running:
        running.wait()
        yield Served(OpenAIServerModel(running.url, LARGE), running)


@contextmanager
def litellm(logs: Path) -> Iterator[Served]:
    """Serve the model by vLLM, with LiteLLM's proxy before it."""
    with vllm(logs) as behind:
        there = {"api_base": behind.spec.url, "api_key": "none"}
        config = {
            "model_list": [
                {"model_name": name, "litellm_params": {"model": f"{provider}/large", **there}}
                for name, provider in (("large", "openai"), (HOSTED, "hosted_vllm"))
            ],
            "litellm_settings": {"telemetry": False},
            "general_settings": {"master_key": KEY},
        }
        (logs / "litellm.yaml").write_text(yaml.safe_dump(config), "utf-8")
        command = [LITELLM, "--config", logs / "litellm.yaml", "--telemetry", "False"]
        with _started(command, logs, name="LiteLLM", health="/health/liveliness") as running:
            running.wait()
            spec = OpenAIServerModel(
                running.url, "large", api_key=KEY, tokenizer=LARGE, context_tokens=CONTEXT_TOKENS
            )
            yield Served(spec, running, behind.server)


@contextmanager
def llama_cpp(logs: Path, *, member: str = "large") -> Iterator[Served]:
    """Serve a model of the pair by llama.cpp's own server, in float32 throughout."""
    export_gguf(path(member), logs / f"{member}.gguf")
    command = [LLAMA_SERVER, "--model", logs / f"{member}.gguf", "--alias", str(path(member))]
    command += ["--parallel", "4", "--ctx-size", str(4 * CONTEXT_TOKENS), "--threads", "1"]
    command += ["--cache-type-k", "f32", "--cache-type-v", "f32", "--flash-attn", "off"]
    command += ["--api-key", KEY, "--no-webui", "--offline"]
    with _started(command, logs, name="llama.cpp") as running:
        running.wait()
        spec = OpenAIServerModel(running.url, str(path(member)), api_key=KEY)
        yield Served(spec, running)


SERVERS = (
    RealServer(
        "vLLM",
        "test-vllm",
        Capabilities("ids", "asked", True, "chosen", True, False),
        vllm,
        lambda: "" if has_vllm() else "there is no vLLM",
    ),
    RealServer(
        "transformers serve",
        "test-transformers-serve",
        Capabilities("text", "asked", False, "none", False, True),
        transformers_serve,
        _lacking(TRANSFORMERS),
    ),
    RealServer(
        "llama.cpp",
        "test-llama-cpp",
        Capabilities("text", "asked", False, "likeliest", True, True),
        llama_cpp,
        _lacking(LLAMA_SERVER),
    ),
    RealServer(
        "LiteLLM before vLLM",
        "test-litellm",
        Capabilities("text", "asked", False, "none", True, True),
        litellm,
        lambda: _lacking(LITELLM)() or ("" if has_vllm() else "there is no vLLM"),
    ),
)


def server_of(name: str) -> RealServer:
    """Return a server by its name."""
    return next(one for one in SERVERS if one.name == name)
