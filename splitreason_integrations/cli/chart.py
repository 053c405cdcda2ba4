"""Draw a text chart of a figure and its interval against the threshold.

The axis of a probability is in log-odds, so that 0.9, 0.99 and 0.999 are equally far apart; that of
an entropy is logarithmic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from splitreason_integrations.evals.scalars import PROBABILITIES, Scale

_WIDTH, _HEIGHT = 56, 11
_NARROWEST = 16
_LEFT = 9
_FRAME = _LEFT + 2
_CHOSEN_STYLE, _BOUND_STYLE = "bold magenta", "yellow"


@dataclass(frozen=True)
class Mark:
    """One measured threshold.

    Attributes:
        threshold: The threshold.
        value: Point estimate of the figure.
        low: Lower end of its interval.
        high: Upper end of its interval.
        chosen: Whether this threshold was chosen.

    """

    threshold: float
    value: float
    low: float
    high: float
    chosen: bool = False


def chart(
    marks: Sequence[Mark],
    *,
    bound: float,
    title: str,
    formatted: Callable[[float], str],
    scale: Scale = PROBABILITIES,
    width: int = _FRAME + _WIDTH,
) -> Text:
    """Return the chart, at most `width` characters wide where that leaves it room.

    `formatted` formats a value, and a line is drawn at `bound`.
    """
    across = max(_NARROWEST, min(_WIDTH, width - _FRAME))
    top = max(bound, *(mark.high for mark in marks)) * 1.05
    cells = [[(" ", "")] * across for _ in range(_HEIGHT)]
    for column in range(across):
        cells[_row(bound, top)][column] = ("┄", _BOUND_STYLE)
    left, right = _ends(marks, scale)
    for mark in sorted(marks, key=lambda mark: mark.chosen):
        column = _column(scale.place(mark.threshold), left, right, across)
        style = _CHOSEN_STYLE if mark.chosen else ""
        for row in range(_row(mark.high, top), _row(mark.low, top) + 1):
            cells[row][column] = ("│", style or "dim")
        cells[_row(mark.value, top)][column] = ("●" if mark.chosen else "○", style)
    text = Text(f"{'':{_LEFT}}  {title}\n")
    labels = {_row(value, top): formatted(value) for value in (0.0, top / 1.05, bound)}
    for at, line in enumerate(cells):
        text.append(f"{labels.get(at, ''):>{_LEFT}} │")
        for character, style in line:
            text.append(character, style=style)
        text.append("\n")
    return text.append(_axis(left, right, scale, across))


def _axis(left: float, right: float, scale: Scale, across: int) -> str:
    rule, names = ["─"] * across, [" "] * across
    for tick in scale.ticks:
        if not left <= scale.place(tick) <= right:
            continue
        column = _column(scale.place(tick), left, right, across)
        name = f"{tick:g}"
        start = min(max(0, column - len(name) // 2), across - len(name))
        if set(names[max(0, start - 1) : start + len(name) + 1]) == {" "}:
            rule[column] = "┬"
            names[start : start + len(name)] = name
    return f"{'':{_LEFT}} └{''.join(rule)}\n{'':{_LEFT}}  {''.join(names).rstrip()}\n"


def _ends(marks: Sequence[Mark], scale: Scale) -> tuple[float, float]:
    places = [scale.place(mark.threshold) for mark in marks]
    return min(places) - 0.5, max(places) + 0.5


def _column(place: float, left: float, right: float, across: int) -> int:
    return round((across - 1) * (place - left) / (right - left))


def _row(value: float, top: float) -> int:
    return round((_HEIGHT - 1) * (1 - value / top))
