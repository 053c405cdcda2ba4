"""A tool call that cannot be made runs no tool, and the model learns why."""

import asyncio
import importlib
import json
import sys

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from langchain_splitreason.agents import RepeatInvalidCalls
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations.errors import MissingExtraError, RequestError, ToolChoiceError
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import joined, scripted

BROKEN = {
    "arguments are a text": ('{"name": "wipe", "arguments": "tmp"}', "no JSON object"),
    "arguments are null": ('{"name": "wipe", "arguments": null}', "no JSON object"),
    "arguments are a list": ('{"name": "wipe", "arguments": ["tmp"]}', "no JSON object"),
    "wrong type": ('{"name": "wipe", "arguments": {"depth": "two"}}', "not of type 'integer'"),
    "wrong type, name behind": (
        '{"arguments": {"depth": "two"}, "name": "wipe"}',
        "not of type 'integer'",
    ),
    "cut short": ('{"name": "wipe", "arguments": {"path": "tm', "no JSON"),
    "no number": ('{"name": "wipe", "arguments": {"depth": NaN}}', "no JSON"),
    "no such tool": ('{"name": "wipe_all", "arguments": {}}', "no tool is named 'wipe_all'"),
}
GOOD = '{"name": "wipe", "arguments": {"path": "tmp", "depth": 2}}'


def called(call):
    return f"</think>\n\n<tool_call>\n{call}\n</tool_call>"


class Tries:
    """A script that makes a broken call, a good one once it knows why, and an answer."""

    def __init__(self, broken):
        self.broken = broken
        self.results = []

    def __call__(self, messages, tools):
        known = [one["content"] for one in messages if one["role"] == "tool"]
        if not known:
            return called(self.broken)
        self.results.append(known[-1])
        return called(GOOD) if len(known) == 1 else "</think>\n\nDone."


class Wiped:
    """A tool with defaults, and what it was called with."""

    def __init__(self):
        self.calls = []

    def run(self, path: str = "/", depth: int = 1) -> str:
        """Wipe a folder."""
        self.calls.append((path, depth))
        return f"wiped {path}"

    @property
    def langchain(self):
        return tool("wipe")(self.run)

    @property
    def llama_index(self):
        return FunctionTool.from_defaults(self.run, name="wipe")


@pytest.fixture
def wiped():
    return Wiped()


# LangChain


@pytest.mark.parametrize("case", BROKEN)
def test_langchain_keeps_it_apart_with_a_reason(case, wiped):
    call, reason = BROKEN[case]
    model = scripted(called(call)).bind_tools([wiped.langchain])
    done, streamed = model.invoke("x"), joined(list(model.stream("x")))
    later = asyncio.run(model.ainvoke("x"))
    for reply in (done, streamed, later):
        assert reply.tool_calls == []
        (invalid,) = reply.invalid_tool_calls
        assert invalid["id"].startswith("call_0_")
        assert reason in reply.response_metadata["splitreason"]["invalid_calls"]["call_0"]
        assert invalid["args"] == done.invalid_tool_calls[0]["args"]
    assert reason in done.invalid_tool_calls[0]["error"]
    assert reason in later.invalid_tool_calls[0]["error"]


class Folder(BaseModel):
    """Wipes a folder."""

    path: str = Field(pattern="^/tmp")


@pytest.mark.parametrize(
    "tools", [[Folder], [Folder.model_json_schema()], [{"name": "Folder", "parameters": {}}]]
)
def test_tools_of_every_kind_are_checked(tools):
    model = scripted(called('{"name": "Folder", "arguments": {"path": "/etc"}}'))
    reply = model.bind_tools(tools).invoke("x")
    free = "parameters" in tools[0] if isinstance(tools[0], dict) else False
    assert len(reply.tool_calls) == free
    assert len(reply.invalid_tool_calls) == (not free)


def test_a_broken_schema_is_named_when_the_tool_is_bound():
    broken = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "int"}}}}
    with pytest.raises(RequestError, match="tool 'f': `parameters` is no valid JSON schema"):
        scripted().bind_tools([broken])


def test_good_calls_beside_a_broken_one_are_made(wiped):
    both = f"{called(GOOD)}\n<tool_call>{BROKEN['wrong type'][0]}</tool_call>"
    reply = scripted(both).bind_tools([wiped.langchain]).invoke("x")
    assert [one["args"] for one in reply.tool_calls] == [{"path": "tmp", "depth": 2}]
    assert [one["id"][:6] for one in reply.invalid_tool_calls] == ["call_1"]


@pytest.mark.parametrize("case", BROKEN)
def test_the_model_is_shown_what_it_wrote_and_why_it_was_not_run(case, wiped):
    call, reason = BROKEN[case]
    seen = []

    def script(messages, tools):
        seen.append(messages)
        return called(call) if len(messages) == 1 else "</think>\n\nSorry."

    model = scripted(script).bind_tools([wiped.langchain])
    asked = HumanMessage("Clean up.")
    for reply in (model.invoke([asked]), joined(list(model.stream([asked])))):
        model.invoke([asked, reply, HumanMessage("Again.")])
        _, said, result, _ = seen[-1]
        arguments = said["tool_calls"][0]["function"]["arguments"]
        expected = json.loads(call).get("arguments") if case.startswith("wrong") else None
        assert arguments == expected or set(arguments) <= {"text", "path"}
        assert (result["role"], result["tool_call_id"]) == ("tool", said["tool_calls"][0]["id"])
        assert reason in result["content"]
    answered = ToolMessage("mine", tool_call_id=reply.invalid_tool_calls[0]["id"])
    model.invoke([asked, reply, answered])
    assert [one["content"] for one in seen[-1] if one["role"] == "tool"] == ["mine"]


@pytest.mark.parametrize("mode", ["values", "messages"])
@pytest.mark.parametrize("case", BROKEN)
def test_a_langchain_agent_does_not_run_it_and_corrects_itself(case, mode, wiped):
    call, reason = BROKEN[case]
    tries = Tries(call)
    agent = create_agent(scripted(tries), [wiped.langchain], middleware=[RepeatInvalidCalls()])
    asked = {"messages": [("user", "Clean up.")]}
    if mode == "values":
        last = agent.invoke(asked)["messages"][-1]
        assert last.content == "Done."
    else:
        shown = [chunk.content for chunk, _ in agent.stream(asked, stream_mode="messages")]
        assert "".join(shown).endswith("Done.")
    assert wiped.calls == [("tmp", 2)]
    assert reason in tries.results[0]


def test_without_the_middleware_the_agent_ends_and_no_tool_was_run(wiped):
    agent = create_agent(scripted(called(BROKEN["wrong type"][0])), [wiped.langchain])
    messages = agent.invoke({"messages": [("user", "Clean up.")]})["messages"]
    assert len(messages) == 2
    assert messages[-1].invalid_tool_calls
    assert wiped.calls == []


def test_an_agent_gives_up_on_a_model_that_never_learns(wiped):
    model = scripted(called(BROKEN["no such tool"][0]))
    agent = create_agent(model, [wiped.langchain], middleware=[RepeatInvalidCalls(attempts=2)])
    messages = agent.invoke({"messages": [("user", "Clean up.")]})["messages"]
    assert [one.type for one in messages] == ["human", *["ai", "tool"] * 2, "ai"]
    assert wiped.calls == []


def test_an_agent_runs_the_good_call_and_answers_the_broken_one(wiped):
    both = f"{called(GOOD)}\n<tool_call>{BROKEN['wrong type'][0]}</tool_call>"
    model = scripted(lambda messages, tools: both if len(messages) == 1 else "</think>Done.")
    agent = create_agent(model, [wiped.langchain], middleware=[RepeatInvalidCalls()])
    messages = agent.invoke({"messages": [("user", "Clean up.")]})["messages"]
    assert wiped.calls == [("tmp", 2)]
    assert sorted(one.status for one in messages if isinstance(one, ToolMessage)) == [
        "error",
        "success",
    ]
    assert isinstance(messages[-1], AIMessage)
    assert messages[-1].content == "Done."


def test_the_middleware_names_the_package_that_it_needs(monkeypatch):
    monkeypatch.delitem(sys.modules, "langchain_splitreason.agents")
    monkeypatch.setitem(sys.modules, "langchain.agents.middleware", None)
    with pytest.raises(MissingExtraError, match="pip install langchain"):
        importlib.import_module("langchain_splitreason.agents")


def test_a_forced_call_that_is_broken_says_why(wiped):
    model = scripted(called(BROKEN["wrong type"][0])).bind_tools(
        [wiped.langchain], tool_choice="any"
    )
    with pytest.raises(ToolChoiceError, match=r"wipe .*'two' is not of type 'integer'"):
        model.invoke("x")


# LlamaIndex


of_workflows = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecationWarning",
    "ignore:is_running called from within a step:DeprecationWarning",
)
"""Workflows look at every attribute of an agent."""


def llama(script):
    return LlamaIndexLLM(small=ScriptedModel(script), large=ScriptedModel("x"), seed=1)


async def run(agent):
    running = agent.run("Clean up.")
    results = [one async for one in running.stream_events() if isinstance(one, ToolCallResult)]
    return str(await running), results


@of_workflows
@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("case", BROKEN)
def test_a_llama_index_agent_does_not_run_it_and_corrects_itself(case, streaming, wiped):
    call, reason = BROKEN[case]
    tries = Tries(call)
    agent = FunctionAgent(tools=[wiped.llama_index], llm=llama(tries), streaming=streaming)
    answer, results = asyncio.run(run(agent))
    assert answer == "Done."
    assert wiped.calls == [("tmp", 2)]
    assert [one.tool_output.is_error for one in results] == [True, False]
    assert reason in tries.results[0]


@of_workflows
def test_a_llama_index_workflow_does_not_run_it(wiped):
    tries = Tries(BROKEN["arguments are a text"][0])
    workflow = AgentWorkflow.from_tools_or_functions([wiped.llama_index], llm=llama(tries))
    answer, _ = asyncio.run(run(workflow))
    assert answer == "Done."
    assert wiped.calls == [("tmp", 2)]


@pytest.mark.parametrize("case", BROKEN)
def test_predict_and_call_returns_an_error(case, wiped):
    call, reason = BROKEN[case]
    llm = llama(called(call))
    tools = [wiped.llama_index]
    later = asyncio.run(llm.apredict_and_call(tools, "x"))
    for answer in (llm.predict_and_call(tools, "x"), later):
        assert answer.sources[0].is_error
        assert reason in str(answer)
    with pytest.raises(ValueError, match="not run"):
        llm.predict_and_call(tools, "x", error_on_tool_error=True)
    assert wiped.calls == []
    assert str(llama(called(GOOD)).predict_and_call(tools, "x")) == "wiped tmp"
    assert wiped.calls == [("tmp", 2)]


def test_llama_index_shows_the_model_what_it_wrote(wiped):
    seen = []
    llm = llama(lambda messages, tools: seen.append(messages) or called(BROKEN["wrong type"][0]))
    asked = ChatMessage(role="user", content="Clean up.")
    reply = llm.chat_with_tools([wiped.llama_index], asked)
    llm.chat([asked, reply.message])
    assert seen[-1][-1]["tool_calls"][0]["function"] == {
        "name": "wipe",
        "arguments": {"depth": "two"},
    }
