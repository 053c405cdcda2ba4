"""Write the model card: how the pair was trained, on what data, and its limits."""

from __future__ import annotations

import datetime as dt
import platform
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from splitreason_integrations.training.run import Settings

CONTINUED = """
The run continued from a finished pair (`--from`), whose models had already been trained as
described here; the seconds are those of this run only.
"""


def write_card(out: Path, settings: Settings, *, device: str, seconds: dict[str, float]) -> None:
    """Write MODEL_CARD.md next to the models."""
    template = (files(__package__) / "card_template.md").read_text("utf-8")
    card = template.format(
        small_parameters=_parameters(out / "small"),
        large_parameters=_parameters(out / "large"),
        command=_command(settings, device),
        history=CONTINUED if settings.start else "",
        tries=settings.tries,
        least=1 - 0.5 ** (1 / settings.tries),
        stages="\n".join(f"| {stage} | {value:.0f} |" for stage, value in seconds.items()),
        hardware=_hardware(device),
        software=", ".join(f"{name} {version(name)}" for name in ("torch", "transformers")),
        date=dt.date.today().isoformat(),
    )
    (out / "MODEL_CARD.md").write_text(card, "utf-8")


def _command(settings: Settings, device: str) -> str:
    start = " --from PAIR" if settings.start else ""
    return (
        f"splitreason train pair --out DIR{start} "
        f"--scale {settings.scale} --seed {settings.seed} --device {device}"
    )


def _parameters(folder: Path) -> str:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        count = sum(weights.get_tensor(key).numel() for key in weights.keys())  # noqa: SIM118
    return f"{count / 1e6:.2f} M"


def _hardware(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads, CPU only"
