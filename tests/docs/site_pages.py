"""What a page of HTML names: ids, links, and what a browser loads for it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
    "embed": "src",
}
LOADING_LINKS = ("stylesheet", "icon", "preload", "modulepreload", "preconnect", "manifest")


@dataclass
class PageFacts(HTMLParser):
    """Ids, links, loaded addresses, images and style of one page."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    images_without_text: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(LOADED.get(tag, "")):
            self.loaded.append(given[LOADED[tag]])
        if tag == "link" and set((given.get("rel") or "").split()) & set(LOADING_LINKS):
            self.loaded.append(given["href"])
        if tag == "img" and not given.get("alt"):
            self.images_without_text.append(given.get("src"))


def facts_of(path):
    page = PageFacts()
    page.feed(path.read_text("utf-8"))
    return page


def is_elsewhere(address):
    """Return whether an address names another host."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def target(page, address, site):
    """Return the file of the site that an address of a page leads to, and the anchor."""
    parts = urlsplit(address)
    base = site if parts.path.startswith("/") else page.parent
    path = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)
