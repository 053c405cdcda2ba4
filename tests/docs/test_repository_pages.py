"""Pages outside the site, such as README: their links, anchors and images are there."""

from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.repository_pages import anchors, links
from tests.plain_words import ROOT, tracked

PAGES = tracked("*.md", ":!docs", ":!tests/formats")


def faults(page, text):
    """Yield what is wrong with each link of a page that leads into the repository."""
    for image, words, address in links(text):
        parts = urlsplit(address)
        if parts.scheme:
            continue
        path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if path != page and not path.exists():
            yield f"{address}: no such file"
        elif parts.fragment and path.suffix == ".md":
            known = anchors(text if path == page else path.read_text("utf-8"))
            if parts.fragment not in known:
                yield f"{address}: no such heading"
        if image and not words:
            yield f"{address}: an image without a text"


def test_there_are_pages():
    assert ROOT / "README.md" in PAGES
    assert len(PAGES) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page):
    assert not list(faults(page, page.read_text("utf-8")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a](nothing.md)", "no such file"),
        ("# One\n[a](#two)", "no such heading"),
        ("[a](LICENSE) [b](README.md#no-such)", "no such heading"),
        ("![](LICENSE)", "an image without a text"),
    ],
)
def test_a_fault_is_found(text, said):
    assert [said in one for one in faults(ROOT / "page.md", text)] == [True]


def test_code_and_other_hosts_are_not_checked():
    text = "# A b: `c`\n[a](#a-b-c) [b](https://x.example/y)\n```md\n[c](nothing.md)\n```\n"
    assert not list(faults(ROOT / "page.md", text))
