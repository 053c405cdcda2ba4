"""Start-up keeps its promises: the small model is the floor, and deadlines hold from the start."""

import asyncio
import contextlib
import socket
import threading
import time
from dataclasses import replace
from itertools import count

import pytest

from splitreason_integrations import (
    Policy,
    Retry,
    SplitEngine,
    TransformersModel,
)
from splitreason_integrations.backends import registry
from splitreason_integrations.decide.ask_rules import AskRule
from splitreason_integrations.decide.triggers import Both, Either, Never, Shadow, Tag
from splitreason_integrations.embedded import path
from splitreason_integrations.engine import finished
from splitreason_integrations.errors import (
    ConfigurationError,
    ContextOverflowError,
    LargeModelError,
    ModelUnreachableError,
    SplitReasonError,
    UnknownSpecError,
)
from splitreason_integrations.humans.human import Answer, HumanCheck, Paused
from splitreason_integrations.records import Completion
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.loop.engine_runs import request

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

_names = count()
TEXT = "I add 3 and 4.<bigmodel> So it is.</think>\n\nSeven."


def dead():
    """A model on a server that refuses connections; nothing is known of it yet."""
    return f"http://127.0.0.1:9/v1#m{next(_names)}"


def small(**more):
    return ScriptedModel(TEXT, name="small", **more)


def spare():
    return ScriptedModel(" the sum is 7.</bigmodel>", name="spare")


@contextlib.contextmanager
def silent_server():
    """A server that takes connections and never answers; gives its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


async def items_of(engine, **asked):
    return [item async for item in engine.stream(request(**asked))]


async def answered(engine, **asked):
    """The items of a request that must be answered, whatever its large model does."""
    try:
        return await items_of(engine, **asked)
    except SplitReasonError as error:
        pytest.fail(f"the small model should have answered: {error!r}")


async def ended(*requests):
    """The results of requests that must end by themselves, long before a minute has passed."""
    tasks = [asyncio.ensure_future(one) for one in requests]
    _, pending = await asyncio.wait(tasks, timeout=60)
    for task in pending:
        task.cancel()
    assert not pending, f"{len(pending)} requests wait beyond their deadline"
    return await asyncio.gather(*tasks, return_exceptions=True)


def names(items):
    return [item.name.removeprefix("splitreason.") for item in items if hasattr(item, "name")]


async def test_a_dead_first_large_model_is_passed_over():
    first = dead()
    items = await answered(SplitEngine(small=small(), large=[first, spare()]))
    reply = items[-1]
    assert (reply.answer, reply.degraded) == ("Seven.", False)
    assert reply.spans[0].text == " the sum is 7."
    assert names(items) == [
        "handoff.requested",
        "handoff.failed",
        "handoff.fell_back",
        "handoff.started",
        "handoff.finished",
    ]
    failed = next(item for item in items if getattr(item, "name", "").endswith("failed"))
    fell_back = next(item for item in items if getattr(item, "name", "").endswith("fell_back"))
    assert (failed.error, failed.model) == ("ModelUnreachableError", first)
    assert fell_back.to == "spare"


async def test_a_replacement_that_cannot_serve_the_request_is_passed_over():
    narrow = ScriptedModel("x", name="narrow", context_tokens=10)
    items = await answered(SplitEngine(small=small(), large=[dead(), narrow, spare()]))
    assert (items[-1].answer, items[-1].degraded) == ("Seven.", False)
    failed = [item.error for item in items if getattr(item, "name", "").endswith("failed")]
    assert failed == ["ModelUnreachableError", "ContextOverflowError"]
    with pytest.raises(ContextOverflowError):
        await items_of(SplitEngine(small=small(), large=[narrow, spare()]))


@pytest.mark.parametrize("larges", [1, 2])
async def test_without_any_large_model_the_small_one_finishes(larges):
    items = await answered(SplitEngine(small=small(), large=[dead() for _ in range(larges)]))
    reply = items[-1]
    assert (reply.answer, reply.degraded) == ("Seven.", True)
    assert [(span.tokens, span.closed_by) for span in reply.spans] == [(0, "failure")]
    assert names(items)[-2:] == ["handoff.finished", "handoff.fell_back"]


async def test_a_dead_large_model_is_an_error_where_that_is_asked_for():
    with pytest.raises(LargeModelError, match="on_large_failure"):
        await items_of(SplitEngine(small=small(), large=dead(), on_large_failure="raise"))


async def test_nobody_is_asked_about_a_handoff_to_nobody():
    asked = []
    check = HumanCheck(reviewer=lambda question: asked.append(question) or "approve")
    items = await answered(SplitEngine(small=small(), large=dead(), human_check=check))
    assert (items[-1].answer, asked) == ("Seven.", [])


@pytest.mark.parametrize(
    "trigger",
    [Never(), Shadow(Tag(), print), Either(Never(), Never()), Both(Tag(), Never())],
    ids=str,
)
async def test_where_no_span_can_open_no_large_model_is_loaded(trigger, monkeypatch):
    loaded = []
    load = registry.load_model

    async def noted(spec, *, role, **within):
        loaded.append(role)
        return await load(spec, role=role, **within)

    monkeypatch.setattr("splitreason_integrations.loop.loading.load_model", noted)
    reply = (await answered(SplitEngine(small=small(), large=dead(), trigger=trigger)))[-1]
    assert (reply.answer, reply.degraded, loaded) == ("Seven.", False, ["small"])


@pytest.mark.parametrize("trigger", [Tag(), Never()], ids=str)
@pytest.mark.parametrize("before", [0, 1])
async def test_what_is_wrong_in_itself_fails_early(before, trigger):
    larges = [*(dead() for _ in range(before)), "no such model"]
    with pytest.raises(UnknownSpecError):
        await items_of(SplitEngine(small=small(), large=larges, trigger=trigger))


async def test_a_server_that_is_never_reached_is_passed_over_for_a_while():
    larges, retry = [dead(), spare()], Retry(breaker_failures=3, breaker_cooldown_s=600.0)
    engine = SplitEngine(small=small(), large=larges, retry=retry)
    errors = []
    for _ in range(5):
        items = await answered(engine)
        assert items[-1].answer == "Seven."
        errors += [item.error for item in items if getattr(item, "name", "").endswith("failed")]
    assert errors == ["ModelUnreachableError"] * 3 + ["CircuitOpenError"] * 2


async def test_a_folder_without_a_model_fails_early():
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        await items_of(SplitEngine(small=small(), large=["hf:/nowhere", spare()]))


async def test_a_dead_small_model_is_an_error():
    with pytest.raises(ModelUnreachableError):
        await items_of(SplitEngine(small=dead(), large=spare()))


async def test_a_silent_server_keeps_no_request_beyond_its_deadline():
    with silent_server() as url:
        began_s = time.monotonic()
        engine = SplitEngine(
            small=small(), large=f"{url}#m", policy=Policy(deadline_s=6.0), retry=Retry(attempts=1)
        )
        free = asyncio.create_task(asyncio.to_thread(time.monotonic))
        replies = await ended(*(engine.complete(request()) for _ in range(40)), free)
        # The application's own thread pool stayed free.
        assert replies.pop() - began_s < 30
        assert [reply.answer for reply in replies] == ["Seven."] * 40


async def test_a_silent_small_model_is_an_error_at_the_deadline():
    with silent_server() as url:
        engine = SplitEngine(small=f"{url}#m", large=spare(), policy=Policy(deadline_s=0.5))
        (error,) = await ended(engine.complete(request()))
    assert isinstance(error, ModelUnreachableError)
    assert "was not loaded within" in str(error)


async def test_loading_local_weights_does_not_count_against_the_deadline(monkeypatch):
    slow = TransformersModel(str(path("small")), device="cpu", name="slow to load")
    load = registry.load_model

    async def loading(spec, *, role, **within):
        if spec is slow:
            await asyncio.sleep(2.5)
        return await load(spec, role=role, **within)

    monkeypatch.setattr("splitreason_integrations.loop.loading.load_model", loading)
    engine = SplitEngine(small=slow, large=spare(), trigger=Never(), policy=Policy(deadline_s=2.0))
    reply = await engine.complete(request(max_tokens=20))
    assert (reply.stop_reason, reply.tokens) == ("length", 20)
    assert reply.loading_s >= 2.5
    assert reply.latency_s < reply.loading_s
    assert reply.facts()["loading_s"] == reply.loading_s


async def paused(engine):
    async for item in engine.stream(request()):
        if isinstance(item, Paused):
            return item
    raise AssertionError("the request was not paused")


async def test_a_resume_that_fails_leaves_no_session_open():
    pair = small(), spare()
    later = HumanCheck(reviewer=lambda question: None)
    engine = SplitEngine(small=pair[0], large=pair[1], human_check=later)
    waiting = await paused(engine)
    mine, other = waiting.state["participants"]
    state = {**waiting.state, "participants": [mine, {**other, "model": "another"}]}
    changed = replace(waiting, state=state, signature=None)
    with pytest.raises(ConfigurationError, match="another large model"):
        await finished(engine.resume(changed, Answer(decision="approve")))
    assert [model.open_sessions for model in pair] == [0, 0]


async def test_a_resume_with_nobody_to_ask_leaves_no_session_open():
    pair, policy = (small(), spare()), Policy(ask_after=AskRule())
    later = HumanCheck(reviewer=lambda question: None)
    waiting = await paused(SplitEngine(small=pair[0], large=pair[1], human_check=later))
    alone = SplitEngine(small=pair[0], large=pair[1], policy=policy)
    with pytest.raises(ConfigurationError, match="nobody to ask"):
        await finished(alone.resume(waiting, Answer(decision="approve")))
    assert [model.open_sessions for model in pair] == [0, 0]


async def test_a_resume_without_its_server_can_be_tried_again():
    pair = small(), spare()
    later = HumanCheck(reviewer=lambda question: None)
    waiting = await paused(SplitEngine(small=pair[0], large=pair[1], human_check=later))
    answer = Answer(decision="approve")
    with pytest.raises(ModelUnreachableError):
        await finished(SplitEngine(small=pair[0], large=dead()).resume(waiting, answer))
    assert pair[0].open_sessions == 0
    reply = await finished(SplitEngine(small=pair[0], large=pair[1]).resume(waiting, answer))
    assert isinstance(reply, Completion)
    assert (reply.answer, reply.degraded) == ("Seven.", False)


async def test_a_failing_prefill_is_logged(caplog):
    class Failing(ScriptedModel):
        def open(self, prompt, written=()):
            session = super().open(prompt, written)

            def prefill():
                raise ConnectionError("no route")

            session.prefill = prefill
            return session

    large = Failing(" the sum is 7.</bigmodel>", name="far")
    engine = SplitEngine(small=small(), large=large, prefill_tokens=1)
    reply = await engine.complete(request())
    assert reply.answer == "Seven."
    assert "prefill of far failed: no route" in caplog.text


async def test_a_long_conversation_is_rendered_beside_the_event_loop():
    threads = []
    codec = embedded_codec()

    class Noting:
        def __getattr__(self, name):
            return getattr(codec, name)

        def render(self, messages, tools, **more):
            threads.append(threading.get_ident())
            return codec.render(messages, tools, **more)

    long = [{"role": "user", "content": "Seven and eight are how many? " * 1000}]
    pair = [
        ScriptedModel(text, name=name, codec=Noting(), context_tokens=100_000)
        for name, text in (("small", TEXT), ("large", " the sum is 7.</bigmodel>"))
    ]
    reply = await SplitEngine(small=pair[0], large=pair[1]).complete(request(messages=long))
    assert reply.answer == "Seven."
    assert threads
    assert threading.get_ident() not in threads
