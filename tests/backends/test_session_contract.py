"""Models by transformers and behind a server are held to what every backend's sessions do."""

import pytest

from tests.backends.servers import load, serving, spec
from tests.backends.session_contract import SessionContract

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def served():
    with serving("completions_server", "embedded:small") as (_, url):
        yield load(spec(url))


class TestTransformers(SessionContract):
    @pytest.fixture
    def model(self, embedded):
        return embedded[0]


class TestServer(SessionContract):
    @pytest.fixture
    def model(self, served):
        return served
