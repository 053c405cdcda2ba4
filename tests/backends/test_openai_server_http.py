"""How a server is reached: through proxies, past other programs' passwords, from many loops."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from splitreason_integrations import OpenAIServerModel
from splitreason_integrations.backends.openai_server.http import Server
from splitreason_integrations.errors import ConfigurationError

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path


@asynccontextmanager
async def listening():
    """Run a server that is a proxy, too; give what it hears, and its address."""
    heard = []

    async def hear(request):
        heard.append((request.raw_path, dict(request.headers)))
        return web.json_response({})

    runner = web.AppRunner(web.Application())
    runner.app.router.add_route("*", "/{path:.*}", hear)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield heard, f"127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


def server(url="http://models.example/v1", **more):
    return Server(OpenAIServerModel(url, "m", tokenizer="x", **more), url)


async def ask(asked):
    async with asked.post("/completions", {}) as response:
        assert await response.json() == {}
    assert await asyncio.to_thread(asked.get, "/models") == {}


@pytest.mark.parametrize("key", [None, "secret"])
async def test_a_servers_key_is_the_only_password_sent(key, surroundings, monkeypatch):
    (surroundings / "netrc").write_text("default login me password mine\n")
    async with listening() as (heard, address):
        monkeypatch.setenv("http_proxy", f"http://{address}")
        await ask(server(api_key=key))
    sent = [headers.get("Authorization") for _, headers in heard]
    assert sent == [None if key is None else f"Bearer {key}"] * 2


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy"])
@pytest.mark.parametrize("form", ["http://me:m%40ne@", "me:m%40ne@"])
async def test_a_proxy_is_asked_with_its_own_password(name, form, monkeypatch):
    async with listening() as (heard, address):
        monkeypatch.setenv(name, form + address)
        await ask(server())
    assert [path for path, _ in heard] == [
        "http://models.example/v1/completions",
        "http://models.example/v1/models",
    ]
    sent = f"Basic {base64.b64encode(b'me:m@ne').decode()}"
    assert {headers["Proxy-Authorization"] for _, headers in heard} == {sent}


async def test_a_server_may_be_asked_past_the_proxy(monkeypatch):
    async with listening() as (heard, address):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "models.example,127.0.0.1")
        await ask(server(f"http://{address}/v1"))
        assert len(heard) == 2


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "https://127.0.0.1:9"])
def test_a_proxy_of_another_kind_is_refused_without_its_password(proxy, monkeypatch):
    monkeypatch.setenv("all_proxy", proxy.replace("//", "//me:mine@"))
    with pytest.raises(ConfigurationError, match="no_proxy") as refused:
        server()
    assert "mine" not in str(refused.value)
    server("http://127.0.0.1:9/v1")


class Loop:
    """A closed loop that another thread puts beside others while it is looked at."""

    def __init__(self, sessions):
        self._sessions = sessions

    def is_closed(self):
        self._sessions[object()] = None
        return False


async def test_threads_open_sessions_at_the_same_time():
    async with listening() as (heard, address):
        asked = server(f"http://{address}/v1")
        asked._sessions[Loop(asked._sessions)] = None
        async with asked.post("/completions", {}) as response:
            assert json.loads(await response.read()) == {}
    assert len(heard) == 1
