"""The text of a trigger, as the command, policies and chat models read it."""

from splitreason_integrations.decide.joined_text import Form, Grammar, number, unquoted, whole
from splitreason_integrations.decide.triggers.base import Trigger
from splitreason_integrations.decide.triggers.fixed import Always, Auto, Never
from splitreason_integrations.decide.triggers.reply_facts import (
    JOINED_KEYWORD,
    Keyword,
    Loop,
    Opening,
    StepEntropy,
)
from splitreason_integrations.decide.triggers.token_facts import (
    Confidence,
    Disagreement,
    Entropy,
    Random,
    Tag,
)
from splitreason_integrations.errors import ConfigurationError

_KEYWORD = "keyword:"


def _unquoted_keyword(pattern: str) -> Trigger:
    raise ConfigurationError(
        "within a joined text the pattern is put in double quotes, as in "
        'keyword:"= " | tag; a double quote in it is written twice'
    )


GRAMMAR: Grammar[Trigger] = Grammar(
    kind="trigger",
    forms=(
        Form(r"tag", Tag),
        Form(r"tag>(.+)", lambda threshold: Tag(number(threshold))),
        Form(r"entropy>(.+)", lambda above: Entropy(number(above))),
        Form(r"step-entropy>(.+)", lambda above: StepEntropy(number(above))),
        Form(r"confidence<(.+)", lambda below: Confidence(number(below))),
        Form(r"disagreement", Disagreement),
        Form(r"disagreement<(.+)", lambda below: Disagreement(number(below))),
        Form(r"loop", Loop),
        Form(r"loop:([^x]+)", lambda words: Loop(whole(words))),
        Form(r"loop:([^x]+)x(.+)", lambda words, times: Loop(whole(words), whole(times))),
        Form(r"opening", Opening),
        Form(r"opening:(.+)", lambda tokens: Opening(whole(tokens))),
        Form(r"random:(.+)", lambda probability: Random(number(probability))),
        Form(r'keyword:("(?:[^"]|"")*")', lambda pattern: Keyword(unquoted(pattern))),
        Form(r"keyword:(.*)", _unquoted_keyword),
        Form(r"auto", Auto),
        Form(r"always", Always),
        Form(r"never", Never),
    ),
    examples="tag, tag>0.2, disagreement<0.1, entropy>1.5, step-entropy>1.2, confidence<0.4, loop, "
    "opening:64, random:0.05, keyword:PATTERN, always, never or auto, or several joined with | and "
    "&, as in tag | entropy>1.5",
)


def parse_trigger(text: str) -> Trigger:
    """Return the trigger that a text describes.

    `tag`, `tag>0.2`, `disagreement<0.1`, `entropy>1.5`, `step-entropy>1.2`, `confidence<0.4`,
    `loop` (or `loop:8x3`: 8 words, 3 times), `opening:64`, `random:0.05`, `keyword:PATTERN`,
    `always` or `never`, or several joined with `|` and `&`, as in `tag | entropy>1.5 & loop`: `&`
    binds before `|`, parentheses group. A single `keyword:` runs to the end of the text; joined,
    its pattern is put in double quotes, in which `""` is a quote: `keyword:"= " | tag`. `auto`
    leaves the choice to each request.

    Raises:
        ConfigurationError: For any other text.

    """
    if text.startswith(_KEYWORD) and not JOINED_KEYWORD.match(text):
        return Keyword(text.removeprefix(_KEYWORD))
    return GRAMMAR.parse(text)
