"""What a person is asked about a span, and what their answer does to it."""

import time

from splitreason_integrations import events
from splitreason_integrations.decide.ask_rules import AskRule, Handover
from splitreason_integrations.decide.machine import (
    QuestionPut,
    ReplyEnded,
    SpanApproved,
    SpanRefused,
    SpanReplaced,
)
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.humans.human import Answer, Decision, Moment, Question
from splitreason_integrations.loop.state import Item, RequestState
from splitreason_integrations.records import Author, Writer

FAILURE = "failure"
"""Why a span ended that no large model could finish."""

_HUMAN: Writer = (Author.HUMAN, 0)


def question_of(state: RequestState) -> Question:
    """Return what a person is asked about the open span."""
    span = state.spans.current
    return Question(
        request_id=state.request.request_id,
        span=state.spans.number,
        start_token=span.start_token,
        moment="after" if span.closed_by else "before",
        model=state.large.model.name,
        opened_by=span.opened_by,
        context=state.transcript.text_of(state.transcript.pieces),
        text=state.large.codec.decode(span.held),
        offload_share=state.offload_share,
        cost_usd=state.machine.ledger.usd,
        metadata=dict(state.request.metadata),
    )


class Approval:
    """Questions about the spans of one request."""

    def __init__(self, state: RequestState) -> None:
        self._state = state
        self._rules = {"before": self._rules_for("before"), "after": self._rules_for("after")}

    def may_ask(self, moment: Moment) -> bool:
        """Return whether there is a rule for a moment."""
        return bool(self._rules[moment])

    def put_question(self, moment: Moment) -> list[Item]:
        """Ask a person if a rule says so; return the event that tells of it."""
        state = self._state
        if not self._rules[moment] or (moment == "after" and not state.spans.current.held):
            return []
        question = question_of(state)
        facts = Handover(
            request_id=question.request_id,
            span=question.span,
            seed=state.settings.seed,
            offload_share=question.offload_share,
            cost_usd=question.cost_usd,
            text=question.text if moment == "after" else question.context,
            metadata=question.metadata,
        )
        if not any(rule.asks(facts) for rule in self._rules[moment]):
            return []
        state.machine.note(QuestionPut())
        return [
            events.HumanAsked(question.request_id, question.span, question.moment, question.model)
        ]

    def take(self, answer: Answer) -> list[Item]:
        """Do what a person answered. A span that was written is left to be accepted."""
        span = self._state.spans.current
        span.human.append(f"{answer.decision} by {answer.by}")
        return self._take_after(answer) if span.closed_by else self._take_before(answer)

    def _take_before(self, answer: Answer) -> list[Item]:
        state = self._state
        match answer.decision:
            case Decision.REFUSE:
                state.machine.note(SpanRefused())
                return [state.spans.drop(answer.by)]
            case Decision.STOP:
                state.machine.note(ReplyEnded("human_stop"))
                return [state.spans.drop(answer.by)]
            case Decision.EDIT:
                state.large.ask_with_hint(answer.text)
        # The span's time begins now: nobody answers for how long a person takes.
        state.spans.current.started_s = time.monotonic()
        state.machine.note(SpanApproved())
        return [self._approved(answer)]

    def _take_after(self, answer: Answer) -> list[Item]:
        state, span = self._state, self._state.spans.current
        if answer.decision is Decision.APPROVE:
            state.machine.note(SpanApproved())
            return [self._approved(answer)]
        items: list[Item] = [
            events.HandoffRefused(state.request.request_id, state.spans.number, answer.by)
        ]
        dropped, span.held = len(span.held), []
        span.surplus_tokens += dropped
        self._cut()
        written = 0
        if answer.decision is Decision.EDIT:
            before = state.transcript.tokens
            items += self._write(answer.text)
            written = state.transcript.tokens - before
        state.machine.note(SpanReplaced(dropped, written))
        span.closed_by = "human_stop" if answer.decision is Decision.STOP else "human"
        return items

    def _cut(self) -> None:
        """Take the span out of both sessions."""
        state, lengths = self._state, self._state.spans.current.lengths
        assert lengths is not None, "a span that was written has begun"
        if state.settings.hands_back:
            state.small.session.truncate(lengths[0])
            state.small.forget_surplus()
        if not state.handback.large_lost:
            state.large.session.truncate(lengths[1])

    def _write(self, text: str) -> list[Item]:
        """Let a person's text stand in the span's place, in both sessions too."""
        state = self._state
        codec = state.small.codec
        # A reply's regions are told apart by their text: a person's must not spell their borders.
        items = list(state.transcript.add(_HUMAN, codec.encode(codec.plain(text))))
        if not state.settings.hands_back:
            return list(items)
        participants = [state.small] if state.handback.large_lost else [state.small, state.large]
        for participant in participants:
            participant.session.extend(participant.tags.open_tokens)
            participant.sync(state.transcript.pieces)
            participant.session.extend(participant.tags.close_tokens)
        return list(items)

    def _approved(self, answer: Answer) -> Item:
        state = self._state
        return events.HandoffApproved(state.request.request_id, state.spans.number, answer.by)

    def _rules_for(self, moment: Moment) -> list[AskRule]:
        check, policy = self._state.settings.human_check, self._state.machine.policy
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
