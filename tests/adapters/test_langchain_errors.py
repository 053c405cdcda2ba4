"""What LangChain's own ways of trying again make of the chat model's errors."""

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain_core import exceptions as langchain
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import HumanCheck, Retry, errors
from splitreason_integrations.errors import ModelCallError, ModelStalledError
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import ANSWER, LARGE, SMALL

NO_WAIT = {"wait_exponential_jitter": False, "stop_after_attempt": 3}
USUAL = (
    langchain.ModelRateLimitError,
    langchain.ModelConnectionError,
    langchain.ModelTimeoutError,
    langchain.ModelAPIError,
)
RETRYABLE = [
    (ConnectionResetError("gone"), langchain.ModelConnectionError),
    (TimeoutError("late"), langchain.ModelTimeoutError),
    (ModelStalledError("silent"), langchain.ModelTimeoutError),
    (ModelCallError("busy", retryable=True, retry_after_s=0.0), langchain.ModelRateLimitError),
    (ModelCallError("broken", retryable=True), langchain.ModelAPIError),
]
FATAL = [ModelCallError("no", retryable=False), ValueError("wrong"), RuntimeError("odd")]


class Failing(ScriptedModel):
    """A large model that fails `times` times, then writes."""

    def __init__(self, error, *, times=1, **more):
        super().__init__(LARGE, name="big", error=error, **more)
        self.times, self.asked = times, 0

    def open(self, prompt, written=()):
        self.asked += 1
        self.fail_after = 1 if self.asked <= self.times else None
        return super().open(prompt, written)


def chat_model(large, **more):
    """Fails as its large model does; the engine itself tries nothing again."""
    settings = {"retry": Retry(attempts=1, breaker_failures=99), "on_large_failure": "raise"}
    small = more.pop("small", None) or ScriptedModel(SMALL, name="little")
    return SplitReasonLLM(small=small, large=large, seed=1, **{**settings, **more})


def named(value):
    return type(value).__name__ if isinstance(value, Exception) else value.__name__


@pytest.mark.parametrize(("error", "family"), RETRYABLE, ids=named)
async def test_what_may_pass_by_itself_is_tried_again(error, family):
    large = Failing(error)
    with pytest.raises(family, match="big failed") as caught:
        chat_model(large).invoke("Hello")
    assert isinstance(caught.value, errors.LargeModelError)
    assert type(caught.value).__name__ == "LargeModelError"
    assert caught.value.is_retryable
    assert caught.value.__cause__ is error
    for only in (USUAL, (family,), (Exception,), lambda one: getattr(one, "is_retryable", False)):
        retried = chat_model(Failing(error)).with_retry(retry_if_exception_type=only, **NO_WAIT)
        assert retried.invoke("Hello").content == ANSWER
        retried = chat_model(Failing(error)).with_retry(retry_if_exception_type=only, **NO_WAIT)
        assert (await retried.ainvoke("Hello")).content == ANSWER


@pytest.mark.parametrize("error", FATAL, ids=named)
async def test_what_will_not_pass_is_not_tried_again(error):
    async def sync(llm):
        return llm.invoke("Hello")

    async def batch(llm):
        return llm.batch(["Hello"])

    for call in (sync, batch, lambda llm: llm.ainvoke("Hello")):
        large = Failing(error)
        retried = chat_model(large).with_retry(retry_if_exception_type=USUAL, **NO_WAIT)
        with pytest.raises(errors.LargeModelError) as caught:
            await call(retried)
        assert large.asked == 1
        assert isinstance(caught.value, langchain.ModelError)
        assert not caught.value.is_retryable


def test_tries_are_bounded():
    large = Failing(ConnectionResetError("gone"), times=99)
    retried = chat_model(large).with_retry(retry_if_exception_type=USUAL, **NO_WAIT)
    with pytest.raises(langchain.ModelConnectionError):
        retried.invoke("Hello")
    assert large.asked == 3


@pytest.mark.parametrize("error", [RETRYABLE[0][0], FATAL[0]], ids=named)
async def test_fallbacks_take_over_by_every_door(error):
    spare = SplitReasonLLM(small=ScriptedModel(SMALL), large=ScriptedModel(LARGE))
    llm = chat_model(Failing(error, times=99)).with_fallbacks(
        [spare], exceptions_to_handle=(langchain.ModelError,)
    )
    assert llm.invoke("Hello").content == ANSWER
    assert (await llm.ainvoke("Hello")).content == ANSWER
    assert [one.content for one in llm.batch(["Hello", "Hello"])] == [ANSWER] * 2
    assert (await llm.abatch(["Hello"]))[0].content == ANSWER


async def test_a_stream_that_fails_before_its_first_text_falls_back():
    spare = SplitReasonLLM(small=ScriptedModel(SMALL), large=ScriptedModel(LARGE))
    at_once = ScriptedModel("<bigmodel>", name="little")
    failing = Failing(ConnectionResetError("gone"), times=99)
    failing.open = failing_at_once(failing)
    llm = chat_model(failing, small=at_once).with_fallbacks([spare])
    assert "".join(chunk.content for chunk in llm.stream("Hello")) == ANSWER
    assert "".join([chunk.content async for chunk in llm.astream("Hello")]) == ANSWER


def failing_at_once(model):
    def open_session(prompt, written=()):
        model.fail_after = 0
        return ScriptedModel.open(model, prompt, written)

    return open_session


def agent(llm, *middleware):
    return create_agent(llm, middleware=list(middleware))


ASK = {"messages": [HumanMessage("Hello")]}


def test_agents_try_again_what_may_pass():
    large = Failing(ConnectionResetError("gone"))
    retry = ModelRetryMiddleware(initial_delay=0.0, jitter=False, on_failure="error")
    assert agent(chat_model(large), retry).invoke(ASK)["messages"][-1].content == ANSWER
    fatal = Failing(FATAL[0], times=99)
    with pytest.raises(errors.LargeModelError):
        agent(chat_model(fatal), retry).invoke(ASK)
    assert fatal.asked == 1


def test_agents_fall_back_to_another_model():
    spare = SplitReasonLLM(small=ScriptedModel(SMALL), large=ScriptedModel(LARGE))
    failing = chat_model(Failing(FATAL[0], times=99))
    done = agent(failing, ModelFallbackMiddleware(spare)).invoke(ASK)
    assert done["messages"][-1].content == ANSWER


def test_the_users_own_word_on_what_is_retryable_holds():
    odd_alone = Retry(attempts=1, retryable=lambda error: "odd" in str(error))
    with pytest.raises(langchain.ModelAPIError):
        chat_model(Failing(FATAL[2]), retry=odd_alone).invoke("Hello")


def test_a_failing_small_model_raises_the_same_error():
    busy = ModelCallError("busy", retryable=True)
    small = ScriptedModel(SMALL, name="little", fail_after=2, error=busy)
    with pytest.raises(langchain.ModelAPIError, match="busy") as caught:
        chat_model(ScriptedModel(LARGE), small=small).invoke("Hello")
    assert isinstance(caught.value, ModelCallError)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("call", "kind", "family"),
    [
        (lambda llm: llm.invoke([]), errors.EmptyMessagesError, langchain.ModelInvalidRequestError),
        (
            lambda llm: llm.invoke([HumanMessage([{"type": "image_url", "image_url": "x"}])]),
            errors.UnsupportedContentError,
            langchain.ModelInvalidRequestError,
        ),
        (lambda llm: llm.invoke("x", colour=1), errors.ConfigurationError, langchain.ModelError),
        (
            lambda llm: llm.invoke("word " * 9000),
            errors.ContextOverflowError,
            langchain.ContextOverflowError,
        ),
    ],
    ids=["empty", "image", "option", "long"],
)
def test_what_the_caller_has_to_mend_is_not_tried_again(call, kind, family):
    llm = chat_model(ScriptedModel(LARGE))
    with pytest.raises(kind) as caught:
        call(llm)
    assert isinstance(caught.value, family)
    assert not caught.value.is_retryable
    asked = []
    again = RunnableLambda(lambda _: (asked.append(1), call(llm))).with_retry(
        retry_if_exception_type=USUAL, **NO_WAIT
    )
    with pytest.raises(kind):
        again.invoke("x")
    assert len(asked) == 1


def test_a_request_put_aside_keeps_its_state_and_is_no_failure_to_retry():
    class Later:
        async def review(self, paused):
            return None

    llm = chat_model(ScriptedModel(LARGE), human_check=HumanCheck(reviewer=Later()))
    with pytest.raises(errors.ReviewPendingError) as caught:
        llm.invoke("Hello")
    assert caught.value.paused.question.moment == "before"
    assert isinstance(caught.value, langchain.ModelError)
    assert not caught.value.is_retryable


def test_the_same_error_has_the_same_type():
    kinds = set()
    for _ in range(2):
        with pytest.raises(errors.LargeModelError) as caught:
            chat_model(Failing(FATAL[0])).invoke("Hello")
        kinds.add(type(caught.value))
    assert len(kinds) == 1
