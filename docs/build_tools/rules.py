"""The tables of triggers and close rules: text, class, and what each needs of the two models."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import splitreason_integrations
from build_tools.markdown import anchored, code, summary, table
from splitreason_integrations.decide.closing import CloseNeeds, CloseRule, parse_close
from splitreason_integrations.decide.closing.parsing import GRAMMAR as CLOSE_GRAMMAR
from splitreason_integrations.decide.joined_text import Form
from splitreason_integrations.decide.triggers import Needs, Trigger, parse_trigger
from splitreason_integrations.decide.triggers.parsing import GRAMMAR as TRIGGER_GRAMMAR
from splitreason_integrations.errors import ConfigurationError

_NEEDS = {
    Needs.OPEN_PROBABILITY: "small: the open tag's probability",
    Needs.ENTROPY: "small: the entropy of its next token",
    Needs.TEXT: "the reply's text",
    Needs.CONFIDENCE: "small: the probability of the token that it chose",
    Needs.LARGE: "large: reads along",
}
_CLOSE_NEEDS = {
    CloseNeeds.CLOSE_PROBABILITY: "small: reads the span; the close tag's probability",
    CloseNeeds.OWN: "small: reads the span; its own probability of each token",
    CloseNeeds.ENTROPY: "small: reads the span; the entropy of its next token",
    CloseNeeds.TEXT: "the reply's text",
}
_TAUGHT = "small: was taught the tags"
_NOTHING = "nothing"
_EXAMPLES = ("2", "0.5", "x")


def triggers() -> str:
    """Return the table of triggers."""
    return _table(Trigger, _NEEDS, TRIGGER_GRAMMAR.forms, parse_trigger)


def close_rules() -> str:
    """Return the table of close rules."""
    return _table(CloseRule, _CLOSE_NEEDS, CLOSE_GRAMMAR.forms, parse_close)


def exported(base: type) -> list[type]:
    """Return the rules of a kind that the package exports, without the base."""
    named = (getattr(splitreason_integrations, name) for name in splitreason_integrations.__all__)
    return [one for one in named if isinstance(one, type) and issubclass(one, base) and one != base]


def _table(base: type, needs: Any, forms: Any, parse: Callable[[str], Any]) -> str:
    samples = list(_samples(forms, parse))
    rows = []
    for kind in exported(base):
        own = {shown: rule for shown, rule in samples if type(rule) is kind}
        rows.append(
            (
                anchored(kind.__name__, prefix="rule"),
                ", ".join(map(code, own)) or "in code only",
                code(f"{kind.__name__}{_signature(kind)}"),
                summary(kind),
                _needed(kind, next(iter(own.values()), None), needs),
            )
        )
    return table(("Class", "As text", "In code", "What it does", "What it needs"), rows)


def _signature(kind: type) -> str:
    text = str(inspect.signature(kind)).removesuffix(" -> None")
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text)


def _needed(kind: type, example: Any, texts: Any) -> str:
    if example is None:
        return "what the rule that it observes needs"
    parts = [text for need, text in texts.items() if need in example.needs]
    taught = [_TAUGHT] if example.uses_tag else []
    return "; ".join([*taught, *parts]) or _NOTHING


def _samples(forms: Any, parse: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """Yield each form as pages show it, with a rule of that form."""
    for form in forms:
        rule = _example(form, parse)
        if rule is not None:
            yield _shown(form), rule


def _example(form: Form[Any], parse: Callable[[str], Any]) -> Any:
    for values in product(_EXAMPLES, repeat=len(_groups(form))):
        try:
            return parse(_filled(form, values))
        except ConfigurationError:
            continue
    return None


def _shown(form: Form[Any]) -> str:
    return _filled(form, [name.upper() for name in _groups(form)])


def _groups(form: Form[Any]) -> list[str]:
    """Return the names of the groups of a form's pattern."""
    if not re.compile(form.pattern).groups:
        return []
    return list(inspect.signature(form.build).parameters)


def _filled(form: Form[Any], values: Sequence[str]) -> str:
    """Return a form's pattern with a value for each of its groups."""
    text = form.pattern
    for value in values:
        start = re.search(r"\((?!\?)", text)
        assert start is not None
        text = text[: start.start()] + value + text[_end(text, start.start()) :]
    return text


def _end(pattern: str, start: int) -> int:
    """Return where the group that begins at `start` ends."""
    depth = 0
    for at in range(start, len(pattern)):
        depth += {"(": 1, ")": -1}.get(pattern[at], 0)
        if depth == 0:
            return at + 1
    raise ValueError(f"{pattern!r} has an open group")
