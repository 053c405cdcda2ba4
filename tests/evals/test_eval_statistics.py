"""Intervals and comparisons, against exhaustive counts and published values."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitreason_integrations.evals.intervals import (
    clustered,
    mcnemar,
    pass_at,
    resampled,
    wilson,
)
from splitreason_integrations.evals.paired import Side, paired
from tests.evals.evaluations import result


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(rights, data):
    k = data.draw(st.integers(1, len(rights)))
    draws = list(itertools.combinations(rights, k))
    assert pass_at(k, [rights])[0] == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_more_than_were_sampled_is_refused():
    with pytest.raises(ValueError, match="1 to 2"):
        pass_at(3, [[1, 0]])


@settings(deadline=None)
@given(st.integers(0, 6), st.integers(0, 6))
def test_mcnemar_counts_every_way_the_discordant_pairs_could_fall(one, other):
    n = one + other
    as_far = sum(
        abs(2 * sum(fall) - n) >= abs(one - other) for fall in itertools.product((0, 1), repeat=n)
    )
    assert mcnemar(one, other) == pytest.approx(as_far / 2**n)


def test_mcnemar_of_thousands_is_no_overflow():
    assert mcnemar(5000, 5200) == pytest.approx(0.0487, abs=0.001)
    assert mcnemar(0, 20000) == 0.0


def test_a_resampled_mean_is_that_of_every_resample():
    """Six tasks have 46,656 equally likely resamples: the quantiles are theirs."""
    values = [0.0, 1.0, 1.5, 3.0, 5.0, 9.0]
    means = [sum(draw) / 6 for draw in itertools.product(values, repeat=6)]
    found = resampled(np.array(values)[:, None], lambda sums: sums[:, 0] / 6, resamples=40_000)
    assert found == pytest.approx(list(np.quantile(means, (0.025, 0.975))), abs=0.1)


def test_resamples_in_parts_are_resamples_at_once(monkeypatch):
    columns = np.random.default_rng(1).random((50, 2))

    def ratio(sums):
        return sums[:, 0] / sums[:, 1]

    whole = resampled(columns, ratio, resamples=999, seed=7)
    monkeypatch.setattr("splitreason_integrations.evals.intervals._CELLS", 120)
    assert resampled(columns, ratio, resamples=999, seed=7) == whole


def test_one_sample_a_task_has_wilsons_interval():
    assert clustered([[1.0], [0.0], [1.0]]) == wilson(2, 3)


def test_where_all_tasks_agree_the_interval_still_has_a_width():
    assert clustered(np.ones((20, 4))) == wilson(20, 20)


def test_samples_of_one_task_are_no_more_tasks():
    """Four samples that always agree tell as much as one: the interval does not shrink."""
    rng = random.Random(3)
    one = [[float(rng.random() < 0.5)] for _ in range(200)]
    low, high = clustered([row * 4 for row in one])
    wide_low, wide_high = wilson(sum(row[0] for row in one), 200)
    assert high - low == pytest.approx(wide_high - wide_low, rel=0.1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_cluster_interval_lies_around_the_mean(seed):
    rights = (np.random.default_rng(seed).random((40, 3)) < 0.6).astype(float)
    low, high = clustered(rights, seed=seed)
    assert 0 <= low <= rights.mean() <= high <= 1


def test_the_cluster_interval_covers_the_truth():
    """In about 95 of 100 runs; tasks differ in how hard they are."""
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(200):
        hardness = rng.beta(2, 2, size=80)
        rights = (rng.random((80, 4)) < hardness[:, None]).astype(float)
        low, high = clustered(rights, resamples=800)
        hits += low <= 0.5 <= high
    assert 180 <= hits <= 199


def side(name, rights, large, interval=(0.0, 1.0)):
    return Side(name, np.array(rights, float), np.array(large, float), interval)


def test_a_comparison_counts_what_one_alone_got_right():
    first = side("a", [[1], [1], [1], [0]], [[10], [0], [10], [20]])
    other = side("b", [[1], [0], [0], [1]], [[20], [20], [20], [20]])
    found = paired(first, other, resamples=2000)
    assert (found.only_first, found.only_other) == (2, 1)
    assert found.p == mcnemar(2, 1)
    assert found.accuracy.value == pytest.approx(0.25)
    assert found.large_tokens.value == pytest.approx(0.5)
    assert found.accuracy.low < 0.25 < found.accuracy.high
    assert found.large_tokens.low <= 0.5 <= found.large_tokens.high


def test_a_comparison_draws_the_same_tasks_for_both():
    """The other is the first with half the tokens: in every resample the ratio is 2."""
    rng = np.random.default_rng(5)
    rights, large = (rng.random((100, 2)) < 0.5).astype(float), rng.integers(1, 99, (100, 2))
    found = paired(side("a", rights, 2 * large), side("b", rights, large))
    assert found.large_tokens.value == found.large_tokens.low == found.large_tokens.high == 2
    assert (found.accuracy.low, found.accuracy.high) == (0, 0)
    assert found.p is None


@pytest.mark.parametrize(
    ("gain", "ratio", "verdict"),
    [
        (0.3, 1.0, "better: more accurate, large tokens about equal"),
        (0.3, 0.5, "better: more accurate, fewer large tokens"),
        (0.3, 3.0, "mixed: more accurate, more large tokens"),
        (-0.3, 1.0, "worse: less accurate, large tokens about equal"),
        (-0.3, 0.5, "mixed: less accurate, fewer large tokens"),
        (0.0, 0.5, "undecided: accuracy undecided, fewer large tokens"),
    ],
)
def test_a_verdict_says_what_the_intervals_show(gain, ratio, verdict):
    rng = np.random.default_rng(2)
    chance = rng.random((800, 1))
    large = rng.integers(50, 150, (800, 1)).astype(float)
    first = side("a", chance < 0.5 + gain, large[::-1] * ratio)
    found = paired(first, side("b", chance < 0.5, large), resamples=1000)
    assert found.verdict == verdict


def test_a_side_that_pays_against_one_that_does_not():
    first, other = side("a", [[1]] * 60, [[5]] * 60), side("b", [[0]] * 60, [[0]] * 60)
    assert paired(first, other).large_tokens is None
    assert paired(first, other).verdict == "mixed: more accurate, more large tokens"
    assert paired(other, other).verdict.endswith("large tokens about equal")


def test_few_tasks_leave_the_large_tokens_undecided():
    found = paired(
        side("a", [[1]] * 4, [[9], [0], [3], [7]]), side("b", [[1]] * 4, [[2], [8], [1], [6]])
    )
    assert found.verdict == "undecided: accuracy undecided, large tokens undecided"


def test_intervals_apart_do_not_touch():
    first = side("a", [[1]] * 3, [[1]] * 3, (0.5, 0.9))
    for interval, apart in [((0.1, 0.4), True), ((0.1, 0.5), False), ((0.95, 1.0), True)]:
        assert paired(first, side("b", [[1]] * 3, [[1]] * 3, interval)).apart is apart


def test_a_result_has_pass_at_1_as_its_accuracy():
    found = result("split", [1, 0, 1, 1, 0, 0, 0, 0], large=[5] * 8, samples=4)
    assert found.tasks == 2
    assert found.accuracy == found.pass_at[1] == pytest.approx(3 / 8)
    assert found.pass_at[4] == pytest.approx(0.5)
    assert list(found.pass_at) == [1, 2, 4]
    assert found.offload_share == pytest.approx(5 / 15)
    data = found.data()
    assert data["n"] == 2
    assert data["pass_at"]["2"]["value"] == pytest.approx((1 - math.comb(1, 2) / 6) / 2)
    low, high = data["share_interval"]
    assert low <= data["offload_share"] <= high
