"""The audit log: appended by many at once, every change found, refused where it cannot hold."""

import asyncio
import copy
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from splitreason_integrations.audit import AuditLog, repair, verify
from splitreason_integrations.audit.checking import read
from splitreason_integrations.audit.plain_data import plain
from splitreason_integrations.audit.record import GENESIS
from splitreason_integrations.errors import AuditError
from tests.limits import END_S, HANGS_S

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl")


def test_records_are_numbered_dated_and_chained(log):
    first = log.append("one", {"x": 1.5}, request_id="a")
    second = log.append("two", {"text": "grüße\ud800 \N{SNOWMAN}"})
    assert (first.sequence, second.sequence) == (1, 2)
    assert (first.previous, second.previous) == (GENESIS, first.hash)
    assert first.time_utc <= second.time_utc
    assert first.time_utc.endswith("Z")
    assert list(read(log.path)) == [first, second]
    assert json.loads(log.path.read_bytes().splitlines()[0])["request_id"] == "a"
    assert (verify(log.path).records, verify(log.path).head) == (2, second.hash)


def test_the_file_is_for_its_owner_alone(log):
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_a_log_goes_on_where_it_ended(log):
    first = log.append("one", {})
    assert AuditLog(log.path).append("two", {}).previous == first.hash
    long = AuditLog(log.path).append("long", {"text": "x" * 100_000})
    assert AuditLog(log.path).append("four", {}).previous == long.hash
    for twin in (copy.deepcopy(log), pickle.loads(pickle.dumps(log))):  # noqa: S301
        assert twin.append("more", {}).sequence > 4
    assert verify(log.path).ok


def test_any_value_can_be_recorded(log):
    class Custom:
        def __str__(self):
            return "custom"

    data = {"a": {1: (1, 2)}, "nan": float("nan"), "path": Path("x"), "own": Custom(), "set": {3}}
    assert plain(data) == {
        "a": {"1": [1, 2]},
        "nan": "nan",
        "path": "x",
        "own": "custom",
        "set": [3],
    }
    log.append("odd", data)
    assert verify(log.path).ok


def test_threads_append_at_once(log):
    twin = AuditLog(log.path)

    def work(number):
        for at in range(25):
            (log, twin)[number % 2].append("test", {"thread": number, "at": at})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = list(read(log.path))
    for number in range(8):
        mine = [r.data["at"] for r in records if r.data["thread"] == number]
        assert mine == list(range(25))


WRITE_MANY = """
import sys
from splitreason_integrations.audit import AuditLog
log = AuditLog(sys.argv[1])
for at in range(40):
    log.append("test", {"process": sys.argv[2], "at": at})
"""


def test_processes_append_at_once(log):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_MANY, str(log.path), str(number)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for number in range(4)
    ]
    assert [process.wait(END_S) for process in processes] == [0] * 4
    records = list(read(log.path))
    assert len(records) == 160
    for number in range(4):
        mine = [r.data["at"] for r in records if r.data["process"] == str(number)]
        assert mine == list(range(40))


FORK = """
import os, sys, threading
from splitreason_integrations.audit import AuditLog, verify
log = AuditLog(sys.argv[1])
busy = threading.Thread(target=lambda: [log.append("parent", {}) for _ in range(150)])
busy.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        for _ in range(5):
            log.append("child", {})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
busy.join()
assert verify(sys.argv[1]).records == 200, verify(sys.argv[1])
"""


def test_a_forked_process_appends_its_own(log):
    code = ["-W", "ignore", "-c", FORK, str(log.path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *code], env=environment, timeout=HANGS_S, check=True)


async def test_appends_of_one_loop_share_their_waits_for_the_disk(log, monkeypatch):
    waits = []
    monkeypatch.setattr(os, "fsync", waits.append)

    async def many(number):
        return [await log.record("test", {"task": number, "at": at}) for at in range(5)]

    records = await asyncio.gather(*(many(number) for number in range(60)))
    assert sorted(r.sequence for mine in records for r in mine) == list(range(1, 301))
    assert len(waits) < 200
    assert verify(log.path).records == 300


async def test_the_loop_goes_on_while_the_disk_is_slow(log, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: go_on.wait(END_S))
    append = asyncio.create_task(log.record("test", {}))
    await asyncio.sleep(0.05)
    assert not append.done()
    go_on.set()
    assert (await append).sequence == 1


async def test_a_cancelled_append_is_on_disk_all_the_same(log, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: begun.set() or go_on.wait(END_S))
    append = asyncio.create_task(log.record("test", {}))
    await asyncio.to_thread(begun.wait, 30)
    append.cancel()
    go_on.set()
    await asyncio.wait({append})
    assert verify(log.path).records == 1


@pytest.fixture
def small_log(log):
    for number in range(3):
        log.append("test", {"number": number, "text": "é", "share": 0.25}, request_id="r")
    return log


def test_every_changed_byte_is_found(small_log, tmp_path):
    whole = small_log.path.read_bytes()
    changed = tmp_path / "changed.jsonl"
    line = 1
    for at, byte in enumerate(whole):
        for other in (byte ^ 1, byte ^ 32):
            changed.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
            report = verify(changed)
            assert not report.ok
            assert report.bad_line == line
        line += byte == 10


def test_missing_doubled_and_swapped_records_are_found(small_log):
    one, two, three = small_log.path.read_bytes().splitlines(keepends=True)
    for lines, bad, says in (
        ((two, three), 1, "missing"),
        ((one, three), 2, "missing"),
        ((one, one, two), 2, "missing"),
        ((one, three, two), 2, "missing"),
        ((one, b"\n", two), 2, "changed"),
        ((one, b" " + two), 2, "changed"),
        ((one, two, b"[]\n"), 3, "changed"),
        ((one, two, b"NaN\n"), 3, "changed"),
        ((one, two, b"[" * 100_000 + b"\n"), 3, "changed"),
    ):
        small_log.path.write_bytes(b"".join(lines))
        report = verify(small_log.path)
        assert (report.bad_line, report.problem.partition(":")[0]) == (bad, says)
        assert report.records == bad - 1


def test_a_line_of_another_log_is_found(small_log, tmp_path):
    other = AuditLog(tmp_path / "other.jsonl")
    for number in range(3):
        other.append("test", {"number": number})
    mine = small_log.path.read_bytes().splitlines(keepends=True)
    theirs = other.path.read_bytes().splitlines(keepends=True)
    small_log.path.write_bytes(mine[0] + theirs[1] + mine[2])
    assert "does not follow" in verify(small_log.path).problem


def test_a_known_head_finds_records_cut_off_at_the_end(small_log):
    head = verify(small_log.path).head
    small_log.append("more", {})
    assert verify(small_log.path, head=head).ok
    lines = small_log.path.read_bytes().splitlines(keepends=True)
    small_log.path.write_bytes(b"".join(lines[:2]))
    assert verify(small_log.path).ok
    assert "missing" in verify(small_log.path, head=head).problem


def test_nothing_is_written_behind_a_damaged_last_line(small_log):
    damaged = small_log.path.read_bytes().replace(b'"number":2', b'"number":7')
    small_log.path.write_bytes(damaged)
    for write in (lambda: small_log.append("more", {}), lambda: AuditLog(small_log.path)):
        with pytest.raises(AuditError, match="damaged in its last line"):
            write()
    assert small_log.path.read_bytes() == damaged


def test_where_no_log_can_be(tmp_path, monkeypatch):
    with pytest.raises(AuditError, match="folder that exists"):
        AuditLog(tmp_path / "nowhere" / "audit.jsonl")
    with pytest.raises(AuditError, match="cannot be opened"):
        AuditLog(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(AuditError, match="regular file"):
        AuditLog(tmp_path / "pipe")
    for check in (verify, repair):
        with pytest.raises(AuditError, match="nowhere"):
            check(tmp_path / "nowhere.jsonl")
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(AuditError, match="POSIX"):
        AuditLog(tmp_path / "audit.jsonl")


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    import fcntl

    def flock(descriptor, kind):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(AuditError, match="file system with file locks"):
        AuditLog(tmp_path / "audit.jsonl")


async def test_a_failed_append_is_not_written_later(log):
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(AuditError, match="cannot be opened"):
        await log.record("lost", {})
    log.path.rmdir()
    assert log.append("next", {}).sequence == 1
