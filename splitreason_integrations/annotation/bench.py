"""Measure speed, accuracy and memory of snippet placement on synthetic traces."""

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
from splitreason_integrations.annotation.run import OnProgress, Settings, annotate
from splitreason_integrations.annotation.sources import JsonLines
from splitreason_integrations.annotation.steps import Align
from splitreason_integrations.annotation.synthetic import write_traces


async def bench(
    *, traces: int, tokens: int, workers: int, seed: int, on_progress: OnProgress
) -> dict[str, Any]:
    """Return seconds, placement accuracy by kind of quote, and peak memory early and late.

    `ratio` is the fraction of exactly quoted snippets that were placed at their origin. The file of
    traces is written before timing starts.

    Args:
        traces: Number of traces.
        tokens: Approximate tokens per trace.
        workers: Worker processes.
        seed: Seed of the traces.
        on_progress: Called with (stage, rows done, USD spent).

    """
    with tempfile.TemporaryDirectory() as folder:
        source = JsonLines(Path(folder) / "traces.jsonl")
        write_traces(source.path, n=traces, tokens=tokens, seed=seed)
        early_mb: list[float] = []

        def watch(stage: str, done: int, usd: float) -> None:
            if not early_mb and done >= traces // 10:
                early_mb.append(_peak_mb(resource.RUSAGE_SELF))
            on_progress(stage, done, usd)

        started = time.perf_counter()
        source.check()
        output = Path(folder) / "tagged.jsonl"
        settings = Settings(align=Align.NONE, workers=workers)
        report = await annotate(source, SnippetsAnnotator(), output, settings, on_progress=watch)
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
    """Count the snippets placed at their origin, and all snippets, by kind."""
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
    """Return the peak resident memory so far, in MB."""
    kilobytes = resource.getrusage(who).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return round(kilobytes / 1024, 1)
