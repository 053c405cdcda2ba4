"""Draw a reply as SVG, small and large text in two colours. The file asks no host for anything."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from rich.cells import cell_len

from splitreason_integrations.cli.wrapping import may_break
from splitreason_integrations.errors import RequestError
from splitreason_integrations.records import Author, Channel, Delta
from splitreason_integrations.records.printable import harmless
from splitreason_integrations.records.view import NAMES

COLUMNS = 48
"""Width of a line in cells; a wide character, as in Japanese, takes two."""

_FONT = 16.0
_CELL = 0.6 * _FONT
_LINE = 1.5 * _FONT
_MARGIN = 24.0
_FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_STYLES = {
    Author.SMALL: 'fill="#333333"',
    Author.LARGE: 'fill="#005A8C" font-weight="bold"',
    Author.HUMAN: 'fill="#8A3A00" font-style="italic"',
}
"""Authors differ in colour, and also in weight or slant."""

_BANDS = {Author.LARGE: "#DCEBF7", Author.HUMAN: "#FBE9D7"}
"""Colour behind the text."""

_SOFT = 'fill="#666666"'
_TAB = " " * 4
_JOINER = "\u200d"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Glyph:
    """What is drawn in one place: a character and those that combine with it."""

    text: str
    author: Author

    @property
    def cells(self) -> int:
        """Width in cells: 0, 1 or 2."""
        return min(cell_len(self.text), 2)


class ReplyPicture:
    """Collect the deltas of a stream, and draw them once the reply is finished."""

    def __init__(self, question: str) -> None:
        self._question = question
        self._text: list[tuple[str, Author]] = []
        self._channel = Channel.REASONING

    def add(self, delta: Delta) -> None:
        """Add one delta; a new part of the reply begins a new paragraph."""
        if not delta.text:
            return
        if delta.channel is not self._channel:
            # An empty line divides reasoning and answer, as in a terminal.
            self._text.append(("\n\n" if self._text else "", Author.SMALL))
            self._channel = delta.channel
        self._text.append((delta.text, delta.author))

    def svg(self, facts: str) -> str:
        """Return the picture, with a line of facts below the text."""
        question = wrapped(glyphs([(self._question, Author.SMALL)]))
        reply = _without_empty_ends(wrapped(glyphs(self._text)))
        below = wrapped(glyphs([(facts, Author.SMALL)]))
        authors = [one for one in Author if one in {author for _, author in self._text}]
        parts, y = list[str](), _MARGIN
        for lines, style in ((question, _SOFT), (reply, None), (below, _SOFT)):
            if parts:
                y += _LINE / 2
                parts.append(_divider(y))
                y += _LINE / 2
            if lines is below:
                y += _LINE
                parts.append(_legend(authors, y - 0.4 * _LINE))
            for line in lines:
                y += _LINE
                parts += _drawn(line, y - 0.4 * _LINE, style)
        return _framed(parts, y + _MARGIN, self._question)


def check_picture(path: Path) -> None:
    """Check, before anything is generated, that a picture can be written to this path.

    Raises:
        RequestError: The name does not end in .svg, or there is no such folder.

    """
    if path.suffix.lower() != ".svg":
        raise RequestError(f"{path}: a picture's file name ends in .svg")
    if not path.parent.is_dir():
        raise RequestError(f"{path}: there is no folder {path.parent}")


def write_picture(path: Path, svg: str) -> None:
    """Write a picture.

    Raises:
        RequestError: The file cannot be written.

    """
    try:
        path.write_text(svg, "utf-8")
    except OSError as error:
        raise RequestError(f"{path}: cannot be written: {error}") from error


def glyphs(text: Sequence[tuple[str, Author]]) -> list[Glyph]:
    """Return the text as glyphs; control characters are written out."""
    found: list[Glyph] = []
    for piece, author in text:
        shown = _NOT_XML.sub("\ufffd", harmless(piece.replace("\r\n", "\n"))).replace("\t", _TAB)
        for character in shown:
            joins = bool(found) and (
                (character != "\n" and cell_len(character) == 0) or found[-1].text.endswith(_JOINER)
            )
            if joins:
                found[-1] = Glyph(found[-1].text + character, found[-1].author)
            else:
                found.append(Glyph(character, author))
    return found


def wrapped(text: Sequence[Glyph], columns: int = COLUMNS) -> list[list[Glyph]]:
    """Return lines of at most so many cells, broken at spaces; longer words are cut."""
    lines: list[list[Glyph]] = [[]]
    for word in _words(text):
        if word[0].text == "\n":
            lines.append([])
            continue
        if _width(lines[-1]) + _width(word) > columns and lines[-1]:
            lines[-1] = _trimmed(lines[-1])
            lines.append([])
            if word[0].text == " ":
                continue
        for glyph in word:
            if _width(lines[-1]) + glyph.cells > columns:
                lines.append([])
            lines[-1].append(glyph)
    return [_trimmed(line) for line in lines]


def _words(text: Sequence[Glyph]) -> Iterator[list[Glyph]]:
    """Yield words, and spaces and line breaks one by one."""
    word: list[Glyph] = []
    for glyph in text:
        alone = glyph.text in ("\n", " ")
        if word and (alone or may_break(word[-1].text, glyph.text[0])):
            yield word
            word = []
        if alone:
            yield [glyph]
        else:
            word.append(glyph)
    if word:
        yield word


def _width(line: Sequence[Glyph]) -> int:
    return sum(glyph.cells for glyph in line)


def _without_empty_ends(lines: list[list[Glyph]]) -> list[list[Glyph]]:
    filled = [number for number, line in enumerate(lines) if line]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _trimmed(line: list[Glyph]) -> list[Glyph]:
    while line and line[-1].text == " ":
        line = line[:-1]
    return line


def _drawn(line: Sequence[Glyph], y: float, style: str | None) -> Iterator[str]:
    """Yield one element for each run of one author; spaces around a run are left out."""
    at, start = 0, 0
    while start < len(line):
        end = start
        while end < len(line) and line[end].author is line[start].author:
            end += 1
        run = list(line[start:end])
        text = "".join(glyph.text for glyph in run)
        indent = len(text) - len(text.lstrip(" "))
        kept = _trimmed(run[indent:])
        if kept:
            shown = "".join(glyph.text for glyph in kept)
            place = (shown, _MARGIN + (at + indent) * _CELL, y)
            if style is None:
                yield _by(run[0].author, *place, cells=_width(kept))
            else:
                yield _text(*place, style, cells=_width(kept))
        at, start = at + _width(run), end


def _by(author: Author, text: str, x: float, y: float, *, cells: int) -> str:
    """Return text of an author, with the colour behind it."""
    shown = _text(text, x, y, _STYLES[author], cells=cells)
    if author not in _BANDS:
        return shown
    band = (
        f'<rect x="{x - 2:.1f}" y="{y - _FONT:.1f}" width="{cells * _CELL + 4:.1f}" '
        f'height="{1.3 * _FONT:.1f}" rx="3" fill="{_BANDS[author]}"/>'
    )
    return f"{band}\n{shown}"


def _text(text: str, x: float, y: float, style: str, *, cells: int) -> str:
    # The length is fixed, so that runs meet whatever font the reader has.
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" textLength="{cells * _CELL:.1f}" '
        f'lengthAdjust="spacingAndGlyphs" xml:space="preserve" {style}>{escape(text)}</text>'
    )


def _legend(authors: Sequence[Author], y: float) -> str:
    parts, at = [], 0
    for author in authors:
        name = NAMES[author]
        parts.append(_by(author, name, _MARGIN + at * _CELL, y, cells=len(name)))
        at += len(name) + 3
    return "\n".join(parts)


def _divider(y: float) -> str:
    end = _MARGIN + COLUMNS * _CELL
    return f'<line x1="{_MARGIN:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{y:.1f}" stroke="#CCCCCC"/>'


def _framed(parts: Sequence[str], height: float, question: str) -> str:
    """Return the whole file, with a background of its own: it is readable on any page."""
    width = 2 * _MARGIN + COLUMNS * _CELL
    title = escape(_NOT_XML.sub("\ufffd", harmless(question)))
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.1f} {height:.1f}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{_FONTS}" '
        f'font-size="{_FONT:g}">',
        f"<title>{title}</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1:.1f}" height="{height - 1:.1f}" rx="8" '
        'fill="#FFFFFF" stroke="#CCCCCC"/>',
    ]
    return "\n".join([*head, *parts, "</svg>", ""])
