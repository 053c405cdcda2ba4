"""Tables in a terminal: nothing is cut off where they do not fit."""

import re
from collections.abc import Iterator, Sequence
from html import unescape
from itertools import groupby

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from splitreason_integrations.cli.wrapping import print_lines
from splitreason_integrations.humans.screen import Screen
from splitreason_integrations.records.printable import harmless

_CODE = re.compile(r"`|</?code>")
UNKNOWN = "–"
"""What a table shows for a figure that nobody gave or measured."""
NO_PRICES = f"{UNKNOWN} is a cost without prices: give --large-input-usd and --large-output-usd"
_FOLDED = 20
"""Least width of a column whose words may be folded."""


def print_table(console: Console, table: Table) -> None:
    """Print a table.

    Long words are folded. Where columns that are not to be wrapped do not fit, a terminal gets
    each row as lines of heading and value, and a file the table in its whole width.
    """
    for column in table.columns:
        # Before widths are measured: a character that is written out is wider.
        column._cells[:] = map(_shown, column.cells)
        if not column.no_wrap:
            column.overflow = "fold"
    needed = _least_width(console, table)
    if needed <= console.width:
        console.print(table, markup=False)
    elif console.is_terminal:
        console.print(Text("\n").join(_lines(table)), soft_wrap=True)
    else:
        Screen(file=console.file, width=needed, highlight=False).print(table, markup=False)


def known(amounts: Sequence[float], form: str) -> list[str]:
    """Return amounts as text, dashes where all are 0: no price or speed was given for them."""
    return [format(one, form) if any(amounts) else UNKNOWN for one in amounts]


def print_markdown(console: Console, text: str) -> None:
    """Print a text with tables in Markdown, as it is for a file and in columns at a terminal."""
    if not console.is_terminal:
        console.print(Text(text), soft_wrap=True)
        return
    for is_table, lines in groupby(text.splitlines(), key=lambda line: line.startswith("|")):
        if is_table:
            print_table(console, _from_markdown(list(lines)))
        else:
            print_lines(console, "\n".join(lines))


def _from_markdown(lines: Sequence[str]) -> Table:
    headings, _, *rows = ([*map(_cell, line.strip("| ").split(" | "))] for line in lines)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _cell(text: str) -> str:
    return unescape(_CODE.sub("", text)).strip()


def _least_width(console: Console, table: Table) -> int:
    options = console.options.update(max_width=10_000, markup=False)
    widths = [
        max((_width(console, options, column, cell) for cell in _cells(column)), default=0)
        for column in table.columns
    ]
    edges = 2 * len(widths) if table.box is None else 3 * len(widths) + 1
    return sum(widths) + edges


def _width(console: Console, options: object, column: Column, cell: object) -> int:
    measured = Measurement.get(console, options, cell)  # type: ignore[arg-type]
    return measured.maximum if column.no_wrap else min(measured.minimum, _FOLDED)


def _cells(column: Column) -> list[object]:
    return [column.header, *column.cells]


def _lines(table: Table) -> Iterator[Text]:
    """Yield the lines of each row, and an empty one between two rows."""
    headings = [_text(column.header) for column in table.columns]
    wide = max(heading.cell_len for heading in headings)
    for number, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if number:
            yield Text()
        for heading, cell in zip(headings, row, strict=True):
            value = _text(cell)
            if value:
                name = Text(heading.plain.ljust(wide), "bold")
                yield Text.assemble(name, "  " if wide else "", value)


def _shown(cell: object) -> Text:
    """Return a cell whose text does nothing."""
    text = _text(cell)
    written = harmless(text.plain)
    return text if written == text.plain else Text(written, text.style)


def _text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text(str(cell))
