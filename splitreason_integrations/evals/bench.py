"""Measure the engine's overhead: generation time ÷ time of the same forward passes alone."""

import statistics
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from splitreason_integrations import blocking
from splitreason_integrations.backends.hf.cache import KVCache
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.evals.intervals import bootstrap_median
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request

_ROUNDS = 3


@dataclass(frozen=True)
class Pass:
    """One recorded forward pass.

    Attributes:
        model: The model that ran it.
        cache: `id()` of the KV cache it used.
        cached: Tokens in the cache before the pass.
        token_ids: The tokens that the pass read.
        last: Whether logits were computed for the last position only.

    """

    model: HFModel
    cache: int
    cached: int
    token_ids: tuple[int, ...]
    last: bool


def overhead(
    engine: SplitEngine, *, samples: int, seed: int, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Return split generation time ÷ time of its forward passes alone, as plain data.

    The forward passes of each problem are recorded once. Then the whole generation and a replay of
    its passes, with the same tokens and cache lengths, are timed in alternation. `ratio` is the
    median over problems of (median generation time ÷ median replay time).

    Args:
        engine: The pair to measure; both models must run in this process.
        samples: Number of problems.
        seed: Seed of the problems and requests.
        progress: Called with (problems done, problems in all).

    Raises:
        ConfigurationError: A model does not run in this process.

    """
    models = blocking.run(engine.models)
    if not all(isinstance(model, HFModel) for model in models):
        raise ConfigurationError("bench overhead measures models in this process; use hf: models")
    local = [model for model in models if isinstance(model, HFModel)]
    ratios, passes, tokens, spans = [], 0, 0, 0
    for done, task in enumerate(generated("test", ["word", "context"], n=samples, seed=seed)):
        progress(done, samples)
        request = Request(messages=task.messages, max_tokens=512, seed=seed)

        def generate(request: Request = request) -> Any:
            return blocking.run(lambda: engine.complete(request))

        with _recorded(local) as record:
            reply = generate()
        passes, tokens = passes + len(record), tokens + reply.tokens
        spans += len(reply.spans)
        rounds = [(_seconds(generate), _seconds(lambda: _replay(record))) for _ in range(_ROUNDS)]
        split, bare = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratios.append(split / bare)
    progress(samples, samples)
    return {
        "bench": "overhead",
        "ratio": statistics.median(ratios),
        "interval": list(bootstrap_median(ratios)),
        "n": len(ratios),
        "passes": passes,
        "tokens": tokens,
        "spans": spans,
        "seed": seed,
    }


@contextmanager
def _recorded(models: Sequence[HFModel]) -> Generator[list[Pass], None, None]:
    record: list[Pass] = []
    forward = HFModel.forward

    def recording(
        model: HFModel, token_ids: Sequence[int], cache: KVCache, *, last: bool
    ) -> torch.Tensor:
        record.append(Pass(model, id(cache), cache.length, tuple(token_ids), last))
        return forward(model, token_ids, cache, last=last)

    HFModel.forward = recording  # type: ignore[method-assign, assignment]
    try:
        yield record
    finally:
        HFModel.forward = forward  # type: ignore[method-assign]


def _replay(record: Sequence[Pass]) -> None:
    caches: dict[int, KVCache] = {}
    for one in record:
        cache = caches.get(one.cache)
        if cache is None:
            cache = caches[one.cache] = one.model.new_cache()
        cache.length = one.cached
        one.model.forward(one.token_ids, cache, last=one.last)
        cache.length += len(one.token_ids)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
