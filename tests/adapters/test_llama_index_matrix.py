"""What LlamaIndex does with an LLM, one row each, on scripted models and on the embedded pair."""

import asyncio
import json
import os
import subprocess
import sys

import pytest
from llama_index.core import (
    Document,
    PropertyGraphIndex,
    SummaryIndex,
    VectorStoreIndex,
)
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import (
    CallbackManager,
    CBEventType,
    EventPayload,
    LlamaDebugHandler,
    TokenCountingHandler,
)
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.evaluation import (
    AnswerRelevancyEvaluator,
    CorrectnessEvaluator,
    FaithfulnessEvaluator,
    RelevancyEvaluator,
)
from llama_index.core.extractors import TitleExtractor
from llama_index.core.indices.property_graph import SchemaLLMPathExtractor, SimpleLLMPathExtractor
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.memory import ChatMemoryBuffer, FactExtractionMemoryBlock, Memory
from llama_index.core.prompts import PromptTemplate
from llama_index.core.query_engine import RouterQueryEngine, SubQuestionQueryEngine
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool
from llama_index.core.workflow import Context, JsonSerializer
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import create_async_engine

from llama_index.llms.splitreason import OffloadEvent, SplitReasonLLM
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.scripted_replies import Replies
from tests.limits import HANGS_S

pytestmark = [
    # LlamaIndex's workflows look at every attribute of an agent, deprecated ones included.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step:DeprecationWarning"),
]

FACTS = ["The depot has 12 boxes.", "The shop has 30 boxes."]
EMBEDDING = MockEmbedding(embed_dim=2)


def scripted(replies, **options):
    large = ScriptedModel(" it is.</bigmodel>", name="big")
    return SplitReasonLLM(
        small=ScriptedModel(replies, name="little"), large=large, **{"seed": 1, **options}
    )


AUTHORS = [("small", "So:"), ("large", " it is."), ("small", " Done.")]
"""Who wrote the reasoning of each reply; the small model's answer or call follows."""


def check_authors(raw):
    *first, last = raw["authors"]
    assert [(one["type"], one["text"]) for one in first] == AUTHORS
    assert {one["channel"] for one in first} == {"reasoning"}
    assert (last["type"], last["channel"] in ("answer", "tool_call")) == ("small", True)


class Ends(BaseEventHandler):
    """Notes the LLM's events."""

    seen: list = Field(default_factory=list)

    def handle(self, event, **kwargs):
        if isinstance(event, LLMChatStartEvent | LLMChatEndEvent | OffloadEvent):
            self.seen.append(event)


@pytest.fixture
def ends():
    handler, dispatcher = Ends(), get_dispatcher()
    dispatcher.add_event_handler(handler)
    yield handler
    dispatcher.event_handlers.remove(handler)


def titled(messages, tools):
    """Name the process that writes, and the document."""
    which = "depot" if "depot" in messages[-1]["content"] else "shop"
    return f"So:<bigmodel></think>\n\n{which} {os.getpid()}"


def test_ingestion_with_worker_processes():
    llm = scripted(titled)

    extractor = TitleExtractor(llm=llm, nodes=1, node_template="{context_str}", num_workers=1)
    pipeline = IngestionPipeline(transformations=[extractor], disable_cache=True)
    nodes = pipeline.run(documents=[Document(text=fact) for fact in FACTS], num_workers=2)
    titles = {node.text: node.metadata["document_title"].split() for node in nodes}
    assert [titles[fact][0] for fact in FACTS] == ["depot", "shop"]
    assert str(os.getpid()) not in {number for _, number in titles.values()}


PEOPLE = {
    "triplets": [
        {
            "subject": {"type": "PERSON", "name": "Ada"},
            "relation": {"type": "WORKED_AT"},
            "object": {"type": "ORGANIZATION", "name": "Acme"},
        }
    ]
}


def test_a_property_graph():
    replies = Replies(**{"knowledge_triplets": "(Ada, knows, Bob)", "": json.dumps(PEOPLE)})
    llm = scripted(replies)
    schema = SchemaLLMPathExtractor(llm=llm, num_workers=1, strict=False, raise_on_error=True)
    simple = SimpleLLMPathExtractor(llm=llm, num_workers=1, raise_on_error=True)
    index = PropertyGraphIndex.from_documents(
        [Document(text="Ada works at Acme and knows Bob.")],
        llm=llm,
        kg_extractors=[simple, schema],
        embed_kg_nodes=False,
    )
    triplets = index.property_graph_store.get_triplets(entity_names=["Ada", "Acme"])
    said = {(subject.name, relation.label, other.name) for subject, relation, other in triplets}
    assert said == {("Ada", "Knows", "Bob"), ("Ada", "WORKED_AT", "Acme")}
    assert len(replies.asked) == 2


def test_evaluators():
    replies = Replies(
        supported_by_the_context="YES",
        in_line_with_the_context="NO",
        reference_answer="4.5\nAlmost right.",
        Your_task_is_to_evaluate="Fine.\n[RESULT] 2",
    )
    llm = scripted(replies)
    given = {"query": "How many?", "response": "12", "contexts": [FACTS[0]]}
    relevant = AnswerRelevancyEvaluator(llm=llm).evaluate(**given)
    assert (relevant.score, relevant.feedback) == (1.0, "Fine.\n[RESULT] 2")
    correct = CorrectnessEvaluator(llm=llm).evaluate(reference="13", **given)
    assert (correct.score, correct.passing, correct.feedback) == (4.5, True, "Almost right.")
    faithful = FaithfulnessEvaluator(llm=llm).evaluate(**given)
    assert (faithful.passing, faithful.score) == (True, 1.0)
    in_line = RelevancyEvaluator(llm=llm).evaluate(**given)
    assert (in_line.passing, in_line.score) == (False, 0.0)


def engines(llm):
    """A query engine for each fact, as tools."""
    return [
        QueryEngineTool.from_defaults(
            SummaryIndex.from_documents([Document(text=fact)]).as_query_engine(llm),
            name=name,
            description=f"The boxes of the {name}.",
        )
        for name, fact in zip(("depot", "shop"), FACTS, strict=True)
    ]


def test_sub_questions():
    plan = [
        {"sub_question": "How many in the depot?", "tool_name": "depot"},
        {"sub_question": "How many in the shop?", "tool_name": "shop"},
    ]
    replies = Replies(
        **{
            "user_question": f"```json\n{json.dumps({'items': plan})}\n```",
            "Sub_question": "42 boxes",
            FACTS[0]: "12 boxes",
            FACTS[1]: "30 boxes",
        }
    )
    llm = scripted(replies)
    engine = SubQuestionQueryEngine.from_defaults(
        engines(llm),
        llm=llm,
        question_gen=LLMQuestionGenerator.from_defaults(llm=llm),
        use_async=False,
        verbose=False,
    )
    response = engine.query("How many boxes are there?")
    assert str(response) == "42 boxes"
    said = replies.asked[-1][-1]["content"]
    assert "Response: 12 boxes" in said
    assert "Response: 30 boxes" in said
    assert len(replies.asked) == 4


def test_a_router_query_engine():
    choice = '[{"choice": 2, "reason": "It is about the shop."}]'
    replies = Replies(**{"choices": choice, FACTS[0]: "12 boxes", FACTS[1]: "30 boxes"})
    llm = scripted(replies)
    selector = LLMSingleSelector.from_defaults(llm=llm)
    router = RouterQueryEngine.from_defaults(engines(llm), llm=llm, selector=selector)
    response = router.query("How many boxes has the shop?")
    assert str(response) == "30 boxes"
    (selection,) = response.metadata["selector_result"].selections
    assert (selection.index, selection.reason) == (1, "It is about the shop.")


async def test_memory_blocks():
    replies = Replies(fact_extraction="<facts><fact>Mia has 12 boxes</fact></facts>", How_many="12")
    llm = scripted(replies)
    database = create_async_engine("sqlite+aiosqlite:///:memory:")
    facts = FactExtractionMemoryBlock(llm=llm)
    memory = Memory.from_defaults(
        session_id="a",
        token_limit=40,
        chat_history_token_ratio=0.5,
        token_flush_size=20,
        memory_blocks=[facts],
        async_engine=database,
    )
    for number in range(4):
        await memory.aput(ChatMessage(role="user", content=f"Note {number}: Mia has 12 boxes."))
        await memory.aput(ChatMessage(role="assistant", content="Noted, I will keep it in mind."))
    assert facts.facts == ["Mia has 12 boxes"]
    reply = await llm.achat([*await memory.aget(), ChatMessage(role="user", content="How many?")])
    assert reply.message.content == "12"
    assert "<fact>Mia has 12 boxes</fact>" in replies.asked[-1][0]["content"]
    check_authors(reply.raw)
    await database.dispose()


def calling(name, **arguments):
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>"


def noted(note: str) -> str:
    """Keep a note."""
    return f"kept: {note}"


async def test_agents_hand_over_to_each_other():
    asked = []

    def count(messages, tools):
        asked.append((messages[0]["content"], [tool["function"]["name"] for tool in tools or ()]))
        if messages[0]["content"] == "You write.":
            return "So:<bigmodel> Done.</think>\n\nThe shop has 30 boxes."
        if messages[-1]["role"] == "tool":
            return "</think>\n\n" + calling("handoff", to_agent="writer", reason="It is counted.")
        return "</think>\n\n" + calling("noted", note="30")

    llm = scripted(count)
    counter = FunctionAgent(
        name="counter", description="Counts.", system_prompt="You count.", tools=[noted], llm=llm
    )
    writer = FunctionAgent(
        name="writer", description="Writes.", system_prompt="You write.", tools=[], llm=llm
    )
    workflow = AgentWorkflow(agents=[counter, writer], root_agent="counter")
    handler = workflow.run("How many boxes has the shop?")
    result = await handler
    assert str(result) == "The shop has 30 boxes."
    assert result.current_agent_name == "writer"
    check_authors(result.raw)
    assert [name for name, _ in asked] == ["You count.", "You count.", "You write."]
    assert asked[0][1] == ["noted", "handoff"]


def remembering(messages, tools):
    """Say what the user said before."""
    said = [message["content"] for message in messages if message["role"] == "user"]
    return f"So:<bigmodel> Done.</think>\n\n{' | '.join(said)}"


RESTORED = """
import asyncio, json, sys
from llama_index.core.workflow import Context, JsonSerializer
from tests.adapters.test_llama_index_matrix import memory_of, remembering_agent

async def main():
    agent = remembering_agent()
    saved, said = json.load(sys.stdin)
    context = Context.from_dict(agent, saved, serializer=JsonSerializer())
    llm = await context.store.get("llm")
    result = await agent.run("And the shop?", ctx=context, memory=memory_of(said))
    print(json.dumps([str(result), result.raw["authors"], str(llm.trigger), llm.seed]))

asyncio.run(main())
"""


def remembering_agent():
    return FunctionAgent(tools=[noted], llm=scripted(remembering))


def memory_of(said):
    history = [ChatMessage.model_validate(message) for message in said]
    return ChatMemoryBuffer.from_defaults(chat_history=history, token_limit=1000)


# LlamaIndex leaves an agent's memory out of what it saves, and says so.
@pytest.mark.filterwarnings("ignore::workflows.context.state_store.UnserializableKeyWarning")
async def test_a_context_goes_on_in_a_new_process():
    agent, memory = remembering_agent(), memory_of([])
    context = Context(agent)
    await context.store.set("llm", SplitReasonLLM(trigger="tag>0.4", seed=5))
    await agent.run("The depot?", ctx=context, memory=memory)
    saved = context.to_dict(serializer=JsonSerializer())
    said = [message.model_dump(mode="json") for message in memory.get_all()]
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "ignore", "-c", RESTORED],
        input=json.dumps([saved, said]),
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=True,
    )
    answer, authors, trigger, seed = json.loads(run.stdout)
    assert answer == "The depot? | And the shop?"
    check_authors({"authors": authors})
    assert (trigger, seed) == ("tag>0.4", 5)


FARMS = [
    "The farm of Nina has 47 crates. Each crate in the farm of Nina holds 23 eggs.",
    "The farm of Paul has 12 crates. Each crate in the farm of Paul holds 81 eggs.",
]


def test_a_query_engine_streams(ends):
    """The embedded pair multiplies what it reads."""
    llm = SplitReasonLLM(seed=1)
    index = SummaryIndex.from_documents([Document(text=farm) for farm in FARMS])
    engine = index.as_query_engine(llm, streaming=True)
    pieces = list(engine.query("How many eggs are in the farm of Nina?").response_gen)
    assert "".join(pieces) == "There are 1081 eggs in the farm of Nina."
    assert len(pieces) > 3
    raw = ends.seen[-1].response.raw
    assert [span["text"].strip() for span in raw["splitreason"]["spans"]] == ["940+141 = 1081"]
    assert {one["type"] for one in raw["authors"] if "1081" in one["text"]} == {"small", "large"}


class Stock(BaseModel):
    place: str = Field(max_length=10)
    boxes: int = Field(ge=0, le=99)


STOCK = Stock(place="shop", boxes=30)


async def test_structured_prediction():
    llm = scripted(Replies(shop=STOCK.model_dump_json()))
    prompt = PromptTemplate("How many boxes has the {place}?")
    assert llm.structured_predict(Stock, prompt, place="shop") == STOCK
    assert await llm.astructured_predict(Stock, prompt, place="shop") == STOCK
    streamed = list(llm.stream_structured_predict(Stock, prompt, place="shop"))
    growing = await llm.astream_structured_predict(Stock, prompt, place="shop")
    assert [one async for one in growing][-1] == streamed[-1] == STOCK
    assert len(streamed) > 3
    typed = llm.as_structured_llm(Stock)
    reply = typed.chat([ChatMessage(role="user", content="And the shop?")])
    assert reply.raw == STOCK
    assert (await typed.acomplete("And the shop?")).raw == STOCK


def chat_engines(llm, index):
    memory = {"memory": ChatMemoryBuffer.from_defaults(token_limit=1000), "llm": llm}
    retriever = index.as_retriever()
    return {
        "simple": lambda: SimpleChatEngine.from_defaults(**memory),
        "context": lambda: ContextChatEngine.from_defaults(retriever=retriever, **memory),
        "condense question": lambda: CondenseQuestionChatEngine.from_defaults(
            index.as_query_engine(llm), **memory
        ),
        "condense plus context": lambda: CondensePlusContextChatEngine.from_defaults(
            retriever=retriever, **memory
        ),
    }


CHAT = {"simple": 2, "context": 2, "condense question": 3, "condense plus context": 3}
"""Requests of each engine for two questions: those that condense rewrite the second one, too."""


@pytest.mark.parametrize("kind", CHAT)
def test_chat_engines(kind):
    replies = Replies(
        tandalone_question="How many boxes has the shop in all?",
        And_the_shop="30 boxes",
        shop_in_all="30 boxes",
        How_many="12 boxes",
    )
    llm = scripted(replies)
    index = VectorStoreIndex.from_documents([Document(text=FACTS[1])], embed_model=EMBEDDING)
    engine = chat_engines(llm, index)[kind]()
    assert str(engine.chat("How many boxes has the depot?")) == "12 boxes"
    streamed = engine.stream_chat("And the shop?")
    assert "".join(streamed.response_gen) == "30 boxes"
    said = [message.content for message in engine.chat_history]
    assert said == ["How many boxes has the depot?", "12 boxes", "And the shop?", "30 boxes"]
    assert len(replies.asked) == CHAT[kind]
    if kind != "simple":
        assert FACTS[1] in "\n".join(message["content"] for message in replies.asked[-1])


def test_callbacks_and_instrumentation_events(ends):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    counter = TokenCountingHandler(tokenizer=str.split)
    llm = scripted(Replies(shop="30"), callback_manager=CallbackManager([debug, counter]))
    reply = llm.chat([ChatMessage(role="user", content="The shop?")])
    ((start, end),) = debug.get_event_pairs(CBEventType.LLM)
    assert start.payload[EventPayload.SERIALIZED]["model_name"] == "splitreason/little+big"
    assert end.payload[EventPayload.RESPONSE] == reply
    assert counter.total_llm_token_count == reply.raw["usage"]["total_tokens"]
    first, *offloads, last = ends.seen
    assert isinstance(first, LLMChatStartEvent)
    assert [event.name.rpartition(".")[2] for event in offloads] == [
        "requested",
        "started",
        "finished",
    ]
    check_authors(last.response.raw)
    assert {event.span_id for event in ends.seen} == {first.span_id}
