"""The audit report: one valid page, nothing loaded from elsewhere, nothing of the log unescaped."""

import re
from html.parser import HTMLParser

import pytest

from splitreason_integrations import Policy, Prices, Request, SplitEngine, blocking
from splitreason_integrations.audit import AuditLog
from splitreason_integrations.audit.charts import over_time
from splitreason_integrations.audit.history import load
from splitreason_integrations.audit.page import render, usd
from splitreason_integrations.testing import ScriptedModel

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>{{ 7*7 }}"
VOID = {"meta", "br", "img", "hr", "input", "link"}


class Page(HTMLParser):
    """Reads a page; an end tag that does not fit raises."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.written = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        self.texts.append(text)
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "span":
            self.written.append((attributes.get("class", ""), text))

    @property
    def text(self):
        return "".join(self.texts)


def write_requests(log, *, count=3, hostile=False):
    words = HOSTILE if hostile else "cards"
    for number in range(count):
        small = ScriptedModel(f"47*23 =<bigmodel> {words}.<bigmodel>\n</think>\n\nMia has {words}.")
        fails = 2 if number == 1 else None
        large = ScriptedModel(" = 1081</bigmodel>", prices=Prices(1, 8), fail_after=fails)
        engine = SplitEngine(small=small, large=large, audit=log, policy=Policy(max_spans=1))
        name = f'"><script>{number}</script>' if hostile else f"request-{number}"
        messages = [{"role": "user", "content": f"How many {words}?"}]
        request = Request(messages=messages, request_id=name, max_tokens=400)
        blocking.run(lambda engine=engine, request=request: engine.complete(request))


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl", content=True)


def page_of(log, **more):
    return render(load(log.path), name=log.path.name, **more)


def test_authors_are_told_apart(log):
    write_requests(log, count=1)
    page = Page(page_of(log))
    assert ("large reasoning", " = 1081") in page.written
    assert ("small reasoning", "47*23 =") in page.written
    assert any(author == "small answer" for author, _ in page.written)


def test_figures_failures_and_decisions(log):
    write_requests(log)
    log.append(
        "splitreason.human.answered", {"by": "ada", "decision": "refuse"}, request_id="request-2"
    )
    page = Page(page_of(log))
    for said in (
        "offload share",
        "handoff.failed",
        "handoff.fell_back",
        "RuntimeError",
        "ada",
        "max_spans",
    ):
        assert said in page.text
    assert "The log is whole" in page.text
    assert sum(tag == "rect" for tag, _ in page.tags) >= 2
    assert sum(tag == "details" for tag, _ in page.tags) == 3


def test_numbers_have_units_and_few_digits(log):
    write_requests(log, count=1)
    facts = {"by": "ada", "decision": "refuse", "span": 0, "waited_s": 3.14159265}
    log.append("splitreason.human.answered", facts, request_id="request-0")
    spent = {"error": "OSError", "offload_share": 0.123456789, "cost_usd": 0.000012345678}
    log.append("splitreason.handoff.failed", spent, request_id="request-0")
    page = Page(page_of(log))
    assert "decision refuse, span 1, waited 3.14 s" in page.text
    assert "cost 0.000012 USD, error OSError, offload share 12.3%" in page.text


def test_a_cancelled_request_is_no_failure(log):
    write_requests(log, count=1)
    log.append("request.cancelled", {"error": "CancelledError"}, request_id="request-9")
    page = Page(page_of(log))
    assert "CancelledError" not in page.text
    text = " ".join(page.text.split())
    assert "0 not finished" in text.replace("0not", "0 not")
    assert "1 cancelled by the caller" in text.replace("1cancelled", "1 cancelled")


def test_on_a_narrow_screen_each_cell_has_its_heading(log):
    write_requests(log)
    page = Page(page_of(log))
    cells = [attributes for tag, attributes in page.tags if tag == "td"]
    assert cells
    assert all(attributes.get("data-heading") for attributes in cells)


@pytest.mark.parametrize("content", [True, False])
def test_hostile_text_is_escaped(tmp_path, content):
    log = AuditLog(tmp_path / "<b>audit.jsonl", content=content)
    write_requests(log, hostile=True)
    log.append("splitreason.human.answered", {"by": HOSTILE, HOSTILE: HOSTILE}, request_id="r")
    text = page_of(log)
    page = Page(text)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE in page.text


def test_the_page_needs_nothing_else(log):
    write_requests(log, count=1)
    text = page_of(log)
    assert text.startswith("<!DOCTYPE html>")
    assert not re.search(r"https?:|@import|url\(|<link|<script", text)
    sources = [a for _, attributes in Page(text).tags for a in attributes if a in ("src", "href")]
    assert sources == ["href"] * len(sources)
    assert "prefers-color-scheme: dark" in text


def test_an_empty_and_a_damaged_log(log):
    assert "None." in Page(page_of(log)).text
    write_requests(log, count=2)
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:6]) + lines[7])
    page = Page(page_of(log))
    assert "damaged at line 7" in page.text
    assert "unfinished" in page.text


def test_a_long_log_shows_the_newest(log):
    write_requests(log, count=4)
    page = Page(page_of(log, newest=2))
    shown = [attributes["id"] for tag, attributes in page.tags if tag == "details"]
    assert shown == ["request-3", "request-2"]
    assert "2 before them" in page.text


def test_bars_cover_the_time(log):
    write_requests(log, count=5)
    requests = load(log.path).requests
    chart = over_time("n", requests, len, str)
    assert sum(int(bar.says.split(": ")[1].split()[0]) for bar in chart.bars) == 5
    assert all(0 <= bar.x <= 560 and 0 <= bar.y <= 120 for bar in chart.bars)
    assert max(bar.height for bar in chart.bars) == 120
    assert over_time("n", [], len, str).bars == ()


@pytest.mark.parametrize(
    ("amount", "shown"), [(0, "0.00 USD"), (0.000123, "0.000123 USD"), (1234.5, "1,234.50 USD")]
)
def test_money(amount, shown):
    assert usd(amount) == shown
