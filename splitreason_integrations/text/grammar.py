"""Keeps the answer within a JSON schema or a tool call, whichever model writes it.

Reasoning is free; behind it llguidance says which tokens may come next. The grammar's state is
worked out from a session's tokens, so it follows the text over hand-overs and cuts.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from splitreason_integrations.errors import RequestError
from splitreason_integrations.protocols import CONTROL, AnswerForm, Codec
from splitreason_integrations.records import Message
from splitreason_integrations.text.held_schema import held
from splitreason_integrations.text.markup_grammar import MarkupGrammar
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.tags import Tags

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_SPELLED_TOKENS = 12
"""Enough of the last tokens to spell the end of reasoning where that is plain text."""
_CHARACTER_TOKENS = 4
_SPACE = "/[ \\n]{0,4}/"
_LIKE_JSON_DUMPS = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}


def answer_grammar(
    schema: Mapping[str, Any], codec: Codec, tools: Sequence[Message] | None = None
) -> str:
    """Return the grammar of an answer that is one JSON value of a schema, in Lark's notation.

    With tools the answer may be a call of one of them instead, where the model's family has calls.
    """
    opening = _spelled(codec, codec.reply_format.answer_start)
    may_call = bool(tools) and _reads_calls(codec)
    lines = [
        "start: answer | called" if may_call else "start: answer",
        f"answer: {opening} {_SPACE} value",
        f"value: %json {_as_json(json.loads(held(json.dumps(schema))))}",
        *(_call_rules(tools, codec) if tools and may_call else ()),
    ]
    return "\n".join(lines) + "\n"


def call_grammar(tools: Sequence[Message], codec: Codec) -> str | None:
    """Return the grammar of one call of one of the tools, as the model's family writes calls.

    None where the tokenizer's own response template does not read such calls.
    """
    if not _reads_calls(codec):
        return None
    return "\n".join(["start: called", *_call_rules(tools, codec)]) + "\n"


def _call_rules(tools: Sequence[Message], codec: Codec) -> list[str]:
    """Return the rules of `called`, one call of one of the tools."""
    lines = [
        f"called: {_SPACE} call",
        f"call: {' | '.join(f'call_{at}' for at in range(len(tools)))}",
    ]
    family = codec.reply_format
    markup = MarkupGrammar(family, partial(_spelled, codec), _as_json)
    for at, tool in enumerate(tools):
        function = tool.get("function", tool)
        before, after = family.call.replace("{name}", function["name"]).split("{arguments}")
        lines.append(f"call_{at}: {_spelled(codec, before)} args_{at} {_spelled(codec, after)}")
        if family.argument:
            lines += markup.rules(f"args_{at}", _arguments(function))
        else:
            lines.append(f"args_{at}: %json {_as_json(held_arguments(_arguments(function)))}")
    return lines


def _reads_calls(codec: Codec) -> bool:
    reader = ReplyReader(codec.response_template, "")
    reader.feed(codec.reply_format.write_call("f", "{}"))
    reader.finish()
    return [call.name for call in reader.tool_calls] == ["f"]


def _spelled(codec: Codec, text: str) -> str:
    """Return a text in Lark's notation, control tokens as tokens."""
    parts = [part for part in CONTROL.split(text) if part]
    tokens = [codec.control_token(part) for part in parts]
    return " ".join(
        json.dumps(part, ensure_ascii=False) if token is None else f"<[{token}]>"
        for part, token in zip(parts, tokens, strict=True)
    )


def held_arguments(schema: Any) -> Any:
    """Return the schema of a tool's arguments, an object, in the form that grammars hold."""
    written = json.loads(held(json.dumps(schema)))
    if not isinstance(written, dict) or written.get("type") == "object":
        return written
    parts = written.pop("$defs", {})
    return {"allOf": [written, {"type": "object"}], "$defs": parts}


def _arguments(function: Mapping[str, Any]) -> Mapping[str, Any]:
    return function.get("parameters") or {"type": "object", "properties": {}}


def _as_json(written: Any) -> str:
    """Return a schema that is in the form that grammars hold, with how its JSON is spaced."""
    if written is False:
        return "false"
    return json.dumps({**({} if written is True else written), "x-guidance": _LIKE_JSON_DUMPS})


class Guide:
    """Decides which tokens a session may write next, given its sequence so far.

    Args:
        codec: of the session's model.
        grammar: in Lark's notation.
        tags: the session's tags, which the grammar does not contain.
        reasons: whether the reply begins with reasoning.
        form: what the grammar stands for.

    Raises:
        RequestError: if the grammar cannot be used.

    """

    def __init__(
        self,
        codec: Codec,
        grammar: str,
        tags: Tags,
        *,
        reasons: bool,
        form: AnswerForm | None = None,
    ) -> None:
        from llguidance import LLMatcher

        tokenizer = codec.grammar_tokenizer
        text = LLMatcher.grammar_from_lark(grammar)
        problem = LLMatcher.validate_grammar(text, tokenizer)
        if problem:
            raise RequestError(
                "the answer's JSON schema cannot be used: "
                f"{problem.strip().splitlines()[0].partition(': ')[2] or problem.strip()}"
            )
        self._codec = codec
        self._matcher = LLMatcher(tokenizer, text, log_level=0)
        self._size = tokenizer.vocab_size
        self._tags = [tag for tag in (tags.open_tokens, tags.close_tokens) if tag]
        self.between = tags.control_tokens
        self._end_of_reasoning = codec.reply_format.end_of_reasoning
        self.reasoning_end = codec.control_token(self._end_of_reasoning)
        self.grammar = grammar
        self.form = form or AnswerForm()
        self._answer_at = None if reasons or codec.reply_format.always_reasons else 0
        self._searched = 0
        self._fed: list[int] = []

    def restrict(self, logits: "Tensor", reply: Sequence[int]) -> "Tensor":
        """Return the logits (vocabulary) with what may not follow `reply` at minus infinity."""
        import torch

        start = self._answer_start(reply)
        if start is None:
            ends = torch.tensor(sorted(self._codec.end_tokens), device=logits.device)
            return logits.index_fill(0, ends, float("-inf"))
        self._follow(self._without_tags(reply[start:]))
        bits = torch.from_numpy(self._allowed())[: len(logits)]
        allowed = torch.zeros(len(logits), dtype=torch.bool)
        allowed[: len(bits)] = bits
        return logits.masked_fill(~allowed.to(logits.device), float("-inf"))

    def answer_tokens(self, reply: Sequence[int]) -> int | None:
        """Return how many tokens of the answer a reply has; None while it reasons."""
        start = self._answer_start(reply)
        return None if start is None else len(reply) - start

    def accepted(self, reply: Sequence[int], token_ids: Sequence[int]) -> int:
        """Return how many of some tokens may follow a reply, one behind the other."""
        sequence = [*reply]
        for at, token in enumerate(token_ids):
            start = self._answer_start(sequence)
            if not self._accepts(sequence, start, token):
                return at
            sequence.append(token)
        return len(token_ids)

    def allowed(self, reply: Sequence[int]) -> list[int]:
        """Return the tokens of the answer that may follow a reply, which has ended its reasoning.

        Those that end the turn are among them where the answer is whole.
        """
        start = self._answer_start(reply)
        assert start is not None, "the reply has ended its reasoning"
        self._follow(self._without_tags(reply[start:]))
        return [int(token) for token in self._allowed().nonzero()[0]]

    def _accepts(self, reply: Sequence[int], start: int | None, token: int) -> bool:
        """Return whether a token may follow a reply whose answer begins at `start`."""
        if start is None:
            return token not in self._codec.end_tokens
        self._follow(self._without_tags(reply[start:]))
        if token in self.between:
            return self._is_between_characters
        if self._matcher.is_stopped():
            return token in self._codec.end_tokens
        # Where a text has to come, its longest token has to.
        if forced := self._matcher.compute_ff_tokens():
            return token == forced[0]
        # A token outside the vocabulary would be an error of the grammar's.
        return token < self._size and self._matcher.validate_tokens([token]) == 1

    def _answer_start(self, reply: Sequence[int]) -> int | None:
        """Return where the answer begins in a reply; None while it reasons."""
        if self._answer_at is None or not self._ends_reasoning(reply, self._answer_at):
            self._answer_at = self._search(reply)
        return self._answer_at

    def _search(self, reply: Sequence[int]) -> int | None:
        end = self.reasoning_end
        if end is not None:
            return reply.index(end) + 1 if end in reply else None
        fresh = range(min(self._searched, len(reply)), len(reply) + 1)
        self._searched = len(reply)
        return next((at for at in fresh if at and self._ends_reasoning(reply, at)), None)

    def _ends_reasoning(self, reply: Sequence[int], at: int) -> bool:
        if at == 0:
            return True
        end = self.reasoning_end
        if end is not None:
            return at <= len(reply) and reply[at - 1] == end
        return self._end_of_reasoning in self._codec.decode(
            reply[max(0, at - _SPELLED_TOKENS) : at]
        )

    def _without_tags(self, token_ids: Sequence[int]) -> list[int]:
        kept: list[int] = []
        at = 0
        while at < len(token_ids):
            tag = next((t for t in self._tags if tuple(token_ids[at : at + len(t)]) == t), None)
            if tag is None:
                kept.append(token_ids[at])
            at += len(tag) if tag else 1
        return kept

    def _follow(self, token_ids: list[int]) -> None:
        """Bring the grammar to the state behind these tokens."""
        common = len(self._fed)
        if token_ids[:common] != self._fed:
            same = (mine == theirs for mine, theirs in zip(self._fed, token_ids, strict=False))
            common = len(list(takewhile(bool, same)))
        if common < len(self._fed):
            self._matcher.rollback(len(self._fed) - common)
        self._matcher.consume_tokens(token_ids[common:])
        if self._matcher.is_error():
            raise RequestError(f"the answer left its grammar: {self._matcher.get_error()[:200]}")
        self._fed = token_ids

    def _allowed(self) -> "NDArray[np.bool_]":
        """Return, by token, whether it may come where the grammar is now."""
        import numpy as np

        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(packed, bitorder="little").astype(bool)
        if self._is_between_characters:
            allowed[list(self.between)] = True
        return allowed

    @property
    def _is_between_characters(self) -> bool:
        """Whether a tag may come: in the middle of a character its other half would be lost."""
        return not self._codec.decode(self._fed[-_CHARACTER_TOKENS:]).endswith("\ufffd")
