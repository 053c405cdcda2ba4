"""Settings on record: data that makes the same engine again, and never a key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from splitreason_integrations import (
    Agrees,
    Confidence,
    Disagreement,
    Keyword,
    Loop,
    LowEntropy,
    Opening,
    Policy,
    Random,
    Request,
    SplitEngine,
    StepEnd,
    StepEntropy,
    Tag,
    TagClose,
    blocking,
)
from splitreason_integrations.audit import AuditLog
from splitreason_integrations.audit.settings import (
    rule_data,
    rule_from,
    settings_of,
    settings_of_request,
)
from splitreason_integrations.decide.closing import CloseRule
from splitreason_integrations.decide.triggers import Auto, Trigger
from splitreason_integrations.errors import AuditError, ConfigurationError

SECRET = "Rumpelstiltskin"


@pytest.mark.parametrize(
    "trigger",
    [
        Tag(),
        Tag(0.3) & Random(0.1),
        Keyword("a") | (Tag() & Random(0.5)),
        Disagreement(0.05) | Confidence(0.4),
        StepEntropy(1.2) | Loop(6, 2) | Opening(32),
        Auto(),
    ],
    ids=str,
)
def test_triggers_survive_the_log(trigger):
    data = json.loads(json.dumps(rule_data(trigger)))
    assert rule_from(data, Trigger) == trigger
    with pytest.raises(AuditError, match="not one of"):
        rule_from({**data, "type": "Unheard"}, Trigger)


@pytest.mark.parametrize(
    "rule",
    [TagClose(0.3), Agrees(2, 0.9) | StepEnd(), LowEntropy() & (Agrees() | StepEnd())],
    ids=str,
)
def test_close_rules_survive_the_log(rule):
    data = json.loads(json.dumps(rule_data(rule)))
    assert rule_from(data, CloseRule) == rule
    assert settings_of(SplitEngine(close=rule))["close"] == data
    with pytest.raises(AuditError, match=r"recorded close rule .* is not one of"):
        rule_from({**data, "type": "Tag"}, CloseRule)


@dataclass(frozen=True, kw_only=True)
class Engine(SplitEngine):
    """An engine with settings that the log has never heard of."""

    human_check: Any = None
    limits: Mapping[str, Policy] = field(default_factory=dict)
    fallbacks: Any = ()


def test_settings_of_the_future_are_data_and_objects_only_their_type():
    class Asker:
        def __init__(self):
            self.key = SECRET

    some = Engine(human_check=Asker(), limits={"a": Policy(max_spans=1)}, fallbacks=[Asker(), 2])
    settings = settings_of(some)
    assert settings["human_check"] == "Asker"
    assert settings["limits"]["a"]["max_spans"] == 1
    assert settings["fallbacks"] == ["Asker", 2]
    assert SECRET not in json.dumps(settings)


def test_the_engine_takes_an_open_log():
    assert "audit" not in settings_of(SplitEngine())
    with pytest.raises(ConfigurationError, match=r"AuditLog\('audit.jsonl'\)"):
        SplitEngine(audit="audit.jsonl")


def test_a_key_within_an_address_is_left_out():
    some = SplitEngine(small="embedded", large=f"https://me:{SECRET}@host/v1#model")
    assert settings_of(some)["large"] == "https://host/v1#model"


def test_what_is_no_model_is_the_engines_to_refuse(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    some = SplitEngine(small=3, large="embedded", audit=log)
    with pytest.raises(ConfigurationError, match="small must be"):
        blocking.run(lambda: some.complete(Request(messages=[{"role": "user", "content": "x"}])))


def test_tools_and_stops_are_content():
    request = Request(
        messages=[{"role": "user", "content": SECRET}],
        tools=[{"name": SECRET}],
        must_call=True,
        stop=[SECRET],
    )
    short = settings_of_request(request, content=False)
    assert SECRET not in json.dumps(short)
    assert short["must_call"] is True
    assert settings_of_request(request, content=True)["tools"] == [{"name": SECRET}]
