"""Answers' grammars in llama.cpp's notation (GBNF), made of those in Lark's notation.

What is made here lets come all that the grammar does, and may let come more. Each token is checked
besides, and one that does not fit is drawn again: so the distribution stays that of the grammar.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence

from splitreason_integrations.backends.openai_server.gbnf_json import JsonRules
from splitreason_integrations.backends.openai_server.gbnf_rules import (
    ANYTHING,
    Rules,
    times,
)

Spell = Callable[[int], str]
"""Returns the text of a token."""

_RULE = re.compile(r'(?P<name>\w+)(\[suffix=(?P<suffix>"(?:[^"\\]|\\.)*")\])?: (?P<body>.*)')
_PART = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*")|<\[(?P<token>\d+)\]>|%json (?P<schema>.*)|(?P<rule>[A-Za-z]\w*)'
    r"|(?P<space>/\[ \\n\]\{0,4\}/)|(?P<sign>[()|?])|(?P<gap>\s+)"
)
_FREE = re.compile(r"/|~/")
"""How the rule of a text begins that is free up to a mark."""
_SPACES = 4
_MOST_CHARACTERS = 1 << 16


def gbnf_of(grammar: str, spell: Spell, tags: Sequence[int] = ()) -> str | None:
    """Return the grammar of an answer in llama.cpp's notation.

    Args:
        grammar: in Lark's notation, as `text.grammar` writes it.
        spell: returns the text of a token.
        tags: tokens that may come anywhere in the answer.

    Returns:
        None where the grammar has a part without a counterpart, or becomes very long.

    """
    rules = Rules(_name("start"), [spell(tag) for tag in tags])
    for line in grammar.splitlines():
        found = _RULE.fullmatch(line)
        parts = None if found is None else _parts(found["body"], rules, spell)
        if found is None or parts is None:
            return None
        suffix = [rules.literal(json.loads(found["suffix"]))] if found["suffix"] else []
        rules.add(_name(found["name"]), " ".join([*parts, *suffix]))
    return rules.text if len(rules.text) <= _MOST_CHARACTERS else None


def _name(rule: str) -> str:
    return f"rule-{rule.replace('_', '-')}"


def _parts(body: str, rules: Rules, spell: Spell) -> list[str] | None:
    """Return the parts of a rule; None if one has no counterpart."""
    if _FREE.match(body) and not _PART.match(body):
        return [ANYTHING]
    parts, at = list[str](), 0
    while at < len(body):
        found = _PART.match(body, at)
        if found is None:
            return None
        at = found.end()
        parts += _part(found, rules, spell)
    return parts


def _part(found: "re.Match[str]", rules: Rules, spell: Spell) -> Iterator[str]:
    kind = found.lastgroup or ""
    said = found[kind]
    if kind == "text":
        yield rules.literal(json.loads(said))
    elif kind == "token":
        yield rules.literal(spell(int(said)))
    elif kind == "schema":
        yield JsonRules(rules, json.loads(said)).root
    elif kind == "rule":
        yield _name(said)
    elif kind == "space":
        yield times(rules.named("space", lambda: rules.character(r"[ \n]")), 0, _SPACES)
    elif kind == "sign":
        yield said
