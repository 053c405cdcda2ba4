"""Mathematical equality, decided by a process of its own that is ended where it takes too long.

math-verify's own deadlines are signals: they work in a main thread alone, and not at all while
one long sum is being worked out. That process has little memory and no more than one question.
"""

import atexit
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from functools import cache
from importlib.util import find_spec

from splitreason_integrations.errors import MissingExtraError

_STARTS_IN_S = 120.0
_DEADLINE_S = 15.0
_LONGEST = 100_000
"""Characters of a reply's end that are looked at."""


def check_judge() -> None:
    """Raise MissingExtraError where math-verify is not installed."""
    if find_spec("math_verify") is None:
        raise MissingExtraError(
            "mathematical answers are graded by math-verify: pip install "
            '"splitreason-integrations[eval]", or choose another --grade'
        )


class Judge:
    """Grades one reply at a time; safe among threads. The process starts with the first one."""

    def __init__(self, *, deadline_s: float = _DEADLINE_S) -> None:
        check_judge()
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def equal(self, reply: str, answer: str) -> bool:
        """Return whether a reply's last mathematical expression equals the answer.

        What cannot be decided by the deadline is not equal.
        """
        question = json.dumps({"reply": reply[-_LONGEST:], "answer": answer}).encode() + b"\n"
        with self._lock:
            said = self._asked(question)
            if said is None:
                self.close()
            return said == b"1\n"

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def _asked(self, question: bytes) -> bytes | None:
        """Return the process's line; None where it ended, or did not answer in time."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(question)
            child.stdin.flush()
        except BrokenPipeError:
            return None
        return _line(child.stdout.fileno(), self._deadline_s)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "splitreason_integrations.evals.math_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for the command; this process ends with the pipe.
                start_new_session=True,
            )
            assert self._child.stdout is not None
            if _line(self._child.stdout.fileno(), _STARTS_IN_S) != b"ready\n":
                self.close()
                raise MissingExtraError(
                    "math-verify cannot be used: try python -c 'import math_verify' to see why"
                )
        return self._child


@cache
def judge() -> Judge:
    """Return the judge of this process."""
    found = Judge()
    atexit.register(found.close)
    return found


def _line(descriptor: int, within_s: float) -> bytes | None:
    late_s, line = time.monotonic() + within_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            left_s = late_s - time.monotonic()
            if left_s <= 0 or not selector.select(left_s):
                return None
            read = os.read(descriptor, 64)
            if not read:
                return None
            line += read
    return line
