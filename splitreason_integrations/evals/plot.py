"""Plot a calibration: each figure against the threshold. Needs the extra `plot`.

The axis of a probability is in log-odds, so that 0.9, 0.99 and 0.999 are equally far apart; that of
an entropy is logarithmic.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from splitreason_integrations.errors import MissingExtraError, RequestError
from splitreason_integrations.evals.calibrate import Calibration
from splitreason_integrations.evals.metrics import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {
    Metric.SHARE: "offload share",
    Metric.ACCURACY: "accuracy",
    Metric.USD: "USD per 1,000 requests",
    Metric.LATENCY_P50: "latency in seconds",
}
_ENDINGS = (".png", ".svg", ".pdf")
_CURVE, _SLOW, _CHOSEN, _BOUND = "#2a5fa5", "#7aa6d6", "#b3297a", "#c77d0a"
_INK, _GRID = "#333333", "#e6e6e6"


def check_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises:
        MissingExtraError: It is not.

    """
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            'a plot needs matplotlib: pip install "splitreason-integrations[plot]"'
        )


def check_plot(path: Path) -> None:
    """Check, before anything is measured, that a plot can be formatted to this path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RequestError: The file name does not end in .png, .svg or .pdf.

    """
    check_matplotlib()
    if path.suffix.lower() not in _ENDINGS:
        raise RequestError(f"{path}: a plot's file name ends in one of {', '.join(_ENDINGS)}")


def save_plot(calibration: Calibration, path: Path, *, remark: str) -> None:
    """Write a plot with one panel per figure, in the format of the file name's ending.

    Args:
        calibration: What to plot.
        path: File to write.
        remark: Text below the panels.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RequestError: The file name does not end in .png, .svg or .pdf.

    """
    check_plot(path)
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    metrics = _shown(calibration)
    columns = 3 if len(metrics) == 3 else 2
    rows = -(-len(metrics) // columns)
    layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.12)
    picture = Figure(figsize=(5 * columns, 1.1 + 3.0 * rows), dpi=160, layout=layout)
    panels = picture.subplots(rows, columns, squeeze=False).flatten()
    for panel, metric in zip(panels, metrics, strict=True):
        _draw(panel, calibration, metric)
    _title(picture, calibration, remark)
    picture.savefig(path, facecolor="white")


def _shown(calibration: Calibration) -> list[Metric]:
    known = calibration.chosen.figures
    priced = any(row.figures[Metric.USD].value for row in calibration.rows)
    return [one for one in _LABELS if one in known and (one is not Metric.USD or priced)]


def _title(picture: Figure, calibration: Calibration, remark: str) -> None:
    picture.suptitle(
        f"{calibration.trigger} meets {calibration.goal}",
        fontsize=13,
        fontweight="bold",
        color=_INK,
    )
    low, high = calibration.threshold_interval
    scalar = calibration.scalar
    picture.supxlabel(
        f"threshold of {scalar.meaning}, {scalar.scale.name}; "
        f"blue: 95 % intervals over {calibration.n} prompts; "
        f"pink: 95 % interval of the threshold that meets the bound exactly, {low:g} to {high:g}\n"
        f"{remark}",
        fontsize=8,
        color="#666666",
    )


def _draw(panel: Axes, calibration: Calibration, metric: Metric) -> None:
    place = calibration.scalar.scale.place
    low, high = (place(end) for end in calibration.threshold_interval)
    panel.axvspan(low, high, color=_CHOSEN, alpha=0.08, linewidth=0)
    panel.axvline(place(calibration.chosen.threshold), color=_CHOSEN, linewidth=1.2)
    if metric is Metric.LATENCY_P50:
        _curve(panel, calibration, Metric.LATENCY_P95, colour=_SLOW, name="95th percentile")
        _curve(panel, calibration, metric, colour=_CURVE, name="median")
        panel.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="best")
    else:
        _curve(panel, calibration, metric, colour=_CURVE, name=_LABELS[metric])
    if metric is calibration.goal.metric:
        bound = calibration.goal.bound
        panel.axhline(bound, color=_BOUND, linewidth=1.2, linestyle=(0, (5, 3)))
        panel.text(
            0.995,
            bound,
            f"bound: {calibration.goal.formatted(bound)}",
            transform=panel.get_yaxis_transform(),
            color=_BOUND,
            fontsize=8,
            ha="right",
            va="bottom",
        )
    _style(panel, calibration, metric)


def _curve(
    panel: Axes, calibration: Calibration, metric: Metric, *, colour: str, name: str
) -> None:
    place = calibration.scalar.scale.place
    at = [place(row.threshold) for row in calibration.rows]
    figures = [row.figures[metric] for row in calibration.rows]
    panel.fill_between(
        at,
        [one.low for one in figures],
        [one.high for one in figures],
        color=colour,
        alpha=0.16,
        linewidth=0,
    )
    values = [one.value for one in figures]
    panel.plot(at, values, color=colour, linewidth=1.8, marker="o", markersize=3.5, label=name)
    chosen = calibration.chosen
    panel.plot(
        [place(chosen.threshold)],
        [chosen.figures[metric].value],
        color=_CHOSEN,
        marker="o",
        markersize=8,
        markeredgecolor="white",
        zorder=5,
    )
    panel.annotate(
        _formatted(metric, chosen.figures[metric].value),
        (place(chosen.threshold), chosen.figures[metric].value),
        xytext=(9, 7),
        textcoords="offset points",
        color=_CHOSEN,
        fontsize=9,
        fontweight="bold",
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1.0},
    )


def _style(panel: Axes, calibration: Calibration, metric: Metric) -> None:
    panel.set_title(_LABELS[metric], fontsize=10, color=_INK, loc="left")
    panel.set_ylim(bottom=0, top=1.02 if metric is Metric.ACCURACY else None)
    if metric in (Metric.SHARE, Metric.ACCURACY):
        panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    scale = calibration.scalar.scale
    ticks = _ticks([row.threshold for row in calibration.rows], scale.ticks)
    panel.set_xticks([scale.place(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    panel.grid(color=_GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(labelsize=8, colors=_INK, length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color("#bbbbbb")


def _formatted(metric: Metric, value: float) -> str:
    return f"{value:.1%}" if metric in (Metric.SHARE, Metric.ACCURACY) else f"{value:.3g}"


def _ticks(thresholds: Sequence[float], round_ones: Sequence[float]) -> list[float]:
    """Return round thresholds within the measured range."""
    low, high = min(thresholds), max(thresholds)
    inside = [tick for tick in round_ones if low <= tick <= high]
    return inside or [low, high]
