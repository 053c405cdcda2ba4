"""Tune a trigger to an offload share on the prompts that it will be compared on.

Each trigger has one parameter, mapped to a position from never (0) to always (1). The search starts
on few prompts, narrows on more, and finishes on all of them.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from splitreason_integrations.decide.triggers import Entropy, Keyword, Random, Tag, Trigger

TOLERANCE = 0.02
"""Largest relative error at which a share counts as reached."""
_SPREAD = 0.6

_RAREST, _SUREST = 1e-4, 8.0
_REACH = math.log(9999)
_STEPS, _LAST_STEPS = 7, 5
_FIRST_STEP, _LATER_STEP = 0.25, 0.02
_T = TypeVar("_T")

TriggerAt = Callable[[float], Trigger]
"""Returns the trigger at a position from never (0) to always (1)."""


def triggers_of(mode: str, rule: str) -> TriggerAt:
    """Return the function from position (0 never, 1 always) to the trigger of a mode.

    A rule opens a span where its pattern matches and a random draw agrees, so its largest share is
    the one at which every match opens a span.

    Raises:
        ValueError: The mode has no such parameter.

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
    raise ValueError(f"the trigger of {mode} cannot be tuned")


def tune_to(
    share: float,
    measure: Callable[[float, int], _T],
    share_of: Callable[[_T], float],
    prompts: Sequence[int],
    *,
    tolerance: float = TOLERANCE,
    last_steps: int = _LAST_STEPS,
) -> _T:
    """Return the measurement nearest to a share, on the last of the prompt counts.

    Args:
        share: The offload share to reach, above 0.
        measure: Takes a position of the trigger's parameter and the number of prompts to use.
        share_of: Returns the share of a measurement.
        prompts: Increasing numbers of prompts; the last is all of them.
        tolerance: Largest relative error at which the share counts as reached.
        last_steps: Most measurements on all prompts, behind stages on fewer.

    """
    at, step, slope = 0.5, _FIRST_STEP, 0.0
    for few in prompts[:-1]:
        tried: dict[float, float] = {}
        while at not in tried and len(tried) < _STEPS:
            tried[at] = share_of(measure(at, few))
            # On few prompts the estimate of a share is noisy, so the tolerance is wider.
            if _reached(tried[at], share, max(tolerance, _SPREAD / math.sqrt(few))):
                break
            at = _next(share, tried, step)
        at = min(tried, key=lambda one: abs(tried[one] - share))
        step, slope = _LATER_STEP, _slope(tried) or slope
    found: dict[float, _T] = {}
    while at not in found and len(found) < (last_steps if len(prompts) > 1 else _STEPS):
        found[at] = done = measure(at, prompts[-1])
        if _reached(share_of(done), share, tolerance):
            break
        if slope and len(found) == 1 and share_of(done):
            step = min(_FIRST_STEP, 1.1 * abs(math.log(share / share_of(done))) / slope)
        at = _next(share, {one: share_of(done) for one, done in found.items()}, step)
    return min(found.values(), key=lambda done: abs(share_of(done) - share))


def stages(prompts: int) -> list[int]:
    """Return the numbers of prompts that the stages of a search use."""
    return [*(few for few in (48, 240) if 2 * few <= prompts), prompts]


def _reached(found: float, share: float, tolerance: float) -> bool:
    return abs(found - share) <= tolerance * share


def _slope(tried: dict[float, float]) -> float:
    """Return how fast the log of the share rises with the position; 0 where that is unknown."""
    low, high = (pick((at for at in tried if tried[at]), default=0.0) for pick in (min, max))
    if low == high or tried[high] <= tried[low]:
        return 0.0
    return math.log(tried[high] / tried[low]) / (high - low)


def _next(share: float, tried: dict[float, float], step: float) -> float:
    """Return the next position: between the nearest two, or further out by doubling."""
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
    # The share is a step function: a point too near an end would hardly narrow the bracket.
    return float(below + (above - below) * min(0.9, max(0.1, part)))


def _short(value: float) -> float:
    """Return a value rounded as in the trigger's text, so that parsing the text restores it."""
    return float(f"{value:.6g}")
