"""Two models on servers and IPython: a reply is drawn while it is streamed."""

import asyncio
import sys

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from questions import NUMBER, WORDS

from splitreason_integrations import Request, SplitEngine
from splitreason_integrations.notebooks import live_async


async def shown(small: str, large: str) -> None:
    """Draw a reply, and check what is drawn last."""
    request = Request(messages=[{"role": "user", "content": WORDS}], max_tokens=400)
    engine = SplitEngine(small=f"{small}#large", large=f"{large}#large")
    with capture_output() as captured:
        reply = await live_async(engine.stream(request))
    assert NUMBER in reply.answer, reply
    html = captured.outputs[-1].data["text/html"]
    assert html == reply._repr_html_()
    assert 'title="large model"' in html


if __name__ == "__main__":
    InteractiveShell.instance()
    asyncio.run(shown(*sys.argv[1:]))
