"""One load for each spec, which callers wait for as long as they like; failures are not kept."""

import asyncio
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from splitreason_integrations import OpenAIServerModel, ServerLimits
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.backends.registry import (
    is_loaded,
    is_on_server,
    load_model,
)
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import (
    ModelLoadError,
    ModelLoadTimeoutError,
    ModelUnreachableError,
)
from splitreason_integrations.testing import ScriptedModel
from tests.backends.servers import NOWHERE

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@dataclass(frozen=True)
class Slow(ModelDescription):
    """A model whose load waits for a test's word."""

    label: str = "slow"
    go_on: threading.Event = field(default_factory=threading.Event)
    loads: list = field(default_factory=list, compare=False)
    failures: list = field(default_factory=list, compare=False)

    def load(self):
        self.loads.append(threading.current_thread())
        assert self.go_on.wait(60)
        if self.failures:
            raise self.failures.pop()
        return ScriptedModel("x")


@pytest.fixture
def silent():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield OpenAIServerModel(f"http://127.0.0.1:{server.getsockname()[1]}/v1", "x")


def in_s(seconds):
    return time.monotonic() + seconds


async def test_many_requests_to_a_silent_server_leave_the_loops_threads_free(silent):
    loads = [asyncio.ensure_future(load_model(silent, role="large")) for _ in range(40)]
    await asyncio.sleep(0)
    # The loop's own pool has 32 threads at most.
    own = asyncio.ensure_future(asyncio.to_thread(int))
    done, _ = await asyncio.wait([own], timeout=10)
    assert done, "the application's own to_thread waits for the server"
    for load in loads:
        load.cancel()
    done = await asyncio.wait_for(asyncio.gather(*loads, return_exceptions=True), 10)
    assert all(isinstance(one, asyncio.CancelledError) for one in done)


async def test_a_deadline_ends_the_waiting(silent):
    loads = [load_model(silent, role="large", deadline_s=in_s(0.1)) for _ in range(40)]
    done = await asyncio.wait_for(asyncio.gather(*loads, return_exceptions=True), 10)
    assert {type(one) for one in done} == {ModelLoadTimeoutError}
    assert isinstance(done[0], ModelUnreachableError)
    assert not is_loaded(silent, role="large")


async def test_all_who_wait_share_one_load_and_one_model():
    spec = Slow()
    loads = [asyncio.ensure_future(load_model(spec, role="small")) for _ in range(3)]
    with pytest.raises(ModelLoadTimeoutError):
        await load_model(spec, role="small", deadline_s=in_s(0))
    loads.pop().cancel()
    elsewhere = asyncio.to_thread(asyncio.run, load_model(spec, role="large"))
    loads.append(asyncio.ensure_future(elsewhere))
    await asyncio.sleep(0)
    spec.go_on.set()
    first, *others = await asyncio.gather(*loads)
    assert all(other is first for other in others)
    assert len(spec.loads) == 1
    assert spec.loads[0] is not threading.main_thread()
    assert is_loaded(spec, role="small")
    assert await load_model(spec, role="small", deadline_s=in_s(-1)) is first


async def test_a_failed_load_is_tried_again():
    spec = Slow(failures=[ModelLoadError("no"), TimeoutError("own")])
    spec.go_on.set()
    with pytest.raises(TimeoutError, match="own"):
        await load_model(spec, role="small", deadline_s=in_s(60))
    with pytest.raises(ModelLoadError, match="no"):
        await load_model(spec, role="small")
    assert (await load_model(spec, role="small")).name == "scripted"
    assert len(spec.loads) == 3


class Answers(BaseHTTPRequestHandler):
    """Gives the next of some answers to whatever is asked."""

    answers = ()

    def do_GET(self):
        status, body = type(self).answers
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def answering():
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield OpenAIServerModel(
        f"http://127.0.0.1:{server.server_port}/v1", "big", tokenizer=str(path("large"))
    )
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "unreachable"),
    [
        (503, b"starting", True),
        (429, b"slow down", True),
        (401, b"no", False),
        (404, b"no", False),
        (200, b"<html>", False),
        (200, b'{"data": [{"id": "other"}]}', False),
    ],
)
async def test_what_may_pass_is_kept_apart_from_what_is_wrong_in_itself(
    answering, status, body, unreachable
):
    Answers.answers = (status, body)
    with pytest.raises(ModelLoadError) as failed:
        await load_model(answering, role="large")
    assert isinstance(failed.value, ModelUnreachableError) is unreachable
    Answers.answers = (200, b'{"data": [{"id": "big", "max_model_len": 100}]}')
    assert (await load_model(answering, role="large")).context_tokens == 100


async def test_a_server_that_is_not_there_is_unreachable():
    spec = OpenAIServerModel(NOWHERE, "x", tokenizer=str(path("large")))
    with pytest.raises(ModelUnreachableError, match="cannot be reached"):
        await load_model(spec, role="large")


async def test_a_silent_server_is_unreachable(silent):
    with pytest.raises(ModelUnreachableError, match="too slow"):
        await load_model(replace(silent, limits=ServerLimits(read_s=0.2)), role="large")


def test_what_is_on_a_server_is_known_before_loading(silent):
    assert is_on_server(silent, role="large")
    assert is_on_server("http://h/v1#m", role="large")
    assert not is_on_server("embedded", role="large")
    assert is_on_server(ScriptedModel("x", remote=True), role="large")
