"""Replies in notebooks: authors told apart, any text escaped, the same for both frameworks."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from langchain_core.messages import AIMessage
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from markdown import Markdown

from splitreason_integrations import Prices, Request, SplitEngine, blocking, notebooks
from splitreason_integrations.errors import RequestError
from splitreason_integrations.notebooks import live, live_async, show
from splitreason_integrations.records import Author, Channel, TextRun
from splitreason_integrations.records.view import ReplyView
from splitreason_integrations.testing import ScriptedModel
from tests.adapters import langchain_fakes, test_llama_index
from tests.limits import HANGS_S

HOSTILE = (
    "</span></div></p><script>alert(1)</script><img src=x onerror=alert(2)>\"'> $x$ \\( \\)"
    " **b** _i_ `c` [a](javascript:alert(3)) | # h &amp; <!-- {{ 7*7 }} \x00\x1b[31m\u202e\ud800"
)
RUNS = [("small", "First, 2+3."), ("large", " That is 5."), ("small", " So 5.\nThen 5*3.")]
ACTING = "\x00\x1b\u202e\ud800"


class Page(HTMLParser):
    """Every tag is closed in its turn; keeps tags, attributes, and text by its title."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.titled = [], [], set(), []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append((tag, dict(attrs).get("title")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.text += data
        title = next((title for _, title in reversed(self.open) if title), None)
        if title:
            self.titled.append((title, data))


def engine():
    fakes = langchain_fakes
    return SplitEngine(
        small=ScriptedModel(fakes.SMALL, name="little"),
        large=ScriptedModel(fakes.LARGE, name="big", prices=Prices(1, 8)),
    )


def asked():
    return Request(messages=[{"role": "user", "content": "hi"}], seed=1)


def completion():
    return blocking.run(lambda: engine().complete(asked()))


def langchain():
    return langchain_fakes.scripted().invoke("hi")


def streamed():
    return langchain_fakes.joined(list(langchain_fakes.scripted().stream("hi")))


def llama_chat():
    return test_llama_index.scripted().chat([ChatMessage(role=MessageRole.USER, content="hi")])


def llama_complete():
    return test_llama_index.scripted().complete("hi")


REPLIES = [completion, langchain, streamed, llama_chat, llama_complete]


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_is_shown_by_author_with_its_spans(reply):
    view = show(reply())
    assert [(run.author, run.text) for run in view.runs][:3] == RUNS
    assert view.runs[-1] == TextRun(Author.SMALL, Channel.ANSWER, langchain_fakes.ANSWER)
    page = Page(view._repr_html_())
    large = [text for title, text in page.titled if title == "large model"]
    assert large == [" That is 5.", " That is 15.", "large model"]
    assert "in 2 spans" in page.text
    assert page.tags.count("tr") == 3
    assert "opened by" in page.text
    markdown = view._repr_markdown_()
    assert "⟦ That is 5\\.⟧" in markdown
    assert repr(view).startswith("First, 2+3.⟦ That is 5.⟧ So 5.\nThen")


def test_a_completion_shows_itself_with_its_cost():
    reply = completion()
    assert reply._repr_html_() == show(reply)._repr_html_()
    assert f"{reply.cost_usd:.6f} USD" in Page(reply._repr_html_()).text
    assert f"{reply.spans[0].cost_usd:.6f}" in Page(reply._repr_html_()).text
    assert "".join(run.text for run in reply.runs) == reply.reasoning + reply.answer
    assert reply._repr_markdown_().endswith("|")


def test_without_times_two_runs_are_shown_alike():
    views = [show(completion(), timed=False) for _ in range(2)]
    assert views[0]._repr_html_() == views[1]._repr_html_()
    assert repr(views[0]) == repr(views[1])


def test_what_is_no_reply_is_refused():
    for other in (AIMessage("hello"), "hello", None, 3, {"authors": []}):
        with pytest.raises(RequestError, match="SplitReasonLLM"):
            show(other)


@pytest.mark.parametrize(
    "authors",
    [
        [1, None, {"text": 3}, {"type": "nobody", "text": "x"}],
        [{"type": ["small"], "channel": {}, "text": "x"}],
    ],
)
def test_odd_metadata_of_others_is_text_without_an_author(authors):
    view = show(AIMessage("x", additional_kwargs={"authors": authors}))
    assert [(run.author, run.text) for run in view.runs] == [(None, "x")]


def hostile_view(text=HOSTILE):
    channels = (Channel.REASONING, Channel.ANSWER, Channel.TOOL_CALL)
    runs = [TextRun(author, channel, text) for channel in channels for author in (*Author, None)]
    span = {"text": text, "opened_by": text, "closed_by": text, "tokens": 3, "human": text}
    return ReplyView(runs, {"tokens": {"small": 1}, "spans": [span, {}]})


def rendered(markdown):
    return Page(Markdown(extensions=["tables"]).convert(markdown))


@given(st.text(max_size=40) | st.just(HOSTILE))
def test_no_text_is_unescaped(text):
    view = hostile_view(text)
    page = Page(view._repr_html_())
    known = {"div", "p", "span", "table", "thead", "tbody", "tr", "th", "td"}
    assert set(page.tags) <= known
    assert page.attributes <= {"style", "title", "class"}
    assert not set(ACTING) & set(view._repr_html_() + view._repr_markdown_() + repr(view))
    marks = rendered(view._repr_markdown_())
    assert set(marks.tags) <= known | {"br"} - {"div", "span"}
    assert marks.attributes <= {"style"}


def test_hostile_text_is_read_as_it_is():
    page = Page(hostile_view()._repr_html_())
    shown = HOSTILE.replace("\x00", "\\x00").replace("\x1b", "\\x1b")
    shown = shown.replace("\u202e", "\\u202e").replace("\ud800", "\\ud800")
    assert page.titled.count(("large model", shown)) == 3
    assert "mathjax_ignore" in hostile_view()._repr_html_()


@pytest.mark.parametrize(
    "text", ["1. one", "    code", "# head", "a\n===", "- x\n\n> y", "|a|\n|-|"]
)
def test_markdown_shows_text_as_it_is(text):
    view = ReplyView([TextRun(Author.SMALL, Channel.ANSWER, text)])
    page = rendered(view._repr_markdown_())
    assert set(page.tags) <= {"p", "br"}
    assert page.text.split()[: len(text.split())] == text.split()


def test_the_html_has_no_colour_of_text_so_that_it_is_read_in_light_and_dark():
    html = hostile_view()._repr_html_()
    styles = re.findall(r'style="([^"]*)"', html)
    assert styles
    assert not [one for one in styles if re.search(r"(^|;)color:", one)]
    grounds = {one for style in styles for one in re.findall(r"background:([^;]*)", style)}
    assert grounds == {"rgba(58,143,201,.25)", "rgba(208,112,32,.25)"}


@pytest.fixture
def shown(monkeypatch):
    """What a live display drew, one view after another."""
    drawn = []

    class Handle:
        def display(self, view):
            drawn.append(view)

        update = display

    monkeypatch.setattr("IPython.display.DisplayHandle", Handle)
    monkeypatch.setattr("splitreason_integrations.notebooks.streams._EVERY_S", 0.0)
    return drawn


def check_live(drawn, reply):
    assert len(drawn) > 5
    assert drawn[0].runs == ()
    texts = ["".join(run.text for run in view.runs) for view in drawn]
    assert all(after.startswith(before) for before, after in pairwise(texts))
    assert texts[-1] == langchain_fakes.REASONING + langchain_fakes.ANSWER
    assert drawn[-1]._repr_html_() == show(reply)._repr_html_()
    assert "in 2 spans" in repr(drawn[-1])


def test_a_stream_of_langchain_is_shown_live(shown):
    reply = live(langchain_fakes.scripted().stream("hi"))
    assert reply.content == langchain_fakes.ANSWER
    check_live(shown, reply)


def test_streams_of_llama_index_are_shown_live(shown):
    reply = live(test_llama_index.scripted().stream_complete("hi"))
    assert reply.text == langchain_fakes.ANSWER
    check_live(shown, reply)


async def test_async_streams_are_shown_live(shown):
    reply = await live_async(engine().stream(asked()))
    assert reply.answer == langchain_fakes.ANSWER
    check_live(shown, reply)
    shown.clear()
    check_live(shown, await live_async(langchain_fakes.scripted().astream("hi")))


def test_what_was_written_before_an_error_stays(shown):
    def broken():
        yield from list(langchain_fakes.scripted().stream("hi"))[:3]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        live(broken())
    assert shown[-1].runs[0].text.startswith("F")


@pytest.mark.parametrize("stream", [[], ["a", "b"], [AIMessage("x")]])
def test_a_stream_of_others_is_refused(shown, stream):
    with pytest.raises(RequestError, match="no stream of a reply"):
        live(stream)


def test_the_extension_shows_replies_of_both_frameworks_and_leaves_others_alone():
    shell = InteractiveShell.instance()
    notebooks.load_ipython_extension(shell)
    try:
        for reply in (langchain(), llama_chat(), llama_complete()):
            data, _ = shell.display_formatter.format(reply)
            assert data["text/html"] == show(reply)._repr_html_()
        data, _ = shell.display_formatter.format(AIMessage("hello"))
        assert "text/html" not in data
    finally:
        InteractiveShell.clear_instance()


def test_a_display_handle_of_ipython_takes_it():
    InteractiveShell.instance()
    try:
        with capture_output() as captured:
            live(langchain_fakes.scripted().stream("hi"))
    finally:
        InteractiveShell.clear_instance()
    assert "That is 5." in captured.outputs[-1].data["text/html"]
    assert "⟦ That is 5\\.⟧" in captured.outputs[-1].data["text/markdown"]


def test_showing_needs_neither_framework_nor_ipython():
    code = (
        "import sys\nfrom splitreason_integrations.notebooks import show\n"
        "print([m for m in ('IPython', 'langchain_core', 'llama_index') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.stdout.strip() == "[]", done.stderr
