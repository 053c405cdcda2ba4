"""Speculative decoding beside offloading, as a Markdown table."""

from collections.abc import Mapping
from typing import Any


def speculation_lines(found: Mapping[str, Any]) -> list[str]:
    """Return the lines of the table of what `measure_speculation` found, with a note below."""
    lines = [
        f"The same pair by speculative decoding, n = {found['n']}, figures per answer:",
        "",
        "| engine | who writes | right (95 %) | same text as large alone "
        "| large passes | tokens in them | seconds | ÷ large alone (95 %) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        (low, high), (least, most) = row["interval"], row["of_alone_interval"]
        positions = row["large_positions"]
        lines.append(
            f"| {row['engine']} | {row['method']} | {row['accuracy']:.1%} ({low:.1%} to {high:.1%})"
            f" | {row['same_text']} of {row['n']} | {row['large_passes']:.1f} "
            f"| {'–' if positions is None else f'{positions:.0f}'} | {row['seconds']:.2f} "
            f"| {row['of_alone']:.2f} ({least:.2f} to {most:.2f}) |"
        )
    note = (
        "Greedy, one answer at a time on one thread, in turn. Each engine is compared with itself: "
        "both models are tiny, so that an engine's own time per step is most of the wall time, and "
        "the large model's passes say more about real sizes."
    )
    if not found["vllm"]:
        note += (
            " vLLM is not installed here and was not measured; set SPLITREASON_VLLM_PYTHON to the "
            "Python of an environment that has it."
        )
    return [*lines, "", note]
