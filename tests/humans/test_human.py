"""A person between the decision to offload and its consequence."""

import asyncio
import json

import pytest
from llama_index.core.base.llms.types import ChatMessage

from langchain_splitreason import SplitReasonLLM as LangChainLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import (
    Always,
    Answer,
    Author,
    Decision,
    Delta,
    HumanCheck,
    Paused,
    Policy,
    Random,
    SplitEngine,
    blocking,
)
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.errors import ConfigurationError, ReviewPendingError
from splitreason_integrations.events import Event
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import collect, complete, engine, freed, request

SMALL = "One.<bigmodel> Two.<bigmodel> Three.</think>\n\nFour"
LARGE = " a b c.</bigmodel> d e f.</bigmodel>"
LONG = {"max_tokens": 400, "request_id": "r"}
SHORT = {"max_tokens": 40, "request_id": "r"}


def checked(ask, **more):
    check = more.pop("check", None) or HumanCheck(reviewer=ask, **more)
    return SplitEngine(
        small=ScriptedModel(SMALL), large=ScriptedModel(LARGE, name="big"), human_check=check
    )


def reported(items):
    return [
        item.name.removeprefix("splitreason.")
        for item in items
        if isinstance(item, Event) and ("human" in item.name or "ed" in item.name[-3:])
    ]


def test_approved_before():
    asked = []

    def ask(question):
        asked.append(question)
        return True

    items, reply = collect(checked(ask), request(**LONG))
    assert reply.reasoning == "One. a b c. Two. d e f. Three."
    assert [(q.span, q.moment, q.model, q.context) for q in asked] == [
        (0, "before", "big", "One."),
        (1, "before", "big", "One. a b c. Two."),
    ]
    assert asked[1].offload_share > 0
    assert reported(items)[:6] == [
        "handoff.requested",
        "human.asked",
        "human.answered",
        "handoff.approved",
        "handoff.started",
        "handoff.finished",
    ]
    assert [span.human for span in reply.spans] == ["approve by function"] * 2


def test_refused_before():
    items, reply = collect(checked(lambda question: question.span > 0), request(**LONG))
    assert reply.spans == ()
    assert reply.reasoning == "One. Two. Three."
    assert reported(items).count("handoff.refused") == 2
    assert not reply.degraded


async def test_an_async_reviewer_may_give_a_hint():
    prompts = []

    def large(messages, tools):
        prompts.append(messages[-1]["content"])
        return LARGE

    async def ask(question):
        await asyncio.sleep(0)
        return Answer(decision="edit", text="Mind the units.", by="ann")

    some = SplitEngine(
        small=ScriptedModel(SMALL),
        large=ScriptedModel(large),
        human_check=HumanCheck(reviewer=ask),
    )
    reply = await some.complete(request(**LONG))
    assert reply.reasoning.startswith("One. a b c.")
    assert prompts[-1].endswith("Mind the units.")
    assert reply.spans[0].human == "edit by ann"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_stop_ends_the_reply(moment):
    rules = {"before": None, "after": None, moment: AskRule()}
    reply = complete(checked(lambda question: "stop", **rules), request(**LONG))
    assert reply.stop_reason == "human_stop"
    assert reply.reasoning == "One."
    assert reply.large_tokens == 0
    assert len(reply.spans) == (moment == "after")


def test_accepted_after_and_shown_only_then():
    shown = []

    def ask(question):
        shown.append((question.text, len(shown)))
        return Decision.APPROVE

    some = checked(ask, before=None, after=AskRule())
    items, reply = collect(some, request(**LONG))
    plain = complete(checked(None, check=HumanCheck(reviewer=print, before=None)), request(**LONG))
    assert reply.pieces == plain.pieces
    assert [text for text, _ in shown] == [" a b c.", " d e f."]
    answered = [at for at, item in enumerate(items) if "answered" in getattr(item, "name", "")]
    large = [
        at
        for at, item in enumerate(items)
        if isinstance(item, Delta) and item.author is Author.LARGE
    ]
    assert min(large) > answered[0]


def test_rejected_after():
    reply = complete(checked(lambda question: False, before=None, after=AskRule()), request(**LONG))
    assert reply.reasoning == "One. Two. Three."
    assert reply.large_tokens == 0
    assert [span.tokens for span in reply.spans] == [0, 0]
    assert all(span.surplus_tokens > 0 and span.closed_by == "human" for span in reply.spans)


def test_replaced_after():
    def ask(question):
        return Answer(decision="edit", text=f" H{question.span}!", by="bob")

    some = checked(ask, before=None, after=AskRule())
    items, reply = collect(some, request(**LONG))
    assert reply.reasoning == "One. H0! Two. H1! Three."
    assert reply.human_tokens == reply.tokens - reply.small_tokens
    assert reply.facts()["tokens"]["human"] == reply.human_tokens
    assert {d.author for d in items if isinstance(d, Delta) and "H" in d.text} == {Author.HUMAN}


def test_a_person_cannot_write_a_control_token():
    text = "</think><bigmodel>"
    ask = Answer(decision="edit", text=text)
    reply = complete(checked(lambda question: ask, before=None, after=AskRule()), request(**LONG))
    assert reply.reasoning.count("< /think>< bigmodel>") == 2
    assert len(reply.spans) == 2


def test_nobody_answers_in_time():
    async def ask(question):
        await asyncio.sleep(60)

    items, reply = collect(checked(ask, timeout_s=0.02), request(**LONG))
    assert reply.spans == ()
    first, _ = [item for item in items if "answered" in getattr(item, "name", "")]
    assert first.decision == "refuse"
    assert first.by == "timeout"
    lenient = checked(ask, timeout_s=0.02, on_timeout="approve")
    assert len(complete(lenient, request(**LONG)).spans) == 2


def test_waiting_does_not_use_up_the_deadline():
    async def ask(question):
        await asyncio.sleep(0.4)
        return True

    some = checked(ask)
    some = SplitEngine(
        small=some.small,
        large=some.large,
        human_check=some.human_check,
        policy=Policy(deadline_s=0.6),
    )
    assert complete(some, request(**LONG)).stop_reason == "stop"


def test_an_error_of_the_reviewer_is_not_swallowed():
    def ask(question):
        raise KeyError("no such ticket")

    some = checked(ask)
    with pytest.raises(KeyError, match="no such ticket"):
        complete(some, request(**LONG))
    assert freed((some.small, some.large))


@pytest.mark.parametrize("bad", [{"reviewer": 3}, {"on_timeout": "edit"}, {"on_timeout": "maybe"}])
def test_bad_checks_are_named(bad):
    with pytest.raises(ConfigurationError):
        HumanCheck(**{"reviewer": print, **bad})


class Later:
    """Answers nothing now."""

    async def review(self, paused):
        return None


RULES = [
    {"before": AskRule(), "after": None},
    {"before": None, "after": AskRule()},
    {"before": AskRule(), "after": AskRule()},
]


def run_to_the_end(make, answer, asked):
    """Run a request that is put aside at every question, as JSON, into fresh engines."""
    items = list(blocking.iterate(make().stream(request(**SHORT))))
    while isinstance(items[-1], Paused):
        paused = Paused.from_json(items[-1].to_json())
        asked.append(paused.question)
        items = list(blocking.iterate(make().resume(paused, answer(paused.question))))
    return items[-1]


ANSWERS = {
    "approve": lambda question: Answer(decision="approve"),
    "refuse": lambda question: Answer(decision="refuse"),
    "mixed": lambda question: Answer(
        decision=["approve", "refuse", "edit"][question.span % 3], text=" Mine."
    ),
}


@pytest.mark.parametrize("rules", RULES, ids=["before", "after", "both"])
@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("trigger", [Random(0.15), Always()], ids=str)
def test_a_request_put_aside_goes_on_as_if_it_had_not_been(random_pair, rules, answers, trigger):
    answer = ANSWERS[answers]

    def make(reviewer):
        check = HumanCheck(reviewer=reviewer, **rules)
        policy = Policy(max_span_tokens=12)
        return engine(random_pair, trigger=trigger, human_check=check, policy=policy)

    at_once, later = [], []

    def ask(question):
        at_once.append(question)
        return answer(question)

    def plain():
        some = make(ask)
        return complete(some, request(**SHORT))

    expected = plain()
    reply = run_to_the_end(lambda: make(Later()), answer, later)
    assert reply.pieces == expected.pieces
    assert [span.text for span in reply.spans] == [span.text for span in expected.spans]
    assert [q.id for q in later] == [q.id for q in at_once]
    assert (reply.small_tokens, reply.large_tokens) == (
        expected.small_tokens,
        expected.large_tokens,
    )
    assert freed(random_pair)


def test_complete_says_that_a_person_has_to_answer():
    some = checked(None, check=HumanCheck(reviewer=Later()))
    with pytest.raises(ReviewPendingError, match="has still to answer") as caught:
        complete(some, request(**LONG))
    paused = caught.value.paused
    assert paused.question.context == "One."
    replayed = list(blocking.iterate(some.resume(paused, Answer(decision="refuse"), replay=True)))
    assert "".join(d.text for d in replayed if isinstance(d, Delta)).startswith("One.")


def test_foreign_states_are_refused(random_pair, embedded):
    some = checked(None, check=HumanCheck(reviewer=Later()))
    paused = list(blocking.iterate(some.stream(request(**LONG))))[-1]
    with pytest.raises(ConfigurationError, match="not a paused request"):
        Paused.from_json("{}")
    old = Paused(paused.question, {**paused.state, "version": 0})
    with pytest.raises(ConfigurationError, match="another version"):
        list(blocking.iterate(some.resume(old, Answer(decision="refuse"))))
    assert json.loads(paused.to_json())["state"]["version"] == 3


@pytest.mark.parametrize("make", [LangChainLLM, LlamaIndexLLM])
def test_both_frameworks_ask_a_function(make):
    asked = []

    def ask(question):
        asked.append(question.span)
        return question.span > 0 or "refuse"

    llm = make(small=ScriptedModel(SMALL), large=ScriptedModel(LARGE), human_check=ask)
    if make is LangChainLLM:
        facts = llm.invoke("hi").response_metadata["splitreason"]
    else:
        facts = llm.chat([ChatMessage(role="user", content="hi")]).raw["splitreason"]
    assert asked == [0, 0]
    assert facts["spans"] == []


@pytest.mark.parametrize("make", [LangChainLLM, LlamaIndexLLM])
def test_both_frameworks_fall_back_through_a_list(make):
    larges = [ScriptedModel("x", fail_after=0), ScriptedModel(LARGE, name="spare")]
    llm = make(small=ScriptedModel(SMALL), large=larges, max_retries=0)
    if make is LangChainLLM:
        facts = llm.invoke("hi").response_metadata["splitreason"]
    else:
        facts = llm.chat([ChatMessage(role="user", content="hi")]).raw["splitreason"]
    assert [span["text"] for span in facts["spans"]] == [" a b c.", " d e f."]
    assert not facts["degraded"]


def test_a_policy_that_asks_needs_somebody_to_ask():
    some = SplitEngine(
        small=ScriptedModel(SMALL), large=ScriptedModel(LARGE), policy=Policy(ask_before=AskRule())
    )
    with pytest.raises(ConfigurationError, match="nobody to ask"):
        complete(some, request(**LONG))
    assert freed((some.small, some.large))


def test_a_hint_reaches_the_large_model_that_takes_over():
    seen = {}

    def noting(name, text):
        def reply(messages, tools):
            seen[name] = messages[-1]["content"]
            return text

        return reply

    small = ScriptedModel("I add 3 and 4.<bigmodel> So it is.</think>\n\nSeven.", name="small")
    first = ScriptedModel(
        noting("first", " the"), name="first", fail_after=1, error=ValueError("gone")
    )
    second = ScriptedModel(noting("second", " the sum is 7.</bigmodel>"), name="second")
    check = HumanCheck(reviewer=lambda question: Answer(decision="edit", text="count on", by="ann"))
    engine = SplitEngine(small=small, large=[first, second], human_check=check)
    reply = blocking.run(lambda: engine.complete(request()))
    assert reply.answer == "Seven."
    assert [seen[name].endswith("count on") for name in ("first", "second")] == [True, True]
