"""Texts that cannot fit are refused before they are tokenised; a text that fits never is."""

import random

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from splitreason_integrations import embedded
from splitreason_integrations.backends.codec import TokenizerCodec
from splitreason_integrations.backends.token_bounds import TokenBound
from splitreason_integrations.errors import ContextOverflowError

PARTS = [
    *(
        "a",
        "aa",
        "the ",
        " of",
        "\n",
        "  ",
        "\t",
        "0",
        "1081",
        "é",
        "e\u0301",
        "\u1112\u1161\u11ab",
    ),
    *(
        "日本",
        "🙂",
        "▁",
        " ▁",
        "=" * 40,
        " " * 90,
        "<0x0A>",
        "\u00a0",
        "\u200b",
        "ﬀ",
        "\ufb03",
        "ss",
    ),
]


def byte_level(**more):
    """A BPE tokenizer over bytes with long pieces."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, "Ġ" * 2, "Ġ" * 4, "th", "the", "Ġthe"]
    merges = [("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("t", "h"), ("th", "e"), ("Ġ", "the")]
    model = models.BPE({piece: at for at, piece in enumerate(pieces)}, merges)
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for name, value in more.items():
        setattr(made, name, value)
    return PreTrainedTokenizerFast(tokenizer_object=made)


def pieces(*, byte_fallback):
    """A tokenizer over whole characters, with a token for each byte or one for what is unknown."""
    listed = [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
    vocabulary = {p: at for at, p in enumerate(["<unk>", *listed, "▁", "a", "aa", "▁a", "e"])}
    model = models.BPE(
        vocabulary,
        [("a", "a"), ("▁", "a")],
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=byte_fallback,
    )
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.NFKC(), normalizers.Replace(" ", "▁")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made)


def trimming():
    made = byte_level()
    made.add_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return made


BOUNDED = {
    "embedded": lambda: AutoTokenizer.from_pretrained(str(embedded.path("small"))),
    "bytes": byte_level,
    "NFC": lambda: byte_level(normalizer=normalizers.NFC()),
    "fallback": lambda: pieces(byte_fallback=True),
}
UNBOUNDED = {
    "unknown characters are one token": lambda: pieces(byte_fallback=False),
    "white space is dropped": lambda: byte_level(pre_tokenizer=pre_tokenizers.WhitespaceSplit()),
    "ends are dropped": lambda: byte_level(normalizer=normalizers.Strip()),
    "an added token takes the spaces before it": trimming,
}


@pytest.mark.parametrize("make", BOUNDED.values(), ids=BOUNDED)
def test_no_text_has_fewer_tokens_than_its_bound(make):
    tokenizer, rng = make(), random.Random(7)
    bound = TokenBound(tokenizer)
    for _ in range(300):
        few = rng.sample(PARTS, rng.randint(1, 4))
        text = "".join(rng.choice(few) for _ in range(rng.randint(0, 200)))
        tokens = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        assert bound.least_tokens(text) <= len(tokens), (text, tokens)
    assert bound.least_tokens("some words to read, " * 1000) > 100
    assert bound.least_tokens("a" * 100_000) > 100


@pytest.mark.parametrize("make", UNBOUNDED.values(), ids=UNBOUNDED)
def test_a_tokenizer_that_can_lose_text_has_no_bound(make):
    assert TokenBound(make()).least_tokens("some words to read, " * 1000) == 0


def test_a_text_that_fits_is_rendered_and_one_that_cannot_is_refused():
    codec = TokenizerCodec(BOUNDED["embedded"](), name="small")
    messages = [{"role": "user", "content": "word " * 500}]
    prompt = codec.render(messages, None)
    size = len(prompt.token_ids)
    assert codec.render(messages, None, context_tokens=size + 1) == prompt
    with pytest.raises(ContextOverflowError, match=r"characters, which are .* tokens or more"):
        codec.render(messages * 100, None, context_tokens=size + 1)
