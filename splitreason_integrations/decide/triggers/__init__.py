"""When a span opens. Triggers are values and join with `|` and `&`.

A trigger is asked at every position of the small model's reply, after the model has chosen its
next token and before that token is written. It is given a `Position`; its `needs` say which facts
of it have to be computed, so that a trigger costs no more than it uses.
"""

from splitreason_integrations.decide.triggers.base import (
    Both,
    Either,
    Joined,
    Needs,
    Position,
    Trigger,
)
from splitreason_integrations.decide.triggers.fixed import Always, Auto, Never, Shadow
from splitreason_integrations.decide.triggers.parsing import parse_trigger
from splitreason_integrations.decide.triggers.reply_facts import Keyword, Loop, Opening, StepEntropy
from splitreason_integrations.decide.triggers.token_facts import (
    Confidence,
    Disagreement,
    Entropy,
    Random,
    Tag,
)

__all__ = [
    "Always",
    "Auto",
    "Both",
    "Confidence",
    "Disagreement",
    "Either",
    "Entropy",
    "Joined",
    "Keyword",
    "Loop",
    "Needs",
    "Never",
    "Opening",
    "Position",
    "Random",
    "Shadow",
    "StepEntropy",
    "Tag",
    "Trigger",
    "parse_trigger",
]
