"""Signs in a reply that its server left out control tokens, so that the reply was read wrongly.

A family may mark reasoning and calls by control tokens. Without them a thought never ends, and a
call is text.
"""

from collections.abc import Sequence

from splitreason_integrations.protocols import CONTROL, Codec
from splitreason_integrations.records import Message

_REMEDY = "if its server hides control tokens such as {mark}, use one that shows them"
_OWN_REMEDY = (
    "it never wrote {mark}: use a large model that ends its thoughts, or set thinking=False"
)


def ended_in_reasoning(codec: Codec, *, remote: bool = True) -> str:
    """Return what is wrong with a reply that ends within its reasoning, and the remedy.

    A model that is not `remote` hides nothing.
    """
    remedy = _REMEDY if remote else _OWN_REMEDY
    remedy = remedy.replace("{mark}", codec.reply_format.end_of_reasoning)
    return f"ends its reply within its reasoning; {remedy}"


def unmarked(codec: Codec, answer: str, tools: Sequence[Message] | None) -> str | None:
    """Return what is wrong with an answer that reads as a call or a thought without its marks.

    None where nothing is.
    """
    said, form = _compact(answer), codec.reply_format
    thought, mark = _bare(codec, form.begin_of_reasoning)
    if thought and mark and said.startswith(_compact(thought)):
        return f"writes a thought as its answer; {_REMEDY.replace('{mark}', mark)}"
    for tool in () if form.argument else tools or ():
        name = tool.get("function", tool)["name"]
        call, mark = _bare(codec, form.write_call(name, "{}").partition("{}")[0] + "{")
        if mark and said.startswith(_compact(call)):
            return f"writes a call of {name!r} as text; {_REMEDY.replace('{mark}', mark)}"
    return None


def _bare(codec: Codec, text: str) -> tuple[str, str]:
    """Return a text without control tokens, and the first one of them."""
    parts = CONTROL.split(text)
    marks = [part for part in parts if part and codec.control_token(part) is not None]
    return "".join(part for part in parts if part not in marks), next(iter(marks), "")


def _compact(text: str) -> str:
    return "".join(text.split())
