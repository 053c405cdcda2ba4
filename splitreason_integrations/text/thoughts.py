"""How the reasoning of a reply is ended before its model does so.

A family has its own tokens for that. Where they are plain text, the model may have begun to write
them already: only the rest is added.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.protocols import CONTROL, Codec
from splitreason_integrations.text.tags import partial_tag

_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""How response templates name the reasoning."""


def own_marks(response_template: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a tokenizer's own response template marks a thought, as fields of a ReplyFormat.

    Empty where it has no such region, or patterns in place of marks.
    """
    fields = response_template.get("fields", {})
    region: Mapping[str, Any] = next((fields[name] for name in _FIELDS if name in fields), {})
    marks = [region.get("open"), region.get("close")]
    begin, end = (one[0] if isinstance(one, list) else one for one in marks)
    if not begin or not end:
        return {}
    own = {"begin_of_reasoning": begin.strip(), "end_of_reasoning": end.strip()}
    return own if end == "</think>" else {**own, "after_reasoning": ""}


def tokens_of(codec: Codec, text: str) -> list[int]:
    """Return the ids of a text of the package's own, in which control tokens are spelled."""
    ids: list[int] = []
    for part in filter(None, CONTROL.split(text)):
        control = codec.control_token(part)
        ids += codec.encode(part) if control is None else [control]
    return ids


def closing_tokens(codec: Codec, reasoning: str, *, answers: bool) -> list[int]:
    """Return what ends the reasoning in the way of the model's family.

    Args:
        codec: of the model.
        reasoning: the end of the reasoning so far.
        answers: whether an answer has to follow, and not a tool call.

    """
    form = codec.reply_format
    end, behind = form.end_of_reasoning, form.after_reasoning
    if form.answer_start:
        behind = form.answer_start if answers else ""
    if codec.control_token(end) is None:
        end = end[partial_tag(reasoning, (end,)) :]
    return tokens_of(codec, end + behind)


def call_tokens(codec: Codec) -> Sequence[int]:
    """Return the control token that begins a tool call; none where something else may begin so."""
    form = codec.reply_format
    opening = next(filter(str.strip, CONTROL.split(form.call)), "")
    others = (form.begin_of_reasoning, form.end_of_reasoning, form.answer_start)
    token = codec.control_token(opening)
    return () if token is None or any(opening in text for text in others) else (token,)


def opening_tokens(codec: Codec) -> Sequence[int]:
    """Return the control token that begins a thought; none where that takes several tokens."""
    token = codec.control_token(codec.reply_format.begin_of_reasoning)
    return () if token is None else (token,)
