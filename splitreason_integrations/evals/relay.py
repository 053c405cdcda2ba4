"""Measure what a handoff costs two resident models, relative to a step of the large one.

Only the sessions run, with random weights: this measures all that a handoff costs the models,
without the engine's own time, which `bench overhead` measures. A step cannot be faster than reading
the weights and the keys and values once at the device's copy rate; each step is reported next to
that floor.
"""

import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from splitreason_integrations.backends.base import Wanted, WriteOrder
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.hf.session import HFSession
from splitreason_integrations.evals.intervals import bootstrap_median
from splitreason_integrations.loop.pace import BalancedPace
from splitreason_integrations.options import OPTIONS
from splitreason_integrations.sampling import Sampling

SMALL_TOKENS = 48
LARGE_TOKENS = 16
_DECODED_TOKENS = 64
_CHUNK_TOKENS = OPTIONS["handback_tokens"].default
_CLOSE = 0
_COPIED_BYTES = 1 << 30
_COPIES = 5

Reading = Callable[[HFSession, HFSession], Awaitable[float]]
"""Has the small model write while the large one reads along; returns the seconds."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round of both models, in seconds.

    Attributes:
        small_s: The small model writes; the large one reads along, where it does.
        handoff_s: The large model prefills and writes its first token.
        large_s: The large model writes the rest of the span.
        handback_s: The small model reads the span.

    """

    small_s: float
    handoff_s: float
    large_s: float
    handback_s: float

    @property
    def seconds(self) -> float:
        """Duration of the whole round."""
        return self.small_s + self.handoff_s + self.large_s + self.handback_s


async def relay(
    models: tuple[HFModel, HFModel],
    *,
    context_tokens: int,
    rounds: int,
    seed: int,
    bytes_per_s: float,
    on_progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Return handoff and handback times at a context length, tokens/s, and what reading costs.

    A handoff lasts from the small model's last token to the large model's first, including the
    prefill of what the small model wrote. In a handback the small model reads the span. The first
    round warms up and is not counted.

    Args:
        models: Small and large model.
        context_tokens: Length of the prompt.
        rounds: Rounds to measure.
        seed: Seed of the random prompt.
        bytes_per_s: Read rate of the device, from `read_rate`.
        on_progress: Called with (rounds done, rounds in all).

    """
    rng = random.Random(seed)
    words = min(model.network.config.vocab_size for model in models)
    prompt = [rng.randrange(words) for _ in range(context_tokens)]
    small, large = (model.open(prompt) for model in models)
    steps, alone = [], []
    for session in (small, large):
        await _seconds(session, 2)
        seconds = await _seconds(session, _DECODED_TOKENS)
        steps.append(seconds / _DECODED_TOKENS)
        alone.append(_DECODED_TOKENS / seconds)
        session.truncate(context_tokens)
    await _round(small, large)
    taken = list[Round]()
    for done in range(rounds):
        on_progress(done, rounds)
        taken.append(await _round(small, large))
    on_progress(rounds, rounds)
    reading = await _reading_ratios(small, large, rounds)
    small.close()
    large.close()
    ratios = [one.handoff_s / steps[1] for one in taken]
    floors = [_bytes_of_a_step(model, context_tokens) / bytes_per_s for model in models]
    tokens = (SMALL_TOKENS + LARGE_TOKENS) * rounds
    return {
        "context_tokens": context_tokens,
        "rounds": rounds,
        "step_ms": {"small": 1e3 * steps[0], "large": 1e3 * steps[1]},
        "step_floor_ms": {"small": 1e3 * floors[0], "large": 1e3 * floors[1]},
        "handoff_ms": 1e3 * statistics.median(one.handoff_s for one in taken),
        "handback_ms": 1e3 * statistics.median(one.handback_s for one in taken),
        "handoff_ratio": statistics.median(ratios),
        "handoff_interval": list(bootstrap_median(ratios)),
        "tokens_per_s": {
            "small": alone[0],
            "large": alone[1],
            "split": tokens / sum(one.seconds for one in taken),
        },
        **reading,
    }


async def _reading_ratios(small: HFSession, large: HFSession, rounds: int) -> dict[str, Any]:
    """Return the time of rounds whose span opens where the large model reads along ÷ of others.

    Both kinds take turns at one context length. `reading_ms` is a pass over a chunk.
    """
    before, pace, ratios = (small.length, large.length), BalancedPace(_CHUNK_TOKENS), []
    passes_s = list[float]()
    for warm in (False, *[True] * rounds):
        taken = []
        for reads in (partial(_reading_along, pace=pace, passes_s=passes_s), None):
            taken.append(await _round(small, large, reads))
            for session, length in zip((small, large), before, strict=True):
                session.truncate(length)
        if warm:
            ratios.append(taken[0].seconds / taken[1].seconds)
    return {
        "reading_ratio": statistics.median(ratios),
        "reading_interval": list(bootstrap_median(ratios)),
        "reading_ms": 1e3 * statistics.median(passes_s),
        "reading_tokens": pace.chunk_tokens,
    }


async def _reading_along(
    small: HFSession, large: HFSession, *, pace: BalancedPace, passes_s: list[float]
) -> float:
    """Have the small model write in chunks that the large one reads; return the seconds.

    What the small model writes behind its last token to keep is dropped, as behind an opening.
    """
    ends, started = [one.length + SMALL_TOKENS for one in (small, large)], time.perf_counter()
    while small.length < ends[0]:
        chunk = pace.chunk_tokens
        pace.note_steps(await _seconds(small, chunk), chunk)
        large.extend(small.token_ids[-chunk:])
        began_s = time.monotonic()
        await large.read_facts(Wanted(own=True), last=chunk)
        pace.note(began_s)
        passes_s.append(time.monotonic() - began_s)
    small.truncate(ends[0])
    large.truncate(ends[1])
    return time.perf_counter() - started


async def _round(small: HFSession, large: HFSession, reading: Reading | None = None) -> Round:
    before = small.length
    if reading is not None:
        small_s = await reading(small, large)
    else:
        small_s = await _seconds(small, SMALL_TOKENS)
        large.extend(small.token_ids[before:])
    handoff_s = await _seconds(large, 1)
    large_s = await _seconds(large, LARGE_TOKENS - 1)
    small.extend(large.token_ids[-LARGE_TOKENS:])
    started = time.perf_counter()
    await small.read_facts(Wanted(probability_of=_CLOSE), last=LARGE_TOKENS)
    return Round(small_s, handoff_s, large_s, time.perf_counter() - started)


async def _seconds(session: HFSession, tokens: int) -> float:
    """Have a session write this many tokens; return the seconds."""
    order = WriteOrder(
        max_tokens=tokens,
        sampling=Sampling(temperature=0.0),
        seed=0,
        stream=0,
        stop_tokens=frozenset(),
    )
    started = time.perf_counter()
    async with aclosing(session.write(order)) as writing:
        async for _ in writing:
            pass
    return time.perf_counter() - started


def _bytes_of_a_step(model: HFModel, context_tokens: int) -> int:
    """Return the bytes that a step reads: the weights in use, and all keys and values."""
    config = model.network.config
    weights: int = sum(one.nbytes for one in model.network.parameters())
    if not config.tie_word_embeddings:
        weights -= model.network.get_input_embeddings().weight.nbytes
    width = config.hidden_size // config.num_attention_heads * config.num_key_value_heads
    a_token: int = 2 * config.num_hidden_layers * width * model.network.dtype.itemsize
    return weights + context_tokens * a_token


def read_rate(device: torch.device) -> float:
    """Return the best copy rate of a device, in bytes read plus written per second."""
    there = torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=device)
    here = torch.empty_like(there)
    taken = []
    for _ in range(_COPIES):
        started = time.perf_counter()
        here.copy_(there)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return 2 * _COPIED_BYTES / min(taken)


async def measure_relay(
    models: tuple[HFModel, HFModel],
    contexts: Sequence[int],
    *,
    rounds: int,
    seed: int,
    on_progress: Callable[[int, int, int], None],
) -> list[dict[str, Any]]:
    """Measure each context length; `on_progress` gets (context, rounds done, rounds in all)."""
    bytes_per_s = read_rate(models[0].network.device)
    return [
        await relay(
            models,
            context_tokens=context,
            rounds=rounds,
            seed=seed,
            bytes_per_s=bytes_per_s,
            on_progress=partial(on_progress, context),
        )
        for context in contexts
    ]
