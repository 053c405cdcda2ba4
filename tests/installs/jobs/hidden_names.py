"""Names are hidden by Presidio with a model in a folder; nothing is downloaded."""

import os
import tempfile
from pathlib import Path

import spacy

from splitreason_integrations.privacy.redaction import Vault


def main() -> None:
    """Save a model that knows one name, and hide that."""
    network = spacy.blank("en")
    network.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ann Lee"}])
    with tempfile.TemporaryDirectory() as folder:
        network.to_disk(Path(folder) / "model")
        os.environ["SPLITREASON_PRESIDIO_MODEL"] = str(Path(folder) / "model")
        assert Vault(("presidio:PERSON",)).hide("Ask Ann Lee.") == "Ask [PERSON_1]."


if __name__ == "__main__":
    main()
