"""What the engine writes is what plain, uncached forward passes say, token by token."""

import pytest
import torch

from splitreason_integrations import Author, Request, Sampling, SplitEngine, Tag, TagClose, blocking
from splitreason_integrations.evals.tasks import generated

PROBLEMS = 200
TIE = 1e-3
CLOSES = 0.5
"""Logits nearer than this may change places between a cached and an uncached pass."""


def logits_of(model, ids):
    with torch.inference_mode():
        return model.network(input_ids=torch.tensor([ids])).logits[0]


def transcript(reply, prompt, codec):
    """Ids of the whole sequence as each session has it, and the author of each."""
    opening, closing = codec.control_token("<bigmodel>"), codec.control_token("</bigmodel>")
    ids, authors = list(prompt), [None] * len(prompt)
    rest = [token for piece in reply.pieces for token in piece.token_ids]
    at = 0
    for span in reply.spans:
        before, inside = rest[at : span.start_token], rest[span.start_token :][: span.tokens]
        ids += [*before, opening, *inside, closing]
        authors += [Author.SMALL] * len(before)
        authors += ["open", *[Author.LARGE] * len(inside), "close"]
        at = span.start_token + span.tokens
    ids += rest[at:]
    authors += [Author.SMALL] * len(rest[at:])
    return ids, authors


@pytest.mark.slow
@pytest.mark.parametrize("trigger", [Tag(), Tag(threshold=0.2)], ids=str)
def test_replies_equal_uncached_passes(embedded, trigger):
    small, large = embedded
    codec = small.codec
    tags = [codec.control_token(tag) for tag in ("<bigmodel>", "</bigmodel>")]
    engine = SplitEngine(trigger=trigger, close=TagClose(CLOSES))
    checked = 0
    for task in generated("test", ["word", "context"], n=PROBLEMS, seed=11):
        request = Request(
            messages=task.messages, max_tokens=200, sampling=Sampling(temperature=0.0)
        )
        reply = blocking.run(lambda request=request: engine.complete(request))
        ids, authors = transcript(reply, codec.render(task.messages, None).token_ids, codec)
        logits = {Author.SMALL: logits_of(small, ids), Author.LARGE: logits_of(large, ids)}
        closing = logits[Author.SMALL].softmax(-1)[:, tags[1]]
        spans = iter(reply.spans)
        for at in range(len(ids)):
            author = authors[at]
            if author in (Author.SMALL, Author.LARGE):
                row = logits[author][at - 1].clone()
                row[tags if author is Author.SMALL else tags[:1]] = float("-inf")
                assert row.max() - row[ids[at]] <= TIE
                checked += 1
            if author is Author.LARGE and authors[at + 1] is Author.LARGE:
                assert closing[at] <= CLOSES + TIE
            if author == "close":
                closed_by = next(spans).closed_by
                if closed_by == "small":
                    assert closing[at - 1] >= CLOSES - TIE
                elif closed_by == "large":
                    row = logits[Author.LARGE][at - 1]
                    assert row.max() - row[tags[1]] <= TIE
            if author == "open" and trigger.threshold is not None:
                opening = logits[Author.SMALL][at - 1].softmax(-1)[tags[0]]
                assert opening >= trigger.threshold - TIE
    assert checked > 50 * PROBLEMS
