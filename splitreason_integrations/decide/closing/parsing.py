"""The text of a close rule, as the command, policies and chat models read it."""

from splitreason_integrations.decide.closing.base import CloseRule
from splitreason_integrations.decide.closing.rules import (
    Agrees,
    AutoClose,
    LowEntropy,
    StepEnd,
    TagClose,
)
from splitreason_integrations.decide.joined_text import Form, Grammar, number, whole

GRAMMAR: Grammar[CloseRule] = Grammar(
    kind="close rule",
    forms=(
        Form(r"tag", TagClose),
        Form(r"tag>(.+)", lambda above: TagClose(number(above))),
        Form(r"agrees", Agrees),
        Form(r"agrees:([^>]+)", lambda tokens: Agrees(whole(tokens))),
        Form(r"agrees>(.+)", lambda least: Agrees(probability=number(least))),
        Form(r"agrees:([^>]+)>(.+)", lambda tokens, least: Agrees(whole(tokens), number(least))),
        Form(r"entropy", LowEntropy),
        Form(r"entropy<(.+)", lambda below: LowEntropy(number(below))),
        Form(r"step", StepEnd),
        Form(r"auto", AutoClose),
    ),
    examples="tag>0.5, agrees, agrees:2, agrees>0.9, agrees:2>0.9, entropy<0.5, step, auto, or "
    "several joined with | and &, as in agrees | step",
)


def parse_close(text: str) -> CloseRule:
    """Return the close rule that a text describes.

    `tag>0.5`, `agrees`, `agrees:2`, `agrees>0.9`, `agrees:2>0.9`, `entropy<0.5`, `step`, or several
    joined with `|` and `&`, as in `agrees | step`: `&` binds before `|`, parentheses group. `auto`
    leaves the choice to each request.

    Raises:
        ConfigurationError: For any other text.

    """
    return GRAMMAR.parse(text)
