"""A LlamaIndex workflow that asks a person three questions, for tests of its reviewer."""

import asyncio
import json

from llama_index.core.base.llms.types import ChatMessage
from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent

from llama_index.llms.splitreason import QuestionEvent, SplitReasonLLM, WorkflowReviewer
from splitreason_integrations import HumanCheck
from tests.reviews.review_runs import (
    REASONING,
    counting_pair,
)

HELLO = [ChatMessage(role="user", content="hi")]


def model(pair=None, **check):
    reviewed = HumanCheck(reviewer=WorkflowReviewer(), **check)
    return SplitReasonLLM(**(pair or counting_pair()), human_check=reviewed, seed=1)


class Chat(Workflow):
    """One request in one step."""

    def __init__(self, llm=None, **more):
        super().__init__(timeout=None, **more)
        self.llm = llm or model()

    @step(num_workers=1)
    async def chat(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=reported(await self.llm.achat(HELLO)))


class ManyWorkers(Chat):
    """The same with room for several executions at once."""

    @step(num_workers=4)
    async def chat(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=reported(await self.llm.achat(HELLO)))


def reported(response):
    thinking, text = response.message.blocks
    facts = response.raw["splitreason"]
    return {
        "answer": text.text,
        "reasoning": thinking.content,
        "tokens": facts["tokens"],
        "human": [span["human"] for span in facts["spans"]],
    }


def answer(question, given):
    return HumanResponseEvent(id=question.id, response=given)


async def run_through(handler, *answers, twice=False):
    """Answer a run's questions in order; return them and the run's result."""
    answers, questions = list(answers), []
    async for event in handler.stream_events():
        if isinstance(event, QuestionEvent):
            questions.append(event)
            given = answers[len(questions) - 1]
            for _ in range(1 + twice):
                handler.ctx.send_event(answer(event, given))
    return questions, await handler


def check_reply(result, llm):
    assert (result["answer"], result["reasoning"]) == ("Five", REASONING)
    assert result["human"] == ["approve by ann", "approve by workflow"]
    assert result["tokens"] == {"small": llm.small.written, "large": llm.large.written}


async def until_asked(handler):
    """Return the next question and the context as JSON, and end the run there."""
    async for event in handler.stream_events():
        if isinstance(event, QuestionEvent):
            break
    saved = json.dumps(handler.ctx.to_dict())
    await handler.cancel_run()
    return event, saved


async def run_to_the_end(make, answers, between=None):
    """Run a workflow that is saved and dropped at each question; return its flows and result."""
    flow = make()
    flows = [flow]
    question, saved = await until_asked(flow.run())
    for at, given in enumerate(answers):
        flow = make()
        flows.append(flow)
        handler = flow.run(ctx=Context.from_dict(flow, json.loads(saved)))
        if between:
            await between(handler)
        handler.ctx.send_event(answer(question, given))
        if at < len(answers) - 1:
            question, saved = await until_asked(handler)
    return flows, await handler


async def later(handler):
    """Let the restored steps come to rest before the answer comes."""
    await asyncio.sleep(0.2)
