"""The ready-made policies on the bundled pair, as `splitreason eval` measures them."""

from splitreason_integrations.evals.figures.cells import Found, interval, note, rule, share
from splitreason_integrations.evals.tables import markdown_table

FILES = ("policy-cost-first", "policy-balanced", "policy-quality-first", "policy-untaught")
_HEADINGS = (
    "policy",
    "small model",
    "trigger",
    "accuracy",
    "95 % interval",
    "large share",
    "spans",
)


def compared(*found: Found) -> str:
    """Return a row for each policy's file, and below the table the command of each."""
    cells, commands = [], []
    for name, row in zip(FILES, found, strict=True):
        cells.append(
            (
                f"`{name.removeprefix('policy-')}`",
                "base" if "base" in row["command"] else "small",
                rule(row["trigger"]),
                share(row["accuracy"]),
                interval(row["interval"]),
                share(row["offload_share"]),
                f"{row['spans'] / row['n']:.1f}",
            )
        )
        commands.append(note(row, f"{row['n']} problems, greedy"))
    return "\n\n".join((markdown_table(_HEADINGS, cells), *commands))
