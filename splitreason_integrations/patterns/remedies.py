"""What to write in place of what a pattern cannot have."""

from splitreason_integrations.patterns.scanning import class_end, group_end
from splitreason_integrations.patterns.writing import Feature

_LOOKS = ("(?=", "(?!", "(?<=", "(?<!")
_ANSWERS = {
    Feature.REFERENCE: r"spell out what may repeat, as in (?:aa|bb) for (a|b)\1",
    Feature.CONDITION: "write both cases, joined with |",
    Feature.TIMES: "repeat less often, over all levels together, or without an end: + or {500,}",
    Feature.SIZE: "split it into several, or repeat less in it",
    Feature.ENDS: r"write \Z where only the end of the text is meant",
    Feature.BOUNDARIES: "write (?a) once, at the beginning, or leave it out",
    Feature.NO_BOUNDARY: r"write what has to stand beside \B, as in \w\B\w",
}


def remedy(pattern: str, feature: Feature) -> str:
    """Return what to write in place of a feature, as the second half of a sentence."""
    if feature is Feature.LOOK:
        return _without_look(pattern)
    if feature is Feature.ATOMIC:
        return _instead(pattern.replace("(?>", "(?:"))
    if feature is Feature.POSSESSIVE:
        at = next((at for at in _outside_classes(pattern) if _is_possessive(pattern, at)), None)
        if at is not None:
            return _instead(pattern[: at + 1] + pattern[at + 2 :])
    return _ANSWERS.get(feature, "write it without")


def _instead(pattern: str) -> str:
    return f"write {pattern!r}: nothing is tried twice here in any case"


def _without_look(pattern: str) -> str:
    """Return how to write a pattern without the first look ahead or behind in it."""
    places = (at for at in _outside_classes(pattern) if pattern.startswith(_LOOKS, at))
    at = next(places, None)
    if at is None:
        return "write what comes before and after it as a part of the pattern"
    end = group_end(pattern, at)
    looked = pattern[at:end]
    sign = next(sign for sign in _LOOKS[::-1] if looked.startswith(sign))
    inner = looked[len(sign) : -1]
    before, after = pattern[:at], pattern[end:]
    if sign == "(?=" and not after.strip(")"):
        return f"write {f'{before}(?:{inner}){after}'!r}, which is found in the same texts"
    if sign == "(?<=" and not before.strip("("):
        return f"write {f'{before}(?:{inner}){after}'!r}, which is found in the same texts"
    if sign == "(?!":
        return f"in place of {looked} write what may follow, as in (?:[^0-9]|$) for (?![0-9])"
    if sign == "(?<!":
        return f"in place of {looked} write what may precede, as in (?:^|[^0-9]) for (?<![0-9])"
    return f"in place of {looked} write the orders in which both can occur, as in a.*b|b.*a"


def _outside_classes(pattern: str) -> list[int]:
    """Return the places that neither a backslash nor a class of characters covers."""
    places, at = [], 0
    while at < len(pattern):
        if pattern[at] == "[":
            places.append(at)
            at = class_end(pattern, at)
            # The class itself may be repeated.
            places.append(at - 1)
            continue
        places.append(at)
        at += 2 if pattern[at] == "\\" else 1
    return places


def _is_possessive(pattern: str, at: int) -> bool:
    return pattern[at] in "*+?}" and pattern.startswith("+", at + 1)
