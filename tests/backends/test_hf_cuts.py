"""Sequences of networks with sliding windows or recurrent layers are cut anywhere."""

import random

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    JambaConfig,
    Lfm2Config,
    Llama4TextConfig,
    Mamba2Config,
    MistralConfig,
    Qwen3NextConfig,
    RwkvConfig,
)

from splitreason_integrations.backends.base import Wanted
from splitreason_integrations.backends.hf import cache as hf_cache
from splitreason_integrations.backends.hf.cache import KVCache, reads_one_by_one
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import embedded_codec
from tests.backends.test_session import order, write

WORDS = 1024
WINDOW = 16
SHAPE = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,
    "eos_token_id": 2,
    "bos_token_id": 1,
    "pad_token_id": 0,
}
HALF = ["sliding_attention", "full_attention"]
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}
GEMMA = Gemma3TextConfig(**SHAPE, sliding_window=WINDOW, layer_types=HALF)
WINDOWED = {
    "gemma3": GEMMA,
    "mistral": MistralConfig(**SHAPE, sliding_window=WINDOW),
    "gpt-oss": GptOssConfig(**SHAPE, **EXPERTS, sliding_window=WINDOW, layer_types=HALF),
    "llama4": Llama4TextConfig(
        **SHAPE,
        **EXPERTS,
        intermediate_size_mlp=64,
        attention_chunk_size=WINDOW,
        no_rope_layers=[1, 0],
    ),
}
RECURRENT = {
    "lfm2": Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"]),
    "qwen3-next": Qwen3NextConfig(
        **SHAPE, **LINEAR, layer_types=["linear_attention", "full_attention"]
    ),
    "jamba": JambaConfig(
        **SHAPE, num_experts=2, mamba_d_state=8, attn_layer_period=2, attn_layer_offset=1
    ),
}


def network_of(config):
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config).eval()


def fresh(network, ids):
    with torch.inference_mode():
        return network(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [*WINDOWED, *RECURRENT])
def test_any_order_of_reading_and_cutting(name, seed, monkeypatch):
    monkeypatch.setattr(hf_cache, "CUT_TOKENS", 24)
    network = network_of({**WINDOWED, **RECURRENT}[name])
    cache = KVCache(network, one_by_one=reads_one_by_one(network))
    rng, ids = random.Random(seed), []
    for _ in range(40):
        if len(ids) > 4 and rng.random() < 0.4:
            back = rng.choice((1, 2, 9, WINDOW, 40, len(ids) - 1))
            del ids[max(1, len(ids) - back) :]
            cache.length = min(cache.length, len(ids))
        new = [rng.randrange(3, WORDS) for _ in range(rng.choice((1, 1, 3, 17, 40)))]
        ids += new
        cache.cut()
        logits = cache.read(ids[cache.length :], last=0)
        cache.length = len(ids)
        expected = fresh(network, ids)[-len(new) :]
        torch.testing.assert_close(logits[-len(new) :], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_keeps_few_rows_and_is_cut_without_reading_anew(name, monkeypatch):
    monkeypatch.setattr(hf_cache, "CUT_TOKENS", 24)
    cache = KVCache(network_of(WINDOWED[name]))
    for _ in range(100):
        cache.read([7, 8, 9], last=1)
        cache.length += 3
    most = max(layer.keys.shape[-2] for layer in cache.rows.layers if layer.is_sliding)
    assert most < WINDOW + 2 * 24
    cache.length -= 24
    cache.cut()
    assert cache.length == 276
    cache.length = 100
    cache.cut()
    assert cache.length == 0


@pytest.mark.parametrize("name", ["gemma3", "mistral", "qwen3-next"])
async def test_a_session_writes_the_same_after_cuts_as_a_fresh_one(name):
    network = network_of({**WINDOWED, **RECURRENT}[name])
    model = HFModel(network, embedded_codec(), name=name)
    prompt, session = list(range(10, 50)), None
    session = model.open(prompt)
    await write(session, order(40))
    for back, more in ((1, [5]), (30, list(range(60, 75))), (3, []), (20, [9] * 20), (25, [])):
        session.truncate(session.length - back)
        session.extend(more)
        whole = list(session.token_ids)
        ids, _ = await write(session, order(12))
        again = model.open(whole)
        assert (await write(again, order(12)))[0] == ids
        again.close()
    assert session.unread == 0
    session.close()


@pytest.mark.parametrize(
    "config",
    [
        Mamba2Config(**SHAPE, num_heads=4, n_groups=1),
        RwkvConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2),
    ],
)
def test_a_network_whose_state_cannot_be_kept_is_refused(config):
    with pytest.raises(ValueError, match="its network"):
        reads_one_by_one(network_of(config))


async def test_a_fault_within_a_pass_names_the_model_and_is_logged(
    random_pair, caplog, monkeypatch
):
    def broken(*_, **__):
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(random_pair[0], "forward", broken)
    session = random_pair[0].open([5, 6, 7])
    for work in (
        lambda: write(session, order(3)),
        lambda: session.read_facts(Wanted(probability_of=1)),
    ):
        with pytest.raises(ModelCallError, match="random-1 failed: RuntimeError: sizes"):
            await work()
    assert "Traceback" in caplog.text
    session.close()
