"""Settings as plain data, without a framework around them."""

from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr

from splitreason_integrations import OpenAIServerModel, Prices
from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.settings.options import PairSettings
from splitreason_integrations.settings.written import as_data, identity


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
        raise AssertionError("a description is written without loading it")


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


class Thing:
    """Something without a value."""


def test_identities_are_each_objects_own():
    things = [Thing() for _ in range(3)]
    names = [identity(thing) for thing in things]
    assert [identity(thing) for thing in things] == names
    for _ in range(20):  # numbers of freed objects are used again
        things = [Thing() for _ in range(3)]
        names += [identity(thing) for thing in things]
    assert len(set(names)) == len(names)


def test_a_secret_is_no_value():
    assert "sk-1" not in str(as_data({"a": [SecretStr("sk-1")]}))
