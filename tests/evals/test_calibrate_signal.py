"""Whether a score finds what is to be offloaded; calibration refuses one that does not."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from splitreason_integrations import Entropy, SplitEngine
from splitreason_integrations.backends.base import Gives
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.calibrate import calibrate
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.scalars import CLOSES, TRIGGERS
from splitreason_integrations.evals.score_check import auc_of, check_signal
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.testing import ScriptedModel

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
    with pytest.raises(
        RequestError, match="never taught to mark spans: with `tag` no span will open"
    ):
        calibrate(engine, tasks, goal)
    opening = replace(engine, trigger=Entropy(1.5))
    with pytest.raises(RequestError, match="never taught to end spans"):
        calibrate(opening, tasks, goal, scalar=CLOSES["tag"])
    assert engine.large.passes == 0
