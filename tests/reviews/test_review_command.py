"""`splitreason review`, and how each framework gets to the finished message afterwards."""

import json

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from llama_index.core.base.llms.types import ChatMessage

from langchain_splitreason import InterruptReviewer
from langchain_splitreason import SplitReasonLLM as LangChainLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import Decision, HumanCheck, ReviewQueue, blocking
from splitreason_integrations.errors import ReviewPendingError
from splitreason_integrations.testing import ScriptedModel
from tests.reviews.review_runs import ANSWERS, REASONING, counting_pair, paused, put

RISKY = "[red]\x1b[2J\x9b5A\u202eevil\r\ud800[/red]"


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return ReviewQueue("reviews.sqlite")


def put_after(queue, **more):
    one = paused(**more)
    question = type(one.question)(
        **{
            **{name: getattr(one.question, name) for name in one.question.__slots__},
            "moment": "after",
            "context": RISKY,
            "text": "It is 42.",
            "metadata": {"tenant": RISKY},
        }
    )
    blocking.run(lambda: queue.review(type(one)(question, one.state)))
    return question


def test_listed_and_shown(queue, run):
    put(queue, request_id="first")
    put_after(queue, request_id="second")
    listed = run("review", "list").out
    first = [line.split()[0] for line in listed.splitlines()]
    assert first == ["question", "first:0:be", "second:0:a"]
    shown = run("review", "show", "second").out
    assert "after span 1" in shown
    assert "It is 42." in shown
    assert r"[red]\x1b[2J\x9b5A\u202eevil\r\ud800[/red]" in shown
    assert not set("\x1b\x9b\u202e\r") & set(shown)
    data = json.loads(run("review", "show", "second", "--json").out)
    assert data["question"]["context"] == RISKY
    assert [one["id"] for one in json.loads(run("review", "list", "--json").out)["questions"]] == [
        "first:0:before",
        "second:0:after",
    ]


@pytest.mark.parametrize(
    "given", [["approve"], ["refuse"], ["stop"], ["edit", "Mind the units."]], ids=lambda g: g[0]
)
def test_answered(queue, run, given, monkeypatch):
    put(queue)
    monkeypatch.setenv("LOGNAME", "carol")
    decision, *text = given
    assert run("review", decision, "r", *text).out == f"question r:0:before: {decision} by carol\n"
    answer = queue.entry("r").answer
    assert (answer.decision, answer.by, answer.text) == (decision, "carol", "".join(text))
    failed = run("review", "refuse", "r", "--by", "bob", status=2)
    assert f"was answered '{decision}' by carol at {answer.at}" in failed.err
    assert failed.err.count("\n") == 1
    assert run("review", "list").out.count("\n") == 1
    assert f"{decision}" in run("review", "list", "--all").out
    assert "by carol" in run("review", "show", "r").out


def test_errors_are_one_line(queue, run, tmp_path, monkeypatch):
    assert "no question 'x'" in run("review", "show", "x", status=2).err
    assert "--db" in run("review", "list", "--db", "none.sqlite", status=2).err
    assert not (tmp_path / "none.sqlite").exists()
    (tmp_path / "text").write_text("text")
    assert "another program" in run("review", "list", "--db", "text", status=2).err
    monkeypatch.setenv("SPLITREASON_REVIEWS", "text")
    assert "another program" in run("review", "list", status=2).err


@pytest.mark.parametrize("make", [LangChainLLM, LlamaIndexLLM])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_both_frameworks_get_to_the_finished_message(queue, make, is_async):
    llm = make(**counting_pair(), human_check=HumanCheck(reviewer=queue), seed=1)
    with pytest.raises(ReviewPendingError, match=r"claim\(\)"):
        _ask(llm)
    reply = None
    for given in ANSWERS:
        assert reply is None
        (entry,) = queue.entries("pending")
        queue.answer(entry.id, given, by="bob")
        while claim := queue.claim():
            with claim:
                if is_async:
                    reply = await llm.aresume(claim.paused, claim.answer)
                else:
                    reply = llm.resume(claim.paused, claim.answer)
    answer, reasoning, facts = _parts(reply)
    assert (answer, reasoning) == ("Five", REASONING)
    assert facts["tokens"] == {"small": llm.small.written, "large": llm.large.written}
    assert [span["human"] for span in facts["spans"]] == ["approve by ann", "approve by bob"]


def _ask(llm):
    if isinstance(llm, LangChainLLM):
        return llm.invoke("hi")
    return llm.chat([ChatMessage(role="user", content="hi")])


def _parts(reply):
    if hasattr(reply, "response_metadata"):
        reasoning = reply.additional_kwargs["reasoning_content"]
        return reply.content, reasoning, reply.response_metadata["splitreason"]
    thinking, text = reply.message.blocks
    return text.text, thinking.content, reply.raw["splitreason"]


class Later:
    """Answers nothing now."""

    async def review(self, paused):
        return None


@pytest.mark.parametrize("make", [LangChainLLM, LlamaIndexLLM])
def test_resumed_by_hand(make):
    llm = make(**counting_pair(), human_check=HumanCheck(reviewer=Later()), seed=1)
    with pytest.raises(ReviewPendingError) as caught:
        _ask(llm)
    paused = caught.value.paused
    for decision in ("approve", False):
        with pytest.raises(ReviewPendingError) as caught:
            llm.resume(paused, decision)
        paused = caught.value.paused
    reply = llm.resume(paused, Decision.STOP)
    assert _parts(reply)[2]["stop_reason"] == "human_stop"
    assert _parts(reply)[2]["spans"][0]["human"] == "approve by program"


def test_a_cache_does_not_mix_up_answers():
    llm = LangChainLLM(
        **counting_pair(), human_check=HumanCheck(reviewer=Later()), seed=1, cache=InMemoryCache()
    )
    with pytest.raises(ReviewPendingError) as caught:
        llm.invoke("hi")
    paused = caught.value.paused
    stopped = llm.resume(paused, "stop")
    assert stopped.response_metadata["splitreason"]["stop_reason"] == "human_stop"
    with pytest.raises(ReviewPendingError):
        llm.resume(paused, "refuse")


def test_a_resumed_run_is_traced():
    class Seen(BaseCallbackHandler):
        def __init__(self):
            self.inputs, self.events = [], []

        def on_chat_model_start(self, serialized, messages, **more):
            self.inputs.append(messages[0][0].content)

        def on_custom_event(self, name, data, **more):
            self.events.append(name)

    llm = LangChainLLM(**counting_pair(), human_check=HumanCheck(reviewer=Later()), seed=1)
    with pytest.raises(ReviewPendingError) as caught:
        llm.invoke("hi")
    seen, question = Seen(), caught.value.paused.question
    llm.resume(caught.value.paused, {"decision": "stop", "by": "ann"}, {"callbacks": [seen]})
    (reported,) = seen.inputs
    assert reported.startswith(f"{question.id}: stop by ann at 20")
    assert "splitreason.human.answered" in seen.events


def test_tools_of_a_resumed_request_are_its_own():
    call = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    small = ScriptedModel(f"One.<bigmodel></think>\n\n{call}")

    def add(a: int) -> int:
        """Add."""
        return a

    llm = LangChainLLM(
        small=small,
        large=ScriptedModel(" x.</bigmodel>"),
        human_check=HumanCheck(reviewer=Later()),
    )
    with pytest.raises(ReviewPendingError) as caught:
        llm.bind_tools([add]).invoke("hi")
    reply = llm.resume(caught.value.paused, "approve")
    assert [one["name"] for one in reply.tool_calls] == ["add"]


def test_an_interrupted_request_can_be_resumed_outside_its_graph():
    llm = LangChainLLM(**counting_pair(), human_check=HumanCheck(reviewer=Later()), seed=1)
    with pytest.raises(ReviewPendingError) as caught:
        llm.invoke("hi")
    other = LangChainLLM(
        **counting_pair(), human_check=HumanCheck(reviewer=InterruptReviewer()), seed=1
    )
    with pytest.raises(ReviewPendingError):
        other.resume(caught.value.paused, "approve")
