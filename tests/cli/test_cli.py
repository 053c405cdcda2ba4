"""The command as users run it: results on standard output, one line and status 2 for errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from splitreason_integrations.evals.figures.pair import whole
from splitreason_integrations.evals.runner import MODES
from splitreason_integrations.evals.tasks import read_jsonl
from tests.limits import HANGS_S


@pytest.mark.slow
def test_the_installed_command_in_a_process_of_its_own():
    command = str(Path(sys.executable).with_name("splitreason"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [command, "ask", "Hello", "--json"],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
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


@pytest.mark.parametrize("small", ["embedded", "embedded:base"])
def test_ask_says_what_was_chosen_for_an_untaught_model(run, small):
    done = run("ask", "What is 47 times 23?", "--small", small, "--large", "embedded")
    assert ("never taught to mark spans" in done.err) is (small != "embedded")
    assert ("spans opened by disagreement<0.1, closed by" in done.err) is (small != "embedded")


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
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


def test_bench_overhead(run):
    facts = json.loads(run("bench", "overhead", "--samples", "2", "--json").out)
    assert facts["ratio"] > 0
    assert {"command", "hardware", "versions"} <= facts.keys()


@pytest.mark.slow
def test_bench_pair_prints_all_modes_and_thresholds(run):
    facts = json.loads(run("bench", "pair", "--samples", "2", "--json").out)
    modes = [row["mode"] for row in facts["rows"] if row["split"] == "test"]
    assert modes == list(MODES)
    assert {(row["split"], row["n"]) for row in facts["rows"]} == {
        ("test", 2),
        ("test-operands", 1),
    }
    assert {row["n"] for row in facts["curve"]} == {1}
    text = whole(facts)
    assert "`tag>0.5`" in text
    assert facts["command"] in text


QUESTION = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)


@pytest.fixture
def tight(tmp_path):
    """A policy of one short span, opened by a rule."""
    path = tmp_path / "tight.toml"
    path.write_text('trigger = "keyword:="\nmax_spans = 1\nmax_span_tokens = 3\n', "utf-8")
    return str(path)


def test_ask_with_a_policy(run, tight):
    free = json.loads(run("ask", QUESTION, "--json").out)
    named = json.loads(run("ask", QUESTION, "--policy", "cost-first", "--json").out)
    filed = json.loads(run("ask", QUESTION, "--policy", tight, "--json").out)
    assert 0 < named["offload_share"] <= 0.1 < free["offload_share"]
    (span,) = filed["spans"]
    assert span["tokens"] <= 3
    assert span["opened_by"] == "keyword:="


def test_a_trigger_goes_before_the_policys_own(run, tight):
    facts = json.loads(run("ask", QUESTION, "--policy", tight, "--trigger", "never", "--json").out)
    assert facts["spans"] == []
    (span,) = json.loads(run("ask", QUESTION, "--policy", tight, "--trigger", "tag", "--json").out)[
        "spans"
    ]
    assert span["opened_by"] == "tag"


def test_eval_with_a_policy(run, tight):
    done = run("eval", "--policy", tight, "--samples", "3", "--mode", "split", "--json")
    facts = json.loads(done.out)
    assert facts["trigger"] == "keyword:="
    assert 0 < facts["tokens"]["large"] <= 9
    assert f"--policy {tight}" in facts["command"]
    large = json.loads(
        run("eval", "--policy", tight, "--samples", "2", "--mode", "large", "--json").out
    )
    assert large["offload_share"] == 1


@pytest.mark.parametrize("command", [["ask", "Hello"], ["eval", "--samples", "1"]], ids=str)
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--policy", "balanced", "--max-share", "0.1"], "give either --policy or --max-share"),
        (["--policy", "balance"], "did you mean 'balanced'"),
        (["--policy", "nowhere.toml"], "cannot read the policy nowhere.toml"),
        (["--policy", "regulated"], "has a person asked"),
        (["--policy", "balanced", "--trigger", "sometimes"], "unknown trigger"),
    ],
)
def test_a_policy_that_cannot_be_used(run, command, arguments, says):
    done = run(*command, *arguments, status=2)
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert says in done.err


def test_a_wrong_policy_names_its_line(run, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text("# mine\nmax_span = 3\n", "utf-8")
    done = run("ask", "Hello", "--policy", str(path), status=2)
    assert "wrong.toml, line 2: unknown policy setting 'max_span'" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask", "Hello", "--small", "gpt-9", "--large", "embedded"], "use 'embedded'"),
        (["ask", "Hello", "--trigger", "sometimes"], "unknown trigger"),
        (["ask", "Hello", "--max-tokens", "0"], "--max-tokens"),
        (["ask", "word " * 4000], "2048"),
        (["ask"], "QUESTION"),
        (["ask", "Hello", "--colour"], "--colour"),
        (["eval", "--mode", "best"], "unknown mode"),
        (["eval", "--mode", "all,best"], "unknown mode 'best'"),
        (["eval", "--family", "poems"], "unknown family"),
        (["eval", "--split", "train"], "unknown split"),
        (["eval", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["bench", "figures", "nowhere.md"], "nowhere.md"),
        (["nonsense"], "nonsense"),
    ],
)
def test_errors_are_one_line_and_status_2(run, arguments, says):
    done = run(*arguments, status=2)
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert says in done.err


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"answer": 1}, 'needs either "question" or "messages"'),
        ({"question": 5, "answer": 1}, "give text"),
        ({"messages": [], "answer": 1}, "no messages"),
        ({"messages": "hi", "answer": 1}, '"messages" must be a list'),
        ({"messages": [{"role": "boss", "content": "x"}], "answer": 1}, "role 'boss'"),
        ({"question": "x", "answer": ""}, "must be a number or a text"),
        ({"question": "x", "answer": [1]}, "must be a number or a text"),
    ],
)
def test_bad_rows_name_their_line(run, tmp_path, row, says):
    path = tmp_path / "set.jsonl"
    good = json.dumps({"question": "x", "answer": 1})
    path.write_text(f"{good}\n{json.dumps(row)}\n", encoding="utf-8")
    said = run("eval", "--data", str(path), status=2).err
    assert "line 2: " in said
    assert says in said


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_text('{"question": "x", "answer": 1}\n', encoding="utf-8-sig")
    assert read_jsonl(path)[0].answer == "1"


def test_traces_are_written_whole_or_not_at_all(run, tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text("mine\n", "utf-8")
    assert (
        "--tries must be above 0"
        in run("train", "traces", "--out", str(path), "--tries", "0", status=2).err
    )
    assert path.read_text("utf-8") == "mine\n"
    assert (
        "in a folder of your own"
        in run("train", "traces", "--out", str(tmp_path / "no" / "where"), status=2).err
    )
    run("train", "traces", "--out", str(path), "--count", "3", "--family", "word")
    assert len(path.read_text("utf-8").splitlines()) == 3
    assert [one.name for one in tmp_path.iterdir()] == ["traces.jsonl"]


def test_help_names_every_command(run):
    text = run("--help").out
    names = "demo ask eval recommend calibrate shadow bench audit policy train"
    for command in names.split():
        assert command in text


@pytest.mark.parametrize("group", [(), ("audit",), ("policy",), ("review",), ("bench",)])
def test_a_group_named_alone_prints_its_help_line_by_line(run, group):
    done = run(*group, status=2)
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0] == " ".join(["Usage: splitreason", *group, "[OPTIONS] COMMAND [ARGS]..."])
    assert "Commands:" in lines
