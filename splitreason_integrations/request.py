"""One request as a value: a conversation to continue, and how."""

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from splitreason_integrations.checks import check_flag, check_number, check_texts
from splitreason_integrations.errors import RequestError, SettingError
from splitreason_integrations.options import check_options
from splitreason_integrations.protocols import AnswerForm, Codec
from splitreason_integrations.records import Message
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.encodable import check_encodable
from splitreason_integrations.text.grammar import answer_grammar, call_grammar
from splitreason_integrations.text.schemas import schema_text
from splitreason_integrations.text.tool_checks import check_tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One conversation to continue.

    Attributes:
        messages: The conversation, as chat templates take it.
        tools: Descriptions of tools that the reply may call.
        response_schema: A JSON schema that the answer, behind the reasoning, must fit, unless it
            is a call of one of the tools.
        show_schema: Whether the models read the schema, at the end of the user's message.
        must_call: Whether the answer must be a call of one of the tools.
        max_calls: Most tool calls of the reply, which ends behind the last one; 0 lets none come
            out. None for any number.
        sampling: How tokens are chosen.
        max_tokens: Most tokens of the reply, reasoning included; None leaves it to the contexts.
        max_reasoning_tokens: Most tokens of the reasoning, which is then ended; the policy may set
            fewer.
        thinking: Whether the models think before they answer; None leaves it to the models.
        stop: Strings that end the reply where they appear; they are not part of it.
        seed: Repeats a reply; None draws one, which the completion reports.
        metadata: Facts by which rules of a policy apply, such as `{"tenant": "acme"}`.
        request_id: Identifies the request in events, logs and traces.

    Raises:
        RequestError: Where a value is not valid.

    """

    messages: Sequence[Message]
    tools: Sequence[Message] | None = None
    response_schema: Mapping[str, Any] | None = None
    show_schema: bool = True
    must_call: bool = False
    max_calls: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    max_reasoning_tokens: int | None = None
    thinking: bool | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if isinstance(self.stop, str) or not all(isinstance(s, str) and s for s in self.stop):
            raise RequestError(f"stop must be a list of non-empty strings, got {self.stop!r}")
        try:
            check_options("request", self)
            check_flag("show_schema", self.show_schema)
            if self.thinking is not None:
                check_flag("thinking", self.thinking)
            check_texts("metadata", self.metadata)
            if self.max_calls is not None:
                check_number("max_calls", self.max_calls, whole=True)
        except SettingError as error:
            raise RequestError(str(error)) from error
        if self.must_call and (self.response_schema is not None or not self.tools):
            raise RequestError("must_call needs tools to call, and no response_schema beside them")
        if self.must_call and self.max_calls == 0:
            raise RequestError("must_call needs a call, and max_calls=0 lets none come out")
        check_tools(self.tools)
        if self.response_schema is not None:
            schema_text(self.response_schema, "response_schema")
        check_encodable(self.tools, "tools")
        check_encodable(self.stop, "stop")

    def seed_or_drawn(self) -> int:
        """Return the seed, or one drawn at random if it is None."""
        return int.from_bytes(os.urandom(4)) if self.seed is None else self.seed

    @property
    def has_form(self) -> bool:
        """Whether the answer is held to a schema or to a call."""
        return self.response_schema is not None or self.must_call

    @property
    def form(self) -> AnswerForm:
        """What the answer has to be, where it has a form."""
        return AnswerForm(self.response_schema, tuple(self.tools or ()))

    def grammar(self, codec: Codec) -> str | None:
        """Return the grammar that constrains a model's answer, None if there is none."""
        if self.response_schema is not None:
            return answer_grammar(self.response_schema, codec, self.tools)
        return call_grammar(self.tools, codec) if self.must_call and self.tools else None

    def data(self) -> dict[str, Any]:
        """Return the request as plain data."""
        return {
            **asdict(self),
            "messages": [dict(message) for message in self.messages],
            "tools": None if self.tools is None else [dict(tool) for tool in self.tools],
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Request":
        """Return the request that `Request.data` returned as plain data."""
        # Without the setting it is of a version that showed none: the prompt must stay the same.
        return cls(**{"show_schema": False, **data, "sampling": Sampling(**data["sampling"])})
