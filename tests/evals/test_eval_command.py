"""`splitreason eval`: named tasks, several samples, two small models, requested shares."""

import json
import subprocess
import sys

import pytest

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals import hub
from splitreason_integrations.evals.grading import Grade
from tests.limits import HANGS_S

EMBEDDED = ("--small", "embedded", "--large", "embedded")


def facts(done):
    return json.loads(done.out)


@pytest.mark.parametrize("name", list(hub.SETS))
def test_a_set_by_name_without_a_hub_says_what_to_do(run, name):
    done = run("eval", "--task", name, status=2)
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert "--data file.jsonl" in done.err
    assert name in done.err


def test_a_hub_that_cannot_be_reached_does_not_hang():
    """Nobody says it is offline, and `datasets` by itself would try for half a minute."""
    code = (
        "import os; os.environ.pop('HF_HUB_OFFLINE', None)\n"
        "os.environ['HF_ENDPOINT'] = 'http://127.0.0.1:9'\n"
        "from splitreason_integrations.evals.hub import named\n"
        "try: named('aime25')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.stdout.startswith("RequestError aime25: math-ai/aime25 can be loaded neither"), (
        done.stderr
    )
    assert "Retrying" not in done.stderr


def test_a_model_is_not_looked_up_at_a_hub_that_does_not_answer():
    """Its libraries would call it again and again before they looked into their cache."""
    code = (
        "import os; os.environ.pop('HF_HUB_OFFLINE', None)\n"
        "os.environ['HF_ENDPOINT'] = 'http://127.0.0.1:9'\n"
        "from splitreason_integrations.backends.registry import load_model\n"
        "from splitreason_integrations import blocking\n"
        "try: blocking.run(lambda: load_model('hf:nobody/nothing', role='small'))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.stdout.startswith("ModelLoadError hf:nobody/nothing cannot be loaded"), done.stderr
    assert "local hub cache" in done.stdout
    assert "Retrying" not in done.stderr


def test_hub_columns_become_tasks(monkeypatch):
    rows = {
        "gsm8k": [{"question": "How many?", "answer": "2+2=<<2+2=4>>4\n#### 4"}],
        "math-500": [{"problem": "Half?", "answer": r"\frac{1}{2}"}],
    }
    monkeypatch.setattr(hub, "_rows", lambda name, found: rows[name])
    (task,) = hub.named("gsm8k")
    assert (task.answer, task.grade) == ("4", Grade.NUMBER)
    assert task.messages[0]["content"].startswith("How many?")
    assert task.right(r"5 + 5, so \boxed{4}. In 3 steps.")
    (task,) = hub.named("math-500")
    assert task.right(r"It is \boxed{0.5}")
    rows["gsm8k"] = [{"prompt": "?"}]
    with pytest.raises(RequestError, match="no column 'question'"):
        hub.named("gsm8k")


def test_every_set_is_pinned():
    for found in hub.SETS.values():
        assert len(found.revision) == 40
        int(found.revision, 16)


def test_several_samples_a_task(run, tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text('{"question": "Hello", "answer": "problem"}\n' * 3, "utf-8")
    arguments = ["--data", str(path), "--samples-per-task", "2", "--temperature", "0.8", "--json"]
    found = facts(run("eval", *arguments))
    assert (found["n"], found["samples_per_task"]) == (3, 2)
    assert found["pass_at"]["1"]["value"] == found["accuracy"]
    assert set(found["pass_at"]) == {"1", "2"}
    assert facts(run("eval", *arguments))["tokens"] == found["tokens"]
    assert found["settings"]["temperature"] == 0.8


def test_two_small_models_in_pairs_with_a_report(run, tmp_path):
    out = tmp_path / "out"
    arguments = ["--mode", "small,split", "--samples", "4", "--compare", "embedded:base", *EMBEDDED]
    prices = ["--large-output-usd", "2", "--round-trip-ms", "500"]
    found = facts(run("eval", *arguments, *prices, "--out", str(out), "--json"))
    assert [(row["mode"], row["small"]) for row in found["modes"]] == [
        ("small", "embedded"),
        ("split", "embedded"),
        ("small", "embedded:base"),
        ("split", "embedded:base"),
    ]
    between = found["pairs"][1]
    assert (between["first"], between["other"]) == ("split (embedded:base)", "split (embedded)")
    assert between["resamples"] == 10_000
    low, high = between["accuracy_difference"]["interval"]
    assert low <= between["accuracy_difference"]["value"] <= high
    split = found["modes"][1]
    assert split["usd_per_1k"] > 0
    assert split["planned_latency_s"]["p50"] > split["latency_s"]["p50"]
    assert "500 ms" in split["planned_latency_s"]["network"]
    assert split["answers_at_once"] == 1
    saved = json.loads((out / "report.json").read_text("utf-8"))
    assert saved == found
    again = facts(run("eval", *arguments, *prices, "--out", str(out), "--json"))
    assert again == found


def test_a_share_that_cannot_be_met_is_reported(run):
    said = run("eval", "--mode", "split", "--at-share", "0.9", "--samples", "2").out
    assert "split at 0.9: requested share 90.00%" in said


@pytest.mark.slow
def test_shares_that_are_asked_for(run):
    done = run(
        "eval", "--mode", "split,random", "--at-share", "0.3,0.1", "--samples", "4", "--json"
    )
    rows = facts(done)["modes"]
    asked = [(row["mode"], row["share_asked"]) for row in rows]
    assert asked == [("split", 0.1), ("split", 0.3), ("random", 0.1), ("random", 0.3)]
    assert rows[0]["trigger"].startswith("tag>")
    assert rows[2]["trigger"].startswith("random:")
    assert [(pair["first"], pair["other"]) for pair in facts(done)["pairs"]] == [
        ("split at 0.1", "random at 0.1"),
        ("split at 0.3", "random at 0.3"),
    ]


@pytest.mark.slow
def test_the_baselines_run_at_the_splits_share(run):
    done = run("eval", "--mode", "split,random,rule", "--rule", "[=*]", "--samples", "8", "--json")
    split, *others = facts(done)["modes"]
    for row in others:
        assert row["share_asked"] == split["offload_share"]
        assert abs(row["offload_share"] - row["share_asked"]) < 0.5 * row["share_asked"]
    assert others[1]["trigger"].startswith('(keyword:"[=*]" & random:')


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "aime99"], "use one of aime24, aime25, math-500, gsm8k"),
        (["--task", "gsm8k", "--data", "x.jsonl"], "either --task or --data"),
        (["--samples-per-task", "3"], "give a temperature above 0"),
        (["--grade", "best"], "unknown grade 'best'"),
        (["--compare", "embedded", *EMBEDDED], "two rows of the same name"),
        (["--compare", "gpt-9", "--mode", "small", *EMBEDDED], "use 'embedded'"),
        (["--at-share", "2"], "between 0 and 1"),
        (["--at-share", "many"], "comma-separated numbers"),
        (["--rule", "("], "Keyword pattern"),
        (["--concurrency", "2", "--processes", "2"], "either --concurrency"),
        (["--mode", "split,best"], "unknown mode 'best'"),
    ],
)
def test_impossible_measurements_are_refused_first(run, arguments, says):
    done = run("eval", "--samples", "1", *arguments, status=2)
    assert done.out == ""
    assert says in done.err
    assert len(done.err.strip().splitlines()) == 1
