"""Messages → each model's prompt. All checks happen here, before anything is generated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from splitreason_integrations.errors import (
    EmptyMessagesError,
    RequestError,
    UnsupportedContentError,
)
from splitreason_integrations.protocols import Codec, Prompt
from splitreason_integrations.records import Message
from splitreason_integrations.text.encodable import check_encodable

ROLES = frozenset({"system", "user", "assistant", "tool"})

_THINK = "<think>"
_NEXT_STEP = """\
Somebody is working on this and has written what stands between the two lines of dashes. It may \
end anywhere.
----------
{begun}
----------
Write the next step, the one that is hard, and stop behind it. Your text is put right behind the \
last character above: repeat nothing of it, begin with no remark, and be as brief as it is."""

_ANSWER = """\
Somebody has thought about this and has written what stands between the two lines of dashes.
----------
{begun}
----------
Answer now, in the form that is asked for, and write nothing else."""


def check_messages(messages: Sequence[Message]) -> None:
    """Raise a RequestError that names what cannot be served."""
    if not messages:
        raise EmptyMessagesError("no messages: give at least one user message")
    for at, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise RequestError(f"message {at} must be a mapping, got {type(message).__name__}")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or role not in ROLES:
            raise RequestError(f"message {at}: role {role!r} is not one of {sorted(ROLES)}")
        if content is None and (message.get("tool_calls") or role == "assistant"):
            continue
        if not isinstance(content, str):
            raise UnsupportedContentError(
                f"message {at}: content of type {type(content).__name__}; give text"
            )
    check_encodable(messages, "messages")


def render(
    codec: Codec,
    messages: Sequence[Message],
    tools: Sequence[Message] | None,
    *,
    hints: Sequence[str | None] = (),
    thinking: bool | None = None,
    context_tokens: int | None = None,
) -> Prompt:
    """Return the conversation in a model's own template, with hints for this model alone.

    Raises:
        ContextOverflowError: it cannot fit into `context_tokens`, as is seen before tokenising.

    """
    hint = "\n\n".join(one for one in hints if one)
    limit = {} if context_tokens is None else {"context_tokens": context_tokens}
    return codec.render(_hinted(messages, hint or None), tools, thinking=thinking, **limit)


def begins_reasoning(prompt: Prompt) -> bool:
    """Return whether the reply begins inside the reasoning."""
    return prompt.header.rstrip().endswith(_THINK)


def opening_of(prompt: Prompt) -> str:
    """Return what opens the reasoning in a prompt already; empty where nothing does."""
    return prompt.header[prompt.header.rfind(_THINK) :] if begins_reasoning(prompt) else ""


def align_reasoning(
    small: tuple[Codec, Prompt], large: tuple[Codec, Prompt]
) -> tuple[Prompt, Prompt]:
    """Return both prompts, beginning the reasoning in both where one template begins it."""
    pre_written = [begins_reasoning(prompt) for _, prompt in (small, large)]
    if not any(pre_written):
        return small[1], large[1]
    opening = next(filter(None, (opening_of(prompt) for _, prompt in (small, large))))
    first, second = (
        prompt if has else _append(codec, prompt, opening)
        for (codec, prompt), has in zip((small, large), pre_written, strict=True)
    )
    return first, second


def ask_next_step(messages: Sequence[dict[str, Any]], begun: str) -> list[dict[str, Any]]:
    """Return messages that ask for the next step of a reply that begins with `begun`."""
    return _asking(messages, _NEXT_STEP.replace("{begun}", begun))


def ask_for_answer(messages: Sequence[dict[str, Any]], thought: str) -> list[dict[str, Any]]:
    """Return messages that ask for the answer behind a thought, in the form of the request."""
    return _asking(messages, _ANSWER.replace("{begun}", thought))


def _asking(messages: Sequence[dict[str, Any]], asked: str) -> list[dict[str, Any]]:
    last = messages[-1]
    if last["role"] != "user":
        return [*messages, {"role": "user", "content": asked}]
    # Some templates take no two user messages in a row.
    return [*messages[:-1], {**last, "content": f"{last['content']}\n\n{asked}"}]


def _append(codec: Codec, prompt: Prompt, opening: str) -> Prompt:
    control = codec.control_token(_THINK)
    ids = (
        codec.encode(opening)
        if control is None
        else [control, *codec.encode(opening.removeprefix(_THINK))]
    )
    return replace(prompt, token_ids=(*prompt.token_ids, *ids), header=prompt.header + opening)


def _hinted(messages: Sequence[Message], hint: str | None) -> Sequence[Message]:
    last_user = next(
        (at for at in reversed(range(len(messages))) if messages[at]["role"] == "user"), None
    )
    if hint is None or last_user is None:
        return messages
    asked = messages[last_user]
    hinted = {**asked, "content": f"{asked['content']}\n\n{hint}"}
    return [*messages[:last_user], hinted, *messages[last_user + 1 :]]
