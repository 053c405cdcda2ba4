"""What `splitreason doctor` reports about a model on a server."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict

from splitreason_integrations.backends.abilities import abilities
from splitreason_integrations.backends.openai_server.chat import Chat
from splitreason_integrations.backends.openai_server.detect import Capabilities
from splitreason_integrations.backends.openai_server.form_probe import switch_of
from splitreason_integrations.backends.openai_server.model import ServerModel
from splitreason_integrations.backends.openai_server.refusals import LeftOut
from splitreason_integrations.backends.openai_server.text import Text
from splitreason_integrations.backends.trials import (
    ANSWERS,
    TRIALS,
    Finding,
    Trial,
    try_all,
)
from splitreason_integrations.errors import SplitReasonError

_BIAS = LeftOut("logit_bias")


async def findings(model: ServerModel, *, role: str) -> AsyncGenerator[Finding, None]:
    """Yield the dialect that a server speaks, and the result of each trial that its role needs."""
    what = f"{role} model speaks"
    try:
        await model.find_dialect(model.replicas.choose())
    except SplitReasonError as error:
        yield Finding(what, False, str(error))
        return
    can = model.capabilities
    assert can is not None, "the dialect is found"
    yield Finding(what, True, can.in_words, asdict(can))
    async for finding in try_all(model, role=role, trials=_needed(can, role)):
        yield finding
    async for finding in _abilities(model, role):
        yield finding
    # What a server does not heed is among its capabilities.
    left_out = sorted(str(one) for one in model.left_out if can.logit_bias or one != _BIAS)
    if left_out:
        said = f"all parameters but {', '.join(left_out)}"
        yield Finding(f"{role} model takes", True, said, {"left_out": left_out})


def _abilities(model: ServerModel, role: str) -> AsyncGenerator[Finding, None]:
    dialect = model.dialect
    if not isinstance(dialect, Chat):
        own = "its own grammars" if isinstance(dialect, Text) else None
        return abilities(model, role=role, means=lambda: own)
    replica = model.replicas.choose()
    return abilities(
        model,
        role=role,
        means=lambda: "structured outputs" if dialect.takes_grammars else None,
        switch=lambda: switch_of(replica, dialect, model.served),
    )


def _needed(can: Capabilities, role: str) -> Mapping[str, Trial]:
    """Return the trials for a role: a large model need not give probabilities."""
    if role == "small" or can.token_ids:
        return TRIALS
    needed = ["stops", "avoids"] if can.logit_bias else ["stops"]
    writes = TRIALS["writes"] if can.probabilities != "none" else ANSWERS
    return {"writes": writes} | {name: TRIALS[name] for name in needed}
