"""The demo ends in a sentence whose numbers are those of its results."""

import json
import re

import pytest

from splitreason_integrations.evals.figures.headline import EXAMPLE_PRICES

pytestmark = pytest.mark.slow

ARGUMENTS = ("demo", "--problems", "1", "--eval-problems", "4", "--seed", "2")


def printed(run):
    return json.loads(run(*ARGUMENTS, "--json").out)


def test_it_ends_in_a_table_of_80_columns_and_in_what_was_saved(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = run(*ARGUMENTS)
    assert "loading the bundled pair …" in done.err
    table = re.search(r"greedy:\n\n(.*?)\n\n", done.out, re.DOTALL)[1].splitlines()
    assert len(table) == 5
    assert all(len(line) <= 80 for line in table)
    assert "tokens/s" not in done.out
    for name in ("small model alone", "large model alone", "split: both models", "random spans"):
        assert sum(line.startswith(name) for line in table) == 1
    ending = done.out.rpartition("\n\n")[2]
    small, large, split, _ = (row["summary"] for row in printed(run)["rows"])
    assert f"Both models together answered {split['right']} of 4 problems correctly" in ending
    assert f"large model alone {large['right']}, the small one alone {small['right']}." in ending
    assert f"{split['large_tokens']:,} tokens instead of {large['large_tokens']:,}" in ending
    assert f"({split['large_tokens_saved']:.0%} fewer)" in ending
    assert f"{EXAMPLE_PRICES.input_usd:g} USD per million tokens" in ending
    assert f"({split['usd_saved']:.0%} less)" in ending


def test_json_has_every_result_and_the_numbers_of_the_sentence(run):
    facts = printed(run)
    assert facts["command"] == "splitreason demo --eval-problems 4 --seed 2"
    assert {"hardware", "versions", "date"} <= facts.keys()
    rows = facts["rows"]
    assert [row["mode"] for row in rows] == ["small", "large", "split", "random"]
    for row in rows:
        assert {"accuracy", "interval", "tokens", "seconds", "seed"} <= row.keys()
        summary = row["summary"]
        assert summary["right"] == row["accuracy"] * row["n"]
        assert summary["large_tokens"] == row["tokens"]["large"]
        assert summary["usd_per_1k"] == row["usd_per_1k"]
    small, large, split, _ = (row["summary"] for row in rows)
    assert small["usd_per_1k"] == 0
    assert small["usd_saved"] == 1
    assert large["large_tokens_saved"] == large["usd_saved"] == 0
    assert 0 < split["usd_per_1k"] < large["usd_per_1k"]
