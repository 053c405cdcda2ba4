"""Hardware, versions and date behind a figure, published with every figure."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = (
    *("splitreason-integrations", "torch", "transformers", "tokenizers", "numpy"),
    "math-verify",
)


def hardware() -> str:
    """Return processor and usable cores, and the GPU if torch is installed and sees one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{_processor()}, {cores} cores"
    return f"{text}, {gpu}" if (gpu := _gpu()) else text


def _gpu() -> str | None:
    if find_spec("torch") is None:
        return None
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect figures."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def context(command: str) -> dict[str, object]:
    """Return command, hardware, versions and date for `--json` output."""
    return {
        "command": command,
        "hardware": hardware(),
        "versions": versions(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
