"""Answer one task: ask the model, run its tool calls, ask again, grade the final answer."""

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any

import anyio.to_thread

from splitreason_integrations import blocking
from splitreason_integrations.audit.recording import pieces_of
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.errors import RequestError
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.humans.human import Paused
from splitreason_integrations.records import Completion, Delta, Message, completion_from
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling

_MAX_CALLS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Sampling settings for each task.

    Attributes:
        seed: Base seed; each task and each sample gets its own seed derived from it.
        samples: Answers per task.
        temperature: Sampling temperature; 0 is greedy.
        max_tokens: Longest reply in tokens, reasoning included.

    Raises:
        RequestError: `samples` is below 1, or several samples would be greedy and hence identical.

    """

    seed: int = 0
    samples: int = 1
    temperature: float = 0.0
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise RequestError(f"samples per task must be 1 or more, got {self.samples}")
        Sampling(temperature=self.temperature)
        if self.samples > 1 and Sampling(temperature=self.temperature).greedy:
            raise RequestError(
                f"{self.samples} greedy samples a task would all be the same: give a temperature "
                "above 0, such as --temperature 0.6, or one sample a task"
            )

    def request(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, seed: int
    ) -> Request:
        """Return the request for a conversation with these settings."""
        return Request(
            messages=messages,
            tools=tools,
            sampling=Sampling(temperature=self.temperature),
            max_tokens=self.max_tokens,
            seed=seed,
        )


@dataclass(frozen=True)
class Outcome:
    """One graded answer to one task.

    Attributes:
        right: Whether the final answer was graded as correct; 0 to 1 where it is scored by its
            agreement with another.
        replies: Every reply of the conversation, one per round of tool calls.
        texts: The generated text as audit-log pieces (`author`, `channel`, `text`).
        seconds: Wall time of all replies, grading excluded.

    """

    right: float
    replies: tuple[Completion, ...]
    texts: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0

    def data(self) -> dict[str, Any]:
        """Return the outcome as plain data, which `outcome_from` reads."""
        return asdict(self)


def outcome_from(data: Mapping[str, Any]) -> Outcome:
    """Return the outcome that `Outcome.data` wrote."""
    replies = tuple(map(completion_from, data["replies"]))
    return Outcome(data["right"], replies, tuple(data["texts"]), data["seconds"])


async def answer_task(engine: SplitEngine, task: Task, asking: Asking, seed: int) -> Outcome:
    """Answer one task, with at most four rounds of tool calls, and grade the answer."""
    started_s = time.perf_counter()
    messages: list[Message] = list(task.messages)
    replies, texts = list[Completion](), list[Mapping[str, Any]]()
    answer: str | None = None
    for _ in range(_MAX_CALLS):
        reply, pieces = await _reply_with_pieces(engine, asking.request(messages, task.tools, seed))
        replies.append(reply)
        texts += pieces
        if not reply.tool_calls:
            answer = reply.answer
            break
        results = [task.tool_result(call) for call in reply.tool_calls]
        if None in results:
            break
        messages.append(_as_message(reply))
        messages += [
            {"role": "tool", "name": call.name, "content": result}
            for call, result in zip(reply.tool_calls, results, strict=True)
        ]
    seconds = time.perf_counter() - started_s
    # A malicious answer can use up the grader's deadline, so grading runs in a thread.
    right = answer is not None and await anyio.to_thread.run_sync(task.right, answer)
    return Outcome(right, tuple(replies), tuple(texts), seconds)


def ask(
    engine: SplitEngine,
    messages: Sequence[Message],
    tools: Sequence[Message] | None,
    *,
    seed: int,
    max_tokens: int,
) -> Completion:
    """Return the greedy reply to one conversation."""
    request = Asking(max_tokens=max_tokens).request(messages, tools, seed)
    return blocking.run(lambda: engine.complete(request))


async def _reply_with_pieces(
    engine: SplitEngine, request: Request
) -> tuple[Completion, list[dict[str, Any]]]:
    """Return a reply, and its text in pieces by author."""
    deltas = list[Delta]()
    async with aclosing(engine.stream(request)) as items:
        async for item in items:
            if isinstance(item, Delta):
                deltas.append(item)
            elif isinstance(item, Completion):
                break
            elif isinstance(item, Paused):
                raise RequestError(
                    "the policy asks a person, and an evaluation has no reviewer: use a policy "
                    "without human checks"
                )
    assert isinstance(item, Completion), "a stream ends with its completion"
    fields = ("author", "channel", "text")
    return item, [{name: piece[name] for name in fields} for piece in pieces_of(deltas)]


def _as_message(reply: Completion) -> Message:
    return {
        "role": "assistant",
        "content": reply.answer,
        "reasoning_content": reply.reasoning,
        "tool_calls": [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.tool_calls
        ],
    }
