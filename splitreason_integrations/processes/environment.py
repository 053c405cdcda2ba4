"""Every environment variable that the packages read or set, declared once.

No other module touches `os.environ`.
"""

import os
from dataclasses import dataclass
from typing import Literal

Use = Literal["read", "default", "child"]
"""What is done with a variable: read; set here unless it is set already; set for vLLM processes
that `splitreason bench` starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable.

    Attributes:
        name: Its name.
        use: What is done with it.
        text: What it is for, in one sentence.
        value: What it is set to; of one that is read, its value where nobody sets it.

    """

    name: str
    use: Use
    text: str
    value: str = ""

    def get(self) -> str:
        """Return what it is set to, else `value`."""
        return os.environ.get(self.name, self.value)

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self.name in os.environ

    def set_default(self) -> None:
        """Set it to `value` unless it is set."""
        os.environ.setdefault(self.name, self.value)


VLLM_PYTHON = Variable(
    name="SPLITREASON_VLLM_PYTHON",
    use="read",
    text="The Python of an environment with vLLM, in which `splitreason bench` starts vLLM; unset, "
    "the Python that runs the command.",
)
HUB_OFFLINE = Variable(
    name="HF_HUB_OFFLINE",
    use="read",
    text="1, on, yes or true: models and data sets come from the local cache, without a look at "
    "the hub. transformers, datasets and vLLM read it too.",
)
HUB_ADDRESS = Variable(
    name="HF_ENDPOINT",
    use="read",
    value="https://huggingface.co",
    text="The address of the model hub. transformers, datasets and vLLM read it too.",
)
REVIEWS = Variable(
    name="SPLITREASON_REVIEWS",
    use="read",
    text="The file of the review queue, for `splitreason review`; `--db` names another.",
)
PAUSE_KEY = Variable(
    name="SPLITREASON_PAUSE_KEY",
    use="read",
    text="The key that signs requests which wait for a person, where `pause_key` is not set. "
    "Several are separated by commas: the first one signs, and all are accepted.",
)
AUDIT_LOG = Variable(
    name="SPLITREASON_AUDIT_LOG",
    use="read",
    text="The audit log, for `splitreason audit`; `--log` names another.",
)
AUDIT_KEY = Variable(
    name="SPLITREASON_AUDIT_KEY",
    use="read",
    text="The key that signs the audit log, where `key` is not set, and that checks it. Several "
    "secrets are separated by commas: the first one signs, and all are accepted.",
)
PRESIDIO_MODEL = Variable(
    name="SPLITREASON_PRESIDIO_MODEL",
    use="read",
    text="The spaCy model of redaction rules such as `presidio:PERSON`: an installed package's "
    "name, or a folder. Nothing is downloaded.",
)
_PYTHON_PATH = Variable(
    name="PYTHONPATH",
    use="read",
    text="Passed on to the vLLM process of `splitreason bench untaught`, this package's folder "
    "before it.",
)
QUIET_TRANSFORMERS = Variable(
    name="TRANSFORMERS_NO_ADVISORY_WARNINGS",
    use="default",
    value="1",
    text="Set by the command where torch is not installed, so that transformers does not warn of "
    "it.",
)
VLLM_ONE_PROCESS = Variable(
    name="VLLM_ENABLE_V1_MULTIPROCESSING",
    use="default",
    value="0",
    text="Set for `vllm:` models on a CPU: the engine runs in this process.",
)
VLLM_DEFAULTS = (
    Variable(
        name="VLLM_WORKER_MULTIPROC_METHOD",
        use="default",
        value="spawn",
        text="Set for `vllm:` models: a fork would copy locks that other threads hold.",
    ),
    Variable(
        name="VLLM_LOGGING_STREAM",
        use="default",
        value="ext://sys.stderr",
        text="Set for `vllm:` models: vLLM's log goes to standard error.",
    ),
    Variable(
        name="VLLM_LOGGING_LEVEL",
        use="default",
        value="ERROR",
        text="Set for `vllm:` models: vLLM logs errors only.",
    ),
    Variable(
        name="VLLM_NO_USAGE_STATS",
        use="default",
        value="1",
        text="Set for `vllm:` models: vLLM sends no usage statistics.",
    ),
    Variable(
        name="VLLM_CPU_OMP_THREADS_BIND",
        use="default",
        value="nobind",
        text="Set for `vllm:` models on a CPU: two engines that are bound to the same cores would "
        "wait for each other.",
    ),
)
_PROXIES = tuple(
    Variable(name=name, use="read", text=text)
    for name, text in (
        ("http_proxy", "The proxy for servers by http; also in capitals. Only http proxies work."),
        ("https_proxy", "The proxy for servers by https; also in capitals."),
        ("all_proxy", "The proxy for servers that no other variable names one for."),
        ("no_proxy", "Hosts that are asked without a proxy; this machine always is."),
    )
)
_SERVERS = tuple(
    Variable(name=name, use="child", value=value, text=text)
    for name, value, text in (
        ("VLLM_CPU_KVCACHE_SPACE", "1", "GiB for the KV cache of vLLM on a CPU."),
        ("VLLM_CPU_OMP_THREADS_BIND", "nobind", "vLLM is bound to no cores."),
        ("VLLM_ENABLE_V1_MULTIPROCESSING", "0", "vLLM's engine runs in its server's process."),
        ("OMP_NUM_THREADS", "1", "vLLM computes on one core."),
        ("HF_HUB_OFFLINE", "1", "vLLM does not ask the hub."),
    )
)
_SERVER_KEY = Variable(
    name="VLLM_API_KEY",
    use="child",
    text="The key that a server which `splitreason bench servers` starts asks for.",
)

TABLE = (
    VLLM_PYTHON,
    HUB_OFFLINE,
    HUB_ADDRESS,
    REVIEWS,
    PAUSE_KEY,
    AUDIT_LOG,
    AUDIT_KEY,
    PRESIDIO_MODEL,
    *_PROXIES,
    _PYTHON_PATH,
    QUIET_TRANSFORMERS,
    *VLLM_DEFAULTS,
    VLLM_ONE_PROCESS,
    *_SERVERS,
    _SERVER_KEY,
)
"""All variables. Those that hold servers' keys have the names that `api_key_env` says."""


def secret(name: str) -> str | None:
    """Return the key in the variable that `api_key_env` names, None where it is not set."""
    return os.environ.get(name)


def vllm_process(*, key: str = "", import_from: str = "") -> dict[str, str]:
    """Return the environment of a process in which vLLM runs on one CPU core.

    `key` is what its server asks for, `import_from` a folder from which it imports modules first.
    """
    settings = {one.name: one.value for one in _SERVERS}
    if key:
        settings[_SERVER_KEY.name] = key
    if import_from:
        folders = filter(None, (import_from, _PYTHON_PATH.get()))
        settings[_PYTHON_PATH.name] = os.pathsep.join(folders)
    return {**os.environ, **settings}
