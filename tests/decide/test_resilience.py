"""A large model that fails: tried again, replaced, or done without; nothing received is lost."""

import time

import pytest

from splitreason_integrations import Policy, Random, Retry, SplitEngine, blocking
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.decide.resilience import Attempts, Breaker, breaker_of, is_retryable
from splitreason_integrations.errors import (
    CircuitOpenError,
    ConfigurationError,
    LargeModelError,
    ModelCallError,
)
from splitreason_integrations.events import Event
from splitreason_integrations.testing import ScriptedModel
from tests.limits import END_S
from tests.loop.engine_runs import HELLO, collect, complete, engine, freed, request
from tests.loop.faults import Fault, FaultyModel

QUICK = Retry(wait_s=0.0, max_wait_s=0.0)
SMALL = "One.<bigmodel> Two.<bigmodel></think>\n\nThree"
LARGE = " a b c d e f g h i j k l</bigmodel> m n o p q r s t u v w x</bigmodel>"


def names(items):
    return [item.name.removeprefix("splitreason.") for item in items if isinstance(item, Event)]


def scripted(*larges, **more):
    settings = {"retry": QUICK, **more}
    return SplitEngine(small=ScriptedModel(SMALL), large=list(larges), **settings)


def faulty(*faults, **more):
    return FaultyModel(LARGE, faults=faults, **more)


def test_what_is_retryable():
    assert is_retryable(ConnectionResetError())
    assert is_retryable(TimeoutError())
    assert is_retryable(ModelCallError("busy", retryable=True))
    assert not is_retryable(ModelCallError("no", retryable=False))
    assert not is_retryable(CircuitOpenError("shut"))
    assert not is_retryable(ValueError())


def test_attempts_are_bounded_by_number_and_by_time():
    attempts = Attempts(Retry(attempts=3, wait_s=0.5, max_wait_s=2.0))
    waits = [attempts.note_failure(ConnectionError(), until_s=None) for _ in range(3)]
    assert all(0 <= wait <= 2 for wait in waits[:2])
    assert waits[2] is None
    assert Attempts(Retry()).note_failure(ValueError(), until_s=None) is None
    asked = ModelCallError("busy", retryable=True, retry_after_s=5.0)
    assert Attempts(Retry()).note_failure(asked, until_s=None) >= 5
    assert Attempts(Retry()).note_failure(asked, until_s=time.monotonic() + 1) is None
    assert Attempts(Retry(max_wait_s=4.0)).note_failure(asked, until_s=None) is None


@pytest.mark.parametrize("bad", [{"attempts": 0}, {"wait_s": -1}, {"breaker_failures": 0}])
def test_bad_retry_settings_are_named(bad):
    with pytest.raises(ConfigurationError, match=next(iter(bad))):
        Retry(**bad)


def test_a_breaker_opens_probes_and_closes():
    breaker = Breaker(failures=2, cooldown_s=0.05)
    breaker.failed()
    assert breaker.admits()
    breaker.failed()
    assert not breaker.admits()
    time.sleep(0.06)
    assert breaker.admits(), "one probe"
    assert not breaker.admits(), "and only one"
    breaker.succeeded()
    assert breaker.admits()


def test_callers_share_what_is_known_of_a_model_and_keep_their_own_thresholds():
    model = ScriptedModel(LARGE)
    patient = Retry(breaker_failures=3, breaker_cooldown_s=60.0)
    strict = Retry(breaker_failures=1, breaker_cooldown_s=60.0)
    eager = Retry(breaker_failures=1, breaker_cooldown_s=0.0)
    breaker_of(model, patient).failed()
    assert breaker_of(model, patient).is_closed
    assert not breaker_of(model, strict).admits(), "one failed call is enough for this caller"
    assert breaker_of(model, eager).admits(), "its cooldown is over"
    for _ in range(2):
        breaker_of(model, strict).failed()
    assert not breaker_of(model, patient).admits(), "failures of all callers count"
    breaker_of(model, eager).succeeded()
    assert breaker_of(model, patient).admits()
    assert breaker_of(model, strict).admits()


def test_a_request_with_other_thresholds_than_the_first_one_has_its_own():
    failing = faulty(*[Fault(0)] * 99)
    first = Retry(attempts=1, breaker_failures=99)
    for _ in range(2):
        complete(scripted(failing, retry=first), request())
    calls = failing.calls
    items, _ = collect(scripted(failing, retry=Retry(attempts=1, breaker_failures=2)), request())
    (failed,) = [item for item in items if isinstance(item, Event) and "failed" in item.name]
    assert failed.error == "CircuitOpenError"
    assert failing.calls == calls


def test_a_call_made_again_loses_and_doubles_nothing():
    plain = complete(scripted(faulty()), request())
    for at in range(26):
        items, reply = collect(scripted(faulty(Fault(at))), request())
        assert reply.reasoning == plain.reasoning
        assert reply.pieces == plain.pieces
        assert not reply.degraded
        assert names(items).count("handoff.retried") == 1
        assert sorted(span.attempts for span in reply.spans) == [1, 2]


class FailsOnce(HFModel):
    """A real model whose pass number `at` fails."""

    def __init__(self, model, at):
        super().__init__(model.network, model.codec, name="fails-once", taught=True)
        self.at, self.count = at, 0

    def forward(self, token_ids, cache, *, last):
        self.count += 1
        logits = super().forward(token_ids, cache, last=last)
        if self.count == self.at:
            raise ConnectionError("lost")
        return logits


@pytest.mark.parametrize("at", [1, 2, 3, 9, 14, 30])
def test_real_models_write_the_same_after_a_failed_pass(random_pair, at):
    def run(large):
        return collect(engine((random_pair[0], large), trigger=Random(0.2), retry=QUICK), request())

    _, plain = run(random_pair[1])
    items, reply = run(FailsOnce(random_pair[1], at))
    assert reply.pieces == plain.pieces
    # Where the small model ends the span with what had come, there is nothing to be called for.
    ended = any(span.closed_by == "small" for span in reply.spans)
    assert names(items).count("handoff.retried") in ((0, 1) if ended else (1,))
    assert freed(random_pair)


def test_the_next_large_model_goes_on_in_the_middle_of_a_span():
    first = faulty(Fault(5, fatal=True))
    second = ScriptedModel(" F G.</bigmodel> M N.</bigmodel>", name="second")
    items, reply = collect(scripted(first, second), request())
    assert reply.reasoning == "One. a b c d e F G. Two. M N."
    assert not reply.degraded
    assert [span.text for span in reply.spans] == [" a b c d e F G.", " M N."]
    seen = [item for item in items if isinstance(item, Event)]
    assert [e.name.rpartition(".")[2] for e in seen[:5]] == [
        "requested",
        "started",
        "failed",
        "fell_back",
        "started",
    ]
    assert seen[3].to == "second"
    assert freed((first, second))


def test_the_next_model_may_have_another_tokenizer(random_pair, other_model):
    for at in (1, 4, 11):
        failing = FailsOnce(random_pair[1], at)
        some = engine(
            (random_pair[0], [failing, other_model]),
            trigger=Random(0.2),
            retry=Retry(attempts=1),
        )
        _, reply = collect(some, request())
        assert not reply.degraded
        assert {piece.model for piece in reply.pieces if piece.author == "large"} >= {1}
        assert sum(span.tokens for span in reply.spans) == reply.large_tokens
        assert freed((random_pair[0], failing, other_model))


def test_a_model_that_cannot_be_loaded_is_passed_over():
    last = ScriptedModel(" z.</bigmodel>", name="last")
    items, reply = collect(scripted(faulty(Fault(0, fatal=True)), "hf:/nowhere", last), request())
    assert not reply.degraded
    assert names(items).count("handoff.failed") == 2
    assert " z." in reply.reasoning


def test_all_fail_and_the_small_model_ends_it():
    both = [faulty(Fault(3, fatal=True)), faulty(Fault(2, fatal=True))]
    items, reply = collect(scripted(*both), request())
    assert reply.degraded
    assert reply.answer == "Three"
    assert reply.reasoning == "One. a b c a b Two."
    assert names(items)[-1] == "handoff.fell_back"
    with pytest.raises(LargeModelError, match="on_large_failure"):
        complete(scripted(faulty(Fault(3, fatal=True)), on_large_failure="raise"), request())


def test_a_hanging_model_leaves_the_small_one_time():
    some = scripted(faulty(Fault(4, hangs=True)), policy=Policy(deadline_s=3.0))
    started = time.monotonic()
    reply = complete(some, request())
    assert time.monotonic() - started < END_S
    assert reply.degraded
    assert reply.answer == "Three"
    stalling = scripted(faulty(Fault(4, hangs=True)), retry=Retry(stall_s=0.05, wait_s=0.0))
    items, reply = collect(stalling, request())
    assert not reply.degraded
    assert names(items).count("handoff.retried") == 1


def test_a_model_that_fails_again_and_again_is_passed_over_without_a_call():
    retry = Retry(attempts=1, breaker_failures=2, breaker_cooldown_s=60.0)
    failing = faulty(*[Fault(0)] * 99)
    for _ in range(2):
        assert complete(scripted(failing, retry=retry), request()).degraded
    assert not breaker_of(failing, retry).is_closed
    calls = failing.calls
    items, reply = collect(scripted(failing, retry=retry), request())
    assert reply.degraded
    assert failing.calls == calls
    (failed,) = [item for item in items if isinstance(item, Event) and "failed" in item.name]
    assert failed.error == "CircuitOpenError"


def test_no_error_text_is_part_of_an_answer():
    some = scripted(faulty(Fault(3, fatal=True)))
    reply = blocking.run(lambda: some.complete(request(messages=HELLO)))
    assert "fails on purpose" not in reply.reasoning + reply.answer


def test_a_list_needs_a_model():
    with pytest.raises(ConfigurationError, match="empty list"):
        complete(scripted(), request())
