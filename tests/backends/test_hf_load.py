"""Models of transformers load from the folders that people have, or an error names the remedy."""

import json
import sys

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BloomConfig,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    RwkvConfig,
    SiglipVisionConfig,
)

from splitreason_integrations import Policy, Random, SplitEngine, TagClose, embedded
from splitreason_integrations.backends.hf.spec import TransformersModel, source_of
from splitreason_integrations.backends.hf.steps import does_the_same_for_all, steps_for
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.backends.trials import TRIALS, try_all
from splitreason_integrations.doctor import examine_model
from splitreason_integrations.errors import MissingExtraError, ModelLoadError
from splitreason_integrations.request import Request
from tests.backends.test_hf_cuts import GEMMA, SHAPE, network_of
from tests.backends.test_session import order, write

SMALL = {"vocab_size": 1024, "hidden_size": 32, "num_hidden_layers": 2}
ENDS = {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0}
EYES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def gemma_with_eyes():
    return Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=GEMMA, vision_config=SiglipVisionConfig(**EYES), **ENDS)
    )


def llava():
    text = LlamaConfig(**SHAPE)
    vision = CLIPVisionConfig(**EYES, projection_dim=32)
    return LlavaForConditionalGeneration(
        LlavaConfig(text_config=text, vision_config=vision, image_token_index=5, **ENDS)
    )


def saved(network, folder):
    torch.manual_seed(0)
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(embedded.path("small"))).save_pretrained(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize("made", [gemma_with_eyes, llava])
async def test_a_model_that_takes_images_is_used_for_text(made, tmp_path):
    spec = saved(made(), tmp_path)
    context = SHAPE["max_position_embeddings"]
    assert TransformersModel(str(tmp_path)).known_context_tokens() == context
    model = await load_model(spec, role="large")
    assert model.context_tokens == context
    assert steps_for(model.network) is None
    ids = [7, 8, 9, 300, 301]
    session = model.open(ids)
    written, _ = await write(session, order(30))
    session.truncate(session.length - 25)
    assert (await write(session, order(25)))[0] == written[5:]
    settings = {"do_sample": False, "max_new_tokens": 30, "eos_token_id": None}
    expected = model.network.generate(torch.tensor([ids]), **settings)
    assert session.token_ids == expected[0].tolist()
    session.close()


def test_a_text_network_of_another_shape_is_not_recorded():
    assert not does_the_same_for_all(gemma_with_eyes())


async def test_a_large_model_with_a_window_keeps_its_spans(tmp_path):
    engine = SplitEngine(
        small="embedded",
        large=saved(network_of(GEMMA), tmp_path),
        trigger=Random(0.2),
        policy=Policy(max_span_tokens=16),
        close=TagClose(0.0),
    )
    question = "Mia has 47 boxes with 23 cards in each box. How many cards does Mia have now?"
    request = Request(messages=[{"role": "user", "content": question}], seed=3, max_tokens=60)
    reply = await engine.complete(request)
    assert not reply.degraded
    assert len(reply.spans) > 1
    assert {span.closed_by for span in reply.spans} <= {"small", "max_span_tokens"}


async def test_doctor_tries_a_model_with_a_window(tmp_path):
    spec = saved(network_of(GEMMA), tmp_path)
    found = [finding async for finding in examine_model(spec, role="small")]
    assert [finding.what for finding in found if not finding.ok] == []
    assert len(found) == 7


async def test_doctor_reports_a_fault_and_goes_on(random_pair, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(random_pair[0], "forward", broken)
    found = [finding async for finding in try_all(random_pair[0], role="small")]
    assert [finding.said for finding in found] == [
        "random-1 failed: RuntimeError: sizes do not match"
    ] * len(TRIALS)


async def test_a_network_without_a_cache_is_refused(tmp_path):
    spec = saved(network_of(RwkvConfig(**SMALL)), tmp_path)
    with pytest.raises(ModelLoadError, match=r"cannot be loaded: .*keeps no keys and values"):
        await load_model(spec, role="large")


async def test_a_context_that_only_the_tokenizer_states(tmp_path):
    network = network_of(BloomConfig(**SMALL, n_head=2))
    model = await load_model(saved(network, tmp_path / "stated"), role="large")
    assert model.context_tokens == 2048
    spec = saved(network, tmp_path / "unstated")
    settings = tmp_path / "unstated" / "tokenizer_config.json"
    stated = json.loads(settings.read_text("utf-8"))
    del stated["model_max_length"]
    settings.write_text(json.dumps(stated), "utf-8")
    with pytest.raises(ModelLoadError, match=r"states no length .* write max_position_embeddings"):
        await load_model(spec, role="large")


def test_where_a_gguf_file_is(tmp_path):
    folder = str(tmp_path)
    assert source_of(folder) == (folder, None)
    assert source_of("a/name-on-the-hub") == ("a/name-on-the-hub", None)
    assert source_of("here.gguf") == (".", "here.gguf")
    (tmp_path / "a.gguf").touch()
    assert source_of(folder) == (folder, "a.gguf")
    assert source_of(f"{folder}/a.gguf") == (folder, "a.gguf")
    assert TransformersModel(folder).tokenizer_source() is None
    (tmp_path / "b.gguf").touch()
    with pytest.raises(ModelLoadError, match=r"several GGUF files: name one, as in 'hf:.*a.gguf'"):
        source_of(folder)
    (tmp_path / "model.safetensors").touch()
    assert source_of(folder) == (folder, None)


def test_gguf_files_differ_by_their_fingerprint(tmp_path):
    files = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for file, text in zip(files, ("one", "two, longer"), strict=True):
        file.write_text(text, "utf-8")
    assert len({TransformersModel(str(file)).fingerprint() for file in files}) == 2


async def test_a_gguf_file_without_gguf_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "a.gguf").touch()
    with pytest.raises(MissingExtraError, match=r"is a GGUF file and needs gguf: pip install"):
        await load_model(f"hf:{tmp_path}", role="small")


async def test_a_damaged_gguf_file_names_another_way(tmp_path):
    pytest.importorskip("gguf", reason="needs the extra gguf")
    (tmp_path / "a.gguf").write_bytes(b"no model")
    with pytest.raises(ModelLoadError, match=r"cannot be loaded: .*; name the folder of the orig"):
        await load_model(f"hf:{tmp_path}/a.gguf", role="small")
