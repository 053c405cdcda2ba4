"""The product on SmolLM2-135M-Instruct: as small and as large, with another tokenizer and alone."""

import json
import re
from functools import cache

import pytest
import torch

from splitreason_integrations import (
    Always,
    Disagreement,
    Entropy,
    Never,
    Policy,
    SplitEngine,
    TransformersModel,
    blocking,
    parse_close,
)
from splitreason_integrations.backends.registry import load_model
from splitreason_integrations.doctor import examine_model
from splitreason_integrations.records import Author
from splitreason_integrations.request import Request
from splitreason_integrations.sampling import Sampling
from tests.backends.test_session import order, write
from tests.real.smollm2 import FOLDER, GGUF_FILE, is_there

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not is_there(), reason="make test-real fetches the model"),
]

REAL = f"hf:{FOLDER}"
GREEDY = Sampling(temperature=0.0)
TOKENS = 24
PROMPTS = [
    "What is 17 times 23?",
    "Name three rivers in Europe.",
    "Was ist die Hauptstadt von Österreich?",
    "Schreibe einen Satz über den Frühling in Thüringen.",
    "Erkläre den Unterschied zwischen „dass“ und „das“.",
    "日本の首都はどこですか。",
    "「ありがとう」を英語に訳してください。",
    "東京タワーの高さは？",
    "Reply with emoji only: 🎉🍰",
    "What does 👩‍👩‍👧‍👦 mean?",
    "🇩🇪🇯🇵: which two countries?",
    "def fib(n):\n    # complete this function",
    "Fix this: for i in range(10) print(i)",
    'Write JSON with the keys "a" and "b".',
    "SELECT name FROM users WHERE -- finish the query",
    "<h1>Hello</h1> What does this HTML show?",
    "Translate to French: the cat sleeps.",
    "\tTabs\tand  double  spaces: repeat them.",
    "Ça va? Réponds en français.",
    "x² + y² = z². Give one solution.",
]
ONE_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes", "no"]}},
    "required": ["answer"],
}


def asked(text, **more):
    settings = {"max_tokens": TOKENS, "seed": 1, "sampling": GREEDY, **more}
    return Request(messages=[{"role": "user", "content": text}], **settings)


@pytest.fixture(scope="module")
def real():
    return blocking.run(lambda: load_model(REAL, role="small"))


@pytest.fixture(scope="module")
def expected(real):
    """Return what transformers' own `generate` writes, without the token that ends the turn."""

    @cache
    def written(text, opening=""):
        prompt = [*rendered(real, text).token_ids, *real.codec.encode(opening)]
        found = real.network.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=TOKENS
        )
        ids = found[0, len(prompt) :].tolist()
        return ids[:-1] if ids[-1] in real.codec.end_tokens else ids

    return written


def rendered(model, text):
    return model.codec.render([{"role": "user", "content": text}], None)


async def ids_of(engine, text, author):
    reply = await engine.complete(asked(text))
    # Where the template begins a thought that this model never ends, the small one answers.
    assert reply.degraded is ({piece.author for piece in reply.pieces} > {author})
    return [token for piece in reply.pieces if piece.author is author for token in piece.token_ids]


THINK = "<think>\n"
"""What the bundled models' template begins a reply with, and so the other model's does."""

PAIRS = {
    "small, never": (REAL, "embedded", Never(), ""),
    "large behind another tokenizer, always": ("embedded", REAL, Always(), THINK),
    "both, never": (REAL, REAL, Never(), ""),
    "both, always": (REAL, REAL, Always(), ""),
}


@pytest.mark.parametrize("pair", PAIRS)
async def test_token_ids_are_those_of_generate(pair, expected):
    small, large, trigger, opening = PAIRS[pair]
    engine = SplitEngine(small=small, large=large, trigger=trigger)
    author = Author.LARGE if trigger == Always() else Author.SMALL
    # With one tokenizer nothing depends on the text: half of the prompts are enough.
    for text in PROMPTS[:: 2 if small == large else 1]:
        assert await ids_of(engine, text, author) == expected(text, opening), text


@pytest.mark.parametrize(
    "pair", [(REAL, "embedded"), (REAL, REAL), ("embedded", REAL), (REAL, "random")]
)
@pytest.mark.parametrize("close", ["agrees | step", "step", "entropy<0.5 | step"])
async def test_spans_end_and_shares_stay_under_their_cap(pair, close, random_pair):
    policy = Policy(max_offload_share=0.3, max_span_tokens=24)
    rule = parse_close(close)
    small, large = pair[0], random_pair[1] if pair[1] == "random" else pair[1]
    engine = SplitEngine(small=small, large=large, trigger=Entropy(1.5), close=rule, policy=policy)
    by_rule = 0
    for text in PROMPTS[:2]:
        reply = await engine.complete(asked(text, max_tokens=60))
        assert not reply.degraded
        assert reply.large_tokens <= 0.3 * reply.tokens
        for span in reply.spans:
            assert span.tokens <= 24
            assert span.closed_by
            by_rule += span.closed_by == str(rule)
            if span.closed_by == "step":
                assert re.search(r"[.!?…。！？\n]", span.text), span
    assert by_rule or large is random_pair[1]


async def test_the_large_model_reads_along_and_agrees_with_itself():
    """A model that disagrees with itself nowhere opens no span, and none is needed."""
    engine = SplitEngine(
        small=REAL, large=REAL, trigger=Disagreement(0.1), close=parse_close("agrees | step")
    )
    for text in PROMPTS[:2]:
        reply = await engine.complete(asked(text, max_tokens=40))
        assert (reply.large_tokens, reply.degraded) == (0, False)


async def test_another_large_model_disagrees_and_hands_back():
    engine = SplitEngine(
        small=REAL,
        large="embedded",
        trigger=Disagreement(0.1),
        close=parse_close("agrees | step"),
        policy=Policy(max_offload_share=0.5, max_span_tokens=16),
    )
    reply = await engine.complete(asked(PROMPTS[0], max_tokens=40))
    assert reply.spans
    assert not reply.degraded
    assert all(span.closed_by and span.tokens <= 16 for span in reply.spans)


async def test_the_gguf_file_itself_is_the_same_model(real):
    model = await load_model(TransformersModel(str(GGUF_FILE), dtype="float32"), role="large")
    prompt = rendered(real, PROMPTS[2])
    texts = []
    for one in (real, model):
        session = one.open(prompt)
        texts.append((await write(session, order(8)))[0])
        session.close()
    assert texts[0] == texts[1]


async def test_doctor_finds_nothing_wrong():
    for role in ("small", "large"):
        found = [finding async for finding in examine_model(REAL, role=role)]
        assert [finding for finding in found if not finding.ok] == []


async def test_tools_reach_a_template_that_has_none(real):
    weather = {"name": "weather_in", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": weather}]
    prompt = real.codec.render([{"role": "user", "content": "Weather?"}], tools)
    assert "weather_in" in real.codec.decode(prompt.token_ids)


async def test_an_answer_fits_its_schema():
    engine = SplitEngine(small=REAL, large="embedded", trigger=Never())
    reply = await engine.complete(asked("Is 7 prime?", response_schema=ONE_SCHEMA))
    assert json.loads(reply.answer)["answer"] in ("yes", "no")


async def test_penalties_are_those_of_generate(real):
    engine = SplitEngine(small=REAL, large="embedded", trigger=Never())
    penalties = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3}
    sampling = Sampling(temperature=0.0, **penalties)
    reply = await engine.complete(asked(PROMPTS[1], sampling=sampling))
    prompt = rendered(real, PROMPTS[1]).token_ids
    found = real.network.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=TOKENS, **penalties
    )
    assert [t for piece in reply.pieces for t in piece.token_ids] == found[
        0, len(prompt) :
    ].tolist()
