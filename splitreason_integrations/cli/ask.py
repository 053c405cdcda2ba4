"""`splitreason ask`: stream the answer to one question."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from splitreason_integrations import blocking
from splitreason_integrations.audit import AuditLog
from splitreason_integrations.cli import options
from splitreason_integrations.cli.display import ReplyPrinter, choice_line, cost_line, load_models
from splitreason_integrations.cli.picture import ReplyPicture, check_picture, write_picture
from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.events import HandoffFailed, HumanAsked
from splitreason_integrations.humans.console import ConsoleReviewer
from splitreason_integrations.humans.human import HumanCheck
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.records import Completion, Delta
from splitreason_integrations.records.printable import harmless
from splitreason_integrations.request import Request


class Check(StrEnum):
    """When the person at the terminal is asked."""

    BEFORE = "before"
    AFTER = "after"
    BOTH = "both"

    def human_check(self) -> HumanCheck:
        """Return a check by the person at this terminal.

        Raises:
            ConfigurationError: Standard input is not a terminal.

        """
        reviewer = ConsoleReviewer()
        reviewer.require_terminal()
        return HumanCheck(
            reviewer=reviewer,
            before=None if self is Check.AFTER else AskRule(),
            after=None if self is Check.BEFORE else AskRule(),
        )


@options.with_declared
def ask(
    question: Annotated[str, typer.Argument(help="What to ask; - reads standard input.")],
    small: options.Small = None,
    large: options.Large = None,
    trigger: options.OwnTrigger = None,
    close: options.OwnClose = None,
    policy: options.PolicyName = None,
    max_share: options.MaxShare = None,
    max_tokens: options.MaxTokens = 1024,
    thinking: options.Thinking = None,
    seed: Annotated[int, options.declared("seed", has_default=True)] = 0,
    audit: Annotated[Path | None, options.declared("audit", show_default=False)] = None,
    audit_content: Annotated[
        bool,
        typer.Option("--audit-content", help="Record the texts too, so that it can be replayed."),
    ] = False,
    check: Annotated[
        Check | None,
        typer.Option(help="Ask you at the terminal before a span is written, after it, or both."),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.svg", help="Draw the reply, small and large text in two colours."
        ),
    ] = None,
    api_key_env: options.ApiKeyEnv = None,
    close_threshold: options.CloseThreshold = None,
    as_json: options.AsJson = False,
    **given: Any,
) -> None:
    """Ask one question; print the text of the small and the large model differently."""
    question = _read() if question == "-" else question
    described = options.engine(small, large, trigger, max_share, policy, close=close)
    engine = options.keyed(options.applied(described, given), api_key_env)
    if audit_content and audit is None:
        raise typer.BadParameter("--audit-content needs --audit FILE to record the texts in")
    if audit is not None:
        engine = replace(engine, audit=AuditLog(audit, content=audit_content))
    if check is not None:
        engine = replace(engine, human_check=check.human_check())
    request = Request(
        messages=[{"role": "user", "content": question}],
        sampling=options.sampling(given),
        max_tokens=max_tokens,
        thinking=thinking,
        max_reasoning_tokens=given.get("max_reasoning_tokens"),
        seed=seed,
    )
    if picture is not None:
        check_picture(picture)
    load_models(engine)
    drawn = ReplyPicture(question)
    reply = stream(engine, request, Screen(highlight=False, quiet=as_json), drawn.add)
    if picture is not None:
        write_picture(picture, drawn.svg(cost_line(reply, timed=False)))
    if as_json:
        echo(json.dumps(_facts(reply)))
        return
    remarks = Screen(stderr=True, highlight=False)
    for line in filter(None, (cost_line(reply), choice_line(reply))):
        print_lines(remarks, line, "dim")


def stream(
    engine: SplitEngine,
    request: Request,
    console: Console,
    on_delta: Callable[[Delta], None] | None = None,
) -> Completion:
    """Print a reply as it is generated, then large models that failed; return the reply.

    Args:
        engine: The pair.
        request: What is asked.
        console: Where the text is printed.
        on_delta: Called with every delta.

    """
    printer = ReplyPrinter(console)
    reply: Completion | None = None
    failures: list[HandoffFailed] = []
    try:
        for item in blocking.iterate(engine.stream(request)):
            if isinstance(item, Delta):
                printer.show(item)
                if on_delta is not None:
                    on_delta(item)
            elif isinstance(item, HumanAsked):
                printer.pause()
            elif isinstance(item, HandoffFailed):
                failures.append(item)
            elif isinstance(item, Completion):
                reply = item
    except BaseException:
        printer.abandon()
        raise
    printer.finish()
    errors = Screen(stderr=True, highlight=False)
    for failure in failures:
        print_lines(errors, harmless(f"{failure.model} failed: {failure.error}"))
    assert reply is not None, "a stream ends with its completion"
    return reply


def _read() -> str:
    """Return the question on standard input.

    Raises:
        RequestError: There is none, or it is no text.

    """
    try:
        question = sys.stdin.read().strip()
    except UnicodeDecodeError as error:
        raise RequestError(f"standard input is no text in UTF-8: {error}") from error
    if not question:
        raise RequestError("standard input is empty: pipe a question in, as in `cat q.txt | …`")
    return question


def _facts(reply: Completion) -> dict[str, Any]:
    return {
        "answer": reply.answer,
        "reasoning": reply.reasoning,
        "tool_calls": [
            {"name": call.name, "arguments": call.arguments} for call in reply.tool_calls
        ],
        **reply.facts(),
        "seed": reply.seed,
    }
