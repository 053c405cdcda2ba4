"""The few figures of the front page and of the page for the person who decides."""

from splitreason_integrations.decide.pricing import Prices
from splitreason_integrations.evals.figures.cells import Found, interval, ratio, rule, share
from splitreason_integrations.evals.tables import markdown_table

_LARGE, _SMALL = ("base", "always", ""), ("base", "never", "")
_TAUGHT = ("small", "tag", "tag>0.5")
_UNTAUGHT = ("base", "disagreement<0.1", "agrees")
EXAMPLE_PRICES = Prices(input_usd=0.6, output_usd=3.0)
"""Nobody's prices in particular; an input token costs a fifth of an output token."""
_INPUT_USD, _OUTPUT_USD = EXAMPLE_PRICES.input_usd, EXAMPLE_PRICES.output_usd
_ANSWERS = 1000


def headline(untaught: Found, servers: Found) -> str:
    """Return three figures with command, hardware, interval and date."""
    large, small, taught, free = (
        _row(untaught, wanted) for wanted in (_LARGE, _SMALL, _TAUGHT, _UNTAUGHT)
    )
    answers = servers["answers"]
    rows = [
        (
            "right answers of the bundled pair, taught to mark hard spans (large model alone "
            f"{share(large['accuracy'])}, untaught small model alone {share(small['accuracy'])})",
            _kept(taught),
            _source(untaught, taught["n"]),
        ),
        (
            "the same with the small model that was never taught, "
            f"{rule(free['trigger'])}, {rule(free['close'])}",
            _kept(free),
            _source(untaught, free["n"]),
        ),
        (
            "wall time of an answer on two vLLM servers ÷ the published SplitReason code's, "
            f"same text in {answers['same_text']} of {answers['n']}",
            f"**{ratio(answers['wall_ratio'], answers['wall_interval'])}**",
            _source(servers, answers["n"]),
        ),
    ]
    return markdown_table(("figure", "value (95 %)", "how"), rows)


def money(untaught: Found) -> str:
    """Return what 1,000 answers cost at example prices, by who writes them."""
    named = {
        "large model alone": _LARGE,
        "taught small model, its tag": _TAUGHT,
        "untaught small model, the large one reads along": _UNTAUGHT,
        "untaught small model alone": _SMALL,
    }
    rows = []
    alone = _usd(_row(untaught, _LARGE))
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
        "The small model runs on your own hardware and is not counted, nor is that hardware."
    )
    source = _source(untaught, _row(untaught, _UNTAUGHT)["n"])
    return f"{markdown_table(headings, rows)}\n\n{remark} {source}."


def _usd(row: Found) -> float:
    read, written = row["large_input_tokens"], row["large_output_tokens"]
    return float(read * _INPUT_USD + written * _OUTPUT_USD) * _ANSWERS / 1e6


def _kept(row: Found) -> str:
    """Return a row's accuracy with its interval, and its share of large tokens."""
    return (
        f"**{share(row['accuracy'])}** ({interval(row['interval'])}) at "
        f"{share(row['offload_share'])} large tokens"
    )


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
