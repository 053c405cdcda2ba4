"""Replies in LangChain's caches: whose they are, which are kept, and what their keys hold."""

import gc
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tenacity
from langchain_core._api import LangChainBetaWarning
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.tracers._streaming import _V2StreamingCallbackHandler

from langchain_splitreason import InterruptReviewer, SplitReasonLLM
from splitreason_integrations import (
    HumanCheck,
    OpenAIServerModel,
    Policy,
    Prices,
    Retry,
    Tag,
    TransformersModel,
    Trigger,
    VLLMModel,
    embedded,
)
from splitreason_integrations.decide.closing import Agrees, StepEnd
from splitreason_integrations.decide.triggers import Entropy, Keyword
from splitreason_integrations.errors import RequestError
from splitreason_integrations.options import OPTIONS
from splitreason_integrations.problems import last_integer
from splitreason_integrations.testing import ScriptedModel
from tests.adapters.langchain_fakes import CALL, add, scripted
from tests.limits import HANGS_S

# Reading what was written down warns, once in a process, that it is in beta.
pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.LangChainBetaWarning"
)

QUESTION = (
    "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. "
    "How many cards does Mia have now?"
)


class Kept(InMemoryCache):
    """A cache that shows its keys and its replies."""

    @property
    def keys(self):
        return [key for _, key in self._cache]

    @property
    def answers(self):
        return [replies[0].message.content for replies in self._cache.values()]


@pytest.fixture
def kept():
    set_llm_cache(cache := Kept())
    yield cache
    set_llm_cache(None)


def server(**options):
    return OpenAIServerModel("http://127.0.0.1:9/v1", "m", **options)


def key(**options):
    """The key of a request of two models on servers, to which nothing is sent."""
    asked = {name: options.pop(name) for name in ("tools", "response_format") if name in options}
    given = {"small": server(), "large": server(), **options}
    return SplitReasonLLM(**given)._get_llm_string(**asked)


# Whose reply it is


def test_models_given_as_objects_get_no_answer_of_each_other(kept):
    answers = [
        SplitReasonLLM(
            small=TransformersModel(str(embedded.path(member)), device="cpu"),
            large="embedded",
            trigger="tag",
        )
        .invoke(QUESTION)
        .content
        for member in ("base", "small")
    ]
    assert [last_integer(answer) for answer in answers] == [999, 1069]
    assert len(kept.keys) == 2


def test_an_equal_model_built_again_is_answered_from_the_cache(kept):
    small = str(embedded.path("small"))
    first, second = (
        SplitReasonLLM(small=TransformersModel(small, device="cpu"), large="embedded").invoke(
            QUESTION
        )
        for _ in range(2)
    )
    assert first.response_metadata == second.response_metadata
    assert second.usage_metadata["total_cost"] == 0
    assert len(kept.keys) == 1


async def test_loaded_models_answer_for_themselves_by_every_door(kept):
    one, other = scripted("</think>one"), scripted("</think>other")
    assert [one.invoke("hi").content, other.invoke("hi").content] == ["one", "other"]
    assert (await other.ainvoke("hi")).content == "other"
    assert [reply.content for reply in one.batch(["hi", "hi"])] == ["one", "one"]
    assert [reply.content for reply in await other.abatch(["hi"])] == ["other"]
    assert len(kept.keys) == 2


OTHERS = {
    "small": server(dialect="ids"),
    "large": [server(), server(name="next")],
    "trigger": Tag(0.2) | Entropy(1.0),
    "policy": Policy(max_spans=1),
    "stop": ["end"],
    "request_metadata": {"tenant": "acme"},
    "retry": Retry(attempts=1),
    "on_large_failure": "raise",
    "human_check": lambda question: True,
    "close": Agrees(2) | StepEnd(),
    "thinking": False,
    "show_schema": False,
    "redact": ["email"],
}


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"audit", "telemetry", "pause_key"}))
def test_every_option_is_part_of_the_key(name):
    option = OPTIONS[name]
    other = OTHERS.get(name, 0.5 if option.kind is float else 1)
    assert key(**{name: other}) != key()
    assert key(**{name: other}) == key(**{name: other})


def test_what_only_watches_is_no_part_of_the_key(tmp_path):
    watching = {"audit": tmp_path / "audit.jsonl", "telemetry": False, "pause_key": "secret"}
    assert key(**watching, streaming=True, tags=["x"]) == key()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"trigger": Tag(0.2) | Entropy(1.0)}, {"trigger": Tag(0.2) | Entropy(1.5)}),
        ({"trigger": Tag(0.2) | Entropy(1.0)}, {"trigger": Tag(0.2) & Entropy(1.0)}),
        ({"trigger": Keyword("a|b")}, {"trigger": Keyword("a") | Keyword("b")}),
        ({"close": Agrees(2) | StepEnd()}, {"close": Agrees(3) | StepEnd()}),
        ({"policy": Policy(max_usd=1)}, {"policy": Policy(max_usd=2)}),
        ({"policy": {"models": {"*": {}}}}, {"policy": Policy()}),
        ({"retry": Retry(stall_s=1)}, {"retry": Retry(stall_s=2)}),
        ({"max_retries": 0}, {"max_retries": 1}),
        ({"large": [server(), server()]}, {"large": server()}),
        ({"small": server(hint="a")}, {"small": server(hint="b")}),
        ({"small": server(prices=Prices(1, 2))}, {"small": server(prices=Prices(1, 3))}),
        ({"small": server(chat_template_kwargs={"e": 1})}, {"small": server()}),
        ({"small": server(thinking=True)}, {"small": server(thinking=False)}),
        ({"small": server(tokenizer="a")}, {"small": server(tokenizer="b")}),
        ({"small": VLLMModel("m")}, {"small": TransformersModel("m")}),
        ({"small": VLLMModel("m", engine={"seed": 1})}, {"small": VLLMModel("m")}),
        ({"small": TransformersModel("m", dtype="float16")}, {"small": TransformersModel("m")}),
        ({"stop": ["a", "b"]}, {"stop": ["ab"]}),
        ({"output_version": "v1"}, {"output_version": "v0"}),
        ({"tools": [add]}, {}),
        ({"response_format": {"type": "json_object"}}, {}),
        ({"redact": [str.split]}, {"redact": [str.splitlines]}),
    ],
)
def test_requests_that_differ_have_different_keys(one, other):
    assert key(**one) != key(**other)


def test_an_option_of_one_call_counts_like_one_of_the_model():
    model = SplitReasonLLM(small=server(), large=server())
    assert model._get_llm_string(seed=3) == key(seed=3)
    assert model._get_llm_string() == key()
    assert model._get_llm_string(stop=["x"]) != key()


def test_variables_of_a_template_count_whatever_their_names():
    small, other = (server(chat_template_kwargs={"password": word}) for word in ("a", "b"))
    assert key(small=small) != key(small=other)


def test_names_and_descriptions_of_a_model_are_equal():
    assert key(small="http://127.0.0.1:9/v1#m") == key()
    assert key(small="hf:m", large="vllm:m") == key(
        small=TransformersModel("m"), large=VLLMModel("m")
    )


def test_weights_that_change_in_their_folder_change_the_key(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_text("old")
    before = key(small=f"hf:{tmp_path}")
    assert key(small=f"hf:{tmp_path}") == before
    weights.write_text("other")
    assert key(small=f"hf:{tmp_path}") != before


# What has no value


@dataclass(frozen=True)
class Product(Trigger):
    digits: int = 2


def test_a_trigger_of_ones_own_counts_by_its_value():
    assert key(trigger=Product(2)) == key(trigger=Product(2))
    assert key(trigger=Product(2)) != key(trigger=Product(3))

    def made(above):
        @dataclass(frozen=True)
        class Local(Trigger):
            def fires(self, at):
                return at.entropy > above

        return Local()

    one, other = made(1), made(2)
    assert key(trigger=one) != key(trigger=other)
    assert key(trigger=one) == key(trigger=replace(one))


def test_functions_count_by_identity():
    def finder(word):
        return lambda text: [word]

    one, other = finder("a"), finder("b")
    assert key(redact=[one]) != key(redact=[other])
    assert key(redact=[one]) == key(redact=[one])
    assert key(retry=Retry(retryable=one)) != key(retry=Retry(retryable=other))
    assert key(retry=Retry(attempts=2)) == key(retry=Retry(attempts=2))


class Custom(SplitReasonLLM):
    """A chat model with a setting of its own."""

    strategy: Any = None


def test_strategies_of_tenacity_count_by_their_values():
    def made(seconds, *errors):
        retry = tenacity.retry_if_exception_type(errors) | tenacity.retry_if_result(len)
        wait = tenacity.wait_fixed(seconds) + tenacity.wait_random_exponential(max=3)
        model = Custom(small=server(), large=server(), strategy=[retry, wait])
        return model._get_llm_string()

    assert made(1, ValueError, OSError) == made(1, ValueError, OSError)
    assert made(2, ValueError, OSError) != made(1, ValueError, OSError)
    assert made(1, ValueError) != made(1, ValueError, OSError)


def test_a_method_counts_by_its_object():
    class Words:
        def __init__(self, word):
            self.word = word

        def find(self, text):
            return [self.word]

    ann, bob = Words("a"), Words("b")
    assert key(redact=[ann.find]) == key(redact=[ann.find])
    assert key(redact=[ann.find]) != key(redact=[bob.find])


def test_an_identity_is_not_used_again():
    class Finder:
        def __call__(self, text):
            return []

    seen, ids = set(), set()
    for _ in range(20):
        finder = Finder()
        ids.add(id(finder))
        seen.add(key(redact=[finder]))
        assert key(redact=[finder]) in seen
        del finder
        gc.collect()
    assert len(seen) == 20
    assert len(ids) < 20, "no id was used again: the test shows nothing"


IN_ANOTHER_PROCESS = """
from langchain_splitreason import SplitReasonLLM
from splitreason_integrations import *
from splitreason_integrations.decide.triggers import Entropy, Keyword
from splitreason_integrations.decide.closing import Agrees, StepEnd
model = SplitReasonLLM(
    small=TransformersModel({folder!r}, device="cpu", chat_template_kwargs={{"effort": "low"}}),
    large=[OpenAIServerModel("http://127.0.0.1:9/v1", "m", prices=Prices(1, 2)), "vllm:m"],
    trigger=Tag(0.2) | Keyword("x") & Entropy(1.0),
    close=Agrees(2) | StepEnd(),
    policy=Policy.template("regulated"),
    retry=Retry(attempts=2),
    redact=["email", "card"],
    request_metadata={{"tenant": "acme"}},
    stop=["end"],
)
tool = {{"type": "function", "function": {{"name": "f", "parameters": {{"type": "object"}}}}}}
print(model._get_llm_string(tools=[tool], tool_choice="any", stop=None))
"""


def test_equal_settings_have_the_same_key_in_another_process():
    script = IN_ANOTHER_PROCESS.format(folder=str(embedded.path("small")))

    def printed():
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            timeout=HANGS_S,
            cwd=Path(__file__).parents[2],
        )
        return done.stdout

    first = printed()
    assert "sha256:" in first
    assert printed() == first


@pytest.mark.parametrize(
    "model",
    [
        lambda secret: server(api_key=secret),
        lambda secret: VLLMModel("m", engine={"hf_token": secret}),
    ],
)
def test_servers_keys_are_no_part_of_the_key(model):
    one, other = (key(small=model(secret)) for secret in ("sk-one", "sk-other"))
    assert one == other
    assert "sk-one" not in one


# What is kept


@pytest.mark.parametrize("door", ["invoke", "ainvoke", "batch", "generate", "not streamed"])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_tokens": 3}, "length"),
        ({"delay_s": 0.05, "timeout": 0.2}, "deadline"),
        ({"large": "that", "fails": True}, "stop"),
        ({"small": CALL.replace("}}", "")}, "stop"),
    ],
    ids=["cut off", "deadline", "degraded", "invalid call"],
)
async def test_replies_that_are_not_whole_are_not_kept(options, reason, own, door, kept):
    options = dict(options)
    if options.pop("fails", False):
        model = scripted(large=None, retry=Retry(attempts=1))
        model.large = ScriptedModel("x</bigmodel>", name="big", fail_after=0)
    else:
        model = scripted(**options)
    cache = Kept() if own else kept
    if own:
        model.cache = cache
    match door:
        case "invoke":
            reply = model.invoke("hi")
        case "ainvoke":
            reply = await model.ainvoke("hi")
        case "batch":
            (reply,) = model.batch(["hi"])
        case "generate":
            reply = model.generate([[HumanMessage("hi")]]).generations[0][0].message
        case _:
            model.disable_streaming = True
            (reply, *_) = [chunk async for chunk in model.astream("hi")]
    assert reply.response_metadata["splitreason"]["stop_reason"] == reason
    assert not cache.keys


async def test_whole_replies_are_kept_by_every_door(kept):
    for number, ask in enumerate(
        [
            lambda model: model.invoke("hi"),
            lambda model: model.batch(["hi"])[0],
            lambda model: model.invoke("hi", stop=["never there"]),
        ],
        start=1,
    ):
        ask(scripted("</think>whole"))
        assert kept.answers == ["whole"] * number
    model = scripted("</think>whole", cache=False)
    model.invoke("hi")
    await model.ainvoke("hi")
    assert len(kept.keys) == 3


def test_a_valid_call_is_kept(kept):
    model = scripted([CALL, "</think>no call"]).bind_tools([add])
    first, second = model.invoke("1+2?"), model.invoke("1+2?")
    assert first.tool_calls == second.tool_calls != []
    assert len(kept.keys) == 1


class Events(BaseCallbackHandler, _V2StreamingCallbackHandler):
    """Has LangChain make a reply of events."""


async def test_a_reply_of_events_is_not_served_to_a_caller_who_wants_text(kept):
    model, heard = scripted("why</think>whole"), {"callbacks": [Events()]}
    for _ in range(2):
        assert [block["type"] for block in model.invoke("hi", heard).content] == [
            "reasoning",
            "text",
        ]
        assert model.invoke("hi").content == "whole"
        assert (await model.ainvoke("hi")).content == "whole"
    assert len(kept.keys) == 2


def test_a_reply_survives_being_written_down(kept):
    model = scripted("why</think>whole")
    first = model.invoke("hi")
    for place, replies in kept._cache.items():
        kept._cache[place] = [
            loads(dumps(reply), allowed_objects=[ChatGeneration, AIMessage]) for reply in replies
        ]
    again = model.invoke("hi")
    assert (again.content, again.additional_kwargs, again.response_metadata) == (
        first.content,
        first.additional_kwargs,
        first.response_metadata,
    )


def test_what_a_caller_does_to_a_reply_is_not_kept(kept):
    model = scripted("</think>whole")
    for _ in range(3):
        reply = model.invoke("hi")
        assert (reply.name, reply.additional_kwargs.get("mine")) == (None, None)
        reply.name = "agent"
        reply.additional_kwargs["mine"] = True


# People


def test_a_reply_approved_by_one_check_is_not_served_under_another(kept):
    tagged = "47*23 = <bigmodel> So.</think>done"
    small, large = ScriptedModel(tagged), ScriptedModel("1081.</bigmodel>")
    asked = []

    def ask(answer):
        return lambda question: asked.append(answer) or answer

    for answer in (True, False, False):
        reply = SplitReasonLLM(small=small, large=large, human_check=ask(answer)).invoke("hi")
        spans = reply.response_metadata["splitreason"]["spans"]
        assert [span["human"] for span in spans] == ["approve by function"] * answer
    assert asked == [True, False, False]
    assert not kept.keys


def test_a_check_given_for_one_call_counts_too(kept):
    model = scripted(human_check=lambda question: True)
    model.invoke("hi", human_check=None)
    assert len(kept.keys) == 1
    scripted().invoke("hi", human_check=lambda question: True)
    assert len(kept.keys) == 1


def test_checked_replies_are_cached_where_that_is_asked_for(kept):
    asked = []

    def approve(question):
        asked.append(question)
        return True

    def refuse(question):
        asked.append(question)
        return False

    model = scripted(human_check=approve, cache_human_checked=True)
    assert model.invoke("hi").content == model.invoke("hi").content
    approved = len(asked)
    assert approved == 2, "two spans of one request"
    model.invoke("hi", human_check=refuse)
    assert len(asked) > approved
    assert len(kept.keys) == 2


def test_the_answer_of_a_person_is_never_found_in_a_cache(kept):
    model = scripted(
        human_check=HumanCheck(reviewer=lambda question: None), cache_human_checked=True
    )
    with pytest.raises(Exception, match="a person has still to answer") as caught:
        model.invoke("hi")
    replies = [model.resume(caught.value.paused, answer) for answer in ("stop", "stop")]
    assert [reply.response_metadata["splitreason"]["stop_reason"] for reply in replies] == [
        "human_stop",
        "human_stop",
    ]
    assert not kept.keys


def test_reviewers_have_values_or_identities():
    check = HumanCheck(reviewer=InterruptReviewer())
    assert key(human_check=check) == key(human_check=check)
    assert key(human_check=check) != key(human_check=replace(check, timeout_s=1))


# Errors


def test_a_wrong_option_is_named_as_without_a_cache(kept):
    with pytest.raises(ValueError, match="did you mean 'temperature'"):
        scripted().invoke("hi", temprature=1)
    bad = {"type": "function", "function": {"name": "f", "parameters": {"type": "nothing"}}}
    with pytest.raises(RequestError, match="no valid JSON schema"):
        scripted().invoke("hi", tools=[bad])
