"""The audit log when its writer dies: nothing acknowledged is lost, what is torn is mended."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from splitreason_integrations.audit import AuditLog, repair, verify
from splitreason_integrations.audit.checking import read
from splitreason_integrations.errors import AuditError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def writers():
    """A process that forks writers."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("audit_writer.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    yield process
    process.communicate()


def kill_a_writer(writers, path, after_s):
    """Start a writer, kill it after a while; return the hashes that it acknowledged."""
    writers.stdin.write(f"{path}\n")
    writers.stdin.flush()
    process = int(writers.stdout.readline())
    time.sleep(after_s)
    os.kill(process, signal.SIGKILL)
    acknowledged = [line.strip() for line in iter(writers.stdout.readline, "end\n")]
    return [line for line in acknowledged if len(line) == 64]


@pytest.mark.slow
def test_no_acknowledged_record_is_lost_by_200_kills(writers, tmp_path):
    rng = random.Random(0)
    acknowledged, path, longest_s = [], tmp_path / "audit.jsonl", 0.02
    for killed in range(200):
        if killed % 20 == 0:
            acknowledged, path = [], tmp_path / f"audit-{killed}.jsonl"
            AuditLog(path)
        new = kill_a_writer(writers, path, rng.uniform(0, longest_s))
        acknowledged += new
        # Where the machine is slow, writers are left alone for longer.
        longest_s *= 0.95 if new else 1.05
        report = verify(path)
        assert report.ok or report.torn, report
        on_disk = {record.hash for record in read(path)} if report.ok else None
        if report.torn:
            assert repair(path)
            on_disk = {record.hash for record in read(path)}
        assert on_disk.issuperset(acknowledged)
    assert len(acknowledged) > 5


def test_every_cut_of_the_last_line_is_pointed_at_and_mended(tmp_path):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    for number in range(3):
        log.append("test", {"number": number})
    whole = path.read_bytes()
    kept = b"".join(whole.splitlines(keepends=True)[:2])
    for end in range(len(kept) + 1, len(whole)):
        path.write_bytes(whole[:end])
        report = verify(path)
        assert (report.torn, report.records, report.bad_line) == (True, 2, 3)
        if end % 2:
            assert repair(path) == end - len(kept)
            assert path.read_bytes() == kept
        else:
            record = AuditLog(path).append("test", {})
            assert [one.kind for one in read(path)] == ["test", "test", "repaired", "test"]
            assert record.sequence == 4
        assert verify(path).ok
    torn = path.with_name("audit.jsonl.torn").read_bytes()
    assert torn.splitlines() == [whole[len(kept) : end] for end in range(len(kept) + 1, len(whole))]
    assert path.with_name("audit.jsonl.torn").stat().st_mode & 0o777 == 0o600


def test_a_tail_torn_meanwhile_is_mended_by_the_next_append(tmp_path):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.append("test", {})
    with path.open("ab") as file:
        file.write(b'{"data":')
    log.append("test", {})
    assert [record.kind for record in read(path)] == ["test", "repaired", "test"]
    assert verify(path).ok


def test_repair_leaves_a_whole_log_as_it_is(tmp_path):
    path = tmp_path / "audit.jsonl"
    AuditLog(path).append("test", {})
    before = path.read_bytes()
    assert repair(path) == 0
    assert path.read_bytes() == before
    assert not path.with_name("audit.jsonl.torn").exists()


def test_a_full_disk_leaves_the_log_whole(tmp_path, monkeypatch):
    log = AuditLog(tmp_path / "audit.jsonl")
    log.append("test", {})
    write = os.write

    def half(descriptor, content):
        if len(content) < 40:
            raise OSError(28, "No space left on device")
        return write(descriptor, bytes(content[: len(content) // 2]))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(AuditError, match="make room"):
            log.append("test", {})
    assert verify(log.path).records == 1
    assert log.append("test", {}).sequence == 2
    assert verify(log.path).ok
