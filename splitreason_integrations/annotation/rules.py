"""Find hard spans by rule: named rules, and regular expressions."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from splitreason_integrations.annotation.annotators import Found
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.annotation.tagging import Span
from splitreason_integrations.checks import check_names
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.patterns import Pattern, compiled

_NUMBER = r"\d+(?:,\d+)*(?:\.\d+)?"
_LONG = rf"(?=\d[\d,.]*\d){_NUMBER}"
_UNIT = r"\s?(?:%|€|\$|£|USD|EUR)?\s?"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
_DATE = rf"(?:\b{_MONTH}\s\d{{1,2}}\b|\b\d{{1,2}}\.?\s{_MONTH}|\b\d{{4}}-\d\d-\d\d\b)"
_PERIOD = r"\b\d{1,4}\s(?:calendar |business |working )?(?:day|week|month|year)s?\b"
RULES: Mapping[str, str] = {
    # Products and quotients with a factor of two digits, long sums, sums of large numbers.
    "arithmetic": (
        rf"(?<![\d.,])(?:{_NUMBER}{_UNIT}(?:[*×·÷/x]|\\times|\\cdot|\\div)\s?[$€£]?{_LONG}"
        rf"|{_LONG}{_UNIT}(?:[*×·÷/x]|\\times|\\cdot|\\div)\s?[$€£]?{_NUMBER}"
        rf"|{_NUMBER}(?:{_UNIT}[+\-−]\s?[$€£]?{_NUMBER}){{2,}}"
        rf"|(?=\d[\d,]{{2}}|\d\d\.\d){_NUMBER}{_UNIT}[+\-−]\s?[$€£]?{_LONG})"
        rf"(?!\d)(?:{_UNIT}=\s?[$€£]?{_NUMBER}(?:\s?[+\-−]\s?{_NUMBER})*)*"
    ),
    # A fenced block, or a line that reads like source code.
    "code": (
        r"```[^\n]*\n[\s\S]*?(?:```|\Z)"
        r"|^[ \t]*(?:def \w+\(|class \w+ ?[:({]|import [\w.]+$|from [\w.]+ import |SELECT .* FROM "
        r"|(?:const|let|var) \w+ =|function \w*\(|(?:for|while|if|elif|else|try)\b[^.]*:[ \t]*$"
        r"|\w+[ \t]*=[ \t]*\w+[(\[]|.*[;{}][ \t]*$).*$"
    ),
    # Date arithmetic: two dates, or a date and a period of days, weeks or months.
    "dates": (
        rf"{_DATE}[^.\n]{{0,120}}?{_DATE}|{_DATE}[^.\n]{{0,80}}?{_PERIOD}"
        rf"|{_PERIOD}[^.\n]{{0,80}}?{_DATE}"
    ),
    # Where the writer doubts a result and checks it.
    "doubt": (
        r"\b(?:[Ww]ait\b|[Hh]mm+\b|[Oo]n second thoughts?|[Aa]lternatively\b"
        r"|[Ll]et me (?:(?:double[- ]?|re-?)check|check (?:that|this|again)|reconsider|think again)"
        r"|I made (?:a mistake|an error)|[Tt]hat(?:'s| is|’s) (?:not right|wrong))[^\n.!?]{0,400}"
    ),
}
"""Patterns by name; alignment later extends each match to a whole step."""
_RULES = {name: re.compile(rule, re.MULTILINE) for name, rule in RULES.items()}


class RuleAnnotator:
    """Find what patterns match: the first group that took part, or the whole match."""

    name = "rule"
    batch_rows = 128
    journals = False
    scores = False
    stopped: str | None = None

    def __init__(self, rules: Sequence[str] = (), patterns: Sequence[str] = ()) -> None:
        """Take names of rules, and patterns.

        Raises:
            ConfigurationError: There is neither, or a pattern cannot be used.
            SettingError: There is no rule of a name.

        """
        if not rules and not patterns:
            raise ConfigurationError(
                f"no rule: give one of {', '.join(sorted(RULES))}, or a pattern"
            )
        check_names(rules, RULES, what="rule")
        self._settings = {"rules": list(rules), "patterns": list(patterns)}
        for pattern in patterns:
            _pattern(pattern)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The rules and patterns."""
        return self._settings

    async def find(
        self, rows: Sequence[Row], *, spent_usd: float
    ) -> AsyncGenerator[tuple[int, Found], None]:
        """Yield the matches in each row."""
        for at, row in enumerate(rows):
            yield at, Found(spans=self.spans(row.trace))

    def spans(self, trace: str) -> tuple[Span, ...]:
        """Return the matches in a trace; they may overlap."""
        named = (_RULES[name].finditer(trace) for name in self._settings["rules"])
        found = [Span(*one.span()) for matches in named for one in matches if one.group()]
        for pattern in self._settings["patterns"]:
            found += [Span(*one[_first_group(one)]) for one in _pattern(pattern).spans(trace)]
        return tuple(found)


def _first_group(spans: Sequence[tuple[int, int]]) -> int:
    """Return the first group that has text, or 0, the whole match."""
    return next((at for at, (start, end) in enumerate(spans) if at and start < end), 0)


def _pattern(pattern: str) -> Pattern:
    return compiled(pattern, multiline=True, groups=True)
