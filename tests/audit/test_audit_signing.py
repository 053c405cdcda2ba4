"""Signatures of a log: whoever has no key cannot write the chain anew; keys are shown nowhere."""

import copy
import json
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations.audit import AuditLog, verify
from splitreason_integrations.audit.checking import read
from splitreason_integrations.audit.record import AuditRecord
from splitreason_integrations.errors import AuditError, ConfigurationError

SECRET = "0123456789abcdef-our-secret"


def pem(private):
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(private):
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.public_key().public_bytes(*form).decode()


ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PAIRS = {
    "hmac": (SECRET, SECRET, "x" * 20),
    "ed25519": (pem(ED), public_pem(ED), public_pem(OTHER)),
}


@pytest.fixture(params=PAIRS)
def keys(request):
    """The key that signs, one that checks it, and one of somebody else."""
    return PAIRS[request.param]


def signed(tmp_path, key, count=25, **options):
    log = AuditLog(tmp_path / "audit.jsonl", key=key, anchor_every=10, **options)
    for number in range(count):
        log.append("test", {"number": number})
    return log


def write_anew(path, change, *, keep=("test", "signed")):
    """Write the chain anew with changed records, as whoever may write the file can."""
    last, lines = None, []
    for record in list(read(path)):
        if record.kind in keep:
            facts = change(record)
            last = AuditRecord.after(
                last, kind=facts.kind, request_id=None, data=facts.data, time=facts.time_utc
            )
            lines.append(last.line())
    path.write_bytes(b"".join(lines))


def test_the_chain_is_signed_every_so_many_records(tmp_path, keys):
    key, check, other = keys
    log = signed(tmp_path, key)
    assert [r.sequence for r in read(log.path) if r.kind == "signed"] == [2, 13, 24]
    assert (verify(log.path, key=check).ok, verify(log.path, key=check).signatures) == (True, 3)
    assert verify(log.path).signatures is None
    assert "was not given" in verify(log.path, key=other).problem
    assert verify(log.path, key=[other, check]).ok


def test_a_chain_written_anew_is_found(tmp_path, keys):
    key, check, _ = keys
    log = signed(tmp_path, key)
    whole = log.path.read_bytes()

    def lie(record):
        if record.kind != "test":
            return record
        other = {**record.data, "number": 99 if record.data["number"] == 3 else 1}
        return AuditRecord(**{**record.facts(), "data": other})

    for keep, problem in ((("test", "signed"), "forged"), (("test",), "unsigned")):
        log.path.write_bytes(whole)
        write_anew(log.path, lie, keep=keep)
        assert verify(log.path).ok
        report = verify(log.path, key=check)
        assert not report.ok
        assert report.problem.startswith(problem)


def test_what_is_not_signed_in_time_is_found(tmp_path, keys):
    key, check, _ = keys
    log = signed(tmp_path, key)
    without = AuditLog(log.path)
    for number in range(6):
        without.append("slipped in", {"number": number})
        assert verify(log.path, key=check).ok
    without.append("slipped in", {})
    assert verify(log.path, key=check).problem.startswith("unsigned: after record 24")
    log.append("test", {})
    assert verify(log.path, key=check).ok

    def later(record):
        data = {**record.data, "every": 10**9} if record.kind == "signed" else record.data
        return AuditRecord(**{**record.facts(), "data": data})

    write_anew(log.path, later, keep=("test", "signed", "slipped in"))
    assert verify(log.path, key=check).problem.startswith("forged")


@pytest.mark.parametrize("data", [{}, {"every": 1}, None, "text", {"every": [], "signature": 1}])
def test_a_record_that_only_looks_signed_is_found(tmp_path, data, keys):
    key, check, _ = keys
    log = signed(tmp_path, key)
    log.append("signed", data)
    assert not verify(log.path, key=check).ok


def test_the_head_is_signed_on_demand_and_sent(tmp_path, keys):
    key, check, _ = keys
    sent = []
    log = signed(tmp_path, key, send_head=sent.append)
    assert [(head.sequence, head.kind) for head in sent] == [(n, "signed") for n in (2, 13, 24)]
    end = log.anchor()
    assert sent[-1] == end == list(read(log.path))[-1]
    assert verify(log.path, key=check, head=sent[1].hash).signatures == 4
    AuditLog(log.path).append("test", {})
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:12]))
    assert verify(log.path).ok
    assert "missing" in verify(log.path, head=sent[1].hash).problem


def test_a_head_is_sent_without_a_key_and_again_after_a_failure(tmp_path):
    sent, fail = [], [True]

    def send(head):
        if fail and head.sequence > 5:
            raise ConnectionError("no way")
        sent.append(head.sequence)

    log = AuditLog(tmp_path / "audit.jsonl", anchor_every=5, send_head=send)
    for _ in range(5):
        log.append("test", {})
    with pytest.raises(AuditError, match=r"send_head failed for record 6 .*no way"):
        log.append("test", {})
    fail.clear()
    log.append("test", {})
    assert sent == [1, 6]
    assert verify(log.path).records == 7


def test_the_environment_has_a_key(tmp_path, monkeypatch):
    monkeypatch.setenv("SPLITREASON_AUDIT_KEY", f"{SECRET},{'old' * 9}")
    log = AuditLog(tmp_path / "audit.jsonl")
    log.append("test", {})
    assert verify(log.path).signatures == 1
    assert verify(log.path, key=SECRET).ok
    old = AuditLog(tmp_path / "old.jsonl", key="old" * 9)
    old.append("test", {})
    assert verify(old.path).ok
    monkeypatch.setenv("SPLITREASON_AUDIT_KEY", pem(ED))
    assert verify(signed(tmp_path / "..", None).path, key=public_pem(ED)).ok


def test_a_key_is_shown_nowhere(tmp_path, monkeypatch, keys):
    key, check, _ = keys
    log = signed(tmp_path, key)
    shown = [repr(log), str(vars(log)), SplitReasonLLM(audit=log).model_dump_json()]
    pickled = pickle.dumps(log)
    part = key.splitlines()[1] if "\n" in key else key
    assert all(part not in text for text in shown)
    assert part.encode() not in pickled
    for twin in (copy.copy(log), copy.deepcopy(log)):
        twin.append("test", {})
        assert verify(log.path, key=check).ok
    with pytest.raises(ConfigurationError, match="SPLITREASON_AUDIT_KEY"):
        pickle.loads(pickled)  # noqa: S301
    monkeypatch.setenv("SPLITREASON_AUDIT_KEY", key)
    pickle.loads(pickled).anchor()  # noqa: S301
    assert verify(log.path, key=check).ok
    written = json.loads(shown[2])["audit"]
    assert written == {"path": str(log.path), "signed": True, "anchor_every": 10}
    assert repr(SplitReasonLLM(audit=written).audit) == repr(log)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("short", "16 characters"),
        ([], "empty list"),
        (7, "int"),
        ([b"x" * 32], "bytes"),
        ("-----BEGIN PRIVATE KEY-----\nabcdsecret\n-----END PRIVATE KEY-----", "cannot be read"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "Ed25519"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path, key, says):
    with pytest.raises(ConfigurationError, match=says) as caught:
        AuditLog(tmp_path / "audit.jsonl", key=key)
    assert "secret" not in str(caught.value).replace("our secret", "")
    assert "short" not in str(caught.value)


def test_a_public_key_writes_no_log(tmp_path):
    with pytest.raises(ConfigurationError, match="private key"):
        AuditLog(tmp_path / "audit.jsonl", key=public_pem(ED))
