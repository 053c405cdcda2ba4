"""Requests with three questions, and models that count what they write, for tests of reviewers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from splitreason_integrations import HumanCheck, Paused, Question, SplitEngine, blocking
from splitreason_integrations.errors import ReviewPendingError
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import complete, request

SMALL = "One.<bigmodel> Two.<bigmodel> Three.<bigmodel> Four.</think>\n\nFive"
LARGE = " a b c.</bigmodel> d e f.</bigmodel> g h i.</bigmodel>"
ANSWERS = [{"decision": "approve", "by": "ann"}, "refuse", True]
REASONING = "One. a b c. Two. Three. d e f. Four."


LONG = {"max_tokens": 400}


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


def engine(queue, **check):
    return SplitEngine(**counting_pair(), human_check=HumanCheck(reviewer=queue, **check))


def ask(queue, request_id="r", **check):
    """Put a request aside; return its question."""
    with pytest.raises(ReviewPendingError) as caught:
        complete(engine(queue, **check), request(request_id=request_id, **LONG))
    return caught.value.paused.question


def paused(number=0, request_id="r", **more):
    question = Question(
        request_id=request_id,
        span=number,
        start_token=number,
        moment="before",
        model="big",
        opened_by="tag",
        context="One.",
    )
    return Paused(question, {"request": {"messages": ["hi"]}}, **more)


def put(queue, *given, **more):
    one = paused(*given, **more)
    assert blocking.run(lambda: queue.review(one)) is None
    return one.question


def go_on(queue, some=None):
    """Go on with all answered requests; return the finished replies."""
    replies = []
    while claim := queue.claim():
        with claim:
            replies.append(
                blocking.run(
                    lambda claim=claim: (some or engine(queue)).finish(claim.paused, claim.answer)
                )
            )
    return replies


def start(code, *arguments):
    """Start a process that prints a line of JSON when it has something to tell."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([".", "adapters"])},
    )


def output_then_killed(process):
    """Return what a process tells, and kill it where it waits behind that."""
    line = process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return json.loads(line)
