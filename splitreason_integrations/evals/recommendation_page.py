"""Write a recommendation: one page to read and print, the policy to use, and plain data."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splitreason_integrations.audit.page import template
from splitreason_integrations.evals.drawings import trade_off
from splitreason_integrations.evals.metrics import Figure, Metric
from splitreason_integrations.evals.recommendation import Recommendation
from splitreason_integrations.evals.verdict import Trial, percent, points
from splitreason_integrations.records.printable import harmless
from splitreason_integrations.settings.policy_files import to_toml

PAGE, POLICY, DATA = "report.html", "policy.toml", "report.json"

_HERE = Path(__file__).parent
_HEADING = "Should these two models share replies?"


def write(
    folder: Path,
    found: Recommendation,
    context: Mapping[str, Any],
    models: Mapping[str, str],
) -> None:
    """Write the page, the policy and the data atomically.

    Args:
        folder: Where to write.
        found: The recommendation.
        context: Command, hardware, versions and date, as from `report.context`.
        models: Names of the small and the large model.

    """
    code = code_for(models, folder / POLICY)
    data = json.dumps({**found.data(), "models": dict(models), "code": code, **context}, indent=2)
    remarks = [found.verdict.sentence, f"{context['command']}", f"{context['date']}"]
    texts = {
        DATA: data,
        POLICY: to_toml(found.policy, remarks=remarks),
        PAGE: page(found, context, models, code),
    }
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_text(text + "\n", "utf-8", errors="backslashreplace")
        os.replace(part, folder / name)


def code_for(models: Mapping[str, str], policy: Path) -> str:
    """Return the two lines of Python that use the recommendation."""
    return (
        "from langchain_splitreason import SplitReasonLLM  # or llama_index.llms.splitreason\n"
        f"llm = SplitReasonLLM(small={models['small']!r}, large={models['large']!r}, "
        f"policy={str(policy)!r})"
    )


def page(
    found: Recommendation, context: Mapping[str, Any], models: Mapping[str, str], code: str
) -> str:
    """Return the page; all text from prompts, models and the command is escaped."""
    results = [one.result for one in found.rows]
    return template("recommendation.html", {"harmless": harmless}, folder=_HERE).render(
        heading=_HEADING,
        models=f"small: {models['small']}, large: {models['large']}",
        verdict=found.verdict,
        figures=_figures(found),
        picture=trade_off(results, score=found.score),
        picture_title=f"{found.score.capitalize()} against offload share, with 95 % intervals",
        code=code,
        headings=headings(found),
        rows=[
            {"cells": cells(one, found), "chosen": one is found.verdict.chosen}
            for one in found.rows
        ],
        left_out=found.left_out,
        remarks=remarks(found, context),
    )


TERMINAL = (0, 2, 3, 5, 6, 7)
"""Columns of the table of what was tried that fit into a terminal."""


PRICE_ASSUMED = (
    "no price is known, so a token that the large model reads counts a fifth of one that it writes "
    "(give --large-input-usd and --large-output-usd)"
)
"""What a saving rests on where no price is given."""


def headings(found: Recommendation) -> list[str]:
    """Return the headings of the table of what was tried."""
    return [
        *("tried", "spans end at", found.score, "95 % interval", "against small alone"),
        *("large share", "saving", "median s"),
        *(["USD per 1k"] if found.is_priced else []),
    ]


def cells(one: Trial, found: Recommendation) -> list[str]:
    """Return a row of the table of what was tried."""
    result, (low, high) = one.result, one.result.interval
    alone = {id(found.small): "small model alone", id(found.large): "large model alone"}
    usd = result.planned[Metric.USD].value
    return [
        alone.get(id(one), result.name),
        one.close or "–",
        f"{one.score:.1%}",
        f"{low:.1%} to {high:.1%}",
        "–" if one is found.small else points(one.gain),
        f"{result.offload_share:.1%}",
        "–" if one is found.large else percent(one.saving),
        _seconds(result.planned[Metric.LATENCY_P50])[0],
        *([f"{usd:.4g}"] if found.is_priced else []),
    ]


def remarks(found: Recommendation, context: Mapping[str, Any]) -> list[str]:
    """Return sentences that say how the figures were measured."""
    first = found.small.result
    score = (
        "Accuracy: the right answers of your file."
        if found.likeness is None
        else "Agreement, not accuracy: the prompts have no right answers, so each answer is "
        f"compared with the large model's own: {found.likeness.meaning}."
    )
    prices = (
        f"{found.prices.input_usd:g} and {found.prices.output_usd:g} USD per million tokens that "
        "the large model reads and writes"
        if found.is_priced
        else PRICE_ASSUMED
    )
    at_once = "one answer at a time" if first.at_once == 1 else f"{first.at_once} answers at once"
    shares = (
        ""
        if found.share_asked is None
        else f" Thresholds are set for an offload share of {found.share_asked:.1%}."
    )
    return [
        f"{first.tasks} prompts, the same for all rows, greedy, seed {first.seed}. {score}",
        f"Cost: {prices}; tokens that were read along or dropped are counted, what the small model "
        "costs to run is not.",
        "Intervals: 95 %, each by itself. Differences, and savings against the large model alone, "
        f"are paired by prompt.{shares} Latency: {at_once}; network: {first.network}.",
        f"{context['command']} · {context['hardware']} · {context['date']}",
    ]


def _figures(found: Recommendation) -> list[tuple[str, str, str]]:
    """Return the figures of the verdict as (name, value, interval)."""
    chosen, large = found.verdict.chosen, found.large.result
    result = chosen.result
    median, interval = _seconds(result.planned[Metric.LATENCY_P50])
    other = _seconds(large.planned[Metric.LATENCY_P50])[0]
    share, low_high = result.measured[Metric.SHARE], result.interval
    saving = chosen.saving
    return [
        (
            "saving against the large model alone",
            f"{saving.value:.0%}",
            f"{saving.low:.0%} to {saving.high:.0%}",
        ),
        (found.score, f"{chosen.score:.0%}", f"{low_high[0]:.0%} to {low_high[1]:.0%}"),
        ("median latency", f"{median} s", f"{interval} s; large alone {other} s"),
        ("large model's share", f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}"),
    ]


def _seconds(figure: Figure) -> tuple[str, str]:
    return f"{figure.value:.2f}", f"{figure.low:.2f} to {figure.high:.2f}"
