"""LlamaIndex's token counters see what a request took: all of it, in every method."""

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from llama_index.llms.splitreason import SplitReasonLLM
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import CALL
from tests.adapters.test_llama_index import ADD, ASK, DOORS, PROMPT_DOORS, scripted


class Sum(BaseModel):
    value: int


@pytest.fixture
def counter():
    return TokenCountingHandler(tokenizer=str.split)


def counted(counter, small=None, **options):
    given = {} if small is None else {"small": small}
    return scripted(**given, callback_manager=CallbackManager([counter]), **options)


def seen(counter):
    return counter.prompt_llm_token_count, counter.completion_llm_token_count


def taken(reply):
    return reply.additional_kwargs["prompt_tokens"], sum(
        reply.raw["splitreason"]["tokens"].values()
    )


@pytest.mark.parametrize("door", {**DOORS, **PROMPT_DOORS})
def test_every_method_is_counted_exactly(counter, door):
    reply = {**DOORS, **PROMPT_DOORS}[door](counted(counter))
    assert seen(counter) == taken(reply)
    usage = reply.raw["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == taken(reply)
    assert usage["total_tokens"] == sum(taken(reply))
    parts = usage["completion_tokens_details"]
    assert parts["large_tokens"] == reply.raw["splitreason"]["tokens"]["large"]
    assert parts["large_tokens"] < parts["reasoning_tokens"] < usage["completion_tokens"]


def test_one_response_of_a_stream_has_the_usage():
    having = ["usage" in response.raw for response in scripted().stream_chat(ASK)]
    assert having == [False] * (len(having) - 1) + [True]


def test_calls_and_typed_answers_are_counted(counter):
    reply = counted(counter, CALL).chat_with_tools([ADD], user_msg="1 and 2?")
    assert seen(counter) == taken(reply)
    counter.reset_counts()
    prompt = PromptTemplate("How much?")
    counted(counter, '</think>\n\n{"value": 15}').structured_predict(Sum, prompt)
    sync = seen(counter)
    list(counted(counter, '</think>\n\n{"value": 15}').stream_structured_predict(Sum, prompt))
    assert seen(counter) == (2 * sync[0], 2 * sync[1])
    assert sync[1] > 8


def test_a_budget_ends_with_the_request_that_exceeds_it(counter):
    whole = sum(taken(scripted().chat(ASK)))
    counter.token_budget = 2 * whole
    llm = counted(counter)
    for _ in range(2):
        llm.chat(ASK)
    with pytest.raises(ValueError, match=f"Limit: {2 * whole}, Current: {3 * whole}"):
        list(llm.stream_chat(ASK))


# LlamaIndex's workflows look at every attribute of an agent, deprecated ones included.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_an_agents_requests_are_all_counted(counter):
    small = ScriptedModel([CALL, "</think>\n\nIt is 3."])
    manager = CallbackManager([counter])
    llm = SplitReasonLLM(small=small, large=ScriptedModel("x"), callback_manager=manager)
    result = await FunctionAgent(tools=[ADD], llm=llm).run("1 and 2?")
    assert str(result) == "It is 3."
    assert len(counter.llm_token_counts) == 2
    last = counter.llm_token_counts[-1]
    assert last.completion_token_count == sum(result.raw["splitreason"]["tokens"].values())
