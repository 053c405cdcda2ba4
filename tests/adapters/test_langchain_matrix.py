"""What LangChain does with a chat model, one row each, on scripted models and the embedded pair."""

import asyncio
from uuid import UUID

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.callbacks import UsageMetadataCallbackHandler, get_usage_metadata_callback
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.messages import (
    AIMessage,
    HumanMessage,
    SystemMessage,
    trim_messages,
)
from langchain_core.output_parsers import (
    JsonOutputParser,
    PydanticOutputParser,
    StrOutputParser,
)
from langchain_core.prompts import (
    ChatPromptTemplate,
    HumanMessagePromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
)
from langchain_core.runnables import (
    ConfigurableField,
    RunnableLambda,
    RunnablePassthrough,
    RunnableSequence,
)
from langchain_core.runnables.base import RunnableBinding
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tracers import LangChainTracer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel, Field

from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import Telemetry
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import add, joined
from tests.adapters.langchain_matrix import (
    FOREIGN,
    Broken,
    authors_of,
    check,
    scripted,
)
from tests.adapters.scripted_replies import Replies

MIA = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)
TOM = (
    "Tom makes 38 lamps a day for 64 days. Then Tom sells 540 lamps. "
    "How many lamps does Tom have now?"
)


# Making a model


def test_init_chat_model_has_a_list_of_its_own():
    """It builds the providers that it lists; a pair is given as an object instead."""
    with pytest.raises(ValueError, match="Unable to infer model provider"):
        init_chat_model("splitreason:embedded")
    with pytest.raises(ValueError, match="Unsupported provider='splitreason'"):
        init_chat_model("embedded", model_provider="splitreason")


def test_a_configurable_pair_is_what_init_chat_model_would_make():
    small = ScriptedModel(Replies(depot="12 boxes"), name="little")
    other = GenericFakeChatModel(messages=iter([AIMessage("no idea")]))
    model = scripted(Replies(depot="12 boxes")).configurable_fields(
        small=ConfigurableField("small"), max_tokens=ConfigurableField("length")
    )
    chosen = model.configurable_alternatives(ConfigurableField("model"), fake=other)
    assert chosen.invoke("The depot?").content == "12 boxes"
    assert chosen.invoke("The depot?", {"configurable": {"model": "fake"}}).content == "no idea"
    cut = chosen.invoke("The depot?", {"configurable": {"length": 3}})
    assert cut.usage_metadata["output_tokens"] == 3
    check(model.invoke("The depot?", {"configurable": {"small": small}}), "12 boxes")


# Fallbacks and retries


class Down(GenericFakeChatModel):
    """Another provider's model, out of order."""

    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=tools)

    def _generate(self, *args, **kwargs):
        raise ConnectionError("down")


async def test_a_pair_as_a_fallback_in_mid_thread():
    replies = Replies(**{"12": "12 boxes"})
    ours = scripted(replies).bind_tools([add])
    down = Down(messages=iter([])).bind_tools([add])
    model = down.with_fallbacks([ours])
    check(model.invoke(FOREIGN), "12 boxes")
    check(await model.ainvoke(FOREIGN), "12 boxes")
    check(joined(list(model.stream(FOREIGN))), "12 boxes")
    _, said, result = replies.asked[0]
    assert (said["content"], said["reasoning_content"]) == ("Let me add.", "I add.")
    assert said["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 5, "b": 7}}
    assert (result["content"], result["tool_call_id"]) == ("12", "toolu_1")


def test_a_pair_as_the_first_of_fallbacks():
    other = GenericFakeChatModel(messages=iter([AIMessage("12, I think")]))
    small = Broken(Replies(depot="12 boxes"), times=1)
    first = SplitReasonLLM(small=small, large=ScriptedModel(" it is.</bigmodel>"), seed=1)
    chain = ChatPromptTemplate.from_template("The {place}?") | first.with_fallbacks([other])
    assert chain.invoke({"place": "depot"}).content == "12, I think"
    check(chain.invoke({"place": "depot"}), "12 boxes")
    assert small.asked == 2


def test_with_retry():
    small = Broken(Replies(depot="12 boxes"), times=2)
    llm = SplitReasonLLM(small=small, large=ScriptedModel(" it is.</bigmodel>"), seed=1)
    model = llm.with_retry(wait_exponential_jitter=False, stop_after_attempt=3)
    check(model.invoke("The depot?"), "12 boxes")
    assert small.asked == 3


# Chains


class Stock(BaseModel):
    """What a place has."""

    place: str
    boxes: int = Field(ge=0, le=99)


STOCK = Stock(place="shop", boxes=30)


async def test_chains_with_parsers():
    llm = scripted(Replies(depot="12 boxes", shop=f"```json\n{STOCK.model_dump_json()}\n```"))
    prompt = ChatPromptTemplate.from_messages([("human", "The {place}?")])
    text = prompt | llm | StrOutputParser()
    assert text.invoke({"place": "depot"}) == "12 boxes"
    assert "".join(text.stream({"place": "depot"})) == "12 boxes"
    assert await text.abatch([{"place": "depot"}] * 2) == ["12 boxes"] * 2
    typed = prompt | llm | PydanticOutputParser(pydantic_object=Stock)
    assert typed.invoke({"place": "shop"}) == STOCK
    growing = prompt | llm | JsonOutputParser()
    parts = [part async for part in growing.astream({"place": "shop"})]
    assert parts[-1] == STOCK.model_dump()
    assert len(parts) > 2
    both = RunnablePassthrough.assign(answer=text, twice=text | RunnableLambda(lambda one: 2 * one))
    done = {"place": "depot", "answer": "12 boxes", "twice": "12 boxes12 boxes"}
    assert await both.ainvoke({"place": "depot"}) == done


def test_a_chain_on_the_embedded_pair():
    chain = ChatPromptTemplate.from_template("{question}") | SplitReasonLLM(seed=1)
    done = chain.invoke({"question": MIA})
    assert done.content == "Mia has 1069 cards now."
    authors = authors_of(done)
    assert {who for who, _, text in authors if "1081" in text} == {"small", "large"}
    assert authors[-1] == ("small", "answer", done.content)


def test_trimmed_messages_in_a_chain():
    replies = Replies(shop="30 boxes")
    llm = scripted(replies)
    history = [
        SystemMessage("Be brief."),
        HumanMessage("How many boxes has the depot?"),
        AIMessage("The depot has 12 boxes, counted on Monday."),
        HumanMessage("And the shop?"),
    ]
    kept = [history[0], history[-1]]
    count = llm.get_num_tokens_from_messages
    trim = trim_messages(
        max_tokens=sum(count([message]) for message in kept),
        token_counter=llm,
        strategy="last",
        start_on="human",
        include_system=True,
    )
    done = (trim | llm).invoke(history)
    check(done, "30 boxes")
    assert [message["content"] for message in replies.asked[0]] == ["Be brief.", "And the shop?"]
    assert done.usage_metadata["input_tokens"] == count(kept)


# Deprecated for LangGraph's persistence, and still in wide use.
@pytest.mark.filterwarnings("ignore::langchain_core._api.deprecation.LangChainDeprecationWarning")
async def test_runnables_with_message_history():
    def remembering(messages, tools):
        said = " | ".join(one["content"] for one in messages if one["role"] == "user")
        return f"So:<bigmodel> Done.</think>\n\n{said}"

    kept = {}
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("past"), ("human", "{ask}")])
    chain = RunnableWithMessageHistory(
        prompt | scripted(remembering),
        lambda session_id: kept.setdefault(session_id, InMemoryChatMessageHistory()),
        input_messages_key="ask",
        history_messages_key="past",
    )
    session = {"configurable": {"session_id": "a"}}
    check(chain.invoke({"ask": "The depot?"}, session), "The depot?")
    check(await chain.ainvoke({"ask": "The shop?"}, session), "The depot? | The shop?")
    streamed = joined(list(chain.stream({"ask": "Sure?"}, session)))
    check(streamed, "The depot? | The shop? | Sure?")
    last = chain.invoke({"ask": "All?"}, session)
    check(last, "The depot? | The shop? | Sure? | All?")
    assert len(kept["a"].messages) == 8
    other = {"configurable": {"session_id": "b"}}
    check(chain.invoke({"ask": "The farm?"}, other), "The farm?")


async def test_astream_events():
    chain = ChatPromptTemplate.from_template("The {place}?") | scripted(Replies(depot="12 boxes"))
    events = [one async for one in chain.astream_events({"place": "depot"}, version="v2")]
    streamed = [one for one in events if one["event"] == "on_chat_model_stream"]
    assert "".join(one["data"]["chunk"].content for one in streamed) == "12 boxes"
    (end,) = [one for one in events if one["event"] == "on_chat_model_end"]
    check(end["data"]["output"], "12 boxes")
    ours = [one for one in events if one["event"] == "on_custom_event"]
    assert [one["name"].rpartition(".")[2] for one in ours] == ["requested", "started", "finished"]
    assert {one["run_id"] for one in ours} == {end["run_id"]}


async def test_abatch_as_completed():
    async def delayed(place):
        await asyncio.sleep({"depot": 0.3, "shop": 0.0}[place])
        return f"The {place}?"

    chain = RunnableLambda(delayed) | scripted(Replies(depot="12 boxes", shop="30 boxes"))
    found = [one async for one in chain.abatch_as_completed(["depot", "shop"])]
    assert [(at, reply.content) for at, reply in found] == [(1, "30 boxes"), (0, "12 boxes")]
    for _, reply in found:
        check(reply, reply.content)
    sync = dict(
        scripted(Replies(depot="12 boxes", shop="30 boxes")).batch_as_completed(
            ["The depot?", "The shop?"], {"max_concurrency": 1}
        )
    )
    assert [sync[at].content for at in (0, 1)] == ["12 boxes", "30 boxes"]


# Watching


async def test_usage_callbacks():
    handler = UsageMetadataCallbackHandler()
    llm = scripted(Replies(depot="12 boxes"))
    with get_usage_metadata_callback() as around:
        first = llm.invoke("The depot?", {"callbacks": [handler]})
        second = await llm.ainvoke("The depot?", {"callbacks": [handler]})
        streamed = joined(list(llm.stream("The depot?", {"callbacks": [handler]})))
        several = llm.batch(["The depot?"] * 2, {"callbacks": [handler]})
    replies = [first, second, streamed, *several]
    assert around.usage_metadata == handler.usage_metadata
    (counted,) = handler.usage_metadata.values()
    assert list(handler.usage_metadata) == ["splitreason/little+big"]
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert counted[name] == sum(one.usage_metadata[name] for one in replies)
    large = sum(one.usage_metadata["output_token_details"]["large"] for one in replies)
    assert counted["output_token_details"]["large"] == large


class Recorder:
    """LangSmith's client, as far as its tracer uses it; keeps runs in place of sending them."""

    tracing_queue = None

    def __init__(self):
        self.made, self.ended = {}, {}

    def create_run(self, **run):
        self.made[run["id"]] = run

    def update_run(self, run_id, **run):
        self.ended[run_id] = run


@pytest.mark.parametrize("door", ["invoke", "ainvoke", "stream", "astream"])
async def test_langsmiths_tracer(door):
    client = Recorder()
    tracer = LangChainTracer(project_name="boxes", client=client)
    chain = ChatPromptTemplate.from_template("The {place}?") | scripted(
        Replies(depot="12 boxes"), temperature=0.5
    )
    given = {"place": "depot"}, {"callbacks": [tracer], "tags": ["counted"]}
    match door:
        case "invoke":
            reply = chain.invoke(*given)
        case "ainvoke":
            reply = await chain.ainvoke(*given)
        case "stream":
            reply = joined(list(chain.stream(*given)))
        case _:
            reply = joined([chunk async for chunk in chain.astream(*given)])
    check(reply, "12 boxes")
    runs = list(client.made.values())
    root, _, model, span = runs
    assert [one["run_type"] for one in runs] == ["chain", "prompt", "llm", "llm"]
    assert (model["parent_run_id"], span["parent_run_id"]) == (root["id"], model["id"])
    assert isinstance(root["id"], UUID)
    metadata = model["extra"]["metadata"]
    assert (metadata["ls_provider"], metadata["ls_temperature"]) == ("splitreason", 0.5)
    assert metadata["ls_model_name"] == "splitreason/little+big"
    assert "counted" in model["tags"]
    done = client.ended[model["id"]]
    message = done["outputs"]["generations"][0][0]["message"]["kwargs"]
    assert message["usage_metadata"] == reply.usage_metadata
    assert message["additional_kwargs"]["authors"] == reply.additional_kwargs["authors"]
    assert client.ended[span["id"]]["outputs"]["generations"][0][0]["text"] == " it is."
    assert not any(one.get("error") for one in client.ended.values())


def test_opentelemetrys_tracer():
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    llm = scripted(Replies(depot="12 boxes"), telemetry=Telemetry(tracer_provider=tracers))
    chain = ChatPromptTemplate.from_template("The {place}?") | llm | StrOutputParser()
    with tracers.get_tracer("app").start_as_current_span("work") as work:
        assert chain.invoke({"place": "depot"}) == "12 boxes"
        reply = llm.invoke("The depot?")
    spans = [one for one in exporter.get_finished_spans() if one.name.startswith("chat ")]
    assert [one.name for one in spans] == ["chat splitreason/little+big"] * 2
    assert {one.parent.span_id for one in spans} == {work.get_span_context().span_id}
    assert [one.attributes["gen_ai.usage.output_tokens"] for one in spans] == [
        reply.usage_metadata["output_tokens"]
    ] * 2


# Writing down


# LangChain calls its `loads` a beta.
@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_dumps_and_loads():
    parts = [SplitReasonLLM, RunnableSequence, RunnableBinding]
    parts += [ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate]
    allowed = {"allowed_objects": parts, "valid_namespaces": ["langchain_splitreason"]}
    llm = SplitReasonLLM(seed=1, trigger="tag>0.4", max_tokens=400)
    again = loads(dumps(llm), **allowed)
    assert (again, again.invoke(MIA).content) == (llm, "Mia has 1069 cards now.")
    chain = ChatPromptTemplate.from_template("{question}") | llm.bind(stop=["now"])
    back = load(dumpd(chain), **allowed)
    assert back.invoke({"question": MIA}).content == "Mia has 1069 cards"
    reply = scripted(Replies(depot="12 boxes")).invoke("The depot?")
    kept = loads(dumps(reply), allowed_objects="messages")
    assert kept == reply
    check(kept, "12 boxes")
