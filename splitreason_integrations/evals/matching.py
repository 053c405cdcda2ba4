"""Brings a trigger to an offload share, on the prompts that it will be compared on.

Each trigger has one knob, turned from never (0) to always (1). Few prompts find the region, more
of them narrow it down, and all of them decide.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from splitreason_integrations.decide.triggers import Entropy, Keyword, Random, Tag, Trigger

TOLERANCE = 0.02
"""A share is reached that lies within this part of what was asked for."""
_SPREAD = 0.6

_RAREST, _SUREST = 1e-4, 8.0
_REACH = math.log(9999)
_STEPS, _LAST_STEPS = 7, 5
_FIRST_STEP, _LATER_STEP = 0.25, 0.02
_T = TypeVar("_T")

Knob = Callable[[float], Trigger]


def knob(mode: str, rule: str) -> Knob:
    """Return the triggers of a mode, from never to always.

    A rule opens where its pattern ends and chance agrees: it reaches no more than the share at
    which chance always does.
    """
    match mode:
        case "random":
            return lambda at: Random(_short(math.pow(_RAREST, 1 - at)))
        case "rule":
            return lambda at: Keyword(rule) & Random(_short(math.pow(_RAREST, 1 - at)))
        case "entropy":
            return lambda at: Entropy(_short(_SUREST * math.pow(_RAREST / _SUREST, at)))
        case "split":
            return lambda at: Tag(_short(1 / (1 + math.exp(_REACH * (2 * at - 1)))))
    raise ValueError(f"{mode} has no knob")


def bring_to(
    share: float,
    measure: Callable[[float, int], _T],
    share_of: Callable[[_T], float],
    prompts: Sequence[int],
) -> _T:
    """Return what was measured nearest to a share, on the last of so many prompts.

    Args:
        share: what to reach, above 0.
        measure: takes a position of the knob and how many prompts to use.
        share_of: the share of what was measured.
        prompts: how many, growing; the last is all of them.

    """
    at, step, slope = 0.5, _FIRST_STEP, 0.0
    for few in prompts[:-1]:
        tried: dict[float, float] = {}
        while at not in tried and len(tried) < _STEPS:
            tried[at] = share_of(measure(at, few))
            # Few prompts tell a share less exactly, and have few spans to make it up from.
            if _reached(tried[at], share, max(TOLERANCE, _SPREAD / math.sqrt(few))):
                break
            at = _next(share, tried, step)
        at = min(tried, key=lambda one: abs(tried[one] - share))
        step, slope = _LATER_STEP, _slope(tried) or slope
    found: dict[float, _T] = {}
    while at not in found and len(found) < (_LAST_STEPS if len(prompts) > 1 else _STEPS):
        found[at] = done = measure(at, prompts[-1])
        if _reached(share_of(done), share, TOLERANCE):
            break
        if slope and len(found) == 1 and share_of(done):
            step = min(_FIRST_STEP, 1.1 * abs(math.log(share / share_of(done))) / slope)
        at = _next(share, {one: share_of(done) for one, done in found.items()}, step)
    return min(found.values(), key=lambda done: abs(share_of(done) - share))


def stages(prompts: int) -> list[int]:
    """Return how many prompts the stages of a search use."""
    return [*(few for few in (48, 240) if 2 * few <= prompts), prompts]


def _reached(found: float, share: float, tolerance: float) -> bool:
    return abs(found - share) <= tolerance * share


def _slope(tried: dict[float, float]) -> float:
    """Return how fast the logarithm of the share rises with the knob; 0 where that is not known."""
    low, high = (pick((at for at in tried if tried[at]), default=0.0) for pick in (min, max))
    if low == high or tried[high] <= tried[low]:
        return 0.0
    return math.log(tried[high] / tried[low]) / (high - low)


def _next(share: float, tried: dict[float, float], step: float) -> float:
    """Return the position to try next: between the nearest ones, or further out by doubling."""
    below = max((at for at, found in tried.items() if found <= share), default=None)
    above = min(
        (at for at, found in tried.items() if found > share and (below is None or at > below)),
        default=None,
    )
    further = step * 2 ** max(0, len(tried) - 1)
    if above is None:
        return float(min(1.0, max(tried) + further))
    if below is None:
        return float(max(0.0, min(tried) - further))
    low, high = tried[below], tried[above]
    part = (share - low) / (high - low)
    # Shares jump: a point too near an end would hardly narrow the bracket.
    return float(below + (above - below) * min(0.9, max(0.1, part)))


def _short(value: float) -> float:
    """Return a value as a trigger's text gives it back."""
    return float(f"{value:.6g}")
