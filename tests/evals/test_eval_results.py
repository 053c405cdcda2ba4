"""Results: what they say of rules and of the large model's reading."""

from dataclasses import replace

from splitreason_integrations.evals.answering import Outcome
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.tables import rules_and_reading
from tests.evals.evaluations import completion, result


def test_rules_and_reading_are_in_the_figures():
    replies = [
        replace(
            completion(large=2),
            close="(agrees | step)",
            read_ahead_tokens=tokens,
            small_surplus_tokens=3,
            read_ahead_usd=0.5,
        )
        for tokens in (40, 60)
    ]
    outcomes = tuple(Outcome(True, (reply,), (), 1.0) for reply in replies)
    found = Result(mode="split", trigger="disagreement<0.1", outcomes=outcomes, seed=0)
    data = found.data()
    assert data["close"] == "(agrees | step)"
    assert data["reading"] == {"large_tokens": 100, "small_surplus_tokens": 6, "cost_usd": 1.0}
    (line,) = rules_and_reading([found, result("small", [1])])
    assert line.startswith("split: spans end by (agrees | step); the large model read 50 tokens")
    assert "3 tokens of the small one were dropped" in line
