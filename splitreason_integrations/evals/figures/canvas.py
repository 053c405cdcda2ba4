"""Plots of published figures as SVG: the same bytes for the same data. Needs the extra `plot`.

Each has a background of its own, so that it is readable on white and on dark pages, colours that
colour-blind readers tell apart, and another mark for every series.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.0
"""Inches; narrow, so that letters are still readable where a page is 390 pixels wide."""

_INK, _SOFT, _LINE = "#1A1A1A", "#4D4D4D", "#DDDDDD"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000", "#56B4E9")
"""The palette of Okabe and Ito, without its yellow, which is too light for lines."""

_MARKS = ("o", "s", "^", "D", "v", "P", "X")
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 11,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """A measured value, with intervals where they were measured.

    Attributes:
        x: Place on the horizontal axis.
        y: Place on the vertical axis.
        x_interval: 95 % interval of x, if any.
        y_interval: 95 % interval of y, if any.

    """

    x: float
    y: float
    x_interval: Interval | None = None
    y_interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together.

    Attributes:
        name: Its name in the legend.
        points: The points, in order.
        joined: Whether a line joins them.

    """

    name: str
    points: tuple[Point, ...]
    joined: bool = False


def svg(name: str, title: str, made_of: str, height: float, draw: Callable[[Figure], None]) -> str:
    """Return a plot.

    Args:
        name: Name of the plot; element ids depend on it.
        title: What the plot shows, for readers who do not see it.
        made_of: The data that it was made from.
        height: Inches.
        draw: Draws it.

    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    buffer = io.StringIO()
    with mpl.rc_context(settings):
        picture = Figure(figsize=(WIDTH, height), facecolor="white", edgecolor="#CCCCCC")
        draw(picture)
        picture.savefig(buffer, format="svg", metadata=_NO_METADATA)
    # The lines before the root element name a host.
    drawn = buffer.getvalue()
    root, rest = drawn[drawn.index("<svg") :].split(">", 1)
    words = f"<title>{escape(title)}</title>\n <desc>{escape(made_of)}</desc>"
    lines = f'{root} role="img">\n {words}{rest}'.splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def scatter(panel: Axes, series: Sequence[Series]) -> None:
    """Draw series with their intervals."""
    for number, one in enumerate(series):
        panel.errorbar(
            [point.x for point in one.points],
            [point.y for point in one.points],
            xerr=_bars([(point.x, point.x_interval) for point in one.points]),
            yerr=_bars([(point.y, point.y_interval) for point in one.points]),
            label=one.name,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKS[number % len(_MARKS)],
            markersize=6,
            linestyle="-" if one.joined else "none",
            linewidth=1.4,
            elinewidth=1.2,
            capsize=2.5,
        )


def level(panel: Axes, text: str, value: float, interval: Interval) -> None:
    """Draw a horizontal line with the band of its interval, and its name above it."""
    panel.axhspan(*interval, color=_LINE, alpha=0.6, linewidth=0)
    panel.axhline(value, color=_SOFT, linewidth=1.2, linestyle="--")
    panel.annotate(
        text,
        (0.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(4, 4),
        textcoords="offset points",
        color=_SOFT,
        fontsize=10,
    )


def rows(panel: Axes, names: Sequence[str], series: Sequence[Series]) -> None:
    """Draw series over named rows, the first on top; a point's y is the row's number."""
    scatter(panel, series)
    panel.set_yticks(range(len(names)), list(names))
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_xlim(left=0)


def style(panel: Axes, *, x: str, y: str = "") -> None:
    """Label the axes, draw the grid, and leave out the frame."""
    panel.set_xlabel(x, color=_INK)
    panel.set_ylabel(y, color=_INK)
    panel.grid(color=_LINE, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=10, colors=_SOFT, labelcolor=_INK, length=0, pad=6)
    for side in panel.spines.values():
        side.set_visible(False)


def per_cent(value: float, _: object = None) -> str:
    """Return a part of one in per cent, for an axis."""
    return f"{100 * value:.3g} %"


def legend(picture: Figure, panel: Axes, *, columns: int) -> None:
    """Put the legend below the plot."""
    picture.legend(
        *panel.get_legend_handles_labels(),
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=_INK,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def _bars(values: Sequence[tuple[float, Interval | None]]) -> list[list[float]] | None:
    """Return lengths below and above each value; None where nothing has an interval."""
    if all(interval is None for _, interval in values):
        return None
    ends = [interval or (value, value) for value, interval in values]
    return [
        [max(0.0, value - low) for (value, _), (low, _) in zip(values, ends, strict=True)],
        [max(0.0, high - value) for (value, _), (_, high) in zip(values, ends, strict=True)],
    ]
