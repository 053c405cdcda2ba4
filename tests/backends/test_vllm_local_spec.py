"""What vLLM is asked for, and what is refused, where no vLLM is needed to say so."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from splitreason_integrations import OpenAIServerModel, TransformersModel, VLLMModel, blocking
from splitreason_integrations.backends.registry import (
    describe,
    known_context,
    load_model,
    public_name,
    resolve,
)
from splitreason_integrations.backends.vllm_local.load import Machine, engine_arguments
from splitreason_integrations.backends.vllm_local.memory import (
    GIB,
    Size,
    kv_of_a_token,
    share,
    size_of,
)
from splitreason_integrations.backends.vllm_local.params import own_scores_in
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import (
    ConfigurationError,
    MissingExtraError,
    ModelLoadError,
    SettingError,
    UnknownSpecError,
)

QWEN_32B = {
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "hidden_size": 5120,
    "dtype": "bfloat16",
}
"""Of the large model of the published pair."""
CPU = Machine(None, sleeps=False)
GPU = Machine(80 * GIB, sleeps=True)


def read_by_vllm(ranks, *, cached):
    """A prompt of tokens 0, 1, … as vLLM returns it; `ranks` says who is how likely before each."""
    before = [{t: SimpleNamespace(rank=r, logprob=-r) for t, r in one.items()} for one in ranks]
    return SimpleNamespace(
        prompt_token_ids=list(range(len(ranks))),
        prompt_logprobs=[None, *before[1:]],
        num_cached_tokens=cached,
    )


def test_scores_of_tokens_that_vllm_did_not_read_are_not_believed():
    # What is known before token 3 comes of token 2, the last one of those that were cached.
    output = read_by_vllm([{at: 1} for at in range(6)], cached=3)
    assert set(own_scores_in(output, 2)) == {4, 5}
    output.num_cached_tokens = None
    assert set(own_scores_in(output, 2)) == {2, 3, 4, 5}


def test_a_token_is_the_likeliest_where_only_forbidden_ones_are_likelier():
    ranks = [{}, {1: 3, 40: 1, 41: 2}, {2: 2, 40: 1}, {3: 1}, {4: 9, 40: 1, 41: 2}]
    found = own_scores_in(read_by_vllm(ranks, cached=0), 1, (40, 41))
    assert [found[at].likeliest for at in (1, 2, 3, 4)] == [1, 2, 3, None]
    assert found[1].of(40) == pytest.approx(math.exp(-1))


def test_a_name_is_a_spec_like_any_other():
    assert resolve("vllm:org/name", role="large") == VLLMModel("org/name")
    assert describe("vllm:org/name") == describe(VLLMModel("org/name")) == "vllm:org/name"
    assert public_name([VLLMModel("a"), VLLMModel("b", name="big")]) == "vllm:a,big"
    assert {VLLMModel("a", engine={"x": 1}): 1}[VLLMModel("a", engine={"x": 1})] == 1
    assert VLLMModel("a", engine={"x": 1}) != VLLMModel("a", engine={"x": 2})
    here = f"vllm:{path('small')}"
    assert known_context(here, here) == 2048
    assert (
        known_context(VLLMModel("a", context_tokens=99), OpenAIServerModel("http://h", "m")) == 99
    )


@pytest.mark.parametrize("spec", ["vllm:", "vllm", "vLLM:x", 7])
def test_other_names_are_refused_with_the_forms_there_are(spec):
    with pytest.raises(ConfigurationError, match=r"vllm:<folder|VLLMModel\(\.\.\.\)"):
        blocking.run(lambda: load_model(spec, role="large"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cache_tokens": 0}, "cache_tokens must be 1 or more"),
        ({"cache_tokens": 1.5}, "whole number"),
        ({"context_tokens": -1}, "context_tokens must be 1 or more"),
        ({"gpu_share": 1.5}, "gpu_share must lie"),
        ({"gpu_share": True}, "gpu_share must be a number"),
        ({"sleep_after_s": 0}, "sleep_after_s must be 0.001 or more"),
        ({"tensor_parallel": "2"}, "without quotes"),
        ({"dtype": "float64"}, "dtype must be one of auto, float32"),
        ({"devices": (0, 1)}, "devices must name 1 different GPUs"),
        ({"devices": (0, 0), "tensor_parallel": 2}, "devices must name 2 different GPUs"),
        ({"devices": (-1,)}, "devices must be 0 or more"),
        ({"engine": {"max_model_len": 4}}, "set context_tokens of VLLMModel"),
        ({"engine": {"gpu_memory_utilization": 0.5}}, "set gpu_share of VLLMModel"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(settings, words):
    with pytest.raises(SettingError, match=words):
        VLLMModel("x", **settings)


def test_a_model_without_a_path_is_refused():
    with pytest.raises(UnknownSpecError, match="vllm:<folder>"):
        VLLMModel("")


@pytest.mark.parametrize(
    ("config", "tensor_parallel", "expected"),
    [
        (QWEN_32B, 1, 2 * 64 * 8 * 128 * 2),
        (QWEN_32B, 4, 2 * 64 * 2 * 128 * 2),
        (QWEN_32B, 16, 2 * 64 * 1 * 128 * 2),
        ({**QWEN_32B, "head_dim": 64}, 1, 2 * 64 * 8 * 64 * 2),
        ({**QWEN_32B, "num_key_value_heads": None}, 1, 2 * 64 * 40 * 128 * 2),
        ({**QWEN_32B, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, 8, 64 * 576 * 2),
    ],
    ids=["grouped", "shared out", "no less than a head", "narrow", "full", "latent"],
)
def test_a_tokens_keys_and_values_are_counted(config, tensor_parallel, expected):
    found = kv_of_a_token(config, dtype_bytes=2, tensor_parallel=tensor_parallel)
    assert found == expected


def test_a_config_without_the_facts_is_named():
    with pytest.raises(ModelLoadError, match=r"'num_hidden_layers'.*set gpu_share"):
        kv_of_a_token({}, dtype_bytes=2)


def test_the_size_of_the_files_is_that_of_the_weights():
    config = json.loads((path("large") / "config.json").read_text())
    weights = (path("large") / "model.safetensors").stat().st_size
    size = size_of(path("large"), config, dtype_bytes=4)
    assert 0.9 * weights < size.weights <= weights
    half = size_of(path("large"), config, dtype_bytes=2, tensor_parallel=2)
    assert half.weights == pytest.approx(size.weights / 4, abs=8)
    assert half.kv_of_a_token < size.kv_of_a_token


def test_quantised_weights_keep_their_size(tmp_path):
    parts = {"packed": torch.zeros(100, dtype=torch.int32), "scale": torch.zeros(10)}
    save_file(parts, tmp_path / "model-1.safetensors")
    save_file({"small": torch.zeros(7, dtype=torch.int8)}, tmp_path / "model-2.safetensors")
    assert size_of(tmp_path, QWEN_32B, dtype_bytes=2).weights == 400 + 20 + 7


@pytest.mark.parametrize("content", [b"", b"\x08" + b"\0" * 7 + b"nothing!", b"\xff" * 40])
def test_files_that_are_no_weights_are_reported(tmp_path, content):
    with pytest.raises(ModelLoadError, match=r"has no \.safetensors files"):
        size_of(tmp_path, QWEN_32B, dtype_bytes=2)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelLoadError, match="copy it again"):
        size_of(tmp_path, QWEN_32B, dtype_bytes=2)


def test_two_models_share_a_gpu_and_a_third_learns_what_would_fit():
    small, large = Size(3 * GIB, 28 * 1024), Size(36 * GIB, 256 * 1024)
    asked = {"gpu": 80 * GIB, "context_tokens": 8192}
    first = share(small, tokens=32_768, taken=0.0, label="small", **asked)
    second = share(large, tokens=32_768, taken=first, label="large", **asked)
    assert first == pytest.approx((3 * 1.05 + 2 + 0.89) / 80, abs=0.01)
    assert second == pytest.approx((36 * 1.05 + 2 + 8.1) / 80, abs=0.01)
    assert first + second < 0.96
    with pytest.raises(ModelLoadError, match=r"third needs 47\.\d GiB.*at most (\d+)") as refused:
        share(large, tokens=32_768, taken=0.4, label="third", **asked)
    fits = int(str(refused.value).rpartition(" ")[2])
    assert share(large, tokens=fits, taken=0.4, label="third", **asked) <= 0.56
    with pytest.raises(ModelLoadError, match="at most"):
        share(large, tokens=fits + 10, taken=0.4, label="third", **asked)
    with pytest.raises(ModelLoadError, match="smaller or quantised model, more GPUs"):
        share(large, tokens=1024, taken=0.9, label="third", **asked)


def arguments(spec, machine, config=QWEN_32B):
    return engine_arguments(spec, machine, path("small"), config, context_tokens=2047)


def test_a_cpu_gets_what_its_kernels_need():
    given = arguments(VLLMModel("x"), CPU, {**QWEN_32B, "dtype": "float32"})
    assert (given["dtype"], given["block_size"], given["enforce_eager"]) == ("float32", 32, True)
    assert given["kv_cache_memory_bytes"] == (32_768 + 512) * 2 * 64 * 8 * 128 * 4
    assert given["max_model_len"] == 2048
    assert not {"gpu_memory_utilization", "enable_sleep_mode"} & set(given)
    longer = arguments(VLLMModel("x", cache_tokens=1, engine={"block_size": 64}), CPU)
    assert longer["kv_cache_memory_bytes"] == (2048 + 512) * 2 * 64 * 8 * 128 * 2
    assert longer["block_size"] == 64


def test_a_gpu_is_taken_as_far_as_is_needed():
    given = arguments(VLLMModel("x"), GPU)
    kv = (32_768 + 512) * 256 * 1024
    assert given["kv_cache_memory_bytes"] == kv
    assert given["gpu_memory_utilization"] == pytest.approx((kv + 2 * GIB) / GPU.gpu, abs=0.001)
    assert given["enable_sleep_mode"] is False
    assert not {"block_size", "enforce_eager", "device_ids"} & set(given)
    spread = VLLMModel("x", tensor_parallel=2, devices=[2, 3], sleep_after_s=9, dtype="float16")
    given = arguments(spread, GPU)
    assert given["kv_cache_memory_bytes"] == kv / 2
    assert (given["device_ids"], given["tensor_parallel_size"]) == ([2, 3], 2)
    assert given["enable_sleep_mode"] is True


def test_a_share_by_hand_needs_no_sizes():
    given = arguments(VLLMModel("x", gpu_share=0.3), GPU, {"dtype": "bfloat16"})
    assert given["gpu_memory_utilization"] == 0.3
    assert "kv_cache_memory_bytes" not in given


def test_a_missing_vllm_is_named_with_the_way_to_it(monkeypatch):
    from splitreason_integrations.backends.vllm_local import load as vllm_local_load

    monkeypatch.setattr(vllm_local_load, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"splitreason-integrations\[vllm\]"):
        blocking.run(lambda: load_model(f"vllm:{path('small')}", role="small"))
    assert isinstance(resolve("hf:x", role="small"), TransformersModel)


PARENT = """
import multiprocessing, time
from splitreason_integrations.backends.vllm_local.engine import _own_main
with _own_main():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    process.start()
print(process.pid, flush=True)
time.sleep(600)
"""


def test_a_process_of_an_engine_ends_with_its_parent_and_never_runs_the_script(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        child = process.stdout.readline().split()[0]
        for _ in range(300):
            group = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[2]
            if group == child:
                break
            time.sleep(0.1)
        assert group == child
        assert Path(f"/proc/{child}").exists()
        process.kill()
    for _ in range(300):
        if not Path(f"/proc/{child}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
