"""The door for synchronous callers: what an interrupted caller leaves behind."""

import asyncio
import os
import signal
import threading
import time

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


def interrupt_in(seconds):
    threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT)).start()


@pytest.mark.usefixtures("interruptible")
def test_a_pull_that_ignores_its_cancellation_for_a_while_is_waited_for():
    happened = []

    async def stream():
        try:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                for _ in range(5):
                    await asyncio.sleep(0.02)
                happened.append("pull ended")
            yield 1
        finally:
            happened.append("closed")

    interrupt_in(0.2)
    with pytest.raises(KeyboardInterrupt):
        next(blocking.iterate(stream()))
    assert happened == ["pull ended", "closed"]


@pytest.mark.usefixtures("interruptible")
def test_waiting_for_a_pull_that_never_ends_costs_nothing_and_can_be_interrupted():
    let_end, spent = threading.Event(), []

    async def stream():
        held = asyncio.get_running_loop().create_future()
        while not let_end.is_set():
            try:
                await asyncio.shield(held)
            except asyncio.CancelledError:
                spent.append(time.thread_time())
        yield 1

    interrupt_in(0.2)  # ends the pull's wait; closing begins
    interrupt_in(1.2)  # ends the closing's wait
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(blocking.iterate(stream()))
    assert time.monotonic() - started < 12

    async def now():
        return time.thread_time()

    assert blocking.run(now) - spent[0] < 0.2, "the loop was busy while it waited for the pull"
    let_end.set()


def test_an_exit_ends_the_caller_and_not_the_loop():
    async def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        blocking.run(leave)

    async def answer():
        return 7

    assert blocking.run(answer) == 7


def test_a_blocking_call_on_the_loop_itself_is_an_error_and_no_deadlock():
    async def answer():
        return 7

    async def call():
        return blocking.run(answer)

    with pytest.raises(RuntimeError):
        blocking.run(call)
