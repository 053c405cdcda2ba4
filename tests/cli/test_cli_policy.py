"""`splitreason policy`: lists, shows and checks policies."""

import io
import json

import pytest
from rich.console import Console

from splitreason_integrations import Policy
from splitreason_integrations.cli import policy as command
from splitreason_integrations.settings.policy_files import template_names
from splitreason_integrations.settings.policy_warnings import policy_warnings

FULL = """\
max_usd = 0.01
[ask_before]
min_offload_share = 0.1
pattern = "contract"
metadata = { tenant = "acme" }
sample_rate = 0.25
[[rules]]
when = { tenant = "acme" }
set = { max_spans = 2, max_usd = "none", ask_before = {} }
[models.big]
prices = { input_usd = 1, output_usd = 4 }
latency = { round_trip_s = 0.1, tokens_per_s = 64 }
"""


@pytest.fixture
def run(run):
    """Run `splitreason policy`."""
    return lambda *arguments, status=0: run("policy", *arguments, status=status)


@pytest.fixture
def full(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(FULL, "utf-8")
    return str(path)


def test_list(run):
    lines = run("list").out.splitlines()
    assert [line.partition(":")[0] for line in lines] == template_names()
    assert [one["name"] for one in json.loads(run("list", "--json").out)] == template_names()


@pytest.mark.parametrize("name", template_names())
def test_show_a_template(run, name):
    out = run("show", name).out
    assert f"Policy: {name}\n" in out
    assert "Large model's share of the tokens: at most " in out
    facts = json.loads(run("show", name, "--json").out)
    assert facts["name"] == name
    assert 0 < facts["max_offload_share"] < 1


@pytest.mark.parametrize("name", template_names())
def test_show_a_templates_own_words(run, name):
    facts = json.loads(run("show", name, "--json").out)
    lines = run("show", name).out.splitlines()
    for key, title in command._WORDS:
        assert facts[key], f"{name} does not say {key}"
        assert " ".join(facts[key].split()) == facts[key], "one line, without double spaces"
        assert f"{title}: {facts[key]}" in lines


def test_export_to_standard_output_and_to_a_file(run, tmp_path):
    path = tmp_path / "mine.toml"
    text = run("export", "balanced").out
    assert text.startswith("# Balanced")
    assert run("export", "balanced", "--out", str(path)).out == f"wrote balanced to {path}\n"
    assert path.read_text("utf-8") == text
    assert Policy.load(path) == Policy.template("balanced")
    facts = json.loads(run("export", "balanced", "--json").out)
    assert facts == {"name": "balanced", "file": None, "toml": text}


def test_export_replaces_a_file_only_by_force(run, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("# mine\n", "utf-8")
    done = run("export", "balanced", "--out", str(path), status=2)
    assert done.out == ""
    assert "mine.toml exists; --force replaces it" in done.err
    assert path.read_text("utf-8") == "# mine\n"
    run("export", "untaught", "--out", str(path), "--force")
    assert Policy.load(path) == Policy.template("untaught")


def test_a_summary_is_shown_only_if_there_is_one(run, full, tmp_path):
    assert "Summary" not in run("show", full).out
    path = tmp_path / "told.toml"
    path.write_text('suits = "night jobs"\n', "utf-8")
    assert "Whom it suits: night jobs" in run("show", str(path)).out


def test_show_a_file_in_words(run, full):
    lines = run("show", full).out.splitlines()
    assert "Large model's cost of a reply: at most 0.01 USD" in lines
    assert "Spans in a reply: no cap" in lines
    assert (
        "A person is asked before a span: in 25.0% of the cases where the large model's share is "
        "10.0% or more and the text matches 'contract' and tenant = acme"
    ) in lines
    assert "Where tenant = acme: max_spans = 2, max_usd = none, ask_before = always" in lines
    assert (
        "Large model big: 1 / 4 USD per million tokens; a span's tokens cost at most 0.001024 USD; "
        "0.1 s and 64 tokens/s; a span takes at most 4.1 s"
    ) in lines


def test_check_warns_where_the_words_of_a_changed_file_contradict_it(run, tmp_path):
    path = tmp_path / "mine.toml"
    text = run("export", "balanced").out
    path.write_text(text, "utf-8")
    assert run("check", str(path)).err == ""
    changed = text.replace("max_offload_share = 0.3", "max_offload_share = 0.2")
    changed = changed.replace("max_spans = 8", "")
    path.write_text(changed, "utf-8")
    for asked in ("check", "show"):
        assert run(asked, str(path)).err.splitlines() == [
            "warning: summary says '30 %', and max_offload_share is 0.2: change one of them",
            "warning: summary says '8 spans', and max_spans is not set: change one of them",
            "warning: allows says '30 %', and max_offload_share is 0.2: change one of them",
            "warning: allows says '8 spans', and max_spans is not set: change one of them",
        ]
    assert len(json.loads(run("check", str(path), "--json").out)["warnings"]) == 4


@pytest.mark.parametrize("name", template_names())
def test_the_words_of_a_template_agree_with_its_settings(name):
    assert policy_warnings(Policy.template(name)) == []


@pytest.mark.parametrize(
    ("text", "warns"),
    [
        ("max_usd = 1", True),
        ('[[rules]]\nwhen = { tier = "gold" }\nset = { max_usd = 1 }', True),
        ("max_usd = 1\n[models.big]\nprices = { input_usd = 0, output_usd = 0 }", True),
        ("max_usd = 1\n[models.big]\nprices = { output_usd = 2 }", False),
        ("max_spans = 1", False),
    ],
)
def test_check_warns_of_a_cap_on_the_cost_without_prices(run, tmp_path, text, warns):
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    done = run("check", str(path))
    assert ("max_usd needs prices" in done.err) is warns
    assert "is a valid policy" in done.out


def test_a_terminal_gets_a_table(run, full, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(command, "Screen", lambda **settings: console)
    assert run("show", full).out == ""
    assert "│" in screen.getvalue()


def test_check(run, full, tmp_path):
    assert "is a valid policy" in run("check", full).out
    facts = json.loads(run("check", full, "--json").out)
    assert facts["valid"]
    assert facts["policy"]["max_usd"] == 0.01
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("# mine\nmax_span = 3\n", "utf-8")
    for arguments in (["check", str(wrong)], ["check", str(wrong), "--json"], ["show", str(wrong)]):
        done = run(*arguments, status=2)
        assert done.out == ""
        (line,) = done.err.splitlines()
        assert "wrong.toml, line 2: unknown policy setting 'max_span'; did you mean" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "nowhere.toml"], "cannot read the policy nowhere.toml"),
        (["show", "nowhere.toml"], "splitreason policy list"),
        (["show", "balance"], "did you mean 'balanced'? A file's path must end in .toml"),
        (["show", "zzz"], "regulated, untaught. A file's path must end in .toml"),
        (["export", "balance"], "did you mean 'balanced'"),
        (["export", "balanced", "--out", "nowhere/mine.toml"], "cannot write nowhere/mine.toml"),
    ],
)
def test_errors_are_one_line_and_status_2(run, arguments, says):
    done = run(*arguments, status=2)
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert says in done.err
