"""Schemas for servers: without free properties, where that contradicts nothing."""

from splitreason_integrations.text.schemas import closed
from tests.text.schemas import record
from tests.text.whole_schemas import DIGIT, WHOLE, fits


def test_servers_are_sent_schemas_without_free_properties_and_no_contradiction():
    plain = record(a=record(b=DIGIT), c={"anyOf": [record(d=DIGIT), {"type": "null"}]})
    sent = closed(plain)
    inner = (sent["properties"]["a"], sent["properties"]["c"]["anyOf"][0])
    assert [one["additionalProperties"] for one in (sent, *inner)] == [False] * 3
    for name in ("allOf of two", "reference with more", "anyOf of required", "two unions"):
        schema, value = WHOLE[name]
        assert fits(value, closed(schema))
