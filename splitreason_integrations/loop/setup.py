"""Prepares the two participants of a request: prompts, tags, grammars, and checks of them."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import anyio.to_thread

from splitreason_integrations.backends.base import Gives, Model
from splitreason_integrations.backends.registry import ModelSpec, is_loaded, public_name
from splitreason_integrations.decide.resilience import Retry, breaker_of
from splitreason_integrations.errors import (
    CircuitOpenError,
    IncompatiblePairError,
    ModelUnreachableError,
    PauseError,
    RequestError,
)
from splitreason_integrations.loop.loading import Loading
from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.room import check_room, is_long
from splitreason_integrations.loop.searching import search_in_time
from splitreason_integrations.loop.state import Unreached
from splitreason_integrations.loop.transcript import CLOSER, SMALL
from splitreason_integrations.privacy.redacting_codec import RedactingCodec
from splitreason_integrations.privacy.redaction import Rule, Vault
from splitreason_integrations.protocols import Codec, Prompt
from splitreason_integrations.records import Author, Writer
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import no_such_sampling
from splitreason_integrations.text.grammar import Guide
from splitreason_integrations.text.prompts import align_reasoning, begins_reasoning, render
from splitreason_integrations.text.tags import Tags, tags_of


class Setup:
    """The participants of one request; large models are loaded when they are needed.

    Args:
        request: what is asked.
        small: the small model.
        larges: the large models in their order.
        loading: loads the models.
        retry: how failing models are called again.
        tags_as_text: whether the small model's tags may be plain text.
        marks_spans: whether the small model is shown spans within tags, and a large one that knows
            them.
        whole: whether a large model writes the whole reply.
        redact: what is hidden from remote models.
        hidden: what a paused request had hidden already.

    Attributes:
        codecs: the codec of every participant, by writer.
        loading: loads the models.
        vault: what is hidden from remote models; None where nothing is to be hidden.
        answer_is_small: whether the small model writes the whole answer, for the large one could
            not keep it in the form that is asked for.
        unreached: the large models that could not be loaded, or not used behind such a one.

    """

    def __init__(
        self,
        request: Request,
        small: Model,
        larges: Sequence[ModelSpec],
        loading: Loading,
        retry: Retry,
        *,
        tags_as_text: bool,
        marks_spans: bool,
        whole: bool = False,
        redact: Sequence[Rule] = (),
        hidden: Mapping[str, str] | None = None,
    ) -> None:
        self._request = request
        self._small = small
        self._larges = larges
        self.loading = loading
        self._retry = retry
        self._tags_as_text = tags_as_text
        self._marks_spans = marks_spans
        self._whole = whole
        self._small_prompt = Prompt((), "")
        self._is_long = is_long(request)
        self.vault = Vault(redact, hidden) if redact else None
        self.answer_is_small = False
        self.unreached: list[Unreached] = []
        self.codecs: dict[Writer, Codec] = {
            SMALL: small.codec,
            CLOSER: small.codec,
            (Author.HUMAN, 0): small.codec,
        }

    async def pair(self, *, needs_large: bool) -> tuple[Participant, Participant | None]:
        """Return the small model and the first large one that can be reached and used.

        No large model is loaded unless `needs_large`: where no span can open.
        """
        for number, spec in enumerate(self._larges if needs_large else ()):
            model = await self._reach(spec)
            if model is None:
                continue
            try:
                return await self._participants(number, model)
            except (RequestError, IncompatiblePairError) as error:
                if not self.unreached:
                    raise
                # It replaces another one: as in a span, what it cannot do ends no request.
                self.unreached.append(Unreached(model.name, error))
        return await self._participants(0, None)

    async def _reach(self, spec: ModelSpec) -> Model | None:
        """Return a large model, None where its server cannot be reached.

        One that could not be reached again and again is passed over for a while.
        """
        name = public_name(spec)
        breaker = breaker_of(name, self._retry)
        if not is_loaded(spec, role="large") and not breaker.admits():
            error = CircuitOpenError(f"{name} could not be reached lately")
            self.unreached.append(Unreached(name, error))
            return None
        try:
            model = await self.loading.large(spec)
        except ModelUnreachableError as error:
            breaker.failed()
            self.unreached.append(Unreached(name, error))
            return None
        breaker.succeeded()
        return model

    async def pair_again(
        self, number: int, others: Collection[int]
    ) -> tuple[Participant, Participant | None]:
        """Return the pair of a paused request.

        Args:
            number: the large model that was writing.
            others: every large model that has written at the reply.

        Raises:
            PauseError: there are fewer large models than these.

        """
        highest = max([number, *others])
        if highest >= len(self._larges):
            raise PauseError.of(
                f"large model {highest + 1} has a part in it, and there are {len(self._larges)}; "
                "continue it with the models that began it"
            )
        model = await self.loading.large(self._larges[number])
        small, large = await self._participants(number, model)
        for other in others:
            if other != number:
                await self.large(other)
        return small, large

    async def large(self, number: int, until_s: float | None = None) -> Participant | None:
        """Return the large model with a number; None where there is none."""
        if number >= len(self._larges):
            return None
        model = await self.loading.large(self._larges[number], until_s=until_s)
        if self._request.has_form and not self.answer_is_small:
            await self._check_form(model)
        codec = self._codec_of(model)
        return await self._large(number, model, codec, await self._large_prompt(model, codec))

    async def _participants(
        self, number: int, model: Model | None
    ) -> tuple[Participant, Participant | None]:
        if model is not None and self.vault is not None:
            texts = [self._request.messages, self._request.tools]
            try:
                await search_in_time(self.vault, texts, self.loading.half_of_time_left_s)
            except ModelUnreachableError as error:
                # What was not searched may not leave: the small model goes on alone.
                self.unreached.append(Unreached(model.name, error))
                model = None
        self._small_prompt = await self._render(
            self._small, self._small.codec, thinking=self._request.thinking
        )
        large = None
        await self._learn_forms(model)
        if model is not None:
            codec = self._codec_of(model)
            self._small_prompt, prompt = await self._aligned(model, codec)
            large = await self._large(number, model, codec, prompt)
        check_room(self._small, self._small_prompt)
        tags = tags_of(self._small.codec, as_text=self._tags_as_text)
        small = await self._participant(
            SMALL, self._small, self._small_prompt, tags, shown=self._marks_spans
        )
        return small, large

    async def _learn_forms(self, large: Model | None) -> None:
        """Find out which model can keep the answer in its form, where one is asked for."""
        if not self._request.has_form:
            return
        await self.loading.find_out(self._small)
        if Gives.FORM not in self._small.gives:
            raise RequestError(
                f"{self._small.name} cannot hold an answer to a schema or a call: its server "
                "takes neither token ids nor grammars; use 'hf:<folder>', 'vllm:<folder>', or a "
                "server of vLLM or llama.cpp for the small model"
            )
        if large is not None:
            self.answer_is_small = not await self._keeps_form(large)

    async def _keeps_form(self, large: Model) -> bool:
        """Return whether a large model can keep the part of the answer in its form that it writes.

        Where it writes all of the reply, it may give the answer at once.
        """
        known = await self.loading.find_out(large, whole=self._whole)
        # What is hidden from a model behind a server may not fit the schema.
        hides = self.vault is not None and large.remote
        at_once = self._whole and self._gives_at_once(large)
        return known and not hides and (Gives.FORM in large.gives or at_once)

    async def _check_form(self, large: Model) -> None:
        """Raise RequestError where a large model behind the first cannot keep the answer's form."""
        if not await self._keeps_form(large):
            raise RequestError(f"{large.name} cannot hold an answer to a schema or a call")

    def _gives_at_once(self, large: Model) -> bool:
        """Return whether a model can give a whole answer in the form that is asked for."""
        form = self._request.form
        if form.schema is None:
            return Gives.CALL in large.gives
        # A choice between an answer and a call is no form that chats know.
        return Gives.ANSWER in large.gives and not form.tools

    async def _large(self, number: int, model: Model, codec: Codec, prompt: Prompt) -> Participant:
        writer = (Author.LARGE, number)
        self.codecs[writer] = codec
        check_room(model, prompt)
        shown = self._marks_spans and (await self.loading.large_teaching(model)).closes
        return await self._participant(
            writer,
            model,
            prompt,
            tags_of(codec, as_text=False),
            shown=shown,
            prompt_with=partial(self._large_prompt, model, codec),
        )

    def _codec_of(self, model: Model) -> Codec:
        if self.vault is None or not model.remote:
            return model.codec
        return RedactingCodec(model.codec, self.vault)

    async def _large_prompt(self, model: Model, codec: Codec, hint: str | None = None) -> Prompt:
        ours, theirs = await self._aligned(model, codec, hint)
        if ours != self._small_prompt:
            raise IncompatiblePairError(
                f"{model.name} begins a reply with its reasoning and the reply at hand did not"
            )
        return theirs

    async def _aligned(
        self, model: Model, codec: Codec, hint: str | None = None
    ) -> tuple[Prompt, Prompt]:
        thinks, can = self._small_prompt.thinks, codec.reply_format.reasons
        thinking = thinks if can or not thinks else None
        theirs = await self._render(model, codec, hint, thinking=thinking)
        if theirs.thinks is False and thinks is not False and can:
            # The reply reasons all the same: the setting is for what a message asks of the model.
            said = theirs.said
            theirs = replace(await self._render(model, codec, hint, thinking=True), said=said)
        return align_reasoning((self._small.codec, self._small_prompt), (codec, theirs))

    async def _render(
        self,
        model: Model,
        codec: Codec,
        hint: str | None = None,
        *,
        thinking: bool | None = None,
    ) -> Prompt:
        request = self._request
        schema = request.response_schema if request.show_schema else None
        hints = (model.hint, hint, codec.reply_format.ask_for(schema))
        rendered = partial(
            render,
            codec,
            request.messages,
            request.tools,
            hints=hints,
            thinking=thinking,
            context_tokens=model.context_tokens if self._is_long else None,
        )
        return await anyio.to_thread.run_sync(rendered) if self._is_long else rendered()

    async def _participant(
        self,
        writer: Writer,
        model: Model,
        prompt: Prompt,
        tags: Tags,
        *,
        shown: bool,
        prompt_with: Callable[[str], Awaitable[Prompt]] | None = None,
    ) -> Participant:
        for name in self._request.sampling.penalties:
            if name in model.unknown_sampling:
                raise RequestError(no_such_sampling(model.name, name))
        return Participant(
            writer,
            model,
            prompt,
            tags if shown else Tags(),
            codecs=self.codecs,
            sampling=self._request.sampling.over(model.default_sampling),
            guide=await self._guide(writer, model, prompt, tags),
            looked_for=tags,
            prompt_with=prompt_with,
        )

    async def _guide(
        self, writer: Writer, model: Model, prompt: Prompt, tags: Tags
    ) -> Guide | None:
        """Return the grammar that the answer has to follow; None where none is asked for."""
        request = self._request
        if not request.has_form or (writer != SMALL and self.answer_is_small):
            return None

        def compiled() -> Guide | None:
            grammar = request.grammar(model.codec)
            if grammar is None:
                return None
            reasons = begins_reasoning(prompt)
            return Guide(model.codec, grammar, tags, reasons=reasons, form=request.form)

        # Compiling takes long; other requests go on meanwhile.
        return await anyio.to_thread.run_sync(compiled)
