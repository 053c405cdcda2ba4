"""The reply's text where two authors meet, and where the clock has cut it."""

import pytest

from splitreason_integrations.loop.participant import Participant
from splitreason_integrations.loop.transcript import SMALL, Transcript
from splitreason_integrations.protocols import Prompt
from splitreason_integrations.records import Author, Piece
from splitreason_integrations.sampling import Sampling
from splitreason_integrations.text.replies import ReplyReader
from splitreason_integrations.text.reply_formats import TAGGED
from splitreason_integrations.text.tags import Tags

LARGE = (Author.LARGE, 0)

TEXT = "a é🙂 b"


def transcript(small, large):
    codecs = {SMALL: small, LARGE: large}
    return Transcript(codecs, small.encode("x"), ReplyReader(TAGGED.response_template, ""))


def shown(deltas):
    return "".join(delta.text for delta in deltas)


def test_a_character_may_be_of_two_authors_with_one_tokenizer(embedded):
    codec = embedded[0].codec
    ids = codec.encode(TEXT)
    assert len(ids) > len(TEXT)
    for cut in range(1, len(ids)):
        both = transcript(codec, codec)
        first = both.add(SMALL, ids[:cut])
        assert shown(first + both.add(LARGE, ids[cut:]) + both.finish()) == TEXT


def test_half_a_character_stays_in_its_place_with_two_tokenizers(embedded, other_codec):
    small = embedded[0].codec
    half = small.encode("é")[:1]
    both = transcript(small, other_codec)
    deltas = both.add(SMALL, [*small.encode("a"), *half])
    deltas += both.add(LARGE, other_codec.encode("b"))
    deltas += both.add(SMALL, small.encode("c")) + both.finish()
    assert shown(deltas).replace(" ", "") == "a\ufffdbc"


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_slices_of_the_other_author_do_not_show_in_what_a_model_has_read(
    embedded, other_codec, other_model, cut
):
    small = embedded[0].codec
    ids = tuple(small.encode("the small model writes 12*3 = 36"))
    sequences = []
    for pieces in ([ids], [ids[:cut], ids[cut:]]):
        codecs, sampling = {SMALL: small, LARGE: other_codec}, Sampling()
        prompt = Prompt((5, 6), "")
        participant = Participant(
            LARGE, other_model, prompt, Tags(), codecs=codecs, sampling=sampling
        )
        participant.sync([Piece(Author.SMALL, piece) for piece in pieces])
        sequences.append(participant.session._ids)
        participant.close()
    assert sequences[0] == sequences[1]
