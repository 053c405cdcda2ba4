"""After `os.fork()` where servers, scripts and web workers run: connections, threads, preload."""

import http.client
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from splitreason_integrations import blocking
from splitreason_integrations.testing import embedded_codec
from tests.backends.dialect import completion_event, sse
from tests.backends.servers import QUESTION, load, order, prompt, serving, spec
from tests.process_groups import ends

ROOT = Path(__file__).parent.parent
WATCHDOG_S = 60
"""Ends a child that hangs; an idle machine takes 5 s for the slowest one."""


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
