"""Finds out whether a server that takes text can hold it to a grammar."""

from dataclasses import replace

from splitreason_integrations.backends.openai_server.detect import greeting, whole_answer
from splitreason_integrations.backends.openai_server.dialects import (
    Served,
    is_not_understood,
)
from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.backends.openai_server.text import Text
from splitreason_integrations.errors import ModelCallError

_FORCED = " 7"


async def heeds_grammars(replica: Replica, dialect: Text, served: Served) -> bool:
    """Return whether a server writes the one token that a grammar lets come.

    Raises ModelCallError where it fails for another reason than the grammar.
    """
    codec = served.codec
    token = codec.encode(_FORCED)[-1]
    asked = greeting(served)
    question = dialect.question(replace(asked, order=replace(asked.order, only=(token,))))
    try:
        parts = await whole_answer(replica, question)
    except ModelCallError as error:
        if is_not_understood(error):
            return False
        raise
    said = "".join(part.text for part in parts)
    return said.strip() == codec.decode([token]).strip()
