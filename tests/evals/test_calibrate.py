"""Calibration of scripted models, of the embedded pair and of an untaught one."""

import json
import tomllib

import pytest

from splitreason_integrations import (
    Agrees,
    Policy,
    Random,
    SplitEngine,
    StepEnd,
    TransformersModel,
    embedded,
)
from splitreason_integrations.errors import ConfigurationError, LargeModelError, RequestError
from splitreason_integrations.evals.calibrate import Calibration, calibrate
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import Metric, PerPrompt, draw, figures
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.runner import run_mode
from splitreason_integrations.evals.scalars import CLOSES, TRIGGERS
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.settings.policy_files import to_toml
from splitreason_integrations.testing import ScriptedModel


def test_a_network_adds_its_round_trips_and_its_rate():
    near, far = Network(), Network(round_trip_s=0.1, tokens_per_s=50)
    assert near.large_s(handoffs=3, tokens=100, measured_s=0.4) == 0.4
    assert far.large_s(handoffs=3, tokens=100, measured_s=0.4) == pytest.approx(2.3)
    with pytest.raises(ConfigurationError, match="tokens_per_s"):
        Network(tokens_per_s=0)
    with pytest.raises(ConfigurationError, match="round_trip_s"):
        Network(round_trip_s=-1)


def test_a_policy_file_is_toml():
    policy = Policy(trigger="tag>0.37", max_offload_share=0.2)
    text = to_toml(policy, remarks=["two\nlines", 'a "quote"'])
    assert tomllib.loads(text) == {"trigger": "tag>0.37", "max_offload_share": 0.2}
    assert "# two lines" in text


SMALL = "Easy.<bigmodel> Done.</think>\n\n7"


def scripted(large, tasks, goal, **more):
    engine = SplitEngine(small=ScriptedModel(SMALL), large=large)
    return calibrate(engine, tasks, goal, runs=2, resamples=1000, **more)


def test_a_failing_large_model_is_not_measured_around():
    large = ScriptedModel("hard</bigmodel>", fail_after=0)
    tasks = [Task(({"role": "user", "content": "Hello"},))] * 20
    with pytest.raises(LargeModelError, match="fails on purpose"):
        scripted(large, tasks, Goal(Metric.SHARE, 0.5))


def test_answers_are_needed_for_an_accuracy_alone():
    large = ScriptedModel("hard</bigmodel>")
    answers = ("7", None) * 10
    tasks = [Task(({"role": "user", "content": "Hello"},), answer) for answer in answers]
    with pytest.raises(RequestError, match="answer in every line"):
        scripted(large, tasks, Goal(Metric.ACCURACY, 0.5))
    assert scripted(large, tasks, Goal(Metric.SHARE, 1.0)).data()["accuracy"] is None


@pytest.mark.parametrize(
    ("n", "goal", "says"),
    [
        (19, Goal(Metric.SHARE, 0.5), "20 prompts or more, and there are 19: .* too narrow"),
        (1, Goal(Metric.SHARE, 0.5, by_point=True), "needs 2 prompts"),
        (40, Goal(Metric.ACCURACY, 0.95), "needs 72 prompts .* even 40 right answers of 40"),
        (40, Goal(Metric.ACCURACY, 1.0), "no number of prompts"),
    ],
)
def test_fewer_prompts_than_an_interval_needs_are_refused(n, goal, says):
    large = ScriptedModel("hard</bigmodel>")
    tasks = [Task(({"role": "user", "content": "Hello"},), "7")] * n
    with pytest.raises(RequestError, match=says):
        scripted(large, tasks, goal)
    assert large.passes == 0


def test_the_network_is_in_the_latency():
    large = ScriptedModel("hard</bigmodel>")
    tasks = [Task(({"role": "user", "content": "Hello"},))] * 20
    far = Network(round_trip_s=20.0, tokens_per_s=1000)
    found = scripted(large, tasks, Goal(Metric.SHARE, 1.0), network=far)
    assert 20 < found.chosen.figures[Metric.LATENCY_P50].value < 30


@pytest.fixture(scope="module")
def found() -> Calibration:
    """A calibration of the embedded pair for an offload share of 10 %."""
    tasks = generated("dev", ["word", "context"], n=20, seed=11)
    return calibrate(SplitEngine(), tasks, Goal(Metric.SHARE, 0.10), runs=9, seed=11)


@pytest.mark.slow
def test_the_embedded_pair_is_calibrated(found):
    figure = found.chosen.figures[Metric.SHARE]
    assert 0 < figure.low <= figure.value <= figure.high <= 0.10
    data = json.loads(json.dumps(found.data()))
    assert data["trigger"] == str(found.trigger) == f"tag>{data['threshold']:g}"
    assert data["n"] == 20
    assert data["close"] == "tag>0.5"
    assert data["untaught"] is None
    assert len(data["curve"]) == 9
    assert {"offload_share", "interval", "accuracy", "usd_per_1k", "latency_s"} <= data.keys()


@pytest.mark.slow
def test_fresh_problems_meet_the_requested_share(found):
    tasks = generated("dev", ["word", "context"], n=16, seed=12)
    engine = SplitEngine(trigger=found.trigger, policy=Policy())
    outcomes = run_mode("split", engine, tasks, seed=12).outcomes
    fresh = PerPrompt.of(outcomes, Network(), graded=True)
    figure = figures(fresh, draw(len(tasks)))[Metric.SHARE]
    chosen = found.chosen.figures[Metric.SHARE]
    assert figure.low <= found.goal.bound
    assert figure.low <= chosen.high
    assert figure.high >= chosen.low


@pytest.mark.slow
@pytest.mark.parametrize("name", ["disagreement", "entropy"])
def test_an_untaught_pair_is_calibrated(name):
    base, large = (
        TransformersModel(str(embedded.path(one)), taught=False) for one in ("base", "large")
    )
    tasks = generated("dev", ["word", "context"], n=20, seed=11)
    engine = SplitEngine(small=base, large=large)
    goal = Goal(Metric.SHARE, 0.25)
    found = calibrate(engine, tasks, goal, scalar=TRIGGERS[name], runs=5, seed=11)
    assert 0 < found.chosen.figures[Metric.SHARE].high <= 0.25
    assert str(found.trigger).startswith(name)
    assert found.close == str(Agrees() | StepEnd())
    assert "never taught" in found.untaught
    if name == "entropy":
        assert found.signal.low > 0.7


@pytest.mark.slow
def test_a_close_rule_of_the_untaught_pair_is_calibrated():
    base, large = (
        TransformersModel(str(embedded.path(one)), taught=False) for one in ("base", "large")
    )
    tasks = generated("dev", ["word"], n=20, seed=11)
    engine = SplitEngine(small=base, large=large, trigger=Random(0.02))
    goal = Goal(Metric.SHARE, 0.3)
    found = calibrate(engine, tasks, goal, scalar=CLOSES["agrees"], runs=3, seed=11)
    assert found.trigger == Random(0.02)
    assert found.close.startswith("agrees>")
