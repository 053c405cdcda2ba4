"""The report: one self-contained page of HTML for those responsible for the system.

Everything of the log is escaped by the template; the page holds no script and loads nothing.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitreason_integrations.audit.charts import HEIGHT, WIDTH, Chart, over_time, short_time
from splitreason_integrations.audit.history import (
    History,
    RequestHistory,
)
from splitreason_integrations.audit.kinds import is_decision, is_failure
from splitreason_integrations.audit.record import AuditRecord
from splitreason_integrations.events import BudgetExhausted

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = Path(__file__).parent
_ENDED = ("finished", "cancelled")


def render(history: History, *, name: str, newest: int = 200) -> str:
    """Return the report on a log called `name`; it shows the `newest` ones one by one."""
    records = _in_order(history)
    filters: dict[str, Callable[..., str]] = {"time": short_time, "usd": usd, "share": share}
    filters["details"] = details
    return template("page.html", filters).render(
        name=name,
        check=history.report,
        figures=figures(history.requests),
        charts=charts(history.requests),
        chart_width=WIDTH,
        chart_height=HEIGHT,
        shown=history.requests[: -newest - 1 : -1],
        left_out=max(0, len(history.requests) - newest),
        decisions=[record for record in records if is_decision(record)],
        failures=[record for record in records if is_failure(record)],
        limits=Counter(
            r.data["cap"] for r in records if r.kind == BudgetExhausted.name
        ).most_common(),
        newest=newest,
    )


def template(
    name: str, filters: Mapping[str, Callable[..., Any]], *, folder: Path = _HERE
) -> "Template":
    """Return a page's template: all that it is given is escaped. The style and parts are shared."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def figures(requests: Sequence[RequestHistory]) -> list[tuple[str, str]]:
    """Return totals of the whole log as (name, value)."""
    latencies = sorted(one.finished["latency_s"] for one in requests if one.finished)
    median = f"{latencies[len(latencies) // 2]:.2f} s" if latencies else "–"
    return [
        ("requests", str(len(requests))),
        ("offload share", share(_share(requests))),
        ("spans", str(sum(len(one.spans) for one in requests))),
        ("cost", usd(_cost_usd(requests))),
        ("median latency", median),
        ("large model failed", str(sum(one.degraded for one in requests))),
        ("not finished", str(sum(one.status not in _ENDED for one in requests))),
        ("cancelled by the caller", str(sum(one.status == "cancelled" for one in requests))),
        ("human answers", str(sum(one.answers for one in requests))),
    ]


def charts(requests: Sequence[RequestHistory]) -> list[Chart]:
    """Return the offload share and the cost over time."""
    return [
        over_time("Offload share", requests, _share, share),
        over_time("Cost", requests, _cost_usd, usd),
    ]


def usd(amount: float) -> str:
    """Return an amount of money, small ones included."""
    return f"{amount:,.2f} USD" if amount >= 1 or amount == 0 else f"{amount:.6f} USD"


def share(part: float | None) -> str:
    """Return a share as percentage."""
    return "–" if part is None else f"{part:.1%}"


def details(record: AuditRecord) -> str:
    """Return a record's facts in one line, without who answered."""
    said = ((name, value) for name, value in record.data.items() if name != "by")
    return ", ".join(f"{_titled(name)} {short(name, value)}" for name, value in said)


def seconds(amount: float) -> str:
    """Return a time, short ones included."""
    return f"{amount:.2f} s" if amount >= 1 or amount == 0 else f"{amount:.3g} s"


def short(name: str, value: Any) -> str:
    """Return a fact as people read it: with its unit, and spans counted from 1."""
    if isinstance(value, dict) and value.keys() == {"chars", "sha256"}:
        return f"({value['chars']} characters, not recorded)"
    if isinstance(value, Mapping):
        given = ((name, one) for name, one in value.items() if one is not None)
        return ", ".join(f"{_titled(name)} {short(name, one)}" for name, one in given)
    if isinstance(value, list | tuple):
        return ", ".join(short(name, one) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if name == "span":
        return str(value + 1)  # people count from 1
    if unit := _unit(name):
        return _UNITS[unit](value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_UNITS: Mapping[str, Callable[[float], str]] = {"_usd": usd, "_s": seconds, "_share": share}
"""What shows a number, by the end of its name."""


def _unit(name: str) -> str:
    return next((unit for unit in _UNITS if name.endswith(unit)), "")


def _titled(name: str) -> str:
    """Return a name as words, without the unit that its value has."""
    unit = _unit(name)
    return (name if unit == "_share" else name.removesuffix(unit)).replace("_", " ")


def _in_order(history: History) -> list[AuditRecord]:
    records = [*history.others, *(r for one in history.requests for r in one.records)]
    return sorted(records, key=lambda record: record.sequence)


def _share(requests: Sequence[RequestHistory]) -> float:
    small = sum(one.tokens[0] for one in requests)
    large = sum(one.tokens[1] for one in requests)
    return large / (small + large) if small + large else 0.0


def _cost_usd(requests: Sequence[RequestHistory]) -> float:
    return sum(one.cost_usd for one in requests)
