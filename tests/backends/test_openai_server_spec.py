"""How a server's model is named and loaded, and that its key is shown nowhere."""

import logging
from dataclasses import asdict, replace

import pytest
from pydantic import SecretStr

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import (
    AuditLog,
    OpenAIServerModel,
    ServerLimits,
    SplitEngine,
)
from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.backends.registry import describe, load_model, resolve
from splitreason_integrations.errors import (
    ConfigurationError,
    ModelCallError,
    ModelLoadError,
    UnknownSpecError,
)
from splitreason_integrations.request import Request
from splitreason_integrations.testing import embedded_codec
from tests.backends.completions_server import KEY
from tests.backends.servers import (
    LARGE,
    NOWHERE,
    QUESTION,
    load,
    order,
    prompt,
    serving,
    spec,
    write,
)

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def url():
    with serving("completions_server", "embedded:large") as (_, url):
        yield url


@pytest.fixture(scope="module")
def locked_url():
    with serving("completions_server", "embedded:large", "--key") as (_, url):
        yield url


def test_what_the_server_says_of_itself_is_taken(url):
    found = load(OpenAIServerModel(url, "large", tokenizer=LARGE))
    assert found.context_tokens == 2048
    assert load(spec(url, context_tokens=100)).context_tokens == 100
    assert found.remote
    assert found.name == f"{url}#large"
    assert not load("embedded").remote


def test_a_model_named_by_its_folder_needs_no_tokenizer():
    model = load(OpenAIServerModel(NOWHERE, LARGE, context_tokens=500))
    assert model.codec.fingerprint == embedded_codec().fingerprint
    assert model.codec.end_tokens == embedded_codec().end_tokens


@pytest.mark.parametrize(
    ("model", "listed", "tokens"),
    [
        (LARGE, {"id": "another"}, 2048),
        (LARGE, {"id": LARGE}, 2048),
        (LARGE, {"id": LARGE, "max_model_len": 700}, 700),
        ("large", {"id": "large", "meta": {"n_ctx": 512, "n_ctx_train": 2048}}, 512),
    ],
    ids=["unlisted folder", "folder", "folder of a server that says more", "llama.cpp"],
)
def test_how_long_a_context_is_comes_from_the_server_else_from_the_models_own_folder(
    monkeypatch, model, listed, tokens
):
    monkeypatch.setattr(Server, "get", lambda *_: {"data": [listed]})
    named = OpenAIServerModel(NOWHERE, model, tokenizer=LARGE, name=f"{model} {listed}")
    assert load(named).context_tokens == tokens


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"model": "larger"}, "no model of that name; it has 'large'"),
        ({"tokenizer": None}, "give it: OpenAIServerModel"),
        ({"tokenizer": "/no/such/folder"}, "there is no folder '/no/such/folder'"),
    ],
)
def test_what_cannot_be_loaded_says_why(url, named, words):
    with pytest.raises(ModelLoadError, match=words):
        load(replace(spec(url), **named))


def test_a_server_that_is_not_there_is_named_before_anything_is_written():
    with pytest.raises(ModelLoadError, match="cannot be reached"):
        load(OpenAIServerModel(NOWHERE, "large", tokenizer=LARGE))


async def test_a_server_that_is_not_there_costs_the_large_model_alone():
    large = spec(NOWHERE, context_tokens=2048)
    done = await SplitEngine(small="embedded", large=large).complete(
        Request(messages=[{"role": "user", "content": QUESTION}])
    )
    assert done.degraded
    assert done.answer


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:1/v1",
        "http://#x",
        "http://a b/v1#x",
        "http://h/v1?k=1#x",
        "http://h:x/v1#x",
    ],
)
def test_other_addresses_are_refused(text):
    with pytest.raises(UnknownSpecError, match=r"#<model>|not valid"):
        resolve(text, role="large")


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(UnknownSpecError, match="api_key_env") as refused:
        resolve("https://me:hidden@host/v1#x", role="large")
    assert "hidden" not in str(refused.value)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigurationError, match="context_tokens"):
        spec(NOWHERE, context_tokens=0)
    with pytest.raises(ConfigurationError, match="read_s"):
        ServerLimits(read_s=0)
    with pytest.raises(ConfigurationError, match="not both"):
        spec(NOWHERE, api_key="a", api_key_env="B")


def test_texts_and_objects_name_servers():
    assert resolve("https://h/v1/#org/model", role="large") == OpenAIServerModel(
        "https://h/v1", "org/model"
    )
    assert describe(OpenAIServerModel("https://h/v1", "m")) == "https://h/v1#m"
    llm = SplitReasonLLM(small="embedded", large="https://h/v1#m")
    assert llm.model_name == "splitreason/embedded+https://h/v1#m"
    assert SplitReasonLLM(model=llm.model_name).large == "https://h/v1#m"


async def test_the_key_opens_the_server_and_is_shown_nowhere(
    locked_url, monkeypatch, caplog, tmp_path
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("THE_KEY", KEY + "\n")
    log = AuditLog(tmp_path / "audit.jsonl", content=True)
    asked = Request(messages=[{"role": "user", "content": QUESTION}])
    for large in (
        spec(locked_url, api_key=KEY),
        spec(locked_url, api_key=SecretStr(KEY)),
        spec(locked_url, api_key_env="THE_KEY"),
    ):
        engine = SplitEngine(small="embedded", large=large, audit=log)
        done = await engine.complete(asked)
        assert not done.degraded
        model = await load_model(large, role="large")
        llm = SplitReasonLLM(small="embedded", large=large)
        shown = [repr(large), repr(model), repr(engine), repr(llm), llm.model_dump_json()]
        shown += [repr(asdict(large)), describe(large), repr(vars(model)), llm.model_name]
        assert not [text for text in shown if KEY in text]
    assert KEY not in (tmp_path / "audit.jsonl").read_text("utf-8")
    assert KEY not in caplog.text


async def test_a_wrong_key_is_not_repeated(locked_url):
    wrong = "secret-that-is-wrong"
    session = load(spec(locked_url, context_tokens=2048, api_key=wrong)).open(prompt())
    with pytest.raises(ModelCallError, match=r"401.*api_key") as refused:
        await write(session, order())
    assert wrong not in str(refused.value)
    assert "[key]" in str(refused.value)
    assert not refused.value.retryable
    session.close()


@pytest.mark.parametrize("key", ["", "two\nlines", "ключ"])
def test_keys_that_cannot_be_sent_are_refused_and_not_repeated(key, monkeypatch):
    monkeypatch.setenv("THE_KEY", key)
    for given in ({"api_key": key}, {"api_key_env": "THE_KEY"}):
        with pytest.raises(ConfigurationError, match="has to hold") as refused:
            load(spec(NOWHERE, context_tokens=9, **given))
        assert not key or key not in str(refused.value)


@pytest.mark.parametrize("way", ["rush", "drip"])
def test_a_list_of_models_without_end_is_refused(way):
    with serving("faulty_server") as (_, url):
        endless = OpenAIServerModel(
            url.replace("v1", way), "x", tokenizer=LARGE, limits=ServerLimits(read_s=0.3)
        )
        with pytest.raises(ModelLoadError, match="too long"):
            load(endless)
