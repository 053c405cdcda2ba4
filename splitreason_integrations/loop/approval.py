"""What a person is asked about a span, and what their answer does to it."""

import time

from splitreason_integrations import events
from splitreason_integrations.decide.ask_rules import AskRule, Handover
from splitreason_integrations.decide.machine import (
    QuestionPut,
    SpanApproved,
    SpanRefused,
    SpanReplaced,
    TurnEnded,
)
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import Answer, Decision, Moment, Question
from splitreason_integrations.loop.state import Desk, Item
from splitreason_integrations.records import Author, Writer

FAILURE = "failure"
"""Why a span ended that no large model could finish."""

_HUMAN: Writer = (Author.HUMAN, 0)


def question_of(desk: Desk) -> Question:
    """Return what a person is asked about the open span."""
    span = desk.spans.current
    return Question(
        request_id=desk.request.request_id,
        span=desk.spans.number,
        start_token=span.start_token,
        moment="after" if span.closed_by else "before",
        model=desk.large.model.name,
        opened_by=span.opened_by,
        context=desk.transcript.text_of(desk.transcript.pieces),
        text=desk.large.codec.decode(span.held),
        offload_share=desk.offload_share,
        cost_usd=desk.machine.ledger.usd,
        metadata=dict(desk.request.metadata),
    )


class Review:
    """Questions about the spans of one request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rules = {"before": self._rules_for("before"), "after": self._rules_for("after")}

    def may_ask(self, moment: Moment) -> bool:
        """Return whether there is a rule for a moment."""
        return bool(self._rules[moment])

    def put_question(self, moment: Moment) -> list[Item]:
        """Ask a person if a rule says so; return the event that tells of it."""
        desk = self._desk
        if not self._rules[moment] or (moment == "after" and not desk.spans.current.held):
            return []
        question = question_of(desk)
        facts = Handover(
            request_id=question.request_id,
            span=question.span,
            seed=desk.settings.seed,
            offload_share=question.offload_share,
            cost_usd=question.cost_usd,
            text=question.text if moment == "after" else question.context,
            metadata=question.metadata,
        )
        if not any(rule.asks(facts) for rule in self._rules[moment]):
            return []
        desk.machine.note(QuestionPut())
        return [
            events.HumanAsked(question.request_id, question.span, question.moment, question.model)
        ]

    def take(self, answer: Answer) -> list[Item]:
        """Do what a person answered. A span that was written is left to be accepted."""
        span = self._desk.spans.current
        span.human.append(f"{answer.decision} by {answer.by}")
        return self._take_after(answer) if span.closed_by else self._take_before(answer)

    def _take_before(self, answer: Answer) -> list[Item]:
        desk = self._desk
        match answer.decision:
            case Decision.REFUSE:
                desk.machine.note(SpanRefused())
                return [desk.spans.drop(answer.by)]
            case Decision.STOP:
                desk.machine.note(TurnEnded("human_stop"))
                return [desk.spans.drop(answer.by)]
            case Decision.EDIT:
                desk.large.ask_with_hint(answer.text)
        # The span's time begins now: nobody answers for how long a person takes.
        desk.spans.current.started_s = time.monotonic()
        desk.machine.note(SpanApproved())
        return [self._approved(answer)]

    def _take_after(self, answer: Answer) -> list[Item]:
        desk, span = self._desk, self._desk.spans.current
        if answer.decision is Decision.APPROVE:
            desk.machine.note(SpanApproved())
            return [self._approved(answer)]
        items: list[Item] = [
            events.HandoffRefused(desk.request.request_id, desk.spans.number, answer.by)
        ]
        dropped, span.held = len(span.held), []
        span.surplus_tokens += dropped
        self._cut()
        written = 0
        if answer.decision is Decision.EDIT:
            before = desk.transcript.tokens
            items += self._write(answer.text)
            written = desk.transcript.tokens - before
        desk.machine.note(SpanReplaced(dropped, written))
        span.closed_by = "human_stop" if answer.decision is Decision.STOP else "human"
        return items

    def _cut(self) -> None:
        """Take the span out of both sessions."""
        desk, lengths = self._desk, self._desk.spans.current.lengths
        assert lengths is not None, "a span that was written has begun"
        if desk.settings.hands_back:
            desk.small.session.truncate(lengths[0])
            desk.small.forget_surplus()
        if not desk.handback.large_lost:
            desk.large.session.truncate(lengths[1])

    def _write(self, text: str) -> list[Item]:
        """Let a person's text stand in the span's place, in both sessions too."""
        desk = self._desk
        codec = desk.small.codec
        # A reply's regions are told apart by their text: a person's must not spell their borders.
        items = list(desk.transcript.add(_HUMAN, codec.encode(codec.plain(text))))
        if not desk.settings.hands_back:
            return list(items)
        seats = [desk.small] if desk.handback.large_lost else [desk.small, desk.large]
        for seat in seats:
            seat.session.extend(seat.marks.open_tokens)
            seat.tell(desk.transcript.pieces)
            seat.session.extend(seat.marks.close_tokens)
        return list(items)

    def _approved(self, answer: Answer) -> Item:
        desk = self._desk
        return events.HandoffApproved(desk.request.request_id, desk.spans.number, answer.by)

    def _rules_for(self, moment: Moment) -> list[AskRule]:
        check, policy = self._desk.settings.human_check, self._desk.machine.policy
        own = policy.ask_before if moment == "before" else policy.ask_after
        rules = [] if own is None else [own]
        if check is None:
            if rules:
                raise ConfigurationError(
                    "the policy has a person asked, and there is nobody to ask: "
                    "set human_check=HumanCheck(reviewer=...)"
                )
            return []
        mine = check.before if moment == "before" else check.after
        return rules if mine is None else [*rules, mine]
