"""Generated problems with correct traces: the domain of the embedded pair.

Nothing here imports torch, and only the family `frameworks` needs an extra.
"""

from splitreason_integrations.problems.arithmetic import Step, is_held_out
from splitreason_integrations.problems.grading import grade, last_integer
from splitreason_integrations.problems.records import FAMILIES, Family, Problem, ToolCall, Turn
from splitreason_integrations.problems.rendering import (
    Kind,
    Piece,
    Writing,
    join,
    render,
    render_large,
    render_small,
    render_tagged,
)
from splitreason_integrations.problems.sampling import Split, belongs, problems, sample

__all__ = [
    "FAMILIES",
    "Family",
    "Kind",
    "Piece",
    "Problem",
    "Split",
    "Step",
    "ToolCall",
    "Turn",
    "Writing",
    "belongs",
    "grade",
    "is_held_out",
    "join",
    "last_integer",
    "problems",
    "render",
    "render_large",
    "render_small",
    "render_tagged",
    "sample",
]
