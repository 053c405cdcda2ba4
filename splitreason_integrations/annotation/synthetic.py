"""Long synthetic traces with exactly or inexactly quoted snippets, to measure placement."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STARTS = ("So", "Then", "Now", "Next", "Here", "Hence", "Also", "Since", "Given", "Again", "Thus")
_TEXT = """
the value of each part is known from what was said and we carry it over to that line before going on
with another one which gives a bound for all remaining terms under this case when it holds otherwise
there must be some index where both sides agree so far résumé naïve größer
"""
_WORDS = _TEXT.split()
_TOKENS_PER_SENTENCE = 20
_SNIPPETS = 12
_KINDS = ("exact", "normalised", "fuzzy")
_WEIGHTS = (90, 6, 4)
_REPEATED = 0.05


def write_traces(path: Path, *, n: int, tokens: int, seed: int) -> None:
    """Write `n` rows with `trace`, `snippets`, `gold_spans` and `kinds`, of about `tokens` each."""
    with path.open("w", encoding="utf-8") as file:
        for row in traces(n=n, tokens=tokens, seed=seed):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def traces(*, n: int, tokens: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows; a sentence has about 20 tokens."""
    rng = random.Random(f"synthetic/{seed}")
    for at in range(n):
        yield {"id": at, "question": f"Question {at}?", **_row(rng, tokens)}


def _row(rng: random.Random, tokens: int) -> dict[str, Any]:
    count = max(2 * _SNIPPETS, tokens // _TOKENS_PER_SENTENCE)
    quoted = sorted(rng.sample(range(0, count, 2), _SNIPPETS))
    places: dict[int, list[int]] = {}
    parts: list[str] = []
    length = 0
    previous = ""
    for at in range(count):
        sentence = _sentence(rng)
        if at in quoted:
            # Sometimes the previous quote again: its next occurrence is the right place.
            sentence = previous = previous if previous and rng.random() < _REPEATED else sentence
            places[at] = [length, length + len(sentence)]
        gap = "\n" if rng.random() < 0.2 else " "
        parts += [sentence, gap]
        length += len(sentence) + 1
    kinds = rng.choices(_KINDS, _WEIGHTS, k=_SNIPPETS)
    sentences = [parts[2 * at] for at in quoted]
    return {
        "trace": "".join(parts),
        "snippets": [_quote(rng, s, kind) for s, kind in zip(sentences, kinds, strict=True)],
        "gold_spans": [places[at] for at in quoted],
        "kinds": kinds,
    }


def _sentence(rng: random.Random) -> str:
    # Numbers make sentences differ slightly, as in real traces.
    a, b = rng.randrange(10, 1000), rng.randrange(10, 100)
    words = " ".join(rng.choices(_WORDS, k=12))
    return f"{rng.choice(_STARTS)} {words} {a}*{b} = {a * b}."


def _quote(rng: random.Random, sentence: str, kind: str) -> str:
    """Return a sentence as a model might quote it: exactly, respaced, or misspelt."""
    if kind == "exact":
        return sentence
    words = sentence.split(" ")
    if kind == "normalised":
        at = rng.randrange(1, len(words))
        spaced = f"{' '.join(words[:at])}\n  {' '.join(words[at:])}"
        return spaced.replace(" =", "\u00a0=")
    at = rng.randrange(2, 8)
    words[at] = words[at][::-1] + "x"
    return " ".join(words)
