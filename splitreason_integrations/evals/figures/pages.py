"""Marked places of pages: `<!-- figures: NAME -->` to `<!-- end of figures: NAME -->`."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.figures import (
    decision,
    engine,
    headline,
    pair,
    policies,
    untaught,
)
from splitreason_integrations.evals.figures.cells import read, transcribed

_PLACE = re.compile(
    r"^(?P<begin><!-- figures: (?P<name>[\w-]+) -->)$(?P<old>.*?)^(?P<end><!-- end of figures: "
    r"(?P=name) -->)$",
    re.DOTALL | re.MULTILINE,
)
_BEGIN = re.compile(r"^<!-- (end of )?figures: ", re.MULTILINE)
_LINES = 2


@dataclass(frozen=True)
class Figure:
    """A table of a page.

    Attributes:
        files: Names of the JSON files that it is made of, without `.json`.
        render: Makes the Markdown from their content, in that order.

    """

    files: tuple[str, ...]
    render: Callable[..., str]


FIGURES = {
    "pair": Figure(("pair",), pair.of_split("test")),
    "pair-operands": Figure(("pair",), pair.of_split("test-operands")),
    "pair-knob": Figure(("pair",), pair.knob),
    "policies": Figure(policies.FILES, policies.compared),
    "untaught": Figure(("untaught",), untaught.rules),
    "untaught-costs": Figure(("untaught",), untaught.costs),
    "speculation": Figure(("untaught",), untaught.speculation),
    "overhead": Figure(("overhead",), engine.overhead),
    "servers": Figure(("servers",), engine.servers),
    "servers-close": Figure(("servers-close",), engine.servers),
    "disagreement": Figure(("disagreement", "servers"), engine.disagreement),
    "gpu": Figure(("gpu",), transcribed),
    "grpo": Figure(("grpo",), transcribed),
    "grpo-price": Figure(("grpo-price",), transcribed),
    "headline": Figure(("untaught", "servers"), headline.headline),
    "decision": Figure(("demo",), decision.english),
    "decision-ja": Figure(("demo",), decision.japanese),
    "money": Figure(("untaught",), headline.money),
}
"""Every published table, by the name that pages use."""


def update_pages(pages: Iterable[Path], folder: Path, *, write: bool = True) -> list[Path]:
    """Fill the marked places of pages from the JSON files in a folder; return what changed.

    Args:
        pages: Markdown files; those without a marked place are left alone.
        folder: Where the JSON files are.
        write: Whether changed pages are written.

    Raises:
        RequestError: A place names no figure or has no end, or a JSON file is missing, is not
            JSON, or does not say how, where and when it was measured.

    """
    changed = []
    for page in pages:
        old = page.read_text("utf-8")
        new = _filled(page, old, folder)
        if new != old:
            changed.append(page)
            if write:
                page.write_text(new, "utf-8")
    return changed


def _filled(page: Path, text: str, folder: Path) -> str:
    if len(_BEGIN.findall(text)) != _LINES * len(_PLACE.findall(text)):
        raise RequestError(
            f"{page}: a marked place needs both lines, <!-- figures: NAME --> and "
            "<!-- end of figures: NAME -->"
        )

    def fill(place: re.Match[str]) -> str:
        return f"{place['begin']}\n\n{_made(page, place['name'], folder)}\n\n{place['end']}"

    return _PLACE.sub(fill, text)


def _made(page: Path, name: str, folder: Path) -> str:
    figure = FIGURES.get(name)
    if figure is None:
        raise RequestError(f"{page}: no figure is named {name!r}; there are {', '.join(FIGURES)}")
    return figure.render(*(read(folder / f"{file}.json") for file in figure.files))
