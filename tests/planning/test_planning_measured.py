"""The planner's predictions, compared with real runs of the pair."""

import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from splitreason_integrations import Always, Never, SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.planning.driving import drive, joined
from splitreason_integrations.planning.figures import Figures
from splitreason_integrations.planning.measuring import PARTS, _waits_s, measure
from splitreason_integrations.planning.stations import split
from splitreason_integrations.planning.timing import Effort
from splitreason_integrations.testing import ScriptedModel
from tests.backends.servers import serving, spec

FACTOR = 1.5
ATTEMPTS = 3


def tasks(n, *, seed=3):
    found = generated("dev", ["word", "context"], n=n, seed=seed)
    random.Random(seed).shuffle(found)
    return found


def within(pair, factor=FACTOR):
    predicted, measured = pair
    return 1 / factor <= predicted / measured <= factor


@pytest.mark.slow
def test_the_split_runs_as_predicted():
    """In a factor of 1.5, with four answers at once; other work may disturb a run."""
    effort = Effort(samples=12, at_once=4)
    for _ in range(ATTEMPTS):
        found = measure(SplitEngine(), tasks(PARTS * 12), effort)
        if all(within(row) for row in found.check.rows().values()):
            break
    for name, row in found.check.rows().items():
        assert within(row), (name, found)
    assert found.check.at_once == 4
    figures = found.figures
    assert figures.shared
    assert figures.round_trip_s >= 0
    assert 0 < figures.answer.offload_share < 0.5
    assert figures.answer.spans > 0
    assert figures.small.concurrency == figures.large.concurrency == 4


@pytest.mark.slow
@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_large_model_on_a_server_has_a_round_trip_and_a_device_of_its_own():
    with serving("completions_server", "embedded:large") as (_, url):
        said = []
        found = measure(
            SplitEngine(small="embedded", large=spec(url)),
            tasks(PARTS * 2),
            Effort(samples=2, at_once=2),
            progress=lambda what, done, of: said.append((what, done, of)),
        )
    assert not found.figures.shared
    near = replace(found.figures, round_trip_s=0.0)
    for beyond_s in (0.3, 0.0):  # what an answer takes beyond the models' work is the network's
        alone = SimpleNamespace(answers_per_s=1 / (split(near).idle_s + beyond_s))
        assert _waits_s(near, alone) == pytest.approx(beyond_s / near.answer.spans, abs=1e-9)
    assert said[-1] == ("measured", 1, 1)
    assert {"small, reading", "large, 1 concurrent", "check, 2 concurrent"} <= {
        one[0] for one in said
    }


def test_a_large_model_that_fails_gives_no_figures():
    engine = SplitEngine(small="embedded", large=ScriptedModel(" hard</bigmodel>", fail_after=1))
    with pytest.raises(RuntimeError, match="fails on purpose"):
        measure(engine, tasks(PARTS * 2), Effort(samples=2, at_once=1))


def test_answers_too_short_to_time_are_refused():
    with pytest.raises(RequestError, match="lower concurrency"):
        Effort(samples=2, at_once=3)
    silent = SplitEngine(small=ScriptedModel("a"), large=ScriptedModel("b"))
    with pytest.raises(RequestError, match="too short"):
        measure(silent, tasks(5), Effort(samples=1, at_once=1))


def test_without_spans_there_is_no_time_per_handoff():
    found = measure(SplitEngine(trigger=Never()), tasks(PARTS), Effort(samples=1, at_once=1))
    assert isinstance(found.figures, Figures)
    assert found.figures.answer.spans == found.figures.answer.offload_share == 0
    assert found.check.data()["offload_share"] == {"predicted": 0.0, "measured": 0.0, "error": None}


def test_workers_answer_every_problem_once_and_at_the_same_time(embedded):
    asked = tasks(6)
    found = drive(SplitEngine(), asked, at_once=3, seed=0, max_tokens=300)
    assert len(found.replies) == 6
    assert {reply.seed for reply in found.replies} == set(range(6))
    assert found.latency_s * found.answers_per_s == pytest.approx(3, rel=0.5)
    assert all(model.open_sessions == 0 for model in embedded)


def test_joined_runs_are_all_answers_over_all_time():
    one = drive(SplitEngine(), tasks(2), at_once=1, seed=0, max_tokens=20)
    two = drive(SplitEngine(trigger=Always()), tasks(1), at_once=1, seed=0, max_tokens=20)
    both = joined([one, two])
    assert len(both.replies) == 3
    assert 3 / both.answers_per_s == pytest.approx(2 / one.answers_per_s + 1 / two.answers_per_s)


def test_an_error_of_one_worker_ends_all():
    broken = Task(({"role": "user", "content": [{"type": "image"}]},))
    with pytest.raises(RequestError):
        drive(SplitEngine(), [*tasks(2), broken], at_once=3, seed=0, max_tokens=20)
