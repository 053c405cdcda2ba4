"""`splitreason plan`, as users run it."""

import json
import tomllib

import pytest

from splitreason_integrations.planning import figures as figure_files

FIGURES = (
    "--small-tokens-per-s", "4000", "--small-read-tokens-per-s", "40000",
    "--large-tokens-per-s", "900", "--large-read-tokens-per-s", "6000",
    "--concurrency", "32", "--prompt-tokens", "400", "--tokens", "3000",
    "--offload-share", "0.05", "--spans", "8",
)  # fmt: skip
PRICES = (
    "--small-usd-per-gpu-hour", "2", "--large-usd-per-gpu-hour", "4", "--large-gpus", "2",
    "--large-output-usd", "3", "--round-trip-ms", "50",
)  # fmt: skip


def test_options_make_a_plan(run):
    facts = json.loads(run("plan", *FIGURES, *PRICES, "--load", "5", "--json").out)
    split, alone = facts["split"], facts["large_alone"]
    assert split["load_per_s"] == alone["load_per_s"] == 5
    assert [one["model"] for one in split["stations"]] == ["small", "large"]
    assert split["gpus"] < alone["gpus"]
    assert split["usd_per_1k"]["total"] < alone["usd_per_1k"]["total"]
    assert split["usd_per_1k"]["tokens"] == pytest.approx(1000 * 150 * 3 / 1e6)
    assert split["bottleneck"] in ("small", "large")
    assert facts["figures"]["round_trip_s"] == pytest.approx(0.05)
    assert facts["figures"]["small"]["concurrency"] == 32
    assert facts["check"] is None
    assert {"command", "hardware", "versions", "date"} <= facts.keys()


def test_people_get_a_table(run):
    done = run("plan", *FIGURES, *PRICES, "--gpus", "16")
    for text in ("large alone", "replicas of small", "USD per 1k", "is the bottleneck", "70%"):
        assert text in done.out
    assert "\x1b" not in done.out


def test_a_cost_without_a_price_is_not_shown_as_nothing(run):
    done = run("plan", *FIGURES)
    rows = {line[:30].strip(): line[30:].split() for line in done.out.splitlines() if line}
    costs = ("USD per 1k, tokens", "USD per 1k, replicas", "USD per 1k")
    assert [rows[name] for name in costs] == [["–", "–"]] * 3
    assert "--large-usd-per-gpu-hour" in done.out
    tokens = run("plan", *FIGURES, "--large-output-usd", "3").out
    rows = {line[:30].strip(): line[30:].split() for line in tokens.splitlines() if line}
    assert [rows[name] for name in costs] == [["0.45", "9"], ["–", "–"], ["0.45", "9"]]
    facts = json.loads(run("plan", *FIGURES, "--json").out)
    assert facts["split"]["usd_per_1k"] == {"tokens": None, "gpus": None, "total": None}


def test_options_go_before_a_file_and_files_read_as_written(run, tmp_path):
    path = tmp_path / "figures.toml"
    done = run("plan", *FIGURES, "--out", str(path), "--json")
    assert str(path) in done.err
    assert tomllib.loads(path.read_text("utf-8")) == json.loads(done.out)["figures"]
    dearer = run("plan", str(path), "--large-output-usd", "9", "--no-shared", "--json")
    assert json.loads(dearer.out)["figures"]["large"]["prices"] == {"output_usd": 9.0}
    as_json = tmp_path / "figures.json"
    as_json.write_text(json.dumps(json.loads(done.out)["figures"]), "utf-8")
    assert figure_files.load(as_json) == figure_files.load(path)
    shared = json.loads(run("plan", str(as_json), "--shared", "--json").out)
    assert [one["model"] for one in shared["split"]["stations"]] == ["both"]


@pytest.mark.slow
def test_measured_figures_are_checked_against_a_run(run, tmp_path):
    path = tmp_path / "figures.toml"
    measuring = ("--measure", "--samples", "4", "--concurrency", "2", "--load", "20")
    facts = json.loads(run("plan", *measuring, "--out", str(path), "--json").out)
    assert facts["check"]["at_once"] == 2
    for name in ("answers_per_s", "latency_s", "offload_share"):
        row = facts["check"][name]
        assert row["error"] == pytest.approx(row["predicted"] / row["measured"] - 1)
    assert facts["shared"]
    assert figure_files.load(path).small.concurrency == 2
    again = json.loads(run("plan", str(path), "--load", "20", "--json").out)
    assert again["split"] == facts["split"]


def test_people_see_the_prediction_beside_the_run(run):
    done = run("plan", "--measure", "--samples", "2", "--concurrency", "1")
    for text in (
        "1 concurrent",
        "predicted",
        "measured",
        "error",
        "offload share",
        "share a device",
    ):
        assert text in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--measure"),
        (["--tokens", "9"], "--small-tokens-per-s: tokens_per_s is missing"),
        ([*FIGURES, "--large-tokens-per-s", "0"], "--large-tokens-per-s: tokens_per_s"),
        ([*FIGURES, "--large-input-usd", "-1"], "--large-input-usd: input_usd"),
        ([*FIGURES, "--spans", "0"], "--spans: spans and offload_share"),
        ([*FIGURES, "--load", "1", "--gpus", "2"], "either a load or GPUs"),
        ([*FIGURES, "--gpus", "1"], "do not hold a replica"),
        ([*FIGURES, "--utilisation", "1"], "below 1"),
        ([*FIGURES, "--load", "1e15"], "check the load"),
        ([*FIGURES, "--shared", "--large-gpus", "2"], "same gpus"),
        ([*FIGURES, "--out", "nowhere/figures.toml"], "nowhere"),
        (["nowhere.toml"], "--measure --out"),
        (["some.toml", "--measure"], "either a file of figures or --measure"),
        (["--measure", "--samples", "2", "--concurrency", "3"], "lower concurrency"),
        (["--measure", "--small", "embedded", "--large", "gpt-9"], "use 'embedded'"),
        (["--measure", "--data", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_errors_are_one_line_and_status_2(run, arguments, says):
    done = run("plan", *arguments, status=2)
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert says in done.err
