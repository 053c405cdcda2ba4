"""Prepares a request's places: each model's prompt, its tags, its grammar. Checks all of it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import anyio.to_thread

from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.registry import ModelSpec, load_model
from splitreason_integrations.errors import (
    ContextOverflowError,
    IncompatiblePairError,
    RequestError,
)
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.transcript import SMALL
from splitreason_integrations.privacy.redacting_codec import RedactingCodec
from splitreason_integrations.privacy.redaction import Rule, Vault
from splitreason_integrations.protocols import Codec, Prompt
from splitreason_integrations.records import Author, Writer
from splitreason_integrations.request import Request
from splitreason_integrations.text.grammar import Guide
from splitreason_integrations.text.prompts import (
    align_reasoning,
    begins_reasoning,
    render,
)
from splitreason_integrations.text.tags import Tags, tags_of


class Setup:
    """The participants of one request; large models are loaded when their turn comes.

    `codecs` holds the codec of every participant. What `redact` finds is kept in `vault` and does
    not reach remote models; `hidden` is what it held when the request was put aside.
    """

    def __init__(
        self,
        request: Request,
        small: Model,
        larges: Sequence[ModelSpec],
        *,
        tags_as_text: bool,
        redact: Sequence[Rule] = (),
        hidden: Mapping[str, str] | None = None,
    ) -> None:
        self._request = request
        self._small = small
        self._larges = larges
        self._tags_as_text = tags_as_text
        self.vault = Vault(redact, hidden) if redact else None
        self._small_prompt = render(
            small.codec, request.messages, request.tools, hints=(small.hint,)
        )
        self.codecs: dict[Writer, Codec] = {
            SMALL: small.codec,
            (Author.HUMAN, 0): small.codec,
        }

    async def first(self, number: int = 0) -> tuple[Participant, Participant]:
        """Return the small model's participant and that of the large model with a number."""
        model = await load_model(self._larges[0], role="large")
        if self.vault is not None:
            # A long conversation takes long to search; other requests go on meanwhile.
            texts = [self._request.messages, self._request.tools]
            await anyio.to_thread.run_sync(self.vault.search, texts)
        codec = self._codec_of(model)
        self._small_prompt, prompt = self._aligned(model, codec)
        _check_room(self._small, self._small_prompt)
        large = await self._large_seat(0, model, codec, prompt)
        for one in range(1, number + 1):
            large = await self.large(one)
        tags = tags_of(self._small.codec, as_text=self._tags_as_text)
        return await self._participant(SMALL, self._small, self._small_prompt, tags), large

    async def large(self, number: int) -> Participant:
        """Return the large model with a number; raise LookupError behind the last."""
        model = await load_model(self._larges[number], role="large")
        codec = self._codec_of(model)
        return await self._large_seat(number, model, codec, self._large_prompt(model, codec))

    async def _large_seat(
        self, number: int, model: Model, codec: Codec, prompt: Prompt
    ) -> Participant:
        writer = (Author.LARGE, number)
        self.codecs[writer] = codec
        _check_room(model, prompt)
        tags = tags_of(codec, as_text=False)
        return await self._participant(
            writer, model, prompt, tags, prompt_with=partial(self._large_prompt, model, codec)
        )

    def _codec_of(self, model: Model) -> Codec:
        if self.vault is None or not model.remote:
            return model.codec
        return RedactingCodec(model.codec, self.vault)

    def _large_prompt(self, model: Model, codec: Codec, hint: str | None = None) -> Prompt:
        ours, theirs = self._aligned(model, codec, hint)
        if ours != self._small_prompt:
            raise IncompatiblePairError(
                f"{model.name} begins a reply with its reasoning and the reply at hand did not"
            )
        return theirs

    def _aligned(
        self, model: Model, codec: Codec, hint: str | None = None
    ) -> tuple[Prompt, Prompt]:
        request = self._request
        theirs = render(codec, request.messages, request.tools, hints=(model.hint, hint))
        return align_reasoning((self._small.codec, self._small_prompt), (codec, theirs))

    async def _participant(
        self,
        writer: Writer,
        model: Model,
        prompt: Prompt,
        tags: Tags,
        *,
        prompt_with: Callable[[str], Prompt] | None = None,
    ) -> Participant:
        return Participant(
            writer,
            model,
            prompt,
            tags,
            codecs=self.codecs,
            sampling=self._request.sampling.over(model.default_sampling),
            guide=await self._guide(model, prompt, tags),
            prompt_with=prompt_with,
        )

    async def _guide(self, model: Model, prompt: Prompt, tags: Tags) -> Guide | None:
        """Return what holds a constrained answer to its form."""
        request = self._request
        if request.response_schema is None and not request.must_call:
            return None
        if not model.shows_logits:
            raise RequestError(
                f"{model.name} is behind a server or run by vLLM, where an answer cannot be held "
                "to a schema or a call; use models by transformers, such as 'hf:<folder>', for "
                "such requests"
            )

        def compiled() -> Guide | None:
            grammar = request.grammar(model.codec)
            if grammar is None:
                return None
            return Guide(model.codec, grammar, tags, reasons=begins_reasoning(prompt))

        # Compiling takes long; other requests go on meanwhile.
        return await anyio.to_thread.run_sync(compiled)


def _check_room(model: Model, prompt: Prompt) -> None:
    """Raise ContextOverflowError where a prompt leaves no room for a reply."""
    used, context = len(prompt.token_ids), model.context_tokens
    if used >= context:
        raise ContextOverflowError(
            f"the prompt has {used} tokens and the context of {model.name} holds {context}: "
            "shorten the messages or the retrieved documents, or use a model with a longer context"
        )
