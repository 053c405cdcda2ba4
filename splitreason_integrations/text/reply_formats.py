"""How families of models mark reasoning, answers and tool calls in what they write.

A tokenizer says how to read its model's replies by its own response template; for the many that
have none, the chat template tells which family's format to use.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from splitreason_integrations.protocols import Fields, ReplyFormat
from splitreason_integrations.text.call_markup import Markup

_THOUGHT: Mapping[str, Any] = {"open": "<think>", "close": "</think>"}
_NAMED_CALL = {"name": "{name}", "arguments": "{content}"}


def _in_markup(opened: str, closed: str, markup: Markup) -> Fields:
    """Return the regions of a family whose calls are in markup; `closed` is a pattern."""
    calls = {"open": opened, "close_pattern": f"(?<={closed})", "repeats": True, "markup": markup}
    return {"reasoning_content": _THOUGHT, "tool_calls": calls, "content": {}}


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

_DEEPSEEK_3_1 = replace(
    _DEEPSEEK,
    name="deepseek-v3.1",
    lacks=("```json",),
    call=(
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}"
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
)

_DEEPSEEK_3_2 = ReplyFormat(
    name="deepseek-v3.2",
    signs=("｜DSML｜",),
    fields=_in_markup(
        "<｜DSML｜function_calls>",
        r"</｜DSML｜invoke>\s*</｜DSML｜function_calls>",
        Markup(
            call=(
                r'<｜DSML｜invoke name="(?P<name>[^"\n]+)">(?P<arguments>.*?)</｜DSML｜invoke>'
                r"(?=\s*(?:<｜DSML｜invoke name=|\Z))"
            ),
            argument=(
                r'<｜DSML｜parameter name="(?P<key>[^"\n]+)" string="(?P<string>true|false)">'
                r"(?P<value>.*?)</｜DSML｜parameter>(?=\s*(?:<｜DSML｜parameter name=|\Z))"
            ),
            end="(?:</｜DSML｜function_calls>)?",
        ),
    ),
    call=(
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="{name}">\n{arguments}</｜DSML｜invoke>\n'
        "</｜DSML｜function_calls>"
    ),
    argument=('<｜DSML｜parameter name="{key}" string="{string}">{value}</｜DSML｜parameter>\n'),
)

_QWEN_CODER = ReplyFormat(
    name="qwen3-coder",
    signs=("<parameter=",),
    fields=_in_markup(
        "<tool_call>",
        r"</function>\s*</tool_call>",
        Markup(
            call=r"<function=(?P<name>[^<>\n]+)>(?P<arguments>.*?)</function>(?=\s*\Z)",
            argument=(
                r"<parameter=(?P<key>[^<>\n]+)>\n?(?P<value>.*?)\n?</parameter>"
                r"(?=\s*(?:<parameter=|\Z))"
            ),
            end="(?:</tool_call>)?",
        ),
    ),
    call="<tool_call>\n<function={name}>\n{arguments}</function>\n</tool_call>",
    argument="<parameter={key}>\n{value}\n</parameter>\n",
)

_GLM = ReplyFormat(
    name="glm",
    signs=("<arg_key>",),
    fields=_in_markup(
        "<tool_call>",
        r"</tool_call>",
        Markup(
            call=r"(?P<name>[^\s<>]+)(?P<arguments>.*)",
            argument=(
                r"<arg_key>(?P<key>.*?)</arg_key>\s*<arg_value>(?P<value>.*?)</arg_value>"
                r"(?=\s*(?:<arg_key>|\Z))"
            ),
            end="</tool_call>",
        ),
    ),
    call="<tool_call>{name}\n{arguments}</tool_call>",
    argument="<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n",
)

_KIMI = ReplyFormat(
    name="kimi",
    signs=("<|tool_calls_section_begin|>",),
    fields=_in_markup(
        "<|tool_calls_section_begin|>",
        r"<\|tool_calls_section_end\|>",
        Markup(
            call=(
                r"<\|tool_call_begin\|>\s*(?:functions\.)?(?P<name>[^\s:<>|]+)(?::\d+)?\s*"
                r"<\|tool_call_argument_begin\|>(?P<arguments>.*?)<\|tool_call_end\|>"
                r"(?=\s*(?:<\|tool_call_begin\|>|\Z))"
            ),
            end=r"(?:<\|tool_calls_section_end\|>)?",
        ),
    ),
    call=(
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0"
        "<|tool_call_argument_begin|>{arguments}<|tool_call_end|><|tool_calls_section_end|>"
    ),
    call_id="functions.{name}:{number}",
)

_MINIMAX = ReplyFormat(
    name="minimax",
    signs=("<minimax:tool_call>",),
    fields=_in_markup(
        "<minimax:tool_call>",
        r"</invoke>\s*</minimax:tool_call>",
        Markup(
            call=(
                r'<invoke name="(?P<name>[^"\n]+)">(?P<arguments>.*?)</invoke>'
                r"(?=\s*(?:<invoke name=|\Z))"
            ),
            argument=(
                r'<parameter name="(?P<key>[^"\n]+)">(?P<value>.*?)</parameter>'
                r"(?=\s*(?:<parameter name=|\Z))"
            ),
            end="(?:</minimax:tool_call>)?",
        ),
    ),
    call=(
        '<minimax:tool_call>\n<invoke name="{name}">\n{arguments}</invoke>\n</minimax:tool_call>'
    ),
    argument='<parameter name="{key}">{value}</parameter>\n',
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
    begin_of_reasoning="[THINK]",
    end_of_reasoning="[/THINK]",
    after_reasoning="",
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
    begin_of_reasoning="<|channel|>analysis<|message|>",
    end_of_reasoning="<|end|>",
    answer_start="<|start|>assistant<|channel|>final<|message|>",
    always_reasons=True,
    schema_prompt="# Response Formats\n\n## answer\n\n{schema}",
)

_ALL = (
    _HARMONY,
    _DEEPSEEK_3_2,
    _DEEPSEEK_3_1,
    _DEEPSEEK,
    _KIMI,
    _MINIMAX,
    _GLM,
    _QWEN_CODER,
    _MISTRAL,
    _MISTRAL_LISTS,
    _LLAMA,
    TAGGED,
)
FORMATS = {one.name: one for one in _ALL}
"""All families; the first whose sign is found is taken."""


def find_format(chat_template: str, control_tokens: Collection[str]) -> ReplyFormat:
    """Return the format of a model by its chat template; `hermes` if nothing identifies it."""
    for found in FORMATS.values():
        lacking = not any(text in chat_template for text in found.lacks)
        if lacking and any(sign in chat_template for sign in found.signs):
            return found
    for found in FORMATS.values():
        if not found.lacks and any(sign in control_tokens for sign in found.signs):
            return found
    return TAGGED
