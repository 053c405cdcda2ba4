"""The server layouts of the cookbook: files, containers and commands."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[2] / "cookbook" / "deploy"
README = (FOLDER / "README.md").read_text("utf-8")
COMPOSE = sorted(FOLDER.glob("compose.*.yaml"))
KUBERNETES = sorted((FOLDER / "kubernetes").glob("*.yaml"))


@dataclass(frozen=True)
class Server:
    """A container that runs vLLM. `arguments` are those of `vllm serve`."""

    file: Path
    name: str
    image: str
    arguments: tuple[str, ...]
    gpus: int

    def flag(self, name, otherwise=None):
        found = [one.partition("=")[2] for one in self.arguments if one.startswith(f"--{name}=")]
        return found[0] if found else otherwise

    def __str__(self):
        return f"{self.file.name}:{self.name}"


def documents(path):
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def services(path):
    (document,) = documents(path)
    return document["services"]


def workloads(path):
    return [one for one in documents(path) if one["kind"] in ("Deployment", "StatefulSet")]


def servers():
    for path in COMPOSE:
        for name, service in services(path).items():
            assert service["entrypoint"] == ["vllm", "serve"]
            devices = service["deploy"]["resources"]["reservations"]["devices"]
            gpus = sum(len(one["device_ids"]) for one in devices)
            yield Server(path, name, service["image"], tuple(service["command"]), gpus)
    for path in KUBERNETES:
        for one in workloads(path):
            (container,) = one["spec"]["template"]["spec"]["containers"]
            assert container["command"] == ["vllm", "serve"]
            gpus = container["resources"]["limits"]["nvidia.com/gpu"]
            name, arguments = one["metadata"]["name"], tuple(container["args"])
            yield Server(path, name, container["image"], arguments, gpus)


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands():
    """Return each command of the page as its words."""
    joined = "\n".join(blocks("sh")).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in joined.splitlines() if line.strip()]
