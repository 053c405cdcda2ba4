"""Counts tokens by the small model's tokenizer and chat template; nothing is fetched for it."""

import json
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately

from langchain_splitreason.errors import recognised
from langchain_splitreason.messages import to_chat
from langchain_splitreason.runs import TracedChatModel
from langchain_splitreason.tools import convert_tools
from splitreason_integrations import blocking
from splitreason_integrations.backends.registry import (
    ModelSpec,
    codec_here,
    describe,
    hint_of,
    line_up,
    load_model,
)
from splitreason_integrations.errors import ModelLoadError, RequestError
from splitreason_integrations.protocols import Codec
from splitreason_integrations.records import Message
from splitreason_integrations.settings.options import PairSettings
from splitreason_integrations.text.prompts import (
    align_reasoning,
    begins_reasoning,
    check_messages,
    render,
)
from splitreason_integrations.text.tool_choice import Tool

_CHARACTERS_PER_TOKEN = 4
_MESSAGE_TOKENS = 8
"""About what a chat template writes around a message."""
_AGAIN_S = 60.0
"""How long a tokenizer that could not be had is not looked for again: a server may be slow."""

_missing: dict[Any, float] = {}
"""By a model's name or description: until when its tokenizer is not looked for."""


class CountingChatModel(PairSettings, TracedChatModel):
    """A chat model that counts tokens as its small model reads them.

    Where that model's tokenizer is not on this machine, a count is an estimate, and a warning says
    so. `get_token_ids` raises an error then.
    """

    def get_token_ids(self, text: str) -> list[int]:
        """Return the ids of a text; raise ModelLoadError where its tokenizer is not here."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        with recognised():
            return _codec(self.small).encode(text)

    def get_num_tokens(self, text: str) -> int:
        """Return how many tokens a text has."""
        try:
            return len(self.get_token_ids(text))
        except ModelLoadError as error:
            _say_estimated(error)
            return -(-len(text) // _CHARACTERS_PER_TOKEN)

    def get_num_tokens_from_messages(
        self, messages: Sequence[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return how many tokens the small model reads before its reply, tools included.

        It is what a reply's `usage_metadata` has as `input_tokens`. Where the chat template refuses
        the messages, a history that was cut in two perhaps, their texts are counted.
        """
        messages = list(messages)
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        if not (messages or tools):
            return 0
        with recognised():
            chat, offered = to_chat(messages), convert_tools(tools or ())
            try:
                codec = _codec(self.small)
            except ModelLoadError as error:
                _say_estimated(error)
                return count_tokens_approximately(messages, tools=[*offered] or None)
            if messages:
                check_messages(chat)
            try:
                return self._prompt_tokens(codec, chat, offered)
            except RequestError:
                return _tokens_of_texts(codec, [*chat, *offered])

    def _prompt_tokens(self, codec: Codec, chat: Sequence[Message], tools: Sequence[Tool]) -> int:
        hints = [hint_of(self.small, role="small")]
        prompt = render(codec, chat, tools or None, hints=hints, thinking=self.thinking)
        if not begins_reasoning(prompt) and self.uses_large:
            # Where the large model's template begins the reasoning, the small one's prompt does.
            with suppress(ModelLoadError, RequestError):
                other = codec_here(line_up(self.large)[0], role="large")
                theirs = other and render(other, chat, tools or None, thinking=self.thinking)
                if other and theirs:
                    prompt, _ = align_reasoning((codec, prompt), (other, theirs))
        return len(prompt.token_ids)


def _codec(small: ModelSpec) -> Codec:
    """Return the small model's codec; raise ModelLoadError where its tokenizer is not here."""
    known, now = codec_here(small, role="small"), time.monotonic()
    if known is not None:
        return known
    if _missing.get(small, now) > now:
        raise ModelLoadError(f"{describe(small)}: its tokenizer could not be had lately")
    try:
        return blocking.run(lambda: load_model(small, role="small")).codec
    except ModelLoadError:
        _missing[small] = now + _AGAIN_S
        raise


def _tokens_of_texts(codec: Codec, messages: Sequence[Message]) -> int:
    texts = (json.dumps(dict(message), ensure_ascii=False) for message in messages)
    return sum(len(codec.encode(text)) + _MESSAGE_TOKENS for text in texts)


def _say_estimated(error: ModelLoadError) -> None:
    warnings.warn(f"tokens are estimated: {error}", stacklevel=3)
