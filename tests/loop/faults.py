"""Large models that fail as told: at a token, for good or not, with an error or in silence."""

import asyncio
from dataclasses import dataclass, replace

from splitreason_integrations.errors import ModelCallError
from splitreason_integrations.testing import ScriptedModel, ScriptedSession


@dataclass(frozen=True)
class Fault:
    """What goes wrong once a model has written `at` tokens more than at its last fault."""

    at: int
    fatal: bool = False
    hangs: bool = False
    slow_s: float = 0.0


class FaultyModel(ScriptedModel):
    """A scripted model with faults, each of which happens once, in order."""

    def __init__(self, reply, *, faults=(), **more):
        super().__init__(reply, slice_tokens=1, **more)
        self.faults = list(faults)
        self.since = 0
        self.calls = 0

    def open(self, prompt, written=()):
        session = super().open(prompt, written)
        self.sessions.discard(session)
        session.__class__ = FaultySession
        self.sessions.add(session)
        return session


class FaultySession(ScriptedSession):
    """Asks its model before every token whether a fault is due."""

    async def write(self, order):
        model = self._model
        model.calls += 1
        left = order.max_tokens
        while left:
            await self._fail_if_due()
            async for written in super().write(_with_one_token(order)):
                model.since += len(written.token_ids)
                left -= len(written.token_ids)
                if written.end is not None and (written.end.name != "LENGTH" or left == 0):
                    yield written
                    return
                yield type(written)(written.token_ids)

    async def _fail_if_due(self):
        model = self._model
        if not model.faults or model.since < model.faults[0].at:
            return
        fault = model.faults.pop(0)
        model.since = 0
        if fault.hangs:
            await asyncio.sleep(3600)
        await asyncio.sleep(fault.slow_s)
        if not fault.slow_s:
            raise ModelCallError("told to fail", retryable=not fault.fatal)


def _with_one_token(order):
    return replace(order, max_tokens=1)
