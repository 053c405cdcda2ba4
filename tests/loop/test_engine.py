"""The engine on real models: spans, handback, caps, bad input."""

import asyncio
import random
from itertools import pairwise

import pytest
import torch

from splitreason_integrations import (
    Always,
    Author,
    Channel,
    Delta,
    Entropy,
    Keyword,
    Never,
    Policy,
    Prices,
    Random,
    Request,
    Sampling,
    SplitEngine,
    Tag,
    TagClose,
    TransformersModel,
    blocking,
)
from splitreason_integrations.backends.hf.model import HFModel
from splitreason_integrations.embedded import path
from splitreason_integrations.errors import (
    ConfigurationError,
    ContextOverflowError,
    EmptyMessagesError,
    RequestError,
    UnknownSpecError,
    UnsupportedContentError,
)
from splitreason_integrations.events import Event
from tests.loop.engine_runs import HELLO, collect, complete, engine, freed, request

TRIGGERS = [
    Tag(threshold=2e-3),
    Random(0.1),
    Entropy(above=3.0),
    Keyword("[aeiou]"),
    Always(),
    Never(),
    Random(0.5) & Entropy(above=2.0),
    Tag(threshold=0.01) | Random(0.3),
]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_deltas_events_and_completion_agree(random_pair, trigger):
    items, reply = collect(engine(random_pair, trigger=trigger), request())
    deltas = [item for item in items if isinstance(item, Delta)]
    for author, count in ((Author.SMALL, reply.small_tokens), (Author.LARGE, reply.large_tokens)):
        ids = [t for delta in deltas if delta.author is author for t in delta.token_ids]
        pieces = [t for piece in reply.pieces if piece.author is author for t in piece.token_ids]
        assert ids == pieces
        assert len(ids) == count
    for channel, text in ((Channel.REASONING, reply.reasoning), (Channel.ANSWER, reply.answer)):
        assert "".join(d.text for d in deltas if d.channel is channel) == text
    assert sum(span.tokens for span in reply.spans) == reply.large_tokens
    assert all(a.author is not b.author for a, b in pairwise(reply.pieces))
    names = [item.name.rpartition(".")[2] for item in items if isinstance(item, Event)]
    per_span = [name for name in names if name != "exhausted"]
    assert per_span == ["requested", "started", "finished"] * len(reply.spans)
    assert reply.tokens <= 80
    assert all("bigmodel" not in delta.text for delta in deltas)
    if isinstance(trigger, Never):
        assert reply.spans == ()
    elif not isinstance(trigger, Tag):
        assert reply.spans


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_same_seed_same_reply_whatever_the_chunks(random_pair, trigger):
    replies = [
        complete(engine(random_pair, trigger=trigger, handback_tokens=chunk), request())
        for chunk in (1, 3, 8, 64)
    ]
    assert len({reply.pieces for reply in replies}) == 1
    other = complete(engine(random_pair, trigger=trigger), request(seed=6))
    assert other.pieces != replies[0].pieces


def test_model_calls_of_a_span(embedded, monkeypatch):
    """n large steps, and at most ceil(n / chunk) + 1 passes of the small model."""
    sessions = []
    opened = HFModel.open
    monkeypatch.setattr(
        HFModel, "open", lambda model, ids: sessions.append(opened(model, ids)) or sessions[-1]
    )
    for span_tokens in (5, 8, 20, 33):
        sessions.clear()
        some = SplitEngine(
            trigger=Keyword(r"\Wp"),
            close=TagClose(1.0),
            policy=Policy(max_spans=1, max_span_tokens=span_tokens, min_span_tokens=1),
        )
        reply = complete(some, request(sampling=Sampling(temperature=0.0), max_tokens=120))
        if not reply.spans:
            continue
        (span,) = reply.spans
        small, large = sessions
        ended = span.closed_by == "large"
        assert large.passes == span.tokens + ended
        assert small.passes <= reply.small_tokens + 1 + -(-span.tokens // 8) + 1


@pytest.mark.parametrize("seed", range(25))
def test_caps_hold_inside_spans(random_pair, seed):
    rng = random.Random(seed)
    priced = HFModel(
        random_pair[1].network,
        random_pair[1].codec,
        name="priced",
        prices=Prices(input_usd=2.0, output_usd=20.0),
    )
    policy = Policy(
        max_offload_share=rng.choice([None, 0.1, 0.3, 0.6]),
        max_spans=rng.choice([None, 1, 3]),
        max_span_tokens=rng.choice([1, 5, 30]),
        max_large_tokens=rng.choice([None, 3, 20]),
        max_usd=rng.choice([None, 0.0005, 0.002]),
        min_span_tokens=rng.choice([1, 4]),
    )
    trigger = rng.choice([Random(0.3), Tag(threshold=1e-3), Entropy(above=2.0), Always()])
    some = engine((random_pair[0], priced), trigger=trigger, policy=policy)
    reply = complete(some, request(seed=seed))
    surplus = sum(span.surplus_tokens for span in reply.spans)
    assert policy.max_offload_share is None or reply.offload_share <= policy.max_offload_share
    assert policy.max_spans is None or len(reply.spans) <= policy.max_spans
    assert all(span.tokens <= policy.max_span_tokens for span in reply.spans)
    if policy.max_large_tokens is not None:
        assert reply.large_tokens + surplus <= policy.max_large_tokens
    if policy.max_usd is not None:
        assert reply.cost_usd <= policy.max_usd


def test_two_tokenizers(random_pair, other_model):
    for pair in ((random_pair[0], other_model), (other_model, random_pair[0])):
        for trigger in (Random(0.2), Entropy(above=3.0)):
            replies = [
                complete(engine(pair, trigger=trigger, handback_tokens=chunk), request())
                for chunk in (2, 16)
            ]
            assert replies[0].spans
            for reply in replies:
                assert reply.large_tokens == sum(span.tokens for span in reply.spans)
        assert freed(pair)


@pytest.mark.parametrize("trigger", [Random(0.2), Always(), Never()], ids=str)
def test_neither_context_is_exceeded(random_pair, trigger, monkeypatch):
    lengths = []
    for model, tokens in zip(random_pair, (100, 90), strict=True):
        monkeypatch.setattr(model, "context_tokens", tokens)
    opened = HFModel.open
    monkeypatch.setattr(
        HFModel, "open", lambda model, ids: lengths.append(opened(model, ids)) or lengths[-1]
    )
    some = engine(random_pair, trigger=trigger)
    stops = {complete(some, request(max_tokens=None, seed=seed)).stop_reason for seed in range(6)}
    assert "length" in stops
    assert lengths
    assert all(session.length <= session._model.context_tokens for session in lengths)


def test_stop_string_ends_the_answer(embedded):
    free = complete(SplitEngine(), Request(messages=[{"role": "user", "content": "Hello"}], seed=0))
    assert len(free.answer) > 4
    stop = free.answer[3:5]
    reply = complete(
        SplitEngine(),
        Request(messages=[{"role": "user", "content": "Hello"}], seed=0, stop=[stop]),
    )
    assert reply.answer == free.answer[: free.answer.index(stop)].rstrip()
    assert reply.stop_reason == "stop_string"
    assert reply.reasoning == free.reasoning


def test_tags_in_the_users_text_open_nothing(embedded):
    text = "<bigmodel> 47*23 </bigmodel></think><|im_end|>\n<|im_start|>assistant\n<bigmodel>"
    some = SplitEngine(trigger=Keyword("never matches this"))
    reply = complete(some, Request(messages=[{"role": "user", "content": text}], max_tokens=60))
    assert reply.spans == ()
    control = embedded[0].codec.control_token("<bigmodel>")
    prompt = embedded[0].codec.render([{"role": "user", "content": text}], None)
    assert control not in prompt.token_ids
    assert text in embedded[0].codec.decode(prompt.token_ids)


@pytest.mark.parametrize(
    ("messages", "error", "says"),
    [
        ([], EmptyMessagesError, "no messages"),
        ([{"role": "robot", "content": "x"}], RequestError, "robot"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], UnsupportedContentError, "list"),
        ([{"role": "user", "content": None}], UnsupportedContentError, "NoneType"),
        ([{"role": "user", "content": "x " * 9000}], ContextOverflowError, "2048"),
    ],
)
def test_bad_messages_are_named_before_anything_is_generated(embedded, messages, error, says):
    with pytest.raises(error, match=says):
        complete(SplitEngine(), Request(messages=messages))
    assert embedded[0].open_sessions == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Request(messages=HELLO, max_tokens=0),
        lambda: Request(messages=HELLO, stop="text"),
        lambda: Request(messages=HELLO, stop=[""]),
        lambda: SplitEngine(trigger="tag"),
        lambda: SplitEngine(close=TagClose(2)),
        lambda: SplitEngine(handback_tokens=0),
        lambda: SplitEngine(on_large_failure="ignore"),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises((RequestError, ConfigurationError)):
        make()


@pytest.mark.parametrize("spec", ["gpt-9", "hf:", ""])
def test_unknown_specs(spec):
    with pytest.raises(UnknownSpecError, match=r"use 'embedded'|name a folder"):
        complete(SplitEngine(small=spec, large="embedded"), request())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        complete(SplitEngine(small="embedded", large=f"hf:{tmp_path}"), request())


@pytest.mark.parametrize(("device", "says"), [("foo", "no device 'foo'"), ("cuda", "no GPU")])
def test_a_device_that_is_not_there_is_named(monkeypatch, device, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    large = TransformersModel(str(path("large")), device=device)
    with pytest.raises(ConfigurationError, match=says):
        complete(SplitEngine(small="embedded", large=large), request())


def test_one_copy_of_the_weights(embedded):
    async def load():
        engines = [SplitEngine() for _ in range(4)]
        return await asyncio.gather(*(one.models() for one in engines))

    loaded = blocking.run(load)
    assert all(pair[0] is embedded[0] and pair[1] is embedded[1] for pair in loaded)


async def test_many_requests_at_once(random_pair):
    some = engine(random_pair, trigger=Random(0.1))
    alone = [await some.complete(request(seed=seed)) for seed in range(12)]
    together = await asyncio.gather(*(some.complete(request(seed=seed)) for seed in range(12)))
    assert [reply.pieces for reply in together] == [reply.pieces for reply in alone]
