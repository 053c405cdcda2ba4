"""Settings as plain data, without a framework around them."""

import gc
from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr

from splitreason_integrations import OpenAIServerModel, Prices
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.settings.options import PairSettings
from splitreason_integrations.settings.written import as_data, identity
from splitreason_integrations.testing import ScriptedModel


@dataclass(frozen=True)
class Gateway(ModelDescription):
    """A model of another package, with secrets of its own."""

    path: str
    access_token: str
    hidden: str = field(default="", repr=False)
    region: str = "eu"

    @property
    def label(self):
        return self.path

    def load(self):
        raise NotImplementedError


@dataclass(frozen=True)
class Optional(Gateway):
    access_token: str = ""


def test_settings_take_their_own_plain_data():
    large = [OpenAIServerModel("http://127.0.0.1:1/v1", "m", prices=Prices(1, 2)), "embedded"]
    given = PairSettings(small="embedded", large=large, close="step", policy="regulated")
    assert PairSettings(**given.model_dump()) == given
    assert PairSettings.model_validate_json(given.model_dump_json()) == given


def test_descriptions_of_other_packages_are_written_without_secrets():
    written = as_data(Optional("m", access_token="sk-1", hidden="sk-2", region="us"))
    assert written == {"type": "Optional", "path": "m", "region": "us"}
    read = PairSettings(small=written, large="embedded").small
    assert read == Optional("m", region="us")


def test_a_model_that_needs_its_secret_is_asked_for_again():
    written = as_data(Gateway("m", access_token="sk-1"))
    with pytest.raises(ValueError, match=r"Gateway is not whole.*access_token.*give it again"):
        PairSettings(small="embedded", large=[written])


def test_identities_are_each_objects_own():
    models = [ScriptedModel("x") for _ in range(3)]
    names = [identity(model) for model in models]
    assert len(set(names)) == 3
    assert [identity(model) for model in models] == names
    freed = set(names)
    for _ in range(20):
        del models
        gc.collect()
        models = [ScriptedModel("x") for _ in range(3)]
        assert not freed & {identity(model) for model in models}


def test_a_secret_is_no_value():
    assert "sk-1" not in str(as_data({"a": [SecretStr("sk-1")]}))
