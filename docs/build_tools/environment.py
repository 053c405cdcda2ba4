"""The tables of environment variables."""

from build_tools.markdown import anchored, code, sentence, table
from splitreason_integrations.processes.environment import TABLE, Use


def variables(use: Use) -> str:
    """Return the table of the variables with which one thing is done."""
    rows = (
        (anchored(one.name, prefix=use), code(one.value), sentence(one.text))
        for one in TABLE
        if one.use == use
    )
    return table(("Variable", "Unset" if use == "read" else "Value", "Meaning"), rows)
