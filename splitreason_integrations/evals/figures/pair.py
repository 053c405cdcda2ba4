"""Tables of the bundled pair: `splitreason bench pair --json`."""

from collections.abc import Callable, Iterable

from splitreason_integrations.evals.figures.cells import Found, interval, note, rule, share
from splitreason_integrations.evals.tables import markdown_table

_MEANINGS = {
    "base": "base: small model before it learned the tags",
    "small": "small alone, tags forbidden",
    "large": "large alone",
    "split": "**split**",
    "random": "random spans at about that share",
    "entropy": "spans where entropy is high, about that share",
    "rule": "spans where a rule has them, about that share",
}
_HEADINGS = ("", "accuracy", "95 % interval", "large share")


def of_split(split: str) -> Callable[[Found], str]:
    """Return what makes the table of one split's modes."""

    def modes(found: Found) -> str:
        rows = [row for row in found["rows"] if row["split"] == split]
        return _with_note(found, ((_MEANINGS[row["mode"]], row) for row in rows))

    return modes


def knob(found: Found) -> str:
    """Return the table of thresholds."""
    return _with_note(found, ((rule(row["trigger"]), row) for row in found["curve"]))


def whole(found: Found) -> str:
    """Return all three tables."""
    parts = {
        "Unseen problems": of_split("test"),
        "Operands never seen together": of_split("test-operands"),
        "Thresholds, on unseen problems": knob,
    }
    return "\n\n".join(f"{title}:\n\n{made(found)}" for title, made in parts.items())


def _with_note(found: Found, rows: Iterable[tuple[str, Found]]) -> str:
    named = list(rows)
    cells = [
        (
            name,
            share(row["accuracy"]),
            interval(row["interval"]),
            share(row["offload_share"]),
        )
        for name, row in named
    ]
    remark = (
        f"{named[0][1]['n']} problems in each row, half word problems and half questions over "
        "retrieved facts, greedy"
    )
    return f"{markdown_table(_HEADINGS, cells)}\n\n{note(found, remark)}"
