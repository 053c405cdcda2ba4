"""Passes at fixed addresses give what passes over each sequence's own cache give."""

import asyncio
import random
from copy import deepcopy
from functools import partial

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.cache_utils import DynamicLayer

from splitreason_integrations.backends.hf import attention, norms
from splitreason_integrations.backends.hf.cache import KVCache
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.hf.steps import Steps, does_the_same_for_all, steps_for
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import Random
from tests.backends.servers import chances
from tests.loop.engine_runs import complete, engine, request

WORDS = 211
ON_GPU = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
)


def grouped_network(*, rows=9000, **more):
    """A tiny network whose query heads share keys, with room for several capacities."""
    torch.manual_seed(7)
    settings = {
        "vocab_size": WORDS,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": rows,
        "initializer_range": 0.1,
        **more,
    }
    return Qwen2ForCausalLM(Qwen2Config(**settings)).eval()


@pytest.fixture(scope="module")
def network():
    return grouped_network()


def uncached(network, ids):
    with torch.inference_mode():
        return network(input_ids=torch.tensor([ids])).logits[0]


class Kept:
    """A cache, and the tokens that should be in it."""

    def __init__(self, network, steps):
        self.cache, self.network, self.ids = KVCache(network, steps), network, []

    def read(self, ids):
        self.ids += ids
        logits = self.cache.read(ids, last=False)
        self.cache.length += len(ids)
        expected = uncached(self.network, self.ids)[-len(ids) :]
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)

    def crop(self, length):
        del self.ids[length:]
        self.cache.length = length


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_reading_cutting_and_taking_turns(network, seed):
    rng = random.Random(seed)
    steps = Steps(network)
    kept = [Kept(network, steps) for _ in range(3)]
    for _ in range(60):
        one = rng.choice(kept)
        if one.ids and rng.random() < 0.25:
            one.crop(rng.randrange(1, len(one.ids) + 1))
        elif rng.random() < 0.05:
            kept[kept.index(one)] = Kept(network, steps)
        else:
            many = rng.choice((1, 1, 1, 2, 15, 16, 17, 64, 65, 90))
            one.read([rng.randrange(WORDS) for _ in range(many)])
    assert steps.usable


def test_room_grows_and_nothing_is_lost(network):
    rng = random.Random(1)
    steps = Steps(network)
    long, short = Kept(network, steps), Kept(network, steps)
    long.read([rng.randrange(WORDS) for _ in range(4090)])
    short.read([1, 2, 3])
    for many in (3, 1, 5, 1):  # past the first capacity
        long.read([rng.randrange(WORDS) for _ in range(many)])
    short.read([4])
    long.crop(4093)
    long.read([8])


def test_a_cache_that_is_gone_leaves_its_place(network):
    steps = Steps(network)
    first = Kept(network, steps)
    first.read([1, 2, 3])
    del first
    Kept(network, steps).read([4, 5])


def test_networks_of_another_kind_go_on_without(caplog, network):
    softer = deepcopy(network)
    for layer in softer.model.layers:
        layer.self_attn.sliding_window = 8
    steps = Steps(softer)
    cache = KVCache(softer, steps)
    logits = cache.read([1, 2, 3], last=True)
    cache.length += 3
    assert not steps.usable
    assert "without CUDA graphs" in caplog.text
    assert "sliding_window" in caplog.text
    assert logits.shape[-1] == WORDS
    cache.read([4], last=True)
    assert caplog.text.count("CUDA graphs") == 1


def test_rows_are_kept_when_recording_fails_later(caplog, network, monkeypatch):
    steps = Steps(network)
    kept = Kept(network, steps)
    kept.read([1, 2, 3, 4])
    kept.read([5])

    def fails(size, place):
        raise torch.OutOfMemoryError(f"no room for {size}")

    monkeypatch.setattr(steps, "_recorded", fails)
    steps._passes.clear()
    kept.read([6])
    kept.read([7, 8])
    assert "no room for 1" in caplog.text


@pytest.mark.parametrize("case", ["another's rows", "its own rows", "a plain pass"])
def test_nothing_is_wrong_after_memory_ended_within(network, monkeypatch, case):
    steps = Steps(network)
    kept, other = Kept(network, steps), Kept(network, steps)
    kept.read(list(range(100)))
    kept.read(list(range(20)))
    update, calls = DynamicLayer.update, []

    def ends_once(layer, *arguments, **more):
        calls.append(layer)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("no room")
        return update(layer, *arguments, **more)

    if case == "a plain pass":
        steps.settle(kept.cache)
    monkeypatch.setattr(DynamicLayer, "update", ends_once)
    if case == "another's rows":
        other.read([1, 2, 3])
    else:
        with pytest.raises(torch.OutOfMemoryError):
            kept.cache.read([5] * 70, last=False)
    assert len(calls) > 1
    kept.read([7])
    kept.read([8] * 5)


@pytest.mark.parametrize("many", [1, 2, 16, 17, 64])
def test_up_to_the_end_of_the_context(many):
    network = grouped_network(rows=300)
    steps = Steps(network)
    kept = Kept(network, steps)
    kept.read([1] * (300 - many))
    kept.read([2] * many)
    assert steps.usable


def test_learned_positions_up_to_the_end():
    torch.manual_seed(1)
    config = GPT2Config(vocab_size=WORDS, n_positions=100, n_embd=32, n_layer=2, n_head=2)
    network = GPT2LMHeadModel(config).eval()
    kept = Kept(network, Steps(network))
    for many in (40, 30, 20, 9, 1):
        kept.read([3] * many)


def test_what_is_not_recorded(network):
    assert steps_for(network) is None  # off the GPU
    assert does_the_same_for_all(network)
    sliding = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    longer = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert not does_the_same_for_all(grouped_network(**sliding))
    assert not does_the_same_for_all(grouped_network(rope_parameters=longer))
    experts = Qwen3MoeConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=1,
        num_experts=2,
        moe_intermediate_size=8,
    )
    assert not does_the_same_for_all(Qwen3MoeForCausalLM(experts))


def test_a_reply_is_the_same_with_and_without(random_pair):
    plain = engine(random_pair, policy=Policy(), trigger=Random(0.1))
    fixed = tuple(
        HFModel(one.network, one.codec, name=one.name, steps=Steps(one.network), taught=True)
        for one in random_pair
    )
    other = engine(fixed, policy=Policy(), trigger=Random(0.1))
    for seed in range(5):
        asked = request(max_tokens=120, seed=seed)
        expected = complete(plain, asked)
        assert complete(other, asked).pieces == expected.pieces
        assert expected.large_tokens
    assert all(one.steps.usable for one in fixed)


def test_norms_in_one_kernel_are_those_spelled_out(network):
    found = norms.spelled_out(network)
    assert len(found) == 2 * 3 + 1
    states = torch.randn(2, 5, 64)
    for norm in found:
        torch.nn.init.normal_(norm.weight, 1, 0.3)
    expected = [norm(states) for norm in found]
    with norms.in_one_kernel(found):
        assert all("forward" in vars(norm) for norm in found)
        torch.testing.assert_close([norm(states) for norm in found], expected)
    assert not any("forward" in vars(norm) for norm in found)


def test_other_norms_are_left_alone():
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    hooked = Qwen3RMSNorm(16)
    hooked.forward = partial(hooked.forward)
    assert norms.spelled_out(hooked) == []
    around_zero = GemmaRMSNorm(16)
    around_zero.variance_epsilon = around_zero.eps
    assert norms.spelled_out(torch.nn.ModuleList([around_zero, torch.nn.LayerNorm(16)])) == []
    assert len(norms.spelled_out(torch.nn.ModuleList([Qwen3RMSNorm(16)]))) == 1


def flash_by_hand(place, queries, key, value, shape, used, scaling, *, is_causal=False):
    """What the kernel gives, one sequence after the other."""
    size, sequences = shape
    rows = key.shape[0] // sequences
    assert place.borders[size, sequences][-1] == queries.shape[0]
    assert place.borders[rows, sequences][-1] == key.shape[0]
    groups = queries.shape[1] // key.shape[1]
    found, weights = [], []
    for at in range(sequences):
        some = slice(at * rows, at * rows + (rows if used is None else int(used[at])))
        keys = key[some].repeat_interleave(groups, 1).float()
        values = value[some].repeat_interleave(groups, 1).float()
        scores = torch.einsum("qhd,khd->hqk", queries[at * size : (at + 1) * size], keys) * scaling
        if is_causal:
            later = torch.ones(size, keys.shape[0]).triu(1 + keys.shape[0] - size).bool()
            scores = scores.masked_fill(later, -torch.inf)
        summed = scores.logsumexp(-1)
        weights.append(summed.where(torch.tensor(keys.shape[0] > 0), torch.inf))
        chances = (scores - summed[..., None]).exp()
        found.append(torch.einsum("hqk,khd->qhd", chances, values).nan_to_num())
    return torch.cat(found), torch.cat(weights, 1)


@pytest.mark.parametrize("start", [0, 1, 255, 256, 700, 4096 - 16])
def test_attention_in_parts_is_attention_to_all(start, monkeypatch):
    monkeypatch.setattr(attention, "_flash", flash_by_hand)
    size, capacity = 16, 4096
    place = attention.Place((1, 16, 64), capacity, torch.device("cpu"))
    place.set([1] * size, start, size)
    queries, key, value = torch.randn(size, 4, 8), *torch.randn(2, capacity, 2, 8)
    found = attention._in_parts(queries, key, value, place, 0.3)
    expected, _ = attention.attend(
        None, queries.transpose(0, 1)[None], key, value, None, place=place, scaling=0.3
    )
    torch.testing.assert_close(found, expected[0])


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=ON_GPU) for seed in range(3)])
def test_recorded_passes_are_as_exact_as_others(seed):
    network = grouped_network(hidden_size=256, intermediate_size=512).to("cuda", torch.bfloat16)
    exact = deepcopy(network).float()
    steps = steps_for(network)
    rng = random.Random(seed)
    both = [(KVCache(network, steps), KVCache(network), []) for _ in range(2)]
    wrong = {"recorded": 0.0, "plain": 0.0}
    for _ in range(60):
        recorded, plain, ids = rng.choice(both)
        if ids and rng.random() < 0.25:
            length = rng.randrange(1, len(ids) + 1)
            recorded.length = plain.length = length
            del ids[length:]
            continue
        new = [rng.randrange(WORDS) for _ in range(rng.choice((1, 1, 1, 3, 16, 40, 64, 400)))]
        ids += new
        with torch.inference_mode():
            expected = exact(input_ids=torch.tensor([ids], device="cuda")).logits[0, -len(new) :]
        for name, cache in (("recorded", recorded), ("plain", plain)):
            logits = cache.read(new, last=False).float()
            cache.length += len(new)
            wrong[name] += float((logits - expected).norm() / expected.norm())
    assert steps.usable
    assert wrong["recorded"] < 1.1 * wrong["plain"]


async def test_requests_at_once_write_what_they_write_alone(random_pair):
    pair = []
    for one in random_pair:
        network = grouped_network(vocab_size=one.network.config.vocab_size, rows=2048)
        pair.append(HFModel(network, one.codec, name=one.name, steps=Steps(network)))
    asked = [request(max_tokens=80, seed=seed) for seed in range(5)]
    together = engine(pair, policy=Policy(), trigger=Random(0.1))
    at_once = await asyncio.gather(*(together.complete(one) for one in asked))
    assert all(one.steps.usable for one in pair)
    assert sum(one.large_tokens for one in at_once)
    for one, said in zip(asked, at_once, strict=True):
        assert (await together.complete(one)).pieces == said.pieces


async def read_on(model, seed):
    """Read pieces of a sequence; return all that the model makes of them."""
    rng = random.Random(seed)
    session = model.open([rng.randrange(WORDS) for _ in range(rng.randrange(1, 300))])
    found = []
    for _ in range(40):
        found += await chances(session, 7, last=1)
        if rng.random() < 0.3:
            session.truncate(session.length - rng.randrange(3))
        many = rng.choice((1, 1, 2, 5, 16, 30, 64, 70))
        session.extend([rng.randrange(WORDS) for _ in range(many)])
    session.close()
    return found


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
async def test_models_on_their_threads_do_not_disturb_each_other(embedded, device):
    """On a GPU to the bit: the same passes, whatever is recorded and replayed meanwhile."""
    models = []
    for name in "ab":
        network = grouped_network(hidden_size=256, rows=4096)
        if device == "cuda":
            network = network.to("cuda", torch.bfloat16)
        models.append(HFModel(network, embedded[0].codec, name=name, steps=Steps(network)))
    everyone = [(model, seed) for seed in range(3) for model in models]
    at_once = await asyncio.gather(*(read_on(*one) for one in everyone))
    assert all(model.steps.usable for model in models)
    for one, found in zip(everyone, at_once, strict=True):
        assert await read_on(*one) == (found if device == "cuda" else pytest.approx(found))
