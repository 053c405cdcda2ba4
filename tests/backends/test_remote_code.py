"""Python code that comes with a model runs only where its specification says so."""

import json
import shutil

import pytest

from splitreason_integrations import TransformersModel, embedded
from splitreason_integrations.annotation.tokens import tokenizer_of
from splitreason_integrations.errors import ModelLoadError
from tests.backends.servers import load, serving, spec

MODULE = """\
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path({ran!r}).touch()


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig


class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def folder(tmp_path):
    """A model whose configuration, network and tokenizer are classes of its own."""
    path = tmp_path / "own"
    shutil.copytree(embedded.path("small"), path)
    (path / "own.py").write_text(MODULE.format(ran=str(tmp_path / "ran")), "utf-8")
    change(
        path / "config.json",
        model_type="own",
        architectures=["OwnModel"],
        auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    )
    change(
        path / "tokenizer_config.json",
        tokenizer_class="OwnTokenizer",
        auto_map={"AutoTokenizer": [None, "own.OwnTokenizer"]},
    )
    return path


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """Keep the copies of such code, which transformers makes, within this test."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))


def loaded_here(folder, **options):
    load(TransformersModel(str(folder), **options))


def loaded_on_a_server(folder):
    with serving("completions_server", "embedded:large") as (_, url):
        load(spec(url, tokenizer=str(folder)))


def counted(folder):
    tokenizer_of(f"hf:{folder}")


@pytest.mark.parametrize("loading", [loaded_here, loaded_on_a_server, counted])
def test_it_does_not_run_unasked(folder, loading, tmp_path):
    with pytest.raises(ModelLoadError, match="contains custom code"):
        loading(folder)
    assert not (tmp_path / "ran").exists()


def test_the_error_names_the_option(folder):
    with pytest.raises(ModelLoadError, match=r"set trust_remote_code=True in TransformersModel"):
        loaded_here(folder)


def test_it_runs_where_the_specification_says_so(folder, tmp_path):
    loaded_here(folder, trust_remote_code=True)
    assert (tmp_path / "ran").exists()
