"""Naming one model of a pair asks for the other: no named model is joined with a bundled one."""

import copy
import pickle
import re
from dataclasses import replace

import pytest
from langchain_core.runnables import ConfigurableField

from langchain_splitreason import SplitReasonLLM as ChatModel
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import SplitEngine
from splitreason_integrations.testing import ScriptedModel

BOTH = "name both models, or neither for the bundled pair"
SMALL, LARGE = "hf:little", "hf:big"
DOORS = [SplitEngine, ChatModel, LlamaIndexLLM]
LLMS = [ChatModel, LlamaIndexLLM]


def small():
    return ScriptedModel("Seven.</think>\n\nSeven.", name="little")


def refusal(call):
    """Return what a call says about half a pair; empty where it is taken."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def ask(llm, **options):
    if isinstance(llm, LlamaIndexLLM):
        return llm.complete("hi", **options).text
    return llm.invoke("hi", **options).content


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"small": SMALL}, "large"),
        ({"large": LARGE}, "small"),
        ({"large": [LARGE, "embedded"]}, "small"),
        ({"small": "embedded"}, "large"),
        ({"large": "embedded"}, "small"),
    ],
)
def test_half_a_pair_is_refused(door, given, missing):
    said = refusal(lambda: door(**given))
    assert f"{next(iter(given))} is named and {missing} is not: {BOTH}" in said
    assert f'{missing}="embedded"' in said


@pytest.mark.parametrize("door", DOORS)
def test_a_loaded_model_is_named_too(door):
    assert BOTH in refusal(lambda: door(small=small()))
    assert BOTH in refusal(lambda: door(large=small()))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"small": SMALL, "large": LARGE},
        {"small": "embedded", "large": LARGE},
        {"small": SMALL, "large": "embedded"},
        {"small": "embedded", "large": "embedded"},
    ],
)
def test_both_or_neither_are_taken(door, given):
    made = door(**given)
    assert made.small == given.get("small", "embedded")
    assert made.large == given.get("large", "embedded")


@pytest.mark.parametrize("llm", LLMS)
def test_model_names_the_small_one_or_both(llm):
    for name in (SMALL, f"splitreason/{SMALL}"):
        for argument in ("model", "model_name"):
            assert BOTH in refusal(lambda name=name, option=argument: llm(**{option: name}))
    assert llm(model=SMALL, large=LARGE).model_name == f"splitreason/{SMALL}+{LARGE}"
    assert llm(model=f"splitreason/{SMALL}+{LARGE}").large == LARGE
    assert llm(model="embedded").model_name == "splitreason/embedded+embedded"
    assert llm(model="embedded", large=LARGE).large == LARGE


@pytest.mark.parametrize("llm", LLMS)
def test_options_of_one_call(llm):
    bundled, named = llm(), llm(small="embedded", large=small())
    for options in ({"small": small()}, {"large": small()}, {"model": SMALL}):
        assert BOTH in refusal(lambda options=options: ask(bundled, **options))
    assert BOTH in refusal(lambda: bundled.with_options({"seed": 1}).with_options({"large": LARGE}))
    assert ask(named, small=small()) == "Seven."
    assert named.with_options({"model": SMALL}).small == SMALL
    assert bundled.with_options({"small": SMALL, "large": LARGE}).large == LARGE
    assert bundled.with_options({"model": f"{SMALL}+{LARGE}"}).small == SMALL


def test_configurable_fields():
    fields = {name: ConfigurableField(id=name) for name in ("small", "large")}
    model = ChatModel(seed=1).configurable_fields(**fields)
    for side, spec in (("small", small()), ("large", small())):
        config = {"configurable": {side: spec}}
        assert BOTH in refusal(lambda config=config: model.invoke("hi", config))
    both = {"configurable": {"small": small(), "large": small()}}
    assert model.invoke("hi", both).content == "Seven."


def test_a_replaced_or_copied_default_is_still_unnamed():
    engine = SplitEngine()
    assert BOTH in refusal(lambda: replace(engine, large=LARGE))
    assert replace(engine, small=SMALL, large=LARGE).large == LARGE
    assert BOTH in refusal(lambda: replace(copy.deepcopy(engine), small=SMALL))
    again = pickle.loads(pickle.dumps(ChatModel().small))  # noqa: S301
    assert BOTH in refusal(lambda: SplitEngine(small=again, large=LARGE))


COMMANDS = ["ask hi", "eval", "calibrate --max-share 0.1", "plan --measure", "bench overhead"]
COMMANDS += ["bench disagreement"]
COMMANDS += ["bench servers", "annotate gap {traces} --out {out}", "shadow --sample-spans 1"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("side", ["small", "large"])
def test_commands_refuse_half_a_pair(run, tmp_path, command, side):
    traces = tmp_path / "traces.jsonl"
    traces.write_text('{"question": "?", "trace": "1 + 1 = 2", "answer": "2"}\n', "utf-8")
    arguments = command.format(traces=traces, out=tmp_path / "out.jsonl").split()
    done = run(*arguments, f"--{side}", "embedded", status=2)
    other = {"small": "large", "large": "small"}[side]
    assert done.out == ""
    assert f"--{side} is named and --{other} is not: {BOTH}" in done.err
    assert f"--{other} embedded" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_small_model_to_compare_needs_a_large_one(run):
    done = run("eval", "--compare", "embedded:base", status=2)
    assert "--compare names a small model and --large is not named" in done.err


def test_one_model_can_be_examined_alone(run):
    done = run("shadow", "--small", "embedded", "--samples", "1", "--max-tokens", "20", "--json")
    assert '"estimates"' in done.out
    refused = run("shadow", "--large", "embedded", status=2)
    assert BOTH in refused.err
    found = run("doctor", "--small", "embedded", "--json")
    assert re.search(r'"small', found.out)
    assert not re.search(r'"large', found.out)
