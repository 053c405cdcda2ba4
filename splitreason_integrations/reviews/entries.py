"""One row of the queue: a question, its status and its answer."""

import json
import sqlite3
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from splitreason_integrations.errors import ConfigurationError, ReviewError
from splitreason_integrations.humans.human import Answer, Paused, Question

_QUESTION = TypeAdapter(Question)
_ANSWER = TypeAdapter(Answer)


class Status(StrEnum):
    """The status of a question.

    `PENDING` until it is answered, `ANSWERED` until its request continues, then `RESUMED`;
    `WITHDRAWN` if the request ended without an answer.
    """

    PENDING = "pending"
    ANSWERED = "answered"
    RESUMED = "resumed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A question and its answer, if it has one. Times are ISO 8601, UTC."""

    question: Question
    status: Status
    asked_at: str
    expires_at: str | None
    answer: Answer | None

    @property
    def id(self) -> str:
        """The question's id."""
        return self.question.id

    def data(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        return {"id": self.id, **asdict(self)}


def entry_of(row: sqlite3.Row) -> Entry:
    """Return a row as an entry; raise ReviewError if this program did not write it."""
    try:
        return Entry(
            question=_QUESTION.validate_python(json.loads(row["question"])),
            status=Status(row["status"]),
            asked_at=iso(row["asked_at"]),
            expires_at=None if row["expires_at"] is None else iso(row["expires_at"]),
            answer=None if row["answer"] is None else answer_of(row),
        )
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise damaged(row, error) from error


def answer_of(row: sqlite3.Row) -> Answer:
    """Return a row's answer."""
    try:
        return _ANSWER.validate_python(json.loads(row["answer"]))
    except (ValueError, TypeError) as error:
        raise damaged(row, error) from error


def paused_of(row: sqlite3.Row) -> Paused:
    """Return the request that a row keeps."""
    try:
        return Paused.from_json(row["paused"])
    except ConfigurationError as error:
        raise damaged(row, error) from error


def iso(seconds: float) -> str:
    """Return a time since the epoch as text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def damaged(row: sqlite3.Row, error: object) -> ReviewError:
    """Return the error of a row that this program did not write like this."""
    return ReviewError(
        f"question {row['id']} of the review queue is damaged ({error}); "
        "take the file from a backup"
    )
