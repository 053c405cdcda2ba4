"""Play faults for a while, as `python -m tests.faults --seconds 3600`.

The exit status is 1 if something that is promised did not hold.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table

from splitreason_integrations.evals.report import hardware
from tests.faults.suite import KINDS, run


def arguments(given):
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=3600.0, help="how long; all end their turn"
    )
    parser.add_argument("--seed", type=int, help="repeats the rounds; drawn if not given")
    parser.add_argument("--kind", action="append", choices=KINDS, help="one kind only; may repeat")
    parser.add_argument("--round", type=int, help="play this round alone, as a report names it")
    parser.add_argument("--report", help="a file to write figures and violations to, as JSON")
    return parser.parse_args(given)


def table(tallies):
    shown = Table("faults", "rounds", "what they did", "violations")
    for name, tally in tallies.items():
        counts = (f"{count:,} {what}" for what, count in tally.counted.items() if count)
        shown.add_row(name, f"{tally.rounds:,}", ", ".join(counts), str(len(tally.violations)))
    return shown


def figures(tallies, seed, took_s):
    return {
        "bench": "faults",
        "seed": seed,
        "took_s": round(took_s),
        "hardware": hardware(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python -m tests.faults --seconds {took_s:.0f} --seed {seed}",
        "kinds": {
            name: {"rounds": tally.rounds, **tally.counted, "violations": len(tally.violations)}
            for name, tally in tallies.items()
        },
    }


def main(given):
    chosen = arguments(given)
    seed = int.from_bytes(os.urandom(4)) if chosen.seed is None else chosen.seed
    first, began = chosen.round or 0, None

    def ends(number):
        nonlocal began
        began = time.monotonic() if began is None else began
        if chosen.round is not None:
            return number > chosen.round
        return time.monotonic() - began >= chosen.seconds

    seen, console = {}, Console(stderr=True)
    with Live(console=console, auto_refresh=False) as live:

        def heard(name, tally):
            seen[name] = tally
            live.update(table(seen), refresh=True)

        names = chosen.kind or list(KINDS)
        tallies = run(names, seed=seed, ends=ends, first=first, heard=heard)
    report = figures(tallies, seed, time.monotonic() - began)
    print(json.dumps(report))
    wrong = [(name, one) for name, tally in tallies.items() for one in tally.violations]
    for name, one in wrong:
        console.print(one["said"], markup=False, highlight=False)
        console.print(
            f"again: python -m tests.faults --kind {name!r} --seed {seed} --round {one['round']}",
            markup=False,
        )
    if chosen.report:
        with open(chosen.report, "w", encoding="utf-8") as file:
            json.dump(report, file)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
