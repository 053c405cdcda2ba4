"""The command as users run it: results on standard output, one line and status 2 for errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from splitreason_integrations.evals.runner import MODES


def test_the_installed_command_in_a_process_of_its_own():
    command = str(Path(sys.executable).with_name("splitreason"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [command, "ask", "Hello", "--json"],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["answer"]


def test_ask_streams_plain_text_where_there_is_no_terminal(run):
    done = run("ask", "Mia has 3 boxes with 4 pens each. How many pens does Mia have?")
    assert done.out.strip()
    assert "\x1b" not in done.out
    assert "tokens" in done.err


def test_ask_json(run):
    facts = json.loads(run("ask", "Hello", "--json", "--seed", "3").out)
    assert facts["answer"]
    assert facts["tokens"]["small"] > 0
    assert facts["seed"] == 3
    assert {"reasoning", "spans", "offload_share", "stop_reason", "degraded"} <= facts.keys()


@pytest.mark.parametrize("mode", ["base", "small", "large", "split", "random", "entropy"])
def test_eval_json(run, mode):
    done = run("eval", "--mode", mode, "--samples", "4", "--seed", "1", "--json")
    facts = json.loads(done.out)
    assert facts["mode"] == mode
    assert facts["n"] == 4
    assert 0 <= facts["interval"][0] <= facts["accuracy"] <= facts["interval"][1] <= 1
    assert {"offload_share", "spans", "tokens", "seconds", "seed", "command"} <= facts.keys()
    if mode == "small":
        assert facts["offload_share"] == 0
    if mode == "large":
        assert facts["offload_share"] == 1


def test_eval_all_modes(run):
    facts = json.loads(run("eval", "--mode", "all", "--samples", "2", "--json").out)
    assert [one["mode"] for one in facts["modes"]] == list(MODES)


def test_eval_on_a_file(run, tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text('{"question": "Hello", "answer": "problem"}\n', encoding="utf-8")
    facts = json.loads(run("eval", "--data", str(path), "--json").out)
    assert facts["n"] == 1


def test_demo(run):
    done = run("demo", "--problems", "1", "--eval-problems", "4", "--seed", "2")
    for mode in ("small", "large", "split", "random"):
        assert mode in done.out


def test_bench_overhead(run):
    facts = json.loads(run("bench", "overhead", "--samples", "2", "--json").out)
    assert facts["ratio"] > 0
    assert {"command", "hardware", "versions"} <= facts.keys()


def test_bench_pair_writes_its_tables_into_a_file(run, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- figures -->\nold\n<!-- end of figures -->\nafter\n", "utf-8")
    facts = json.loads(run("bench", "pair", "--samples", "2", "--into", str(path), "--json").out)
    modes = [row["mode"] for row in facts["rows"] if row["split"] == "test"]
    assert modes == list(MODES)
    assert {(row["split"], row["n"]) for row in facts["rows"]} == {
        ("test", 2),
        ("test-operands", 1),
    }
    assert {row["n"] for row in facts["curve"]} == {1}
    text = path.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "`tag>0.5`" in text
    assert facts["command"] in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask", "Hello", "--small", "gpt-9"], "use 'embedded'"),
        (["ask", "Hello", "--trigger", "sometimes"], "unknown trigger"),
        (["ask", "Hello", "--max-tokens", "0"], "max_tokens"),
        (["ask", "word " * 4000], "2048"),
        (["ask"], "question"),
        (["ask", "Hello", "--colour"], "--colour"),
        (["eval", "--mode", "best"], "unknown mode"),
        (["eval", "--family", "poems"], "unknown family"),
        (["eval", "--split", "train"], "unknown split"),
        (["eval", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["bench", "pair", "--into", "nowhere.md"], "nowhere.md"),
        (["nonsense"], "nonsense"),
    ],
)
def test_errors_are_one_line_and_status_2(run, arguments, says):
    done = run(*arguments, status=2)
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert says in done.err


def test_bad_rows_name_their_line(run, tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text('{"question": "x", "answer": 1}\n{"answer": 1}\n', encoding="utf-8")
    assert "line 2" in run("eval", "--data", str(path), status=2).err


def test_help_names_every_command(run):
    text = run("--help").out
    names = "demo ask eval calibrate shadow bench audit policy train"
    for command in names.split():
        assert command in text
