"""How families of models mark reasoning, answers and tool calls in what they write.

A tokenizer says how to read its model's replies by its own response template; for the many that
have none, the chat template tells which family's format to use.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from splitreason_integrations.protocols import Fields, ReplyFormat

_THOUGHT: Mapping[str, Any] = {"open": "<think>", "close": "</think>"}
_NAMED_CALL = {"name": "{name}", "arguments": "{content}"}


TAGGED = ReplyFormat(
    name="hermes",
    signs=("<tool_call>",),
    fields={
        "reasoning_content": _THOUGHT,
        "tool_calls": {"open": "<tool_call>", "close": "</tool_call>", "repeats": True},
        "content": {},
    },
    call='<tool_call>\n{"name": "{name}", "arguments": {arguments}}\n</tool_call>',
)
"""Qwen 2.5 and 3, Hermes, and most fine-tunes: also the format of models that name none."""

_LLAMA = ReplyFormat(
    name="llama3",
    signs=("<|python_tag|>", "<|eom_id|>"),
    fields={
        "reasoning_content": _THOUGHT,
        "tool_calls": {
            "open_pattern": (
                r"<\|python_tag\|>"
                r'|(?:\A|(?<=</think>))\s*(?=\{\s*(?:"type":\s*"function",\s*)?"name":\s*"[^"]*",'
                r'\s*"parameters":)'
            ),
            "close": ["<|eom_id|>", "<|eot_id|>"],
            "repeats": True,
        },
        "content": {},
    },
    call='{"name": "{name}", "parameters": {arguments}}',
)

_DEEPSEEK = ReplyFormat(
    name="deepseek",
    signs=("<｜tool▁calls▁begin｜>",),
    fields={
        "reasoning_content": _THOUGHT,
        "tool_calls": {
            "open_pattern": (
                r"(?:<｜tool▁calls▁begin｜>\s*)?<｜tool▁call▁begin｜>"
                r"(?:function<｜tool▁sep｜>(?P<name>[^\n<]+)\n```json\n"
                r"|(?!function<)(?P<name>[^\n<]+)<｜tool▁sep｜>)"
            ),
            "close_pattern": r"(?:\n```)?<｜tool▁call▁end｜>",
            "repeats": True,
            "transform": _NAMED_CALL,
        },
        "content_after_calls": {"open": "<｜tool▁calls▁end｜>"},
        "content": {},
    },
    call=(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n"
        "```json\n{arguments}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
)

_MISTRAL_FIELDS: Fields = {
    "reasoning_content": {"open": ["[THINK]", "<think>"], "close": ["[/THINK]", "</think>"]},
    "tool_calls": {
        "open_pattern": r"\[TOOL_CALLS\]\s*(?=\[\s*\{)",
        "close_pattern": r"(?=\[TOOL_CALLS\])|</s>",
        "repeats": True,
    },
    "named_calls": {
        "open_pattern": (
            r"\[TOOL_CALLS\]\s*(?P<name>[^\s\[\]{}]+)\s*(?:\[CALL_ID\]\s*\w+\s*)?\[ARGS\]"
        ),
        "close_pattern": r"(?=\[TOOL_CALLS\])|</s>",
        "repeats": True,
        "transform": _NAMED_CALL,
    },
    "content": {},
}
_MISTRAL = ReplyFormat(
    name="mistral",
    signs=("[ARGS]",),
    fields=_MISTRAL_FIELDS,
    call="[TOOL_CALLS]{name}[ARGS]{arguments}",
    end_of_reasoning="[/THINK]",
)
_MISTRAL_LISTS = replace(
    _MISTRAL,
    name="mistral-lists",
    signs=("[TOOL_CALLS]",),
    call='[TOOL_CALLS][{"name": "{name}", "arguments": {arguments}}]',
)

_HARMONY = ReplyFormat(
    name="gpt-oss",
    signs=("<|channel|>",),
    fields={
        "reasoning_content": {
            "open_pattern": r"<\|channel\|>analysis\s*<\|message\|>",
            "close": ["<|end|>", "<|return|>"],
        },
        "tool_calls": {
            "open_pattern": (
                r"(?:<\|channel\|>(?:commentary|analysis)\s+to=(?:functions\.)?(?P<name>[\w.-]+)"
                r"|\s+to=(?:functions\.)?(?P<name>[\w.-]+)<\|channel\|>(?:commentary|analysis))"
                r"\s*(?:<\|constrain\|>)?(?:json|code)?\s*<\|message\|>"
            ),
            "close": ["<|call|>", "<|end|>"],
            "repeats": True,
            "transform": _NAMED_CALL,
        },
        "content": {
            "open_pattern": (
                r"<\|channel\|>(?:final|commentary)\s*(?:<\|constrain\|>\w+)?\s*<\|message\|>"
            ),
            "close": ["<|end|>", "<|return|>"],
        },
    },
    call=(
        "<|start|>assistant<|channel|>commentary to=functions.{name} "
        "<|constrain|>json<|message|>{arguments}"
    ),
    end_of_reasoning="<|end|>",
    answer_start="<|start|>assistant<|channel|>final<|message|>",
    always_reasons=True,
    schema_prompt="# Response Formats\n\n## answer\n\n{schema}",
)

FORMATS = {one.name: one for one in (_HARMONY, _DEEPSEEK, _MISTRAL, _MISTRAL_LISTS, _LLAMA, TAGGED)}
"""All families; the first whose sign is found is taken."""


def find_format(chat_template: str, control_tokens: Collection[str]) -> ReplyFormat:
    """Return the format of a model by its chat template; `hermes` if nothing identifies it."""
    for found in FORMATS.values():
        if any(sign in chat_template for sign in found.signs):
            return found
    for found in FORMATS.values():
        if any(sign in control_tokens for sign in found.signs):
            return found
    return TAGGED
