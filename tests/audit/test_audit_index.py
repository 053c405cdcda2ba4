"""The index of a log: made, continued, and made anew whenever it does not fit."""

import json
import os

import pytest

from splitreason_integrations.audit import AuditLog, verify
from splitreason_integrations.audit.history import IndexedLog, load
from splitreason_integrations.audit.parts import Part
from splitreason_integrations.errors import AuditError


@pytest.fixture
def log(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    for number in range(40):
        log.append("test", {"number": number, "hash": "0" * 64}, request_id=f"r{number % 10}")
    return log


def index_path(log):
    return log.path.with_name("audit.jsonl.index")


def listed(log):
    with IndexedLog(log.path) as opened:
        return {one.request_id: one.records for one in opened.since()}


def expected(log):
    return {one.request_id: one.records for one in load(log.path).requests}


def test_an_index_is_kept_and_continued(log):
    assert listed(log) == expected(log)
    first = index_path(log).read_bytes()
    assert index_path(log).stat().st_mode & 0o777 == 0o600
    assert listed(log) == expected(log)
    assert index_path(log).read_bytes() == first
    log.append("later", {}, request_id="r3")
    log.append("later", {}, request_id="new")
    assert [one.kind for one in listed(log)["r3"]] == ["test"] * 4 + ["later"]
    assert listed(log) == expected(log)


def test_a_warm_index_reads_few_bytes(log, monkeypatch):
    with IndexedLog(log.path) as opened:
        began = opened.request("r9").time_utc
    read = []
    lines = Part.lines
    monkeypatch.setattr(Part, "lines", lambda *given: read.append(given) or lines(*given))
    with IndexedLog(log.path) as opened:
        assert [one.request_id for one in opened.since(began)] == ["r9"]
        assert [one.data["number"] for one in opened.request("r4").records] == [4, 14, 24, 34]
    assert read == []


def test_every_changed_byte_of_an_index_is_noticed(log):
    right = listed(log)
    whole = index_path(log).read_bytes()
    for at in range(0, len(whole), 37):
        index_path(log).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert listed(log) == right
    for content in (b"", whole[:50], b"{}", b"[" * 9999, b"\xff" * 50):
        index_path(log).write_bytes(content)
        assert listed(log) == right
        assert index_path(log).read_bytes() == whole


def test_an_index_of_another_or_an_earlier_log_is_not_used(log, tmp_path):
    listed(log)
    old = index_path(log).read_bytes()
    other = AuditLog(tmp_path / "other.jsonl")
    for number in range(60):
        other.append("other", {"number": number}, request_id=f"o{number % 3}")
    log.path.write_bytes(other.path.read_bytes())
    assert set(listed(log)) == {"o0", "o1", "o2"}
    index_path(log).write_bytes(old)
    assert listed(log) == expected(log)
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:7]))
    assert listed(log) == expected(log)


def test_a_change_is_found_in_spite_of_the_index(log):
    listed(log)
    content = log.path.read_bytes()
    log.path.write_bytes(content.replace(b'"number":17', b'"number":99'))
    with IndexedLog(log.path) as opened:
        assert (opened.report.bad_line, opened.report.records) == (18, 17)
        assert "changed" in opened.report.problem
    assert not verify(log.path).ok


def test_a_changed_line_is_not_shown(log):
    listed(log)
    status = os.stat(log.path)
    log.path.write_bytes(log.path.read_bytes().replace(b'"number":17', b'"number":99'))
    os.utime(log.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with IndexedLog(log.path) as opened, pytest.raises(AuditError, match="hash does not fit"):
        opened.request("r7")


def test_a_torn_line_is_indexed_once_it_is_mended(log):
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"data":')
    with IndexedLog(log.path) as opened:
        assert (opened.report.torn, opened.report.records) == (True, 40)
    AuditLog(log.path).append("test", {}, request_id="r1")
    assert listed(log) == expected(log)


def test_without_a_place_for_it_the_log_is_read_all_the_same(log, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "replace", refuse)
    assert listed(log) == expected(log)
    assert sorted(one.name for one in log.path.parent.iterdir()) == ["audit.jsonl"]


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"x", b"[" * 9999 + b"\n"])
def test_a_log_that_begins_with_another_line_is_reported(log, line):
    log.path.write_bytes(line + log.path.read_bytes())
    for _ in range(2):
        with IndexedLog(log.path) as opened:
            assert list(opened.since()) == []
            assert (opened.report.bad_line, opened.report.records) == (1, 0)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (verify, load, lambda path: IndexedLog(path).__enter__()):
        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(AuditError, match="cannot be read"):
                read(path)


def test_an_index_holds_no_text(log):
    log.append("said", {"text": "in confidence"}, request_id="r1")
    listed(log)
    content = index_path(log).read_bytes()
    assert b"confidence" not in content
    assert set(json.loads(content.partition(b"\n")[2])["requests"]) == {f"r{n}" for n in range(10)}
