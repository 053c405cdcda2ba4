"""Every published plot: what it shows, of which JSON files it is made, and how it is drawn."""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from splitreason_integrations.evals.figures.canvas import (
    WIDTH,
    Interval,
    Point,
    Series,
    legend,
    level,
    per_cent,
    rows,
    scatter,
    style,
    svg,
)
from splitreason_integrations.evals.figures.cells import Found, read
from splitreason_integrations.evals.plot import check_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MATCHED = ("entropy", "confidence", "step-entropy", "random")
_TAUGHT = ("small", "tag")
_PRICED = (
    *(("base", "disagreement<0.1", "agrees"), ("base", "disagreement<0.1", "agrees:2")),
    *(("small", "tag", "tag>0.5"), ("small", "(tag | disagreement<0.1)", "tag>0.5")),
)
_LABEL_COLUMNS = 21


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot that pages show as an image.

    Attributes:
        files: Names of the JSON files that it is made of, without `.json`.
        title: What it shows.
        height: Inches.
        draw: Draws it from their content, in that order.

    """

    files: tuple[str, ...]
    title: str
    height: float
    draw: Callable[..., None]


def update_plots(folder: Path, *, write: bool = True) -> list[Path]:
    """Draw each plot whose JSON files are in a folder, beside them; return what changed.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RequestError: A JSON file is no JSON, or does not say how it was measured.

    """
    check_matplotlib()
    changed = []
    for name, plot in PLOTS.items():
        files = [folder / f"{file}.json" for file in plot.files]
        if not all(file.exists() for file in files):
            continue
        path, drawn = folder / f"{name}.svg", drawing(name, files)
        if not path.exists() or path.read_text("utf-8") != drawn:
            changed.append(path)
            if write:
                path.write_text(drawn, "utf-8")
    return changed


def drawing(name: str, files: Sequence[Path]) -> str:
    """Return a plot as SVG, made of these JSON files."""
    plot, found = PLOTS[name], [read(file) for file in files]
    parts = [made_of(file, data) for file, data in zip(files, found, strict=True)]
    return svg(
        name, plot.title, "; ".join(parts), plot.height, lambda picture: plot.draw(picture, *found)
    )


def made_of(file: Path, found: Found) -> str:
    """Return a file's name, date and SHA-256, as a plot names its data."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return f"{file.name} of {found['date']}, SHA-256 {digest}"


def trade_off(untaught: Found) -> list[Series]:
    """Return accuracy against large share, a series for each trigger."""
    taught = (row for row in untaught["rows"] if (row["small"], row["trigger"]) == _TAUGHT)
    agreeing = {
        row["trigger"]: row
        for row in untaught["rows"]
        if row["trigger"].startswith("disagreement") and row["close"] == "agrees"
    }
    found = [
        Series("taught: tag", tuple(map(_place, taught))),
        Series("untaught: disagreement", tuple(map(_place, agreeing.values())), joined=True),
    ]
    for name in _MATCHED:
        matched = (row for row in untaught["rows"] if re.match(rf"{name}[<>:]", row["trigger"]))
        found.append(Series(f"untaught: {name}", tuple(map(_place, matched))))
    return found


def alone(untaught: Found) -> dict[str, tuple[float, Interval]]:
    """Return the accuracy of each model alone, with its interval."""
    named = {"always": "large alone", "never": "small alone"}
    return {
        named[row["trigger"]]: (row["accuracy"], _interval(row["interval"]))
        for row in untaught["rows"]
        if row["trigger"] in named
    }


def knob(pair: Found, what: str) -> Series:
    """Return a figure of the taught pair, `accuracy` or `offload_share`, by threshold."""
    key = {"accuracy": "interval", "offload_share": "share_interval"}[what]
    return Series(
        what,
        tuple(
            Point(number, row[what], y_interval=_interval(row[key]))
            for number, row in enumerate(pair["curve"])
        ),
        joined=True,
    )


def costs(untaught: Found) -> tuple[list[str], list[Series]]:
    """Return the rules that are compared, and their cost by input price, large alone being 1."""
    # The first row of a rule is of all problems, as the large model alone is.
    ordered = reversed(untaught["rows"])
    found = {(row["small"], row["trigger"], row["close"]): row for row in ordered}
    base = next(row for row in untaught["rows"] if row["trigger"] == "always")
    series = [
        Series(
            f"input at {float(price):.0%} of output",
            tuple(
                Point(found[rule]["cost_by_input_price"][price] / whole, number)
                for number, rule in enumerate(_PRICED)
            ),
        )
        for price, whole in base["cost_by_input_price"].items()
    ]
    return [_label(", ".join(rule)) for rule in _PRICED], series


def passes(untaught: Found) -> tuple[list[str], list[Series]]:
    """Return who writes, and the large model's passes an answer, a series for each engine."""
    measured = untaught["speculation"]["rows"]
    by_engine: dict[str, list[Point]] = {}
    for number, row in enumerate(measured):
        by_engine.setdefault(row["engine"], []).append(Point(row["large_passes"], number))
    names = [_label(row["method"]) for row in measured]
    return names, [Series(engine, tuple(points)) for engine, points in by_engine.items()]


def prices(grpo: Found) -> list[Series]:
    """Return accuracy against large share after rollouts at several prices."""
    return [
        Series(
            row[0],
            (Point(_part(row[3]), _part(row[1]), _ends(row[4]), _ends(row[2])),),
        )
        for row in grpo["rows"]
    ]


def _draw_trade_off(picture: Figure, untaught: Found) -> None:
    panel = _panel(picture, left=0.78, bottom=1.4)
    for name, (value, interval) in alone(untaught).items():
        level(panel, name, value, interval)
    scatter(panel, trade_off(untaught))
    panel.set_ylim(0, 1.08)
    panel.set_xlim(left=0)
    _in_per_cent(panel)
    style(panel, x="large share (tokens of the large model ÷ all)", y="accuracy")
    legend(picture, panel, columns=2)


def _draw_knob(picture: Figure, pair: Found) -> None:
    shown = {"accuracy": "accuracy", "offload_share": "large share"}
    for at, (what, label) in enumerate(shown.items()):
        panel = _panel(picture, left=0.78, bottom=0.65 + (1 - at) * 2.3, height=1.9)
        scatter(panel, [knob(pair, what)])
        panel.set_ylim(bottom=0)
        panel.set_xlim(-0.4, len(pair["curve"]) - 0.6)
        panel.set_xticks(range(len(pair["curve"])), [row["trigger"] for row in pair["curve"]])
        panel.yaxis.set_major_formatter(per_cent)
        style(panel, x="trigger" if at else "", y=label)


def _draw_costs(picture: Figure, untaught: Found) -> None:
    names, series = costs(untaught)
    panel = _panel(picture, left=1.85, bottom=1.1)
    rows(panel, names, series)
    panel.set_xlim(right=1.08)
    panel.axvline(1.0, color="#4D4D4D", linewidth=1.2, linestyle="--")
    style(panel, x="cost of the large model (alone = 1)")
    legend(picture, panel, columns=2)


def _draw_passes(picture: Figure, untaught: Found) -> None:
    names, series = passes(untaught)
    panel = _panel(picture, left=1.85, bottom=0.95)
    rows(panel, names, series)
    style(panel, x="large model's passes an answer")
    legend(picture, panel, columns=3)


def _draw_prices(picture: Figure, grpo: Found) -> None:
    panel = _panel(picture, left=0.78, bottom=1.7)
    scatter(panel, prices(grpo))
    _in_per_cent(panel)
    style(panel, x="large share (tokens of the large model ÷ all)", y="accuracy")
    legend(picture, panel, columns=1)


PLOTS: Mapping[str, Plot] = {
    "trade-off": Plot(
        ("untaught",),
        "Accuracy of the bundled models against the share of tokens that the large one writes",
        5.0,
        _draw_trade_off,
    ),
    "knob": Plot(
        ("pair",), "Accuracy and large share of the bundled pair by threshold", 5.0, _draw_knob
    ),
    "costs": Plot(
        ("untaught",),
        "Cost of the large model, alone = 1, by what its input costs",
        3.6,
        _draw_costs,
    ),
    "speculation": Plot(
        ("untaught",),
        "Forward passes of the large model an answer, offloading and speculative decoding",
        5.0,
        _draw_passes,
    ),
    "grpo-price": Plot(
        ("grpo-price",),
        "Accuracy against large share after rollouts at several prices of large tokens",
        4.8,
        _draw_prices,
    ),
}
"""Every published plot, by the name of its file in docs/figures."""


def _panel(picture: Figure, *, left: float, bottom: float, height: float | None = None) -> Axes:
    """Return axes at a place in inches; up to the top if no height is given."""
    whole = picture.get_figheight()
    up = height or whole - bottom - 0.2
    return picture.add_axes(
        (left / WIDTH, bottom / whole, (WIDTH - left - 0.2) / WIDTH, up / whole)
    )


def _in_per_cent(panel: Axes) -> None:
    panel.locator_params(axis="x", nbins=5)
    panel.xaxis.set_major_formatter(per_cent)
    panel.yaxis.set_major_formatter(per_cent)


def _place(row: Found) -> Point:
    return Point(
        row["offload_share"],
        row["accuracy"],
        _interval(row["share_interval"]),
        _interval(row["interval"]),
    )


def _interval(ends: Sequence[float]) -> Interval:
    low, high = ends
    return low, high


def _part(text: str) -> float:
    """Return a part of one from text such as "85.4 %"."""
    return float(text.removesuffix("%")) / 100


def _ends(text: str) -> Interval:
    """Return an interval from text such as "83.7 to 86.8 %"."""
    low, high = (_part(end) for end in text.removesuffix("%").split(" to "))
    return low, high


def _label(text: str) -> str:
    shown = re.sub("[`()]", "", text)
    return "\n".join(textwrap.wrap(shown, _LABEL_COLUMNS, break_on_hyphens=False))
