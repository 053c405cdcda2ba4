"""Bar charts over time for the report: the numbers that its template draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from splitreason_integrations.audit.history import RequestHistory

WIDTH, HEIGHT = 560, 120
_MOST_BARS = 48


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar in pixels, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    says: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of equal time between `first` and `last`; the highest one has the value `top`."""

    title: str
    bars: tuple[Bar, ...]
    top: str
    first: str
    last: str


def over_time(
    title: str,
    requests: Sequence[RequestHistory],
    value: Callable[[Sequence[RequestHistory]], float],
    show: Callable[[float], str],
) -> Chart:
    """Return a chart of `value` over the requests in each part of the time."""
    groups = _parts(requests)
    values = [value(group) if group else 0.0 for _, group in groups]
    top = max(values, default=0.0)
    step = WIDTH / max(1, len(groups))
    bars = (
        Bar(
            x=at * step + step * 0.1,
            y=HEIGHT - HEIGHT * height / top,
            width=step * 0.8,
            height=HEIGHT * height / top,
            says=f"{begin}: {show(height)} ({len(group)} requests)",
        )
        for at, ((begin, group), height) in enumerate(zip(groups, values, strict=True))
        if height > 0
    )
    return Chart(title, tuple(bars), show(top), groups[0][0] if groups else "", _last(requests))


def _parts(requests: Sequence[RequestHistory]) -> list[tuple[str, list[RequestHistory]]]:
    """Return requests by parts of equal length of the time from the first to the last."""
    if not requests:
        return []
    times = [datetime.fromisoformat(one.time_utc).timestamp() for one in requests]
    first, length = min(times), max(times) - min(times)
    count = min(_MOST_BARS, len(requests)) if length else 1
    parts: list[list[RequestHistory]] = [[] for _ in range(count)]
    for request, time in zip(requests, times, strict=True):
        at = int((time - first) / length * count) if length else 0
        parts[min(at, count - 1)].append(request)
    begins = (datetime.fromtimestamp(first + length * at / count, UTC) for at in range(count))
    return [(f"{at:%Y-%m-%d %H:%M}", part) for at, part in zip(begins, parts, strict=True)]


def _last(requests: Sequence[RequestHistory]) -> str:
    return short_time(max((one.time_utc for one in requests), default=""))


def short_time(time_utc: str) -> str:
    """Return a record's time to the minute."""
    return time_utc[:16].replace("T", " ")
