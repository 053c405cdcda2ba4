"""What a recommendation tries, what it may spend, and what it concludes."""

import json
import os
import subprocess
import sys
import time
import tomllib

import pytest

from splitreason_integrations import Policy, Prices, SplitEngine, blocking
from splitreason_integrations.decide.triggers import Position
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.agreement import Likeness, agreeing, likeness_for
from splitreason_integrations.evals.answering import Asking
from splitreason_integrations.evals.budget import Budget, budget_for, check_limit
from splitreason_integrations.evals.calibrate import calibrate
from splitreason_integrations.evals.candidates import MATCHED
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.journal import Journal
from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.recommend import recommend
from splitreason_integrations.evals.recommendation_page import write
from splitreason_integrations.evals.runner import Runner
from splitreason_integrations.evals.tasks import Task, generated
from splitreason_integrations.evals.verdict import Advice, conclude, trial
from splitreason_integrations.testing import ScriptedModel
from tests.evals.evaluations import outcome, result
from tests.limits import HANGS_S

CONTEXT = {"command": "splitreason recommend", "hardware": "a machine", "date": "2026-01-01"}
ASKED = Task(({"role": "user", "content": "Hello"},))


def graded(mode, right, *, usd, of=40, large=0):
    """A result with so many right answers, each at a price."""
    outcomes = tuple(outcome(at < right, cost_usd=usd, large=large) for at in range(of))
    made = result(mode, [False] * of)
    object.__setattr__(made, "outcomes", outcomes)
    object.__setattr__(made, "trigger", mode)
    return made


SMALL, LARGE = graded("small", 10, usd=0.0), graded("large", 38, usd=1.0)


def concluded(*tried, small=SMALL, large=LARGE):
    alone = [trial(one, small, large) for one in (small, large)]
    several = [trial(one, small, large, close="agrees") for one in tried]
    return conclude(*alone, several, score="accuracy")


def test_the_cheapest_of_those_close_to_the_best_is_chosen():
    best = graded("disagreement<0.1", 38, usd=0.6)
    cheap = graded("tag", 35, usd=0.5)
    worse = graded("entropy>1", 25, usd=0.1)
    found = concluded(best, cheap, worse)
    assert found.advice is Advice.OFFLOAD
    assert found.chosen.result is cheap
    assert found.sentence.startswith("Use tag with spans that end at agrees: 88% accuracy")
    assert "disagreement<0.1 scored higher by +7.5 points (+0.0 to +17.5)" in found.steps[2]
    assert "saving 50% (50% to 50%) of the cost of the large model alone" in found.sentence


def test_nothing_is_offloaded_where_the_large_model_adds_nothing():
    found = concluded(small=graded("small", 36, usd=0.0), large=graded("large", 37, usd=1.0))
    assert found.advice is Advice.SMALL
    assert found.sentence.startswith("Do not offload: the small model alone is as good")
    assert "about 150 prompts (40 here)" in found.steps[0]


def test_nothing_is_offloaded_where_no_trigger_beats_the_small_model():
    found = concluded(graded("entropy>1", 11, usd=0.5))
    assert found.advice is Advice.SMALL
    assert found.sentence.startswith("Do not offload: No trigger is certain to beat")


def test_what_costs_more_than_the_large_model_alone_is_not_recommended():
    found = concluded(graded("disagreement<0.1", 38, usd=1.1))
    assert found.advice is Advice.LARGE
    assert found.sentence.startswith("Do not offload: use the large model alone")


@pytest.mark.parametrize(
    ("likeness", "answer", "reference", "score"),
    [
        (Likeness.NUMBER, "There are 12 now.", "So 12.", 1.0),
        (Likeness.NUMBER, "There are 13 now.", "So 12.", 0.0),
        (Likeness.EXACT, "  paris ", "Paris", 1.0),
        (Likeness.EXACT, "Rome", "Paris", 0.0),
        (Likeness.WORDS, "the cat sat", "the dog sat", 2 / 3),
        (Likeness.WORDS, "", "", 1.0),
        (Likeness.MATH, r"\boxed{0.5}", r"\boxed{\frac{1}{2}}", 1.0),
    ],
)
def test_likeness_of_answers(likeness, answer, reference, score):
    assert likeness.score(answer, reference) == pytest.approx(score)


def test_likeness_suits_the_large_models_answers():
    assert likeness_for([r"\boxed{1}", r"so \boxed{2}"]) is Likeness.MATH
    assert likeness_for(["So 12.", "13 cards", ""]) is Likeness.NUMBER
    assert likeness_for(["Paris", "Rome 2"]) is Likeness.EXACT
    assert likeness_for(["word " * 20]) is Likeness.WORDS


def test_agreement_takes_the_place_of_accuracy():
    one, other = graded("small", 0, usd=0.0), graded("large", 0, usd=1.0)
    assert agreeing(one, other, Likeness.EXACT).accuracy == 1.0


def test_thresholds_fire_at_the_rate_that_is_asked_for():
    texts = ("Two. ", "So")
    positions = [
        Position(at, entropy=at / 100, confidence=1 - at / 100, text=texts[at % 2], chosen="Now")
        for at in range(100)
    ]
    for family in MATCHED:
        trigger = family.at_rate(positions, 0.1)
        assert sum(trigger.fires(at) for at in positions) in (10, 11), str(trigger)
    assert str(MATCHED[2].at_rate(positions, 0.9)) == "step-entropy>0"


def test_a_cost_that_nobody_allowed_is_refused():
    with pytest.raises(RequestError, match=r"about 0\.3 USD, of which 0 are spent: allow it"):
        check_limit(0.3, None, spent_usd=0.0)
    with pytest.raises(RequestError, match=r"more than --max-usd 0\.2"):
        check_limit(0.3, 0.2, spent_usd=0.1)
    assert check_limit(0.3, 0.4, spent_usd=0.0) == 0.4


def scripted(prices=None):
    """A small model that opens one span, and a large one that answers otherwise."""
    return SplitEngine(
        small=ScriptedModel("First.<bigmodel> Second.</think>\n\n7 it is"),
        large=ScriptedModel(" hard</bigmodel></think>\n\n8 or so", prices=prices),
    )


def test_too_few_prompts_say_how_many_are_needed():
    with pytest.raises(RequestError, match=r"12 prompts .* bring 30 or more \(18 are missing\)"):
        recommend(Runner(tasks=[ASKED] * 12), scripted())


def test_nothing_is_spent_without_a_limit(tmp_path):
    engine = scripted(prices=Prices(input_usd=1000.0, output_usd=1000.0))
    with Journal(tmp_path, {}) as journal:
        runner = Runner(tasks=[ASKED] * 30, journal=journal)
        with pytest.raises(RequestError, match=r"will cost about .* USD"):
            recommend(runner, engine)
        assert journal.spent_usd == 0.0
        forecasts = []
        found = recommend(runner, engine, max_usd=1e6, on_forecast=forecasts.append)
        assert journal.spent_usd > 0.0
    assert len(forecasts) == 1
    assert found.is_priced
    assert found.prices == Prices(input_usd=1000.0, output_usd=1000.0)


def test_no_answer_begins_once_the_limit_is_reached():
    class Answering:
        async def answer_task(self, engine, task, asking, seed):
            return outcome(True, cost_usd=0.3)

    async def ask_all():
        budget = Budget(1.0, spent_usd=0.5, answers=Answering())
        for _ in range(2):
            await budget.answer_task(scripted(), ASKED, Asking(), 0)
        with pytest.raises(RequestError, match=r"reached: 1\.1 USD are spent"):
            await budget.answer_task(scripted(), ASKED, Asking(), 0)

    blocking.run(ask_all)


def test_a_calibration_ends_once_the_limit_is_reached():
    priced = Prices(input_usd=1000.0, output_usd=1000.0)
    engine = scripted(prices=priced)
    budget = budget_for(engine, 0.001)
    goal = Goal(Metric.SHARE, 0.9, by_point=True)
    with pytest.raises(RequestError, match=r"--max-usd is reached: .* allow more with --max-usd"):
        calibrate(engine, [ASKED] * 4, goal, budget=budget)
    with pytest.raises(RequestError, match="--max-usd needs --large-input-usd"):
        budget_for(scripted(), 1.0)


def test_agreement_without_answers_and_the_files(tmp_path):
    runner = Runner(tasks=[ASKED] * 30)
    found = recommend(runner, scripted())
    assert found.score == "agreement"
    assert found.likeness is Likeness.NUMBER
    write(tmp_path, found, CONTEXT, {"small": "<b>mine</b>", "large": "big"})
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Agreement, not accuracy" in page
    assert "the same last number" in page
    assert "<b>mine" not in page
    assert "<script" not in page
    data = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert data["verdict"] == found.verdict.sentence
    assert [row["name"] for row in data["tried"]][:2] == ["small", "tag"]
    assert Policy.load(tmp_path / "policy.toml").trigger == data["trigger"]
    assert f"policy={str(tmp_path / 'policy.toml')!r}" in data["code"]


def command(out, *more):
    return [
        *(sys.executable, "-c", "from splitreason_integrations.cli import main; main()"),
        *("recommend", "--out", str(out)),
        *("--json", *more),
    ]


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    arguments = command(tmp_path, "--small", "embedded:large", "--large", "embedded:large")
    arguments += ["--samples", "30", "--processes", "1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    first = subprocess.Popen(arguments, env=environment)
    journal, until_s = tmp_path / "journal.jsonl", time.monotonic() + HANGS_S
    while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
        assert time.monotonic() < until_s
        assert first.poll() is None
        time.sleep(0.02)
    first.kill()
    first.wait()
    kept = journal.read_bytes().splitlines()[:20]
    assert not (tmp_path / "report.html").exists()
    done = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.returncode == 0, done.stderr
    lines = journal.read_bytes().splitlines()
    assert lines[:20] == kept
    assert len(lines) == 1 + 2 * 30
    found = json.loads(done.stdout)
    assert not found["offload"]
    assert found["verdict"].startswith("Do not offload: the small model alone is as good")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("small", "large", "trigger"),
    [
        ("embedded:base", "embedded:large", "disagreement<0.1"),
        ("embedded:small", "embedded:large", "tag"),
        ("embedded:large", "embedded:large", "never"),
    ],
)
def test_the_verdict_on_the_bundled_models(run, tmp_path, small, large, trigger):
    data = tmp_path / "mine.jsonl"
    rows = [
        {"messages": list(task.messages), "answer": task.answer}
        for task in generated("test", ["word"], n=30, seed=11)
    ]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    out = tmp_path / "report"
    arguments = ["--small", small, "--large", large, "--data", str(data), "--out", str(out)]
    found = json.loads(run("recommend", *arguments, "--json").out)
    assert found["trigger"] == trigger, found["verdict"]
    assert found["score"] == "accuracy"
    policy = tomllib.loads((out / "policy.toml").read_text("utf-8"))
    assert policy["trigger"] == trigger
