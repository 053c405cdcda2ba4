"""Names and places, found by Presidio with a model of the user's; nothing is downloaded."""

import importlib.util

import pytest

from splitreason_integrations.errors import ConfigurationError, MissingExtraError
from splitreason_integrations.privacy.presidio import _slices
from splitreason_integrations.privacy.redaction import Vault, check_installed, listed

IS_INSTALLED = importlib.util.find_spec("presidio_analyzer") is not None
needs_presidio = pytest.mark.skipif(not IS_INSTALLED, reason="presidio-analyzer is not installed")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model that knows two names, saved to a folder."""
    import spacy

    network = spacy.blank("en")
    ruler = network.add_pipe("entity_ruler")
    patterns = [("PERSON", "Ann Lee"), ("GPE", "Springfield")]
    ruler.add_patterns([{"label": label, "pattern": text} for label, text in patterns])
    network.to_disk(tmp_path / "model")
    monkeypatch.setenv("SPLITREASON_PRESIDIO_MODEL", str(tmp_path / "model"))


@needs_presidio
def test_names_and_places_are_hidden(model):
    vault = Vault(listed(["presidio:PERSON", "presidio:LOCATION"]))
    text = "Ann Lee of Springfield wrote. Ann Leeson did not."
    hidden = vault.hide(text)
    assert hidden == "[PERSON_1] of [LOCATION_2] wrote. Ann Leeson did not."
    assert vault.restore(hidden) == text


@needs_presidio
@pytest.mark.parametrize("name", ["", "no_such_model"])
def test_a_missing_model_names_the_remedy(monkeypatch, name):
    monkeypatch.setenv("SPLITREASON_PRESIDIO_MODEL", name)
    with pytest.raises(ConfigurationError, match=r"PRESIDIO_MODEL.*nothing is downloaded"):
        check_installed(["presidio:PERSON"])


@pytest.mark.skipif(IS_INSTALLED, reason="presidio-analyzer is installed")
def test_a_missing_package_names_its_extra():
    with pytest.raises(MissingExtraError, match=r"splitreason-integrations\[presidio\]"):
        check_installed(["presidio:PERSON"])


@pytest.mark.parametrize("rule", ["presidio", "presidio:NAME", "presidio:EMAIL_ADDRESS"])
def test_a_wrong_entity_is_named(rule):
    with pytest.raises(ConfigurationError, match=r"PERSON|entity of presidio"):
        listed([rule])


def test_slices_are_whole_words():
    text = "some words " * 5000
    parts = list(_slices(text))
    assert "".join(part for _, part in parts) == text
    assert all(part.endswith(" ") for _, part in parts)
    assert max(len(part) for _, part in parts) <= 20_000
