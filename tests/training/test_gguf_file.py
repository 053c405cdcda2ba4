"""The bundled pair as GGUF files: its weights, its tokens, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from gguf import GGUFReader, TokenType
from transformers import AutoModelForCausalLM, AutoTokenizer

from splitreason_integrations.embedded import path
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.training.gguf_file import export_gguf


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("gguf")
    export_gguf(path("small"), found / "small.gguf")
    return found


def test_transformers_reads_the_same_weights(folder):
    """It undoes the order of rows by itself. It knows no biases of a Llama file."""
    theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file="small.gguf", dtype="float32")
    mine = AutoModelForCausalLM.from_pretrained(path("small"), dtype="float32").state_dict()
    compared = theirs.state_dict()
    assert sorted(set(mine) - set(compared)) == sorted(n for n in mine if n.endswith("_proj.bias"))
    for name, tensor in compared.items():
        assert torch.equal(tensor, mine[name]), name
    assert theirs.config.rope_parameters["rope_theta"] == 1e6
    assert theirs.config.max_position_embeddings == 2048


def test_biases_are_in_the_order_of_the_weights(folder):
    """Of a head's 32 rows, row n lies next to row n + 16 where it is rotated."""
    pairs = [head * 32 + at + half for head in range(3) for at in range(16) for half in (0, 16)]
    mine = AutoModelForCausalLM.from_pretrained(path("small"), dtype="float32").state_dict()
    theirs = {one.name: one.data for one in GGUFReader(folder / "small.gguf").tensors}
    for block in range(2):
        for part, name in (("q", "attn_q"), ("k", "attn_k"), ("v", "attn_v"), ("o", "attn_output")):
            order = pairs if part in "qk" else range(96)
            for kind in ("weight", "bias"):
                rows = mine[f"model.layers.{block}.self_attn.{part}_proj.{kind}"].numpy()
                assert np.array_equal(theirs[f"blk.{block}.{name}.{kind}"], rows[order])


def test_transformers_reads_the_same_tokens(folder):
    theirs = AutoTokenizer.from_pretrained(folder, gguf_file="small.gguf")
    mine = AutoTokenizer.from_pretrained(path("small"))
    assert theirs.get_vocab() == mine.get_vocab()
    assert theirs.chat_template == mine.chat_template
    for task in generated("test", ("word", "context"), n=50, seed=2):
        text = mine.apply_chat_template(task.messages, tokenize=False, add_generation_prompt=True)
        assert theirs.encode(text) == mine.encode(text)


def test_tags_are_words_that_a_server_shows(folder):
    fields = GGUFReader(folder / "small.gguf").fields
    kinds = [TokenType(kind) for kind in fields["tokenizer.ggml.token_type"].contents()]
    words = fields["tokenizer.ggml.tokens"].contents()
    shown = {w for w, kind in zip(words, kinds, strict=True) if kind is TokenType.USER_DEFINED}
    hidden = {w for w, kind in zip(words, kinds, strict=True) if kind is TokenType.CONTROL}
    assert shown >= {"<think>", "</think>", "<bigmodel>", "</bigmodel>", "<tool_call>"}
    assert hidden == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"model_type": "qwen3"}),
        ("config.json", {"head_dim": 64}),
        ("tokenizer.json", {"pre_tokenizer": None}),
    ],
    ids=["kind", "heads", "tokenizer"],
)
def test_other_models_are_refused_with_what_converts_them(tmp_path, file, change):
    shutil.copytree(path("small"), tmp_path / "model")
    changed = tmp_path / "model" / file
    changed.write_text(json.dumps(json.loads(changed.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(ConfigurationError, match="convert_hf_to_gguf"):
        export_gguf(tmp_path / "model", tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()
