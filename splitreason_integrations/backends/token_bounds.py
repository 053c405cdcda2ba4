"""The least number of tokens that a text can have, counted without tokenising it.

Each token stands for a piece of text. No token of a vocabulary is longer than its longest one, nor
has more changes of character: a text of 3 MB has so many tokens at least. The count is exact in
one direction only: a text that fits is never called too long.
"""

import json
from itertools import groupby
from typing import Any

import numpy as np
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase

_SAFE_NORMALIZERS = frozenset({"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Prepend", "Replace"})
_SAFE_SPLITTERS = frozenset({"ByteLevel", "Digits", "Metaspace", "Punctuation", "Split"})
_BYTES = 256
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How some vocabularies write a space."""


class TokenBound:
    """Bounds for the texts of one tokenizer; for kinds that can lose text there is none, 0."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._normalizer = tokenizer.backend_tokenizer.normalizer
        written = json.loads(tokenizer.backend_tokenizer.to_str())
        self._longest, self._changes = 0, 0
        if _keeps_all_text(written):
            pieces = [piece.replace(_SPACE, " ") for piece in tokenizer.get_vocab()]
            self._longest = max(map(len, pieces))
            self._changes = max(sum(1 for _ in groupby(piece)) for piece in pieces)

    def least_tokens(self, text: str) -> int:
        """Return how many tokens a text has at least."""
        if not self._longest or not text:
            return 0
        if self._normalizer is not None:
            text = self._normalizer.normalize_str(text)
        codes = np.frombuffer(text.replace(_SPACE, " ").encode("utf-32-le"), dtype=np.uint32)
        runs = 1 + int(np.count_nonzero(codes[1:] != codes[:-1]))
        # A normalizer may put one character before a whole text that it does not put before a part.
        return max(len(text) // self._longest, runs // self._changes) - 1


def _keeps_all_text(written: dict[str, Any]) -> bool:
    """Return whether each character of a text is in some token, as a tokenizer.json says."""
    model = written["model"]
    if model["type"] not in ("BPE", "Unigram") or written.get("truncation"):
        return False
    if any(token.get("lstrip") or token.get("rstrip") for token in written["added_tokens"]):
        return False
    normalizers = _parts(written.get("normalizer"), "normalizers")
    splitters = _parts(written.get("pre_tokenizer"), "pretokenizers")
    return (
        all(_is_safe_normalizer(one) for one in normalizers)
        and all(one["type"] in _SAFE_SPLITTERS and not _removes(one) for one in splitters)
        and _has_all_bytes(model, splitters)
    )


def _parts(one: dict[str, Any] | None, inside: str) -> list[dict[str, Any]]:
    if one is None:
        return []
    if one["type"] != "Sequence":
        return [one]
    return [part for inner in one[inside] for part in _parts(inner, inside)]


def _is_safe_normalizer(one: dict[str, Any]) -> bool:
    """Return whether a normalizer works alike on a text and on parts of it, and drops nothing.

    A replacement by a pattern may see more of a whole text than of its parts.
    """
    return one["type"] in _SAFE_NORMALIZERS and (
        one["type"] != "Replace" or set(one["pattern"]) == {"String"}
    )


def _removes(one: dict[str, Any]) -> bool:
    return str(one.get("behavior", "")).lower() == "removed"


def _has_all_bytes(model: dict[str, Any], splitters: list[dict[str, Any]]) -> bool:
    """Return whether text that no other token has is written byte by byte."""
    if model["type"] == "BPE" and any(one["type"] == "ByteLevel" for one in splitters):
        return set(ByteLevel.alphabet()) <= set(model["vocab"])
    pieces = model["vocab"] if model["type"] == "BPE" else {piece for piece, _ in model["vocab"]}
    return bool(model.get("byte_fallback")) and all(
        f"<0x{byte:02X}>" in pieces for byte in range(_BYTES)
    )
