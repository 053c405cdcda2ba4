"""What is wrong with a reply that a large model wrote alone, so that nobody read along."""

import logging

from splitreason_integrations.errors import UnmarkedReplyError
from splitreason_integrations.loop.state import RequestState
from splitreason_integrations.records import Channel
from splitreason_integrations.text.hidden_marks import ended_in_reasoning, unmarked

_log = logging.getLogger(__name__)


def without_answer(state: RequestState) -> UnmarkedReplyError | None:
    """Return the error of a reply that ended within its reasoning; None for others."""
    if not state.transcript.reasons:
        return None
    large = state.large
    return _error(state, ended_in_reasoning(large.codec, remote=large.model.remote))


def without_marks(state: RequestState) -> UnmarkedReplyError | None:
    """Return the error of an answer that reads as a call or a thought; None for others."""
    answer = state.transcript.reader.text(Channel.ANSWER)
    wrong = unmarked(state.large.codec, answer, state.request.tools)
    return None if wrong is None else _error(state, wrong)


def _error(state: RequestState, what: str) -> UnmarkedReplyError:
    error = UnmarkedReplyError(f"{state.large.model.name} {what}")
    _log.warning("%s", error)
    return error
