"""Figures in a page: the part between two markers, which a command replaces."""

from pathlib import Path

from splitreason_integrations.errors import RequestError


def split_at(path: Path, name: str) -> tuple[str, str]:
    """Return the text of a file before and after the figures between its two markers.

    The markers are the lines `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        RequestError: The file cannot be read, or lacks the markers.

    """
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    try:
        before, begin, rest = path.read_text("utf-8").partition(first)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error}") from error
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise RequestError(f"{path}: lacks the lines {first} and {last}")
    return before + begin, end + after


def write_into(path: Path, name: str, text: str) -> None:
    """Replace the figures between the markers of a file."""
    before, after = split_at(path, name)
    path.write_text(f"{before}\n\n{text}\n\n{after}", "utf-8")
