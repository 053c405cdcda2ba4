import collections

import pytest
import torch

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.sampling import Sampling, draw, uniform

LOGITS = torch.tensor([0.0, 2.0, 1.0, -1.0])


def test_greedy():
    assert draw(LOGITS, Sampling(temperature=0.0), 0.99) == 1


def test_frequencies_follow_probabilities():
    counts = collections.Counter(
        draw(LOGITS, Sampling(temperature=1.0), uniform(7, 1, i)) for i in range(20_000)
    )
    for token, probability in enumerate(LOGITS.softmax(-1).tolist()):
        assert counts[token] / 20_000 == pytest.approx(probability, abs=0.015)


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"top_k": 1}, {1}),
        ({"top_k": 2}, {1, 2}),
        ({"top_p": 0.5}, {1}),
        ({"top_p": 0.7}, {1, 2}),
        ({"min_p": 0.3}, {1, 2}),
        ({"top_p": 1.0}, {0, 1, 2, 3}),
    ],
)
def test_cut_offs(settings, allowed):
    sampling = Sampling(temperature=1.0, **settings)
    assert {draw(LOGITS, sampling, i / 500) for i in range(500)} == allowed


def test_forbidden_tokens_are_never_drawn():
    logits = LOGITS.index_fill(0, torch.tensor([1]), float("-inf"))
    assert {draw(logits, Sampling(temperature=1.0), i / 500) for i in range(500)} == {0, 2, 3}


def test_uniform_is_fixed_and_spread():
    values = [uniform(1, 2, i) for i in range(10_000)]
    assert values == [uniform(1, 2, i) for i in range(10_000)]
    assert all(0 <= value < 1 for value in values)
    assert sum(values) / len(values) == pytest.approx(0.5, abs=0.02)
    assert uniform(1, 2, 3) != uniform(1, 3, 3)


def test_unset_settings_come_from_the_model():
    mine = Sampling(temperature=0.0).over(Sampling(temperature=0.6, top_p=0.95))
    assert mine == Sampling(temperature=0.0, top_p=0.95)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 2},
        {"top_k": 0},
    ],
)
def test_bad_settings_are_named(settings):
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        Sampling(**settings)


@pytest.mark.parametrize("temperature", [1e-5, 1e-30, 1e-45, 5e-324])
def test_the_coldest_temperatures_are_greedy(temperature):
    logits = torch.linspace(-30, 30, 50).roll(7)
    for u in (0.0, 0.5, 0.999):
        assert draw(logits, Sampling(temperature=temperature), u) == int(logits.argmax())
