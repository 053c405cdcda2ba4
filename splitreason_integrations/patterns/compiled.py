"""A pattern that is ready to search.

RE2 (https://github.com/google/re2) takes time that is linear in the text, and lets other threads
run meanwhile. A pattern has the syntax and the meaning of Python's `re`; what RE2 cannot do is
refused.
"""

import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeAlias

from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.patterns.alphabets import Signed, Signs
from splitreason_integrations.patterns.remedies import remedy
from splitreason_integrations.patterns.writing import (
    Feature,
    Tree,
    UnwritableError,
    Writer,
    read,
)

Found: TypeAlias = tuple[tuple[int, int], ...]
"""Where a match begins and ends, then each of its groups; (-1, -1) for a group without a part."""

MOST_CHARACTERS = 20_000
"""Longest pattern."""
_MEMORY_BYTES = 8 << 20


class Pattern:
    """A pattern from outside. `compiled` makes it, and checks it."""

    __slots__ = ("_conditions", "_folds", "_ways")

    def __init__(self, tree: Tree, *, end: str, groups: bool) -> None:
        self._conditions = [
            (Pattern(looked, end="", groups=False), wanted) for looked, wanted in tree.conditions
        ]
        self._folds = tree.ends
        signs = Signs(tree.sets)
        self._ways: dict[tuple[bool, bool], tuple[Signed, Any]] = {}
        for wide in (False, True):
            for folded in {False, tree.ends}:
                alphabet = Signed(
                    signs if wide else None, folded=folded, wrapped=wide and tree.wraps
                )
                written = Writer(tree, alphabet, groups=groups).text()
                self._ways[wide, folded] = alphabet, _program(f"(?:{written}){end}")

    def found_in(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in a text."""
        alphabet, program = self._way(text)
        return program.search(alphabet.written(text)) is not None and self._can_match(text)

    def spans(self, text: str) -> Iterator[Found]:
        """Yield the matches that are not empty, from left to right, apart from each other."""
        if not self._can_match(text):
            return
        alphabet, program = self._way(text)
        written = alphabet.written(text)
        place = alphabet.places(written)
        for found in program.finditer(written):
            if found.start() < found.end():
                spans = (found.span(group) for group in range(1 + found.re.groups))
                yield tuple((place(start), place(end)) for start, end in spans)

    def _can_match(self, text: str) -> bool:
        return all(looked.found_in(text) is wanted for looked, wanted in self._conditions)

    def _way(self, text: str) -> tuple[Signed, Any]:
        """Return the alphabet and the program for a text."""
        return self._ways[
            not text.isascii(), self._folds and text.find("\n", 0, len(text) - 1) >= 0
        ]


@lru_cache(maxsize=1024)
def compiled(
    pattern: str, *, multiline: bool = False, at_end: bool = False, groups: bool = False
) -> Pattern:
    """Return a pattern that is ready to search.

    Patterns are kept: ask for one at each use. In a forked process they are made again.

    Args:
        pattern: a regular expression of Python's.
        multiline: `^` and `$` match at every line.
        at_end: a match has to end where the text does.
        groups: `Pattern.spans` gives the groups, too, which takes longer.

    Raises:
        ConfigurationError: it is not valid, too large, or has what RE2 cannot do: looking ahead or
            behind (but ahead at the start of the text, after `^`), references to groups,
            conditions, atomic groups and possessive repetitions.

    """
    if len(pattern) > MOST_CHARACTERS:
        raise ConfigurationError(
            f"a pattern has at most {MOST_CHARACTERS:,} characters, got {len(pattern):,} in "
            f"{pattern[:40]!r}…; split it into several"
        )
    try:
        tree = read(pattern, re.MULTILINE if multiline else 0)
        return Pattern(tree, end=r"\z" if at_end else "", groups=groups)
    except UnwritableError as error:
        raise ConfigurationError(
            f"pattern {pattern!r} cannot be searched in linear time: {error}; "
            f"{remedy(pattern, error.feature)}"
        ) from error
    except RecursionError as error:
        raise ConfigurationError(
            f"pattern {pattern!r:.80} is nested too deeply; write it with fewer parentheses"
        ) from error
    except (re.error, OverflowError) as error:
        raise ConfigurationError(
            f"pattern {pattern!r} is not a valid regular expression: {error}; put a backslash "
            "before characters that are meant literally"
        ) from error


@lru_cache(maxsize=1024)
def is_expression(pattern: str) -> bool:
    """Return whether a text is a regular expression of Python's, whatever it has."""
    try:
        read(pattern, 0)
    except UnwritableError:
        return True
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _program(written: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    try:
        program = re2.compile(written, options)
        fits = program.reverseprogramsize >= 0
    except re2.error:
        fits = False
    if not fits:
        raise UnwritableError(Feature.SIZE)
    return program


def _forget() -> None:
    """Forget all programs: another thread of the parent may have held the lock of one."""
    compiled.cache_clear()
    if re2 := sys.modules.get("re2"):
        re2.purge()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
