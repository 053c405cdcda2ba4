"""Sessions over an engine of vLLM; every order is a request of its own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from splitreason_integrations.backends.base import End, Wanted, WriteOrder, Written
from splitreason_integrations.backends.lookahead import Draft, DraftStats
from splitreason_integrations.backends.refusal import Refusal
from splitreason_integrations.backends.scores import LIKELIEST, Asked, Scores
from splitreason_integrations.backends.sent_session import DraftRequest, SentSession, left_s
from splitreason_integrations.backends.vllm_local.engine import Engine, Writing
from splitreason_integrations.backends.vllm_local.params import (
    drafting,
    ignored_ban,
    own_scores_in,
    reading_own,
    scores_in,
    scoring,
    writing,
    written_in,
)
from splitreason_integrations.errors import SessionError


class EngineModel(Protocol):
    """What a session needs of its model."""

    name: str
    context_tokens: int
    vocabulary: int
    engine: Engine
    draft_stats: DraftStats
    no_grammars: Refusal


class VLLMSession(SentSession):
    """One sequence, as ids."""

    def __init__(
        self, model: EngineModel, prompt: Sequence[int], written: Sequence[int] = ()
    ) -> None:
        super().__init__(model, prompt, written)
        self._model = model
        self._checked(self._ids)
        self._writing: Writing | None = None

    def extend(self, token_ids: Sequence[int]) -> None:
        """Append tokens; nothing is computed until they are needed."""
        super().extend(self._checked(token_ids))

    def close(self) -> None:
        """End what is being written; nothing can be asked any more."""
        super().close()
        if self._writing is not None:
            self._writing.end()

    async def _ask(
        self, order: WriteOrder, most: int, refused: list[int]
    ) -> AsyncGenerator[Written, None]:
        params = writing(order, max_tokens=most, position=self._position)
        answer = self._writing = Writing(self._model.engine, self._ids, params)
        try:
            while (piece := await self._next(answer, order)) is not None:
                written, refuses = self._kept(piece, order, refused)
                yield written
                if written.end or refuses or piece.finish_reason:
                    return
            yield Written((), End.DEADLINE)
        finally:
            answer.end()
            self._writing = None

    async def _scored(
        self, prompts: Sequence[Sequence[int]], asked: Asked, wanted: Wanted
    ) -> list[Scores]:
        params, engine = scoring(asked, wanted.forbidden), self._model.engine
        outputs = await asyncio.wrap_future(engine.do(engine.last(prompts, params)))
        return [one for output in outputs for one in scores_in(output.outputs[0])]

    async def _read_own(self, lengths: range, forbidden: Sequence[int]) -> dict[int, Scores]:
        # One pass over what is new, where every place as a prompt of its own would be many.
        if len(forbidden) >= LIKELIEST:
            return {}
        engine, ids, params = self._model.engine, tuple(self._ids), reading_own(forbidden)
        (output,) = await asyncio.wrap_future(engine.do(engine.last([ids], params)))
        return own_scores_in(output, lengths[0] - 1, forbidden) if lengths else {}

    def _draft_starter(self, token_id: int, most: int) -> Callable[[], DraftRequest]:
        def start() -> DraftRequest:
            params = drafting(token_id, max_tokens=most)
            request = Writing(self._model.engine, tuple(self._ids), params)
            return DraftRequest(partial(_read_draft, request, token_id), request.end)

        return start

    def _prefill_starter(self) -> Callable[[], Callable[[], None]]:
        return lambda: Writing(self._model.engine, tuple(self._ids), scoring()).end

    def _ban_ignored(self, order: WriteOrder) -> Exception:
        return ignored_ban(self._model.name)

    async def _next(self, answer: Writing, order: WriteOrder) -> Any:
        """Return the next piece, None if the deadline comes before it."""
        try:
            async with asyncio.timeout(left_s(order)):
                piece = await answer.next()
        except TimeoutError:
            return None
        self._check_open()
        return piece

    def _kept(self, piece: Any, order: WriteOrder, refused: list[int]) -> tuple[Written, bool]:
        """Append what the watch keeps of a piece; return it, and whether the next is refused."""
        one, refuses = written_in(piece, order, label=self._model.name), False
        if order.watch is not None or order.guide is not None:
            scores = scores_in(piece) or [Scores({}) for _ in piece.token_ids]
            one, refuses = self._judged(order, one, scores, refused)
        self._saw(one.token_ids)
        return one, refuses

    def _checked(self, token_ids: Sequence[int]) -> Sequence[int]:
        """Return ids that the model can read: others would end its engine, for everybody."""
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self._model.vocabulary:
            raise SessionError(
                f"{self._model.name} has {self._model.vocabulary} token ids; these are not its own"
            )
        return token_ids


async def _read_draft(request: Writing, token_id: int) -> Draft:
    """Return what is written next, and P(`token_id`) at each of it."""
    piece = await request.next()
    if piece is None:
        return Draft(ends=True)
    found = [one.of(token_id) for one in scores_in(piece)]
    return Draft(piece.token_ids, found, piece.finish_reason is not None)
