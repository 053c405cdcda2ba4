"""Servers that lie, hang, break off and are killed, and what leaves for them."""

import asyncio
import random
from collections import Counter
from contextlib import ExitStack

from splitreason_integrations import AuditLog, Request, SplitEngine
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.privacy.finders import KINDS
from splitreason_integrations.testing import ScriptedModel
from tests.backends import test_server_faults
from tests.backends.quoting_server import quoting_server
from tests.backends.servers import serving, spec
from tests.faults.kind import Kind
from tests.privacy import test_redaction

AT_ONCE = 20
CONVERSATIONS = 10


class LyingServers(Kind):
    """Every request ends in time, no token is lost or doubled, and the audit log says so."""

    name = "servers"

    def __init__(self):
        self._stack = ExitStack()
        self._pool = test_server_faults.Pool(self._stack)
        self._pool.start()

    def round(self, rng, folder):
        """Run some requests at once, during which a server may be killed and started anew."""
        try:
            outcomes, kills = asyncio.run(self._requests(rng, AuditLog(folder / "audit.jsonl")))
        finally:
            for server in self._pool.servers:
                server.close()
        counted = sum((outcome.counted for outcome in outcomes), Counter())
        return Counter(
            requests=len(outcomes),
            cancelled=sum(outcome.cancelled for outcome in outcomes),
            faults=counted["retried"] + counted["failed"],
            kills=kills,
        )

    async def _requests(self, rng, log):
        seeds = [random.Random(rng.random()) for _ in range(AT_ONCE)]
        runs = asyncio.gather(*(test_server_faults.run(self._pool, one, log) for one in seeds))
        kills = rng.random() < 0.3
        if kills:
            await asyncio.sleep(rng.random())
            await self._kill()
        outcomes = await runs
        test_server_faults.check_audit(log, outcomes)
        await test_server_faults.check_servers(self._pool)
        return outcomes, int(kills)

    async def _kill(self):
        pool = self._pool
        pool.victim.kill()
        await asyncio.to_thread(pool.victim.wait)
        starting = serving("faulty_server", pool.port)
        pool.victim, _ = await asyncio.to_thread(self._stack.enter_context, starting)

    def close(self):
        """End the servers."""
        self._stack.close()


class Secrets(Kind):
    """Conversations full of secrets, handed to a server: none of them leaves."""

    name = "secrets"

    def round(self, rng, folder):
        """Run some conversations, one after another."""
        return Counter(requests=asyncio.run(_secrets(rng)))


async def _secrets(rng):
    async with quoting_server() as server:
        asked = spec(server.url, context_tokens=8192, dialect="ids", taught=True)
        large = await load_model(asked, role="large")
        for _ in range(CONVERSATIONS):
            secrets = [test_redaction.draw_secret(rng) for _ in range(rng.randint(1, 3))]
            messages, tools = test_redaction.conversation(rng, secrets)
            cut = rng.randrange(len(secrets[0]))
            small = ScriptedModel(
                f"I saw {secrets[-1]} and {secrets[0][:cut]}<bigmodel> so {secrets[0][cut:]}."
                f"<bigmodel> Done.</think>It is {secrets[-1]}."
            )
            rules = [*KINDS, test_redaction.tickets]
            engine = SplitEngine(small=small, large=large, redact=rules)
            server.sent.clear()
            reply = await engine.complete(
                Request(messages=messages, tools=tools, seed=rng.getrandbits(31), max_tokens=600)
            )
            sent = "\n".join(server.sent)
            assert server.sent, "the server was not asked"
            assert not [one for one in secrets if one in sent], "a secret has left"
            assert secrets[-1] in reply.answer, "a secret was not restored"
    return CONVERSATIONS
