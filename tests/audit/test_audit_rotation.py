"""A log in several files: rotated by size and by day, verified and read as one."""

import multiprocessing
import re
from datetime import datetime

import pytest

from splitreason_integrations.audit import AuditLog, record, verify
from splitreason_integrations.audit.checking import read
from splitreason_integrations.audit.history import IndexedLog, load
from splitreason_integrations.audit.parts import full_parts
from splitreason_integrations.errors import ConfigurationError
from tests.limits import END_S

TEXT = {"text": "x" * 3000}


def rotated(tmp_path, count=20, **options):
    log = AuditLog(tmp_path / "audit.jsonl", rotate_mb=0.01, **options)
    for number in range(count):
        log.append("test", {**TEXT, "number": number}, request_id=f"r{number % 7}")
    return log


def test_a_full_file_is_kept_and_the_chain_goes_on(tmp_path):
    log = rotated(tmp_path)
    full = full_parts(log.path)
    assert [part.name for part in full[:2]] == ["audit.jsonl.0001", "audit.jsonl.0002"]
    assert all(part.stat().st_size < 20_000 for part in full)
    assert all(part.stat().st_mode & 0o777 == 0o600 for part in full)
    records = list(read(log.path))
    assert [r.data["number"] for r in records if r.kind == "test"] == list(range(20))
    assert [r.data["after"] for r in records if r.kind == "rotated"] == [one.name for one in full]
    assert verify(log.path).records == len(records) == records[-1].sequence
    assert verify(log.path, head=records[1].hash).ok


def test_requests_are_read_across_files(tmp_path):
    log = rotated(tmp_path)
    everything = {one.request_id: one.records for one in load(log.path).requests}
    for _ in range(2):
        with IndexedLog(log.path) as opened:
            assert {one.request_id: one.records for one in opened.since()} == everything
            numbers = [record.data["number"] for record in opened.request("r3").records]
            assert numbers == [3, 10, 17]
            assert opened.report.records == verify(log.path).records


def test_a_missing_file_is_found_wherever_it_was(tmp_path):
    log = rotated(tmp_path)
    first, second, *_, last = full_parts(log.path)
    for part in (first, second, last):
        content = part.read_bytes()
        part.unlink()
        report = verify(log.path)
        assert not report.ok
        assert re.match(r"missing: records \d+ to \d+, in a file that is not here", report.problem)
        with IndexedLog(log.path) as opened:
            assert opened.report.problem == report.problem
        part.write_bytes(content)
        assert verify(log.path).ok


def test_a_swapped_or_changed_file_is_found(tmp_path):
    log = rotated(tmp_path)
    first, second, *_ = full_parts(log.path)
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert not verify(log.path).ok
    first.write_bytes(one)
    second.write_bytes(two.replace(b'"kind":"test"', b'"kind":"TEST"', 1))
    report = verify(log.path)
    assert (report.file, report.problem.partition(":")[0]) == (second.name, "changed")


def test_old_files_may_be_deleted_with_the_hash_they_ended_with(tmp_path):
    log = rotated(tmp_path)
    first = full_parts(log.path)[0]
    end = list(read(first))[-1].hash
    first.unlink()
    assert not verify(log.path).ok
    assert verify(log.path, after=end).ok
    assert not verify(log.path, after="f" * 64).ok


class Clock:
    def __init__(self, day):
        self.day = day

    def now(self, zone):
        return datetime(2030, 1, self.day, 10, tzinfo=zone)


def test_a_day_ends_a_file(tmp_path, monkeypatch):
    log = AuditLog(tmp_path / "audit.jsonl", rotate_daily=True, on_break="error")
    for day in (28, 28, 29, 30, 30, 29):
        monkeypatch.setattr(record, "datetime", Clock(day))
        log.append("test", {})
    assert verify(log.path).ok
    assert [one.name for one in full_parts(log.path)] == ["audit.jsonl.0001", "audit.jsonl.0002"]


def test_a_crash_between_renaming_and_writing_loses_nothing(tmp_path):
    log = rotated(tmp_path)
    log.path.rename(log.path.with_name(f"audit.jsonl.{len(full_parts(log.path)) + 1:04d}"))
    AuditLog(log.path).append("test", {})
    assert log.append("test", {}).sequence == verify(log.path).records
    assert "broken" not in {one.kind for one in read(log.path)}


def write_some(path, name):
    log = AuditLog(path, rotate_mb=0.01, on_break="error")
    for number in range(25):
        log.append("test", {**TEXT, "name": name, "number": number})


def test_processes_rotate_one_log_together(tmp_path):
    path = tmp_path / "audit.jsonl"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_some, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(END_S)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    records = list(read(path))
    for name in "abc":
        numbers = [r.data["number"] for r in records if r.data.get("name") == name]
        assert numbers == list(range(25))
    assert len(full_parts(path)) >= 15


@pytest.mark.parametrize("wrong", [{"rotate_mb": 0}, {"rotate_mb": "big"}, {"rotate_daily": 1}])
def test_what_cannot_be_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        AuditLog(tmp_path / "audit.jsonl", **wrong)
