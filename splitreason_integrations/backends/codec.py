"""Text and token ids through a tokenizer of transformers. Text never becomes a control token."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import jinja2
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase

from splitreason_integrations.backends.control_text import ControlText, unmarked
from splitreason_integrations.backends.token_bounds import TokenBound
from splitreason_integrations.errors import ContextOverflowError, ModelLoadError, RequestError
from splitreason_integrations.protocols import Conversation, Prompt, ReplyFormat
from splitreason_integrations.records import Message
from splitreason_integrations.text.reply_formats import find_format
from splitreason_integrations.text.tags import CLOSE, OPEN
from splitreason_integrations.text.thinking import TemplateSettings, reasons, with_thinking
from splitreason_integrations.text.thoughts import own_marks
from splitreason_integrations.text.tool_prompts import (
    PROBE,
    PROBE_CALLS,
    PROBE_RESULT,
    PROBE_TOOL,
    PROBE_VALUE,
    has_calls,
    with_calls,
    with_ids,
    with_text_arguments,
    with_tools,
)

_TEMPLATE_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a chat template can raise: it is a program, held in jinja's sandbox."""


_LENGTH_WARNING = "sequence-length-is-longer-than-the-specified-maximum"
"""The name under which a tokenizer notes that it has warned of a long text."""


def without_length_warning(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a tokenizer that does not warn of long texts: whoever encodes one checks its length.

    Its warning would come before the error, and speak of indexing errors that cannot happen.
    """
    tokenizer.deprecation_warnings[_LENGTH_WARNING] = True
    return tokenizer


class TokenizerStream:
    """Incremental decoding by the tokenizer's own decoder."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, after: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._after = list(after)
        self._decoder = DecodeStream(ids=self._after, skip_special_tokens=False)
        self._held: list[int] = []

    @property
    def complete(self) -> bool:
        """Whether no character is held back."""
        return not self._held

    def push(self, token_id: int) -> str:
        """Return the text that this token completes; may be empty."""
        try:
            text = self._decoder.step(self._backend, token_id)
        except Exception:  # noqa: BLE001 - what the decoder raises on broken UTF-8
            text = self._tokenizer.decode([*self._held, token_id])
            self._decoder = DecodeStream(ids=[token_id], skip_special_tokens=False)
        if text is None:
            self._held.append(token_id)
            return ""
        self._held.clear()
        return str(text)

    def flush(self) -> str:
        """Return what is held back, with U+FFFD for broken characters."""
        if not self._held:
            return ""
        self._decoder = DecodeStream(ids=self._after, skip_special_tokens=False)
        text = str(self._tokenizer.decode(self._held))
        self._held = []
        return text


class TokenizerCodec:
    """A codec over a fast tokenizer with a chat template."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        end_tokens: Sequence[int] = (),
        template: TemplateSettings | None = None,
    ) -> None:
        if not tokenizer.is_fast:
            raise ModelLoadError(f"{name}: needs a fast tokenizer (a tokenizer.json file)")
        if not tokenizer.chat_template:
            raise ModelLoadError(
                f"{name}: the tokenizer has no chat template; use a chat or instruct model, or set "
                "tokenizer.chat_template"
            )
        self._tokenizer = without_length_warning(tokenizer)
        self._name = name
        self._template = template or TemplateSettings()
        self._control_text = ControlText(tokenizer)
        self._control = self._control_text.ids
        self._control_ids = frozenset(self._control.values())
        self.begin_token: int | None = tokenizer.bos_token_id
        own_end = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        self.end_tokens = frozenset((*own_end, *end_tokens))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the vocabulary: two codecs with the same one share their ids."""
        vocabulary = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        return hashlib.sha256(repr(vocabulary).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return ids of plain text; never a control token, whatever the text spells."""
        return [
            token
            for part in self._control_text.parts(text)
            for token in self._tokenizer.encode(part, add_special_tokens=False)
        ]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return what `encode` does, and where each token begins and ends in the text."""
        token_ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        at = 0
        for part in self._control_text.parts(text):
            encoded = self._tokenizer.backend_tokenizer.encode(part, add_special_tokens=False)
            token_ids += encoded.ids
            offsets += [(at + start, at + end) for start, end in encoded.offsets]
            at += len(part)
        return token_ids, offsets

    def plain(self, text: str) -> str:
        """Return the text with a space inside whatever spells a control token."""
        return " ".join(self._control_text.parts(text))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, control tokens included."""
        return str(
            self._tokenizer.decode(
                list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def control_token(self, text: str) -> int | None:
        """Return the id of the control token that is written like this, if there is one."""
        return self._control.get(text)

    def is_control(self, token_id: int) -> bool:
        """Return whether an id is a control token."""
        return token_id in self._control_ids

    def text_stream(self, *, after: Sequence[int] = ()) -> TokenizerStream:
        """Return a new incremental decoder of tokens that follow `after`."""
        return TokenizerStream(self._tokenizer, after)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None,
        *,
        thinking: bool | None = None,
        context_tokens: int | None = None,
    ) -> Prompt:
        """Return the conversation up to and including the assistant's header.

        Tools, calls and results for which the chat template has no place are put into messages.
        `thinking` goes before the model's own setting. With `context_tokens` a conversation that
        cannot fit is refused before it is tokenised. Raises RequestError.
        """
        settings, own = self._template.for_request(thinking), self._template
        wish = settings.thinking if own.thinking is None else own.thinking
        said = Conversation(tuple(messages), tuple(tools or ()), wish, own.variables)
        calls = bool(tools)
        if has_calls(messages):
            messages = self._calls_written(messages)
        if tools and not self._shows_tools:
            messages, tools = with_tools(messages, tools, self.reply_format), None
        marked = self._control_text.marked
        apply = partial(
            self._refusable,
            self._tokenizer.apply_chat_template,
            marked(list(messages)),
            tools=marked(list(tools or ())) or None,
            tokenize=False,
            **marked(settings.as_variables()),
        )
        whole = str(apply(add_generation_prompt=True))
        self._check_length(unmarked(whole), context_tokens)
        token_ids = self._refusable(self._control_text.encode, whole)
        header = self._header(unmarked(whole), unmarked(str(apply())))
        prompt = Prompt(tuple(token_ids), header, said)
        return with_thinking(prompt, self, settings, name=self._name, calls=calls)

    def _refusable(self, call: Callable[..., Any], *given: Any, **more: Any) -> Any:
        """Return what a call of the template or the tokenizer gives; raise RequestError if none."""
        try:
            return call(*given, **more)
        except _TEMPLATE_ERRORS as error:
            raise RequestError(
                f"{self._name}: its chat template refuses these messages: "
                f"{str(error) or type(error).__name__}"
            ) from error

    def _check_length(self, text: str, context_tokens: int | None) -> None:
        if context_tokens is None or len(text) < context_tokens:
            return
        least = self._bound.least_tokens(text)
        if least >= context_tokens:
            raise ContextOverflowError(
                f"the prompt has {len(text):,} characters, which are {least:,} tokens or more, and "
                f"the context of {self._name} holds {context_tokens:,}: shorten the messages, the "
                "tools or the retrieved documents, or use a model with a longer context"
            )

    @cached_property
    def _bound(self) -> TokenBound:
        return TokenBound(self._tokenizer)

    @cached_property
    def _shows_tools(self) -> bool:
        """Whether the chat template shows the tools that are offered."""
        return PROBE in self._tried([PROBE_CALLS[0]], [PROBE_TOOL])

    @cached_property
    def _calls_written(self) -> Callable[[Sequence[Message]], list[Message]]:
        """How the chat template takes earlier calls and their results: as text, if not at all."""
        family = self.reply_format
        for write in (with_ids, with_text_arguments):
            shown = self._tried(write(PROBE_CALLS, family), None)
            if all(one in shown for one in (PROBE, PROBE_VALUE, PROBE_RESULT)):
                return partial(write, family=family)
        return partial(with_calls, family=family)

    def _tried(self, messages: Sequence[Message], tools: Sequence[Message] | None) -> str:
        """Return how a conversation is rendered; empty where the template refuses it."""
        try:
            chat = self._tokenizer.apply_chat_template(
                list(messages), tools=tools, tokenize=False, add_generation_prompt=True
            )
        except _TEMPLATE_ERRORS:
            return ""
        return str(chat)

    def _header(self, whole: str, conversation: str) -> str:
        if whole.startswith(conversation):
            return whole[len(conversation) :]
        # Some templates end a text without a header in another way, with an end token perhaps.
        pairs = enumerate(zip(whole, conversation, strict=False))
        at = next((at for at, (mine, other) in pairs if mine != other), len(whole))
        spelled = [whole.find(text, max(0, at - len(text) + 1)) for text in self._control]
        return whole[min([at, *(start for start in spelled if 0 <= start < at)]) :]

    @cached_property
    def reply_format(self) -> ReplyFormat:
        """How the model's family writes replies, as its chat template and control tokens show.

        A `schema_prompt` in tokenizer_config.json takes the place of the family's.
        """
        template = str(self._tokenizer.chat_template)
        found = find_format(template, self._control)
        known = found.begin_of_reasoning in self._control or reasons(template, found)
        marks = own_marks(getattr(self._tokenizer, "response_template", None) or {})
        found = replace(found, reasons=known or bool(marks), **marks)
        own = self._tokenizer.init_kwargs.get("schema_prompt")
        return found if own is None else replace(found, schema_prompt=str(own))

    @property
    def response_template(self) -> dict[str, Any]:
        """The tokenizer's response template, or that of the family."""
        own = getattr(self._tokenizer, "response_template", None)
        return dict(own) if own else self.reply_format.response_template

    @cached_property
    def grammar_tokenizer(self) -> Any:
        """The vocabulary as llguidance takes it; made once, for it takes long."""
        from llguidance import LLTokenizer

        described = json.loads(self._tokenizer.backend_tokenizer.to_str())
        described |= {"padding": None, "truncation": None}
        if "Metaspace" in json.dumps(described["decoder"]):
            # llguidance knows this decoder by its parts alone.
            replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
            parts = [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]
            described["decoder"] = {"type": "Sequence", "decoders": parts}
        return LLTokenizer(json.dumps(described), eos_token=sorted(self.end_tokens))


class BorrowedCodec(TokenizerCodec):
    """Counts and cuts the text of a model that has another tokenizer, and knows no tags."""

    def control_token(self, text: str) -> int | None:
        """Return the id of the control token that is written like this; None for the tags."""
        return None if text in (OPEN, CLOSE) else super().control_token(text)
