"""What it costs that the large model reads along, measured by turns on one pair."""

import json
from itertools import count
from types import SimpleNamespace

import pytest

from splitreason_integrations.evals import reading_cost
from splitreason_integrations.evals.reading_cost import Clocked
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.testing import ScriptedModel
from tests.backends.servers import order, serving, write

TASKS = generated("test", ["word"], n=3, seed=1)
WORDS = "one two three. <bigmodel>four five six seven. " * 4


@pytest.fixture
def counted(monkeypatch):
    """A clock that is a second later at each look."""
    seconds = count()
    clock = SimpleNamespace(perf_counter=lambda: next(seconds))
    monkeypatch.setattr(reading_cost, "time", clock)


def scripted(name, text=WORDS, **more):
    return ScriptedModel(text, name=name, reading=unlikely, **more)


def unlikely(text, token):
    return 0.01 if token == "." else 0.9


async def test_a_token_waits_from_its_writing_to_its_showing(counted):
    model = Clocked(scripted("small", "one two three four five six", slice_tokens=2))
    model._model.codec.render([{"role": "user", "content": "hi"}], None)
    session = model.open(model.codec.render([{"role": "user", "content": "hi"}], None).token_ids)
    await write(session, order(4))
    session.truncate(session.length - 1)
    model.note_shown(3)
    assert model.waited_s == [2, 2, 1]
    await write(session, order(1))
    model.note_shown(1)
    assert model.waited_s == [2, 2, 1, 1]


async def test_every_row_answers_every_problem_once_it_is_warm(counted):
    small, large = scripted("small"), scripted("large", "so </bigmodel>" * 20)
    noted = []
    found = await reading_cost.reading_cost(
        (small, large), TASKS, lambda *one: noted.append(one), untaught=scripted("base")
    )
    assert [(row["small"], row["trigger"], row["close"]) for row in found["rows"]] == [
        ("small", "tag", "tag>0.5"),
        ("small", "(tag | disagreement<0.1)", "tag>0.5"),
        ("small", "disagreement<0.1", "agrees"),
        ("base", "disagreement<0.1", "agrees"),
    ]
    assert noted == [("reading along", done, 3) for done in range(4)]
    tag, *others = found["rows"]
    assert (tag["wall_ratio"], tag["wall_interval"]) == (1.0, [1.0, 1.0])
    assert tag["chunks_an_answer"] == tag["chunk_tokens"] == tag["read_tokens_an_answer"] == 0
    for row in others:
        assert row["chunks_an_answer"] > 1
        assert 1 < row["chunk_tokens"] <= 64
        assert row["read_tokens_an_answer"] > row["tokens_an_answer"] * (1 - row["offload_share"])
        assert row["shown_after_ms"] > 0
        assert row["offload_share"] > 0
    assert small.open_sessions == large.open_sessions == 0


def test_the_command_compares_the_bundled_models(run):
    found = json.loads(run("bench", "disagreement", "--samples", "2", "--json").out)
    assert {row["small"] for row in found["rows"]} == {
        "splitreason-embedded-small",
        "splitreason-embedded-base",
    }
    assert len(found["rows"]) == 4
    assert {row["accuracy"] for row in found["rows"]} == {1.0}
    assert {"bench", "command", "hardware", "date"} <= found.keys()


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_the_command_compares_models_on_servers(run):
    with (
        serving("completions_server", "embedded:small", "--root") as (_, small),
        serving("completions_server", "embedded:large", "--root") as (_, large),
    ):
        pair = ["--small", f"{small}#large", "--large", f"{large}#large"]
        shown = run("bench", "disagreement", "--samples", "1", *pair).out
    assert shown.count("wall time ÷ tag") == 3
    assert shown.count("read in chunks of") == 2
