"""Penalties on what is there already: as transformers and vLLM compute them, whatever the cuts."""

import pytest
import torch
from transformers import AutoTokenizer, GenerationConfig

from splitreason_integrations import Never, SplitEngine
from splitreason_integrations.backends.defaults import default_sampling
from splitreason_integrations.backends.hf.penalties import Penalties
from splitreason_integrations.backends.openai_server.dialects import Continuation, Served
from splitreason_integrations.backends.openai_server.ids import sampled
from splitreason_integrations.backends.openai_server.text import Text
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.backends.vllm_local.params import _penalties
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import PENALTIES, Sampling
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from tests.backends.servers import load, prompt, serving, spec
from tests.backends.servers import write as write_sent
from tests.backends.test_session import order, write

PROMPT = [5, 6, 7, 5, 6, 9]


@pytest.mark.parametrize(
    "penalties",
    [
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.8},
        {"no_repeat_ngram_size": 1},
        {"no_repeat_ngram_size": 3},
        {"repetition_penalty": 1.1, "no_repeat_ngram_size": 2},
    ],
    ids=str,
)
async def test_greedy_text_is_that_of_generate(random_pair, penalties):
    model = random_pair[0]
    session = model.open(PROMPT)
    ids, _ = await write(session, order(60, sampling=Sampling(temperature=0.0, **penalties)))
    session.close()
    settings = {"do_sample": False, "max_new_tokens": 60, "eos_token_id": None, **penalties}
    expected = model.network.generate(torch.tensor([PROMPT]), **settings)
    assert ids == expected[0, len(PROMPT) :].tolist()


def test_presence_and_frequency_count_the_reply_as_vllm_does():
    logits = torch.zeros(12)
    ids = [*PROMPT, 3, 4, 3]
    once = Penalties(len(PROMPT)).apply(logits, Sampling(presence_penalty=0.5), ids)
    assert once.tolist() == [0, 0, 0, -0.5, -0.5, *[0] * 7]
    each = Penalties(len(PROMPT)).apply(logits, Sampling(frequency_penalty=0.5), ids)
    assert each.tolist() == [0, 0, 0, -1.0, -0.5, *[0] * 7]


def test_counts_follow_cuts_and_other_endings():
    kept, logits = Penalties(2), torch.arange(10.0)
    sampling = Sampling(repetition_penalty=2.0, frequency_penalty=1.0, presence_penalty=-0.25)
    for ids in ([1, 2], [1, 2, 3, 3], [1, 2, 3, 3, 4], [1, 2, 3], [1, 2, 5, 3], [1], [1, 2, 2]):
        found = kept.apply(logits, sampling, ids)
        assert found.tolist() == Penalties(2).apply(logits, sampling, ids).tolist(), ids


def test_where_everything_is_banned_nothing_is():
    logits = torch.full((4,), -torch.inf)
    logits[2] = 1.0
    found = Penalties(1).apply(logits, Sampling(no_repeat_ngram_size=1), [1, 2])
    assert int(found.argmax()) == 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_the_same_text_however_the_writing_is_cut(random_pair, temperature):
    sampling = Sampling(
        temperature=temperature,
        repetition_penalty=1.2,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        no_repeat_ngram_size=4,
    )
    whole, pieces = random_pair[0].open(PROMPT), random_pair[0].open(PROMPT)
    expected, _ = await write(whole, order(40, sampling=sampling))
    ids = []
    for size in (1, 17, 3, 19):
        ids += (await write(pieces, order(size, sampling=sampling)))[0]
        pieces.extend([8, 9])
        pieces.truncate(pieces.length - 2)
    assert ids == expected
    plain, _ = await write(
        random_pair[0].open(PROMPT), order(40, sampling=Sampling(temperature=temperature))
    )
    assert plain != expected
    whole.close()
    pieces.close()


def test_a_models_own_penalties_are_its_defaults(caplog):
    settings = GenerationConfig(
        do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.05, no_repeat_ngram_size=3
    )
    sampling = default_sampling(settings, name="m")
    assert sampling.penalties == {"repetition_penalty": 1.05, "no_repeat_ngram_size": 3}
    assert (sampling.temperature, sampling.top_k) == (0.7, 20)
    greedy = GenerationConfig(do_sample=False, repetition_penalty=1.1)
    assert default_sampling(greedy, name="m").penalties == {"repetition_penalty": 1.1}
    assert Sampling(repetition_penalty=1.0).over(sampling).penalties == {"no_repeat_ngram_size": 3}
    assert caplog.text == ""


def test_what_is_not_honoured_is_named_once_when_the_model_is_loaded(caplog):
    settings = GenerationConfig(typical_p=0.9, suppress_tokens=[3], no_repeat_ngram_size=3)
    sampling = default_sampling(settings, name="big", without={"no_repeat_ngram_size"})
    assert sampling.penalties == {}
    assert "big: its generation_config sets no_repeat_ngram_size, suppress_tokens, typical_p" in (
        caplog.text
    )


async def test_a_folders_generation_config_is_heeded(random_pair, tmp_path):
    network = random_pair[0].network
    AutoTokenizer.from_pretrained(str(path("small"))).save_pretrained(tmp_path)
    network.save_pretrained(tmp_path)
    GenerationConfig(repetition_penalty=1.3, no_repeat_ngram_size=3).save_pretrained(tmp_path)
    model = await load_model(f"hf:{tmp_path}", role="small")
    session = model.open(PROMPT)
    ids, _ = await write(session, order(60, sampling=model.default_sampling))
    session.close()
    settings = {"max_new_tokens": 60, "eos_token_id": None}
    expected = model.network.generate(torch.tensor([PROMPT]), **settings)
    assert ids == expected[0, len(PROMPT) :].tolist()


async def test_a_models_default_is_used_and_the_request_overrides_it(random_pair, monkeypatch):
    monkeypatch.setattr(
        random_pair[0], "default_sampling", Sampling(temperature=0.0, no_repeat_ngram_size=1)
    )
    engine = SplitEngine(small=random_pair[0], large=random_pair[1], trigger=Never())

    async def tokens(**sampling):
        request = Request(
            messages=[{"role": "user", "content": "hi"}],
            sampling=Sampling(**sampling),
            max_tokens=60,
        )
        return [
            token for piece in (await engine.complete(request)).pieces for token in piece.token_ids
        ]

    own = await tokens()
    assert len(set(own)) == len(own)
    assert len(set(await tokens(no_repeat_ngram_size=0))) < 60


@pytest.mark.parametrize(
    "setting",
    [
        {"repetition_penalty": 0},
        {"presence_penalty": 3},
        {"frequency_penalty": -2.5},
        {"no_repeat_ngram_size": -1},
        {"no_repeat_ngram_size": 1.5},
    ],
    ids=str,
)
def test_bad_values_are_named(setting):
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        Sampling(**setting)


async def test_a_model_that_cannot_is_refused_before_anything_is_written():
    small, large = ScriptedModel("so <bigmodel>"), ScriptedModel("yes")
    large.unknown_sampling = frozenset({"no_repeat_ngram_size"})
    engine = SplitEngine(small=small, large=large)
    request = Request(
        messages=[{"role": "user", "content": "hi"}], sampling=Sampling(no_repeat_ngram_size=3)
    )
    with pytest.raises(RequestError, match=r"cannot be asked for no_repeat_ngram_size: leave it"):
        await engine.complete(request)
    assert small.passes == 0


def test_servers_get_the_names_that_they_know():
    sampling = Sampling(**dict.fromkeys(PENALTIES, 2))
    body = sampled(order(sampling=sampling), 0)
    assert {name: body.get(name) for name in PENALTIES} == {
        "repetition_penalty": 2,
        "presence_penalty": 2,
        "frequency_penalty": 2,
        "no_repeat_ngram_size": None,
    }
    neutral = sampled(order(), 0)
    assert neutral["repetition_penalty"] == 1.0
    assert "presence_penalty" not in neutral


def test_vllm_gets_all_but_one():
    sampling = Sampling(**dict.fromkeys(PENALTIES, 2))
    assert set(_penalties(sampling)) == set(PENALTIES) - {"no_repeat_ngram_size"}
    assert _penalties(Sampling(repetition_penalty=1.0)) == {}


def test_llama_cpp_gets_its_own_name_for_the_repetition_penalty():
    served = Served("m", embedded_codec(), 1024)
    asked = order(sampling=Sampling(repetition_penalty=1.2))
    body = Text(served).question(Continuation([5], [6], asked, 8)).body
    assert (body["repeat_penalty"], body["repeat_last_n"]) == (1.2, -1)
    assert body["repetition_penalty"] == 1.2


@pytest.fixture(scope="module")
def strict():
    """A server that refuses presence_penalty by its name."""
    with serving("dialect_server", "embedded:large", "text") as (_, url):
        yield load(spec(url, dialect="text", context_tokens=2048))


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_a_server_that_refuses_a_penalty_is_asked_for_it_once(strict):
    session = strict.open(prompt())
    asked = order(sampling=Sampling(temperature=0.0, presence_penalty=0.5))
    with pytest.raises(RequestError, match="large cannot be asked for presence_penalty"):
        await write_sent(session, asked)
    session.close()
    assert "presence_penalty" in strict.unknown_sampling
    engine = SplitEngine(small="embedded", large=strict)
    request = Request(
        messages=[{"role": "user", "content": "hi"}], sampling=Sampling(presence_penalty=0.5)
    )
    with pytest.raises(RequestError, match="large cannot be asked for presence_penalty"):
        await engine.complete(request)


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_a_penalty_that_is_the_models_own_is_left_out_with_a_warning(
    strict, monkeypatch, caplog
):
    own = Sampling(temperature=0.0, frequency_penalty=0.5)
    monkeypatch.setattr(strict, "default_sampling", own)
    session = strict.open(prompt())
    ids, _ = await write_sent(session, order(sampling=own))
    session.close()
    assert len(ids) == 8
    assert "does not take frequency_penalty" in caplog.text
