"""Forks writers of an audit log that acknowledge each append, for tests that kill them.

Reads a path a line; for each it forks a writer, which prints its process id and then the hash of
every record that is on disk; behind the writer's end comes `end`.
"""

import os
import sys

from splitreason_integrations.audit import AuditLog


def say(text):
    os.write(1, f"{text}\n".encode())


def write_until_killed(path):
    say(os.getpid())
    log = AuditLog(path)
    for number in range(1_000_000):
        record = log.append("test.written", {"number": number, "padding": "x" * (number % 7 * 900)})
        say(record.hash)


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        write_until_killed(line.strip())
    os.waitpid(child, 0)
    say("end")
