"""The report: complete, self-contained, and safe for any text."""

import json
import re
from html.parser import HTMLParser

import pytest

from splitreason_integrations.evals import plot
from splitreason_integrations.evals.answering import Asking
from splitreason_integrations.evals.contest import Contest, contest
from splitreason_integrations.evals.drawings import SERIES, drawings
from splitreason_integrations.evals.journal import REPORTS
from splitreason_integrations.evals.network import Network
from splitreason_integrations.evals.page import markdown, page, write_report
from splitreason_integrations.evals.paired import paired
from splitreason_integrations.evals.results import Result
from splitreason_integrations.evals.runner import Runner
from splitreason_integrations.evals.tasks import Task
from tests.evals.evaluations import outcome, result

HOSTILE = (
    "</style></script><script>alert(1)</script><img src=x onerror=alert(2)>"
    "{{ 7*7 }}{% raw %}"
    "\x00\x1b[31m\u202e$\\frac{$ \u6f22\u5b57 \ud800 ]]><!-- | ``` \n# not a heading"
)
CONTEXT = {
    "command": f"splitreason eval --data '{HOSTILE}'",
    "hardware": "a machine",
    "versions": {"torch": "2"},
    "date": "2026-01-01",
    "settings": {"seed": 0},
}
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Checker(HTMLParser):
    """Every tag is closed in its turn; keeps what a page would load, run or be found by."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.attributes, self.links = [], [], [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [v for name, v in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def checked(html):
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


def hostile(mode="split", name=HOSTILE, samples=1, n=4, **rest):
    texts = [
        {"author": author, "channel": "reasoning", "text": f"{author} {HOSTILE}"}
        for author in ("small", "large", "human")
    ]
    outcomes = tuple(
        outcome(at % 2 == 0, large=3, texts=texts, cost_usd=0.001) for at in range(n * samples)
    )
    return Result(
        mode=mode,
        trigger=f"keyword:{HOSTILE}",
        outcomes=outcomes,
        seed=0,
        small=name,
        samples=samples,
        network=Network(round_trip_s=0.1, tokens_per_s=40),
        **rest,
    )


@pytest.fixture(scope="module", params=[1, 2], ids="{} samples".format)
def found(request):
    results = hostile(samples=request.param), hostile("small", "plain", samples=request.param)
    tasks = tuple(
        Task(({"role": "user", "content": f"{at} {HOSTILE}"},), answer=HOSTILE) for at in range(4)
    )
    pair = paired(results[0].side(), results[1].side(), resamples=100)
    return Contest(results, (pair,), tasks)


def test_the_page_is_whole_and_loads_and_runs_nothing(found):
    html = page(found, CONTEXT)
    checker = checked(html)
    assert not {"script", "img", "link", "iframe", "object", "base"} & set(checker.tags)
    assert not [name for name in checker.attributes if name.startswith("on")]
    assert all(link.startswith("#") for link in checker.links)
    assert len(checker.ids) == len(set(checker.ids))
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {f"#{one}" for one in checker.ids}
    assert {link[1:] for link in checker.links} <= set(checker.ids)
    assert not re.search(r"@import|<metadata", html)
    assert "default-src 'none'" in html
    assert checker.tags.count("svg") == 3


def test_on_a_narrow_screen_each_cell_has_its_heading(found):
    html = page(found, CONTEXT)
    headings = re.findall(r"<th>([^<]*)</th>", html)
    cells = re.findall(r"<td([^>]*)>", html)
    assert cells
    assert {'data-heading="USD per 1k"', 'data-heading="verdict"'} <= {one.strip() for one in cells}
    assert {f' data-heading="{heading}"' for heading in headings} >= set(cells)


def test_the_page_shows_hostile_text_as_text(found):
    html = page(found, CONTEXT)
    assert "<script>" not in html
    assert "{{ 7*7 }}" in html
    assert "&lt;script&gt;alert(1)" in html
    for character in "\x00\x1b\u202e\ud800":
        assert character not in html
    for author in ("small", "large", "human"):
        assert f'<span class="{author} reasoning">{author} &lt;/style' in html


def test_colours_are_the_pages_own_in_light_and_dark(found):
    html = page(found, CONTEXT)
    used = set(re.findall(r"var\((--[\w-]+)\)", html))
    in_the_dark = re.compile(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{[^}]*\}\s*\}")
    dark = set(re.findall(r"(--[\w-]+):", "".join(in_the_dark.findall(html))))
    light = set(re.findall(r"(--[\w-]+):", in_the_dark.sub("", html)))
    assert used <= dark
    assert used <= light
    assert {f"--series-{at}" for at in range(2)} <= used
    for _, svg in drawings(found.results):
        assert not re.search(r"(?:fill|stroke): #(?!none)", svg)


def test_more_results_than_colours():
    some = [result("split", [1, 0], large=[at, 1], small=f"model {at}") for at in range(SERIES + 2)]
    titles = [title for title, _ in drawings(some)]
    assert len(titles) == 2, "no cost, no picture of it"


def test_markdown_keeps_its_tables_and_its_code(found):
    text = markdown(found, CONTEXT)
    heading = next(line for line in text.splitlines() if line.startswith("| mode | trigger"))
    columns = heading.count("|")
    rows = [line for line in text.splitlines() if line.startswith("| split ")]
    assert re.sub(r"\\\|", "", rows[0]).count("|") == columns
    assert text.count("\n# not a heading") == 1, "within the code alone"
    assert "````" in text


def test_three_self_contained_files(found, tmp_path):
    write_report(tmp_path, found, CONTEXT)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(REPORTS)
    data = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert data["pairs"][0]["n"] == 4
    assert {"command", "hardware", "versions", "date", "settings"} <= data.keys()
    for name in REPORTS[1:]:
        text = (tmp_path / name).read_text("utf-8")
        for said in ("a machine", "2026-01-01", "seed 0", "one answer at a time", "splitreason"):
            assert said in text


def test_latency_with_many_at_once_says_so(found):
    crowded = Contest((hostile(at_once=8),), (), found.tasks)
    assert "8 answers at once, which share the machine" in page(crowded, CONTEXT)


def test_tasks_on_which_modes_disagree_come_first():
    tasks = tuple(Task(({"role": "user", "content": f"question {at}"},), "1") for at in range(30))
    rights = [1] * 30
    split = result("split", [*rights[:20], 0, *rights[21:]], large=[1] * 30)
    html = page(Contest((split, result("small", rights)), (), tasks), CONTEXT)
    shown = re.findall(r"question (\d+)", html)
    assert len(shown) == 12
    assert shown[0] == "20"


def test_without_matplotlib_the_extra_is_named_before_anything_runs(run, monkeypatch, tmp_path):
    monkeypatch.setattr(plot, "find_spec", lambda name: None)
    done = run("eval", "--out", str(tmp_path / "out"), status=2)
    assert "splitreason-integrations[plot]" in done.err
    assert not (tmp_path / "out").exists()


def test_a_real_contest_makes_the_useful_comparisons(random_pair):
    from splitreason_integrations import SplitEngine

    engine = SplitEngine(small=random_pair[0], large=random_pair[1])
    tasks = [Task(({"role": "user", "content": "Hello"},), answer="1")] * 2
    runner = Runner(tasks=tasks, asking=Asking(max_tokens=6))
    found = contest(runner, engine, ["large", "small", "split"], others=[random_pair[1]])
    first, other = (f"({model.name})" for model in random_pair)
    assert [one.name for one in found.results] == [
        *(f"small {first}", "large", f"split {first}"),
        *(f"small {other}", f"split {other}"),
    ]
    assert [(pair.first, pair.other) for pair in found.pairs] == [
        (f"small {other}", f"small {first}"),
        (f"split {other}", f"split {first}"),
        (f"split {first}", f"small {first}"),
        (f"split {first}", "large"),
        (f"split {other}", "large"),
        (f"split {other}", f"small {other}"),
    ]
