"""A reply as notebooks show it: text by author, spans, share and cost, as HTML and as Markdown.

All text of models and people is escaped. The HTML holds no script, loads nothing, and takes the
page's own text colour, so it is readable on light and dark pages.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

from splitreason_integrations.records.authors import Author, Channel, TextRun
from splitreason_integrations.records.endings import CAPS
from splitreason_integrations.records.metadata import ReplyMetadata
from splitreason_integrations.records.printable import harmless

NAMES: Mapping[Author, str] = {
    Author.SMALL: "small model",
    Author.LARGE: "large model",
    Author.HUMAN: "a person",
}
"""What people read for an author."""

MARKS: Mapping[Author, tuple[str, str]] = {Author.LARGE: ("⟦", "⟧"), Author.HUMAN: ("⟪", "⟫")}
"""What encloses an author's text where there are no colours."""

# Blue and orange, which colour-blind readers tell apart, let the page's ground through; authors
# differ also in weight or slant, and in the line below the text.
_STYLES: Mapping[Author, str] = {
    Author.LARGE: (
        "background:rgba(58,143,201,.25);border-bottom:2px solid #3a8fc9;font-weight:bold"
    ),
    Author.HUMAN: (
        "background:rgba(208,112,32,.25);border-bottom:2px dotted #d07020;font-style:italic"
    ),
}
_TEXT = "margin:.4em 0;white-space:pre-wrap;overflow-wrap:anywhere;text-align:left"
_SOFT = "margin:.4em 0;opacity:.75;text-align:left"
_CELL = "padding:.15em .6em;text-align:left;vertical-align:top;overflow-wrap:anywhere"
# Notebooks would set a pair of dollar signs as mathematics.
_NO_MATHS = "tex2jax_ignore mathjax_ignore"
_ESCAPED = re.compile(r"([\\`*_{}\[\]()#+\-.!])")
_AS_NUMBER = re.compile(r"[<>&|~=$\":@^]")
"""Signs of Markdown's dialects that not all of them let a backslash escape."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, repr=False)
class ReplyView:
    """What a notebook shows of a reply.

    Attributes:
        runs: Its text by author and part, in order.
        facts: Its tokens, spans, time and cost; None while it is being written.
        timed: Whether seconds are shown, which differ from run to run.

    """

    runs: Sequence[TextRun]
    facts: ReplyMetadata | Mapping[str, Any] | None = None
    timed: bool = True

    def __repr__(self) -> str:
        texts = [_plain(self._marked_text(channel)) for channel in self._channels()]
        return "\n\n".join([*texts, self._line()])

    def _repr_html_(self) -> str:
        parts = [f'<p style="{_TEXT}">{self._html(channel)}</p>' for channel in self._channels()]
        parts.append(f'<p style="{_SOFT}">{self._legend()}{_html(self._line())}</p>')
        if table := self._table():
            parts.append(_html_table(table))
        return f'<div class="{_NO_MATHS}">{"".join(parts)}</div>'

    def _repr_markdown_(self) -> str:
        parts = [_markdown(_plain(self._marked_text(one))) for one in self._channels()]
        authors = [f"{MARKS[one][0]}{NAMES[one]}{MARKS[one][1]}" for one in self._marked()]
        parts.append(", ".join([*authors, _markdown(self._line())]))
        if table := self._table():
            parts.append(_markdown_table(table))
        return "\n\n".join(filter(None, parts))

    def _channels(self) -> list[tuple[TextRun, ...]]:
        groups = groupby((one for one in self.runs if one.text), key=lambda one: one.channel)
        return [tuple(group) for _, group in groups]

    def _marked(self) -> list[Author]:
        """Return the authors whose text is marked, in the order of `Author`."""
        return [one for one in MARKS if any(run.author is one for run in self.runs)]

    def _html(self, runs: Sequence[TextRun]) -> str:
        text = "".join(_coloured(run.author, run.text) for run in runs)
        kind = runs[0].channel
        return text if kind is Channel.ANSWER else f'<span style="opacity:.85">{text}</span>'

    def _table(self) -> list[dict[str, str]]:
        """Return a row for each span: what each column shows."""
        spans = self.facts.get("spans", ()) if self.facts else ()
        return [self._row(number, span) for number, span in enumerate(spans, 1)]

    def _row(self, number: int, span: Mapping[str, Any]) -> dict[str, str]:
        said = {name: str(span.get(name, "")) for name in ("text", "opened_by", "closed_by")}
        row = {"span": str(number), **{name.replace("_", " "): said[name] for name in said}}
        row["tokens"] = str(span.get("tokens", ""))
        if self.timed:
            row["seconds"] = f"{span.get('latency_s', 0.0):.2f}"
        if span.get("cost_usd"):
            row["USD"] = f"{span['cost_usd']:.6f}"
        if span.get("human"):
            row["person"] = str(span["human"])
        return row

    def _legend(self) -> str:
        return "".join(f"{_coloured(one, NAMES[one])} " for one in self._marked())

    def _line(self) -> str:
        return facts_line(self.facts, timed=self.timed)

    @staticmethod
    def _marked_text(runs: Sequence[TextRun]) -> str:
        texts = []
        for run in runs:
            before, after = MARKS.get(run.author or Author.SMALL, ("", ""))
            texts.append(f"{before}{run.text}{after}")
        return "".join(texts)


def facts_line(facts: ReplyMetadata | Mapping[str, Any] | None, *, timed: bool = True) -> str:
    """Return one line with tokens, share, spans, the time unless it is left out, and cost."""
    if not facts:
        return "…"
    tokens = facts.get("tokens", {})
    spans = len(facts.get("spans", ()))
    line = (
        f"{sum(tokens.values())} tokens, {tokens.get('large', 0)} by the large model "
        f"({facts.get('offload_share', 0.0):.1%}) in {spans} {'span' if spans == 1 else 'spans'}"
    )
    if timed:
        line += f", {facts.get('latency_s', 0.0):.2f} s"
    if facts.get("cost_usd"):
        line += f", {facts['cost_usd']:.6f} USD"
    line += ", large model failed" if facts.get("degraded") else ""
    return line + _caps_reached(facts.get("spans", ()))


def _caps_reached(spans: Sequence[Mapping[str, Any]]) -> str:
    """Return which caps cut spans, and how many; nothing where none did."""
    cut = Counter(span.get("closed_by") for span in spans if span.get("closed_by") in CAPS)
    said = (f"{cap}, {n} {'span' if n == 1 else 'spans'} cut" for cap, n in cut.items())
    return f"; cap reached: {'; '.join(said)}" if cut else ""


def _coloured(author: Author | None, text: str) -> str:
    if author is None or author not in _STYLES:
        return _html(text)
    return f'<span title="{NAMES[author]}" style="{_STYLES[author]}">{_html(text)}</span>'


def _headings(rows: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(heading for row in rows for heading in row))


def _html_table(rows: Sequence[Mapping[str, str]]) -> str:
    headings = _headings(rows)
    head = "".join(f'<th style="{_CELL};white-space:nowrap">{one}</th>' for one in headings)
    cells = [
        "".join(f'<td style="{_CELL}">{_html(row.get(one, ""))}</td>' for one in headings)
        for row in rows
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return (
        f'<div style="overflow-x:auto"><table style="border-collapse:collapse"><thead><tr>{head}'
        f"</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    headings = _headings(rows)
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for row in rows:
        cells = (_markdown(" ".join(_plain(row.get(one, "")).split())) for one in headings)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    return _NOT_XML.sub("\ufffd", harmless(text.replace("\r\n", "\n")))


def _html(text: str) -> str:
    return escape(_plain(text))


def _markdown(text: str) -> str:
    """Return Markdown that shows a text as it is: nothing in it is a mark-up sign."""
    lines = []
    numbered = _AS_NUMBER.sub(lambda found: f"&\0{ord(found[0])};", text)
    for line in _ESCAPED.sub(r"\\\1", numbered).replace("\0", "#").split("\n"):
        words = line.lstrip(" \t")
        indent = line[: len(line) - len(words)].replace("\t", " " * 4)
        lines.append("&nbsp;" * len(indent) + words)
    return "  \n".join(lines).strip()
