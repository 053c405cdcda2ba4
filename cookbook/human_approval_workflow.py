"""A person approves handoffs in a LlamaIndex workflow, which waits for them as plain JSON.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
"""

import asyncio
import json

from workflows import Context, Workflow, step
from workflows.events import HumanResponseEvent, StartEvent, StopEvent
from workflows.handler import WorkflowHandler

from llama_index.llms.splitreason import QuestionEvent, SplitReasonLLM, WorkflowReviewer
from splitreason_integrations import HumanCheck

QUESTION = (
    "Mia buys 47 packs of 23 cards each. Then Mia sells 12 cards. How many cards does Mia have now?"
)


class Chat(Workflow):
    """Answers one question."""

    @step
    async def chat(self, ev: StartEvent) -> StopEvent:
        """Ask the pair."""
        llm = SplitReasonLLM(human_check=HumanCheck(reviewer=WorkflowReviewer()), seed=1)
        return StopEvent(result=await llm.acomplete(ev.question))


def person(asked: QuestionEvent) -> HumanResponseEvent:
    """Answer a question. Replace this by your own: a web page, a message to the person on duty."""
    print(f"  ask ann: may {asked.question.model} continue {asked.question.context[-24:]!r}?")
    return HumanResponseEvent(id=asked.id, response={"decision": "approve", "by": "ann"})


async def next_question(running: WorkflowHandler) -> QuestionEvent | None:
    """Return the next question; None if the workflow ends without one."""
    questions = (e async for e in running.stream_events() if isinstance(e, QuestionEvent))
    return await anext(questions, None)


async def main() -> None:
    """Run the workflow; at each question store it, and resume it as a new workflow."""
    running = Chat(timeout=None).run(question=QUESTION)
    while asked := await next_question(running):
        stored = json.dumps(running.ctx.to_dict())  # store this in a database, for days
        await running.cancel_run()
        resumed = Chat(timeout=None)
        running = resumed.run(ctx=Context.from_dict(resumed, json.loads(stored)))
        running.ctx.send_event(person(asked))
    reply = await running
    facts = reply.raw["splitreason"]
    print(reply.text)
    print(f"{facts['offload_share']:.0%} by the large model, {facts['cost_usd']:g} USD")
    for span in facts["spans"]:
        print(f"{span['text']!r}: {span['human']}")


asyncio.run(main())
