"""Processes that are killed at random instants, disks that fill, and two writers at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from splitreason_integrations import ReviewQueue, blocking
from splitreason_integrations.audit import AuditLog, repair, verify
from splitreason_integrations.audit.checking import read
from splitreason_integrations.errors import ReviewError, ReviewPendingError
from splitreason_integrations.reviews.entries import Status
from tests.faults import forking
from tests.faults.kind import Kind
from tests.limits import END_S
from tests.loop.engine_runs import request

ROOT = Path(__file__).parents[2]
DECISIONS = ("approve", "refuse", "stop")
REQUESTS = 4


class Forker:
    """A process that forks workers, one at a time."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forking"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([".", "adapters"])},
        )

    def start(self, **work):
        self._process.stdin.write(f"{json.dumps(work)}\n")
        self._process.stdin.flush()
        self._worker = json.loads(self._process.stdout.readline())

    def kill(self):
        """Kill the worker; return what it had done for good."""
        os.kill(self._worker, signal.SIGKILL)
        lines = (json.loads(line) for line in self._process.stdout)
        return list(iter(lambda: next(lines), "end"))

    def close(self):
        self._process.communicate()


class Forked(Kind):
    """Two processes that fork workers."""

    def __init__(self):
        self._forkers = [Forker(), Forker()]

    def close(self):
        """End the processes."""
        for forker in self._forkers:
            forker.close()

    def killed_after(self, longest_s, rng):
        """Kill the workers in turn, at random instants; return what they had done for good."""
        done = []
        for forker in rng.sample(self._forkers, len(self._forkers)):
            time.sleep(rng.random() * longest_s)
            done += forker.kill()
        assert not [one for one in done if "crashed" in one], done[-1]
        return done


class KilledWriters(Forked):
    """Two writers of one audit log, killed; no record that was acknowledged is lost."""

    name = "audit log"
    rounds_kills = 4

    def round(self, rng, folder):
        """Kill two writers several times, on a disk that may be full."""
        path, acknowledged, counted = folder / "audit.jsonl", [], Counter()
        AuditLog(path)
        for _ in range(self.rounds_kills):
            for forker in self._forkers:
                full = path.stat().st_size + rng.randrange(20_000) if rng.random() < 0.4 else None
                forker.start(work="append", path=str(path), limit=full, size=rng.randint(1, 5000))
            done = self.killed_after(0.2, rng)
            acknowledged += [one["hash"] for one in done if "hash" in one]
            refused = [one["refused"] for one in done if "refused" in one]
            assert all("make room" in one for one in refused), refused
            counted += Counter(kills=2, faults=len(refused))
            report = verify(path)
            assert report.ok or report.torn, report
            if report.torn:
                assert repair(path), "what is torn is not mended"
            on_disk = {record.hash for record in read(path)}
            assert on_disk.issuperset(acknowledged), "an acknowledged record is lost"
        return counted + Counter(records=len(acknowledged))


class KilledWorkers(Forked):
    """Workers of a review queue, killed; every question is answered once, no request is lost."""

    name = "reviews"

    def round(self, rng, folder):
        """Answer the questions of some requests while their workers are killed."""
        queue = ReviewQueue(folder / "reviews.sqlite", lease_s=forking.LEASE_S)
        decided, finished, kills = {}, {}, 0
        for number in range(REQUESTS):
            _put_aside(queue, f"r{number}")
        ends_at = time.monotonic() + END_S
        while _unfinished(queue):
            assert time.monotonic() < ends_at, "the requests do not end"
            _answer_all(queue, decided, rng)
            for forker in self._forkers:
                forker.start(work="go on", path=str(queue.path))
            for one in self.killed_after(0.6, rng):
                if "reasoning" in one:
                    assert one["went on"] not in finished, "a request was finished twice"
                    finished[one["went on"]] = one["reasoning"]
            kills += 2
        for asked, reasoning in finished.items():
            assert reasoning == _uninterrupted(decided[asked]), "another reply than in one go"
        return Counter(requests=REQUESTS, kills=kills, answers=sum(map(len, decided.values())))


def _put_aside(queue, request_id):
    engine = forking.pair(queue)
    with pytest.raises(ReviewPendingError):
        blocking.run(lambda: engine.complete(request(request_id=request_id, max_tokens=400)))


def _unfinished(queue):
    return [one for one in queue.entries() if one.status in (Status.PENDING, Status.ANSWERED)]


def _answer_all(queue, decided, rng):
    """Answer each question that waits; a second answer is refused."""
    for entry in queue.entries(Status.PENDING):
        given = rng.choice(DECISIONS)
        queue.answer(entry.id, given, by="ann")
        decided.setdefault(entry.question.request_id, []).append(given)
        with pytest.raises(ReviewError, match="an answer is final"):
            queue.answer(entry.id, rng.choice(DECISIONS), by="bob")


def _uninterrupted(decisions):
    left = iter(decisions)
    engine = forking.pair(lambda question: next(left))
    return blocking.run(lambda: engine.complete(request(max_tokens=400))).reasoning
