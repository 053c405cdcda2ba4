"""An option is declared once: engine, chat models, requests and command read that declaration."""

import inspect
import math
import re
from dataclasses import fields
from types import NoneType
from typing import get_args

import pytest
import typer
from pydantic import ValidationError
from typer.testing import CliRunner

from langchain_splitreason import SplitReasonLLM as ChatModel
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import (
    Agrees,
    Policy,
    Request,
    Sampling,
    SplitEngine,
    StepEnd,
    TagClose,
)
from splitreason_integrations.cli import options as flags
from splitreason_integrations.cli.ask import ask
from splitreason_integrations.errors import SplitReasonError
from splitreason_integrations.options import OPTIONS, TABLE, Option, names_for
from splitreason_integrations.settings.options import PairSettings
from splitreason_integrations.testing import ScriptedModel

LLMS = [ChatModel, LlamaIndexLLM]
NUMBERS = [option for option in TABLE if option.kind in (int, float)]
OF_REQUESTS = {"request_metadata": "metadata"}
MADE = {"policy", "retry", "telemetry", "request_metadata", "stop"}
"""Options whose default the taker makes an object of."""


def by_name(option):
    return option.name


def wrong_values(option):
    below, above = option.least, option.most + 1
    values = ["some"] + ([] if math.isinf(below) else [below if option.above else below - 1])
    return values + ([] if math.isinf(above) else [above])


def said(make, **given):
    with pytest.raises((SplitReasonError, ValidationError)) as refused:
        make(**given)
    return str(refused.value)


@pytest.mark.parametrize("option", TABLE, ids=by_name)
def test_an_engine_sampling_or_request_has_every_option(option):
    takers = {"engine": SplitEngine, "sampling": Sampling, "request": Request}
    if option.taker == "chat":
        return
    taken = {field.name: field for field in fields(takers[option.taker])}
    field = taken[OF_REQUESTS.get(option.name, option.name)]
    if option.name not in MADE:
        assert field.default == option.default


def test_an_engine_and_a_sampling_have_no_other_options():
    assert {field.name for field in fields(SplitEngine)} == set(names_for("engine"))
    assert {field.name for field in fields(Sampling)} == set(names_for("sampling"))


@pytest.mark.parametrize("llm", LLMS)
@pytest.mark.parametrize("option", TABLE, ids=by_name)
def test_both_chat_models_have_every_option(llm, option):
    field = llm.model_fields[option.attribute]
    assert field.description == option.text
    if option.name not in MADE:
        assert field.get_default(call_default_factory=True) == option.default
    if option.kind is not object and not option.choices:
        kinds = {one for one in get_args(field.annotation) if one is not NoneType}
        assert kinds == {option.kind} or field.annotation is option.kind


@pytest.mark.parametrize("llm", LLMS)
def test_both_chat_models_have_no_other_option_of_ours(llm):
    others = [base for base in llm.__mro__ if not issubclass(base, PairSettings)]
    ours = set(llm.model_fields) - {
        name for base in others for name in getattr(base, "model_fields", {})
    }
    # The last two are about LangChain's own streams and caches.
    assert ours <= {*(option.attribute for option in TABLE), "streaming", "cache_human_checked"}


def test_the_json_schema_of_the_settings_says_text_and_range():
    schema = PairSettings.model_json_schema(by_alias=False)["properties"]
    for option in TABLE:
        assert schema[option.attribute]["description"] == option.text
        assert schema[option.attribute].items() >= option.json_schema().items()


@pytest.mark.parametrize("option", NUMBERS, ids=by_name)
def test_a_range_is_the_same_at_every_door(option):
    for value in wrong_values(option):
        texts = {said(lambda value=value: option.check(value))}
        if option.taker == "engine":
            texts.add(said(SplitEngine, **{option.name: value}))
        if option.taker == "sampling":
            texts.add(said(Sampling, **{option.name: value}))
        if option.taker == "request":
            texts.add(said(Request, messages=[], **{option.name: value}))
        assert len(texts) == 1
        if value != "some":
            assert texts.pop() in said(ChatModel, **{option.name: value})


def test_a_choice_is_held_to():
    for make in (SplitEngine, ChatModel, LlamaIndexLLM):
        assert "'small' or 'raise'" in said(make, on_large_failure="ignore")


@pytest.mark.parametrize("option", TABLE, ids=by_name)
def test_the_command_has_every_plain_option(run, option):
    if option.kind is object and option.name not in (
        "small",
        "large",
        "trigger",
        "close",
        "policy",
    ):
        return
    shown = run("ask", "--help").out
    assert re.search(rf"{option.flag} [A-Z<\[]", shown)
    # The command's own default takes the place of what holds unset.
    meaning = option.text.partition("; unset, ")[0].rstrip(".")
    assert "".join(meaning.split()) in "".join(shown.split()), "lines may break at a hyphen"


def test_an_option_that_is_declared_appears_in_the_command(monkeypatch):
    added = Option(name="patience", taker="chat", text="How patient.", kind=int, least=3)
    monkeypatch.setattr(flags, "TABLE", (*TABLE, added))
    monkeypatch.setattr(flags, "OPTIONS", {**OPTIONS, "patience": added})

    seen = []

    def command(question: str, **given: object) -> None:
        seen.append(given["patience"])

    app = typer.Typer()
    app.command()(flags.with_declared(command))
    assert "How patient." in CliRunner().invoke(app, ["--help"]).output
    assert CliRunner().invoke(app, ["why", "--patience", "2"]).exit_code == 2
    assert CliRunner().invoke(app, ["why", "--patience", "3"]).exit_code == 0
    assert seen == [3]


def test_given_options_reach_the_engine_and_the_request():
    given = {"handback_tokens": 25, "max_retries": 4, "timeout": 9, "top_k": 3}
    engine = flags.applied(SplitEngine(), given)
    assert (engine.handback_tokens, engine.retry.attempts) == (25, 5)
    assert engine.policy.deadline_s == 9
    assert flags.sampling(given) == Sampling(top_k=3)
    assert flags.applied(SplitEngine(), {}) == SplitEngine()


def test_ask_takes_them(run):
    done = run("ask", "hi", "--on-large-failure", "ignore", status=2)
    assert "'small', 'raise'" in done.err
    assert "top_p must be above 0" in run("ask", "hi", "--top-p", "0", status=2).err
    assert "close" in inspect.signature(ask).parameters


REPLACED = [
    (0.3, 'close_threshold is now close: write close = "tag>0.3"'),
    (1, 'close = "tag>1", which leaves the end to the large model'),
    ("often", 'close = "tag>0.5"'),
]


@pytest.mark.parametrize(("value", "remedy"), REPLACED)
def test_the_option_that_close_replaces_names_the_new_form(value, remedy):
    for llm in LLMS:
        assert remedy in said(llm, close_threshold=value)
        assert remedy in said(llm().with_options, options={"close_threshold": value})
    assert remedy in said(ChatModel().bind_tools, tools=[], close_threshold=value)
    assert remedy in said(SplitEngine, close_threshold=value)


@pytest.mark.parametrize("command", [("ask", "hi"), ("bench", "servers")])
def test_the_flag_that_close_replaces_names_the_new_form(run, command):
    done = run(*command, "--close-threshold", "0.3", status=2)
    assert "it is now --close: write --close 'tag>0.3'" in done.err
    assert "--close-threshold" not in run(command[0], "--help").out


@pytest.mark.parametrize("llm", LLMS)
def test_a_chat_model_reads_a_close_rule(llm):
    model = llm(close="agrees:2 | step")
    assert model.close_rule == Agrees(2) | StepEnd()
    assert model.engine().close == Agrees(2) | StepEnd()
    assert model.with_options({"close": "step"}).close_rule == StepEnd()
    assert model.with_options({"seed": 3}).close_rule == Agrees(2) | StepEnd()
    assert llm(close=TagClose(0.3)).plain_options()["close"] == "tag>0.3"
    assert "unknown close rule 'often'" in said(llm, close="often")
    assert "close must be a CloseRule such as" in said(llm, close=0.5)
    # The bundled pair is shared by the tests of this process: other models are freed here.
    model = llm(small=ScriptedModel("x"), large=ScriptedModel("y"), close="step")
    model.close()
    assert model.close_rule == StepEnd()


def test_what_a_call_names_goes_before_the_policy():
    policy = Policy(close="step")
    assert SplitEngine(policy=policy).close == StepEnd()
    assert SplitEngine(policy=policy, close=Agrees()).close == Agrees()
    assert ChatModel(policy=policy).engine().close == StepEnd()
    assert flags.engine(None, None, None, policy=None, close="agrees").close == Agrees()
