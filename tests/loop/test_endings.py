"""Why spans and replies end: the tables name every value that the engine gives."""

import ast
from pathlib import Path

import pytest

import splitreason_integrations
from splitreason_integrations import ModelTerms, Policy, Prices, Request, SplitEngine
from splitreason_integrations.cli.display import cost_line
from splitreason_integrations.decide.policy import Room
from splitreason_integrations.records.endings import CAPS, CLOSED_BY, STOP_REASONS
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import HELLO, complete

ROOT = Path(splitreason_integrations.__file__).parent
SMALL, LARGE = "Hm.<bigmodel> so.</think>Done.", "word " * 400


def literals(*names):
    """Yield the texts that are given to functions with these names in the engine."""
    for folder in ("loop", "decide"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                func = node.func
                name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                if name in names:
                    yield from (
                        one.value
                        for given in node.args
                        for one in ast.walk(given)
                        if isinstance(one, ast.Constant) and isinstance(one.value, str)
                    )


def test_the_tables_name_every_reason_in_the_code():
    ends = set(literals("Finish", "ReplyEnded"))
    assert {"length", "deadline", "human_stop", "stop"} <= ends
    assert ends <= STOP_REASONS.keys()
    closes = set(literals("CloseSpan", "_count_room", Room.__name__)) - {"max_spans", "deadline_s"}
    assert {"only_in_reasoning", "max_usd", "max_span_s", "max_large_tokens"} <= closes
    assert closes <= CLOSED_BY.keys()


@pytest.mark.parametrize(
    ("policy", "closed_by"),
    [
        (Policy(max_span_tokens=5), "max_span_tokens"),
        (Policy(max_large_tokens=5), "max_large_tokens"),
        (Policy(max_usd=0.01, models={"*": ModelTerms(Prices(output_usd=1000.0))}), "max_usd"),
    ],
)
def test_the_line_below_a_reply_names_the_cap_that_cut_a_span(policy, closed_by):
    large = ScriptedModel(LARGE, name="big")
    engine = SplitEngine(small=ScriptedModel(SMALL), large=large, policy=policy)
    reply = complete(engine, Request(messages=HELLO, max_tokens=100))
    assert [span.closed_by for span in reply.spans] == [closed_by]
    assert closed_by in CAPS
    assert cost_line(reply).endswith(f"; cap reached: {closed_by}, 1 span cut")


def test_a_span_that_a_model_ended_was_not_cut():
    engine = SplitEngine(small=ScriptedModel(SMALL), large=ScriptedModel(" It is 3</bigmodel>"))
    reply = complete(engine, Request(messages=HELLO, max_tokens=100))
    assert reply.spans[0].closed_by in CLOSED_BY
    assert "cap reached" not in cost_line(reply)
