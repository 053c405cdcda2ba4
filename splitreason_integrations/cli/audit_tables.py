"""Tables of the audit log for a terminal."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from splitreason_integrations.audit.history import RequestHistory
from splitreason_integrations.cli.display import ReplyPrinter
from splitreason_integrations.records import Author, Channel, Delta

_LONG = ("pieces", "reasoning", "answer")
"""Fields that are printed as the reply instead of as fields of a record."""


def requests_table(requests: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with one row per request."""
    table = Table(box=None, pad_edge=False)
    for words in ("time (UTC)", "request", "status"):
        table.add_column(words, no_wrap=True)
    for numbers in ("spans", "share", "USD", "seconds", "human"):
        table.add_column(numbers, justify="right", no_wrap=True)
    for request in requests:
        table.add_row(*(Text(cell) for cell in _row(request)))
    return table


def print_records(request: RequestHistory, console: Console) -> None:
    """Print a request's records in order."""
    for record in request.records:
        console.print(
            Text(f"{record.sequence}  {record.time_utc}  {record.kind}", style="bold"),
            soft_wrap=True,
        )
        for name, value in record.data.items():
            if name not in _LONG:
                console.print(Text(f"    {name}: {_compact(value)}"), soft_wrap=True)


def print_reply(pieces: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print a recorded reply in the same format as a live one."""
    printer = ReplyPrinter(console)
    for piece in pieces:
        author, channel = Author(piece["author"]), Channel(piece["channel"])
        printer.show(Delta(piece["text"], tuple(piece["token_ids"]), author, channel))
    printer.finish()


def _row(summary: Mapping[str, Any]) -> list[str]:
    share, latency = summary["offload_share"], summary["latency_s"]
    return [
        summary["time_utc"][:16].replace("T", " "),
        summary["request_id"][:10],
        "degraded" if summary["degraded"] else summary["status"],
        str(summary["spans"]),
        "" if share is None else f"{share:.1%}",
        f"{summary['cost_usd']:.6f}",
        "" if latency is None else f"{latency:.2f}",
        str(summary["human_answers"] or ""),
    ]


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
