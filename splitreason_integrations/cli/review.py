"""`splitreason review`: list and answer the questions of a review queue."""

import json
from pathlib import Path
from typing import Annotated

import typer

from splitreason_integrations.cli import options
from splitreason_integrations.cli.printed_tables import print_table
from splitreason_integrations.cli.review_tables import print_entry, questions_table
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import Answer, Decision
from splitreason_integrations.humans.screen import Screen, echo
from splitreason_integrations.humans.terminal import login_name
from splitreason_integrations.processes.environment import REVIEWS
from splitreason_integrations.records.printable import harmless
from splitreason_integrations.reviews import ReviewQueue, Status

app = typer.Typer(
    help="Answer the questions of a review queue.", no_args_is_help=True, rich_markup_mode=None
)

Db = Annotated[Path, typer.Option("--db", envvar=REVIEWS.name, help="The review queue.")]
QuestionId = Annotated[str, typer.Argument(help="A question's id, or a prefix of it.")]
By = Annotated[
    str | None, typer.Option(help="Who answers; by default your login name.", show_default=False)
]
_DB = Path("reviews.sqlite")


@app.command("list")
def list_questions(
    db: Db = _DB,
    every: Annotated[bool, typer.Option("--all", help="Include answered questions.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """List the questions that wait for an answer, oldest first."""
    entries = _opened(db).entries(None if every else Status.PENDING)
    if as_json:
        echo(json.dumps({"questions": [entry.data() for entry in entries]}))
        return
    print_table(Screen(highlight=False), questions_table(entries))


@app.command()
def show(question: QuestionId, db: Db = _DB, as_json: options.AsJson = False) -> None:
    """Show one question: the reply so far, the large model's text, and the cost."""
    entry = _opened(db).entry(question)
    if as_json:
        echo(json.dumps(entry.data()))
        return
    print_entry(entry, Screen(highlight=False))


@app.command()
def approve(question: QuestionId, db: Db = _DB, by: By = None) -> None:
    """Let the large model write, or accept its text."""
    _give(question, db, by, Decision.APPROVE)


@app.command()
def refuse(question: QuestionId, db: Db = _DB, by: By = None) -> None:
    """Let the small model write the passage instead."""
    _give(question, db, by, Decision.REFUSE)


@app.command()
def edit(
    question: QuestionId,
    text: Annotated[
        str, typer.Argument(help="Before the span: a hint. After it: the replacement.")
    ],
    db: Db = _DB,
    by: By = None,
) -> None:
    """Give the large model a hint, or replace its text."""
    _give(question, db, by, Decision.EDIT, text)


@app.command()
def stop(question: QuestionId, db: Db = _DB, by: By = None) -> None:
    """End the reply."""
    _give(question, db, by, Decision.STOP)


def _give(question: str, db: Path, by: str | None, decision: Decision, text: str = "") -> None:
    answer = Answer(decision=decision, text=text, by=by or login_name())
    entry = _opened(db).answer(question, answer, by=answer.by)
    echo(harmless(f"question {entry.id}: {decision.value} by {answer.by}"))


def _opened(db: Path) -> ReviewQueue:
    if not db.exists():
        raise ConfigurationError(
            f"there is no review queue {db}; name one with --db or {REVIEWS.name}"
        )
    return ReviewQueue(db)
