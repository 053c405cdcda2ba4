"""Choice of the threshold from measured prompts: figures, intervals, search and goals."""

import numpy as np
import pytest

from splitreason_integrations import parse_close, parse_trigger
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import Metric, PerPrompt, draw, figures, log_odds
from splitreason_integrations.evals.scalars import CLOSES, NATS, TRIGGERS
from splitreason_integrations.evals.threshold_search import Row, choose, meeting_interval, search

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


@pytest.mark.parametrize("bound", [0.0, -1.0, 1.5, float("nan"), float("inf")])
def test_a_share_is_a_share(bound):
    with pytest.raises(ConfigurationError, match="offload_share"):
        Goal(Metric.SHARE, bound)


def test_latency_cannot_be_a_goal():
    with pytest.raises(ConfigurationError, match="accuracy"):
        Goal(Metric.LATENCY_P50, 1.0)
