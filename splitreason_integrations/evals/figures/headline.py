"""The few figures of the front page and of the page for the person who decides."""

from collections.abc import Mapping

from splitreason_integrations.evals.figures.cells import Found, interval, ratio, rule, share, table

_LARGE, _SPLIT, _SMALL = "large", "split", "small"
_UNTAUGHT = ("base", "disagreement<0.1", "agrees")
_INPUT_USD, _OUTPUT_USD = 0.6, 3.0
"""Example prices in USD per million tokens; an input token costs a fifth of an output token."""
_ANSWERS = 1000


def headline(pair: Found, untaught: Found, servers: Found) -> str:
    """Return three figures with command, hardware, interval and date."""
    modes = _modes(pair)
    split, large = modes[_SPLIT], modes[_LARGE]
    free = _row(untaught, _UNTAUGHT)
    answers = servers["answers"]
    rows = [
        (
            "accuracy of the bundled pair, taught to mark spans (large model alone "
            f"{share(large['accuracy'])}, small alone {share(modes[_SMALL]['accuracy'])})",
            f"**{share(split['accuracy'])}** ({interval(split['interval'])}) at "
            f"{share(split['offload_share'])} large tokens",
            _source(pair, split["n"]),
        ),
        (
            f"the same with a small model that was never taught, {rule(free['trigger'])}",
            f"**{share(free['accuracy'])}** ({interval(free['interval'])}) at "
            f"{share(free['offload_share'])} large tokens",
            _source(untaught, free["n"]),
        ),
        (
            "wall time of an answer on two vLLM servers ÷ the published flow's, same text",
            f"**{ratio(answers['wall_ratio'], answers['wall_interval'])}**",
            _source(servers, answers["n"]),
        ),
    ]
    return table(("figure", "value (95 %)", "how"), rows)


def money(untaught: Found) -> str:
    """Return what 1,000 answers cost at example prices, by who writes them."""
    named = {
        "large model alone": ("base", "always", ""),
        "taught small model, its tag": ("small", "tag", "tag>0.5"),
        "untaught small model, the large one reads along": _UNTAUGHT,
    }
    rows = []
    alone = _usd(_row(untaught, named["large model alone"]))
    for name, wanted in named.items():
        row = _row(untaught, wanted)
        usd = _usd(row)
        rows.append(
            (
                name,
                f"{share(row['accuracy'])} ({interval(row['interval'])})",
                share(row["offload_share"]),
                f"{usd:.3f}",
                "–" if usd == alone else f"{1 - usd / alone:.0%}",
            )
        )
    headings = ("who writes", "right (95 %)", "large share", "USD per 1,000 answers", "saved")
    remark = (
        f"Large model's cost at example prices of {_INPUT_USD:g} USD for a million tokens that it "
        f"reads and {_OUTPUT_USD:g} USD for a million that it writes, dropped tokens included: "
        "(tokens read × the first + tokens written × the second) ÷ 1,000,000 × 1,000 answers. "
        "The small model runs on your own hardware and is not counted."
    )
    return (
        f"{table(headings, rows)}\n\n{remark} {_source(untaught, _row(untaught, _UNTAUGHT)['n'])}."
    )


def _usd(row: Found) -> float:
    read, written = row["large_input_tokens"], row["large_output_tokens"]
    return float(read * _INPUT_USD + written * _OUTPUT_USD) * _ANSWERS / 1e6


def _modes(pair: Found) -> Mapping[str, Found]:
    return {row["mode"]: row for row in pair["rows"] if row["split"] == "test"}


def _row(untaught: Found, wanted: tuple[str, str, str]) -> Found:
    """Return the row of a small model, trigger and close rule; an empty rule matches any."""
    small, trigger, close = wanted
    return next(
        row
        for row in untaught["rows"]
        if (row["small"], row["trigger"]) == (small, trigger) and close in ("", row["close"])
    )


def _source(found: Found, n: int) -> str:
    return f"`{found['command']}`, n = {n}; {found['hardware']}; {found['date']}"
