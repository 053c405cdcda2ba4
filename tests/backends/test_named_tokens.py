"""Probabilities at each token of an answer in text, whose server names tokens as llama.cpp does."""

import math

import pytest
import torch

from splitreason_integrations import Entropy, SplitEngine
from splitreason_integrations.backends.base import End, Gives, Verdict
from splitreason_integrations.backends.openai_server.named_tokens import (
    NamedTokens,
    read_allowed,
    read_unstreamed,
)
from splitreason_integrations.backends.openai_server.wire import UnreadableError
from splitreason_integrations.backends.scores import LIKELIEST
from splitreason_integrations.request import Request
from splitreason_integrations.text.grammar import Guide
from splitreason_integrations.text.tags import Tags
from tests.backends.form_contract import CODEC, TAGS
from tests.backends.servers import QUESTION, load, order, prompt, serving, spec, write
from tests.backends.small_models_notes import noted
from tests.backends.test_server_forms import bodies

TEXTS = [
    "So 47*23 = 940+141 = 1081, and that is all.\n\nThen: (a) one, (b) two\ttabs  and   spaces",
    "naïve café 日本語 emoji 😀👍🏽 mixed ünïcode",
    "日",
    "🎉🎉🎉",
]


def event(text, token, **more):
    top = {"id": token, "token": "", "logprob": -0.5, "top_logprobs": []}
    logprobs = {"content": [top]} if token is not None else None
    return {"choices": [{"text": text, "finish_reason": None, "logprobs": logprobs, **more}]}


def events(ids):
    """Yield an event for each token behind which all characters are whole, as llama.cpp does."""
    sent = ""
    for at, token in enumerate(ids, 1):
        text = CODEC.decode(ids[:at])
        if not text.endswith("\ufffd"):
            yield event(text[len(sent) :], token)
            sent = text


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_within_characters_are_found_and_their_scores_are_not_known(text):
    ids, reader = CODEC.encode(text), NamedTokens(CODEC, CODEC.encode("hello"))
    parts = [reader.read(one) for one in events(ids)]
    assert [token for part in parts for token in part.token_ids] == ids
    known = [one is not None for part in parts for one in part.top]
    ends = [not CODEC.decode(ids[:at]).endswith("\ufffd") for at in range(1, len(ids) + 1)]
    assert known == ends


def read_all(*some):
    reader = NamedTokens(CODEC, CODEC.encode("hello"))
    return [token for one in some for token in reader.read(one).token_ids]


def test_a_control_token_is_known_by_its_id_whether_it_is_shown_or_not():
    (tag,), (letter,) = TAGS.open_tokens, CODEC.encode("x")
    for shown in ("", "<bigmodel>"):
        assert read_all(event(shown, tag), event("x", letter)) == [tag, letter]


def test_a_control_token_that_ends_the_answer_is_no_part_of_it():
    (tag,), (letter,) = TAGS.open_tokens, CODEC.encode("x")
    assert read_all(event("x", letter), event("", tag), event("", None)) == [letter]


def test_a_character_in_other_tokens_than_its_usual_ones_is_known_by_its_text():
    reader, usual = NamedTokens(CODEC, CODEC.encode("hello")), CODEC.encode("日")
    part = reader.read(event("日", CODEC.encode("x")[0]))
    assert list(part.token_ids) == usual
    assert list(part.top) == [None] * len(usual)


def test_text_without_a_name_is_unreadable():
    with pytest.raises(UnreadableError, match="without log probabilities"):
        NamedTokens(CODEC, CODEC.encode("hello")).read(event("x", None))


def test_what_is_no_probability_of_a_token_is_left_out():
    wrong = [
        {"id": [1], "prob": 0.5},
        {"id": 2},
        {"id": 3, "prob": 0.0},
        "x",
        {"id": 4, "prob": "x"},
    ]
    content = [{"id": 7, "top_probs": [*wrong, {"id": 9, "prob": 0.25}]}]
    choice = {"text": "x", "finish_reason": None, "logprobs": {"content": content}}
    (top,) = read_allowed({"choices": [choice]}).top
    assert top == {"token_id:9": math.log(0.25)}
    for none in ([], ["x"], [{"id": 7}], [{"id": 7, "top_probs": wrong}]):
        changed = {**choice, "logprobs": {"content": none}}
        assert not read_allowed({"choices": [changed]}).top


def test_an_unstreamed_answer_says_which_tokens_are_not_known():
    whole = {"content": "x", "tokens": [5, 6], "stop_type": "limit"}
    one = {"id": 6, "logprob": -0.5, "top_logprobs": []}
    part = read_unstreamed({**whole, "completion_probabilities": [one]})
    assert (part.token_ids, part.finish, list(part.top)) == ((5, 6), "length", [None, None])
    known = read_unstreamed({**whole, "completion_probabilities": [{**one, "id": 5}, one]})
    assert [list(top) for top in known.top] == [["token_id:5"], ["token_id:6"]]
    for broken in ({}, {"tokens": None}, {**whole, "tokens": ["5"]}, {**whole, "content": 5}):
        with pytest.raises(UnreadableError):
            read_unstreamed(broken)


class Notes:
    """A watch that keeps everything and notes all that it gets."""

    probability_of = TAGS.open_tokens[0]
    wants_entropy = wants_confidence = True

    def __init__(self):
        self.seen = []

    def __call__(self, token_id, *, index, probability, entropy, confidence):
        self.seen.append((index, token_id, probability, entropy, confidence))
        return Verdict.KEEP


@pytest.fixture(scope="module")
def server():
    with serving("dialect_server", "embedded:small", "text", "--names", "--grammars") as (_, url):
        yield spec(url, context_tokens=2048)


class Says:
    """A guide whose engine holds the whole reply to a text; it keeps whatever comes."""

    grammar = 'start: "日本 is 🎉, é"\n'
    between, reasoning_end = (), None

    def answer_tokens(self, reply):
        return len(reply)

    def accepted(self, reply, token_ids):
        return len(token_ids)


async def check_within_characters(model, here):
    """Check what is known at each token of an answer whose characters have several tokens."""
    await model.find_out()
    assert model.gives == Gives.ALL
    session, notes = model.open(prompt()), Notes()
    held = {"guide": Says(), "stop_tokens": CODEC.end_tokens, "forbidden": TAGS.control_tokens}
    ids, last = await write(session, order(60, watch=notes, **held))
    session.close()
    assert last.end is End.STOP_TOKEN
    assert CODEC.decode(ids) == "日本 is 🎉, é"
    assert len(ids) > 12
    tokens = [*ids, last.stop_token]
    assert [one[:2] for one in notes.seen] == list(enumerate(tokens))
    logits = here.forward([*prompt(), *tokens], here.new_cache(), last=0)[len(prompt()) - 1 : -1]
    chances = logits.double().softmax(-1)
    lost = chances[:, list(TAGS.control_tokens)].sum(-1)
    for at, (_, token, probability, entropy, confidence) in enumerate(notes.seen):
        opening = float(chances[at, TAGS.open_tokens[0]])
        assert probability == pytest.approx(opening, abs=2e-3) or opening < 1 / LIKELIEST
        assert confidence == pytest.approx(float(chances[at, token] / (1 - lost[at])), abs=2e-3)
        allowed = chances[at] / (1 - lost[at])
        allowed[list(TAGS.control_tokens)] = 0
        whole = float(torch.special.entr(allowed).sum())
        rest = 1 - float(chances[at].topk(LIKELIEST).values.sum())
        bound = rest / (1 - float(lost[at])) * math.log(chances.shape[-1] - LIKELIEST)
        assert -2e-3 <= whole - entropy <= bound + 2e-3


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_all_is_known_at_each_token_also_within_characters(server, embedded):
    await check_within_characters(load(server), embedded[0])
    asked = [one for body in bodies(server.url) for one in body["prompt"] if isinstance(one, list)]
    assert asked, "what is behind half a character is asked by ids"


async def check_orders_within_characters(model, most):
    """Check an answer that is written by orders of so many tokens."""
    ids, end = [], None
    await model.find_out()
    session = model.open(prompt())
    guide = Guide(CODEC, 'start: "日本 is " ("🎉" | "🎈" | "é") "日"\n', Tags(), reasons=False)
    held = {"guide": guide, "stop_tokens": CODEC.end_tokens, "forbidden": TAGS.control_tokens}
    while end is not End.STOP_TOKEN and len(ids) < 40:
        some, last = await write(session, order(most, **held))
        assert len(some) == most or last.end is End.STOP_TOKEN
        ids, end = [*ids, *some], last.end
    session.close()
    assert CODEC.decode(ids) in {f"日本 is {one}日" for one in "🎉🎈é"}


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("most", [1, 2, 3, 5])
async def test_orders_may_end_within_characters(server, most):
    await check_orders_within_characters(load(server), most)


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_a_proxy_that_passes_on_v1_alone_is_asked_for_no_more(embedded):
    flags = ("--names", "--grammars", "--v1-only")
    with serving("dialect_server", "embedded:small", "text", *flags) as (_, url):
        await check_within_characters(load(spec(url, context_tokens=2048)), embedded[0])
        assert sum("return_tokens" in body for body in bodies(url)) == 1


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_what_is_left_beside_a_forbidden_tag_does_not_drown_in_rounding(server, embedded):
    (one,), network = await noted("embedded", replies=1), embedded[0].network
    logits = network(torch.tensor([[*one.prompt, *one.token_ids]])).logits[0, len(one.prompt) - 1 :]
    chances = logits.detach().double().softmax(-1)
    left = 1 - chances[:, list(TAGS.control_tokens)].sum(-1)
    at = int(left[: len(one.token_ids)].argmin())
    assert left[at] < 1e-3
    model, notes = load(server), Notes()
    await model.find_out()
    session = model.open(one.prompt)
    session.extend(one.token_ids[:at])
    (token,), _ = await write(session, order(1, watch=notes, forbidden=TAGS.control_tokens))
    session.close()
    ((_, _, probability, entropy, confidence),) = notes.seen
    chances[at, list(TAGS.control_tokens)] = 0
    allowed = chances[at] / left[at]
    assert token == int(allowed.argmax())
    assert confidence == pytest.approx(float(allowed[token]), abs=1e-4)
    rest = 1 - float(allowed.topk(LIKELIEST).values.sum())
    bound = rest * math.log(len(allowed) - LIKELIEST)
    whole = float(torch.special.entr(allowed).sum())
    assert -1e-3 <= whole - entropy <= bound + 1e-3
    assert 1 - float(left[at]) == pytest.approx(probability, abs=1e-3)


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_spans_open_where_they_do_here(server):
    trigger = Entropy(0.3)
    asked = Request(messages=[{"role": "user", "content": QUESTION}], seed=1, max_tokens=200)
    here = await SplitEngine(trigger=trigger).complete(asked)
    there = await SplitEngine(small=server, large="embedded", trigger=trigger).complete(asked)
    assert here.spans
    assert there.pieces == here.pieces
