"""A remote model's codec that hides private texts in what it reads and restores them in replies.

The transcript has the original text. The remote model's session has placeholders, so text passes
between the two as it does between different tokenizers, by `bridge`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from splitreason_integrations.privacy.redaction import Vault
from splitreason_integrations.protocols import Codec, Prompt, ReplyFormat, TextStream
from splitreason_integrations.records import Message


class RestoringStream:
    """Incremental decoding that restores placeholders, holding back text that may begin one."""

    def __init__(self, stream: TextStream, vault: Vault) -> None:
        self._stream = stream
        self._vault = vault
        self._held = ""

    @property
    def complete(self) -> bool:
        """Whether nothing is held back."""
        return not self._held and self._stream.complete

    def push(self, token_id: int) -> str:
        """Return the text that this token completes; may be empty."""
        return self._ready(self._held + self._stream.push(token_id))

    def flush(self) -> str:
        """Return what is held back."""
        text, self._held = self._held + self._stream.flush(), ""
        return self._vault.restore(text)

    def _ready(self, text: str) -> str:
        cut = self._vault.unfinished(text)
        self._held = text[cut:]
        return self._vault.restore(text[:cut])


class RedactingCodec:
    """A codec that hides private texts when it encodes and restores them when it decodes."""

    def __init__(self, codec: Codec, vault: Vault) -> None:
        self._codec = codec
        self._vault = vault
        self._before = ""

    def follow(self, text: str) -> None:
        """Take what is encoded from now on for what follows a text.

        What has begun in the text is then hidden as far as it is in the rest.
        """
        self._before = text

    def said_together(self, said: Sequence[tuple[str, bool]]) -> list[str]:
        """Return what is to be hidden and was written in part by the remote model.

        Args:
            said: the pieces of a reply, and whether the remote model wrote each.

        """
        return self._vault.came_together(said)

    def hide_in(self, token_ids: Sequence[int], secrets: Sequence[str]) -> list[int] | None:
        """Return tokens of a reply with some texts hidden in them; None where they have none.

        Args:
            token_ids: the remote model's tokens, placeholders included.
            secrets: texts that may stand in them since others went on with them.

        """
        ids, found = list(token_ids), False
        for secret in secrets:
            while (place := self._place(ids, secret)) is not None:
                start, end, text = place
                marks = [token for token in ids[start:end] if self._codec.is_control(token)]
                hidden = self._vault.hide(text)
                assert secret not in hidden, "what was found is known"
                ids[start:end] = [*self._codec.encode(hidden), *marks]
                found = True
        return ids if found else None

    def _place(self, token_ids: Sequence[int], secret: str) -> tuple[int, int, str] | None:
        """Return which tokens hold a secret, control tokens aside, and their text."""
        stream, ends, text = self._codec.text_stream(), [0], ""
        for token_id in token_ids:
            text += "" if self._codec.is_control(token_id) else stream.push(token_id)
            ends.append(len(text))
        at = text.find(secret)
        if at < 0:
            return None
        start = bisect_right(ends, at) - 1
        end = bisect_left(ends, at + len(secret))
        return start, end, text[ends[start] : ends[end]]

    @property
    def fingerprint(self) -> str:
        """A digest of the vocabulary; that of the bare codec is another one."""
        return f"{self._codec.fingerprint}+redacted"

    @property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end a turn."""
        return self._codec.end_tokens

    @property
    def begin_token(self) -> int | None:
        """The id that begins every text of the model; None if there is none."""
        return self._codec.begin_token

    def encode(self, text: str) -> list[int]:
        """Return ids of plain text, a piece of a reply that may have been cut anywhere."""
        return self._codec.encode(self._vault.hide_piece(text, self._before))

    def plain(self, text: str) -> str:
        """Return the text with a space inside whatever spells a control token."""
        return self._codec.plain(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, restored."""
        return self._vault.restore(self._codec.decode(token_ids))

    def control_token(self, text: str) -> int | None:
        """Return the id of the control token that is written like this, if there is one."""
        return self._codec.control_token(text)

    def is_control(self, token_id: int) -> bool:
        """Return whether an id is a control token."""
        return self._codec.is_control(token_id)

    def text_stream(self, *, after: Sequence[int] = ()) -> TextStream:
        """Return a new incremental decoder of tokens that follow `after`."""
        return RestoringStream(self._codec.text_stream(after=after), self._vault)

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None,
        *,
        thinking: bool | None = None,
        context_tokens: int | None = None,
    ) -> Prompt:
        """Return the conversation, hidden, up to and including the assistant's header."""
        # What a hint gives away is hidden in all messages before it, too.
        self._vault.search([messages, tools])
        hide = self._vault.hide_all
        hidden_tools = None if tools is None else hide(tools)
        limit = {} if context_tokens is None else {"context_tokens": context_tokens}
        return self._codec.render(hide(messages), hidden_tools, thinking=thinking, **limit)

    @property
    def reply_format(self) -> ReplyFormat:
        """How the model's family writes reasoning, answers and tool calls."""
        return self._codec.reply_format

    @property
    def response_template(self) -> Mapping[str, Any]:
        """The regions of a reply."""
        return self._codec.response_template

    @property
    def grammar_tokenizer(self) -> Any:
        """The vocabulary as llguidance takes it."""
        return self._codec.grammar_tokenizer
