"""Finds names and places with a language model, by Microsoft Presidio (extra `presidio`).

The model is one that the user has installed or saved: nothing is ever downloaded. Of Presidio only
the recogniser of entities is used, so no list of domains is fetched either.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from splitreason_integrations.checks import check_extra, check_names
from splitreason_integrations.errors import ConfigurationError, SettingError
from splitreason_integrations.processes import environment

ENTITIES = ("PERSON", "LOCATION", "ORGANIZATION", "NRP", "DATE_TIME")
"""What Presidio's recogniser of a spaCy model's entities finds."""
_SLICE = 20_000
_MODEL = environment.PRESIDIO_MODEL


def check_entity(rule: str) -> None:
    """Raise SettingError unless a rule such as `presidio:PERSON` names an entity."""
    entity = rule.partition(":")[2]
    if not entity:
        raise SettingError(f"{rule!r} names no entity; write 'presidio:PERSON'", (rule,))
    check_names([entity], ENTITIES, what="entity of presidio")


def finder(rule: str) -> Callable[[str], Iterator[tuple[int, int]]]:
    """Return what finds an entity in a text.

    Raises:
        MissingExtraError: presidio-analyzer is not installed.
        ConfigurationError: no language model is named, or it is not installed.

    """
    entity = rule.partition(":")[2]
    check_extra("presidio", "presidio_analyzer", what=f"redact={rule!r}")
    recogniser = _loaded(_MODEL.get())

    def find(text: str) -> Iterator[tuple[int, int]]:
        for start, part in _slices(text):
            for first, last in recogniser(part, entity):
                yield start + first, start + last

    return find


@cache
def _loaded(model: str) -> Callable[[str, str], list[tuple[int, int]]]:
    if not model:
        raise ConfigurationError(
            f"presidio needs a spaCy model: set {_MODEL.name} to the name of an installed one, "
            "such as en_core_web_sm, or to a folder; nothing is downloaded here"
        )
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer

    try:
        network = spacy.load(model)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{_MODEL.name} is {model!r}, which spaCy cannot load: install that package, or give a "
            "folder in which a model was saved; nothing is downloaded here"
        ) from error
    language = network.lang

    class Engine(SpacyNlpEngine):  # type: ignore[misc]
        """Has the model already: Presidio's own `load` downloads one that is missing."""

        def load(self) -> None:
            self.nlp = {language: network}

    engine = Engine(models=[{"lang_code": language, "model_name": model}])
    engine.load()
    recognisers = [SpacyRecognizer(supported_language=language)]
    registry = RecognizerRegistry(recognizers=recognisers, supported_languages=[language])
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])

    def found(text: str, entity: str) -> list[tuple[int, int]]:
        results: list[Any] = analyzer.analyze(text=text, language=language, entities=[entity])
        return [(one.start, one.end) for one in results]

    return found


def _slices(text: str) -> Iterator[tuple[int, str]]:
    """Yield parts of a text that a model can take, cut at ends of lines or words."""
    at = 0
    while at < len(text):
        end = at + _SLICE
        if end < len(text):
            line = text.rfind("\n", at, end)
            blank = line if line > at else text.rfind(" ", at, end)
            end = blank + 1 if blank > at else end
        yield at, text[at:end]
        at = end
