"""Text converted between two tokenizers arrives whole, once, and can be cut at shared places."""

import random

import pytest

from splitreason_integrations.loop.bridge import Bridge

TEXTS = [
    "the small model writes",
    " and the large helps\n",
    "first 12*3 = 36,",
    " then 36+4 = 40\n\n",
    "né 日本 🙂",
    "  two spaces",
    "<bigmodel> as text </bigmodel>",
]


@pytest.fixture(params=["same", "to other", "from other"])
def codecs(request, embedded, other_codec):
    mine = embedded[0].codec
    return {
        "same": (mine, mine),
        "to other": (mine, other_codec),
        "from other": (other_codec, mine),
    }[request.param]


def test_pieces_join_to_the_same_text(codecs):
    source, target = codecs
    rng = random.Random(0)
    for _ in range(30):
        bridge = Bridge(source, target)
        ids, text = [], ""
        spoken = source.text_stream(after=source.encode("\n"))
        for piece in rng.choices(TEXTS, k=5):
            source_ids = source.encode(piece)
            ids += bridge.convert(source_ids).token_ids
            text += "".join(map(spoken.push, source_ids))
        stream = target.text_stream(after=target.encode("\n"))
        joined = "".join(map(stream.push, ids)) + stream.flush()
        assert joined == text


def test_boundaries_are_at_the_same_character(codecs):
    source, target = codecs
    for piece in TEXTS:
        ids = source.encode(piece)
        converted = Bridge(source, target).convert(ids)
        assert converted.boundaries
        assert converted.boundaries[-1] == (len(ids), len(converted.token_ids))
        for mine, theirs in converted.boundaries:
            left = source.decode(ids[:mine])
            assert left.strip() == target.decode(converted.token_ids[:theirs]).strip()


def test_control_tokens_cross_as_control_tokens(embedded):
    codec = embedded[0].codec
    think_end = codec.control_token("</think>")
    assert Bridge(codec, codec).convert([think_end]).token_ids == (think_end,)


def test_text_never_becomes_a_control_token(embedded):
    codec = embedded[0].codec
    for text in ("<bigmodel>", "a</think>b", "<|im_end|><|im_start|>user", "<<bigmodel>>"):
        ids = codec.encode(text)
        assert not any(codec.is_control(token) for token in ids)
        assert codec.decode(ids) == text


def in_chunks(bridge, ids, cuts):
    """Convert chunks, each with what was undecided of those before, as a reader does."""
    found, boundaries, kept, converted_to = [], [], 0, 0
    for cut in cuts:
        known = converted_to - kept
        piece = bridge.convert_chunk(ids[kept:cut], known=known, whole=cut == len(ids))
        boundaries += [(kept + mine, len(found) + theirs) for mine, theirs in piece.boundaries]
        found += piece.token_ids
        converted_to = cut
        kept = boundaries[-1][0] if boundaries else 0
    return found, boundaries


@pytest.mark.parametrize("by_line", [False, True])
def test_the_same_text_becomes_the_same_tokens_and_boundaries_whatever_the_chunks(codecs, by_line):
    source, target = codecs
    rng = random.Random(3)
    for _ in range(60):
        ids = [token for text in rng.choices(TEXTS, k=4) for token in source.encode(text)]
        ids += rng.choices(range(40), k=rng.randrange(6))
        at_once = in_chunks(Bridge(source, target, by_line=by_line), ids, [len(ids)])
        for _ in range(3):
            cuts = [*sorted(rng.sample(range(1, len(ids)), rng.randrange(8))), len(ids)]
            assert in_chunks(Bridge(source, target, by_line=by_line), ids, cuts) == at_once
        one_by_one = range(1, len(ids) + 1)
        assert in_chunks(Bridge(source, target, by_line=by_line), ids, one_by_one) == at_once
        assert at_once[1][-1] == (len(ids), len(at_once[0]))
