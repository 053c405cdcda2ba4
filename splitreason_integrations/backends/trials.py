"""The calls that a request makes of a model, each tried by itself for `splitreason doctor`."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from splitreason_integrations.backends.base import End, Model, Session, Wanted, WriteOrder
from splitreason_integrations.errors import ModelCallError, SplitReasonError
from splitreason_integrations.sampling import Sampling

_HELLO = [{"role": "user", "content": "Hello"}]
_TOKENS = 8

Trial = Callable[[Model, Session], Awaitable[str]]
"""Tries one thing and returns what to report; raises ModelCallError if it does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined.

    Attributes:
        what: the thing that was examined.
        ok: whether it is as it must be.
        said: the result in words.
        facts: the result as data, where it is more than one value.
        optional: whether it is missing and need not be there.

    """

    what: str
    ok: bool
    said: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    optional: bool = False


async def try_all(
    model: Model, *, role: str, trials: Mapping[str, Trial] | None = None
) -> AsyncGenerator[Finding, None]:
    """Try a loaded model and yield a finding for each trial, by default for all of `TRIALS`."""
    for name, trial in (TRIALS if trials is None else trials).items():
        yield await _tried(f"{role} model {name}", trial, model)


async def _tried(what: str, trial: Trial, model: Model) -> Finding:
    session = model.open(model.codec.render(_HELLO, None))
    try:
        return Finding(what, True, await trial(model, session))
    except SplitReasonError as error:
        return Finding(what, False, str(error))
    finally:
        session.close()


async def _write(
    session: Session, *, stop_tokens: frozenset[int] = frozenset(), forbidden: tuple[int, ...] = ()
) -> tuple[list[int], End | None]:
    """Write greedily behind a session's tokens; cut it off again."""
    order = WriteOrder(
        max_tokens=_TOKENS,
        sampling=Sampling(temperature=0.0),
        seed=0,
        stream=0,
        stop_tokens=stop_tokens,
        forbidden=forbidden,
    )
    ids, end, before = list[int](), None, session.length
    async with aclosing(session.write(order)) as writing:
        async for written in writing:
            ids += written.token_ids
            end = written.end
    session.truncate(before)
    return ids, end


async def _writes(_: Model, session: Session) -> str:
    started = time.monotonic()
    ids, _end = await _write(session)
    seconds = time.monotonic() - started
    if (await _write(session))[0] != ids:
        raise ModelCallError(
            "with greedy sampling, it wrote another text the second time", retryable=False
        )
    return f"{len(ids)} tokens in {seconds * 1000:.0f} ms, the same ones again"


async def _answers(_: Model, session: Session) -> str:
    started = time.monotonic()
    ids, _end = await _write(session)
    if not ids:
        raise ModelCallError("it writes nothing", retryable=False)
    return f"{len(ids)} tokens in {(time.monotonic() - started) * 1000:.0f} ms"


async def _stops(_: Model, session: Session) -> str:
    ids, _end = await _write(session)
    kept, end = await _write(session, stop_tokens=frozenset(ids[-1:]))
    if end is not End.STOP_TOKEN or kept != ids[: ids.index(ids[-1])]:
        raise ModelCallError("it does not stop at stop tokens", retryable=False)
    return "at a stop token"


async def _avoids(_: Model, session: Session) -> str:
    ids, _end = await _write(session)
    other, _end = await _write(session, forbidden=tuple(sorted(set(ids))))
    if set(other) & set(ids):
        raise ModelCallError("it writes tokens that are forbidden", retryable=False)
    return "forbidden tokens"


async def _reads_along(model: Model, session: Session) -> str:
    ids, _end = await _write(session)
    session.extend(ids)
    wanted = Wanted(probability_of=min(model.codec.end_tokens))
    facts = await session.read_facts(wanted, last=len(ids))
    if len(facts) != len(ids):
        raise ModelCallError("it does not give a probability for every token", retryable=False)
    return "and gives the probability of a token"


TRIALS: Mapping[str, Trial] = {
    "writes": _writes,
    "stops": _stops,
    "avoids": _avoids,
    "reads along": _reads_along,
}
"""What a request asks of a model; a large model need not read along."""

ANSWERS: Trial = _answers
"""Tries that a model writes at all, where it cannot be asked to write the same again."""
