"""The repository's pages in Markdown, and the prose of pages and docstrings."""

import ast
import re

_FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TARGET = re.compile(r"\]\([^)\s]*\)")
_ADDRESS = re.compile(r"\w+://\S+")
_CAPITALS = re.compile(r"\b[A-Z][A-Z_]+\b")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *#*$", re.MULTILINE)
_OWN_ANCHOR = re.compile(r'(?:id|name)="([^"]+)"')


def without_code(markdown):
    """Return a page without blocks of code and comments; its lines keep their numbers."""
    for pattern in (_FENCED, _COMMENT):
        markdown = pattern.sub(lambda found: "\n" * found[0].count("\n"), markdown)
    return markdown


def prose(markdown):
    """Return the words of a page: no code, no addresses, no names in capitals."""
    text = _INLINE.sub(lambda found: "\n" * found[0].count("\n"), without_code(markdown))
    for pattern in (_TARGET, _ADDRESS, _CAPITALS):
        text = pattern.sub(" ", text)
    return text


def docstrings(code):
    """Return the docstrings of a module, each at its line."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            value = node.value.value
            if isinstance(value, str):
                lines.append((node.lineno, value))
    text = ""
    for line, value in sorted(lines):
        text += "\n" * max(1, line - 1 - text.count("\n")) + value
    return text


def links(markdown):
    """Yield each link of a page: whether it is an image, its text, and where it leads."""
    for found in _LINK.finditer(without_code(markdown)):
        yield found[1] == "!", found[2], found[3]


def anchors(markdown):
    """Return the anchors of a page as GitHub makes them of its headings."""
    found = set(_OWN_ANCHOR.findall(markdown))
    for heading in _HEADING.findall(_FENCED.sub("", markdown)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found
