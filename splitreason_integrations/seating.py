"""Prepares a request's places: each model's prompt, its tags, its grammar. Checks all of it."""

from collections.abc import Callable, Sequence
from functools import partial

import anyio.to_thread

from splitreason_integrations.backends.base import Codec, Model, Prompt
from splitreason_integrations.backends.registry import ModelSpec, load_model
from splitreason_integrations.errors import IncompatiblePairError, RequestError
from splitreason_integrations.grammar import Guide
from splitreason_integrations.markers import Marks, marks_of
from splitreason_integrations.prompts import align_reasoning, begins_reasoning, check_room, render
from splitreason_integrations.records import Author, Writer
from splitreason_integrations.request import Request
from splitreason_integrations.seat import Seat
from splitreason_integrations.transcript import SMALL


class Seating:
    """The seats of one request; large models are loaded when their turn comes.

    `codecs` holds the codec of everyone who has a seat.
    """

    def __init__(
        self, request: Request, small: Model, larges: Sequence[ModelSpec], tags_as_text: bool
    ) -> None:
        self._request = request
        self._small = small
        self._larges = larges
        self._tags_as_text = tags_as_text
        self._small_prompt = render(small, request.messages, request.tools)
        self.codecs: dict[Writer, Codec] = {
            SMALL: small.codec,
            (Author.HUMAN, 0): small.codec,
        }

    async def first(self, number: int = 0) -> tuple[Seat, Seat]:
        """Return the small model's seat and that of the large model with a number."""
        model = await load_model(self._larges[0], role="large")
        theirs = render(model, self._request.messages, self._request.tools)
        self._small_prompt, _ = align_reasoning((self._small, self._small_prompt), (model, theirs))
        check_room(self._small, self._small_prompt)
        seats = [await self.large(one) for one in range(number + 1)]
        marks = marks_of(self._small.codec, as_text=self._tags_as_text)
        small = await self._seat(SMALL, self._small, self._small_prompt, marks)
        return small, seats[-1]

    async def large(self, number: int) -> Seat:
        """Return the seat of the large model with a number; raise LookupError behind the last."""
        model = await load_model(self._larges[number], role="large")
        prompt = self._large_prompt(model)
        check_room(model, prompt)
        writer = (Author.LARGE, number)
        self.codecs[writer] = model.codec
        marks = marks_of(model.codec, as_text=False)
        return await self._seat(
            writer, model, prompt, marks, prompt_with=partial(self._large_prompt, model)
        )

    def _large_prompt(self, model: Model, hint: str | None = None) -> Prompt:
        theirs = render(model, self._request.messages, self._request.tools, hint=hint)
        ours, theirs = align_reasoning((self._small, self._small_prompt), (model, theirs))
        if ours != self._small_prompt:
            raise IncompatiblePairError(
                f"{model.name} begins a reply with its reasoning and the reply at hand did not"
            )
        return theirs

    async def _seat(
        self,
        writer: Writer,
        model: Model,
        prompt: Prompt,
        marks: Marks,
        *,
        prompt_with: Callable[[str], Prompt] | None = None,
    ) -> Seat:
        return Seat(
            writer,
            model,
            prompt,
            marks,
            codecs=self.codecs,
            sampling=self._request.sampling.over(model.default_sampling),
            guide=await self._guide(model, prompt, marks),
            prompt_with=prompt_with,
        )

    async def _guide(self, model: Model, prompt: Prompt, marks: Marks) -> Guide | None:
        """Return what holds a constrained answer to its form."""
        request = self._request
        if request.response_schema is None and not request.must_call:
            return None
        if model.remote:
            raise RequestError(
                f"{model.name} is behind a server, where an answer cannot be held to a schema or a "
                "call; use models in this process, such as 'hf:<folder>', for such requests"
            )

        def compiled() -> Guide | None:
            grammar = request.grammar(model.codec)
            if grammar is None:
                return None
            return Guide(model.codec, grammar, marks, reasons=begins_reasoning(prompt))

        # Compiling takes long; other requests go on meanwhile.
        return await anyio.to_thread.run_sync(compiled)
