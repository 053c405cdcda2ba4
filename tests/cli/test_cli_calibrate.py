"""`splitreason calibrate` and `splitreason shadow`, as users run them."""

import json
import sys
import tomllib

import pytest

from splitreason_integrations import Prices, SplitEngine, embedded
from splitreason_integrations.cli import options
from splitreason_integrations.cli.chart import Mark, chart
from splitreason_integrations.evals.scalars import NATS

FEW = ("--samples", "20", "--runs", "2", "--seed", "1", "--max-tokens", "160")
POINT = ("--point", "--samples", "3", "--runs", "2", "--seed", "1")
LEAST = {
    "threshold", "trigger", "offload_share", "interval", "accuracy", "usd_per_1k", "n", "curve",
    "command", "hardware", "versions", "date",
}  # fmt: skip


def test_calibrate_json_and_its_policy_file(run, tmp_path):
    out = tmp_path / "policy.toml"
    done = run(
        "calibrate", "--max-share", "0.4", *FEW, "--request-cap", "0.3", "--out", str(out), "--json"
    )
    facts = json.loads(done.out)
    assert facts.keys() >= LEAST
    assert facts["n"] == 20
    assert facts["interval"][1] <= 0.4
    text = out.read_text("utf-8")
    assert tomllib.loads(text) == {
        "trigger": facts["trigger"],
        "close": "tag>0.5",
        "max_offload_share": 0.3,
    }
    assert facts["command"] in text
    assert str(out) in done.err


def test_calibrate_shows_a_table_and_a_chart(run, tmp_path):
    picture = tmp_path / "curve.png"
    done = run(
        "calibrate",
        "--max-usd-per-1k",
        "5",
        *POINT,
        "--large-output-usd",
        "2",
        "--plot",
        str(picture),
    )
    assert "→" in done.out
    assert "at most 5 USD per 1,000 requests" in done.out
    assert "●" in done.out
    assert "\x1b" not in done.out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_calibrate_on_prompts_without_answers(run, tmp_path):
    path = tmp_path / "set.jsonl"
    question = (
        "Mia buys 47 packs of 23 cards each. Then Mia sells 12 cards. "
        "How many cards does Mia have now?"
    )
    path.write_text(f"{json.dumps({'question': question})}\n" * 2, "utf-8")
    done = run(
        "calibrate", "--data", str(path), "--max-share", "0.9", "--runs", "1", "--point", "--json"
    )
    assert json.loads(done.out)["accuracy"] is None
    done = run("calibrate", "--data", str(path), "--min-accuracy", "0.9", status=2)
    assert 'line 1: needs "answer"' in done.err


def test_shadow_json(run):
    done = run(
        "shadow", "--samples", "3", "--trigger", "tag>0.5", "--trigger", "never", "--sample-spans",
        "2", "--round-trip-ms", "80", "--large-tokens-per-s", "40", "--json",
    )  # fmt: skip
    facts = json.loads(done.out)
    tag, never = facts["estimates"]
    assert tag["handoffs"] > 0 == never["handoffs"]
    assert tag["added_latency_s"] > 0 == never["added_latency_s"]
    assert {"n", "span_tokens", "command", "hardware", "versions", "date"} <= facts.keys()


def test_shadow_shows_a_table(run):
    done = run("shadow", "--samples", "2", "--span-tokens", "12")
    for text in ("tag>0.99", "tag>0.1", "12.0 tokens per span (assumed; --sample-spans"):
        assert text in done.out
    assert "never taught" not in done.out


def test_shadow_says_that_a_small_model_was_never_taught(run):
    asked = ("--samples", "1", "--small", f"hf:{embedded.path('base')}")
    done = run("shadow", *asked)
    assert done.out.count("was never taught to mark spans: with `tag` no span will open") == 1
    assert "entropy>1.5" in done.out
    assert "disagreement" not in done.out.partition("estimated from")[0]
    done = run("shadow", *asked, "--trigger", "disagreement<0.1", status=2)
    assert "name it with --large" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["calibrate"], "give one of --max-share"),
        (["calibrate", "--max-share", "0.1", "--min-accuracy", "0.9"], "give one of"),
        (["calibrate", "--max-share", "5"], "must lie in (0, 1]"),
        (["calibrate", "--max-usd-per-1k", "1"], "--large-output-usd"),
        (["calibrate", "--max-share", "0.1", "--out", "nowhere/policy.toml"], "nowhere"),
        (["calibrate", "--max-share", "0.1", "--plot", "curve.doc"], "one of .png"),
        (["calibrate", "--max-share", "0.1", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (
            ["calibrate", "--max-share", "0.1", "--small", "embedded", "--large", "gpt-9", *FEW],
            "use 'embedded'",
        ),
        (["calibrate", "--max-share", "0.1", "--samples", "19"], "20 prompts or more"),
        (["calibrate", "--max-share", "0.1", "--trigger", "sometimes"], "unknown trigger"),
        (["calibrate", "--max-share", "0.1", "--trigger", "entropy>1.5"], "no threshold"),
        (
            ["calibrate", "--max-share", "0.1", "--trigger", "loop", "--close", "step"],
            "no threshold to calibrate",
        ),
        (["shadow", "--trigger", "sometimes"], "unknown trigger"),
        (["shadow", "--span-tokens", "9", "--sample-spans", "2"], "give one of --span-tokens"),
        (["shadow", "--large-tokens-per-s", "0"], "tokens_per_s"),
    ],
)
def test_errors_are_one_line_and_status_2(run, arguments, says):
    done = run(*arguments, status=2)
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert says in done.err


def test_measurements_are_shown_if_no_threshold_meets_the_goal(run, tmp_path):
    asked = ("calibrate", "--max-share", "0.0001", *POINT, "--out", str(tmp_path / "policy.toml"))
    done = run(*asked, status=2)
    assert all(part in done.err for part in ("tag>", "--runs", "higher cap"))
    assert "offload share" in done.out
    facts = json.loads(run(*asked, "--json", status=2).out)
    assert facts["threshold"] is None
    assert len(facts["curve"]) == 2
    assert not (tmp_path / "policy.toml").exists()


def test_a_plot_without_matplotlib_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run("calibrate", "--max-share", "0.1", "--plot", "curve.png", status=2)
    assert "splitreason-integrations[plot]" in done.err


def test_the_chart_puts_marks_where_they_belong():
    marks = [Mark(0.5, 0.2, 0.1, 0.3), Mark(0.99, 0.05, 0.04, 0.06, chosen=True)]
    lines = chart(marks, bound=0.1, title="share", formatted="{:.0%}".format).plain.splitlines()
    assert lines[0].strip() == "share"
    at = {mark: next(i for i, line in enumerate(lines) if mark in line) for mark in "○●┄"}
    assert at["○"] < at["┄"] < at["●"]
    assert lines[at["┄"]].startswith("      10% │")
    assert lines[-1].split() == ["0.5", "0.9", "0.99"]


def test_calibrate_takes_another_trigger(run, tmp_path):
    out = tmp_path / "policy.toml"
    done = run(
        "calibrate", "--trigger", "confidence", "--close", "step", "--max-share", "0.9", *POINT,
        "--out", str(out),
    )  # fmt: skip
    assert "confidence<" in done.out
    assert "AUC of confidence" in done.out
    assert tomllib.loads(out.read_text("utf-8"))["close"] == "step"


def test_calibrate_takes_a_close_rule(run):
    done = run(
        "calibrate", "--trigger", "random:0.02", "--close", "entropy", "--max-share", "0.9",
        *POINT, "--json",
    )  # fmt: skip
    facts = json.loads(done.out)
    assert facts["trigger"] == "random:0.02"
    assert facts["close"].startswith("entropy<")


def test_the_chart_of_an_entropy_is_logarithmic():
    marks = [Mark(0.1, 0.2, 0.1, 0.3), Mark(1.0, 0.1, 0.0, 0.2), Mark(10.0, 0.05, 0.04, 0.06)]
    lines = chart(
        marks, bound=0.1, title="share", formatted="{:.0%}".format, scale=NATS
    ).plain.splitlines()
    assert lines[-1].split() == ["0.1", "0.3", "1", "3", "10"]


def test_a_priced_large_model_on_a_server_takes_the_key(monkeypatch):
    monkeypatch.setenv("THE_KEY", "secret")
    large = "http://127.0.0.1:9/v1#big"
    engine = options.priced(SplitEngine(small="embedded", large=large), Prices(output_usd=2.0))
    keyed = options.keyed(engine, "THE_KEY")
    assert (keyed.large.api_key_env, keyed.large.prices) == ("THE_KEY", Prices(output_usd=2.0))


@pytest.mark.parametrize("command", [["calibrate", "--max-share", "0.1"], ["shadow"]], ids=str)
def test_a_limit_on_the_cost_needs_prices_and_a_key_needs_a_server(run, command):
    done = run(*command, "--max-usd", "1", status=2)
    assert "--max-usd needs --large-input-usd" in done.err
    done = run(*command, "--api-key-env", "THE_KEY", status=2)
    assert "--api-key-env is the key of models on servers" in done.err


def test_shadow_ends_once_the_limit_is_reached(run):
    done = run(
        "shadow", "--samples", "4", "--trigger", "tag>0.5", "--sample-spans", "4", "--max-tokens",
        "160", "--large-output-usd", "1000", "--max-usd", "0.000001", status=2,
    )  # fmt: skip
    assert "--max-usd is reached" in done.err
    assert "allow more with --max-usd" in done.err
