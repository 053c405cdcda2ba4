"""How fast and how surely snippets are placed, on synthetic traces, with how much memory."""

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from splitreason_integrations.annotation.annotators import SnippetsAnnotator
from splitreason_integrations.annotation.placement import How
from splitreason_integrations.annotation.run import Settings, Told, annotate
from splitreason_integrations.annotation.sources import JsonLines
from splitreason_integrations.annotation.steps import Align
from splitreason_integrations.annotation.synthetic import write_traces


async def bench(*, traces: int, tokens: int, workers: int, seed: int, told: Told) -> dict[str, Any]:
    """Return seconds, found places by how they were quoted, and the peak memory early and late.

    `ratio` is the share of well quoted snippets that were placed where they had been taken from.
    The file of traces is made before the clock starts.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = JsonLines(Path(folder) / "traces.jsonl")
        write_traces(source.path, n=traces, tokens=tokens, seed=seed)
        early_mb: list[float] = []

        def watch(stage: str, done: int, usd: float) -> None:
            if not early_mb and done >= traces // 10:
                early_mb.append(_peak_mb(resource.RUSAGE_SELF))
            told(stage, done, usd)

        started = time.perf_counter()
        source.check()
        output = Path(folder) / "tagged.jsonl"
        settings = Settings(align=Align.NONE, workers=workers)
        report = await annotate(source, SnippetsAnnotator(), output, settings, told=watch)
        seconds = time.perf_counter() - started
        found, of = _placed(output)
    rates = {kind: found[kind] / max(1, of[kind]) for kind in of}
    return {
        "bench": "annotate",
        "ratio": rates[How.EXACT.value],
        "placed_right": rates,
        "n": traces,
        "tokens": tokens,
        "snippets": of.total(),
        "seconds": seconds,
        "workers": workers,
        "peak_mb": {
            "at_a_tenth": early_mb[0],
            "at_the_end": _peak_mb(resource.RUSAGE_SELF),
            "largest_worker": _peak_mb(resource.RUSAGE_CHILDREN) if workers > 1 else None,
        },
        "report": report.data(),
        "seed": seed,
    }


def _placed(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Count the snippets that stand where they were taken from, and all, by kind."""
    found: Counter[str] = Counter()
    of: Counter[str] = Counter()
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            spans = {tuple(span) for span in row["spans"]}
            for kind, place in zip(row["kinds"], row["gold_spans"], strict=True):
                of[kind] += 1
                found[kind] += tuple(place) in spans
    return found, of


def _peak_mb(who: int) -> float:
    """Return the largest resident memory so far, in MB."""
    kilobytes = resource.getrusage(who).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return round(kilobytes / 1024, 1)
