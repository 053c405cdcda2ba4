"""A person in a LlamaIndex workflow: questions in one reply, answered in other processes."""

import asyncio
import gc
import json

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.events import Event, HumanResponseEvent, StartEvent, StopEvent
from workflows.retry_policy import retry_policy, stop_after_attempt, wait_fixed

from llama_index.llms.splitreason import QuestionEvent, SplitReasonLLM, WorkflowReviewer
from splitreason_integrations import AskRule, HumanCheck
from splitreason_integrations.errors import ConfigurationError
from splitreason_integrations.testing import ScriptedModel
from tests.review_runs import (
    ANSWERS,
    REASONING,
    counting_pair,
    start,
    told_and_killed,
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
        return StopEvent(result=told(await self.llm.achat(HELLO)))


class ManyWorkers(Chat):
    """The same with room for several executions at once."""

    @step(num_workers=4)
    async def chat(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=told(await self.llm.achat(HELLO)))


def told(response):
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


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
async def test_three_questions_in_one_reply(twice):
    flow = Chat()
    questions, result = await run_through(flow.run(), *ANSWERS, twice=twice)
    check_reply(result, flow.llm)
    assert len({question.id for question in questions}) == len(questions) == 3
    assert questions[2].question.context == "One. a b c. Two. Three."


async def until_asked(handler):
    """Return the next question and the context as JSON, and end the run there."""
    async for event in handler.stream_events():
        if isinstance(event, QuestionEvent):
            break
    saved = json.dumps(handler.ctx.to_dict())
    await handler.cancel_run()
    return event, saved


async def carried_through(make, answers, between=None):
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


@pytest.mark.parametrize("between", [None, later])
@pytest.mark.parametrize("make", [Chat, ManyWorkers])
async def test_restored_for_each_answer(between, make):
    flows, result = await carried_through(make, ANSWERS, between)
    assert (result["answer"], result["reasoning"]) == ("Five", REASONING)
    written = {
        name: sum(getattr(flow.llm, name).written for flow in flows) for name in ("small", "large")
    }
    assert written == result["tokens"]


async def test_a_span_may_be_checked_when_it_came_back():
    flow = Chat(model(before=None, after=AskRule()))
    given = [{"decision": "edit", "text": " Mine.", "by": "bob"}, "refuse", "approve"]
    questions, result = await run_through(flow.run(), *given)
    assert questions[0].question.text == " a b c."
    assert result["reasoning"] == "One. Mine. Two. Three. a b c. Four."


class Between(Event):
    results: list


@pytest.mark.parametrize("wrong", ["aprove", {"decision": "edit"}, {"text": "x"}, 7, [1]])
async def test_what_is_no_answer_is_asked_for_again(wrong):
    flow = Chat()
    questions, result = await run_through(flow.run(), wrong, *ANSWERS)
    check_reply(result, flow.llm)
    assert [bool(question.problem) for question in questions] == [False, True, False, False]
    assert questions[0].id == questions[1].id


async def test_answers_of_others_are_left_to_them():
    flow = Chat()
    handler = flow.run()
    question, saved = await until_asked(handler)
    flow = Chat()
    handler = flow.run(ctx=Context.from_dict(flow, json.loads(saved)))
    await later(handler)
    for other in (HumanResponseEvent(), HumanResponseEvent(id="x", response="stop")):
        handler.ctx.send_event(other)
        await later(handler)
    handler.ctx.send_event(answer(question, "stop"))
    assert (await handler)["reasoning"] == "One."


class Twice(Workflow):
    """Two requests in one step, and one in the next."""

    def __init__(self, llm):
        super().__init__(timeout=None)
        self.llm, self.made = llm, []

    @step
    async def first(self, ctx: Context, ev: StartEvent) -> Between:
        results = [told(await self.llm.achat(HELLO)), told(await self.llm.achat(HELLO))]
        return Between(results=results)

    @step
    async def second(self, ctx: Context, ev: Between) -> StopEvent:
        self.made.append(ev)
        return StopEvent(result=[*ev.results, told(await self.llm.achat(HELLO))])


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
        return Done(result=told(await self.llm.achat(HELLO)))

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


@pytest.mark.parametrize("restored", [False, True])
async def test_nobody_answers_in_time(restored):
    def make():
        return Chat(model(timeout_s=0.3, on_timeout="approve"))

    flow = make()
    handler = flow.run()
    if restored:
        _, saved = await until_asked(handler)
        flow = make()
        handler = flow.run(ctx=Context.from_dict(flow, json.loads(saved)))
    result = await handler
    assert result["human"] == ["approve by timeout"] * 3


async def test_what_is_kept_does_not_grow():
    flow = Chat()
    handler, sizes = flow.run(), []
    for _ in range(4):
        gc.collect()  # frees the steps that ran
        await run_through(handler, *ANSWERS)
        state = await handler.ctx.store.get("splitreason")
        sizes.append(len(state))
        handler = flow.run(ctx=handler.ctx)
    await run_through(handler, *ANSWERS)
    assert sizes == [1, 1, 1, 1]


class Narrow(BaseModel):
    number: int = 0


class Wide(Narrow):
    splitreason: dict = {}


def typed(state):
    class Typed(Chat):
        @step
        async def chat(self, ctx: Context[state], ev: StartEvent) -> StopEvent:
            return StopEvent(result=told(await self.llm.achat(HELLO)))

    return Typed()


async def test_a_state_of_ones_own_class_needs_a_field():
    with pytest.raises(ConfigurationError, match=r"splitreason: dict = \{\}"):
        await typed(Narrow).run()
    _, result = await run_through(typed(Wide).run(), *ANSWERS)
    assert result["reasoning"] == REASONING


async def test_outside_of_a_workflow_it_says_so():
    with pytest.raises(ConfigurationError, match="step of a LlamaIndex workflow"):
        await model().achat(HELLO)
    with pytest.raises(ConfigurationError, match="await achat"):
        model().chat(HELLO)


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
            result = told(await self.llm.achat(HELLO))
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


STEP = """
import asyncio, json, sys
from workflows import Context
from llama_index.llms.splitreason import QuestionEvent
from tests.test_workflow_reviewer import Chat, answer

path, given = sys.argv[1], json.loads(sys.argv[2])

async def main():
    flow = Chat()
    if given is None:
        handler = flow.run()
    else:
        saved = json.load(open(path))
        handler = flow.run(ctx=Context.from_dict(flow, saved["context"]))
        handler.ctx.send_event(answer(QuestionEvent(**saved["question"]), given))
    told = {}
    async for event in handler.stream_events():
        if isinstance(event, QuestionEvent):
            told["question"] = event.id
            saved = {"context": handler.ctx.to_dict(), "question": event.model_dump()}
            json.dump(saved, open(path, "w"))
            break
    else:
        told |= await handler
    told["written"] = [flow.llm.small.written, flow.llm.large.written]
    print(json.dumps(told), flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.mark.timeout(300)
def test_processes_killed_between_the_questions(tmp_path):
    path = tmp_path / "context.json"
    steps = [told_and_killed(start(STEP, path, json.dumps(given))) for given in (None, *ANSWERS)]
    assert len({one["question"] for one in steps[:-1]}) == 3
    assert steps[-1]["reasoning"] == REASONING
    small, large = (sum(one["written"][at] for one in steps) for at in (0, 1))
    assert {"small": small, "large": large} == steps[-1]["tokens"]
