"""How the audit log looks in a terminal."""

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
"""What is shown as the reply, not as a record's field."""


def requests_table(requests: Sequence[RequestHistory]) -> Table:
    """Return one row a request."""
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
    """Print a recorded reply as it was printed when it was written."""
    printer = ReplyPrinter(console)
    for piece in pieces:
        author, channel = Author(piece["author"]), Channel(piece["channel"])
        printer.show(Delta(piece["text"], tuple(piece["token_ids"]), author, channel))
    printer.finish()


def _row(request: RequestHistory) -> list[str]:
    said = request.summary()
    share, latency = said["offload_share"], said["latency_s"]
    return [
        said["time_utc"][:16].replace("T", " "),
        said["request_id"][:10],
        "degraded" if said["degraded"] else said["status"],
        str(said["spans"]),
        "" if share is None else f"{share:.1%}",
        f"{said['cost_usd']:.6f}",
        "" if latency is None else f"{latency:.2f}",
        str(said["human_answers"] or ""),
    ]


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
