"""TOML as text: the line of each key, and plain data as a document.

`tomllib` reads values without their lines, which errors have to name.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

KeyPath = tuple[str | int, ...]
"""Path to a value: names of tables and keys, and indices of list entries, from 0."""

_PLACE = re.compile(r" \(at line (\d+), column \d+\)$")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def syntax_error(text: str, error: tomllib.TOMLDecodeError) -> tuple[int, str]:
    """Return the line, from 1, and what is wrong there."""
    said = str(error)
    place = _PLACE.search(said)
    if place is None:
        return text.count("\n") + 1, said.removesuffix(" (at end of document)")
    return int(place[1]), said[: place.start()]


def line_of(text: str, path: KeyPath) -> int:
    """Return the line, from 1, of a key in a valid document, or of the closest table around it."""
    lines = _lines(text)
    while path not in lines and path:
        path = path[:-1]
    return lines.get(path, 1)


def write_toml(data: Mapping[str, Any]) -> str:
    """Return a document: plain keys first, then a table for each mapping in `data`."""
    plain, tables = [], []
    for key, value in data.items():
        if isinstance(value, Mapping):
            tables.append(_table(f"[{_key(key)}]", value))
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            tables += [_table(f"[[{_key(key)}]]", one) for one in value]
        else:
            plain.append(f"{_key(key)} = {_inline(value)}\n")
    return "\n".join(["".join(plain), *tables]).lstrip()


def _table(head: str, data: Mapping[str, Any]) -> str:
    return "".join([f"{head}\n", *(f"{_key(key)} = {_inline(data[key])}\n" for key in data)])


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_inline(one)}" for key, one in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_inline(one) for one in value)}]"
    if isinstance(value, str):
        # A JSON string is a TOML string, except for one control character that JSON leaves.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(int(value) if isinstance(value, int) else float(value))


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _inline(name)


def _lines(text: str) -> dict[KeyPath, int]:
    """Return the first line of every key and table."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, statement, parsed in _statements(text):
        if statement.startswith("["):
            table = _entered(parsed, counts, repeats=statement.startswith("[["))
            lines.setdefault(table, number)
        else:
            for path in _paths(parsed):
                lines.setdefault((*table, *path), number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each statement of a valid document: its first line, its text and its data."""
    begun: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        begun.append(line)
        try:
            parsed = tomllib.loads("\n".join(begun))
        except tomllib.TOMLDecodeError:
            continue  # a list or a text that continues on the next line
        if parsed:
            yield number - len(begun) + 1, begun[0].strip(), parsed
        begun = []


def _entered(header: Any, counts: dict[KeyPath, int], *, repeats: bool) -> KeyPath:
    """Return the path of the table that a header opens; count the entries of lists of tables."""
    names = []
    while header and header != [{}]:
        name, header = next(iter(header.items()))
        names.append(name)
    path: KeyPath = ()
    for at, name in enumerate(names, 1):
        path = (*path, name)
        if repeats and at == len(names):
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _paths(data: Any) -> Iterator[KeyPath]:
    entries = enumerate(data) if isinstance(data, list) else data.items()
    for key, value in entries:
        yield (key,)
        if isinstance(value, dict | list):
            yield from ((key, *rest) for rest in _paths(value))
