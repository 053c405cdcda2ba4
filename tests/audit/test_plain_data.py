"""What a record may hold: every reader of JSON reads it alike, and nothing is lost."""

import json
import math
from collections import OrderedDict
from enum import IntEnum

import pytest

from splitreason_integrations import Request, SplitEngine, blocking
from splitreason_integrations.audit import AuditLog, verify
from splitreason_integrations.audit.checking import read
from splitreason_integrations.audit.history import load
from splitreason_integrations.audit.replay import request_of
from splitreason_integrations.errors import AuditError
from splitreason_integrations.testing import ScriptedModel


class Large(IntEnum):
    ONE = 2**60


def as_other_readers_do(text):
    """Read JSON with the numbers of IEEE 754, as JavaScript does."""
    return json.loads(text, parse_int=float)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**53, 2**53),
        (-(2**53), -(2**53)),
        (2**53 + 1, "9007199254740993"),
        (-(2**53) - 1, "-9007199254740993"),
        (10**4000, "1" + "0" * 4000),
        (Large.ONE, str(2**60)),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (1e300, 1e300),
        (True, True),
    ],
)
def test_numbers_are_written_so_that_all_readers_agree(tmp_path, value, written):
    log = AuditLog(tmp_path / "audit.jsonl")
    assert log.append("test", {"n": value}).data == {"n": written}
    assert as_other_readers_do(log.path.read_bytes())["data"]["n"] == written
    assert verify(log.path).ok


def test_numbers_beyond_what_python_writes_in_decimal_keep_their_value(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    for number in (10**5000, -(7**9000)):
        record = log.append("test", {"n": number})
        assert int(record.data["n"], 16) == number
    assert [record.data for record in read(log.path)] == [r.data for r in read(log.path)]
    assert verify(log.path).records == 2


def nested(levels):
    value = 1
    for level in range(levels):
        value = [value] if level % 2 else OrderedDict(a=value)
    return value


def test_deep_data_is_refused_and_the_log_goes_on(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    circle = []
    circle.append(circle)
    log.append("fits", nested(128))
    for deep in (nested(129), nested(20_000), circle, {"a": circle}):
        with pytest.raises(AuditError, match="nested more than 128 levels deep"):
            log.append("deep", deep)
    assert log.append("next", {}).sequence == 2
    assert verify(log.path).ok


def test_what_a_model_wrote_is_recorded_however_deep():
    from splitreason_integrations.audit.plain_data import plain_or_text

    assert json.loads(plain_or_text(nested(200))) == nested(200)
    assert plain_or_text(nested(20)) == nested(20)


def test_names_that_are_the_same_as_text_are_refused(tmp_path):
    with pytest.raises(AuditError, match="names that are the same as text"):
        AuditLog(tmp_path / "audit.jsonl").append("test", {1: "a", "1": "b"})


def test_a_long_seed_is_replayed_as_the_number_that_it_was(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", content=True)
    engine = SplitEngine(
        small=ScriptedModel("x</think>y"), large=ScriptedModel("z</bigmodel>"), audit=log
    )
    request = Request(messages=[{"role": "user", "content": "hi"}], seed=2**63 - 1, request_id="r")
    blocking.run(lambda: engine.complete(request))
    started = load(log.path).request("r").started["request"]
    assert started["seed"] == str(2**63 - 1)
    assert request_of(started).seed == 2**63 - 1
