"""Control tokens in texts: those that a model may write, and ids as text that spells no other."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from splitreason_integrations.backends.base import WriteOrder
from splitreason_integrations.protocols import Codec
from splitreason_integrations.text.tags import CLOSE, OPEN

_FORM = re.compile(r"</?[^<>\s{}\\]+>|\[/?[A-Z_]+\]")


class Controls:
    """The control tokens of a model's own that it may be expected to write.

    Whatever else spells one stays text: a document that is quoted opens no turn.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        fields, family = codec.response_template.get("fields"), codec.reply_format
        form = json.dumps([fields, family.call, family.argument], ensure_ascii=False, default=str)
        spelled = {OPEN, CLOSE, family.end_of_reasoning, *_FORM.findall(form)}
        known = {name: codec.control_token(name) for name in spelled}
        self._known = {name: token for name, token in known.items() if token is not None}

    def of(self, order: WriteOrder) -> dict[str, int]:
        """Return them by how they are written, with those that an order names."""
        named = [t for t in (*order.stop_tokens, *order.forbidden) if self._codec.is_control(t)]
        return self._known | {self._codec.decode([token]): token for token in named}


def spelled(codec: Codec, token_ids: Sequence[int]) -> str:
    """Return ids as text in which nothing but a control token spells one."""
    runs = [
        (is_control, codec.decode(list(run)))
        for is_control, run in groupby(token_ids, key=codec.is_control)
    ]
    if "".join(text for _, text in runs) != codec.decode(token_ids):
        runs = _one_by_one(codec, token_ids)
    return _safe(runs, codec.plain)


def _one_by_one(codec: Codec, token_ids: Sequence[int]) -> list[tuple[bool, str]]:
    """Return the text of ids for decoders that depend on the tokens before."""
    stream, runs = codec.text_stream(after=codec.encode("\n")), list[tuple[bool, str]]()
    for token in token_ids:
        text, is_control = stream.push(token), codec.is_control(token)
        if runs and not is_control and not runs[-1][0]:
            text = runs.pop()[1] + text
        runs.append((is_control, text))
    return [*runs, (False, stream.flush())]


def _safe(runs: Sequence[tuple[bool, str]], plain: Callable[[str], str]) -> str:
    return "".join(text if is_control else plain(text) for is_control, text in runs)


def harmless(value: Any, plain: Callable[[str], str]) -> Any:
    """Return data with a space inside whatever spells a control token."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {harmless(key, plain): harmless(kept, plain) for key, kept in value.items()}
    return [harmless(one, plain) for one in value] if isinstance(value, list | tuple) else value
