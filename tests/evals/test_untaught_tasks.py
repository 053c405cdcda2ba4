"""Every row of the untaught benchmark has problems of all families."""

from contextlib import nullcontext

import pytest

from splitreason_integrations.evals import untaught


class FirstRowError(Exception):
    """Ends the benchmark once a row's tasks are known."""


@pytest.mark.parametrize("samples", [40, 1000])
def test_rows_of_fewer_problems_have_all_families(monkeypatch, samples):
    seen = {}

    class Runner:
        def __init__(self, *, tasks, **others):
            seen["tasks"] = tasks

        def run(self, mode, engine):
            raise FirstRowError

    monkeypatch.setattr(untaught, "Runner", Runner)
    monkeypatch.setattr(untaught, "ProcessPool", lambda processes: nullcontext())
    bench = untaught._Bench(samples, 0, None, lambda what, done, of: None)
    for run in (
        lambda: bench.row("base", untaught.Never(), untaught.Agrees(), fewer=True),
        lambda: bench.matched("random", 0.1, untaught.Agrees()),
    ):
        with pytest.raises(FirstRowError):
            run()
        families = [task.problem.family for task in seen["tasks"]]
        assert all(families.count(one) > len(families) // 4 for one in untaught.FAMILIES)
