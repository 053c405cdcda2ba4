"""The pair on llama.cpp's own server; `make test-llama-cpp` builds it and runs these."""

import random
import string

import httpx
import pytest

from splitreason_integrations import (
    Agrees,
    Disagreement,
    Never,
    Policy,
    SplitEngine,
    StepEnd,
    Tag,
)
from splitreason_integrations.backends.base import Wanted
from splitreason_integrations.backends.openai_server.ids import TOP
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from splitreason_integrations.testing import embedded_codec
from tests.adapters.typed_agents import check_langgraph, check_llama_index, reads_deprecated
from tests.backends.servers import load, order, prompt, write
from tests.backends.small_models_notes import bounds_of_tails, check_alike, noted
from tests.backends.test_named_tokens import check_orders_within_characters, check_within_characters
from tests.backends.test_server_forms import asked, check
from tests.backends.test_small_server import same
from tests.real_servers.contract import RealServerContract, marks_of
from tests.real_servers.servers import KEY, llama_cpp, server_of
from tests.text.schemas import SCHEMAS

SERVER = server_of("llama.cpp")
TEXTS = 1000
REPLIES = 50
CLOSE = embedded_codec().control_token("</bigmodel>")

pytestmark = marks_of(SERVER)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with llama_cpp(tmp_path_factory.mktemp("small"), member="small") as served:
        yield served.spec


class TestLlamaCpp(RealServerContract):
    server = SERVER
    refused = ({"api_key": "sk-another"}, "401")


def texts(count, seed=1):
    """Yield texts of the pair's own problems, and ones of everything else."""
    rng, codec = random.Random(seed), embedded_codec()
    tasks = generated("test", ("word", "context"), n=count // 2, seed=seed)
    for task in tasks[: count // 2]:
        yield codec.decode(codec.render(task.messages, task.tools).token_ids)
    pieces = [
        *("  ", "\n", "\n\n", " \n", "\t", "\r\n", "\u00a0", " 12", "47*23 = 1081", "   5", "\n 3"),
        *("don't", "it's", "I'LL", " 'quoted'", "?!\n", "foo.\nbar", "a_b", "(x)", "//", "--", "…"),
        *("é", "日本", "🎉", "ĳ", "<|x", "</", "<think>", '{"a": 1}', "`", "\\", " - ", "Ünï"),
    ]
    for _ in range(count - count // 2):
        some = [rng.choice(pieces) for _ in range(rng.randint(1, 12))]
        yield "".join(some) + "".join(rng.choices(string.printable, k=rng.randint(0, 8)))


async def test_its_token_ids_are_those_of_the_pairs_tokenizer(served, record_property):
    codec, compared = embedded_codec(), 0
    key = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(timeout=60, headers=key) as client:
        for text in texts(TEXTS):
            asked = {"content": text, "add_special": False, "parse_special": True}
            answer = await client.post(served.spec.url.replace("/v1", "/tokenize"), json=asked)
            expected = codec._tokenizer.encode(text, add_special_tokens=False)
            assert answer.json()["tokens"] == expected, text
            compared += 1
    record_property("rate", f"same token ids on {compared} texts")
    assert compared == TEXTS


async def test_both_write_what_both_here_write(served, small):
    tasks = generated("test", ("word", "context"), n=24, seed=8)
    assert await same((small, served.spec), tasks) > 24


async def test_the_small_model_reads_along_as_one_here_does(small, embedded):
    mine, here = load(small).open(prompt()), embedded[0].open(prompt())
    said = embedded_codec().encode(" 940+141 = 1081. Then 1081-12 = 1069.")
    for session in (mine, here):
        await write(session, order(3))
        session.extend(said)
    wanted = Wanted(own=True, probability_of=CLOSE)
    found = await mine.read_facts(wanted, last=len(said))
    expected = await here.read_facts(wanted, last=len(said))
    for one, other in zip(found, expected, strict=True):
        assert one.likeliest is other.likeliest
        if one.next_probability:  # else it is not among the likeliest
            assert one.next_probability == pytest.approx(other.next_probability, abs=1e-3)
        else:
            assert other.next_probability < 0.2
        if one.probability:
            assert one.probability == pytest.approx(other.probability, abs=1e-3)
    for session in (mine, here):
        session.close()


async def test_entropy_behind_each_token_is_bounded_as_on_vllm(small, embedded):
    """It lists five tokens where it reads: the tail may have r * ln(V - 5) nats."""
    compared = 0
    for one in await noted("embedded", replies=10):
        mine, here = [model.open(one.prompt) for model in (load(small), embedded[0])]
        found = []
        for session in (mine, here):
            session.extend(one.token_ids)
            wanted = Wanted(entropy=True)
            found.append(await session.read_facts(wanted, last=len(one.token_ids)))
            session.close()
        bounds = bounds_of_tails(embedded[0].network, one, listed=TOP)[1:]
        for theirs, own, bound in zip(*found, bounds, strict=True):
            assert -2e-3 <= own.next_entropy - theirs.next_entropy <= bound + 2e-3
            compared += 1
    assert compared > 500


async def test_the_large_model_reads_along(served):
    """Disagreement needs its probability of each token that the small model chose."""
    engine = SplitEngine(
        small="embedded",
        large=served.spec,
        trigger=Disagreement(0.1),
        close=Agrees() | StepEnd(),
        policy=Policy(max_offload_share=0.5),
    )
    spans = 0
    for task in generated("test", ("word",), n=6, seed=6):
        reply = await engine.complete(Request(messages=task.messages, seed=1, max_tokens=300))
        assert not reply.degraded
        spans += len(reply.spans)
    assert spans > 3


async def test_entropy_and_confidence_while_it_writes_are_those_of_the_model_here(
    small, embedded, record_property
):
    network = embedded[0].network
    await check_alike(small, network, replies=REPLIES, record_property=record_property)


async def test_they_are_known_within_characters_too(small, embedded):
    await check_within_characters(load(small), embedded[0])


@pytest.mark.parametrize("most", [1, 2, 3, 5])
async def test_orders_may_end_within_characters(small, most):
    await check_orders_within_characters(load(small), most)


async def test_a_threshold_of_the_tag_opens_spans_where_it_does_here(small, served):
    tasks = generated("test", ("word",), n=6, seed=5)
    assert await same((small, served.spec), tasks, trigger=Tag(0.3)) > 6


async def test_typed_answers_fit_their_schemas(small, served, record_property):
    """Each schema's grammar is one that llama.cpp reads."""
    whole = 0
    for seed, schema in enumerate(SCHEMAS.values()):
        form = {"response_schema": schema}
        settings = {"trigger": Never()} if seed % 2 else {}
        engine = SplitEngine(small=small, large=served.spec, **settings)
        reply = await engine.complete(asked(seed, **form))
        if reply.stop_reason == "stop":
            check(reply, form)
            whole += 1
        assert not load(small).no_grammars.holds, schema
    record_property("rate", f"{whole} of {len(SCHEMAS)} answers whole, 0 invalid")
    assert whole > len(SCHEMAS) / 2


def test_a_typed_agent_of_langgraph_does_what_it_does_here(served, small, record_property):
    check_langgraph({"small": small, "large": served.spec}, record_property)


@reads_deprecated
async def test_a_typed_agent_of_llama_index_does_what_it_does_here(served, small, record_property):
    await check_llama_index({"small": small, "large": served.spec}, record_property)
