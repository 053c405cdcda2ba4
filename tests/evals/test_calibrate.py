"""Calibration: choice of the threshold, its intervals, and the real pair."""

import hashlib
import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest

from splitreason_integrations import (
    Agrees,
    Entropy,
    Policy,
    Random,
    SplitEngine,
    StepEnd,
    TransformersModel,
    embedded,
    parse_close,
    parse_trigger,
)
from splitreason_integrations.backends.base import Gives
from splitreason_integrations.errors import ConfigurationError, LargeModelError, RequestError
from splitreason_integrations.evals.calibrate import (
    Calibration,
    Row,
    calibrate,
    choose,
    meeting_interval,
    search,
)
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import Metric, PerPrompt, draw, figures, log_odds
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.runner import run_mode
from splitreason_integrations.evals.scalars import CLOSES, NATS, TRIGGERS
from splitreason_integrations.evals.score_check import auc_of, check_signal
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.settings.policy_files import to_toml
from splitreason_integrations.testing import ScriptedModel

N = 200
PICKS = draw(N, resamples=1000, seed=1)


def prompts(share, *, spread=0.0, right=None, usd=0.001):
    """Figures of N prompts whose offload share is `share`, give or take `spread`."""
    noise = np.random.default_rng(7).normal(size=N)
    noise = spread * (noise - noise.mean())
    return PerPrompt(
        handoffs=np.ones(N),
        large_tokens=100 * np.clip(share + noise, 0, 1),
        tokens=np.full(N, 100.0),
        usd=np.full(N, usd),
        latency_s=np.linspace(0, 1, N),
        right=None if right is None else (np.arange(N) < right * N).astype(float),
    )


def row(threshold, share, **more):
    measured = prompts(share, **more)
    return Row(threshold, measured, figures(measured, PICKS))


def test_intervals_of_a_known_proportion():
    figure = figures(prompts(0.1, right=0.5), PICKS)[Metric.ACCURACY]
    half = 1.96 * (0.25 / N) ** 0.5
    assert figure.value == 0.5
    assert figure.low == pytest.approx(0.5 - half, abs=0.012)
    assert figure.high == pytest.approx(0.5 + half, abs=0.012)


def test_figures_over_all_prompts():
    found = figures(prompts(0.2, usd=0.003), PICKS)
    assert found[Metric.SHARE].value == pytest.approx(0.2)
    assert found[Metric.USD].value == pytest.approx(3.0)
    assert found[Metric.LATENCY_P50].value == pytest.approx(0.5)
    assert found[Metric.LATENCY_P95].value == pytest.approx(0.95)
    assert Metric.ACCURACY not in found


def test_the_share_is_of_all_tokens_together():
    long = PerPrompt(
        *(np.array(column, float) for column in ([1, 1], [0, 90], [10, 90], [0, 0])),
        latency_s=np.zeros(2),
    )
    assert figures(long, draw(2, resamples=1000))[Metric.SHARE].value == 0.9


def test_resamples_go_by_seed():
    assert (draw(5, resamples=1000, seed=3) == draw(5, resamples=1000, seed=3)).all()
    assert (draw(5, resamples=1000, seed=3) != draw(5, resamples=1000, seed=4)).any()


def test_the_search_closes_in_on_the_bound():
    goal = Goal(Metric.SHARE, 0.05)
    rows = search(lambda threshold: prompts(1 - threshold), goal, PICKS, runs=12)
    chosen = choose(rows, goal)
    assert 0.047 < 1 - chosen.threshold <= 0.05
    assert len(rows) == 12
    assert [one.threshold for one in rows] == sorted(one.threshold for one in rows)


def test_the_search_measures_no_threshold_twice():
    asked = []

    def measure(threshold):
        asked.append(threshold)
        return prompts(1 - threshold)

    search(measure, Goal(Metric.SHARE, 0.05), PICKS, runs=60)
    assert len(asked) == len(set(asked)) < 30


def test_a_least_accuracy_is_met_with_the_least_offload():
    goal = Goal(Metric.ACCURACY, 0.8)
    rows = search(
        lambda threshold: prompts(1 - threshold, right=1 - threshold), goal, PICKS, runs=12
    )
    chosen = choose(rows, goal)
    assert chosen.figures[Metric.ACCURACY].low >= 0.8
    assert chosen.threshold == max(
        one.threshold for one in rows if goal.kept_by(one.figures[Metric.ACCURACY])
    )


def test_the_choice_goes_by_the_measured_curve():
    rows = [row(0.3, 0.10), row(0.5, 0.03), row(0.7, 0.045), row(0.9, 0.06), row(0.99, 0.01)]
    assert choose(rows, Goal(Metric.SHARE, 0.05)).threshold == 0.7


def test_the_upper_end_must_be_within_a_cap():
    rows = [row(0.5, 0.0499, spread=0.02), row(0.9, 0.04, spread=0.02)]
    assert choose(rows, Goal(Metric.SHARE, 0.05)).threshold == 0.9
    assert choose(rows, Goal(Metric.SHARE, 0.05, by_point=True)).threshold == 0.5


def test_a_cap_on_cost():
    rows = [row(0.5, 0.2, usd=0.004), row(0.9, 0.1, usd=0.002)]
    assert choose(rows, Goal(Metric.USD, 2.5)).threshold == 0.9


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        (Goal(Metric.SHARE, 0.01), "the best is tag>0.9 with 10%"),
        (Goal(Metric.USD, 0.5), "at most 0.5 USD per 1,000 requests: the best is"),
        (Goal(Metric.ACCURACY, 0.9), "the best is tag>0.5 with 80%"),
    ],
)
def test_an_unmet_goal_names_the_best_threshold(goal, says):
    with pytest.raises(RequestError, match=says):
        choose([row(0.5, 0.2, right=0.8), row(0.9, 0.1, right=0.4)], goal)


def test_a_pair_that_never_hands_off_is_reported():
    with pytest.raises(RequestError, match="write the tags"):
        choose([row(0.5, 0.0), row(0.9, 0.0)], Goal(Metric.SHARE, 0.05))


def test_the_interval_of_the_threshold_holds_the_truth():
    thresholds = (0.5, 0.7, 0.8, 0.9, 0.95)
    goal, true = Goal(Metric.SHARE, 0.2 - 0.05 * log_odds(0.85)), 0.85

    def rows(spread):
        return [row(at, 0.2 - 0.05 * log_odds(at), spread=spread) for at in thresholds]

    low, high = meeting_interval(rows(0.02), goal, PICKS)
    assert 0.8 < low < true < high < 0.9
    low, high = meeting_interval(rows(0.0), goal, PICKS)
    assert low == high == pytest.approx(true)


@pytest.mark.parametrize("bound", [0.0, -1.0, 1.5, float("nan"), float("inf")])
def test_a_share_is_a_share(bound):
    with pytest.raises(ConfigurationError, match="offload_share"):
        Goal(Metric.SHARE, bound)


def test_latency_cannot_be_a_goal():
    with pytest.raises(ConfigurationError, match="accuracy"):
        Goal(Metric.LATENCY_P50, 1.0)


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


WORDS = ("red", "green", "blue", "one", "two", "three", "four", "five", "six", "sun", "moon")


def wandering(entropy, **large):
    """A pair on 20 prompts; each word of the small model has its own entropy and reading."""

    def reply(messages, tools):
        number = int(messages[-1]["content"])
        words = np.random.default_rng(number).choice(WORDS, 40)
        return " ".join(words) + "</think>\n\n7"

    def disliked(text, token):
        return 0.01 if token.strip() in ("red", "two", "sun") else 0.9

    small = ScriptedModel(reply, entropy=entropy, taught=False)
    engine = SplitEngine(small=small, large=ScriptedModel("word", reading=disliked, **large))
    return engine, [Task(({"role": "user", "content": str(at)},), "7") for at in range(20)]


def noise(text):
    return 1.0 + hash_of(text)


def hash_of(text):
    return int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 16**6


def test_the_area_under_the_curve():
    scores, needed = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.0, 1.0, 1.0])
    even = np.ones(4)
    assert auc_of(scores, needed, even) == 1.0
    assert auc_of(-scores, needed, even) == 0.0
    assert auc_of(np.ones(4), needed, even) == 0.5
    assert auc_of(np.array([1.0, 3.0, 2.0, 4.0]), needed, even) == 0.75
    assert auc_of(np.array([1.0, 3.0, 2.0, 4.0]), needed, np.array([1.0, 0, 1, 1])) == 1.0
    assert np.isnan(auc_of(scores, np.ones(4), even))


def test_a_trigger_that_only_turns_on_noise_is_refused():
    engine, tasks = wandering(noise)
    with pytest.raises(RequestError, match=r"entropy is only noise .* no better than chance"):
        calibrate(engine, tasks, Goal(Metric.SHARE, 0.5), scalar=TRIGGERS["entropy"], runs=1)


def test_nothing_to_offload_is_said():
    engine, tasks = wandering(noise)
    agreeing = replace(engine, large=ScriptedModel("word"))
    with pytest.raises(RequestError, match="nothing to offload: on these 20 prompts"):
        check_signal(agreeing, tasks, TRIGGERS["entropy"])


def test_a_score_that_finds_what_the_large_model_would_change_is_calibrated():
    # Unsure of a word where the large model would have another one: not always, but more often.
    def entropy(text):
        return 3.0 if hash_of(text) < 0.1 else 0.1

    engine, tasks = wandering(entropy)
    knows = replace(
        engine,
        large=ScriptedModel("word", reading=lambda text, token: 0.01 if entropy(text) > 1 else 0.9),
    )
    signal = check_signal(knows, tasks, TRIGGERS["entropy"])
    assert signal.low > 0.9
    deaf = replace(knows, large=ScriptedModel("word"))
    deaf.large.gives = Gives.NOTHING
    assert (
        check_signal(deaf, [replace(one, answer=None) for one in tasks], TRIGGERS["entropy"])
        is None
    )
    with pytest.raises(RequestError, match="no prompts that the small model alone answers wrong"):
        check_signal(deaf, tasks, TRIGGERS["entropy"])


def test_a_tag_that_was_never_taught_is_not_calibrated():
    engine, tasks = wandering(noise)
    goal = Goal(Metric.SHARE, 0.5)
    with pytest.raises(RequestError, match="never taught to mark spans: with `tag` none will open"):
        calibrate(engine, tasks, goal)
    opening = replace(engine, trigger=Entropy(1.5))
    with pytest.raises(RequestError, match="never taught to end spans"):
        calibrate(opening, tasks, goal, scalar=CLOSES["tag"])
    assert engine.large.passes == 0


@pytest.mark.parametrize("scalar", [*TRIGGERS.values(), *CLOSES.values()], ids=lambda one: one.name)
def test_every_scalar_is_searched_towards_the_bound(scalar):
    goal, scale = Goal(Metric.SHARE, 0.05), scalar.scale

    def measure(threshold):
        part = (scale.place(threshold) - scale.low) / (scale.high - scale.low)
        return prompts(part if scalar.rising else 1 - part)

    rows = search(measure, goal, PICKS, runs=12, scalar=scalar)
    chosen = choose(rows, goal)
    assert 0.045 < chosen.figures[Metric.SHARE].value <= 0.05
    low, _ = meeting_interval(rows, goal, PICKS)
    assert scale.place(low) == pytest.approx(scale.place(chosen.threshold), abs=0.1)
    text = str(chosen.rule)
    assert (parse_trigger if scalar.opens else parse_close)(text) == chosen.rule
    assert chosen.data()["trigger" if scalar.opens else "close"] == text


def test_entropies_are_searched_on_a_logarithmic_scale():
    assert NATS.threshold(NATS.low) == 0.001
    assert NATS.threshold(NATS.high) == 10.0


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
