"""What a refusal teaches: a parameter, a value of it, a limit, or nothing."""

import json
import time

import pytest

from splitreason_integrations import Sampling, SplitEngine
from splitreason_integrations.backends.openai_server.examine import findings
from splitreason_integrations.backends.openai_server.refusals import LeftOut, Lessons
from splitreason_integrations.errors import ModelCallError, RequestError
from splitreason_integrations.events import SettingLeftOut
from splitreason_integrations.request import Request
from splitreason_integrations.testing import ScriptedModel
from tests.backends.raw_server import RawServer, Reply, json_reply
from tests.backends.servers import order, write
from tests.backends.test_server_streams import CODEC, DONE, PROMPT, SAID, Place, closed, model_at

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

SENT = {
    "temperature": 1.5,
    "top_p": 0.9,
    "top_k": -1,
    "min_p": 0.0,
    "seed": 7,
    "logit_bias": {"5": -100},
    "tools": [{"type": "function"}],
    "tool_choice": "none",
    "max_tokens": 5000,
}


def refusal(said, *, status=400, retryable=False):
    return ModelCallError(f"m: {said}", retryable=retryable, status=status, said=said)


def learned(said, **more):
    return {str(one) for one in Lessons().learn(refusal(said, **more), SENT)}


UNKNOWN = [
    ("Unrecognized request argument supplied: top_k", {"top_k"}),
    ("Unknown parameters: top_k, min_p, seed", {"top_k", "min_p", "seed"}),
    ("[{'type': 'extra_forbidden', 'loc': ['body', 'seed'], 'msg': 'Extra inputs'}]", {"seed"}),
    ("Extra inputs are not permitted (type extra_forbidden, loc body.seed)", {"seed"}),
    ("unexpected keyword argument 'min_p'", {"min_p"}),
    (
        "Unexpected keys in the request: {'spaces_between_special_tokens', 'add_special_tokens', "
        "'skip_special_tokens', 'repetition_penalty', 'repeat_last_n', 'min_p', 'top_k'}",
        {"min_p", "top_k"},
    ),
    ("Unsupported parameter: 'top_p' is not supported with this model.", {"top_p"}),
    ("property 'logit_bias' is unsupported", {"logit_bias"}),
    ("`temperature` is deprecated for this model.", {"temperature"}),
    ("`temperature` and `top_p` cannot both be specified for this model.", {"top_p"}),
    ("No endpoints found: tools are not supported", {"tools"}),
]
VALUES = [
    ("temperature: range: 0..1", {"temperature=1.5"}),
    ("temperature must be in [0, 1]", {"temperature=1.5"}),
    ("1.5 is greater than the maximum of 1 - 'temperature'", {"temperature=1.5"}),
    ("Input should be less than or equal to 1 (loc body.temperature)", {"temperature=1.5"}),
    (
        "Unsupported value: 'temperature' does not support 1.5 with this model. Only the default "
        "(1) value is supported. (code unsupported_value, param temperature)",
        {"temperature=1.5"},
    ),
    ("'top_k' must be positive", {"top_k=-1"}),
]
NOTHING = [
    "maximum context length is 4096 tokens: 400 in the messages, 200 in the tools, the rest asked",
    "Invalid schema for function 'wipe' (param tools[0].function.parameters)",
    "the prompt is refused, whatever the temperature",
    "seed is fine, but the messages must be shorter",
    "too many tools were given",
    "tools: at most 128 are allowed",
    "bad request",
]


@pytest.mark.parametrize(("said", "names"), UNKNOWN + VALUES)
def test_a_parameter_or_a_value_of_it_is_left_out(said, names):
    assert learned(said) == names


@pytest.mark.parametrize("said", NOTHING)
def test_a_name_in_a_sentence_about_something_else_teaches_nothing(said):
    assert learned(said) == set()


@pytest.mark.parametrize("more", [{"status": 401}, {"status": 503, "retryable": True}])
def test_a_failure_teaches_nothing(more):
    assert learned(UNKNOWN[0][0], **more) == set()


def test_a_value_is_left_out_and_others_are_sent():
    lessons = Lessons()
    lessons.learn(refusal("temperature must be at most 1"), SENT)
    assert "temperature" not in lessons.fitted(SENT)
    assert lessons.fitted({"temperature": 0.4}) == {"temperature": 0.4}
    assert lessons.missing(SENT) == {LeftOut("temperature", "1.5")}
    assert lessons.missing({"temperature": 0.4}) == set()


def test_without_tools_there_is_no_choice_of_one():
    lessons = Lessons()
    lessons.learn(refusal("unknown field: tools"), SENT)
    assert not {"tools", "tool_choice"} & set(lessons.fitted(SENT))


def test_what_was_not_sent_is_not_learned():
    assert Lessons().learn(refusal("unknown parameter top_k"), {"seed": 1}) == set()


def test_a_lesson_is_learned_by_all_whom_it_was_given_at_once():
    lessons = Lessons()
    for _ in range(2):
        assert lessons.learn(refusal("unknown parameter top_k"), SENT) == {LeftOut("top_k")}


def test_what_is_left_out_is_tried_again_later_and_ever_later(monkeypatch):
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    lessons, waits = Lessons(), []
    for _ in range(3):
        lessons.learn(refusal("unknown parameter top_k"), SENT)
        before_s = now_s
        while "top_k" not in lessons.fitted(SENT):
            now_s += 60
        waits.append(now_s - before_s)
    assert waits == [600, 1200, 2400]
    lessons.leave_out("logit_bias")
    now_s += 10 * 86_400
    assert lessons.left_out == {LeftOut("logit_bias")}, "it is taken, and not heeded"


def test_no_server_can_fill_the_memory():
    lessons = Lessons()
    for value in range(1000):
        lessons.learn(refusal("top_k must be positive"), {"top_k": value})
    assert len(lessons.left_out) == 64


def test_a_seed_that_is_too_large_becomes_a_smaller_one():
    lessons, seed = Lessons(), (1 << 52) + 5
    lessons.learn(refusal("seed must be less than 2147483648"), {"seed": seed})
    assert lessons.fitted({"seed": seed}) == {"seed": 5}


def test_newer_models_have_another_name_for_the_length():
    lessons = Lessons()
    words = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    assert lessons.renames(refusal(words), {"max_tokens": 8})
    assert lessons.fitted({"max_tokens": 8}) == {"max_completion_tokens": 8}
    about_room = "'max_tokens' or 'max_completion_tokens' is too large: 9. The context length is 4"
    assert not Lessons().renames(refusal(about_room), {"max_tokens": 9})


CAPS = [
    ("max_tokens is too large: 5000. This model supports at most 4096 completion tokens", 4096),
    ("max_tokens: 5000 > 4096, which is the maximum number of output tokens", 4096),
    ("Range of max_tokens should be [1, 4096]", 4096),
    ("`max_tokens` must be less than or equal to `4,096`", 4096),
]
ROOMS = [
    (
        "This model's maximum context length is 4096 tokens. However, you requested 5400 tokens "
        "(400 in the messages, 5000 in the completion).",
        3696,
    ),
    (
        "'max_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and "
        "your request has 50 input tokens (5000 > 4096 - 50).",
        4046,
    ),
    ("input length and `max_tokens` exceed context limit: 300 + 5000 > 4096", 3796),
    ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 300 `inputs` tokens", 3796),
    ("maximum context length is 4096", 2500),
    ("the prompt is too long for the context window", None),
    ("your prompt contains 5000 input tokens and the maximum context length is 4096", None),
    ("temperature must be at most 1", None),
]


def fits(lessons, said, **more):
    return lessons.fits(refusal(said, **more), asked=5000, read=60, context_tokens=1 << 17)


@pytest.mark.parametrize(("said", "cap"), CAPS)
def test_a_servers_cap_on_answers_is_learned(said, cap):
    lessons = Lessons()
    assert fits(lessons, said) == cap
    assert (lessons.most_tokens, lessons.context_tokens) == (cap, None)


@pytest.mark.parametrize(("said", "room"), ROOMS)
def test_a_context_says_for_how_many_tokens_it_has_room(said, room):
    lessons = Lessons()
    assert fits(lessons, said) == room
    assert lessons.most_tokens is None
    assert lessons.context_tokens == (4096 if "4096" in said else None)
    assert fits(Lessons(), said, status=429, retryable=True) is None


def text_answer(place=Place("writing", "continue")):  # noqa: B008 - a frozen value
    return Reply((place.whole, place.end(), DONE))


async def asked_of(handle, orders, *, speaks="continue", context_tokens=None, again=PROMPT):
    """Return the bodies that a server is sent by some orders, and what is written."""
    server, said = RawServer(handle), []
    async with server.serving() as url:
        model = model_at(url, speaks)
        model.context_tokens = context_tokens or model.context_tokens
        for one in orders:
            session = model.open(again)
            try:
                said.append(CODEC.decode((await write(session, one))[0]))
            except ModelCallError as error:
                said.append(str(error))
            session.close()
        await closed(model)
    return [body for _, body in server.asked], said, model


def stopping(most=40, **more):
    return order(most, stop_tokens=CODEC.end_tokens, **more)


async def test_one_bad_value_is_left_out_alone():
    def handle(path, body):
        if body.get("temperature", 0) > 1:
            return json_reply(400, {"error": {"message": "temperature: range: 0..1"}})
        return text_answer()

    orders = [stopping(sampling=Sampling(temperature=one)) for one in (0.4, 1.6, 1.6, 0.4)]
    bodies, said, model = await asked_of(handle, orders)
    assert [body.get("temperature") for body in bodies] == [0.4, 1.6, None, None, 0.4]
    assert said == [SAID] * 4
    assert {str(one) for one in model.left_out} == {"temperature=1.6"}


async def test_what_one_server_refuses_its_replica_is_sent():
    def strict(path, body):
        if "top_k" in body:
            return json_reply(400, {"error": {"message": "unknown parameter: top_k"}})
        return text_answer()

    first, second = RawServer(strict), RawServer(lambda path, body: text_answer())
    async with first.serving() as one, second.serving() as other:
        model, more = model_at(one, "continue"), model_at(other, "continue")
        model.replicas.all += more.replicas.all
        for replica in model.replicas.all:
            session = model.open(PROMPT)
            session._last = replica
            await write(session, stopping())
            session.close()
        await closed(model)
    assert ["top_k" in body for _, body in first.asked] == [True, False]
    assert all("top_k" in body for _, body in second.asked)


async def test_a_penalty_that_a_request_needs_is_not_left_out_silently():
    def handle(path, body):
        if "presence_penalty" in body:
            return json_reply(
                422,
                {
                    "detail": [
                        {
                            "loc": ["body", "presence_penalty"],
                            "msg": "Extra inputs are not permitted",
                        }
                    ]
                },
            )
        return text_answer()

    asked = stopping(sampling=Sampling(temperature=0.0, presence_penalty=0.5))
    with pytest.raises(RequestError, match="cannot be asked for presence_penalty"):
        await asked_of(handle, [asked])


async def test_tools_stay_where_only_the_prompt_was_too_long():
    said = "maximum context length is 4096 tokens: 400 in the messages, 200 in the tools"

    def handle(path, body):
        return json_reply(400, {"error": {"message": said}}) if "tools" in body else text_answer()

    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    prompt = CODEC.render([{"role": "user", "content": "Hello"}], [tool])
    bodies, said, model = await asked_of(handle, [stopping()], again=prompt)
    assert all("tools" in body for body in bodies)
    assert model.left_out == set()


def small_context(tokens):
    """Return a server that counts a question by its own rule, and says nothing of it."""

    def handle(path, body):
        asked = body.get("max_tokens") or body["max_completion_tokens"]
        read = len(json.dumps(body["messages"])) // 3
        if read + asked > tokens:
            return json_reply(400, {"error": {"message": f"maximum context length is {tokens}"}})
        return text_answer()

    return handle


@pytest.mark.parametrize("speaks", ["plain", "continue"])
async def test_nobody_asks_for_all_the_room(speaks):
    bodies, said, _ = await asked_of(
        small_context(1024), [stopping(), stopping(900)], speaks=speaks, context_tokens=1024
    )
    assert [one[-len(SAID) :] for one in said] == [SAID] * 2
    assert len(bodies) == 2, "the room is counted right the first time"


async def test_a_context_shorter_than_was_thought_is_found_once():
    bodies, said, _ = await asked_of(
        small_context(512), [stopping()] * 3, speaks="plain", context_tokens=4096
    )
    assert [one[-len(SAID) :] for one in said] == [SAID] * 3
    asked = [body["max_tokens"] for body in bodies]
    assert len(asked) <= 3 + 4
    assert asked[-2] == asked[-1]


async def test_a_context_that_is_full_is_asked_for_nothing():
    prompt = CODEC.render([{"role": "user", "content": "Hello " * 130}], None)
    assert len(prompt) < 512
    bodies, said, _ = await asked_of(
        small_context(512), [stopping()], speaks="plain", context_tokens=512, again=prompt
    )
    assert bodies == []
    assert "leaves no room" in said[0]


@pytest.mark.parametrize("speaks", ["plain", "ids"])
async def test_a_cap_on_answers_is_asked_for_once(speaks):
    def handle(path, body):
        if body["max_tokens"] > 30:
            said = f"max_tokens: {body['max_tokens']} > 30, the maximum number of output tokens"
            return json_reply(400, {"error": {"message": said}})
        return text_answer(Place("writing", "continue" if speaks == "plain" else speaks))

    bodies, said, _ = await asked_of(handle, [stopping()] * 2, speaks=speaks)
    assert [one[-len(SAID) :] for one in said] == [SAID] * 2
    assert [body["max_tokens"] for body in bodies][1:] == [30, 30]


SMALL = "I add 3 and 4.<bigmodel> So that is it.</think>\n\nSeven."


async def events_of(handle, *, sampling, tools=None):
    """Return the reply to a request with one span, and the settings that its events name."""
    server = RawServer(handle)
    async with server.serving() as url:
        large = model_at(url, "continue")
        engine = SplitEngine(small=ScriptedModel(SMALL), large=large)
        messages = [{"role": "user", "content": "How many are 3 pens and 4 pens?"}]
        asked = Request(messages=messages, tools=tools, sampling=sampling, seed=1)
        items = [item async for item in engine.stream(asked)]
        await closed(large)
    left_out = [item for item in items if isinstance(item, SettingLeftOut)]
    assert {one.model for one in left_out} <= {"m"}
    return items[-1], [one.setting for one in left_out], server.asked


def refusing(name, said):
    def handle(path, body):
        return json_reply(400, {"error": {"message": said}}) if name in body else text_answer()

    return handle


TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}


@pytest.mark.parametrize(
    ("name", "said", "sampling", "settings"),
    [
        (
            "temperature",
            "temperature: range: 0..0.5",
            Sampling(temperature=0.7),
            ["temperature=0.7"],
        ),
        ("top_p", "unknown parameter top_p", Sampling(top_p=0.5), ["top_p"]),
        ("tools", "unknown field: tools", Sampling(), ["tools"]),
        ("temperature", "unknown parameter temperature", Sampling(), []),
        ("top_k", "unknown parameter top_k", Sampling(temperature=0.7), []),
        ("seed", "unknown parameter seed", Sampling(temperature=0.7), []),
    ],
)
async def test_an_event_names_what_a_request_does_without(name, said, sampling, settings):
    reply, named, asked = await events_of(
        refusing(name, said), sampling=sampling, tools=[TOOL] if name == "tools" else None
    )
    assert (named, len(asked)) == (settings, 2)
    assert (reply.spans[0].text, reply.degraded) == (SAID, False)


async def test_the_doctor_says_what_a_server_does_not_take():
    async with RawServer(refusing("top_k", "unknown parameter top_k")).serving() as url:
        model = model_at(url, "continue")
        found = {one.what: one async for one in findings(model, role="large")}
        await closed(model)
    assert found["large model takes"].said == "all parameters but top_k"
    assert found["large model takes"].facts == {"left_out": ["top_k"]}
