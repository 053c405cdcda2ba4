"""The planner's arithmetic: replicas, latency and cost from measured figures, without a model."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from splitreason_integrations import Prices
from splitreason_integrations.errors import ConfigurationError, RequestError, SettingError
from splitreason_integrations.planning import figures as figure_files
from splitreason_integrations.planning.capacity import (
    Deployment,
    Target,
    closed_rate,
    latency_s,
    most_with,
    plan,
    replicas_for,
)
from splitreason_integrations.planning.figures import AnswerFigures, Figures, ModelFigures
from splitreason_integrations.planning.stations import Station, Way, large_alone, split
from splitreason_integrations.settings import from_data as building

SMALL = ModelFigures(
    tokens_per_s=1000, read_tokens_per_s=50_000, prices=Prices(0.1, 0.2), usd_per_gpu_hour=1.0
)
LARGE = ModelFigures(
    tokens_per_s=200,
    read_tokens_per_s=10_000,
    concurrency=16,
    alone_tokens_per_s=25,
    gpus=2,
    usd_per_gpu_hour=4.0,
    prices=Prices(1.0, 3.0),
)
ANSWER = AnswerFigures(prompt_tokens=100, tokens=1000, offload_share=0.1, spans=5)
FIGURES = Figures(small=SMALL, large=LARGE, answer=ANSWER, round_trip_s=0.05)

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def one_station(**more):
    settings = {"alone_s": 2.0, "busy_s": 2.0, "queued_s": 2.0, "gpus": 1, "usd_per_gpu_hour": 3.6}
    return Way("large_alone", (Station("large", **{**settings, **more}),), 0.0, 0.0)


@st.composite
def models(draw):
    concurrency = draw(st.integers(1, 64))
    alone = draw(st.floats(10, 1000))
    tokens_per_s = alone * draw(st.floats(0.5, concurrency))
    return ModelFigures(
        tokens_per_s=tokens_per_s,
        # What is read goes through a model at least as fast as what is written.
        read_tokens_per_s=tokens_per_s * draw(st.floats(1.5, 100)),
        concurrency=concurrency,
        alone_tokens_per_s=alone,
        gpus=draw(st.integers(1, 8)),
        usd_per_gpu_hour=draw(st.floats(0, 10, allow_subnormal=False)),
        prices=Prices(draw(st.floats(0, 5)), draw(st.floats(0, 20))),
    )


@st.composite
def figures(draw):
    share = draw(st.sampled_from([0.0, *[0.01 * n for n in range(1, 100)]]))
    answer = AnswerFigures(
        prompt_tokens=draw(st.floats(1, 5000)),
        tokens=draw(st.floats(50, 5000)),
        offload_share=share,
        spans=draw(st.floats(0.5, 40)) if share else 0.0,
        surplus_tokens=draw(st.floats(0, 100)),
    )
    shared = draw(st.booleans())
    small, large = draw(models()), draw(models())
    if shared:
        large = replace(large, gpus=small.gpus, usd_per_gpu_hour=small.usd_per_gpu_hour)
    round_trip_s = draw(st.floats(0, 1))
    return Figures(
        small=small, large=large, answer=answer, round_trip_s=round_trip_s, shared=shared
    )


def test_work_is_counted_in_seconds_of_a_replica():
    way = split(FIGURES)
    small, large = way.stations
    # 5 spans of 20 tokens, read along in chunks of 8, and an open tag for each.
    steps = 900 + 5 * (3 + 1)
    assert small.busy_s == pytest.approx((100 + 100) / 50_000 + steps / 1000)
    # All before the last of 5 spans; a close tag for each.
    assert large.busy_s == pytest.approx((100 + 900 * 5 / 6) / 10_000 + (100 + 5) / 200)
    assert large.alone_s == pytest.approx((100 + 900 * 5 / 6) / 10_000 + (100 + 5) / 25)
    assert way.wait_s == pytest.approx(5 * 0.05)
    assert way.tokens_usd == pytest.approx(
        (200 * 0.1 + 900 * 0.2 + (100 + 900 * 5 / 6) * 1 + 100 * 3) / 1e6
    )


def test_the_large_model_alone_reads_the_prompt_once():
    way = large_alone(FIGURES)
    assert way.idle_s == pytest.approx(100 / 10_000 + 1000 / 25 + 0.05)
    assert way.tokens_usd == pytest.approx((100 * 1 + 1000 * 3) / 1e6)
    fewer = replace(FIGURES, answer=replace(ANSWER, large_alone_tokens=500))
    assert large_alone(fewer).stations[0].busy_s < way.stations[0].busy_s


def test_reading_along_is_priced_as_input():
    none = replace(FIGURES, answer=replace(ANSWER, offload_share=0.0, spans=0))
    reads = replace(
        none, answer=replace(none.answer, read_ahead_tokens=1100, small_surplus_tokens=50)
    )
    more = split(reads).tokens_usd - split(none).tokens_usd
    assert more == pytest.approx((1100 * 1.0 + 50 * 0.2) / 1e6)
    (station,) = (one for one in split(reads).stations if one.name == "large")
    assert station.busy_s == pytest.approx(1100 / 10_000)
    # With spans it reads that instead of what comes before the last one.
    along = replace(FIGURES, answer=replace(ANSWER, read_ahead_tokens=1100))
    before = 100 + 900 * 5 / 6
    more = split(along).tokens_usd - split(FIGURES).tokens_usd
    assert more == pytest.approx((1100 - before) * 1.0 / 1e6)
    with pytest.raises(SettingError, match="read_ahead_tokens"):
        replace(ANSWER, read_ahead_tokens=-1)


def test_a_plan_in_numbers():
    found = replicas_for(one_station(), 1.0, 0.7)
    assert found.replicas == (3,)  # 2 s of a replica each second, 70 % busy at most
    assert found.utilisations == (pytest.approx(2 / 3),)
    assert found.latency_s == pytest.approx(2.0 / (1 - 2 / 3))
    assert found.gpu_usd_per_1k == pytest.approx(1000 * 3 * 3.6 / 3600)
    assert replicas_for(one_station(), 0.35, 0.7).replicas == (1,)  # exactly, not one more


def test_gpus_go_where_they_add_most_capacity():
    way = split(FIGURES)
    best = most_with(way, 12, 0.7)
    assert best.gpus <= 12
    loads = {
        (small, large): 0.7 * min(small / way.stations[0].busy_s, large / way.stations[1].busy_s)
        for small in range(1, 12)
        for large in range(1, 6)
        if small + 2 * large <= 12
    }
    assert best.load_per_s == pytest.approx(max(loads.values()))


def test_how_answers_slow_each_other():
    free = replace(LARGE, alone_tokens_per_s=None)
    assert free.alone == pytest.approx(200 / 16)
    assert free.taking_turns == 0  # every answer is as fast with 16 as alone
    assert replace(LARGE, alone_tokens_per_s=200).taking_turns == 1  # no more in all than one
    assert replace(LARGE, concurrency=1).taking_turns == 1
    assert 0 < LARGE.taking_turns < 1


def test_many_at_once_reach_what_was_measured_at_that_number():
    way = Way("large_alone", (LARGE_ONLY_WRITES,), 0.0, 0.0)
    assert closed_rate(way, 16) == pytest.approx(200 / 1000)
    assert closed_rate(way, 1) == pytest.approx(25 / 1000)


LARGE_ONLY_WRITES = Station(
    "large", 1000 / 25, 1000 / 200, 1000 / 200 * LARGE.taking_turns, gpus=1, usd_per_gpu_hour=0.0
)


@UNHURRIED
@given(figures(), st.integers(1, 64))
def test_answers_at_once_keep_to_what_a_replica_can_do(some, at_once):
    way = split(some)
    rate = closed_rate(way, at_once)
    slowest = max(one.busy_s for one in way.stations)
    assert 0 < rate <= 1 / slowest * (1 + 1e-9)
    assert rate <= at_once / way.idle_s * (1 + 1e-9)
    assert closed_rate(way, at_once + 1) >= rate * (1 - 1e-9)


@UNHURRIED
@given(figures(), st.floats(0.01, 50), st.floats(0.2, 0.95))
def test_a_load_is_served_below_the_utilisation(some, load, utilisation):
    found = plan(some, Target(load_per_s=load, utilisation=utilisation))
    for one in (found.split, found.large_alone):
        assert all(busy <= utilisation * (1 + 1e-6) for busy in one.utilisations)
        assert one.latency_s >= one.way.idle_s > 0
        for at, (station, count) in enumerate(zip(one.way.stations, one.replicas, strict=True)):
            fewer = count - 1
            assert fewer == 0 or load * station.busy_s / fewer > utilisation * (1 - 1e-6), at


@UNHURRIED
@given(figures(), st.floats(0.01, 20), st.floats(1, 10))
def test_more_load_takes_no_fewer_replicas_and_no_cheaper_hour(some, load, factor):
    less = plan(some, Target(load_per_s=load)).split
    more = plan(some, Target(load_per_s=load * factor)).split
    assert all(a <= b for a, b in zip(less.replicas, more.replicas, strict=True))
    if less.gpu_usd_per_1k is None:
        assert more.gpu_usd_per_1k is None
    else:
        assert more.gpu_usd_per_1k * factor >= less.gpu_usd_per_1k * (1 - 1e-9)
    assert more.tokens_usd_per_1k == less.tokens_usd_per_1k
    same = Deployment(less.way, more.replicas, load * factor)
    assert same.latency_s >= Deployment(less.way, more.replicas, load).latency_s * (1 - 1e-9)


@UNHURRIED
@given(figures(), st.floats(0.01, 0.98), st.floats(0.01, 0.98), st.floats(0.1, 50))
def test_a_larger_share_takes_more_of_the_large_model(some, one, other, load):
    lower, higher = sorted((one, other))
    spans = some.answer.spans or 1.0
    found = [
        plan(
            replace(
                some,
                shared=False,
                answer=replace(some.answer, offload_share=share, spans=spans),
            ),
            Target(load_per_s=load),
        ).split
        for share in (lower, higher)
    ]
    assert found[0].way.stations[1].busy_s <= found[1].way.stations[1].busy_s * (1 + 1e-9)
    assert found[0].replicas[1] <= found[1].replicas[1]


@UNHURRIED
@given(figures(), st.floats(1, 10))
def test_prices_scale_cost_and_nothing_else(some, factor):
    def dearer(model):
        prices = Prices(model.prices.input_usd * factor, model.prices.output_usd * factor)
        return replace(model, prices=prices, usd_per_gpu_hour=model.usd_per_gpu_hour * factor)

    target = Target(load_per_s=1.0)
    before = plan(some, target)
    after = plan(replace(some, small=dearer(some.small), large=dearer(some.large)), target)
    for way in ("split", "large_alone"):
        old, new = getattr(before, way), getattr(after, way)
        if old.usd_per_1k is None:
            assert new.usd_per_1k is None
        else:
            assert new.usd_per_1k == pytest.approx(old.usd_per_1k * factor)
        assert (new.replicas, new.latency_s) == (old.replicas, old.latency_s)


@UNHURRIED
@given(figures(), st.integers(1, 200))
def test_a_plan_for_gpus_uses_no_more_than_them(some, gpus):
    way = split(some)
    assume(gpus >= sum(one.gpus for one in way.stations))
    found = most_with(way, gpus, 0.7)
    assert found.gpus <= gpus
    assert replicas_for(way, found.load_per_s, 0.7).gpus <= found.gpus
    assert most_with(way, gpus + 1, 0.7).load_per_s >= found.load_per_s


@UNHURRIED
@given(figures())
def test_seconds_for_milliseconds_change_the_unit_and_nothing_else(some):
    """All speeds in tokens a minute: an answer takes 60 times as many of that unit."""

    def slower(model):
        return replace(
            model,
            tokens_per_s=model.tokens_per_s / 60,
            alone_tokens_per_s=model.alone_tokens_per_s / 60,
            read_tokens_per_s=model.read_tokens_per_s / 60,
        )

    other = replace(
        some,
        small=slower(some.small),
        large=slower(some.large),
        round_trip_s=some.round_trip_s * 60,
    )
    mine = plan(some, Target(load_per_s=6.0)).split
    theirs = plan(other, Target(load_per_s=0.1)).split
    assert theirs.latency_s == pytest.approx(60 * mine.latency_s, rel=1e-6)
    assert theirs.utilisations == pytest.approx(mine.utilisations, rel=1e-6)


def test_on_one_device_times_add_up():
    alike = replace(FIGURES, large=replace(LARGE, gpus=1, usd_per_gpu_hour=1.0))
    apart, together = split(alike), split(replace(alike, shared=True))
    (device,) = together.stations
    assert device.busy_s == pytest.approx(sum(one.busy_s for one in apart.stations))
    assert together.idle_s == pytest.approx(apart.idle_s)
    found = plan(replace(alike, shared=True), Target())
    assert found.split.gpus == 1
    assert found.split.bottleneck.name == "both"


def test_without_spans_the_large_model_is_not_needed():
    alone = replace(FIGURES, answer=replace(ANSWER, offload_share=0.0, spans=0.0))
    (station,) = split(alone).stations
    assert station.name == "small"
    assert split(alone).wait_s == 0


def test_latency_grows_without_end_towards_full():
    way = one_station()
    assert latency_s(way, [0.499]) > 100 * latency_s(way, [0.0])


def test_files_read_as_written(tmp_path):
    path = tmp_path / "figures.toml"
    path.write_text(figure_files.to_toml(FIGURES, remarks=["measured\nin May"]), "utf-8")
    assert path.read_text("utf-8").startswith("# measured in May\n")
    assert figure_files.load(path) == FIGURES


TOML = figure_files.to_toml(FIGURES)
JSON = json.dumps(building.plain(FIGURES))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.toml", TOML.replace("spans", "span"), "unknown figure of an answer 'span'"),
        ("a.toml", f"{TOML}\n[middle]\n", "line 24: unknown group of figures 'middle'"),
        ("a.toml", TOML.replace("_s = 1000\n", "_s = 0\n"), "line 4: tokens_per_s"),
        (
            "a.toml",
            TOML.replace("\ntokens_per_s = 1000\n", "\n"),
            "line 3: tokens_per_s is missing",
        ),
        ("a.toml", TOML.replace("[small]", "[small"), "line 3"),
        ("a.toml", "small = 3\nlarge = 3\nanswer = 3\n", "line 1: a table belongs here"),
        ("a.toml", "\x00", "line 1"),
        (
            "a.json",
            JSON.replace(": 1000,", ': "1000",', 1),
            "small.tokens_per_s: tokens_per_s must be a",
        ),
        ("a.json", JSON.replace("10000", "NaN"), "large.read_tokens_per_s"),
        ("a.json", "[", "line 1: not JSON"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", "{}", "small: small is missing"),
    ],
)
def test_a_file_that_is_not_valid_names_the_place(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=name) as refused:
        figure_files.load(path)
    assert says in str(refused.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match="--measure --out"):
        figure_files.load(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        figure_files.load(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda: replace(SMALL, tokens_per_s=0), "above 0"),
        (lambda: replace(SMALL, read_tokens_per_s=float("inf")), "read_tokens_per_s"),
        (lambda: replace(SMALL, tokens_per_s=10**400), "tokens_per_s"),
        (lambda: replace(SMALL, concurrency=1.5), "whole number"),
        (lambda: replace(SMALL, gpus=0), "gpus"),
        (lambda: replace(ANSWER, offload_share=1.2), "offload_share"),
        (lambda: replace(ANSWER, spans=0), "belong together"),
        (lambda: replace(ANSWER, offload_share=0.0), "belong together"),
        (lambda: replace(FIGURES, shared=True), "same gpus"),
        (lambda: replace(FIGURES, shared="yes"), "true or false"),
        (lambda: replace(FIGURES, round_trip_s=-1), "round_trip_s"),
        (lambda: Target(load_per_s=1, gpus=1), "either"),
        (lambda: Target(load_per_s=0), "above 0"),
        (lambda: Target(utilisation=1.0), "below 1"),
        (lambda: Target(gpus=10**9), "gpus"),
    ],
)
def test_figures_out_of_range_are_refused(change, says):
    with pytest.raises(SettingError, match=says):
        change()


def test_impossible_targets_are_refused():
    with pytest.raises(RequestError, match="which need 3"):
        plan(FIGURES, Target(gpus=2))
    with pytest.raises(RequestError, match="check the load"):
        plan(FIGURES, Target(load_per_s=1e12))
    tiny = replace(FIGURES, small=replace(SMALL, tokens_per_s=5e-324))
    with pytest.raises(RequestError, match="units"):
        plan(tiny, Target(load_per_s=1))
    huge = replace(SMALL, tokens_per_s=1e300, read_tokens_per_s=1e300)
    with pytest.raises(RequestError, match="units"):
        plan(replace(FIGURES, small=huge), Target(load_per_s=1))
