"""Forks workers that a parent kills: `python -m tests.faults.forking`.

Reads a line of JSON for each worker: its `work`, which is the name of a function here, and what
that takes. A worker prints its process id, then a line of JSON for everything that it has done for
good; behind its end comes `end`.
"""

import json
import os
import resource
import signal
import sys
import time

from splitreason_integrations import AuditLog, HumanCheck, ReviewQueue, SplitEngine, blocking
from splitreason_integrations.errors import AuditError
from tests.loop.engine_runs import complete, request
from tests.reviews.review_runs import LARGE, SMALL, ScriptedModel

LEASE_S = 1.0


def say(done):
    os.write(1, f"{json.dumps(done)}\n".encode())


def append(path, limit, size):
    """Append records until killed; past `limit` bytes the disk is full, and then it is not."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    log = AuditLog(path)
    for number in range(100_000):
        try:
            record = log.append("test.written", {"number": number, "text": "x" * (number % size)})
        except AuditError as error:
            say({"refused": str(error)})
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        else:
            say({"hash": record.hash})


def go_on(path):
    """Go on with answered requests of a queue until killed."""
    queue = ReviewQueue(path, lease_s=LEASE_S)
    engine = pair(queue)
    while True:
        claim = queue.claim()
        if claim is None:
            time.sleep(0.02)
            continue
        reply = None
        with claim:  # a further question puts the request aside again
            reply = blocking.run(lambda claim=claim: engine.finish(claim.paused, claim.answer))
        done = {} if reply is None else {"reasoning": reply.reasoning}
        say({"went on": claim.request_id, **done})


def pair(reviewer):
    """Return an engine whose small model hands over three times, each time with a question."""
    models = {"small": ScriptedModel(SMALL, delay_s=0.001), "large": ScriptedModel(LARGE)}
    return SplitEngine(**models, human_check=HumanCheck(reviewer=reviewer))


WORK = {"append": append, "go on": go_on}


def main():
    complete(pair(lambda question: True), request(max_tokens=400))  # workers find all loaded
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            say(os.getpid())
            WORK[order.pop("work")](**order)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status != signal.SIGKILL:
            say({"crashed": status})
        say("end")


if __name__ == "__main__":
    main()
