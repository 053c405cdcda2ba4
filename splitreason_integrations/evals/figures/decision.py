"""The demo's figures on the pages for the person who decides, in English and in Japanese."""

from collections.abc import Callable
from dataclasses import dataclass

from splitreason_integrations.evals.figures.cells import Found
from splitreason_integrations.evals.tables import markdown_table

_BOLD = "split"
"""The row that the page is about."""


@dataclass(frozen=True)
class _Words:
    """What a page says in its language.

    Attributes:
        headings: Of the table's five columns.
        modes: Who writes, by mode.
        percent: Format of a share.
        interval: Format of an interval of two shares, in per cent.
        source: Line below the table: command, hardware, date and prices.
        saved: Large tokens and price that both models together save.

    """

    headings: tuple[str, str, str, str, str]
    modes: dict[str, str]
    percent: str
    interval: str
    source: str
    saved: str


_ENGLISH = _Words(
    ("who writes", "right", "95 % interval", "large model's tokens", "USD per 1,000 answers"),
    {
        "small": "small model alone",
        "large": "large model alone",
        "split": "both together",
        "random": "large model at random places",
    },
    "{:.0f} %",
    "{:.0f} to {:.0f} %",
    "`{command}`; {n} problems; {hardware}; {date}. Example prices of the large model: "
    "{input_usd:g} USD per million tokens read, {output_usd:g} USD per million written. The small "
    "model's hardware is not counted. A token is a part of a word.",
    "**Saved:** {tokens} of the large model's tokens and {usd} of its price. The price falls "
    "less, because the large model must still read what it continues.",
)
_JAPANESE = _Words(
    (
        "書き手",
        "正答率",
        "95%信頼区間",
        "大きなモデルのトークン数",
        "1,000回答あたりの費用（米ドル）",
    ),
    {
        "small": "小さなモデルのみ",
        "large": "大きなモデルのみ",
        "split": "両方の組み合わせ",
        "random": "任せる箇所を無作為に選んだ場合",
    },
    "{:.0f}%",
    "{:.0f}～{:.0f}%",
    "測定コマンドは `{command}`（{n}問）、環境は {hardware}、測定日は{date}です。大きなモデルの"
    "料金は、入力100万トークンあたり{input_usd:g}ドル、出力100万トークンあたり"
    "{output_usd:g}ドルと仮定しています。小さなモデルのハードウェア費用は含みません。"
    "トークンとは、単語を細かく分けた単位です。",
    "**節約できるもの：** 大きなモデルのトークンを{tokens}、その料金を{usd}減らせました。"
    "料金の減り方が小さいのは、続きを書くために大きなモデルがそれまでの文章を読む必要があるためです。",
)


def english(demo: Found) -> str:
    """Return the table, its source and what was saved, in English."""
    return _page(demo, _ENGLISH)


def japanese(demo: Found) -> str:
    """Return the table, its source and what was saved, in Japanese."""
    return _page(demo, _JAPANESE)


def _page(demo: Found, words: _Words) -> str:
    rows = [_row(row, words) for row in demo["rows"]]
    (split,) = (row["summary"] for row in demo["rows"] if row["mode"] == _BOLD)
    source = words.source.format(
        command=demo["command"],
        n=demo["rows"][0]["n"],
        hardware=demo["hardware"],
        date=demo["date"],
        **split["prices"],
    )
    saved = words.saved.format(
        tokens=words.percent.format(100 * split["large_tokens_saved"]),
        usd=words.percent.format(100 * split["usd_saved"]),
    )
    return f"{markdown_table(words.headings, rows)}\n\n{source}\n\n{saved}"


def _row(row: Found, words: _Words) -> tuple[str, ...]:
    mark: Callable[[str], str] = "**{}**".format if row["mode"] == _BOLD else "{}".format
    low, high = (100 * end for end in row["interval"])
    summary = row["summary"]
    return (
        mark(words.modes[row["mode"]]),
        mark(words.percent.format(100 * row["accuracy"])),
        words.interval.format(low, high),
        mark(f"{summary['large_tokens']:,}"),
        mark(f"{summary['usd_per_1k']:.3f}"),
    )
