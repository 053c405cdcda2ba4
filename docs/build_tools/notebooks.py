"""Notebooks as pages of the site, without any script of another host."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "cookbook" / "notebooks"


def notebooks() -> list[Path]:
    """Return the notebooks of the cookbook."""
    return sorted(FOLDER.glob("*.ipynb"))


def as_page(path: Path) -> str:
    """Return a notebook as Markdown: its text, its code, and what the code printed."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "text/html" in data:
            yield "".join(data["text/html"])
            continue
        text = "".join(output.get("text") or data["text/plain"])
        yield f"```text\n{text.rstrip()}\n```"
