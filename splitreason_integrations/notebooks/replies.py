"""Replies of both frameworks as views; neither framework is imported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.records import Author, Channel, Completion, TextRun
from splitreason_integrations.records.view import ReplyView

_TYPES = (
    ("langchain_core.messages.ai", "AIMessage"),
    ("langchain_core.messages.ai", "AIMessageChunk"),
    ("llama_index.core.base.llms.types", "ChatResponse"),
    ("llama_index.core.base.llms.types", "CompletionResponse"),
)
"""What the extension shows as `show` does."""


def show(reply: object, *, timed: bool = True) -> ReplyView:
    """Return a reply as a notebook shows it.

    Args:
        reply: A message of LangChain, a response of LlamaIndex, or the engine's completion.
        timed: Whether seconds are shown, which differ from run to run.

    Raises:
        RequestError: It is no reply of a `SplitReasonLLM` or an engine.

    """
    found = view_of(reply)
    if found is None:
        raise RequestError(
            f"a {type(reply).__name__} does not say who wrote it: give a message or a response "
            "as SplitReasonLLM returns it, or the completion of a SplitEngine"
        )
    return replace(found, timed=timed)


def view_of(reply: object) -> ReplyView | None:
    """Return the view of a reply, finished or not; None where it does not say who wrote it."""
    if isinstance(reply, Completion):
        return reply.view
    more = _mapping(reply, "additional_kwargs")
    raw = _mapping(reply, "raw")
    authors = more.get("authors", raw.get("authors"))
    facts = _mapping(reply, "response_metadata").get("splitreason", raw.get("splitreason"))
    if not isinstance(authors, list) and not isinstance(facts, Mapping):
        return None
    runs = [run for one in authors or () if (run := _run(one)) is not None]
    return ReplyView(runs or _unsigned(reply, more), facts if isinstance(facts, Mapping) else None)


def load_ipython_extension(ipython: Any) -> None:
    """Show replies of both frameworks as `show` does wherever a cell ends in one."""
    for kind, draw in (
        ("text/html", ReplyView._repr_html_),
        ("text/markdown", ReplyView._repr_markdown_),
    ):
        formatter = ipython.display_formatter.formatters[kind]
        for module, name in _TYPES:
            formatter.for_type_by_name(module, name, _drawn(draw))


def _drawn(draw: Callable[[ReplyView], str]) -> Callable[[object], str | None]:
    def drawn(reply: object) -> str | None:
        found = view_of(reply)
        return None if found is None else draw(found)

    return drawn


def _mapping(reply: object, name: str) -> Mapping[str, Any]:
    found = getattr(reply, name, None)
    return found if isinstance(found, Mapping) else {}


def _run(one: object) -> TextRun | None:
    """Return an entry of `authors` as a run; None if it has no text."""
    if not isinstance(one, Mapping) or not isinstance(one.get("text"), str):
        return None
    return TextRun(_known(Author, one.get("type")), _channel(one.get("channel")), one["text"])


def _known(kind: type[Author], name: object) -> Author | None:
    return next((one for one in kind if one == name), None)


def _channel(name: object) -> Channel:
    return next((one for one in Channel if one == name), Channel.ANSWER)


def _unsigned(reply: object, more: Mapping[str, Any]) -> Sequence[TextRun]:
    """Return the text of a reply that says what it cost, and not who wrote it."""
    texts = (
        (Channel.REASONING, more.get("reasoning_content")),
        (Channel.ANSWER, getattr(reply, "text", None) or getattr(reply, "content", None)),
    )
    return [TextRun(None, channel, str(text)) for channel, text in texts if text]
