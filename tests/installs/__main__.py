"""Install the built wheel with its dependencies into fresh environments, and use it in each.

`python -m tests.installs [NAME ...]` prints how long each environment took. An environment's job
is a file of `jobs/`; it imports all that can be imported there and does the smallest real work.
uv makes the environments, so packages are downloaded once and linked.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.backends.servers import ROOT, serving

JOBS = Path(__file__).parent / "jobs"
VLLM_PYTHON = ROOT / os.environ.get("VLLM_VENV", ".venv-vllm") / "bin" / "python"


@dataclass(frozen=True)
class Environment:
    """What is installed, and the job that is done with it.

    Attributes:
        job: the name of a file of `jobs/`.
        extras: of the wheel, by commas; none for the dependencies alone.
        servers: whether the embedded pair is served; the job gets both addresses.
        packages: what is installed besides, as the pages tell a reader to.

    """

    job: str
    extras: str = ""
    servers: bool = False
    packages: tuple[str, ...] = ()


ENVIRONMENTS = {
    "base": Environment("two_servers", servers=True),
    "langchain": Environment("langchain_two_servers", "langchain", servers=True),
    "langchain-local": Environment("langchain_pair", "langchain,local"),
    "langgraph": Environment("langgraph_pause", "langchain,langgraph", servers=True),
    "llama-index-local": Environment("llama_index_pair", "llama-index,local"),
    "redact": Environment("hidden_numbers", "redact", servers=True),
    "presidio": Environment("hidden_names", "presidio"),
    "otel": Environment("spans_and_metrics", "otel", True, ("opentelemetry-sdk",)),
    "notebook": Environment("a_shown_reply", "notebook", servers=True),
    "plot": Environment("a_curve", "plot", servers=True),
    "eval": Environment("graded_answers", "eval", servers=True),
    "train": Environment("a_short_training", "train"),
    "vllm": Environment("vllm_pair"),
}


def main(names: list[str]) -> int:
    """Try the environments of these names, or all; return the exit status."""
    unknown = set(names) - set(ENVIRONMENTS)
    if unknown:
        print(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(ENVIRONMENTS)}")
        return 2
    failed = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as servers:
        began = time.monotonic()
        wheel = _build(Path(scratch))
        print(f"{'wheel':20} {time.monotonic() - began:5.0f} s", flush=True)
        chosen = {name: ENVIRONMENTS[name] for name in names or ENVIRONMENTS}
        served = any(environment.servers for environment in chosen.values())
        urls = [
            servers.enter_context(serving("completions_server", f"embedded:{role}", "--root"))[1]
            for role in (("small", "large") if served else ())
        ]
        for name, environment in chosen.items():
            began = time.monotonic()
            status = _try(name, environment, wheel, urls, Path(scratch))
            print(f"{name:20} {time.monotonic() - began:5.0f} s {status}", flush=True)
            if status != "ok":
                failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "every environment works")
    return 1 if failed else 0


def _build(scratch: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run([*command, "--outdir", scratch, ROOT], check=True, stdout=subprocess.DEVNULL)
    (wheel,) = scratch.glob("*.whl")
    return wheel


def _try(name: str, environment: Environment, wheel: Path, urls: list[str], scratch: Path) -> str:
    folder = scratch / name
    folder.mkdir()
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"}
    variables.pop("PYTHONPATH", None)
    try:
        python = (
            _vllm(wheel, folder, variables)
            if name == "vllm"
            else _fresh(environment, wheel, folder)
        )
        command = [python, JOBS / f"{environment.job}.py", *(urls if environment.servers else ())]
        subprocess.run(command, cwd=folder, env=variables, check=True)
    except subprocess.CalledProcessError as error:
        return f"FAILED: {' '.join(map(str, error.cmd))}"
    return "ok"


def _fresh(environment: Environment, wheel: Path, folder: Path) -> Path:
    """Make an environment with the wheel, extras and dependencies; return its Python."""
    python = folder / "venv" / "bin" / "python"
    uv = [Path(sys.executable).with_name("uv"), "--quiet"]
    # pip's folder of wheels counts for uv too: with torch's CPU build there, no other is fetched.
    links = os.environ.get("PIP_FIND_LINKS")
    variables = {**os.environ, **({"UV_FIND_LINKS": links} if links else {})}
    wanted = f"{wheel}[{environment.extras}]" if environment.extras else str(wheel)
    subprocess.run([*uv, "venv", "--python", sys.executable, folder / "venv"], check=True)
    install = [*uv, "pip", "install", "--python", python, "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, wanted, *environment.packages], check=True, env=variables)
    return python


def _vllm(wheel: Path, folder: Path, variables: dict[str, str]) -> Path:
    """Put the wheel before the checkout in the environment that `make test-vllm` has made."""
    pip = [VLLM_PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", folder / "wheel", wheel], check=True)
    variables["PYTHONPATH"] = str(folder / "wheel")
    return VLLM_PYTHON


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
