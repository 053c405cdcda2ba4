"""A trigger is tuned to a share, whatever its response curve."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitreason_integrations.decide.triggers import parse_trigger
from splitreason_integrations.evals.matching import TOLERANCE, stages, triggers_of, tune_to


@settings(deadline=None)
@given(st.floats(0.005, 0.6), st.floats(0.5, 12), st.floats(0.0, 0.1))
def test_a_smooth_trigger_reaches_the_share(share, steepness, bias):
    """Few prompts may tell another share than all of them do."""
    runs = []

    def measure(at, prompts):
        runs.append(prompts)
        off = bias if prompts < 2000 else 0
        return min(1.0, 0.9 * math.exp(-steepness * (1 - at)) * (1 + off))

    least = 0.9 * math.exp(-steepness)
    found = tune_to(share, measure, lambda one: one, stages(2000))
    if least <= share:
        assert abs(found - share) <= TOLERANCE * share * 1.5
    else:
        assert found == pytest.approx(least)
    assert runs.count(2000) <= 5


def test_an_unreachable_share_is_approached():
    assert tune_to(0.5, lambda at, n: 0.2 * at, lambda one: one, [10]) == pytest.approx(0.2)
    assert tune_to(0.5, lambda at, n: 0.0, lambda one: one, stages(1000)) == 0.0
    assert tune_to(0.1, lambda at, n: float(at > 0), lambda one: one, [10]) == 0.0


@pytest.mark.parametrize("mode", ["random", "entropy", "split", "rule"])
def test_a_tuned_trigger_goes_from_never_to_always(mode):
    at = triggers_of(mode, "=")
    if mode in ("random", "split"):
        probabilities = [parse_trigger(str(at(one / 10))) for one in range(11)]
        values = [getattr(p, "probability", getattr(p, "threshold", None)) for p in probabilities]
        assert values in (sorted(values), sorted(values, reverse=True))
        assert [at(one / 10) for one in range(11)] == probabilities
    assert str(at(0.0)) != str(at(1.0))


def test_other_modes_cannot_be_tuned():
    with pytest.raises(ValueError, match="cannot be tuned"):
        triggers_of("small", "=")


def test_stages_grow_to_all():
    assert stages(4) == [4]
    assert stages(200) == [48, 200]
    assert stages(2000) == [48, 240, 2000]
