"""Find hard spans without a judge: steps that the small model misses and the large one does not.

A trace is cut wherever a token ends in both models' tokenizers. For each such unit each model has a
probability of missing it. The score of a step is the probability that the small model misses at
least one unit that the large model would not have missed.
"""

import asyncio
import math
from bisect import bisect_left
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splitreason_integrations.annotation.annotators import Found
from splitreason_integrations.annotation.rows import Row
from splitreason_integrations.annotation.steps import Align, steps
from splitreason_integrations.annotation.tagging import Span
from splitreason_integrations.backends.base import Model
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.backends.description import Role
from splitreason_integrations.backends.registry import load_model, resolve
from splitreason_integrations.checks import check_number, check_positive
from splitreason_integrations.errors import ConfigurationError, RequestError
from splitreason_integrations.protocols import Prompt
from splitreason_integrations.text.prompts import align_reasoning, render
from splitreason_integrations.text.tags import OPEN
from splitreason_integrations.training.annotate import Trace, failure_rates, tag_probability

_LOGIT_VALUES = 2**28
"""Most logits in one forward pass: 1 GiB in float32."""
_SUREST = 1.0 - 1e-12
_NOT_HERE = (
    "gap compares the models' probabilities at every token, and {} does not provide them: give "
    "both as hf:<folder or name>"
)


@dataclass(frozen=True, slots=True)
class _Read:
    """A trace in one model's tokens.

    Attributes:
        token_ids: Prompt and trace.
        start: Index of the trace's first token.
        ends: Character at which each token of the trace ends.

    """

    token_ids: list[int]
    start: int
    ends: list[int]


@dataclass(frozen=True, slots=True)
class _Job:
    """A row in both models' tokens.

    Attributes:
        row: The row.
        reads: The trace in the small and in the large model's tokens.
        cuts: Characters at which a unit ends.

    """

    row: Row
    reads: tuple[_Read, _Read]
    cuts: list[int]


class GapAnnotator:
    """Score steps with two transformers models in this process."""

    name = "gap"
    batch_rows = 32
    journals = False
    scores = True
    stopped: str | None = None

    def __init__(
        self,
        small: Model,
        large: Model,
        *,
        align: Align = Align.SENTENCE,
        tries: float = 1.0,
        batch_tokens: int = 16_384,
    ) -> None:
        """Take two loaded models.

        Args:
            small: The model to be trained.
            large: The model that will write the hard spans.
            align: What a step is.
            tries: Number of the small model's attempts for which misses are counted.
            batch_tokens: Tokens per forward pass, padding included.

        Raises:
            ConfigurationError: A model does not run in this process.

        """
        check_positive("tries", tries)
        check_number("batch_tokens", batch_tokens, least=1, whole=True)
        for model in (small, large):
            if not hasattr(model, "network") or not isinstance(model.codec, TokenizerCodec):
                raise ConfigurationError(_NOT_HERE.format(model.name))
        self._models: tuple[Any, Any] = (small, large)
        self._align = Align.SENTENCE if align is Align.NONE else align
        self._tries, self._batch_tokens = tries, batch_tokens

    @property
    def settings(self) -> Mapping[str, Any]:
        """Models, kind of step, and tries."""
        names = [model.name for model in self._models]
        return {"models": names, "steps": self._align.value, "tries": self._tries}

    async def find(
        self, rows: Sequence[Row], *, spent_usd: float
    ) -> AsyncGenerator[tuple[int, Found], None]:
        """Yield all steps of each row with their scores."""
        for at, found in (await asyncio.to_thread(self._score, rows)).items():
            yield at, found

    def _score(self, rows: Sequence[Row]) -> dict[int, Found]:
        jobs: dict[int, _Job] = {}
        found: dict[int, Found] = {}
        for at, row in enumerate(rows):
            read = self._read(row)
            if isinstance(read, _Job):
                jobs[at] = read
            else:
                found[at] = Found(failure=read)
        rates = [self._rates(which, list(jobs.values())) for which in (0, 1)]
        for (at, job), ours, theirs in zip(jobs.items(), *rates, strict=True):
            found[at] = self._found(job, ours, theirs)
        return found

    def _read(self, row: Row) -> _Job | str:
        """Return a row in both models' tokens, or the reason why that is impossible."""
        try:
            prompts = self._prompts(row)
        except RequestError as error:
            return str(error)
        reads: list[_Read] = []
        for model, prompt in zip(self._models, prompts, strict=True):
            ids, offsets = model.codec.encode_with_offsets(row.trace)
            start = len(prompt.token_ids)
            if start + len(ids) > model.context_tokens:
                return f"longer than the {model.context_tokens} tokens of {model.name}'s context"
            # Tokens that share a character (its bytes) all end after that character.
            ends = [end for _, end in offsets]
            for at in range(1, len(ends)):
                ends[at] = max(ends[at], ends[at - 1])
            reads.append(_Read([*prompt.token_ids, *ids], start, ends))
        cuts = sorted(set(reads[0].ends) & set(reads[1].ends))
        return _Job(row, (reads[0], reads[1]), cuts)

    def _prompts(self, row: Row) -> tuple[Prompt, Prompt]:
        small, large = (
            (model.codec, render(model.codec, row.messages, None, hints=(model.hint,)))
            for model in self._models
        )
        return align_reasoning(small, large)

    def _rates(self, which: int, jobs: Sequence[_Job]) -> list[list[float]]:
        """Return one model's probability of missing each unit of each trace."""
        import torch

        model = self._models[which]
        traces = [_trace(job.reads[which], job.cuts) for job in jobs]
        vocabulary = model.network.config.get_text_config().vocab_size
        try:
            return failure_rates(
                model.network,
                traces,
                never=model.codec.control_token(OPEN),
                batch_tokens=self._batch_tokens,
                window_tokens=max(1, _LOGIT_VALUES // (vocabulary * self._rows_at_once(traces))),
            )
        except torch.OutOfMemoryError as error:
            raise ConfigurationError(
                f"{model.name} runs out of memory: give fewer --batch-tokens than "
                f"{self._batch_tokens}, or another device"
            ) from error

    def _rows_at_once(self, traces: Sequence[Trace]) -> int:
        shortest = min((len(trace.ids) for trace in traces), default=1)
        return max(1, min(len(traces), self._batch_tokens // shortest))

    def _found(self, job: _Job, ours: Sequence[float], theirs: Sequence[float]) -> Found:
        misses = [
            tag_probability(small, large, tries=self._tries)
            for small, large in zip(ours, theirs, strict=True)
        ]
        ends = job.reads[0].ends
        spans, tokens, ranks = [], [], []
        for step in steps(job.row.trace, self._align):
            first, last = (bisect_left(job.cuts, place) for place in (step.start + 1, step.end + 1))
            # The probability of no miss is a product. Its logarithm still orders steps whose
            # scores round to 1.
            rank = -sum(math.log1p(-min(miss, _SUREST)) for miss in misses[first:last])
            ranks.append(rank)
            spans.append(Span(step.start, step.end, -math.expm1(-rank)))
            tokens.append(bisect_left(ends, step.end + 1) - bisect_left(ends, step.start + 1))
        return Found(tuple(spans), tokens=tuple(tokens), ranks=tuple(ranks), of_tokens=len(ends))


async def load_here(spec: str, *, role: Role, device: str) -> Model:
    """Return the model of a spec, loaded in this process.

    Raises:
        ConfigurationError: The spec names a model elsewhere.

    """
    described = resolve(spec, role=role).placed_on(device)
    if described is None:
        raise ConfigurationError(_NOT_HERE.format(spec))
    return await load_model(described, role=role)


def _trace(read: _Read, cuts: Sequence[int]) -> Trace:
    """Return a trace whose candidate spans are the tokens between adjacent cuts."""
    spans, first = [], 0
    for cut in cuts:
        last = bisect_left(read.ends, cut + 1, lo=first)
        spans.append((read.start + first, read.start + last))
        first = last
    return Trace(read.token_ids, spans)
