"""Released models leave nothing behind: weights, processes, connections, breaker."""

import asyncio
import gc
import threading
import time
import weakref
from dataclasses import dataclass, field

import pytest
import torch

import splitreason_integrations
from splitreason_integrations import Retry, SplitEngine, TransformersModel, blocking, embedded
from splitreason_integrations.backends import registry
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.backends.loads import Loads
from splitreason_integrations.backends.registry import is_loaded, load_model, release
from splitreason_integrations.backends.vllm_local.model import LocalVLLM
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.errors import ModelInUseError, ModelLoadError, SessionError
from splitreason_integrations.request import Request
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.servers import order, prompt, serving, spec, write

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
FOLDER = str(embedded.path("large"))


def load(one):
    return blocking.run(lambda: load_model(one, role="small"))


def tensor_bytes():
    gc.collect()
    storages = {
        one.untyped_storage().data_ptr(): one.untyped_storage().nbytes()
        for one in gc.get_objects()
        if issubclass(type(one), torch.Tensor)
    }
    return sum(storages.values())


def answer(model):
    session = model.open(prompt())
    ids, _ = blocking.run(lambda: write(session, order(8)))
    session.close()
    return ids


@pytest.mark.slow
def test_three_specs_loaded_and_released_take_the_memory_of_one():
    specs = [TransformersModel(FOLDER, device="cpu", name=f"released-{n}") for n in range(4)]
    kept = load(specs.pop())
    text, one_bytes = answer(kept), sum(p.nbytes for p in kept.network.parameters())
    before = tensor_bytes()
    for one in specs:
        model = load(one)
        assert answer(model) == text
        network = weakref.ref(model.network)
        assert tensor_bytes() >= before + one_bytes
        release(one)
        assert network() is None, "the weights are still there"
        assert not is_loaded(one, role="small")
    # A cache or two may wait for the collector, weights may not.
    assert tensor_bytes() < before + one_bytes / 4
    with pytest.raises(SessionError, match="was released; load it again"):
        model.open(prompt())
    assert answer(load(specs[0])) == text
    release(specs[0], kept)


def test_a_model_that_answers_is_not_released():
    one = TransformersModel(FOLDER, device="cpu", name="busy")
    other = TransformersModel(FOLDER, device="cpu", name="idle")
    model = load(one)
    load(other)
    session = model.open(prompt())
    with pytest.raises(ModelInUseError, match="busy has 1 open sessions"):
        release([other, one])
    assert is_loaded(other, role="small")
    blocking.run(lambda: write(session, order(2)))
    session.close()
    release([other, model])
    assert not is_loaded(one, role="small")
    assert not is_loaded(other, role="small")


def test_a_name_stands_for_the_models_of_both_roles(monkeypatch):
    # Other tests of this process share the bundled pair that the registry has loaded.
    monkeypatch.setattr(registry, "_loads", Loads())
    pair = blocking.run(SplitEngine(small="embedded", large="embedded").models)
    release("embedded")
    assert all(model.is_closed for model in pair)
    done = blocking.run(
        lambda: SplitEngine(small="embedded", large="embedded").complete(
            Request(messages=[{"role": "user", "content": "47*23?"}], max_tokens=8)
        )
    )
    assert done.pieces
    release("embedded")


async def test_connections_to_a_server_are_closed():
    with serving("completions_server", "embedded:large", "--root") as (_, url):
        here = spec(url)
        model = await load_model(here, role="large")
        session = model.open(prompt())
        await write(session, order(4))
        session.close()
        server = model.replicas.all[0].server
        (kept,) = server._sessions.values()
        assert not kept.session.closed
        release(here)
        for _ in range(100):
            await asyncio.sleep(0.01)
            if kept.session.closed:
                break
        assert kept.session.closed
        assert not server._sessions


def test_an_engine_of_vllm_is_shut_down():
    class Shut:
        times = 0

        def shut_down(self):
            self.times += 1

    model = LocalVLLM(Shut(), embedded_codec(), name="engine", vocabulary=9, context_tokens=9)
    release(model)
    assert model.engine.times == 1


def test_a_model_loaded_again_begins_with_a_closed_breaker():
    one = TransformersModel(FOLDER, device="cpu", name="failing")
    retry = Retry(breaker_failures=1)
    breaker_of(load(one), retry).failed()
    assert not breaker_of(load(one), retry).is_closed
    release(one)
    assert breaker_of(load(one), retry).is_closed
    release(one)


@dataclass(frozen=True)
class Slow(ModelDescription):
    label: str = "slow"
    go_on: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event, compare=False)

    def load(self):
        assert self.go_on.wait(60)
        model = ScriptedModel("x")
        model.close = self.closed.set
        return model


async def test_a_load_that_nobody_waits_for_is_dropped():
    one = Slow()
    loading = asyncio.ensure_future(load_model(one, role="small"))
    await asyncio.sleep(0)
    with pytest.raises(ModelInUseError, match="being loaded"):
        release(one)
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    release(one)
    one.go_on.set()
    assert await asyncio.to_thread(one.closed.wait, 60)
    assert not is_loaded(one, role="small")
    # It loads anew for whoever asks next.
    assert await load_model(one, role="small", deadline_s=time.monotonic() + 60)
    release(one)


def test_what_is_not_loaded_is_left_alone():
    release("hf:no-such-model", [ScriptedModel("x")])
    release()
    with pytest.raises(ModelLoadError):
        load("hf:no-such-model")


def test_release_is_public():
    assert splitreason_integrations.release is release


@dataclass(frozen=True)
class Named(ModelDescription):
    """A description of a scripted model that is closed when it is released."""

    reply: str
    load_s: float = 0.0

    @property
    def label(self):
        return "named"

    def load(self):
        time.sleep(self.load_s)
        return Closing(self.reply, name="named")


class Closing(ScriptedModel):
    """A scripted model that opens no session once it is closed."""

    is_closed = False

    def close(self):
        self.is_closed = True

    def open(self, prompt, written=()):
        if self.is_closed:
            raise SessionError("released")
        return super().open(prompt, written)


async def test_a_large_model_is_kept_for_a_request_that_has_not_handed_over_yet():
    writes, spans = Named("I add.<bigmodel> So.</think>\n\nSeven."), Named(" it is 7.</bigmodel>")
    engine = SplitEngine(small=writes, large=spans)
    items = engine.stream(Request(messages=[{"role": "user", "content": "3 + 4?"}], max_tokens=60))
    await anext(items)
    with pytest.raises(ModelInUseError, match="requests still use named, 1 of them"):
        release(spans)
    *_, reply = [item async for item in items]
    assert (reply.answer, reply.degraded) == ("Seven.", False)
    release(writes, spans)
    assert not is_loaded(spans, role="large")


async def test_a_small_model_is_kept_for_a_request_that_waits_for_its_large_one():
    writes, spans = Named("I add.</think>\n\nSeven."), Named(" 7.</bigmodel>", load_s=0.5)
    await load_model(writes, role="small")
    engine = SplitEngine(small=writes, large=spans)
    asked = Request(messages=[{"role": "user", "content": "3 + 4?"}], max_tokens=60)
    replying = asyncio.create_task(engine.complete(asked))
    await asyncio.sleep(0.1)
    with pytest.raises(ModelInUseError):
        release(writes)
    assert (await replying).answer == "Seven."
    replying = asyncio.create_task(engine.complete(asked))
    await asyncio.sleep(0)
    replying.cancel()
    await asyncio.gather(replying, return_exceptions=True)
    release(writes, spans)
