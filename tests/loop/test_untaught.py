"""Two models that nobody trained to share a reply, with nothing set."""

import logging
import time

import pytest

from splitreason_integrations import (
    Entropy,
    HumanCheck,
    Never,
    Policy,
    Request,
    SplitEngine,
    Tag,
    TransformersModel,
    blocking,
)
from splitreason_integrations.audit import AuditLog, history
from splitreason_integrations.audit.replay import run_again
from splitreason_integrations.backends.base import Gives
from splitreason_integrations.decide.triggers import Disagreement
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ConfigurationError, ModelCallError
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.events import RulesChosen
from splitreason_integrations.humans.human import Answer, Paused
from splitreason_integrations.loop import choice
from splitreason_integrations.loop.loading import Loading
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.testing import ScriptedModel
from splitreason_integrations.text.tags import CLOSE, OPEN
from tests.loop.engine_runs import collect, complete

TASKS = generated("test", ["word"], n=6, seed=5)


def bundled(member):
    """A bundled model whose spec does not say whether it was taught."""
    return TransformersModel(str(path(member)), device="cpu")


def asked(task=TASKS[0], **more):
    given = {"max_tokens": 320, "sampling": Sampling(temperature=0.0), "seed": 1, **more}
    return Request(messages=list(task.messages), **given)


def scripted(name, **more):
    """A model that writes no tags."""
    return ScriptedModel("It is so. It is not.", name=name, taught=False, **more)


def test_the_default_is_right_where_the_large_model_is():
    engine = SplitEngine(small=bundled("base"), large="embedded")
    replies = [complete(engine, asked(task)) for task in TASKS]
    right = [task.right(reply.answer) for task, reply in zip(TASKS, replies, strict=True)]
    assert all(right)
    for reply in replies:
        assert (reply.trigger, reply.close) == ("disagreement<0.1", "(agrees | step)")
        assert reply.offload_share < 0.5
        facts = reply.facts()
        assert facts["trigger"] == "disagreement<0.1"
        assert "never taught to mark spans" in facts["choice_reason"]


def test_a_large_model_that_knows_tags_is_shown_none_around_other_spans(monkeypatch):
    model = blocking.run(SplitEngine().models)[1]
    sessions, open_session = [], model.open

    def opened(*given):
        sessions.append(open_session(*given))
        return sessions[-1]

    monkeypatch.setattr(model, "open", opened)
    reply = complete(SplitEngine(small=bundled("base"), large=model), asked())
    assert reply.spans
    tags = {model.codec.control_token(tag) for tag in (OPEN, CLOSE)}
    assert not any(tags & set(session.token_ids) for session in sessions)


@pytest.mark.parametrize("trigger", [None, Entropy(0.5)])
def test_spans_of_two_untaught_models_end(trigger):
    small, large = bundled("base"), bundled("base")
    reply = complete(SplitEngine(small=small, large=large, trigger=trigger), asked())
    assert reply.offload_share < 0.9
    assert all(span.closed_by in ("(agrees | step)", "large_end") for span in reply.spans)


@pytest.mark.parametrize("taught", [True, False])
def test_an_event_says_what_was_chosen_for_an_untaught_model(taught):
    small = ScriptedModel("text", name="small", taught=taught)
    items, reply = collect(SplitEngine(small=small, large=scripted("large")), asked())
    chosen = [item for item in items if isinstance(item, RulesChosen)]
    assert chosen == [
        RulesChosen(reply.request_id, reply.trigger, reply.close, reply.choice_reason)
    ] * (not taught)
    assert items[: len(chosen)] == chosen


def test_metadata_says_nothing_of_rules_that_do_not_count():
    engine = SplitEngine(small=scripted("small"), large=scripted("large"), trigger=Never())
    facts = complete(engine, asked()).facts()
    assert facts["trigger"] == "never"
    assert "close" not in facts
    assert "choice_reason" not in facts


def test_where_a_person_is_asked_first_the_share_is_capped():
    small, large = scripted("small", entropy=lambda text: 2.0), scripted("large")
    check = HumanCheck(reviewer=lambda question: True)
    engine = SplitEngine(small=small, large=large, human_check=check)
    reply = complete(engine, asked(max_tokens=40))
    assert reply.trigger == "entropy>1.5"
    assert reply.offload_share <= 0.2
    with pytest.raises(ConfigurationError, match="a person is to be asked"):
        complete(SplitEngine(**{**vars_of(engine), "trigger": Disagreement()}), asked())


def vars_of(engine):
    return {name: getattr(engine, name) for name in ("small", "large", "human_check")}


def test_a_rule_that_cannot_work_is_refused_before_work():
    small, large = scripted("small"), scripted("large")
    small.gives = Gives.NOTHING
    with pytest.raises(ConfigurationError, match=r"Opening\(64\)"):
        complete(SplitEngine(small=small, large=large, trigger=Entropy(1.5)), asked())
    assert small.passes == large.passes == 0


def test_the_first_reply_warns_of_a_tag_that_never_comes(caplog, monkeypatch):
    monkeypatch.setattr(choice, "_warned", set())
    engine = SplitEngine(small=bundled("base"), large=scripted("large"), trigger=Tag())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert complete(engine, asked()).spans == ()
    (record,) = caplog.records
    assert "was never taught to mark spans: with `tag` no span will open" in record.message
    assert "splitreason train" in record.message


@pytest.mark.parametrize("role", ["small", "large"])
def test_a_model_that_fails_when_it_is_asked_ends_no_request(role, caplog):
    down = ModelCallError("the server is down", retryable=True)
    broken = ScriptedModel("text", name="broken", taught=None, fail_after=1, error=down)
    loading = Loading(time.monotonic(), None)
    ask = loading.small_teaching if role == "small" else loading.large_teaching
    with caplog.at_level(logging.WARNING):
        assert blocking.run(lambda: ask(broken)).opens is (role == "small")
    assert [record.message for record in caplog.records] == [
        "broken could not be asked whether it knows the tags: ModelCallError: the server is down"
    ]
    broken.fail_after = None
    assert not blocking.run(lambda: ask(broken)).opens
    assert broken.open_sessions == 0


@pytest.mark.parametrize("remote", [False, True])
def test_the_probe_of_a_local_model_is_no_part_of_the_replys_time(remote):
    small = ScriptedModel("plain text", name="small", taught=None, remote=remote, delay_s=0.001)
    engine = SplitEngine(small=small, large=scripted("large"))
    first, second = (complete(engine, asked()) for _ in range(2))
    assert (first.loading_s > 0) is not remote
    assert second.loading_s == 0


def test_a_reply_whose_rules_were_chosen_can_be_replayed(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", content=True)
    engine = SplitEngine(small="embedded:base", large="embedded", audit=log)
    reply = complete(engine, asked())
    found = history.load(tmp_path / "audit.jsonl").request(reply.request_id)
    assert found.finished["trigger"] == "disagreement<0.1"
    assert blocking.run(lambda: run_again(found)).identical


def test_the_policys_caps_hold_beside_the_defaults():
    small, large = scripted("small", entropy=lambda text: 2.0), scripted("large")
    large.gives = Gives.WRITING
    policy = Policy(max_offload_share=0.1, min_span_tokens=1)
    reply = complete(SplitEngine(small=small, large=large, policy=policy), asked(max_tokens=60))
    assert reply.trigger == "entropy>1.5"
    assert reply.offload_share <= 0.1


def test_a_paused_request_goes_on_with_the_same_rules():
    class Later:
        async def review(self, paused):
            return None

    def engine(reviewer):
        small, large = scripted("small", entropy=lambda text: 2.0), scripted("large")
        check = HumanCheck(reviewer=reviewer)
        return SplitEngine(small=small, large=large, human_check=check)

    whole = complete(engine(lambda question: True), asked(max_tokens=40))
    waiting = engine(Later())
    item = list(blocking.iterate(waiting.stream(asked(max_tokens=40))))[-1]
    while isinstance(item, Paused):
        paused = Paused.from_json(item.to_json())
        items = list(blocking.iterate(waiting.resume(paused, Answer(decision="approve"))))
        assert not [one for one in items if isinstance(one, RulesChosen)]
        item = items[-1]
    assert item.pieces == whole.pieces
    assert item.choice_reason == whole.choice_reason
