"""Everybody who takes events does so through one table, and no table misses an event."""

import pytest

from langchain_splitreason import events as langchain
from llama_index.llms.splitreason import events as llama_index
from splitreason_integrations import events
from splitreason_integrations.audit import kinds
from splitreason_integrations.telemetry import metering, tracing

TABLES = {
    "metrics": metering.EVENTS,
    "traces": tracing.EVENTS,
    "audit log": kinds.EVENTS,
    "LangChain": langchain.EVENTS,
    "LlamaIndex": llama_index.EVENTS,
}


def family():
    """Return all event classes of `splitreason_integrations.events`."""
    return {
        one
        for one in vars(events).values()
        if isinstance(one, type) and issubclass(one, events.Event) and one is not events.Event
    }


def test_there_are_events():
    assert len(family()) >= 11
    assert len({one.name for one in family()}) == len(family())


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_every_event(name):
    missing = {one.__name__ for one in family() - set(TABLES[name])}
    assert not missing, f"{name} has no entry for {missing}"
    assert set(TABLES[name]) <= family()
