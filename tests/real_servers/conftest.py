"""The server of a module, started once for all of its tests."""

import pytest


@pytest.fixture(scope="module")
def served(request, tmp_path_factory):
    with request.module.SERVER.start(tmp_path_factory.mktemp("served")) as served:
        yield served
