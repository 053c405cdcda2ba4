"""Child process that runs math-verify: reads one question per line, writes 1 or 0.

`math_judge` starts it, and kills it if a question takes too long.
"""

import json
import logging
import os
import sys
from contextlib import suppress

_MOST_BYTES = 4 << 30
_OWN_DEADLINE_S = 5


def main() -> None:
    """Answer questions until standard input ends."""
    out = os.dup(1)
    os.dup2(2, 1)  # Keep what libraries print out of the answers.
    _limit_memory()
    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    os.write(out, b"ready\n")
    for line in sys.stdin.buffer:
        question = json.loads(line)
        equal = False
        # A reply on which math-verify raises anything counts as wrong.
        with suppress(Exception):
            gold = parse(f"\\boxed{{{question['answer']}}}", parsing_timeout=_OWN_DEADLINE_S)
            given = parse(question["reply"], parsing_timeout=_OWN_DEADLINE_S)
            equal = bool(verify(gold, given, timeout_seconds=_OWN_DEADLINE_S))
        os.write(out, b"1\n" if equal else b"0\n")


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    with suppress(ValueError, OSError):  # keep a lower limit that is already set
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))


if __name__ == "__main__":
    main()
