"""One and the same request: every channel of both frameworks shows each offload event once."""

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step
from pydantic import Field

from langchain_splitreason import SplitReasonLLM as LangChainLLM
from llama_index.llms.splitreason import OffloadEvent, OffloadStreamEvent
from llama_index.llms.splitreason import SplitReasonLLM as LlamaIndexLLM
from splitreason_integrations import Request, SplitEngine
from splitreason_integrations.events import Event
from splitreason_integrations.records import Completion
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import LARGE, SMALL, Heard, HeardLater, joined

QUESTION = "How much?"


class Notes(BaseEventHandler):
    """Keeps the offload events of LlamaIndex's instrumentation."""

    events: list = Field(default_factory=list)

    def handle(self, event, **kwargs):
        if isinstance(event, OffloadEvent):
            self.events.append(event)


class Spans(BaseSpanHandler[BaseSpan]):
    """Keeps the ids of all spans that were opened."""

    ids: list = Field(default_factory=list)

    def new_span(self, id_, bound_args, instance=None, parent_span_id=None, tags=None, **kwargs):
        self.ids.append(id_)

    def prepare_to_exit_span(self, id_, *args, **kwargs):
        return None

    def prepare_to_drop_span(self, id_, *args, **kwargs):
        return None


@pytest.fixture
def noted():
    dispatcher, notes, spans = get_dispatcher(), Notes(), Spans()
    dispatcher.add_event_handler(notes)
    dispatcher.add_span_handler(spans)
    yield notes, spans
    dispatcher.event_handlers.remove(notes)
    dispatcher.span_handlers.remove(spans)


def settings():
    return {"small": ScriptedModel(SMALL), "large": ScriptedModel(LARGE), "seed": 1}


def steady(events):
    """Return names and facts of (name, data) pairs without what differs from run to run."""
    return [
        (name, {k: v for k, v in data.items() if k not in ("request_id", "latency_s")})
        for name, data in events
    ]


@pytest.fixture
async def reported():
    """Return what the engine itself tells."""
    options = settings()
    engine = SplitEngine(small=options["small"], large=options["large"])
    request = Request(messages=[{"role": "user", "content": QUESTION}], seed=1)
    items = [item async for item in engine.stream(request)]
    (completion,) = [item for item in items if isinstance(item, Completion)]
    events = [(item.name, item.data()) for item in items if isinstance(item, Event)]
    check_joined(events, completion.facts())
    assert len(events) == 6
    return steady(events)


def check_joined(events, facts):
    """Make sure that the reply's id and its spans are those of the events."""
    assert {data["request_id"] for _, data in events} == {facts["request_id"]}
    for number, span in enumerate(facts["spans"]):
        own = [data for _, data in events if data["span"] == number]
        assert len(own) == 3
        assert {data["start_token"] for data in own} == {span["start_token"]}
        assert own[-1]["text"] == span["text"]


def graph(model):
    async def call(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("chat", call)
    builder.add_edge(START, "chat")
    builder.add_edge("chat", END)
    return builder.compile()


async def test_astream_events_and_handlers(reported):
    model, heard, later = LangChainLLM(**settings()), Heard(), HeardLater()
    stream = model.astream_events(QUESTION, {"callbacks": [heard, later]}, version="v2")
    seen = [event async for event in stream]
    custom = [event for event in seen if event["event"] == "on_custom_event"]
    shown = [(event["name"], event["data"]) for event in custom]
    (ended,) = [event for event in seen if event["event"] == "on_chat_model_end"]
    assert steady(shown) == reported
    assert [(name, data) for name, data, _ in heard.events] == shown
    assert later.names == [name for name, _ in shown]
    check_joined(shown, ended["data"]["output"].response_metadata["splitreason"])
    assert {event["run_id"] for event in custom} == {ended["run_id"]}
    assert {parent for *_, parent, _ in heard.spans} == set(heard.runs)
    assert ended["run_id"] == str(heard.runs[0])
    assert [facts["splitreason_span"] for *_, facts in heard.spans] == [0, 1]


async def test_messages_and_custom_of_a_graph_in_one_stream(reported):
    model, heard = LangChainLLM(**settings()), Heard()
    parts = [
        part
        async for part in graph(model).astream(
            {"messages": [HumanMessage(QUESTION)]},
            {"callbacks": [heard]},
            stream_mode=["messages", "custom"],
        )
    ]
    shown = [(part["name"], part["data"]) for mode, part in parts if mode == "custom"]
    reply = joined([part[0] for mode, part in parts if mode == "messages"])
    assert steady(shown) == reported
    assert [(name, data) for name, data, _ in heard.events] == shown
    check_joined(shown, reply.response_metadata["splitreason"])
    assert {str(run_id) for *_, run_id in heard.events} == {reply.id.removeprefix("lc_run--")}


async def test_events_stand_in_the_stream_where_they_happened(reported):
    """Between the last text of one author and the first of the other."""
    state = {"messages": [HumanMessage(QUESTION)]}
    stream = graph(LangChainLLM(**settings())).astream(state, stream_mode=["messages", "custom"])
    authors, log = [], []
    async for mode, part in stream:
        if mode == "custom":
            log.append((part["name"].rpartition(".")[2], authors[-1]))
        else:
            authors += [one["type"] for one in part[0].additional_kwargs.get("authors", [])]
    assert log == [("requested", "small"), ("started", "small"), ("finished", "large")] * 2


async def test_instrumentation_handlers(reported, noted):
    notes, spans = noted
    reply = await LlamaIndexLLM(**settings()).achat([ChatMessage(role="user", content=QUESTION)])
    shown = [(event.name, event.data) for event in notes.events]
    assert steady(shown) == reported
    check_joined(shown, reply.raw["splitreason"])
    (span_id,) = {event.span_id for event in notes.events}
    assert span_id in spans.ids


# LlamaIndex's workflows look at every attribute of an agent, deprecated ones included.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_the_stream_of_an_agent_and_instrumentation(reported, noted):
    notes, spans = noted
    running = FunctionAgent(tools=[], llm=LlamaIndexLLM(**settings())).run(QUESTION)
    seen = [event async for event in running.stream_events()]
    shown = [(e.name, e.data) for e in seen if isinstance(e, OffloadStreamEvent)]
    result = await running
    assert steady(shown) == reported
    assert [(event.name, event.data) for event in notes.events] == shown
    check_joined(shown, result.raw["splitreason"])
    assert {event.span_id for event in notes.events} <= set(spans.ids)


class Asking(Workflow):
    """A workflow of one's own, with the model called in all ways that a step can call it."""

    @step
    async def ask(self, ev: StartEvent) -> StopEvent:
        llm, messages = LlamaIndexLLM(**settings()), [ChatMessage(role="user", content=QUESTION)]
        if ev.door == "blocking":
            return StopEvent(result=llm.chat(messages).raw)
        if ev.door == "streaming":
            stream = await llm.astream_chat(messages)
            return StopEvent(result=[one async for one in stream][-1].raw)
        return StopEvent(result=(await llm.achat(messages)).raw)


@pytest.mark.parametrize("door", ["blocking", "streaming", "waiting"])
async def test_the_stream_of_a_workflow(reported, door):
    running = Asking().run(door=door)
    seen = [event async for event in running.stream_events()]
    shown = [(e.name, e.data) for e in seen if isinstance(e, OffloadStreamEvent)]
    assert steady(shown) == reported
    check_joined(shown, (await running)["splitreason"])


class AskingInAThread(Workflow):
    """A synchronous step, which LlamaIndex runs in a thread."""

    @step
    def ask(self, ev: StartEvent) -> StopEvent:
        llm = LlamaIndexLLM(**settings())
        return StopEvent(result=llm.chat([ChatMessage(role="user", content=QUESTION)]).raw)


async def test_a_synchronous_step_reports_to_instrumentation_alone(reported, noted):
    running = AskingInAThread().run()
    seen = [event async for event in running.stream_events()]
    assert not [event for event in seen if isinstance(event, OffloadStreamEvent)]
    shown = [(event.name, event.data) for event in noted[0].events]
    assert steady(shown) == reported
    check_joined(shown, (await running)["splitreason"])
