"""Sources of traces: JSON lines or a dataset, read one row at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from splitreason_integrations.annotation.rows import Row, read_row
from splitreason_integrations.backends import hub
from splitreason_integrations.errors import ConfigurationError, MissingExtraError, RequestError

PREFIX = "datasets:"
_MAX_LINE = 64 * 1024 * 1024
_FIELDS = ("question", "messages", "trace", "reasoning", "answer", "snippets", "gold_spans", "id")


class Source(Protocol):
    """Rows in a fixed order."""

    @property
    def total(self) -> int | None:
        """Number of rows, where known."""
        ...

    def rows(self, start: int) -> Iterator[Row]:
        """Yield the rows from row `start` on, counted from 0."""
        ...


@dataclass
class JsonLines:
    """A file with one JSON object per line; empty lines are skipped.

    Attributes:
        path: The file.
        columns: Maps field names to the file's own.
        total: Number of rows, after `check`.

    """

    path: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    total: int | None = None

    def check(self) -> None:
        """Validate the whole file.

        Raises:
            RequestError: A line is not valid; the message names it.

        """
        self.total = sum(1 for _ in self.rows(0))
        if not self.total:
            raise RequestError(f"{self.path}: holds no traces")

    def rows(self, start: int) -> Iterator[Row]:
        """Yield the rows from row `start` on."""
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                yield from islice(self._rows(file, start), start, None)
        except OSError as error:
            raise RequestError(f"{self.path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise RequestError(
                f"{self.path}: is not UTF-8 text: {error}; save it as UTF-8"
            ) from error

    def _rows(self, file: Any, start: int) -> Iterator[Row]:
        number, line_number = 0, 0
        while line := file.readline(_MAX_LINE):
            line_number += 1
            place = f"{self.path}, line {line_number}"
            if len(line) == _MAX_LINE:
                raise RequestError(f"{place}: has more than {_MAX_LINE} characters")
            if not line.strip():
                continue
            yield _skipped(number) if number < start else self._row(line, number, place)
            number += 1

    def _row(self, line: str, number: int, place: str) -> Row:
        try:
            data = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{place}: not JSON: {error}") from error
        return read_row(data, number, place, self.columns)


@dataclass
class Dataset:
    """A dataset on the hub or in a local folder (files, or `save_to_disk`), streamed.

    Attributes:
        name: Name on the hub, or folder.
        split: Split to read.
        columns: Maps field names to the dataset's own.
        total: Always None: the number of rows is unknown.

    """

    name: str
    split: str = "train"
    columns: Mapping[str, str] = field(default_factory=dict)
    total: int | None = None

    def check(self) -> None:
        """Validate the first row.

        Raises:
            ConfigurationError: The dataset cannot be loaded.
            RequestError: It is empty, or its first row is not valid.

        """
        if next(self.rows(0), None) is None:
            raise RequestError(f"{PREFIX}{self.name}:{self.split}: holds no traces")

    def rows(self, start: int) -> Iterator[Row]:
        """Yield the rows from row `start` on."""
        for number, data in enumerate(self._records(start), start):
            place = f"{PREFIX}{self.name}:{self.split}, row {number + 1}"
            yield read_row(data, number, place, self.columns)

    def _records(self, start: int) -> Iterable[Any]:
        import datasets

        here = Path(self.name)
        try:
            if here.is_dir() and any((here / name).exists() for name in _SAVED):
                saved = datasets.load_from_disk(self.name)
                chosen = saved[self.split] if isinstance(saved, datasets.DatasetDict) else saved
                records: Iterable[Any] = chosen.skip(start) if start < len(chosen) else ()
                return records
            if not here.exists() and not hub.answers():
                raise OSError("the hub does not answer, or HF_HUB_OFFLINE is set")
            streamed = datasets.load_dataset(self.name, split=self.split, streaming=True)
            records = streamed.skip(start)
        except KeyError as error:
            raise ConfigurationError(
                f"{self.name} has no split {self.split!r}; it has {', '.join(saved)}"
            ) from error
        except (OSError, ValueError) as error:
            raise ConfigurationError(_unreachable(self.name, here.is_dir(), error)) from error
        return records


_SAVED = ("dataset_dict.json", "dataset_info.json")


def open_source(spec: str, columns: Mapping[str, str]) -> JsonLines | Dataset:
    """Return the source that `<file>` or `datasets:<name or folder>[:split]` names, validated.

    Raises:
        RequestError: A row or field name is not valid.
        ConfigurationError: The dataset cannot be loaded.
        MissingExtraError: `datasets` is not installed.

    """
    if unknown := [name for name in columns if name not in _FIELDS]:
        raise RequestError(f"unknown field {unknown[0]!r}: use one of {', '.join(_FIELDS)}")
    source = _dataset(spec, columns) if spec.startswith(PREFIX) else JsonLines(Path(spec), columns)
    source.check()
    return source


def _dataset(spec: str, columns: Mapping[str, str]) -> Dataset:
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            'datasets need the extra train: pip install "splitreason-integrations[train]"'
        ) from error
    name = spec.removeprefix(PREFIX)
    if not Path(name).exists() and ":" in name:
        name, _, split = name.rpartition(":")
        return Dataset(name, split or "train", columns)
    if not name:
        raise RequestError(f"{spec}: name a dataset, as in datasets:owner/name or datasets:folder")
    return Dataset(name, columns=columns)


def _unreachable(name: str, is_folder: bool, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    if is_folder:
        return f"{name}: no dataset can be read from this folder: {reason}"
    return (
        f"the dataset {name} cannot be loaded from the hub: {reason}; without a hub, copy it from "
        "a machine that has one, as JSON lines or with save_to_disk('folder'), and name the "
        f"file, or {PREFIX}folder"
    )


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not valid JSON")


def _skipped(number: int) -> Row:
    return Row(number, {}, "", ())
