"""tenacity's strategies in `Retry`: they decide, and the deadline and the breaker still hold."""

import logging
import pickle
import time

import pytest
import tenacity.asyncio
from tenacity import (
    before_sleep_log,
    retry_always,
    retry_if_exception,
    retry_if_exception_cause_type,
    retry_if_exception_message,
    retry_if_exception_type,
    retry_unless_exception_type,
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    stop_never,
    wait_chain,
    wait_fixed,
    wait_incrementing,
    wait_none,
)

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import Policy, Retry, SplitEngine
from splitreason_integrations.decide.resilience import Attempts
from splitreason_integrations.errors import CircuitOpenError, ConfigurationError, ModelCallError
from splitreason_integrations.testing import ScriptedModel
from tests.limits import END_S
from tests.loop.engine_runs import collect, request
from tests.loop.faults import Fault, FaultyModel

SMALL = "One.<bigmodel> Two.<bigmodel></think>\n\nThree"
LARGE = " a b c d e f g h i j k l</bigmodel> m n o p q r s t u v w x</bigmodel>"
PAIR = {"small": ScriptedModel(SMALL), "large": ScriptedModel(LARGE)}


def waits(retry, *errors, until_s=None):
    attempts = Attempts(retry)
    return [attempts.note_failure(error, until_s=until_s) for error in errors]


def lost(count):
    return [ConnectionError("lost")] * count


WAITS = {
    "fixed": (wait_fixed(2), [2, 2, 2]),
    "sum": (wait_fixed(2) + wait_fixed(1), [3, 3, 3]),
    "incrementing": (wait_incrementing(1, 4), [1, 5, 9]),
    "chain": (wait_chain(wait_fixed(1), wait_fixed(7)), [1, 7, 7]),
    "function": (lambda state: 2 * state.attempt_number, [2, 4, 6]),
}


@pytest.mark.parametrize("name", WAITS)
def test_waits_are_those_of_the_strategy(name):
    wait, expected = WAITS[name]
    assert waits(Retry(attempts=4, wait=wait), *lost(4)) == [*expected, None]


STOPS = {
    "attempts": (stop_after_attempt(5), 4),
    "either": (stop_after_attempt(2) | stop_after_delay(1000), 1),
    "both": (stop_after_attempt(2) & stop_after_attempt(4), 3),
    "before a delay": (stop_before_delay(5), 0),
    "function": (lambda state: state.attempt_number == 3, 2),
}


@pytest.mark.parametrize("name", STOPS)
def test_calls_stop_where_the_strategy_says(name):
    stop, again = STOPS[name]
    expected = [9.0] * again + [None]
    assert waits(Retry(wait=wait_fixed(9), stop=stop), *lost(again + 1)) == expected


def caused(cause):
    error = ModelCallError("busy", retryable=False)
    error.__cause__ = cause
    return error


RETRIES = {
    "type": (retry_if_exception_type(ValueError), ValueError(), ConnectionError()),
    "either": (
        retry_if_exception_type(ValueError) | retry_if_exception_type(KeyError),
        KeyError(),
        ConnectionError(),
    ),
    "both": (
        retry_if_exception_type(ValueError) & retry_if_exception_message("again"),
        ValueError("again"),
        ValueError("no"),
    ),
    "unless": (retry_unless_exception_type(KeyError), ValueError(), KeyError()),
    "cause": (retry_if_exception_cause_type(OSError), caused(OSError()), caused(KeyError())),
    "predicate": (retry_if_exception(lambda e: "5" in str(e)), ValueError("503"), ValueError()),
    "always, but no breaker": (retry_always, ValueError(), CircuitOpenError("shut")),
}


@pytest.mark.parametrize("name", RETRIES)
def test_errors_are_worth_a_call_where_the_strategy_says(name):
    retry, worth, other = RETRIES[name]
    rule = Retry(wait=wait_fixed(1), retry=retry)
    assert (waits(rule, worth), waits(rule, other)) == ([1.0], [None])


def test_no_wait_outlasts_the_deadline_or_what_a_server_asks():
    soon = time.monotonic() + 5
    assert waits(Retry(wait=wait_fixed(1000)), *lost(1), until_s=soon) == [None]
    assert waits(Retry(wait=wait_fixed(1000)), *lost(1)) == [1000]
    assert waits(Retry(wait=wait_fixed(float("inf"))), *lost(1)) == [None]
    asked = ModelCallError("busy", retryable=True, retry_after_s=5.0)
    assert waits(Retry(wait=wait_none()), asked) == [5.0]
    assert waits(Retry(wait=wait_none(), max_wait_s=4.0), asked) == [None]


def test_each_wait_is_announced(caplog):
    log = before_sleep_log(logging.getLogger("tests.retry"), logging.WARNING)
    with caplog.at_level(logging.WARNING, "tests.retry"):
        waits(Retry(attempts=3, wait=wait_fixed(2), before_sleep=log), *lost(3))
    said = [one.getMessage() for one in caplog.records]
    assert len(said) == 2, "the third call is the last one"
    assert all("in 2 seconds as it raised ConnectionError: lost" in one for one in said)


def test_a_reply_loses_nothing_and_stops_with_the_strategy():
    rule = Retry(wait=wait_none(), stop=stop_after_attempt(4))
    failing = FaultyModel(LARGE, faults=[Fault(5), Fault(0), Fault(0)])
    _, reply = collect(
        SplitEngine(small=ScriptedModel(SMALL), large=failing, retry=rule), request()
    )
    assert reply.reasoning == "One. a b c d e f g h i j k l Two. m n o p q r s t u v w x"
    assert (reply.degraded, reply.spans[0].attempts) == (False, 4)


@pytest.mark.parametrize(("wait", "calls"), [(wait_none(), 3), (wait_fixed(1000), 1)])
def test_calls_without_end_stop_at_the_breaker_and_before_the_deadline(wait, calls):
    rule = Retry(wait=wait, stop=stop_never, breaker_failures=3)
    failing = FaultyModel(LARGE, faults=[Fault(0)] * 1000)
    engine = SplitEngine(
        small=ScriptedModel(SMALL), large=failing, retry=rule, policy=Policy(deadline_s=END_S)
    )
    spans = SMALL.count("<bigmodel>")
    _, reply = collect(engine, request())
    assert (reply.degraded, reply.answer, reply.large_tokens) == (True, "Three", 0)
    assert calls <= failing.calls <= calls * spans


ENDLESS = {"never": stop_never, "never and": stop_never & stop_after_attempt(3)}


@pytest.mark.parametrize("name", ENDLESS)
def test_calls_without_end_need_a_deadline(name):
    rule = Retry(stop=ENDLESS[name])
    with pytest.raises(ConfigurationError, match=r"timeout=\.\.\. or Policy\(deadline_s=\.\.\.\)"):
        SplitEngine(**PAIR, retry=rule)
    for chat in (SplitReasonLLM, LlamaIndexLLM):
        with pytest.raises(ValueError, match="never stops"):
            chat(**PAIR, retry=rule)
        assert chat(**PAIR, retry=rule, timeout=5).engine().retry.stop is rule.stop
    ended = Retry(stop=stop_never | stop_after_attempt(3))
    assert SplitEngine(**PAIR, retry=ended).retry is ended


REFUSED = [
    ({"wait": 2}, r"wait must be a strategy, got 2: .*wait_fixed\(2\)"),
    ({"wait": wait_fixed}, "wait is the class wait_fixed"),
    ({"wait": wait_fixed(1), "wait_s": 2.0}, "give wait or wait_s, not both"),
    ({"stop": stop_after_attempt(2), "attempts": 5}, "give stop or attempts, not both"),
    ({"retry": retry_always, "retryable": callable}, "give retry or retryable, not both"),
    (
        {"retry": tenacity.asyncio.retry_if_exception(lambda error: True)},
        "retry must not be asynchronous",
    ),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_what_is_no_strategy_is_refused(given, said):
    with pytest.raises(ConfigurationError, match=said):
        Retry(**given)


def test_max_retries_and_a_stop_are_not_both_given():
    with pytest.raises(ValueError, match=r"max_retries or Retry\(stop=...\), not both"):
        SplitReasonLLM(**PAIR, max_retries=2, retry=Retry(stop=stop_after_attempt(3)))


def test_strategies_are_copied_pickled_keyed_and_written_with_a_clear_error():
    rule = Retry(wait=wait_fixed(3), retry=retry_if_exception_type(ValueError))
    read = pickle.loads(pickle.dumps(rule))  # noqa: S301 - our own
    assert waits(read, ValueError()) == [3.0]
    llm, other = (SplitReasonLLM(small="embedded", large="embedded", retry=r) for r in (rule, None))
    assert llm._get_llm_string() == llm._get_llm_string() != other._get_llm_string()
    assert llm.model_copy(deep=True).retry.wait.wait_fixed == 3
    data = LlamaIndexLLM(small="embedded", large="embedded", retry=rule).to_dict()
    with pytest.raises(ValueError, match="wait_fixed, which has no written form: give retry again"):
        LlamaIndexLLM.from_dict(data)
    assert LlamaIndexLLM.from_dict(data, retry=rule).retry is rule
