"""Keeps text from outside apart from the control tokens that a chat template writes itself.

Values are marked where they spell an added token, special or not; what was marked is encoded as
text.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from transformers import PreTrainedTokenizerBase

_BEGIN, _END = "\ufdd0", "\ufdd1"
"""Unicode keeps these free for use inside a program."""
_MARKS = re.compile(rf"({_BEGIN}|\\ufdd0|{_END}|\\ufdd1)")
_BEGINS = (_BEGIN, r"\ufdd0")
_PROSE = frozenset(
    {"content", "text", "reasoning_content", "reasoning", "thinking", "description", "arguments"}
)
"""Keys of what templates write and do not compare with something."""


class ControlText:
    """The added tokens of a tokenizer, and the text that spells one."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self.ids = {one.content: token_id for token_id, one in added.items()}
        self._all = frozenset(self.ids.values())
        # Templates write white space as text, also where it is a token.
        self._spelled = [spelled for spelled in self.ids if spelled and not spelled.isspace()]
        self._known = frozenset(self.ids[spelled] for spelled in self._spelled)
        self._normalized = [one.content for one in added.values() if one.normalized]

    def parts(self, text: str) -> list[str]:
        """Return a text in parts, so that none of them spells a control token."""
        cuts = {0, len(text)}
        for spelled in self.ids:
            at = text.find(spelled)
            while at >= 0:
                cuts.add(at + 1)
                at = text.find(spelled, at + 1)
        for start, _ in self._hidden(text):
            cuts.add(start + 1)
        ordered = sorted(cuts)
        return [text[a:b] for a, b in pairwise(ordered) if a < b]

    def marked(self, value: Any, *, is_prose: bool = False) -> Any:
        """Return plain data with marks around what spells a control token in its values.

        A key cannot be marked, as a template may look for it: it gets a space inside the spelling.
        Prose has marks also where it could become one beside what the template writes.
        """
        if isinstance(value, str):
            return self._marked_text(value, is_prose)
        if isinstance(value, Mapping):
            return {
                self._key(key): self.marked(one, is_prose=is_prose or key in _PROSE)
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.marked(one, is_prose=is_prose) for one in value]
        return value

    def encode(self, rendered: str) -> list[int]:
        """Return the ids of a rendered conversation; what has marks is text."""
        ids: list[int] = []
        depth, is_first = 0, True
        for piece in _MARKS.split(rendered):
            if _MARKS.fullmatch(piece):
                depth = max(0, depth + (1 if piece in _BEGINS else -1))
            elif piece:
                ids += self._text_ids(piece, is_first) if depth else self._ids(piece, is_first)
                is_first = False
        return ids

    def _key(self, key: Any) -> Any:
        return " ".join(self.parts(unmarked(key))) if isinstance(key, str) else key

    def _marked_text(self, text: str, is_prose: bool) -> str:
        text = unmarked(text)
        seams = [(at, at) for at in self._seams(text)] if is_prose else []
        spans = sorted([*self._spans(text), *self._hidden(text), *seams])
        marked, at = [], 0
        for start, end in _joined(spans):
            marked += [text[at:start], _BEGIN, text[start:end], _END]
            at = end
        return "".join([*marked, text[at:]])

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Return where a text spells control tokens."""
        found = []
        for spelled in self._spelled:
            at = text.find(spelled)
            while at >= 0:
                found.append((at, at + len(spelled)))
                at = text.find(spelled, at + 1)
        return found

    def _seams(self, text: str) -> list[int]:
        """Return the ends of a text that may become control tokens beside the template's text."""
        start, end = len(text) - len(text.lstrip()), len(text.rstrip())
        inner = text[start:end]
        if not inner:
            return []
        within = len(inner) < self._longest and any(inner in one for one in self._spelled)
        begins = within or any(map(inner.startswith, self._tails.get(inner[0], ())))
        ends = within or any(map(inner.endswith, self._heads.get(inner[-1], ())))
        return [start] * begins + [end] * ends

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._spelled), default=0)

    @cached_property
    def _tails(self) -> dict[str, set[str]]:
        """What ends a control token, by its first character."""
        tails: dict[str, set[str]] = {}
        for spelled in self._spelled:
            for at in range(1, len(spelled)):
                tails.setdefault(spelled[at], set()).add(spelled[at:])
        return tails

    @cached_property
    def _heads(self) -> dict[str, set[str]]:
        """What begins a control token, by its last character."""
        heads: dict[str, set[str]] = {}
        for spelled in self._spelled:
            for at in range(1, len(spelled)):
                heads.setdefault(spelled[at - 1], set()).add(spelled[:at])
        return heads

    def _hidden(self, text: str) -> list[tuple[int, int]]:
        """Return where the tokenizer's normalisation makes a control token of a text."""
        backend = self._tokenizer.backend_tokenizer
        if not self._normalized or backend.normalizer is None or not text:
            return []
        normal = backend.normalizer.normalize_str(text)
        if normal == text or not any(one in normal for one in self._normalized_forms):
            return []
        encoded = backend.encode(text, add_special_tokens=False)
        pairs = zip(encoded.ids, encoded.offsets, strict=True)
        return [span for token, span in pairs if token in self._known and span[0] < span[1]]

    @cached_property
    def _normalized_forms(self) -> list[str]:
        normalize = self._tokenizer.backend_tokenizer.normalizer.normalize_str
        forms = {form for one in self._normalized for form in (one, normalize(one))}
        return [form for form in forms if form and not form.isspace()]

    def _ids(self, text: str, is_first: bool, **options: Any) -> list[int]:
        """Return the ids of a text; within a conversation without the space at a beginning."""
        encode = self._tokenizer.encode
        if not is_first:
            newline = encode("\n", add_special_tokens=False, verbose=False)
            ids = encode(f"\n{text}", add_special_tokens=False, verbose=False, **options)
            if ids[: len(newline)] == newline:
                return list(ids[len(newline) :])
        return list(encode(text, add_special_tokens=False, verbose=False, **options))

    def _text_ids(self, text: str, is_first: bool) -> list[int]:
        """Return the ids of a text that spells control tokens, without them."""
        ids = self._ids(text, is_first, split_special_tokens=True)
        if self._known.isdisjoint(ids):
            return ids
        parts = enumerate(self.parts(text))
        return [one for at, part in parts for one in self._ids(part, is_first and not at)]


def unmarked(text: str) -> str:
    """Return a text without marks."""
    return text.replace(_BEGIN, "").replace(_END, "")


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ordered ranges with those that overlap joined."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
