"""A person in workflows of several requests, steps, work items and agents."""

import asyncio
import json

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from llama_index.llms.splitreason import QuestionEvent
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.workflow_runs import (
    HELLO,
    Chat,
    answer,
    check_reply,
    model,
    reported,
    run_through,
)
from tests.reviews.review_runs import (
    ANSWERS,
    REASONING,
)


class Between(Event):
    results: list


class Twice(Workflow):
    """Two requests in one step, and one in the next."""

    def __init__(self, llm):
        super().__init__(timeout=None)
        self.llm, self.made = llm, []

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Between:
        results = [reported(await self.llm.achat(HELLO)), reported(await self.llm.achat(HELLO))]
        return Between(results=results)

    @step
    async def second(self, ctx: Context, ev: Between) -> StopEvent:
        self.made.append(ev)
        return StopEvent(result=[*ev.results, reported(await self.llm.achat(HELLO))])


async def test_several_requests_and_steps():
    flow = Twice(model())
    questions, results = await run_through(flow.run(), *ANSWERS * 3)
    assert len({question.id for question in questions}) == 9
    assert [result["reasoning"] for result in results] == [REASONING] * 3
    written = {"small": flow.llm.small.written, "large": flow.llm.large.written}
    assert written == {name: sum(result["tokens"][name] for result in results) for name in written}
    assert len(flow.made) == 3 + 1


class Part(Event):
    number: int


class Done(Event):
    result: dict


class Parallel(Workflow):
    """The same request in several work items at once."""

    def __init__(self, llm):
        super().__init__(timeout=None)
        self.llm = llm

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Part | None:
        for number in range(3):
            ctx.send_event(Part(number=number))
        return None

    @step(num_workers=3)
    async def chat(self, ctx: Context, ev: Part) -> Done:
        return Done(result=reported(await self.llm.achat(HELLO)))

    @step
    async def join(self, ctx: Context, ev: Done) -> StopEvent | None:
        done = ctx.collect_events(ev, [Done] * 3)
        return None if done is None else StopEvent(result=[one.result for one in done])


async def test_work_items_side_by_side():
    flow = Parallel(model())
    handler, open_questions, asked = flow.run(), [], 0
    async for event in handler.stream_events():
        if isinstance(event, QuestionEvent):
            asked += 1
            open_questions.append(event)
            if len(open_questions) == 3 or asked > 6:
                # The last one first, so that each answer has to find its own question.
                while open_questions:
                    handler.ctx.send_event(answer(open_questions.pop(), True))
    results = await handler
    assert asked == 9
    assert [one["human"] for one in results] == [["approve by workflow"] * 3] * 3
    written = {"small": flow.llm.small.written, "large": flow.llm.large.written}
    assert written == {name: sum(one["tokens"][name] for one in results) for name in written}


async def test_work_items_side_by_side_restored():
    flow = Parallel(model())
    handler, questions = flow.run(), []
    async for event in handler.stream_events():
        if isinstance(event, QuestionEvent):
            questions.append(event)
            if len(questions) == 3:
                break
    saved = json.loads(json.dumps(handler.ctx.to_dict()))
    await handler.cancel_run()
    again = Parallel(model())
    handler = again.run(ctx=Context.from_dict(again, saved))
    await asyncio.sleep(0.2)
    for question in reversed(questions):
        handler.ctx.send_event(answer(question, "stop"))
        await asyncio.sleep(0.2)
    results = await handler
    assert [one["reasoning"] for one in results] == ["One."] * 3
    assert again.llm.small.written == again.llm.large.written == 0


class Gathered(Chat):
    @step
    async def chat(self, ctx: Context, ev: StartEvent) -> StopEvent:
        both = await asyncio.gather(self.llm.achat(HELLO), self.llm.achat(HELLO))
        return StopEvent(result=len(both))


async def test_requests_of_a_step_follow_one_another():
    with pytest.raises(ConfigurationError, match="follow one another"):
        await Gathered().run()


async def test_a_retried_step_generates_nothing_again():
    again_once = retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2))

    class Retried(Chat):
        @step(retry_policy=again_once)
        async def chat(self, ctx: Context, ev: StartEvent) -> StopEvent:
            result = reported(await self.llm.achat(HELLO))
            if not ctx.retry_info().retry_number:
                raise KeyError("once")
            return StopEvent(result=result)

    flow = Retried()
    questions, result = await run_through(flow.run(), *ANSWERS)
    assert len(questions) == 3
    check_reply(result, flow.llm)


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent_asks(streaming):
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    def small(messages, tools):
        if messages[-1]["role"] == "tool":
            return "So.<bigmodel></think>\n\nIt is 3."
        call = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'
        return f"Add.<bigmodel></think>\n\n{call}"

    pair = {"small": ScriptedModel(small), "large": ScriptedModel(" well.</bigmodel>")}
    agent = FunctionAgent(tools=[add], llm=model(pair), streaming=streaming, timeout=None)
    questions, result = await run_through(agent.run("1+2?"), "approve", "refuse")
    assert [one.question.context for one in questions] == ["Add.", "So."]
    assert result.response.content == "It is 3."
