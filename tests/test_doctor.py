"""The doctor tries what a request asks of models, and names what is missing."""

import json
from importlib.metadata import PackageNotFoundError, version

import pytest
from typer.testing import CliRunner

from splitreason_integrations import OpenAIServerModel, doctor
from splitreason_integrations.cli import app
from splitreason_integrations.cli.doctor import mark
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import RequestError
from tests.backends.servers import NOWHERE, serving
from tests.backends.test_server_faults import CODEC, WORDS

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def findings(done):
    found = json.loads(done.out)["findings"]
    return {one["what"]: (one["ok"], one["said"]) for one in found}


def test_the_bundled_pair_is_well(run):
    found = findings(run("doctor", "--json"))
    assert all(ok for ok, _ in found.values())
    for role in ("small", "large"):
        for name in doctor.TRIALS:
            assert f"{role} model {name}" in found
    assert found["packages"] == (True, "installed")


@pytest.mark.parametrize(
    ("small", "knows", "chosen", "idle"),
    [
        ("embedded", "opens and closes spans", "trigger tag, close tag>0.5", []),
        (
            f"hf:{path('base')}",
            "no: it gives <bigmodel> less than 0.01",
            "trigger disagreement<0.1, close (agrees | step)",
            ["tag", "tag>0.2", "tag>0.5"],
        ),
    ],
)
def test_it_says_which_rules_work_with_two_models(run, small, knows, chosen, idle):
    done = run("doctor", "--small", small, "--large", "embedded", "--json")
    found = findings(done)
    assert found["small model knows the tags"][1].startswith(knows)
    assert found["where nothing is set"][1].startswith(chosen)
    rules = json.loads(done.out)["rules"]
    assert [rule["rule"] for rule in rules if not rule["works"]] == idle
    assert all("never taught" in rule["said"] for rule in rules if not rule["works"])


def test_a_model_on_a_server_is_tried_on_each_server(run):
    with serving("completions_server", "embedded:large", "--root") as (_, url):
        found = findings(run("doctor", "--large", f"{url}#large", "--json"))
        assert "on a server" in found[f"large model {url}#large"][1]
        assert all(found[f"large model {name}"][0] for name in doctor.TRIALS)
        done = run("doctor", "--large", f"{url},{NOWHERE}#large", "--json", status=2)
        found = findings(done)
        assert found[f"large model {url}#large"][0]
        assert "cannot be reached" in found[f"large model {NOWHERE}#large"][1]
        assert "1 of" in done.err


def test_what_a_server_cannot_do_is_named(run, monkeypatch):
    script = [[token, CODEC.decode([token])] for token in WORDS[:40]]
    faults = [{"kind": "none"}] * 3 + [{"kind": "status", "status": 500, "body": "[red]x"}] * 20
    asked = {"id": "doctor", "script": script, "faults": faults, "grouping": [1]}
    with serving("faulty_server") as (_, url):
        spec = OpenAIServerModel(
            url, json.dumps(asked), tokenizer=str(path("large")), context_tokens=2048, name="ill"
        )
        monkeypatch.setattr(doctor, "resolve", lambda *_, **__: spec)
        found = findings(run("doctor", "--json", status=2))
        assert found["small model writes"][0]
        assert found["small model stops"] == (
            False,
            "ill answered with HTTP status 500: [red]x",
        )
        assert "[red]x" in " ".join(run("doctor", status=2).out.split())


@pytest.mark.parametrize(
    ("package", "what"), [("aiohttp", "packages"), ("matplotlib", "extra plot")]
)
def test_a_missing_package_is_named_with_its_remedy(monkeypatch, package, what):
    def lacking(name):
        if name == package:
            raise PackageNotFoundError(name)
        return version(name)

    def old(name):
        return "0.0.1" if name == package else version(name)

    needs = ["aiohttp>=3.10", 'matplotlib>=3.9; extra == "plot"']
    monkeypatch.setattr(doctor, "requires", lambda _: needs)
    for broken, words in ((lacking, f"{package} is not installed"), (old, "is 0.0.1, not >=")):
        monkeypatch.setattr(doctor, "version", broken)
        found = {one.what: one for one in doctor.examine_packages()}
        assert words in found[what].said
        assert 'pip install "splitreason-integrations' in found[what].said
        assert found[what].ok is what.startswith("extra"), "an extra may well be missing"
        assert found[what].optional is what.startswith("extra")
        assert found[what].said.startswith("optional; ") is found[what].optional


def test_an_optional_package_that_is_missing_has_a_dash_for_itsmark():
    missing = doctor.Finding("extra vllm", True, "optional; vllm is not installed", optional=True)
    assert str(mark(missing)) == "–"
    assert str(mark(doctor.Finding("packages", True, "installed"))) == "ok"


@pytest.mark.parametrize("command", [["doctor"], ["ask", "x"], ["eval", "--samples", "1"]], ids=str)
def test_a_key_without_a_server_is_refused(command):
    with pytest.raises(RequestError, match="name one by its address"):
        CliRunner().invoke(app, [*command, "--api-key-env", "KEY"], catch_exceptions=False)


def test_a_key_goes_to_the_servers_that_are_named(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    arguments = ["doctor", "--large", "http://127.0.0.1:9/v1#m", "--api-key-env", "NO_SUCH_KEY"]
    said = CliRunner().invoke(app, arguments).stdout
    assert "NO_SUCH_KEY" in said
