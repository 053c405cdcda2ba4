"""A span's text is what a reader sees of it: a stop string within is cut off there, too."""

import pytest

from splitreason_integrations import SplitEngine
from splitreason_integrations.events import HandoffFinished
from splitreason_integrations.request import Request
from splitreason_integrations.testing import ScriptedModel


async def finished(small, large, stop, **settings):
    engine = SplitEngine(small=ScriptedModel(small), large=ScriptedModel(large), **settings)
    request = Request(messages=[{"role": "user", "content": "hi"}], stop=[stop])
    items = [item async for item in engine.stream(request)]
    events = [item for item in items if isinstance(item, HandoffFinished)]
    return items[-1], events


@pytest.mark.parametrize(
    ("small", "large", "stop", "answer", "texts"),
    [
        ("x</think>\n\nA <bigmodel>", "bc END def</bigmodel>", " END", "A bc", ["bc"]),
        ("x</think>\n\nA <bigmodel>", "bc ENDdef</bigmodel>", "EN", "A bc", ["bc "]),
        ("x</think>\n\nA E<bigmodel>", "ND bc</bigmodel>", "END", "A", [""]),
        ("x</think>\n\nA <bigmodel> or END <bigmodel>", "b</bigmodel>c", "END", "A b or", ["b"]),
        ("END <bigmodel></think>\n\nA END", "END b</bigmodel>", "END", "A", ["END b"]),
    ],
)
async def test_the_text_ends_where_the_answer_does(small, large, stop, answer, texts):
    reply, events = await finished(small, large, stop)
    assert (reply.stop_reason, reply.answer) == ("stop_string", answer)
    assert [span.text for span in reply.spans] == texts
    assert [event.text for event in events] == texts
