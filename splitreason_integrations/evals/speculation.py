"""Measure speculative decoding beside offloading: accuracy, large passes and wall time.

All ways answer the same problems in turn, one answer at a time, each on one thread. Speculative
decoding (arXiv 2211.17192): the small model drafts some tokens, the large model checks them in one
pass and keeps those that it would have chosen, so that the text is the large model's own.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from splitreason_integrations import blocking
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.backends.hf.spec import TransformersModel
from splitreason_integrations.decide.closing import Agrees, TagClose
from splitreason_integrations.decide.triggers import Always, Disagreement, Tag
from splitreason_integrations.embedded import path
from splitreason_integrations.engine import SplitEngine
from splitreason_integrations.evals.answering import Asking, answer_task
from splitreason_integrations.evals.intervals import resampled, wilson
from splitreason_integrations.evals.speculation_vllm import ALONE, vllm_answers
from splitreason_integrations.evals.tasks import Task
from splitreason_integrations.evals.vllm_servers import has_vllm
from splitreason_integrations.records import Channel
from splitreason_integrations.text.replies import ReplyReader

MAX_TOKENS = 512

OnProgress = Callable[[str, int, int], None]
"""Called with (what is measured, answers done, answers in all)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one problem.

    Attributes:
        text: Reasoning and answer.
        right: Whether the answer was graded as correct.
        tokens: Generated tokens, the end token not counted.
        passes: Forward passes of the large model.
        positions: Tokens read in these passes, prompt included; None where the engine hides it.
        seconds: Wall time.

    """

    text: tuple[str, str]
    right: bool
    tokens: int
    passes: int
    positions: int | None
    seconds: float


Ways = Mapping[tuple[str, str], Callable[[Task], Answer]]
"""What answers a problem, by (engine, who writes)."""


@dataclass(slots=True)
class Passes:
    """Forward passes of a network and the positions that they read."""

    count: int = 0
    positions: int = 0

    def reset(self) -> None:
        """Start again at zero."""
        self.count = self.positions = 0


def measure_speculation(
    tasks: Sequence[Task], *, seed: int, on_progress: OnProgress
) -> dict[str, Any]:
    """Return a row for each way as plain data, and whether vLLM was there.

    Args:
        tasks: The problems.
        seed: Seed of the requests and of the bootstrap.
        on_progress: Called with (what is measured, answers done, answers in all).

    Raises:
        ConfigurationError: vLLM is there and failed.

    """
    large = _models(Tag())[1]
    with _one_thread(), counted(large) as passes:
        ways = {**assisted(large, passes), **_split(passes, seed)}
        answers = in_turn(ways, tasks, on_progress)
    if has_vllm():
        answers |= _by_vllm(large, tasks, on_progress)
    rows = [_row(way, answers, seed) for way in answers]
    return {"n": len(tasks), "rows": rows, "vllm": has_vllm()}


def in_turn(
    ways: Ways, tasks: Sequence[Task], on_progress: OnProgress
) -> dict[tuple[str, str], list[Answer]]:
    """Return each way's answers; the ways take turns, and the order changes by problem."""
    order, found = list(ways), {way: list[Answer]() for way in ways}
    for way in order:  # What is set up at the first answer is not timed.
        ways[way](tasks[0])
    for number, task in enumerate(tasks):
        on_progress("timed answers", number, len(tasks))
        first = number % len(order)
        for way in order[first:] + order[:first]:
            found[way].append(ways[way](task))
    on_progress("timed answers", len(tasks), len(tasks))
    return found


def assisted(large: HFModel, passes: Passes) -> Ways:
    """Return `generate()` of the large model: alone, and with each small model as assistant."""
    base, small = _models(Disagreement(0.1))[0], _models(Tag())[0]
    engine = "transformers"

    def way(assistant: HFModel | None) -> Callable[[Task], Answer]:
        return lambda task: generated_answer(large, assistant, task, passes)

    return {
        (engine, ALONE): way(None),
        (engine, "`base` drafts (`assistant_model`)"): way(base),
        (engine, "`small` drafts (`assistant_model`)"): way(small),
    }


def generated_answer(
    large: HFModel, assistant: HFModel | None, task: Task, passes: Passes
) -> Answer:
    """Return the greedy answer by transformers' `generate()` to the prompt that the engine uses."""
    began_s = time.perf_counter()
    passes.reset()
    prompt = large.codec.render(task.messages, task.tools)
    token_ids, ends = torch.tensor([prompt.token_ids]), sorted(large.codec.end_tokens)
    options = {} if assistant is None else {"assistant_model": assistant.network}
    sequences = large.network.generate(
        token_ids,
        attention_mask=torch.ones_like(token_ids),
        do_sample=False,
        max_new_tokens=MAX_TOKENS,
        eos_token_id=ends,
        pad_token_id=ends[0],
        **options,
    )
    written = sequences[0, token_ids.shape[1] :].tolist()
    seconds = time.perf_counter() - began_s
    return _read(large, task, written, passes.count, passes.positions, seconds)


def _read(
    large: HFModel,
    task: Task,
    token_ids: Sequence[int],
    passes: int,
    positions: int | None,
    seconds: float,
) -> Answer:
    """Return generated ids as a graded answer."""
    kept = [one for one in token_ids if one not in large.codec.end_tokens]
    header = large.codec.render(task.messages, task.tools).header
    reader = ReplyReader(large.codec.response_template, header)
    reader.feed(large.codec.decode(kept))
    reader.finish()
    answer = reader.text(Channel.ANSWER)
    text = (reader.text(Channel.REASONING), answer)
    return Answer(text, task.right(answer), len(kept), passes, positions, seconds)


def _split(passes: Passes, seed: int) -> Ways:
    """Return the engine's own ways."""

    def way(engine: SplitEngine) -> Callable[[Task], Answer]:
        def answer(task: Task) -> Answer:
            passes.reset()
            asking = Asking(max_tokens=MAX_TOKENS)
            done = blocking.run(lambda: answer_task(engine, task, asking, seed))
            reply = done.replies[-1]
            return Answer(
                (reply.reasoning, reply.answer),
                bool(done.right),
                sum(reply.tokens for reply in done.replies),
                passes.count,
                passes.positions,
                done.seconds,
            )

        return answer

    name = "this package"
    return {
        (name, ALONE): way(_engine(Always())),
        (name, "`base`, `disagreement<0.1`, `agrees`"): way(_engine(Disagreement(0.1))),
        (name, "`small`, `tag`, `tag>0.5`"): way(_engine(Tag())),
        (name, "`small`, `tag>0.999`, `tag>0.5`"): way(_engine(Tag(0.999))),
    }


def _engine(trigger: Always | Disagreement | Tag) -> SplitEngine:
    if isinstance(trigger, Disagreement):
        base = TransformersModel(str(path("base")), taught=False)
        return SplitEngine(
            small=base, large="embedded", trigger=trigger, close=Agrees(), telemetry=None
        )
    return SplitEngine(
        small="embedded", large="embedded", trigger=trigger, close=TagClose(), telemetry=None
    )


def _models(trigger: Disagreement | Tag) -> tuple[HFModel, HFModel]:
    """Return the loaded small and large model of an engine; they are shared between engines."""
    small, large = blocking.run(_engine(trigger).models)
    assert isinstance(small, HFModel)
    assert isinstance(large, HFModel)
    return small, large


def _by_vllm(
    large: HFModel, tasks: Sequence[Task], on_progress: OnProgress
) -> dict[tuple[str, str], list[Answer]]:
    prompts = [large.codec.render(task.messages, task.tools).token_ids for task in tasks]
    found: dict[tuple[str, str], list[Answer]] = {}
    ends = sorted(large.codec.end_tokens)
    for one in vllm_answers(prompts, end_tokens=ends, max_tokens=MAX_TOKENS):
        task = tasks[one.prompt]
        answer = _read(large, task, one.token_ids, one.passes, None, one.seconds)
        found.setdefault(("vLLM", one.way), []).append(answer)
        on_progress("timed answers of vLLM", one.prompt + 1, len(tasks))
    return found


@contextmanager
def counted(model: HFModel) -> Generator[Passes, None, None]:
    """Count a model's forward passes in the block, whoever makes them."""
    passes = Passes()

    def count(_: object, __: object, given: Mapping[str, torch.Tensor]) -> None:
        passes.count += 1
        passes.positions += given["input_ids"].shape[-1]

    hook = model.network.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield passes
    finally:
        hook.remove()


@contextmanager
def _one_thread() -> Generator[None, None, None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _row(
    way: tuple[str, str], answers: Mapping[tuple[str, str], Sequence[Answer]], seed: int
) -> dict[str, Any]:
    """Return one way's figures, compared with the large model alone in the same engine."""
    engine, method = way
    mine, alone = answers[way], answers[engine, ALONE]
    n, right = len(mine), sum(one.right for one in mine)
    seconds = np.array([(a.seconds, b.seconds) for a, b in zip(mine, alone, strict=True)])
    positions = [one.positions for one in mine if one.positions is not None]
    return {
        "engine": engine,
        "method": method,
        "n": n,
        "accuracy": right / n,
        "interval": list(wilson(right, n)),
        "same_text": sum(a.text == b.text for a, b in zip(mine, alone, strict=True)),
        "tokens": sum(one.tokens for one in mine) / n,
        "large_passes": sum(one.passes for one in mine) / n,
        "large_positions": sum(positions) / n if positions else None,
        "seconds": float(seconds[:, 0].mean()),
        "of_alone": float(seconds[:, 0].sum() / seconds[:, 1].sum()),
        "of_alone_interval": list(
            resampled(seconds, lambda sums: sums[:, 0] / sums[:, 1], seed=seed)
        ),
    }
