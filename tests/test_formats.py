"""Files that an earlier version wrote are still read, and requests put aside then go on."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_splitreason import InterruptReviewer, SplitReasonLLM
from splitreason_integrations import (
    Answer,
    AskRule,
    AuditLog,
    HumanCheck,
    Paused,
    Policy,
    ReviewQueue,
    SplitEngine,
    TagClose,
    blocking,
)
from splitreason_integrations.audit.checking import verify
from splitreason_integrations.audit.history import load as load_history
from splitreason_integrations.audit.replay import engine_of, run_again
from splitreason_integrations.errors import ConfigurationError, ReviewPendingError
from splitreason_integrations.testing import ScriptedModel

FILES = Path(__file__).parent / "formats"
EXPECTED = json.loads((FILES / "expected.json").read_text("utf-8"))
SMALL = "One.<bigmodel> Two.<bigmodel> Three.</think>\n\nFive"
LARGE = " a b c.</bigmodel> d e f.</bigmodel>"
PAUSES = ["scripted-before", "scripted-after", "embedded-before", "embedded-after"]


def pair(kind):
    if kind == "embedded":
        return {"small": "embedded", "large": "embedded"}
    return {
        "small": ScriptedModel(SMALL, name="small"),
        "large": ScriptedModel(LARGE, name="large"),
    }


class Later:
    async def review(self, paused):
        return None


def finish(paused, answer, *, policy, kind="scripted"):
    """Return the reply, the same answer given to further questions."""
    engine = SplitEngine(**pair(kind), policy=policy, human_check=HumanCheck(reviewer=Later()))
    while True:
        try:
            return blocking.run(lambda asked=paused: engine.finish(asked, answer))
        except ReviewPendingError as error:
            paused = error.paused


def facts(done):
    return {
        "reasoning": done.reasoning,
        "answer": done.answer,
        "small_tokens": done.small_tokens,
        "large_tokens": done.large_tokens,
        "closed_by": [span.closed_by for span in done.spans],
        "seed": done.seed,
    }


def check(done, expected):
    assert facts(done).items() <= expected.items(), expected


@pytest.mark.parametrize("name", PAUSES)
def test_a_request_put_aside_of_version_2_goes_on_to_the_same_reply(name):
    kind, _, moment = name.partition("-")
    text = (FILES / f"pause-{name}.json").read_text("utf-8")
    assert json.loads(text)["state"]["version"] == 2
    expected = EXPECTED[f"pause-{name}.json"]
    answer = Answer(decision=expected["decision"], text=expected["text"], by="ann")
    policy = Policy(**{f"ask_{moment}": AskRule()})
    check(finish(Paused.from_json(text), answer, policy=policy, kind=kind), expected)


def test_a_request_put_aside_by_an_unknown_version_is_refused_by_its_number():
    data = json.loads((FILES / "pause-scripted-before.json").read_text("utf-8"))
    data["state"]["version"] = 99
    with pytest.raises(ConfigurationError, match="99"):
        finish(Paused.from_json(json.dumps(data)), Answer(decision="approve"), policy=Policy())


@pytest.mark.parametrize("name", ["audit.jsonl", "audit-content.jsonl"])
def test_an_audit_log_is_verified_and_written_on(name, tmp_path):
    log = Path(shutil.copy(FILES / name, tmp_path))
    report = verify(log)
    assert report.ok
    assert report.records == EXPECTED[name]["records"]
    AuditLog(log, content="content" in name).append("note", {"text": "later"})
    assert verify(log).records == report.records + 1


def test_a_recorded_request_is_replayed_to_the_same_reply():
    history = load_history(FILES / "audit-content.jsonl")
    replay = blocking.run(lambda: run_again(history.request("embedded")))
    assert replay.identical
    expected = EXPECTED["audit-content.jsonl"]
    assert replay.again == expected["reasoning"] + expected["answer"]


def queue_of(tmp_path):
    path = tmp_path / "reviews.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.executescript((FILES / "reviews.sql").read_text("utf-8"))
    return ReviewQueue(path)


def test_a_review_queue_keeps_its_questions_and_its_answers(tmp_path):
    queue = queue_of(tmp_path)
    assert {entry.id: entry.status.value for entry in queue.entries()} == {
        "pending:3:before": "pending",
        "answered:3:before": "answered",
        "resumed:3:before": "resumed",
        "resumed:10:before": "pending",  # the second question of that request
    }
    with queue.claim() as claim:
        assert claim.request_id == "answered"
        assert claim.answer.by == "bob"
        done = finish(claim.paused, claim.answer, policy=Policy(ask_before=AskRule()))
        check(done, EXPECTED["reviews.sql"])
    assert queue.claim() is None
    queue.answer("pending", "approve", by="ann")
    assert queue.claim().request_id == "pending"


SETTINGS_ADDED_SINCE = {
    **dict.fromkeys(("close", "max_reasoning_tokens")),
    **dict.fromkeys(("allows", "costs", "suits", "expect"), ""),
}


def test_a_policy_with_every_setting_reads_the_same():
    policy = Policy.load(FILES / "policy.toml")
    expected = EXPECTED["policy.toml"] | SETTINGS_ADDED_SINCE
    assert json.loads(json.dumps(asdict(policy))) == expected


def test_a_recorded_threshold_is_todays_close_rule():
    history = load_history(FILES / "audit-content.jsonl")
    recorded = history.request("embedded").started["engine"]
    assert recorded["close_threshold"] == 0.5
    assert engine_of(recorded).close == TagClose(0.5)
    assert engine_of({**recorded, "close_threshold": 1.0}).close == TagClose(1.0)


def test_a_checkpoint_of_langgraph_goes_on_to_the_same_reply(tmp_path):
    path = tmp_path / "graph.sqlite"
    with closing(sqlite3.connect(path)) as made:
        made.executescript((FILES / "langgraph.sql").read_text("utf-8"))
    llm = SplitReasonLLM(
        **pair("scripted"),
        human_check=HumanCheck(reviewer=InterruptReviewer()),
        policy=Policy(ask_before=AskRule()),
        seed=1,
    )
    builder = StateGraph(MessagesState)
    builder.add_node("chat", lambda state: {"messages": [llm.invoke(state["messages"])]})
    builder.add_edge(START, "chat")
    builder.add_edge("chat", END)
    thread = {"configurable": {"thread_id": "t"}}
    with SqliteSaver.from_conn_string(str(path)) as saver:
        graph = builder.compile(checkpointer=saver)
        for _ in range(2):
            result = graph.invoke(Command(resume={"decision": "approve", "by": "ann"}), thread)
    message = result["messages"][-1]
    expected = EXPECTED["langgraph.sql"]
    assert message.content == expected["answer"]
    assert message.additional_kwargs["reasoning_content"] == expected["reasoning"]
    spans = message.response_metadata["splitreason"]["spans"]
    assert [span["human"] for span in spans] == expected["humans"]
