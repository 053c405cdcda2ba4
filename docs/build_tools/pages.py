"""Puts into the reference pages what is generated from the code.

A page has a line `<!-- reference: NAME -->` where a table belongs.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial

from build_tools import (
    command,
    environment,
    errors,
    events,
    options,
    policies,
    replies,
    rules,
    transitions,
)

PARTS: Mapping[str, Callable[[], str]] = {
    "options": options.options,
    "triggers": rules.triggers,
    "close-rules": rules.close_rules,
    "ready-made-policies": policies.ready_made,
    **{name: partial(policies.keys, name) for name in policies.TABLES},
    **{name: partial(replies.keys, name) for name in replies.TABLES},
    "closed-by": replies.closed_by,
    "stop-reasons": replies.stop_reasons,
    "events": events.fields_of_events,
    "events-shown": events.where_shown,
    "error-tree": errors.tree,
    "errors": errors.all_errors,
    "python-errors": errors.entries,
    "variables-read": partial(environment.variables, "read"),
    "variables-default": partial(environment.variables, "default"),
    "variables-child": partial(environment.variables, "child"),
    "command": command.all_help,
    "transitions": transitions.transitions,
    "transitions-drawn": transitions.diagram,
}
"""What can be put into a page, by name."""

_PLACE = re.compile(r"^<!-- reference: (\S+) -->$", re.MULTILINE)


def places(markdown: str) -> list[str]:
    """Return the names of the parts that a page has a place for."""
    return _PLACE.findall(markdown)


def filled(markdown: str) -> str:
    """Return a page with each part in its place.

    Raises:
        KeyError: A place has an unknown name.

    """
    return _PLACE.sub(lambda place: PARTS[place[1]](), markdown)
