"""`ReviewQueue`: a reviewer that keeps questions in a file until people have answered them."""

import json
import sqlite3
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from splitreason_integrations.checks import check_number
from splitreason_integrations.errors import PauseError, ReviewError
from splitreason_integrations.humans.human import (
    TIMEOUT,
    Answer,
    Paused,
    named_reviewer,
    read_answer,
)
from splitreason_integrations.humans.signing import PauseKey, keys_in_use, read_keys
from splitreason_integrations.reviews import database
from splitreason_integrations.reviews.claims import Claim
from splitreason_integrations.reviews.entries import (
    Entry,
    Status,
    answer_of,
    damaged,
    entry_of,
    iso,
    paused_of,
)

_SLACK_S = 1.0
"""By how much a human check's clock may run ahead of the queue's, which starts later."""


@named_reviewer
@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """Keeps paused requests in an SQLite file on a local disk, created if there is none.

    People answer with `answer`, or with the command `splitreason review`; workers take answered
    requests with `claim` and continue them. Any number of processes may do each. With `wait` a
    request stays alive and looks for its answer each `poll_s` seconds instead; where its process
    ends, the request is a worker's after all. A claim that is not renewed, since its process was
    killed, ends after `lease_s` seconds. The requests of a file need the same models.

    The file holds users' text: its owner alone can read it, and a request is erased from it once
    it continued. Questions and answers are kept. With `pause_key`, or a key in
    SPLITREASON_PAUSE_KEY, people are shown no question and workers get no request that was not
    signed with it. Raises ReviewError if the file cannot be used.
    """

    path: str | PathLike[str]
    wait: bool = False
    poll_s: float = 0.5
    lease_s: float = 60.0
    pause_key: PauseKey = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pause_key", read_keys(self.pause_key))
        check_number("poll_s", self.poll_s, least=0.01)
        check_number("lease_s", self.lease_s, least=0.1)
        object.__setattr__(self, "path", Path(self.path))
        database.create(self._file)
        with self._step():
            pass  # a file of another program is named here, before any work is done

    async def review(self, paused: Paused) -> Answer | None:
        """Ask; return None, or with `wait` the answer."""
        holder = uuid.uuid4().hex if self.wait else None
        await anyio.to_thread.run_sync(self._put, paused, holder)
        if holder is None:
            return None
        try:
            while True:
                take = partial(self._take, paused.question.id, holder)
                if answer := await anyio.to_thread.run_sync(take):
                    return answer
                await anyio.sleep(self.poll_s)
        except anyio.get_cancelled_exc_class():
            self._give_up(paused.question.id, holder)
            raise

    def entries(self, status: Status | None = None) -> list[Entry]:
        """Return the questions of a status, or all, in the order in which they were asked."""
        with self._step() as rows:
            found = rows.execute(
                "SELECT * FROM questions WHERE ? IS NULL OR status = ? ORDER BY asked_at, id",
                (status, status),
            )
            return [self._entry(row) for row in found]

    def entry(self, question_id: str) -> Entry:
        """Return a question by its id or by how that begins, the one that is pending if several."""
        with self._step() as rows:
            return self._entry(self._row(rows, question_id))

    def answer(self, question_id: str, given: Any, *, by: str) -> Entry:
        """Answer a question, found as `entry` does; raise ReviewError where that is done already.

        `given` is an `Answer`, a decision such as "approve", a truth value or a dict with
        `decision`, `text` and `by`. For anything else ConfigurationError is raised, and the
        question waits on.
        """
        with self._step() as rows:
            row = self._row(rows, question_id)
            entry = self._entry(row)
            answer = read_answer(given, by=by, to=entry.question)
            if entry.status is Status.WITHDRAWN:
                raise ReviewError(f"question {entry.id} no longer waits: its request has ended")
            if entry.answer is not None:
                known = entry.answer
                raise ReviewError(
                    f"question {entry.id} was answered {known.decision.value!r} by {known.by} at "
                    f"{known.at}; an answer is final"
                )
            self._note(rows, row["id"], answer, time.time())
            return replace(entry, status=Status.ANSWERED, answer=answer)

    def claim(self, request_id: str | None = None) -> Claim | None:
        """Return an answered request that is the caller's alone; None where there is none.

        With `request_id` that request. The one that was claimed least often comes first, then the
        one that was answered first.
        """
        holder, now = uuid.uuid4().hex, time.time()
        with self._step() as rows:
            row = rows.execute(
                "SELECT * FROM questions WHERE status = 'answered' "
                "AND (held_until IS NULL OR held_until < ?) AND (? IS NULL OR request_id = ?) "
                "ORDER BY claims, answered_at, id LIMIT 1",
                (now, request_id, request_id),
            ).fetchone()
            if row is None:
                return None
            rows.execute(
                "UPDATE questions SET holder = ?, held_until = ?, claims = claims + 1 WHERE id = ?",
                (holder, now + self.lease_s, row["id"]),
            )
        # One that is damaged stays claimed for a while: the others come first.
        paused, answer = self._signed(row), answer_of(row)
        if answer.by == TIMEOUT and answer.decision is not paused.on_timeout:
            raise damaged(row, "its answer is not what holds where nobody answers in time")
        return Claim(self._file, paused, answer, holder=holder, lease_s=self.lease_s)

    def _entry(self, row: sqlite3.Row) -> Entry:
        """Return a row as an entry; one that waits is about the request that it keeps."""
        entry = entry_of(row)
        if row["paused"] is not None and entry.question != self._signed(row).question:
            raise damaged(row, "the question is not that of its request")
        return entry

    def _signed(self, row: sqlite3.Row) -> Paused:
        """Return the request that a row keeps; with keys, only if one of them signed it."""
        paused = paused_of(row)
        if keys := keys_in_use(read_keys(self.pause_key)):
            try:
                paused.check_signature(keys)
            except PauseError as error:
                raise damaged(row, error) from error
        return paused

    @property
    def _file(self) -> Path:
        return Path(self.path)

    @contextmanager
    def _step(self, *, ahead_s: float = 0.0) -> Generator[sqlite3.Connection, None, None]:
        """Open the file for one step, questions out of time answered first."""
        with database.opened(self._file) as rows:
            late = rows.execute(
                "SELECT id, on_timeout, expires_at FROM questions "
                "WHERE status = 'pending' AND expires_at <= ?",
                (time.time() + ahead_s,),
            ).fetchall()
            for row in late:
                at = row["expires_at"]
                answer = Answer(decision=row["on_timeout"], by=TIMEOUT, at=iso(at))
                self._note(rows, row["id"], answer, at)
            yield rows

    def _put(self, paused: Paused, holder: str | None) -> None:
        """Store a question; the request's question before it is done."""
        question, now = paused.question, time.time()
        expires_at = None if paused.timeout_s is None else now + paused.timeout_s
        with self._step() as rows:
            known = rows.execute("SELECT * FROM questions WHERE id = ?", (question.id,)).fetchone()
            if known is not None:
                self._check_same(known, paused)
                return
            rows.execute(
                "UPDATE questions SET status = 'resumed', paused = NULL "
                "WHERE request_id = ? AND status = 'answered'",
                (question.request_id,),
            )
            rows.execute(
                "INSERT INTO questions (id, request_id, status, question, paused, on_timeout, "
                "asked_at, expires_at, holder, held_until) "
                "VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?)",
                (
                    question.id,
                    question.request_id,
                    json.dumps(asdict(question)),
                    paused.to_json(),
                    paused.on_timeout,
                    now,
                    expires_at,
                    holder,
                    now + self.lease_s if holder else None,
                ),
            )

    def _check_same(self, known: sqlite3.Row, paused: Paused) -> None:
        """Raise ReviewError unless a question that was asked before is asked again."""
        same = known["paused"] is not None and (
            paused_of(known).state["request"] == json.loads(paused.to_json())["state"]["request"]
        )
        if not same or self.wait:
            raise ReviewError(
                f"question {paused.question.id} was asked before, by another run or another "
                "request; give every request an id of its own"
            )

    def _take(self, question_id: str, holder: str) -> Answer | None:
        """Return the answer to a question that is waited for; None where there is none yet."""
        with self._step() as rows:
            row = self._row(rows, question_id)
            if row["holder"] != holder or row["status"] not in ("pending", "answered"):
                raise ReviewError(
                    f"question {question_id} was not polled in time (lease_s={self.lease_s:g}); "
                    "another worker continues its request"
                )
            if row["status"] == "pending":
                rows.execute(
                    "UPDATE questions SET held_until = ? WHERE id = ?",
                    (time.time() + self.lease_s, question_id),
                )
                return None
            self._end(rows, question_id, Status.RESUMED)
            return answer_of(row)

    def _give_up(self, question_id: str, holder: str) -> None:
        """Record that a request no longer waits: its time is up or its caller has left."""
        with self._step(ahead_s=_SLACK_S) as rows:
            row = self._row(rows, question_id)
            if row["holder"] == holder and row["status"] in ("pending", "answered"):
                answered = row["status"] == "answered"
                self._end(rows, question_id, Status.RESUMED if answered else Status.WITHDRAWN)

    def _row(self, rows: sqlite3.Connection, wanted: str) -> sqlite3.Row:
        """Return the row of an id; or of its beginning, if only one id begins like this."""
        found: list[sqlite3.Row] = rows.execute(
            "SELECT * FROM questions WHERE substr(id, 1, length(?)) = ? AND ? != ''",
            (wanted, wanted, wanted),
        ).fetchall()
        exact: list[sqlite3.Row] = [row for row in found if row["id"] == wanted]
        for several in (exact, found, [row for row in found if row["status"] == "pending"]):
            if len(several) == 1:
                return several[0]
        if not found:
            raise ReviewError(
                f"there is no question {wanted!r}; `splitreason review list --all` shows all"
            )
        ids = ", ".join(row["id"] for row in found[:5])
        raise ReviewError(f"{wanted!r} may mean {ids}; give more of the id")

    @staticmethod
    def _note(rows: sqlite3.Connection, question_id: str, answer: Answer, at: float) -> None:
        rows.execute(
            "UPDATE questions SET status = 'answered', answer = ?, answered_at = ? WHERE id = ?",
            (json.dumps(asdict(answer)), at, question_id),
        )

    @staticmethod
    def _end(rows: sqlite3.Connection, question_id: str, status: Status) -> None:
        rows.execute(
            "UPDATE questions SET status = ?, paused = NULL WHERE id = ?", (status, question_id)
        )
