"""`splitreason annotate` and its benchmark, as users run them."""

import json
import sys

import pytest

from splitreason_integrations.annotation import llm
from splitreason_integrations.annotation.samples import samples
from tests.annotation.annotation_fakes import Quoting, numbered, read_rows, write_rows


@pytest.fixture
def source(tmp_path):
    return str(write_rows(tmp_path / "in.jsonl", numbered(12)))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


def test_samples_go_into_rules(run, tmp_path, out):
    traces = tmp_path / "traces.jsonl"
    traces.write_text(run("annotate", "samples", "support", "--n", "9", "--seed", "2").out, "utf-8")
    assert read_rows(traces) == list(samples("support", n=9, seed=2))
    rules = ("--rule", "arithmetic", "--rule", "dates", "--small", "embedded", "--workers", "1")
    facts = json.loads(
        run("annotate", "rule", str(traces), "--out", str(out), *rules, "--json").out
    )
    assert facts["traces"] == facts["tagged"] == 9
    assert facts["out"] == str(out)
    assert 0 < facts["character_share"] < 1
    assert 0 < facts["token_share"] < 1
    assert facts["gold"]["precision"] > 0.8
    assert facts["span_characters"]["p50"] <= facts["span_characters"]["p95"]


def test_the_table_says_it_in_words(run, source, out):
    options = ("--pattern", r"Hard \d+", "--workers", "1")
    done = run("annotate", "rule", source, "--out", str(out), *options)
    words = " ".join(done.out.split())
    assert "12, 12 of them tagged" in words
    assert done.err == ""


def test_gap(run, tmp_path, out):
    source = str(write_rows(tmp_path / "in", list(samples("arithmetic", n=12, seed=4))))
    options = ("--out", str(out), "--share", "0.1", "--json")
    facts = json.loads(run("annotate", "gap", source, *options).out)
    assert facts["token_share"] == pytest.approx(0.1, abs=0.03)
    assert 0 < facts["min_score"] <= 1


def test_llm(run, source, out, tmp_path, monkeypatch):
    model = Quoting(log=tmp_path / "calls")
    monkeypatch.setattr(llm, "load_chat_model", lambda name: model)
    options = ("--model", "fake:x", "--input-usd", "100", "--output-usd", "1000")
    small = ("--max-usd", "0.1", "--concurrency", "2")
    done = run("annotate", "llm", source, "--out", str(out), *options, *small)
    assert "stopped max_usd: the same command with more resumes" in " ".join(done.out.split())
    facts = json.loads(run("annotate", "llm", source, "--out", str(out), *options, "--json").out)
    assert facts["usd"] == pytest.approx(0.24)
    assert facts["snippets"]["exact"] == 12
    assert facts["stopped"] is None
    assert sorted(model.calls) == list(range(12))


def test_snippets(run, tmp_path, out):
    rows = [{**row, "quoted": [f"Hard {row['id']} here."]} for row in numbered(3)]
    source = str(write_rows(tmp_path / "in", rows))
    options = ("--column", "snippets=quoted", "--workers", "1", "--json")
    run("annotate", "snippets", source, "--out", str(out), *options)
    assert [row["spans"] for row in read_rows(out)] == [[[8, 20]]] * 3
    error = run("annotate", "snippets", source, "--out", f"{out}2", "--workers", "1", status=2).err
    assert '"snippets" must be a list of texts' in error


def test_where_every_trace_is_refused_the_status_says_so(run, tmp_path, out):
    source = str(write_rows(tmp_path / "in", [{"question": "x", "trace": "<bigmodel>x"}] * 2))
    options = ("--rule", "arithmetic", "--small", "embedded", "--workers", "1", "--json")
    done = run("annotate", "rule", source, "--out", str(out), *options, status=1)
    assert json.loads(done.out)["refused"] == 2


def test_traces_are_looked_for_before_models_are_loaded(run, tmp_path, out):
    options = ("--small", "hf:nowhere", "--large", "hf:nowhere", "--out", str(out))
    error = run("annotate", "gap", str(tmp_path / "missing.jsonl"), *options, status=2).err
    assert "missing.jsonl" in error


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["rule"], "no rule: give one of arithmetic, code, dates, doubt, or a pattern"),
        (["rule", "--rule", "arithmetik"], "did you mean 'arithmetic'?"),
        (["rule", "--pattern", "("], "not a valid regular expression"),
        (["rule", "--pattern", "x", "--column", "trace"], "write field=column"),
        (["rule", "--pattern", "x", "--column", "thought=x"], "unknown field 'thought'"),
        (["rule", "--pattern", "x", "--small", "hf:/nowhere"], "tokenizer cannot be loaded"),
        (["gap", "--small", "http://127.0.0.1:9/v1#x", "--large", "embedded"], "give both as hf:"),
        (["gap", "--tries", "0"], "tries must be above 0"),
        (["llm", "--model", "x:y", "--max-usd", "1"], "max_usd needs prices"),
        (["llm", "--model", "nobody:x"], "name a model as provider:name"),
        (["llm"], "Missing option '--model'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(run, source, out, arguments, error):
    command, *options = arguments
    done = run("annotate", command, source, "--out", str(out), *options, status=2)
    assert error in done.err
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert not out.exists()


def test_an_error_names_file_and_line(run, tmp_path, out):
    path = tmp_path / "in.jsonl"
    path.write_text('{"question": "?", "trace": "t"}\n{"question": "?"}\n')
    done = run("annotate", "rule", str(path), "--out", str(out), "--rule", "code", status=2)
    assert f"{path}, line 2: has neither" in done.err
    assert not out.exists()


def test_a_missing_extra_is_named(run, source, out, monkeypatch):
    from splitreason_integrations.annotation import run as runs

    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    options = ("--out", str(out), "--rule", "code")
    assert (
        "splitreason-integrations[train]" in run("annotate", "rule", source, *options, status=2).err
    )
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = run("annotate", "rule", "datasets:x", *options, status=2)
    assert 'pip install "splitreason-integrations[train]"' in done.err


def test_the_benchmark(run):
    facts = json.loads(run("bench", "annotate", "--traces", "40", "--workers", "1", "--json").out)
    assert facts["bench"] == "annotate"
    assert facts["ratio"] == facts["placed_right"]["exact"] == 1.0
    assert facts["placed_right"]["normalised"] == 1.0
    assert facts["placed_right"]["fuzzy"] > 0.9
    assert {"seconds", "peak_mb", "command", "hardware", "versions"} <= facts.keys()
    assert "40 traces" in run("bench", "annotate", "--traces", "40", "--workers", "1").out
