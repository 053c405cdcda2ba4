"""How long a conversation is, and whether it leaves room for a reply."""

from splitreason_integrations.backends.base import Model
from splitreason_integrations.errors import ContextOverflowError
from splitreason_integrations.protocols import Prompt
from splitreason_integrations.request import Request

_LONG_CHARACTERS = 10_000
"""From so many on, a conversation is rendered in a thread: 3 µs each would hold other requests."""


def is_long(request: Request) -> bool:
    """Return whether a request's messages and tools are long together."""
    said = sum(
        len(str(message.get("content") or "")) + len(str(message.get("tool_calls") or ""))
        for message in request.messages
    )
    return said + sum(len(str(tool)) for tool in request.tools or ()) > _LONG_CHARACTERS


def check_room(model: Model, prompt: Prompt) -> None:
    """Raise ContextOverflowError where a prompt leaves no room for a reply."""
    used, context = len(prompt.token_ids), model.context_tokens
    if used >= context:
        raise ContextOverflowError(
            f"the prompt has {used} tokens and the context of {model.name} holds {context}: "
            "shorten the messages or the retrieved documents, or use a model with a longer context"
        )
