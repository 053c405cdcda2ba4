"""Journal of finished answers on disk, so that a killed run resumes where it stopped.

The first line holds the settings, each further line one answer. A partly written last line is cut
off.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from splitreason_integrations.backends.description import ModelDescription
from splitreason_integrations.backends.registry import public_name, resolve
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.answering import Outcome, outcome_from

NAME = "journal.jsonl"
REPORTS = ("report.json", "report.md", "report.html")
"""Files that a finished run writes next to the journal."""

Place = tuple[int, int]
"""(task number, sample number)."""


class Journal:
    """The answers of a run in a folder, which is created; only one run at a time may write there.

    Args:
        folder: Folder of the journal.
        settings: Settings of the run as plain data; a resumed run must have the same.

    Raises:
        RequestError: The folder holds a run with other settings, a damaged journal or a report of
            another run, is in use, or cannot be written.

    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path = folder / NAME
        self._found: dict[str, dict[Place, Outcome]] = {}
        if not self.path.exists() and any((folder / name).exists() for name in REPORTS):
            raise RequestError(
                f"{folder}: holds a report but no {NAME} to resume from: name another folder"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise RequestError(
                f"{folder}: cannot be written: {error.strerror}; name a folder of your own"
            ) from error
        try:
            self._lock()
            self._read(json.loads(json.dumps(settings)))
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def found(self, key: str) -> Mapping[Place, Outcome]:
        """Return the answers on disk for one configuration (see `configuration_key`)."""
        return self._found.setdefault(key, {})

    @property
    def spent_usd(self) -> float:
        """What all answers on disk cost."""
        outcomes = (one for found in self._found.values() for one in found.values())
        return sum(reply.cost_usd for outcome in outcomes for reply in outcome.replies)

    def add(self, key: str, place: Place, outcome: Outcome) -> None:
        """Write an answer to disk."""
        self._write({"way": key, "task": place[0], "sample": place[1], **outcome.data()})
        self._found.setdefault(key, {})[place] = outcome

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows has no such lock, so two runs are not kept apart there
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestError(
                f"{self.path.parent}: another run is writing there: wait for it, or name another "
                "--out"
            ) from error

    def _read(self, settings: Mapping[str, Any]) -> None:
        lines = list(self._whole_lines())
        if not lines:
            self._write({"settings": settings})
            return
        self._check(lines[0].get("settings"), settings)
        for number, line in enumerate(lines[1:], 2):
            try:
                place = line["task"], line["sample"]
                self._found.setdefault(line["way"], {})[place] = outcome_from(line)
            except (KeyError, TypeError, ValueError) as error:
                raise self._damaged(number) from error

    def _whole_lines(self) -> Iterator[Mapping[str, Any]]:
        """Yield the complete lines; truncate the file before an incomplete last line."""
        with self.path.open("rb") as file:
            begin, lines = 0, file.read().split(b"\n")
        for number, line in enumerate(lines, 1):
            last = number >= len(lines) - 1
            try:
                whole = json.loads(line) if number < len(lines) else None
            except ValueError as error:
                if not last:
                    raise self._damaged(number) from error
                whole = None
            if not isinstance(whole, dict):
                if not last:
                    raise self._damaged(number)
                os.ftruncate(self._descriptor, begin)
                return
            begin += len(line) + 1
            yield whole

    def _check(self, there: Any, settings: Mapping[str, Any]) -> None:
        if there == settings:
            return
        if not isinstance(there, Mapping):
            raise self._damaged(1)
        names = sorted(settings.keys() | there.keys())
        differ = [name for name in names if there.get(name) != settings.get(name)]
        differences = ", ".join(
            f"{name} {_short(there.get(name))} there, {_short(settings.get(name))} here"
            for name in differ
        )
        raise RequestError(
            f"{self.path.parent} holds a run with other settings ({differences}): give the same "
            "settings to resume it, or name another --out"
        )

    def _damaged(self, number: int) -> RequestError:
        return RequestError(
            f"{self.path}, line {number}: damaged: name another --out, or delete the file to start "
            "over"
        )

    def _write(self, data: Mapping[str, Any]) -> None:
        rest = memoryview(json.dumps(data).encode() + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise RequestError(
                f"{self.path}: cannot be written: {error.strerror}; make room, and run the same "
                "command again to resume"
            ) from error


def configuration_key(mode: str, engine: SplitEngine) -> str:
    """Return the journal key of a configuration: mode, trigger, close rule if any, and models.

    For models in local folders the key includes a hash of file sizes and modification times, so
    that changed weights under the same name are evaluated again.
    """
    small, large = (_model_key(engine.small, "small"), _model_key(engine.large, "large"))
    rules = str(engine.trigger) if engine.close is None else f"{engine.trigger}, {engine.close}"
    return f"{mode}, {rules}, {small}, {large}"


def _model_key(spec: Any, role: Any) -> str:
    if isinstance(spec, list | tuple):
        return "+".join(_model_key(one, role) for one in spec)
    described = resolve(spec, role=role) if isinstance(spec, str) else spec
    digest = described.fingerprint() if isinstance(described, ModelDescription) else None
    return public_name(spec) if digest is None else f"{public_name(spec)} {digest}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "…"
