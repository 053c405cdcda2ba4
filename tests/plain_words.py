"""Words that code and pages of this project do not use, and where each is ordinary English.

`python tests/plain_words.py [FOLDER OR FILE ...]` lists every hit and ends with status 1 where
there are any. Names are searched with their parts apart: `max_seats` and `SeatMap` have a "seat".
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".html", ".css", ".txt", ".json", ".cfg"}
NOT_SEARCHED = (
    "constraints",
    "tests/formats/",
    "tests/plain_words.py",
    "tests/test_plain_words.py",
)

IN_STORIES = (
    "splitreason_integrations/problems/",
    "splitreason_integrations/annotation/samples/",
    "splitreason_integrations/annotation/synthetic",
    "splitreason_integrations/embedded/",
    "tests/problems/",
    "tests/annotation/",
)
"""Stories about people and things: desks, seats, books and pens there are real ones."""

OLD_FORMATS = "splitreason_integrations/loop/stored_state.py"
"""Reads what earlier versions wrote, in their words."""


@dataclass(frozen=True)
class Rule:
    """A pattern over lower-case text, what to write instead, and where it is ordinary English."""

    pattern: str
    instead: str
    allowed: tuple[str, ...] = ()


NAMES = (
    Rule(r"desks?", "state", IN_STORIES),
    Rule(r"seat(s|ed|ing|ings)?", "participant, setup", IN_STORIES),
    Rule(r"fore(tell|tells|told|telling)", "lookahead"),
    Rule(r"re(tell|tells|told|telling)", "replay"),
    Rule(r"(un)?told", "synced, reported, known"),
    Rule(r"tells?", "report, notify", IN_STORIES),
    Rule(r"stretch(es)?", "segment", IN_STORIES),
    Rule(r"crew", "process pool", IN_STORIES),
    Rule(r"pens?", "author", IN_STORIES),
    Rule(r"book(s|ed|ing)?", "record, register", IN_STORIES),
    Rule(r"carr(y|ies|ied|ying)", "hold, pass", IN_STORIES),
)
"""Searched in the names of code, with their parts apart."""

PROSE = (
    Rule(r"\bdesks?\b", "state", IN_STORIES),
    Rule(r"\bseat(s|ed|ing|ings)?\b", "participant, setup", (*IN_STORIES, OLD_FORMATS)),
    Rule(r"\bfore(tell|tells|told|telling)\b", "lookahead, drafting"),
    Rule(r"\bre(tell|tells|told|telling)\b", "replay"),
    Rule(r"\bstretch(es)?\b", "segment", IN_STORIES),
    Rule(r"\bcrews?\b", "process pool", IN_STORIES),
    Rule(r"\b(has|have|had|takes?|holds?|gets?) the pen\b|\bthe pen\b", "writes", IN_STORIES),
    Rule(r"\b(the|a) book of\b|\bkeeps? book\b", "records of", IN_STORIES),
    Rule(r"\blet(s|ting)?( \w+){1,3} stand\b", "commit, keep"),
    Rule(
        r"\bwhat stands\b|\bstand(s|ing)? (in|behind|before|within) (it|the|a|an|its)\b",
        "is in",
        ("splitreason_integrations/text/prompts.py",),
    ),
    Rule(r"\bcarr(y|ies|ied|ying)\b(?! out| on)", "has, passes, holds", IN_STORIES),
    Rule(r"\b(who|that) had enough\b", "on error, cancellation or early close"),
    Rule(r"\bwhat is (no|neither|not)\b", "unless value is …"),
    Rule(r"\bno finite number\b", "unless value is a finite number"),
    Rule(r"\bwhat (came|comes|has come) back\b", "the span, the reply"),
    Rule(r"\bwhat one request works on\b", "mutable state of one request"),
    Rule(r"\b(is|are|was|were|been|being|not|be) (un)?told\b(?! apart)", "gets, is sent, knows"),
    Rule(r"\btells? (nobody|it|them|him|whether|the (engine|model|large|small))\b", "reports"),
    Rule(r"\bsays? in words\b", "print, warn"),
    Rule(r"\bfor want of\b", "because … is missing"),
)
"""Searched in docstrings, comments, other texts of code, and pages."""

_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_ORDINARY = re.compile(r"(told|tells?)_(\w+_)?apart|carr(y|ies|ied)_out")
_NAME_RULES = [(re.compile(rule.pattern), rule) for rule in NAMES]
_PROSE_RULES = [(re.compile(rule.pattern), rule) for rule in PROSE]
_OLD_NAMES = re.compile(r"<!-- old names -->.*?<!-- end of old names -->", re.DOTALL)
"""A map from old names to new ones has to name the old ones."""
_FIRST_ROOM = 2


@dataclass(frozen=True)
class Hit:
    """Where one of the words is."""

    file: str
    line: int
    found: str
    instead: str

    @property
    def room(self) -> str:
        """The folder that the file is in, two levels deep at most."""
        parts = self.file.split("/")
        return "/".join(parts[: min(_FIRST_ROOM, len(parts) - 1)]) or self.file


def tracked(*patterns: str) -> list[Path]:
    """Return the files of the repository that fit one of the patterns of git, or all of them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def hits(below: Sequence[str] = ()) -> list[Hit]:
    """Return every hit in the files of the repository, or below some of its folders."""
    files = [path.relative_to(ROOT).as_posix() for path in tracked(*below)]
    return [hit for file in files if _searched(file) for hit in hits_of(file, _text(file))]


def _searched(file: str) -> bool:
    path = ROOT / file
    if file.startswith(NOT_SEARCHED):
        return False
    return path.suffix in SUFFIXES or path.name in ("Makefile", "run")


def _text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def hits_of(file: str, text: str) -> Iterator[Hit]:
    """Yield the hits in a file's text and in its name."""
    if file.endswith(".py"):
        for line, is_name, part in _parts_of_code(text):
            rules = _NAME_RULES if is_name else _PROSE_RULES
            yield from _matches(file, line, part, rules, whole=is_name)
    else:
        kept = _OLD_NAMES.sub(lambda found: "\n" * found[0].count("\n"), text)
        yield from _matches(file, 1, kept, _PROSE_RULES, whole=False)
    for part in Path(file).with_suffix("").parts:
        yield from _matches(file, 0, part, _NAME_RULES, whole=True)


def _parts_of_code(text: str) -> Iterator[tuple[int, bool, str]]:
    """Yield the line, whether it is a name, and the text of names, comments and strings.

    Comments on following lines are one text.
    """
    comment: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            start = start if comment else token.start[0]
            comment.append(token.string.lstrip("# "))
            continue
        if token.type not in (tokenize.NL, tokenize.NEWLINE) and comment:
            yield start, False, "\n".join(comment)
            comment = []
        if token.type == tokenize.NAME:
            yield token.start[0], True, token.string
        elif token.type == tokenize.STRING:
            yield token.start[0], False, _spoken(token.string)
    if comment:
        yield start, False, "\n".join(comment)


def _spoken(literal: str) -> str:
    try:
        value = ast.literal_eval(literal)
    except (SyntaxError, ValueError):
        return literal
    return value if isinstance(value, str) else ""


def _matches(
    file: str, line: int, text: str, rules: list[tuple[re.Pattern[str], Rule]], *, whole: bool
) -> Iterator[Hit]:
    if whole:
        for part in {part.lower() for part in _PART.findall(_ORDINARY.sub("", text))}:
            for pattern, rule in rules:
                if pattern.fullmatch(part) and not file.startswith(rule.allowed):
                    yield Hit(file, line, text, rule.instead)
        return
    spaced = re.sub(r"\s", " ", text.lower())
    for pattern, rule in rules:
        if not file.startswith(rule.allowed):
            for found in pattern.finditer(spaced):
                yield Hit(file, line + text.count("\n", 0, found.start()), found[0], rule.instead)


def main() -> int:
    """Print all hits and how many each room has; return the exit status."""
    found = hits(sys.argv[1:])
    for hit in found:
        print(f"{hit.file}:{hit.line}: {hit.found!r}; say: {hit.instead}")
    for room, count in Counter(hit.room for hit in found).most_common():
        print(f"{count:6} {room}")
    print(f"{len(found):6} in all")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
