"""Continue from a finished pair: its tokenizer, and its weights as exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splitreason_integrations.training.architecture import Role

FOLDERS: dict[Role, str] = {"small": "base", "large": "large"}
"""The small model continues from `base`, which has not learned to tag yet."""


def check_start(pair: Path) -> None:
    """Check that a folder is a finished pair.

    Raises:
        FileNotFoundError: A model of it is missing.

    """
    for role in FOLDERS:
        _member(pair, role)


def start_tokenizer(pair: Path) -> Any:
    """Return the tokenizer of a finished pair.

    Raises:
        OSError: It cannot be read.

    """
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(_member(pair, "large"))


def start_model(model: Any, role: Role, pair: Path) -> None:
    """Load a finished pair's weights for a role into a model.

    Raises:
        OSError: They cannot be read.
        ValueError: They have another shape.

    """
    from safetensors.torch import load_file

    path = _member(pair, role) / "model.safetensors"
    saved = {
        name: tensor for name, tensor in load_file(path).items() if not name.endswith("o_proj.bias")
    }
    try:
        kept = model.load_state_dict(saved, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{path} does not have the shape of our {role} model: {error}") from error
    missing = {*kept.missing_keys, *kept.unexpected_keys} - {"lm_head.weight"}
    if missing:
        raise ValueError(f"{path} does not have the shape of our {role} model: {sorted(missing)}")


def _member(pair: Path, role: Role) -> Path:
    folder = pair / FOLDERS[role]
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(f"{pair} is not a finished pair: {folder} holds no weights")
    return folder
