"""Check mathematical equality in a child process that is killed if it takes too long.

math-verify's own timeouts rely on signals: they work in a main thread only, and not while one long
computation runs. The child has limited memory and handles one question at a time.
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
from splitreason_integrations.processes.children import after_fork

_STARTS_IN_S = 120.0
_DEADLINE_S = 15.0
_LONGEST = 100_000
"""Most characters of a reply, counted from its end, that are graded."""


def check_judge() -> None:
    """Check that math-verify is installed.

    Raises:
        MissingExtraError: It is not.

    """
    if find_spec("math_verify") is None:
        raise MissingExtraError(
            "mathematical answers are graded by math-verify: pip install "
            '"splitreason-integrations[eval]", or choose another --grade'
        )


class Judge:
    """Grade one reply at a time; thread-safe. The child process starts on first use."""

    def __init__(self, *, deadline_s: float = _DEADLINE_S) -> None:
        check_judge()
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        after_fork(self._leave_child)

    def equal(self, reply: str, answer: str) -> bool:
        """Return whether a reply's last mathematical expression equals the answer.

        An expression that cannot be decided within the deadline counts as not equal.
        """
        question = json.dumps({"reply": reply[-_LONGEST:], "answer": answer}).encode() + b"\n"
        with self._lock:
            answered = self._asked(question)
            if answered is None:
                self.close()
            return answered == b"1\n"

    def _leave_child(self) -> None:
        self._lock, self._child = threading.Lock(), None  # the process is this one's parent's

    def close(self) -> None:
        """Kill the child process."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()

    def _asked(self, question: bytes) -> bytes | None:
        """Return the child's line; None if it ended or did not answer in time."""
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
                # Keep Ctrl-C from the child; it ends when its input is closed.
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
    """Return the judge that this process shares."""
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
