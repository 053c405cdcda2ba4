"""Checks a paused request before it is continued: it comes from outside, from a file perhaps.

Whatever does not pass ends in one error, before any model is loaded.
"""

from collections.abc import Mapping
from typing import Any

from splitreason_integrations.errors import PauseError, RequestError, SettingError
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.humans.signing import Keys
from splitreason_integrations.humans.stored import REMEDY, checked
from splitreason_integrations.loop.stored_state import StoredState, of_this_version
from splitreason_integrations.request import Request
from splitreason_integrations.text.prompts import check_messages


def check_paused(paused: Any, keys: Keys | None = None) -> Paused:
    """Return a paused request as plain data of this version, once all of it is checked.

    Args:
        paused: what is to be continued.
        keys: check its signature too, by these keys, or its checksum where there are none.

    Raises:
        PauseError: it was changed, is damaged, is not signed by one of the keys, or comes from a
            version that this one cannot read.

    """
    if not isinstance(paused, Paused):
        raise PauseError.of(
            f"it is of type {type(paused).__name__}; give a Paused, such as error.paused, or what "
            "Paused.from_json makes of a text"
        )
    read = Paused.from_json(paused.to_json())
    if keys:
        read.check_signature(keys)
    state = check_state(read)
    if keys is not None and not keys:
        read.check_signature(keys)
    return Paused(read.question, state, read.timeout_s, read.on_timeout, read.signature)


def check_state(paused: Paused) -> Mapping[str, Any]:
    """Return the state of a paused request in this version's words.

    Raises:
        PauseError: something in it is not as it should be, or does not fit the question.

    """
    data = of_this_version(paused.state)
    state = checked(StoredState, data, place="state")
    try:
        request = Request.of(data["request"])
        check_messages(request.messages)
    except (RequestError, SettingError) as error:
        raise PauseError(f"state.request: {error}; {REMEDY}") from error
    question, span, ledger = paused.question, state.span, state.ledger
    generated = max(1, ledger.small + ledger.large)
    expected = {
        "request_id": state.request.request_id,
        "span": len(state.spans),
        "start_token": span.start_token,
        "moment": "after" if span.closed_by else "before",
        "opened_by": span.opened_by,
        "offload_share": ledger.large / generated,
        "cost_usd": ledger.usd,
        "metadata": state.request.metadata,
    }
    for name, value in expected.items():
        if getattr(question, name) != value:
            raise PauseError(
                f"question.{name} is not that of the state: this question is about another request "
                f"or another moment of it; {REMEDY}"
            )
    return data
