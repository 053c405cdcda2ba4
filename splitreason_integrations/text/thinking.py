"""Whether a model thinks before it answers, and what else its chat template is given.

Families name the switch differently in their templates. Where a template has none, the thought is
begun or ended behind the prompt, in the family's own marks.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from splitreason_integrations.checks import check_flag
from splitreason_integrations.errors import RequestError, SettingError
from splitreason_integrations.protocols import Codec, Prompt, ReplyFormat
from splitreason_integrations.text.thoughts import tokens_of

SWITCHES = ("enable_thinking", "thinking")
"""How templates name the switch: Qwen, GLM, Nemotron, Gemma; DeepSeek, Granite, Kimi."""

_SWITCH = re.compile(
    r"\benable_thinking\b|(?:\bif|\bnot|\band|\bor)\s+thinking\b|\bthinking\s+is\b"
)
_OURS = frozenset(
    {"messages", "tools", "documents", "chat_template", "conversation", "tokenize"}
    | {"add_generation_prompt", "continue_final_message", "return_dict", "tokenizer_kwargs"}
)
"""Arguments of the rendering that are no variables of a template."""


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    """What a model's chat template is given beside messages and tools.

    Attributes:
        thinking: whether the model thinks; None leaves it to the template.
        variables: further variables of the template.

    """

    thinking: bool | None = None
    variables: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def for_request(self, thinking: bool | None) -> "TemplateSettings":
        """Return the settings of a request that may ask for thoughts, or for none."""
        return self if thinking is None else replace(self, thinking=thinking)

    def as_variables(self) -> dict[str, Any]:
        """Return all variables."""
        switches = {} if self.thinking is None else dict.fromkeys(SWITCHES, self.thinking)
        return {**switches, **self.variables}


def check_template(thinking: Any, variables: Any) -> None:
    """Check a model's `thinking` and `chat_template_kwargs`.

    Raises:
        SettingError: one of them is of another type, or names what the rendering sets itself.

    """
    if thinking is not None:
        check_flag("thinking", thinking)
    where = ("chat_template_kwargs",)
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise SettingError(
            "chat_template_kwargs must map names of the template's variables to values, as in "
            f'{{"reasoning_effort": "low"}}, got {variables!r}',
            where,
        )
    if taken := sorted(_OURS & variables.keys()):
        raise SettingError(f"chat_template_kwargs may not have {taken[0]!r}: it is set", where)
    try:
        json.dumps(dict(variables), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingError(f"chat_template_kwargs must be plain data: {error}", where) from error


def reasons(chat_template: str, form: ReplyFormat) -> bool:
    """Return whether a chat template shows that its model reasons, or can."""
    marks = (form.begin_of_reasoning, form.end_of_reasoning)
    shown = any(mark in chat_template for mark in marks) and not form.answer_start
    return shown or form.always_reasons or _SWITCH.search(chat_template) is not None


def with_thinking(
    prompt: Prompt, codec: Codec, settings: TemplateSettings, *, name: str, calls: bool
) -> Prompt:
    """Return a prompt behind which the model thinks or does not, as the settings say.

    Args:
        prompt: as the chat template renders it.
        codec: of the model.
        settings: of the request.
        name: of the model, for errors.
        calls: whether tools may be called.

    Raises:
        RequestError: the model cannot do what is asked.

    """
    prompt, form = replace(prompt, thinks=settings.thinking), codec.reply_format
    if settings.thinking is None:
        return prompt
    if settings.thinking:
        if not form.reasons:
            raise RequestError(
                f"{name} has no reasoning that thinking=True could switch on: its chat template "
                "knows none; leave thinking unset, or use a model that reasons"
            )
        return prompt
    if form.always_reasons and calls:
        raise RequestError(
            f"{name} reasons before it calls a tool: leave thinking unset, and bound it by "
            "max_reasoning_tokens"
        )
    ended = _without_thought(prompt.header.rstrip(), codec)
    if ended is None:
        return prompt
    ids = (*prompt.token_ids, *tokens_of(codec, ended))
    return replace(prompt, token_ids=ids, header=prompt.header + ended)


def _without_thought(header: str, codec: Codec) -> str | None:
    """Return what to write behind a header so that no thought follows; None where none does."""
    form = codec.reply_format
    if form.answer_start:
        missing = form.answer_start.removeprefix("<|start|>assistant")
        return None if header.endswith(missing) else missing
    space = "\n" if form.after_reasoning else ""
    if header.endswith(form.begin_of_reasoning):
        return f"{space}{form.end_of_reasoning}{form.after_reasoning}"
    if form.end_of_reasoning in header or codec.control_token(form.begin_of_reasoning) is None:
        return None
    thought = f"{form.begin_of_reasoning}{space}{space}{form.end_of_reasoning}"
    return thought + form.after_reasoning
