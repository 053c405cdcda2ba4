"""Paused requests are signed where there is a key; nothing else is continued then."""

import json
import pickle
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from llama_index.core.base.llms.types import ChatMessage
from pydantic import SecretStr

from langchain_splitreason import SplitReasonLLM as LangChainLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import (
    Answer,
    HumanCheck,
    Paused,
    ReviewQueue,
    SplitEngine,
    blocking,
)
from splitreason_integrations.errors import ConfigurationError, ReviewError, ReviewPendingError
from tests.loop.engine_runs import complete, request
from tests.reviews.review_runs import LONG, counting_pair

KEY, OTHER = (
    "a key of forty characters for these tests",
    "another key of forty characters for these",
)
APPROVED = Answer(decision="approve", by="ann")
REFUSED = Answer(decision="refuse", by="ann")


class Later:
    async def review(self, paused):
        return None


def engine(reviewer=None, **more):
    check = HumanCheck(reviewer=reviewer or Later())
    return SplitEngine(**counting_pair(), human_check=check, **more)


def pause(request_id="r", **more):
    with pytest.raises(ReviewPendingError) as caught:
        complete(engine(**more), request(request_id=request_id, **LONG))
    return Paused.from_json(caught.value.paused.to_json())


def first_span(some, paused):
    """Return where the request asks next, once the first question is answered."""
    with pytest.raises(ReviewPendingError) as caught:
        blocking.run(lambda: some.finish(paused, APPROVED))
    return caught.value.paused.question.context


def refused(paused, why, **more):
    some = engine(**more)
    with pytest.raises(ConfigurationError, match=why):
        some.resume(paused, APPROVED)
    assert (some.small.written, some.small.passes) == (0, 0)


def test_what_one_of_the_keys_signed_is_continued():
    paused = pause(pause_key=KEY)
    for keys in (KEY, [KEY], [OTHER, KEY], SecretStr(KEY), (SecretStr(OTHER), KEY)):
        assert first_span(engine(pause_key=keys), paused) == "One. a b c. Two."


def test_the_first_key_signs():
    refused(pause(pause_key=[OTHER, KEY]), "another key", pause_key=KEY)


@pytest.mark.parametrize("keys", [OTHER, [OTHER, KEY + "."]])
def test_another_key_is_refused_before_any_work(keys):
    refused(pause(pause_key=KEY), "another key", pause_key=keys)


def test_what_is_not_signed_is_refused_where_a_key_is_set():
    paused = pause()
    refused(paused, "not signed", pause_key=KEY)
    refused(replace(paused, signature=None), "not signed", pause_key=KEY)
    refused(replace(paused, signature="hmac-sha256:"), "another key", pause_key=KEY)
    refused(replace(paused, signature="hmac-sha256:ä"), "another key", pause_key=KEY)


def test_what_is_signed_needs_a_key():
    refused(pause(pause_key=KEY), "no key to check that with")


def test_the_key_may_be_in_the_environment(monkeypatch):
    monkeypatch.setenv("SPLITREASON_PAUSE_KEY", f"{KEY}, {OTHER}")
    paused = pause()
    assert first_span(engine(), paused) == "One. a b c. Two."
    assert first_span(engine(pause_key=KEY), paused) == "One. a b c. Two."
    refused(paused, "another key", pause_key=OTHER)
    monkeypatch.setenv("SPLITREASON_PAUSE_KEY", OTHER)
    refused(paused, "another key")


def test_every_part_is_signed():
    paused, other = pause(pause_key=KEY), pause("s", pause_key=KEY)
    for changed in (
        replace(paused, on_timeout="approve"),
        replace(paused, timeout_s=1.0),
        replace(paused, state=other.state),
        replace(paused, question=other.question),
        replace(paused, question=replace(paused.question, context="All is well.")),
        replace(paused, state={**paused.state, "elapsed_s": 0.0}),
        replace(paused, signature=other.signature),
    ):
        refused(changed, "changed after it was signed", pause_key=KEY)


def test_without_a_key_a_question_of_another_request_is_refused_too():
    paused, other = pause(), pause("s")
    refused(replace(paused, question=other.question, signature=None), "another request")
    shown = replace(paused.question, context="All is well.")
    with pytest.raises(ConfigurationError, match=r"question\.context"):
        blocking.run(
            lambda: engine().finish(replace(paused, question=shown, signature=None), APPROVED)
        )


def test_an_answer_that_names_another_question_is_refused():
    paused = pause()
    wrong = {"decision": "approve", "id": "s:3:before"}
    with pytest.raises(ConfigurationError, match="answers question 's:3:before'"):
        engine().resume(paused, wrong)
    right = {"decision": "approve", "id": paused.question.id}
    with pytest.raises(ReviewPendingError):
        blocking.run(lambda: engine().finish(paused, right))


@pytest.mark.parametrize("given", ["aprove", 3, None, {"text": "x"}, {"decision": "edit"}])
def test_what_is_no_answer_is_refused_and_may_be_given_again(given):
    paused = pause()
    with pytest.raises(ConfigurationError, match=r"decision|edit"):
        engine().resume(paused, given)
    assert first_span(engine(), paused)


@pytest.mark.parametrize("make", [LangChainLLM, LlamaIndexLLM])
def test_both_chat_models_sign(make):
    def llm(**more):
        return make(**counting_pair(), human_check=HumanCheck(reviewer=Later()), seed=1, **more)

    messages = "hi" if make is LangChainLLM else [ChatMessage(role="user", content="hi")]
    signing = llm(pause_key=[KEY, OTHER])
    ask = signing.invoke if make is LangChainLLM else signing.chat
    with pytest.raises(ReviewPendingError) as caught:
        ask(messages)
    paused = Paused.from_json(caught.value.paused.to_json())
    with pytest.raises(ReviewPendingError):
        llm(pause_key=KEY).resume(paused, "approve")
    for wrong in ({"pause_key": OTHER}, {}):
        with pytest.raises(ConfigurationError, match="key"):
            llm(**wrong).resume(paused, "approve")
    with pytest.raises(ConfigurationError, match="of the model, not of one call"):
        llm().resume(paused, "approve", pause_key=KEY)


@pytest.mark.parametrize("make", [LangChainLLM, LlamaIndexLLM, SplitEngine])
@pytest.mark.parametrize("wrong", [["first key", ""], ["first key", 5], 5, [], {"a": "first key"}])
def test_a_wrong_key_is_named_and_not_shown(make, wrong):
    with pytest.raises(ValueError, match=r"pause[ _]key") as caught:
        make(pause_key=wrong)
    assert "first key" not in str(caught.value) + repr(caught.value)


def test_an_engine_and_a_queue_do_not_show_their_keys(tmp_path):
    some = engine(pause_key=[KEY, OTHER])
    queue = ReviewQueue(tmp_path / "reviews", pause_key=KEY)
    shown = [repr(some), str(some), repr(queue), str(queue), repr(some.pause_key)]
    assert [text for text in shown if KEY in text or OTHER in text] == []
    assert pickle.loads(pickle.dumps(queue)) == queue  # noqa: S301


def changed_in(path, column, value):
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute(f"UPDATE questions SET {column} = ?", (value,))


def queued(path, **more):
    queue = ReviewQueue(path, pause_key=KEY, **more)
    with pytest.raises(ReviewPendingError):
        complete(engine(queue, pause_key=KEY), request(request_id="r", **LONG))
    return queue


def test_a_queue_holds_what_was_signed(tmp_path):
    queue = queued(tmp_path / "reviews")
    (entry,) = queue.entries("pending")
    with pytest.raises(ConfigurationError, match="a decision is one of"):
        queue.answer(entry.id, "aprove", by="ann")
    queue.answer(entry.id, {"decision": "approve", "id": entry.id}, by="ann")
    with queue.claim() as claim:
        assert first_span(engine(pause_key=KEY), claim.paused) == "One. a b c. Two."


def test_a_queue_shows_no_question_but_that_of_its_request(tmp_path):
    queue = queued(tmp_path / "reviews")
    (entry,) = queue.entries()
    harmless = {**json.loads(json.dumps(entry.data()["question"])), "context": "All is well."}
    changed_in(tmp_path / "reviews", "question", json.dumps(harmless))
    with pytest.raises(ReviewError, match="not that of its request"):
        queue.entries()


def test_a_queue_gives_no_worker_what_was_not_signed(tmp_path):
    queue = queued(tmp_path / "reviews")
    queue.answer("r", "refuse", by="ann")
    changed_in(tmp_path / "reviews", "paused", pause(pause_key=OTHER).to_json())
    with pytest.raises(ReviewError, match="another key"):
        queue.claim()


def test_nobody_else_says_what_holds_where_nobody_answers(tmp_path):
    queue = ReviewQueue(tmp_path / "reviews")
    with pytest.raises(ReviewPendingError):
        complete(engine(queue), request(**LONG))
    changed_in(tmp_path / "reviews", "expires_at", 1.0)
    changed_in(tmp_path / "reviews", "on_timeout", "approve")
    with pytest.raises(ReviewError, match="nobody answers in time"):
        queue.claim()


def test_one_damaged_request_does_not_hold_up_the_others(tmp_path):
    queue = ReviewQueue(tmp_path / "reviews")
    for name in ("r", "s"):
        with pytest.raises(ReviewPendingError):
            complete(engine(queue), request(request_id=name, **LONG))
    for entry in queue.entries():
        queue.answer(entry.id, "refuse", by="ann")
    with closing(sqlite3.connect(tmp_path / "reviews")) as rows, rows:
        rows.execute("UPDATE questions SET paused = '{}' WHERE request_id = 'r'")
    with pytest.raises(ReviewError, match="damaged"):
        queue.claim()
    claim = queue.claim()
    assert claim.request_id == "s"
    assert claim.answer.decision == "refuse"
