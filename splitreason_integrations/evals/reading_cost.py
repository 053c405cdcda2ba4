"""Measure what reading along costs: wall time of an answer with `disagreement` ÷ with `tag`.

All rows answer the same problems in turn, on the same models in one run. A row whose text is
another than the tag's takes another time for that reason, too, so tokens and right answers are
next to it; `tag | disagreement` adds the reading and writes almost what `tag` does.
"""

import statistics
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from splitreason_integrations.backends.base import (
    Model,
    Session,
    TokenFacts,
    Wanted,
    WriteOrder,
    Written,
)
from splitreason_integrations.decide.closing import Agrees, CloseRule, TagClose
from splitreason_integrations.decide.policy import Policy
from splitreason_integrations.decide.triggers import Disagreement, Tag, Trigger
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals.intervals import bootstrap_median
from splitreason_integrations.evals.load import OnProgress
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.records import Author, Completion, Delta
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling

MAX_TOKENS = 300
_SPAN_TOKENS = 64
_GREEDY = Sampling(temperature=0.0)


class Clocked:
    """A model whose sessions note when their tokens come and how many are read at a time.

    Attributes:
        chunks: Tokens of each chunk that its sessions read along.
        waited_s: How long each token that was shown had been written by then.

    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._came_s: dict[int, float] = {}
        self.chunks: list[int] = []
        self.waited_s: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def open(self, prompt: Sequence[int], written: Sequence[int] = ()) -> Session:
        """Start a session."""
        session = self._model.open(prompt, written)
        write, read, truncate = session.write, session.read_facts, session.truncate
        self._came_s = came_s = dict[int, float]()

        async def writing(order: WriteOrder) -> AsyncGenerator[Written, None]:
            # A session in this process may be further than what it has yielded.
            length = session.length
            async with aclosing(write(order)) as parts:
                async for part in parts:
                    now = time.perf_counter()
                    came_s.update((length + at, now) for at in range(len(part.token_ids)))
                    length += len(part.token_ids)
                    yield part

        async def reading(
            wanted: Wanted, *, last: int | None = None, spare: int = 0
        ) -> list[TokenFacts]:
            self.chunks.append(last or session.unread)
            return await read(wanted, last=last, spare=spare)

        def cutting(length: int) -> None:
            for at in [at for at in came_s if at >= length]:
                del came_s[at]
            truncate(length)

        session.write = writing  # type: ignore[method-assign]
        session.read_facts = reading  # type: ignore[method-assign]
        session.truncate = cutting  # type: ignore[method-assign]
        return session

    def note_shown(self, tokens: int) -> None:
        """Note that the next tokens of the reply that this model wrote are shown now."""
        now = time.perf_counter()
        for at in list(islice(self._came_s, tokens)):
            self.waited_s.append(now - self._came_s.pop(at))


@dataclass(slots=True)
class Row:
    """One small model with its trigger and close rule, and what it took so far.

    Attributes:
        small: The small model.
        large: The large model.
        trigger: Opens its spans.
        close: Ends its spans.
        replies: Its replies.
        seconds: Wall time of each reply.
        rights: Whether each reply is right.

    """

    small: Clocked
    large: Clocked
    trigger: Trigger
    close: CloseRule
    replies: list[Completion] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rights: list[bool] = field(default_factory=list)

    async def answer(self, task: Task) -> None:
        """Answer a problem in a stream, and note what it took."""
        engine = SplitEngine(
            small=self.small,
            large=self.large,
            trigger=self.trigger,
            close=self.close,
            policy=Policy(max_span_tokens=_SPAN_TOKENS),
            telemetry=None,
        )
        request = Request(
            messages=task.messages,
            tools=task.tools,
            seed=0,
            max_tokens=MAX_TOKENS,
            sampling=_GREEDY,
        )
        started = time.perf_counter()
        async with aclosing(engine.stream(request)) as items:
            async for item in items:
                if isinstance(item, Delta) and item.author is Author.SMALL:
                    self.small.note_shown(len(item.token_ids))
                elif isinstance(item, Completion):
                    self.seconds.append(time.perf_counter() - started)
                    self.replies.append(item)
                    self.rights.append(task.right(item.answer))

    def forget(self) -> None:
        """Forget what was noted: a first answer warms up."""
        self.replies, self.seconds, self.rights = [], [], []
        self.large.chunks, self.small.waited_s = [], []

    def data(self, first: "Row") -> dict[str, Any]:
        """Return the row as plain data, its wall time as ratios to the first row's."""
        ratios = [mine / other for mine, other in zip(self.seconds, first.seconds, strict=True)]
        n, tokens = len(self.replies), sum(reply.tokens for reply in self.replies)
        waited_s, chunks = self.small.waited_s, self.large.chunks
        return {
            "small": self.small.name,
            "trigger": str(self.trigger),
            "close": str(self.close),
            "wall_ratio": statistics.median(ratios),
            "wall_interval": list(bootstrap_median(ratios)),
            "seconds_an_answer": statistics.median(self.seconds),
            "accuracy": sum(self.rights) / n,
            "tokens_an_answer": tokens / n,
            "offload_share": sum(reply.large_tokens for reply in self.replies) / max(1, tokens),
            "chunks_an_answer": len(chunks) / n,
            "chunk_tokens": sum(chunks) / len(chunks) if chunks else 0.0,
            "read_tokens_an_answer": sum(one.read_ahead_tokens for one in self.replies) / n,
            "shown_after_ms": 1000 * statistics.fmean(waited_s) if waited_s else 0.0,
        }


async def reading_cost(
    models: tuple[Model, Model],
    tasks: Sequence[Task],
    on_progress: OnProgress,
    *,
    untaught: Model | None = None,
) -> dict[str, Any]:
    """Return wall time, reading and delay of answers with `disagreement`, and ÷ with `tag`.

    `shown_after_ms` is how long a token of the small model has been written, on average, when the
    stream shows it; `chunk_tokens` is how many of them the large model reads at a time.

    Args:
        models: Small and large model.
        tasks: The problems to answer; the first one also warms up.
        on_progress: Called with (part of the benchmark, units done, units in all).
        untaught: A small model that was never taught, for a row of its own; None for none.

    """
    small, large = models
    rules: list[tuple[Model, Trigger, CloseRule]] = [
        (small, Tag(), TagClose()),
        (small, Tag() | Disagreement(), TagClose()),
        (small, Disagreement(), Agrees()),
    ]
    if untaught is not None:
        rules.append((untaught, Disagreement(), Agrees()))
    rows = [Row(Clocked(model), Clocked(large), trigger, close) for model, trigger, close in rules]
    for row in rows:
        await row.answer(tasks[0])
        row.forget()
    for done, task in enumerate(tasks):
        on_progress("reading along", done, len(tasks))
        # Whoever comes later finds a warmer cache, so each is the first in turn.
        first = done % len(rows)
        for row in (*rows[first:], *rows[:first]):
            await row.answer(task)
    on_progress("reading along", len(tasks), len(tasks))
    return {"n": len(tasks), "rows": [row.data(rows[0]) for row in rows]}
