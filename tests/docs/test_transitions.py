"""The page on the engine shows the machine's transitions as the code has them."""

import re
from pathlib import Path

from build_tools.pages import filled
from splitreason_integrations.decide.machine import TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "engine.md"
CODE = {(state.name, fact.__name__, after.name) for (state, fact), after in TRANSITIONS.items()}


def test_the_table_equals_the_code():
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|", filled(PAGE.read_text("utf-8")), re.M
    )
    assert len(rows) == len(CODE)
    assert set(rows) == CODE


def test_the_diagram_equals_the_code():
    arrows = re.findall(r"^    (\w+) --> (\w+): (.*)$", filled(PAGE.read_text("utf-8")), re.M)
    drawn = [
        (first, fact, after) for first, after, facts in arrows for fact in facts.split("<br/>")
    ]
    assert len(drawn) == len(CODE)
    assert set(drawn) == CODE
