"""Arguments that chains pass to a model, call by call."""

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import Tool
from pydantic import BaseModel, Field, ValidationError

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import OpenAIServerModel, TransformersModel, embedded
from splitreason_integrations.errors import ConfigurationError, RequestError, SettingError
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import ANSWER, CALL, add, joined, scripted

QUESTION = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
ONE = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
TWO = ONE.replace("1", "3")
BROKEN = ONE.replace("}}", "}")
LLAMA = '</think>{"name": "add", "parameters": {"a": 1, "b": 2}}'


def numbers(message):
    return [call["args"]["a"] for call in message.tool_calls]


# Several calls, one, none


@pytest.mark.parametrize(
    ("parallel", "made"), [({}, [1, 3]), ({"parallel_tool_calls": True}, [1, 3])]
)
def test_several_calls_come_out_by_default(parallel, made):
    model = scripted(f"</think>{ONE}{TWO}").bind_tools([add], **parallel)
    assert numbers(model.invoke("hi")) == made


@pytest.mark.parametrize("large", ["x</bigmodel>", f"</think>{ONE}{TWO} done"])
async def test_without_parallel_calls_the_first_one_ends_the_reply(large):
    small = f"</think>{ONE}\n{TWO} and more" if "x" in large else "so<bigmodel>"
    model = scripted(small, large).bind_tools([add], parallel_tool_calls=False)
    whole = scripted(small, large).bind_tools([add]).invoke("hi")
    assert numbers(whole) == [1, 3]
    for reply in (
        model.invoke("hi"),
        joined(list(model.stream("hi"))),
        joined([chunk async for chunk in model.astream("hi")]),
    ):
        assert numbers(reply) == [1]
        assert reply.response_metadata["finish_reason"] == "tool_calls"
        assert reply.usage_metadata["output_tokens"] < whole.usage_metadata["output_tokens"]
        assert reply.content == ""


def test_without_parallel_calls_a_list_of_calls_is_its_first_one():
    listed = f"[{ONE.split(chr(10))[1]}, {TWO.split(chr(10))[1]}]"
    model = scripted(f"</think><tool_call>{listed}</tool_call>")
    assert numbers(model.bind_tools([add]).invoke("hi")) == [1, 3]
    reply = joined(list(model.bind_tools([add], parallel_tool_calls=False).stream("hi")))
    assert numbers(reply) == [1]
    assert not reply.invalid_tool_calls


def test_a_broken_call_counts_as_the_one():
    model = scripted(f"</think>{BROKEN}{TWO}").bind_tools([add], parallel_tool_calls=False)
    reply = model.invoke("hi")
    assert (reply.tool_calls, len(reply.invalid_tool_calls)) == ([], 1)


def test_parallel_calls_are_true_or_false():
    with pytest.raises(SettingError, match="parallel_tool_calls must be true or false"):
        scripted().invoke("hi", tools=[add], parallel_tool_calls="no")


@pytest.mark.parametrize(
    "small", [f"</think>{ONE}No call.", f"</think>No call.{ONE}", "</think>No call.<bigmodel>"]
)
def test_with_no_tool_choice_no_call_comes_out(small):
    model = scripted(small, f"{ONE}</bigmodel>")
    for bound in (
        model.bind_tools([add], tool_choice="none"),
        model.bind_tools([add], tool_choice={"type": "none"}),
        model.bind_tools([add]).bind(tool_choice="none"),
    ):
        for reply in (bound.invoke("1+2?"), joined(list(bound.stream("1+2?")))):
            assert not reply.tool_calls
            assert not reply.invalid_tool_calls
            assert "No call." in reply.content
            assert not getattr(reply, "tool_call_chunks", [])


def test_no_call_comes_out_of_a_model_that_was_taught_to_call():
    called = AIMessage("", tool_calls=[{"name": "calculator", "args": {}, "id": "c"}])
    history = [HumanMessage("What is 47*23?"), called, HumanMessage("What is 48*23?")]
    reply = SplitReasonLLM(seed=1).bind_tools([add], tool_choice="none").invoke(history)
    assert not reply.tool_calls + reply.invalid_tool_calls
    assert reply.content


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "any"),
        ({"type": "required"}, "any"),
        ({"type": "tool", "name": "add"}, "add"),
        ({"type": "function", "name": "add"}, "add"),
        ({"type": "function", "function": {"name": "add"}}, "add"),
    ],
)
def test_tool_choices_of_every_form_are_read(choice, read):
    assert scripted().bind_tools([add], tool_choice=choice).kwargs["tool_choice"] == read


@pytest.mark.parametrize("choice", [{"type": "allowed_tools"}, {"type": "tool"}, {"name": "x"}])
def test_a_tool_choice_that_is_none_of_these_is_named(choice):
    with pytest.raises(ConfigurationError, match=r"tool_choice .*use 'auto', 'none'"):
        scripted().bind_tools([add], tool_choice=choice)


# Stop strings


def test_stop_sequences_of_one_call_are_stop_strings():
    model = scripted(stop=["15"])
    cut = [
        model.invoke("hi", stop_sequences=["answer"]),
        model.bind(stop_sequences=["answer"]).invoke("hi"),
        model.bind_tools([add], stop_sequences=["answer"]).invoke("hi"),
        joined(list(model.stream("hi", stop_sequences=["answer"]))),
    ]
    assert {reply.content for reply in cut} == {"The"}
    assert model._get_ls_params(stop_sequences=["answer"])["ls_stop"] == ["answer"]
    with pytest.raises(ConfigurationError, match="either stop or stop_sequences"):
        model.with_options({"stop": ["a"], "stop_sequences": ["b"]})


# Tools


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "web_search_preview_2025_03_11"},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "mcp", "server_label": "x"},
        {"type": "custom", "name": "x"},
    ],
)
def test_a_tool_that_its_provider_runs_is_named(tool):
    said = f"tool 1 is of type '{tool['type']}', which its provider runs itself"
    with pytest.raises(ConfigurationError, match=said):
        scripted().bind_tools([add, tool])
    with pytest.raises(ConfigurationError, match=said):
        scripted().invoke("hi", tools=[add, tool])
    with pytest.raises(ConfigurationError, match=said):
        scripted().get_num_tokens_from_messages([HumanMessage("hi")], [add, tool])


@pytest.mark.parametrize(
    "tool",
    [
        {"google_search": {}},
        {"type": "function"},
        {},
        "add",
        Tool(name="x", description="x", func=str, metadata={"type": "custom_tool"}),
    ],
)
def test_what_is_no_tool_is_named(tool):
    with pytest.raises(ConfigurationError, match=r"tool 0 is .*calls functions"):
        scripted().bind_tools([tool])


def test_functions_of_every_form_are_tools():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    forms = [
        {"type": "function", "function": {"name": "add", "parameters": schema}},
        {"type": "function", "name": "add", "parameters": schema},
        {"name": "add", "input_schema": schema},
        {"type": "custom", "name": "add", "input_schema": schema},
        {"title": "add", "description": "Add.", **schema},
    ]
    for form in forms:
        bound = scripted(CALL).bind_tools([form])
        assert bound.kwargs["tools"][0]["function"]["parameters"]["properties"] == {
            "a": {"type": "integer"}
        }
        assert numbers(bound.invoke("hi")) == [1]


# Half characters


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: m.invoke("a\udc00"), "messages, 0, 'content': character 1 is '\\\\udc00'"),
        (
            lambda m: m.invoke(
                [
                    ("human", "hi"),
                    AIMessage("", tool_calls=[{"name": "f", "args": {"x": ["\ud800"]}, "id": "1"}]),
                ]
            ),
            "messages, 1, 'tool_calls', 0, 'function', 'arguments', 'x', 0: character 0",
        ),
        (lambda m: m.invoke("hi", stop=["\ud800"]), "stop, 0: character 0"),
        (
            lambda m: m.invoke("hi", tools=[{"name": "f", "description": "\ud800"}]),
            "tools, 0, 'function', 'description': character 0",
        ),
        (lambda m: m.get_num_tokens_from_messages([HumanMessage("\ud800")]), "messages, 0"),
    ],
)
def test_half_characters_are_named(call, said):
    with pytest.raises(RequestError, match=said):
        call(scripted())


def test_whole_characters_of_every_plane_are_none():
    assert scripted().invoke("\N{GRINNING FACE} \N{CJK UNIFIED IDEOGRAPH-20000}").content == ANSWER


# What a pair says of itself


@pytest.mark.parametrize(
    ("small", "holds"),
    [
        ("embedded", True),
        (TransformersModel("m"), True),
        ("vllm:m", True),
        (OpenAIServerModel("http://127.0.0.1:9/v1", "m", dialect="ids"), True),
        (OpenAIServerModel("http://127.0.0.1:9/v1", "m", dialect="trailing"), False),
        (OpenAIServerModel("http://127.0.0.1:9/v1", "m"), None),
        (ScriptedModel("x"), True),
        (ScriptedModel("x", remote=True), False),
    ],
)
def test_the_profile_says_what_holds(small, holds):
    profile = SplitReasonLLM(small=small, large="embedded").profile
    assert (profile.get("tool_choice"), profile.get("structured_output")) == (holds, holds)
    assert profile["tool_call_streaming"]


class Total(BaseModel):
    """How many there are."""

    total: int = Field(ge=0, le=9999)


def test_an_agent_that_reads_the_profile_gets_its_typed_answer():
    llm = SplitReasonLLM(seed=1)
    agent = create_agent(llm, tools=[], response_format=Total)
    done = agent.invoke({"messages": [("human", QUESTION)]})
    assert done["structured_response"] == Total(total=1069)
    assert not any(message.type == "tool" for message in done["messages"])


def test_a_pair_shows_its_models():
    assert repr(SplitReasonLLM()).startswith("SplitReasonLLM(small='embedded', large='embedded'")
    folder = str(embedded.path("base"))
    shown = repr(
        SplitReasonLLM(
            small=TransformersModel(folder),
            large=[OpenAIServerModel("http://h/v1", "m", api_key="sk-secret"), "embedded"],
            seed=3,
        )
    )
    assert shown.startswith(f"SplitReasonLLM(small='hf:{folder}', large='http://h/v1#m,embedded'")
    assert "seed=3" in shown
    assert "sk-secret" not in shown


# Names of models


def test_model_names_the_small_model():
    base = f"hf:{embedded.path('base')}"
    assert SplitReasonLLM(model=base, large="embedded").small == base
    assert SplitReasonLLM(model_name=base, large="embedded").small == base
    with pytest.raises(ValidationError, match="name both models"):
        SplitReasonLLM(model=base)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("vlm:m", "vllm:m"),
        ("HF:m", "hf:m"),
        ("huggingface:a/b", "hf:a/b"),
        ("transformers:a/b", "hf:a/b"),
        ("a/b", "hf:a/b"),
        ("embeded", "embedded"),
        ("openai:gpt-9", "https://api.openai.com/v1#gpt-9"),
        ("ollama:qwen3:8b", "http://127.0.0.1:11434/v1#qwen3:8b"),
    ],
)
@pytest.mark.parametrize("by", ["small", "model"])
def test_an_unknown_provider_is_asked_about(name, meant, by):
    with pytest.raises(
        ValidationError, match=f"unknown small model '{name}'; did you mean '{meant}'"
    ):
        SplitReasonLLM(**{by: name}, large="embedded")


def test_a_name_that_is_close_to_nothing_gets_all_forms():
    with pytest.raises(ValidationError, match=r"unknown small model 'gpt-9': use 'embedded', 'hf:"):
        SplitReasonLLM(small="gpt-9", large="embedded")
