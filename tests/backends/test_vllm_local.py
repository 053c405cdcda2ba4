"""The pair on vLLM in this process, on CPU; `make test-vllm` runs these."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path

import pytest

from langchain_splitreason import SplitReasonLLM
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import (
    Agrees,
    Disagreement,
    Keyword,
    Policy,
    Random,
    Sampling,
    SplitEngine,
    StepEnd,
    Tag,
    VLLMModel,
    blocking,
)
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import (
    ConfigurationError,
    ModelCallError,
    ModelLoadError,
    RequestError,
    SessionError,
    SettingError,
)
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from tests.backends.capped import capped
from tests.backends.large_work import NEVER, LargeWork, disagreeing
from tests.backends.servers import QUESTION, ROOT, chances, load, order, prompt, write
from tests.backends.session_contract import SessionContract
from tests.backends.test_small_server import UNTAUGHT, same
from tests.limits import HANGS_S

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not find_spec("vllm"), reason="make test-vllm builds vLLM's environment"),
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("one_thread"),
]
PROBLEMS = 100
PAIR = tuple(f"vllm:{path(member)}" for member in ("small", "large"))


class TestSessions(SessionContract):
    @pytest.fixture
    def model(self):
        return load(PAIR[0])


async def test_both_write_what_both_by_transformers_write(record_property):
    tasks = generated("test", ("word", "context"), n=PROBLEMS, seed=8)
    spans = await same(PAIR, tasks)
    record_property("rate", f"same greedy text on {PROBLEMS} problems with {spans} spans")
    assert spans > PROBLEMS


@pytest.mark.parametrize("trigger", [Tag(threshold=0.1), Random(0.05), Keyword("go")], ids=str)
async def test_other_triggers_fire_at_the_same_places(trigger):
    assert await same(PAIR, generated("test", ("word",), n=6, seed=6), trigger=trigger) > 5


async def test_the_reasoning_has_no_token_more_than_its_cap():
    assert await capped(PAIR, generated("test", ("word",), n=4, seed=5)) >= 16


@pytest.mark.parametrize("trigger", UNTAUGHT, ids=str)
async def test_rules_without_training_do_what_they_do_here(trigger):
    tasks = generated("test", ("word",), n=6, seed=6)
    assert await same(PAIR, tasks, trigger=trigger, close=Agrees() | StepEnd()) > 5


@pytest.mark.parametrize(
    ("trigger", "seed"),
    [(Disagreement(0.1), 31), (Tag() | Disagreement(0.1), 32), (NEVER, 33)],
    ids=str,
)
async def test_an_engine_reads_a_chunk_in_one_request(monkeypatch, trigger, seed):
    large, whole, prefixes = load(PAIR[1]), [], []
    last = large.engine.last

    def counted(prompts, params):
        assert params.max_tokens == 1
        (prefixes if params.prompt_logprobs is None else whole).append(len(prompts))
        return last(prompts, params)

    monkeypatch.setattr(large.engine, "last", counted)
    work = LargeWork(large, monkeypatch)
    # Other problems than those that are in the prefix cache.
    replies = await disagreeing("embedded", large, trigger, seed=seed)
    work.check(replies)
    assert whole == [1] * work.chunks
    # Tokens that were in a span's surplus already are in the prefix cache: asked for one by one.
    assert len(prefixes) <= work.writings


async def test_many_at_once_write_what_each_writes_alone():
    here, there = SplitEngine(), SplitEngine(small=PAIR[0], large=PAIR[1])
    asked = [
        Request(messages=task.messages, seed=1, max_tokens=300)
        for task in generated("test", ("word",), n=24, seed=9)
    ]
    mine = [await here.complete(one) for one in asked]
    theirs = await asyncio.gather(*(there.complete(one) for one in asked))
    assert [one.pieces for one in theirs] == [one.pieces for one in mine]
    assert [load(spec).open_sessions for spec in PAIR] == [0, 0]


async def test_both_frameworks_take_it():
    here = SplitReasonLLM(seed=1)
    there = SplitReasonLLM(seed=1, small=PAIR[0], large=PAIR[1])
    mine, theirs = here.invoke(QUESTION), await asyncio.to_thread(there.invoke, QUESTION)
    assert theirs.content == mine.content
    facts = [reply.response_metadata["splitreason"] for reply in (mine, theirs)]
    assert facts[0]["tokens"] == facts[1]["tokens"]
    streamed = [chunk async for chunk in there.astream(QUESTION)]
    assert "".join(chunk.text for chunk in streamed) == mine.text
    assert len(streamed) > 5
    other = LlamaIndexLLM(seed=1, small=PAIR[0], large=PAIR[1])
    assert other.complete(QUESTION).text == LlamaIndexLLM(seed=1).complete(QUESTION).text


def test_text_becomes_no_control_token():
    """The transformers that vLLM works with sanitizes nothing by itself."""
    codec = load(PAIR[0]).codec

    def controls(text):
        said = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        tools = [{"type": "function", "function": {"name": "f", "description": text}}]
        return [i for i in codec.render(said, tools).token_ids if codec.is_control(i)]

    spelled = "".join(text for text in codec._control)
    assert controls(f"a {spelled} b") == controls("x")


async def unfinished(model):
    """Return how many requests an engine is at work on, once there are none."""
    for _ in range(100):
        if not (left := model.engine._llm.get_num_unfinished_requests()):
            break
        await asyncio.sleep(0.02)
    return left


async def test_leaving_ends_the_request_in_the_engine():
    model = load(PAIR[0])
    session = model.open(prompt())
    async with aclosing(session.write(order(1900))) as parts:
        await anext(parts)
        assert model.engine._llm.get_num_unfinished_requests() == 1
    assert await unfinished(model) == 0
    session.extend([40] * 200)
    for work in (chances(session, 5), write(session, order(1500))):
        asked = asyncio.create_task(work)
        await asyncio.sleep(0.05)
        asked.cancel()
        await asyncio.wait({asked})
        assert await unfinished(model) == 0
    assert session.length < 1900
    session.close()


async def test_ids_of_another_model_are_refused_and_harm_nobody():
    model = load(PAIR[0])
    session, most = model.open(prompt()), model.vocabulary
    for token_id in (most, 10**7, -1):
        with pytest.raises(SessionError, match="not its own"):
            model.open([5, token_id])
        with pytest.raises(SessionError, match="not its own"):
            session.extend([5, token_id])
    writing = asyncio.create_task(write(session, order(200)))
    other = model.open([most - 1])
    with pytest.raises(ModelCallError) as refused:
        await write(other, order(2, forbidden=(most,)))
    assert not refused.value.retryable
    with pytest.raises(RequestError, match="temperature"):
        await write(other, order(sampling=Sampling(temperature=50.0)))
    assert len((await writing)[0]) == 200
    session.close()
    other.close()


async def test_an_engine_that_is_not_asked_sleeps_and_wakes_with_the_next_request():
    from splitreason_integrations.backends.vllm_local.engine import Engine
    from splitreason_integrations.backends.vllm_local.model import LocalVLLM

    whole = load(PAIR[0])
    expected = await write(whole.open(prompt()), order(5))
    drowsy = Engine(lambda: whole.engine._llm, label="drowsy", sleep_after_s=0.2)
    model = LocalVLLM(
        drowsy, whole.codec, name="drowsy", vocabulary=whole.vocabulary, context_tokens=2000
    )
    for _ in range(2):
        session = model.open(prompt())
        assert await write(session, order(5)) == expected
        assert not drowsy.is_asleep
        for _ in range(400):
            if drowsy.is_asleep:
                break
            await asyncio.sleep(0.05)
        assert drowsy.is_asleep
    both = await asyncio.gather(*(write(model.open(prompt()), order(5)) for _ in range(4)))
    assert both == [expected] * 4
    long = await write(model.open(prompt()), order(300))
    assert len(long[0]) == 300
    drowsy._sleep_after_s = None
    await write(model.open(prompt()), order(1))
    assert await write(whole.open(prompt()), order(5)) == expected


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        (VLLMModel("/no/folder"), ModelLoadError, "cannot be loaded"),
        (VLLMModel(str(path("small")), sleep_after_s=60), ConfigurationError, "needs a GPU"),
        (VLLMModel(str(path("small")), engine={"quantisation": "x"}), SettingError, "quantization"),
        (VLLMModel(str(path("small")), engine={"block_size": "x"}), ModelLoadError, "cannot be"),
        (VLLMModel(str(ROOT / "tests")), ModelLoadError, "cannot be loaded"),
    ],
    ids=["folder", "sleep", "unknown", "wrong", "no model"],
)
def test_what_cannot_be_loaded_is_reported(spec, error, words):
    with pytest.raises(error, match=words):
        load(spec)


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def engine_of(model):
    """Return the process of a model's engine."""
    (process,) = model.engine._llm.engine_core.resources.engine_manager.processes
    return process.pid


async def test_an_engine_that_dies_costs_the_large_model_alone_and_comes_back():
    spec = VLLMModel(str(path("large")), name="mortal")
    some = SplitEngine(small="embedded", large=spec, policy=Policy(deadline_s=60), trigger=Tag(0.1))
    (task,) = generated("test", ("word",), n=1, seed=6)
    asked = Request(messages=task.messages, seed=1, max_tokens=300)
    model = await asyncio.to_thread(load, spec)
    whole = await some.complete(asked)
    assert whole.large_tokens
    assert not whole.degraded
    victim, reply = engine_of(model), None
    async with aclosing(some.stream(asked)) as items:
        async for reply in items:
            if victim and getattr(reply, "author", None) == "large":
                os.kill(victim, signal.SIGKILL)
                victim = None
    assert victim is None
    assert reply.answer
    assert reply.degraded
    late_s = time.monotonic() + 240
    while reply.degraded and time.monotonic() < late_s:
        await asyncio.sleep(2)
        reply = await some.complete(asked)
    assert reply.pieces == whole.pieces


SCRIPT = f"""
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run behind
from splitreason_integrations import VLLMModel, blocking
from splitreason_integrations.backends.registry import load_model
from multiprocessing import active_children
spec = VLLMModel({str(path("small"))!r})
blocking.run(lambda: load_model(spec, role="small"))
try:
    print(*(one.pid for one in active_children()), flush=True)
    line = sys.stdin.readline()
except KeyboardInterrupt:
    raise SystemExit(7)
if line.strip() == "raise":
    raise RuntimeError("the script's own")
"""


@pytest.mark.parametrize(
    ("line", "kill", "status"),
    [
        ("end", None, 0),
        ("raise", None, 1),
        (None, signal.SIGINT, 7),
        (None, signal.SIGTERM, -signal.SIGTERM),
        (None, signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=str,
)
def test_no_process_is_left_behind(tmp_path, line, kill, status):
    script = tmp_path / "script.py"  # without `if __name__ == "__main__":`
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"},
    ) as process:
        engines = [int(one) for one in process.stdout.readline().split()]
        assert engines
        started = [*engines, *(worker for one in engines for worker in children(one))]
        if kill is None:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        else:
            os.killpg(process.pid, kill)
        assert process.wait(120) == status
    late_s = time.monotonic() + 20
    while any(map(is_there, started)) and time.monotonic() < late_s:
        time.sleep(0.1)
    assert not [one for one in started if is_there(one)]


def is_there(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_the_command_takes_it_and_prints_results_alone():
    command = ["from splitreason_integrations.cli import main; main()", "ask", QUESTION, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", *command, "--small", PAIR[0], "--large", PAIR[1]],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["answer"] == (
        blocking.run(
            lambda: SplitEngine().complete(
                Request(messages=[{"role": "user", "content": QUESTION}], seed=1)
            )
        ).answer
    )
