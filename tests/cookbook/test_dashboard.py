"""The example dashboard queries only metrics that are exported."""

import json
import re
from pathlib import Path

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry

from splitreason_integrations import HumanCheck, Policy
from splitreason_integrations.errors import LargeModelError
from splitreason_integrations.testing import ScriptedModel
from tests.loop.engine_runs import complete, request
from tests.loop.faults import Fault, FaultyModel
from tests.telemetry.otel import LARGE, Received, engine

DASHBOARD = Path(__file__).parents[2] / "cookbook" / "dashboard.json"
_METRIC = re.compile(r"\b(?:splitreason|gen_ai_client)_\w+(?=\{)")
_LABELS = re.compile(r"by \(([^)]*)\)|(\w+)(?=!?=~?\")")
_KINDS = re.compile(r"_(?:bucket|count|sum)$")


@pytest.fixture(scope="module")
def exported():
    """Each series' name as Prometheus has it, and the labels that it may have."""
    registry = CollectorRegistry()
    received = Received(PrometheusMetricReader(registry=registry))
    telemetry, asked = received.telemetry(), request(max_tokens=400)
    check = HumanCheck(reviewer=lambda question: True)
    complete(engine(telemetry, human_check=check, policy=Policy(max_spans=1)), asked)
    complete(engine(telemetry, FaultyModel(LARGE, faults=[Fault(1), Fault(1, True)])), asked)
    failing = engine(telemetry, ScriptedModel(LARGE, fail_after=1), on_large_failure="raise")
    with pytest.raises(LargeModelError):
        complete(failing, asked)
    series = {}
    for family in registry.collect():
        for sample in family.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return series


def panels():
    return json.loads(DASHBOARD.read_text("utf-8"))["panels"]


def queries():
    board = json.loads(DASHBOARD.read_text("utf-8"))
    texts = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    pairs = next(one for one in board["templating"]["list"] if one["name"] == "pair")
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", pairs["query"]["query"]).groups()
    return [*texts, f'{name}{{{label}=~"$pair"}}']


@pytest.mark.parametrize("query", queries())
def test_a_query_names_series_and_labels_that_are_exported(exported, query):
    asked = _METRIC.findall(query)
    assert asked
    assert set(asked) <= exported.keys()
    labels = {
        label
        for grouped, one in _LABELS.findall(query)
        for label in (grouped.split(", ") if grouped else [one])
    }
    assert labels <= set().union(*(exported[name] for name in asked))
    for opened, closed in ("()", "{}", "[]"):
        assert query.count(opened) == query.count(closed)


def test_every_metric_is_shown(exported):
    shown = {_KINDS.sub("", name) for query in queries() for name in _METRIC.findall(query)}
    ours = {
        _KINDS.sub("", name)
        for name in exported
        if name.startswith(("splitreason_", "gen_ai_")) and not name.endswith("_created")
    }
    assert ours <= shown


def test_panels_do_not_overlap_and_legends_name_labels():
    taken = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert label in target["expr"]


def test_its_panels_are_told_apart():
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers) > 10
