"""The kinds of records: one for each event, and those of a request or of the log itself."""

from collections.abc import Mapping
from enum import StrEnum

from splitreason_integrations import events
from splitreason_integrations.audit.record import AuditRecord


class Meaning(StrEnum):
    """What a record is about: normal work, a person's part, or something that went wrong."""

    WORK = "work"
    DECISION = "decision"
    FAILURE = "failure"


EVENTS: Mapping[type[events.Event], Meaning] = {
    events.RulesChosen: Meaning.WORK,
    events.HandoffRequested: Meaning.WORK,
    events.HumanAsked: Meaning.DECISION,
    events.HumanAnswered: Meaning.DECISION,
    events.HandoffApproved: Meaning.DECISION,
    events.HandoffRefused: Meaning.DECISION,
    events.HandoffStarted: Meaning.WORK,
    events.HandoffFinished: Meaning.WORK,
    events.HandoffRetried: Meaning.FAILURE,
    events.HandoffFailed: Meaning.FAILURE,
    events.HandoffFellBack: Meaning.FAILURE,
    events.SettingLeftOut: Meaning.FAILURE,
    events.BudgetExhausted: Meaning.WORK,
}
"""What each event's record means; the record's kind is the event's name."""

_FAILURES = ("request.failed", "repaired", "broken")
"""A request that its caller cancelled, by Ctrl-C perhaps, has not failed."""
_MEANINGS = {
    **{event.name: meaning for event, meaning in EVENTS.items()},
    **dict.fromkeys(_FAILURES, Meaning.FAILURE),
}


def is_decision(record: AuditRecord) -> bool:
    """Return whether a record is about a person's part."""
    return _MEANINGS.get(record.kind) is Meaning.DECISION


def is_failure(record: AuditRecord) -> bool:
    """Return whether a record is about something that went wrong."""
    return _MEANINGS.get(record.kind) is Meaning.FAILURE
