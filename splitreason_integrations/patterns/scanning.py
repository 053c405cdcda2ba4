"""Where groups and classes of characters end in the text of a regular expression."""


def group_end(pattern: str, at: int) -> int:
    """Return the place behind the group that opens at `at`."""
    depth = 0
    while at < len(pattern):
        if pattern[at] == "[":
            at = class_end(pattern, at)
            continue
        depth += {"(": 1, ")": -1}.get(pattern[at], 0)
        at += 2 if pattern[at] == "\\" else 1
        if depth == 0:
            break
    return at


def class_end(pattern: str, at: int) -> int:
    """Return the place behind the class of characters that opens at `at`."""
    at += 1
    if pattern.startswith("^", at):
        at += 1
    at += pattern.startswith("]", at)
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1
