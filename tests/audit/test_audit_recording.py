"""What the engine puts on record: every event and every request's end, before they are seen."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import anyio
import pytest

from splitreason_integrations import (
    Author,
    Completion,
    Keyword,
    ModelTerms,
    Policy,
    Prices,
    Random,
    Request,
    Sampling,
    SplitEngine,
    Tag,
    blocking,
    events,
)
from splitreason_integrations.audit import AuditLog, verify
from splitreason_integrations.audit.checking import read
from splitreason_integrations.audit.privacy import NAMES, measure, without_content
from splitreason_integrations.audit.recording import recorded
from splitreason_integrations.audit.settings import rule_from
from splitreason_integrations.decide.triggers import Auto, Trigger
from splitreason_integrations.errors import (
    AuditError,
    EmptyMessagesError,
    LargeModelError,
)
from splitreason_integrations.settings import policy_files
from splitreason_integrations.testing import ScriptedModel

SECRET = "Rumpelstiltskin"
SMALL = (
    f"I know {SECRET}. 47*23 =<bigmodel> cards.<bigmodel> All.\n</think>\n\nMia has {SECRET} cards."
)
LARGE = f" 1081 {SECRET}</bigmodel> 1069</bigmodel>"
ASK = [{"role": "user", "content": f"How many cards has {SECRET}?"}]


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl")


@pytest.fixture
def full_log(tmp_path):
    return AuditLog(tmp_path / "full.jsonl", content=True)


def scripted(log, *, small=SMALL, large=LARGE, **more):
    failing = {name: more.pop(name) for name in ("fail_after", "error", "delay_s") if name in more}
    large = ScriptedModel(large, name="scripted-large", **failing)
    return SplitEngine(small=ScriptedModel(small), large=large, audit=log, **more)


def asked(**more):
    return Request(**{"messages": ASK, "max_tokens": 120, "request_id": "r1", **more})


def run(engine, request):
    return list(blocking.iterate(engine.stream(request)))


def of_kind(log, kind):
    return [record for record in read(log.path) if record.kind == kind]


@pytest.mark.parametrize("content", [False, True])
def test_events_and_log_agree_one_to_one(tmp_path, content):
    log = AuditLog(tmp_path / "audit.jsonl", content=content)
    items = run(scripted(log), asked())
    reported = [item for item in items if isinstance(item, events.Event)]
    started, *between, finished = read(log.path)
    assert len(reported) == 6
    assert [record.kind for record in between] == [event.name for event in reported]
    for record, event in zip(between, reported, strict=True):
        data = event.data()
        assert data.pop("request_id") == record.request_id == "r1"
        assert record.data == (data if content else without_content(data))
    assert (started.kind, finished.kind) == ("request.started", "request.finished")
    reply = items[-1]
    assert isinstance(reply, Completion)
    facts = reply.facts()
    for name in ("tokens", "offload_share", "stop_reason", "latency_s", "cost_usd", "degraded"):
        assert finished.data[name] == facts[name]
    assert finished.data["usage"]["prompt_tokens"] == reply.prompt_tokens
    assert verify(log.path).ok


def test_each_item_is_on_disk_before_it_is_seen(log):
    engine = scripted(log)
    for item in blocking.iterate(engine.stream(asked())):
        last = list(read(log.path))[-1]
        if isinstance(item, events.Event):
            assert last.kind == item.name
        elif isinstance(item, Completion):
            assert last.kind == "request.finished"


def test_nothing_of_the_texts_is_kept_without_content(log):
    run(scripted(log), asked())
    run(scripted(log, fail_after=1, error=RuntimeError(SECRET)), asked())
    with pytest.raises(LargeModelError, match=SECRET):
        run(
            scripted(log, fail_after=1, error=RuntimeError(SECRET), on_large_failure="raise"),
            asked(),
        )
    assert SECRET.encode() not in log.path.read_bytes()
    assert len(of_kind(log, "request.started")) == 3
    span = of_kind(log, "request.finished")[0].data["spans"][0]
    assert span["text"] == measure(f" 1081 {SECRET}")
    assert (span["opened_by"], span["closed_by"]) == ("tag", "large")


@dataclass(frozen=True, slots=True)
class HumanAnswered(events.Event):
    """An event that the log has never heard of."""

    name: ClassVar[str] = "splitreason.human.answered"
    span: int
    by: str
    decision: str
    edited: str
    context: Mapping[str, Any]


async def test_events_of_the_future_are_recorded_and_keep_who_decided(log):
    event = HumanAnswered("r1", 0, "ada@example.org", "edit", SECRET, {"hint": [SECRET], "n": 2})

    async def items():
        yield event

    seen = [item async for item in recorded(log, scripted(log), asked(), items())]
    assert seen == [event]
    (record,) = of_kind(log, HumanAnswered.name)
    assert record.data == {
        "span": 0,
        "by": "ada@example.org",
        "decision": "edit",
        "edited": measure(SECRET),
        "context": {"hint": [measure(SECRET)], "n": 2},
    }


def every_event():
    below = [events.Event]
    for kind in below:
        below += kind.__subclasses__()
    return [kind for kind in below[1:] if kind.__module__ == events.__name__]


CONTENT = {"text", "hint", "context", "question", "answer", "edited", "proposed"}


@pytest.mark.parametrize("kind", every_event(), ids=lambda kind: kind.__name__)
def test_each_text_of_an_event_is_a_name_or_known_content(kind):
    for one in fields(kind):
        if "str" in str(one.type):
            is_name = without_content({one.name: "x"}) == {one.name: "x"}
            assert is_name or one.name in CONTENT, f"say whether {one.name} is content"
    assert not NAMES & CONTENT


def test_the_start_says_what_was_asked_under_which_rules(log, full_log):
    prices = {"*": ModelTerms(prices=Prices(output_usd=1.0))}
    policy = Policy(max_spans=3, max_usd=0.5, models=prices)
    for some in (log, full_log):
        engine = scripted(some, trigger=Tag(0.123456789) | Keyword("="), policy=policy)
        run(engine, asked(sampling=Sampling(temperature=0.5), stop=["END"]))
    (short,), (full,) = of_kind(log, "request.started"), of_kind(full_log, "request.started")
    assert short.data["engine"] == full.data["engine"]
    settings = short.data["engine"]
    assert (settings["small"], settings["large"]) == ("scripted", "scripted-large")
    assert rule_from(settings["trigger"], Trigger) == Tag(0.123456789) | Keyword("=")
    assert policy_files.from_data(settings["policy"]) == policy
    assert short.data["request"]["messages"]["count"] == 1
    assert short.data["request"]["sampling"]["temperature"] == 0.5
    assert short.data["request"]["seed"] == of_kind(log, "request.finished")[0].data["seed"]
    assert full.data["request"]["messages"] == ASK
    assert full.data["request"]["stop"] == ["END"]


def test_pieces_joined_are_the_reply(full_log):
    reply = run(scripted(full_log), asked())[-1]
    data = of_kind(full_log, "request.finished")[0].data
    for channel in ("reasoning", "answer"):
        text = "".join(p["text"] for p in data["pieces"] if p["channel"] == channel)
        assert text == data[channel] == getattr(reply, channel)
    for author in Author:
        ids = [t for p in data["pieces"] if p["author"] == author for t in p["token_ids"]]
        assert ids == [t for p in reply.pieces if p.author is author for t in p.token_ids]
    assert {p["author"] for p in data["pieces"]} == {"small", "large"}


def test_failures_are_recorded(log, full_log):
    with pytest.raises(EmptyMessagesError):
        run(scripted(log), asked(messages=[]))
    with pytest.raises(LargeModelError):
        run(scripted(log, fail_after=1, on_large_failure="raise"), asked())
    failed = of_kind(log, "request.failed")
    assert [r.data for r in failed] == [
        {"error": "EmptyMessagesError"},
        {"error": "LargeModelError"},
    ]
    with pytest.raises(EmptyMessagesError):
        run(scripted(full_log), asked(messages=[]))
    assert "message" in of_kind(full_log, "request.failed")[0].data


def test_a_survived_failure_is_a_finish_that_says_so(log):
    assert run(scripted(log, fail_after=1), asked())[-1].degraded
    kinds = [record.kind for record in read(log.path)]
    assert kinds.count("splitreason.handoff.failed") == 1
    assert kinds.count("splitreason.handoff.fell_back") == 1
    assert of_kind(log, "request.finished")[0].data["degraded"] is True


async def test_a_stream_closed_early_is_recorded(log):
    async with aclosing(scripted(log).stream(asked())) as items:
        async for _ in items:
            break
    assert [r.data["error"] for r in of_kind(log, "request.cancelled")] == ["GeneratorExit"]


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_a_cancelled_request_is_recorded(log, how):
    engine = scripted(log, delay_s=0.05)

    async def scoped():
        with anyio.move_on_after(0.2):
            await engine.complete(asked())

    task = asyncio.create_task(scoped() if how == "scope" else engine.complete(asked()))
    await asyncio.sleep(0.1)
    if how == "task":
        task.cancel()
    await asyncio.wait({task})
    assert [r.data["error"] for r in of_kind(log, "request.cancelled")] == ["CancelledError"]
    assert of_kind(log, "request.finished") == []
    assert engine.large.open_sessions == 0


def test_a_completed_request_is_not_called_cancelled(log):
    blocking.run(lambda: scripted(log).complete(asked()))
    assert [record.kind for record in read(log.path)][-1] == "request.finished"


async def test_many_requests_at_once_keep_their_own_accounts(log):
    engine = scripted(log)
    ids = [f"r{number}" for number in range(20)]
    await asyncio.gather(*(engine.complete(asked(request_id=one)) for one in ids))
    accounts = {one: [r.kind for r in read(log.path) if r.request_id == one] for one in ids}
    assert len({tuple(kinds) for kinds in accounts.values()}) == 1
    assert len(accounts["r0"]) == 8
    assert verify(log.path).ok


def test_what_cannot_be_recorded_does_not_happen(log):
    engine = scripted(log)
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(AuditError, match="cannot be opened"):
        run(engine, asked())
    assert engine.small.passes == 0


def test_the_log_changes_nothing_about_the_reply(random_pair, log):
    settings = {"small": random_pair[0], "large": random_pair[1], "trigger": Random(0.1)}
    request = asked(seed=4, sampling=Sampling(temperature=1.0))
    without = run(SplitEngine(**settings), request)[-1]
    assert run(SplitEngine(**settings, audit=log), request)[-1].pieces == without.pieces


def test_rules_and_reading_are_on_record_without_content(log):
    small = ScriptedModel("One two three. Four.</think>\n\n7", taught=False)
    large = ScriptedModel("six", reading=lambda text, token: 0.01 if token == "." else 0.9)
    engine = SplitEngine(small=small, large=large, audit=log, policy=Policy(max_spans=1))
    reply = run(engine, asked())[-1]
    (finished,) = of_kind(log, "request.finished")
    facts = finished.data
    assert facts["trigger"] == "disagreement<0.1"
    assert facts["close"] == "(agrees | step)"
    assert facts["choice_reason"] == reply.choice_reason
    assert facts["spans"][0]["opened_by"] == "disagreement<0.1"
    assert facts["reading"] == {
        "large_tokens": reply.read_ahead_tokens,
        "cost_usd": reply.read_ahead_usd,
        "small_surplus_tokens": reply.small_surplus_tokens,
    }
    assert reply.read_ahead_tokens > 0
    (started,) = of_kind(log, "request.started")
    assert rule_from(started.data["engine"]["trigger"], Trigger) == Auto()
    assert started.data["engine"]["close"] is None
