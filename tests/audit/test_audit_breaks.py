"""What a running writer does when its file is changed from outside: it never goes on silently."""

import os
import shutil

import pytest

from splitreason_integrations.audit import AuditLog, verify
from splitreason_integrations.audit.checking import read
from splitreason_integrations.audit.history import load
from splitreason_integrations.audit.record import AuditRecord
from splitreason_integrations.errors import AuditError, ConfigurationError


def records_of(path):
    """The records of a file, with gaps."""
    return [AuditRecord.from_line(line) for line in path.read_bytes().splitlines()]


def records_of_whole_lines(path):
    return [
        AuditRecord.from_line(line[:-1])
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]


def delete(path):
    path.unlink()


def rename(path):
    path.rename(path.with_name("elsewhere"))


def replace(path):
    other = AuditLog(path.with_name("other"))
    for _ in range(9):
        other.append("other", {"text": "x" * 99})
    os.replace(other.path, path)


def replace_in_place(path):
    whole = path.with_name("other")
    replace(whole)
    path.write_bytes(whole.read_bytes())


def empty(path):
    path.write_bytes(b"")


def cut_last(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def cut_torn(path):
    path.write_bytes(path.read_bytes()[:-40])


def cut_all_but_a_part(path):
    path.write_bytes(path.read_bytes()[:40])


CHANGES = [delete, rename, replace, replace_in_place, empty, cut_last, cut_torn, cut_all_but_a_part]
change = pytest.mark.parametrize("change", CHANGES, ids=[one.__name__ for one in CHANGES])


def written(tmp_path, **options):
    log = AuditLog(tmp_path / "audit.jsonl", **options)
    for number in range(3):
        last = log.append("test", {"number": number}, request_id=f"r{number}")
    return log, last


@change
def test_a_writer_records_that_its_file_was_changed(tmp_path, change):
    log, last = written(tmp_path)
    change(log.path)
    log.append("test", {"number": 3}, request_id="r3")
    log.append("test", {"number": 4}, request_id="r4")
    kinds = [record.kind for record in records_of(log.path)]
    assert kinds[-3:] == ["broken", "test", "test"]
    assert kinds.count("broken") == 1
    broken = records_of(log.path)[-3]
    assert (broken.data["expected_sequence"], broken.data["expected_hash"]) == (3, last.hash)
    assert broken.data["in_place"] is False
    report = verify(log.path)
    assert not report.ok
    assert report.problem.startswith("missing")
    assert load(log.path).requests[-1].request_id == "r4"


@change
def test_a_writer_that_must_not_go_on_refuses(tmp_path, change):
    log, last = written(tmp_path, on_break="error")
    whole = log.path.read_bytes()
    change(log.path)
    for _ in range(2):
        with pytest.raises(AuditError, match=f"record 3 with hash {last.hash}"):
            log.append("test", {})
    log.path.unlink(missing_ok=True)
    assert not log.path.with_name("audit.jsonl.broken-1").exists()
    log.path.write_bytes(whole)


@change
def test_a_writer_begins_a_new_file_behind_its_last_record(tmp_path, change):
    log, last = written(tmp_path, on_break="new_file")
    change(log.path)
    left = log.path.read_bytes() if log.path.exists() else b""
    log.append("test", {})
    broken, after = records_of(log.path)
    assert (broken.kind, broken.sequence, broken.previous) == ("broken", 4, last.hash)
    assert after.previous == broken.hash
    aside = log.path.with_name("audit.jsonl.broken-1")
    assert (aside.read_bytes() if left else b"") == left
    assert broken.data["put_aside_as"] == (aside.name if left else None)
    report = verify(log.path)
    assert "records 1 to 3" in report.problem
    assert verify(log.path, after=last.hash).problem == ""


def test_a_renamed_file_put_back_as_a_full_one_makes_the_log_whole(tmp_path):
    log, _ = written(tmp_path)
    moved = log.path.with_name("elsewhere")
    log.path.rename(moved)
    log.append("test", {})
    assert not verify(log.path).ok
    moved.rename(log.path.with_name("audit.jsonl.0001"))
    assert verify(log.path).ok
    assert verify(log.path).records == 5


def test_a_copy_in_the_files_place_is_recorded_and_nothing_is_missing(tmp_path):
    log, _ = written(tmp_path)
    copy = shutil.copy(log.path, tmp_path / "copy")
    os.replace(copy, log.path)
    log.append("test", {})
    broken = records_of(log.path)[3]
    assert (broken.kind, broken.data["change"], broken.data["in_place"]) == (
        *("broken", "replaced", True),
    )
    assert verify(log.path).ok


def test_nothing_is_amiss_when_another_writer_appends_or_the_program_starts_anew(tmp_path):
    one, two = (AuditLog(tmp_path / "audit.jsonl", on_break="error") for _ in range(2))
    for number in range(6):
        (one, two)[number % 2].append("test", {"number": number})
        AuditLog(one.path, on_break="error").append("anew", {})
    assert {record.kind for record in read(one.path)} == {"test", "anew"}
    assert verify(one.path).records == 12


@pytest.mark.parametrize("on_break", ["record", "new_file"])
@change
def test_two_writers_both_say_so_and_go_on_in_one_file(tmp_path, change, on_break):
    one, _ = written(tmp_path, on_break=on_break)
    two = AuditLog(one.path, on_break=on_break)
    later = two.append("test", {})
    change(one.path)
    for number in range(6):
        (one, two)[number % 2].append("after", {"number": number})
    files = [*sorted(tmp_path.glob("audit.jsonl.broken-*")), one.path]
    records = [record for file in files for record in records_of_whole_lines(file)]
    assert [record.data["number"] for record in records if record.kind == "after"] == [*range(6)]
    expected = {record.data["expected_hash"] for record in records if record.kind == "broken"}
    assert later.hash in expected
    assert len([record for record in records if record.kind == "broken"]) <= 2
    assert not verify(one.path).ok


def test_a_log_without_records_has_nothing_to_lose(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", on_break="error")
    log.path.unlink()
    assert log.append("first", {}).sequence == 1


def test_an_unknown_way_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="record, new_file, error"):
        AuditLog(tmp_path / "audit.jsonl", on_break="ignore")
    assert not (tmp_path / "audit.jsonl").exists()
