"""`splitreason audit`: read, verify and report an audit log."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from splitreason_integrations import blocking
from splitreason_integrations.audit import checking
from splitreason_integrations.audit.checking import Report
from splitreason_integrations.audit.history import History, IndexedLog, load
from splitreason_integrations.audit.replay import Replay, pieces_of, run_again
from splitreason_integrations.cli import options
from splitreason_integrations.cli.audit_tables import print_reply, print_request, requests_table
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.errors import AuditError
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.processes.environment import AUDIT_KEY, AUDIT_LOG

app = typer.Typer(
    help="Read, check and report an audit log.", no_args_is_help=True, rich_markup_mode=None
)

Log = Annotated[Path, typer.Option("--log", envvar=AUDIT_LOG.name, help="The audit log.")]
RequestId = Annotated[str, typer.Argument(help="A request's id, or a prefix of it.")]
_LOG = Path("audit.jsonl")
_AGO = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@app.command("list")
def list_requests(
    log: Log = _LOG,
    since: Annotated[
        str | None, typer.Option(help="Only since: 30m, 24h, 7d or 2026-01-31T08:00 (UTC).")
    ] = None,
    degraded: Annotated[
        bool, typer.Option("--degraded", help="Only requests whose large model failed.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """List requests with time, spans, offload share, cost and human answers."""
    begin = "" if since is None else _begin(since)
    with _opened(log) as opened:
        found = (one.summary() for one in opened.since(begin))
        requests = [one for one in found if one["degraded"] or not degraded]
    if as_json:
        echo(json.dumps({"requests": requests, "log": asdict(opened.report)}))
        return
    print_table(Screen(highlight=False), requests_table(requests))


@app.command()
def show(request: RequestId, log: Log = _LOG, as_json: options.AsJson = False) -> None:
    """Show one request: its facts, its spans, what happened when, and its reply if it was recorded.

    People read spans numbered from 1; --json prints the records as they were written.
    """
    with _opened(log) as opened:
        found = opened.request(request)
    if as_json:
        records = [record.facts() for record in found.records]
        echo(json.dumps({"request_id": found.request_id, "records": records}))
        return
    console = Screen(highlight=False)
    print_request(found, console)
    if "pieces" in found.finished:
        print_reply(pieces_of(found), console)


@app.command()
def verify(
    log: Log = _LOG,
    head: Annotated[
        str | None, typer.Option(help="Hash of a record that the log must still contain.")
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(help="Hash of the last record that was deleted on purpose, with old files."),
    ] = None,
    key_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--key-file",
            help="File with a key that checks the signatures: a secret, or an Ed25519 key as PEM. "
            f"May be repeated; without it, {AUDIT_KEY.name}.",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Move an incomplete last line to <log>.torn.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Verify all files of a log: lines, signatures; exit status 2 if one was changed."""
    keys = [_key_in(file) for file in key_file] if key_file else None
    torn = checking.repair(log) if repair else 0
    report = checking.verify(log, head=head, key=keys, after=after)
    if as_json:
        echo(json.dumps({"ok": report.ok, **asdict(report), "repaired_bytes": torn}))
        raise typer.Exit(0 if report.ok else 2)
    if not report.ok:
        remedy = "; --repair moves it aside" if report.torn else ""
        file = log.with_name(report.file)
        raise AuditError(f"{file}, line {report.bad_line}: {report.problem}{remedy}")
    moved = f", {torn} bytes of an incomplete line moved to {log}.torn" if torn else ""
    signed = "" if report.signatures is None else f", {report.signatures} signatures"
    echo(f"{log} is intact: {report.records} records{signed}, head {report.head}{moved}")


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="The HTML file to write.")],
    log: Log = _LOG,
    newest: Annotated[int, typer.Option(min=1, help="Newest requests to show in detail.")] = 200,
) -> None:
    """Write one HTML page: offload shares, costs, approvals, failures and traces."""
    from splitreason_integrations.audit.page import render

    page = render(_load(log), name=log.name, newest=newest)
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise AuditError(
            f"{file} cannot be written: {error.strerror}; name a file in a folder that exists"
        ) from error
    echo(f"wrote {file}")


@app.command()
def replay(
    request: RequestId,
    log: Log = _LOG,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Run the models again and compare; exit status 2 if they differ."
        ),
    ] = False,
    small: Annotated[
        str | None, typer.Option(help="Small model; by default the recorded one.")
    ] = None,
    large: Annotated[
        str | None, typer.Option(help="Large model; by default the recorded one.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print a recorded reply; with --again, run the models again and compare the replies."""
    with _opened(log) as opened:
        found = opened.request(request)
    pieces = pieces_of(found)
    if not again:
        if as_json:
            echo(json.dumps({"request_id": found.request_id, "pieces": pieces}))
        else:
            print_reply(pieces, Screen(highlight=False))
        return
    result = blocking.run(lambda: run_again(found, small=small, large=large))
    if as_json:
        echo(json.dumps({"identical": result.identical, **asdict(result)}))
    else:
        echo(_verdict(result))
    raise typer.Exit(0 if result.identical else 2)


def _key_in(file: Path) -> str:
    """Return the key that a file holds."""
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AuditError(f"the key file {file} cannot be read; name a text file") from error


def _verdict(result: Replay) -> str:
    if result.identical:
        return f"identical: {len(result.again)} characters, the same tokens by the same authors"
    if result.recorded == result.again:
        return "differs: the text is the same, but authors or tokens are not"
    return f"differs: only the first {result.differs_at} characters are the same"


def _load(log: Path) -> History:
    """Return the log's history; report damage on standard error."""
    history = load(log)
    _warn(log, history.report)
    return history


@contextmanager
def _opened(log: Path) -> Iterator[IndexedLog]:
    """Open a log by its index; report damage on standard error."""
    with IndexedLog(log) as opened:
        _warn(log, opened.report)
        yield opened


def _warn(log: Path, damage: Report) -> None:
    if not damage.ok:
        used = "; only the lines before it are used" if damage.stopped else ""
        echo(
            f"splitreason: {log.with_name(damage.file)} is damaged at line {damage.bad_line} "
            f"({damage.problem}){used}",
            err=True,
        )


def _begin(since: str) -> str:
    """Return a point in time in the format of the records."""
    ago = _AGO.fullmatch(since)
    if ago is not None:
        begin = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    else:
        try:
            begin = datetime.fromisoformat(since)
        except ValueError as error:
            raise typer.BadParameter(
                f"--since takes 30m, 24h, 7d or a time such as 2026-01-31T08:00, got {since!r}"
            ) from error
        begin = begin.replace(tzinfo=UTC) if begin.tzinfo is None else begin.astimezone(UTC)
    return begin.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
