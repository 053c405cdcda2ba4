"""A person in a LlamaIndex workflow: questions in one reply, answered in other processes."""

import gc
import json

import pytest
from pydantic import BaseModel
from workflows import Context, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent

from splitreason_integrations import AskRule
from splitreason_integrations.errors import ConfigurationError
from tests.adapters.workflow_runs import (
    HELLO,
    Chat,
    ManyWorkers,
    answer,
    check_reply,
    later,
    model,
    reported,
    run_through,
    run_to_the_end,
    until_asked,
)
from tests.reviews.review_runs import (
    ANSWERS,
    REASONING,
    counting_pair,
    output_then_killed,
    start,
)


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
async def test_three_questions_in_one_reply(twice):
    flow = Chat()
    questions, result = await run_through(flow.run(), *ANSWERS, twice=twice)
    check_reply(result, flow.llm)
    assert len({question.id for question in questions}) == len(questions) == 3
    assert questions[2].question.context == "One. a b c. Two. Three."


@pytest.mark.parametrize("between", [None, later])
@pytest.mark.parametrize("make", [Chat, ManyWorkers])
async def test_restored_for_each_answer(between, make):
    flows, result = await run_to_the_end(make, ANSWERS, between)
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
            return StopEvent(result=reported(await self.llm.achat(HELLO)))

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


STEP = """
import asyncio, json, sys
from workflows import Context
from llama_index.llms.splitreason import QuestionEvent
from tests.adapters.workflow_runs import Chat, answer

path, given = sys.argv[1], json.loads(sys.argv[2])

async def main():
    flow = Chat()
    if given is None:
        handler = flow.run()
    else:
        saved = json.load(open(path))
        handler = flow.run(ctx=Context.from_dict(flow, saved["context"]))
        handler.ctx.send_event(answer(QuestionEvent(**saved["question"]), given))
    reported = {}
    async for event in handler.stream_events():
        if isinstance(event, QuestionEvent):
            reported["question"] = event.id
            saved = {"context": handler.ctx.to_dict(), "question": event.model_dump()}
            json.dump(saved, open(path, "w"))
            break
    else:
        reported |= await handler
    reported["written"] = [flow.llm.small.written, flow.llm.large.written]
    print(json.dumps(reported), flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.mark.slow
def test_processes_killed_between_the_questions(tmp_path):
    path = tmp_path / "context.json"
    steps = [output_then_killed(start(STEP, path, json.dumps(given))) for given in (None, *ANSWERS)]
    assert len({one["question"] for one in steps[:-1]}) == 3
    assert steps[-1]["reasoning"] == REASONING
    small, large = (sum(one["written"][at] for one in steps) for at in (0, 1))
    assert {"small": small, "large": large} == steps[-1]["tokens"]


CHANGES = {
    "a cap": ('\\"spans\\":1', '\\"spans\\":-5'),
    "the prompt": ('\\"content\\":\\"hi\\"', '\\"content\\":\\"ho\\"'),
    "the answer in time": ('\\"on_timeout\\":\\"refuse\\"', '\\"on_timeout\\":\\"approve\\"'),
    "the signature": ("hmac-sha256:", "hmac-sha256:0"),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
async def test_a_changed_context_is_refused(old, new):
    def make():
        llm = model()
        return Chat(type(llm)(**{**dict(llm), **counting_pair(), "pause_key": "some secret key"}))

    flow = make()
    question, saved = await until_asked(flow.run())
    old, new = (json.dumps(one)[1:-1] for one in (old, new))
    assert old in saved
    flow = make()
    handler = flow.run(ctx=Context.from_dict(flow, json.loads(saved.replace(old, new))))
    handler.ctx.send_event(answer(question, "approve"))
    with pytest.raises(ConfigurationError, match="signed"):
        await handler
    assert (flow.llm.small.written, flow.llm.large.written) == (0, 0)
