"""Speculative decoding beside offloading: lossless, counted, and shown in one table."""

import json
import os

import pytest
import torch

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals import speculation
from splitreason_integrations.evals.figures import untaught as figures
from splitreason_integrations.evals.speculation import assisted, counted, measure_speculation
from splitreason_integrations.evals.speculation_vllm import ALONE, vllm_answers
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.processes.environment import VLLM_PYTHON

TASKS = generated("test", ("word", "context"), n=4, seed=3)


def nothing(what, done, of):
    pass


def test_assisted_generation_writes_the_large_models_text_in_fewer_passes(embedded):
    _, large = embedded
    with counted(large) as passes:
        ways = assisted(large, passes)
        alone, *others = (
            [answer(task) for task in TASKS] for (_, who), answer in sorted_ways(ways)
        )
        assert all(one.passes == one.tokens + 1 for one in alone)  # the end token takes one too
        assert len(others) == 2
        for answers in others:
            assert [one.text for one in answers] == [one.text for one in alone]
            assert all(one.passes < one.tokens for one in answers)
            # What is drafted and refused is read in vain.
            assert all(
                one.positions >= least.positions for one, least in zip(answers, alone, strict=True)
            )
    before = passes.count
    large.network.generate(torch.tensor([[5]]), max_new_tokens=1)
    assert passes.count == before


def sorted_ways(ways):
    return sorted(ways.items(), key=lambda item: item[0][1] != ALONE)


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speculation, "has_vllm", lambda: False)
        return measure_speculation(TASKS, seed=0, on_progress=nothing)


def test_every_way_answers_every_problem(found):
    rows = {(row["engine"], row["method"]): row for row in found["rows"]}
    assert len(rows) == 7
    assert all(row["n"] == len(TASKS) for row in rows.values())
    theirs, ours = rows["transformers", ALONE], rows["this package", ALONE]
    assert ours["large_passes"] == theirs["large_passes"]
    assert ours["large_positions"] == theirs["large_positions"]
    assert ours["tokens"] == theirs["tokens"]
    for row in rows.values():
        assert row["large_passes"] <= theirs["large_passes"]
        assert row["of_alone_interval"][0] <= row["of_alone"] <= row["of_alone_interval"][1]
        if row["engine"] == "transformers":
            assert row["same_text"] == len(TASKS)
        if row["method"] == ALONE:
            assert row["of_alone"] == 1


def test_the_table_has_a_line_for_each_way(found):
    context = {"command": "a command", "hardware": "a machine", "date": "2026-11-30"}

    def lines(vllm):
        speculation = {**json.loads(json.dumps(found)), "vllm": vllm}
        return figures.speculation({"speculation": speculation, **context}).splitlines()

    without = lines(vllm=False)
    head = next(line for line in without if line.startswith("| engine"))
    rows = [line for line in without if line.startswith(("| transformers", "| this package"))]
    assert len(rows) == 7
    assert {line.count("|") for line in (head, *rows)} == {9}
    assert VLLM_PYTHON.name in without[-1]
    assert VLLM_PYTHON.name not in lines(vllm=True)[-1]


def test_vllm_that_does_not_start_is_an_error_with_its_log(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such engine >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setenv(VLLM_PYTHON.name, os.fspath(python))
    with pytest.raises(ConfigurationError, match="no such engine"):
        list(vllm_answers([[1, 2]] * 20_000, end_tokens=(2,), max_tokens=4))


@pytest.mark.slow
def test_the_benchmark_prints_what_all_tables_are_made_of(run, monkeypatch):
    monkeypatch.setattr(speculation, "has_vllm", lambda: False)
    arguments = ("--samples", "4", "--timed", "1", "--json")
    found = json.loads(run("bench", "untaught", *arguments).out)
    assert found["speculation"]["n"] == 1
    assert "--timed 1" in found["command"]
    text = figures.whole(found)
    assert "| base | `never` | – |" in text
    assert "| transformers | large alone |" in text
