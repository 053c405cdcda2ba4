"""Models that write the text of a file."""

from dataclasses import dataclass, field
from pathlib import Path

from splitreason_integrations import Prices
from splitreason_integrations.backends.description import ModelDescription, Role
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.testing import ScriptedModel


@dataclass(frozen=True)
class Script(ModelDescription):
    """A model by its file."""

    file: str
    prices: Prices = field(default_factory=Prices)

    @property
    def label(self) -> str:
        return f"script:{self.file}"

    def load(self) -> ScriptedModel:
        try:
            text = Path(self.file).read_text("utf-8")
        except OSError as error:
            raise ConfigurationError(f"{self.label}: {error}") from error
        return ScriptedModel(text, name=self.label, prices=self.prices)


def parse(text: str, role: Role) -> Script:
    return Script(text.partition(":")[2])
