"""Tables of triggers that need no training: `splitreason bench untaught --json`."""

from splitreason_integrations.evals.figures.cells import (
    Found,
    interval,
    note,
    ratio,
    rule,
    share,
)
from splitreason_integrations.evals.tables import markdown_table

_HEADINGS = (
    *("small model", "trigger", "close rule", "right (95 %)", "of the large model's (95 %)"),
    *("large share", "spans", "large reads, writes"),
)
_SPECULATION = (
    *("engine", "who writes", "right (95 %)", "same text as large alone", "large passes"),
    *("tokens in them", "seconds", "÷ large alone (95 %)"),
)
_ALONE = "always"


def rules(found: Found) -> str:
    """Return the table of triggers and close rules."""
    rows = [
        (
            row["small"],
            rule(row["trigger"]),
            rule(row["close"]),
            f"{share(row['accuracy'])} ({interval(row['interval'])}), n = {row['n']}",
            f"{share(row['accuracy_of_large'])} ({interval(row['accuracy_of_large_interval'])})",
            share(row["offload_share"]),
            f"{row['spans_per_answer']:.1f}",
            f"{row['large_input_tokens']:.0f}, {row['large_output_tokens']:.0f}",
        )
        for row in found["rows"]
    ]
    return f"{markdown_table(_HEADINGS, rows)}\n\n{note(found, 'greedy, tokens per answer')}"


def costs(found: Found) -> str:
    """Return the table of costs: what an answer costs, the large model alone being 1."""
    alone = next(row for row in found["rows"] if row["trigger"] == _ALONE)["cost_by_input_price"]
    headings = [
        "cost of the large model, alone = 1",
        *(f"input at {float(price):.0%} of output" for price in alone),
    ]
    rows = [
        (
            f"{row['small']}, {rule(row['trigger'])}, {rule(row['close'])}",
            *(f"{row['cost_by_input_price'][price] / alone[price]:.2f}" for price in alone),
        )
        for row in found["rows"]
    ]
    return f"{markdown_table(headings, rows)}\n\n{note(found)}"


def speculation(found: Found) -> str:
    """Return the table of speculative decoding beside offloading."""
    measured = found["speculation"]
    rows = [
        (
            row["engine"],
            row["method"],
            f"{share(row['accuracy'])} ({interval(row['interval'])})",
            f"{row['same_text']} of {row['n']}",
            f"{row['large_passes']:.1f}",
            "–" if row["large_positions"] is None else f"{row['large_positions']:.0f}",
            f"{row['seconds']:.2f}",
            ratio(row["of_alone"], row["of_alone_interval"]),
        )
        for row in measured["rows"]
    ]
    remark = (
        f"{measured['n']} problems, figures per answer, greedy, one answer at a time on one "
        "thread, in turn; each engine is compared with itself, since both models are tiny and an "
        "engine's own time per step is most of the wall time"
    )
    if not measured["vllm"]:
        remark += (
            "; vLLM is not installed here and was not measured (SPLITREASON_VLLM_PYTHON names the "
            "Python of an environment that has it)"
        )
    return f"{markdown_table(_SPECULATION, rows)}\n\n{note(found, remark)}"


def whole(found: Found) -> str:
    """Return all three tables."""
    return "\n\n".join(made(found) for made in (rules, costs, speculation))
