"""Names of models that lead to no files here: one short look at the hub, then the remedy."""

import os
import shutil
import socket
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from splitreason_integrations import OpenAIServerModel, TransformersModel, VLLMModel, embedded
from splitreason_integrations.backends import hub
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.blocking import run as wait_for
from splitreason_integrations.errors import ConfigurationError, ModelLoadError
from tests.limits import END_S

NAME = "nobody/nothing"
EMBEDDED = str(embedded.path("small"))


@contextmanager
def silent_host():
    """A host that accepts connections and never answers; yields its address and the connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        opened = []

        def accept():
            while True:
                try:
                    opened.append(listening.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", opened
        for connection in opened:
            connection.close()


@pytest.fixture
def silent(monkeypatch):
    """The hub is a host that never answers; yields the connections that were made to it."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "_ANSWERS_IN_S", 0.5)
    with silent_host() as (address, opened):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield opened


def loaded(spec):
    return wait_for(lambda: load_model(spec, role="small"))


def load_for_training():
    from splitreason_integrations.training.offloading.runs import load_network

    return load_network(f"hf:{NAME}")


def count_tokens():
    from splitreason_integrations.annotation.tokens import tokenizer_of

    return tokenizer_of(f"hf:{NAME}")


def load_dataset():
    from splitreason_integrations.annotation.sources import open_source

    return open_source(f"datasets:{NAME}", {})


WAYS = {
    "hf": lambda: loaded(f"hf:{NAME}"),
    "server": lambda: loaded(OpenAIServerModel("http://127.0.0.1:9/v1", "m", tokenizer=NAME)),
    "training": load_for_training,
    "annotation": count_tokens,
}


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("way", WAYS)
def test_a_host_that_does_not_answer_is_asked_once(silent, way):
    began = time.monotonic()
    with pytest.raises(ConfigurationError) as failed:
        WAYS[way]()
    assert len(silent) == 1
    assert time.monotonic() - began < END_S  # the libraries would try for longer, again and again
    said = str(failed.value)
    assert f"there is no folder '{NAME}'" in said
    assert "does not answer" in said
    assert f"run `hf download {NAME}`" in said
    with pytest.raises(ConfigurationError):
        WAYS[way]()
    assert len(silent) == 1  # what was found holds for a minute


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_dataset_is_not_looked_for_at_a_host_that_does_not_answer(silent):
    with pytest.raises(ConfigurationError, match=r"the hub does not answer.*save_to_disk"):
        load_dataset()
    assert len(silent) == 1


@pytest.mark.parametrize("way", WAYS)
def test_offline_the_error_names_the_variable(way):
    with pytest.raises(
        ConfigurationError, match=r"HF_HUB_OFFLINE is set.*unset HF_HUB_OFFLINE and run"
    ):
        WAYS[way]()


@pytest.mark.parametrize("path", ["./models/qwen", "/models/qwen", "models/qwen/7b", "a b/c"])
def test_what_is_no_name_on_the_hub_is_a_missing_folder(path):
    with pytest.raises(
        ModelLoadError, match=r"there is no folder .*: give the model's folder"
    ) as no:
        loaded(TransformersModel(path))
    assert "hf download" not in str(no.value)


def test_vllm_is_not_imported_for_a_model_that_is_not_here(monkeypatch):
    from splitreason_integrations.backends.vllm_local import load

    monkeypatch.setattr(load, "_check_installed", lambda: None)  # as if vLLM were there
    with pytest.raises(ModelLoadError, match=f"vllm:{NAME} cannot be loaded: there is no folder"):
        loaded(VLLMModel(NAME))
    assert "vllm" not in sys.modules


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_cached_model_loads_while_the_hub_does_not_answer(silent, monkeypatch, tmp_path):
    cached = tmp_path / "models--some--model"
    shutil.copytree(embedded.path("small"), cached / "snapshots" / "1")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = loaded("hf:some/model")
    assert model.name == "hf:some/model"
    assert model.context_tokens == TransformersModel(EMBEDDED).known_context_tokens()
    assert model.codec.encode("12*3") == loaded("embedded").codec.encode("12*3")
    assert len(silent) == 1


def test_the_newest_copy_is_read_where_the_cache_names_none(monkeypatch, tmp_path):
    for at, commit in enumerate(("9", "1")):
        copy = tmp_path / "models--some--model" / "snapshots" / commit
        copy.mkdir(parents=True)
        (copy / "config.json").write_text("{}")
        os.utime(copy, (at, at))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub.files_of("some/model", what="it") == str(copy)
