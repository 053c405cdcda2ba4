"""The door for synchronous callers: what an interrupted caller leaves behind."""

import asyncio
import os
import signal
import threading

import pytest

from splitreason_integrations import blocking
from tests.limits import END_S


@pytest.fixture
def interruptible():
    """Take Ctrl-C as an interactive Python does; a job in the background inherits it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("door", ["run", "iterate"])
def test_interrupting_the_caller_cancels_the_work(door):
    ended = threading.Event()

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def stream():
        await work()
        yield 1

    interrupt = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    interrupt.start()
    knock = {"run": lambda: blocking.run(work), "iterate": lambda: next(blocking.iterate(stream()))}
    with pytest.raises(KeyboardInterrupt):
        knock[door]()
    assert ended.wait(END_S)
