"""Finds out whether a server that takes text can hold it to a grammar."""

from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.backends.openai_server.detect import whole_answer
from splitreason_integrations.backends.openai_server.dialects import (
    Continuation,
    Served,
    is_not_understood,
)
from splitreason_integrations.backends.openai_server.replicas import Replica
from splitreason_integrations.backends.openai_server.text import Text
from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.sampling import Sampling

_HELLO = [{"role": "user", "content": "Hello"}]
_FORCED = " 7"


async def heeds_grammars(replica: Replica, dialect: Text, served: Served) -> bool:
    """Return whether a server writes the one token that a grammar lets come.

    Raises ModelCallError where it fails for another reason than the grammar.
    """
    codec = served.codec
    token = codec.encode(_FORCED)[-1]
    order = WriteOrder(
        max_tokens=1,
        sampling=Sampling(temperature=0.0),
        seed=0,
        stream=0,
        stop_tokens=codec.end_tokens,
        only=(token,),
    )
    question = dialect.question(Continuation(codec.render(_HELLO, None), (), order, 1))
    try:
        parts = await whole_answer(replica, question)
    except ModelCallError as error:
        if is_not_understood(error):
            return False
        raise
    said = "".join(part.text for part in parts)
    return said.strip() == codec.decode([token]).strip()
