"""The table of the machine's transitions, as its code has them."""

from build_tools.markdown import code, summary, table
from splitreason_integrations.decide.machine import TRANSITIONS


def transitions() -> str:
    """Return a row for each fact that can happen in a state, with the state after it."""
    rows = (
        (code(state.name), code(fact.__name__), code(after.name), summary(fact))
        for (state, fact), after in TRANSITIONS.items()
    )
    return table(("State", "Fact", "State after it", "Meaning of the fact"), rows)


def diagram() -> str:
    """Return the same as a diagram: an arrow for each pair of states, with its facts."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, fact), after in TRANSITIONS.items():
        arrows.setdefault((state.name, after.name), []).append(fact.__name__)
    begin = next(iter(TRANSITIONS))[0].name
    lines = (
        "direction LR",
        f"[*] --> {begin}",
        *(
            f"{first} --> {after}: {'<br/>'.join(facts)}"
            for (first, after), facts in arrows.items()
        ),
        "DONE --> [*]",
    )
    return "\n".join(("```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"))
