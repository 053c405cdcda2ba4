"""The bundled large model on vLLM behind LiteLLM's proxy; `make test-litellm` runs these."""

from dataclasses import replace

from splitreason_integrations.evals.tasks import generated
from tests.backends.servers import load
from tests.backends.test_small_server import same
from tests.real_servers.contract import RealServerContract, marks_of
from tests.real_servers.servers import HOSTED, server_of

SERVER = server_of("LiteLLM before vLLM")

pytestmark = marks_of(SERVER)


class TestLiteLLM(RealServerContract):
    server = SERVER

    async def test_the_other_provider_of_vllm_does_the_same(self, served):
        """It answers a prompt of token ids by an error 500, which is no failure of the server."""
        hosted = replace(served.spec, model=HOSTED)
        assert await same(("embedded", hosted), generated("test", ("word",), n=4, seed=8)) > 4
        assert load(hosted).capabilities == self.server.found
