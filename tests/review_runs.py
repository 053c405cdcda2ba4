"""Requests with three questions, and models that count what they write, for tests of reviewers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from splitreason_integrations.testing import ScriptedModel

SMALL = "One.<bigmodel> Two.<bigmodel> Three.<bigmodel> Four.</think>\n\nFive"
LARGE = " a b c.</bigmodel> d e f.</bigmodel> g h i.</bigmodel>"
ANSWERS = [{"decision": "approve", "by": "ann"}, "refuse", True]
REASONING = "One. a b c. Two. Three. d e f. Four."


class Counting(ScriptedModel):
    """Counts the tokens that it writes."""

    written = 0

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        append = session._append

        def counted(token):
            self.written += 1
            append(token)

        session._append = counted
        return session


def counting_pair():
    return {"small": Counting(SMALL, name="small"), "large": Counting(LARGE, name="large")}


def start(code, *arguments):
    """Start a process that prints a line of JSON when it has something to tell."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([".", "adapters"])},
    )


def told_and_killed(process):
    """Return what a process tells, and kill it where it waits behind that."""
    line = process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return json.loads(line)
