"""What calibration refuses before anything is measured."""

import math

from splitreason_integrations.backends.tag_probe import Teaching
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.goals import Goal
from splitreason_integrations.evals.scalars import TAG, Scalar
from splitreason_integrations.loop.choice import untaught_remedy

FEWEST_PROMPTS = 20
"""Below it, a percentile bootstrap's interval is about a tenth or more narrower than Student's."""
_FEWEST_BY_POINT = 2
_MISSED = 0.025
"""Chance at which a one-sided end of a 95 % interval is missed."""


def check_prompts(n: int, goal: Goal) -> None:
    """Raise RequestError where there are fewer prompts than an interval can be taken from."""
    least, why = FEWEST_PROMPTS, "from fewer, an interval is too narrow to be trusted"
    if goal.by_point:
        least, why = _FEWEST_BY_POINT, "one prompt says nothing of others"
    elif not goal.is_cap:
        if goal.bound == 1:
            raise RequestError("no number of prompts can show an accuracy of 100 %: ask for less")
        # The exact (Clopper-Pearson) lower end with every answer right: it must reach the bound.
        needed = math.ceil(math.log(_MISSED) / math.log(goal.bound))
        if needed > least:
            least = needed
            why = f"with fewer, even {n} right answers of {n} do not show {goal}"
    if n < least:
        raise RequestError(
            f"calibration needs {least} prompts or more, and there are {n}: {why}. Bring more data"
            + ("" if goal.by_point else ", or compare point estimates with --point")
        )


def check_taught(scalar: Scalar, teaching: Teaching, small: str) -> None:
    """Raise RequestError for a tag that the small model never learned: its P(tag) is noise."""
    if scalar.name != TAG.name:
        return
    if scalar.opens and not teaching.opens:
        raise RequestError(
            f"{untaught_remedy(small)}. What it gives the tag is noise, to which no threshold is "
            f"fitted ({teaching.why}): calibrate another trigger, such as --trigger disagreement"
        )
    if not scalar.opens and not teaching.closes:
        raise RequestError(
            f"{small} was never taught to end spans ({teaching.why}): what it gives the close tag "
            "is noise, to which no threshold is fitted. Calibrate another close rule, such as "
            "--close agrees"
        )
