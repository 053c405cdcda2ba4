"""Draw an evaluation's figures as SVG that uses the colours of its page. Needs the extra `plot`.

Names come from users, so no text is parsed as mathematics and all of it is escaped.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from splitreason_integrations.evals.metrics import Metric
from splitreason_integrations.evals.results import Result
from splitreason_integrations.records.printable import harmless

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = 8
"""Number of series colours in the page's style: `--series-0`, `--series-1`, …"""

_INK, _SOFT, _LINE = "#010101", "#010102", "#010103"
_ROLES = {_INK: "var(--text)", _SOFT: "var(--soft)", _LINE: "var(--line)"}
_SERIES = [f"#0102{at:02x}" for at in range(SERIES)]
_COLOURS = {
    **_ROLES,
    **{colour: f"var(--series-{at})" for at, colour in enumerate(_SERIES)},
}
_MARKERS = {"small": "v", "large": "^", "split": "o", "random": "s", "entropy": "D", "rule": "P"}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_ID = re.compile(r'(\bid="|href="#|url\(#)')


def drawings(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return (title, SVG) pairs: accuracy against share, latency, and cost where there is any."""
    found = [
        ("Accuracy against offload share", _svg("share", results, _against_share)),
        ("Latency in seconds, median and 95th percentile", _svg("latency", results, _latency)),
    ]
    if any(result.measured[Metric.USD].value for result in results):
        found.append(("USD per 1,000 answers", _svg("cost", results, _cost)))
    return found


def trade_off(results: Sequence[Result], *, score: str) -> str:
    """Return the SVG of a score, such as accuracy or agreement, against the offload share."""

    def draw(panel: Axes, results: Sequence[Result]) -> None:
        _against_share(panel, results)
        panel.set_ylabel(score, color=_SOFT)

    return _svg("trade", results, draw)


def _svg(
    name: str, results: Sequence[Result], draw: Callable[[Axes, Sequence[Result]], None]
) -> str:
    """Return one SVG; its element ids start with `name`, so that one page can hold several."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": 10,
    }
    buffer = io.StringIO()
    with mpl.rc_context(settings), warnings.catch_warnings():
        # matplotlib's font may lack glyphs of the names; the browser's fonts draw them.
        warnings.simplefilter("ignore", UserWarning)
        picture = Figure(figsize=(7.2, 1.8 + 0.34 * len(results)), layout="constrained")
        panel = picture.subplots()
        draw(panel, results)
        _style(picture, panel)
        picture.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = buffer.getvalue()
    svg = _ID.sub(rf"\g<1>{name}-", svg[svg.index("<svg") :])
    for colour, variable in _COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg


def _against_share(panel: Axes, results: Sequence[Result]) -> None:
    for at, result in enumerate(results):
        share, (low, high) = result.measured[Metric.SHARE], result.interval
        panel.errorbar(
            [share.value],
            [result.accuracy],
            xerr=[[share.value - share.low], [share.high - share.value]],
            yerr=[[max(0.0, result.accuracy - low)], [max(0.0, high - result.accuracy)]],
            fmt=_MARKERS.get(result.mode, "X"),
            markersize=6,
            linewidth=1.4,
            color=_SERIES[at % SERIES],
            label=harmless(result.name),
        )
    panel.set_xlabel("offload share", color=_SOFT)
    panel.set_ylabel("accuracy", color=_SOFT)
    panel.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    panel.grid(color=_LINE, linewidth=0.8)
    panel.legend(
        frameon=False, labelcolor=_INK, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9
    )


def _latency(panel: Axes, results: Sequence[Result]) -> None:
    for at, result in enumerate(results):
        found = result.measured
        p50, p95 = found[Metric.LATENCY_P50].value, found[Metric.LATENCY_P95].value
        colour = _SERIES[at % SERIES]
        panel.plot([p50, p95], [at, at], color=colour, linewidth=2.5)
        panel.plot([p50], [at], color=colour, marker="o", markersize=7)
        panel.plot([p95], [at], color=colour, marker="|", markersize=11, markeredgewidth=2.5)
        if found != result.planned:
            planned = result.planned[Metric.LATENCY_P50].value
            panel.plot([planned], [at], color=colour, marker="o", markersize=7, fillstyle="none")
    _by_name(panel, results)


def _cost(panel: Axes, results: Sequence[Result]) -> None:
    for at, result in enumerate(results):
        usd = result.measured[Metric.USD]
        panel.barh([at], [usd.value], height=0.55, color=_SERIES[at % SERIES])
        panel.plot([usd.low, usd.high], [at, at], color=_INK, linewidth=1.4)
    _by_name(panel, results)


def _by_name(panel: Axes, results: Sequence[Result]) -> None:
    panel.set_yticks(range(len(results)), [harmless(result.name) for result in results])
    panel.set_xlim(left=0)
    panel.invert_yaxis()
    panel.grid(axis="x", color=_LINE, linewidth=0.8)


def _style(picture: Figure, panel: Axes) -> None:
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=9, colors=_SOFT, labelcolor=_INK, length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(_LINE)
