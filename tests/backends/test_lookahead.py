"""What a model would write by itself tells where it would end a span, as far as others write it."""

import asyncio
import random

import pytest

from splitreason_integrations.backends.lookahead import Draft, DraftStats, Lookahead
from splitreason_integrations.errors import ModelCallError
from tests.limits import END_S

START = 3
TOKEN = 99
BEFORE = [7, 7, 7]
DRAFTED = [10, 11, 12, 13, 14, TOKEN]
CHANCES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.9]


class Source:
    """Gives pieces, then waits for ever; notes how often it was ended."""

    def __init__(self, *pieces):
        self.pieces, self.ended = list(pieces), 0

    async def more(self):
        await asyncio.sleep(0)
        if not self.pieces:
            await asyncio.Event().wait()
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def end(self):
        self.ended += 1

    def lookahead(self):
        return Lookahead(START, TOKEN, more=self.more, end=self.end)


def cut(sizes):
    """Return the whole in pieces of these sizes, the last one with the end."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(Draft(DRAFTED[at : at + size], CHANCES[at : at + size]))
        at += size
    return [*pieces, Draft(DRAFTED[at:], CHANCES[at:], ends=True)]


async def read(lookahead, ids, places, token=TOKEN):
    async with asyncio.timeout(END_S):
        await lookahead.follow(ids, places[-1])
    return lookahead.known(token, ids, places)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("same", range(7))
async def test_knows_as_far_as_others_write_the_same(seed, same):
    rng = random.Random(seed)
    sizes = [rng.randrange(3) for _ in range(rng.randrange(4))]
    ids = [*BEFORE, *DRAFTED[:same], 50, 51]
    found = await read(Source(*cut(sizes)).lookahead(), ids, range(START, len(ids) + 1))
    assert found == CHANCES[: same + 1]


@pytest.mark.parametrize("first", range(START, START + 5))
@pytest.mark.parametrize("last", range(START, START + 5))
async def test_knows_the_places_that_were_asked_for(first, last):
    lookahead = Source(*cut([1, 1, 2])).lookahead()
    ids, places = [*BEFORE, *DRAFTED], range(first, last + 1)
    if places:
        assert await read(lookahead, ids, places) == CHANCES[first - START : last - START + 1]
    else:
        assert lookahead.known(TOKEN, ids, places) == []


async def test_knows_chunk_after_chunk():
    source = Source(*cut([2, 2]))
    lookahead, found = source.lookahead(), []
    for count in range(1, len(DRAFTED)):
        ids = [*BEFORE, *DRAFTED[:count]]
        found += await read(lookahead, ids, range(START + count, START + count + 1))
    assert found == CHANCES[1:]
    assert not source.ended


async def test_waits_for_no_more_than_it_needs():
    source = Source(*cut([2, 2])[:1])
    ids = [*BEFORE, DRAFTED[0]]
    assert await read(source.lookahead(), ids, range(START, START + 2)) == CHANCES[:2]


async def test_others_than_drafted_end_it():
    source = Source(*cut([2, 2])[:1])
    lookahead, ids = source.lookahead(), [*BEFORE, DRAFTED[0], 50, 51]
    assert await read(lookahead, ids, range(START, START + 4)) == CHANCES[:2]
    assert source.ended
    assert not lookahead.is_used_up(ids)
    assert not lookahead.was_useful(ids)


async def test_one_that_was_right_to_its_end_is_used_up():
    lookahead, ids = Source(*cut([])).lookahead(), [*BEFORE, *DRAFTED, 50]
    assert not lookahead.is_used_up(ids)
    await read(lookahead, ids, range(START, len(ids) + 1))
    assert lookahead.is_used_up(ids)
    assert lookahead.was_useful(ids)
    assert not lookahead.is_used_up(ids[:-2])


@pytest.mark.parametrize(
    ("piece", "known"),
    [
        (Draft([10, 11], [0.1]), 0),
        (Draft([10, 11], []), 0),
        (Draft([10], [0.1, 0.2]), 0),
        (Draft([10], [0.1, 0.2], ends=True), 2),
        (Draft([10], [0.1, 0.2, 0.3], ends=True), 0),
        (Draft([], []), None),
        (Draft([], [], ends=True), 0),
    ],
)
async def test_a_piece_without_a_probability_at_each_token_is_not_believed(piece, known):
    source = Source(piece, Draft([10], [0.1], ends=True))
    ids = [*BEFORE, *DRAFTED]
    found = await read(source.lookahead(), ids, range(START, len(ids) + 1))
    assert found == CHANCES[: 1 if known is None else known]


async def test_nothing_is_known_of_another_token_or_of_places_before():
    lookahead, ids = Source(*cut([3])).lookahead(), [*BEFORE, *DRAFTED]
    assert await read(lookahead, ids, range(START, START + 3), token=98) == []
    assert await read(lookahead, ids, range(START - 1, START + 3)) == []


async def test_a_failure_is_raised_and_what_came_before_it_is_known():
    source = Source(*cut([2])[:1], ModelCallError("gone", retryable=True))
    lookahead, ids = source.lookahead(), [*BEFORE, *DRAFTED]
    with pytest.raises(ModelCallError, match="gone"):
        await lookahead.follow(ids, len(ids))
    lookahead.stop()
    assert await read(lookahead, ids, range(START, START + 4)) == CHANCES[:2]


async def test_stopping_wakes_who_waits():
    source = Source(*cut([2, 2])[:1])
    lookahead, ids = source.lookahead(), [*BEFORE, *DRAFTED]
    waiting = asyncio.ensure_future(read(lookahead, ids, range(START, START + 5)))
    await asyncio.sleep(0.01)
    lookahead.stop()
    assert await waiting == CHANCES[:2]
    assert source.ended == 1


def test_what_was_not_stats_it_lately_is_asked_for_now_and_then():
    stats = DraftStats()
    assert stats.wants_next()
    for _ in range(3):
        stats.note(useful=False)
    assert sum(stats.wants_next() for _ in range(320)) == 10
    for _ in range(2):
        stats.note(useful=True)
    assert all(stats.wants_next() for _ in range(40))
