"""The server layouts are valid, contain no key, and match the client."""

import ast
import copy
import json
import re
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from splitreason_integrations import OpenAIServerModel
from splitreason_integrations.cli import plan_options
from splitreason_integrations.evals.vllm_servers import has_vllm, vllm_python
from tests.cookbook.deploy import (
    COMPOSE,
    FOLDER,
    KUBERNETES,
    README,
    blocks,
    commands,
    documents,
    servers,
    services,
    workloads,
)
from tests.limits import HANGS_S

SERVERS = list(servers())
FILES = [*COMPOSE, *KUBERNETES, FOLDER / "README.md"]
OLDEST, NEWEST = "1.30", "1.37"
IMAGE = re.compile(r"vllm/vllm-openai:v\d+\.\d+\.\d+")
SECRETS = re.compile(r"\b(?:sk-|hf_)\w{8,}|\b[0-9a-fA-F]{32,}\b|Bearer\s+\w{8,}")


def by_schema(*paths):
    """Hold files against Compose's schema, by the copy of it that the checker brings along."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run(
        [*command, *map(str, paths)], capture_output=True, text=True, timeout=HANGS_S
    )


def test_compose_files_keep_to_the_specification():
    done = by_schema(*COMPOSE)
    assert done.returncode == 0, done.stdout


def test_a_compose_file_that_does_not_is_found(tmp_path):
    (document,) = documents(COMPOSE[0])
    document["services"]["small"]["portz"] = document["services"]["small"].pop("ports")
    path = tmp_path / "compose.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    done = by_schema(path)
    assert done.returncode == 1
    assert "portz" in done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_manifests_keep_to_the_schemas_of_kubernetes(path, version):
    for manifest in documents(path):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_manifest_that_does_not_is_found():
    manifest = copy.deepcopy(workloads(FOLDER / "kubernetes" / "large.yaml")[0])
    manifest["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


@pytest.mark.parametrize("server", SERVERS, ids=str)
def test_every_server_is_pinned_and_set_up_alike(server):
    assert IMAGE.fullmatch(server.image)
    assert server.arguments[0].count("/") == 1
    assert server.flag("served-model-name") in server.name
    assert "--enable-prefix-caching" in server.arguments
    assert 0 < float(server.flag("gpu-memory-utilization")) < 1
    assert int(server.flag("tensor-parallel-size", 1)) == server.gpus
    assert not any(one.startswith("--api-key") for one in server.arguments)


def test_all_servers_have_one_version():
    assert len({server.image for server in SERVERS}) == 1
    assert len(SERVERS) == 2 + 2 + 4 + 4


def test_two_models_on_one_gpu_leave_memory_and_start_one_after_the_other():
    path = FOLDER / "compose.one-gpu.yaml"
    both = [server for server in SERVERS if server.file == path]
    assert len(both) == 2
    assert sum(float(server.flag("gpu-memory-utilization")) for server in both) <= 0.95
    waits = services(path)["large"]["depends_on"]
    assert waits == {"small": {"condition": "service_healthy"}}


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_services_take_gpus_and_ports_of_their_own(path):
    ports, devices = [], []
    for service in services(path).values():
        (port,) = service["ports"]
        assert port.startswith("127.0.0.1:")
        ports.append(port)
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        devices += device["device_ids"]
        assert "/health" in service["healthcheck"]["test"][-1]
        ast.parse(service["healthcheck"]["test"][-1])
        key = service["environment"]["VLLM_API_KEY"]
        assert key.startswith("${VLLM_API_KEY:?")
    assert len(set(ports)) == len(ports)
    if path.name != "compose.one-gpu.yaml":
        assert len(set(devices)) == len(devices)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_holds_a_key(path):
    assert not SECRETS.search(path.read_text("utf-8"))
    if path in KUBERNETES:
        assert not [one for one in documents(path) if one["kind"] == "Secret"]


@pytest.mark.parametrize("name", ["small", "large"])
def test_both_kinds_of_workload_run_the_same_pods(name):
    (deployment,) = workloads(FOLDER / "kubernetes" / f"{name}.yaml")
    (replicas,) = workloads(FOLDER / "kubernetes" / f"replicas-{name}.yaml")
    assert deployment["spec"]["template"] == replicas["spec"]["template"]


def _parts():
    for path in KUBERNETES:
        if workloads(path):
            found = {one["kind"]: one for one in documents(path)}
            kind = "Deployment" if "Deployment" in found else "StatefulSet"
            yield pytest.param(
                found[kind], found["Service"], found["PodDisruptionBudget"], id=path.name
            )


PARTS = pytest.mark.parametrize(("workload", "service", "budget"), list(_parts()))


@PARTS
def test_a_workload_its_address_and_its_budget_belong_together(workload, service, budget):
    spec = workload["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["maxUnavailable"] < spec["replicas"]
    if workload["kind"] == "StatefulSet":
        assert spec["serviceName"] == service["metadata"]["name"]
        assert service["spec"]["clusterIP"] == "None"


@PARTS
def test_a_pod_is_probed_gets_its_key_and_ends_gracefully(workload, service, budget):
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
    home, key = container["env"]
    assert home == {"name": "HF_HOME", "value": "/models"}
    assert key["name"] == "VLLM_API_KEY"
    assert key["valueFrom"] == {"secretKeyRef": {"name": "splitreason-vllm", "key": "api-key"}}
    assert "create secret generic splitreason-vllm --from-file=api-key" in README
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drains = next(int(one.partition("=")[2]) for one in container["args"] if "shutdown" in one)
    assert pod["terminationGracePeriodSeconds"] > waits + drains
    claims = [one for one in pod["volumes"] if "persistentVolumeClaim" in one]
    (cache,) = documents(FOLDER / "kubernetes" / "models.yaml")
    names = {one["persistentVolumeClaim"]["claimName"] for one in claims}
    assert names == {cache["metadata"]["name"]}


def described():
    """Each OpenAIServerModel(...) of the page, made as the page makes it."""
    for block in blocks("python"):
        tree = ast.parse(block)
        values = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "OpenAIServerModel":
                code = compile(ast.Expression(node), "README.md", "eval")
                yield eval(code, {"OpenAIServerModel": OpenAIServerModel, **values})  # noqa: S307


def test_addresses_of_the_page_are_ours_and_lead_to_the_servers():
    models = list(described())
    assert len(models) == 5
    by_port = {
        port.split(":")[1]: server
        for server in SERVERS
        if server.file in COMPOSE
        for port in services(server.file)[server.name]["ports"]
        if server.file.name != "compose.two-gpus.yaml"
    }
    hosts = {
        f"{one['metadata']['name']}-{at}.{one['spec']['serviceName']}"
        for path in KUBERNETES
        for one in workloads(path)
        if one["kind"] == "StatefulSet"
        for at in range(one["spec"]["replicas"])
    }
    for model in models:
        assert model.api_key_env
        for url in model.urls:
            host, _, port = url.removesuffix("/v1").partition("//")[2].partition(":")
            if host == "127.0.0.1":
                server = by_port[port]
                assert server.flag("served-model-name") == model.model
                assert server.arguments[0] == model.tokenizer
            else:
                assert host in hosts or host == "gpu.example"


def test_commands_of_the_page_name_files_and_options_that_are_there(run):
    said = commands()
    named = {word for words in said for word in words if word.endswith(".yaml")}
    assert named
    assert all((FOLDER / name).is_file() for name in named)
    plans = [words for words in said if words[:2] == ["splitreason", "plan"]]
    assert len(plans) == 3
    known = set(re.findall(r"--[\w-]+", run("plan", "--help").out))
    for words in plans:
        assert {word for word in words if word.startswith("--")} <= known
    assert plan_options.named(("large", "gpus")) in known
    for word in plans[0]:
        if word.startswith("$"):
            assert f"{word[1:]}=http" in README
    for link in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (FOLDER / link).is_file()
    for path in (*COMPOSE, *KUBERNETES):
        assert path.name in README


PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

for arguments in json.load(sys.stdin):
    known = make_arg_parser(FlexibleArgumentParser(exit_on_error=True)).parse_args(arguments)
    validate_parsed_serve_args(known)
    print("PARSED", known.model_tag, known.gpu_memory_utilization, known.tensor_parallel_size)
"""


def lines():
    page = [tuple(words[2:]) for words in commands() if words[:2] == ["vllm", "serve"]]
    assert len(page) == 3
    return [*(server.arguments for server in SERVERS), *page]


def parsed(arguments):
    """Have vLLM's own parser read command lines, in its environment."""
    return subprocess.run(
        [vllm_python(), "-c", PARSE],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )


@pytest.mark.vllm
@pytest.mark.skipif(not has_vllm(), reason="make test-vllm builds vLLM's environment")
def test_vllm_knows_every_flag():
    done = parsed(lines())
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("PARSED")]
    assert [row[1] for row in rows] == [arguments[0] for arguments in lines()]
    for server, row in zip(SERVERS, rows, strict=False):
        assert row[2] == server.flag("gpu-memory-utilization")
        assert int(row[3]) == server.gpus
    assert parsed([[*SERVERS[0].arguments, "--return-token-ids"]]).returncode != 0
