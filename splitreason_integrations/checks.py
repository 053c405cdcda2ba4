"""Checks of settings: every error names the setting, what it may be and what it was."""

import math
import sys
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from numbers import Integral, Real
from typing import Any

from splitreason_integrations.errors import MissingExtraError, SettingError


def check_extra(extra: str, module: str, *, what: str) -> None:
    """Check that a module of one of the package's extras is installed, without importing it.

    Args:
        extra: the extra that installs it.
        module: its top-level name.
        what: the part of the package that needs it, as the error's first words.

    Raises:
        MissingExtraError: with the command that installs the extra.

    """
    if find_spec(module) is None:
        raise MissingExtraError(
            f"{what} needs {module}: pip install 'splitreason-integrations[{extra}]'"
        )


def check_names(given: Iterable[str], known: Collection[str], *, what: str) -> None:
    """Raise SettingError for a name that is not known, with the one it resembles."""
    for name in given:
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
            raise SettingError(f"unknown {what} {name!r}; {hint}", (name,))


def check_number(
    name: str, value: Any, *, least: float = 0, most: float = math.inf, whole: bool = False
) -> None:
    """Raise SettingError unless `value` is a finite number in [`least`, `most`]."""
    kind: Any = Integral if whole else Real
    if isinstance(value, bool) or not isinstance(value, kind):
        example = next(f"{bound:g}" for bound in (most, least, 1) if math.isfinite(bound))
        asked = "a whole number" if whole else "a number"
        raise SettingError(
            f"{name} must be {asked} such as {example}, without quotes, got {value!r}", (name,)
        )
    if not least <= value <= most or value > sys.float_info.max:
        span = f"be {least:g} or more" if most == math.inf else f"lie in [{least:g}, {most:g}]"
        raise SettingError(f"{name} must {span}, got {value}", (name,))


def check_positive(name: str, value: Any) -> None:
    """Raise SettingError unless `value` is a finite number above 0."""
    check_number(name, value)
    if value == 0:
        raise SettingError(f"{name} must be above 0, got 0", (name,))


def check_text(name: str, value: object) -> None:
    """Raise SettingError unless `value` is text."""
    if not isinstance(value, str):
        raise SettingError(f"{name} must be text in quotes, got {value!r}", (name,))


def check_flag(name: str, value: object) -> None:
    """Raise SettingError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise SettingError(f"{name} must be true or false, without quotes, got {value!r}", (name,))


def check_texts(name: str, value: object) -> None:
    """Raise SettingError unless `value` maps texts to texts."""
    if not isinstance(value, Mapping):
        raise SettingError(
            f'{name} must name values, as in {{ tenant = "acme" }}, got {value!r}', (name,)
        )
    with below(name):
        for key, text in value.items():
            check_text(key, text)


@contextmanager
def below(*place: Any) -> Generator[None, None, None]:
    """Prefix the path of a SettingError that is raised in this block with `place`."""
    try:
        yield
    except SettingError as error:
        raise SettingError(str(error), (*place, *error.path)) from error
