"""`close()` and the context manager of both chat models free what they loaded."""

import pytest
from llama_index.core.llms import ChatMessage

from langchain_splitreason import SplitReasonLLM as ChatModel
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import blocking
from splitreason_integrations.backends.hf.spec import TransformersModel
from splitreason_integrations.backends.registry import is_loaded
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ModelInUseError
from splitreason_integrations.testing import ScriptedModel

QUESTION = "What is 3 plus 4?"


def ask(llm):
    return llm.invoke(QUESTION).content if isinstance(llm, ChatModel) else llm.complete(QUESTION)


async def ask_later(llm):
    if isinstance(llm, ChatModel):
        return (await llm.ainvoke(QUESTION)).content
    return (await llm.acomplete(QUESTION)).text


@pytest.fixture(params=[ChatModel, LlamaIndexLLM])
def llm(request):
    """A chat model with weights that nothing else in this process has loaded."""
    small, large = (
        TransformersModel(str(path(member)), device="cpu", name=f"own-{member}")
        for member in ("small", "large")
    )
    return request.param(small=small, large=large, max_tokens=4, trigger="never")


def loaded(llm):
    return is_loaded(llm.small, role="small") or is_loaded(llm.large, role="large")


def test_close_frees_both_models_and_a_later_call_loads_them_again(llm):
    ask(llm)
    assert loaded(llm)
    llm.close()
    assert not loaded(llm)
    ask(llm)
    assert loaded(llm)
    llm.close()
    llm.close()


def test_a_with_block_frees_them(llm):
    with llm as same:
        assert same is llm
        ask(llm)
        assert loaded(llm)
    assert not loaded(llm)


# Freeing collects garbage, and with it a loop that pytest-asyncio replaced and did not close.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_an_async_with_block_frees_them(llm):
    async with llm as same:
        assert same is llm
        await ask_later(llm)
        assert loaded(llm)
    assert not loaded(llm)


def test_a_with_block_that_fails_frees_them_too(llm):
    def fail():
        with llm:
            ask(llm)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not loaded(llm)


def test_models_in_use_are_not_closed():
    llm = ChatModel(
        small=ScriptedModel("Seven and more.</think>\n\nSeven."), large=ScriptedModel("x")
    )
    stream = llm.stream("hi")
    next(stream)
    with pytest.raises(ModelInUseError):
        llm.close()
    stream.close()
    llm.close()
    assert blocking.run(lambda: ask_later(llm)) == "Seven."


@pytest.mark.parametrize("method", ["astream_chat", "astream_complete"])
async def test_a_closed_llama_index_stream_leaves_nothing_open(method):
    text = "I add 3 and 4.<bigmodel> So it is.</think>\n\nSeven."
    pair = ScriptedModel(text), ScriptedModel(" the sum is 7.</bigmodel>")
    asked = QUESTION
    if method == "astream_chat":
        asked = [ChatMessage(role="user", content=QUESTION)]
    responses = await getattr(LlamaIndexLLM(small=pair[0], large=pair[1]), method)(asked)
    await anext(responses)
    assert pair[0].open_sessions == 1
    await responses.aclose()
    assert [model.open_sessions for model in pair] == [0, 0]
