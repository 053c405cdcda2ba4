"""Structured output on the embedded pair: always what was asked for, in both frameworks."""

from typing import Literal, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from llama_index.core import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations.errors import ConfigurationError

ASK = (
    "Mia has 3 boxes with 4 cards in each box. Then Mia sells 2 cards. "
    "How many cards does Mia have now?"
)


class Count(BaseModel):
    """A number of things."""

    number: int = Field(ge=0, le=9999)
    kind: Literal["cards", "boxes"]


class CountDict(TypedDict):
    """A number of things."""

    kind: Literal["cards", "boxes"]


SCHEMAS = {"pydantic": Count, "typed dict": CountDict, "json schema": Count.model_json_schema()}


@pytest.fixture(scope="module")
def llm():
    return SplitReasonLLM(seed=1, max_tokens=300)


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_kind_of_schema(llm, schema, method):
    found = llm.with_structured_output(schema, method=method).invoke(ASK)
    if schema is Count:
        assert isinstance(found, Count)
    else:
        assert found["kind"] in ("cards", "boxes")


async def test_raw_replies_and_streams(llm):
    asked = llm.with_structured_output(Count, include_raw=True)
    found = await asked.ainvoke(ASK)
    assert found["parsing_error"] is None
    assert isinstance(found["parsed"], Count)
    assert found["raw"].additional_kwargs["reasoning_content"]
    last = [part async for part in llm.with_structured_output(CountDict).astream(ASK)][-1]
    assert last["kind"] in ("cards", "boxes")


def test_json_mode_is_json(llm):
    asked = llm.with_structured_output(Count, method="json_mode", include_raw=True)
    found = asked.invoke(ASK)
    assert found["raw"].content.lstrip().startswith("{")


def test_an_answer_that_is_cut_off_says_so():
    short = SplitReasonLLM(seed=1, max_tokens=5)
    with pytest.raises(OutputParserException, match="allow more tokens"):
        short.with_structured_output(Count).invoke(ASK)
    kept = short.with_structured_output(Count, include_raw=True).invoke(ASK)
    assert kept["parsed"] is None
    assert "length" in str(kept["parsing_error"])


def test_unknown_methods_and_formats_are_refused(llm):
    with pytest.raises(ConfigurationError, match="json_schema"):
        llm.with_structured_output(Count, method="yaml")
    with pytest.raises(ConfigurationError, match="response_format"):
        llm.invoke(ASK, response_format={"type": "xml"})


def test_a_forced_call_is_always_made(llm):
    def move(steps: Literal[1, 2, 3], back: bool) -> str:
        """Move."""
        return f"{steps} {back}"

    for trigger in ("tag", "random:0.3", "always"):
        forced = llm.bind_tools([move], tool_choice="any", trigger=trigger)
        (call,) = forced.invoke("Hello").tool_calls
        assert call["name"] == "move"
        assert set(call["args"]) == {"steps", "back"}


def test_llama_index_predicts_structured(llm):
    other = LlamaIndexLLM(seed=1, max_tokens=300)
    assert isinstance(other.structured_predict(Count, PromptTemplate(ASK)), Count)
    assert isinstance(other.as_structured_llm(Count).complete(ASK).raw, Count)


async def test_llama_index_structures_without_blocking_and_in_streams():
    other = LlamaIndexLLM(seed=1, max_tokens=300)
    assert isinstance(await other.astructured_predict(Count, PromptTemplate(ASK)), Count)
    parts = list(other.stream_structured_predict(Count, PromptTemplate(ASK)))
    assert isinstance(parts[-1], Count)
    later = [p async for p in await other.astream_structured_predict(Count, PromptTemplate(ASK))]
    assert later[-1] == parts[-1]


def test_llama_index_forces_calls():
    tool = FunctionTool.from_defaults(lambda n: n, name="give", description="Give a number.")
    llm = LlamaIndexLLM(seed=1, max_tokens=300)
    reply = llm.chat_with_tools([tool], user_msg="Use give with 7.", tool_required=True)
    assert [call.tool_name for call in llm.get_tool_calls_from_response(reply)] == ["give"]
