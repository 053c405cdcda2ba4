"""A model's folder is checked before its files are loaded: no pickles, no made-up sizes."""

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file

from splitreason_integrations import (
    Request,
    SplitEngine,
    TransformersModel,
    VLLMModel,
    blocking,
    embedded,
)
from splitreason_integrations.backends.model_folder import check_folder
from splitreason_integrations.errors import ModelLoadError, RequestError
from tests.backends.servers import load

QUESTION = "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards."


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(embedded.path("small"), tmp_path / "model")


def describe(folder, **values):
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text("utf-8")), **values}), "utf-8")


def pickled(folder):
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


class Touches:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()


def test_pickled_weights_are_refused_before_they_are_read(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touches(tmp_path / "ran")))
    with pytest.raises(ModelLoadError, match=r"pytorch_model\.bin, a pickle.*save_pretrained"):
        load(TransformersModel(str(folder)))
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_of_a_trusted_folder_are_read(folder):
    pickled(folder)
    large = TransformersModel(str(folder), trust_remote_code=True)
    engine = SplitEngine(small="embedded:small", large=large)
    whole = SplitEngine(small="embedded:small", large="embedded:small")
    texts = [
        blocking.run(
            lambda one=one: one.complete(Request(messages=[{"role": "user", "content": QUESTION}]))
        ).answer
        for one in (engine, whole)
    ]
    assert texts[0] == texts[1]


def test_weights_beside_a_pickle_are_read_and_the_pickle_is_not(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touches(tmp_path / "ran")))
    load(TransformersModel(str(folder)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, but its .* tensors"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000 and hidden_size is"),
        ({"hidden_size": 10**15}, "hidden_size is 1000000000000000"),
        ({"intermediate_size": 10**10}, "intermediate_size is 10000000000"),
        ({"text_config": {"n_layer": 10**9}}, "n_layer is 1000000000"),
    ],
)
def test_a_network_larger_than_its_weights_is_not_built(folder, values, said):
    describe(folder, **values)
    with pytest.raises(ModelLoadError, match=said):
        load(TransformersModel(str(folder)))


def test_nesting_without_end_is_an_error(folder):
    (folder / "config.json").write_text("[" * 100_000, "utf-8")
    with pytest.raises(ModelLoadError, match=r"config\.json is no JSON that can be read"):
        load(TransformersModel(str(folder)))


@pytest.mark.parametrize("written", [b"", b"\xff" * 64, (2**60).to_bytes(8, "little"), b"[" * 99])
def test_weights_without_a_header_are_an_error(folder, written):
    (folder / "model.safetensors").write_bytes(written)
    with pytest.raises(ModelLoadError, match=r"is no \.safetensors file; copy it again"):
        load(TransformersModel(str(folder)))


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja", "config.json"])
def test_a_file_of_a_size_that_no_model_has_is_not_read(folder, name):
    with (folder / name).open("ab") as file:
        file.truncate(2**30)
    with pytest.raises(ModelLoadError, match=f"{name} has 1,073,741,824 bytes"):
        load(TransformersModel(str(folder)))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages.__class__.__mro__ }}", "access to attribute '__class__'"),
        ("{{ cycler.__init__.__globals__ }}", "access to attribute '__init__'"),
        ("{{ range(1000000000) | list }}", "Range too big"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "recursion depth"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'a' * 10 ** 18 }}", "MemoryError"),
    ],
)
def test_a_chat_template_stays_in_its_sandbox(folder, template, said):
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    model = load(TransformersModel(str(folder)))
    with pytest.raises(RequestError, match=f"its chat template refuses these messages: .*{said}"):
        model.codec.render([{"role": "user", "content": QUESTION}], None)


def test_the_bundled_models_pass():
    for role in ("small", "large", "base"):
        check_folder(embedded.path(role), label=role)


@pytest.mark.vllm
def test_vllm_refuses_pickled_weights(folder):
    pickled(folder)
    with pytest.raises(ModelLoadError, match=r"pytorch_model\.bin, a pickle"):
        load(VLLMModel(str(folder)))
