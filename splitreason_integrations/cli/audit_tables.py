"""Tables of the audit log for a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from splitreason_integrations.audit.history import RequestHistory
from splitreason_integrations.audit.page import details, short
from splitreason_integrations.audit.record import AuditRecord
from splitreason_integrations.cli.display import ReplyPrinter
from splitreason_integrations.cli.printed_tables import UNKNOWN, print_table
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.records import Author, Channel, Delta
from splitreason_integrations.records.printable import harmless
from splitreason_integrations.records.view import facts_line

_WHOLE = ("request.started", "request.finished")
"""Records whose facts stand above the list."""
_ELSEWHERE = ("text", "cost_usd")
"""Facts of other records that the table of spans shows."""
_NUMBERS = ("span", "at token", "tokens", "seconds", "USD", "attempts")
_WORDS = ("opened by", "closed by", "person", "text")
POLICY_WORDS = ("summary", "allows", "costs", "suits", "expect")
"""Settings of a policy that describe it."""


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


def print_request(request: RequestHistory, console: Console) -> None:
    """Print what a person wants to know of a request: its facts, spans, and what happened when."""
    facts = _facts(request)
    wide = max(map(len, facts))
    for name, value in facts.items():
        print_lines(console, f"{name:{wide}}  {harmless(value)}")
    if request.spans:
        console.print()
        print_table(console, _spans_table(request.spans))
    console.print()
    for record in request.records:
        print_lines(console, harmless(_event(record)))
    console.print()


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
        _usd(summary["cost_usd"]),
        "" if latency is None else f"{latency:.2f}",
        str(summary["human_answers"] or ""),
    ]


def _facts(request: RequestHistory) -> dict[str, str]:
    engine, asked = request.started.get("engine", {}), request.started.get("request", {})
    done = request.finished
    facts = {
        "request": request.request_id,
        "began": f"{_time(request.time_utc)} UTC",
        "status": ", ".join(filter(None, (request.status, done.get("stop_reason")))),
        "small": engine.get("small"),
        "large": engine.get("large"),
        "opened by": done.get("trigger"),
        "closed by": done.get("close"),
        "chosen": done.get("choice_reason"),
        "policy": _policy(engine.get("policy", {})),
        "question": _question(asked.get("messages", ())),
        "reply": facts_line(done) if done else None,
    }
    return {name: short(name, value) for name, value in facts.items() if value}


def _policy(settings: Mapping[str, Any]) -> str:
    """Return the settings of a policy that set something."""
    given = {name: value for name, value in settings.items() if value and name not in POLICY_WORDS}
    return ", ".join(f"{name} {short(name, value)}" for name, value in given.items())


def _question(messages: Sequence[Mapping[str, Any]]) -> Any:
    """Return what the user said last."""
    return next((one.get("content") for one in reversed(messages) if one["role"] == "user"), None)


def _spans_table(spans: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a row per span, without columns in which nothing stands."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = zip(*(_span_row(number, span) for number, span in enumerate(spans, 1)), strict=True)
    shown = [
        (heading, cells)
        for heading, cells in zip((*_NUMBERS, *_WORDS), columns, strict=True)
        if any(cell not in ("", UNKNOWN) for cell in cells)
    ]
    for heading, _ in shown:
        is_number = heading in _NUMBERS
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number)
    for row in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*(Text(harmless(cell)) for cell in row))
    return table


def _span_row(number: int, span: Mapping[str, Any]) -> list[str]:
    return [
        str(number),
        str(span.get("start_token", "")),
        str(span.get("tokens", "")),
        f"{span.get('latency_s', 0.0):.2f}",
        _usd(span.get("cost_usd", 0.0)),
        str(span.get("attempts", "")),
        *(short(name, span.get(name) or "") for name in ("opened_by", "closed_by", "human")),
        short("text", span.get("text") or "").strip(),
    ]


def _event(record: AuditRecord) -> str:
    """Return a record as a line: when, what, and its facts but for those that stand elsewhere."""
    kind = record.kind.removeprefix("splitreason.").replace(".", " ")
    said = {name: one for name, one in record.data.items() if name not in _ELSEWHERE}
    facts = "" if record.kind in _WHOLE else details(replace(record, data=said))
    who = f"by {said['by']}" if said.get("by") else ""
    line = f"{_time(record.time_utc)}  {kind}"
    return ": ".join(filter(None, (line, ", ".join(filter(None, (who, facts))))))


def _time(time_utc: str) -> str:
    return time_utc[:22].replace("T", " ")


def _usd(amount: float) -> str:
    """Return an amount; a dash where there is none, since no price may have been given."""
    return f"{amount:.6f}" if amount else UNKNOWN
