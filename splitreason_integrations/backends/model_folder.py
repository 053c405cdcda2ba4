"""What a model's folder may hold: it is checked before any of its files is loaded."""

import json
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from splitreason_integrations.errors import ModelLoadError

_MIB = 1 << 20
# Ten times what the largest published models have.
_LARGEST = {"tokenizer.json": 512 * _MIB, "tokenizer.model": 64 * _MIB, "vocab.json": 128 * _MIB}
_OTHER = 64 * _MIB
_TEXTS = ("*.json", "*.jinja", "*.txt", "*.model")
_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_HEIGHTS = ("vocab_size", "intermediate_size", "num_experts", "num_local_experts")
_BITS = 8
_HEADER_LENGTH = 8
_HEADER_MOST = 100_000_000


def check_folder(folder: Path, *, label: str, trusted: bool = False) -> None:
    """Check a model's folder: nothing of its files runs code, and no size in it is made up.

    Weights have to be `.safetensors` files, because others are pickles. A folder that is `trusted`
    may run its own code, and so may have them. Files that people's models do not reach in size,
    and a `config.json` that describes a larger network than the weights are, are refused: they
    would fill the memory.

    Raises:
        ModelLoadError: the folder has such a file; the message names it and what to do.

    """
    _check_sizes(folder, label)
    weights = sorted(folder.glob("*.safetensors"))
    pickles = [file.name for kind in _PICKLES for file in sorted(folder.glob(kind))]
    if pickles and not weights and not trusted:
        raise ModelLoadError(
            f"{label} cannot be loaded: its weights are in {pickles[0]}, a pickle, which can run "
            "code; save them as safetensors (save_pretrained of transformers does), or set "
            "trust_remote_code=True if you trust the folder"
        )
    config = folder / "config.json"
    if weights and config.is_file():
        tensors = sum(len(tensors_in(file)) for file in weights)
        bits = _BITS * sum(file.stat().st_size for file in weights)
        for described in _mappings(_read(config, label)):
            _check_network(described, tensors=tensors, bits=bits, label=label)


def _check_sizes(folder: Path, label: str) -> None:
    for file in (file for kind in _TEXTS for file in folder.glob(kind)):
        size, most = file.stat().st_size, _LARGEST.get(file.name, _OTHER)
        if size > most:
            raise ModelLoadError(
                f"{label} cannot be loaded: {file.name} has {size:,} bytes, and no more than "
                f"{most:,} are read: see whether the file is what it should be"
            )


def tensors_in(file: Path) -> dict[str, Any]:
    """Return the tensors of a .safetensors file by name, with their `dtype` and `shape`.

    The file's header alone is read. Raises ModelLoadError for a file that has none.
    """
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_HEADER_LENGTH), "little")
        text = opened.read(length) if length <= _HEADER_MOST else b""
    try:
        header = json.loads(text)
        return {str(name): one for name, one in header.items() if name != "__metadata__"}
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelLoadError(f"{file}: is no .safetensors file; copy it again") from error


def _read(file: Path, label: str) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(
            f"{label} cannot be loaded: {file.name} is no JSON that can be read ({error})"
        ) from error


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    """Return a configuration and the ones inside it, such as that of the part for text."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            yield found
            waiting += found.values()


def _check_network(described: Mapping[str, Any], *, tensors: int, bits: int, label: str) -> None:
    """Raise ModelLoadError where a configuration needs more than the files of weights hold."""
    for name in _LAYERS:
        if _number(described, name) > tensors:
            raise _too_large(label, f"{name} is {described[name]}", f"{tensors} tensors")
    widths = [name for name in _WIDTHS if name in described]
    for name in _HEIGHTS:
        if prod(_number(described, one) for one in (name, *widths[:1])) > bits:
            what = " and ".join(f"{one} is {described[one]}" for one in (name, *widths[:1]))
            raise _too_large(label, what, f"{bits // _BITS:,} bytes")


def _number(described: Mapping[str, Any], name: str) -> int:
    value = described.get(name)
    return value if type(value) is int else 0


def _too_large(label: str, what: str, has: str) -> ModelLoadError:
    return ModelLoadError(
        f"{label} cannot be loaded: in config.json {what}, but its .safetensors files have "
        f"{has}: copy or download the folder again"
    )
