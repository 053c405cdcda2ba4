"""Rules of a grammar in llama.cpp's notation."""

from collections.abc import Callable, Sequence

_MOST_TIMES = 512
"""More repetitions count as any number: llama.cpp makes a rule of each."""
ANYTHING = ".*"
"""What lets any text come."""
NOTHING = '""'


class Rules:
    """Rules by name."""

    def __init__(self) -> None:
        self._rules: dict[str, str] = {}

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
