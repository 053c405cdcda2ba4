"""After `os.fork()`: a child answers with models that its parent loaded, and disturbs nothing."""

import ast
import http.client
import http.server
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
import torch

from langchain_splitreason import SplitReasonLLM as LangChainLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import Request, Retry, SplitEngine, blocking, processes
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.decide.resilience import breaker_of
from splitreason_integrations.errors import ForkedProcessError
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.dialect import completion_event, sse
from tests.backends.servers import QUESTION, load, order, prompt, serving, spec
from tests.conftest import random_network
from tests.loop.engine_runs import complete, request
from tests.process_groups import ends

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
    held, model = processes.PerProcess(threading.Lock), scripted_pair()[0]
    breaker = breaker_of(model, Retry(breaker_failures=1))
    breaker.failed()
    with held.value, blocking._holder.value._lock:
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

    owner, count = Owner(), len(processes._callbacks)
    processes.after_fork(owner.remake)
    assert in_child(lambda: owner.is_remade) is True
    owner = None
    assert len(processes._callbacks) == count


def test_a_fork_waits_for_work_that_must_not_be_copied_half_done():
    inside, may_leave, state = threading.Event(), threading.Event(), ["whole"]

    def work():
        with processes.no_fork():
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
    with processes.no_fork():
        assert in_child(lambda: 1) == 1, "the thread that forks does not wait for itself"


PROCESS_WIDE = {"Lock", "RLock", "Condition", "Event", "Thread", "ThreadPoolExecutor"}


def test_every_process_wide_lock_and_thread_is_made_anew():
    for path in (ROOT / "splitreason_integrations").rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
                name = ast.unparse(node.value.func).rpartition(".")[2]
                assert name not in PROCESS_WIDE, f"{path}: {ast.unparse(node)}: use PerProcess"


def run_script(script, *arguments):
    """Run a script to its end; return its lines. Nothing may be said on standard error."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * WATCHDOG_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


SERVER_SCRIPT = """
import os, signal, sys
from splitreason_integrations import blocking
from tests.backends.servers import load, order, prompt, spec, write

model = load(spec(sys.argv[1]))

async def written():
    session = model.open(prompt())
    try:
        return (await write(session, order(100)))[0]
    finally:
        session.close()

async def parts():
    session = model.open(prompt())
    try:
        async for part in session.write(order(100)):
            yield part.token_ids
    finally:
        session.close()

first = blocking.run(written)
streaming = blocking.iterate(parts())
got = list(next(streaming))
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    print("child", blocking.run(written) == first)
    sys.exit(0)  # not os._exit: all that the child inherited is torn down
print("ended with", os.waitpid(pid, 0)[1])
for part in streaming:
    got += part
print("stream", got == first)
print("afterwards", blocking.run(written) == first)
"""


@pytest.mark.enable_socket
@pytest.mark.server
def test_a_child_leaves_its_parents_connections_alone():
    with serving("completions_server", "embedded:large") as (_, url):
        lines = run_script(SERVER_SCRIPT, url)
    assert lines == ["child True", "ended with 0", "stream True", "afterwards True"]


@pytest.fixture
def endless_server():
    """A server that writes for ever; gives its address, and an event set once nobody listens."""
    left = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(sse(completion_event([100], embedded_codec().decode([100]))))
                    time.sleep(0.02)
            except OSError:
                left.set()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", left
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.enable_socket
def test_a_child_that_lives_on_keeps_no_request_of_its_parent_open(endless_server):
    url, left = endless_server
    model = load(spec(url, context_tokens=512, dialect="ids"))

    async def parts():
        session = model.open(prompt())
        try:
            async with aclosing(session.write(order(400))) as writing:
                async for part in writing:
                    yield part
        finally:
            session.close()

    streaming = blocking.iterate(parts())
    next(streaming)
    child = os.fork()
    if child == 0:
        signal.alarm(WATCHDOG_S)
        time.sleep(2 * WATCHDOG_S)
        os._exit(1)
    try:
        streaming.close()
        assert left.wait(WATCHDOG_S / 2), "the server still writes for a reply that was left"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


THREADS_SCRIPT = """
import os, signal, sys
import torch
from splitreason_integrations import blocking
from splitreason_integrations.backends.worker import Worker

torch.set_num_threads(2)
big = torch.rand(1200, 1200)
worker = Worker("model")
norm = lambda: float((big @ big).norm())
before = worker.submit(norm).result()
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    after = worker.submit(norm).result()
    print(torch.get_num_threads(), abs(after - before) < before * 1e-3, flush=True)
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""


def test_a_models_thread_computes_in_parallel_in_a_child_too():
    assert run_script(THREADS_SCRIPT) == ["2 True", "0"]


SITE = r"""
import sys
from langchain_splitreason import SplitReasonLLM
from splitreason_integrations.testing import ScriptedModel

QUESTION = {question!r}
small = ScriptedModel("I add.<bigmodel> So.</think>\n\nSeven.", name="small")
large = ScriptedModel(" It is 7.</bigmodel>", name="large")
llms = {{
    "/scripted": SplitReasonLLM(small=small, large=large),
    "/embedded": SplitReasonLLM(small="embedded", large="embedded"),
}}
at_preload = {{path: llm.invoke(QUESTION).content for path, llm in llms.items()}}

def app(environ, start_response):
    path = environ["PATH_INFO"]
    same = llms[path].invoke(QUESTION).content == at_preload[path]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"same" if same else b"another"]
"""


@contextmanager
def gunicorn(folder):
    """Serve `site:app` with two preloaded workers; give its port."""
    (folder / "site_.py").write_text(SITE.format(question=QUESTION), "utf-8")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "site_:app", "--preload", "--workers", "2"),
            *("--bind", "127.0.0.1:0", "--timeout", str(WATCHDOG_S), "--no-control-socket"),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", line):
                break
        assert found, "".join(said)
        yield int(found[1]), said
        process.terminate()
        said.append(process.communicate(timeout=WATCHDOG_S)[1])
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        assert ends(process.pid)


@pytest.mark.enable_socket
@pytest.mark.server
def test_a_preloading_web_server_answers(tmp_path):
    with gunicorn(tmp_path) as (port, said):
        for path in ["/scripted", "/embedded"] * 3:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2 * WATCHDOG_S)
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"same"), "".join(said)
            connection.close()
    assert "Traceback" not in "".join(said)
    assert "WORKER TIMEOUT" not in "".join(said)
