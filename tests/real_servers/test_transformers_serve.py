"""The large model behind `transformers serve`; `make test-transformers-serve` runs these."""

from splitreason_integrations import Always, SplitEngine
from splitreason_integrations.evals.tasks import generated
from splitreason_integrations.request import Request
from tests.real_servers.contract import RealServerContract, marks_of
from tests.real_servers.servers import server_of

SERVER = server_of("transformers serve")

pytestmark = marks_of(SERVER)


class TestTransformersServe(RealServerContract):
    server = SERVER

    async def test_a_whole_answer_is_the_one_that_is_written_here(self, served):
        """Of special tokens it shows none: the reasoning of this pair has no end."""
        (task,) = generated("test", ("word",), n=1, seed=4)
        asked = Request(messages=task.messages, seed=1, max_tokens=300)
        mine = await SplitEngine(trigger=Always()).complete(asked)
        large = SplitEngine(trigger=Always(), small="embedded", large=served.spec)
        theirs = await large.complete(asked)
        assert theirs.reasoning.split()[: len(mine.reasoning.split())] == mine.reasoning.split()
        assert theirs.answer
        assert theirs.degraded
