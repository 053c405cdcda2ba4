"""Rounds of faults of all kinds, each repeatable by its seed, and what came of them."""

import random
import tempfile
import time
import traceback
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.engines import Caps, Engines, Loops
from tests.faults.killed import KilledWorkers, KilledWriters
from tests.faults.people import Forks, Reviewers
from tests.faults.servers import LyingServers, Secrets

KINDS = {
    kind.name: kind
    for kind in (
        Engines,
        Caps,
        Loops,
        LyingServers,
        Secrets,
        KilledWriters,
        KilledWorkers,
        Reviewers,
        Forks,
    )
}
"""The kinds of faults by name. A round of one raises an error where something does not hold."""


@dataclass
class Tally:
    """What the rounds of one kind did, and where something did not hold."""

    rounds: int = 0
    took_s: float = 0.0
    counted: Counter = field(default_factory=Counter)
    violations: list = field(default_factory=list)


def play(kind, seed, number):
    """Run one round of a kind that has started; return what it counted."""
    rng = random.Random(f"{seed}:{kind.name}:{number}")
    with tempfile.TemporaryDirectory() as folder:
        return kind.round(rng, Path(folder))


def run(names, *, seed, ends, first=0, heard=lambda name, tally: None):
    """Run rounds of these kinds in turn until `ends` says so; return their tallies by name.

    `ends` is asked before each turn of all kinds with its number, `heard` told after each round.
    """
    tallies, number = {name: Tally() for name in names}, first
    with ExitStack() as stack:
        started = {name: stack.enter_context(closing(KINDS[name]())) for name in names}
        while not ends(number):
            for name, kind in started.items():
                _play_into(tallies[name], kind, seed, number)
                heard(name, tallies[name])
            number += 1
    return tallies


def _play_into(tally, kind, seed, number):
    began = time.monotonic()
    try:
        tally.counted += play(kind, seed, number)
    except Exception:  # noqa: BLE001 - whatever is raised is what did not hold
        tally.violations.append({"round": number, "said": traceback.format_exc()})
    tally.rounds += 1
    tally.took_s += time.monotonic() - began
