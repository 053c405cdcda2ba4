"""When a span ends. Close rules are values and join with `|` and `&`.

The large model writes a span in chunks, and the small one reads each chunk. A close rule is asked
at every place behind a token of the chunk; the span ends at the first place at which it holds. Its
`needs` say which facts of a place have to be computed. The cap of a span's length holds beside it.
"""

from splitreason_integrations.decide.closing.base import (
    TEXT_CHARACTERS,
    CloseBoth,
    CloseEither,
    CloseNeeds,
    CloseRule,
    JoinedClose,
    OwnToken,
    SpanPlace,
)
from splitreason_integrations.decide.closing.parsing import parse_close
from splitreason_integrations.decide.closing.rules import (
    Agrees,
    AutoClose,
    LowEntropy,
    StepEnd,
    TagClose,
)

__all__ = [
    "TEXT_CHARACTERS",
    "Agrees",
    "AutoClose",
    "CloseBoth",
    "CloseEither",
    "CloseNeeds",
    "CloseRule",
    "JoinedClose",
    "LowEntropy",
    "OwnToken",
    "SpanPlace",
    "StepEnd",
    "TagClose",
    "parse_close",
]
