"""After `os.fork()`: a child answers with models that its parent loaded, and disturbs nothing."""

import ast
import json
import multiprocessing
import os
import signal
import threading
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from langchain_splitreason import SplitReasonLLM as LangChainLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import Request, Retry, SplitEngine, blocking
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.errors import ForkedProcessError
from splitreason_integrations.processes import children
from splitreason_integrations.testing import ScriptedModel
from tests.backends.servers import QUESTION, load, serving, spec
from tests.conftest import random_network
from tests.loop.engine_runs import complete, request

ROOT = Path(__file__).parent.parent
WATCHDOG_S = 60
"""Ends a child that hangs; an idle machine takes 5 s for the slowest one."""


def in_child(work):
    """Return what `work` returns in a forked child; fail with its traceback, or where it hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(WATCHDOG_S)
        try:
            answer = {"value": work()}
        except BaseException:  # noqa: BLE001 - shown by the parent
            answer = {"error": traceback.format_exc()}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the forked child hangs: it was ended by signal {status}"
    answer = json.loads(said)
    assert "value" in answer, answer["error"]
    return answer["value"]


def scripted_pair():
    small = "I add 3 and 4.<bigmodel> So it is.</think>\n\nSeven."
    return ScriptedModel(small, name="small"), ScriptedModel(" It is 7.</bigmodel>", name="large")


@contextmanager
def pair_of(kind):
    if kind == "server":
        with serving("completions_server", "embedded:large") as (_, url):
            yield "embedded", spec(url)
    else:
        yield ("embedded", "embedded") if kind == "embedded" else scripted_pair()


def asked_of_engine(small, large):
    engine = SplitEngine(small=small, large=large)
    asked = Request(messages=[{"role": "user", "content": QUESTION}], seed=1)
    return lambda: complete(engine, asked).answer


def asked_of_langchain(small, large):
    llm = LangChainLLM(small=small, large=large)
    return lambda: llm.invoke(QUESTION).content


def asked_of_llama_index(small, large):
    llm = LlamaIndexLLM(small=small, large=large)
    return lambda: llm.complete(QUESTION).text


DOORS = [asked_of_engine, asked_of_langchain, asked_of_llama_index]


@pytest.mark.enable_socket
@pytest.mark.parametrize(
    "kind", ["scripted", "embedded", pytest.param("server", marks=pytest.mark.server)]
)
@pytest.mark.parametrize("door", DOORS)
def test_a_forked_child_answers_as_its_parent_does(kind, door):
    with pair_of(kind) as pair:
        ask = door(*pair)
        answer = ask()
        assert answer
        assert in_child(ask) == answer
        assert in_child(lambda: in_child(ask)) == answer, "a child of a child"
        assert ask() == answer, "the parent goes on"
        assert in_child(ask) == answer


_llm = []


def _ask_pooled(question):
    signal.alarm(WATCHDOG_S)
    return _llm[0].invoke(question).content


@pytest.mark.parametrize("kind", ["scripted", "embedded"])
def test_a_pool_of_forked_processes_answers(kind):
    with pair_of(kind) as pair:
        _llm[:] = [LangChainLLM(small=pair[0], large=pair[1])]
        answer = _llm[0].invoke(QUESTION).content
        with multiprocessing.get_context("fork").Pool(2) as pool:
            asked = pool.map_async(_ask_pooled, [QUESTION] * 4)
            assert asked.get(WATCHDOG_S) == [answer] * 4


def test_the_parents_streams_and_sessions_are_not_the_childs():
    small, large = scripted_pair()
    engine = SplitEngine(small=small, large=large)
    whole = list(blocking.iterate(engine.stream(request())))
    stream = blocking.iterate(engine.stream(request()))
    first = next(stream)
    assert small.open_sessions == 1

    def work():
        with pytest.raises(ForkedProcessError, match="begin a new stream"):
            next(stream)
        return small.open_sessions

    assert in_child(work) == 0
    rest = [first, *stream]
    assert len(rest) == len(whole)
    assert rest[-1].answer == whole[-1].answer
    assert small.open_sessions == 0


def test_a_model_of_a_forked_parent_has_no_sessions(random_pair):
    session = random_pair[0].open([1, 2])
    assert random_pair[0].open_sessions == 1
    assert in_child(lambda: random_pair[0].open_sessions) == 0
    session.close()


class OnGPU(type(random_network(64, 1))):
    """A network that says it is on a GPU."""

    device = property(lambda self: torch.device("cuda", 0))


@pytest.mark.parametrize("which", ["small", "large"])
def test_a_model_on_a_gpu_is_refused_in_a_child_with_the_remedy(random_pair, which):
    network = random_network(random_pair[0].network.config.vocab_size, 1)
    network.__class__ = OnGPU
    on_gpu = HFModel(network, random_pair[0].codec, name="large-one")
    pair = {"small": random_pair[0], "large": random_pair[1], which: on_gpu}
    assert load(on_gpu) is on_gpu, "fine in the process that loaded it"

    def work():
        with pytest.raises(ForkedProcessError) as caught:
            complete(SplitEngine(**pair), request())
        return str(caught.value)

    said = in_child(work)
    assert "large-one is on cuda:0" in said
    assert "'spawn'" in said
    assert "fork before any model is loaded" in said


def test_locks_that_another_thread_holds_are_free_in_the_child():
    held, model = children.PerProcess(threading.Lock), scripted_pair()[0]
    breaker = breaker_of(model, Retry(breaker_failures=1))
    breaker.failed()
    with held.value, blocking._holder._lock:
        taken = threading.Thread(target=held.value.acquire, daemon=True)
        taken.start()

        def work():
            with held.value:
                assert not breaker.admits(), "what is known of a model is known in the child too"
                return blocking.run(lambda: _answer(7))

        assert in_child(work) == 7


async def _answer(value):
    return value


def test_a_callback_does_not_keep_its_object_alive():
    class Owner:
        def remake(self):
            self.is_remade = True

    owner, count = Owner(), len(children._callbacks)
    children.after_fork(owner.remake)
    assert in_child(lambda: owner.is_remade) is True
    owner = None
    assert len(children._callbacks) == count


def test_a_fork_waits_for_work_that_must_not_be_copied_half_done():
    inside, may_leave, state = threading.Event(), threading.Event(), ["whole"]

    def work():
        with children.no_fork():
            state[0] = "half"
            inside.set()
            may_leave.wait()
            state[0] = "whole"

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    threading.Timer(0.2, may_leave.set).start()
    assert in_child(lambda: state[0]) == "whole"
    thread.join()
    with children.no_fork():
        assert in_child(lambda: 1) == 1, "the thread that forks does not wait for itself"


PROCESS_WIDE = {"Lock", "RLock", "Condition", "Event", "Thread", "ThreadPoolExecutor"}


def test_every_process_wide_lock_and_thread_is_made_anew():
    for path in (ROOT / "splitreason_integrations").rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                name = ast.unparse(node.value.func).rpartition(".")[2]
                assert name not in PROCESS_WIDE, f"{path}: {ast.unparse(node)}: use PerProcess"
