"""Rules of a grammar in llama.cpp's notation, in which tags may come before every character."""

from collections.abc import Callable, Sequence

from splitreason_integrations.backends.openai_server.literals import quoted

_MOST_TIMES = 512
"""More repetitions count as any number: llama.cpp makes a rule of each."""
ANYTHING = ".*"
"""What lets any text come, tags among it."""
NOTHING = '""'


class Rules:
    """Rules by name.

    Args:
        start: the rule of the whole text.
        tags: texts that may come before every character, and at the end.

    """

    def __init__(self, start: str, tags: Sequence[str] = ()) -> None:
        self._rules: dict[str, str] = {}
        self._before = ""
        if tags:
            self.add("tags", either([*(f"{quoted(tag)} tags" for tag in tags), NOTHING]))
            self._before = "tags "
        self.add("root", f"{start} {self._before}".rstrip())

    def add(self, name: str, expression: str) -> None:
        """Define a rule."""
        self._rules[name] = expression

    def named(self, name: str, expression: Callable[[], str]) -> str:
        """Return the name of a rule that is defined at its first use; it may be of itself."""
        if name not in self._rules:
            self._rules[name] = NOTHING
            self._rules[name] = expression()
        return name

    def new(self, expression: str) -> str:
        """Return the name of a rule without a name of its own."""
        name = f"part-{len(self._rules)}"
        self._rules[name] = expression
        return name

    def literal(self, text: str) -> str:
        """Return what lets a text come."""
        if not self._before:
            return quoted(text)
        return " ".join(self._before + quoted(character) for character in text) or NOTHING

    def character(self, among: str) -> str:
        """Return what lets one character of a class come."""
        return self._before + among

    @property
    def text(self) -> str:
        """All rules, one a line."""
        return "\n".join(f"{name} ::= {expression}" for name, expression in self._rules.items())


def either(some: Sequence[str]) -> str:
    """Return what lets one of some come."""
    return some[0] if len(some) == 1 else f"({' | '.join(some)})"


def times(rule: str, least: int, most: int | None = None) -> str:
    """Return what lets a rule come at least and at most so often, as far as llama.cpp counts."""
    counted = most if most is not None and most <= _MOST_TIMES else ""
    return f"{rule}{{{min(least, _MOST_TIMES)},{counted}}}"
