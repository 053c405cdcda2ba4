"""The house keeps its shape: data flows one way, imports stay light, the package is whole."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import splitreason_integrations

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "splitreason_integrations"

LAYERS = [
    {"errors", "records", "events", "loop.observers"},
    {
        "settings.from_data",
        "checks",
        "decide.ledger",
        "processes",
        "sampling",
        "humans.terminal",
        "settings.toml_text",
        "text.tool_choice",
        "privacy.finders",
        "privacy.redaction",
        "text.reply_formats",
        "text.tool_calls",
    },
    {"decide.resilience"},
    {"decide.ask_rules", "decide.pricing", "decide.triggers"},
    {"decide.policy", "settings.policy_files"},
    {
        "backends.base",
        "backends.lookahead",
        "backends.worker",
        "backends.openai_server.spec",
        "backends.openai_server.proxy",
        "backends.openai_server.finding",
        "backends.vllm_local.spec",
        "backends.vllm_local.memory",
        "backends.vllm_local.child",
        "text.tool_call_stream",
        "humans.human",
    },
    {
        "decide.machine",
        "text.tags",
        "loop.bridge",
        "text.replies",
        "text.prompts",
        "embedded",
        "reviews",
        "humans.console",
        "backends.defaults",
    },
    {
        "backends.openai_server.http",
        "backends.openai_server.wire",
        "backends.hf.attention",
        "backends.hf.cache",
        "backends.hf.norms",
        "backends.hf.steps",
        "backends.sent_sequence",
        "backends.vllm_local.engine",
        "backends.vllm_local.params",
    },
    {
        "loop.trigger_watch",
        "loop.transcript",
        "privacy.redacting_codec",
        "backends.codec",
        "backends.hf",
        "backends.hf.model",
        "backends.hf.session",
        "text.grammar",
    },
    {"backends.openai_server.ids"},
    {
        "backends.openai_server.dialects",
        "backends.openai_server.replicas",
        "backends.vllm_local.model",
    },
    {"backends.openai_server.call", "backends.openai_server.text"},
    {
        "backends.openai_server.answer",
        "backends.openai_server.scoring",
        "backends.openai_server.chat_answer",
    },
    {"backends.openai_server.chat"},
    {"backends.openai_server.detect"},
    {"backends.openai_server.model", "backends.openai_server.session"},
    {"backends.openai_server.load", "backends.vllm_local.load"},
    {"backends.registry", "loop.participant", "request"},
    {"loop.handback", "loop.spans", "audit", "telemetry"},
    {"loop.read_along"},
    {"loop.state", "loop.setup"},
    {"loop.recovery", "loop.approval", "loop.snapshot"},
    {"loop.handoff", "loop.prefill"},
    {"loop.request_loop"},
    {"engine"},
    {"loop.segments"},
    {"blocking", "settings.option_fields", "settings.options", "testing", "problems", "audit.replay"},
    {"annotation", "doctor", "evals", "planning", "training"},
    {"cli"},
]
"""From the ground up. A module imports from its own floor or from below."""


def floor_of(module):
    for name in (module, module.rpartition(".")[0], module.partition(".")[0]):
        for floor, modules in enumerate(LAYERS):
            if name in modules:
                return floor
    raise AssertionError(f"{module} has no floor: give it one in LAYERS")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules():
    return list(_modules())


def _modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name not in ("", "backends", "backends.openai_server", "backends.vllm_local"):
            yield name, path


@pytest.mark.parametrize(("name", "path"), modules(), ids=str)
def test_data_flows_one_way(name, path):
    for imported in imports_of(path):
        assert not imported.startswith(("langchain_splitreason", "llama_index.llms.splitreason"))
        prefix = "splitreason_integrations."
        if imported.startswith(prefix):
            target = imported.removeprefix(prefix)
            if (PACKAGE / Path(*target.split("."))).exists() or (
                PACKAGE / Path(*target.split("."))
            ).with_suffix(".py").exists():
                if target == "backends":
                    continue
                assert floor_of(target) <= floor_of(name), f"{name} imports {target}"


def test_no_file_makes_llama_index_a_package():
    for folder in ("adapters", "adapters/llama_index", "adapters/llama_index/llms"):
        assert not (ROOT / folder / "__init__.py").exists()


def test_importing_is_light():
    code = (
        "import sys, splitreason_integrations as s\n"
        "heavy = {'torch', 'transformers', 'aiohttp', 'langchain_core', 'llama_index'}\n"
        "heavy.add('opentelemetry')\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_all_is_what_is_exported():
    names = splitreason_integrations.__all__
    assert names == sorted(names)
    assert all(hasattr(splitreason_integrations, name) for name in names)


def test_version_is_the_distributions():
    from importlib.metadata import version

    assert version("splitreason-integrations") == splitreason_integrations.__version__


@pytest.mark.parametrize("path", [p for _, p in modules()], ids=lambda p: p.name)
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 360


def test_a_missing_extra_is_named():
    code = (
        "import sys\n"
        "sys.modules['langchain_core'] = None\n"
        "try:\n"
        "    import langchain_splitreason\n"
        "except ImportError as error:\n"
        "    assert 'splitreason-integrations[langchain]' in str(error)\n"
        "else:\n"
        "    raise SystemExit('imported without langchain-core')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
