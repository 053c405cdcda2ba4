"""What a description knows before loading, and how packages of others add a backend."""

import subprocess
import sys
from pathlib import Path

import pytest

from splitreason_integrations import OpenAIServerModel, TransformersModel, VLLMModel, embedded
from splitreason_integrations.backends.registry import (
    describe,
    known_context,
    load_model,
    public_name,
    resolve,
)
from splitreason_integrations.errors import ConfigurationError, UnknownSpecError
from tests.limits import HANGS_S

BACKEND = """
from dataclasses import dataclass

from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.testing import ScriptedModel


@dataclass(frozen=True)
class Echo(ModelDescription):
    said: str

    @property
    def label(self):
        return f"echo:{self.said}"

    def known_context_tokens(self):
        return 77

    def load(self):
        return ScriptedModel(self.said, name=self.label)


def parse(text, role):
    return Echo(text.partition(":")[2])
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution of somebody else with one backend that works and one that does not."""
    (tmp_path / "echo_backend.py").write_text(BACKEND)
    facts = tmp_path / "echo_backend-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: echo-backend\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[splitreason_integrations.backends]\n"
        "echo = echo_backend:parse\n"
        "broken = no_such_module:parse\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("echo_backend", None)


async def test_a_package_of_others_adds_a_backend(installed):
    assert "echo_backend" not in sys.modules
    assert describe(resolve("echo:hello", role="small")) == "echo:hello"
    assert public_name("echo:hello") == "echo:hello"
    assert known_context("echo:hello", "embedded") == 77
    model = await load_model("echo:hello", role="large")
    assert model.name == "echo:hello"
    assert await load_model("echo:hello", role="small") is model


def test_a_backend_that_cannot_be_imported_is_named(installed):
    with pytest.raises(ConfigurationError, match=r"'broken' \(no_such_module:parse\)"):
        resolve("broken:x", role="small")


def test_a_prefix_that_nobody_knows_is_refused(installed):
    with pytest.raises(UnknownSpecError, match="unknown large model 'other:x'"):
        resolve("other:x", role="large")


@pytest.mark.parametrize("text", ["hf:", "vllm:", "embedded:other"])
def test_a_prefix_without_a_model_is_refused(text):
    with pytest.raises(UnknownSpecError):
        resolve(text, role="small")


def test_every_description_knows_itself():
    folder = str(embedded.path("small"))
    local, engine = TransformersModel(folder), VLLMModel(folder)
    server = OpenAIServerModel("http://h/v1,http://i/v1", "m")
    assert [one.label for one in (local, engine, server)] == [
        f"hf:{folder}",
        f"vllm:{folder}",
        "http://h/v1,http://i/v1#m",
    ]
    assert [one.on_server for one in (local, engine, server)] == [False, False, True]
    assert [one.known_context_tokens() for one in (local, engine, server)] == [2048, 2048, None]
    assert [one.tokenizer_source() for one in (local, engine, server)] == [folder, folder, None]
    assert local.fingerprint() == engine.fingerprint()
    assert server.fingerprint() is None
    assert [one.url for one in server.replicas()] == ["http://h/v1", "http://i/v1"]
    assert local.replicas() == (local,)
    assert local.placed_on("cuda:1").device == "cuda:1"
    assert TransformersModel(folder, device="cpu").placed_on("cuda:1").device == "cpu"
    assert engine.placed_on("cpu") is server.placed_on("cpu") is None


def test_a_folders_fingerprint_changes_with_its_files(tmp_path):
    spec = TransformersModel(str(tmp_path))
    before = spec.fingerprint()
    Path(tmp_path, "model.safetensors").write_bytes(b"x")
    assert spec.fingerprint() != before


def test_naming_a_model_imports_no_model_library():
    code = (
        "import sys\n"
        "from splitreason_integrations.backends.registry import resolve\n"
        "for spec in ('hf:x', 'vllm:x', 'http://h/v1#x', 'embedded'):\n"
        "    resolve(spec, role='small')\n"
        "heavy = {'torch', 'transformers', 'aiohttp', 'vllm', 'pydantic'} & set(sys.modules)\n"
        "assert heavy <= {'pydantic'}, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGS_S)
