"""Wrap styled text at words while it arrives in pieces that may end within a word."""

import re
import unicodedata
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_TAB = 8
_NOT_FIRST = frozenset(
    "、。，．・：；？！ー〜々）］｝〕〉》」』】’”,.:;?!)]}%％ぁぃぅぇぉっゃゅょァィゥェォッャュョ"
)
"""Characters that begin no line of Japanese or Chinese text."""
_NOT_LAST = frozenset("（［｛〔〈《「『【‘“([{")
"""Characters that end no line of Japanese or Chinese text."""
_FIRST_COLUMN = re.compile(r" *(?:- |\S+(?: \S+)* {2,})")
_INDENT = re.compile(r" *")
_WIDEST_COLUMN = 28
_JOINER = "\u200d"
_PARTS = re.compile(r"\n|[^\S\n]+|[!-~]+|\S")


class WordWrap:
    """Print text at a console, with line breaks between words only.

    A word appears once it is complete, at the latest at `flush`. Characters of double width, as in
    Japanese and Chinese, are words of their own, but for punctuation. A word that is wider than the
    console is the only one that is broken. Without a terminal nothing is wrapped or held back.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._column = 0
        self._space = Text()
        self._word = Text()

    def write(self, text: str, style: str = "") -> None:
        """Print the complete words of a text, and hold back its last word."""
        if not self._console.is_terminal:
            self._print(Text(text, style=style))
            return
        for part in _PARTS.findall(text):
            if part == "\n":
                self._line_break()
            elif part.isspace():
                self._end_word()
                self._space.append(self._spaces(part), style=style)
            else:
                if self._word and may_break(self._word.plain, part[0]):
                    self._end_word()
                self._word.append(part, style=style)

    def flush(self) -> None:
        """Print what is held back."""
        self._end_word()
        self._print(self._space)
        self._column += self._space.cell_len
        self._space = Text()

    def restart(self) -> None:
        """Print what is held back; whatever follows begins a line."""
        self.flush()
        self._column = 0

    def _line_break(self) -> None:
        self._end_word()
        self._space = Text()
        self._new_line()

    def _new_line(self) -> None:
        self._print(Text("\n"))
        self._column = 0

    def _end_word(self) -> None:
        """Print the word with the space before it, on a new line where it does not fit."""
        if not self._word:
            return
        width = self._console.width
        if self._column and self._column + self._space.cell_len + self._word.cell_len > width:
            self._new_line()
        else:
            self._print(self._space)
            self._column += self._space.cell_len
        for piece in _pieces(self._word, width - self._column, width):
            if self._column and self._column + piece.cell_len > width:
                self._new_line()
            self._print(piece)
            self._column += piece.cell_len
        self._space, self._word = Text(), Text()

    def _spaces(self, space: str) -> str:
        """Return white space with its tabs written as spaces, up to the next tab stop."""
        column = self._column + self._space.cell_len
        found = ""
        for character in space:
            wide = _TAB - (column + len(found)) % _TAB if character == "\t" else 1
            found += " " * wide if character in "\t " else character
        return found

    def _print(self, text: Text) -> None:
        if text:
            self._console.print(text, end="", soft_wrap=True)


def print_lines(console: Console, text: str, style: str = "") -> None:
    """Print lines of prose, at a terminal with line breaks between words only.

    Lines go on below their second column, which two spaces or more mark. Elsewhere, as
    in a file, each line stays one.
    """
    for line in text.split("\n"):
        if not console.is_terminal:
            console.print(Text(line, style=style), soft_wrap=True)
            continue
        hang = _column(line)
        body = Text(line[hang:], style=style).wrap(console, console.width - hang, overflow="fold")
        for number, part in enumerate(body):
            part.rstrip()
            head = Text(" " * hang if number else line[:hang], style=style)
            console.print(head + part, soft_wrap=True)


def _column(line: str) -> int:
    """Return where the second column of a line begins, 0 where it has none of use."""
    found = _FIRST_COLUMN.match(line) or _INDENT.match(line)
    return found.end() if found and found.end() <= _WIDEST_COLUMN else 0


def may_break(word: str, following: str) -> bool:
    """Return whether a line may end between a word and the character that follows it."""
    if word[-1] == _JOINER or not cell_len(following) or unicodedata.combining(following):
        return False
    if word[-1] in _NOT_LAST or following in _NOT_FIRST:
        return False
    return _is_wide(word[-1]) or _is_wide(following)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def _pieces(word: Text, room: int, width: int) -> Iterator[Text]:
    """Yield a word in pieces that fit: the first into the rest of a line, others into a line."""
    start, used = 0, 0
    for place, character in enumerate(word.plain):
        wide = cell_len(character)
        if place > start and used + wide > (room if start == 0 else width):
            yield word[start:place]
            start, used = place, 0
        used += wide
    yield word[start:]
