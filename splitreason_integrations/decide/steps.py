"""Where the steps of a reply end: its lines, and the sentences of its lines.

A step ends behind a line break, and behind . ! ? … 。 ！ ？ and the quotes and brackets that close
there. No step ends at an abbreviation, an initial, a decimal point, a factorial or the number of a
list item. Text may still grow: a full stop behind a digit, or one that may begin an abbreviation
such as "e.g.", is no end before the character behind it is known.
"""

import re
from collections.abc import Iterator

_CLOSERS = "\"'”’»)\\]*_`」』）》】"
_END = re.compile(rf"(?P<mark>[.!?…]+|[。！？]+)[{_CLOSERS}]*|\r\n|[\n\r\u2028\u2029]")
_WIDE = "。！？"
_LINE_BREAK = re.compile(r"[\n\r\u2028\u2029]")
_ABBREVIATION = re.compile(
    r"\b(?:e\.g|i\.e|a\.m|p\.m|etc|cf|vs|approx|resp|et al|Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr"
    r"|Fig|Figs|Eq|Eqs|Sec|Ch|Vol|pp|Nr|Art|Abs|bzw|ca|usw|evtl|ggf|z\. ?B|d\. ?h|u\. ?a)\.$"
)
_BEGINS_ABBREVIATION = re.compile(r"\b[adeipuz]\.$")
_INITIAL = re.compile(r"(?:^|\W)(?:[A-Z]\.)*[A-ZÀ-ÖØ-ÞА-Я]\.$")
_LIST_NUMBER = re.compile(r"(?:^|[\n\r])[ \t>*_#(-]*(?:\d{1,3}|[A-Za-z])\.$")
_BEFORE = 16
"""Characters before a full stop that decide whether it ends a sentence."""
_LONGEST_STEP = 600


def step_ends(text: str, *, since: int = 0) -> Iterator[int]:
    """Yield every position behind `since` at which a step of the text ends, in order.

    Args:
        text: a text that may still grow.
        since: characters of the text at its beginning in which ends do not matter.

    """
    for found in _END.finditer(text, max(0, since - _BEFORE)):
        if found.end() > since and (found["mark"] is None or _ends_sentence(text, found)):
            yield found.end()


def begins_step(before: str, chosen: str) -> bool:
    """Return whether a token is the first of a step; white space alone begins none.

    Args:
        before: the reply before the token.
        chosen: the token's text.

    """
    body = chosen.lstrip()
    if not body:
        return False
    space = before + chosen[: len(chosen) - len(body)]
    end = len(space.rstrip())
    if end == 0 or _LINE_BREAK.search(space, end):
        return True
    return end in step_ends(before + chosen, since=end - 1)


def last_step(text: str) -> str:
    """Return the last step of a text without white space around it; empty if it is too long."""
    window = text[-_LONGEST_STEP:].rstrip()
    ends = [end for end in step_ends(window) if end < len(window)]
    if not ends and len(text) > _LONGEST_STEP:
        return ""
    return window[ends[-1] if ends else 0 :].strip()


def _ends_sentence(text: str, found: re.Match[str]) -> bool:
    mark, behind = found["mark"], text[found.end() : found.end() + 1]
    if mark[0] in _WIDE:
        return True
    if behind and not behind.isspace():
        return False
    if mark != ".":
        return mark != "!" or not text[found.start() - 1 : found.start()].isdigit()
    first = max(0, found.start() - _BEFORE)
    head = ("…" if first else "") + text[first : found.start() + 1]
    last = head[-2:-1]
    known = found.end() > found.start() + 1 or bool(behind)
    if not last or last.isspace() or (last.isdigit() and not known):
        return False
    if not known and _BEGINS_ABBREVIATION.search(head):
        return False
    return not any(one.search(head) for one in (_ABBREVIATION, _INITIAL, _LIST_NUMBER))
