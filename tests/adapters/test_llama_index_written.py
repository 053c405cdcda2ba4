"""Plain data of the LLM: it is read as the same settings, and keys are never in it."""

import json
import pickle
from dataclasses import dataclass

import pytest
from llama_index.core.extractors import TitleExtractor
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.llms.loading import load_llm
from llama_index.core.schema import TextNode
from pydantic import BaseModel
from workflows import Context, Workflow, step
from workflows.context import JsonSerializer
from workflows.events import StartEvent, StopEvent

from llama_index.llms.splitreason import SplitReasonLLM, WorkflowReviewer
from splitreason_integrations import (
    AskRule,
    AuditLog,
    HumanCheck,
    LatencyModel,
    ModelTerms,
    OpenAIServerModel,
    Policy,
    Prices,
    Retry,
    ReviewQueue,
    Rule,
    Tag,
    Telemetry,
    TransformersModel,
    Trigger,
    VLLMModel,
)
from splitreason_integrations.options import OPTIONS
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.test_llama_index import ASK, scripted

KEY = "sk-1234567890"
SERVER = OpenAIServerModel(
    "http://127.0.0.1:1/v1", "large", dialect="prefix", prices=Prices(1, 2), tokenizer="t"
)
LOCAL = TransformersModel("folder", hint="Be brief.", chat_template_kwargs={"effort": "low"})
VLLM = VLLMModel("folder", devices=(1, 0), tensor_parallel=2, engine={"quantization": "fp8"})
POLICY = Policy(
    max_usd=0.5,
    max_span_tokens=None,
    ask_before=AskRule(pattern="x"),
    rules=(Rule(when={"a": "none"}, set={"max_span_tokens": 9, "max_usd": None}),),
    models={"large": ModelTerms(latency=LatencyModel(0.1, 50.0))},
)
CHECK = HumanCheck(
    reviewer=WorkflowReviewer(), before=None, after=AskRule(min_usd=0.1), timeout_s=5.0
)
PAIR = {"small": "embedded", "large": "embedded"}

VALUES = {
    "small": [{**PAIR, "small": LOCAL}, {**PAIR, "small": "hf:folder"}],
    "large": [{**PAIR, "large": one} for one in (SERVER, VLLM, [SERVER, "embedded", LOCAL])],
    "trigger": [{"trigger": 'tag>0.4 | keyword:"a b"'}, {"trigger": Tag() & Tag(0.3)}],
    "policy": [{"policy": POLICY}, {"policy": "regulated"}],
    "temperature": [{"temperature": 0.7}],
    "top_p": [{"top_p": 0.9}],
    "top_k": [{"top_k": 5}],
    "min_p": [{"min_p": 0.1}],
    "repetition_penalty": [{"repetition_penalty": 1.1}],
    "presence_penalty": [{"presence_penalty": 0.5}],
    "frequency_penalty": [{"frequency_penalty": -0.5}],
    "no_repeat_ngram_size": [{"no_repeat_ngram_size": 3}],
    "max_tokens": [{"max_tokens": 50}],
    "max_reasoning_tokens": [{"max_reasoning_tokens": 40}],
    "thinking": [{"thinking": False}],
    "timeout": [{"timeout": 2.5}],
    "stop": [{"stop": ["a", "b"]}, {"stop": "a"}],
    "seed": [{"seed": 7}],
    "show_schema": [{"show_schema": False}],
    "request_metadata": [{"request_metadata": {"team": "a"}}],
    "max_retries": [{"max_retries": 0}],
    "retry": [{"retry": Retry(attempts=2, stall_s=None)}],
    "on_large_failure": [{"on_large_failure": "raise"}],
    "close": [{"close": "agrees:2 | step"}],
    "handback_tokens": [{"handback_tokens": 4}],
    "prefill_tokens": [{"prefill_tokens": 4}],
    "redact": [{"redact": ["email", "phone:DE"]}],
    "telemetry": [{"telemetry": False}, {"telemetry": Telemetry(content=True)}],
    "human_check": [],  # below: reviewers are no values
    "audit": [],
    "pause_key": [],  # below: a key is never written
}
"""Settings of each option by its name."""
CASES = [(name, given) for name in VALUES for given in VALUES[name]]


class Holder(BaseModel):
    llm: SplitReasonLLM


WAYS = {
    "from_dict": lambda llm: SplitReasonLLM.from_dict(llm.to_dict()),
    "from_json": lambda llm: SplitReasonLLM.from_json(llm.to_json()),
    "plain JSON": lambda llm: SplitReasonLLM.model_validate_json(llm.model_dump_json()),
    "by alias": lambda llm: SplitReasonLLM(**llm.model_dump(by_alias=True)),
    "in a model": lambda llm: Holder.model_validate(Holder(llm=llm).model_dump(mode="json")).llm,
    "load_llm": lambda llm: load_llm(llm.to_dict()),
    "serializer": lambda llm: JsonSerializer().deserialize(JsonSerializer().serialize(llm)),
    "pickle": lambda llm: pickle.loads(pickle.dumps(llm)),  # noqa: S301
}


def values(llm):
    return {name: getattr(llm, option.attribute) for name, option in OPTIONS.items()}


def test_each_option_has_a_case():
    assert set(VALUES) == set(OPTIONS)


@pytest.mark.parametrize("way", WAYS)
def test_the_default_is_read_as_it_was_written(way):
    llm = WAYS[way](SplitReasonLLM())
    assert values(llm) == values(SplitReasonLLM())
    assert (
        llm.complete("What is 3+4?", seed=1).text
        == SplitReasonLLM().complete("What is 3+4?", seed=1).text
    )


@pytest.mark.parametrize(("name", "given"), CASES, ids=[name for name, _ in CASES])
def test_each_option_is_read_as_it_was_written(name, given):
    llm = SplitReasonLLM(**given)
    read = {way: values(make(llm)) for way, make in WAYS.items()}
    assert read == dict.fromkeys(WAYS, values(llm))
    assert values(llm)[name] != values(SplitReasonLLM())[name]


def test_human_checks_and_logs_are_read_as_they_were_written(tmp_path):
    queue = HumanCheck(reviewer=ReviewQueue(tmp_path / "reviews", wait=True))
    log = AuditLog(tmp_path / "audit", content=True)
    written = SplitReasonLLM(human_check=queue, audit=log).to_json()
    read = SplitReasonLLM.from_json(written)
    assert read.human_check == queue
    assert (read.audit.path, read.audit.content) == (log.path, True)
    read = SplitReasonLLM.from_json(SplitReasonLLM(human_check=CHECK).to_json())
    assert isinstance(read.human_check.reviewer, WorkflowReviewer)
    assert (read.human_check.before, read.human_check.after) == (None, CHECK.after)
    assert read.human_check.timeout_s == 5.0


def test_keys_are_never_written():
    server = OpenAIServerModel("http://127.0.0.1:1/v1", "large", api_key=KEY)
    other = OpenAIServerModel("http://127.0.0.1:1/v1", "large", api_key_env="LARGE_KEY")
    hub = VLLMModel("folder", engine={"hf_token": KEY, "headers": {"Authorization": KEY}})
    llm = SplitReasonLLM(small="embedded", large=[server, other, hub], pause_key=[KEY, "old"])
    texts = [llm.to_json(), llm.model_dump_json(), str(llm.to_dict())]
    texts += [JsonSerializer().serialize({"llm": llm}), json.dumps(llm.to_payload())]
    texts += [repr(llm), str(llm), repr(llm.engine())]
    assert [text for text in texts if KEY in text] == []
    assert SplitReasonLLM.from_json(llm.to_json()).pause_key is None
    first, second, third = SplitReasonLLM.from_json(llm.to_json()).large
    assert (first.url, first.api_key, second.api_key_env) == (server.url, None, "LARGE_KEY")
    assert third.engine == {"headers": {}}


def ask(question):
    return True


def found(text):
    return []


@dataclass(frozen=True)
class Product(Trigger):
    digits: int = 2

    def fires(self, at):
        return False

    def __str__(self):
        return f"product:{self.digits}"


UNWRITTEN = {
    "small": {"small": ScriptedModel("x"), "large": "embedded"},
    "trigger": {"trigger": Product()},
    "human_check": {"human_check": ask},
    "redact": {"redact": ["email", found]},
    "retry": {"retry": Retry(retryable=ask)},
    "telemetry": {"telemetry": Telemetry(tracer_provider=object())},
}


@pytest.mark.parametrize("name", UNWRITTEN)
def test_what_has_no_written_form_is_asked_for_again(name):
    llm = SplitReasonLLM(**UNWRITTEN[name])
    data = json.loads(llm.to_json())
    with pytest.raises(ValueError, match=rf"{name} held .*give {name} again"):
        SplitReasonLLM.from_dict(data)
    again = {name: UNWRITTEN[name][name]}
    assert values(SplitReasonLLM.from_dict(data, **again))[name] == values(llm)[name]


def test_two_models_never_look_the_same():
    """An ingestion pipeline's cache is keyed by what is written."""
    pairs = [scripted("</think>\n\nA."), scripted("</think>\n\nB."), scripted(human_check=ask)]
    node = TextNode(text="x")
    keys = [get_transformation_hash([node], TitleExtractor(llm=llm)) for llm in pairs]
    assert len(set(keys)) == 3
    assert keys[0] == get_transformation_hash([node], TitleExtractor(llm=pairs[0]))
    small = [
        SplitReasonLLM(small=f"embedded:{member}", large="embedded") for member in ("small", "base")
    ]
    keys = [get_transformation_hash([node], TitleExtractor(llm=llm)) for llm in small]
    assert len(set(keys)) == 2


def test_wrong_plain_data_is_refused_by_name():
    read = SplitReasonLLM.from_dict
    with pytest.raises(ValueError, match=r"needs a type, one of .*TransformersModel"):
        read({**PAIR, "small": {"type": "Unknown", "path": "x"}})
    with pytest.raises(ValueError, match="unknown field of TransformersModel 'pth'; did you mean"):
        read({**PAIR, "small": {"type": "TransformersModel", "pth": "x"}})
    with pytest.raises(ValueError, match="unknown part of a retry 'attempt'; did you mean"):
        read({"retry": {"attempt": 2}})
    with pytest.raises(ValueError, match="unknown part of a human check"):
        read({"human_check": {"reviewer": {"type": "WorkflowReviewer"}, "when": 1}})
    with pytest.raises(ValueError, match="a reviewer as plain data needs a type"):
        read({"human_check": {"reviewer": {"type": "os.system"}}})


@pytest.mark.parametrize(
    "given",
    [{"human_check": lambda question: True}, {"redact": lambda text: []}],
    ids=["human check", "redaction"],
)
def test_pickling_drops_no_option(given):
    llm = scripted(**given)
    with pytest.raises(ValueError, match="cannot be pickled for another process"):
        pickle.dumps(llm)
    name = next(iter(given))
    assert values(llm)[name]
    assert values(pickle.loads(pickle.dumps(scripted(redact=[found]))))["redact"] == (found,)  # noqa: S301
    assert pickle.loads(pickle.dumps(scripted())).chat(ASK).raw["authors"][1] == {  # noqa: S301
        "type": "large",
        "channel": "reasoning",
        "text": " That is 5.",
    }


class Keeps(Workflow):
    """Keeps its LLM in the state."""

    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        llm = await ctx.store.get("llm", default=None)
        if llm is None:
            await ctx.store.set("llm", SplitReasonLLM(trigger="tag>0.4", seed=1, max_tokens=30))
            return StopEvent(result=None)
        reply = await llm.acomplete("What is 3+4?")
        return StopEvent(result=(str(llm.trigger), llm.max_tokens, reply.raw["seed"]))


async def test_a_workflows_state_holds_the_llm():
    workflow = Keeps(timeout=None)
    first = workflow.run()
    await first
    saved = json.loads(json.dumps(first.ctx.to_dict(serializer=JsonSerializer())))
    context = Context.from_dict(workflow, saved, serializer=JsonSerializer())
    assert await workflow.run(ctx=context) == ("tag>0.4", 30, 1)
