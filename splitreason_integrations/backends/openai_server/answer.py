"""One answer of a server, which several orders may share."""

import logging
from dataclasses import replace

from splitreason_integrations.backends.base import End, Written
from splitreason_integrations.backends.openai_server.call import Call
from splitreason_integrations.backends.openai_server.dialects import Answer
from splitreason_integrations.backends.openai_server.wire import (
    FULL,
    REFUSED,
    MisfitError,
    Part,
    UnreadableError,
    Usage,
)
from splitreason_integrations.errors import AnswerFormError, ModelCallError

_log = logging.getLogger(__name__)


class Answering:
    """An answer as it arrives. Tokens that an order has no room for are kept for the next one.

    Attributes:
        call: the request.
        unread: how many tokens of the question were new to the server.
        goes_on: whether there may be more.
        is_typed: whether it was asked for in a form.

    """

    def __init__(self, call: Call, answer: Answer, unread: int, *, is_typed: bool = False) -> None:
        self.call = call
        self.unread = unread
        self.is_typed = is_typed
        self.goes_on = True
        self._answer = answer
        self._part = Part()
        self._spare = Written(())
        self._usage: Usage | None = None
        self._verdict: ModelCallError | None = None
        self._has_said = False
        self._written = 0

    async def next(self, most: int) -> tuple[Written, Part]:
        """Return the next tokens, `most` at most, and the event that they came in.

        If there is more for another order, the end is `End.LENGTH`.
        """
        if self._spare.token_ids or self._spare.end is not None:
            return self._shared(self._spare, most), self._part
        if self._verdict is not None:
            raise self._verdict
        part = await self.call.next()
        if part is None:
            part = self._without_finish()
        elif part.finish == FULL:
            # Asked for more, the server could but refuse.
            _log.warning("an answer ends where its server's context is full: %s", part.reason)
            part = replace(part, finish="stop")
        elif part.finish == REFUSED:
            # What came before is kept; nothing more will come, however often one asks.
            self._verdict = self.call.refused(
                f"its server ended the answer by {part.reason!r}, and would do so again"
            )
            part = replace(part, finish=None)
        self._part, self._usage = part, part.usage or self._usage
        self._has_said = self._has_said or part.is_news
        try:
            written = self._answer.take(part)
        except UnreadableError as error:
            raise self.unreadable(error) from error
        self._written += len(written.token_ids)
        return self._shared(written, most), part

    def rest(self, most: int) -> tuple[int, ...]:
        """Return tokens received and not yet returned, when an answer breaks off."""
        self.goes_on = False
        try:
            return self._answer.rest()[:most]
        except UnreadableError:
            # The unreadable part is why the answer broke off.
            return ()

    def unreadable(self, error: UnreadableError) -> Exception:
        """Return the error for an unreadable answer."""
        if isinstance(error, MisfitError):
            # Its server is as well as before.
            return AnswerFormError(str(self.call.refused(str(error))))
        return self.call.broken(str(error), retryable=not error.lasting)

    async def settle(self) -> Usage | None:
        """Let a finished answer end; return the usage, if the server reports it."""
        usage = self._usage or await self.call.usage()
        await self.call.settle()
        return usage

    def _without_finish(self) -> Part:
        """Return the end of an answer that the server calls whole, without saying how it ended."""
        if not (self.call.is_whole and self._has_said):
            raise self.call.broken("the answer ended before it was finished")
        reported = None if self._usage is None else self._usage.completion
        written = max(self._written, reported or 0)
        return Part((), finish="length" if written >= self.call.question.max_tokens else "stop")

    def _shared(self, written: Written, most: int) -> Written:
        now, later = written.token_ids[:most], written.token_ids[most:]
        if later or (len(now) == most and written.end is None):
            self._spare = replace(written, token_ids=later)
            return Written(now, End.LENGTH)
        self._spare = Written(())
        self.goes_on = written.end is None
        return written
