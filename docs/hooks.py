"""Hooks of mkdocs: tables from the code, and the script for diagrams from the site itself."""

from importlib.resources import files as package_files
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from build_tools.notebooks import as_page, notebooks
from build_tools.pages import filled

MERMAID = "assets/javascripts/mermaid.js"
_DIAGRAM = 'class="mermaid"'
_END = "</body>"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add notebooks, and the script for diagrams, which would otherwise be of another host."""
    script = package_files("mermaidx") / "assets" / "mermaid.js"
    files.append(File.generated(config, MERMAID, content=script.read_bytes()))
    for path in notebooks():
        address = f"tutorials/notebooks/{path.stem}.md"
        files.append(File.generated(config, address, content=as_page(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the places of tables that are generated from the code."""
    return filled(markdown)


def on_post_page(output: str, *, page: Page, **_: Any) -> str:
    """Load the script for diagrams on pages that have one."""
    if _DIAGRAM not in output:
        return output
    root = "../" * page.url.count("/")
    return output.replace(_END, f'<script src="{root}{MERMAID}"></script>{_END}')
