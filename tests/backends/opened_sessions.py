"""Sessions of a test that are closed when it ends, and what models are asked in them."""

from contextlib import ExitStack, closing

import pytest

from splitreason_integrations.testing import embedded_codec
from tests.backends.servers import order, prompt, write

OPEN = embedded_codec().control_token("<bigmodel>")
CLOSE = embedded_codec().control_token("</bigmodel>")
SAID = embedded_codec().encode(" So 47*23 = 1081")
NEAR = 1e-4


class OpensSessions:
    """Tests that open sessions of models which other tests use too."""

    @pytest.fixture
    async def opened(self):
        """Open a session; it is closed when the test ends, also where the test fails."""
        with ExitStack() as sessions:
            yield lambda model, *ids: sessions.enter_context(closing(model.open(*ids)))


async def free(model, tokens):
    """Return what a model writes greedily behind the prompt."""
    with closing(model.open(prompt())) as session:
        ids, _ = await write(session, order(tokens))
    return ids
