"""What a person is asked about a span, and what their answer does to it."""

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
from splitreason_integrations.loop.state import RequestState
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

    def ask_if_due(self, moment: Moment) -> bool:
        """Ask a person if a rule says so; return whether one is asked."""
        state = self._state
        # Without a large model nothing is handed over, so there is nothing to approve.
        if not self._rules[moment] or state.large_model is None:
            return False
        if moment == "after" and not state.spans.current.held:
            return False
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
            return False
        state.machine.note(QuestionPut())
        asked = (question.span, question.moment, question.model)
        state.emit(events.HumanAsked(question.request_id, *asked))
        return True

    async def take(self, answer: Answer) -> None:
        """Do what a person answered. A span that was written is left to be accepted."""
        span = self._state.spans.current
        span.decided(answer.decision, answer.by)
        if span.closed_by:
            self._take_after(answer)
        else:
            await self._take_before(answer)

    async def _take_before(self, answer: Answer) -> None:
        state = self._state
        match answer.decision:
            case Decision.REFUSE:
                state.machine.note(SpanRefused())
                state.emit(state.spans.drop(answer.by))
                return
            case Decision.STOP:
                state.machine.note(ReplyEnded("human_stop"))
                state.emit(state.spans.drop(answer.by))
                return
            case Decision.EDIT:
                await state.large.show_hint(answer.text)
        state.spans.current.restart_clock()
        self._approve(answer)

    def _take_after(self, answer: Answer) -> None:
        state, span = self._state, self._state.spans.current
        if answer.decision is Decision.APPROVE:
            self._approve(answer)
            return
        state.emit(events.HandoffRefused(state.request.request_id, state.spans.number, answer.by))
        dropped = span.drop_held()
        self._cut_span()
        written = self._write(answer.text) if answer.decision is Decision.EDIT else 0
        state.machine.note(SpanReplaced(dropped, written))
        span.end("human_stop" if answer.decision is Decision.STOP else "human")

    def _approve(self, answer: Answer) -> None:
        state = self._state
        state.machine.note(SpanApproved())
        state.emit(events.HandoffApproved(state.request.request_id, state.spans.number, answer.by))

    def _cut_span(self) -> None:
        """Take the span out of both sessions."""
        state = self._state
        small_length, large_length = state.spans.current.lengths_before
        if state.settings.hands_back:
            state.small.cut(small_length)
            state.small.forget_surplus()
        if not state.handback.large_lost:
            state.large.cut(large_length)

    def _write(self, text: str) -> int:
        """Put a person's text in the span's place, in both sessions too; return its tokens."""
        state = self._state
        codec = state.small.codec
        # A reply's regions are told apart by their text: a person's must not spell their borders.
        written = state.write(_HUMAN, codec.encode(codec.plain(text)))
        if state.settings.hands_back:
            lost = state.handback.large_lost
            for participant in [state.small] if lost else [state.small, state.large]:
                participant.session.extend(participant.tags.open_tokens)
                participant.sync(state.transcript.pieces)
                participant.session.extend(participant.tags.close_tokens)
        return written

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
