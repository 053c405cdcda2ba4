"""What is shown of values that hold secrets: specifications, engines, settings and errors."""

import copy
from dataclasses import dataclass, field

import pytest

from splitreason_integrations import OpenAIServerModel, SplitEngine, TransformersModel, VLLMModel
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.errors import UnknownSpecError
from splitreason_integrations.settings.options import PairSettings

KEY = "sk-12345"
ENGINE = {
    "hf_token": KEY,
    "apiKey": KEY,
    "hosts": [{"Authorization": KEY, "at": f"https://me:{KEY}@host/v1?api_key={KEY}&page=2"}],
    "max_num_seqs": 8,
}
NAMES = (
    *("key", "api_key", "apikey", "x-api-key", "hf_token", "hfToken", "accessToken"),
    *("Authorization", "clientSecret", "password", "credentials", "AWS_SECRET_ACCESS_KEY"),
)
HELD = VLLMModel("folder", engine=ENGINE)


@dataclass(frozen=True)
class Portal(ModelDescription):
    """A model of another package, with secrets of its own."""

    path: str
    access_token: str = ""
    hidden: str = field(default="", repr=False)

    @property
    def label(self):
        return self.path

    def load(self):
        raise AssertionError("a description is printed without loading it")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name):
    from splitreason_integrations.privacy.secret_names import is_secret

    assert is_secret(name)


@pytest.mark.parametrize("name", ["max_tokens", "monkey", "tokenizer", "keyword", "api_key_env"])
def test_names_of_other_things(name):
    from splitreason_integrations.privacy.secret_names import is_secret

    assert not is_secret(name)


def test_a_description_shows_no_secret_at_any_depth():
    masked = {
        "hf_token": "***",
        "apiKey": "***",
        "hosts": [{"Authorization": "***", "at": "https://host/v1?api_key=***&page=2"}],
        "max_num_seqs": 8,
    }
    assert f"engine={masked!r})" in repr(HELD)
    assert repr(HELD).startswith("VLLMModel(path='folder', dtype='auto', ")
    assert HELD.engine["hf_token"] == KEY
    model = TransformersModel("folder", chat_template_kwargs={"more": {"token": KEY}})
    assert "chat_template_kwargs={'more': {'token': '***'}}" in repr(model)


def test_descriptions_of_other_packages_show_none_either():
    assert repr(Portal("m", KEY, KEY)) == f"{Portal.__qualname__}(path='m', access_token='***')"


@pytest.mark.parametrize(
    "whole",
    [
        lambda: SplitEngine(small="embedded", large=[HELD, "embedded"]),
        lambda: SplitEngine(small="embedded", large=f"https://me:{KEY}@host/v1#m"),
        lambda: PairSettings(small=HELD, large="embedded"),
    ],
)
def test_what_holds_a_description_shows_no_secret(whole):
    assert KEY not in f"{whole()!r} {whole()}"
    assert "small=" in repr(whole())


@pytest.mark.parametrize(
    "given",
    [
        {"small": {"type": "OpenAIServerModel", "url": "http://h/v1", "api_key": KEY, "oops": 1}},
        {"small": {"type": "VLLMModel", "engine": {"hf_token": KEY}}},
        {"small": f"https://me:{KEY}@host/v1#m"},
        {"small": f"other://me:{KEY}@host/v1#m"},
        {"small": f"https://host/v1?api_key={KEY}#m"},
        {"small": HELD, "api_key": KEY},
        {"small": HELD, "temperature": "hot"},
    ],
)
def test_errors_of_settings_show_no_secret(given):
    with pytest.raises(ValueError, match=r".") as failed:
        PairSettings(**{"large": "embedded", **given})
    assert KEY not in str(failed.value)


def test_errors_of_addresses_show_no_secret():
    with pytest.raises(UnknownSpecError, match=r"without a query.*api_key=\*\*\*&page=2"):
        OpenAIServerModel(f"https://host/v1?api_key={KEY}&page=2", "m")


def test_values_without_names_of_secrets_stay():
    from splitreason_integrations.privacy.secret_names import shown, without_credentials

    data = {"a": [1, ("b", None)], "token": None, "at": "https://host/v1?page=2"}
    assert shown(data) == data
    assert without_credentials("mail a@b.c") == "mail a@b.c"


def test_copies_hold_the_key_since_they_have_to_work():
    server = OpenAIServerModel("http://h/v1", "m", api_key=KEY)
    for made in (copy.copy(server), copy.deepcopy(server)):
        assert made == server
        assert made.key() == KEY
        assert KEY not in repr(made)
