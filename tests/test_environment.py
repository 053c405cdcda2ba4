"""Environment variables are read and set through the one table that declares them."""

import ast
import sys
from pathlib import Path

import pytest

from splitreason_integrations.processes import environment

ROOT = Path(__file__).parent.parent
FILES = [
    path
    for folder in ("splitreason_integrations", "adapters")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
TOUCHES = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
PROXIES = {"getproxies", "proxy_bypass"}
READ_PROXIES = {"backends/openai_server/proxy.py", "backends/hub.py"}


def names_in(code):
    nodes = ast.walk(ast.parse(code))
    for node in nodes:
        if isinstance(node, ast.Name | ast.Attribute):
            yield node.id if isinstance(node, ast.Name) else node.attr
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize(
    "code", ["import os\nos.environ['A']", "from os import getenv", "import os\nos.getenv('A')"]
)
def test_a_read_of_a_variable_is_found(code):
    assert TOUCHES & set(names_in(code))


def test_only_the_table_touches_the_environment():
    found = [path for path in FILES if TOUCHES & set(names_in(path.read_text("utf-8")))]
    assert [path.name for path in found] == ["environment.py"]


def test_proxies_are_read_where_the_table_says_so():
    package = ROOT / "splitreason_integrations"
    found = {
        path.relative_to(package).as_posix()
        for path in FILES
        if PROXIES & set(names_in(path.read_text("utf-8")))
    }
    assert found == READ_PROXIES
    assert {"http_proxy", "https_proxy", "all_proxy", "no_proxy"} <= {
        one.name for one in environment.TABLE if one.use == "read"
    }


def test_each_variable_is_in_the_table_once_for_each_use():
    declared = [
        value for value in vars(environment).values() if isinstance(value, environment.Variable)
    ]
    assert set(declared) <= set(environment.TABLE)
    keys = [(one.name, one.use) for one in environment.TABLE]
    assert len(keys) == len(set(keys))
    assert all(one.text.endswith(".") for one in environment.TABLE)


def test_a_variable_has_its_value_where_nobody_sets_it(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert environment.HUB_ADDRESS.get() == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    assert environment.HUB_ADDRESS.get() == "https://hub.example"
    assert environment.HUB_ADDRESS.is_set()


def test_a_default_replaces_nothing(monkeypatch):
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "")
    monkeypatch.delenv("VLLM_NO_USAGE_STATS")
    for one in environment.VLLM_DEFAULTS:
        monkeypatch.setenv(one.name, environment.os.environ.get(one.name, one.value))
        one.set_default()
    assert environment.os.environ["VLLM_LOGGING_LEVEL"] == "DEBUG"
    assert environment.os.environ["VLLM_NO_USAGE_STATS"] == "1"


def test_a_process_of_vllm_gets_its_settings(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "before")
    child = environment.vllm_process(key="k", import_from=sys.prefix)
    assert child["VLLM_API_KEY"] == "k"
    assert child["OMP_NUM_THREADS"] == "1"
    assert child["PYTHONPATH"].split(environment.os.pathsep) == [sys.prefix, "before"]
    assert "VLLM_API_KEY" not in environment.vllm_process()
