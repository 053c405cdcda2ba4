"""The built site is whole: no dead link, nothing from another host, every public name."""

import importlib
import re

import pytest

from tests.docs.site_pages import facts_of, is_elsewhere, target
from tests.test_public_names import PUBLIC

ADDRESS = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")
NO_ENTRY = {"__version__"}
"""Named on the page of all names, with no entry of its own."""


@pytest.fixture(scope="module")
def pages(built):
    return {path: facts_of(path) for path in sorted(built.rglob("*.html"))}


def test_there_are_pages(pages):
    assert len(pages) > 50


def test_every_link_leads_to_a_page_and_an_anchor(pages, built):
    dead = []
    for page, facts in pages.items():
        for address in facts.links:
            if is_elsewhere(address) or page.name == "404.html":
                continue
            path, anchor = target(page, address, built)
            known = pages[path].ids if path in pages else ()
            if not path.is_file() or (anchor and path in pages and anchor not in known):
                dead.append(f"{page.relative_to(built)} -> {address}")
    assert not dead


def test_every_page_is_reached_from_the_home_page(pages, built):
    reached, waiting = set(), [built / "index.html"]
    while waiting:
        page = waiting.pop()
        if page in reached or page not in pages:
            continue
        reached.add(page)
        waiting += [
            target(page, one, built)[0] for one in pages[page].links if not is_elsewhere(one)
        ]
    lost = {page.relative_to(built).as_posix() for page in set(pages) - reached}
    assert lost <= {"404.html"}


def test_no_page_loads_anything_from_another_host(pages):
    loaded = {one for facts in pages.values() for one in facts.loaded}
    assert any(one.endswith("mermaid.js") for one in loaded) == has_diagrams(pages)
    assert not [one for one in loaded if is_elsewhere(one)]


def has_diagrams(pages):
    return any('class="mermaid"' in page.read_text("utf-8") for page in pages)


def test_what_pages_load_is_there(pages, built):
    for page, facts in pages.items():
        for address in facts.loaded:
            assert address.startswith("data:") or target(page, address, built)[0].is_file(), address


def test_no_style_sheet_loads_anything_from_another_host(built):
    sheets = list(built.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        for found in ADDRESS.findall(sheet.read_text("utf-8")):
            assert not is_elsewhere("".join(found)), sheet


def test_pages_with_diagrams_have_their_script(pages):
    """Without it the theme would fetch the script from another host."""
    for page in pages:
        text = page.read_text("utf-8")
        own = "assets/javascripts/mermaid.js" in text
        assert own == ('class="mermaid"' in text), page


def test_the_theme_does_not_ask_for_the_repositorys_stars(pages):
    for page in pages:
        assert 'data-md-component="source"' not in page.read_text("utf-8")


def test_images_have_a_text(pages):
    for page, facts in pages.items():
        assert not facts.images_without_text, page


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_an_entry(module, pages):
    imported = importlib.import_module(module)
    names = getattr(imported, "__all__", None) or own_names(imported)
    assert names
    ids = {one for facts in pages.values() for one in facts.ids}
    missing = [
        name
        for name in names
        if not {f"{module}.{name}", place_of(getattr(imported, name), name)} & ids
    ]
    assert set(missing) <= NO_ENTRY


def own_names(module):
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def place_of(value, name):
    return f"{getattr(value, '__module__', '')}.{name}"


def test_no_place_for_a_table_is_left_empty(built):
    for page in built.rglob("*.html"):
        assert "<!-- reference:" not in page.read_text("utf-8"), page


def test_the_decision_pages_print_without_navigation(built):
    sheet = (built / "assets" / "site.css").read_text("utf-8")
    printed = sheet.partition("@media print")[2]
    assert "size: A4" in printed
    assert all(part in printed for part in (".md-sidebar", ".md-header", ".md-tabs"))
    for page in ("decide", "ja/decide"):
        assert "site.css" in (built / page / "index.html").read_text("utf-8")
