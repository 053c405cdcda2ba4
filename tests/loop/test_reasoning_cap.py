"""The reasoning never has a token more than its cap, whoever writes it, and an answer follows."""

import random
from dataclasses import asdict, replace

import pytest

from splitreason_integrations import (
    Always,
    Answer,
    AskRule,
    AuditLog,
    Author,
    HumanCheck,
    Keyword,
    Policy,
    Request,
    SplitEngine,
    Tag,
    blocking,
)
from splitreason_integrations.audit.history import load as load_history
from splitreason_integrations.audit.replay import run_again
from splitreason_integrations.errors import RequestError, ReviewPendingError, SettingError
from splitreason_integrations.loop.transcript import CLOSER
from splitreason_integrations.testing import ScriptedModel, embedded_codec
from splitreason_integrations.text.reply_formats import FORMATS
from splitreason_integrations.text.thoughts import closing_tokens
from tests.conftest import random_network
from tests.loop.engine_runs import collect, complete, engine, request
from tests.text.test_family_grammars import EagerInFamily, codec_of

HELLO = [{"role": "user", "content": "How many are 3 pens and 4 pens?"}]
SMALL = "I add the three pens to<bigmodel> So that is all of it.</think>\n\nSeven pens."
LARGE = " the four, which makes seven pens in all.</bigmodel>"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def pair(small=SMALL, large=LARGE, **more):
    return {
        "small": ScriptedModel(small, name="small", **more),
        "large": ScriptedModel(large, name="large", **more),
    }


def ask(cap, **more):
    return Request(messages=HELLO, seed=1, max_reasoning_tokens=cap, **more)


def run(cap, *, small=SMALL, large=LARGE, asked=None, **settings):
    settings = {"trigger": Tag(), "telemetry": None, **settings}
    return collect(SplitEngine(**pair(small, large), **settings), ask(cap, **(asked or {})))


def names(events):
    return [item.name for item in events if hasattr(item, "name")]


def test_the_reasoning_ends_at_the_cap_and_the_answer_is_written():
    events, reply = run(4)
    assert reply.reasoning_tokens == 4
    assert reply.reasoning == "I add the th"
    assert reply.answer
    assert reply.stop_reason == "stop"
    assert reply.facts()["reasoning"] == {"tokens": 4, "max_tokens": 4, "was_ended": True}
    assert names(events).count("splitreason.budget.exhausted") == 1
    assert {piece.model for piece in reply.pieces} == {0}
    text = embedded_codec().decode([token for piece in reply.pieces for token in piece.token_ids])
    assert text.startswith("I add the th</think>\n\n")


def test_without_a_cap_and_below_it_nothing_changes():
    _, free = run(None)
    events, reply = run(500)
    assert (reply.pieces, reply.reasoning) == (free.pieces, free.reasoning)
    assert reply.facts()["reasoning"]["was_ended"] is False
    assert "reasoning" not in free.facts()
    assert "splitreason.budget.exhausted" not in names(events)


def test_in_the_middle_of_a_span_the_span_ends_first():
    _, whole = run(None)
    before = whole.spans[0].start_token
    events, reply = run(before + 8)
    (span,) = reply.spans
    assert (span.tokens, span.closed_by) == (8, "max_reasoning_tokens")
    assert reply.reasoning_tokens == before + 8
    order = names(events)
    assert order.index("splitreason.handoff.finished") < order.index("splitreason.budget.exhausted")
    assert reply.answer


def test_nobody_is_asked_where_a_span_would_have_no_room():
    _, whole = run(None)
    asked = []
    check = HumanCheck(reviewer=lambda question: asked.append(question) or True)
    policy = Policy(only_in_reasoning=True)
    _, reply = run(whole.spans[0].start_token, human_check=check, policy=policy)
    assert (asked, reply.spans) == ([], ())
    assert reply.reasoning_tokens <= whole.spans[0].start_token


@pytest.mark.parametrize("cap", [0, 1, 2, 9, 30])
def test_where_the_large_model_writes_all_of_it(cap):
    large = "I add them up, and that is seven.</think>\n\nSeven pens."
    _, reply = run(cap, trigger=Always(), large=large)
    assert reply.reasoning_tokens <= cap
    assert reply.answer
    assert reply.large_tokens > 0


def test_the_smaller_cap_of_policy_and_request_holds():
    policy = Policy(max_reasoning_tokens=3)
    assert run(None, policy=policy)[1].reasoning_tokens == 3
    assert run(2, policy=policy)[1].reasoning_tokens == 2
    assert run(20, policy=policy)[1].reasoning_tokens == 3


@pytest.mark.parametrize("value", [-1, 1.5, "many"])
def test_a_cap_that_is_none_is_refused(value):
    with pytest.raises(RequestError, match="max_reasoning_tokens"):
        ask(value)
    with pytest.raises(SettingError, match="max_reasoning_tokens"):
        Policy(max_reasoning_tokens=value)


def test_the_end_of_the_reasoning_counts_among_all_tokens():
    _, reply = run(4, asked={"max_tokens": 5})
    assert (reply.tokens, reply.stop_reason) == (5, "length")


class Later:
    async def review(self, paused):
        return None


def approved(some_engine, asked):
    """Return the reply to a request that is put aside at each question."""
    with pytest.raises(ReviewPendingError) as pending:
        complete(some_engine, asked)
    paused, approve = pending.value.paused, Answer(decision="approve")
    while True:
        try:
            return blocking.run(lambda asked=paused: some_engine.finish(asked, approve))
        except ReviewPendingError as error:
            paused = error.paused


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_request_put_aside_goes_on_to_the_same_reply(moment):
    check = HumanCheck(reviewer=Later())
    policy = Policy(**{f"ask_{moment}": AskRule()})
    _, whole = run(None)
    cap = whole.spans[0].start_token + 9
    settings = {"policy": policy, "human_check": check, "telemetry": None, "trigger": Tag()}
    some_engine = SplitEngine(**pair(), **settings)
    reply = approved(some_engine, ask(cap))
    _, unasked = run(cap)
    assert reply.pieces == unasked.pieces
    assert reply.facts()["reasoning"] == unasked.facts()["reasoning"]


def test_a_pause_behind_the_end_of_the_reasoning_counts_no_token_twice():
    """The question comes in the answer: what ended the reasoning is restored as what it was."""
    small = "I think about it at length.</think>\n\nSeven<bigmodel> it is.</think>"
    check = HumanCheck(reviewer=Later())
    some_engine = SplitEngine(**pair(small), human_check=check, telemetry=None, trigger=Tag())
    reply = approved(some_engine, ask(3))
    assert reply.reasoning_tokens == 3
    assert reply.facts()["reasoning"]["was_ended"] is True


def test_an_audited_reply_is_replayed_to_the_same_tokens(tmp_path):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path, content=True)
    some_engine = SplitEngine(audit=log, telemetry=None)
    reply = complete(some_engine, ask(6, max_tokens=60))
    assert reply.reasoning_tokens == 6
    history = load_history(path)
    (request_id,) = [one.request_id for one in history.requests]
    assert blocking.run(lambda: run_again(history.request(request_id))).identical


@pytest.mark.parametrize("slices", [1, 3, 4, 64])
def test_a_thought_that_begins_again_is_ended_at_once(slices):
    """Here its beginning is plain text, which nothing forbids."""
    codec = codec_of(FORMATS["hermes"])
    codec._control.pop("<think>", None)
    small = "One two.</think>Three<think> four five six</think> seven"
    model = ScriptedModel(small, name="small", codec=codec, slice_tokens=slices)
    large = ScriptedModel(LARGE, name="large", codec=codec)
    some_engine = SplitEngine(small=model, large=large, trigger=Keyword("zz"), telemetry=None)
    reply = complete(some_engine, ask(40))
    assert reply.reasoning == "One two."
    assert reply.answer == "Three\n\n four five six</think> seven"
    text = codec.decode([token for piece in reply.pieces for token in piece.token_ids])
    assert text == "One two.</think>Three<think></think>\n\n four five six</think> seven"


@pytest.mark.parametrize("slices", [1, 3, 64])
@pytest.mark.parametrize("chunk", [1, 8])
def test_one_in_a_span_is_cut_off_there(slices, chunk):
    codec = codec_of(FORMATS["hermes"])
    codec._control.pop("<think>", None)
    small = "One.</think>Two<bigmodel> the end."
    large = " three<think> four five</bigmodel>"
    made = {
        role: ScriptedModel(script, name=role, codec=codec, slice_tokens=slices)
        for role, script in (("small", small), ("large", large))
    }
    some_engine = SplitEngine(**made, trigger=Tag(), handback_tokens=chunk, telemetry=None)
    reply = complete(some_engine, ask(40))
    (span,) = reply.spans
    assert (span.text, span.closed_by) == (" three<think>", "max_reasoning_tokens")
    text = codec.decode([token for piece in reply.pieces for token in piece.token_ids])
    assert text == "One.</think>Two three<think></think>\n\n the end."
    assert (reply.reasoning, reply.reasoning_tokens) == ("One.", 4)


@pytest.mark.parametrize("name", FORMATS)
def test_families_end_their_reasoning_in_their_own_way(name):
    codec = codec_of(FORMATS[name])
    form = codec.reply_format
    text = codec.decode(closing_tokens(codec, "so", answers=True))
    assert text == form.end_of_reasoning + (form.answer_start or form.after_reasoning)
    assert text.startswith(form.end_of_reasoning)
    if form.answer_start:
        called = codec.decode(closing_tokens(codec, "so", answers=False))
        assert called == form.end_of_reasoning


def test_an_end_in_plain_text_that_has_begun_is_completed():
    codec = codec_of(FORMATS["hermes"])
    codec._control.pop("</think>", None)
    assert codec.decode(closing_tokens(codec, "so </th", answers=True)) == "ink>\n\n"


def test_a_tokenizer_of_its_own_marks_has_its_reasoning_ended_in_them():
    codec = codec_of(FORMATS["hermes"])
    thought = {"open": "<|channel>thought\n", "close": "<channel|>"}
    codec._tokenizer.response_template = {
        "start_anchor_pattern": r"\A",
        "fields": {"thinking": thought, "content": {}},
    }
    codec._tokenizer.chat_template = codec._tokenizer.chat_template.replace("<think>", "")
    small = ScriptedModel("<|channel>thought\nOne two three.<channel|>Seven.", codec=codec)
    large = ScriptedModel(LARGE, name="large", codec=codec)
    some_engine = SplitEngine(small=small, large=large, trigger=Keyword("zz"), telemetry=None)
    reply = complete(some_engine, ask(6))
    assert reply.reasoning_was_ended
    assert reply.reasoning_tokens == 6
    text = codec.decode([token for piece in reply.pieces for token in piece.token_ids])
    assert text.startswith(f"<|channel>thought\n{reply.reasoning}<channel|>")
    assert codec.reply_format.after_reasoning == ""


WORDS = ["pens ", "and ", "so ", "3+4 ", "= ", "7. ", "\n", "é", "<"]


def _script(rng, form, *, tags):
    words = [rng.choice(WORDS) for _ in range(rng.randrange(60))]
    for _ in range(rng.randrange(3)):
        words.insert(rng.randrange(len(words) + 1), rng.choice(tags))
    for mark in (form.end_of_reasoning, form.begin_of_reasoning, form.end_of_reasoning):
        if rng.random() < 0.5:
            words.insert(rng.randrange(len(words) + 1), mark)
    return "".join(words) + f"{form.end_of_reasoning}{form.answer_start}Seven."


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("plain", [False, True])
def test_no_token_more_than_the_cap(name, plain):
    """Scripts that end, begin again and hand over their reasoning anywhere, in every family."""
    rng = random.Random(f"{name}{plain}")
    codec = codec_of(FORMATS[name])
    if plain:
        for mark in (FORMATS[name].begin_of_reasoning, FORMATS[name].end_of_reasoning):
            codec._control.pop(mark, None)
    form = codec.reply_format
    ended = 0
    for seed in range(40):
        models = {
            "small": _script(rng, form, tags=["<bigmodel>"]),
            "large": _script(rng, form, tags=["</bigmodel>"]),
        }
        slices = rng.choice([1, 3, 16])
        made = {
            role: ScriptedModel(text, name=role, codec=codec, slice_tokens=slices)
            for role, text in models.items()
        }
        cap = rng.choice([0, 1, 2, 5, 13, 40])
        some_engine = SplitEngine(
            **made,
            trigger=rng.choice([Tag(), Always(), Keyword("= $")]),
            policy=Policy(
                only_in_reasoning=rng.random() < 0.5, max_span_tokens=rng.choice([4, 64])
            ),
            human_check=rng.choice([None, HumanCheck(reviewer=lambda question: True)]),
            handback_tokens=rng.choice([1, 8]),
            telemetry=None,
        )
        asked = ask(cap, max_tokens=400, tools=[TOOL] if rng.random() < 0.3 else None)
        _, reply = collect(some_engine, replace(asked, seed=seed))
        case = (name, plain, seed, cap, models)
        assert reply.reasoning_tokens <= cap, case
        assert len(codec.encode(reply.reasoning.replace("\ufffd", ""))) <= cap, case
        assert reply.tokens == reply.small_tokens + reply.large_tokens, case
        assert reply.stop_reason in ("stop", "length"), case
        assert all(model.open_sessions == 0 for model in made.values())
        ended += reply.reasoning_was_ended
    assert ended > 5


@pytest.mark.parametrize("cap", [0, 3, 17])
def test_random_models_answer_behind_the_cap(random_pair, cap):
    for seed in range(4):
        reply = complete(
            engine(random_pair), request(seed=seed, max_reasoning_tokens=cap, max_tokens=60)
        )
        assert reply.reasoning_tokens <= cap
        assert reply.reasoning_was_ended or reply.reasoning_tokens < cap
        authors = {piece.author for piece in reply.pieces}
        assert authors <= {Author.SMALL, Author.LARGE}


@pytest.mark.parametrize("name", ["hermes", "llama3", "mistral"])
def test_an_answer_held_to_a_schema_follows(name):
    codec = codec_of(FORMATS[name])
    size = len(codec._tokenizer)
    models = [EagerInFamily(random_network(size, s), codec, name=f"r-{s}") for s in (1, 2)]
    for seed in range(3):
        reply = complete(
            engine(models),
            request(
                seed=seed,
                max_reasoning_tokens=3,
                response_schema={"enum": ["yes", "no"]},
            ),
        )
        assert reply.reasoning_tokens <= 3
        assert reply.answer in ('"yes"', '"no"')


def test_plain_data_keeps_the_cap():
    asked = ask(7)
    assert Request.of(asked.data()) == asked
    assert CLOSER[0] is Author.SMALL
    assert asdict(asked)["max_reasoning_tokens"] == 7
